//! Kubernetes Events: the one module that writes them.
//!
//! Events are for people; they must never hold up scaling. They go through a bounded queue, an Event that repeats is counted
//! as a series instead of written anew, and what doesn't fit is dropped. Each is a line of the log, too.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::ObjectReference;
use k8s_openapi::api::events::v1::{Event, EventSeries};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use kube::api::{ObjectMeta, Patch, PatchParams, PostParams};
use kube::{Api, Client, Resource};
use sakidori_api::ScaledObject;
use sakidori_api::reasons;
use sakidori_engine::{EventType, Spell, Told};
use serde_json::json;
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tracing::{Level, debug, info, warn};

use crate::api_error::plain;

/// KEDA's name in `reportingController`: what users filter on.
const REPORTER: &str = "keda-operator";
/// Events that wait to be written; a burst at a start is one or two per object.
const QUEUE: usize = 10_000;
/// A repeated Event within this time continues the series (client-go: 6 minutes).
const SERIES: SignedDuration = SignedDuration::from_mins(6);
/// An API server that hangs must not hold up the Events after this one.
const WRITE_WITHIN: Duration = Duration::from_secs(10);
/// The longest note that the API accepts, in bytes.
const NOTE_LIMIT: usize = 1024;

pub struct EventPublisher {
    queue: mpsc::Sender<Note>,
}

/// One Event before it has a name and a time.
#[derive(Clone, PartialEq, Eq, Hash)]
struct Note {
    warning: bool,
    reason: &'static str,
    text: String,
    regarding: Regarding,
}

#[derive(Clone, PartialEq, Eq, Hash)]
struct Regarding {
    api_version: String,
    kind: String,
    namespace: String,
    name: String,
    uid: String,
}

impl Regarding {
    /// Where its Events are; those of a cluster-scoped object are in `default` (client-go).
    fn events_namespace(&self) -> &str {
        match self.namespace.as_str() {
            "" => "default",
            namespace => namespace,
        }
    }
}

impl fmt::Display for Regarding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.namespace.as_str() {
            "" => f.write_str(&self.name),
            namespace => write!(f, "{namespace}/{}", self.name),
        }
    }
}

impl EventPublisher {
    /// Starts the task that writes; it ends at `shutdown`. What waits then is lost, and stands in the log.
    pub fn start(
        client: Client,
        instance: String,
        shutdown: CancellationToken,
    ) -> (Arc<Self>, impl Future<Output = ()>) {
        let (queue, receiver) = mpsc::channel(QUEUE);
        (
            Arc::new(Self { queue }),
            write_all(client, instance, receiver, shutdown),
        )
    }

    /// Queues an Event. The same sentence is logged.
    pub fn publish(
        &self,
        object: &ScaledObject,
        kind: EventType,
        reason: &'static str,
        message: String,
    ) {
        self.publish_on(object.object_ref(&()), kind, reason, message);
    }

    /// The same on any object.
    pub fn publish_on(
        &self,
        reference: ObjectReference,
        kind: EventType,
        reason: &'static str,
        message: String,
    ) {
        self.tell(
            reference,
            Told {
                kind,
                reason,
                message,
                scaled: None,
            },
        );
    }

    /// The same of what is told already as a whole.
    pub fn tell(&self, reference: ObjectReference, told: Told) {
        log(&reference, &told);
        self.queue(reference, told);
    }

    /// Queues an Event that KEDA has beside another one, which tells the same and is logged.
    pub fn publish_beside(&self, object: &ScaledObject, reason: &'static str, message: String) {
        let told = Told {
            kind: EventType::Warning,
            reason,
            message,
            scaled: None,
        };
        self.queue(object.object_ref(&()), told);
    }

    fn queue(&self, reference: ObjectReference, told: Told) {
        let note = Note {
            warning: told.kind == EventType::Warning,
            reason: told.reason,
            text: shortened(told.message),
            regarding: Regarding {
                api_version: reference.api_version.unwrap_or_default(),
                kind: reference.kind.unwrap_or_default(),
                namespace: reference.namespace.unwrap_or_default(),
                name: reference.name.unwrap_or_default(),
                uid: reference.uid.unwrap_or_default(),
            },
        };
        if let Err(refused) = self.queue.try_send(note) {
            let note = refused.into_inner();
            let object = note.regarding.to_string();
            debug!(
                object,
                reason = note.reason,
                "too many Events wait to be written; this one is dropped"
            );
        }
    }
}

/// Logs a sentence about an object, which is an Event or has none.
pub fn log(about: &ObjectReference, told: &Told) {
    let name = about.name.as_deref().unwrap_or_default();
    let object = match about.namespace.as_deref() {
        Some(namespace) if !namespace.is_empty() => &format!("{namespace}/{name}"),
        _ => name,
    };
    let kind = about.kind.as_deref().filter(|kind| *kind != "ScaledObject");
    let Told {
        reason,
        message,
        scaled,
        ..
    } = told;
    let from = scaled.as_ref().map(|scaled| scaled.from);
    let to = scaled.as_ref().map(|scaled| scaled.to);
    let cause = scaled.as_ref().map(|scaled| scaled.cause.as_str());
    match level(told) {
        Level::WARN => warn!(object, kind, reason, from, to, cause, "{message}"),
        Level::INFO => info!(object, kind, reason, from, to, cause, "{message}"),
        _ => debug!(object, kind, reason, from, to, cause, "{message}"),
    }
}

/// The level of a sentence. KEDA's types of Events are kept, but where they don't say whether somebody should look.
fn level(told: &Told) -> Level {
    match (told.reason, told.kind) {
        // Beside these stand that an object is ready, paused or gone.
        (reasons::SCALERS_STARTED | reasons::SCALERS_STOPPED, _) => Level::DEBUG,
        // Somebody deleted it.
        (reasons::SCALED_OBJECT_DELETED, _) => Level::INFO,
        (reasons::FALLBACK_ACTIVATED, _) | (_, EventType::Warning) => Level::WARN,
        (_, EventType::Normal) => Level::INFO,
    }
}

/// Cuts at a character's boundary.
fn shortened(mut text: String) -> String {
    if text.len() > NOTE_LIMIT {
        let mut end = NOTE_LIMIT - '…'.len_utf8();
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        text.truncate(end);
        text.push('…');
    }
    text
}

async fn write_all(
    client: Client,
    instance: String,
    mut queue: mpsc::Receiver<Note>,
    shutdown: CancellationToken,
) {
    let mut series = Series::default();
    let mut writing = Spell::default();
    loop {
        let note = tokio::select! {
            () = shutdown.cancelled() => return,
            note = queue.recv() => match note {
                Some(note) => note,
                None => return,
            },
        };
        let written = timeout(WRITE_WITHIN, write(&client, &instance, &note, &mut series)).await;
        match written.unwrap_or_else(|_| Err(kube::Error::Service("no answer in time".into()))) {
            Ok(()) => {
                if writing.works() {
                    info!("Events are written again");
                }
            }
            // The namespace is being deleted, or gone: there is nobody left to tell.
            Err(kube::Error::Api(status)) if matches!(status.code, 403 | 404) && !note.warning => {}
            Err(error) => {
                let (object, reason) = (note.regarding.to_string(), note.reason);
                let error = plain(&error);
                if writing.fails(Timestamp::now(), &error) {
                    warn!(object, reason, error, "writing Events fails; they are lost");
                } else {
                    debug!(object, reason, error, "writing an Event failed");
                }
            }
        }
    }
}

/// The Events that were written, by what they say.
#[derive(Default)]
struct Series {
    /// The name of the Event that stands for a note, how often it was seen, and when last.
    written: HashMap<Note, (String, i32, Timestamp)>,
    cleaned: Option<Timestamp>,
}

/// How often series that ended are looked for: at each Event, thousands would be looked through thousands of times.
const CLEANING: SignedDuration = SignedDuration::from_mins(1);

impl Series {
    fn forget_old(&mut self, now: Timestamp) {
        if self
            .cleaned
            .is_some_and(|at| now.duration_since(at) < CLEANING)
        {
            return;
        }
        self.cleaned = Some(now);
        self.written
            .retain(|_, (_, _, last)| now.duration_since(*last) < SERIES);
    }

    /// The series that `note` continues.
    fn of(&mut self, note: &Note, now: Timestamp) -> Option<&mut (String, i32, Timestamp)> {
        self.written
            .get_mut(note)
            .filter(|(_, _, last)| now.duration_since(*last) < SERIES)
    }
}

async fn write(
    client: &Client,
    instance: &str,
    note: &Note,
    series: &mut Series,
) -> Result<(), kube::Error> {
    let now = Timestamp::now();
    series.forget_old(now);
    let api: Api<Event> = Api::namespaced(client.clone(), note.regarding.events_namespace());
    if let Some((name, count, last)) = series.of(note, now) {
        let update = json!({"series": EventSeries { count: *count + 1, last_observed_time: MicroTime(now) }});
        match api
            .patch(name, &PatchParams::default(), &Patch::Merge(&update))
            .await
        {
            Ok(_) => {
                *count += 1;
                *last = now;
                return Ok(());
            }
            // It expired in the cluster: write it anew.
            Err(kube::Error::Api(status)) if status.code == 404 => {}
            Err(error) => return Err(error),
        }
    }
    let name = format!("{}.{:x}", note.regarding.name, now.as_nanosecond());
    api.create(&PostParams::default(), &event(note, instance, &name, now))
        .await?;
    series.written.insert(note.clone(), (name, 1, now));
    Ok(())
}

fn event(note: &Note, instance: &str, name: &str, now: Timestamp) -> Event {
    let regarding = note.regarding.clone();
    Event {
        metadata: ObjectMeta {
            name: Some(name.to_owned()),
            namespace: Some(regarding.events_namespace().to_owned()),
            ..ObjectMeta::default()
        },
        action: Some(note.reason.to_owned()),
        reason: Some(note.reason.to_owned()),
        note: Some(note.text.clone()),
        type_: Some(if note.warning { "Warning" } else { "Normal" }.to_owned()),
        event_time: Some(MicroTime(now)),
        reporting_controller: Some(REPORTER.to_owned()),
        reporting_instance: Some(instance.to_owned()),
        regarding: Some(ObjectReference {
            api_version: Some(regarding.api_version),
            kind: Some(regarding.kind),
            namespace: Some(regarding.namespace).filter(|namespace| !namespace.is_empty()),
            name: Some(regarding.name),
            uid: Some(regarding.uid),
            ..ObjectReference::default()
        }),
        ..Event::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lines_level_says_whether_somebody_should_look() {
        let level = |kind, reason| {
            level(&Told {
                kind,
                reason,
                message: String::new(),
                scaled: None,
            })
        };
        use EventType::{Normal, Warning};
        assert_eq!(level(Normal, "KEDAScaleTargetActivated"), Level::INFO);
        assert_eq!(level(Warning, reasons::SCALER_FAILED), Level::WARN);
        assert_eq!(level(Normal, reasons::FALLBACK_ACTIVATED), Level::WARN);
        assert_eq!(level(Normal, reasons::SCALERS_STARTED), Level::DEBUG);
        assert_eq!(level(Warning, reasons::SCALED_OBJECT_DELETED), Level::INFO);
    }

    #[test]
    fn a_long_note_is_cut_between_characters() {
        let cut = shortened("ä".repeat(1000));
        assert!(cut.len() <= NOTE_LIMIT && cut.ends_with("ä…"));
        assert_eq!(shortened("short".into()), "short");
    }
}
