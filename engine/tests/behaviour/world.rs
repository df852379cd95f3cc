//! A small cluster around one ScaledObject: a source with two triggers, a target, an HPA, and the operator's shell.
//! It checks each effect as it comes, against what it remembers itself (never against what the engine remembers).

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use sakidori_engine::{
    Effect, Engine, Event, MetricTarget, ObjectKey, ObjectStatus, Pause, PollId, PollOutcome,
    PrepareOutcome, Quantity, Reading, Remembered, ScaleDirection, ScaleOutcome, ScaledObject,
    Switches, TargetType, TriggerOutcome,
};

/// What a trigger's source answers.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Source {
    /// So many messages; active above zero.
    Holds(u32),
    Fails,
    /// The scaler answers, but with nothing.
    SaysNothing,
    SaysNaN,
    /// A `cpu` trigger.
    Resource,
}

/// What a trace is made of.
#[derive(Clone, Debug)]
pub enum Step {
    Wait(u32),
    Source(usize, Source),
    /// Someone scales the target by hand.
    Scale(i32),
    TargetReadable(bool),
    ScaleWritable(bool),
    Preparation(Option<bool>),
    /// Milliseconds that each answer takes; `None` loses answers to polls.
    Latency(Option<u32>),
    ReferenceChanged,
    ReadingWanted,
    /// A trigger's source tells by itself that there is work.
    Push(usize),
    HpaFlips(bool),
    /// New bounds: idle, min, max.
    Edit(Option<i32>, i32, i32),
    /// Someone annotates it.
    Switch(Switches),
    Recreate,
    Restart,
}

/// What reaches whom, later.
#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "a few at a time")]
enum Message {
    Answer(Event),
    Prepare(i64),
    Poll(PollId),
    Scale { from: i32, to: i32 },
    HpaLooks,
}

pub struct World {
    pub engine: Engine,
    pub now: Timestamp,
    pub object: ScaledObject,
    pub replicas: i32,
    pub status: Option<ObjectStatus>,
    /// All effects, in words: the same trace has to give the same.
    pub log: Vec<String>,
    pub status_writes: usize,
    /// Events that justify a status write.
    pub occasions: usize,
    sources: [Source; 2],
    target_readable: bool,
    scale_writable: bool,
    /// How preparing fails (`Some(pollable)`), if it does.
    preparation: Option<bool>,
    latency: Option<u32>,
    queue: BTreeMap<(Timestamp, u64), Message>,
    sequence: u64,
    polls_under_way: Vec<(PollId, Timestamp)>,
    /// What the HPA is told of metrics whose scalers can't be read.
    served: BTreeMap<String, Result<Quantity, String>>,
    /// By what the engine knows: when an answer last showed activity; over restarts.
    last_active: Option<Timestamp>,
    /// A push came that no answer has counted yet.
    pushed: bool,
    /// The object is prepared and was not paused since: a push is heard.
    listening: bool,
    /// The last answer to a poll could be used throughout and showed no activity.
    last_answer_inactive: bool,
    prepared: bool,
    /// The number that this pause has set the target to, as far as it was told.
    held: Option<i32>,
}

/// The HPA's sync period.
const HPA_PERIOD: SignedDuration = SignedDuration::from_secs(15);
/// Messages per replica that the HPA aims at.
const TARGET: u32 = 10;

impl World {
    pub fn new(object: ScaledObject, replicas: i32, sources: [Source; 2]) -> Self {
        let mut world = Self {
            engine: Engine::default(),
            now: object.created_at,
            object,
            replicas,
            status: None,
            log: Vec::new(),
            status_writes: 0,
            occasions: 0,
            sources,
            target_readable: true,
            scale_writable: true,
            preparation: None,
            latency: Some(20),
            queue: BTreeMap::new(),
            sequence: 0,
            polls_under_way: Vec::new(),
            served: BTreeMap::new(),
            last_active: None,
            pushed: false,
            listening: false,
            last_answer_inactive: false,
            prepared: false,
            held: None,
        };
        world.post(HPA_PERIOD, Message::HpaLooks);
        world.apply();
        world
    }

    pub fn key() -> ObjectKey {
        ObjectKey::new("shop", "web")
    }

    pub fn take(&mut self, step: &Step) {
        match step.clone() {
            Step::Wait(millis) => self.pass(SignedDuration::from_millis(i64::from(millis))),
            Step::Source(trigger, source) => self.sources[trigger % 2] = source,
            Step::Scale(replicas) => self.replicas = replicas,
            Step::TargetReadable(readable) => self.target_readable = readable,
            Step::ScaleWritable(writable) => self.scale_writable = writable,
            Step::Preparation(outcome) => self.preparation = outcome,
            Step::Latency(latency) => self.latency = latency,
            Step::ReferenceChanged => self.tell(Event::ReferenceChanged { key: Self::key() }),
            Step::ReadingWanted => self.tell(Event::ReadingWanted { key: Self::key() }),
            Step::Push(trigger) => self.tell(Event::Pushed {
                key: Self::key(),
                trigger: trigger % 2,
                metric: format!("s{}-queue", trigger % 2),
            }),
            Step::HpaFlips(status) => self.tell(Event::HpaObserved {
                key: Self::key(),
                status,
                reason: "Reason".into(),
                message: "message".into(),
            }),
            Step::Edit(idle, min, max) => {
                self.object.idle_replicas = idle;
                self.object.min_replicas = min;
                self.object.max_replicas = max;
                self.object.generation += 1;
                self.apply();
            }
            Step::Switch(switches) => {
                self.pushed &= switches.pause.is_none();
                self.listening &= switches.pause.is_none();
                self.object.switches = switches;
                self.held = self
                    .held
                    .filter(|it| switches.pause == Some(Pause::At(*it)));
                self.apply();
            }
            Step::Recreate => {
                self.tell(Event::Deleted { key: Self::key() });
                assert_eq!(
                    self.engine.next_wakeup(),
                    None,
                    "a deleted object leaves nothing on the agenda"
                );
                self.forget_answers();
                self.status = None;
                self.held = None;
                self.last_active = None;
                self.object.created_at = self.now;
                self.object.uid.push('x');
                self.apply();
            }
            Step::Restart => {
                self.engine = Engine::default();
                self.forget_answers();
                self.apply();
            }
        }
    }

    /// No faults and no switches any more, and time for everything to come to rest.
    pub fn settle(&mut self) {
        if self.object.switches != Switches::default() {
            self.take(&Step::Switch(Switches::default()));
        }
        self.settle_as_switched();
    }

    /// No faults any more, and time for everything to come to rest.
    pub fn settle_as_switched(&mut self) {
        self.target_readable = true;
        self.scale_writable = true;
        self.preparation = None;
        self.latency = Some(20);
        for source in &mut self.sources {
            if matches!(
                source,
                Source::Fails | Source::SaysNothing | Source::SaysNaN
            ) {
                *source = Source::Holds(0);
            }
        }
        let lost = self.object.polling_interval * 2 + SignedDuration::from_secs(70);
        self.pass(self.object.cooldown_period + self.object.polling_interval * 5 + lost);
    }

    /// The operator's process ends: no answer reaches anyone.
    fn forget_answers(&mut self) {
        self.queue
            .retain(|_, message| matches!(message, Message::HpaLooks));
        self.polls_under_way.clear();
        self.served.clear();
        self.prepared = false;
        self.pushed = false;
        self.listening = false;
    }

    fn apply(&mut self) {
        let remembered = self
            .status
            .clone()
            .map_or_else(Remembered::default, |status| Remembered {
                // metav1.Time drops what is less than a second.
                last_active_time: status
                    .last_active_time
                    .map(|time| Timestamp::from_second(time.as_second()).unwrap()),
                conditions: status.conditions,
                paused_replicas: status.paused_replicas,
                health: status.health,
                prescale: status.prescale,
                seen_before: true,
            });
        self.occasions += 2;
        self.tell(Event::Applied {
            key: Self::key(),
            object: self.object.clone(),
            remembered,
        });
    }

    fn post(&mut self, wait: SignedDuration, message: Message) {
        self.queue.insert((self.now + wait, self.sequence), message);
        self.sequence += 1;
    }

    fn pass(&mut self, duration: SignedDuration) {
        let end = self.now + duration;
        let mut at_this_instant = 0;
        loop {
            let message = self.queue.first_key_value().map(|((at, _), _)| *at);
            let wakeup = self.engine.next_wakeup();
            let next = [message, wakeup]
                .into_iter()
                .flatten()
                .min()
                .filter(|at| *at <= end);
            let Some(next) = next else { break };
            at_this_instant = if next > self.now {
                0
            } else {
                at_this_instant + 1
            };
            assert!(
                at_this_instant < 1000,
                "the engine never sleeps at {}",
                self.now
            );
            self.now = self.now.max(next);
            if wakeup.is_some_and(|at| at <= self.now) {
                self.tell(Event::Woke);
            } else if let Some(entry) = self.queue.pop_first() {
                self.deliver(entry.1);
            }
        }
        self.now = end;
    }

    fn deliver(&mut self, message: Message) {
        let key = Self::key();
        match message {
            Message::Answer(event) => self.tell(event),
            Message::Prepare(generation) => {
                let outcome = match (self.preparation, self.object.switches.pause) {
                    (None, Some(Pause::Whole)) => PrepareOutcome::Paused {
                        target_replicas: None,
                    },
                    (None, Some(Pause::At(_))) if !self.target_readable => PrepareOutcome::Failed {
                        message: "unreachable".into(),
                        pollable: false,
                    },
                    (None, Some(Pause::At(_))) => PrepareOutcome::Paused {
                        target_replicas: Some(self.replicas),
                    },
                    (None, None) => PrepareOutcome::Done {
                        target_replicas: self.replicas,
                        problems: Vec::new(),
                        metrics: Self::metrics(),
                    },
                    (Some(pollable), _) => PrepareOutcome::Failed {
                        message: "no target".into(),
                        pollable,
                    },
                };
                self.answer(Event::Prepared {
                    key,
                    generation,
                    outcome,
                });
            }
            Message::Poll(poll) => {
                let replicas = if self.target_readable {
                    Ok(self.replicas)
                } else {
                    Err("unreachable".into())
                };
                let triggers = (0..2).map(|index| self.read(index)).collect();
                if self.latency.is_some() {
                    self.answer(Event::Polled {
                        key,
                        poll,
                        outcome: PollOutcome {
                            replicas,
                            triggers,
                            ready_pods: Some(self.replicas),
                            age: SignedDuration::ZERO,
                        },
                    });
                }
            }
            Message::Scale { from, to } => {
                let outcome = if !self.scale_writable {
                    ScaleOutcome::Failed {
                        from,
                        to,
                        message: "forbidden".into(),
                    }
                } else if self.replicas == from {
                    self.replicas = to;
                    ScaleOutcome::Done { from, to }
                } else {
                    ScaleOutcome::Conflict
                };
                self.answer(Event::Scaled { key, outcome });
            }
            Message::HpaLooks => {
                self.hpa();
                self.post(HPA_PERIOD, Message::HpaLooks);
            }
        }
    }

    fn answer(&mut self, event: Event) {
        let wait = SignedDuration::from_millis(i64::from(self.latency.unwrap_or(20)));
        self.post(wait, Message::Answer(event));
    }

    fn read(&self, index: usize) -> TriggerOutcome {
        let metric = format!("s{index}-queue");
        match self.sources[index] {
            Source::Holds(value) => TriggerOutcome::Read(vec![Reading {
                metric,
                value: f64::from(value),
                active: value > 0,
            }]),
            Source::Fails => TriggerOutcome::Failed {
                message: "connection refused".into(),
            },
            Source::SaysNothing => TriggerOutcome::Read(Vec::new()),
            Source::SaysNaN => TriggerOutcome::Read(vec![Reading {
                metric,
                value: f64::NAN,
                active: false,
            }]),
            Source::Resource => TriggerOutcome::Resource,
        }
    }

    /// The HPA scales between its bounds, unless the target is at zero or a metric is missing.
    fn hpa(&mut self) {
        let mut desired = 0;
        for (index, source) in self.sources.iter().enumerate() {
            match source {
                Source::Holds(value) => desired = desired.max(value.div_ceil(TARGET)),
                Source::Resource => {}
                _ => match self.served.get(&format!("s{index}-queue")) {
                    Some(Ok(value)) => {
                        desired = desired.max((value.to_f64() as u32).div_ceil(TARGET))
                    }
                    _ => return,
                },
            }
        }
        if self.replicas > 0 && self.prepared {
            let (min, max) = (self.object.min_replicas.max(1), self.object.max_replicas);
            let desired = i32::try_from(desired).unwrap();
            let switches = self.object.switches;
            let wanted = desired.clamp(min, max);
            let disabled = (wanted < self.replicas && switches.scale_in_paused)
                || (wanted > self.replicas && switches.scale_out_paused && self.replicas >= min);
            // In idle mode the idle replicas are left alone while nothing is active, as KEDA's users expect of it.
            if self.object.idle_replicas != Some(self.replicas) && !disabled {
                self.replicas = wanted;
            }
        }
    }

    /// What the two triggers publish.
    fn metrics() -> Vec<Vec<MetricTarget>> {
        let metric = |index| MetricTarget {
            metric: format!("s{index}-queue"),
            target: Quantity::from_integer(i64::from(TARGET)),
            target_type: TargetType::AverageValue,
        };
        vec![vec![metric(0)], vec![metric(1)]]
    }

    fn tell(&mut self, event: Event) {
        self.observe(&event);
        let polled = matches!(event, Event::Polled { .. });
        let prepared = matches!(event, Event::Prepared { .. });
        let effects = self.engine.handle(self.now, event);
        let writes = effects
            .iter()
            .filter(|effect| matches!(effect, Effect::WriteStatus { .. }))
            .count();
        assert!(writes <= 1, "two status writes at once: {effects:?}");
        let scales = effects
            .iter()
            .filter(|effect| matches!(effect, Effect::Scale { .. }))
            .count();
        assert!(
            scales == 0 || (scales == 1 && (polled || prepared)),
            "only a poll or a pause scales: {effects:?}"
        );
        for effect in effects {
            self.log.push(format!("{} {effect:?}", self.now));
            self.carry_out(effect);
        }
    }

    /// Keeps the world's own account of what the engine is told.
    fn observe(&mut self, event: &Event) {
        match event {
            Event::Prepared {
                outcome,
                generation,
                ..
            } => {
                self.occasions += 2;
                self.prepared = *generation == self.object.generation
                    && matches!(outcome, PrepareOutcome::Done { .. });
                self.listening = self.prepared && self.object.switches.pause.is_none();
            }
            Event::Scaled { .. } => self.occasions += 1,
            Event::Pushed { .. } => {
                self.occasions += 1;
                self.pushed |= self.listening;
            }
            Event::Polled { poll, outcome, .. } => {
                self.occasions += 1;
                self.polls_under_way
                    .retain(|(under_way, _)| under_way != poll);
                let usable = |outcome: &TriggerOutcome| match outcome {
                    TriggerOutcome::Read(readings) => {
                        !readings.is_empty() && readings.iter().all(|r| r.value.is_finite())
                    }
                    TriggerOutcome::Failed { .. } => false,
                    TriggerOutcome::Resource => true,
                };
                let active = outcome.triggers.iter().any(
                    |outcome| matches!(outcome, TriggerOutcome::Read(readings) if readings.iter().any(|r| r.active)),
                );
                let active = active | std::mem::take(&mut self.pushed);
                if active || self.object.switches.activation_forced {
                    self.last_active = Some(self.now);
                }
                let only_resources = outcome
                    .triggers
                    .iter()
                    .all(|outcome| *outcome == TriggerOutcome::Resource);
                self.last_answer_inactive = !active
                    && !only_resources
                    && outcome.replicas.is_ok()
                    && outcome.triggers.iter().all(usable);
            }
            _ => {}
        }
    }

    fn carry_out(&mut self, effect: Effect) {
        match effect {
            Effect::Serve { metrics, .. } => {
                let metrics = metrics
                    .into_iter()
                    .map(|served| (served.metric, served.value));
                self.served.extend(metrics);
            }
            Effect::Prepare { generation, .. } => {
                self.post(SignedDuration::from_millis(5), Message::Prepare(generation))
            }
            Effect::Poll { poll, .. } => {
                let now = self.now;
                let given_up =
                    (self.object.polling_interval * 2).max(SignedDuration::from_secs(60));
                self.polls_under_way
                    .retain(|(_, since)| now.duration_since(*since) < given_up);
                assert!(
                    self.polls_under_way.is_empty(),
                    "polled while {:?} are under way",
                    self.polls_under_way
                );
                self.polls_under_way.push((poll, now));
                self.post(SignedDuration::from_millis(5), Message::Poll(poll));
            }
            Effect::Scale {
                from,
                to,
                direction,
                ..
            } => {
                self.judge_scale(from, to, direction);
                self.post(SignedDuration::from_millis(5), Message::Scale { from, to });
            }
            Effect::WriteStatus { status, .. } => {
                self.status_writes += 1;
                self.held = status.paused_replicas;
                self.status = Some(status);
            }
            Effect::Publish { .. } | Effect::Log { .. } => {}
            Effect::SetBounds { .. }
            | Effect::KeepRoom { .. }
            | Effect::ReadPods { .. }
            | Effect::ShowPrescale { .. } => {
                panic!("there are no sales here: {effect:?}")
            }
        }
    }

    fn judge_scale(&mut self, from: i32, to: i32, direction: ScaleDirection) {
        let ScaledObject {
            idle_replicas,
            min_replicas,
            max_replicas,
            switches,
            ..
        } = self.object;
        if direction != ScaleDirection::HoldPaused {
            assert_eq!(switches.pause, None, "{direction:?} while it is paused");
        }
        assert!(to >= 0);
        match direction {
            ScaleDirection::Activate | ScaleDirection::RaiseToMinimum => {
                assert!(to > from, "raised from {from} to {to}");
                assert!(
                    direction != ScaleDirection::Activate || !switches.scale_out_paused,
                    "scaled out while that is paused"
                );
                let least = if direction == ScaleDirection::Activate {
                    1
                } else {
                    0
                };
                assert_eq!(to, min_replicas.max(least).min(max_replicas));
            }
            ScaleDirection::Deactivate => {
                assert!(to < from, "lowered from {from} to {to}");
                assert!(!switches.scale_in_paused, "scaled in while that is paused");
                assert!(
                    !switches.activation_forced,
                    "scaled in in spite of forced activation"
                );
                assert_eq!(to, idle_replicas.unwrap_or(0));
                assert!(self.prepared, "lowered while the object is not prepared");
                assert!(
                    self.last_answer_inactive,
                    "lowered though the last answer does not say so"
                );
                assert!(
                    idle_replicas.is_some() || min_replicas == 0,
                    "lowered below the minimum"
                );
                let waited = self
                    .last_active
                    .is_none_or(|time| self.now > time + self.object.cooldown_period);
                assert!(
                    waited,
                    "lowered at {} within the cooldown after {:?}",
                    self.now, self.last_active
                );
            }
            ScaleDirection::HoldPaused => {
                assert_eq!(switches.pause, Some(Pause::At(to)));
                assert_ne!(self.held, Some(to), "set to the pause's replicas again");
            }
        }
    }
}
