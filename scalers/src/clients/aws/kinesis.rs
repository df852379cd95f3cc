//! Questions to Kinesis.

use super::client::{Asker, AwsClient, Question};
use super::complete::Complete;
use super::error::failure;
use crate::answers::Answers;
use crate::scaler::ScalerError;

/// How many open shards a stream has.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct OpenShards {
    pub stream: String,
}

impl Question for OpenShards {
    type Answer = i64;

    fn subject(&self) -> String {
        format!("the stream {:?}", self.stream)
    }

    fn answers(client: &AwsClient) -> &Answers<Self, i64> {
        &client.streams
    }

    async fn ask(&self, asker: &Asker) -> Result<i64, ScalerError> {
        let answer = aws_sdk_kinesis::Client::new(&asker.sdk)
            .describe_stream_summary()
            .stream_name(&self.stream)
            .customize()
            .interceptor(Complete("OpenShardCount"))
            .send()
            .await
            .map_err(|error| failure(&error))?;
        let summary = answer.stream_description_summary.ok_or_else(|| {
            ScalerError::Malformed("an answer without StreamDescriptionSummary".to_owned())
        })?;
        Ok(summary.open_shard_count.into())
    }
}
