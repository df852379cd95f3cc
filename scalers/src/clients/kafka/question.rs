//! What a cluster is asked, in a few blocking requests: a topic's partitions, how far the group has come in them, and where they end.
//!
//! In this order: what is written or read meanwhile makes a lag greater, never smaller.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::RangeInclusive;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use rdkafka::consumer::Consumer as _;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::metadata::{Metadata, MetadataTopic};
use rdkafka::types::RDKafkaRespErr;
use rdkafka::{Offset, TopicPartitionList};
use sakidori_kafka_ffi::{Committed, committed};

use super::Failure;
use super::link::Client;
use crate::scaler::ScalerError;

/// A group's way through topics.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Question {
    pub group: String,
    pub topics: Topics,
}

/// Which topics.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Topics {
    /// These, and of them these partitions.
    Named(BTreeSet<String>, Option<PartitionIds>),
    /// Those that the group has committed anything of; all, where there are none (KEDA's `kafka`).
    OfGroup,
    /// All, if the group has members (KEDA's `apache-kafka`).
    OfActiveGroup,
}

/// Numbers of partitions.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct PartitionIds(pub Vec<RangeInclusive<i64>>);

impl PartitionIds {
    pub fn contains(&self, partition: i32) -> bool {
        let partition = i64::from(partition);
        self.0.iter().any(|range| range.contains(&partition))
    }
}

/// An answer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Offsets(pub Vec<Topic>);

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Topic {
    pub name: String,
    pub partitions: Vec<Partition>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Partition {
    pub id: i32,
    /// `None` where the group has committed nothing.
    pub committed: Option<i64>,
    /// The offset of the next message.
    pub end: i64,
}

/// A question that is being asked.
pub struct Asked<'a> {
    pub client: &'a Client,
    pub until: Instant,
    /// When the cluster answered last.
    pub heard: &'a Mutex<Option<Instant>>,
}

impl Asked<'_> {
    /// librdkafka takes none for for ever.
    fn left(&self) -> Duration {
        let left = self.until.saturating_duration_since(Instant::now());
        left.max(Duration::from_millis(1))
    }

    fn heard(&self) {
        let mut heard = self.heard.lock().unwrap_or_else(PoisonError::into_inner);
        *heard = Some(Instant::now());
    }

    /// One request's outcome; `what` it was for.
    fn outcome<T>(&self, answer: Result<T, KafkaError>, what: &str) -> Result<T, Failure> {
        let answer = answer.map_err(|error| match error.rdkafka_error_code() {
            Some(code) => failure(code, what),
            None => Failure::Silent(ScalerError::Unreachable(format!("{what}: {error}"))),
        });
        if !matches!(answer, Err(Failure::Silent(_))) {
            self.heard();
        }
        answer
    }
}

impl Question {
    /// The least that shows that the cluster answers.
    pub(super) fn probe(&self, asked: &Asked<'_>) -> Result<(), Failure> {
        match &self.topics {
            Topics::Named(names, _) => {
                let first = names.first().map(String::as_str);
                let answer = asked.client.fetch_metadata(first, asked.left());
                asked.outcome(answer, "metadata").map(drop)
            }
            Topics::OfGroup | Topics::OfActiveGroup => self.committed(asked, None).map(drop),
        }
    }

    pub(super) fn answer(&self, asked: &Asked<'_>) -> Result<Offsets, Failure> {
        let partitions = self.partitions(asked)?;
        if partitions.is_empty() {
            // Brokers leave out what a user may not see: nothing visible is not nothing there.
            return Err(Failure::Answered(ScalerError::NotFound(format!(
                "no topic that counts for group {:?} can be seen: is there one, and may this user DESCRIBE it?",
                self.group
            ))));
        }
        let committed = self.committed(asked, Some(&listed(&partitions)?))?;
        let committed = committed
            .into_iter()
            .map(|found| {
                let Committed {
                    topic,
                    partition,
                    offset,
                } = found;
                let what = || format!("offset of group {:?} in {topic:?}", self.group);
                let offset = offset.map_err(|code| failure(code, &what()))?;
                Ok(((topic, partition), offset))
            })
            .collect::<Result<BTreeMap<_, _>, Failure>>()?;
        let ends = ends(asked, &partitions)?;
        let topics = partitions.into_iter().map(|(name, ids)| {
            let partitions = ids.into_iter().map(|id| {
                let key = (name.clone(), id);
                let missing =
                    |what| malformed(format!("no {what} of partition {id} of topic {name:?}"));
                Ok(Partition {
                    id,
                    committed: *committed.get(&key).ok_or_else(|| missing("offset"))?,
                    end: *ends.get(&key).ok_or_else(|| missing("end"))?,
                })
            });
            let partitions = partitions.collect::<Result<Vec<_>, Failure>>()?;
            Ok(Topic { name, partitions })
        });
        topics.collect::<Result<Vec<_>, Failure>>().map(Offsets)
    }

    /// The partitions that count, by topic.
    fn partitions(&self, asked: &Asked<'_>) -> Result<BTreeMap<String, Vec<i32>>, Failure> {
        match &self.topics {
            Topics::Named(names, ids) => partitions_of(asked, names, ids.as_ref()),
            Topics::OfGroup => {
                let names: BTreeSet<String> = self
                    .committed(asked, None)?
                    .into_iter()
                    .map(|found| found.topic)
                    .collect();
                match names.is_empty() {
                    true => all_partitions(asked),
                    false => partitions_of(asked, &names, None),
                }
            }
            Topics::OfActiveGroup => {
                self.has_members(asked)?;
                all_partitions(asked)
            }
        }
    }

    fn committed(
        &self,
        asked: &Asked<'_>,
        partitions: Option<&TopicPartitionList>,
    ) -> Result<Vec<Committed>, Failure> {
        let what = format!("offsets of group {:?}", self.group);
        match committed(asked.client, &self.group, partitions, asked.left()) {
            Ok(found) => {
                asked.heard();
                Ok(found)
            }
            Err(sakidori_kafka_ffi::Failure::Refused { code, .. }) => {
                let failure = failure(code, &what);
                if !matches!(failure, Failure::Silent(_)) {
                    asked.heard();
                }
                Err(failure)
            }
            Err(other) => Err(Failure::Silent(ScalerError::Unreachable(format!(
                "{what}: {other}"
            )))),
        }
    }

    fn has_members(&self, asked: &Asked<'_>) -> Result<(), Failure> {
        let answer = asked
            .client
            .fetch_group_list(Some(&self.group), asked.left());
        let list = asked.outcome(answer, &format!("group {:?}", self.group))?;
        let group = list
            .groups()
            .iter()
            .find(|group| group.name() == self.group);
        if group.is_some_and(|group| !group.members().is_empty()) {
            return Ok(());
        }
        // KEDA's words, and its broker's word for a group that isn't there.
        let state = group.map_or("Dead", |group| group.state());
        Err(Failure::Answered(ScalerError::NotFound(format!(
            "no active members in group {}, group-state is {state}",
            self.group
        ))))
    }
}

fn partitions_of(
    asked: &Asked<'_>,
    names: &BTreeSet<String>,
    ids: Option<&PartitionIds>,
) -> Result<BTreeMap<String, Vec<i32>>, Failure> {
    names
        .iter()
        .map(|name| {
            let answer = asked.client.fetch_metadata(Some(name), asked.left());
            let metadata = asked.outcome(answer, &format!("topic {name:?}"))?;
            let topic = topics(&metadata).find(|topic| topic.name() == name);
            let topic = topic.ok_or_else(|| no_topic(name))?;
            let mut partitions = partitions_in(topic)?;
            partitions.retain(|id| ids.is_none_or(|ids| ids.contains(*id)));
            if partitions.is_empty() {
                // KEDA's words.
                return Err(Failure::Answered(ScalerError::NotFound(format!(
                    "expected at least one active partition within the topic '{name}'"
                ))));
            }
            Ok((name.clone(), partitions))
        })
        .collect()
}

fn all_partitions(asked: &Asked<'_>) -> Result<BTreeMap<String, Vec<i32>>, Failure> {
    let answer = asked.client.fetch_metadata(None, asked.left());
    let metadata = asked.outcome(answer, "topics")?;
    topics(&metadata)
        .map(|topic| Ok((topic.name().to_owned(), partitions_in(topic)?)))
        .collect()
}

fn topics(metadata: &Metadata) -> impl Iterator<Item = &MetadataTopic> {
    metadata.topics().iter()
}

fn partitions_in(topic: &MetadataTopic) -> Result<Vec<i32>, Failure> {
    let what = || format!("topic {:?}", topic.name());
    if let Some(error) = topic.error() {
        return Err(failure(RDKafkaErrorCode::from(error), &what()));
    }
    let partitions = topic.partitions().iter().map(|partition| {
        match partition.error() {
            // A replica is away, which is none of the leader's business.
            None | Some(RDKafkaRespErr::RD_KAFKA_RESP_ERR_REPLICA_NOT_AVAILABLE) => {
                Ok(partition.id())
            }
            Some(error) => {
                let what = format!("partition {} of {}", partition.id(), what());
                Err(failure(RDKafkaErrorCode::from(error), &what))
            }
        }
    });
    partitions.collect()
}

/// The end of each partition. One request to each broker that leads any.
fn ends(
    asked: &Asked<'_>,
    partitions: &BTreeMap<String, Vec<i32>>,
) -> Result<BTreeMap<(String, i32), i64>, Failure> {
    // Instead of a time, the protocol takes a name of the end.
    let answer = asked
        .client
        .offsets_for_times(listed(partitions)?, asked.left());
    let answer = asked.outcome(answer, "ends of the topics")?;
    let mut ends = BTreeMap::new();
    for found in answer.elements() {
        let (topic, id) = (found.topic(), found.partition());
        asked.outcome(
            found.error(),
            &format!("end of partition {id} of topic {topic:?}"),
        )?;
        // One that the broker left out has the name of the end still.
        if let Offset::Offset(end) = found.offset() {
            ends.insert((topic.to_owned(), id), end);
        }
    }
    Ok(ends)
}

fn listed(partitions: &BTreeMap<String, Vec<i32>>) -> Result<TopicPartitionList, Failure> {
    let mut list = TopicPartitionList::new();
    for (topic, ids) in partitions {
        for id in ids {
            let set = list.add_partition(topic, *id).set_offset(Offset::End);
            set.map_err(|error| malformed(error.to_string()))?;
        }
    }
    Ok(list)
}

fn no_topic(name: &str) -> Failure {
    Failure::Answered(ScalerError::NotFound(format!("topic {name:?}")))
}

fn malformed(text: String) -> Failure {
    Failure::Answered(ScalerError::Malformed(text))
}

/// What an error of librdkafka's or of a broker's means.
fn failure(code: RDKafkaErrorCode, what: &str) -> Failure {
    use RDKafkaErrorCode as Code;
    let text = format!("{what}: {code}");
    match code {
        Code::TopicAuthorizationFailed | Code::ClusterAuthorizationFailed => {
            Failure::Answered(ScalerError::Unauthorized(text))
        }
        // If it is the client's own group, it asks for its coordinator twice a second.
        Code::GroupAuthorizationFailed => Failure::Stale(ScalerError::Unauthorized(text)),
        Code::UnknownTopicOrPartition
        | Code::UnknownTopic
        | Code::UnknownPartition
        | Code::InvalidTopic
        | Code::InvalidGroupId
        | Code::GroupIdNotFound => Failure::Answered(ScalerError::NotFound(text)),
        Code::NotCoordinator | Code::NotLeaderForPartition | Code::FencedLeaderEpoch => {
            Failure::Stale(ScalerError::Unreachable(text))
        }
        Code::LeaderNotAvailable
        | Code::BrokerNotAvailable
        | Code::ReplicaNotAvailable
        | Code::CoordinatorNotAvailable
        | Code::CoordinatorLoadInProgress
        | Code::UnknownLeaderEpoch
        | Code::OffsetNotAvailable
        | Code::RequestTimedOut
        | Code::KafkaStorageError => Failure::Answered(ScalerError::Unreachable(text)),
        Code::Authentication | Code::SaslAuthenticationFailed => {
            Failure::Silent(ScalerError::Unauthorized(text))
        }
        Code::BadMessage | Code::UnsupportedFeature | Code::UnsupportedVersion => {
            Failure::Answered(ScalerError::Malformed(text))
        }
        // The client's own, which are below zero: no connection, no answer in time.
        code if (code as i32) < 0 => Failure::Silent(ScalerError::Unreachable(text)),
        _ => Failure::Answered(ScalerError::Malformed(text)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_are_told_apart_by_what_to_do_about_them() {
        use RDKafkaErrorCode as Code;
        let told = |code| match failure(code, "x") {
            Failure::Answered(error) => ("answered", error),
            Failure::Stale(error) => ("stale", error),
            Failure::Silent(error) => ("silent", error),
        };
        type Made = fn(String) -> ScalerError;
        for (code, client, error) in [
            (
                Code::TopicAuthorizationFailed,
                "answered",
                ScalerError::Unauthorized as Made,
            ),
            (
                Code::UnknownTopicOrPartition,
                "answered",
                ScalerError::NotFound,
            ),
            (
                Code::CoordinatorLoadInProgress,
                "answered",
                ScalerError::Unreachable,
            ),
            (Code::NotCoordinator, "stale", ScalerError::Unreachable),
            (Code::OperationTimedOut, "silent", ScalerError::Unreachable),
            (
                Code::BrokerTransportFailure,
                "silent",
                ScalerError::Unreachable,
            ),
            (Code::InvalidRequest, "answered", ScalerError::Malformed),
        ] {
            let text = format!("x: {code}");
            assert_eq!(told(code), (client, error(text)));
        }
    }

    #[test]
    fn partitions_are_numbers_and_ranges() {
        let ids = PartitionIds(vec![1..=3, 8..=8]);
        let found: Vec<i32> = (0..10).filter(|id| ids.contains(*id)).collect();
        assert_eq!(found, [1, 2, 3, 8]);
    }
}
