//! An HTTP server on a thread of its own, so that it answers while a test blocks.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::thread::JoinHandle;

use anyhow::{Context, Result, anyhow};
use axum::Router;
use axum_server::tls_rustls::RustlsConfig;

/// A server that runs.
#[derive(Debug)]
pub(crate) struct Serving {
    handle: axum_server::Handle<SocketAddr>,
    thread: JoinHandle<()>,
}

impl Serving {
    /// Serves on a port of 127.0.0.1.
    pub(crate) fn start(port: u16, tls: Option<RustlsConfig>, router: Router) -> Result<Serving> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port))
            .with_context(|| format!("can't listen on 127.0.0.1:{port}"))?;
        listener.set_nonblocking(true)?;
        let handle = axum_server::Handle::new();
        let server_handle = handle.clone();
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let thread = std::thread::Builder::new()
            .name("http-server".to_owned())
            .spawn(move || {
                let served = runtime.block_on(async move {
                    let service = router.into_make_service();
                    match tls {
                        None => {
                            axum_server::from_tcp(listener)?
                                .handle(server_handle)
                                .serve(service)
                                .await
                        }
                        Some(tls) => {
                            axum_server::from_tcp_rustls(listener, tls)?
                                .handle(server_handle)
                                .serve(service)
                                .await
                        }
                    }
                });
                if let Err(error) = served {
                    eprintln!("an HTTP server of a test ended: {error}");
                }
            })
            .map_err(|error| anyhow!("can't start a thread: {error}"))?;
        Ok(Serving { handle, thread })
    }

    /// Ends it at once: connections are closed, and new ones refused.
    pub(crate) fn stop(self) {
        self.handle.shutdown();
        let _ = self.thread.join();
    }
}
