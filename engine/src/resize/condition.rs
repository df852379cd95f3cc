//! The condition `Resized`, and how many pods are in each state.

use std::sync::Arc;

use super::policy::{Holding, MaxConcurrent};
use super::report::{PodState, Report};
use crate::condition_reasons as reasons;
use crate::conditions::{Condition, ConditionStatus};

/// The order in which problems give the condition its reason.
const PROBLEMS: [PodState; 8] = [
    PodState::Refused,
    PodState::Infeasible,
    PodState::Failed,
    PodState::Foreign,
    PodState::Deferred,
    PodState::Silent,
    PodState::LeftAlone,
    PodState::MemoryKept,
];

/// What a report is made of.
#[derive(Debug)]
pub(super) struct Sight {
    pub holding: Holding,
    pub ended: bool,
    pub max_concurrent: MaxConcurrent,
    /// Why nothing is asked, with the reason's name.
    pub stopped: Option<(&'static str, String)>,
    pub pods: Vec<Seen>,
}

/// One pod in a report.
#[derive(Debug)]
pub(super) struct Seen {
    pub state: PodState,
    pub message: String,
    pub name: Arc<str>,
    /// One that is resized as it starts makes no difference to the condition while all goes well.
    pub apart: bool,
    /// It has, or is to have, its own resources.
    pub homeward: bool,
    pub skipped: Vec<String>,
}

impl Sight {
    pub(super) fn report(&self) -> Report {
        let mut pods = [0; PodState::ALL.len()];
        for (place, state) in PodState::ALL.iter().enumerate() {
            if let Some(count) = pods.get_mut(place) {
                *count = self.pods.iter().filter(|it| it.state == *state).count();
            }
        }
        Report {
            condition: self.condition(),
            pods,
        }
    }

    fn condition(&self) -> Condition {
        if let Some((reason, message)) = &self.stopped {
            return condition(ConditionStatus::False, reason, message.clone());
        }
        let problems = self.problems();
        // Pods that wait behind one that has no room are no progress: that they wait for it is what there is to say.
        let stuck = self.pods.iter().any(|it| it.state == PodState::Deferred);
        let moving = |homeward: bool| {
            let mut serving = self.pods.iter().filter(|it| !it.apart);
            serving.any(|it| {
                let settles = match it.state {
                    PodState::UnderWay => true,
                    PodState::Waiting => homeward || !stuck,
                    _ => false,
                };
                it.homeward == homeward && settles
            })
        };
        let wished = self.wished();
        let (status, reason, mut message) = if moving(false) && !wished.is_empty() {
            let waves = match self.max_concurrent {
                MaxConcurrent::Pods(pods) => format!("{pods}"),
                MaxConcurrent::Percent(percent) => format!("{percent}%"),
            };
            let message = format!("Pods are resized for {wished}, {waves} at a time");
            (ConditionStatus::False, reasons::RESIZING, message)
        } else if moving(true) {
            (
                ConditionStatus::False,
                reasons::RESTORING,
                "Pods go back to the resources of their template".to_owned(),
            )
        } else if wished.is_empty() || self.ended {
            let message = "No policy holds: pods have the resources of their template".to_owned();
            (ConditionStatus::False, reasons::NO_POLICY_HOLDS, message)
        } else {
            let waits = self.pods.iter().any(|it| it.state == PodState::Waiting);
            let are = if waits { "are to be" } else { "are" };
            let message = format!("Pods {are} resized for {wished}");
            (ConditionStatus::True, reasons::RESIZED, message)
        };
        let Some((problem, told)) = problems else {
            return condition(status, reason, message);
        };
        if reason == reasons::NO_POLICY_HOLDS {
            message = "No policy holds".into();
        }
        // While waves run, their progress is what counts; the problems stand beside it.
        let reason = if matches!(reason, reasons::RESIZING | reasons::RESTORING) {
            reason
        } else {
            problem
        };
        condition(ConditionStatus::False, reason, format!("{message}; {told}"))
    }

    fn wished(&self) -> String {
        let mut wished = Vec::new();
        if self.holding.prescale && !self.ended {
            wished.push("a sale");
        }
        if self.holding.saturated && !self.ended {
            wished.push("an HPA at its maximum");
        }
        wished.join(" and ")
    }

    /// The worst problem's reason, and all of them in words, each with an example.
    fn problems(&self) -> Option<(&'static str, String)> {
        let mut worst = None;
        let mut told = Vec::new();
        for state in PROBLEMS {
            let of_it: Vec<_> = self.pods.iter().filter(|it| it.state == state).collect();
            let count = of_it.len();
            // The first by name, so that the message stays while pods come and go.
            let Some(example) = of_it.iter().min_by_key(|it| &it.name) else {
                continue;
            };
            worst = worst.or(state.problem());
            let why = match state {
                PodState::LeftAlone => example.skipped.join("; "),
                _ => example.message.clone(),
            };
            told.push(format!(
                "{}: {count} ({}: {why})",
                state.problem().unwrap_or("Other"),
                example.name
            ));
        }
        worst.map(|reason| (reason, told.join("; ")))
    }
}

fn condition(status: ConditionStatus, reason: &str, message: String) -> Condition {
    Condition {
        status,
        reason: reason.to_owned(),
        message,
    }
}

impl PodState {
    /// The condition's reason where pods are in it, from the worst.
    fn problem(self) -> Option<&'static str> {
        Some(match self {
            Self::Infeasible => reasons::RESIZE_INFEASIBLE,
            Self::Refused => reasons::RESIZE_REFUSED,
            Self::Failed => reasons::RESIZE_FAILED,
            Self::Silent => reasons::RESIZE_SILENT,
            Self::Deferred => reasons::RESIZE_DEFERRED,
            Self::Foreign => reasons::RESIZED_BY_ANOTHER,
            Self::LeftAlone => reasons::LEFT_ALONE,
            Self::MemoryKept => reasons::MEMORY_KEPT,
            Self::Template | Self::Waiting | Self::UnderWay | Self::Resized => return None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SALE: Holding = Holding {
        prescale: true,
        saturated: false,
    };

    fn seen(state: PodState, name: &str) -> Seen {
        Seen {
            state,
            message: "no room".into(),
            name: name.into(),
            apart: false,
            homeward: false,
            skipped: vec!["container app: skipped".into()],
        }
    }

    fn sight(holding: Holding, pods: Vec<Seen>) -> Sight {
        Sight {
            holding,
            ended: false,
            max_concurrent: MaxConcurrent::default(),
            stopped: None,
            pods,
        }
    }

    #[test]
    fn the_condition_names_what_is_wrong() {
        use PodState::{
            Deferred, Foreign, Infeasible, LeftAlone, Resized, Template, UnderWay, Waiting,
        };
        let none = Holding::default();
        let both = Holding {
            prescale: true,
            saturated: true,
        };
        let restoring = Seen {
            homeward: true,
            ..seen(Waiting, "a")
        };
        let starting = Seen {
            apart: true,
            ..seen(UnderWay, "a")
        };
        for (holding, pods, status, reason, told) in [
            (
                none,
                vec![],
                "False",
                "NoPolicyHolds",
                "No policy holds: pods have the resources of their template",
            ),
            (none, vec![starting], "False", "NoPolicyHolds", ""),
            (
                SALE,
                vec![seen(Resized, "a")],
                "True",
                "Resized",
                "Pods are resized for a sale",
            ),
            (
                both,
                vec![seen(Resized, "a")],
                "True",
                "Resized",
                "a sale and an HPA at its maximum",
            ),
            (
                SALE,
                vec![seen(Resized, "a"), seen(UnderWay, "b")],
                "False",
                "Resizing",
                "25% at a time",
            ),
            (
                none,
                vec![restoring, seen(Template, "b")],
                "False",
                "Restoring",
                "go back",
            ),
            (
                SALE,
                vec![seen(Resized, "a"), seen(Deferred, "c"), seen(Deferred, "b")],
                "False",
                "Deferred",
                "Deferred: 2 (b: no room)",
            ),
            (
                SALE,
                vec![seen(Resized, "a"), seen(Deferred, "b"), seen(Waiting, "c")],
                "False",
                "Deferred",
                "Deferred: 1 (b: no room)",
            ),
            (
                SALE,
                vec![seen(UnderWay, "a"), seen(Deferred, "b"), seen(Waiting, "c")],
                "False",
                "Resizing",
                "Deferred: 1 (b: no room)",
            ),
            (
                SALE,
                vec![seen(Foreign, "a"), seen(Infeasible, "b")],
                "False",
                "Infeasible",
                "Infeasible: 1 (b: no room); Foreign: 1 (a: no room)",
            ),
            (
                SALE,
                vec![seen(UnderWay, "a"), seen(Infeasible, "b")],
                "False",
                "Resizing",
                "Infeasible: 1",
            ),
            (
                SALE,
                vec![seen(LeftAlone, "a")],
                "False",
                "LeftAlone",
                "LeftAlone: 1 (a: container app: skipped)",
            ),
            (
                none,
                vec![seen(Foreign, "a")],
                "False",
                "Foreign",
                "No policy holds; Foreign: 1",
            ),
        ] {
            let report = sight(holding, pods).report();
            let Condition {
                status: found,
                reason: because,
                message,
            } = &report.condition;
            assert_eq!((found.as_str(), &**because), (status, reason), "{message}");
            assert!(message.contains(told), "{message}");
        }
    }

    #[test]
    fn a_cluster_without_resizing_says_so_first() {
        let mut sight = sight(SALE, vec![seen(PodState::Deferred, "a")]);
        sight.stopped = Some(("Unsupported", "no pods/resize".into()));
        let report = sight.report();
        assert_eq!(report.condition.reason, "Unsupported");
        assert_eq!(report.count(PodState::Deferred), 1);
    }
}
