//! The trigger types that KEDA has, whether they are here or not: a manifest with one that isn't deserves a better answer than
//! a misspelt one. And which of them are in builds with a Cargo feature only.

/// Sorted. `cpu` and `memory` are among them, which the HPA reads itself.
pub const KEDA_TYPES: &[&str] = &[
    "activemq",
    "apache-kafka",
    "arangodb",
    "artemis-queue",
    "aws-cloudwatch",
    "aws-dynamodb",
    "aws-dynamodb-streams",
    "aws-kinesis-stream",
    "aws-sqs-queue",
    "azure-app-insights",
    "azure-blob",
    "azure-data-explorer",
    "azure-eventhub",
    "azure-log-analytics",
    "azure-monitor",
    "azure-pipelines",
    "azure-queue",
    "azure-servicebus",
    "beanstalkd",
    "cassandra",
    "clickhouse",
    "couchdb",
    "cpu",
    "cron",
    "datadog",
    "dynatrace",
    "elastic-forecast",
    "elasticsearch",
    "etcd",
    "external",
    "external-push",
    "forgejo-runner",
    "gcp-cloudtasks",
    "gcp-pubsub",
    "gcp-spanner",
    "gcp-stackdriver",
    "gcp-storage",
    "github-runner",
    "graphite",
    "huawei-cloudeye",
    "ibmmq",
    "influxdb",
    "kafka",
    "kubernetes-resource",
    "kubernetes-workload",
    "liiklus",
    "loki",
    "memory",
    "metrics-api",
    "mongodb",
    "mssql",
    "mysql",
    "nats-jetstream",
    "new-relic",
    "nsq",
    "opensearch",
    "openstack-metric",
    "openstack-swift",
    "postgresql",
    "predictkube",
    "prometheus",
    "pulsar",
    "rabbitmq",
    "redis",
    "redis-cluster",
    "redis-cluster-streams",
    "redis-sentinel",
    "redis-sentinel-streams",
    "redis-streams",
    "selenium-grid",
    "solace-direct-messaging",
    "solace-event-queue",
    "solarwinds",
    "solr",
    "splunk",
    "splunk-observability",
    "sumologic",
    "temporal",
];

/// A Cargo feature, whether this build has it, and the trigger types that it brings.
struct Feature {
    name: &'static str,
    on: bool,
    types: &'static [&'static str],
}

const FEATURES: &[Feature] = &[
    Feature {
        name: "aws",
        on: cfg!(feature = "aws"),
        types: &[
            "aws-cloudwatch",
            "aws-dynamodb",
            "aws-dynamodb-streams",
            "aws-kinesis-stream",
            "aws-sqs-queue",
        ],
    },
    Feature {
        name: "etcd",
        on: cfg!(feature = "etcd"),
        types: &["etcd"],
    },
    Feature {
        name: "kafka",
        on: cfg!(feature = "kafka"),
        types: &["apache-kafka", "kafka"],
    },
    Feature {
        name: "mysql",
        on: cfg!(feature = "mysql"),
        types: &["mysql"],
    },
    Feature {
        name: "nats",
        on: cfg!(feature = "nats"),
        types: &["nats-jetstream"],
    },
    Feature {
        name: "postgresql",
        on: cfg!(feature = "postgresql"),
        types: &["postgresql"],
    },
    Feature {
        name: "prometheus",
        on: cfg!(feature = "prometheus"),
        types: &["prometheus"],
    },
    Feature {
        name: "rabbitmq",
        on: cfg!(feature = "rabbitmq"),
        types: &["rabbitmq"],
    },
    Feature {
        name: "redis",
        on: cfg!(feature = "redis"),
        types: &[
            "redis",
            "redis-cluster",
            "redis-cluster-streams",
            "redis-sentinel",
            "redis-sentinel-streams",
            "redis-streams",
        ],
    },
];

/// The Cargo feature that a trigger type is in, if it isn't in every build.
pub fn feature_of(name: &str) -> Option<&'static str> {
    let feature = FEATURES
        .iter()
        .find(|feature| feature.types.contains(&name));
    feature.map(|feature| feature.name)
}

/// The Cargo feature that a trigger type is in, where this build was made without it.
pub fn left_out(name: &str) -> Option<&'static str> {
    let mut off = FEATURES.iter().filter(|feature| !feature.on);
    let feature = off.find(|feature| feature.types.contains(&name));
    feature.map(|feature| feature.name)
}

/// True for a type that KEDA has.
pub fn is_keda_type(name: &str) -> bool {
    KEDA_TYPES.binary_search(&name).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kinds;

    #[test]
    fn all_of_ours_are_among_them_and_they_are_sorted() {
        assert!(KEDA_TYPES.windows(2).all(|pair| pair[0] < pair[1]));
        assert_eq!(KEDA_TYPES.len(), 78);
        let others: Vec<&str> = kinds()
            .iter()
            .map(|kind| kind.name)
            .filter(|name| !is_keda_type(name))
            .collect();
        assert_eq!(others, [""; 0], "trigger types that KEDA doesn't have");
    }

    #[test]
    fn features_bring_types_of_keda_that_are_there_with_them_only() {
        for feature in FEATURES {
            for name in feature.types {
                assert!(is_keda_type(name), "{name}");
                let is_there = kinds().iter().any(|kind| kind.name == *name);
                assert!(feature.on || !is_there, "{name} without {}", feature.name);
                assert_eq!(feature_of(name), Some(feature.name));
                assert_eq!(left_out(name).is_none(), feature.on, "{name}");
            }
        }
        assert_eq!((feature_of("cron"), left_out("cron")), (None, None));
    }
}
