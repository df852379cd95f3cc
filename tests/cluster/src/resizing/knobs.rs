//! What a test tells the fake kubelet: annotations on a pod or on its node.

use std::collections::BTreeMap;
use std::time::Duration;

use k8s_openapi::apimachinery::pkg::api::resource::Quantity;

use super::amounts;
use crate::nodes;

pub(super) type Annotations = BTreeMap<String, String>;

/// How long a resize takes where nothing is said.
const RESIZE_TIME: Duration = Duration::from_millis(200);
/// How long a container that is restarted is away where nothing is said.
const RESTART_TIME: Duration = Duration::from_millis(200);

/// The annotations of a pod, which go before those of its node.
#[derive(Clone, Copy)]
pub(super) struct Knobs<'a> {
    pub pod: Option<&'a Annotations>,
    pub node: Option<&'a Annotations>,
}

impl<'a> Knobs<'a> {
    /// `false` on a pod takes back what its node says.
    fn text(self, key: &str) -> Option<&'a str> {
        let of = |annotations: Option<&'a Annotations>| annotations?.get(key);
        let text = of(self.pod).or_else(|| of(self.node))?.trim();
        (!text.is_empty() && text != "false").then_some(text)
    }

    fn duration(self, key: &str) -> Option<Duration> {
        let text = self.text(key)?;
        let duration = go_duration(text);
        if duration.is_none() {
            eprintln!(
                "fake kubelet: {key}: {text:?} is not a duration such as 500ms, 3s or 1m30s; ignored"
            );
        }
        duration
    }

    /// From being taken on until it runs, whether or not it is Ready; `None`: when it is Ready.
    pub fn running_after(self) -> Option<Duration> {
        self.duration(nodes::RUNNING_AFTER_ANNOTATION)
    }

    /// From being taken on until it is Ready.
    pub fn start_time(self, otherwise: Duration) -> Duration {
        self.duration(nodes::START_TIME_ANNOTATION)
            .unwrap_or(otherwise)
    }

    pub fn resize_time(self) -> Duration {
        self.duration(nodes::RESIZE_TIME_ANNOTATION)
            .unwrap_or(RESIZE_TIME)
    }

    pub fn restart_time(self) -> Duration {
        self.duration(nodes::RESIZE_RESTART_TIME_ANNOTATION)
            .unwrap_or(RESTART_TIME)
    }

    /// Why a resize is said to be infeasible.
    pub fn infeasible(self) -> Option<&'a str> {
        Some(told(
            self.text(nodes::RESIZE_INFEASIBLE_ANNOTATION)?,
            "the fake kubelet was told that it is infeasible",
        ))
    }

    /// Why a resize is put off.
    pub fn deferred(self) -> Option<&'a str> {
        Some(told(
            self.text(nodes::RESIZE_DEFERRED_ANNOTATION)?,
            "the fake kubelet was told to defer it",
        ))
    }

    pub fn silent(self) -> bool {
        self.text(nodes::RESIZE_SILENT_ANNOTATION).is_some()
    }

    pub fn fails(self) -> Option<Failure<'a>> {
        let text = self.text(nodes::RESIZE_FAILS_ANNOTATION)?;
        Some(Failure {
            containers: (text != "true").then(|| text.split(',').map(str::trim).collect()),
            recovers_after: self.duration(nodes::RESIZE_RECOVERS_AFTER_ANNOTATION),
        })
    }

    /// The bytes of memory that a container uses.
    pub fn memory_in_use(self, container: &str) -> i128 {
        let Some(text) = self.text(nodes::RESIZE_MEMORY_IN_USE_ANNOTATION) else {
            return 0;
        };
        let mut of_all = 0;
        for part in text.split(',') {
            match part.split_once('=') {
                Some((name, amount)) if name.trim() == container => return bytes(amount),
                Some(_) => {}
                None => of_all = bytes(part),
            }
        }
        of_all
    }
}

/// How a resize fails.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Failure<'a> {
    /// The containers that stay as they are; `None`: the second half of what there is to do.
    pub containers: Option<Vec<&'a str>>,
    /// How long it fails; `None`: as long as the annotation is there.
    pub recovers_after: Option<Duration>,
}

fn told<'a>(text: &'a str, otherwise: &'a str) -> &'a str {
    if text == "true" { otherwise } else { text }
}

fn bytes(text: &str) -> i128 {
    amounts::units(&Quantity(text.trim().to_owned()))
}

/// Reads a duration as Go writes it: `500ms`, `3s`, `1m30s`.
pub(super) fn go_duration(text: &str) -> Option<Duration> {
    let mut rest = text.trim();
    let mut seconds = 0.0;
    if rest.is_empty() {
        return None;
    }
    if rest == "0" {
        return Some(Duration::ZERO);
    }
    while !rest.is_empty() {
        let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let number: f64 = rest[..end].parse().ok()?;
        rest = &rest[end..];
        let end = rest
            .find(|c: char| c.is_ascii_digit())
            .unwrap_or(rest.len());
        seconds += number
            * match &rest[..end] {
                "h" => 3600.0,
                "m" => 60.0,
                "s" => 1.0,
                "ms" => 1e-3,
                "us" => 1e-6,
                "ns" => 1e-9,
                _ => return None,
            };
        rest = &rest[end..];
    }
    Duration::try_from_secs_f64(seconds).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn annotations(pairs: &[(&str, &str)]) -> Annotations {
        let owned = |(key, value): &(&str, &str)| ((*key).to_owned(), (*value).to_owned());
        pairs.iter().map(owned).collect()
    }

    #[test]
    fn durations_are_those_of_go() {
        assert_eq!(go_duration("500ms"), Some(Duration::from_millis(500)));
        assert_eq!(go_duration("1m30s"), Some(Duration::from_secs(90)));
        assert_eq!(go_duration("1.5s"), Some(Duration::from_millis(1500)));
        assert_eq!(go_duration("0"), Some(Duration::ZERO));
        for bad in ["", "5", "s", "5d", "soon"] {
            assert_eq!(go_duration(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn a_pods_annotations_go_before_its_nodes() {
        let node = annotations(&[
            (nodes::RESIZE_TIME_ANNOTATION, "5s"),
            (nodes::RESIZE_SILENT_ANNOTATION, "true"),
            (nodes::RESIZE_INFEASIBLE_ANNOTATION, "no such luck"),
        ]);
        let pod = annotations(&[
            (nodes::RESIZE_TIME_ANNOTATION, "1s"),
            (nodes::RESIZE_SILENT_ANNOTATION, "false"),
        ]);
        let knobs = Knobs {
            pod: Some(&pod),
            node: Some(&node),
        };
        assert_eq!(knobs.resize_time(), Duration::from_secs(1));
        assert!(!knobs.silent());
        assert_eq!(knobs.infeasible(), Some("no such luck"));
        let nothing = Knobs {
            pod: None,
            node: None,
        };
        assert_eq!(nothing.resize_time(), RESIZE_TIME);
        assert_eq!(nothing.infeasible(), None);
    }

    #[test]
    fn memory_in_use_is_of_all_containers_or_of_named_ones() {
        let pod = annotations(&[(nodes::RESIZE_MEMORY_IN_USE_ANNOTATION, "1Ki, side=2Ki")]);
        let knobs = Knobs {
            pod: Some(&pod),
            node: None,
        };
        assert_eq!(knobs.memory_in_use("side"), 2048);
        assert_eq!(knobs.memory_in_use("app"), 1024);
    }

    #[test]
    fn a_failure_names_containers_or_takes_half() {
        let pod = annotations(&[
            (nodes::RESIZE_FAILS_ANNOTATION, "app, side"),
            (nodes::RESIZE_RECOVERS_AFTER_ANNOTATION, "3s"),
        ]);
        let of = |pod| Knobs { pod, node: None }.fails();
        let expected = Failure {
            containers: Some(vec!["app", "side"]),
            recovers_after: Some(Duration::from_secs(3)),
        };
        assert_eq!(of(Some(&pod)), Some(expected));
        let half = annotations(&[(nodes::RESIZE_FAILS_ANNOTATION, "true")]);
        let expected = Failure {
            containers: None,
            recovers_after: None,
        };
        assert_eq!(of(Some(&half)), Some(expected));
        assert_eq!(of(None), None);
    }
}
