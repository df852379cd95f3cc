//! Prepares a ScaledObject: finds its target, resolves its authentication, builds its scalers, and makes its HPA be there.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use k8s_openapi::api::autoscaling::v2::{HorizontalPodAutoscaler, MetricSpec as HpaMetric};
use kube::ResourceExt;
use sakidori_api::{ScaledObject, annotations, reasons};
use sakidori_engine::prescale::Bounds;
use sakidori_engine::{
    COMPOSITE_METRIC, EventType, Fallback, MetricTarget, Modifiers, ObjectKey, PrepareOutcome,
    TargetType,
};
use sakidori_scalers::{Context, MetricSpec, MetricType, Trigger};
use sakidori_values::ObjectReadings;
use tracing::{info, warn};

use crate::api_error::plain;
use crate::control::Events;
use crate::deletion::Finalizer;
use crate::events::EventPublisher;
use crate::hpa;
use crate::hpa_index::{self, HpaIndex, scaling_active};
use crate::hpa_writer::HpaWriter;
use crate::objects::Objects;
use crate::path_name;
use crate::prometheus::MetricFacts;
use crate::push;
use crate::references::References;
use crate::resize::Resizer;
use crate::sales::{self, PreparedSale, SaleNews};
use crate::status::Found;
use crate::target::{Target, TargetError, Targets, replicas, same_target};
use crate::triggers::{self, PreparedTrigger, Surroundings};

/// Everything that polling an object needs.
pub struct Prepared {
    pub target: Target,
    pub triggers: Vec<PreparedTrigger>,
    pub readings: Arc<ObjectReadings>,
    pub found: Found,
    pub fallback: Option<Fallback>,
    pub modifiers: Option<Modifiers>,
    pub sales: Vec<PreparedSale>,
}

impl Prepared {
    /// What the HPA is told of a trigger that fails, or of all triggers, is not what scalers read but what the engine makes of it.
    pub fn is_decided_by_engine(&self) -> bool {
        self.fallback.is_some() || self.modifiers.is_some()
    }

    /// Whether the object, as it is now, has series for this metric.
    pub fn shows(&self, metric: &MetricFacts) -> bool {
        let of_trigger = self.triggers.iter().any(|trigger| {
            trigger.index == metric.trigger_index
                && trigger.label == metric.scaler
                && trigger.shows(&metric.metric)
        });
        of_trigger || (self.modifiers.is_some() && metric.scaler == COMPOSITE_METRIC)
    }

    /// Whether a fallback from this trigger's failure is shared among the pods that are Ready.
    pub fn falls_back_by_ready_pods(&self, trigger: &PreparedTrigger) -> bool {
        let by_value = match &self.modifiers {
            Some(modifiers) => modifiers.target_type == TargetType::Value,
            None => trigger
                .source
                .metrics()
                .iter()
                .any(|metric| metric.target_type == MetricType::Value),
        };
        self.fallback.is_some() && by_value
    }
}

pub struct Preparer {
    pub objects: Arc<Objects>,
    pub targets: Arc<Targets>,
    pub references: Arc<References>,
    pub hpas: Arc<HpaIndex>,
    pub sale_news: Arc<SaleNews>,
    pub writer: HpaWriter,
    pub finalizer: Arc<Finalizer>,
    pub resizer: Resizer,
    pub scaling: Context,
    pub events: Events,
    pub publisher: Arc<EventPublisher>,
    /// Makes Events of metadata keys that no parameter reads.
    pub publish_unmatched_parameters: bool,
    /// Where ClusterTriggerAuthentications have their Secrets.
    pub cluster_object_namespace: String,
}

/// How long a new object waits for what it refers to before it is prepared without it.
const FIRST_REFERENCES_WITHIN: Duration = Duration::from_secs(2);

/// Why an object can't be prepared.
pub(crate) struct Failure {
    /// Becomes the Ready condition's message.
    message: String,
    /// The Event that KEDA has for it, besides the one with the whole message.
    event: Option<(&'static str, String)>,
}

impl From<String> for Failure {
    fn from(message: String) -> Self {
        Self {
            message,
            event: None,
        }
    }
}

impl Preparer {
    /// Prepares the object as the watch last showed it.
    pub async fn prepare(&self, key: &ObjectKey) -> PrepareOutcome {
        let Some(object) = self.objects.object(key) else {
            return PrepareOutcome::Failed {
                message: "the ScaledObject is gone".to_owned(),
                pollable: false,
            };
        };
        let prepared = match object.pause() {
            Some(pause) => self.prepare_paused(key, &object, pause).await,
            None => self.try_prepare(key, &object).await,
        };
        match prepared {
            Ok(done) => {
                self.objects.complain(key, None);
                done
            }
            Err(Failure { message, event }) => {
                // Once for each complaint, not at each try.
                let is_new = self.objects.complain(key, Some(&message));
                if let Some((reason, text)) = event.filter(|_| is_new) {
                    self.publisher.publish_beside(&object, reason, text);
                }
                // What was prepared before stays: bad input loses nothing.
                let pollable = self
                    .objects
                    .prepared_of(key, object.metadata.uid.as_deref())
                    .is_some();
                PrepareOutcome::Failed { message, pollable }
            }
        }
    }

    async fn try_prepare(
        &self,
        key: &ObjectKey,
        object: &Arc<ScaledObject>,
    ) -> Result<PrepareOutcome, Failure> {
        check(object)?;
        self.check_owner(key, object).await?;
        let wrong_target = |error: TargetError| Failure {
            message: format!("{}: {error}", reasons::WRONG_TARGET),
            event: match error {
                TargetError::NotFound { .. } => Some((
                    reasons::SCALED_OBJECT_CHECK_FAILED,
                    reasons::TARGET_NOT_FOUND_MESSAGE.to_owned(),
                )),
                TargetError::NotScalable { .. } => Some((
                    reasons::SCALED_OBJECT_CHECK_FAILED,
                    reasons::TARGET_NOT_SCALABLE_MESSAGE.to_owned(),
                )),
                TargetError::ApiVersion(_) | TargetError::Name(_) | TargetError::Kind { .. } => {
                    Some((reasons::SCALED_OBJECT_UPDATE_FAILED, error.to_string()))
                }
                TargetError::Forbidden { .. } | TargetError::Read { .. } => None,
            },
        };
        let target = self
            .targets
            .resolve(&key.namespace, &object.spec.scale_target_ref)
            .await
            .map_err(wrong_target)?;
        let scale = self.targets.scale(&target).await.map_err(wrong_target)?;
        let target_replicas = replicas(&scale);

        let uid = object.metadata.uid.as_deref();
        let before = self.objects.prepared_of(key, uid);
        let mut used = HashSet::new();
        let hpa = self.hpas.owned_by(key, uid).into_iter().next();
        let surroundings = Surroundings {
            references: &self.references,
            scaling: &self.scaling,
            cluster_object_namespace: &self.cluster_object_namespace,
            before: before.as_ref().map_or(&[], |before| &before.triggers),
            hpa: hpa.as_deref(),
        };
        let hpa_failed = |error: String| format!("{}: {error}", reasons::HPA_FAILED);
        let first_time = before.is_none() && hpa.is_none();
        let may_wait = first_time && self.objects.complaint(key).is_none();
        let not_built = |error: String| Failure {
            message: hpa_failed(error.clone()),
            event: Some((reasons::SCALER_FAILED, error)),
        };
        let mut built = triggers::build(key, object, &target, &surroundings, &mut used)
            .await
            .map_err(not_built)?;
        // Manifests that are applied together come in any order: what a new object refers to may be a moment behind it.
        let waited = Instant::now();
        while may_wait
            && !(built.problems.is_empty() && built.unnamed.is_empty())
            && waited.elapsed() < FIRST_REFERENCES_WITHIN
        {
            tokio::time::sleep(Duration::from_millis(100)).await;
            built = triggers::build(key, object, &target, &surroundings, &mut used)
                .await
                .map_err(not_built)?;
        }
        if first_time
            && built
                .triggers
                .iter()
                .all(|trigger| trigger.source.is_broken())
        {
            let problems = [built.problems, built.unnamed].concat();
            return Err(hpa_failed(problems.join("; ")).into());
        }
        self.references.retain(key, &used);
        for trigger in built
            .triggers
            .iter()
            .filter_map(|trigger| trigger.built_from.as_ref())
        {
            if !surroundings.has_built_from(trigger) {
                self.warn(object, trigger);
            }
        }

        let original = original_replicas(object, before.as_deref()).unwrap_or(target_replicas);
        let found = found(object, &target, &built.metrics, original);
        check_metric_names(object, &found).map_err(hpa_failed)?;
        self.finalizer
            .ensure(object, original)
            .await
            .map_err(|error| {
                format!(
                    "preparing to restore the replicas at deletion: {}",
                    plain(&error)
                )
            })?;
        let mut desired = hpa::desired(object, &target, built.metrics);
        if sales::has_sales(object)
            && self.objects.bounds(key).is_none()
            && let Some(standing) = hpa.as_deref().and_then(hpa::bounds)
        {
            // After a restart: until the engine knows the floor of now, the one that stands there counts.
            hpa::set_bounds(&mut desired, standing);
        }
        self.ensure_hpa(key, object, desired)
            .await
            .map_err(hpa_failed)?;
        // Another may have come to the same target meanwhile.
        self.check_owner(key, object).await?;

        let cached = |index: usize| {
            object.spec.triggers[index]
                .use_cached_metrics
                .unwrap_or(false)
        };
        let metrics = built.triggers.iter().flat_map(|trigger| {
            let names = trigger.source.metrics().iter();
            names.map(|metric| (metric.name.clone(), cached(trigger.index)))
        });
        let specification = object.to_engine("");
        let composite = specification.modifiers.as_ref().map(|_| {
            // It is as fresh as the least fresh of its triggers may be.
            let mut external = built
                .triggers
                .iter()
                .filter(|trigger| !trigger.source.metrics().is_empty());
            (
                annotations::COMPOSITE_METRIC.to_owned(),
                external.all(|trigger| cached(trigger.index)),
            )
        });
        let metrics = metrics.chain(composite);
        let interval = specification.polling_interval;
        let interval = Duration::try_from(interval).unwrap_or(Duration::from_secs(30));
        // Readings are kept with their scaler: a changed trigger may read another source under the same name.
        let same_triggers = built.triggers.iter().all(|trigger| {
            let from = trigger.built_from.as_ref();
            from.is_none_or(|from| surroundings.has_built_from(from))
        });
        let store = self.objects.values().store();
        let generation = object.metadata.generation.unwrap_or_default();
        let kept = |metric: &str| {
            if before.is_none() {
                // When this replica has begun to lead: what the one before it told is served until the first poll has ended.
                let uid = uid.unwrap_or_default();
                return store.slot_of_generation(key, uid, generation, metric);
            }
            if metric == annotations::COMPOSITE_METRIC {
                let same = |before: &&Arc<Prepared>| {
                    same_triggers && before.modifiers == specification.modifiers
                };
                return before.as_ref().filter(same)?.readings.slot(metric);
            }
            let trigger = built
                .triggers
                .iter()
                .find(|trigger| trigger.publishes(metric))?;
            let from = trigger.built_from.as_ref()?;
            let before = before
                .as_ref()
                .filter(|_| surroundings.has_built_from(from))?;
            before.readings.slot(metric)
        };
        let readings = store.readings(key, interval, metrics, kept);
        let readings = Arc::new(readings.of_generation(generation));
        if before.is_none()
            && object
                .status
                .as_ref()
                .is_none_or(|status| status.hpa_name.is_none())
        {
            self.tell_built(object, &built.triggers);
        }
        let published = built
            .triggers
            .iter()
            .map(|trigger| trigger.source.metrics().iter().map(target_of).collect());
        let published: Vec<Vec<MetricTarget>> = published.collect();
        push::listen(key, &mut built.triggers, surroundings.before, &self.events);
        let prepared = Prepared {
            target,
            triggers: built.triggers,
            readings,
            found,
            fallback: specification.fallback,
            modifiers: specification.modifiers,
            sales: sales::of_object(key, object),
        };
        let had_sales = before.is_some_and(|before| !before.sales.is_empty());
        let remembers = object
            .status
            .as_ref()
            .is_some_and(|status| status.sakidori.is_some());
        let concerned = had_sales || remembers || !prepared.sales.is_empty();
        self.objects.set_prepared(key, uid, Arc::new(prepared));
        self.resizer.owner_found(key);
        if concerned {
            self.sale_news.tell(key);
        }
        Ok(PrepareOutcome::Done {
            target_replicas,
            problems: built.problems,
            metrics: published,
        })
    }

    /// One target has one ScaledObject. Who holds it keeps it, also during a pause; where nobody does, the older one gets it.
    pub(crate) async fn check_owner(
        &self,
        key: &ObjectKey,
        object: &ScaledObject,
    ) -> Result<(), Failure> {
        let reference = &object.spec.scale_target_ref;
        let holds = |name: &ObjectKey, object: &ScaledObject| {
            let hpas = self.hpas.owned_by(name, object.metadata.uid.as_deref());
            hpas.into_iter()
                .find(|hpa| hpa_index::scales(hpa, reference))
        };
        let winner = self
            .objects
            .winner(key, object, |name, object| holds(name, object).is_some());
        let Some(winner) = winner else { return Ok(()) };
        self.objects.let_go_of_target(key);
        self.resizer.owner_found(key);
        let uid = object.metadata.uid.as_deref();
        let prepared = self.objects.prepared_of(key, uid);
        if prepared.is_some_and(|prepared| same_target(&prepared.target.reference(), reference)) {
            // Its triggers would go on raising the target that is another's.
            self.objects.clear_prepared(key, uid);
        }
        if let Some(hpa) = holds(key, object) {
            // Two HPAs on one target: the HPA controller scales with neither.
            self.delete_hpa(&hpa).await?;
            info!(object = %key, reason = "HPADeleted", hpa = hpa.name_any(), winner, "deleted the HPA: its target is another ScaledObject's");
        }
        Err(format!(
            "{}: the workload '{}' is already managed by the ScaledObject '{winner}'; \
             delete one of the two or give them different targets",
            reasons::WRONG_TARGET,
            reference.name
        )
        .into())
    }

    /// Makes the HPA be there, and then removes the one under the object's former HPA name: for a moment there are two, in which
    /// the HPA controller does nothing, but never none.
    async fn ensure_hpa(
        &self,
        key: &ObjectKey,
        object: &ScaledObject,
        desired: HorizontalPodAutoscaler,
    ) -> Result<(), String> {
        let name = desired.name_any();
        let uid = object.metadata.uid.as_deref();
        // Known before it is looked at and written: what the watch shows from now on is compared with it.
        let desired = self.objects.want_hpa(key, uid, desired);
        let known = match self.hpas.get(&key.namespace, &name) {
            // One that was made by hand carries no label to be watched by.
            None => self
                .writer
                .get(&key.namespace, &name)
                .await
                .map(|found| found.map(Arc::new)),
            known => Ok(known),
        };
        let known =
            known.map_err(|error| format!("reading the HPA {name:?}: {}", plain(&error)))?;
        if let Some(known) = known.as_deref() {
            self.check_hpa_is_ours(key, object, known)?;
        }
        // The watch tells of changes only; what the HPA says already counts too, after a restart.
        if let Some(active) = known.as_deref().and_then(scaling_active) {
            self.events.send(active.into_event(key.clone()));
        }
        let answered = self
            .writer
            .ensure(&desired, known.as_deref())
            .await
            .map_err(|error| format!("applying the HPA {name:?}: {}", plain(&error)))?;
        if let Some(answered) = answered {
            let bounds = hpa::bounds(&answered);
            let (min, max) = (bounds.map(|it| it.min), bounds.map(|it| it.max));
            match known {
                None => {
                    info!(object = %key, reason = "HPACreated", hpa = name, min, max, "made the HPA")
                }
                Some(_) => {
                    info!(object = %key, reason = "HPAChanged", hpa = name, min, max, "changed the HPA")
                }
            }
            // Not only when the watch shows it: who else wants the target looks here.
            self.hpas.insert(answered.clone());
            self.objects.hpa_answered(key, uid, &desired, answered);
        }
        // A floor that was set meanwhile may have been overtaken.
        self.apply_hpa(key).await?;
        for renamed in self.hpas.owned_by(key, uid) {
            let old = renamed.name_any();
            if old != name {
                self.delete_hpa(&renamed).await?;
                info!(object = %key, reason = "HPARenamed", from = old, to = name, "renamed the HPA");
            }
        }
        Ok(())
    }

    /// Makes the HPA that the object asks for be in the cluster, where there is one that is not it.
    ///
    /// # Errors
    /// That the API server can't be reached, or refuses.
    pub async fn apply_hpa(&self, key: &ObjectKey) -> Result<(), String> {
        let Some(wanted) = self.objects.hpa(key) else {
            return Ok(());
        };
        let name = wanted.desired.name_any();
        // One that is not there yet is made by the preparation.
        let Some(known) = self.hpas.get(&key.namespace, &name) else {
            return Ok(());
        };
        let answered = self
            .writer
            .ensure(&wanted, Some(&known))
            .await
            .map_err(|error| format!("applying the HPA {name:?}: {}", plain(&error)))?;
        if let Some(answered) = answered {
            self.hpas.insert(answered.clone());
            if let Some(object) = self.objects.object(key) {
                let uid = object.metadata.uid.as_deref();
                self.objects.hpa_answered(key, uid, &wanted, answered);
            }
        }
        Ok(())
    }

    /// The bounds of the object's HPA in the cluster; where there is none, those that it is going to have without a sale.
    pub(crate) fn standing_bounds(&self, key: &ObjectKey) -> Option<Bounds> {
        let object = self.objects.object(key)?;
        let hpas = self.hpas.owned_by(key, object.metadata.uid.as_deref());
        let standing = hpas.first().and_then(|hpa| hpa::bounds(hpa));
        Some(standing.unwrap_or(Bounds {
            min: object.min_replicas(),
            max: object.max_replicas(),
        }))
    }

    pub(crate) async fn delete_hpa(&self, hpa: &HorizontalPodAutoscaler) -> Result<(), String> {
        let (namespace, name) = (hpa.namespace().unwrap_or_default(), hpa.name_any());
        let deleted = self.writer.delete(&namespace, &name, hpa.uid()).await;
        deleted.map_err(|error| format!("deleting the HPA {name:?}: {}", plain(&error)))?;
        // The watch says so later: meanwhile nobody is to find it there.
        self.hpas.remove(hpa);
        Ok(())
    }

    /// Tells of what works, but probably not as meant.
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

    /// An HPA that someone else made or controls is not taken over, unless the user asks for that.
    fn check_hpa_is_ours(
        &self,
        key: &ObjectKey,
        object: &ScaledObject,
        hpa: &HorizontalPodAutoscaler,
    ) -> Result<(), String> {
        let name = hpa.name_any();
        match hpa_index::controller(hpa) {
            Some(owner) if owner.kind != "ScaledObject" => Err(format!(
                "the HPA '{name}' is controlled by the {} '{}': give spec.advanced.horizontalPodAutoscalerConfig.name another name",
                owner.kind, owner.name
            )),
            Some(owner) if owner.name != object.name_any() => {
                let other = ObjectKey::new(key.namespace.clone(), owner.name.as_str());
                match self.objects.object(&other) {
                    Some(found) if found.uid().as_deref() == Some(&*owner.uid) => Err(format!(
                        "the HPA '{name}' is already managed by the ScaledObject '{}'",
                        owner.name
                    )),
                    // Its owner is gone, and it soon would be.
                    _ => Ok(()),
                }
            }
            Some(_) => Ok(()),
            None if hpa_index::scaled_object_of(hpa).as_ref() == Some(key) => Ok(()),
            None if wants_transfer(object) => Ok(()),
            None => Err(format!(
                "the HPA '{name}' was not made for this ScaledObject: delete it, or take it over with the annotation {}: \"true\"",
                annotations::TRANSFER_HPA_OWNERSHIP
            )),
        }
    }

    fn tell_built(&self, object: &ScaledObject, triggers: &[PreparedTrigger]) {
        for trigger in triggers {
            let message = format!("Scaler {} is built", trigger.kind);
            self.publisher
                .publish(object, EventType::Normal, reasons::SCALERS_STARTED, message);
        }
    }
}

fn wants_transfer(object: &ScaledObject) -> bool {
    let annotation = object
        .annotations()
        .get(annotations::TRANSFER_HPA_OWNERSHIP);
    annotation.is_some_and(|value| value == "true")
}

/// The target's replicas before it was first scaled, where that was seen already.
fn original_replicas(object: &ScaledObject, before: Option<&Prepared>) -> Option<i32> {
    let status = object.status.as_ref();
    status
        .and_then(|status| status.original_replica_count)
        .or_else(|| before.map(|before| before.found.original_replica_count))
}

/// What is wrong with the object by itself and keeps it from being scaled.
fn check(object: &ScaledObject) -> Result<(), Failure> {
    path_name::check(&object.hpa_name())
        .map_err(|problem| format!("{}: the HPA's name {problem}", reasons::HPA_FAILED))?;
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
    Err(format!("{stage}: {}", texts.join("; ")).into())
}

fn found(object: &ScaledObject, target: &Target, metrics: &[HpaMetric], original: i32) -> Found {
    Found {
        scale_target_kind: target.kind(),
        scale_target_gvkr: target.group_version_kind_resource(),
        original_replica_count: original,
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
        composite_scaler_name: object
            .has_formula()
            .then(|| annotations::COMPOSITE_METRIC.to_owned()),
        triggers_types: object.spec.triggers_types(),
        authentications_types: object.spec.authentications_types(),
    }
}

/// A metric as the engine needs to know it.
fn target_of(metric: &MetricSpec) -> MetricTarget {
    MetricTarget {
        metric: metric.name.clone(),
        target: metric.target,
        target_type: match metric.target_type {
            MetricType::Value => TargetType::Value,
            MetricType::AverageValue | MetricType::Utilization => TargetType::AverageValue,
        },
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
