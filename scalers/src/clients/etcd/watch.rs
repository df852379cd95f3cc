//! One key, watched.

use std::sync::Arc;

use futures::stream::{self, StreamExt};
use tokio::sync::oneshot;
use tonic::metadata::MetadataValue;
use tonic::{Code, Status, Streaming};

use super::protocol::{PUT, WATCH, WatchCreateRequest, WatchRequest, WatchResponse};
use super::{CONNECT_TIMEOUT, Etcd, Session};
use crate::scaler::ScalerError;

/// Puts of a key from now on. Dropped, it ends on the server, too.
pub struct Watch<'a> {
    etcd: &'a Etcd,
    session: Arc<Session>,
    stream: WatchStream,
}

/// A stream with one watch.
struct WatchStream {
    answers: Streaming<WatchResponse>,
    /// The questions' side of the stream is open as long as this is there. An open side would keep a stream whose answers nobody
    /// wants any more, and the connection with it.
    _wanted: oneshot::Sender<()>,
}

impl Etcd {
    /// Watches a key from now on.
    ///
    /// # Errors
    /// As [`Etcd::value`]. After any, the next watch may be at another endpoint.
    pub async fn watch(&self, key: &str) -> Result<Watch<'_>, ScalerError> {
        let session = self.members.session().await?;
        let stream = session.watch(key);
        match stream.await {
            Ok(stream) => Ok(Watch {
                etcd: self,
                session,
                stream,
            }),
            Err(status) => Err(self.broken(&session, &status)),
        }
    }

    /// The error of a watch. Polls go on as they did: what they hear is their own to judge.
    fn broken(&self, session: &Arc<Session>, status: &Status) -> ScalerError {
        self.members.gives_up(session, status);
        session.error(status)
    }
}

impl Watch<'_> {
    /// Waits for puts, and gives their values; none where the server just shows that it is there.
    ///
    /// # Errors
    /// As [`Etcd::watch`]: the watch is over.
    pub async fn next(&mut self) -> Result<Vec<Vec<u8>>, ScalerError> {
        let answer = match self.stream.answers.message().await {
            Ok(Some(answer)) => understood(answer),
            Ok(None) => Err(Status::unavailable("the server ended the watch")),
            Err(status) => Err(status),
        };
        match answer {
            Ok(answer) => Ok(puts(answer)),
            Err(status) => Err(self.etcd.broken(&self.session, &status)),
        }
    }

    /// The server has been silent for too long: the next watch may be at another endpoint.
    pub fn give_up(self, reason: &str) -> ScalerError {
        self.etcd
            .broken(&self.session, &Status::unavailable(reason))
    }
}

impl Session {
    /// Opens a stream with one watch, and waits until the server has it.
    async fn watch(&self, key: &str) -> Result<WatchStream, Status> {
        let create = WatchCreateRequest {
            key: key.as_bytes().to_vec(),
            progress_notify: true,
        };
        let create = WatchRequest {
            create_request: Some(create),
        };
        let (wanted, unwanted) = oneshot::channel();
        let questions = stream::iter([create])
            .chain(stream::pending())
            .take_until(unwanted);
        let mut request = self.request(questions);
        // A member that has lost the others ends the watch, instead of being silent for ever.
        let required = MetadataValue::from_static("true");
        request.metadata_mut().insert("hasleader", required);
        let answers = self.server().converse(WATCH, request, CONNECT_TIMEOUT);
        let (first, answers): (WatchResponse, _) = answers.await?;
        if understood(first)?.created {
            Ok(WatchStream {
                answers,
                _wanted: wanted,
            })
        } else {
            Err(Status::unknown("it answered without a watch"))
        }
    }
}

/// A watch that the server cancels says why in a text.
fn understood(answer: WatchResponse) -> Result<WatchResponse, Status> {
    if !answer.canceled {
        return Ok(answer);
    }
    let reason = answer.cancel_reason;
    let says = |text: &str| reason.contains(text);
    let code = if says("code = PermissionDenied") {
        Code::PermissionDenied
    } else if says("code = Unauthenticated") {
        Code::Unauthenticated
    } else if says("code = InvalidArgument") {
        Code::InvalidArgument
    } else {
        // Out of its history, without a leader, going down.
        Code::Unavailable
    };
    Err(Status::new(code, reason))
}

fn puts(answer: WatchResponse) -> Vec<Vec<u8>> {
    let puts = answer.events.into_iter().filter(|event| event.kind == PUT);
    puts.filter_map(|event| Some(event.kv?.value)).collect()
}

#[cfg(test)]
mod tests {
    use super::super::etcd_error;
    use super::super::protocol::{Event, KeyValue};
    use super::*;

    #[test]
    fn a_cancelled_watch_says_what_to_do() {
        let error = |reason: &str| {
            let answer = WatchResponse {
                created: true,
                canceled: true,
                cancel_reason: reason.to_owned(),
                ..WatchResponse::default()
            };
            etcd_error(&understood(answer).unwrap_err())
        };
        let of_grpc =
            |code: &str, text: &str| error(&format!("rpc error: code = {code} desc = {text}"));
        let refused = of_grpc("PermissionDenied", "etcdserver: permission denied");
        assert!(matches!(refused, ScalerError::Unauthorized(_)));
        let over = of_grpc("Unauthenticated", "etcdserver: invalid auth token");
        assert!(matches!(over, ScalerError::Unauthorized(_)));
        let empty = of_grpc("InvalidArgument", "etcdserver: user name is empty");
        assert!(matches!(empty, ScalerError::Unauthorized(_)));
        assert!(matches!(error(""), ScalerError::Unreachable(_)));
    }

    #[test]
    fn deletions_are_no_puts() {
        let event = |kind, value: &str| Event {
            kind,
            kv: Some(KeyValue {
                value: value.into(),
            }),
        };
        let answer = WatchResponse {
            events: vec![event(PUT, "7"), event(1, ""), event(PUT, "8")],
            ..WatchResponse::default()
        };
        assert_eq!(puts(answer), [b"7".to_vec(), b"8".to_vec()]);
        assert!(puts(WatchResponse::default()).is_empty());
    }
}
