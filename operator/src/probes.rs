//! What the kubelet asks: `/healthz` and `/readyz`.

use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::IntoResponse;
use axum::routing::get;

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

/// `/healthz` and `/readyz`.
pub fn probes_router(probes: Arc<Probes>) -> Router {
    Router::new()
        .route(
            "/healthz",
            get(|State(probes): State<Arc<Probes>>| async move { answer(&probes.alive) }),
        )
        .route(
            "/readyz",
            get(|State(probes): State<Arc<Probes>>| async move { answer(&probes.ready) }),
        )
        .with_state(probes)
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
