//! What is remembered on a pod, so that nothing has to be remembered anywhere else.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::resources::{ResourceList, Sizes};

/// The annotation on a pod that holds what is [`Remembered`] of it, as JSON.
pub const REMEMBERED_ANNOTATION: &str = "sakidori.dev/resize";

/// Whether something is remembered on a pod.
#[derive(Clone, Debug, Default, PartialEq)]
#[expect(
    clippy::large_enum_variant,
    reason = "one for a pod, and pods that are resized at all all have one"
)]
pub enum Memory {
    #[default]
    Nothing,
    Known(Remembered),
    /// The annotation can't be read: nobody knows the way back.
    Unreadable,
}

/// What is remembered of a pod from before its first resize until it is back.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Remembered {
    /// The resources before the first resize: the way back.
    pub before: Sizes,
    /// What may stand in its specification besides: what stood there when it was last asked, and what it was asked for.
    /// Anything else is another's.
    pub asked: Vec<Sizes>,
    /// When it was last asked.
    pub at: Timestamp,
    /// It was asked for more than it gets once it is Ready.
    #[serde(default, skip_serializing_if = "is_false")]
    pub boosted: bool,
    /// It was asked as one of a wave.
    #[serde(default, skip_serializing_if = "is_false")]
    pub in_wave: bool,
    /// What it is not asked for again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refused: Option<Refused>,
    /// Its memory limits are not lowered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory_kept: Option<MemoryKept>,
    /// How often in a row the node failed.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub failures: u32,
}

fn is_false(flag: &bool) -> bool {
    !flag
}

fn is_zero(number: &u32) -> bool {
    *number == 0
}

/// Resources that a pod could not get.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Refused {
    pub sizes: Sizes,
    pub by: RefusedBy,
    /// What was told, cut short.
    pub message: String,
    /// What the object's other pods requested then, where less of that may make a difference.
    #[serde(default, skip_serializing_if = "ResourceList::is_empty")]
    pub beside: ResourceList,
    /// From when on it may be tried again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<Timestamp>,
}

/// Who could not give it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum RefusedBy {
    /// The node had no room for too long.
    Room,
    /// The node is too small.
    Node,
    /// The API server: LimitRange, ResourceQuota, an admission webhook.
    Admission,
    /// The node tried, and could not.
    Failure,
}

/// Why memory limits stay up.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct MemoryKept {
    pub message: String,
    /// Until when; `None` as long as the pod lives.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<Timestamp>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resize::resources::requested;
    use crate::resize::tests::{at, sizes};

    #[test]
    fn what_is_remembered_survives_an_annotation() {
        let remembered = Remembered {
            before: sizes("500m 1Gi"),
            asked: vec![sizes("2 1Gi"), sizes("3 1Gi")],
            at: at(100),
            boosted: true,
            in_wave: true,
            refused: Some(Refused {
                sizes: sizes("4 1Gi"),
                by: RefusedBy::Room,
                message: "no room".into(),
                beside: requested(&sizes("7 2Gi")),
                until: None,
            }),
            memory_kept: Some(MemoryKept {
                message: "in use".into(),
                until: Some(at(200)),
            }),
            failures: 2,
        };
        let json = serde_json::to_string(&remembered).unwrap();
        assert_eq!(
            serde_json::from_str::<Remembered>(&json).unwrap(),
            remembered
        );
        let short = r#"{"before":{"app":{"requests":{"cpu":"500m"}}},"asked":[],"at":"1970-01-01T00:00:07Z"}"#;
        let read: Remembered = serde_json::from_str(short).unwrap();
        assert_eq!(serde_json::to_string(&read).unwrap(), short);
    }
}
