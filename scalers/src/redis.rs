//! `redis`: the number of elements of a list, set, sorted set or hash on one server.
//!
//! A key that isn't there has no elements; a key of another type is an error. The user needs the commands `TYPE` and the one that
//! counts: `LLEN`, `SCARD`, `ZCARD` or `HLEN`. KEDA counts in a script, and needs `EVAL` besides.
//!
//! `address`, or `host` with `port`, name the server; of several the first counts. Nodes of a cluster are read with
//! [redis-cluster](redis-cluster.md), servers with sentinels with [redis-sentinel](redis-sentinel.md), streams with
//! [redis-streams](redis-streams.md).
//!
//! TLS is spoken with `enableTLS: "true"`, or with `tls: enable` in the TriggerAuthentication; the server's certificate has to be for the
//! host that is given.
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
//!     - type: redis
//!       metadata:
//!         address: redis.shop.svc.cluster.local:6379
//!         listName: orders
//!         listLength: "10"
//!         activationListLength: "5"
//!       authenticationRef:
//!         name: orders-redis
//! ```

use crate::params::ParameterSet;
use crate::redis_keys::{self, Layout, OfLists};
use crate::registry::Kind;

pub const KIND: Kind = Kind {
    name: "redis",
    label: "redisScaler",
    fields: OfLists::fields,
    passes_metadata_on: false,
    build: |trigger, context| redis_keys::build_list(trigger, context, Layout::Single),
};

#[cfg(test)]
mod tests {
    use crate::example;

    #[test]
    fn the_example_works() {
        let trigger = example::triggers(include_str!("redis.rs")).remove(0);
        let scaler = crate::build(&trigger, &example::context(Vec::new())).unwrap();
        assert_eq!(scaler.metrics()[0].name, "s0-redis-orders");
        assert_eq!(scaler.metrics()[0].target.to_string(), "10");
        assert_eq!(crate::warnings(&trigger), []);
    }
}
