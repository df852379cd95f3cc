//! The plain HTTP endpoints: `/healthz` and `/readyz` for the kubelet, `/metrics` for Prometheus.

use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::IntoResponse;
use axum::routing::get;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::prometheus::Metrics;

/// One thing that must hold.
pub struct Check {
    pub name: &'static str,
    /// `Err` says what is wrong.
    pub probe: Box<dyn Fn() -> Result<(), String> + Send + Sync>,
}

impl Check {
    pub fn new(
        name: &'static str,
        probe: impl Fn() -> Result<(), String> + Send + Sync + 'static,
    ) -> Self {
        Self {
            name,
            probe: Box::new(probe),
        }
    }
}

/// What `/healthz` and `/readyz` look at.
pub struct Probes {
    pub alive: Vec<Check>,
    pub ready: Vec<Check>,
}

/// Serves `/healthz` and `/readyz` until `shutdown`.
pub async fn serve_probes(listener: TcpListener, probes: Arc<Probes>, shutdown: CancellationToken) {
    let router = Router::new()
        .route(
            "/healthz",
            get(|State(probes): State<Arc<Probes>>| async move { answer(&probes.alive) }),
        )
        .route(
            "/readyz",
            get(|State(probes): State<Arc<Probes>>| async move { answer(&probes.ready) }),
        )
        .with_state(probes);
    serve(listener, router, shutdown).await;
}

/// Serves `/metrics` until `shutdown`.
pub async fn serve_metrics(
    listener: TcpListener,
    metrics: Arc<Metrics>,
    shutdown: CancellationToken,
) {
    let text = |State(metrics): State<Arc<Metrics>>| async move {
        (
            [(CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")],
            metrics.text(),
        )
    };
    serve(
        listener,
        Router::new()
            .route("/metrics", get(text))
            .with_state(metrics),
        shutdown,
    )
    .await;
}

async fn serve(listener: TcpListener, router: Router, shutdown: CancellationToken) {
    let stop = shutdown.clone();
    let server =
        axum::serve(listener, router).with_graceful_shutdown(async move { stop.cancelled().await });
    tokio::select! {
        // It ends by itself only when it was stopped.
        _ = server.into_future() => {}
        // A client that keeps its connection must not hold up the shutdown.
        () = async { shutdown.cancelled().await; tokio::time::sleep(std::time::Duration::from_secs(1)).await } => {}
    }
}

/// 200 where all checks hold, else 503; the body has a line for each.
fn answer(checks: &[Check]) -> impl IntoResponse + use<> {
    let mut status = StatusCode::OK;
    let mut body = String::new();
    for check in checks {
        match (check.probe)() {
            Ok(()) => body.push_str(&format!("[+]{} ok\n", check.name)),
            Err(what) => {
                status = StatusCode::SERVICE_UNAVAILABLE;
                body.push_str(&format!("[-]{} failed: {what}\n", check.name));
            }
        }
    }
    (status, body)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_failing_check_is_enough() {
        let ok = || Check::new("loop", || Ok(()));
        assert_eq!(answer(&[ok()]).into_response().status(), StatusCode::OK);
        let failing = Check::new("lists", || Err("not in yet".into()));
        assert_eq!(
            answer(&[ok(), failing]).into_response().status(),
            StatusCode::SERVICE_UNAVAILABLE
        );
    }
}
