//! The rows of one query as texts, such as a calendar: bounded in time and size, and unable to change anything.

use std::collections::BTreeMap;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use tokio::time::timeout;
use tokio_postgres::SimpleQueryMessage;

use super::connection::ConnectionParameters;
use crate::clients::Clients;
use crate::clients::postgresql::{Database, Session};
use crate::params;
use crate::scaler::{ScalerError, Trigger};

/// A query, and the database that answers it.
pub struct Table {
    database: Database,
    query: String,
    clients: Arc<Clients>,
}

/// Past these, reading fails.
#[derive(Clone, Copy, Debug)]
pub struct TableLimits {
    pub bytes: usize,
    pub rows: usize,
    pub within: Duration,
}

/// What a query returned: the columns' names, and of each row a text, or NULL, under each of them. Instants are in UTC with their
/// offset, intervals in ISO 8601.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rows {
    pub columns: Vec<String>,
    pub rows: Vec<Vec<Option<String>>>,
}

impl Table {
    /// `authentication` has KEDA's parameters of a connection: `connection`, or `host`, `port`, `userName`, `password`, `dbName` and
    /// `sslmode`; and for TLS `ca`, `cert`, `key` and `keyPassword`.
    ///
    /// # Errors
    /// For parameters that are missing or don't go together. Quotes no secret.
    pub fn new(
        query: &str,
        authentication: BTreeMap<String, String>,
        clients: &Arc<Clients>,
    ) -> Result<Self, String> {
        let trigger = Trigger {
            authentication,
            ..Trigger::new("postgresql")
        };
        let parameters: ConnectionParameters =
            params::parse(&trigger).map_err(|error| error.to_string())?;
        Ok(Self {
            database: parameters.database()?,
            query: query.to_owned(),
            clients: clients.clone(),
        })
    }

    /// Asks the query on a connection of its own, in a transaction that can only read and that the server ends after
    /// `limits.within`.
    ///
    /// # Errors
    /// With the host and never the password.
    pub async fn read(&self, limits: &TableLimits) -> Result<Rows, ScalerError> {
        let asked = async {
            let clients = &self.clients.postgresql;
            let session = clients.connect(&self.database, limits.bytes).await?;
            self.ask(&session, limits).await
        };
        timeout(limits.within, asked).await.unwrap_or_else(|_| {
            let hosts: Vec<_> = self.database.hosts.iter().map(|(host, _)| host).collect();
            let hosts = hosts.into_iter().cloned().collect::<Vec<_>>().join(",");
            let seconds = limits.within.as_secs();
            let error = format!("no complete answer within {seconds} s");
            Err(ScalerError::Unreachable(error).at(&hosts))
        })
    }

    async fn ask(&self, session: &Session, limits: &TableLimits) -> Result<Rows, ScalerError> {
        let client = &session.client;
        let failed = |error| session.explain(&error);
        let begin = format!(
            "BEGIN READ ONLY; SET LOCAL statement_timeout = {}; SET LOCAL timezone = 'UTC'; SET LOCAL datestyle = 'ISO'; \
             SET LOCAL intervalstyle = 'iso_8601'",
            limits.within.as_millis()
        );
        client.batch_execute(&begin).await.map_err(failed)?;
        let statement = session.prepare(&self.query, limits.bytes).await?;
        let columns: Vec<_> = statement
            .columns()
            .iter()
            .map(|column| column.name().to_owned())
            .collect();
        if columns.is_empty() {
            let error = "the query returns no columns: expected a select";
            return Err(session.at(ScalerError::Malformed(error.to_owned())));
        }
        drop(statement);
        // Asked this way, the server writes every type as a text.
        let answer = client.simple_query_raw(&self.query).await.map_err(failed)?;
        let mut answer = pin!(answer);
        let mut rows = Vec::new();
        while let Some(message) = answer.next().await {
            let SimpleQueryMessage::Row(row) = message.map_err(failed)? else {
                continue;
            };
            if rows.len() == limits.rows {
                let error = format!(
                    "the query returns more than the limit of {} rows: leave out what is over, or split the calendar",
                    limits.rows
                );
                return Err(session.at(ScalerError::Malformed(error)));
            }
            let texts = (0..row.len()).map(|at| Ok(row.try_get(at)?.map(str::to_owned)));
            rows.push(texts.collect::<Result<_, _>>().map_err(failed)?);
        }
        // Left open, it would be the server's to clean up. What was read counts, whatever becomes of it.
        let _ = client.batch_execute("ROLLBACK").await;
        Ok(Rows { columns, rows })
    }
}
