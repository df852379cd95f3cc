//! What is told of resizing: lines of the log, Events on the ScaledObject, the condition `Resized`.
//!
//! Each pod's resizes are lines. Events are for people who look at the object: one when resizing begins and ends, and one for each sort of
//! problem, however many pods have it.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use sakidori_engine::condition_reasons as reasons;
use sakidori_engine::resize::{Decision, Report, ResizeResult};
use sakidori_engine::{Condition, ConditionStatus, EventType, Told};

/// Another pod with the same problem is a line, but no Event, for so long.
const EVENT_EVERY: SignedDuration = SignedDuration::from_mins(1);

/// What was told of one workload.
#[derive(Debug, Default)]
pub struct Telling {
    /// The reason that the condition had last.
    reason: Option<String>,
    /// When an Event of each sort was last published.
    published: BTreeMap<ResizeResult, Timestamp>,
}

/// A sentence, and whether it is an Event, too.
#[derive(Debug, PartialEq)]
pub struct Line {
    pub told: Told,
    pub is_event: bool,
}

impl Telling {
    /// What the object's status says from before a restart is told already.
    pub fn remember(&mut self, reason: Option<String>) {
        if self.reason.is_none() {
            self.reason = reason.filter(|reason| !stands_still(reason));
        }
    }

    /// One decision about a pod, or about all.
    pub fn decided(&mut self, now: Timestamp, decision: &Decision) -> Line {
        let result = decision.result;
        let is_routine = matches!(
            result,
            ResizeResult::Asked | ResizeResult::Resized | ResizeResult::Restored
        );
        let last = self.published.get(&result);
        let is_news = last.is_none_or(|at| now.duration_since(*at) >= EVENT_EVERY);
        let is_event = !is_routine && is_news;
        if is_event {
            self.published.insert(result, now);
        }
        Line {
            told: Told {
                kind: match result.is_problem() {
                    true => EventType::Warning,
                    false => EventType::Normal,
                },
                reason: event_reason(result),
                message: decision.to_string(),
                scaled: None,
            },
            is_event,
        }
    }

    /// The condition as it is from now on; told where it turns.
    pub fn turned(&mut self, condition: &Condition) -> Option<Line> {
        if stands_still(&condition.reason) {
            return None;
        }
        let before = self.reason.replace(condition.reason.clone());
        if before.as_ref() == Some(&condition.reason) {
            return None;
        }
        let reason = match condition.reason.as_str() {
            reasons::RESIZING => "PodsResizing",
            reasons::RESIZED => "PodsResized",
            reasons::RESTORING => "PodsRestoring",
            // Pods that never were resized did not come back.
            reasons::NO_POLICY_HOLDS if before.is_some() => "PodsRestored",
            _ => return None,
        };
        Some(Line {
            told: Told {
                kind: EventType::Normal,
                reason,
                message: condition.message.clone(),
                scaled: None,
            },
            is_event: true,
        })
    }
}

/// What keeps pods as they are, so that nothing has begun or ended when it is over.
fn stands_still(reason: &str) -> bool {
    [
        reasons::RESIZE_UNSUPPORTED,
        reasons::RESIZE_NOT_ALLOWED,
        reasons::RESIZING_PAUSED,
        reasons::RESIZE_INVALID,
    ]
    .contains(&reason)
}

/// Policies that can't be understood, as a condition. Those of before go on, where they are known.
pub fn invalid(problems: &str, known: bool) -> Condition {
    let meanwhile = match known {
        true => "pods are resized as before",
        false => "pods are left as they are",
    };
    Condition {
        status: ConditionStatus::False,
        reason: reasons::RESIZE_INVALID.to_owned(),
        message: format!("{problems}; until that is mended, {meanwhile}"),
    }
}

/// The condition to show: what is wrong with the policies goes first.
pub fn condition(report: &Report, problems: Option<&str>) -> Condition {
    problems.map_or_else(|| report.condition.clone(), |it| invalid(it, true))
}

/// One word, which users match on.
fn event_reason(result: ResizeResult) -> &'static str {
    match result {
        ResizeResult::Asked => "PodResizeAsked",
        ResizeResult::Resized => "PodResized",
        ResizeResult::Restored => "PodRestored",
        ResizeResult::Deferred => "PodResizeDeferred",
        ResizeResult::Infeasible => "PodResizeInfeasible",
        ResizeResult::Refused => "PodResizeRefused",
        ResizeResult::Failed => "PodResizeFailed",
        ResizeResult::Silent => "PodResizeSilent",
        ResizeResult::MemoryKept => "PodMemoryKept",
        ResizeResult::Foreign => "PodResizedByAnother",
        ResizeResult::Evicted => "PodEvicted",
        ResizeResult::Error => "PodResizeError",
        ResizeResult::Unsupported => "PodResizeUnsupported",
        ResizeResult::NotAllowed => "PodResizeNotAllowed",
    }
}

#[cfg(test)]
mod tests {
    use sakidori_engine::resize::PodRef;

    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn decision(pod: &str, result: ResizeResult) -> Decision {
        Decision {
            pod: Some(PodRef {
                name: pod.into(),
                uid: pod.into(),
            }),
            result,
            message: "no room".into(),
        }
    }

    #[test]
    fn every_pod_is_a_line_and_each_problem_an_event_now_and_then() {
        let mut telling = Telling::default();
        let mut is_event = |second, pod: &str, result| {
            let line = telling.decided(at(second), &decision(pod, result));
            assert!(line.told.message.contains(pod), "{line:?}");
            line.is_event
        };
        use ResizeResult::{Asked, Deferred, Evicted, Refused};
        assert!(!is_event(0, "a", Asked));
        assert!(is_event(1, "a", Deferred));
        assert!(!is_event(2, "b", Deferred));
        assert!(is_event(3, "b", Refused));
        assert!(is_event(3, "b", Evicted));
        assert!(is_event(61, "c", Deferred));
    }

    #[test]
    fn the_condition_is_told_where_it_turns() {
        let condition = |reason: &str| Condition {
            status: ConditionStatus::False,
            reason: reason.to_owned(),
            message: "so it is".to_owned(),
        };
        let mut telling = Telling::default();
        let mut told = |reason: &str| {
            let line = telling.turned(&condition(reason));
            line.map(|line| line.told.reason)
        };
        assert_eq!(told(reasons::NO_POLICY_HOLDS), None);
        assert_eq!(told(reasons::RESIZING), Some("PodsResizing"));
        assert_eq!(told(reasons::RESIZING), None);
        assert_eq!(told(reasons::RESIZE_DEFERRED), None);
        assert_eq!(told(reasons::RESIZED), Some("PodsResized"));
        assert_eq!(told(reasons::RESTORING), Some("PodsRestoring"));
        assert_eq!(told(reasons::NO_POLICY_HOLDS), Some("PodsRestored"));
        // What never began has not ended.
        let mut telling = Telling::default();
        let mut told = |reason: &str| telling.turned(&condition(reason)).is_some();
        assert!(!told(reasons::RESIZE_UNSUPPORTED) && !told(reasons::NO_POLICY_HOLDS));
        assert!(!told(reasons::RESIZE_NOT_ALLOWED) && !told(reasons::NO_POLICY_HOLDS));
        assert!(told(reasons::RESIZED) && !told(reasons::RESIZING_PAUSED));
        assert!(!told(reasons::RESIZED) && told(reasons::NO_POLICY_HOLDS));
        // After a restart nothing is told again.
        let mut telling = Telling::default();
        telling.remember(Some(reasons::RESIZED.to_owned()));
        assert_eq!(telling.turned(&condition(reasons::RESIZED)), None);
    }
}
