//! `redis-streams`: the entries of a stream on one server: all of them, those that a consumer group has not read, or those that it has not
//! acknowledged.
//!
//! | given | counted | permission |
//! |---|---|---|
//! | no `consumerGroup` | all entries of the stream | `XLEN` |
//! | `consumerGroup` and `lagCount` | the entries that the group has not read yet | `INFO`, `XINFO GROUPS`, `XLEN` |
//! | `consumerGroup` alone | the entries that the group has read and not acknowledged | `XPENDING` |
//!
//! Entries that are pending are there only once a consumer has read them: such a trigger does not start the first replica. For that, give
//! `lagCount`, which needs Redis 7. A stream that isn't there has no entries and no lag, and where the stream is there but not yet the group, its
//! lag is the whole stream; but to count what is pending, both have to be there. Redis can't tell the lag of
//! a group that began in the middle of the stream (`XGROUP CREATE` with `$`), or that has deleted entries before it, until the group has read
//! what is left: that is an error, where KEDA reads -1, which scales in.
//!
//! The connection is that of [redis](redis.md).
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
//!     - type: redis-streams
//!       metadata:
//!         address: redis.shop.svc.cluster.local:6379
//!         stream: orders
//!         consumerGroup: workers
//!         lagCount: "10"
//!         activationLagCount: "5"
//!       authenticationRef:
//!         name: orders-redis
//! ```

use crate::params::ParameterSet;
use crate::redis_keys::{self, Layout, OfStreams};
use crate::registry::Kind;

pub const KIND: Kind = Kind {
    name: "redis-streams",
    label: "redisStreamsScaler",
    fields: OfStreams::fields,
    passes_metadata_on: false,
    build: |trigger, context| redis_keys::build_stream(trigger, context, Layout::Single),
};

#[cfg(test)]
mod tests {
    use crate::example;

    #[test]
    fn the_example_works() {
        let trigger = example::triggers(include_str!("redis_streams.rs")).remove(0);
        let scaler = crate::build(&trigger, &example::context(Vec::new())).unwrap();
        assert_eq!(scaler.metrics()[0].name, "s0-redis-streams-orders");
        assert_eq!(scaler.metrics()[0].target.to_string(), "10");
        assert_eq!(crate::warnings(&trigger), []);
    }
}
