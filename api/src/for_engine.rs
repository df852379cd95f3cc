//! Between the API's types and the engine's: the specification with its defaults filled in, and what a status remembers.

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use sakidori_engine::prescale::{PrescaleStatus, Report, RoomAsked};
use sakidori_engine::{ConditionStatus, ConditionType, Conditions, MetricHealth, Remembered};

use crate::annotations;
use crate::condition::Condition;
use crate::defaults;
use crate::scaled_object::{
    HealthStatus, PrescaleReport, PrescalingStatus, RoomStatus, ScaledObject, ScaledObjectSpec,
    ScaledObjectStatus, ScalingModifiers,
};
use crate::trigger::Trigger;

impl ScaledObject {
    /// What the engine needs to know of the object. `target_kind` is `status.scaleTargetKind`, such as
    /// `apps/v1.Deployment`: only the API server knows it for sure.
    ///
    /// Numbers below the CRD's minima, which an object stored under an older CRD may have, are raised to them. An
    /// object without a creation time, which no API server returns, counts as old.
    pub fn to_engine(&self, target_kind: &str) -> sakidori_engine::ScaledObject {
        let spec = &self.spec;
        sakidori_engine::ScaledObject {
            uid: self.metadata.uid.clone().unwrap_or_default(),
            generation: self.metadata.generation.unwrap_or_default(),
            created_at: self
                .metadata
                .creation_timestamp
                .as_ref()
                .map_or(Timestamp::UNIX_EPOCH, |time| time.0),
            polling_interval: seconds(spec.polling_interval, 1, defaults::POLLING_INTERVAL),
            cooldown_period: seconds(spec.cooldown_period, 0, defaults::COOLDOWN_PERIOD),
            initial_cooldown_period: seconds(
                spec.initial_cooldown_period,
                0,
                defaults::INITIAL_COOLDOWN_PERIOD,
            ),
            idle_replicas: spec.idle_replica_count,
            min_replicas: self.min_replicas(),
            max_replicas: self.max_replicas(),
            target_kind: target_kind.to_owned(),
            target_name: spec.scale_target_ref.name.clone(),
            trigger_count: spec.triggers.len(),
            fallback: self.fallback(),
            modifiers: self.modifiers(),
            switches: self.switches(),
        }
    }

    /// `minReplicaCount`, 0 by default. The HPA's minimum is at least 1.
    pub fn min_replicas(&self) -> i32 {
        self.spec
            .min_replica_count
            .unwrap_or(defaults::MIN_REPLICAS)
    }

    /// `maxReplicaCount`, 100 by default.
    pub fn max_replicas(&self) -> i32 {
        self.spec
            .max_replica_count
            .unwrap_or(defaults::MAX_REPLICAS)
    }

    /// The name that the object's HPA is to have: the configured one, else `keda-hpa-` and the object's name. The HPA
    /// that exists may still have another one, which is then `status.hpaName`.
    pub fn hpa_name(&self) -> String {
        let configured = self
            .spec
            .advanced
            .as_ref()
            .and_then(|advanced| advanced.horizontal_pod_autoscaler_config.as_ref())
            .and_then(|config| config.name.as_deref());
        hpa_name(
            self.metadata.name.as_deref().unwrap_or_default(),
            configured,
        )
    }

    /// True where `scalingModifiers` say anything: one formula then makes one metric of all triggers.
    pub fn has_formula(&self) -> bool {
        let modifiers = self
            .spec
            .advanced
            .as_ref()
            .and_then(|advanced| advanced.scaling_modifiers.as_ref());
        modifiers.is_some_and(|modifiers| {
            let ScalingModifiers {
                formula,
                target,
                activation_target,
                metric_type,
            } = modifiers;
            [formula, target, activation_target, metric_type]
                .into_iter()
                .any(|field| field.as_ref().is_some_and(|text| !text.is_empty()))
        })
    }
}

impl ScaledObjectSpec {
    /// `status.triggersTypes`: the types of the triggers, each once, in their order, joined by commas.
    pub fn triggers_types(&self) -> String {
        each_once(self.triggers.iter().map(|trigger| trigger.type_.as_str()))
    }

    /// `status.authenticationsTypes`: in spite of its name, the names of the authentications the triggers refer to.
    pub fn authentications_types(&self) -> String {
        let name = |trigger: &'_ Trigger| {
            trigger
                .authentication_ref
                .as_ref()
                .map(|reference| reference.name.clone())
        };
        let names: Vec<String> = self.triggers.iter().filter_map(name).collect();
        each_once(names.iter().map(String::as_str))
    }
}

impl ScaledObjectStatus {
    /// What the engine needs of the status when it sees the object for the first time.
    pub fn to_remembered(&self) -> Remembered {
        Remembered {
            last_active_time: self.last_active_time.as_ref().map(|time| time.0),
            conditions: conditions_to_engine(&self.conditions),
            paused_replicas: self.paused_replica_count,
            health: self
                .health
                .iter()
                .map(|(metric, health)| (metric.clone(), health.to_engine()))
                .collect(),
            prescale: self
                .sakidori
                .as_ref()
                .and_then(|sakidori| sakidori.prescaling.as_ref())
                .map(PrescalingStatus::to_engine)
                .unwrap_or_default(),
            // Written together with the first HPA, by KEDA too; conditions are there before.
            seen_before: self
                .hpa_name
                .as_deref()
                .is_some_and(|name| !name.is_empty()),
        }
    }
}

impl PrescalingStatus {
    /// A run that can't be read (it is another version's) is left out.
    pub fn to_engine(&self) -> PrescaleStatus {
        let runs = self.runs.iter();
        PrescaleStatus {
            runs: runs
                .filter_map(|run| serde_json::from_value(run.clone()).ok())
                .collect(),
            reports: self.reports.iter().map(PrescaleReport::to_engine).collect(),
            room: self.room.as_ref().map(|room| RoomAsked {
                pods: room.pods,
                ramp: room.ramp.as_ref().map(|time| time.0),
            }),
        }
    }

    /// `None` where there is nothing to say.
    pub fn from_engine(status: &PrescaleStatus) -> Option<Self> {
        let runs = status.runs.iter();
        let shown = Self {
            runs: runs
                .filter_map(|run| serde_json::to_value(run).ok())
                .collect(),
            reports: status.reports.iter().map(Into::into).collect(),
            room: status.room.as_ref().map(|room| RoomStatus {
                pods: room.pods,
                ramp: room.ramp.map(Time),
            }),
        };
        (shown != Self::default()).then_some(shown)
    }
}

impl PrescaleReport {
    fn to_engine(&self) -> Report {
        Report {
            name: self.name.clone(),
            start: self.start.as_ref().map(|time| time.0).unwrap_or_default(),
            floor: self.floor,
            needed_by_others: self.needed_by_others,
            ready_before_start: self
                .ready_seconds_before_start
                .map(SignedDuration::from_secs),
            pod_hours: self.pod_hours.parse().unwrap_or_default(),
            cut: self.cut,
        }
    }
}

impl From<&Report> for PrescaleReport {
    fn from(report: &Report) -> Self {
        Self {
            name: report.name.clone(),
            start: Some(Time(report.start)),
            floor: report.floor,
            needed_by_others: report.needed_by_others,
            ready_seconds_before_start: report.ready_before_start.map(|before| before.as_secs()),
            pod_hours: format!("{:.1}", report.pod_hours),
            cut: report.cut,
        }
    }
}

/// What `status.health` says of a metric that works, and of one that does not.
const HAPPY: &str = "Happy";
const FAILING: &str = "Failing";

impl HealthStatus {
    pub fn to_engine(&self) -> MetricHealth {
        MetricHealth {
            failures: self.number_of_failures.unwrap_or_default(),
            failing: self.status.as_deref() == Some(FAILING),
        }
    }
}

impl From<MetricHealth> for HealthStatus {
    fn from(health: MetricHealth) -> Self {
        let status = if health.failing { FAILING } else { HAPPY };
        Self {
            number_of_failures: Some(health.failures),
            status: Some(status.to_owned()),
        }
    }
}

/// The engine's conditions out of `status.conditions`. One that is missing has its initial state, one of an unknown
/// type is left out, a status that is neither True nor False is Unknown.
pub fn conditions_to_engine(conditions: &[Condition]) -> Conditions {
    let mut all = Conditions::default();
    for condition in conditions {
        let status = match &*condition.status {
            "True" => ConditionStatus::True,
            "False" => ConditionStatus::False,
            _ => ConditionStatus::Unknown,
        };
        let (reason, message) = (condition.reason.clone(), condition.message.clone());
        let known = sakidori_engine::Condition {
            status,
            reason,
            message,
        };
        match &*condition.type_ {
            kind if kind == ConditionType::Ready.as_str() => all.ready = known,
            kind if kind == ConditionType::Active.as_str() => all.active = known,
            kind if kind == ConditionType::Fallback.as_str() => all.fallback = known,
            kind if kind == ConditionType::Paused.as_str() => all.paused = known,
            kind if kind == ConditionType::HpaActive.as_str() => all.hpa_active = Some(known),
            kind if kind == ConditionType::Prescaled.as_str() => all.prescaled = Some(known),
            kind if kind == ConditionType::Resized.as_str() => all.resized = Some(known),
            _ => {}
        }
    }
    all
}

/// `status.conditions` out of the engine's conditions, in KEDA's order.
pub fn conditions_from_engine(conditions: &Conditions) -> Vec<Condition> {
    conditions
        .iter()
        .map(|(kind, condition)| Condition {
            type_: kind.as_str().to_owned(),
            status: condition.status.as_str().to_owned(),
            reason: condition.reason.clone(),
            message: condition.message.clone(),
        })
        .collect()
}

/// The name that the HPA of the ScaledObject `name` is to have, where `configured` is what its `horizontalPodAutoscalerConfig` says.
pub fn hpa_name(name: &str, configured: Option<&str>) -> String {
    match configured.filter(|configured| !configured.is_empty()) {
        Some(configured) => configured.to_owned(),
        None => format!("{}{name}", annotations::HPA_NAME_PREFIX),
    }
}

fn seconds(value: Option<i32>, least: i32, default: SignedDuration) -> SignedDuration {
    value.map_or(default, |value| {
        SignedDuration::from_secs(i64::from(value.max(least)))
    })
}

fn each_once<'a>(texts: impl Iterator<Item = &'a str>) -> String {
    let mut seen: Vec<&str> = Vec::new();
    for text in texts {
        if !seen.contains(&text) {
            seen.push(text);
        }
    }
    seen.join(",")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn object(spec: Value) -> ScaledObject {
        let mut spec = spec;
        spec["scaleTargetRef"] = json!({ "name": "orders" });
        let metadata = json!({ "name": "orders", "uid": "u-1", "generation": 4, "creationTimestamp": "2026-01-02T03:04:05Z" });
        serde_json::from_value(json!({ "apiVersion": "keda.sh/v1alpha1", "kind": "ScaledObject", "metadata": metadata, "spec": spec })).unwrap()
    }

    #[test]
    fn what_a_manifest_leaves_out_is_filled_in() {
        let engine = object(json!({ "triggers": [{ "type": "cron", "metadata": {} }] }))
            .to_engine("apps/v1.Deployment");
        let expected = sakidori_engine::ScaledObject {
            uid: "u-1".into(),
            generation: 4,
            created_at: "2026-01-02T03:04:05Z".parse().unwrap(),
            polling_interval: SignedDuration::from_secs(30),
            cooldown_period: SignedDuration::from_secs(300),
            initial_cooldown_period: SignedDuration::ZERO,
            idle_replicas: None,
            min_replicas: 0,
            max_replicas: 100,
            target_kind: "apps/v1.Deployment".into(),
            target_name: "orders".into(),
            trigger_count: 1,
            fallback: None,
            modifiers: None,
            switches: sakidori_engine::Switches::default(),
        };
        assert_eq!(engine, expected);
    }

    #[test]
    fn what_a_manifest_says_is_taken_over_and_nonsense_raised_to_the_minimum() {
        let spec = json!({ "pollingInterval": 5, "cooldownPeriod": 10, "initialCooldownPeriod": 20, "idleReplicaCount": 0,
            "minReplicaCount": 2, "maxReplicaCount": 7, "triggers": [] });
        let engine = object(spec).to_engine("apps/v1.StatefulSet");
        let periods = [
            engine.polling_interval,
            engine.cooldown_period,
            engine.initial_cooldown_period,
        ];
        assert_eq!(periods.map(|period| period.as_secs()), [5, 10, 20]);
        assert_eq!(
            (
                engine.idle_replicas,
                engine.min_replicas,
                engine.max_replicas
            ),
            (Some(0), 2, 7)
        );

        let engine = object(json!({ "pollingInterval": 0, "cooldownPeriod": -1, "triggers": [] }))
            .to_engine("");
        assert_eq!(
            (
                engine.polling_interval.as_secs(),
                engine.cooldown_period.as_secs()
            ),
            (1, 0)
        );
    }

    #[test]
    fn the_hpas_name_is_the_configured_one_or_kedas() {
        let named = |config: Value| {
            object(
                json!({ "triggers": [], "advanced": { "horizontalPodAutoscalerConfig": config } }),
            )
            .hpa_name()
        };
        assert_eq!(
            object(json!({ "triggers": [] })).hpa_name(),
            "keda-hpa-orders"
        );
        assert_eq!(named(json!({})), "keda-hpa-orders");
        assert_eq!(named(json!({ "name": "" })), "keda-hpa-orders");
        assert_eq!(named(json!({ "name": "mine" })), "mine");
    }

    #[test]
    fn types_are_listed_once_in_their_order() {
        let trigger = |kind: &str, auth: &str| json!({ "type": kind, "metadata": {}, "authenticationRef": { "name": auth } });
        let mut triggers = vec![
            trigger("kafka", "b"),
            trigger("cron", "a"),
            trigger("kafka", "b"),
        ];
        triggers.push(json!({ "type": "cpu", "metadata": {} }));
        let spec = object(json!({ "triggers": triggers })).spec;
        assert_eq!(
            (&*spec.triggers_types(), &*spec.authentications_types()),
            ("kafka,cron,cpu", "b,a")
        );
    }

    #[test]
    fn conditions_survive_the_way_into_the_status_and_back() {
        let mut conditions = Conditions::default();
        assert_eq!(
            conditions_to_engine(&conditions_from_engine(&conditions)),
            conditions
        );
        conditions.ready = sakidori_engine::Condition {
            status: ConditionStatus::True,
            reason: "ScaledObjectReady".into(),
            message: "fine".into(),
        };
        conditions.hpa_active = Some(sakidori_engine::Condition::default());
        let listed = conditions_from_engine(&conditions);
        assert_eq!(
            listed
                .iter()
                .map(|condition| &*condition.type_)
                .collect::<Vec<_>>(),
            ["Ready", "Active", "Fallback", "Paused", "HPAActive"]
        );
        assert_eq!(conditions_to_engine(&listed), conditions);
    }

    #[test]
    fn a_status_of_keda_is_remembered() {
        let status: ScaledObjectStatus = serde_json::from_value(json!({
            "lastActiveTime": "2026-01-02T03:04:05Z",
            "hpaName": "keda-hpa-orders",
            "conditions": [
                { "type": "Paused", "status": "True", "reason": "ScaledObjectPaused" },
                { "type": "Ready", "status": "neither" },
                { "type": "Unheard", "status": "True" },
            ],
        }))
        .unwrap();
        let remembered = status.to_remembered();
        assert_eq!(
            remembered.last_active_time,
            Some("2026-01-02T03:04:05Z".parse().unwrap())
        );
        assert!(remembered.seen_before);
        assert_eq!(remembered.conditions.paused.status, ConditionStatus::True);
        assert_eq!(remembered.conditions.paused.reason, "ScaledObjectPaused");
        assert_eq!(remembered.conditions.ready.status, ConditionStatus::Unknown);

        assert_eq!(
            ScaledObjectStatus::default().to_remembered(),
            Remembered::default()
        );
    }

    #[test]
    fn modifiers_that_say_nothing_are_no_formula() {
        let with = |modifiers: Value| {
            object(json!({ "triggers": [], "advanced": { "scalingModifiers": modifiers } }))
        };
        assert!(!object(json!({ "triggers": [] })).has_formula());
        assert!(!with(json!({})).has_formula());
        assert!(!with(json!({ "formula": "" })).has_formula());
        assert!(with(json!({ "target": "2" })).has_formula());
    }
}
