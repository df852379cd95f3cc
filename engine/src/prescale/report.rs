//! What became of one occurrence, and how spans of time are worded.

use std::fmt;

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use super::profile::Profile;
use super::run::Run;

/// The proof for one occurrence, once its hold is over.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    /// The event's name.
    pub name: String,
    pub start: Timestamp,
    pub floor: i32,
    /// The most replicas that the object's other triggers asked for while the sale ran: what would have been there without.
    pub needed_by_others: i32,
    /// How long before the start the last pod was Ready; negative is late, `None` is never.
    pub ready_before_start: Option<SignedDuration>,
    /// What the floor holds over its whole life, the ramp down included.
    pub pod_hours: f64,
    /// The occurrence was taken out of the calendar, put off or ended early while it ran.
    pub cut: bool,
}

impl Report {
    pub(super) fn new(run: &Run, profile: &Profile) -> Self {
        Self {
            name: run.occurrence.name.clone(),
            start: run.occurrence.start,
            floor: profile.peak,
            needed_by_others: run.needed_by_others,
            ready_before_start: run
                .ready_at
                .map(|ready| run.occurrence.start.duration_since(ready)),
            pod_hours: profile.replica_seconds() / 3600.0,
            cut: run.cut.is_some(),
        }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, floor, .. } = self;
        let end = if self.cut {
            "is no longer in the calendar as it was"
        } else {
            "is over"
        };
        write!(f, "{name} {end}: the floor was {floor} replicas, ")?;
        match self.ready_before_start {
            Some(before) if before.is_negative() => {
                write!(f, "Ready {} after its start", in_words(-before))?;
            }
            Some(before) => write!(f, "Ready {} before its start", in_words(before))?,
            None => write!(f, "which were never all Ready")?,
        }
        write!(
            f,
            "; other triggers needed up to {}; {:.1} pod-hours",
            self.needed_by_others, self.pod_hours
        )
    }
}

/// What an object's status holds of its sales.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct PrescaleStatus {
    pub runs: Vec<Run>,
    /// Of the last sales, the newest last.
    pub reports: Vec<Report>,
    /// There as long as the cluster may hold the object's CapacityBuffer.
    pub room: Option<RoomAsked>,
}

/// What the object's CapacityBuffer was last asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RoomAsked {
    /// Pods that it keeps room for.
    pub pods: i32,
    /// [`super::Room::ramp`].
    pub ramp: Option<Timestamp>,
}

/// `1h 5m`, `14m 3s`, `40s`: the two largest units, rounded down to a second. A negative span has its sign.
pub fn in_words(span: SignedDuration) -> String {
    let sign = if span.as_secs() < 0 { "-" } else { "" };
    let seconds = span.as_secs().unsigned_abs();
    let units = [("d", 86_400), ("h", 3600), ("m", 60), ("s", 1)];
    let mut rest = seconds;
    let parts: Vec<_> = units
        .iter()
        .filter_map(|(unit, length)| {
            let count = rest / length;
            rest %= length;
            (count > 0).then(|| format!("{count}{unit}"))
        })
        .take(2)
        .collect();
    if parts.is_empty() {
        "0s".to_owned()
    } else {
        format!("{sign}{}", parts.join(" "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_are_told_in_their_two_largest_units() {
        for (seconds, words) in [
            (0, "0s"),
            (40, "40s"),
            (843, "14m 3s"),
            (3900, "1h 5m"),
            (3600, "1h"),
            (90_061, "1d 1h"),
            (-61, "-1m 1s"),
        ] {
            assert_eq!(in_words(SignedDuration::from_secs(seconds)), words);
        }
    }

    #[test]
    fn a_report_says_whether_it_was_in_time() {
        let report = Report {
            name: "new-year-sale".into(),
            start: Timestamp::UNIX_EPOCH,
            floor: 120,
            needed_by_others: 95,
            ready_before_start: Some(SignedDuration::from_secs(843)),
            pod_hours: 5880.04,
            cut: false,
        };
        assert_eq!(
            report.to_string(),
            "new-year-sale is over: the floor was 120 replicas, Ready 14m 3s before its start; other triggers needed up to 95; \
             5880.0 pod-hours"
        );
        let late = Report {
            ready_before_start: Some(SignedDuration::from_secs(-30)),
            cut: true,
            ..report.clone()
        };
        assert!(late.to_string().contains(
            "is no longer in the calendar as it was: the floor was 120 replicas, Ready 30s after its start;"
        ));
        let never = Report {
            ready_before_start: None,
            ..report
        };
        assert!(never.to_string().contains("which were never all Ready"));
    }
}
