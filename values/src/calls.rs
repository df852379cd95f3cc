//! Counts the calls of a gRPC server and of a client, with the names and labels of KEDA's `keda_internal_metricsservice_grpc_*`.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Instant;

use axum::Router;
use axum::body::{Body, Bytes, HttpBody};
use axum::extract::{Request, State};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::Response;
use http::HeaderMap;
use http_body::{Frame, SizeHint};
use prometheus::core::{Collector, Desc};
use prometheus::proto::MetricFamily;
use prometheus::{HistogramOpts, HistogramVec, IntCounterVec, Opts};
use tonic::Code;
use tower::Service;

/// Type, service and method of all that is served. What isn't in here is one series, whatever a client calls it.
const METHODS: &[[&str; 3]] = &[
    ["unary", "api.MetricsService", "GetMetrics"],
    ["unary", "api.RawMetricsService", "SubscribeMetric"],
    ["unary", "api.RawMetricsService", "UnsubscribeMetric"],
    [
        "server_stream",
        "api.RawMetricsService",
        "GetRawMetricsStream",
    ],
    ["bidi_stream", "sakidori.values.v1.Values", "Follow"],
];
const UNKNOWN: [&str; 3] = ["unary", "unknown", "unknown"];

const LABELS: &[&str] = &["grpc_type", "grpc_service", "grpc_method"];
/// KEDA's.
const BUCKETS: &[f64] = &[
    0.001, 0.01, 0.1, 0.3, 0.6, 1.0, 3.0, 6.0, 9.0, 20.0, 30.0, 60.0, 90.0, 120.0,
];

/// The counters. Cheap to clone.
#[derive(Clone)]
pub struct Calls {
    started: IntCounterVec,
    handled: IntCounterVec,
    received: IntCounterVec,
    sent: IntCounterVec,
    seconds: HistogramVec,
}

impl Calls {
    /// Those that this process answers.
    ///
    /// # Errors
    /// Never: the names are constants.
    pub fn server() -> Result<Self, prometheus::Error> {
        Self::new("server", "Messages from clients", "Messages to clients")
    }

    /// Those that it makes.
    ///
    /// # Errors
    /// Never: the names are constants.
    pub fn client() -> Result<Self, prometheus::Error> {
        Self::new(
            "client",
            "Messages from the server",
            "Messages to the server",
        )
    }

    fn new(side: &str, received: &str, sent: &str) -> Result<Self, prometheus::Error> {
        let name = |name: &str| format!("keda_internal_metricsservice_grpc_{side}_{name}");
        let counter = |what: &str, help: &str, labels: &[&str]| {
            IntCounterVec::new(Opts::new(name(what), help), labels)
        };
        let with_code = [LABELS, &["grpc_code"]].concat();
        let took = HistogramOpts::new(name("handling_seconds"), "How long calls took, by method");
        Ok(Self {
            started: counter("started_total", "Calls that began", LABELS)?,
            handled: counter("handled_total", "Calls that ended, by code", &with_code)?,
            received: counter("msg_received_total", received, LABELS)?,
            sent: counter("msg_sent_total", sent, LABELS)?,
            seconds: HistogramVec::new(took.buckets(BUCKETS.to_vec()), LABELS)?,
        })
    }

    /// Counts all calls of a server.
    pub fn counting(self, router: Router) -> Router {
        router.layer(from_fn_with_state(self, count))
    }

    /// Counts all calls that are made over a channel.
    pub fn over<S>(&self, channel: S) -> Calling<S> {
        Calling {
            calls: self.clone(),
            channel,
        }
    }

    fn all(&self) -> [&dyn Collector; 5] {
        [
            &self.started,
            &self.handled,
            &self.received,
            &self.sent,
            &self.seconds,
        ]
    }
}

impl Collector for Calls {
    fn desc(&self) -> Vec<&Desc> {
        self.all().iter().flat_map(|one| one.desc()).collect()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        self.all().iter().flat_map(|one| one.collect()).collect()
    }
}

async fn count(State(calls): State<Calls>, request: Request, next: Next) -> Response {
    let call = Call::start(calls.clone(), labels(request.uri().path()));
    let labels = call.labels;
    let request = request.map(|body| {
        let messages = Messages::new(calls.received.with_label_values(&labels));
        Body::new(Counted {
            body,
            messages,
            call: None,
        })
    });
    let mut call = Some(call);
    let response = next.run(request).await;
    // Without a body, the headers tell how it ended.
    if let Some(code) = code(response.headers())
        && let Some(call) = call.take()
    {
        call.end(code);
    }
    response.map(|body| {
        let messages = Messages::new(calls.sent.with_label_values(&labels));
        Body::new(Counted {
            body,
            messages,
            call,
        })
    })
}

/// A channel whose calls are counted.
#[derive(Clone)]
pub struct Calling<S> {
    calls: Calls,
    channel: S,
}

impl<S> Service<http::Request<tonic::body::Body>> for Calling<S>
where
    S: Service<http::Request<tonic::body::Body>, Response = http::Response<tonic::body::Body>>,
    S::Future: Send + 'static,
    S::Error: 'static,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<S::Response, S::Error>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.channel.poll_ready(context)
    }

    fn call(&mut self, request: http::Request<tonic::body::Body>) -> Self::Future {
        let calls = self.calls.clone();
        let call = Call::start(calls.clone(), labels(request.uri().path()));
        let labels = call.labels;
        let request = request.map(|body| {
            let messages = Messages::new(calls.sent.with_label_values(&labels));
            tonic::body::Body::new(Counted {
                body,
                messages,
                call: None,
            })
        });
        let answer = self.channel.call(request);
        Box::pin(async move {
            let mut call = Some(call);
            let response = match answer.await {
                Ok(response) => response,
                Err(error) => {
                    // The connection broke.
                    if let Some(call) = call.take() {
                        call.end(Code::Unavailable);
                    }
                    return Err(error);
                }
            };
            if let Some(code) = code(response.headers())
                && let Some(call) = call.take()
            {
                call.end(code);
            }
            Ok(response.map(|body| {
                let messages = Messages::new(calls.received.with_label_values(&labels));
                tonic::body::Body::new(Counted {
                    body,
                    messages,
                    call,
                })
            }))
        })
    }
}

/// What a path such as `/api.MetricsService/GetMetrics` is counted under.
fn labels(path: &str) -> [&'static str; 3] {
    let called = path.strip_prefix('/').and_then(|path| path.split_once('/'));
    let known = METHODS
        .iter()
        .find(|[_, service, method]| called == Some((service, method)));
    known.copied().unwrap_or(UNKNOWN)
}

fn code(headers: &HeaderMap) -> Option<Code> {
    headers
        .get("grpc-status")
        .map(|code| Code::from_bytes(code.as_bytes()))
}

/// A call under way. One that is dropped was given up by its client.
struct Call {
    calls: Calls,
    labels: [&'static str; 3],
    began: Instant,
    ended: bool,
}

impl Call {
    fn start(calls: Calls, labels: [&'static str; 3]) -> Self {
        calls.started.with_label_values(&labels).inc();
        Self {
            calls,
            labels,
            began: Instant::now(),
            ended: false,
        }
    }

    fn end(mut self, code: Code) {
        self.count(code);
    }

    fn count(&mut self, code: Code) {
        if std::mem::replace(&mut self.ended, true) {
            return;
        }
        let [kind, service, method] = self.labels;
        let labels = [kind, service, method, name(code)];
        self.calls.handled.with_label_values(&labels).inc();
        let took = self.began.elapsed().as_secs_f64();
        let seconds = self.calls.seconds.with_label_values(&self.labels);
        seconds.observe(took);
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        self.count(Code::Cancelled);
    }
}

/// As Go's gRPC spells codes, and so KEDA's dashboards.
fn name(code: Code) -> &'static str {
    match code {
        Code::Ok => "OK",
        Code::Cancelled => "Canceled",
        Code::Unknown => "Unknown",
        Code::InvalidArgument => "InvalidArgument",
        Code::DeadlineExceeded => "DeadlineExceeded",
        Code::NotFound => "NotFound",
        Code::AlreadyExists => "AlreadyExists",
        Code::PermissionDenied => "PermissionDenied",
        Code::ResourceExhausted => "ResourceExhausted",
        Code::FailedPrecondition => "FailedPrecondition",
        Code::Aborted => "Aborted",
        Code::OutOfRange => "OutOfRange",
        Code::Unimplemented => "Unimplemented",
        Code::Internal => "Internal",
        Code::Unavailable => "Unavailable",
        Code::DataLoss => "DataLoss",
        Code::Unauthenticated => "Unauthenticated",
    }
}

/// A body whose messages are counted, and with them how the call ends.
struct Counted<B> {
    body: B,
    messages: Messages,
    /// Of a response.
    call: Option<Call>,
}

impl<B: HttpBody<Data = Bytes> + Unpin> HttpBody for Counted<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        let frame = ready!(Pin::new(&mut self.body).poll_frame(context));
        if let Some(Ok(frame)) = &frame {
            if let Some(bytes) = frame.data_ref() {
                self.messages.take(bytes);
            }
            if let Some(code) = frame.trailers_ref().and_then(code)
                && let Some(call) = self.call.take()
            {
                call.end(code);
            }
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// Finds where messages begin, however they are cut into frames: a byte of flags, four of length, and so many more.
struct Messages {
    counter: prometheus::IntCounter,
    prefix: [u8; 5],
    /// Of the prefix.
    known: usize,
    /// Of the message.
    left: usize,
}

impl Messages {
    fn new(counter: prometheus::IntCounter) -> Self {
        Self {
            counter,
            prefix: [0; 5],
            known: 0,
            left: 0,
        }
    }

    fn take(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let skipped = self.left.min(bytes.len());
            self.left -= skipped;
            bytes = &bytes[skipped..];
            let Some((first, rest)) = bytes.split_first() else {
                return;
            };
            self.prefix[self.known] = *first;
            self.known += 1;
            bytes = rest;
            if self.known == self.prefix.len() {
                let [_, length @ ..] = self.prefix;
                self.left = u32::from_be_bytes(length) as usize;
                self.known = 0;
                self.counter.inc();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use prometheus::IntCounter;

    use super::*;

    #[test]
    fn labels_are_those_of_known_methods() {
        for (path, expected) in [
            (
                "/api.MetricsService/GetMetrics",
                ["unary", "api.MetricsService", "GetMetrics"],
            ),
            (
                "/api.RawMetricsService/GetRawMetricsStream",
                [
                    "server_stream",
                    "api.RawMetricsService",
                    "GetRawMetricsStream",
                ],
            ),
            ("/api.MetricsService/Get", UNKNOWN),
            ("/api.MetricsService/GetMetrics/more", UNKNOWN),
            ("/", UNKNOWN),
            ("", UNKNOWN),
        ] {
            assert_eq!(labels(path), expected, "{path}");
        }
    }

    #[test]
    fn messages_are_counted_however_they_are_cut() {
        // One of three bytes, an empty one, one of 300.
        let mut stream = vec![0, 0, 0, 0, 3, 1, 2, 3, 0, 0, 0, 0, 0, 0, 0, 0, 1, 44];
        stream.extend([7; 300]);
        for size in 1..stream.len() {
            let counter = IntCounter::new("messages", "messages").unwrap();
            let mut messages = Messages::new(counter.clone());
            stream.chunks(size).for_each(|bytes| messages.take(bytes));
            assert_eq!(counter.get(), 3, "in pieces of {size}");
        }
    }
}
