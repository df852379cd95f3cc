//! `aws-dynamodb-streams`: the number of shards of the stream of a table of Amazon DynamoDB.
//!
//! All shards of the table's latest stream count, closed ones too until DynamoDB drops them. `shardCount` is how many shards one
//! replica reads. A table without a stream is an error.
//!
//! Permissions on AWS: `dynamodb:DescribeTable` on the table and `dynamodb:DescribeStream` on its streams.
//!
//! ```yaml
//! apiVersion: keda.sh/v1alpha1
//! kind: TriggerAuthentication
//! metadata:
//!   name: changes-aws
//! spec:
//!   podIdentity:
//!     provider: aws
//! ---
//! apiVersion: keda.sh/v1alpha1
//! kind: ScaledObject
//! metadata:
//!   name: changes
//! spec:
//!   scaleTargetRef:
//!     name: changes
//!   triggers:
//!     - type: aws-dynamodb-streams
//!       metadata:
//!         tableName: orders
//!         shardCount: "4"
//!         awsRegion: eu-west-1
//!       authenticationRef:
//!         name: changes-aws
//! ```

use serde::Deserialize;

use crate::aws::{AwsParameters, Count};
use crate::clients::aws::dynamodb::StreamShards;
use crate::metric::MetricSpec;
use crate::params::{self, Field, METADATA, ParameterSet, Parameters};
use crate::registry::Kind;
use crate::scaler::{BuildError, Context, Scaler, Trigger};

/// The parameters of an `aws-dynamodb-streams` trigger.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Table {
    /// The table whose stream it is.
    table_name: String,
    /// Shards per replica.
    shard_count: i64,
    /// The trigger is active above this number of shards.
    activation_shard_count: i64,
}

impl Parameters for Table {
    const FIELDS: &'static [Field] = &[
        Field::required("tableName", METADATA),
        Field::with_default("shardCount", METADATA, "2"),
        Field::with_default("activationShardCount", METADATA, "0"),
    ];
}

type TableParameters = (Table, AwsParameters);

pub const KIND: Kind = Kind {
    name: "aws-dynamodb-streams",
    label: "awsDynamoDBStreamsScaler",
    fields: TableParameters::fields,
    passes_metadata_on: false,
    build,
};

fn build(trigger: &Trigger, context: &Context) -> Result<Box<dyn Scaler>, BuildError> {
    let (table, aws): TableParameters = params::parse(trigger)?;
    let name = format!("aws-dynamodb-streams-{}", table.table_name);
    Ok(Box::new(Count {
        metric: MetricSpec::integer(trigger, &name, table.shard_count)?,
        activation: table.activation_shard_count,
        question: StreamShards {
            table: table.table_name,
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
        let [trigger] = &example::triggers(include_str!("aws_dynamodb_streams.rs"))[..] else {
            panic!("one trigger");
        };
        let mut trigger = trigger.clone();
        trigger.pod_identity = Some(PodIdentity::Aws(AwsIdentity::default()));
        let scaler = crate::build(&trigger, &example::context(Vec::new())).unwrap();
        assert_eq!(scaler.metrics()[0].name, "s0-aws-dynamodb-streams-orders");
        assert_eq!(scaler.metrics()[0].target.to_string(), "4");
    }

    #[test]
    fn defaults_are_kedas() {
        let trigger = Trigger::new("aws-dynamodb-streams").metadata([
            ("tableName", "orders"),
            ("awsRegion", "eu-west-1"),
            ("identityOwner", "operator"),
        ]);
        let scaler = build(&trigger, &example::context(Vec::new())).unwrap();
        assert_eq!(scaler.metrics()[0].target.to_string(), "2");
    }
}
