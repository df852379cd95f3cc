//! `external-push`: as [`external`](external.md), and the server tells by itself when there is work.
//!
//! Besides the methods of `external`, the server implements `StreamIsActive`: each message with `result: true` activates the target at once,
//! without waiting for the next poll. That there is no more work is seen by polls only, so `IsActive` has to say so. With
//! `StreamMetricSpec` it also tells of changed metrics and targets at once; a server without that method is asked at each poll. Streams that end
//! are opened again after 2 s, and after failures ever more slowly, up to a minute. Permissions and credentials are as for `external`.
//!
//! ```yaml
//! apiVersion: keda.sh/v1alpha1
//! kind: ScaledObject
//! metadata:
//!   name: checkout
//! spec:
//!   scaleTargetRef:
//!     name: checkout
//!   triggers:
//!     - type: external-push
//!       metadata:
//!         scalerAddress: orders-scaler.shop.svc.cluster.local:9090
//!         warehouse: osaka
//! ```

use crate::external_scaler::{self, ExternalParameters};
use crate::params::ParameterSet;
use crate::registry::Kind;

pub const KIND: Kind = Kind {
    name: "external-push",
    label: "externalPushScaler",
    fields: ExternalParameters::fields,
    passes_metadata_on: true,
    build: |trigger, context| external_scaler::build(trigger, context, true),
};

#[cfg(test)]
mod tests {
    use crate::example;

    #[tokio::test]
    async fn the_example_builds_and_pushes() {
        let trigger = example::triggers(include_str!("external_push.rs")).remove(0);
        let scaler = crate::build(&trigger, &example::context(Vec::new())).unwrap();
        assert!(scaler.push().is_some());
    }
}
