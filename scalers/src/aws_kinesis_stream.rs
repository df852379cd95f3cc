//! `aws-kinesis-stream`: the number of open shards of a stream of Amazon Kinesis.
//!
//! It follows how a stream was sharded, not how far its consumers are behind. `shardCount` is how many shards one replica reads.
//!
//! Permission on AWS: `kinesis:DescribeStreamSummary` on the stream.
//!
//! ```yaml
//! apiVersion: keda.sh/v1alpha1
//! kind: TriggerAuthentication
//! metadata:
//!   name: clicks-aws
//! spec:
//!   podIdentity:
//!     provider: aws
//!     roleArn: arn:aws:iam::123456789012:role/clicks
//! ---
//! apiVersion: keda.sh/v1alpha1
//! kind: ScaledObject
//! metadata:
//!   name: clicks
//! spec:
//!   scaleTargetRef:
//!     name: clicks
//!   triggers:
//!     - type: aws-kinesis-stream
//!       metadata:
//!         streamName: clicks
//!         shardCount: "4"
//!         awsRegion: eu-west-1
//!       authenticationRef:
//!         name: clicks-aws
//! ```

use serde::Deserialize;

use crate::aws::{AwsParameters, Count};
use crate::clients::aws::kinesis::OpenShards;
use crate::metric::MetricSpec;
use crate::params::{self, Field, METADATA, ParameterSet, Parameters};
use crate::registry::Kind;
use crate::scaler::{BuildError, Context, Scaler, Trigger};

/// The parameters of an `aws-kinesis-stream` trigger.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Stream {
    /// The stream.
    stream_name: String,
    /// Shards per replica.
    shard_count: i64,
    /// The trigger is active above this number of shards.
    activation_shard_count: i64,
}

impl Parameters for Stream {
    const FIELDS: &'static [Field] = &[
        Field::required("streamName", METADATA),
        Field::with_default("shardCount", METADATA, "2"),
        Field::with_default("activationShardCount", METADATA, "0"),
    ];
}

type StreamParameters = (Stream, AwsParameters);

pub const KIND: Kind = Kind {
    name: "aws-kinesis-stream",
    label: "awsKinesisStreamScaler",
    fields: StreamParameters::fields,
    passes_metadata_on: false,
    build,
};

fn build(trigger: &Trigger, context: &Context) -> Result<Box<dyn Scaler>, BuildError> {
    let (stream, aws): StreamParameters = params::parse(trigger)?;
    let name = format!("aws-kinesis-{}", stream.stream_name);
    Ok(Box::new(Count {
        metric: MetricSpec::integer(trigger, &name, stream.shard_count)?,
        activation: stream.activation_shard_count,
        question: OpenShards {
            stream: stream.stream_name,
        },
        aws: aws.client(context),
    }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clients::aws::AwsIdentity;
    use crate::example;
    use crate::scaler::PodIdentity;

    #[test]
    fn the_example_works() {
        let [trigger] = &example::triggers(include_str!("aws_kinesis_stream.rs"))[..] else {
            panic!("one trigger");
        };
        let mut trigger = trigger.clone();
        trigger.pod_identity = Some(PodIdentity::Aws(AwsIdentity::default()));
        let scaler = crate::build(&trigger, &example::context(Vec::new())).unwrap();
        assert_eq!(scaler.metrics()[0].name, "s0-aws-kinesis-clicks");
        assert_eq!(scaler.metrics()[0].target.to_string(), "4");
    }

    #[test]
    fn defaults_are_kedas() {
        let trigger = Trigger::new("aws-kinesis-stream").metadata([
            ("streamName", "a.b"),
            ("awsRegion", "eu-west-1"),
            ("identityOwner", "operator"),
        ]);
        let scaler = build(&trigger, &example::context(Vec::new())).unwrap();
        assert_eq!(scaler.metrics()[0].name, "s0-aws-kinesis-a-b");
        assert_eq!(scaler.metrics()[0].target.to_string(), "2");
    }
}
