//! One open connection: what is asked on it, and what its errors mean.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, BufReader};
use tokio::runtime::Handle;
use tokio::time::timeout;

use super::packets::{OutOfOrder, Packets, length, text};
use super::refusal::Refusal;
use crate::clients::bounded::Received;
use crate::clients::sql::{self, ANSWER_BYTES, QUERY_TIMEOUT, value};
use crate::clients::tls::with_causes;
use crate::scaler::ScalerError;

/// A connection, encrypted or not.
pub trait Wire: AsyncRead + AsyncWrite + Send + Unpin {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> Wire for S {}

/// For the farewell.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);

const COM_QUIT: u8 = 1;
const COM_QUERY: u8 = 3;
const COM_PING: u8 = 14;

const OK: u8 = 0x00;
const LOCAL_FILE: u8 = 0xfb;
const END: u8 = 0xfe;

/// In the status at the end of an answer: another one follows, as from a procedure.
const MORE_FOLLOWS: u16 = 0x0008;

/// Why there is no answer.
#[derive(Debug)]
pub enum Failure {
    Refused(Refusal),
    /// A login that the server, or we, don't go along with.
    Login(String),
    Malformed(String),
    /// No way to the server.
    Way(String),
    Tls(TlsFailure),
    Io(io::Error),
}

/// Its cause says more, in a form that is known wherever it may happen.
#[derive(Debug, thiserror::Error)]
#[error("error performing TLS handshake")]
pub struct TlsFailure(#[source] pub io::Error);

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

impl Failure {
    /// # Errors
    /// When the packet is an error.
    pub fn refused(packet: &[u8]) -> Result<(), Self> {
        match packet.first() {
            Some(0xff) => Err(match Refusal::read(packet) {
                Some(refusal) => Self::Refused(refusal),
                None => Self::Malformed("an error of the server's is cut short".to_owned()),
            }),
            _ => Ok(()),
        }
    }

    pub fn explain(self, password: Option<&str>, received: &Received) -> ScalerError {
        if let Some(error) = received.too_large() {
            return error;
        }
        match self {
            Self::Refused(refusal) => refusal.explain(password),
            Self::Login(text) => ScalerError::Unauthorized(text),
            Self::Malformed(text) => ScalerError::Malformed(text),
            Self::Way(text) => ScalerError::Unreachable(text),
            Self::Tls(error) => ScalerError::Unreachable(with_causes(&error)),
            Self::Io(error) if is_out_of_order(&error) => ScalerError::Malformed(error.to_string()),
            Self::Io(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                ScalerError::Unreachable("the server closed the connection".to_owned())
            }
            Self::Io(error) => ScalerError::Unreachable(with_causes(&error)),
        }
    }
}

fn is_out_of_order(error: &io::Error) -> bool {
    let inner = error.get_ref();
    inner.is_some_and(|inner| inner.is::<OutOfOrder>())
}

/// A connection that is logged in. Dropped, it is closed.
pub struct Session {
    /// `None` once it is closed.
    packets: Option<Packets<BufReader<Box<dyn Wire>>>>,
    /// Set while an answer is awaited, and for good when the session's state isn't known.
    is_open_question: bool,
    place: String,
    password: Option<String>,
    received: Arc<Received>,
}

impl Session {
    pub fn new(
        packets: Packets<Box<dyn Wire>>,
        place: String,
        password: Option<String>,
        received: Arc<Received>,
    ) -> Self {
        Self {
            packets: Some(packets.over(BufReader::new)),
            is_open_question: false,
            place,
            password,
            received,
        }
    }

    /// Prepares the session: the connection string's own settings, and then, where the server knows how, that queries can only
    /// read and how long they may take.
    pub async fn set_up(&mut self, settings: &[(String, String)]) -> Result<(), ScalerError> {
        if !settings.is_empty() {
            let settings = settings
                .iter()
                .map(|(name, value)| format!("{name} = {value}"));
            let set = format!("SET {}", settings.collect::<Vec<_>>().join(", "));
            let set = self.execute(COM_QUERY, &set).await;
            set.map_err(|failure| self.explain(failure))?;
        }
        let limits = [
            "SET SESSION TRANSACTION READ ONLY".to_owned(),
            // MySQL's, and MariaDB's.
            format!(
                "SET SESSION max_execution_time = {}",
                QUERY_TIMEOUT.as_millis()
            ),
            format!(
                "SET SESSION max_statement_time = {}",
                QUERY_TIMEOUT.as_secs()
            ),
        ];
        for limit in limits {
            match self.execute(COM_QUERY, &limit).await {
                Ok(()) | Err(Failure::Refused(_)) => {}
                Err(failure) => return Err(self.explain(failure)),
            }
        }
        Ok(())
    }

    /// A command without rows.
    async fn execute(&mut self, command: u8, argument: &str) -> Result<(), Failure> {
        self.is_open_question = true;
        let packets = self.packets()?;
        packets.command(command, argument.as_bytes()).await?;
        let answer = packets.read().await?;
        self.is_open_question = false;
        Failure::refused(&answer)
    }

    fn packets(&mut self) -> Result<&mut Packets<BufReader<Box<dyn Wire>>>, Failure> {
        let closed = || Failure::Way("the connection is closed".to_owned());
        self.packets.as_mut().ok_or_else(closed)
    }

    fn explain(&self, failure: Failure) -> ScalerError {
        let password = self.password.as_deref();
        failure.explain(password, &self.received).at(&self.place)
    }
}

impl sql::Session for Session {
    fn is_sound(&self) -> bool {
        !self.is_open_question && self.received.past_limit().is_none()
    }

    async fn greet(&mut self) -> Result<(), ScalerError> {
        self.received.allow(ANSWER_BYTES);
        let greeted = self.execute(COM_PING, "").await;
        greeted.map_err(|failure| self.explain(failure))
    }

    async fn number(&mut self, query: &str) -> Result<f64, ScalerError> {
        self.is_open_question = true;
        let mut answer = Answer::default();
        let received = self.received.clone();
        let read = match self.packets() {
            Ok(packets) => answer.ask(packets, query).await,
            Err(closed) => Err(closed),
        };
        received.is_answered();
        // A statement without rows may have set anything.
        self.is_open_question = match &read {
            Ok(()) => answer.columns.is_none(),
            Err(Failure::Refused(_)) => false,
            Err(_) => true,
        };
        match read {
            // Of an answer that is too long, the first row counts.
            Err(Failure::Io(_)) if answer.first.is_some() && received.past_limit().is_some() => {}
            read => read.map_err(|failure| self.explain(failure))?,
        }
        answer.number().map_err(|error| error.at(&self.place))
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        let Some(mut packets) = self.packets.take() else {
            return;
        };
        // The server is told, so that it doesn't count a client that was lost. With a question open, it would wait for the answer.
        if let (Ok(runtime), false) = (Handle::try_current(), self.is_open_question) {
            runtime.spawn(async move {
                let _ = timeout(CLOSE_TIMEOUT, packets.command(COM_QUIT, &[])).await;
            });
        }
    }
}

/// What a query gives.
#[derive(Default)]
struct Answer {
    /// How many there are; `None` for a statement that gives no rows.
    columns: Option<u64>,
    /// The first row's first value, or NULL.
    first: Option<Option<Vec<u8>>>,
}

impl Answer {
    /// Asks, and reads the answer to its end, since an error may come behind the first row.
    async fn ask<S: AsyncRead + AsyncWrite + Unpin>(
        &mut self,
        packets: &mut Packets<S>,
        query: &str,
    ) -> Result<(), Failure> {
        let malformed = |text: &str| Failure::Malformed(text.to_owned());
        packets.command(COM_QUERY, query.as_bytes()).await?;
        loop {
            let head = packets.read().await?;
            Failure::refused(&head)?;
            let columns = match head.first() {
                // What follows a procedure's rows, too.
                Some(&OK) => return Ok(()),
                Some(&LOCAL_FILE) => {
                    return Err(malformed("the server asks for a file of the operator's"));
                }
                _ => length(&head).map(|(columns, _)| columns),
            };
            let columns = columns.ok_or_else(|| malformed("the answer's head is broken"))?;
            for _ in 0..columns {
                Failure::refused(&packets.read().await?)?;
            }
            if end(&packets.read().await?)?.is_none() {
                return Err(malformed("there are more columns than announced"));
            }
            let is_first = self.columns.is_none();
            self.columns.get_or_insert(columns);
            let status = loop {
                let row = packets.read().await?;
                if let Some(status) = end(&row)? {
                    break status;
                }
                if is_first && self.first.is_none() {
                    self.first = Some(match row.first() {
                        Some(0xfb) => None,
                        _ => {
                            let (value, _) =
                                text(&row).ok_or_else(|| malformed("a row is broken"))?;
                            Some(value.to_vec())
                        }
                    });
                }
            };
            if status & MORE_FOLLOWS == 0 {
                return Ok(());
            }
        }
    }

    fn number(self) -> Result<f64, ScalerError> {
        let columns = self.columns.unwrap_or_default();
        value::one_column(usize::try_from(columns).unwrap_or(usize::MAX))?;
        match self.first {
            None => Err(value::no_row()),
            Some(None) => Err(value::null()),
            Some(Some(text)) => value::of_text(&text),
        }
    }
}

/// The status, if it is the end of columns or rows.
fn end(packet: &[u8]) -> Result<Option<u16>, Failure> {
    Failure::refused(packet)?;
    Ok(match packet {
        // A row that begins so holds a text of 16 MB.
        [END, _, _, low, high] => Some(u16::from_le_bytes([*low, *high])),
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use tokio::io::AsyncWriteExt;

    use super::*;

    /// Packets in order, whatever they hold.
    fn packets(contents: &[Vec<u8>]) -> Vec<u8> {
        let packet = |(number, content): (u8, &Vec<u8>)| {
            let [a, b, c, ..] = (content.len() as u32).to_le_bytes();
            [&[a, b, c, number], &content[..]].concat()
        };
        (1..).zip(contents).flat_map(packet).collect()
    }

    async fn answer(sent: &[u8]) -> Result<f64, String> {
        let (mut server, client) = tokio::io::duplex(sent.len() + 1024);
        server.write_all(sent).await.unwrap();
        // What is asked stays in the pipe; the answer has an end.
        server.shutdown().await.unwrap();
        let mut answer = Answer::default();
        let asked = answer.ask(&mut Packets::new(client), "select 1").await;
        asked.map_err(|failure| format!("{failure:?}"))?;
        answer.number().map_err(|error| error.to_string())
    }

    #[tokio::test]
    async fn one_row_of_one_column_is_a_number() {
        let column = b"\x03def".to_vec();
        let end = vec![END, 0, 0, 0, 0];
        let sent = [vec![1], column, end.clone(), b"\x0242".to_vec(), end];
        assert_eq!(answer(&packets(&sent)).await, Ok(42.0));
    }

    proptest! {
        #[test]
        fn no_answer_panics_or_hangs(
            contents in proptest::collection::vec(proptest::collection::vec(prop_oneof![
                Just(0_u8), Just(1), Just(0xfb), Just(0xfc), Just(0xfe), Just(0xff), any::<u8>(),
            ], 0..12), 0..8),
            rest in proptest::collection::vec(any::<u8>(), 0..20),
        ) {
            let sent = [packets(&contents), rest].concat();
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            let _ = runtime.block_on(answer(&sent));
        }
    }
}
