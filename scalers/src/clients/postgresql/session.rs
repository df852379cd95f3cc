//! One open connection, and what its errors mean.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::sync::oneshot;
use tokio::time::timeout;
use tokio_postgres::error::{DbError, SqlState};
use tokio_postgres::{Client, Connection, Error};

use super::tls::Stream;
use crate::clients::bounded::{Bounded, Received};
use crate::clients::tls::with_causes;
use crate::scaler::ScalerError;

/// For the farewell, and for what is still under way when nobody waits for it any more.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);

/// A connection that is logged in. Dropped, it is closed.
pub struct Session {
    pub client: Client,
    place: String,
    password: Option<String>,
    received: Arc<Received>,
    _open: oneshot::Sender<()>,
}

impl Session {
    pub(super) fn new(
        client: Client,
        connection: Connection<Bounded<TcpStream>, Stream>,
        place: String,
        password: Option<String>,
        received: Arc<Received>,
    ) -> Self {
        let (open, closed) = oneshot::channel::<()>();
        tokio::spawn(async move {
            let mut connection = pin!(connection);
            tokio::select! {
                // Its error is what the client's next question fails with.
                _ = &mut connection => return,
                _ = closed => {}
            }
            let _ = timeout(CLOSE_TIMEOUT, connection).await;
        });
        Self {
            client,
            place,
            password,
            received,
            _open: open,
        }
    }

    /// What an error of the client means, with the host and without the password.
    pub fn explain(&self, error: &Error) -> ScalerError {
        let password = self.password.as_deref();
        explain(error, &self.place, password, &self.received)
    }

    /// The error with the host.
    pub fn at(&self, error: ScalerError) -> ScalerError {
        error.at(&self.place)
    }
}

pub(super) fn explain(
    error: &Error,
    place: &str,
    password: Option<&str>,
    received: &Received,
) -> ScalerError {
    let told = match (received.past_limit(), error.as_db_error()) {
        (Some(limit), _) => {
            let limit = limit / (1024 * 1024);
            ScalerError::Malformed(format!("the answer is larger than {limit} MiB"))
        }
        (None, Some(error)) => refused(error),
        (None, None) => failed(error),
    };
    // The server knows the password, or what was sent for one, and writes its messages itself.
    let told = match password.filter(|password| !password.is_empty()) {
        Some(password) => told.map(|text| text.replace(password, "***")),
        None => told,
    };
    told.at(place)
}

/// What the server says.
fn refused(error: &DbError) -> ScalerError {
    let code = error.code();
    let mut text = format!("{} (SQLSTATE {})", error.message(), code.code());
    if let Some(hint) = error.hint() {
        text.push_str(&format!("; {hint}"));
    }
    match (code, code.code().get(..2).unwrap_or_default()) {
        (&SqlState::INSUFFICIENT_PRIVILEGE, _) | (_, "28") => ScalerError::Unauthorized(text),
        // A database, a table, a column.
        (&SqlState::UNDEFINED_TABLE | &SqlState::UNDEFINED_COLUMN, _) | (_, "3D") => {
            ScalerError::NotFound(text)
        }
        // Connection lost, out of something, stopped by somebody or by a timeout, failing.
        (_, "08" | "53" | "57" | "58") => ScalerError::Unreachable(text),
        _ => ScalerError::Malformed(text),
    }
}

/// What went wrong on the way.
fn failed(error: &Error) -> ScalerError {
    let text = with_causes(error);
    if text.ends_with("password missing") {
        let text = "the server asks for a password, and none is given";
        return ScalerError::Unauthorized(text.to_owned());
    }
    ScalerError::Unreachable(text)
}
