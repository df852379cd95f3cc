//! Connections to PostgreSQL: where and as whom, TLS, and a bound on what the server may send.
//!
//! Names are looked up and sockets connected by [`Connector`], not by the client library, whose TLS setting and resolver would be
//! others than those of all other clients.

mod number;
mod session;
mod tls;

use std::sync::Arc;

use tokio::time::timeout;
use tokio_postgres::Config;
use tokio_postgres::config::SslMode;

pub use self::session::Session;
use self::tls::Tls;
use super::bounded::{Bounded, Received};
use super::sql::{ANSWER_BYTES, CONNECT_TIMEOUT, Connector, Endpoint, Pool, place};
use super::tls::TlsSettings;
use crate::scaler::ScalerError;

/// All servers that triggers ask, and connections for who needs one of his own.
pub type PostgreSqlPool = Pool<Database>;

/// A database, and as whom it is asked.
///
/// No `Debug`: it holds a password.
#[derive(Clone, PartialEq, Eq, Hash)]
#[cfg_attr(test, derive(Debug))]
pub struct Database {
    /// Tried in this order.
    pub hosts: Vec<(String, u16)>,
    pub user: String,
    pub password: Option<String>,
    /// The server's default is the database named as the user.
    pub name: Option<String>,
    pub encryption: Encryption,
    /// Command-line options for the server's process: `-c search_path=shop`.
    pub options: Option<String>,
    /// Which of several hosts is meant.
    pub role: Role,
}

/// What a server is among those that copy from one another (`target_session_attrs`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Role {
    #[default]
    Any,
    /// It is written to.
    Primary,
    /// It copies from another.
    Standby,
}

/// Whether TLS is spoken, and what the server has to show for it.
#[derive(Clone, PartialEq, Eq, Hash)]
pub enum Encryption {
    Never,
    /// With any certificate, and not at all if the server doesn't.
    IfOffered(TlsSettings),
    Always(TlsSettings),
    /// The certificate has to be an authority's, and may be for any host (`verify-ca`).
    AnyHost(TlsSettings),
}

#[cfg(test)]
impl std::fmt::Debug for Encryption {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Never => "Never",
            Self::IfOffered(_) => "IfOffered",
            Self::Always(tls) if tls.insecure => "Always, insecure",
            Self::Always(_) => "Always",
            Self::AnyHost(_) => "AnyHost",
        })
    }
}

impl PostgreSqlPool {
    /// Connects and logs in, apart from the sessions that triggers share. The server may send `bytes` over the session's life: past
    /// that the session fails, and no memory is spent on more. Takes as long as it takes: callers bound it in time.
    ///
    /// # Errors
    /// Of the last host that was tried, with its name. No message holds a password.
    pub async fn connect(&self, database: &Database, bytes: usize) -> Result<Session, ScalerError> {
        connect(self.connector(), database, bytes).await
    }
}

impl Endpoint for Database {
    type Session = Session;

    fn place(&self) -> String {
        let places = self.hosts.iter().map(|(host, port)| place(host, *port));
        places.collect::<Vec<_>>().join(",")
    }

    async fn log_in(self, connector: Arc<Connector>) -> Result<Session, ScalerError> {
        connect(&connector, &self, ANSWER_BYTES).await
    }
}

async fn connect(
    connector: &Connector,
    database: &Database,
    bytes: usize,
) -> Result<Session, ScalerError> {
    let mut last = ScalerError::Unreachable("no host is given".to_owned());
    // One that says nothing must not take the time of the others.
    let each = CONNECT_TIMEOUT
        / u32::try_from(database.hosts.len())
            .unwrap_or(u32::MAX)
            .max(1);
    for (host, port) in &database.hosts {
        let session = timeout(each, async {
            let session = log_in(connector, database, host, *port, bytes).await?;
            session.check_role(database.role).await?;
            Ok(session)
        });
        let late = |_| {
            let late = format!("no connection within {each:?}");
            Err(ScalerError::Unreachable(late).at(&place(host, *port)))
        };
        match session.await.unwrap_or_else(late) {
            Ok(session) => return Ok(session),
            // Another server of them would say the same.
            Err(error @ ScalerError::Unauthorized(_)) => return Err(error),
            Err(error) => last = error,
        }
    }
    Err(last)
}

async fn log_in(
    connector: &Connector,
    database: &Database,
    host: &str,
    port: u16,
    bytes: usize,
) -> Result<Session, ScalerError> {
    let place = place(host, port);
    let tls = match &database.encryption {
        Encryption::Never => None,
        Encryption::IfOffered(settings) | Encryption::Always(settings) => {
            Some(settings.client_config(connector.oldest_tls))
        }
        Encryption::AnyHost(settings) => {
            Some(settings.client_config_for_any_host(connector.oldest_tls))
        }
    };
    let tls = tls.transpose().map_err(ScalerError::Unauthorized)?;
    let stream = connector.tcp(host, port).await;
    let stream = stream.map_err(|error| ScalerError::Unreachable(error.to_string()).at(&place))?;
    let received = Arc::new(Received::new(bytes));
    let stream = Bounded::new(stream, received.clone(), place.clone());
    let connected = config(database)
        .connect_raw(stream, Tls::new(host, tls.map(Arc::new)))
        .await;
    let password = database.password.clone();
    match connected {
        Ok((client, connection)) => Ok(Session::new(client, connection, place, password, received)),
        Err(error) => Err(session::explain(
            &error,
            &place,
            password.as_deref(),
            &received,
        )),
    }
}

/// Told to the server: who looks at `pg_stat_activity` sees whose connection it is.
const APPLICATION: &str = "sakidori";

fn config(database: &Database) -> Config {
    let mut config = Config::new();
    config.user(&database.user).application_name(APPLICATION);
    config.ssl_mode(match database.encryption {
        Encryption::Never => SslMode::Disable,
        Encryption::IfOffered(_) => SslMode::Prefer,
        Encryption::Always(_) | Encryption::AnyHost(_) => SslMode::Require,
    });
    if let Some(password) = &database.password {
        config.password(password);
    }
    if let Some(name) = &database.name {
        config.dbname(name);
    }
    if let Some(options) = &database.options {
        config.options(options);
    }
    config
}
