//! The event source: an HTTP server on loopback that answers every read at once and counts them.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use anyhow::Result;
use axum::Router;
use axum::extract::State;
use axum::routing::get;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

/// A running server; dropped, it ends.
pub struct Source {
    pub port: u16,
    reads: Arc<AtomicUsize>,
    server: JoinHandle<()>,
}

impl Source {
    /// Serves `{"tasks": VALUE}` on `/objects/ANY`.
    ///
    /// # Errors
    /// If there is no free port.
    pub async fn start(value: u32) -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let port = listener.local_addr()?.port();
        let reads = Arc::new(AtomicUsize::new(0));
        let answer = async move |State(reads): State<Arc<AtomicUsize>>| {
            reads.fetch_add(1, Ordering::Relaxed);
            format!(r#"{{"tasks": {value}}}"#)
        };
        let router = Router::new()
            .route("/objects/{name}", get(answer))
            .with_state(reads.clone());
        let server = tokio::spawn(async move {
            if let Err(error) = axum::serve(listener, router).await {
                eprintln!("bench: the HTTP source ended: {error}");
            }
        });
        Ok(Self {
            port,
            reads,
            server,
        })
    }

    /// How often it was read since the start.
    pub fn reads(&self) -> usize {
        self.reads.load(Ordering::Relaxed)
    }
}

impl Drop for Source {
    fn drop(&mut self) {
        self.server.abort();
    }
}
