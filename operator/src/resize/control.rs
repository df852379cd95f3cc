//! The loop of resizing: owns all workloads, feeds their state machines, carries out what these ask for, sleeps until the next is due.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use kube::Client;
use sakidori_api::ScaledObject;
use sakidori_engine::ObjectKey;
use sakidori_engine::resize::{ResizeEffect, ResizeEvent};
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::Resizer;
use super::foresight::Foresight;
use super::room::Room;
use super::usage::Used;
use super::workload::{Workload, WorkloadId};
use crate::clock::Clock;
use crate::control::Events;
use crate::deletion::Finalizer;
use crate::events::EventPublisher;
use crate::gate::{Gate, QUICK_REQUEST};
use crate::hpa_index::{HpaIndex, Saturation};
use crate::leadership::Fence;
use crate::objects::Objects;
use crate::prometheus::Metrics;
use crate::target::Targets;

/// Requests for pods that begin at the same time: a workload of hundreds may start at once.
const REQUESTS_AT_ONCE: usize = 32;
/// Statuses that are written at the same time: all objects may need it, once.
const STATUSES_AT_ONCE: usize = 6;
/// Workloads for which room is looked for at the same time. Nobody waits for it.
const LOOKS_AT_ONCE: usize = 4;
/// Messages that are taken in together.
const MESSAGES_AT_ONCE: usize = 256;
/// The loop turns at least this often.
const LONGEST_SLEEP: Duration = Duration::from_secs(60);

/// What the loop is told.
pub enum Message {
    Applied {
        key: ObjectKey,
        object: Arc<ScaledObject>,
    },
    Deleted {
        key: ObjectKey,
    },
    Sale {
        key: ObjectKey,
        holds: Option<bool>,
    },
    Saturated {
        key: ObjectKey,
        saturation: Saturation,
    },
    OwnerFound {
        key: ObjectKey,
    },
    PutBack {
        key: ObjectKey,
        object: Box<ScaledObject>,
        done: oneshot::Sender<()>,
    },
    /// The object has its finalizer: its pods may be resized from now on.
    Held(WorkloadId),
    /// Of one workload: what is seen of its pods, and what became of requests.
    Of(WorkloadId, ResizeEvent),
    /// It is time to look whether there is room for those that were refused.
    Look(WorkloadId),
    Looked(WorkloadId, Room),
}

/// What the loop works with.
pub struct Around {
    pub client: Client,
    pub targets: Arc<Targets>,
    pub objects: Arc<Objects>,
    pub hpas: Arc<HpaIndex>,
    pub finalizer: Arc<Finalizer>,
    pub publisher: Arc<EventPublisher>,
    pub metrics: Arc<Metrics>,
    pub events: Events,
    pub tasks: TaskTracker,
    /// Of the writes that raise floors.
    pub bounds: Arc<Gate>,
    pub clock: Clock,
    pub fence: Fence,
}

/// Runs until `shutdown`, or until this process may not act any more.
pub async fn run(
    around: Around,
    sender: Resizer,
    mut messages: mpsc::UnboundedReceiver<Message>,
    shutdown: CancellationToken,
) {
    let mut control = Control {
        foresight: Foresight::new(around.client.clone()),
        around: Arc::new(around),
        sender,
        workloads: BTreeMap::new(),
        sales: BTreeMap::new(),
        waiting: BTreeMap::new(),
        agenda: BTreeSet::new(),
        numbers: 0,
        gave_up: BTreeSet::new(),
        used: Used::default(),
        requests: Arc::new(Gate::new(REQUESTS_AT_ONCE, QUICK_REQUEST)),
        statuses: Arc::new(Gate::new(STATUSES_AT_ONCE, QUICK_REQUEST)),
        looks: Arc::new(Gate::new(LOOKS_AT_ONCE, LONGEST_SLEEP)),
    };
    let mut told = Vec::new();
    loop {
        let now = control.around.clock.now();
        let sleep = control.agenda.first().map_or(LONGEST_SLEEP, |(at, _)| {
            let until = Duration::try_from(at.duration_since(now)).unwrap_or_default();
            until.min(LONGEST_SLEEP)
        });
        tokio::select! {
            biased;
            () = shutdown.cancelled() => return,
            count = messages.recv_many(&mut told, MESSAGES_AT_ONCE) => if count == 0 {
                return;
            },
            () = sleep_until(Instant::now() + sleep) => {}
        }
        if !control.around.fence.may_act() {
            return;
        }
        control.take_in_all(told.drain(..));
        control.wake();
    }
}

pub(super) struct Control {
    pub(super) around: Arc<Around>,
    pub(super) sender: Resizer,
    pub(super) foresight: Foresight,
    pub(super) workloads: BTreeMap<WorkloadId, Workload>,
    /// Whether a sale of an object holds, as it was last told: for workloads that come later.
    pub(super) sales: BTreeMap<ObjectKey, bool>,
    /// Wait until all pods of an object are back.
    pub(super) waiting: BTreeMap<ObjectKey, Vec<oneshot::Sender<()>>>,
    pub(super) agenda: BTreeSet<(Timestamp, WorkloadId)>,
    pub(super) numbers: u64,
    /// Objects of whose pods some may not be back, though nobody looks after them any more: by their keys and uids.
    pub(super) gave_up: BTreeSet<(ObjectKey, String)>,
    pub(super) used: Used,
    pub(super) requests: Arc<Gate>,
    /// Of writes of objects' statuses.
    pub(super) statuses: Arc<Gate>,
    /// Looks for room.
    pub(super) looks: Arc<Gate>,
}

impl Control {
    /// What is told of a workload's pods in a row is taken in together: to decide looks at all its pods, and two hundred that start tell
    /// something two thousand times within seconds.
    fn take_in_all(&mut self, messages: impl Iterator<Item = Message>) {
        let mut of_pods: BTreeMap<WorkloadId, Vec<ResizeEvent>> = BTreeMap::new();
        for message in messages {
            match message {
                Message::Of(id, event) => of_pods.entry(id).or_default().push(event),
                other => {
                    self.take_in_of_pods(std::mem::take(&mut of_pods));
                    self.take_in(other);
                }
            }
        }
        self.take_in_of_pods(of_pods);
    }

    fn take_in_of_pods(&mut self, told: BTreeMap<WorkloadId, Vec<ResizeEvent>>) {
        for (id, events) in told {
            let stopped = events.iter().any(|event| {
                matches!(event, ResizeEvent::Answered { outcome, .. } if outcome.stops().is_some())
            });
            self.with(&id, |workload, now| {
                workload.resizing.handle_all(now, events)
            });
            if stopped {
                self.look_ahead(&id);
            }
        }
    }

    fn take_in(&mut self, message: Message) {
        match message {
            Message::Applied { key, object } => self.applied(&key, &object),
            Message::Deleted { key } => {
                self.sales.remove(&key);
                self.gave_up.retain(|(of, _)| *of != key);
                self.end_all(&key, |_| true);
            }
            Message::Sale { key, holds } => self.sale(&key, holds),
            Message::Saturated { key, saturation } => {
                self.each(&key, |workload, now| workload.saturated(now, saturation));
            }
            Message::OwnerFound { key } => self.owner_found(&key),
            Message::PutBack { key, object, done } => self.put_back(&key, &object, done),
            Message::Held(id) => self.follow(&id),
            Message::Of(id, event) => self.take_in_of_pods([(id, vec![event])].into()),
            Message::Look(id) => self.look(&id),
            Message::Looked(id, room) => self.looked(&id, room),
        }
    }

    /// Lets those be looked at that are due.
    fn wake(&mut self) {
        let now = self.around.clock.now();
        while let Some((at, id)) = self.agenda.first().cloned() {
            if at > now {
                return;
            }
            self.agenda.remove(&(at, id.clone()));
            if let Some(workload) = self.workloads.get_mut(&id) {
                workload.planned = None;
            }
            self.with(&id, Workload::woke);
        }
    }

    pub(super) fn ids_of(&self, key: &ObjectKey) -> Vec<WorkloadId> {
        let id = |number| WorkloadId {
            key: key.clone(),
            number,
        };
        let of_key = self.workloads.range(id(0)..=id(u64::MAX));
        of_key.map(|(id, _)| id.clone()).collect()
    }

    pub(super) fn each(
        &mut self,
        key: &ObjectKey,
        take_in: impl Fn(&mut Workload, Timestamp) -> Vec<ResizeEffect>,
    ) {
        for id in self.ids_of(key) {
            self.with(&id, &take_in);
        }
    }

    /// Lets one workload take in something, and carries out what follows.
    pub(super) fn with(
        &mut self,
        id: &WorkloadId,
        take_in: impl FnOnce(&mut Workload, Timestamp) -> Vec<ResizeEffect>,
    ) {
        let now = self.around.clock.now();
        let Some(workload) = self.workloads.get_mut(id) else {
            return;
        };
        let effects = take_in(workload, now);
        for effect in effects {
            self.carry_out(id, now, effect);
        }
        self.show_condition(id, now);
        let Some(workload) = self.workloads.get_mut(id) else {
            return;
        };
        let next = workload.next_wakeup();
        if let Some(planned) = std::mem::replace(&mut workload.planned, next) {
            self.agenda.remove(&(planned, id.clone()));
        }
        if let Some(next) = next {
            self.agenda.insert((next, id.clone()));
        }
    }
}
