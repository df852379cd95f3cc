//! The one sorted list of all trigger types.

use crate::keda_types::{KEDA_TYPES, is_keda_type, left_out};
use crate::params::{self, Field, Warning, nearest};
use crate::scaler::{BuildError, Context, Scaler, Trigger};

/// All trigger types, sorted by name. A new one is a file and a line here.
const KINDS: &[Kind] = &[
    #[cfg(feature = "kafka")]
    crate::apache_kafka::KIND,
    #[cfg(feature = "aws")]
    crate::aws_cloudwatch::KIND,
    #[cfg(feature = "aws")]
    crate::aws_dynamodb::KIND,
    #[cfg(feature = "aws")]
    crate::aws_dynamodb_streams::KIND,
    #[cfg(feature = "aws")]
    crate::aws_kinesis_stream::KIND,
    #[cfg(feature = "aws")]
    crate::aws_sqs_queue::KIND,
    crate::cron::KIND,
    #[cfg(feature = "etcd")]
    crate::etcd::KIND,
    crate::external::KIND,
    crate::external_push::KIND,
    #[cfg(feature = "kafka")]
    crate::kafka::KIND,
    crate::kubernetes_resource::KIND,
    crate::kubernetes_workload::KIND,
    crate::metrics_api::KIND,
    #[cfg(feature = "mysql")]
    crate::mysql::KIND,
    #[cfg(feature = "nats")]
    crate::nats_jetstream::KIND,
    #[cfg(feature = "postgresql")]
    crate::postgresql::KIND,
    #[cfg(feature = "prometheus")]
    crate::prometheus::KIND,
    #[cfg(feature = "rabbitmq")]
    crate::rabbitmq::KIND,
    #[cfg(feature = "redis")]
    crate::redis::KIND,
    #[cfg(feature = "redis")]
    crate::redis_cluster::KIND,
    #[cfg(feature = "redis")]
    crate::redis_cluster_streams::KIND,
    #[cfg(feature = "redis")]
    crate::redis_sentinel::KIND,
    #[cfg(feature = "redis")]
    crate::redis_sentinel_streams::KIND,
    #[cfg(feature = "redis")]
    crate::redis_streams::KIND,
];

/// One trigger type: its names, its parameters, and how to build its scaler.
pub struct Kind {
    /// `spec.triggers[].type`.
    pub name: &'static str,
    /// KEDA's Go type name: the `scaler` label of Prometheus metrics where the trigger has no name.
    pub label: &'static str,
    /// All of its parameters.
    pub fields: fn() -> Vec<&'static Field>,
    /// Other metadata than its parameters is the source's own: it is passed on, and no misspelling.
    pub passes_metadata_on: bool,
    pub build: Build,
}

/// Builds a scaler from a trigger, without IO.
pub type Build = fn(&Trigger, &Context) -> Result<Box<dyn Scaler>, BuildError>;

/// All trigger types, sorted by name.
pub fn kinds() -> &'static [Kind] {
    KINDS
}

/// Builds the scaler of a trigger. Does no IO: connections are made at the first read.
///
/// # Errors
/// For an unknown trigger type, and for parameters that don't parse, all of them at once.
pub fn build(trigger: &Trigger, context: &Context) -> Result<Box<dyn Scaler>, BuildError> {
    (find(&trigger.kind)?.build)(trigger, context)
}

/// What works, but probably not as meant: misspelt parameters, secrets in plain metadata. Empty for an unknown type.
pub fn warnings(trigger: &Trigger) -> Vec<Warning> {
    let Ok(kind) = find(&trigger.kind) else {
        return Vec::new();
    };
    let mut warnings = params::warnings(trigger, &(kind.fields)());
    warnings.retain(|warning| !(warning.unmatched && kind.passes_metadata_on));
    warnings
}

/// The trigger type of that name.
///
/// # Errors
/// Tells a type that other builds have, and one that KEDA has, from one that nobody has.
pub(crate) fn find(name: &str) -> Result<&'static Kind, BuildError> {
    KINDS
        .binary_search_by_key(&name, |kind| kind.name)
        .map(|at| &KINDS[at])
        .map_err(|_| missing(name, left_out(name)))
}

/// Why a type isn't here; `feature` is the one that this build was made without.
fn missing(name: &str, feature: Option<&'static str>) -> BuildError {
    let kind = name.to_owned();
    if let Some(feature) = feature {
        return BuildError::LeftOut { kind, feature };
    }
    if is_keda_type(name) {
        return BuildError::NotYet { kind };
    }
    let all = KINDS.iter().map(|kind| kind.name);
    let hint = nearest(name, all.chain(KEDA_TYPES.iter().copied()))
        .map(|near| format!(", did you mean {near:?}?"));
    BuildError::UnknownKind {
        kind,
        hint: hint.unwrap_or_default(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::example;

    // gRPC's clients are made within a runtime only.
    #[tokio::test]
    async fn every_type_has_an_example_that_builds_without_warnings() {
        for kind in KINDS {
            let context = example::context(Vec::new());
            let triggers = example::of(kind);
            let own = triggers.iter().filter(|trigger| trigger.kind == kind.name);
            assert!(own.count() > 0, "{}: no trigger of its own", kind.name);
            for trigger in triggers {
                let built = build(&trigger, &context);
                let problem = built.err().map(|error| error.to_string());
                assert_eq!(problem, None, "{}", kind.name);
                assert_eq!(warnings(&trigger), [], "{}", kind.name);
            }
        }
    }

    #[test]
    fn every_parameter_has_one_declaration() {
        for kind in KINDS {
            let mut names: Vec<&str> = (kind.fields)()
                .iter()
                .flat_map(|field| field.names())
                .collect();
            names.sort_unstable();
            let twice: Vec<_> = names.windows(2).filter(|pair| pair[0] == pair[1]).collect();
            assert!(twice.is_empty(), "{}: {twice:?}", kind.name);
        }
    }

    #[test]
    fn kinds_are_sorted_and_unique() {
        assert!(KINDS.windows(2).all(|pair| pair[0].name < pair[1].name));
    }

    /// KEDA's `AsMetricSource`.
    #[tokio::test]
    async fn a_part_of_a_formula_needs_no_target() {
        for (kind, target) in [
            #[cfg(feature = "aws")]
            ("aws-dynamodb", "targetValue"),
            ("kubernetes-workload", "value"),
            ("metrics-api", "targetValue"),
            #[cfg(feature = "postgresql")]
            ("postgresql", "targetQueryValue"),
        ] {
            let kind = find(kind).unwrap();
            let mut trigger = crate::example::of(kind).remove(0);
            trigger.metadata.remove(target);
            let context = crate::example::context(Vec::new());
            assert!(build(&trigger, &context).is_err(), "{}", kind.name);
            trigger.is_part_of_a_formula = true;
            let scaler = build(&trigger, &context).map_err(|error| error.to_string());
            let metric = scaler.unwrap().metrics().remove(0);
            assert_eq!(metric.target.milli(), 0, "{}", kind.name);
        }
    }

    #[test]
    fn an_unknown_type_is_named() {
        let error = find("no-such-source-at-all")
            .map(|kind| kind.name)
            .unwrap_err();
        assert_eq!(
            error.to_string(),
            r#"no trigger type "no-such-source-at-all""#
        );
        let error = |name: &str| find(name).map(|kind| kind.name).unwrap_err().to_string();
        assert_eq!(
            missing("apache-kafka", Some("kafka")).to_string(),
            "this build has no `apache-kafka` (Cargo feature kafka)"
        );
        assert_eq!(
            error("rabitmq"),
            r#"no trigger type "rabitmq", did you mean "rabbitmq"?"#
        );
        assert_eq!(
            error("solarwinds"),
            r#"the trigger type "solarwinds" of KEDA is not supported by this version"#
        );
        assert_eq!(
            error("solarwind"),
            r#"no trigger type "solarwind", did you mean "solarwinds"?"#
        );
    }
}
