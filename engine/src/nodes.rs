//! One object's CapacityBuffer: when it is asked for, adjusted and taken away, and what is told of it. For how many replicas room
//! has to be there is said by [`crate::prescale::Room`].
//!
//! A buffer keeps room *beside* the pods that there are, so it shrinks as pods of the floor find a node: what stands and what is
//! kept free never come to more than the floor. Nothing here holds up scaling, whatever becomes of the buffer.

use jiff::{SignedDuration, Timestamp};

use crate::condition_reasons as reasons;
use crate::conditions::{Condition, ConditionStatus};
use crate::effect::{Effect, EventType};
use crate::engine::Turn;
use crate::event::RoomOutcome;
use crate::prescale::{Room, RoomAsked};
use crate::telling::publish;
use crate::time::after;
use crate::tracked::{ANSWER_OVERDUE, Tracked};

/// A buffer that is wanted is looked at so often: its status changes, somebody may delete it, and a cluster may get the kind.
const REFRESHED_EVERY: SignedDuration = SignedDuration::from_secs(60);
/// What failed is tried again after so long.
const TRIED_AGAIN: SignedDuration = SignedDuration::from_secs(30);

/// What is known of an object's buffer in this life of the engine. What has to survive a restart is [`RoomAsked`].
#[derive(Debug, Default)]
pub(crate) struct Nodes {
    /// The pods that it was last asked to keep room for, and when.
    asked: Option<(Option<i32>, Timestamp)>,
    awaits_answer: bool,
    outcome: Option<RoomOutcome>,
    /// The failure that was last told.
    told: Option<String>,
}

impl Nodes {
    pub(crate) fn is_wanted(&self) -> bool {
        matches!(self.asked, Some((Some(_), _)))
    }

    fn problem(&self) -> Option<(&'static str, String)> {
        match self.outcome.as_ref().filter(|_| self.is_wanted())? {
            RoomOutcome::Unsupported => Some((
                reasons::NODES_UNSUPPORTED,
                "the cluster has no CapacityBuffer (autoscaling.x-k8s.io/v1beta1): pods are scaled as usual".to_owned(),
            )),
            RoomOutcome::Failed { message } => Some((
                reasons::NODES_FAILED,
                format!("no CapacityBuffer could be set: {message}; pods are scaled as usual"),
            )),
            RoomOutcome::Stands { .. } | RoomOutcome::Gone => None,
        }
    }
}

/// What to ask for, with the reason.
type Ask = (Option<i32>, String);

impl Tracked {
    /// What the buffer is to be asked for now, and when to come back. Notes it in the status, which has to be written first.
    pub(crate) fn room_to_ask(
        &mut self,
        now: Timestamp,
        room: Option<&Room>,
    ) -> (Option<Ask>, Option<Timestamp>) {
        let is_paused = self.wanted.switches.pause.is_some();
        let standing = self.status.current.prescale.room.clone();
        let never_asked = self.sales.nodes.asked.is_none();
        let wanted = match room {
            _ if is_paused => None,
            // What is not known of a calendar takes no room away before the ramp that it was made for. A floor that climbs is known.
            None if self.sales.may_want_more_nodes() => standing
                .as_ref()
                .filter(|standing| standing.ramp.is_some_and(|ramp| now < ramp))
                .map(|standing| standing.pods),
            None => None,
            Some(room) => match self.sales.placed(now) {
                Some(placed) => {
                    let missing = room.replicas.saturating_sub(placed).max(0);
                    // One that stands stays until the pods are Ready: those that have a node now may lose it again.
                    (missing > 0 || standing.is_some()).then_some(missing)
                }
                None => standing.as_ref().map(|standing| standing.pods),
            },
        };
        let may_stand = standing.is_some()
            // A status that could not be written would leave one behind.
            || (never_asked && self.sales.wants_nodes_first());
        if wanted.is_none() && !may_stand {
            self.sales.nodes.told = None;
            return (None, None);
        }
        let nodes = &mut self.sales.nodes;
        let due = match nodes.asked {
            None => now,
            Some((_, at)) if nodes.awaits_answer => after(at, ANSWER_OVERDUE),
            Some((asked, _)) if asked != wanted => now,
            Some((_, at)) => {
                let failed = matches!(
                    nodes.outcome,
                    Some(RoomOutcome::Failed { .. } | RoomOutcome::Unsupported)
                );
                let pause = if failed { TRIED_AGAIN } else { REFRESHED_EVERY };
                after(at, pause)
            }
        };
        if due > now {
            return (None, Some(due));
        }
        nodes.asked = Some((wanted, now));
        nodes.awaits_answer = true;
        if let Some(pods) = wanted {
            let ramp = match room {
                Some(room) => room.ramp,
                None => standing.and_then(|standing| standing.ramp),
            };
            self.status.current.prescale.room = Some(RoomAsked { pods, ramp });
            self.status.release();
        }
        let reason = match (wanted, room) {
            (Some(_), Some(room)) => format!("nodes first for {}", room.sale.name),
            (Some(_), None) => "nodes first, for a sale that is not known again yet".to_owned(),
            (None, _) if is_paused => "paused".to_owned(),
            (None, _) => "no sale waits for nodes".to_owned(),
        };
        (Some((wanted, reason)), Some(after(now, ANSWER_OVERDUE)))
    }

    pub(crate) fn ask_for_room(&mut self, turn: &mut Turn<'_>, ask: Option<Ask>) {
        if let Some((pods, reason)) = ask {
            let key = turn.key.clone();
            turn.effects.push(Effect::KeepRoom { key, pods, reason });
        }
    }

    pub(crate) fn room_kept(&mut self, turn: &mut Turn<'_>, outcome: RoomOutcome) {
        let nodes = &mut self.sales.nodes;
        nodes.awaits_answer = false;
        nodes.outcome = Some(outcome.clone());
        let is_gone = matches!(outcome, RoomOutcome::Gone | RoomOutcome::Unsupported);
        if is_gone && !nodes.is_wanted() && self.status.current.prescale.room.take().is_some() {
            self.status.release();
        }
        match self.sales.nodes.problem() {
            Some((_, message)) if self.sales.nodes.told.as_ref() != Some(&message) => {
                self.sales.nodes.told = Some(message.clone());
                publish(turn, EventType::Warning, "PrescaleNodesFailed", message);
            }
            _ => {}
        }
        self.prescale(turn);
    }

    /// Puts into the condition how it stands with the nodes: before the ramp alone, then behind what is said of the pods, as long as
    /// some are missing.
    pub(crate) fn show_room(&mut self, room: Option<&Room>) {
        let nodes = &self.sales.nodes;
        let Some(room) = room.filter(|_| nodes.is_wanted()) else {
            return;
        };
        let problem = nodes.problem();
        let state = match (&problem, &nodes.outcome) {
            (Some((_, message)), _) => Some(message.clone()),
            (
                None,
                Some(RoomOutcome::Stands {
                    provisioned: false,
                    message,
                }),
            ) if !message.is_empty() => Some(format!("its CapacityBuffer waits: {message}")),
            _ => None,
        };
        let condition = &mut self.status.current.conditions.prescaled;
        if let Some(condition) = condition {
            if let Some(state) = state.filter(|_| condition.status != ConditionStatus::True) {
                condition.message = format!("{}; {state}", condition.message);
            }
            return;
        }
        let (Some(ramp), Some((Some(pods), _))) = (room.ramp, nodes.asked) else {
            return;
        };
        let name = &room.sale.name;
        let asked = format!(
            "room for {pods} more pods is to be there for {name} before its ramp at {ramp}"
        );
        let is_there = matches!(
            nodes.outcome,
            Some(RoomOutcome::Stands {
                provisioned: true,
                ..
            })
        );
        let (status, reason, message) = match (problem, state) {
            (Some((reason, message)), _) => (
                ConditionStatus::False,
                reason,
                format!("{asked}, but {message}"),
            ),
            (None, _) if is_there => (
                ConditionStatus::Unknown,
                reasons::NODES_READY,
                format!("{asked}: it is"),
            ),
            (None, Some(state)) => (
                ConditionStatus::Unknown,
                reasons::NODES_REQUESTED,
                format!("{asked}; {state}"),
            ),
            (None, None) => (ConditionStatus::Unknown, reasons::NODES_REQUESTED, asked),
        };
        self.status.current.conditions.prescaled = Some(Condition {
            status,
            reason: reason.to_owned(),
            message,
        });
    }
}
