//! One object's sales: when its floors change, what is asked for then, and what is told of it. [`crate::prescale`] says what
//! holds; here it is put on the agenda, into the status, and between the other triggers.

use jiff::{SignedDuration, Timestamp};

use crate::activation::{Activity, ScaleRequest};
use crate::agenda::{Task, Ticket};
use crate::conditions::{Condition, ConditionStatus};
use crate::cooldown;
use crate::effect::{Effect, EventType, ScaleDirection, Served, Shown};
use crate::engine::Turn;
use crate::event::{MetricTarget, PollOutcome, Reading, TargetType, TriggerOutcome};
use crate::nodes::Nodes;
use crate::prescale::{
    self, Bounds, LeadTime, Level, Obstacle, PrescaleStatus, Prescaling, Report, Scene, Trigger,
    TriggerFloor,
};
use crate::quantity::Quantity;
use crate::telling::publish;
use crate::time::after;
use crate::tracked::Tracked;

/// A `sale-calendar` trigger of an object, with the occurrences that it picks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SaleTrigger {
    /// Its place in `spec.triggers`.
    pub index: usize,
    /// The external metric under which it publishes its floor.
    pub metric: String,
    pub trigger: Trigger,
}

/// What the target's pods show.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PodsSeen {
    /// How long each took from its creation until it was Ready.
    pub startups: Vec<SignedDuration>,
    /// When each pod that is Ready became so.
    pub ready_since: Vec<Timestamp>,
    /// Pods that have a node, whether they are Ready or not.
    pub placed: usize,
    /// What keeps pods from coming up.
    pub obstacle: Option<Obstacle>,
}

/// How often pods are looked at: while some of a complete floor are missing, while a floor lives, and before a ramp whose beginning
/// depends on them.
const MISSING_PODS: SignedDuration = SignedDuration::from_secs(5);
const LIVING_FLOOR: SignedDuration = SignedDuration::from_secs(30);
const LEARNING: SignedDuration = SignedDuration::from_mins(10);
/// The longest `leadTime: auto`, and time to look more than once.
const LEARN_BEFORE: SignedDuration = SignedDuration::from_mins(90);
/// Before such a ramp they are looked at once more: a rollout may have made them slower. A minute, so that the ramp can begin as much
/// earlier as it takes then, in most cases.
const BEFORE_RAMP: SignedDuration = SignedDuration::from_mins(1);
/// A question for pods without an answer for this long is asked again.
const PODS_OVERDUE: SignedDuration = SignedDuration::from_secs(30);
/// Pods that were seen longer ago tell how long a start takes, but not how many there are: they may be those of another sale.
const PODS_COUNT_FOR: SignedDuration = SignedDuration::from_secs(60);
/// The Event's reason where a floor is not applied because its object is paused.
const PRESCALE_PAUSED: &str = "PrescalePaused";
/// Reports that the status keeps.
const REPORTS_KEPT: usize = 5;

#[derive(Debug, Default)]
pub(crate) struct Sales {
    prescaling: Prescaling,
    /// The triggers and their calendars were told; before that, nothing of what stands in the cluster is touched.
    known: bool,
    triggers: Vec<SaleTrigger>,
    floors: Vec<TriggerFloor>,
    level: Level,
    bounds: Option<Bounds>,
    /// The bounds that were last asked for.
    asked: Option<Bounds>,
    planned: Option<(Timestamp, Ticket)>,
    pods: Option<PodsSeen>,
    pods_asked: Option<Timestamp>,
    pods_answered: Option<Timestamp>,
    pods_seen_at: Option<Timestamp>,
    /// Somebody may watch what is shown of the sales.
    shown: bool,
    replicas: Option<i32>,
    wanted_by_others: Option<i32>,
    /// When a target that sleeps within a sale is polled again.
    wakes_at: Option<Timestamp>,
    pub(crate) nodes: Nodes,
}

impl Sales {
    pub(crate) fn remembered(status: &PrescaleStatus) -> Self {
        Self {
            prescaling: Prescaling::new(status.runs.clone()),
            ..Self::default()
        }
    }

    pub(crate) fn is_known(&self) -> bool {
        self.known
    }

    /// An occurrence keeps the object active.
    pub(crate) fn is_active(&self) -> bool {
        self.level.active
    }

    /// An occurrence keeps the trigger active that publishes this metric.
    fn keeps_active(&self, metric: &str) -> bool {
        let mut active = self.triggers.iter().zip(&self.floors);
        active.any(|(sale, floor)| floor.active && sale.metric == metric)
    }

    pub(crate) fn stop(&mut self, turn: &mut Turn<'_>) {
        if let Some((_, ticket)) = self.planned.take() {
            turn.agenda.cancel(ticket);
        }
    }

    fn plan(&mut self, turn: &mut Turn<'_>, at: Option<Timestamp>) {
        self.stop(turn);
        self.planned = at.map(|at| (at, turn.agenda.add(at, Task::Prescale, turn.key)));
    }

    /// What the sale triggers say, put where the shell left their places empty. One whose calendar is not wholly known says nothing as long as
    /// no sale that is known runs: there may be one, so nothing is scaled in.
    pub(crate) fn fill_in(&self, outcome: &mut PollOutcome) {
        for (sale, floor) in self.triggers.iter().zip(&self.floors) {
            let Some(place) = outcome.triggers.get_mut(sale.index) else {
                continue;
            };
            *place = if floor.active || sale.trigger.occurrences.complete {
                TriggerOutcome::Read(vec![Reading {
                    metric: sale.metric.clone(),
                    value: f64::from(floor.floor),
                    active: floor.active,
                }])
            } else {
                TriggerOutcome::Failed {
                    message: unknown_calendar(sale),
                }
            };
        }
    }

    /// A sale keeps the object active whatever a formula makes of the triggers.
    pub(crate) fn count_in(&self, activity: &mut Activity) {
        let active = self.triggers.iter().zip(&self.floors);
        for (sale, _) in active.filter(|(_, floor)| floor.active) {
            activity.active = true;
            if !activity.metrics.contains(&sale.metric) {
                activity.metrics.push(sale.metric.clone());
            }
        }
    }

    /// The target has so many replicas.
    pub(crate) fn saw(&mut self, now: Timestamp, replicas: i32) {
        self.replicas = Some(replicas);
        self.prescaling.saw(now, replicas);
    }

    /// Takes in what a poll showed, once the sale triggers are filled in.
    pub(crate) fn polled(
        &mut self,
        now: Timestamp,
        outcome: &PollOutcome,
        metrics: &[Vec<MetricTarget>],
    ) {
        let Ok(replicas) = outcome.replicas else {
            return;
        };
        self.saw(now, replicas);
        let others = outcome
            .triggers
            .iter()
            .enumerate()
            .filter(|(index, _)| self.triggers.iter().all(|sale| sale.index != *index));
        self.wanted_by_others = others
            .filter_map(|(index, trigger)| {
                let TriggerOutcome::Read(readings) = trigger else {
                    return None;
                };
                let targets = metrics.get(index)?;
                readings
                    .iter()
                    .filter_map(|reading| {
                        let target = targets.iter().find(|one| one.metric == reading.metric)?;
                        wish(reading.value, target, replicas)
                    })
                    .max()
            })
            .max();
    }

    /// What the HPA is to be told of the sale triggers.
    pub(crate) fn served(&self) -> Vec<Served> {
        self.triggers
            .iter()
            .zip(&self.floors)
            .map(|(sale, floor)| Served {
                metric: sale.metric.clone(),
                value: if floor.floor > 0 || sale.trigger.occurrences.complete {
                    Ok(Quantity::from_integer(i64::from(floor.floor)))
                } else {
                    Err(unknown_calendar(sale))
                },
            })
            .collect()
    }

    /// A write of replicas that a poll led to, as the floor and the limit leave it.
    pub(crate) fn within_bounds(&self, request: ScaleRequest) -> Option<ScaleRequest> {
        let Some(bounds) = self.bounds.filter(|_| self.known) else {
            return Some(request);
        };
        if request.direction == ScaleDirection::Deactivate {
            return (self.level.floor == 0).then_some(request);
        }
        let to = request.to.max(bounds.min).min(bounds.max);
        (to > request.from).then_some(ScaleRequest { to, ..request })
    }

    pub(crate) fn wants_nodes_first(&self) -> bool {
        let mut triggers = self.triggers.iter();
        triggers.any(|one| one.trigger.settings.nodes == prescale::Nodes::First)
    }

    /// What wants nodes first is in a calendar that is not wholly known.
    pub(crate) fn may_want_more_nodes(&self) -> bool {
        let mut triggers = self.triggers.iter();
        triggers.any(|one| {
            one.trigger.settings.nodes == prescale::Nodes::First
                && !one.trigger.occurrences.complete
        })
    }

    /// The pods, where they were seen a moment ago.
    fn counted(&self, now: Timestamp) -> Option<&PodsSeen> {
        let seen_at = self.pods_seen_at?;
        let counts = now.duration_since(seen_at) <= PODS_COUNT_FOR;
        self.pods.as_ref().filter(|_| counts)
    }

    /// Pods that have a node, or replicas where nobody has looked at pods.
    pub(crate) fn placed(&self, now: Timestamp) -> Option<i32> {
        let placed = self.counted(now).map(|pods| pods.placed);
        let placed = placed.map(|placed| i32::try_from(placed).unwrap_or(i32::MAX));
        placed.or(self.replicas)
    }

    /// When pods are to be looked at again.
    fn pods_due(
        &self,
        is_ready: bool,
        next_start: Option<Timestamp>,
        next_learnt: Option<Timestamp>,
    ) -> Option<Timestamp> {
        let learns = self.triggers.iter().any(|sale| {
            let settings = &sale.trigger.settings;
            settings.lead_time == LeadTime::Auto
        });
        let longest_ramp = self
            .triggers
            .iter()
            .map(|sale| sale.trigger.settings.ramp_up)
            .max()
            .unwrap_or_default();
        let since = self.pods_answered;
        let every = |pause| Some(since.map_or(Timestamp::MIN, |at| after(at, pause)));
        let looks = match self.level.floor > 0 && self.level.active {
            true if is_ready => every(LIVING_FLOOR),
            true => every(MISSING_PODS),
            // How much room they need is how many have none.
            false if self.nodes.is_wanted() => every(LIVING_FLOOR),
            false => None,
        };
        let learning = next_start.filter(|_| learns).map(|start| {
            let from = after(after(start, -LEARN_BEFORE), -longest_ramp);
            let Some(at) = since else {
                return Timestamp::MIN;
            };
            let regularly = after(at, LEARNING).max(from);
            let before_ramp = next_learnt.map(|ramp| after(ramp, -BEFORE_RAMP));
            let before_ramp = before_ramp.filter(|due| at < *due);
            before_ramp.map_or(regularly, |due| due.min(regularly))
        });
        looks.into_iter().chain(learning).min()
    }
}

impl Tracked {
    /// Takes in the sale triggers, with what their calendars say now.
    pub(crate) fn sales_known(&mut self, turn: &mut Turn<'_>, triggers: Vec<SaleTrigger>) {
        self.sales.known = true;
        self.sales.triggers = triggers;
        if self.preparation.is_first() {
            // They are told before the preparation's answer: no status of their own for that moment, unless a floor lives.
            self.status.hold_for_first_poll();
        }
        self.prescale(turn);
    }

    pub(crate) fn pods_seen(&mut self, turn: &mut Turn<'_>, pods: Option<PodsSeen>) {
        self.sales.pods_asked = None;
        self.sales.pods_answered = Some(turn.now);
        if pods.is_some() {
            self.sales.pods = pods;
            self.sales.pods_seen_at = Some(turn.now);
        }
        self.prescale(turn);
    }

    /// Looks at what the sales ask for now, and asks for what follows: the status first, so that a restart finds what the floor is made of.
    pub(crate) fn prescale(&mut self, turn: &mut Turn<'_>) {
        if self.wanted.switches.pause.is_some() {
            return self.prescale_paused(turn);
        }
        if !self.sales.known {
            return self.flush(turn);
        }
        let was_active = self.sales.level.active;
        let triggers: Vec<_> = self
            .sales
            .triggers
            .iter()
            .map(|sale| sale.trigger.clone())
            .collect();
        let pods = self.sales.pods.clone();
        // An answer without pods is an answer: nothing will be learnt for now.
        let startups = match &pods {
            Some(pods) => Some(&*pods.startups),
            None => self.sales.pods_answered.map(|_| [].as_slice()),
        };
        let counted = self.sales.counted(turn.now).cloned();
        let paused = self.wanted.switches.scale_out_paused;
        let paused = paused.then_some(&Obstacle::ScaleOutPaused);
        let seen = counted.as_ref().and_then(|pods| pods.obstacle.as_ref());
        let scene = Scene {
            triggers: &triggers,
            min_replica_count: self.wanted.min_replicas,
            max_replica_count: self.wanted.max_replicas,
            startups,
            replicas: self.sales.replicas,
            ready_since: counted.as_ref().map(|pods| &*pods.ready_since),
            obstacle: paused.or(seen),
            wanted_by_others: self.sales.wanted_by_others,
        };
        let prescaled = self.sales.prescaling.advance(turn.now, &scene);
        let is_ready = prescaled
            .condition
            .as_ref()
            .is_some_and(|condition| condition.status == ConditionStatus::True);
        let sales = &mut self.sales;
        let changed = sales.floors != prescaled.triggers;
        sales.floors = prescaled.triggers;
        sales.level = prescaled.level;
        sales.bounds = Some(prescaled.bounds);

        let status = &mut self.status.current;
        status.conditions.prescaled = prescaled.condition;
        status.prescale.runs = sales.prescaling.runs().to_vec();
        let reports = &mut status.prescale.reports;
        // One that went on after its end has a new one.
        reports.retain(|old| {
            let mut again = prescaled.reports.iter();
            !again.any(|new| (&new.name, new.start, new.floor) == (&old.name, old.start, old.floor))
        });
        reports.extend(prescaled.reports.iter().cloned());
        let too_many = reports.len().saturating_sub(REPORTS_KEPT);
        reports.drain(..too_many);
        if prescaled.remember || !prescaled.reports.is_empty() {
            self.status.release();
        }
        if self.sales.level.active && !was_active && self.polled_as.is_some() {
            self.show_active(turn.now);
        }
        let (ask, room_next) = self.room_to_ask(turn.now, prescaled.room.as_ref());
        self.show_room(prescaled.room.as_ref());
        self.flush(turn);

        // Right after a start, the bounds that stand in the HPA may be those of a sale.
        if !prescaled.undecided || self.sales.asked.is_some() {
            self.ask_for_bounds(turn, prescaled.bounds);
        }
        self.ask_for_room(turn, ask);
        for news in prescaled.news {
            publish(turn, news.kind, news.reason, news.message);
        }
        self.show(
            turn,
            prescaled.next_start,
            prescaled.late,
            prescaled.reports,
        );
        if changed && self.wanted.modifiers.is_none() && !self.sales.triggers.is_empty() {
            turn.effects.push(Effect::Serve {
                key: turn.key.clone(),
                metrics: self.sales.served(),
                age: SignedDuration::ZERO,
            });
        }
        // An HPA leaves a target at zero alone: raising that is a poll's doing. Any other follows its HPA, and a thousand objects
        // are not polled because they share an instant.
        let may_be_at_zero = self.sales.replicas.is_none_or(|replicas| replicas == 0);
        if self.sales.level.active && !was_active && self.polled_as.is_some() && may_be_at_zero {
            self.polling.poll_now(turn, self.interval());
        }
        let wake = self.wake(turn);

        let (next_start, next_learnt) = (prescaled.next_start, prescaled.next_learnt);
        let mut pods_due = self.sales.pods_due(is_ready, next_start, next_learnt);
        if let Some(asked) = self.sales.pods_asked {
            pods_due = pods_due.map(|at| at.max(after(asked, PODS_OVERDUE)));
        }
        if pods_due.is_some_and(|at| at <= turn.now) {
            self.sales.pods_asked = Some(turn.now);
            pods_due = Some(after(turn.now, PODS_OVERDUE));
            let key = turn.key.clone();
            turn.effects.push(Effect::ReadPods { key });
        }
        let next = prescaled
            .next
            .into_iter()
            .chain(pods_due)
            .chain(room_next)
            .chain(wake)
            .min();
        self.sales.plan(turn, next);
    }

    /// A sale begins: what the next poll would show of it anyway is shown now, with what the floor is made of, and costs no write of its own.
    fn show_active(&mut self, now: Timestamp) {
        let status = &mut self.status.current;
        if !self.wanted.switches.activation_forced {
            status.conditions.active = Condition::active();
        }
        status.last_active_time = Some(cooldown::whole_second(now));
        if self.wanted.modifiers.is_some() {
            return;
        }
        for (metric, is_active) in &mut status.triggers_activity {
            *is_active |= self.sales.keeps_active(metric);
        }
    }

    /// Says of a sale that its floor is not applied, as the object is paused. What the sales of before the pause are remembered by
    /// stays as it is, and those that begin within it are looked at anew when it ends. No room is kept for pods that don't come.
    fn prescale_paused(&mut self, turn: &mut Turn<'_>) {
        let (ask, ask_again) = self.room_to_ask(turn.now, None);
        let would_be = self.sales.known.then(|| {
            let triggers = self.sales.triggers.iter();
            let triggers: Vec<_> = triggers.map(|sale| sale.trigger.clone()).collect();
            let pods = self.sales.pods.as_ref();
            let scene = Scene {
                triggers: &triggers,
                min_replica_count: self.wanted.min_replicas,
                max_replica_count: self.wanted.max_replicas,
                startups: Some(pods.map_or(&[], |pods| &pods.startups)),
                replicas: self.sales.replicas,
                ready_since: None,
                obstacle: None,
                wanted_by_others: None,
            };
            self.sales.prescaling.clone().advance(turn.now, &scene)
        });
        // What is not known yet is no news: a restart within a sale says nothing again.
        if let Some(would_be) = &would_be {
            let condition = prescale::paused(&would_be.level);
            let before = &mut self.status.current.conditions.prescaled;
            if let Some(condition) = &condition
                && before.as_ref() != Some(condition)
            {
                let message = condition.message.clone();
                publish(turn, EventType::Warning, PRESCALE_PAUSED, message);
            }
            *before = condition;
        }
        self.flush(turn);
        self.ask_for_room(turn, ask);
        self.show(turn, None, false, Vec::new());
        let next = would_be.and_then(|would_be| would_be.next);
        self.sales
            .plan(turn, next.into_iter().chain(ask_again).min());
    }

    /// Shows what the sales come to, also once more when there are none any more, or nothing holds because of a pause.
    fn show(
        &mut self,
        turn: &mut Turn<'_>,
        next_start: Option<Timestamp>,
        late: bool,
        reports: Vec<Report>,
    ) {
        let sales = &mut self.sales;
        let paused = self.wanted.switches.pause.is_some();
        let holds = !paused && !sales.triggers.is_empty();
        if !std::mem::replace(&mut sales.shown, holds) && !holds {
            return;
        }
        let condition = &self.status.current.conditions.prescaled;
        let shown = Shown {
            floor: if holds { sales.level.floor } else { 0 },
            holds: (!paused).then_some(holds && sales.level.active),
            ready: sales.counted(turn.now).map(|pods| pods.ready_since.len()),
            replicas: sales.replicas,
            reason: condition.as_ref().map(|condition| condition.reason.clone()),
            late,
            next_start,
            reports,
        };
        let key = turn.key.clone();
        turn.effects.push(Effect::ShowPrescale { key, shown });
    }

    /// A target at zero has no HPA that would raise it: only a poll leads to its first replicas. Where one did not (the target could not
    /// be read, or written), the next is not left to a `pollingInterval` that may be an hour. Returns when to look again.
    fn wake(&mut self, turn: &mut Turn<'_>) -> Option<Timestamp> {
        let sales = &mut self.sales;
        let sleeps = sales.level.active && sales.replicas.is_none_or(|replicas| replicas == 0);
        if !sleeps || self.polled_as.is_none() || self.wanted.switches.scale_out_paused {
            sales.wakes_at = None;
            return None;
        }
        match sales.wakes_at {
            Some(at) if at > turn.now => {}
            before => {
                sales.wakes_at = Some(after(turn.now, MISSING_PODS));
                // The first time it is polled anyway.
                if before.is_some() && self.scaling.is_none() {
                    self.polling.poll_now(turn, self.interval());
                }
            }
        }
        self.sales.wakes_at
    }

    /// The HPA's bounds, where they are others than were last asked for.
    fn ask_for_bounds(&mut self, turn: &mut Turn<'_>, bounds: Bounds) {
        let mut bounds = bounds;
        if self.wanted.switches.scale_out_paused {
            // The HPA raises to its minimum whatever its behavior forbids.
            let Some(asked) = self.sales.asked else {
                return;
            };
            bounds.min = bounds.min.min(asked.min.max(self.wanted.min_replicas));
        }
        if self.sales.asked == Some(bounds) {
            return;
        }
        self.sales.asked = Some(bounds);
        let triggers = self.sales.triggers.iter().map(|sale| &sale.trigger);
        let after_status = self.sales.prescaling.needs_memory(triggers);
        let level = &self.sales.level;
        let reason = match (&level.limit, &level.cause) {
            (Some((limit, sale)), _) if *limit <= bounds.max => {
                format!("no more than {limit} replicas during {}", sale.name)
            }
            (_, Some(sale)) => format!("a floor of {} replicas for {}", level.floor, sale.name),
            _ => "no sale".to_owned(),
        };
        turn.effects.push(Effect::SetBounds {
            key: turn.key.clone(),
            min: bounds.min,
            max: bounds.max,
            reason,
            after_status,
        });
    }
}

/// The replicas that an HPA would have for a metric.
fn wish(value: f64, target: &MetricTarget, replicas: i32) -> Option<i32> {
    let per_replica = target.target.to_f64();
    if !value.is_finite() || per_replica <= 0.0 {
        return None;
    }
    let ratio = value / per_replica;
    let wanted = match target.target_type {
        TargetType::AverageValue => ratio,
        TargetType::Value => ratio * f64::from(replicas),
    };
    // Saturates.
    Some(wanted.ceil() as i32)
}

fn unknown_calendar(sale: &SaleTrigger) -> String {
    format!(
        "trigger {} (sale-calendar): what its calendar holds is not wholly known yet, so nothing is scaled in",
        sale.index
    )
}
