//! The engine: all objects, one agenda, one way in and one way out.

use std::collections::BTreeMap;

use jiff::Timestamp;

use crate::agenda::Agenda;
use crate::effect::Effect;
use crate::event::Event;
use crate::object::ObjectKey;
use crate::tracked::Tracked;

/// Decides for all objects.
///
/// Feed every [`Event`] with the time at which it happened, carry out the [`Effect`]s it returns (in order for each
/// object), and feed [`Event::Woke`] at [`Engine::next_wakeup`].
///
/// ```
/// use jiff::{SignedDuration, Timestamp};
/// use sakidori_engine::{
///     Effect, Engine, Event, ObjectKey, PollOutcome, PrepareOutcome, Reading, Remembered, ScaleDirection, ScaledObject,
///     Switches, TriggerOutcome,
/// };
///
/// let now = Timestamp::UNIX_EPOCH;
/// let key = ObjectKey::new("shop", "web");
/// let object = ScaledObject {
///     uid: "4b0c1f0e".into(),
///     generation: 1,
///     created_at: now,
///     polling_interval: SignedDuration::from_secs(30),
///     cooldown_period: SignedDuration::from_secs(300),
///     initial_cooldown_period: SignedDuration::ZERO,
///     idle_replicas: None,
///     min_replicas: 0,
///     max_replicas: 100,
///     target_kind: "apps/v1.Deployment".into(),
///     target_name: "web".into(),
///     trigger_count: 1,
///     fallback: None,
///     modifiers: None,
///     switches: Switches::default(),
/// };
/// let mut engine = Engine::default();
///
/// let applied = Event::Applied { key: key.clone(), object, remembered: Remembered::default() };
/// assert_eq!(engine.handle(now, applied), [Effect::Prepare { key: key.clone(), generation: 1 }]);
///
/// // Once it is prepared, an object never seen before is polled at once.
/// let outcome = PrepareOutcome::Done { target_replicas: 0, problems: vec![], metrics: vec![vec![]] };
/// let effects = engine.handle(now, Event::Prepared { key: key.clone(), generation: 1, outcome });
/// let Some(Effect::Poll { poll, .. }) = effects.last() else { panic!("expected a poll, got {effects:?}") };
///
/// // The queue holds messages and the target has no replicas: it is activated.
/// let reading = Reading { metric: "s0-rabbitmq-orders".into(), value: 500.0, active: true };
/// let outcome = PollOutcome { replicas: Ok(0), triggers: vec![TriggerOutcome::Read(vec![reading])], ready_pods: None, age: jiff::SignedDuration::ZERO };
/// let effects = engine.handle(now, Event::Polled { key: key.clone(), poll: *poll, outcome });
/// assert_eq!(
///     effects[0],
///     Effect::Scale {
///         key,
///         from: 0,
///         to: 1,
///         direction: ScaleDirection::Activate,
///         reason: "triggered by s0-rabbitmq-orders".into(),
///     },
/// );
/// ```
#[derive(Debug, Default)]
pub struct Engine {
    /// Ordered rather than hashed, so that nothing in here depends on a random seed.
    objects: BTreeMap<ObjectKey, Tracked>,
    agenda: Agenda,
    next_poll: u64,
}

/// What one object may use while it takes in one event.
pub(crate) struct Turn<'a> {
    pub(crate) now: Timestamp,
    pub(crate) key: &'a ObjectKey,
    pub(crate) agenda: &'a mut Agenda,
    pub(crate) next_poll: &'a mut u64,
    /// How many objects there are.
    pub(crate) objects: usize,
    pub(crate) effects: &'a mut Vec<Effect>,
}

impl Engine {
    /// Takes in one event and says what is to be done, in this order for each object.
    pub fn handle(&mut self, now: Timestamp, event: Event) -> Vec<Effect> {
        let mut effects = Vec::new();
        let objects = self.objects.len();
        match event {
            Event::Applied {
                key,
                object,
                remembered,
            } => {
                let mut turn = Turn {
                    now,
                    key: &key,
                    agenda: &mut self.agenda,
                    next_poll: &mut self.next_poll,
                    objects,
                    effects: &mut effects,
                };
                match self.objects.get_mut(&key) {
                    // Re-created under the same name while nobody looked: nothing of the old one counts.
                    Some(tracked) if !tracked.is_same(&object) => {
                        tracked.forget(&mut turn);
                        *tracked = Tracked::new(&mut turn, object, remembered);
                    }
                    Some(tracked) => tracked.applied(&mut turn, object),
                    None => {
                        let tracked = Tracked::new(&mut turn, object, remembered);
                        self.objects.insert(key, tracked);
                    }
                }
            }
            Event::Deleted { key } => {
                self.with(now, &key, &mut effects, Tracked::forget);
                self.objects.remove(&key);
            }
            Event::ReferenceChanged { key } => {
                self.with(now, &key, &mut effects, Tracked::reference_changed)
            }
            Event::Prepared {
                key,
                generation,
                outcome,
            } => {
                self.with(now, &key, &mut effects, |object, turn| {
                    object.prepared(turn, generation, outcome)
                });
            }
            Event::ReadingWanted { key } => {
                self.with(now, &key, &mut effects, Tracked::reading_wanted)
            }
            Event::Pushed {
                key,
                trigger,
                metric,
            } => {
                self.with(now, &key, &mut effects, |object, turn| {
                    object.pushed(turn, trigger, metric)
                });
            }
            Event::Polled { key, poll, outcome } => {
                self.with(now, &key, &mut effects, |object, turn| {
                    object.polled(turn, poll, outcome)
                });
            }
            Event::Scaled { key, outcome } => {
                self.with(now, &key, &mut effects, |object, turn| {
                    object.scaled(turn, outcome)
                });
            }
            Event::SalesKnown { key, triggers } => {
                self.with(now, &key, &mut effects, |object, turn| {
                    object.sales_known(turn, triggers)
                });
            }
            Event::PodsSeen { key, pods } => {
                self.with(now, &key, &mut effects, |object, turn| {
                    object.pods_seen(turn, pods)
                });
            }
            Event::RoomKept { key, outcome } => {
                self.with(now, &key, &mut effects, |object, turn| {
                    object.room_kept(turn, outcome)
                });
            }
            Event::HpaObserved {
                key,
                status,
                reason,
                message,
            } => {
                self.with(now, &key, &mut effects, |object, _| {
                    object.hpa_observed(status, &reason, &message)
                });
            }
            Event::ResizeObserved { key, condition } => {
                self.with(now, &key, &mut effects, |object, turn| {
                    object.resize_observed(turn, condition)
                });
            }
            Event::Woke => self.run_due(now, &mut effects),
        }
        effects
    }

    /// When `handle(.., Event::Woke)` is to be called next, if nothing else happens before. It may lie in the past.
    pub fn next_wakeup(&self) -> Option<Timestamp> {
        self.agenda.first()
    }

    fn run_due(&mut self, now: Timestamp, effects: &mut Vec<Effect>) {
        while let Some((planned, _, task, key)) = self.agenda.take_due(now) {
            self.with(now, &key, effects, |object, turn| {
                object.due(turn, task, planned)
            });
        }
    }

    /// Lets one object take in something. Whatever belongs to an object that is gone is dropped here.
    fn with(
        &mut self,
        now: Timestamp,
        key: &ObjectKey,
        effects: &mut Vec<Effect>,
        take_in: impl FnOnce(&mut Tracked, &mut Turn<'_>),
    ) {
        let objects = self.objects.len();
        if let Some(object) = self.objects.get_mut(key) {
            let mut turn = Turn {
                now,
                key,
                agenda: &mut self.agenda,
                next_poll: &mut self.next_poll,
                objects,
                effects,
            };
            take_in(object, &mut turn);
        }
    }
}

#[cfg(test)]
mod tests {
    use jiff::SignedDuration;

    use super::*;
    use crate::event::{PollOutcome, PrepareOutcome, Reading, Remembered, TriggerOutcome};
    use crate::object::ScaledObject;
    use crate::object::tests::object;

    /// Answers whatever the effects ask for until they ask for nothing more.
    fn answer(engine: &mut Engine, now: Timestamp, effects: Vec<Effect>) {
        for effect in effects {
            let event = match effect {
                Effect::Prepare { key, generation } => {
                    let outcome = PrepareOutcome::Done {
                        target_replicas: 1,
                        problems: vec![],
                        metrics: vec![],
                    };
                    Event::Prepared {
                        key,
                        generation,
                        outcome,
                    }
                }
                Effect::Poll { key, poll, .. } => {
                    let reading = Reading {
                        metric: "s0-queue".into(),
                        value: 1.0,
                        active: true,
                    };
                    let triggers = vec![TriggerOutcome::Read(vec![reading])];
                    Event::Polled {
                        key,
                        poll,
                        outcome: PollOutcome {
                            replicas: Ok(1),
                            triggers,
                            ready_pods: None,
                            age: SignedDuration::ZERO,
                        },
                    }
                }
                _ => continue,
            };
            let effects = engine.handle(now, event);
            answer(engine, now, effects);
        }
    }

    /// They come, are polled, change, are wanted by the HPA, and go.
    #[test]
    fn ten_thousand_objects_fill_the_agenda_with_one_entry_each() {
        let mut engine = Engine::default();
        let mut now = Timestamp::UNIX_EPOCH;
        let key = |number: i32| ObjectKey::new("shop", format!("web-{number}"));
        let apply = |number: i32, generation| Event::Applied {
            key: key(number),
            object: ScaledObject {
                uid: number.to_string(),
                generation,
                ..object()
            },
            remembered: Remembered::default(),
        };
        for number in 0..10_000 {
            let effects = engine.handle(now, apply(number, 1));
            answer(&mut engine, now, effects);
        }
        for generation in 2..6 {
            now += SignedDuration::from_secs(30);
            let effects = engine.handle(now, Event::Woke);
            answer(&mut engine, now, effects);
            for number in 0..10_000 {
                let effects = engine.handle(now, apply(number, generation));
                answer(&mut engine, now, effects);
                let effects = engine.handle(now, Event::ReadingWanted { key: key(number) });
                answer(&mut engine, now, effects);
            }
            assert!(
                engine.agenda.len() <= 20_000,
                "{} entries",
                engine.agenda.len()
            );
        }
        for number in 0..10_000 {
            engine.handle(now, Event::Deleted { key: key(number) });
        }
        assert_eq!((engine.agenda.len(), engine.next_wakeup()), (0, None));
    }
}
