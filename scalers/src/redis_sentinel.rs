//! `redis-sentinel`: the number of elements of a list, set, sorted set or hash on a master that sentinels watch over.
//!
//! As [redis](redis.md), and sentinels tell which server is the master: `address`, or `host` with `port`, name the sentinels, and `sentinelMaster`
//! the master. After a failover the new master is read within seconds. Sentinels have a login of their own, `sentinelUsername` and
//! `sentinelPassword`, which needs the permission for `SENTINEL GET-MASTER-ADDR-BY-NAME`; the master's user needs those of `redis`. TLS, if any, is spoken with them and with the master.
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
//!     - type: redis-sentinel
//!       metadata:
//!         addresses: sentinel-0.redis.shop:26379,sentinel-1.redis.shop:26379,sentinel-2.redis.shop:26379
//!         sentinelMaster: shop
//!         listName: orders
//!         listLength: "10"
//!       authenticationRef:
//!         name: orders-redis
//! ```

use crate::params::ParameterSet;
use crate::redis_keys::{self, Layout, OfLists};
use crate::registry::Kind;

pub const KIND: Kind = Kind {
    name: "redis-sentinel",
    label: "redisScaler",
    fields: OfLists::fields,
    passes_metadata_on: false,
    build: |trigger, context| redis_keys::build_list(trigger, context, Layout::Sentinel),
};

#[cfg(test)]
mod tests {
    use crate::example;

    #[test]
    fn the_example_works() {
        let trigger = example::triggers(include_str!("redis_sentinel.rs")).remove(0);
        let scaler = crate::build(&trigger, &example::context(Vec::new())).unwrap();
        assert_eq!(scaler.metrics()[0].name, "s0-redis-orders");
        assert_eq!(scaler.metrics()[0].target.to_string(), "10");
        assert_eq!(crate::warnings(&trigger), []);
    }
}
