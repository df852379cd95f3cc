//! An operator that resizes the pods of one object in a made-up cluster, with messages that are late, lost, or answered after
//! the operator died. What must never happen is checked with each write.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use sakidori_engine::resize::{
    Holding, PendingReason, Pod, PodState, Report, ResizeEffect, ResizeEvent, ResizeOutcome,
    Resizing, ResourceList, Resources, Settings, Sizes,
};

use super::chance::Chance;
use super::cluster::{Cluster, resources, specified, stamp};

/// For so long a pod counts as under way.
pub(super) const PATIENCE: u64 = 5 * 60_000;
#[expect(clippy::large_enum_variant, reason = "a few at a time")]
pub(super) enum Message {
    ToApi(u32, ResizeEffect),
    ToEngine(u32, ResizeEvent),
}

/// What a pod could not get, and what had changed by then.
#[derive(Clone, Debug)]
pub(super) struct Refusal {
    pub sizes: Sizes,
    pub changes: u64,
    /// It stands on the pod.
    pub written: bool,
}

/// A pod's last resize that came to the API server.
#[derive(Clone, Copy, Debug)]
pub(super) struct Asked {
    /// When the operator decided on it.
    pub at: u64,
    /// The pod was never Ready then, as far as the operator knew.
    pub starting: bool,
    /// It takes no place in a wave.
    pub apart: bool,
}

/// What was so when a request was decided on.
#[derive(Clone, Copy, Debug)]
pub(super) struct Decided {
    pub at: u64,
    /// As far as the operator knew, the pod was never Ready.
    pub starting: bool,
    /// How often something had changed for the pod.
    pub changes: u64,
}

pub struct World {
    pub now: u64,
    pub cluster: Cluster,
    pub settings: Settings,
    pub holding: Holding,
    pub resizing: Resizing,
    pub chance: Chance,
    /// One message in so many is lost; 0 is none.
    pub loss: u64,
    /// No message takes longer.
    pub latency: u64,
    pub supported: bool,
    pub allowed: bool,
    pub most: usize,
    pub finished: bool,
    pub report: Option<Report>,
    /// Resizes that reached the API server, by pod.
    pub asks: BTreeMap<Arc<str>, usize>,
    pub evictions: usize,
    pub told: Vec<String>,
    ended: bool,
    paused: bool,
    life: u32,
    pub(super) messages: VecDeque<(u64, Message)>,
    watched_until: u64,
    pub(super) refusals: BTreeMap<Arc<str>, Refusal>,
    pub(super) changes: BTreeMap<Arc<str>, u64>,
    next_tick: u64,
    /// How often kubelets look, in milliseconds.
    pub tick: u64,
    /// Events since the last tick: a loop in which no time passes has many.
    since_tick: usize,
    /// What the operator last saw each pod request.
    delivered: BTreeMap<Arc<str>, ResourceList>,
    /// Of which generation a pod was last shown to be infeasible.
    infeasible: BTreeMap<Arc<str>, i64>,
    /// Pods that the operator saw Ready.
    seen_ready: BTreeSet<Arc<str>>,
    pub(super) decided: BTreeMap<(u32, u64), Decided>,
    pub(super) asked: BTreeMap<Arc<str>, Asked>,
}

impl World {
    pub fn new(settings: Settings, most: usize, seed: u64) -> Self {
        let mut world = Self {
            now: 0,
            cluster: Cluster::default(),
            settings,
            holding: Holding::default(),
            resizing: Resizing::default(),
            chance: Chance(seed),
            loss: 0,
            latency: 20,
            supported: true,
            allowed: true,
            most,
            finished: false,
            report: None,
            asks: BTreeMap::new(),
            evictions: 0,
            told: Vec::new(),
            ended: false,
            paused: false,
            life: 0,
            messages: VecDeque::new(),
            watched_until: 0,
            refusals: BTreeMap::new(),
            changes: BTreeMap::new(),
            next_tick: 0,
            tick: 500,
            since_tick: 0,
            delivered: BTreeMap::new(),
            infeasible: BTreeMap::new(),
            seen_ready: BTreeSet::new(),
            decided: BTreeMap::new(),
            asked: BTreeMap::new(),
        };
        world.restart(false);
        world
    }

    /// The operator is killed and started again. Requests under way arrive before it is back, or never.
    pub fn restart(&mut self, arrive: bool) {
        let messages: Vec<_> = self.messages.drain(..).collect();
        for (_, message) in messages {
            match message {
                Message::ToApi(_, effect) if arrive => self.serve(self.life, effect),
                _ => {}
            }
        }
        self.messages.clear();
        self.refusals.retain(|_, refusal| refusal.written);
        self.life += 1;
        self.resizing = Resizing::default();
        self.tell(ResizeEvent::Wanted(self.settings.clone()));
        self.tell(ResizeEvent::Paused(self.paused));
        if self.ended {
            self.tell(ResizeEvent::Ended);
        } else {
            self.tell(ResizeEvent::Holding(self.holding));
        }
        let all = self
            .cluster
            .pods
            .values()
            .map(|it| it.pod.clone())
            .collect();
        self.tell(ResizeEvent::Listed(all));
    }

    pub fn hold(&mut self, prescale: bool, saturated: bool) {
        let holding = Holding {
            prescale,
            saturated,
        };
        if holding != self.holding {
            self.something_changed(None);
        }
        self.holding = holding;
        self.tell(ResizeEvent::Holding(holding));
    }

    pub fn want(&mut self, settings: Settings) {
        self.something_changed(None);
        self.settings = settings.clone();
        self.tell(ResizeEvent::Wanted(settings));
    }

    pub fn pause(&mut self, paused: bool) {
        self.paused = paused;
        self.tell(ResizeEvent::Paused(paused));
    }

    pub fn gave_up(&self) -> bool {
        self.resizing.gave_up()
    }

    pub fn foresee(&mut self, outcome: ResizeOutcome) {
        // Where nothing can be resized, no policy holds, and what was refused is forgotten.
        self.something_changed(None);
        self.tell(ResizeEvent::Foreseen(outcome));
    }

    pub fn reconsider(&mut self) {
        self.something_changed(None);
        self.tell(ResizeEvent::Reconsider);
    }

    pub fn end(&mut self) {
        self.ended = true;
        self.something_changed(None);
        self.tell(ResizeEvent::Ended);
    }

    pub fn create(&mut self, name: &str, node: &str, own: &str, starts_in: u64) -> Arc<str> {
        self.create_with(name, node, resources(own), starts_in)
    }

    pub(super) fn create_with(
        &mut self,
        name: &str,
        node: &str,
        own: Resources,
        starts_in: u64,
    ) -> Arc<str> {
        let uid = self.cluster.create(self.now, name, node, own, starts_in);
        self.show(&uid);
        uid
    }

    pub fn delete(&mut self, uid: &Arc<str>) {
        if self.cluster.pods.remove(uid).is_some() {
            self.something_changed(Some(uid));
            self.watch(ResizeEvent::Gone { uid: uid.clone() });
        }
    }

    /// Another actor writes a pod's resources.
    pub fn meddle(&mut self, uid: &Arc<str>, change: impl FnOnce(&mut Pod)) {
        self.cluster.write(uid, |stored| {
            change(&mut stored.pod);
            stored.pod.generation += 1;
        });
        self.asked.remove(uid);
        self.something_changed(None);
        self.show(uid);
    }

    /// Of all pods but one.
    pub(super) fn something_changed(&mut self, but: Option<&Arc<str>>) {
        for uid in self.cluster.pods.keys() {
            if Some(uid) != but {
                *self.changes.entry(uid.clone()).or_default() += 1;
            }
        }
    }

    pub fn run_until(&mut self, end: u64) {
        loop {
            let message = self
                .messages
                .iter()
                .map(|it| it.0)
                .min()
                .unwrap_or(u64::MAX);
            let wake = self.resizing.next_wakeup().map_or(u64::MAX, |at| {
                // Never too early: nothing would be due.
                let millis = (at.as_nanosecond() + 999_999) / 1_000_000;
                u64::try_from(millis).unwrap().max(self.now)
            });
            let next = message.min(wake).min(self.next_tick);
            if next > end {
                self.now = end;
                return;
            }
            self.now = self.now.max(next);
            self.since_tick += 1;
            assert!(
                self.since_tick < 50_000,
                "it goes round and round at {}",
                self.now
            );
            if message == next {
                let place = self.messages.iter().position(|it| it.0 == next).unwrap();
                match self.messages.remove(place).unwrap().1 {
                    Message::ToApi(life, effect) => self.serve(life, effect),
                    Message::ToEngine(life, event) if life == self.life => self.tell(event),
                    Message::ToEngine(..) => {}
                }
            } else if self.next_tick == next {
                self.next_tick += self.tick;
                self.since_tick = 0;
                for uid in self.cluster.tick(self.now) {
                    self.show(&uid);
                }
            } else {
                self.tell(ResizeEvent::Woke);
            }
        }
    }

    pub fn run(&mut self, seconds: u64) {
        self.run_until(self.now + seconds * 1000);
    }

    fn tell(&mut self, event: ResizeEvent) {
        self.note_delivery(&event);
        for effect in self.resizing.handle(stamp(self.now), event) {
            match effect {
                ResizeEffect::Tell(decision) => self.told.push(decision.to_string()),
                ResizeEffect::Show(report) => self.report = Some(report),
                ResizeEffect::Finished => self.finished = true,
                request => {
                    self.note_request(&request);
                    let at = self.now + self.chance.below(self.latency);
                    self.messages
                        .push_back((at, Message::ToApi(self.life, request)));
                }
            }
        }
    }

    fn note_request(&mut self, request: &ResizeEffect) {
        assert!(
            !self.paused || self.ended || matches!(request, ResizeEffect::Read { .. }),
            "paused at {}, and yet: {request:?}",
            self.now
        );
        if let ResizeEffect::Ask { attempt, pod, .. } = request {
            let starting = !self.seen_ready.contains(&pod.uid);
            let decided = Decided {
                at: self.now,
                starting,
                changes: self.changes.get(&pod.uid).copied().unwrap_or_default(),
            };
            self.decided.insert((self.life, *attempt), decided);
        }
    }

    /// What the operator learns now: that it was refused, and whether another pod requests less.
    fn note_delivery(&mut self, event: &ResizeEvent) {
        let shown: Vec<&Pod> = match event {
            ResizeEvent::Seen(pod)
            | ResizeEvent::Answered {
                seen: Some(pod), ..
            } => vec![&**pod],
            ResizeEvent::Listed(pods) => pods.iter().collect(),
            _ => Vec::new(),
        };
        for pod in shown {
            if pod.ready {
                self.seen_ready.insert(pod.uid.clone());
            }
            let now = pod.containers[0].resources.requests;
            let before = self.delivered.insert(pod.uid.clone(), now);
            if before.is_some_and(|before| now.cpu < before.cpu || now.memory < before.memory) {
                self.something_changed(Some(&pod.uid));
            }
        }
        if let ResizeEvent::Listed(pods) = event {
            let known = self.delivered.len();
            self.delivered
                .retain(|uid, _| pods.iter().any(|it| it.uid == *uid));
            if self.delivered.len() < known {
                self.something_changed(None);
            }
        }
        if let ResizeEvent::Gone { uid } = event {
            self.delivered.remove(uid);
            self.something_changed(Some(uid));
        }
        if let ResizeEvent::Answered {
            outcome: ResizeOutcome::Gone,
            ..
        } = event
        {
            // What it requested is free, whichever pod it was.
            self.something_changed(None);
        }
        if let ResizeEvent::Answered {
            seen: Some(pod),
            outcome: ResizeOutcome::Refused { .. },
            ..
        } = event
        {
            let sizes = self.refusals.get(&pod.uid).map(|it| it.sizes.clone());
            if let Some(sizes) = sizes {
                self.refuse(&pod.uid, sizes, false);
            }
        }
    }

    pub(super) fn refuse(&mut self, uid: &Arc<str>, sizes: Sizes, written: bool) {
        let changes = self.changes.get(uid).copied().unwrap_or_default();
        self.refuse_since(uid, sizes, written, changes);
    }

    pub(super) fn refuse_since(
        &mut self,
        uid: &Arc<str>,
        sizes: Sizes,
        written: bool,
        changes: u64,
    ) {
        self.refusals.insert(
            uid.clone(),
            Refusal {
                sizes,
                changes,
                written,
            },
        );
    }

    /// The watch shows things in their order.
    fn watch(&mut self, event: ResizeEvent) {
        self.watched_until = self
            .watched_until
            .max(self.now + self.chance.below(self.latency));
        self.messages
            .push_back((self.watched_until, Message::ToEngine(self.life, event)));
    }

    pub fn show(&mut self, uid: &Arc<str>) {
        if let Some(stored) = self.cluster.pods.get(uid) {
            let pod = stored.pod.clone();
            // Before its kubelet looks at it again, the condition is about the resize before.
            let of_this = |generation: Option<i64>| generation == Some(pod.generation);
            if pod
                .pending
                .as_ref()
                .is_some_and(|it| it.why == PendingReason::Infeasible && of_this(it.generation))
            {
                // It is news once: another write of the pod shows it again.
                let shown = self.infeasible.insert(uid.clone(), pod.generation);
                if shown != Some(pod.generation) {
                    self.refuse(uid, specified(&pod), true);
                }
            }
            self.watch(ResizeEvent::Seen(Box::new(pod)));
        }
    }

    pub fn count(&self, state: PodState) -> usize {
        self.report.as_ref().map_or(0, |it| it.count(state))
    }
}
