//! The parameters of a `sale-calendar` trigger, from the texts of its metadata.

use std::collections::BTreeMap;

use jiff::SignedDuration;
use sakidori_engine::prescale::{Baseline, Factor, LeadTime, Nodes, Overlap, Settings, Wish};
use sakidori_engine::selector::Selector;
use thiserror::Error;

use crate::clock::Length;
use sakidori_engine::nearest;

/// A `sale-calendar` trigger.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SaleCalendarTrigger {
    /// The name of the calendar.
    pub calendar: String,
    /// A SaleCalendar of the object's namespace, and not a ClusterSaleCalendar.
    pub namespaced: bool,
    /// Which occurrences count.
    pub selector: Selector,
    pub settings: Settings,
}

/// What is wrong with one parameter.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("{parameter}: {message}")]
pub struct TriggerProblem {
    pub parameter: String,
    pub message: String,
}

const PARAMETERS: [&str; 14] = [
    "calendar",
    "calendarKind",
    "match",
    "desiredReplicas",
    "multiplier",
    "limitReplicas",
    "baseline",
    "leadTime",
    "rampUp",
    "holdAfter",
    "rampDown",
    "maxReplicas",
    "overlap",
    "nodes",
];

impl SaleCalendarTrigger {
    /// Reads the metadata of a trigger.
    ///
    /// # Errors
    /// All problems at once.
    pub fn parse(metadata: &BTreeMap<String, String>) -> Result<Self, Vec<TriggerProblem>> {
        let mut reader = Reader {
            metadata,
            problems: Vec::new(),
        };
        for key in metadata.keys() {
            if !PARAMETERS.contains(&key.as_str()) {
                let hint = nearest(key, PARAMETERS)
                    .map_or_else(String::new, |name| format!(", did you mean {name}?"));
                reader.refuse(key, format!("no parameter of sale-calendar{hint}"));
            }
        }
        let defaults = Settings::default();
        let trigger = Self {
            calendar: reader.get("calendar").unwrap_or_default().to_owned(),
            namespaced: reader.one_of(
                "calendarKind",
                &[("ClusterSaleCalendar", false), ("SaleCalendar", true)],
            ),
            selector: reader.selector(),
            settings: Settings {
                wish: reader.wish(),
                baseline: reader.baseline(defaults.baseline),
                lead_time: reader.lead_time(),
                ramp_up: reader.span("rampUp", defaults.ramp_up),
                hold_after: reader.span("holdAfter", defaults.hold_after),
                ramp_down: reader.span("rampDown", defaults.ramp_down),
                max_replicas: reader.replicas("maxReplicas", 1),
                overlap: reader.one_of("overlap", &[("max", Overlap::Max), ("sum", Overlap::Sum)]),
                nodes: reader.nodes(),
            },
        };
        if trigger.calendar.is_empty() {
            reader.refuse(
                "calendar",
                "missing: name a ClusterSaleCalendar or SaleCalendar".into(),
            );
        }
        if let (Wish::Replicas(floor), Some(max)) =
            (trigger.settings.wish, trigger.settings.max_replicas)
            && floor > max
        {
            reader.refuse(
                "maxReplicas",
                format!("{max} is below desiredReplicas ({floor})"),
            );
        }
        if let (Wish::Times(_), Baseline::Replicas(0)) =
            (trigger.settings.wish, trigger.settings.baseline)
        {
            let message = "0: no multiple of it is a floor, give a baseline of 1 or more";
            reader.refuse("baseline", message.into());
        }
        if reader.problems.is_empty() {
            Ok(trigger)
        } else {
            Err(reader.problems)
        }
    }

    /// What is to be changed where a maximum of the object keeps the floor from being reached, as far as the trigger alone tells.
    pub fn floor_above(&self, max_replica_count: i32) -> Option<String> {
        let (floor, told) = match (self.settings.wish, self.settings.baseline) {
            (Wish::Replicas(floor), _) => (floor, format!("desiredReplicas: {floor}")),
            (Wish::Times(Factor::Fixed(multiplier)), Baseline::Replicas(baseline)) => {
                let floor = multiplier.of(baseline);
                (floor, format!("multiplier: a floor of {floor} replicas"))
            }
            _ => return None,
        };
        let max = max_replica_count.max(self.settings.max_replicas.unwrap_or(0));
        (floor > max).then(|| {
            format!("{told} is above maxReplicaCount ({max_replica_count}): raise it, or set maxReplicas")
        })
    }
}

struct Reader<'a> {
    metadata: &'a BTreeMap<String, String>,
    problems: Vec<TriggerProblem>,
}

impl<'a> Reader<'a> {
    fn get(&self, parameter: &str) -> Option<&'a str> {
        let text = self.metadata.get(parameter)?.trim();
        (!text.is_empty()).then_some(text)
    }

    fn refuse(&mut self, parameter: &str, message: String) {
        self.problems.push(TriggerProblem {
            parameter: parameter.to_owned(),
            message,
        });
    }

    /// The first is the default.
    fn one_of<T: Copy>(&mut self, parameter: &str, choices: &[(&str, T)]) -> T {
        let default = choices[0].1;
        let Some(text) = self.get(parameter) else {
            return default;
        };
        match choices.iter().find(|(name, _)| *name == text) {
            Some((_, choice)) => *choice,
            None => {
                let names: Vec<_> = choices.iter().map(|(name, _)| *name).collect();
                self.refuse(
                    parameter,
                    format!("{text:?}: expected {}", names.join(" or ")),
                );
                default
            }
        }
    }

    fn nodes(&mut self) -> Nodes {
        match self.get("nodes") {
            None => Nodes::WithPods,
            Some("capacity-buffer") if self.get("limitReplicas").is_some() => {
                let message = "capacity-buffer keeps room for a floor: limitReplicas has none";
                self.refuse("nodes", message.into());
                Nodes::WithPods
            }
            Some("capacity-buffer") => Nodes::First,
            Some(text) => {
                let message = format!("{text:?}: expected capacity-buffer");
                self.refuse("nodes", message);
                Nodes::WithPods
            }
        }
    }

    fn replicas(&mut self, parameter: &str, fewest: i32) -> Option<i32> {
        let text = self.get(parameter)?;
        match text.parse::<i32>() {
            Ok(replicas) if replicas >= fewest => Some(replicas),
            _ => {
                let message = format!("{text:?}: expected a number of replicas, {fewest} or more");
                self.refuse(parameter, message);
                None
            }
        }
    }

    fn span(&mut self, parameter: &str, default: SignedDuration) -> SignedDuration {
        let Some(text) = self.get(parameter) else {
            return default;
        };
        match span(text) {
            Ok(span) => span,
            Err(message) => {
                self.refuse(parameter, message);
                default
            }
        }
    }

    fn selector(&mut self) -> Selector {
        let Some(text) = self.get("match") else {
            return Selector::default();
        };
        Selector::parse(text).unwrap_or_else(|error| {
            self.refuse("match", format!("{text:?}: {}", error.problem));
            Selector::default()
        })
    }

    fn wish(&mut self) -> Wish {
        let desired = self.replicas("desiredReplicas", 1).map(Wish::Replicas);
        let limit = self.replicas("limitReplicas", 1).map(Wish::Limit);
        let multiplier = match self.get("multiplier") {
            None => None,
            Some("event") => Some(Wish::Times(Factor::OfEvent)),
            Some(text) => match text.parse() {
                Ok(multiplier) => Some(Wish::Times(Factor::Fixed(multiplier))),
                Err(error) => {
                    let message = format!("{error}, or event for what each event says");
                    self.refuse("multiplier", message);
                    None
                }
            },
        };
        let given: Vec<_> = ["desiredReplicas", "multiplier", "limitReplicas"]
            .into_iter()
            .filter(|parameter| self.get(parameter).is_some())
            .collect();
        match given[..] {
            [] => self.refuse(
                "desiredReplicas",
                "missing: give desiredReplicas, multiplier or limitReplicas".into(),
            ),
            [_] => {}
            [_, second, ..] => {
                let message = format!("excludes {}: keep one of {}", given[0], given.join(", "));
                self.refuse(second, message);
            }
        }
        desired
            .or(multiplier)
            .or(limit)
            .unwrap_or(Wish::Times(Factor::OfEvent))
    }

    fn baseline(&mut self, default: Baseline) -> Baseline {
        let Some(text) = self.get("baseline") else {
            return default;
        };
        let Some(window) = text.strip_prefix("observed") else {
            return match text.parse::<i32>() {
                Ok(replicas) if replicas >= 0 => Baseline::Replicas(replicas),
                _ => {
                    let message =
                        format!("{text:?}: expected a number of replicas, or observed:1h");
                    self.refuse("baseline", message);
                    default
                }
            };
        };
        match window.strip_prefix(':') {
            None if window.is_empty() => default,
            None => {
                self.refuse("baseline", format!("{text:?}: expected observed:1h"));
                default
            }
            Some(window) => match span(window) {
                Ok(window) if window > SignedDuration::ZERO => Baseline::Observed(window),
                Ok(_) => {
                    self.refuse("baseline", format!("{text:?}: the time is not above zero"));
                    default
                }
                Err(message) => {
                    self.refuse("baseline", message);
                    default
                }
            },
        }
    }

    fn lead_time(&mut self) -> LeadTime {
        match self.get("leadTime") {
            None | Some("auto") => LeadTime::Auto,
            Some(text) => match span(text) {
                Ok(lead) => LeadTime::Fixed(lead),
                Err(message) => {
                    self.refuse("leadTime", format!("{message}, or auto"));
                    LeadTime::Auto
                }
            },
        }
    }
}

/// Ramps and lead times are hours; what is longer is a mistake (and could not be added up).
const LONGEST: SignedDuration = SignedDuration::from_hours(31 * 24);

fn span(text: &str) -> Result<SignedDuration, String> {
    if matches!(text, "0" | "0s" | "0m" | "0h") {
        return Ok(SignedDuration::ZERO);
    }
    let span = Length::parse(text)?.as_duration();
    if span > LONGEST {
        return Err(format!("{text:?} is longer than 31 days"));
    }
    Ok(span)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(metadata: &[(&str, &str)]) -> Result<SaleCalendarTrigger, String> {
        let metadata = metadata
            .iter()
            .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
            .collect();
        SaleCalendarTrigger::parse(&metadata).map_err(|problems| {
            let texts: Vec<_> = problems.iter().map(ToString::to_string).collect();
            texts.join("; ")
        })
    }

    #[test]
    fn every_parameter_is_read() {
        let trigger = parse(&[
            ("calendar", "sales"),
            ("calendarKind", "SaleCalendar"),
            ("match", "tier in (S, A)"),
            ("desiredReplicas", "120"),
            ("baseline", "20"),
            ("leadTime", "15m"),
            ("rampUp", "10m"),
            ("holdAfter", "0"),
            ("rampDown", "PT30M"),
            ("maxReplicas", "300"),
            ("overlap", "sum"),
            ("nodes", "capacity-buffer"),
        ])
        .unwrap();
        assert!(trigger.namespaced && trigger.calendar == "sales");
        assert_eq!(
            trigger.settings,
            Settings {
                wish: Wish::Replicas(120),
                baseline: Baseline::Replicas(20),
                lead_time: LeadTime::Fixed(SignedDuration::from_mins(15)),
                ramp_up: SignedDuration::from_mins(10),
                hold_after: SignedDuration::ZERO,
                ramp_down: SignedDuration::from_mins(30),
                max_replicas: Some(300),
                overlap: Overlap::Sum,
                nodes: Nodes::First,
            }
        );
        assert_eq!(trigger.floor_above(100), None);
    }

    #[test]
    fn every_parameter_is_in_the_documentation_and_no_other() {
        let page = include_str!("../../docs/prescaling.md");
        let (_, section) = page.split_once("\n## The trigger's parameters\n").unwrap();
        let section = section.split("\n## ").next().unwrap();
        let rows = section.lines().filter_map(|line| line.strip_prefix("| `"));
        let mut told: Vec<_> = rows.filter_map(|row| row.split('`').next()).collect();
        told.sort_unstable();
        let mut known = PARAMETERS.to_vec();
        known.sort_unstable();
        assert_eq!(told, known);
    }

    #[test]
    fn most_have_defaults() {
        let trigger = parse(&[("calendar", "sales"), ("multiplier", "event")]).unwrap();
        assert_eq!(trigger.settings, Settings::default());
        let limit = parse(&[("calendar", "sales"), ("limitReplicas", "4")]).unwrap();
        assert_eq!(limit.settings.wish, Wish::Limit(4));
        let observed = parse(&[
            ("calendar", "s"),
            ("multiplier", "3"),
            ("baseline", "observed:2h"),
        ]);
        assert_eq!(
            observed.unwrap().settings.baseline,
            Baseline::Observed(SignedDuration::from_hours(2))
        );
        let high = parse(&[("calendar", "s"), ("desiredReplicas", "120")]).unwrap();
        assert_eq!(
            high.floor_above(100).unwrap(),
            "desiredReplicas: 120 is above maxReplicaCount (100): raise it, or set maxReplicas"
        );
        assert_eq!(high.floor_above(120), None);
        let times = parse(&[("calendar", "s"), ("multiplier", "3"), ("baseline", "40")]).unwrap();
        assert_eq!(
            times.floor_above(100).unwrap(),
            "multiplier: a floor of 120 replicas is above maxReplicaCount (100): raise it, or set maxReplicas"
        );
        assert_eq!(times.floor_above(120), None);
    }

    #[test]
    fn all_problems_come_at_once() {
        let error = parse(&[
            ("calender", "sales"),
            ("match", "tier in S"),
            ("desiredReplicas", "many"),
            ("leadTime", "soon"),
            ("baseline", "observed:0"),
            ("overlap", "min"),
            ("nodes", "soon"),
        ])
        .unwrap_err();
        for expected in [
            "calender: no parameter of sale-calendar, did you mean calendar?",
            "calendar: missing",
            "match: \"tier in S\": expected '('",
            "desiredReplicas: \"many\": expected a number of replicas, 1 or more",
            "leadTime: \"soon\" is no duration: expected 2h30m, 3d or PT2H30M, or auto",
            "baseline: \"observed:0\": the time is not above zero",
            "overlap: \"min\": expected max or sum",
            "nodes: \"soon\": expected capacity-buffer",
        ] {
            assert!(error.contains(expected), "{expected} in {error}");
        }
        let two = parse(&[
            ("calendar", "s"),
            ("desiredReplicas", "3"),
            ("multiplier", "2"),
        ]);
        assert!(
            two.unwrap_err()
                .contains("multiplier: excludes desiredReplicas")
        );
        let nothing = parse(&[("calendar", "s"), ("multiplier", "3"), ("baseline", "0")]);
        assert!(
            nothing
                .unwrap_err()
                .contains("baseline: 0: no multiple of it is a floor")
        );
        let room = parse(&[
            ("calendar", "s"),
            ("limitReplicas", "3"),
            ("nodes", "capacity-buffer"),
        ]);
        assert!(
            room.unwrap_err()
                .contains("nodes: capacity-buffer keeps room for a floor")
        );
        let none = parse(&[("calendar", "s")]).unwrap_err();
        assert!(none.contains("give desiredReplicas, multiplier or limitReplicas"));
        let low = parse(&[
            ("calendar", "s"),
            ("desiredReplicas", "9"),
            ("maxReplicas", "5"),
        ]);
        assert!(
            low.unwrap_err()
                .contains("maxReplicas: 5 is below desiredReplicas (9)")
        );
    }
}
