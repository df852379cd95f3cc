//! Sales: floors at their instants, whatever happens to the operator, the calendar or the object in between.

mod adversity;
mod nodes;

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use proptest::prelude::*;
use sakidori_engine::prescale::{
    Baseline, LeadTime, Obstacle, Occurrence, Occurrences, Settings, Trigger, Wish,
};
use sakidori_engine::{
    ConditionStatus, Effect, Engine, Event, MetricTarget, ObjectKey, ObjectStatus, Pause, PodsSeen,
    PollOutcome, PrepareOutcome, Quantity, Reading, Remembered, RoomOutcome, SaleTrigger,
    ScaleDirection, ScaleOutcome, ScaledObject, Switches, TargetType, TriggerOutcome,
};

/// A shop with a sale trigger and a queue, whose operator, HPA and pods answer at once.
struct Shop {
    engine: Engine,
    now: Timestamp,
    object: ScaledObject,
    settings: Vec<Settings>,
    /// What the triggers are known by, where that is not their place.
    keys: Option<Vec<&'static str>>,
    calendar: Occurrences,
    queue: u32,
    queue_fails: bool,
    replicas: i32,
    /// The target's scale can be read, and written.
    readable: bool,
    writable: bool,
    hpa: Option<(i32, i32)>,
    status: Option<ObjectStatus>,
    status_writes: usize,
    /// Seconds since the start of the test at which the bounds were set.
    set: Vec<(i64, i32, i32)>,
    events: Vec<(i64, &'static str, String)>,
    served: BTreeMap<String, Result<Quantity, String>>,
    /// How long the last pods took to become Ready.
    startups: Vec<SignedDuration>,
    /// Seconds since the start of the test at which the pods were looked at.
    looks: Vec<i64>,
    /// The floor and the next start that whoever watches sees.
    shown: Option<(i32, Option<Timestamp>)>,
    /// When pods became Ready; `None` where nobody can look.
    ready: Option<Vec<Timestamp>>,
    obstacle: Option<Obstacle>,
    prepares: bool,
    /// Pods that have no node, of those that there are.
    homeless: i32,
    /// What the cluster's CapacityBuffer keeps room for.
    buffer: Option<i32>,
    /// When it was asked for something else than before.
    rooms: Vec<(i64, Option<i32>)>,
    /// What the API server says to a buffer, where it refuses.
    no_buffer: Option<RoomOutcome>,
    refused_at: Option<i64>,
    untold: VecDeque<Event>,
    telling: bool,
}

const BEGIN: i64 = 1_800_000_000;

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(BEGIN + second).unwrap()
}

fn sale(name: &str, start: i64, end: i64) -> Arc<Occurrence> {
    Arc::new(Occurrence {
        id: name.to_owned(),
        source: String::new(),
        name: name.to_owned(),
        start: at(start),
        end: at(end),
        labels: BTreeMap::new(),
        multiplier: None,
    })
}

fn known(sales: &[Arc<Occurrence>]) -> Occurrences {
    Occurrences {
        known: sales.to_vec().into(),
        complete: true,
    }
}

/// Complete 100 s before the start after a ramp of 60 s, holds 50 s, falls over 60 s.
fn floor(replicas: i32) -> Settings {
    Settings {
        wish: Wish::Replicas(replicas),
        baseline: Baseline::Replicas(2),
        lead_time: LeadTime::Fixed(SignedDuration::from_secs(100)),
        ramp_up: SignedDuration::from_secs(60),
        hold_after: SignedDuration::from_secs(50),
        ramp_down: SignedDuration::from_secs(60),
        ..Settings::default()
    }
}

fn object() -> ScaledObject {
    ScaledObject {
        uid: "u".into(),
        generation: 1,
        created_at: at(0),
        polling_interval: SignedDuration::from_secs(30),
        cooldown_period: SignedDuration::from_secs(30),
        initial_cooldown_period: SignedDuration::ZERO,
        idle_replicas: None,
        min_replicas: 0,
        max_replicas: 20,
        target_kind: "apps/v1.Deployment".into(),
        target_name: "web".into(),
        trigger_count: 2,
        fallback: None,
        modifiers: None,
        switches: Switches::default(),
    }
}

impl Shop {
    fn new(settings: Vec<Settings>, calendar: Occurrences) -> Self {
        Self::opened(0, 0, settings, calendar)
    }

    /// The same, where the object is made at `second`, for a target with so many replicas.
    fn opened(second: i64, replicas: i32, settings: Vec<Settings>, calendar: Occurrences) -> Self {
        let mut shop = Self {
            engine: Engine::default(),
            now: at(second),
            object: ScaledObject {
                trigger_count: settings.len() + 1,
                ..object()
            },
            settings,
            keys: None,
            calendar,
            queue: 0,
            queue_fails: false,
            replicas,
            readable: true,
            writable: true,
            hpa: None,
            status: None,
            status_writes: 0,
            set: Vec::new(),
            events: Vec::new(),
            served: BTreeMap::new(),
            startups: Vec::new(),
            looks: Vec::new(),
            shown: None,
            ready: Some(Vec::new()),
            obstacle: None,
            prepares: true,
            homeless: 0,
            buffer: None,
            rooms: Vec::new(),
            no_buffer: None,
            refused_at: None,
            untold: VecDeque::new(),
            telling: false,
        };
        shop.apply();
        shop
    }

    fn key() -> ObjectKey {
        ObjectKey::new("shop", "web")
    }

    fn second(&self) -> i64 {
        self.now.as_second() - BEGIN
    }

    fn apply(&mut self) {
        let remembered = self
            .status
            .clone()
            .map_or_else(Remembered::default, |it| Remembered {
                last_active_time: it.last_active_time,
                conditions: it.conditions,
                prescale: it.prescale,
                seen_before: true,
                ..Remembered::default()
            });
        let object = self.object.clone();
        self.tell(Event::Applied {
            key: Self::key(),
            object,
            remembered,
        });
    }

    fn edit(&mut self, edit: impl FnOnce(&mut ScaledObject)) {
        edit(&mut self.object);
        self.object.generation += 1;
        self.apply();
    }

    fn restart(&mut self) {
        self.engine = Engine::default();
        self.apply();
    }

    fn calendar(&mut self, calendar: Occurrences) {
        self.calendar = calendar;
        self.tell_sales();
    }

    fn tell_sales(&mut self) {
        let triggers = self.settings.iter().enumerate();
        let triggers = triggers.map(|(index, settings)| SaleTrigger {
            index,
            metric: format!("s{index}-sale-calendar-sales"),
            trigger: Trigger {
                key: match &self.keys {
                    Some(keys) => keys[index].to_owned(),
                    None => format!("sales-{index}"),
                },
                settings: settings.clone(),
                occurrences: self.calendar.clone(),
            },
        });
        let triggers = triggers.collect();
        let key = Self::key();
        self.tell(Event::SalesKnown { key, triggers });
    }

    fn go_to(&mut self, second: i64) {
        while let Some(next) = self.engine.next_wakeup().filter(|next| *next <= at(second)) {
            self.now = self.now.max(next);
            self.tell(Event::Woke);
        }
        self.now = at(second);
    }

    /// All effects of one event are carried out before an answer to one of them is told.
    fn tell(&mut self, event: Event) {
        self.untold.push_back(event);
        if self.telling {
            return;
        }
        self.telling = true;
        while let Some(event) = self.untold.pop_front() {
            for effect in self.engine.handle(self.now, event) {
                self.carry_out(effect);
            }
        }
        self.telling = false;
    }

    fn carry_out(&mut self, effect: Effect) {
        let key = Self::key();
        match effect {
            Effect::Prepare { generation, .. } => {
                let outcome = if self.object.switches.pause.is_some() {
                    self.hpa = None;
                    PrepareOutcome::Paused {
                        target_replicas: Some(self.replicas),
                    }
                } else if self.prepares {
                    self.tell_sales();
                    PrepareOutcome::Done {
                        target_replicas: self.replicas,
                        problems: Vec::new(),
                        metrics: self.metrics(),
                    }
                } else {
                    PrepareOutcome::Failed {
                        message: "no target".into(),
                        pollable: false,
                    }
                };
                self.tell(Event::Prepared {
                    key,
                    generation,
                    outcome,
                });
            }
            Effect::Poll { poll, .. } => {
                let nothing = || TriggerOutcome::Read(Vec::new());
                let mut triggers: Vec<_> = self.settings.iter().map(|_| nothing()).collect();
                triggers.push(match self.queue_fails {
                    true => TriggerOutcome::Failed {
                        message: "refused".into(),
                    },
                    false => TriggerOutcome::Read(vec![Reading {
                        metric: "queue".into(),
                        value: f64::from(self.queue),
                        active: self.queue > 0,
                    }]),
                });
                let outcome = PollOutcome {
                    replicas: match self.readable {
                        true => Ok(self.replicas),
                        false => Err("no quorum".into()),
                    },
                    triggers,
                    ready_pods: None,
                    age: SignedDuration::ZERO,
                };
                self.tell(Event::Polled { key, poll, outcome });
            }
            Effect::Scale {
                from,
                to,
                direction,
                ..
            } => {
                assert_eq!(from, self.replicas);
                if direction == ScaleDirection::Deactivate {
                    let sale_runs = self
                        .hpa
                        .is_some_and(|(min, _)| min > self.object.min_replicas);
                    assert!(!sale_runs, "deactivated under a floor");
                }
                let outcome = match self.writable {
                    true => {
                        self.replicas = to;
                        ScaleOutcome::Done { from, to }
                    }
                    false => ScaleOutcome::Failed {
                        from,
                        to,
                        message: "no quorum".into(),
                    },
                };
                self.tell(Event::Scaled { key, outcome });
            }
            Effect::SetBounds { min, max, .. } => {
                let written = self.status.as_ref().map_or(0, |it| it.prescale.runs.len());
                assert!(
                    min <= self.object.min_replicas || written > 0,
                    "a floor that a restart would not know"
                );
                self.hpa = Some((min, max));
                self.set.push((self.second(), min, max));
                if self.replicas > 0 {
                    self.replicas = self.replicas.clamp(min.max(1), max);
                }
            }
            Effect::WriteStatus { status, .. } => {
                self.status = Some(status);
                self.status_writes += 1;
            }
            Effect::Publish { told, .. } => {
                self.events.push((self.second(), told.reason, told.message));
            }
            Effect::Log { .. } => {}
            Effect::Serve { metrics, .. } => {
                let metrics = metrics.into_iter().map(|one| (one.metric, one.value));
                self.served.extend(metrics);
            }
            Effect::ReadPods { .. } => {
                self.looks.push(self.second());
                let pods = self.ready.clone().map(|ready_since| PodsSeen {
                    startups: self.startups.clone(),
                    ready_since,
                    placed: usize::try_from(self.replicas - self.homeless).unwrap_or(0),
                    obstacle: self.obstacle.clone(),
                });
                self.tell(Event::PodsSeen { key, pods });
            }
            Effect::KeepRoom { pods, .. } => {
                let noted = self.status.as_ref().and_then(|it| it.prescale.room.clone());
                assert!(
                    pods.is_none() || noted.is_some(),
                    "a restart would not know"
                );
                if self.rooms.last().is_none_or(|(_, last)| *last != pods) {
                    self.rooms.push((self.second(), pods));
                }
                self.refused_at = self.no_buffer.as_ref().map(|_| self.second());
                let outcome = self.no_buffer.clone().unwrap_or_else(|| {
                    self.buffer = pods;
                    match pods {
                        Some(_) => RoomOutcome::Stands {
                            provisioned: false,
                            message: String::new(),
                        },
                        None => RoomOutcome::Gone,
                    }
                });
                self.tell(Event::RoomKept { key, outcome });
            }
            Effect::ShowPrescale { shown, .. } => {
                self.shown = Some((shown.floor, shown.next_start));
            }
        }
    }

    fn metrics(&self) -> Vec<Vec<MetricTarget>> {
        let mut metrics = vec![Vec::new(); self.settings.len()];
        metrics.push(vec![MetricTarget {
            metric: "queue".into(),
            target: Quantity::from_integer(10),
            target_type: TargetType::AverageValue,
        }]);
        metrics
    }

    fn bounds(&self) -> (i32, i32) {
        self.hpa.unwrap()
    }

    fn times(&self, reason: &str) -> Vec<i64> {
        let of_reason = self.events.iter().filter(|(_, one, _)| *one == reason);
        of_reason.map(|(at, ..)| *at).collect()
    }

    fn prescaled(&self) -> Option<(&str, &str)> {
        let condition = self.status.as_ref()?.conditions.prescaled.as_ref()?;
        Some((condition.reason.as_str(), condition.message.as_str()))
    }
}

#[test]
fn a_floor_is_set_at_its_instants_and_a_target_at_zero_comes_up_at_the_first() {
    let mut shop = Shop::new(vec![floor(10)], known(&[sale("new-year", 1000, 2000)]));
    shop.go_to(839);
    assert_eq!((shop.replicas, shop.bounds()), (0, (0, 20)));
    // The ramp begins at 840: nobody waits for a poll, which is every 30 s.
    shop.go_to(840);
    assert_eq!((shop.replicas, shop.bounds()), (2, (2, 20)));
    assert_eq!(shop.times("PrescaleStarted"), [840]);
    shop.go_to(900);
    assert_eq!(shop.bounds(), (10, 20));
    assert_eq!(shop.prescaled().unwrap().0, "PodsNotReady");
    let served = shop.served["s0-sale-calendar-sales"].clone();
    assert_eq!(served, Ok(Quantity::from_integer(10)));
    // Seen some seconds later, with the time at which it was.
    shop.ready = Some(vec![at(921); 10]);
    shop.go_to(930);
    assert_eq!(shop.times("PrescaleReady").len(), 1);
    assert_eq!(shop.prescaled().unwrap().0, "FloorReady");
    shop.go_to(2049);
    assert_eq!(shop.bounds(), (10, 20));
    shop.go_to(2050);
    assert_eq!(shop.times("PrescaleEnded"), [2050]);
    let ended = shop.events.iter().find(|one| one.1 == "PrescaleEnded");
    assert!(ended.unwrap().2.contains("Ready 1m 19s before its start"));
    let report = &shop.status.as_ref().unwrap().prescale.reports[0];
    assert_eq!((report.floor, report.name.as_str()), (10, "new-year"));
    assert_eq!(shop.prescaled(), None);
    shop.go_to(2109);
    assert!(
        shop.replicas > 0,
        "no scaling to zero while the floor falls"
    );
    shop.go_to(2110);
    assert_eq!(shop.bounds(), (0, 20));
    shop.go_to(2300);
    assert_eq!(shop.replicas, 0);
    assert!(shop.status.as_ref().unwrap().prescale.runs.is_empty());
    // Every instant was met to the second.
    let times: Vec<_> = shop.set.iter().map(|(at, ..)| *at).collect();
    assert_eq!(times, [0, 840, 855, 870, 885, 900, 2065, 2080, 2095, 2110]);
}

#[test]
fn an_object_is_brought_up_with_one_status() {
    let sales = known(&[sale("a", 1000, 2000)]);
    let mut shop = Shop::new(vec![floor(10)], sales.clone());
    shop.go_to(100);
    assert_eq!(shop.status_writes, 1);
    // Within a sale there is one more, which a restart needs before the floor is set.
    let mut shop = Shop::opened(1500, 2, vec![floor(10)], sales);
    shop.go_to(1501);
    assert_eq!(shop.status_writes, 2);
}

#[test]
fn a_floor_costs_three_statuses_however_often_it_is_polled() {
    let at_once = Settings {
        ramp_up: SignedDuration::ZERO,
        ..floor(10)
    };
    let sales = known(&[sale("a", 1000, 2000)]);
    let mut shop = Shop::opened(0, 2, vec![at_once], sales);
    shop.edit(|object| {
        object.min_replicas = 2;
        object.cooldown_period = SignedDuration::from_secs(300);
    });
    shop.go_to(899);
    shop.status_writes = 0;
    shop.go_to(900);
    let status = shop.status.as_ref().unwrap();
    assert_eq!(status.conditions.active.status, ConditionStatus::True);
    assert_eq!(status.last_active_time, Some(at(900)));
    let activity = |metric: &str| {
        let mut all = status.triggers_activity.iter();
        all.find(|(one, _)| one == metric)
            .map(|(_, active)| *active)
    };
    assert_eq!(activity("s0-sale-calendar-sales"), Some(true));
    assert_eq!(activity("queue"), Some(false));
    // When it begins, and when its pods were first looked at: that a poll finds it active is no news.
    shop.go_to(904);
    assert_eq!(shop.status_writes, 2);
    shop.ready = Some(vec![at(904); 10]);
    shop.go_to(945);
    assert_eq!(shop.prescaled().unwrap().0, "FloorReady");
    assert_eq!(shop.status_writes, 3);
}

#[test]
fn an_operator_that_starts_a_second_before_is_in_time() {
    let mut shop = Shop::new(vec![floor(10)], known(&[sale("a", 1000, 2000)]));
    shop.go_to(839);
    shop.restart();
    shop.go_to(840);
    assert_eq!((shop.replicas, shop.bounds()), (2, (2, 20)));
    // And one that starts in the middle of the sale finds the target at zero.
    shop.go_to(1500);
    shop.replicas = 0;
    shop.restart();
    assert_eq!((shop.replicas, shop.bounds()), (10, (10, 20)));
}

#[test]
fn what_is_not_known_of_a_calendar_lowers_nothing() {
    let mut shop = Shop::new(vec![floor(10)], known(&[sale("a", 1000, 2000)]));
    shop.go_to(1500);
    shop.calendar(Occurrences::default());
    shop.restart();
    shop.go_to(1990);
    assert_eq!((shop.replicas, shop.bounds()), (10, (10, 20)));
    assert!(shop.set.iter().all(|(at, min, _)| *at < 900 || *min == 10));
    // The sale ends as it was going to. Whether there is another is not known: the target is not scaled to zero.
    shop.go_to(5000);
    assert_eq!(shop.bounds(), (0, 20));
    assert!(shop.replicas > 0);
    assert!(shop.served["s0-sale-calendar-sales"].is_err());
    shop.calendar(known(&[]));
    shop.go_to(5100);
    assert_eq!(shop.replicas, 0);
}

#[test]
fn a_target_that_cannot_be_prepared_keeps_its_floor() {
    let mut shop = Shop::new(vec![floor(10)], known(&[sale("a", 1000, 2000)]));
    shop.go_to(1500);
    shop.prepares = false;
    shop.restart();
    shop.go_to(3000);
    assert_eq!(shop.bounds(), (10, 20));
    shop.prepares = true;
    shop.go_to(4000);
    assert_eq!(shop.bounds(), (0, 20));
}

#[test]
fn a_sale_that_is_taken_out_of_the_calendar_ramps_down_from_that_moment() {
    let mut shop = Shop::new(vec![floor(10)], known(&[sale("a", 1000, 2000)]));
    shop.go_to(1500);
    shop.calendar(known(&[]));
    assert_eq!(shop.bounds(), (10, 20));
    assert_eq!(shop.times("PrescaleEnded"), [1500]);
    shop.go_to(1530);
    let (min, _) = shop.bounds();
    assert!((1..10).contains(&min), "{min}");
    shop.go_to(1560);
    assert_eq!(shop.bounds(), (0, 20));
}

#[test]
fn a_pause_sets_no_floor_and_its_end_sets_the_one_of_then() {
    let mut shop = Shop::new(vec![floor(10)], known(&[sale("a", 1000, 2000)]));
    shop.go_to(500);
    shop.edit(|object| object.switches.pause = Some(Pause::Whole));
    shop.go_to(839);
    assert_eq!(shop.prescaled(), None);
    shop.go_to(1500);
    assert_eq!((shop.replicas, shop.hpa), (0, None));
    let text = format!(
        "a starts at {}, and its floor is not applied while the object is paused",
        at(1000)
    );
    assert_eq!(shop.prescaled(), Some(("Paused", text.as_str())));
    // At the first ramp instant, once, also over a restart.
    shop.restart();
    shop.tell_sales();
    shop.go_to(1501);
    assert_eq!(shop.times("PrescalePaused"), [840]);
    assert_eq!(shop.prescaled(), Some(("Paused", text.as_str())));
    shop.edit(|object| object.switches.pause = None);
    assert_eq!((shop.replicas, shop.bounds()), (10, (10, 20)));
    // A pause within the sale takes nothing away.
    shop.edit(|object| object.switches.pause = Some(Pause::Whole));
    shop.go_to(1600);
    assert_eq!(shop.replicas, 10);
    shop.go_to(3000);
    assert_eq!((shop.prescaled(), shop.engine.next_wakeup()), (None, None));
    assert_eq!(shop.replicas, 10);
}

#[test]
fn a_pause_of_scaling_out_keeps_the_floor_from_rising_but_not_from_holding() {
    let mut shop = Shop::new(vec![floor(10)], known(&[sale("a", 1000, 2000)]));
    shop.go_to(870);
    let (min, _) = shop.bounds();
    assert!((2..10).contains(&min), "{min}");
    shop.edit(|object| object.switches.scale_out_paused = true);
    shop.go_to(1500);
    assert_eq!(shop.bounds().0, min);
    let (reason, message) = shop.prescaled().unwrap();
    assert_eq!(reason, "Paused");
    assert!(message.contains("scaling out is paused"), "{message}");
    let late = shop
        .events
        .iter()
        .find(|(_, reason, _)| *reason == "PrescaleLate");
    assert!(
        late.unwrap().2.contains("scaling out is paused"),
        "{late:?}"
    );
    // After a restart nobody knows what was set: it stays.
    shop.restart();
    assert_eq!(shop.bounds().0, min);
    shop.edit(|object| object.switches.scale_out_paused = false);
    assert_eq!(shop.bounds().0, 10);
}

#[test]
fn a_limit_wins_over_a_floor_and_an_event_says_so() {
    let limit = Settings {
        wish: Wish::Limit(4),
        ..floor(1)
    };
    let mut shop = Shop::new(vec![floor(10), limit], known(&[sale("a", 1000, 2000)]));
    shop.go_to(1500);
    assert_eq!((shop.replicas, shop.bounds()), (4, (4, 4)));
    assert_eq!(shop.times("PrescaleLimited").len(), 1);
    assert_eq!(shop.prescaled().unwrap().0, "LimitedByMaxReplicas");
    shop.go_to(3000);
    assert_eq!(shop.bounds(), (0, 20));
}

#[test]
fn a_floor_above_the_maximum_is_told_and_an_edit_of_the_maximum_counts_at_once() {
    let mut shop = Shop::new(vec![floor(30)], known(&[sale("a", 1000, 2000)]));
    shop.go_to(1500);
    assert_eq!(shop.bounds(), (20, 20));
    let (reason, message) = shop.prescaled().unwrap();
    assert_eq!(reason, "LimitedByMaxReplicas");
    assert!(message.contains("raise maxReplicaCount"), "{message}");
    shop.edit(|object| object.max_replicas = 50);
    assert_eq!(shop.bounds(), (30, 50));
}

#[test]
fn no_room_is_told_while_there_is_time_to_act() {
    let mut shop = Shop::new(vec![floor(10)], known(&[sale("a", 1000, 2000)]));
    shop.ready = Some(vec![at(880); 6]);
    shop.obstacle = Some(Obstacle::Unschedulable {
        pods: 4,
        message: "0/3 nodes are available".into(),
    });
    shop.go_to(910);
    let (reason, message) = shop.prescaled().unwrap();
    assert_eq!(reason, "Unschedulable");
    assert!(message.contains("6 of 10"), "{message}");
    shop.go_to(999);
    assert_eq!(shop.times("PrescaleLate"), [950]);
}

/// The same with a lead time that is learnt from the pods.
fn learning(replicas: i32) -> Settings {
    Settings {
        lead_time: LeadTime::Auto,
        ..floor(replicas)
    }
}

#[test]
fn pods_that_became_slower_since_are_seen_before_the_ramp() {
    let mut shop = Shop::new(vec![learning(10)], known(&[]));
    shop.startups = vec![SignedDuration::from_secs(2); 5];
    shop.calendar(known(&[sale("a", 5000, 6000)]));
    shop.go_to(4810);
    let regularly: Vec<i64> = (0..=8).map(|tens| 600 * tens).collect();
    assert_eq!(shop.looks, regularly);
    // A rollout, 70 s before the ramp would begin, of pods that take 40 s: a lead of 90 s.
    shop.startups = vec![SignedDuration::from_secs(40); 5];
    shop.go_to(4849);
    assert_eq!(shop.bounds(), (0, 20));
    assert_eq!(shop.looks[9..], [5000 - 60 - 60 - 60]);
    shop.go_to(4850);
    assert_eq!(shop.bounds(), (2, 20));
    shop.go_to(4910);
    assert_eq!(shop.bounds(), (10, 20));
}

#[test]
fn a_restart_waits_for_the_pods_before_it_fixes_a_lead_time() {
    let mut shop = Shop::new(vec![learning(10)], known(&[]));
    shop.startups = vec![SignedDuration::from_secs(2); 5];
    // With the 10 minutes of those who know nothing it would begin at once.
    shop.go_to(500);
    shop.calendar(known(&[sale("a", 1000, 2000)]));
    shop.restart();
    shop.go_to(879);
    assert_eq!(shop.bounds(), (0, 20));
    shop.go_to(880);
    assert_eq!(shop.bounds(), (2, 20));
    // Pods that can't be looked at are waited for no longer than it takes to ask.
    let mut shop = Shop::new(vec![learning(10)], known(&[]));
    shop.ready = None;
    shop.go_to(500);
    shop.calendar(known(&[sale("a", 1000, 2000)]));
    assert_eq!(shop.bounds(), (10, 20));
    // Nor are they in the middle of a sale.
    let mut shop = Shop::new(vec![learning(10)], known(&[]));
    shop.ready = None;
    shop.go_to(1500);
    shop.calendar(known(&[sale("a", 1000, 2000)]));
    assert_eq!(shop.bounds(), (10, 20));
}

#[test]
fn a_deleted_object_leaves_nothing_behind() {
    let mut shop = Shop::new(vec![floor(10)], known(&[sale("a", 1000, 2000)]));
    shop.go_to(1500);
    let sets = shop.set.len();
    shop.tell(Event::Deleted { key: Shop::key() });
    assert_eq!(shop.engine.next_wakeup(), None);
    shop.go_to(9000);
    assert_eq!((shop.set.len(), shop.replicas), (sets, 10));
}

#[test]
fn the_report_says_what_other_triggers_needed() {
    let mut shop = Shop::new(vec![floor(10)], known(&[sale("a", 1000, 2000)]));
    shop.go_to(1200);
    shop.queue = 74;
    shop.go_to(1300);
    shop.queue = 10;
    shop.go_to(2100);
    let report = &shop.status.as_ref().unwrap().prescale.reports[0];
    assert_eq!(report.needed_by_others, 8);
}

fn sales() -> impl Strategy<Value = Vec<Arc<Occurrence>>> {
    prop::collection::vec((200..4000_i64, 1..1500_i64), 1..4).prop_map(|sales| {
        let mut sales: Vec<_> = sales
            .iter()
            .enumerate()
            .map(|(index, (start, length))| sale(&format!("s{index}"), *start, start + length))
            .collect();
        sales.sort_by_key(|one| one.start);
        sales
    })
}

proptest! {
    #![proptest_config(crate::cases(64))]

    #[test]
    fn a_restart_at_any_point_ends_in_the_same_bounds(
        sales in sales(), peak in 1..15_i32, restarts in prop::collection::vec(0..6000_i64, 1..6), away in any::<bool>(),
    ) {
        let mut steady = Shop::new(vec![floor(peak)], known(&sales));
        let mut shaken = Shop::new(vec![floor(peak)], known(&sales));
        let mut restarts = restarts;
        restarts.sort_unstable();
        for second in restarts {
            steady.go_to(second);
            shaken.go_to(second);
            // With the calendar's source away, the status has to do, and what is not known yet comes later.
            if away {
                shaken.calendar = Occurrences { known: shaken.calendar.known, complete: false };
            }
            shaken.restart();
            prop_assert_eq!(steady.bounds(), shaken.bounds(), "at {}", second);
        }
        for second in [6100, 7000] {
            steady.go_to(second);
            shaken.go_to(second);
            prop_assert_eq!(steady.bounds(), shaken.bounds());
        }
    }

    #[test]
    fn a_calendar_that_fails_at_any_point_never_lowers_a_bound(
        sales in sales(), peak in 1..15_i32, fails_at in 0..6000_i64,
    ) {
        let mut steady = Shop::new(vec![floor(peak)], known(&sales));
        let mut failing = Shop::new(vec![floor(peak)], known(&sales));
        steady.go_to(fails_at);
        failing.go_to(fails_at);
        let before = failing.bounds();
        failing.calendar(Occurrences::default());
        prop_assert_eq!(before, failing.bounds());
        failing.restart();
        prop_assert_eq!(before, failing.bounds());
    }
}
