//! AMQP connections: one per broker, virtual host, credentials and TLS setting, shared by all triggers that name them.
//!
//! A [`Broker`] connects when it is asked something and isn't connected: never in the background, never twice at once (reads
//! that come meanwhile wait for the same attempt), and after a failure not before its back-off is over (until then reads get the
//! remembered error). A missing queue closes the channel that asked for it, which costs one channel and leaves the
//! connection alone. When the last scaler that refers to a broker is gone, its connection is closed.
//!
//! All waiting is bounded, and everything here is cancel-safe: an attempt runs on its own task, so that its outcome counts
//! even if nobody waits for it any more.

use std::collections::HashMap;
use std::fmt;
use std::io;
use std::net::{Shutdown, TcpStream};
use std::os::fd::AsFd;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use lapin::options::QueueDeclareOptions;
use lapin::protocol::AMQPError;
use lapin::tcp::{AMQPUriTcpExt, AsyncTcpStream, RustlsConnector};
use lapin::types::{FieldTable, ShortString};
use lapin::uri::{
    AMQPAuthority, AMQPQueryString, AMQPScheme, AMQPUri, AMQPUserInfo, SASLMechanism,
};
use lapin::{Channel, Connection, ConnectionProperties, ErrorKind};
use tokio::runtime::Handle;
use tokio::sync::Semaphore;
use tokio::time::timeout;

use super::TlsFloor;
use super::on_demand::OnDemand;
use super::tls::TlsSettings;
use crate::answers::{Answers, Freshness};
use crate::scaler::ScalerError;

/// How to log in, in AMQP's own words.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Mechanism {
    Plain,
    AmqPlain,
    /// By the client certificate.
    External,
}

/// From the first packet to an open connection: name, TCP, TLS and AMQP's own handshake. A healthy broker on the other
/// side of the world needs one second.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// For one question on an open connection.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);

/// For the closing handshake of a connection that nobody needs any more.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);

/// In seconds; RabbitMQ's own Go client, and so KEDA, asks for the same. The lower of this and the server's wish holds.
const HEARTBEAT: u16 = 10;

/// The least that RabbitMQ 4 agrees to. The client sets aside 64 frames per connection, which is 8 MiB at RabbitMQ's default;
/// the frames of a queue's length are less than 300 bytes long.
const FRAME_MAX: u32 = 8192;

/// Questions under way at the same time on one connection; more wait their turn.
const CHANNELS: usize = 16;

/// What a connection is shared by: triggers with equal endpoints use the same.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Endpoint {
    pub host: String,
    pub port: u16,
    /// Not encoded: `/` is the default one.
    pub vhost: String,
    pub username: String,
    pub password: String,
    pub mechanism: Mechanism,
    /// `None` is plain TCP.
    pub tls: Option<TlsSettings>,
}

/// Without credentials: `amqps://rabbit:5671, virtual host "/"`.
impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.tls.is_some() { "amqps" } else { "amqp" };
        let Self {
            host, port, vhost, ..
        } = self;
        if host.contains(':') {
            write!(f, "{scheme}://[{host}]:{port}, virtual host {vhost:?}")
        } else {
            write!(f, "{scheme}://{host}:{port}, virtual host {vhost:?}")
        }
    }
}

/// All AMQP connections of the process.
pub struct AmqpPool {
    oldest_tls: TlsFloor,
    /// A broker lives as long as a scaler refers to it.
    brokers: Mutex<HashMap<Endpoint, Weak<Broker>>>,
}

impl AmqpPool {
    pub fn new(oldest_tls: TlsFloor) -> Self {
        Self {
            oldest_tls,
            brokers: Mutex::default(),
        }
    }

    /// The broker at `endpoint`. Doesn't connect.
    pub fn broker(&self, endpoint: Endpoint) -> Arc<Broker> {
        let mut brokers = lock(&self.brokers);
        if let Some(broker) = brokers.get(&endpoint).and_then(Weak::upgrade) {
            return broker;
        }
        brokers.retain(|_, broker| broker.strong_count() > 0);
        let broker = Arc::new(Broker {
            endpoint: endpoint.clone(),
            oldest_tls: self.oldest_tls,
            link: OnDemand::default(),
            lengths: Answers::default(),
        });
        brokers.insert(endpoint, Arc::downgrade(&broker));
        broker
    }
}

/// One broker as one user: at most one connection.
pub struct Broker {
    endpoint: Endpoint,
    oldest_tls: TlsFloor,
    link: OnDemand<Link>,
    /// By queue.
    lengths: Answers<String, u32>,
}

impl Broker {
    /// The ready messages of a queue, by a passive declaration, which changes nothing on the broker.
    ///
    /// # Errors
    /// `NotFound` for a queue or virtual host that isn't there, `Unauthorized` for refused credentials or permissions,
    /// `Unreachable` when the broker can't be reached or doesn't answer in time.
    pub async fn ready_messages(
        self: &Arc<Self>,
        queue: &str,
        freshness: &Freshness,
    ) -> Result<u32, ScalerError> {
        let question = queue.to_owned();
        self.lengths
            .get(&question, freshness, || {
                let (broker, queue) = (Arc::clone(self), question.clone());
                async move { broker.count(&queue).await }
            })
            .await
    }

    async fn count(&self, queue: &str) -> Result<u32, ScalerError> {
        let link = self.link().await?;
        let answer = timeout(ANSWER_TIMEOUT, link.ready_messages(queue)).await;
        let error = match answer {
            Ok(Ok(messages)) => {
                self.link.answered();
                return Ok(messages);
            }
            Ok(Err(error)) => {
                let error = scaler_error(&error, &self.endpoint);
                if link.is_open() {
                    // The broker said no, by closing the channel: the connection is sound.
                    self.link.answered();
                    return Err(error);
                }
                error
            }
            Err(_) => unreachable_error(
                &self.endpoint,
                &format!("no answer within {ANSWER_TIMEOUT:?}"),
            ),
        };
        self.link.lost(&link, &error);
        Err(error)
    }

    /// The open connection, after connecting if need be.
    async fn link(&self) -> Result<Arc<Link>, ScalerError> {
        self.link
            .get(Link::is_open, || {
                let (endpoint, oldest_tls) = (self.endpoint.clone(), self.oldest_tls);
                async move { Link::open(&endpoint, oldest_tls).await }
            })
            .await
    }
}

/// An open connection with its channels.
struct Link {
    /// Shared with the task that closes it.
    connection: Arc<Connection>,
    socket: Arc<Socket>,
    /// Channels that nobody asks on at the moment.
    idle: Mutex<Vec<Channel>>,
    turns: Semaphore,
}

impl Link {
    async fn open(endpoint: &Endpoint, oldest_tls: TlsFloor) -> Result<Self, ScalerError> {
        let socket = Arc::new(Socket::default());
        // Ends the client's thread and frees its descriptor, whether the attempt times out or is cancelled.
        let give_up = CutOnDrop(Arc::clone(&socket));
        let connecting = connect(endpoint, oldest_tls, Arc::clone(&socket));
        let connection = match timeout(CONNECT_TIMEOUT, connecting).await {
            Ok(Ok(connection)) => connection,
            Ok(Err(error)) => return Err(scaler_error(&error, endpoint)),
            Err(_) => {
                return Err(unreachable_error(
                    endpoint,
                    &format!("no connection within {CONNECT_TIMEOUT:?}"),
                ));
            }
        };
        give_up.disarm();
        Ok(Self {
            connection: Arc::new(connection),
            socket,
            idle: Mutex::default(),
            turns: Semaphore::new(CHANNELS),
        })
    }

    fn is_open(&self) -> bool {
        self.connection.status().connected()
    }

    async fn ready_messages(&self, queue: &str) -> Result<u32, lapin::Error> {
        let queue = ShortString::try_new(queue).map_err(io::Error::other)?;
        // Never closed, so this doesn't fail.
        let _turn = self.turns.acquire().await.map_err(io::Error::other)?;
        let idle = lock(&self.idle).pop();
        let channel = match idle.filter(|channel| channel.status().connected()) {
            Some(channel) => channel,
            None => self.connection.create_channel().await?,
        };
        let passive = QueueDeclareOptions {
            passive: true,
            ..QueueDeclareOptions::default()
        };
        // On an error, and when this future is dropped, the channel is dropped too, which closes it.
        let messages = channel
            .queue_declare(queue, passive, FieldTable::default())
            .await?
            .message_count();
        lock(&self.idle).push(channel);
        Ok(messages)
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        lock(&self.idle).clear();
        let (connection, socket) = (Arc::clone(&self.connection), Arc::clone(&self.socket));
        match Handle::try_current() {
            Ok(runtime) if self.is_open() => {
                runtime.spawn(async move {
                    let _ = timeout(CLOSE_TIMEOUT, connection.close(200, "OK".into())).await;
                    socket.cut();
                });
            }
            _ => socket.cut(),
        }
    }
}

/// Opens a connection with the endpoint's TLS setting. The client's own thread does the work, so dropping this future ends
/// nothing: cut `socket` for that.
async fn connect(
    endpoint: &Endpoint,
    oldest_tls: TlsFloor,
    socket: Arc<Socket>,
) -> Result<Connection, lapin::Error> {
    let uri = AMQPUri {
        // The closure below adds TLS, with the endpoint's setting instead of the client's own.
        scheme: AMQPScheme::AMQP,
        authority: AMQPAuthority {
            userinfo: AMQPUserInfo {
                username: endpoint.username.clone(),
                password: endpoint.password.clone(),
            },
            host: endpoint.host.clone(),
            port: endpoint.port,
        },
        vhost: endpoint.vhost.clone(),
        query: AMQPQueryString {
            frame_max: Some(FRAME_MAX),
            heartbeat: Some(HEARTBEAT),
            auth_mechanism: Some(match endpoint.mechanism {
                Mechanism::Plain => SASLMechanism::Plain,
                Mechanism::AmqPlain => SASLMechanism::AMQPlain,
                Mechanism::External => SASLMechanism::External,
            }),
            ..AMQPQueryString::default()
        },
    };
    let tls = match &endpoint.tls {
        Some(settings) => Some(RustlsConnector::from(
            settings
                .client_config(oldest_tls)
                .map_err(io::Error::other)?,
        )),
        None => None,
    };
    // Neither retries nor recovery: the default properties have none of both.
    let properties = ConnectionProperties::default().with_connection_name("sakidori".into());
    let runtime = lapin::runtime::default_runtime()?;
    Connection::connector(
        uri,
        runtime,
        async move |uri, runtime| {
            let stream = timeout(CONNECT_TIMEOUT, async {
                let stream = AMQPUriTcpExt::connect_async(&uri, &runtime).await?;
                if let AsyncTcpStream::Plain(stream) = &stream {
                    socket.hold(stream.get_ref())?;
                }
                match &tls {
                    Some(tls) => stream.into_rustls(tls, &uri.authority.host).await,
                    None => Ok(stream),
                }
            });
            Ok(stream.await.map_err(io::Error::from).flatten()?)
        },
        properties,
    )
    .await
}

/// A second handle of a connection's socket, to end the connection when the broker doesn't play along.
#[derive(Default)]
struct Socket(Mutex<Held>);

#[derive(Default)]
enum Held {
    #[default]
    Nothing,
    Stream(TcpStream),
    Cut,
}

impl Socket {
    /// # Errors
    /// When it has been cut before, or without descriptors.
    fn hold(&self, stream: &impl AsFd) -> io::Result<()> {
        let mut held = lock(&self.0);
        if matches!(*held, Held::Cut) {
            return Err(io::ErrorKind::TimedOut.into());
        }
        *held = Held::Stream(TcpStream::from(stream.as_fd().try_clone_to_owned()?));
        Ok(())
    }

    /// Ends the connection under the client, which sees the end of the stream. For good: what is held later is refused.
    fn cut(&self) {
        if let Held::Stream(stream) = std::mem::replace(&mut *lock(&self.0), Held::Cut) {
            // Already closed by the broker, perhaps.
            let _ = stream.shutdown(Shutdown::Both);
        }
    }
}

/// Cuts a socket unless disarmed.
struct CutOnDrop(Arc<Socket>);

impl CutOnDrop {
    fn disarm(mut self) {
        self.0 = Arc::default();
    }
}

impl Drop for CutOnDrop {
    fn drop(&mut self) {
        self.0.cut();
    }
}

fn scaler_error(error: &lapin::Error, endpoint: &Endpoint) -> ScalerError {
    let text = |reason: &dyn fmt::Display| format!("RabbitMQ at {endpoint}: {reason}");
    match error.kind() {
        ErrorKind::ProtocolError(refusal) => refused(refusal)(text(refusal.get_message())),
        ErrorKind::AuthProviderError(reason) => ScalerError::Unauthorized(text(reason)),
        ErrorKind::IOError(reason) => ScalerError::Unreachable(text(reason)),
        ErrorKind::InvalidProtocolVersion(_) | ErrorKind::ParsingError(_) => {
            ScalerError::Malformed(text(error))
        }
        _ => ScalerError::Unreachable(text(error)),
    }
}

/// By AMQP's reply codes.
fn refused(refusal: &AMQPError) -> fn(String) -> ScalerError {
    match refusal.get_id() {
        404 => ScalerError::NotFound,
        // Opening a virtual host that isn't there, or that the user may not enter: the same code for both.
        530 if refusal.get_message().as_str().contains("not found") => ScalerError::NotFound,
        // Refused login or permission; a queue that belongs to another connection alone; see above.
        403 | 405 | 530 => ScalerError::Unauthorized,
        // A shutdown or an operator closes the connection; out of resources; internal error.
        320 | 506 | 541 => ScalerError::Unreachable,
        _ => ScalerError::Malformed,
    }
}

fn unreachable_error(endpoint: &Endpoint, reason: &str) -> ScalerError {
    ScalerError::Unreachable(format!("RabbitMQ at {endpoint}: {reason}"))
}

/// A panic elsewhere doesn't leave these states half-written, so a poisoned lock is as good as any.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
