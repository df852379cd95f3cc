//! Prescaling of one object through time: given what is known now, the floor, the next instant, and what is to be told.
//!
//! The floor is a function of the triggers, the occurrences and the [`Run`]s; the runs are what a restart has to bring back. So
//! the floor is the same at every instant whether the operator was restarted in between or not, and however often it looked.
//!
//! Nothing that is missing lowers a floor: a calendar that is not known (yet) leaves runs as they are, unknown pods leave the
//! condition open. Only a calendar that is known and lacks the occurrence, or has it end earlier, does; and then the floor
//! falls as it would have at the planned end, beginning at the moment when that was learnt.

use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};

use super::baseline::ReplicaHistory;
use super::condition::{Obstacle, limited, prescaled};
use super::lead::{LEAD_UNTIL_LEARNT, lead_from};
use super::nodes::Room;
use super::occurrence::{Occurrence, Occurrences};
use super::profile::Profile;
use super::report::{Report, in_words};
use super::run::{Cut, Run};
use super::settings::{Baseline, LeadTime, Overlap, Settings};
use super::timeline::{Bounds, Level, Limit, Timeline};
use crate::conditions::Condition;
use crate::effect::EventType;
use crate::time::after;

/// One `sale-calendar` trigger of the object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trigger {
    /// Names the trigger over restarts: its name, or what it is made of (calendar and selector), but not its position.
    pub key: String,
    pub settings: Settings,
    /// Those that the trigger's selector picks.
    pub occurrences: Occurrences,
}

/// What is known of the object now.
#[derive(Clone, Debug)]
pub struct Scene<'a> {
    pub triggers: &'a [Trigger],
    pub min_replica_count: i32,
    pub max_replica_count: i32,
    /// How long the workload's last pods took from their creation until they were Ready; `None` before anybody has looked.
    pub startups: Option<&'a [SignedDuration]>,
    /// The target's replicas, where they are known.
    pub replicas: Option<i32>,
    /// When each pod that is Ready became so; `None` where the pods are not known.
    pub ready_since: Option<&'a [Timestamp]>,
    pub obstacle: Option<&'a Obstacle>,
    /// The replicas that the object's other triggers ask for, where it is known.
    pub wanted_by_others: Option<i32>,
}

/// What follows.
#[derive(Clone, Debug, PartialEq)]
pub struct Prescaled {
    pub level: Level,
    /// What to set in the HPA.
    pub bounds: Bounds,
    /// In the order of the triggers: what each publishes as its metric.
    pub triggers: Vec<TriggerFloor>,
    /// When to look again, if nothing happens before.
    pub next: Option<Timestamp>,
    /// When the next ramp begins whose lead time is learnt, as far as it is now.
    pub next_learnt: Option<Timestamp>,
    /// The start of the next occurrence that has not started.
    pub next_start: Option<Timestamp>,
    /// `Prescaled`; `None` while no floor is asked for.
    pub condition: Option<Condition>,
    /// Half of the lead time before a start, or later, replicas for it are missing.
    pub late: bool,
    /// Events to publish, in this order.
    pub news: Vec<News>,
    /// Of the occurrences whose hold has ended now.
    pub reports: Vec<Report>,
    /// Room that is to be there before its pods are, where a trigger wants nodes first.
    pub room: Option<Room>,
    /// A sale has begun to climb whose baseline nobody can tell yet: its floor may be higher than the one of `bounds`.
    pub undecided: bool,
    /// The runs are others than before: they have to be written into the status, before the floor is set.
    pub remember: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TriggerFloor {
    pub floor: i32,
    pub active: bool,
}

/// One Event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct News {
    pub kind: EventType,
    pub reason: &'static str,
    pub message: String,
}

/// The state of one object's prescaling: its runs, and the replicas of normal days.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Prescaling {
    pub(super) runs: Vec<Run>,
    history: ReplicaHistory,
}

impl Prescaling {
    /// Goes on with what the object's status says.
    pub fn new(remembered: Vec<Run>) -> Self {
        Self {
            runs: remembered,
            history: ReplicaHistory::default(),
        }
    }

    /// Takes in the target's replicas, for baselines that are observed. What a floor or a limit made of them is no normal day: as
    /// long as one lives, the number of before counts on.
    pub fn saw(&mut self, at: Timestamp, replicas: i32) {
        if self.runs.is_empty() {
            self.history.saw(at, replicas);
        }
    }

    /// What the status has to hold.
    pub fn runs(&self) -> &[Run] {
        &self.runs
    }

    /// Whether a floor of now would be another one without the runs in the status: they hold what was observed or learnt when they
    /// began, or what an occurrence was before the calendar changed.
    pub fn needs_memory<'t>(&self, mut triggers: impl Iterator<Item = &'t Trigger>) -> bool {
        let observes = triggers.any(|trigger| {
            let settings = &trigger.settings;
            settings.lead_time == LeadTime::Auto
                || matches!(settings.baseline, Baseline::Observed(_))
        });
        !self.runs.is_empty() && (observes || self.runs.iter().any(|run| run.cut.is_some()))
    }

    /// Looks at `scene` at `now`. To be called when anything in the scene changes, and at the instant that the last call named.
    pub fn advance(&mut self, now: Timestamp, scene: &Scene<'_>) -> Prescaled {
        let before = self.runs.clone();
        self.adopt(scene.triggers);
        let current = Timeline::new(
            self.profiles(now, scene.triggers).into_iter().flatten(),
            Vec::new(),
        );
        let mut next = None;
        let mut next_learnt = None;
        let mut undecided = false;
        let mut next_start = None;
        for trigger in scene.triggers {
            self.follow(now, trigger, &current);
            let begins = self.begin(now, trigger, scene, &mut undecided);
            next = earlier(next, begins);
            if trigger.settings.lead_time == LeadTime::Auto {
                next_learnt = earlier(next_learnt, begins);
            }
            next_start = earlier(next_start, started_after(&trigger.occurrences.known, now));
        }
        let profiles = self.profiles(now, scene.triggers);
        let timeline = Timeline::new(
            profiles.iter().flatten().cloned(),
            self.limits(scene.triggers),
        );
        let level = timeline.at(now);
        let bounds = level.bounds(scene.min_replica_count, scene.max_replica_count);
        let held = profiles.iter().flatten().filter(|one| {
            one.overlap == Overlap::Sum && one.complete_at <= now && now < one.holds_until
        });
        let sum = held.fold(0_i32, |sum, one| sum.saturating_add(one.peak));
        let mut news = Vec::new();
        let mut reports = Vec::new();
        for (run, profile) in self.runs.iter_mut().zip(&profiles) {
            match profile {
                Some(profile) => {
                    let situation = Situation {
                        now,
                        scene,
                        level: &level,
                        bounds,
                        sum,
                    };
                    tell(run, profile, &situation, &mut news, &mut reports);
                    next = earlier(next, late_at(run, profile).filter(|at| *at > now));
                }
                None => run.told.started = true,
            }
        }
        let (room, room_next) = self.room(now, scene, &profiles, &level, bounds);
        next = earlier(next, room_next);
        self.forget(now, &profiles, scene.triggers);
        Prescaled {
            room,
            undecided,
            triggers: (0..scene.triggers.len())
                .map(|trigger| timeline.of_trigger(trigger, now))
                .map(|(floor, active)| TriggerFloor { floor, active })
                .collect(),
            next: earlier(next, timeline.next_instant(now)),
            next_learnt,
            next_start,
            condition: (level.floor > 0 && level.active).then(|| {
                let ready = scene.ready_since.map(<[_]>::len);
                prescaled(&level, bounds, ready, scene.obstacle)
            }),
            late: self.runs.iter().any(|run| is_late(run, now)),
            news,
            reports,
            remember: self.runs != before,
            level,
            bounds,
        }
    }

    /// A trigger that was given another name, or another selector that still picks the sale, goes on with the run of before: begun
    /// anew, it would take the replicas of the sale for those of a normal day. Other runs of triggers that are gone are dropped, once
    /// all calendars can tell.
    fn adopt(&mut self, triggers: &[Trigger]) {
        let is_declared = |run: &Run| triggers.iter().any(|one| one.key == run.trigger);
        for index in 0..self.runs.len() {
            let orphan = &self.runs[index];
            if is_declared(orphan) {
                continue;
            }
            let id = &orphan.occurrence.id;
            let heir = triggers.iter().find(|one| {
                let mut known = one.occurrences.known.iter();
                let mut runs = self.runs.iter();
                known.any(|occurrence| occurrence.id == *id)
                    && !runs.any(|run| run.trigger == one.key && run.occurrence.id == *id)
            });
            if let Some(heir) = heir {
                self.runs[index].trigger = heir.key.clone();
            }
        }
        if triggers.iter().all(|one| one.occurrences.complete) {
            self.runs.retain(is_declared);
        }
    }

    /// Brings the runs of a trigger up to what the calendar says now.
    ///
    /// A change that leaves the floor as high as it is (or makes it higher) is taken over. Any other one (the occurrence was
    /// removed, put off, or ended earlier than now) lets the run fall from here; what has become of the occurrence gets a run
    /// of its own.
    fn follow(&mut self, now: Timestamp, trigger: &Trigger, current: &Timeline) {
        let settings = &trigger.settings;
        let Occurrences { known, complete } = &trigger.occurrences;
        for run in self
            .runs
            .iter_mut()
            .filter(|run| run.trigger == trigger.key)
        {
            let Some(latest) = known.iter().find(|one| one.id == run.occurrence.id) else {
                // A source may drop what is over; the floor then ends as it was going to.
                if *complete && run.occurrence.end > now {
                    cut(run, now, settings, current);
                }
                continue;
            };
            let changed = Run {
                occurrence: latest.clone(),
                holds_until: after(latest.end, settings.hold_after),
                cut: None,
                ..run.clone()
            };
            // What falls and is to climb again is two: the hand-over between them needs the first one's peak.
            let begins_again = run.holds_until <= now && is_climbing(&changed, now, settings);
            if !begins_again && floor_of(&changed, now, settings) >= floor_of(run, now, settings) {
                *run = changed;
            } else {
                cut(run, now, settings, current);
                let mut old = (*run.occurrence).clone();
                old.id = format!("{}@{}", old.id, old.start);
                run.occurrence = Arc::new(old);
            }
        }
    }

    /// Starts the runs of what has begun to climb. Returns when the next one will.
    ///
    /// A lead time that is to be learnt is fixed when the pods have been looked at, a moment later: the lead time of those who know
    /// nothing would begin the ramp, once and for all, after each restart.
    fn begin(
        &mut self,
        now: Timestamp,
        trigger: &Trigger,
        scene: &Scene<'_>,
        undecided: &mut bool,
    ) -> Option<Timestamp> {
        let settings = &trigger.settings;
        let lead = known_lead(settings, scene);
        for occurrence in &*trigger.occurrences.known {
            let is_run =
                |run: &Run| run.trigger == trigger.key && run.occurrence.id == occurrence.id;
            let lead = match lead {
                Some(lead) => lead,
                None if occurrence.start <= now || self.runs.iter().any(is_run) => {
                    LEAD_UNTIL_LEARNT
                }
                None => return None,
            };
            let climbs_at = after(after(occurrence.start, -lead), -settings.ramp_up);
            if climbs_at > now {
                // Ordered by start, so all that follow climb later; one that runs already had another lead time.
                if self.runs.iter().any(is_run) {
                    continue;
                }
                return Some(climbs_at);
            }
            let holds_until = after(occurrence.end, settings.hold_after);
            if holds_until <= now || self.runs.iter().any(is_run) {
                continue;
            }
            let Some(baseline) = self.baseline(settings, climbs_at, scene) else {
                // Nobody has seen the target yet. That is a moment after a start, and a baseline is for the whole sale.
                *undecided = true;
                continue;
            };
            self.runs.push(Run {
                trigger: trigger.key.clone(),
                occurrence: occurrence.clone(),
                baseline,
                lead,
                holds_until,
                cut: None,
                requested_at: None,
                ready_at: None,
                needed_by_others: 0,
                housed: 0,
                proved: 0,
                told: super::Told::default(),
            });
        }
        None
    }

    /// The baseline of a ramp that begins at `climbs_at`. Where nothing was seen since a restart, a run that goes on knows the one of
    /// before it; else the replicas of now are all there is, and where they are not known either, there is no baseline yet. A target that
    /// sleeps counts as one replica: no multiple of nothing is a floor.
    pub(super) fn baseline(
        &self,
        settings: &Settings,
        climbs_at: Timestamp,
        scene: &Scene<'_>,
    ) -> Option<i32> {
        let window = match settings.baseline {
            Baseline::Replicas(replicas) => return Some(replicas),
            Baseline::Observed(window) => window,
        };
        let seen = self
            .history
            .median(climbs_at, window)
            .or_else(|| self.runs.iter().map(|run| run.baseline).max())
            .or(scene.replicas)?;
        Some(seen.max(scene.min_replica_count).max(1))
    }

    /// In the order of the runs; `None` for those of a trigger that sets a limit.
    fn profiles(&self, now: Timestamp, triggers: &[Trigger]) -> Vec<Option<Profile>> {
        self.runs
            .iter()
            .map(|run| {
                let index = triggers.iter().position(|one| one.key == run.trigger)?;
                let profile = run.profile(index, &triggers[index].settings)?;
                Some(profile.begun_by(now, run.requested_at.is_some()))
            })
            .collect()
    }

    pub(super) fn limits(&self, triggers: &[Trigger]) -> Vec<Limit> {
        self.runs
            .iter()
            .filter_map(|run| {
                let index = triggers.iter().position(|one| one.key == run.trigger)?;
                run.limit(index, &triggers[index].settings)
            })
            .collect()
    }

    /// Drops the runs that have no floor any more, unless the hand-over to one that climbs still needs their peak.
    fn forget(&mut self, now: Timestamp, profiles: &[Option<Profile>], triggers: &[Trigger]) {
        let needed = |gone: &Profile| {
            profiles.iter().flatten().any(|next| {
                now < next.complete_at && next.climbs_at <= now && gone.holds_until > next.climbs_at
            })
        };
        let mut profiles = profiles.iter();
        self.runs
            .retain(|run| match profiles.next().and_then(Option::as_ref) {
                Some(profile) => now < profile.gone_at || needed(profile),
                None => match triggers.iter().find(|one| one.key == run.trigger) {
                    Some(one) => run
                        .limit(0, &one.settings)
                        .is_some_and(|limit| now < limit.until),
                    // May still be adopted.
                    None => now < run.holds_until,
                },
            });
    }
}

/// Ends the hold of `run` at `now`, unless it has ended.
fn cut(run: &mut Run, now: Timestamp, settings: &Settings, current: &Timeline) {
    if run.cut.is_some() || run.holds_until <= now {
        return;
    }
    // Within a hand-over it falls from what the hand-over holds.
    let from = run.profile(0, settings).map_or(0, |profile| {
        profile.floor_at(now).max(current.bridge(&profile, now))
    });
    run.cut = Some(Cut { at: now, from });
    run.holds_until = now;
}

/// How long before a start its floor is complete, for a ramp that has not begun; `None` while that is to be learnt from pods that
/// nobody has looked at.
fn known_lead(settings: &Settings, scene: &Scene<'_>) -> Option<SignedDuration> {
    match settings.lead_time {
        LeadTime::Fixed(lead) => Some(lead),
        LeadTime::Auto => scene.startups.map(lead_from),
    }
}

/// The same with what is assumed until then.
pub(super) fn lead(settings: &Settings, scene: &Scene<'_>) -> SignedDuration {
    known_lead(settings, scene).unwrap_or(LEAD_UNTIL_LEARNT)
}

fn is_climbing(run: &Run, now: Timestamp, settings: &Settings) -> bool {
    run.profile(0, settings)
        .is_some_and(|profile| now < profile.complete_at)
}

fn floor_of(run: &Run, now: Timestamp, settings: &Settings) -> i32 {
    run.profile(0, settings)
        .map_or(0, |profile| profile.floor_at(now))
}

/// The start of the first occurrence that starts after `now`.
fn started_after(occurrences: &[Arc<Occurrence>], now: Timestamp) -> Option<Timestamp> {
    let first = occurrences.partition_point(|one| one.start <= now);
    occurrences.get(first).map(|one| one.start)
}

pub(super) fn earlier(one: Option<Timestamp>, other: Option<Timestamp>) -> Option<Timestamp> {
    one.into_iter().chain(other).min()
}

/// When it is told that the pods are late: half of the lead time before the start, so that somebody can still act. `None` once
/// it is told, or all were Ready.
fn late_at(run: &Run, profile: &Profile) -> Option<Timestamp> {
    let at = after(run.occurrence.start, -(run.lead / 2)).max(profile.complete_at);
    (!run.told.late && !run.told.ready).then_some(at)
}

fn is_late(run: &Run, now: Timestamp) -> bool {
    run.told.late && !run.told.ready && now < run.holds_until
}

/// What one look is about.
struct Situation<'a> {
    now: Timestamp,
    scene: &'a Scene<'a>,
    level: &'a Level,
    bounds: Bounds,
    /// Of the whole floors that add up.
    sum: i32,
}

/// Takes in for one run what is known now, and says what is new.
fn tell(
    run: &mut Run,
    profile: &Profile,
    situation: &Situation<'_>,
    news: &mut Vec<News>,
    reports: &mut Vec<Report>,
) {
    let Situation { now, scene, .. } = *situation;
    let occurrence = run.occurrence.clone();
    let Occurrence {
        name, start, end, ..
    } = &*occurrence;
    let (start, end, peak) = (*start, *end, profile.peak);
    let holds = now < profile.holds_until;
    // Pods of the others are not its own.
    let needed = match profile.overlap {
        Overlap::Max => peak,
        Overlap::Sum => peak.max(situation.sum),
    };
    if !run.told.started {
        run.told.started = true;
        news.push(News {
            kind: EventType::Normal,
            reason: "PrescaleStarted",
            message: format!(
                "{name} starts at {start}: the floor climbs from {} to {peak} replicas until {}, {} before that",
                profile.baseline,
                profile.complete_at,
                in_words(run.lead)
            ),
        });
    }
    if now < start && peak > std::mem::replace(&mut run.proved, peak) {
        // Raised while there is time: what was proved was proved of less.
        run.requested_at = None;
        run.ready_at = None;
        run.told.ready = false;
        run.told.late = false;
    }
    if holds {
        // It was over, and goes on: prolonged, or put back into the calendar.
        run.told.ended = false;
    }
    if start <= now && now < end {
        let wanted = scene.wanted_by_others.unwrap_or(0);
        run.needed_by_others = run.needed_by_others.max(wanted);
    }
    if holds && now >= profile.complete_at && run.requested_at.is_none() {
        run.requested_at = Some(now);
    }
    let alone = situation.level.floor <= peak;
    if holds
        && !run.told.limited
        && alone
        && let Some(message) = limited(situation.level, situation.bounds)
    {
        run.told.limited = true;
        news.push(warning("PrescaleLimited", message));
    }
    if holds
        && run.requested_at.is_some()
        && !run.told.ready
        && let Some(ready_at) = scene
            .ready_since
            .and_then(|times| last_ready(times, needed))
    {
        let ready_at = ready_at.max(profile.climbs_at);
        run.told.ready = true;
        run.ready_at = Some(ready_at);
        let before = start.duration_since(ready_at);
        let (kind, when) = if before.is_negative() {
            (
                EventType::Warning,
                format!("{} after the start", in_words(-before)),
            )
        } else {
            (
                EventType::Normal,
                format!("{} before the start", in_words(before)),
            )
        };
        news.push(News {
            kind,
            reason: "PrescaleReady",
            message: format!("all {needed} replicas for {name} are Ready, {when}"),
        });
    }
    if holds && late_at(run, profile).is_some_and(|at| at <= now) {
        run.told.late = true;
        let numbers = match scene.ready_since {
            Some(times) => format!("{} of {needed} replicas for {name} are Ready", times.len()),
            None => format!("how many of the {needed} replicas for {name} are Ready is not known"),
        };
        let before = start.duration_since(now);
        let when = if before.is_negative() {
            format!("{} after the start", in_words(-before))
        } else {
            format!("{} before the start", in_words(before))
        };
        let why = limited(situation.level, situation.bounds)
            .or_else(|| scene.obstacle.map(Obstacle::words))
            .map_or_else(String::new, |why| format!(": {why}"));
        news.push(warning("PrescaleLate", format!("{numbers} {when}{why}")));
    }
    if !holds && !run.told.ended {
        run.told.ended = true;
        let report = Report::new(run, profile);
        news.push(News {
            kind: EventType::Normal,
            reason: "PrescaleEnded",
            message: report.to_string(),
        });
        reports.push(report);
    }
}

fn warning(reason: &'static str, message: String) -> News {
    News {
        kind: EventType::Warning,
        reason,
        message,
    }
}

/// When the last of `wanted` pods became Ready, if so many are.
fn last_ready(times: &[Timestamp], wanted: i32) -> Option<Timestamp> {
    let wanted = usize::try_from(wanted).ok().filter(|wanted| *wanted > 0)?;
    let mut sorted = times.to_vec();
    sorted.sort_unstable();
    sorted.get(wanted - 1).copied()
}
