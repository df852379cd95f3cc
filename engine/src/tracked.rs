//! One object's state: being prepared, polled, scaled, and told about.

use jiff::{SignedDuration, Timestamp};

use crate::activation;
use crate::agenda::{Task, Ticket};
use crate::conditions::{Condition, ConditionStatus, PAUSED_MESSAGE};
use crate::cooldown;
use crate::effect::{Effect, ScaleDirection, Served};
use crate::engine::Turn;
use crate::event::{MetricTarget, PollOutcome, Remembered, ScaleOutcome, TriggerOutcome};
use crate::fallback::{Falling, Health, Settled};
use crate::modifiers::COMPOSITE_METRIC;
use crate::object::{PollId, ScaledObject};
use crate::poll::{Answer, Polling, RECENT};
use crate::preparation::Preparation;
use crate::push::Pushes;
use crate::quantity::Quantity;
use crate::reasons;
use crate::sales::Sales;
use crate::status::StatusRecord;
use crate::telling::Failing;

/// Preparing, or a write of replicas, without an answer for this long is given up.
pub(crate) const ANSWER_OVERDUE: SignedDuration = SignedDuration::from_secs(60);

#[derive(Debug)]
pub(crate) struct Tracked {
    /// As it was last applied.
    pub(crate) wanted: ScaledObject,
    /// As it was last prepared: whose triggers answer polls. `None` while it can't be polled.
    pub(crate) polled_as: Option<ScaledObject>,
    pub(crate) preparation: Preparation,
    pub(crate) polling: Polling,
    /// What sources told by themselves since the last poll.
    pub(crate) pushes: Pushes,
    pub(crate) scaling: Option<Scaling>,
    pub(crate) status: StatusRecord,
    pub(crate) sales: Sales,
    /// What each trigger publishes, as it was last prepared.
    pub(crate) metrics: Vec<Vec<MetricTarget>>,
    /// The status is to be written at this time even if the first poll has no answer.
    status_due: Option<Ticket>,
    pub(crate) failing: Failing,
    /// How long each metric has been failing, where the object has a fallback.
    pub(crate) health: Health,
}

/// A write of replicas whose answer is awaited.
#[derive(Debug)]
pub(crate) struct Scaling {
    since: Timestamp,
    pub(crate) direction: ScaleDirection,
    pub(crate) reason: String,
    /// The pushes that led to it, if any did: it has to succeed before they are acted on.
    pushes: Pushes,
}

impl Tracked {
    /// An object seen for the first time in this life of the engine.
    pub(crate) fn new(turn: &mut Turn<'_>, object: ScaledObject, remembered: Remembered) -> Self {
        let conditions = &remembered.conditions;
        // A paused object was not polled: nobody knows of any activity since, and its status does not lag behind.
        // The Paused condition doesn't tell a pause from one in a single direction, which polls on; Ready's message does.
        let was_paused =
            object.switches.pause.is_some() && conditions.ready.message == PAUSED_MESSAGE;
        let was_active = conditions.active.status == ConditionStatus::True && !was_paused;
        let last_active = cooldown::remembered(remembered.last_active_time, was_active, turn.now);
        let told = (conditions.ready.reason == reasons::SCALED_OBJECT_CHECK_FAILED)
            .then(|| conditions.ready.message.clone());
        let seen_before = remembered.seen_before;
        let health = Health::remembered(&remembered.health);
        let sales = Sales::remembered(&remembered.prescale);
        let mut tracked = Self {
            wanted: object,
            polled_as: None,
            preparation: Preparation::new(seen_before, told),
            polling: Polling::default(),
            pushes: Pushes::default(),
            scaling: None,
            status: StatusRecord::new(remembered, last_active),
            sales,
            metrics: Vec::new(),
            health,
            status_due: None,
            failing: Failing::default(),
        };
        tracked.follow_switches(turn);
        tracked.prepare(turn);
        tracked
    }

    /// Whether `object` is this one, rather than another of the same name.
    pub(crate) fn is_same(&self, object: &ScaledObject) -> bool {
        self.wanted.uid == object.uid
    }

    pub(crate) fn applied(&mut self, turn: &mut Turn<'_>, object: ScaledObject) {
        // The name of the target's kind comes from the status, that is from preparing: no reason to prepare anew.
        let changed = ScaledObject {
            target_kind: object.target_kind.clone(),
            ..self.wanted.clone()
        } != object;
        if let Some(polled_as) = &mut self.polled_as {
            polled_as.target_kind.clone_from(&object.target_kind);
        }
        self.wanted = object;
        if changed {
            self.follow_switches(turn);
            self.preparation.backoff.reset();
            // Before the HPA is made anew, with the bounds of now.
            if self.sales.is_known() {
                self.prescale(turn);
            }
            self.prepare(turn);
        }
    }

    pub(crate) fn reference_changed(&mut self, turn: &mut Turn<'_>) {
        self.preparation.backoff.reset();
        self.prepare(turn);
    }

    /// Takes everything of this object off the agenda.
    pub(crate) fn forget(&mut self, turn: &mut Turn<'_>) {
        self.polling.stop(turn);
        self.preparation.stop(turn);
        self.sales.stop(turn);
        if let Some(ticket) = self.status_due.take() {
            turn.agenda.cancel(ticket);
        }
    }

    /// What was planned for `planned` is due.
    pub(crate) fn due(&mut self, turn: &mut Turn<'_>, task: Task, planned: Timestamp) {
        match task {
            Task::Poll => self.polling.due(turn, planned, self.interval()),
            Task::Prepare => self.preparation_due(turn),
            Task::Prescale => self.prescale(turn),
            Task::WriteStatus => {
                self.status_due = None;
                self.status.release();
                self.flush(turn);
            }
        }
    }

    // ---- Polling

    pub(crate) fn interval(&self) -> SignedDuration {
        self.polled_as
            .as_ref()
            .unwrap_or(&self.wanted)
            .polling_interval
            .max(SignedDuration::from_secs(1))
    }

    pub(crate) fn reading_wanted(&mut self, turn: &mut Turn<'_>) {
        if self.polled_as.is_some() {
            self.polling.poll_for_hpa(turn, self.interval());
        }
    }

    /// A trigger's source tells by itself that there is work. While the object can't be polled, that is left to its next poll.
    pub(crate) fn pushed(&mut self, turn: &mut Turn<'_>, trigger: usize, metric: String) {
        if self.polled_as.is_some() {
            self.pushes.add(trigger, metric);
            self.polling.poll_for_push(turn, self.interval());
        }
    }

    pub(crate) fn polled(&mut self, turn: &mut Turn<'_>, poll: PollId, outcome: PollOutcome) {
        let mut outcome = outcome;
        let answer = self.polling.answered(poll);
        if answer == Answer::Late {
            return;
        }
        self.sales.fill_in(&mut outcome);
        let object = self.polled_as.as_ref().unwrap_or(&self.wanted);
        let counts = answer == Answer::Current && self.polled_as.is_some();
        let settled = match &object.fallback {
            Some(fallback) if counts => {
                let falling = Falling {
                    fallback,
                    modifiers: object.modifiers.as_ref(),
                    metrics: &self.metrics,
                    interval: self.interval(),
                    now: turn.now,
                };
                falling.settle(&outcome, &mut self.health)
            }
            _ => Settled::unchanged(&outcome),
        };
        let composite = object
            .modifiers
            .as_ref()
            .map(|modifiers| modifiers.value(&settled, object.fallback.as_ref()));
        let mut activity = match (&object.modifiers, &composite) {
            (Some(modifiers), Some(value)) => modifiers.activity(&settled, value),
            _ => activation::activity(object, &settled.triggers),
        };
        self.pushes.count_in(&mut activity);
        self.sales.count_in(&mut activity);
        let is_active = activity.active || self.wanted.switches.activation_forced;
        if is_active {
            // KEDA leaves the time as it is while some trigger fails. Here nothing that goes wrong (a failing trigger,
            // replicas that can't be read, an answer that comes while preparing) makes the cooldown end sooner.
            self.status.current.last_active_time = Some(cooldown::whole_second(turn.now));
        }
        if self.polled_as.is_none() {
            // The last answer before a pause: its time is not to be written at any later moment.
            if self.wanted.switches.pause.is_some() {
                self.flush(turn);
            }
            return;
        }
        if answer == Answer::Outdated {
            // Nothing is decided by it, but a restart before the next answer must not forget the activity.
            if is_active && self.status.lags(cooldown::status_lag(&self.wanted)) {
                self.status.release();
                self.flush(turn);
            }
            return self.polling.poll_now(turn, self.interval());
        }
        self.polling
            .follow_answers(turn, self.interval(), outcome.age);
        // The bounds are those that are wanted now; the triggers that answered may still be those of an older
        // specification, so nothing is scaled in before the new one is prepared; nor while something that a trigger needs is
        // missing, since it may be read with what it had before.
        let may_scale_in = !self.preparation.failed
            && self.preparation.complaint.is_none()
            && *object == self.wanted;
        let last_active = self.status.current.last_active_time;
        let decision = activation::decide(
            &self.wanted,
            &outcome,
            &activity,
            last_active,
            may_scale_in,
            turn.now,
        );

        let conditions = &mut self.status.current.conditions;
        if self.preparation.complaint.is_none() {
            conditions.ready = decision.ready;
        }
        if let Some(active) = decision.active {
            conditions.active = active;
        }
        self.status.current.triggers_activity = self.triggers_activity(&settled);
        self.pushes
            .show_in(&mut self.status.current.triggers_activity);
        self.tell_failures(
            turn,
            &outcome.triggers,
            composite.as_ref().and_then(|value| value.as_ref().err()),
        );
        self.tell_replicas(turn, &outcome.replicas);
        self.tell_fallback(turn);
        self.serve(turn, &outcome, &settled, composite);
        self.sales.polled(turn.now, &outcome, &self.metrics);
        // Somebody else's answer of some time ago brings nothing down: the source is asked first.
        let is_too_old = outcome.age > RECENT
            && decision
                .scale
                .as_ref()
                .is_some_and(|request| request.direction == ScaleDirection::Deactivate);
        let scale = decision
            .scale
            .filter(|_| !is_too_old)
            .and_then(|request| self.sales.within_bounds(request));
        match scale {
            Some(request) => self.scale(turn, request),
            // Whether there is anything to do about a push, only the replicas tell.
            None if outcome.replicas.is_ok() => self.pushes.clear(),
            None => {}
        }
        self.status.release();
        self.prescale(turn);
        if is_too_old {
            self.polling.poll_fresh(turn, self.interval());
        }
        self.polling.catch_up(turn, self.interval());
    }

    /// What the HPA is to be told, where that is not what the scalers read.
    fn serve(
        &self,
        turn: &mut Turn<'_>,
        outcome: &PollOutcome,
        settled: &Settled,
        composite: Option<Result<Quantity, String>>,
    ) {
        let (triggers, age) = (&outcome.triggers, outcome.age);
        let mut served = Vec::new();
        if let Some(value) = composite {
            let metric = COMPOSITE_METRIC.to_owned();
            served.push(Served { metric, value });
        } else if self
            .polled_as
            .as_ref()
            .is_some_and(|object| object.fallback.is_some())
        {
            let failing = triggers.iter().zip(&settled.triggers).zip(&self.metrics);
            for ((_, now), metrics) in
                failing.filter(|((read, _), _)| activation::failure(read).is_some())
            {
                served.extend(metrics.iter().map(|metric| Served {
                    metric: metric.metric.clone(),
                    value: value_of(now, &metric.metric),
                }));
            }
        }
        if self
            .polled_as
            .as_ref()
            .is_some_and(|object| object.modifiers.is_none())
        {
            served.extend(self.sales.served());
        }
        if !served.is_empty() {
            turn.effects.push(Effect::Serve {
                key: turn.key.clone(),
                metrics: served,
                age,
            });
        }
    }

    /// Every metric and whether it is active. Those of a trigger that fails are not; and with a formula none is, as in KEDA: the
    /// composite metric alone says whether the object is.
    fn triggers_activity(&self, settled: &Settled) -> Vec<(String, bool)> {
        let mut activity = Vec::new();
        let has_formula = self
            .polled_as
            .as_ref()
            .is_some_and(|object| object.modifiers.is_some());
        for (index, trigger) in settled.triggers.iter().enumerate() {
            match trigger {
                TriggerOutcome::Read(readings) if !readings.is_empty() => activity.extend(
                    readings
                        .iter()
                        .map(|reading| (reading.metric.clone(), reading.active && !has_formula)),
                ),
                TriggerOutcome::Resource => {}
                TriggerOutcome::Read(_) | TriggerOutcome::Failed { .. } => {
                    let metrics = self.metrics.get(index).into_iter().flatten();
                    activity.extend(metrics.map(|metric| (metric.metric.clone(), false)));
                }
            }
        }
        activity
    }

    // ---- Scaling

    /// Asks for a write of replicas, unless the answer of another is awaited.
    pub(crate) fn scale(&mut self, turn: &mut Turn<'_>, request: activation::ScaleRequest) {
        if self
            .scaling
            .as_ref()
            .is_some_and(|scaling| turn.now.duration_since(scaling.since) < ANSWER_OVERDUE)
        {
            return;
        }
        let activation::ScaleRequest {
            from,
            to,
            direction,
            reason,
        } = request;
        self.scaling = Some(Scaling {
            since: turn.now,
            direction,
            reason: reason.clone(),
            pushes: std::mem::take(&mut self.pushes),
        });
        turn.effects.push(Effect::Scale {
            key: turn.key.clone(),
            from,
            to,
            direction,
            reason,
        });
    }

    pub(crate) fn scaled(&mut self, turn: &mut Turn<'_>, outcome: ScaleOutcome) {
        let Some(mut scaling) = self.scaling.take() else {
            return;
        };
        if let ScaleOutcome::Done { to, .. } = outcome {
            self.sales.saw(turn.now, to);
            if to == 0 && self.sales.is_active() && self.polled_as.is_some() {
                // The sale began while this was under way.
                self.polling.poll_now(turn, self.interval());
            }
        } else {
            self.pushes.restore(std::mem::take(&mut scaling.pushes));
        }
        let direction = scaling.direction;
        self.tell_scaled(turn, outcome.clone(), scaling);
        if direction == ScaleDirection::HoldPaused {
            return self.held(turn, outcome);
        }
        // Whatever it wrote, a pause that came meanwhile has the last word.
        if self.missing_hold().is_some() {
            self.prepare(turn);
        }
    }

    // ---- Status

    /// Kept for the next write: an HPA that flips costs no write of its own. (KEDA looks at it once per poll, too.)
    pub(crate) fn hpa_observed(&mut self, scaling_active: bool, reason: &str, message: &str) {
        self.status.current.conditions.hpa_active =
            Some(Condition::of_hpa(scaling_active, reason, message));
    }

    /// Written at once, unless the first poll's answer is awaited: there is one for each wave at most.
    pub(crate) fn resize_observed(&mut self, turn: &mut Turn<'_>, condition: Option<Condition>) {
        self.status.current.conditions.resized = condition;
        self.flush(turn);
    }

    pub(crate) fn plan_status(&mut self, turn: &mut Turn<'_>, at: Timestamp) {
        let ticket = turn.agenda.add(at, Task::WriteStatus, turn.key);
        if let Some(old) = self.status_due.replace(ticket) {
            turn.agenda.cancel(old);
        }
    }

    pub(crate) fn flush(&mut self, turn: &mut Turn<'_>) {
        if let Some(ticket) = self.status_due.take() {
            turn.agenda.cancel(ticket);
        }
        let threshold = self
            .wanted
            .fallback
            .as_ref()
            .map_or(i32::MAX, |fallback| fallback.failure_threshold);
        if let Some(status) = self
            .status
            .flush(cooldown::status_lag(&self.wanted), threshold)
        {
            turn.effects.push(Effect::WriteStatus {
                key: turn.key.clone(),
                status,
            });
        }
    }
}

/// A trigger's value of one metric, or why there is none.
fn value_of(trigger: &TriggerOutcome, metric: &str) -> Result<Quantity, String> {
    if let Some(failure) = activation::failure(trigger) {
        return Err(failure);
    }
    let reading = match trigger {
        TriggerOutcome::Read(readings) => readings.iter().find(|reading| reading.metric == metric),
        _ => None,
    };
    let reading = reading.ok_or_else(|| "the scaler gave no reading".to_owned())?;
    Ok(Quantity::of_metric(reading.value))
}
