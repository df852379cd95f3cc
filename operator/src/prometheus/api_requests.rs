//! Requests to the API server, counted where the client sends them.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Instant;

use http::header::CONTENT_TYPE;
use http::{Method, Request, Response};
use prometheus::core::{Collector, Desc};
use prometheus::proto::MetricFamily;
use prometheus::{HistogramOpts, HistogramVec, IntCounterVec, Opts};
use tower::{Layer, Service};

/// Resources that are asked for all the time. Targets may be of any kind: one that isn't in here is `other`.
const RESOURCES: &[&str] = &[
    "apiservices",
    "capacitybuffers",
    "clustersalecalendars",
    "clustertriggerauthentications",
    "configmaps",
    "deployments",
    "endpointslices",
    "events",
    "horizontalpodautoscalers",
    "leases",
    "limitranges",
    "namespaces",
    "pods",
    "replicasets",
    "resourcequotas",
    "rollouts",
    "salecalendars",
    "scaledjobs",
    "scaledobjects",
    "secrets",
    "serviceaccounts",
    "statefulsets",
    "subjectaccessreviews",
    "tokenreviews",
    "triggerauthentications",
    "validatingwebhookconfigurations",
];
const SUBRESOURCES: &[&str] = &["scale", "status", "token"];

/// Seconds of a request: a few milliseconds, and minutes where the API server hangs.
const SECONDS: &[f64] = &[
    0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0,
];

/// The counters, and the layer of a client that counts. Cheap to clone.
#[derive(Clone)]
pub struct ApiRequests {
    requests: IntCounterVec,
    seconds: HistogramVec,
}

impl ApiRequests {
    /// # Errors
    /// Never: the names are constants.
    pub fn new() -> Result<Self, prometheus::Error> {
        let requests = Opts::new(
            "sakidori_api_requests_total",
            "Requests to the API server by what they did and what became of them",
        );
        let seconds = HistogramOpts::new(
            "sakidori_api_request_duration_seconds",
            "How long requests to the API server took; of a watch, until it began",
        );
        Ok(Self {
            requests: IntCounterVec::new(requests, &["verb", "resource", "outcome"])?,
            seconds: HistogramVec::new(seconds.buckets(SECONDS.to_vec()), &["verb"])?,
        })
    }
}

impl Collector for ApiRequests {
    fn desc(&self) -> Vec<&Desc> {
        let mut all = self.requests.desc();
        all.extend(self.seconds.desc());
        all
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let mut all = self.requests.collect();
        all.extend(self.seconds.collect());
        all
    }
}

impl<S> Layer<S> for ApiRequests {
    type Service = Counted<S>;

    fn layer(&self, inner: S) -> Counted<S> {
        Counted {
            counters: self.clone(),
            inner,
        }
    }
}

/// A client whose requests are counted.
#[derive(Clone)]
pub struct Counted<S> {
    counters: ApiRequests,
    inner: S,
}

impl<S, B, R> Service<Request<B>> for Counted<S>
where
    S: Service<Request<B>, Response = Response<R>>,
    S::Future: Send + 'static,
    S::Error: 'static,
    R: 'static,
{
    type Response = Response<R>;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, S::Error>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let mut exchange = Exchange {
            counters: self.counters.clone(),
            verb: verb(&request),
            resource: resource(request.uri().path()),
            outcome: "failed",
            began: Instant::now(),
        };
        let answer = self.inner.call(request);
        Box::pin(async move {
            let answer = answer.await;
            if let Ok(answer) = &answer {
                exchange.answered(answer.status().as_u16());
            }
            answer
        })
    }
}

/// A request under way. One that is given up has failed.
struct Exchange {
    counters: ApiRequests,
    verb: &'static str,
    resource: String,
    outcome: &'static str,
    began: Instant,
}

impl Exchange {
    fn answered(&mut self, status: u16) {
        self.outcome = outcome(status);
    }
}

impl Drop for Exchange {
    fn drop(&mut self) {
        let labels = [self.verb, &self.resource, self.outcome];
        self.counters.requests.with_label_values(&labels).inc();
        let took = self.began.elapsed().as_secs_f64();
        let seconds = self.counters.seconds.with_label_values(&[self.verb]);
        seconds.observe(took);
    }
}

/// As Kubernetes names what a request does; `read` is both a get and a list.
fn verb<B>(request: &Request<B>) -> &'static str {
    let query = request.uri().query().unwrap_or_default();
    let is_watch = query
        .split('&')
        .any(|one| matches!(one, "watch=true" | "watch=1"));
    let content = request.headers().get(CONTENT_TYPE);
    let applies = content.is_some_and(|kind| kind.as_bytes().starts_with(b"application/apply"));
    match *request.method() {
        Method::GET | Method::HEAD if is_watch => "watch",
        Method::GET | Method::HEAD => "read",
        Method::POST => "create",
        Method::PUT => "update",
        Method::PATCH if applies => "apply",
        Method::PATCH => "patch",
        Method::DELETE => "delete",
        _ => "other",
    }
}

/// The resource of a path, with its subresource: `deployments/scale`.
fn resource(path: &str) -> String {
    let mut parts = path.split('/').filter(|part| !part.is_empty());
    // /api/v1/..., /apis/GROUP/VERSION/...
    let skipped = match parts.next() {
        Some("api") => 1,
        Some("apis") => 2,
        _ => return "other".to_owned(),
    };
    let mut parts = parts.skip(skipped).peekable();
    let first = parts.next().unwrap_or_default();
    let resource = match first {
        "namespaces" => {
            let _name = parts.next();
            parts.next().unwrap_or(first)
        }
        other => other,
    };
    let _name = parts.next();
    let known = |all: &'static [&'static str], name: &str| {
        let mut all = all.iter();
        all.find(|one| **one == name).copied()
    };
    // What a group or a version consists of.
    let resource = match resource {
        "" => "discovery",
        other => known(RESOURCES, other).unwrap_or("other"),
    };
    match parts.next().and_then(|part| known(SUBRESOURCES, part)) {
        Some(subresource) => format!("{resource}/{subresource}"),
        None => resource.to_owned(),
    }
}

fn outcome(status: u16) -> &'static str {
    match status {
        200..300 => "ok",
        401 | 403 => "refused",
        404 | 410 => "not_found",
        409 => "conflict",
        429 => "throttled",
        400..500 => "invalid",
        _ => "failed",
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use tower::ServiceExt;

    use super::*;

    #[test]
    fn resources_are_those_that_are_known() {
        for (path, expected) in [
            ("/apis/keda.sh/v1alpha1/scaledobjects", "scaledobjects"),
            (
                "/apis/keda.sh/v1alpha1/namespaces/shop/scaledobjects/web/status",
                "scaledobjects/status",
            ),
            (
                "/apis/apps/v1/namespaces/shop/deployments/web/scale",
                "deployments/scale",
            ),
            ("/api/v1/namespaces/shop/secrets/namespaces", "secrets"),
            ("/api/v1/namespaces/shop", "namespaces"),
            ("/api/v1/namespaces", "namespaces"),
            (
                "/apis/shop.example/v1/namespaces/shop/carts/a/scale",
                "other/scale",
            ),
            (
                "/apis/shop.example/v1/namespaces/shop/carts/a/made-up",
                "other",
            ),
            ("/apis/apps/v1", "discovery"),
            ("/api/v1", "discovery"),
            ("/version", "other"),
            ("/", "other"),
        ] {
            assert_eq!(resource(path), expected, "{path}");
        }
    }

    #[tokio::test]
    async fn what_became_of_a_request_is_counted() {
        let counters = ApiRequests::new().unwrap();
        let path = "/apis/keda.sh/v1alpha1/scaledobjects";
        for status in [200, 201, 404, 409, 422, 429, 403, 500] {
            let server = tower::service_fn(move |_: Request<()>| async move {
                let answer = Response::builder().status(status).body(());
                Ok::<_, Infallible>(answer.unwrap())
            });
            let request = Request::get(format!("{path}?watch=true")).body(()).unwrap();
            counters.layer(server).oneshot(request).await.unwrap();
        }
        let count = |outcome: &str| {
            let labels = ["watch", "scaledobjects", outcome];
            counters.requests.with_label_values(&labels).get()
        };
        assert_eq!(count("ok"), 2);
        let others = [
            "not_found",
            "conflict",
            "invalid",
            "throttled",
            "refused",
            "failed",
        ];
        for outcome in others {
            assert_eq!(count(outcome), 1, "{outcome}");
        }
        // Given up before there is an answer.
        let silent = tower::service_fn(|_: Request<()>| {
            std::future::pending::<Result<Response<()>, Infallible>>()
        });
        let request = Request::get(format!("{path}?watch=true")).body(()).unwrap();
        drop(counters.layer(silent).oneshot(request));
        let request = Request::patch(path)
            .header(CONTENT_TYPE, "application/apply-patch+yaml")
            .body(())
            .unwrap();
        let mut client = counters.layer(silent);
        drop(client.call(request));
        let labels = ["apply", "scaledobjects", "failed"];
        assert_eq!(counters.requests.with_label_values(&labels).get(), 1);
    }
}
