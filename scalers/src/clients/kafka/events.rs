//! What a native client says by itself: its log, and why connections fail.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use rdkafka::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::ConsumerContext;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use tokio::sync::watch;
use tracing::debug;

use crate::scaler::ScalerError;

/// A refused login or certificate stays refused; with several brokers, another may be let in yet.
const AFTER_A_REFUSAL: Duration = Duration::from_millis(300);

/// All brokers are down: long enough for a second and a third address of theirs.
const AFTER_ALL_ARE_DOWN: Duration = Duration::from_millis(2500);

/// What is known of a client's connections since the last answer.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Connections {
    pub trouble: Option<Trouble>,
    /// There is none, and the last attempts failed.
    pub down: bool,
}

/// Why a connection failed.
#[derive(Clone, Debug, PartialEq)]
pub struct Trouble {
    pub kind: Kind,
    /// librdkafka's words.
    pub text: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Login,
    Tls,
    Network,
}

impl Connections {
    /// How much longer an answer is waited for.
    pub fn patience(&self) -> Option<Duration> {
        match &self.trouble {
            Some(trouble) if trouble.kind != Kind::Network => Some(AFTER_A_REFUSAL),
            _ if self.down => Some(AFTER_ALL_ARE_DOWN),
            _ => None,
        }
    }
}

impl Trouble {
    pub fn error(&self) -> ScalerError {
        let text = self.text.clone();
        match self.kind {
            Kind::Login => ScalerError::Unauthorized(text),
            Kind::Tls | Kind::Network => ScalerError::Unreachable(text),
        }
    }
}

/// Hears a client's events, on the thread that polls for them.
pub struct Events {
    connections: Arc<watch::Sender<Connections>>,
    heard: AtomicUsize,
}

impl Events {
    pub fn new(connections: Arc<watch::Sender<Connections>>) -> Self {
        Self {
            connections,
            heard: AtomicUsize::new(0),
        }
    }

    /// How many events there were.
    pub fn heard(&self) -> usize {
        self.heard.load(Ordering::Relaxed)
    }
}

impl ClientContext for Events {
    fn log(&self, _: RDKafkaLogLevel, facility: &str, message: &str) {
        self.heard.fetch_add(1, Ordering::Relaxed);
        debug!(facility, "librdkafka: {message}");
        // A connection that the broker closes, which is an error only for whoever waits for an answer.
        if facility == "FAIL" {
            self.connections.send_if_modified(|connections| {
                let news = connections.trouble.is_none();
                connections.trouble.get_or_insert_with(|| Trouble {
                    kind: Kind::Network,
                    text: without_timing(without_thread(message)).to_owned(),
                });
                news
            });
        }
    }

    fn error(&self, error: KafkaError, reason: &str) {
        self.heard.fetch_add(1, Ordering::Relaxed);
        debug!(%error, "librdkafka: {reason}");
        let Some(code) = error.rdkafka_error_code() else {
            return;
        };
        self.connections.send_if_modified(|connections| {
            let before = connections.clone();
            if code == RDKafkaErrorCode::AllBrokersDown {
                connections.down = true;
            } else if let Some(kind) = kind(code) {
                // What is to be done about a refusal is clearer than that a connection broke afterwards.
                let refused = connections
                    .trouble
                    .take_if(|trouble| trouble.kind != Kind::Network && kind == Kind::Network);
                let text = without_timing(reason).to_owned();
                connections.trouble = refused.or(Some(Trouble { kind, text }));
            }
            *connections != before
        });
    }
}

impl ConsumerContext for Events {}

/// `None` for errors that say nothing of a connection.
fn kind(code: RDKafkaErrorCode) -> Option<Kind> {
    use RDKafkaErrorCode as Code;
    match code {
        Code::Authentication
        | Code::SaslAuthenticationFailed
        | Code::UnsupportedSASLMechanism
        | Code::IllegalSASLState => Some(Kind::Login),
        Code::SSL => Some(Kind::Tls),
        Code::BrokerTransportFailure
        | Code::Resolve
        | Code::OperationTimedOut
        | Code::BadMessage
        | Code::CriticalSystemResource => Some(Kind::Network),
        _ => None,
    }
}

/// Without `(after 3ms in state CONNECT)`, which would make another text of the same error each time.
fn without_timing(reason: &str) -> &str {
    match reason.rfind(" (after ") {
        Some(at) => &reason[..at],
        None => reason,
    }
}

/// Without `[thrd:main]: `.
fn without_thread(message: &str) -> &str {
    match message.split_once("]: ") {
        Some((thread, rest)) if thread.starts_with("[thrd:") => rest,
        _ => message,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_are_told_apart_by_what_to_do_about_them() {
        let connections = Arc::new(watch::Sender::default());
        let events = Events::new(Arc::clone(&connections));
        let tell = |code, reason: &str| {
            events.error(KafkaError::Global(code), reason);
            connections.borrow().clone()
        };
        let told = tell(
            RDKafkaErrorCode::BrokerTransportFailure,
            "a:1/bootstrap: Connect to ipv4#127.0.0.1:1 failed: Connection refused (after 0ms in state CONNECT)",
        );
        assert_eq!(told.patience(), None, "another broker may be there");
        let told_error = told.trouble.unwrap().error();
        assert_eq!(
            told_error,
            ScalerError::Unreachable(
                "a:1/bootstrap: Connect to ipv4#127.0.0.1:1 failed: Connection refused".to_owned()
            )
        );
        let told = tell(RDKafkaErrorCode::AllBrokersDown, "1/1 brokers are down");
        assert_eq!(told.patience(), Some(AFTER_ALL_ARE_DOWN));
        let told = tell(
            RDKafkaErrorCode::Authentication,
            "a:1/bootstrap: SASL authentication error: Authentication failed",
        );
        assert_eq!(told.patience(), Some(AFTER_A_REFUSAL));
        let told = tell(RDKafkaErrorCode::BrokerTransportFailure, "Disconnected");
        assert_eq!(
            told.trouble.unwrap().error(),
            ScalerError::Unauthorized(
                "a:1/bootstrap: SASL authentication error: Authentication failed".to_owned()
            )
        );
        let before = connections.borrow().clone();
        assert_eq!(
            tell(RDKafkaErrorCode::GroupAuthorizationFailed, "of a group"),
            before
        );
        assert_eq!(events.heard(), 5);
    }
}
