//! The triggers of one ScaledObject, ready to be read.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use k8s_openapi::api::autoscaling::v2::MetricSpec as HpaMetric;
use sakidori_api::{AuthenticationRef, ScaledObject, Trigger as Declared};
use sakidori_engine::{ObjectKey, Quantity};
use sakidori_scalers::{Context, MetricSpec, MetricType, Scaler, Trigger, metric_name};

use crate::authentication;
use crate::environment::TargetEnvironment;
use crate::hpa;
use crate::references::{Reference, References};
use crate::refusals::Patient;
use crate::resource_trigger;
use crate::target::Target;

/// One trigger, ready to be read.
pub struct PreparedTrigger {
    pub kind: String,
    pub index: usize,
    /// The `scaler` label of Prometheus metrics: the trigger's name, else KEDA's type name.
    pub label: String,
    pub source: Source,
    /// What the scaler was built from: it is kept while this stays the same, with its connections and its memory.
    pub built_from: Option<Trigger>,
    /// Where its credentials come from, as declared.
    authentication: Option<AuthenticationRef>,
}

#[derive(Clone)]
pub enum Source {
    Scaler(Arc<dyn Scaler>),
    /// `cpu` and `memory`: the HPA reads them from metrics-server; `metric` is the resource.
    Resource {
        metric: String,
    },
    /// What it needs (a TriggerAuthentication, a Secret) isn't there. It counts as failing, and its metrics stand in the HPA: a
    /// metric that can't be read keeps the HPA from scaling down, while the other triggers may scale up.
    Broken {
        metrics: Vec<MetricSpec>,
        message: String,
    },
}

/// All triggers of an object.
#[derive(Default)]
pub struct Built {
    pub triggers: Vec<PreparedTrigger>,
    /// The HPA's metrics, in the order of the triggers.
    pub metrics: Vec<HpaMetric>,
    /// What does not work, but stops no other trigger.
    pub problems: Vec<String>,
}

/// Where an object's triggers find what they refer to.
pub struct Surroundings<'a> {
    pub references: &'a References,
    pub scaling: &'a Context,
    pub cluster_object_namespace: &'a str,
    /// The triggers as they were prepared before.
    pub before: &'a [PreparedTrigger],
}

/// Builds an object's triggers. Everything that was referred to is put into `used`.
///
/// # Errors
/// What is wrong with the triggers' own parameters, of all of them at once.
pub async fn build(
    key: &ObjectKey,
    object: &ScaledObject,
    target: &Target,
    surroundings: &Surroundings<'_>,
    used: &mut HashSet<Reference>,
) -> Result<Built, String> {
    let container = object
        .spec
        .scale_target_ref
        .env_source_container_name
        .as_deref();
    let mut environment = TargetEnvironment::new(surroundings.references, key, target, container);
    let mut built = Built::default();
    let mut failures = Vec::new();
    for (index, declared) in object.spec.triggers.iter().enumerate() {
        let named = |message: &String| format!("trigger {index} ({}): {message}", declared.type_);
        if resource_trigger::is_resource(&declared.type_) {
            match resource_trigger::metric(declared) {
                Ok(metric) => {
                    built.metrics.push(metric);
                    built.triggers.push(resource(index, declared));
                }
                Err(message) => failures.push(named(&message)),
            }
            continue;
        }
        let (input, problems) =
            resolve(key, index, declared, surroundings, &mut environment, used).await;
        let source = match source(&input, declared, &problems, surroundings) {
            Ok(source) => source,
            Err(message) => {
                failures.push(named(&message));
                continue;
            }
        };
        built.problems.extend(problems.iter().map(named));
        let metrics = source.metrics().iter();
        built
            .metrics
            .extend(metrics.map(|metric| hpa::external_metric(&key.name, metric)));
        // With problems, what was resolved is less than what a kept scaler was built from.
        let built_from = match problems.is_empty() {
            true => Some(input),
            false => surroundings
                .same_trigger(&input, declared)
                .and_then(|kept| kept.built_from.clone()),
        };
        built.triggers.push(PreparedTrigger {
            kind: declared.type_.clone(),
            index,
            label: label(declared),
            source,
            built_from,
            authentication: declared.authentication_ref.clone(),
        });
    }
    if failures.is_empty() {
        Ok(built)
    } else {
        Err(failures.join("; "))
    }
}

/// A trigger with everything that its scaler may look at, and what of it could not be found.
async fn resolve(
    key: &ObjectKey,
    index: usize,
    declared: &Declared,
    surroundings: &Surroundings<'_>,
    environment: &mut TargetEnvironment<'_>,
    used: &mut HashSet<Reference>,
) -> (Trigger, Vec<String>) {
    let resolved = authentication::resolve(
        surroundings.references,
        key,
        surroundings.cluster_object_namespace,
        declared.authentication_ref.as_ref(),
        environment,
        used,
    )
    .await;
    let mut problems = resolved.problems;
    let mut variables = BTreeMap::new();
    if declared
        .metadata
        .keys()
        .any(|name| name.ends_with("FromEnv"))
    {
        let container = environment.variables(used).await;
        problems.extend(container.problems.iter().cloned());
        variables = container.variables.clone();
    }
    let input = Trigger {
        kind: declared.type_.clone(),
        index,
        name: declared.name.clone(),
        metric_type: metric_type(declared.metric_type.as_deref()),
        namespace: key.namespace.to_string(),
        object: key.name.to_string(),
        metadata: declared.metadata.clone(),
        environment: variables,
        authentication: resolved.parameters,
    };
    (input, problems)
}

/// A trigger whose references can't all be read is never built from what is left: a parameter that is missing may mean another
/// queue, and its emptiness would lower replicas. It goes on with the scaler that it had, or counts as failing.
fn source(
    input: &Trigger,
    declared: &Declared,
    problems: &[String],
    surroundings: &Surroundings<'_>,
) -> Result<Source, String> {
    let kept = surroundings
        .before
        .iter()
        .find_map(|trigger| match &trigger.source {
            Source::Scaler(scaler) if trigger.built_from.as_ref() == Some(input) => {
                Some(scaler.clone())
            }
            _ => None,
        });
    if problems.is_empty() {
        return match kept {
            Some(scaler) => Ok(Source::Scaler(scaler)),
            None => build_scaler(input, surroundings.scaling).map(Source::Scaler),
        };
    }
    if let Some(Source::Scaler(scaler)) = surroundings
        .same_trigger(input, declared)
        .map(|trigger| &trigger.source)
    {
        return Ok(Source::Scaler(scaler.clone()));
    }
    // The true names where they are known without what is missing, so that the HPA needs no second change.
    let metrics = match build_scaler(input, surroundings.scaling) {
        Ok(scaler) => scaler.metrics().to_vec(),
        Err(_) => vec![stand_in(input)],
    };
    Ok(Source::Broken {
        metrics,
        message: problems.join("; "),
    })
}

impl Surroundings<'_> {
    /// True for a trigger whose scaler was there before.
    pub fn has_built_from(&self, input: &Trigger) -> bool {
        self.before
            .iter()
            .any(|trigger| trigger.built_from.as_ref() == Some(input))
    }

    /// The trigger as it was prepared before, whatever its references gave then.
    fn same_trigger(&self, input: &Trigger, declared: &Declared) -> Option<&PreparedTrigger> {
        let same_credentials =
            |trigger: &&PreparedTrigger| trigger.authentication == declared.authentication_ref;
        self.before.iter().filter(same_credentials).find(|trigger| {
            trigger.built_from.as_ref().is_some_and(|from| {
                (&from.kind, from.index, &from.metadata, from.metric_type)
                    == (&input.kind, input.index, &input.metadata, input.metric_type)
            })
        })
    }
}

impl PreparedTrigger {
    pub fn publishes(&self, metric: &str) -> bool {
        self.source.metrics().iter().any(|spec| spec.name == metric)
    }
}

impl Source {
    /// The external metrics that it has in the HPA.
    pub fn metrics(&self) -> &[MetricSpec] {
        match self {
            Self::Scaler(scaler) => scaler.metrics(),
            Self::Broken { metrics, .. } => metrics,
            Self::Resource { .. } => &[],
        }
    }
}

fn resource(index: usize, declared: &Declared) -> PreparedTrigger {
    PreparedTrigger {
        kind: declared.type_.clone(),
        index,
        label: label(declared),
        source: Source::Resource {
            metric: declared.type_.clone(),
        },
        built_from: None,
        authentication: None,
    }
}

fn build_scaler(input: &Trigger, context: &Context) -> Result<Arc<dyn Scaler>, String> {
    let scaler = sakidori_scalers::build(input, context).map_err(|error| error.to_string())?;
    Ok(Arc::new(Patient::new(scaler)))
}

fn label(declared: &Declared) -> String {
    let named = declared.name.clone().filter(|name| !name.is_empty());
    let by_kind = || {
        if resource_trigger::is_resource(&declared.type_) {
            return "cpuMemoryScaler";
        }
        let known = sakidori_scalers::kinds()
            .iter()
            .find(|known| known.name == declared.type_);
        known.map_or(declared.type_.as_str(), |known| known.label)
    };
    named.unwrap_or_else(|| by_kind().to_owned())
}

pub(crate) fn metric_type(text: Option<&str>) -> Option<MetricType> {
    match text {
        Some("Value") => Some(MetricType::Value),
        Some("Utilization") => Some(MetricType::Utilization),
        Some("AverageValue") => Some(MetricType::AverageValue),
        _ => None,
    }
}

/// The metric that stands in the HPA for a trigger whose own name isn't known yet. Its target is never compared with anything.
fn stand_in(input: &Trigger) -> MetricSpec {
    MetricSpec {
        name: metric_name(input.index, &input.kind),
        target_type: MetricType::AverageValue,
        target: Quantity::from_integer(1),
    }
}
