//! `redis-cluster`: the number of elements of a list, set, sorted set or hash in a cluster.
//!
//! As [redis](redis.md), and each key is read from the node that has its slot, with the same login. `address`, or `host` with `port`, name
//! some of the nodes; the others are learnt from them, and so are failovers and slots that move. The nodes have to be reachable at the addresses
//! that they tell. The user needs the same permissions as there, on every node. TLS, if any, is spoken with all of them, so their certificates have to be for those addresses.
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
//!     - type: redis-cluster
//!       metadata:
//!         addresses: redis-0.redis.shop:6379,redis-1.redis.shop:6379,redis-2.redis.shop:6379
//!         listName: orders
//!         listLength: "10"
//!       authenticationRef:
//!         name: orders-redis
//! ```

use crate::params::ParameterSet;
use crate::redis_keys::{self, Layout, OfLists};
use crate::registry::Kind;

pub const KIND: Kind = Kind {
    name: "redis-cluster",
    label: "redisScaler",
    fields: OfLists::fields,
    passes_metadata_on: false,
    build: |trigger, context| redis_keys::build_list(trigger, context, Layout::Cluster),
};

#[cfg(test)]
mod tests {
    use crate::example;

    #[test]
    fn the_example_works() {
        let trigger = example::triggers(include_str!("redis_cluster.rs")).remove(0);
        let scaler = crate::build(&trigger, &example::context(Vec::new())).unwrap();
        assert_eq!(scaler.metrics()[0].name, "s0-redis-orders");
        assert_eq!(scaler.metrics()[0].target.to_string(), "10");
        assert_eq!(crate::warnings(&trigger), []);
    }
}
