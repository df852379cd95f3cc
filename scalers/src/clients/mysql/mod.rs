//! Connections to MySQL and what speaks its protocol, such as MariaDB: where and as whom, TLS, and a bound on what the server may
//! send.
//!
//! The protocol is spoken here, with `mysql_common` for logins: the client library on top of it (`mysql_async`) has a TLS setting of
//! its own, allows several statements in one query, and reads an answer to its end, however long that is, when nobody waits for it
//! any more.

mod login;
mod packets;
mod refusal;
mod session;

use std::sync::Arc;

pub use self::session::Session;
use super::bounded::{Bounded, Received};
use super::sql::{ANSWER_BYTES, Connector, Endpoint, Pool, place};
use super::tls::TlsSettings;
use crate::scaler::ScalerError;

/// All servers that triggers ask.
pub type MySqlPool = Pool<Database>;

/// A database, and as whom it is asked.
///
/// No `Debug`: it holds a password.
#[derive(Clone, PartialEq, Eq, Hash)]
#[cfg_attr(test, derive(Debug))]
pub struct Database {
    pub host: String,
    pub port: u16,
    /// The anonymous user has no name.
    pub user: String,
    pub password: Option<String>,
    /// Without one, queries name their tables' database.
    pub name: Option<String>,
    pub encryption: Encryption,
    /// Whether the server gets the password itself, if it asks for it.
    pub cleartext_is_allowed: bool,
    /// Variables of the session: `time_zone` and `'+00:00'`.
    pub settings: Vec<(String, String)>,
}

/// Whether TLS is spoken, and what the server has to show for it.
#[derive(Clone, PartialEq, Eq, Hash)]
pub enum Encryption {
    Never,
    /// Not at all if the server doesn't.
    IfOffered(TlsSettings),
    Always(TlsSettings),
}

#[cfg(test)]
impl std::fmt::Debug for Encryption {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (name, tls) = match self {
            Self::Never => return f.write_str("Never"),
            Self::IfOffered(tls) => ("IfOffered", tls),
            Self::Always(tls) => ("Always", tls),
        };
        let insecure = if tls.insecure { ", insecure" } else { "" };
        write!(f, "{name}{insecure}")
    }
}

impl Endpoint for Database {
    type Session = Session;

    fn place(&self) -> String {
        place(&self.host, self.port)
    }

    async fn log_in(self, connector: Arc<Connector>) -> Result<Session, ScalerError> {
        let place = self.place();
        let tls = match &self.encryption {
            Encryption::Never => None,
            Encryption::IfOffered(settings) | Encryption::Always(settings) => {
                Some(settings.client_config(connector.oldest_tls))
            }
        };
        let tls = tls.transpose().map_err(ScalerError::Unauthorized)?;
        let stream = connector.tcp(&self.host, self.port).await;
        let stream =
            stream.map_err(|error| ScalerError::Unreachable(error.to_string()).at(&place))?;
        let received = Arc::new(Received::new(ANSWER_BYTES));
        let stream = Bounded::new(stream, received.clone(), place.clone());
        let password = self.password.clone();
        match login::log_in(stream, &self, tls).await {
            Ok(packets) => {
                let mut session = Session::new(packets, place, password, received);
                session.set_up(&self.settings).await?;
                Ok(session)
            }
            Err(failure) => Err(failure.explain(password.as_deref(), &received).at(&place)),
        }
    }
}
