//! gRPC clients: one per address and TLS setting, kept across failing calls.
//!
//! Calls and streams have a connection each: a server may allow a hundred streams on a connection, and as many triggers that listen
//! must not keep polls from their turn.

use std::collections::HashMap;
use std::error::Error;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use ::http::uri::PathAndQuery;
use futures::Stream;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioIo;
use prost::Message;
use rustls::ClientConfig;
use rustls_pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tonic::client::Grpc;
use tonic::transport::{self, Channel, Uri};
use tonic::{Code, Request, Status, Streaming};
use tonic_prost::ProstCodec;
use tower::{Service, service_fn};

use super::TlsFloor;
use super::tls::TlsSettings;
use crate::scaler::ScalerError;

/// Time for a TCP connection, and again for TLS and HTTP/2 on it: enough for a lost packet or two.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
/// How soon the kernel asks whether a silent server is still there. A stream may be silent for days, and HTTP/2 pings in its
/// stead would make servers in Go close the connection, unless they come five minutes apart.
const TCP_KEEPALIVE: Duration = Duration::from_secs(30);
/// A message is a few numbers and names; what is larger is a mistake, and must not fill the memory.
/// Hundreds of calls may be under way.
const LARGEST_MESSAGE: usize = 256 * 1024;
/// The most of a server's own words that is repeated.
const LONGEST_REASON: usize = 300;
/// How long a server counts as silent after a call that it left unanswered.
const SILENT_FOR: Duration = Duration::from_secs(5);
/// A server that nobody uses any more is forgotten after this time: not at once, since a trigger that can't be built yet is tried
/// again and again.
const KEPT_UNUSED: Duration = Duration::from_secs(300);

/// Whom to talk to, and how.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Endpoint {
    pub address: Address,
    /// `None` speaks plain text.
    pub tls: Option<TlsSettings>,
}

/// A host and a port.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Address {
    /// Without brackets.
    host: String,
    port: u16,
}

impl Address {
    /// Parses what gRPC takes for the address of a server: `HOST:PORT`, with or without `dns:///` before it. Without a port
    /// it is 443.
    ///
    /// # Errors
    /// What was expected instead.
    pub fn parse(text: &str) -> Result<Self, String> {
        Self::parse_with_port(text, 443)
    }

    /// The same where another port is the one that is meant without a port.
    ///
    /// # Errors
    /// As [`Address::parse`].
    pub fn parse_with_port(text: &str, default_port: u16) -> Result<Self, String> {
        const EXPECTED: &str = "expected HOST:PORT, such as scaler.shop.svc:9090";
        let bare = ["dns:///", "dns:", "passthrough:///"]
            .into_iter()
            .find_map(|scheme| text.strip_prefix(scheme))
            .unwrap_or(text);
        if bare.contains(['/', '@', '?', '#', ' ']) {
            return Err(EXPECTED.to_owned());
        }
        let (host, port) = match bare.strip_prefix('[') {
            Some(rest) => rest.split_once(']').ok_or(EXPECTED)?,
            // An IPv6 address without brackets has no port.
            None if bare.matches(':').count() > 1 => (bare, ""),
            None => bare.split_at(bare.find(':').unwrap_or(bare.len())),
        };
        let port = match port.strip_prefix(':') {
            None if port.is_empty() => default_port,
            None => return Err(EXPECTED.to_owned()),
            Some(port) => port.parse().map_err(|_| EXPECTED.to_owned())?,
        };
        let address = Self {
            host: host.to_owned(),
            port,
        };
        if host.is_empty() || address.uri("http").is_err() {
            return Err(EXPECTED.to_owned());
        }
        Ok(address)
    }

    fn uri(&self, scheme: &str) -> Result<Uri, String> {
        format!("{scheme}://{self}")
            .parse()
            .map_err(|error| format!("{self} is no address of a server: {error}"))
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { host, port } = self;
        if host.contains(':') {
            write!(f, "[{host}]:{port}")
        } else {
            write!(f, "{host}:{port}")
        }
    }
}

/// All gRPC clients of the process.
pub struct GrpcPool {
    oldest_tls: TlsFloor,
    servers: Mutex<HashMap<Endpoint, (Arc<Server>, Instant)>>,
}

impl GrpcPool {
    pub fn new(oldest_tls: TlsFloor) -> Self {
        Self {
            oldest_tls,
            servers: Mutex::default(),
        }
    }

    /// The server at `endpoint`. Doesn't connect.
    ///
    /// # Errors
    /// Where the TLS setting is not usable: names its part (`ca`, `cert`, `key`), and quotes none.
    pub fn server(&self, endpoint: &Endpoint) -> Result<Arc<Server>, String> {
        let now = Instant::now();
        let mut servers = lock(&self.servers);
        for (server, used) in servers.values_mut() {
            if Arc::strong_count(server) > 1 {
                *used = now;
            }
        }
        servers.retain(|_, (_, used)| now.duration_since(*used) < KEPT_UNUSED);
        if let Some((server, used)) = servers.get_mut(endpoint) {
            *used = now;
            return Ok(Arc::clone(server));
        }
        let server = Arc::new(Server::new(endpoint, self.oldest_tls)?);
        servers.insert(endpoint.clone(), (Arc::clone(&server), now));
        Ok(server)
    }
}

/// One server: a connection for calls and one for streams, each made when it is first needed and again after it was lost.
pub struct Server {
    address: Address,
    calls: Line,
    streams: Line,
    /// When a call was last given up, unless any was answered since.
    silent_since: Mutex<Option<Instant>>,
}

impl Server {
    /// One that is not in the pool. Doesn't connect.
    ///
    /// # Errors
    /// As [`GrpcPool::server`].
    pub(super) fn new(endpoint: &Endpoint, oldest_tls: TlsFloor) -> Result<Self, String> {
        let tls = endpoint.tls.as_ref();
        let mut tls = tls
            .map(|settings| settings.client_config(oldest_tls))
            .transpose()?;
        if let Some(tls) = &mut tls {
            tls.alpn_protocols = vec![b"h2".to_vec()];
        }
        let dial = Arc::new(Dial::new(&endpoint.address, tls.map(Arc::new))?);
        Ok(Self {
            address: endpoint.address.clone(),
            calls: Line::new(&dial),
            streams: Line::new(&dial),
            silent_since: Mutex::default(),
        })
    }

    pub fn address(&self) -> &Address {
        &self.address
    }

    /// Whether it left a call unanswered a moment ago, and none was answered since. Who can't wait need not ask.
    pub fn is_silent(&self) -> bool {
        lock(&self.silent_since).is_some_and(|since| since.elapsed() < SILENT_FOR)
    }

    /// Asks one question. `path` is `/package.Service/Method`.
    ///
    /// # Errors
    /// By what the server's status code says to do; `Unreachable` where there is no connection, or no answer `within` this time.
    pub async fn call<Q, A>(
        &self,
        path: &'static str,
        question: Q,
        within: Duration,
    ) -> Result<A, ScalerError>
    where
        Q: Message + 'static,
        A: Message + Default + 'static,
    {
        let answer = self.ask(path, Request::new(question), within).await;
        answer.map_err(|status| scaler_error(&status).at(&self.place(path)))
    }

    /// The same with headers of the caller's, who makes an error of the status.
    ///
    /// # Errors
    /// The server's or the connection's own word, which [`scaler_error`] understands.
    pub async fn ask<Q, A>(
        &self,
        path: &'static str,
        question: Request<Q>,
        within: Duration,
    ) -> Result<A, Status>
    where
        Q: Message + 'static,
        A: Message + Default + 'static,
    {
        let (number, channel) = self.calls.channel();
        let asked = async {
            let mut client = client(channel).await?;
            let codec: ProstCodec<Q, A> = ProstCodec::default();
            let path = PathAndQuery::from_static(path);
            let answer = client.unary(question, path, codec).await?;
            Ok(answer.into_inner())
        };
        let answer = timeout(within, asked).await;
        *lock(&self.silent_since) = answer.is_err().then(Instant::now);
        answer.unwrap_or_else(|_| {
            self.calls.connect_anew(number);
            Err(Status::from_error(Box::new(NoAnswer(within))))
        })
    }

    /// Opens a stream of answers. Waits for the first of them as long as it takes: many servers send nothing before it.
    ///
    /// # Errors
    /// The server's or the connection's own word.
    pub async fn stream<Q, A>(
        &self,
        path: &'static str,
        question: Q,
    ) -> Result<Streaming<A>, Status>
    where
        Q: Message + 'static,
        A: Message + Default + 'static,
    {
        let mut client = client(self.streams.channel().1).await?;
        let codec: ProstCodec<Q, A> = ProstCodec::default();
        let path = PathAndQuery::from_static(path);
        let answers = client.server_streaming(Request::new(question), path, codec);
        Ok(answers.await?.into_inner())
    }

    /// Opens a stream of questions and answers, with headers of the caller's, and gives the first answer with it.
    ///
    /// # Errors
    /// As [`Server::ask`].
    pub async fn converse<Q, A>(
        &self,
        path: &'static str,
        questions: Request<impl Stream<Item = Q> + Send + 'static>,
        within: Duration,
    ) -> Result<(A, Streaming<A>), Status>
    where
        Q: Message + 'static,
        A: Message + Default + 'static,
    {
        let (number, channel) = self.streams.channel();
        let opened = async {
            let mut client = client(channel).await?;
            let codec: ProstCodec<Q, A> = ProstCodec::default();
            let path = PathAndQuery::from_static(path);
            let mut answers = client.streaming(questions, path, codec).await?.into_inner();
            let first = answers.message().await?;
            let first = first.ok_or_else(|| Status::unavailable("it ended the stream at once"))?;
            Ok((first, answers))
        };
        timeout(within, opened).await.unwrap_or_else(|_| {
            self.streams.connect_anew(number);
            Err(Status::from_error(Box::new(NoAnswer(within))))
        })
    }

    fn place(&self, path: &str) -> String {
        let method = path.rsplit('/').next().unwrap_or(path);
        format!("{} at {}", method, self.address)
    }
}

async fn client(channel: Channel) -> Result<Grpc<Channel>, Status> {
    let mut client = Grpc::new(channel).max_decoding_message_size(LARGEST_MESSAGE);
    client
        .ready()
        .await
        .map_err(|error| Status::from_error(Box::new(error)))?;
    Ok(client)
}

/// A server that is there, and silent.
#[derive(Debug, thiserror::Error)]
#[error("no answer within {0:?}")]
struct NoAnswer(Duration);

/// One connection, which can be given up for a new one.
struct Line {
    dial: Arc<Dial>,
    current: Mutex<(u64, Channel)>,
}

impl Line {
    fn new(dial: &Arc<Dial>) -> Self {
        Self {
            current: Mutex::new((0, dial.channel())),
            dial: Arc::clone(dial),
        }
    }

    fn channel(&self) -> (u64, Channel) {
        let current = lock(&self.current);
        (current.0, current.1.clone())
    }

    /// What doesn't answer may be a connection to a machine that is gone, and would be for another quarter of an hour.
    fn connect_anew(&self, number: u64) {
        let mut current = lock(&self.current);
        // Of several calls that waited on the same connection, the first one.
        if current.0 == number {
            *current = (number + 1, self.dial.channel());
        }
    }
}

/// How a connection is made.
struct Dial {
    endpoint: transport::Endpoint,
    tls: Option<(TlsConnector, ServerName<'static>)>,
}

impl Dial {
    fn new(address: &Address, tls: Option<Arc<ClientConfig>>) -> Result<Self, String> {
        let scheme = if tls.is_some() { "https" } else { "http" };
        let endpoint = transport::Endpoint::from(address.uri("http")?)
            .origin(address.uri(scheme)?)
            .connect_timeout(CONNECT_TIMEOUT * 2);
        let tls = tls
            .map(|config| {
                let name = ServerName::try_from(address.host.clone());
                let name = name
                    .map_err(|_| format!("{:?} is no name that a certificate has", address.host))?;
                Ok::<_, String>((TlsConnector::from(config), name))
            })
            .transpose()?;
        Ok(Self { endpoint, tls })
    }

    /// A connection that is made when it is first used.
    fn channel(&self) -> Channel {
        let mut tcp = HttpConnector::new();
        tcp.set_connect_timeout(Some(CONNECT_TIMEOUT));
        tcp.set_keepalive(Some(TCP_KEEPALIVE));
        tcp.set_keepalive_interval(Some(TCP_KEEPALIVE / 3));
        tcp.set_nodelay(true);
        let tls = self.tls.clone();
        self.endpoint
            .connect_with_connector_lazy(service_fn(move |uri: Uri| {
                let (mut tcp, tls) = (tcp.clone(), tls.clone());
                async move {
                    let stream = tcp.call(uri).await?.into_inner();
                    let stream: Box<dyn Wire> = match tls {
                        Some((tls, name)) => Box::new(tls.connect(name, stream).await?),
                        None => Box::new(stream),
                    };
                    Ok::<_, Box<dyn Error + Send + Sync>>(TokioIo::new(stream))
                }
            }))
    }
}

trait Wire: AsyncRead + AsyncWrite + Send + Unpin {}
impl<S: AsyncRead + AsyncWrite + Send + Unpin> Wire for S {}

/// What to do about a failed call.
pub fn scaler_error(status: &Status) -> ScalerError {
    let reason = reason(status);
    // Only what happened on this side has a source: a server's status is a number and a text.
    if status.source().is_some() {
        return ScalerError::Unreachable(reason);
    }
    match status.code() {
        Code::Unauthenticated | Code::PermissionDenied => ScalerError::Unauthorized(reason),
        Code::NotFound => ScalerError::NotFound(reason),
        Code::ResourceExhausted => ScalerError::RateLimited {
            retry_after: None,
            message: reason,
        },
        Code::Unavailable | Code::DeadlineExceeded | Code::Cancelled | Code::Aborted => {
            ScalerError::Unreachable(reason)
        }
        _ => ScalerError::Malformed(reason),
    }
}

/// Why a call failed: the innermost cause on this side, or the server's own words.
pub fn reason(status: &Status) -> String {
    let mut cause = status.source();
    while let Some(inner) = cause.and_then(Error::source) {
        cause = Some(inner);
    }
    let text = match cause {
        Some(cause) => cause.to_string(),
        None => format!("{:?}: {}", status.code(), status.message()),
    };
    match text.char_indices().nth(LONGEST_REASON) {
        Some((end, _)) => format!("{}...", &text[..end]),
        None => text,
    }
}

/// A panic elsewhere doesn't leave these states half-written, so a poisoned lock is as good as any.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_grpcs() {
        for (text, shown) in [
            ("scaler:9090", Some("scaler:9090")),
            (
                "scaler.shop.svc.cluster.local",
                Some("scaler.shop.svc.cluster.local:443"),
            ),
            ("dns:///scaler:9090", Some("scaler:9090")),
            ("passthrough:///10.0.0.1:9090", Some("10.0.0.1:9090")),
            ("[fd00::1]:9090", Some("[fd00::1]:9090")),
            ("[fd00::1]", Some("[fd00::1]:443")),
            ("fd00::1", Some("[fd00::1]:443")),
            ("http://scaler:9090", None),
            ("unix:///run/scaler.sock", None),
            ("scaler:port", None),
            ("scaler:", None),
            ("scaler:99999", None),
            (":9090", None),
            ("", None),
            ("user@scaler:9090", None),
            ("[fd00::1", None),
            ("sca ler:1", None),
        ] {
            let parsed = Address::parse(text).ok().map(|address| address.to_string());
            assert_eq!(parsed.as_deref(), shown, "{text:?}");
        }
    }

    #[test]
    fn status_codes_say_what_to_do() {
        let error = |code: Code| scaler_error(&Status::new(code, "because"));
        assert_eq!(
            error(Code::Unauthenticated),
            ScalerError::Unauthorized("Unauthenticated: because".into())
        );
        assert!(matches!(error(Code::NotFound), ScalerError::NotFound(_)));
        assert!(matches!(
            error(Code::ResourceExhausted),
            ScalerError::RateLimited {
                retry_after: None,
                ..
            }
        ));
        assert!(matches!(
            error(Code::Unavailable),
            ScalerError::Unreachable(_)
        ));
        assert!(matches!(error(Code::Unknown), ScalerError::Malformed(_)));
        let long = Status::new(Code::Unknown, "x".repeat(100_000));
        assert!(reason(&long).len() < 400);
    }

    #[tokio::test]
    async fn equal_endpoints_share_a_server() {
        let pool = GrpcPool::new(TlsFloor::default());
        let endpoint = |port: u16, tls: Option<TlsSettings>| Endpoint {
            address: Address::parse(&format!("localhost:{port}")).unwrap(),
            tls,
        };
        let first = pool.server(&endpoint(1, None)).unwrap();
        assert!(Arc::ptr_eq(
            &first,
            &pool.server(&endpoint(1, None)).unwrap()
        ));
        assert!(!Arc::ptr_eq(
            &first,
            &pool.server(&endpoint(2, None)).unwrap()
        ));
        let tls = Some(TlsSettings::default());
        assert!(!Arc::ptr_eq(
            &first,
            &pool.server(&endpoint(1, tls)).unwrap()
        ));
    }
}
