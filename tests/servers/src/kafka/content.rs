//! What is in a broker: topics, messages, groups.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use rdkafka::{ClientConfig, Offset, TopicPartitionList};

use super::{Kafka, KafkaListener};

const WITHIN: Duration = Duration::from_secs(20);

impl Kafka {
    /// The names of all topics.
    ///
    /// # Errors
    /// Without an answer, as for all of these.
    pub async fn topics(&self) -> Result<Vec<String>> {
        let config = self.config();
        blocking(move || {
            let client: BaseConsumer = config.create()?;
            let metadata = client.fetch_metadata(None, Duration::from_secs(2))?;
            let topics = metadata.topics().iter();
            Ok(topics.map(|topic| topic.name().to_owned()).collect())
        })
        .await
    }

    /// Makes topics with so many partitions each.
    ///
    /// # Errors
    /// When one is there already.
    pub async fn create_topics(&self, names: &[&str], partitions: i32) -> Result<()> {
        let admin: AdminClient<DefaultClientContext> = self.config().create()?;
        let topics: Vec<NewTopic<'_>> = names
            .iter()
            .map(|name| NewTopic::new(name, partitions, TopicReplication::Fixed(1)))
            .collect();
        let options = AdminOptions::new().operation_timeout(Some(WITHIN));
        let made = admin.create_topics(&topics, &options).await?;
        for outcome in made {
            if let Err((name, code)) = outcome {
                bail!("the topic {name} can't be made: {code}");
            }
        }
        // Made is one thing; that a broker knows it comes a moment later.
        sakidori_test_cluster::eventually("new topics", WITHIN, async || {
            let there = self.topics().await?;
            let all = names.iter().all(|name| there.iter().any(|one| one == name));
            Ok(all.then_some(()))
        })
        .await?;
        blocking(move || {
            drop(admin);
            Ok(())
        })
        .await
    }

    /// Takes a topic away.
    ///
    /// # Errors
    /// When it isn't there.
    pub async fn delete_topic(&self, name: &str) -> Result<()> {
        let admin: AdminClient<DefaultClientContext> = self.config().create()?;
        let options = AdminOptions::new().operation_timeout(Some(WITHIN));
        for outcome in admin.delete_topics(&[name], &options).await? {
            if let Err((name, code)) = outcome {
                bail!("the topic {name} can't be taken away: {code}");
            }
        }
        blocking(move || {
            drop(admin);
            Ok(())
        })
        .await
    }

    /// Writes so many messages to a partition.
    ///
    /// # Errors
    /// When they can't be written.
    pub async fn publish(&self, topic: &str, partition: i32, messages: usize) -> Result<()> {
        let (config, topic) = (self.config(), topic.to_owned());
        blocking(move || {
            let producer: BaseProducer = config.create()?;
            for _ in 0..messages {
                let record: BaseRecord<'_, (), str> = BaseRecord::to(&topic);
                let sent = producer.send(record.partition(partition).payload("message"));
                sent.map_err(|(error, _)| error)?;
            }
            producer.flush(WITHIN)?;
            Ok(())
        })
        .await
    }

    /// Commits offsets for a group, by partition.
    ///
    /// # Errors
    /// When they can't be committed: a group with members commits by itself.
    pub async fn commit(&self, group: &str, topic: &str, offsets: &[(i32, i64)]) -> Result<()> {
        let mut list = TopicPartitionList::new();
        for (partition, offset) in offsets {
            list.add_partition_offset(topic, *partition, Offset::Offset(*offset))?;
        }
        let mut config = self.config();
        config.set("group.id", group);
        blocking(move || {
            let client: BaseConsumer = config.create()?;
            client
                .commit(&list, CommitMode::Sync)
                .context("committing offsets")
        })
        .await
    }

    /// Joins a group that reads a topic, and reads none of it, until the value is dropped.
    ///
    /// # Errors
    /// When it isn't a member in time.
    pub async fn join(&self, group: &str, topic: &str) -> Result<Member> {
        let mut config = self.config();
        config.set("group.id", group);
        config.set("enable.auto.commit", "false");
        let consumer: BaseConsumer = config.create()?;
        consumer.subscribe(&[topic])?;
        let (ends, joined) = (
            Arc::new(AtomicBool::new(false)),
            Arc::new(AtomicBool::new(false)),
        );
        let (end, join) = (Arc::clone(&ends), Arc::clone(&joined));
        let polling = std::thread::spawn(move || {
            while !end.load(Ordering::Relaxed) {
                let _ = consumer.poll(Duration::from_millis(50));
                let assigned = consumer.assignment().is_ok_and(|list| list.count() > 0);
                join.store(assigned, Ordering::Relaxed);
            }
        });
        let member = Member {
            ends,
            polling: Some(polling),
        };
        sakidori_test_cluster::eventually("assignment of partitions", WITHIN, async || {
            Ok(joined.load(Ordering::Relaxed).then_some(()))
        })
        .await?;
        Ok(member)
    }

    fn config(&self) -> ClientConfig {
        let mut config = ClientConfig::new();
        config
            .set("bootstrap.servers", self.address(KafkaListener::Plain))
            .set_log_level(RDKafkaLogLevel::Emerg);
        config
    }
}

/// A member of a group. Dropped, it leaves.
#[derive(Debug)]
pub struct Member {
    ends: Arc<AtomicBool>,
    polling: Option<JoinHandle<()>>,
}

impl Drop for Member {
    fn drop(&mut self) {
        self.ends.store(true, Ordering::Relaxed);
        if let Some(polling) = self.polling.take() {
            let _ = polling.join();
        }
    }
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    tokio::task::spawn_blocking(work).await?
}
