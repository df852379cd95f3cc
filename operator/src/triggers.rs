//! The triggers of one ScaledObject, ready to be read.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use futures::future::join_all;
use k8s_openapi::api::autoscaling::v2::{HorizontalPodAutoscaler, MetricSpec as HpaMetric};
use sakidori_api::{AuthenticationRef, ScaledObject, Trigger as Declared};
use sakidori_engine::{ObjectKey, Quantity};
use sakidori_scalers::{Context, MetricSpec, MetricType, Scaler, Trigger, metric_name};

use crate::authentication;
use crate::environment::TargetEnvironment;
use crate::hpa;
use crate::push::Listening;
use crate::references::{Reference, References};
use crate::refusals::Patient;
use crate::resource_trigger;
use crate::sales;
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
    /// Where its source tells by itself that there is work: kept as long as the scaler.
    pub listening: Option<Arc<Listening>>,
    /// Where its credentials come from, as declared.
    authentication: Option<AuthenticationRef>,
}

#[derive(Clone)]
pub enum Source {
    Scaler {
        scaler: Arc<dyn Scaler>,
        /// As they stand in the HPA: those that the scaler had when the object was prepared.
        metrics: Vec<MetricSpec>,
    },
    /// `cpu` and `memory`: the HPA reads them from metrics-server; `metric` is the resource.
    Resource { metric: String },
    /// `sale-calendar`: the engine says what it publishes.
    Sale { metrics: Vec<MetricSpec> },
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
    /// What keeps sources from naming their metrics. Their polls tell it too.
    pub unnamed: Vec<String>,
}

/// Where an object's triggers find what they refer to.
pub struct Surroundings<'a> {
    pub references: &'a References,
    pub scaling: &'a Context,
    pub cluster_object_namespace: &'a str,
    /// The triggers as they were prepared before.
    pub before: &'a [PreparedTrigger],
    /// The object's HPA as it is.
    pub hpa: Option<&'a HorizontalPodAutoscaler>,
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
    let mut resources = BTreeMap::new();
    for (index, declared) in object.spec.triggers.iter().enumerate() {
        let named = |message: &String| format!("trigger {index} ({}): {message}", declared.type_);
        if resource_trigger::is_resource(&declared.type_) {
            match resource_trigger::metric(declared) {
                Ok(metric) => {
                    resources.insert(index, metric);
                    built.triggers.push(resource(index, declared));
                }
                Err(message) => failures.push(named(&message)),
            }
            continue;
        }
        if sales::is_sale(&declared.type_) {
            match sales::parse(declared) {
                Ok(sale) => built.triggers.push(PreparedTrigger {
                    source: Source::Sale {
                        metrics: vec![sales::metric(index, &sale)],
                    },
                    ..resource(index, declared)
                }),
                Err(problems) => failures.extend(problems.iter().map(named)),
            }
            continue;
        }
        let (mut input, problems) =
            resolve(key, index, declared, surroundings, &mut environment, used).await;
        input.is_part_of_a_formula = object.has_formula();
        let source = match source(&input, declared, &problems, surroundings) {
            Ok(source) => source,
            Err(message) => {
                failures.push(named(&message));
                continue;
            }
        };
        built.problems.extend(problems.iter().map(named));
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
            listening: None,
            authentication: declared.authentication_ref.clone(),
        });
    }
    if !failures.is_empty() {
        return Err(failures.join("; "));
    }
    built.unnamed = learn_metrics(&mut built.triggers, surroundings).await;
    for trigger in &built.triggers {
        built.metrics.extend(resources.remove(&trigger.index));
        let external = trigger.source.metrics().iter();
        built
            .metrics
            .extend(external.map(|metric| hpa::external_metric(&key.name, metric)));
    }
    Ok(built)
}

/// Lets sources name the metrics that they have not named yet, all at the same time. Returns why some could not.
///
/// No metric leaves the HPA because a source does not answer: until it does, those that stand there stay.
async fn learn_metrics(
    triggers: &mut [PreparedTrigger],
    surroundings: &Surroundings<'_>,
) -> Vec<String> {
    let learnt = triggers.iter_mut().map(async |trigger| {
        let (index, kind) = (trigger.index, &trigger.kind);
        let Source::Scaler { scaler, metrics } = &mut trigger.source else {
            return None;
        };
        if !metrics.is_empty() {
            return None;
        }
        let standing = metrics_of(surroundings.hpa, index);
        // After a restart all objects are prepared at once, and those of a server that hangs must not hold up the others: the first
        // poll tells whether what stands in the HPA is still right.
        let is_restart = surroundings.before.is_empty() && !standing.is_empty();
        let failure = match is_restart {
            true => None,
            false => scaler.learn_metrics().await.err(),
        };
        *metrics = scaler.metrics();
        if metrics.is_empty() {
            *metrics = standing_or_stand_in(standing, index, kind);
        }
        failure.map(|error| format!("trigger {index} ({kind}): {error}"))
    });
    join_all(learnt).await.into_iter().flatten().collect()
}

/// The metrics that an HPA has for the trigger with this index.
fn metrics_of(hpa: Option<&HorizontalPodAutoscaler>, index: usize) -> Vec<MetricSpec> {
    let prefix = metric_name(index, "");
    let all = hpa.and_then(|hpa| hpa.spec.as_ref()?.metrics.as_deref());
    all.unwrap_or_default()
        .iter()
        .filter_map(|metric| hpa::metric_of(metric.external.as_ref()?))
        .filter(|metric| metric.name.starts_with(&prefix))
        .collect()
}

#[cfg(test)]
impl PreparedTrigger {
    /// A trigger that a test's own scaler reads.
    pub fn of(index: usize, scaler: Arc<dyn Scaler>) -> Self {
        Self {
            kind: "test".to_owned(),
            index,
            label: "test".to_owned(),
            source: Source::Scaler {
                metrics: scaler.metrics(),
                scaler,
            },
            built_from: None,
            listening: None,
            authentication: None,
        }
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
    let mut named = named_variables(declared).peekable();
    if named.peek().is_some() {
        let container = environment.variables(used).await;
        for name in named {
            match container.get(name) {
                Ok(Some(value)) => drop(variables.insert(name.to_owned(), value.to_owned())),
                Ok(None) => {}
                Err(problem) => {
                    problems.push(format!("environment variable {name:?}: {problem}"));
                }
            }
        }
    }
    let input = Trigger {
        kind: declared.type_.clone(),
        index,
        name: declared.name.clone(),
        metric_type: metric_type(declared.metric_type.as_deref()),
        // The object's to say, which isn't looked at here.
        is_part_of_a_formula: false,
        namespace: key.namespace.to_string(),
        object: key.name.to_string(),
        metadata: declared.metadata.clone(),
        environment: variables,
        authentication: resolved.parameters,
        pod_identity: resolved.pod_identity,
    };
    (input, problems)
}

/// The variables of the target's container that a trigger takes parameters from. What is wrong with others is none of its
/// business.
fn named_variables(declared: &Declared) -> impl Iterator<Item = &str> {
    let metadata = declared.metadata.iter();
    metadata
        .filter(|(key, _)| key.ends_with("FromEnv") || key.ends_with("FromEnvFile"))
        .map(|(_, variable)| variable.as_str())
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
            Source::Scaler { scaler, .. } if trigger.built_from.as_ref() == Some(input) => {
                Some(scaler.clone())
            }
            _ => None,
        });
    if problems.is_empty() {
        return match kept {
            Some(scaler) => Ok(Source::of(scaler)),
            None => build_scaler(input, surroundings.scaling).map(Source::of),
        };
    }
    if let Some(Source::Scaler { scaler, .. }) = surroundings
        .same_trigger(input, declared)
        .map(|trigger| &trigger.source)
    {
        return Ok(Source::of(scaler.clone()));
    }
    // The true names where they are known without what is missing, so that the HPA needs no second change.
    let known = build_scaler(input, surroundings.scaling).map(|scaler| scaler.metrics());
    let metrics = known.ok().filter(|metrics| !metrics.is_empty());
    let metrics = metrics.unwrap_or_else(|| {
        let standing = metrics_of(surroundings.hpa, input.index);
        standing_or_stand_in(standing, input.index, &input.kind)
    });
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

    /// Whether its Prometheus metrics have this one: what it publishes, and the resource that the HPA reads by itself.
    pub fn shows(&self, metric: &str) -> bool {
        match &self.source {
            Source::Resource { metric: resource } => resource == metric,
            _ => self.publishes(metric),
        }
    }
}

impl Source {
    /// A scaler with the metrics that it has now.
    fn of(scaler: Arc<dyn Scaler>) -> Self {
        let metrics = scaler.metrics();
        Self::Scaler { scaler, metrics }
    }

    /// Nothing can be read of it as it stands: what it needs isn't there, or it has not named its metrics.
    pub fn is_broken(&self) -> bool {
        match self {
            Self::Scaler { scaler, .. } => scaler.metrics().is_empty(),
            Self::Broken { .. } => true,
            Self::Resource { .. } | Self::Sale { .. } => false,
        }
    }

    /// The external metrics that it has in the HPA.
    pub fn metrics(&self) -> &[MetricSpec] {
        match self {
            Self::Scaler { metrics, .. }
            | Self::Sale { metrics }
            | Self::Broken { metrics, .. } => metrics,
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
        listening: None,
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

/// What is in the HPA for a trigger whose own metrics aren't known: those that stand there already, else one in their place, whose
/// target is never compared with anything.
fn standing_or_stand_in(standing: Vec<MetricSpec>, index: usize, kind: &str) -> Vec<MetricSpec> {
    if !standing.is_empty() {
        return standing;
    }
    vec![MetricSpec {
        name: metric_name(index, kind),
        target_type: MetricType::AverageValue,
        target: Quantity::from_integer(1),
    }]
}
