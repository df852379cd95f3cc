//! Prepares a ScaledObject: finds its target, resolves its authentication, builds its scalers, and makes its HPA be there.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::autoscaling::v2::{HorizontalPodAutoscaler, MetricSpec as HpaMetric};
use kube::ResourceExt;
use sakidori_api::{ScaledObject, reasons};
use sakidori_engine::{EventType, ObjectKey, PrepareOutcome, Quantity};
use sakidori_scalers::{Context, MetricSpec, MetricType, Scaler, Trigger};
use tracing::{info, warn};

use crate::api_error::plain;
use crate::authentication;
use crate::control::Events;
use crate::deletion::Finalizer;
use crate::environment::TargetEnvironment;
use crate::events::EventPublisher;
use crate::hpa;
use crate::hpa_index::{HpaIndex, scaling_active};
use crate::hpa_writer::HpaWriter;
use crate::objects::Objects;
use crate::readings::{ObjectReadings, Readings};
use crate::references::{Reference, References};
use crate::refusals::Patient;
use crate::resource_trigger;
use crate::status::Found;
use crate::target::{Target, Targets, replicas};

/// Everything that polling an object needs.
pub struct Prepared {
    pub target: Target,
    pub triggers: Vec<PreparedTrigger>,
    pub readings: Arc<ObjectReadings>,
    pub found: Found,
}

/// One trigger, ready to be read.
pub struct PreparedTrigger {
    pub kind: String,
    pub index: usize,
    /// The `scaler` label of Prometheus metrics: the trigger's name, else KEDA's type name.
    pub label: String,
    pub source: Source,
    /// What the scaler was built from: it is kept while this stays the same, with its connections and its memory.
    built_from: Option<Trigger>,
}

#[derive(Clone)]
pub enum Source {
    Scaler(Arc<dyn Scaler>),
    /// `cpu` and `memory`: the HPA reads them from metrics-server; `metric` is the resource.
    Resource {
        metric: String,
    },
    /// It can't be built because its authentication isn't there. It counts as failing, and stands in the HPA under `metric`:
    /// a metric that can't be read keeps the HPA from scaling down, while the other triggers may scale up.
    Broken {
        metric: String,
        message: String,
    },
}

pub struct Preparer {
    pub objects: Arc<Objects>,
    pub targets: Arc<Targets>,
    pub references: Arc<References>,
    pub readings: Arc<Readings>,
    pub hpas: Arc<HpaIndex>,
    pub writer: HpaWriter,
    pub finalizer: Arc<Finalizer>,
    pub scaling: Context,
    pub events: Events,
    pub publisher: Arc<EventPublisher>,
    /// Makes Events of metadata keys that no parameter reads.
    pub publish_unmatched_parameters: bool,
    /// Where ClusterTriggerAuthentications have their Secrets.
    pub cluster_object_namespace: String,
}

/// Why an object can't be prepared; becomes the Ready condition's message.
type Failure = String;

impl Preparer {
    /// Prepares the object as the watch last showed it.
    pub async fn prepare(&self, key: &ObjectKey) -> PrepareOutcome {
        let Some(object) = self.objects.object(key) else {
            return PrepareOutcome::Failed {
                message: "the ScaledObject is gone".to_owned(),
                pollable: false,
            };
        };
        match self.try_prepare(key, &object).await {
            Ok(done) => done,
            Err(message) => {
                // What was prepared before stays: bad input loses nothing.
                PrepareOutcome::Failed {
                    message,
                    pollable: self.objects.prepared(key).is_some(),
                }
            }
        }
    }

    async fn try_prepare(
        &self,
        key: &ObjectKey,
        object: &Arc<ScaledObject>,
    ) -> Result<PrepareOutcome, Failure> {
        check(object)?;
        if let Some(other) = self.objects.earlier_owner(key, object) {
            let target = &object.spec.scale_target_ref.name;
            return Err(format!(
                "{}: the workload '{target}' is already managed by the ScaledObject '{other}'; \
                 delete one of the two or give them different targets",
                reasons::WRONG_TARGET
            ));
        }
        let wrong_target = |error| format!("{}: {error}", reasons::WRONG_TARGET);
        let target = self
            .targets
            .resolve(&key.namespace, &object.spec.scale_target_ref)
            .await
            .map_err(wrong_target)?;
        let scale = self.targets.scale(&target).await.map_err(wrong_target)?;
        let target_replicas = replicas(&scale);

        let mut used = HashSet::new();
        let built = self.build_triggers(key, object, &target, &mut used).await?;
        self.references.retain(key, &used);

        let hpa_failed = |error: String| format!("{}: {error}", reasons::HPA_FAILED);
        let found = found(object, &target, &built.metrics, target_replicas);
        check_metric_names(object, &found).map_err(hpa_failed)?;
        self.finalizer
            .ensure(object)
            .await
            .map_err(|error| format!("adding the finalizer: {}", plain(&error)))?;
        let desired = Arc::new(hpa::desired(object, &target, built.metrics));
        self.ensure_hpa(key, object, &desired)
            .await
            .map_err(hpa_failed)?;

        let cached = |index: usize| {
            object.spec.triggers[index]
                .use_cached_metrics
                .unwrap_or(false)
        };
        let metrics = built.triggers.iter().flat_map(|trigger| {
            trigger
                .external_metrics()
                .into_iter()
                .map(|metric| (metric, cached(trigger.index)))
                .collect::<Vec<_>>()
        });
        let interval = object.to_engine("").polling_interval;
        let interval = Duration::try_from(interval).unwrap_or(Duration::from_secs(30));
        let readings = self.readings.declare(key, interval, metrics);
        let first_time = object
            .status
            .as_ref()
            .is_none_or(|status| status.hpa_name.is_none())
            && self.objects.prepared(key).is_none();
        if first_time {
            for trigger in &built.triggers {
                let message = format!("Scaler {} is built", trigger.kind);
                self.publisher.publish(
                    object,
                    EventType::Normal,
                    reasons::SCALERS_STARTED,
                    message,
                );
            }
        }
        let prepared = Arc::new(Prepared {
            target,
            triggers: built.triggers,
            readings,
            found,
        });
        if !self
            .objects
            .set_prepared(key, object.metadata.uid.as_deref(), prepared)
        {
            // Deleted, or replaced under the same name, while it was prepared.
            self.readings.forget(key);
        }
        Ok(PrepareOutcome::Done {
            target_replicas,
            problems: built.problems,
        })
    }

    /// Makes the HPA be there, after deleting the one under the object's former HPA name.
    async fn ensure_hpa(
        &self,
        key: &ObjectKey,
        object: &ScaledObject,
        desired: &Arc<HorizontalPodAutoscaler>,
    ) -> Result<(), String> {
        let name = desired.name_any();
        for renamed in self.hpas.owned_by(key, object.metadata.uid.as_deref()) {
            if renamed.name_any() != name {
                info!(object = %key, from = renamed.name_any(), to = name, "renaming the HPA");
                self.writer
                    .delete(&key.namespace, &renamed.name_any(), renamed.uid())
                    .await
                    .map_err(|error| {
                        format!(
                            "deleting the HPA {:?}: {}",
                            renamed.name_any(),
                            plain(&error)
                        )
                    })?;
            }
        }
        let known = self.hpas.get(&key.namespace, &name);
        // The watch tells of changes only; what the HPA says already counts too, after a restart.
        if let Some(active) = known.as_deref().and_then(scaling_active) {
            self.events.send(active.into_event(key.clone()));
        }
        // Known before it is written, so that the watch's answer to the write is seen to be what was asked for.
        self.objects.set_desired_hpa(key, desired.clone());
        self.writer
            .ensure(desired, known.as_deref())
            .await
            .map_err(|error| format!("applying the HPA {name:?}: {}", plain(&error)))
    }

    /// Builds a trigger's scaler, and tells of what works, but probably not as meant.
    fn build(&self, object: &ScaledObject, trigger: &Trigger) -> Result<Arc<dyn Scaler>, String> {
        let scaler =
            sakidori_scalers::build(trigger, &self.scaling).map_err(|error| error.to_string())?;
        self.warn(object, trigger);
        Ok(Arc::new(Patient::new(scaler)))
    }

    fn warn(&self, object: &ScaledObject, trigger: &Trigger) {
        for warning in sakidori_scalers::warnings(trigger) {
            if warning.unmatched && self.publish_unmatched_parameters {
                self.publisher.publish(
                    object,
                    EventType::Warning,
                    reasons::SCALER_INFO,
                    warning.text,
                );
            } else {
                let object = format!("{}/{}", trigger.namespace, trigger.object);
                warn!(object, trigger = trigger.index, "{}", warning.text);
            }
        }
    }

    async fn build_triggers(
        &self,
        key: &ObjectKey,
        object: &ScaledObject,
        target: &Target,
        used: &mut HashSet<Reference>,
    ) -> Result<Built, Failure> {
        let before = self.objects.prepared(key);
        let mut environment = TargetEnvironment::new(
            &self.references,
            key,
            target,
            object
                .spec
                .scale_target_ref
                .env_source_container_name
                .as_deref(),
        );
        let mut built = Built::default();
        let mut failures = Vec::new();
        for (index, trigger) in object.spec.triggers.iter().enumerate() {
            let named = |message: &str| format!("trigger {index} ({}): {message}", trigger.type_);
            if resource_trigger::is_resource(&trigger.type_) {
                match resource_trigger::metric(trigger) {
                    Ok(metric) => {
                        built.metrics.push(metric);
                        built.triggers.push(PreparedTrigger {
                            kind: trigger.type_.clone(),
                            index,
                            label: trigger
                                .name
                                .clone()
                                .unwrap_or_else(|| "cpuMemoryScaler".to_owned()),
                            source: Source::Resource {
                                metric: trigger.type_.clone(),
                            },
                            built_from: None,
                        });
                    }
                    Err(message) => failures.push(named(&message)),
                }
                continue;
            }
            let resolved = authentication::resolve(
                &self.references,
                key,
                &self.cluster_object_namespace,
                trigger.authentication_ref.as_ref(),
                &mut environment,
                used,
            )
            .await;
            let needs_environment = trigger
                .metadata
                .keys()
                .any(|name| name.ends_with("FromEnv"));
            let mut problems = resolved.problems;
            let variables = if needs_environment {
                let resolved = environment.variables(used).await;
                problems.extend(resolved.problems.iter().cloned());
                resolved.variables.clone()
            } else {
                BTreeMap::new()
            };
            let input = Trigger {
                kind: trigger.type_.clone(),
                index,
                name: trigger.name.clone(),
                metric_type: metric_type(trigger.metric_type.as_deref()),
                namespace: key.namespace.to_string(),
                object: key.name.to_string(),
                metadata: trigger.metadata.clone(),
                environment: variables,
                authentication: resolved.parameters,
            };
            let label = trigger
                .name
                .clone()
                .filter(|name| !name.is_empty())
                .or_else(|| kind_label(&trigger.type_))
                .unwrap_or_else(|| trigger.type_.clone());
            let kept = before
                .as_ref()
                .and_then(|before| before.scaler_built_from(&input));
            let source = match kept.map_or_else(|| self.build(object, &input), Ok) {
                Ok(scaler) => Source::Scaler(scaler),
                Err(message) if problems.is_empty() => {
                    failures.push(named(&message));
                    continue;
                }
                // What is missing explains it; the trigger waits for that.
                Err(_) => Source::Broken {
                    metric: format!("s{index}-{}", trigger.type_),
                    message: problems.join("; "),
                },
            };
            built
                .problems
                .extend(problems.iter().map(|problem| named(problem)));
            match &source {
                Source::Scaler(scaler) => built.metrics.extend(
                    scaler
                        .metrics()
                        .iter()
                        .map(|metric| hpa::external_metric(&key.name, metric)),
                ),
                Source::Broken { metric, .. } => built
                    .metrics
                    .push(hpa::external_metric(&key.name, &stand_in(metric))),
                Source::Resource { .. } => {}
            }
            let built_from = matches!(source, Source::Scaler(_)).then_some(input);
            built.triggers.push(PreparedTrigger {
                kind: trigger.type_.clone(),
                index,
                label,
                source,
                built_from,
            });
        }
        if !failures.is_empty() {
            return Err(format!("{}: {}", reasons::HPA_FAILED, failures.join("; ")));
        }
        Ok(built)
    }
}

#[derive(Default)]
struct Built {
    triggers: Vec<PreparedTrigger>,
    /// In the order of the triggers.
    metrics: Vec<HpaMetric>,
    problems: Vec<String>,
}

impl Prepared {
    fn scaler_built_from(&self, input: &Trigger) -> Option<Arc<dyn Scaler>> {
        self.triggers
            .iter()
            .find_map(|trigger| match (&trigger.source, &trigger.built_from) {
                (Source::Scaler(scaler), Some(from)) if from == input => Some(scaler.clone()),
                _ => None,
            })
    }
}

impl PreparedTrigger {
    fn external_metrics(&self) -> Vec<String> {
        match &self.source {
            Source::Scaler(scaler) => scaler
                .metrics()
                .iter()
                .map(|metric| metric.name.clone())
                .collect(),
            Source::Broken { metric, .. } => vec![metric.clone()],
            Source::Resource { .. } => Vec::new(),
        }
    }
}

/// What is wrong with the object by itself and keeps it from being scaled.
fn check(object: &ScaledObject) -> Result<(), Failure> {
    let problems = object.problems();
    let stopping: Vec<_> = problems
        .iter()
        .filter_map(|problem| problem.stops_scaling().map(|stage| (stage, problem)))
        .collect();
    let Some((stage, _)) = stopping.first() else {
        return Ok(());
    };
    let texts: Vec<String> = stopping
        .iter()
        .map(|(_, problem)| problem.to_string())
        .collect();
    Err(format!("{stage}: {}", texts.join("; ")))
}

fn kind_label(kind: &str) -> Option<String> {
    sakidori_scalers::kinds()
        .iter()
        .find(|known| known.name == kind)
        .map(|known| known.label.to_owned())
}

fn metric_type(text: Option<&str>) -> Option<MetricType> {
    match text {
        Some("Value") => Some(MetricType::Value),
        Some("Utilization") => Some(MetricType::Utilization),
        Some("AverageValue") => Some(MetricType::AverageValue),
        _ => None,
    }
}

/// The metric that stands in the HPA for a trigger that can't be built yet. Its target is never compared with anything.
fn stand_in(name: &str) -> MetricSpec {
    MetricSpec {
        name: name.to_owned(),
        target_type: MetricType::AverageValue,
        target: Quantity::from_integer(1),
    }
}

fn found(
    object: &ScaledObject,
    target: &Target,
    metrics: &[HpaMetric],
    target_replicas: i32,
) -> Found {
    Found {
        scale_target_kind: target.kind(),
        scale_target_gvkr: target.group_version_kind_resource(),
        original_replica_count: target_replicas,
        external_metric_names: metrics
            .iter()
            .filter_map(|metric| metric.external.as_ref())
            .map(|external| external.metric.name.clone())
            .collect(),
        resource_metric_names: metrics
            .iter()
            .filter_map(|metric| metric.resource.as_ref())
            .map(|resource| resource.name.clone())
            .collect(),
        hpa_name: object.hpa_name(),
        triggers_types: object.spec.triggers_types(),
        authentications_types: object.spec.authentications_types(),
    }
}

/// An HPA can't tell two metrics of one name apart.
fn check_metric_names(object: &ScaledObject, found: &Found) -> Result<(), String> {
    let mut seen = HashSet::new();
    match found
        .external_metric_names
        .iter()
        .find(|name| !seen.insert(name.as_str()))
    {
        Some(name) => Err(format!(
            "metricName {name} defined multiple times in ScaledObject {}",
            object.name_any()
        )),
        None => Ok(()),
    }
}
