//! What was seen at one moment, as a line of the table.

use std::time::Duration;

use jiff::Timestamp;
use sakidori_tests::demo;
use sakidori_tests::pod_sizes::Look;

use crate::shop::NODES;

/// Between two columns.
const GAP: &str = "  ";
/// Room for the pods of a node.
const WIDTH: usize = 32;

#[derive(Clone, Debug)]
pub struct Row {
    pub at: Timestamp,
    /// Since the table's beginning.
    pub time: Duration,
    pub start: Timestamp,
    /// The reason of the condition `Resized`.
    pub resized: String,
    /// The pods of each node of [`NODES`], the oldest first.
    pub pods: [Vec<String>; NODES.len()],
}

/// `500m`; `500m>1` is asked and not carried out; `500m>1!` has no room; in brackets before it is Ready.
pub fn pod(look: &Look) -> String {
    let cpu = |requests: &str| requests.split(' ').next().unwrap_or_default().to_owned();
    let wanted = cpu(&look.wanted);
    let actual = look.actual.as_deref().map_or(wanted.clone(), cpu);
    let mut text = match actual == wanted {
        true => actual,
        false => format!("{actual}>{wanted}"),
    };
    if look.pending.is_some() {
        text.push('!');
    }
    match look.ready {
        true => text,
        false => format!("({text})"),
    }
}

impl demo::Row for Row {
    fn header() -> String {
        let nodes = NODES.map(|name| format!("{GAP}{name:<WIDTH$}"));
        let header = format!("{:>8}{GAP}{:<14}{}", "to start", "Resized", nodes.concat());
        header.trim_end().to_owned()
    }

    fn line(&self) -> String {
        let to_start = format!("{:+} s", self.at.duration_since(self.start).as_secs());
        let nodes = self
            .pods
            .iter()
            .map(|pods| format!("{GAP}{:<WIDTH$}", pods.join(" ")));
        let line = format!(
            "{to_start:>8}{GAP}{:<14}{}",
            self.resized,
            nodes.collect::<String>()
        );
        line.trim_end().to_owned()
    }

    fn time(&self) -> Duration {
        self.time
    }

    fn differs(&self, other: &Self) -> bool {
        (&self.pods, &self.resized) != (&other.pods, &other.resized)
    }
}

#[cfg(test)]
mod tests {
    use sakidori_tests::demo::Row as _;

    use super::*;

    fn look(wanted: &str, actual: &str, ready: bool, pending: bool) -> Look {
        Look {
            at: Timestamp::UNIX_EPOCH,
            node: None,
            taken_in: true,
            ready,
            wanted: format!("{wanted} 1Gi"),
            actual: Some(format!("{actual} 1Gi")),
            restarts: 0,
            pending: pending.then(|| ("Deferred".to_owned(), "no room".to_owned())),
            in_progress: false,
            observed: true,
            deleting: false,
            remembers: false,
        }
    }

    #[test]
    fn a_pod_is_what_it_has_and_what_it_is_asked_to_have() {
        for (wanted, actual, ready, pending, text) in [
            ("500m", "500m", true, false, "500m"),
            ("1", "500m", true, false, "500m>1"),
            ("1", "500m", true, true, "500m>1!"),
            ("1", "1", false, false, "(1)"),
        ] {
            assert_eq!(pod(&look(wanted, actual, ready, pending)), text);
        }
    }

    #[test]
    fn columns_stay_below_their_titles() {
        let start = Timestamp::from_second(1_800_000_000).unwrap();
        let row = Row {
            at: start - jiff::SignedDuration::from_secs(45),
            time: Duration::ZERO,
            start,
            resized: "Resizing".into(),
            pods: [
                vec!["500m>1!".into(), "500m".into()],
                vec!["1".into()],
                Vec::new(),
            ],
        };
        let at = |text: &str, what: &str| text.find(what);
        assert_eq!(at(&row.line(), "500m>1!"), at(&Row::header(), "node-0"));
        assert_eq!(at(&row.line(), "1  "), None);
        assert_eq!(row.line().len(), at(&Row::header(), "node-1").unwrap() + 1);
    }
}
