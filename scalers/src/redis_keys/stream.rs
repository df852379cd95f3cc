//! The parameters that say what of a stream is read.

use serde::Deserialize;

use super::Wanted;
use crate::clients::redis::Question;
use crate::params::{Field, METADATA, Parameters};

/// The parameters of a stream.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct StreamParameters {
    /// The key of the stream.
    stream: String,
    /// The group whose consumers are scaled. Without it all entries of the stream are counted.
    consumer_group: Option<String>,
    /// The target without `consumerGroup`: entries of the stream per replica.
    stream_length: i64,
    /// The target with `consumerGroup`: entries per replica that were read and not acknowledged.
    pending_entries_count: i64,
    /// The target with `consumerGroup`, and what is counted then: entries per replica that the group has not read yet. Redis 7 and
    /// later count them.
    lag_count: Option<i64>,
    /// The trigger is active above this number, whichever number is read.
    activation_lag_count: i64,
}

impl Parameters for StreamParameters {
    const FIELDS: &'static [Field] = &[
        Field::required("stream", METADATA),
        Field::optional("consumerGroup", METADATA),
        Field::with_default("streamLength", METADATA, "5"),
        Field::with_default("pendingEntriesCount", METADATA, "5"),
        Field::optional("lagCount", METADATA),
        Field::with_default("activationLagCount", METADATA, "0"),
    ];
}

impl StreamParameters {
    pub(super) fn wanted(&self) -> Wanted {
        let stream = self.stream.clone();
        let (target, question) = match (&self.consumer_group, self.lag_count) {
            (None, _) => (self.stream_length, Question::Entries { stream }),
            // KEDA takes 0 for none.
            (Some(group), None | Some(0)) => {
                let group = group.clone();
                (
                    self.pending_entries_count,
                    Question::Pending { stream, group },
                )
            }
            (Some(group), Some(lag)) => {
                let group = group.clone();
                (lag, Question::Lag { stream, group })
            }
        };
        Wanted {
            metric: format!("redis-streams-{}", self.stream),
            target,
            activation: self.activation_lag_count,
            question,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::params;
    use crate::scaler::Trigger;

    type Pairs<'a> = &'a [(&'a str, &'a str)];

    #[test]
    fn what_is_counted_follows_from_what_is_given() {
        let stream = || "orders".to_owned();
        let group = || "workers".to_owned();
        let entries = Question::Entries { stream: stream() };
        let pending = Question::Pending {
            stream: stream(),
            group: group(),
        };
        let lag = Question::Lag {
            stream: stream(),
            group: group(),
        };
        let table: &[(Pairs, i64, &Question)] = &[
            (&[], 5, &entries),
            (&[("streamLength", "9"), ("lagCount", "3")], 9, &entries),
            (&[("consumerGroup", "workers")], 5, &pending),
            (
                &[("consumerGroup", "workers"), ("pendingEntriesCount", "7")],
                7,
                &pending,
            ),
            (
                &[("consumerGroup", "workers"), ("lagCount", "0")],
                5,
                &pending,
            ),
            (
                &[
                    ("consumerGroup", "workers"),
                    ("lagCount", "3"),
                    ("pendingEntriesCount", "7"),
                ],
                3,
                &lag,
            ),
        ];
        for (metadata, target, question) in table {
            let trigger = Trigger::new("redis-streams")
                .metadata([("stream", "orders"), ("activationLagCount", "2")])
                .metadata(metadata.iter().copied());
            let wanted = params::parse::<StreamParameters>(&trigger)
                .unwrap()
                .wanted();
            assert_eq!(wanted.target, *target, "{metadata:?}");
            assert_eq!(wanted.question, **question, "{metadata:?}");
            assert_eq!(wanted.activation, 2);
            assert_eq!(wanted.metric, "redis-streams-orders");
        }
    }
}
