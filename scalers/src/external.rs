//! `external`: the metrics that a gRPC server of your own names and reads.
//!
//! The server implements KEDA's protocol `externalscaler.ExternalScaler`: `GetMetricSpec` names metrics and their targets, `GetMetrics` reads
//! one, `IsActive` says whether there is work. It is given the trigger's whole metadata; a key that ends in `FromEnv` comes with the value of
//! the variable that it names. A server that does not answer within 10 s, fails, names no metric, gives no value or one that is no number
//! counts as failing: the metrics that it named last stay in the HPA, and replicas are kept. What it names anew is in the HPA after the next
//! poll. The connection is plain text unless `enableTLS`, `caCert` or a client certificate is given. See also
//! [writing an external scaler](../external-scalers.md).
//!
//! Needs no permissions in the cluster. Who may connect is the server's affair: a client certificate can be given.
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
//!     - type: external
//!       metadata:
//!         scalerAddress: orders-scaler.shop.svc.cluster.local:9090
//!         warehouse: osaka
//! ```

use crate::external_scaler::{self, ExternalParameters};
use crate::params::ParameterSet;
use crate::registry::Kind;

pub const KIND: Kind = Kind {
    name: "external",
    label: "externalScaler",
    fields: ExternalParameters::fields,
    passes_metadata_on: true,
    build: |trigger, context| external_scaler::build(trigger, context, false),
};

#[cfg(test)]
mod tests {
    use crate::example;

    #[tokio::test]
    async fn the_example_builds_and_its_metrics_are_the_servers() {
        let trigger = example::triggers(include_str!("external.rs")).remove(0);
        let scaler = crate::build(&trigger, &example::context(Vec::new())).unwrap();
        assert!(scaler.metrics().is_empty());
        assert!(scaler.push().is_none());
        assert_eq!(
            crate::warnings(&trigger),
            [],
            "other metadata is the server's"
        );
    }
}
