//! An external scaler in this process, for what a server in another language can't be told to do: it counts its connections, shows
//! any certificate, and answers what a test computes.

use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use axum::body::Body;
use axum::extract::Request as HttpRequest;
use axum::response::Response as HttpResponse;
use axum::serve::Listener;
use futures::Stream;
use futures::stream::{self, BoxStream, StreamExt};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use sakidori_test_cluster::pki::{Authority, Identity};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio_rustls::TlsAcceptor;
use tonic::server::Grpc;
use tonic::{Request, Response, Status};
use tonic_prost::ProstCodec;
use tower::service_fn;

use super::protocol::{
    GetMetricSpecResponse, GetMetricsRequest, GetMetricsResponse, IsActiveResponse, MetricSpec,
    MetricValue, ScaledObjectRef,
};

/// What is answered now.
#[derive(Clone, Default)]
pub struct Answers {
    pub specs: Vec<MetricSpec>,
    pub values: Vec<MetricValue>,
    pub active: bool,
    pub failure: Option<Status>,
    /// Calls get no answer.
    pub hang: bool,
    /// What `StreamIsActive` has told: sent to a stream as it opens, and again whenever it changes.
    pub told: Option<bool>,
    /// `StreamMetricSpec` is there, and tells `specs`.
    pub streams_specs: bool,
    /// Streams end in peace.
    pub ends_streams: bool,
}

impl Answers {
    /// One metric with its target and value; active above 0.
    pub fn metric(name: &str, target: i64, value: f64) -> Self {
        Self {
            specs: vec![MetricSpec {
                metric_name: name.to_owned(),
                target_size: target,
                target_size_float: 0.0,
            }],
            values: vec![MetricValue {
                metric_name: name.to_owned(),
                metric_value: 0,
                metric_value_float: value,
            }],
            active: value > 0.0,
            ..Self::default()
        }
    }
}

#[derive(Clone, Default)]
struct Shared {
    answers: watch::Sender<Answers>,
    asked: Arc<Mutex<Option<ScaledObjectRef>>>,
    connections: Arc<AtomicUsize>,
    streams: Arc<AtomicUsize>,
}

pub struct Server {
    pub address: String,
    shared: Shared,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// The certificate that a server shows, and whose clients it takes.
pub struct ServerTls {
    pub identity: Identity,
    pub clients: Option<String>,
}

impl Server {
    pub async fn start(answers: Answers) -> Self {
        Self::start_with(answers, None).await
    }

    pub async fn start_with(answers: Answers, tls: Option<ServerTls>) -> Self {
        let shared = Shared::default();
        shared.answers.send_replace(answers);
        let tcp = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = tcp.local_addr().unwrap().to_string();
        let listener = Counting {
            tcp,
            tls: tls.map(|tls| TlsAcceptor::from(Arc::new(config(&tls)))),
            connections: Arc::clone(&shared.connections),
        };
        let serving = shared.clone();
        let router = axum::Router::new()
            .fallback(move |request: HttpRequest| serving.clone().answer(request));
        let task = tokio::spawn(async move {
            axum::serve(listener, router).await.unwrap();
        });
        Self {
            address,
            shared,
            task,
        }
    }

    pub fn set(&self, answers: Answers) {
        self.shared.answers.send_replace(answers);
    }

    pub fn connections(&self) -> usize {
        self.shared.connections.load(Ordering::SeqCst)
    }

    /// Open streams.
    pub fn streams(&self) -> usize {
        self.shared.streams.load(Ordering::SeqCst)
    }

    /// Who asked last.
    pub fn asked(&self) -> ScaledObjectRef {
        self.shared.asked.lock().unwrap().clone().unwrap()
    }
}

/// An authority, and a certificate of its for a host.
pub fn certificate(host: &str) -> (Authority, Identity) {
    let authority = Authority::new("external scaler test authority").unwrap();
    let identity = authority.issue("scaler", &[], &[host]).unwrap();
    (authority, identity)
}

fn config(tls: &ServerTls) -> ServerConfig {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .unwrap();
    let builder = match &tls.clients {
        None => builder.with_no_client_auth(),
        Some(authority) => {
            let mut roots = RootCertStore::empty();
            let authority = CertificateDer::from_pem_slice(authority.as_bytes()).unwrap();
            roots.add(authority).unwrap();
            let roots = Arc::new(roots);
            let verifier = WebPkiClientVerifier::builder_with_provider(roots, provider);
            builder.with_client_cert_verifier(verifier.build().unwrap())
        }
    };
    let certificate = CertificateDer::from_pem_slice(tls.identity.certificate.as_bytes()).unwrap();
    let key = PrivateKeyDer::from_pem_slice(tls.identity.key.as_bytes()).unwrap();
    let mut config = builder.with_single_cert(vec![certificate], key).unwrap();
    config.alpn_protocols = vec![b"h2".to_vec()];
    config
}

trait Socket: AsyncRead + AsyncWrite + Send + Unpin {}
impl<S: AsyncRead + AsyncWrite + Send + Unpin> Socket for S {}

struct Counting {
    tcp: TcpListener,
    tls: Option<TlsAcceptor>,
    connections: Arc<AtomicUsize>,
}

impl Listener for Counting {
    type Io = Box<dyn Socket>;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        loop {
            let (stream, address) = self.tcp.accept().await.unwrap();
            let stream: Self::Io = match &self.tls {
                None => Box::new(stream),
                Some(tls) => match tls.accept(stream).await {
                    Ok(stream) => Box::new(stream),
                    // A client that does not like our certificate.
                    Err(_) => continue,
                },
            };
            self.connections.fetch_add(1, Ordering::SeqCst);
            return (stream, address);
        }
    }

    fn local_addr(&self) -> io::Result<Self::Addr> {
        self.tcp.local_addr()
    }
}

/// Counted while it lives.
struct Open(Arc<AtomicUsize>);

impl Open {
    fn new(count: &Arc<AtomicUsize>) -> Self {
        count.fetch_add(1, Ordering::SeqCst);
        Self(Arc::clone(count))
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Shared {
    async fn answer(self, request: HttpRequest) -> HttpResponse {
        let method = request.uri().path().rsplit('/').next().unwrap().to_owned();
        let response = match method.as_str() {
            "IsActive" => {
                let answer = |now: Answers| IsActiveResponse { result: now.active };
                self.unary(request, ScaledObjectRef::clone, answer).await
            }
            "GetMetricSpec" => self.unary(request, ScaledObjectRef::clone, specs).await,
            "GetMetrics" => {
                let object = |it: &GetMetricsRequest| it.scaled_object_ref.clone().unwrap();
                let answer = |now: Answers| GetMetricsResponse {
                    metric_values: now.values,
                };
                self.unary(request, object, answer).await
            }
            "StreamIsActive" => {
                self.streaming(request, |now| {
                    now.told.map(|result| Ok(IsActiveResponse { result }))
                })
                .await
            }
            "StreamMetricSpec" => {
                self.streaming(request, |now| match now.streams_specs {
                    true => Some(Ok(specs(now.clone()))),
                    false => Some(Err(Status::unimplemented("no such method"))),
                })
                .await
            }
            other => panic!("no method {other}"),
        };
        response.map(Body::new)
    }

    async fn now(&self) -> Result<Answers, Status> {
        let mut answers = self.answers.subscribe();
        let now = answers.wait_for(|now| !now.hang).await.unwrap().clone();
        match now.failure {
            Some(failure) => Err(failure),
            None => Ok(now),
        }
    }

    async fn unary<Q, A>(
        &self,
        request: HttpRequest,
        object: fn(&Q) -> ScaledObjectRef,
        answer: fn(Answers) -> A,
    ) -> http::Response<tonic::body::Body>
    where
        Q: prost::Message + Default + Send + 'static,
        A: prost::Message + Default + Send + 'static,
    {
        let shared = self.clone();
        let service = service_fn(move |request: Request<Q>| {
            let shared = shared.clone();
            async move {
                *shared.asked.lock().unwrap() = Some(object(request.get_ref()));
                let now = shared.now().await?;
                Ok::<_, Status>(Response::new(answer(now)))
            }
        });
        let codec: ProstCodec<A, Q> = ProstCodec::default();
        Grpc::new(codec).unary(service, request).await
    }

    /// A message, or an end, at the start and at each change.
    async fn streaming<A>(
        &self,
        request: HttpRequest,
        message: impl Fn(&Answers) -> Option<Result<A, Status>> + Clone + Send + 'static,
    ) -> http::Response<tonic::body::Body>
    where
        A: prost::Message + Default + Send + 'static,
    {
        let (answers, streams) = (self.answers.subscribe(), Arc::clone(&self.streams));
        let service = service_fn(|_: Request<ScaledObjectRef>| {
            let open = Open::new(&streams);
            let messages = changes(answers.clone(), open, message.clone());
            async { Ok::<_, Status>(Response::new(messages)) }
        });
        let codec: ProstCodec<A, ScaledObjectRef> = ProstCodec::default();
        Grpc::new(codec).server_streaming(service, request).await
    }
}

fn changes<A: Send + 'static>(
    mut answers: watch::Receiver<Answers>,
    open: Open,
    message: impl Fn(&Answers) -> Option<Result<A, Status>> + Send + 'static,
) -> BoxStream<'static, Result<A, Status>> {
    answers.mark_changed();
    let messages = stream::unfold(
        (answers, open, message),
        |(mut answers, open, message)| async {
            loop {
                answers.changed().await.ok()?;
                let now = answers.borrow_and_update().clone();
                if now.ends_streams {
                    return None;
                }
                if let Some(sent) = message(&now) {
                    return Some((sent, (answers, open, message)));
                }
            }
        },
    );
    ended_by_errors(messages).boxed()
}

fn ended_by_errors<A>(
    messages: impl Stream<Item = Result<A, Status>>,
) -> impl Stream<Item = Result<A, Status>> {
    messages.scan(false, |ended, message| {
        let was_ended = std::mem::replace(ended, message.is_err());
        std::future::ready((!was_ended).then_some(message))
    })
}

fn specs(now: Answers) -> GetMetricSpecResponse {
    GetMetricSpecResponse {
        metric_specs: now.specs,
    }
}
