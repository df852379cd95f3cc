//! One open connection, and what its errors mean.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use tokio::net::TcpStream;
use tokio::sync::oneshot;
use tokio::time::timeout;
use tokio_postgres::error::{DbError, ErrorPosition, SqlState};
use tokio_postgres::{Client, Connection, Error, SimpleQueryMessage, Statement};

use super::Role;
use super::number::Value;
use super::tls::Stream;
use crate::clients::bounded::{Bounded, Received};
use crate::clients::sql::{self, ANSWER_BYTES, QUERY_TIMEOUT, value};
use crate::clients::tls::with_causes;
use crate::limits::size;
use crate::scaler::ScalerError;

/// For the farewell, and for what is still under way when nobody waits for it any more.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);

/// In bytes: what a server says of a query's columns and their types, before it is asked for rows. The client asks for the type that an array
/// is made of, and for the one that that is made of, by recursion: a server that goes on so for ever, with 67 bytes a type, must not
/// use up a thread's stack, which would end the process. A debug build's holds more than 500.
const DESCRIPTION_BYTES: usize = 16 * 1024;

/// A connection that is logged in. Dropped, it is closed.
pub struct Session {
    pub client: Client,
    place: String,
    password: Option<String>,
    received: Arc<Received>,
    /// Set while a transaction of [`sql::Session`] is open.
    in_transaction: bool,
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
            in_transaction: false,
            _open: open,
        }
    }

    /// The answer is read to its end, since an error may come behind the first row; but of one that is too long, the first row
    /// counts.
    /// # Errors
    /// `Unreachable` when the server has another role.
    pub(super) async fn check_role(&self, role: Role) -> Result<(), ScalerError> {
        let wanted = match role {
            Role::Any => return Ok(()),
            Role::Primary => "f",
            Role::Standby => "t",
        };
        let answer = self.client.simple_query("select pg_is_in_recovery()").await;
        let answer = answer.map_err(|error| self.explain(&error))?;
        let is_standby = answer.iter().find_map(|message| match message {
            SimpleQueryMessage::Row(row) => row.get(0),
            _ => None,
        });
        match is_standby {
            Some(is_standby) if is_standby == wanted => Ok(()),
            _ => {
                let what = format!("it is not the {role:?} that target_session_attrs asks for");
                Err(self.at(ScalerError::Unreachable(what)))
            }
        }
    }

    /// Prepares a query, of whose answer `bytes` are read. Only one statement can be prepared: what ends the transaction and goes on
    /// to write is two.
    ///
    /// # Errors
    /// As [`Session::explain`].
    pub async fn prepare(&self, query: &str, bytes: usize) -> Result<Statement, ScalerError> {
        self.received.allow_no_more_than(DESCRIPTION_BYTES);
        let prepared = self.client.prepare(query).await;
        if self.received.past_limit().is_some() {
            let error = format!(
                "what the server says of the query's columns and their types is larger than {}",
                size(DESCRIPTION_BYTES)
            );
            return Err(self.at(ScalerError::Malformed(error)));
        }
        self.received.allow(bytes);
        prepared.map_err(|error| self.explain(&error))
    }

    async fn first_value(&self, query: &str) -> Result<f64, ScalerError> {
        let failed = |error| self.explain(&error);
        let statement = self.prepare(query, ANSWER_BYTES).await?;
        if !statement.params().is_empty() {
            let error = "the query has parameters, such as $1, which nobody gives";
            return Err(self.at(ScalerError::Malformed(error.to_owned())));
        }
        value::one_column(statement.columns().len()).map_err(|error| self.at(error))?;
        let none: [&str; 0] = [];
        let rows = self.client.query_raw(&statement, none).await;
        let mut rows = pin!(rows.map_err(failed)?);
        let mut first = None;
        while let Some(row) = rows.next().await {
            match row {
                Ok(row) if first.is_none() => {
                    let found = row.try_get::<_, Option<Value>>(0).map_err(failed)?;
                    first = Some(found.map_or_else(|| Err(value::null()), |Value(number)| number));
                }
                Ok(_) => {}
                Err(_) if first.is_some() && self.received.past_limit().is_some() => break,
                Err(error) => return Err(failed(error)),
            }
        }
        let first = first.unwrap_or_else(|| Err(value::no_row()));
        first.map_err(|error| self.at(error))
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

impl sql::Session for Session {
    fn is_sound(&self) -> bool {
        !self.in_transaction && !self.client.is_closed()
    }

    /// Begins the transaction of the question.
    async fn greet(&mut self) -> Result<(), ScalerError> {
        self.received.allow(ANSWER_BYTES);
        self.in_transaction = true;
        let begin = format!(
            "BEGIN READ ONLY; SET LOCAL statement_timeout = {}",
            QUERY_TIMEOUT.as_millis()
        );
        let begun = self.client.batch_execute(&begin).await;
        begun.map_err(|error| self.explain(&error))
    }

    async fn number(&mut self, query: &str) -> Result<f64, ScalerError> {
        let number = self.first_value(query).await;
        // Undoes what the query set for the session, too.
        if self.client.batch_execute("ROLLBACK").await.is_ok() {
            self.in_transaction = false;
        }
        self.received.is_answered();
        number
    }
}

pub(super) fn explain(
    error: &Error,
    place: &str,
    password: Option<&str>,
    received: &Received,
) -> ScalerError {
    let told = match (received.too_large(), error.as_db_error()) {
        (Some(error), _) => error,
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
    if let Some(ErrorPosition::Original(at)) = error.position() {
        text.push_str(&format!(" at character {at} of the query"));
    }
    if let Some(hint) = error.hint() {
        text.push_str(&format!("; {hint}"));
    }
    match (code, code.code().get(..2).unwrap_or_default()) {
        (&SqlState::INSUFFICIENT_PRIVILEGE, _) | (_, "28") => ScalerError::Unauthorized(text),
        // A database, a schema, a table, a column, a function.
        (
            &SqlState::UNDEFINED_TABLE
            | &SqlState::UNDEFINED_COLUMN
            | &SqlState::UNDEFINED_FUNCTION,
            _,
        )
        | (_, "3D" | "3F") => ScalerError::NotFound(text),
        // Connection lost, deadlock, out of something, stopped by somebody or by a timeout, failing.
        (&SqlState::LOCK_NOT_AVAILABLE, _) | (_, "08" | "40" | "53" | "57" | "58") => {
            ScalerError::Unreachable(text)
        }
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
    // The library has no other way to tell it from a lost connection.
    let strange = [
        "error parsing response from server",
        "unexpected message from server",
    ];
    if strange.iter().any(|beginning| text.starts_with(beginning)) {
        return ScalerError::Malformed(text);
    }
    ScalerError::Unreachable(text)
}
