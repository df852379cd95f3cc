//! One connection to one server: TCP, TLS, login, and commands on it.

use std::fmt::Display;
use std::sync::Arc;
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::{
    AsyncConnectionConfig, Cmd, ErrorKind, Pipeline, RedisConnectionInfo, RedisError, Value,
};
use rustls::ClientConfig;
use rustls_pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use super::address::Address;
use super::refusal;
use super::{Login, Product};
use crate::clients::bounded::{Bounded, Received};
use crate::clients::names::Names;
use crate::clients::tls::with_causes;
use crate::scaler::ScalerError;

/// From the name to the login. A healthy server on the other side of the world needs one second.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// For one question on an open connection.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);

/// In bytes. Answers are numbers and short texts, but a group's consumers are listed, and all groups of a stream: some 5,000 of them
/// fit.
const LONGEST_ANSWER: usize = 1024 * 1024;

/// How to connect, as whom.
pub struct Dialer {
    pub names: Names,
    /// `None` is plain TCP.
    pub tls: Option<Arc<ClientConfig>>,
    pub login: Login,
    pub database: i64,
    /// For messages.
    pub product: Product,
}

impl Dialer {
    /// The place that messages name.
    pub fn place(&self, address: &Address) -> String {
        format!("{} at {address}", self.product)
    }

    /// What a server's refusal means.
    pub fn refused(&self, address: &Address, refusal: &redis::ServerError) -> ScalerError {
        let error = refusal::meaning(refusal);
        self.without_secrets(error).at(&self.place(address))
    }

    /// A server knows the password, or what was sent for one, and writes its messages itself: `ERR unknown command 'AUTH', with
    /// args beginning with: ...`.
    fn without_secrets(&self, error: ScalerError) -> ScalerError {
        match &self.login.password {
            Some(password) => error.map(|text| text.replace(password.as_str(), "***")),
            None => error,
        }
    }
}

/// A connection that is logged in. Dropped, it is closed.
pub struct Link {
    connection: MultiplexedConnection,
    received: Arc<Received>,
    place: String,
    /// Reads and writes; ends when the connection does.
    driver: JoinHandle<()>,
}

impl Link {
    /// Takes 10 s at most.
    pub async fn open(dialer: &Dialer, address: &Address) -> Result<Self, ScalerError> {
        match timeout(CONNECT_TIMEOUT, Self::connect(dialer, address)).await {
            Ok(outcome) => outcome.map_err(|error| dialer.without_secrets(error)),
            Err(_) => Err(ScalerError::Unreachable(format!(
                "no connection within {CONNECT_TIMEOUT:?}"
            ))),
        }
        .map_err(|error| error.at(&dialer.place(address)))
    }

    async fn connect(dialer: &Dialer, address: &Address) -> Result<Self, ScalerError> {
        let stream = dialer.names.connect(&address.host, address.port).await;
        let stream = stream.map_err(unreachable)?;
        let received = Arc::new(Received::new(LONGEST_ANSWER));
        let stream = Bounded::new(stream, received.clone(), address.to_string());
        let link = match &dialer.tls {
            None => Self::over(stream, received, dialer.place(address)).await?,
            Some(config) => {
                let host = ServerName::try_from(address.host.clone()).map_err(unreachable)?;
                let connector = TlsConnector::from(config.clone());
                let stream = connector.connect(host, stream).await;
                let stream =
                    stream.map_err(|error| ScalerError::Unreachable(with_causes(&error)))?;
                Self::over(stream, received, dialer.place(address)).await?
            }
        };
        link.log_in(&dialer.login, dialer.database).await?;
        Ok(link)
    }

    async fn over<S>(stream: S, received: Arc<Received>, place: String) -> Result<Self, ScalerError>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        // The login is ours, so that its refusals mean the same as all others.
        let silent = RedisConnectionInfo::default().set_skip_set_lib_name();
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(None)
            .set_response_timeout(None);
        let made = MultiplexedConnection::new_with_config(&silent, stream, config).await;
        let (connection, driver) = made.map_err(unreachable)?;
        Ok(Self {
            connection,
            received,
            place,
            driver: tokio::spawn(driver),
        })
    }

    async fn log_in(&self, login: &Login, database: i64) -> Result<(), ScalerError> {
        let mut refused = None;
        for command in login.commands() {
            refused = match self.command(&command).await? {
                Value::Okay => None,
                Value::ServerError(refusal) => Some(refusal),
                _ => return Err(unexpected("login")),
            };
            // A server that does not know this way may know the next.
            if !refused.as_ref().is_some_and(Login::is_unknown_way) {
                break;
            }
        }
        if let Some(refusal) = refused {
            return Err(refusal::of_login(&refusal));
        }
        if database > 0 {
            let mut select = redis::cmd("SELECT");
            select.arg(database);
            return match self.command(&select).await? {
                Value::Okay => Ok(()),
                Value::ServerError(refusal) => Err(refusal::meaning(&refusal)
                    .map(|text| format!("can't select database {database}: {text}"))),
                _ => Err(unexpected("choice of a database")),
            };
        }
        Ok(())
    }

    pub fn is_open(&self) -> bool {
        !self.driver.is_finished()
    }

    /// The answer to a command, which may be a refusal. After an error the connection is of no use any more. `asking` asks a node
    /// of a cluster for a key that is on its way to it.
    pub async fn ask(&self, command: &Cmd, asking: bool) -> Result<Value, ScalerError> {
        let answer = async {
            if asking {
                self.asking(command).await
            } else {
                self.command(command).await
            }
        };
        match timeout(ANSWER_TIMEOUT, answer).await {
            Ok(outcome) => outcome,
            Err(_) => Err(ScalerError::Unreachable(format!(
                "no answer within {ANSWER_TIMEOUT:?}"
            ))),
        }
        .map_err(|error| error.at(&self.place))
    }

    async fn command(&self, command: &Cmd) -> Result<Value, ScalerError> {
        let mut connection = self.connection.clone();
        let answer = connection.send_packed_command(command).await;
        answer
            .inspect(|_| self.received.allow(LONGEST_ANSWER))
            .map_err(|error| self.failed(&error))
    }

    /// Both in one write: what others ask on this connection must not come between.
    async fn asking(&self, command: &Cmd) -> Result<Value, ScalerError> {
        let mut both = Pipeline::with_capacity(2);
        both.cmd("ASKING").add_command(command.clone());
        let mut connection = self.connection.clone();
        let answers = connection.send_packed_commands(&both, 0, 2).await;
        let answers = answers.map_err(|error| self.failed(&error))?;
        self.received.allow(LONGEST_ANSWER);
        answers.into_iter().nth(1).ok_or_else(|| {
            ScalerError::Malformed("two commands were answered by one answer".to_owned())
        })
    }

    fn failed(&self, error: &RedisError) -> ScalerError {
        if let Some(error) = self.received.too_large() {
            return error;
        }
        match error.kind() {
            ErrorKind::Parse => {
                ScalerError::Malformed("the answer is not in Redis' protocol".to_owned())
            }
            _ => ScalerError::Unreachable(with_causes(error)),
        }
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        // By itself it would wait for all answers that nobody needs any more.
        self.driver.abort();
    }
}

fn unexpected(question: &str) -> ScalerError {
    ScalerError::Malformed(format!(
        "the answer to the {question} is neither OK nor a refusal"
    ))
}

fn unreachable(error: impl Display) -> ScalerError {
    ScalerError::Unreachable(error.to_string())
}
