//! `redis-sentinel-streams`: the entries of a stream on a master that sentinels watch over.
//!
//! What is counted, and when, is as in [redis-streams](redis-streams.md); the connection is that of [redis-sentinel](redis-sentinel.md).
//!
//! ```yaml
//! apiVersion: v1
//! kind: Secret
//! metadata:
//!   name: orders-redis
//! stringData:
//!   username: orders
//!   password: secret
//!   sentinelPassword: secret-too
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
//!     - parameter: sentinelPassword
//!       name: orders-redis
//!       key: sentinelPassword
//! ---
//! apiVersion: keda.sh/v1alpha1
//! kind: ScaledObject
//! metadata:
//!   name: orders
//! spec:
//!   scaleTargetRef:
//!     name: orders
//!   triggers:
//!     - type: redis-sentinel-streams
//!       metadata:
//!         addresses: sentinel-0.redis.shop:26379,sentinel-1.redis.shop:26379,sentinel-2.redis.shop:26379
//!         sentinelMaster: shop
//!         stream: orders
//!         streamLength: "100"
//!       authenticationRef:
//!         name: orders-redis
//! ```

use crate::params::ParameterSet;
use crate::redis_keys::{self, Layout, OfStreams};
use crate::registry::Kind;

pub const KIND: Kind = Kind {
    name: "redis-sentinel-streams",
    label: "redisStreamsScaler",
    fields: OfStreams::fields,
    passes_metadata_on: false,
    build: |trigger, context| redis_keys::build_stream(trigger, context, Layout::Sentinel),
};

#[cfg(test)]
mod tests {
    use crate::example;

    #[test]
    fn the_example_works() {
        let trigger = example::triggers(include_str!("redis_sentinel_streams.rs")).remove(0);
        let scaler = crate::build(&trigger, &example::context(Vec::new())).unwrap();
        assert_eq!(scaler.metrics()[0].name, "s0-redis-streams-orders");
        assert_eq!(scaler.metrics()[0].target.to_string(), "100");
        assert_eq!(crate::warnings(&trigger), []);
    }
}
