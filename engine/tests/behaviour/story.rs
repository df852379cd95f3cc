//! An engine that is told about one object, event by event, and what it says in brief.

use jiff::{SignedDuration, Timestamp};
use sakidori_engine::{
    Effect, Engine, Event, EventType, MetricTarget, ObjectKey, ObjectStatus, PollId, PollOutcome,
    PrepareOutcome, Quantity, Reading, Remembered, ScaleDirection, ScaleOutcome, ScaledObject,
    Served, Switches, TargetType, TriggerOutcome,
};

/// An engine that is told about one object.
pub struct Story {
    pub engine: Engine,
    pub now: Timestamp,
    pub key: ObjectKey,
    pub object: ScaledObject,
}

/// What effects are about, without what doesn't matter to a story.
#[derive(Debug, PartialEq)]
pub enum Brief {
    Prepare(i64),
    Poll,
    Scale(i32, i32, ScaleDirection),
    Status,
    /// A metric and its value, or `no` value.
    Serve(String, String),
    Normal(&'static str, String),
    Warning(&'static str, String),
    Log(&'static str, String),
}

pub fn brief(effects: &[Effect]) -> Vec<Brief> {
    let brief = |effect: &Effect| match effect {
        Effect::Prepare { generation, .. } => Brief::Prepare(*generation),
        Effect::Poll { .. } => Brief::Poll,
        Effect::Scale {
            from,
            to,
            direction,
            ..
        } => Brief::Scale(*from, *to, *direction),
        Effect::WriteStatus { .. } => Brief::Status,
        Effect::Serve { metrics, .. } => {
            let [Served { metric, value }] = &metrics[..] else {
                panic!("{metrics:?}")
            };
            let value = value.as_ref().map_or("no".to_owned(), Quantity::to_string);
            Brief::Serve(metric.clone(), value)
        }
        Effect::Publish { told, .. } => match told.kind {
            EventType::Normal => Brief::Normal(told.reason, told.message.clone()),
            EventType::Warning => Brief::Warning(told.reason, told.message.clone()),
        },
        Effect::Log { told, .. } => Brief::Log(told.reason, told.message.clone()),
        Effect::SetBounds { .. }
        | Effect::KeepRoom { .. }
        | Effect::ReadPods { .. }
        | Effect::ShowPrescale { .. } => {
            panic!("there are no sales here: {effect:?}")
        }
    };
    effects.iter().map(brief).collect()
}

pub fn status(effects: &[Effect]) -> Option<&ObjectStatus> {
    effects.iter().find_map(|effect| {
        if let Effect::WriteStatus { status, .. } = effect {
            Some(status)
        } else {
            None
        }
    })
}

pub fn poll_of(effects: &[Effect]) -> PollId {
    let poll = effects.iter().find_map(|effect| {
        if let Effect::Poll { poll, .. } = effect {
            Some(*poll)
        } else {
            None
        }
    });
    poll.unwrap_or_else(|| panic!("no poll in {effects:?}"))
}

pub fn reading(value: f64) -> TriggerOutcome {
    TriggerOutcome::Read(vec![Reading {
        metric: "s0-queue".into(),
        value,
        active: value > 0.0,
    }])
}

pub fn failing(message: &str) -> TriggerOutcome {
    TriggerOutcome::Failed {
        message: message.into(),
    }
}

pub fn seconds(seconds: i64) -> SignedDuration {
    SignedDuration::from_secs(seconds)
}

impl Story {
    pub fn new() -> Self {
        let now = Timestamp::from_second(1_700_000_000).unwrap();
        let object = ScaledObject {
            uid: "4b0c1f0e-0000-4000-8000-000000000001".into(),
            generation: 1,
            created_at: now,
            polling_interval: seconds(30),
            cooldown_period: seconds(300),
            initial_cooldown_period: SignedDuration::ZERO,
            idle_replicas: None,
            min_replicas: 0,
            max_replicas: 100,
            target_kind: "apps/v1.Deployment".into(),
            target_name: "web".into(),
            trigger_count: 1,
            fallback: None,
            modifiers: None,
            switches: Switches::default(),
        };
        Self {
            engine: Engine::default(),
            now,
            key: ObjectKey::new("shop", "web"),
            object,
        }
    }

    pub fn apply(&mut self, remembered: Remembered) -> Vec<Effect> {
        let event = Event::Applied {
            key: self.key.clone(),
            object: self.object.clone(),
            remembered,
        };
        self.engine.handle(self.now, event)
    }

    pub fn prepared(&mut self, outcome: PrepareOutcome) -> Vec<Effect> {
        let event = Event::Prepared {
            key: self.key.clone(),
            generation: self.object.generation,
            outcome,
        };
        self.engine.handle(self.now, event)
    }

    pub fn done(&mut self) -> Vec<Effect> {
        self.prepared(PrepareOutcome::Done {
            target_replicas: 0,
            problems: vec![],
            metrics: metrics(),
        })
    }

    pub fn polled(&mut self, poll: PollId, replicas: i32, trigger: TriggerOutcome) -> Vec<Effect> {
        let outcome = PollOutcome {
            replicas: Ok(replicas),
            triggers: vec![trigger],
            ready_pods: None,
            age: SignedDuration::ZERO,
        };
        self.engine.handle(
            self.now,
            Event::Polled {
                key: self.key.clone(),
                poll,
                outcome,
            },
        )
    }

    pub fn scaled(&mut self, outcome: ScaleOutcome) -> Vec<Effect> {
        self.engine.handle(
            self.now,
            Event::Scaled {
                key: self.key.clone(),
                outcome,
            },
        )
    }

    pub fn wait(&mut self, duration: SignedDuration) -> Vec<Effect> {
        self.now += duration;
        self.engine.handle(self.now, Event::Woke)
    }

    /// An object that is prepared and whose first poll is under way.
    pub fn brought_up() -> (Self, PollId) {
        let mut story = Self::new();
        let poll = story.bring_up();
        (story, poll)
    }

    /// Prepares the object; its first poll is under way then.
    pub fn bring_up(&mut self) -> PollId {
        self.apply(Remembered::default());
        poll_of(&self.done())
    }

    /// The HPA wants a reading.
    pub fn reading_wanted(&mut self) -> Vec<Effect> {
        let key = self.key.clone();
        self.engine.handle(self.now, Event::ReadingWanted { key })
    }

    /// Waits until the next poll is due, and answers it.
    pub fn poll(&mut self, replicas: i32, trigger: TriggerOutcome) -> Vec<Effect> {
        let wait = self.engine.next_wakeup().unwrap().duration_since(self.now);
        let effects = self.wait(wait);
        self.polled(poll_of(&effects), replicas, trigger)
    }
}

/// What the one trigger publishes.
pub fn metrics() -> Vec<Vec<MetricTarget>> {
    vec![vec![MetricTarget {
        metric: "s0-queue".into(),
        target: Quantity::from_integer(5),
        target_type: TargetType::AverageValue,
    }]]
}
