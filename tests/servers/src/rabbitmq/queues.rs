//! Queues and messages, over AMQP. Each call opens a connection of its own, so that a restart of the broker never
//! leaves a broken one behind.

use anyhow::{Context, Result, ensure};
use lapin::options::{
    BasicAckOptions, BasicGetOptions, BasicPublishOptions, ConfirmSelectOptions,
    QueueDeclareOptions, QueueDeleteOptions, QueuePurgeOptions,
};
use lapin::types::FieldTable;
use lapin::{BasicProperties, Channel, Connection, ConnectionProperties};

use super::RabbitMq;

/// Messages that were delivered and not acknowledged. Dropped, its connection closes and they are ready again.
pub struct Unacknowledged {
    _connection: Connection,
    _channel: Channel,
    count: usize,
}

impl Unacknowledged {
    /// How many there are.
    pub fn count(&self) -> usize {
        self.count
    }
}

impl RabbitMq {
    /// Declares a durable queue; does nothing if it exists.
    ///
    /// # Errors
    /// When the broker refuses or does not answer.
    pub async fn declare_queue(&self, vhost: &str, queue: &str) -> Result<()> {
        let (_connection, channel) = self.connect(vhost).await?;
        channel
            .queue_declare(
                queue.into(),
                QueueDeclareOptions::durable(),
                FieldTable::default(),
            )
            .await
            .with_context(|| format!("can't declare the queue {queue}"))?;
        Ok(())
    }

    /// Deletes a queue with its messages.
    ///
    /// # Errors
    /// When the broker does not answer.
    pub async fn delete_queue(&self, vhost: &str, queue: &str) -> Result<()> {
        let (_connection, channel) = self.connect(vhost).await?;
        channel
            .queue_delete(queue.into(), QueueDeleteOptions::default())
            .await?;
        Ok(())
    }

    /// Publishes persistent messages to a queue, and waits until the broker has them on disk.
    ///
    /// # Errors
    /// When the queue does not exist or the broker does not answer.
    pub async fn publish(&self, vhost: &str, queue: &str, count: usize) -> Result<()> {
        let (_connection, channel) = self.connect(vhost).await?;
        channel
            .confirm_select(ConfirmSelectOptions::default())
            .await?;
        let persistent = BasicProperties::default().with_delivery_mode(2);
        // Mandatory: a message to a queue that does not exist comes back instead of vanishing.
        let options = BasicPublishOptions {
            mandatory: true,
            ..BasicPublishOptions::default()
        };
        let mut confirmations = Vec::with_capacity(count);
        for number in 0..count {
            let body = format!("message {number}");
            let sent = channel
                .basic_publish(
                    "".into(),
                    queue.into(),
                    options,
                    body.as_bytes(),
                    persistent.clone(),
                )
                .await
                .with_context(|| format!("can't publish to the queue {queue}"))?;
            confirmations.push(sent);
        }
        for confirmation in confirmations {
            let confirmation = confirmation.await?;
            ensure!(
                confirmation.take_message().is_none(),
                "the virtual host {vhost} has no queue {queue}"
            );
        }
        Ok(())
    }

    /// Takes messages off a queue, at most `count`; gives how many there were.
    ///
    /// # Errors
    /// When the queue does not exist or the broker does not answer.
    pub async fn consume(&self, vhost: &str, queue: &str, count: usize) -> Result<usize> {
        let (_connection, channel) = self.connect(vhost).await?;
        for consumed in 0..count {
            match channel
                .basic_get(queue.into(), BasicGetOptions::default())
                .await?
            {
                Some(message) => message.ack(BasicAckOptions::default()).await?,
                None => return Ok(consumed),
            };
        }
        Ok(count)
    }

    /// Receives messages without acknowledging them, at most `count`: they stay with the returned value.
    ///
    /// # Errors
    /// When the queue does not exist or the broker does not answer.
    pub async fn hold(&self, vhost: &str, queue: &str, count: usize) -> Result<Unacknowledged> {
        let (connection, channel) = self.connect(vhost).await?;
        let mut held = 0;
        while held < count
            && channel
                .basic_get(queue.into(), BasicGetOptions::default())
                .await?
                .is_some()
        {
            held += 1;
        }
        Ok(Unacknowledged {
            _connection: connection,
            _channel: channel,
            count: held,
        })
    }

    /// Removes all ready messages of a queue.
    ///
    /// # Errors
    /// When the queue does not exist or the broker does not answer.
    pub async fn purge(&self, vhost: &str, queue: &str) -> Result<()> {
        let (_connection, channel) = self.connect(vhost).await?;
        channel
            .queue_purge(queue.into(), QueuePurgeOptions::default())
            .await?;
        Ok(())
    }

    /// The number of ready messages in a queue, exact at this moment.
    ///
    /// # Errors
    /// When the queue does not exist or the broker does not answer.
    pub async fn queue_depth(&self, vhost: &str, queue: &str) -> Result<u32> {
        let (_connection, channel) = self.connect(vhost).await?;
        let options = QueueDeclareOptions {
            passive: true,
            ..QueueDeclareOptions::default()
        };
        let queue = channel
            .queue_declare(queue.into(), options, FieldTable::default())
            .await
            .with_context(|| format!("the virtual host {vhost} has no queue {queue}"))?;
        Ok(queue.message_count())
    }

    /// A connection as `guest`, and a channel on it.
    pub(super) async fn connect(&self, vhost: &str) -> Result<(Connection, Channel)> {
        let mut uri: lapin::uri::AMQPUri = self
            .amqp_url()
            .parse()
            .map_err(|error| anyhow::anyhow!("a bad AMQP URL: {error}"))?;
        uri.vhost = vhost.to_owned();
        let connection = Connection::connect_uri(uri, ConnectionProperties::default())
            .await
            .with_context(|| {
                format!(
                    "can't connect to RabbitMQ at {}, virtual host {vhost}",
                    self.amqp_address()
                )
            })?;
        let channel = connection.create_channel().await?;
        Ok((connection, channel))
    }
}
