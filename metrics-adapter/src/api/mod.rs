//! The paths, and what stands before them: who asks, and whether they may.

pub(crate) mod answer;
mod discovery;
mod metrics;
mod openapi;
pub(crate) mod selector;

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Extension, Router};
use http::StatusCode;
use tokio::sync::Semaphore;

use crate::attributes::Attributes;
use crate::authentication::Authenticator;
use crate::authorization::Authorizer;
use crate::source::ExternalMetrics;
use crate::status::Failure;
use crate::tls::Peer;

pub(crate) const GROUP: &str = "external.metrics.k8s.io";
pub(crate) const VERSION: &str = "v1beta1";
/// Group and version together.
const GROUP_VERSION: &str = "external.metrics.k8s.io/v1beta1";

/// The first value of a parameter of a query, decoded.
pub(crate) fn parameter(query: &str, name: &str) -> Option<String> {
    form_urlencoded::parse(query.as_bytes())
        .find(|(key, _)| key == name)
        .map(|(_, value)| value.into_owned())
}

/// Whether the server is ready to answer reads; else why not.
pub(crate) type Ready = Arc<dyn Fn() -> Result<(), String> + Send + Sync>;

/// What the answers are made from.
pub(crate) struct Server {
    pub(crate) authenticator: Authenticator,
    pub(crate) authorizer: Authorizer,
    pub(crate) metrics: Arc<dyn ExternalMetrics>,
    pub(crate) ready: Ready,
    pub(crate) under_way: Semaphore,
}

/// Requests under way at the same time, with their headers in memory; those beyond are refused at once. Only the front proxy gets near
/// it: others wait in short queues, see [`crate::reviews`].
pub(crate) const UNDER_WAY: usize = 1024;

/// All paths. Each request must carry its [`Peer`] as an extension.
pub(crate) fn router(server: Server) -> Router {
    let server = Arc::new(server);
    let protected = Router::new()
        .route("/apis", get(discovery::groups))
        .route("/apis/external.metrics.k8s.io", get(discovery::group))
        .route(
            "/apis/external.metrics.k8s.io/v1beta1",
            get(discovery::resources),
        )
        .route(
            "/apis/external.metrics.k8s.io/v1beta1/namespaces/{namespace}/{metric}",
            get(metrics::read),
        )
        .route("/openapi/v2", get(openapi::v2))
        .route("/openapi/v3", get(openapi::v3_index))
        .route(
            "/openapi/v3/apis/external.metrics.k8s.io/v1beta1",
            get(openapi::v3),
        )
        .route("/version", get(discovery::version))
        .fallback(|| async { Failure::path_not_found() })
        .method_not_allowed_fallback(|| async { Failure::method_not_allowed() })
        .with_state(Arc::clone(&server))
        .layer(from_fn_with_state(Arc::clone(&server), admit));
    // Without credentials, as kube-apiserver serves them: a kubelet's probe has none.
    Router::new()
        .route("/healthz", get(|| async { healthy() }))
        .route("/readyz", get(ready))
        .method_not_allowed_fallback(|| async { Failure::method_not_allowed() })
        .with_state(server)
        .merge(protected)
}

fn healthy() -> Response {
    answer::plain_text(StatusCode::OK, "ok".to_owned())
}

async fn ready(State(server): State<Arc<Server>>) -> Response {
    match (server.ready)() {
        Ok(()) => healthy(),
        Err(reason) => answer::plain_text(
            StatusCode::SERVICE_UNAVAILABLE,
            format!("not ready: {reason}\n"),
        ),
    }
}

/// Lets a request through to its path when who asks may have it. What was authorized goes with the request, so that
/// nothing else is answered.
async fn admit(
    State(server): State<Arc<Server>>,
    Extension(peer): Extension<Peer>,
    mut request: Request,
    next: Next,
) -> Response {
    let Ok(_under_way) = server.under_way.try_acquire() else {
        return Failure::too_many_requests("too many requests are under way").into_response();
    };
    let attributes = Attributes::of(
        request.method(),
        request.uri().path(),
        request.uri().query().unwrap_or_default(),
    );
    let headers = request.headers();
    let admitted = async {
        // The aggregation layer has already acted on them; whoever sends them here would be answered as themselves.
        if headers
            .keys()
            .any(|name| name.as_str().starts_with("impersonate-"))
        {
            return Err(Failure::bad_request(
                "impersonation is possible through kube-apiserver only",
            ));
        }
        let caller = server.authenticator.authenticate(&peer, headers).await?;
        server.authorizer.authorize(&caller, &attributes).await
    };
    match admitted.await {
        Ok(()) => {
            request.extensions_mut().insert(attributes);
            next.run(request).await
        }
        Err(failure) => failure.into_response(),
    }
}
