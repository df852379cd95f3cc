//! What must not be forgotten of an occurrence while its floor lives: kept in the object's status.

use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use super::occurrence::Occurrence;
use super::profile::Profile;
use super::settings::Settings;
use super::timeline::Limit;

/// An occurrence whose floor has begun to climb, for one trigger.
///
/// Baseline and lead time are those of the first ramp instant: read again later they would be others (the ramp itself is
/// seen in the replicas by then), and a restart would move the floor.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Run {
    /// [`super::Trigger::key`].
    pub trigger: String,
    /// As the calendar last had it.
    #[serde(with = "shared")]
    pub occurrence: Arc<Occurrence>,
    pub baseline: i32,
    pub lead: SignedDuration,
    /// The end of the hold as it was last known.
    pub holds_until: Timestamp,
    /// The occurrence was taken out of the calendar, put off, or ended before that was learnt.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cut: Option<Cut>,
    /// When the whole floor was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub requested_at: Option<Timestamp>,
    /// When the last of its pods was Ready.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ready_at: Option<Timestamp>,
    /// The most replicas that the object's other triggers asked for while the sale ran.
    #[serde(default)]
    pub needed_by_others: i32,
    /// The highest floor all of whose pods were Ready: no nodes are asked for it any more.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub housed: i32,
    /// The floor, before the start, that `ready_at` and `told` are about.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub proved: i32,
    #[serde(default)]
    pub told: Told,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde's signature")]
fn is_zero(number: &i32) -> bool {
    *number == 0
}

/// A hold that ended before it was planned to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cut {
    pub at: Timestamp,
    /// The floor at that moment: it falls from there.
    pub from: i32,
}

/// The Events that were published, so that none is published twice.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Told {
    pub started: bool,
    pub ready: bool,
    pub late: bool,
    pub limited: bool,
    pub ended: bool,
}

impl Run {
    /// The floor; `None` for a trigger that sets a limit.
    pub(super) fn profile(&self, trigger: usize, settings: &Settings) -> Option<Profile> {
        let whole = Profile::new(
            trigger,
            settings,
            &self.occurrence,
            self.baseline,
            self.lead,
        )?;
        Some(match self.cut {
            Some(cut) => whole.cut(cut.at, cut.from),
            None => whole,
        })
    }

    pub(super) fn limit(&self, trigger: usize, settings: &Settings) -> Option<Limit> {
        let mut limit = Limit::new(trigger, settings, &self.occurrence, self.lead)?;
        if let Some(cut) = self.cut {
            limit.until = limit.until.min(cut.at);
        }
        Some(limit)
    }
}

/// serde's own support for `Arc` is a feature that every crate of the build would get.
mod shared {
    use std::sync::Arc;

    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    use super::Occurrence;

    pub fn serialize<S: Serializer>(it: &Arc<Occurrence>, to: S) -> Result<S::Ok, S::Error> {
        (**it).serialize(to)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Arc<Occurrence>, D::Error> {
        Occurrence::deserialize(from).map(Arc::new)
    }
}
