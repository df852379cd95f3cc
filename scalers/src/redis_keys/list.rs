//! The parameters that say which list is read.

use serde::Deserialize;

use super::Wanted;
use crate::clients::redis::Question;
use crate::params::{Field, METADATA, Parameters};

/// The parameters of a list.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ListParameters {
    /// The key of the list, set, sorted set or hash.
    list_name: String,
    /// The target: elements per replica.
    list_length: i64,
    /// The trigger is active above this length.
    activation_list_length: i64,
}

impl Parameters for ListParameters {
    const FIELDS: &'static [Field] = &[
        Field::required("listName", METADATA),
        Field::with_default("listLength", METADATA, "5"),
        Field::with_default("activationListLength", METADATA, "0"),
    ];
}

impl ListParameters {
    pub(super) fn wanted(&self) -> Wanted {
        Wanted {
            metric: format!("redis-{}", self.list_name),
            target: self.list_length,
            activation: self.activation_list_length,
            question: Question::Length {
                key: self.list_name.clone(),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::params;
    use crate::scaler::Trigger;

    #[test]
    fn the_length_of_the_list_is_wanted() {
        let wanted = |metadata: &[(&'static str, &'static str)]| {
            let trigger = Trigger::new("redis")
                .metadata([("listName", "orders:new")])
                .metadata(metadata.iter().copied());
            params::parse::<ListParameters>(&trigger).unwrap().wanted()
        };
        let length = |target, activation| Wanted {
            metric: "redis-orders:new".to_owned(),
            target,
            activation,
            question: Question::Length {
                key: "orders:new".to_owned(),
            },
        };
        assert_eq!(wanted(&[]), length(5, 0));
        assert_eq!(
            wanted(&[("listLength", "20"), ("activationListLength", "7")]),
            length(20, 7)
        );
    }
}
