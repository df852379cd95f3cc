//! Kubernetes Events: the one module that writes them.
//!
//! Events are for people; they must never hold up scaling. They go through a bounded queue, an Event that repeats is counted
//! as a series instead of written anew, and what doesn't fit is dropped and logged.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::ObjectReference;
use k8s_openapi::api::events::v1::{Event, EventSeries};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use kube::api::{ObjectMeta, Patch, PatchParams, PostParams};
use kube::{Api, Client, Resource};
use sakidori_api::ScaledObject;
use sakidori_engine::EventType;
use serde_json::json;
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

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

impl EventPublisher {
    /// Starts the task that writes; it ends at `shutdown`, with what waits written if the API server lets it.
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
        let name = reference.name.clone().unwrap_or_default();
        let key = match &reference.namespace {
            Some(namespace) => format!("{namespace}/{name}"),
            None => name,
        };
        let warning = kind == EventType::Warning;
        if warning {
            warn!(object = key, reason, "{message}");
        } else {
            info!(object = key, reason, "{message}");
        }
        let note = Note {
            warning,
            reason,
            text: shortened(message),
            regarding: Regarding {
                api_version: reference.api_version.unwrap_or_default(),
                kind: reference.kind.unwrap_or_default(),
                namespace: reference.namespace.unwrap_or_default(),
                name: reference.name.unwrap_or_default(),
                uid: reference.uid.unwrap_or_default(),
            },
        };
        if self.queue.try_send(note).is_err() {
            warn!(
                object = key,
                reason, "too many Events are waiting to be written; this one is dropped"
            );
        }
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
            Ok(()) => {}
            // The namespace is being deleted, or gone: there is nobody left to tell.
            Err(kube::Error::Api(status)) if matches!(status.code, 403 | 404) && !note.warning => {}
            Err(error) => {
                warn!(object = %note.regarding.name, reason = note.reason, error = plain(&error), "writing an Event failed")
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
    fn a_long_note_is_cut_between_characters() {
        let cut = shortened("ä".repeat(1000));
        assert!(cut.len() <= NOTE_LIMIT && cut.ends_with("ä…"));
        assert_eq!(shortened("short".into()), "short");
    }
}
