//! `redis-cluster-streams`: the entries of a stream in a cluster.
//!
//! What is counted, and when, is as in [redis-streams](redis-streams.md); the connection is that of [redis-cluster](redis-cluster.md).
//!
//! ```yaml
//! apiVersion: v1
//! kind: Secret
//! metadata:
//!   name: orders-redis
//! stringData:
//!   username: orders
//!   password: secret
//! ---
//! apiVersion: keda.sh/v1alpha1
//! kind: TriggerAuthentication
//! metadata:
//!   name: orders-redis
//! spec:
//!   secretTargetRef:
//!     - parameter: username
//!       name: orders-redis
//!       key: username
//!     - parameter: password
//!       name: orders-redis
//!       key: password
//! ---
//! apiVersion: keda.sh/v1alpha1
//! kind: ScaledObject
//! metadata:
//!   name: orders
//! spec:
//!   scaleTargetRef:
//!     name: orders
//!   triggers:
//!     - type: redis-cluster-streams
//!       metadata:
//!         addresses: redis-0.redis.shop:6379,redis-1.redis.shop:6379,redis-2.redis.shop:6379
//!         stream: orders
//!         consumerGroup: workers
//!         lagCount: "10"
//!       authenticationRef:
//!         name: orders-redis
//! ```

use crate::params::ParameterSet;
use crate::redis_keys::{self, Layout, OfStreams};
use crate::registry::Kind;

pub const KIND: Kind = Kind {
    name: "redis-cluster-streams",
    label: "redisStreamsScaler",
    fields: OfStreams::fields,
    passes_metadata_on: false,
    build: |trigger, context| redis_keys::build_stream(trigger, context, Layout::Cluster),
};

#[cfg(test)]
mod tests {
    use crate::example;

    #[test]
    fn the_example_works() {
        let trigger = example::triggers(include_str!("redis_cluster_streams.rs")).remove(0);
        let scaler = crate::build(&trigger, &example::context(Vec::new())).unwrap();
        assert_eq!(scaler.metrics()[0].name, "s0-redis-streams-orders");
        assert_eq!(scaler.metrics()[0].target.to_string(), "10");
        assert_eq!(crate::warnings(&trigger), []);
    }
}
