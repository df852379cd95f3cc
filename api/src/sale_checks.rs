//! What stands in the way of a floor, seen from the object's own HPA and from the namespace's quotas. Admission and plans say the same.

use std::collections::BTreeMap;

use jiff::SignedDuration;
use k8s_openapi::api::autoscaling::v2::{HPAScalingPolicy, HPAScalingRules};
use k8s_openapi::api::core::v1::{Container, PodSpec, ResourceQuota};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use sakidori_engine::prescale::{Profile, in_words};

use crate::scaled_object::ScaledObject;

impl ScaledObject {
    /// What `behavior.scaleUp` does to replicas above the floor of `profile`, where that reaches into the sale.
    ///
    /// The floor is the HPA's minimum, and to that the HPA controller goes at once, past `behavior`: it computes no metric and asks no
    /// policy where a target has fewer replicas than the minimum. But it counts that step as a scale-up, and the policies then
    /// allow nothing more until `periodSeconds` have passed.
    pub fn held_by_behavior(&self, profile: &Profile) -> Option<String> {
        let config = self.spec.advanced.as_ref()?;
        let config = config.horizontal_pod_autoscaler_config.as_ref()?;
        let rules = config.behavior.as_ref()?.scale_up.as_ref()?;
        let period = blocking_period(rules, profile)?;
        let free = profile.complete_at.checked_add(period).ok()?;
        let late = free.duration_since(profile.occurrence.start);
        (late > SignedDuration::ZERO).then(|| {
            format!(
                "behavior.scaleUp counts the climb to the floor against its policies: above {} replicas the HPA adds none for up to {} \
                 after the start. Make leadTime {} or longer, or periodSeconds shorter",
                profile.peak,
                in_words(late),
                in_words(period)
            )
        })
    }
}

/// For how long after the last step of the climb the policies allow nothing, where that is still so at the start. As in the HPA
/// controller: of several policies the one that allows the most counts, or with `selectPolicy: Min` the least. `Disabled` allows
/// nothing above the floor at any time, which somebody wrote down.
fn blocking_period(rules: &HPAScalingRules, profile: &Profile) -> Option<SignedDuration> {
    let policies = rules.policies.as_ref()?;
    let blocking = |policy: &&HPAScalingPolicy| blocks(policy, profile);
    let periods = policies
        .iter()
        .filter(blocking)
        .map(|policy| i64::from(policy.period_seconds));
    let seconds = match rules.select_policy.as_deref() {
        Some("Disabled") => None,
        Some("Min") => periods.max(),
        _ if policies.iter().all(|policy| blocks(policy, profile)) => periods.min(),
        _ => None,
    };
    seconds.map(SignedDuration::from_secs)
}

fn blocks(policy: &HPAScalingPolicy, profile: &Profile) -> bool {
    let start = profile.occurrence.start;
    let period = SignedDuration::from_secs(policy.period_seconds.into());
    let before = start
        .checked_sub(period)
        .map_or(0, |at| profile.floor_at(at))
        .max(profile.baseline);
    let allowed = match policy.type_.as_str() {
        "Percent" => (f64::from(before) * (1.0 + f64::from(policy.value) / 100.0)).ceil(),
        _ => f64::from(before.saturating_add(policy.value)),
    };
    allowed <= f64::from(profile.peak)
}

/// What a target needs for a floor.
pub struct Need<'a> {
    pub floor: i32,
    /// The replicas that it has, whose use is among what a quota counts as used.
    pub running: i32,
    /// Where it is known.
    pub pod: Option<&'a PodSpec>,
}

impl Need<'_> {
    /// What a quota leaves too little of. One that is about some pods only (`scopes`) is taken for none.
    pub fn refused_by(&self, quota: &ResourceQuota) -> Option<String> {
        let spec = quota.spec.as_ref()?;
        let some_only = spec.scope_selector.is_some()
            || spec
                .scopes
                .as_ref()
                .is_some_and(|scopes| !scopes.is_empty());
        let more = self.floor - self.running;
        if some_only || more <= 0 {
            return None;
        }
        let used = quota
            .status
            .as_ref()
            .and_then(|status| status.used.as_ref());
        let short: Vec<String> = spec
            .hard
            .iter()
            .flatten()
            .filter_map(|(resource, hard)| {
                let needed = f64::from(more) * self.of_one_pod(resource)?;
                let used = used.and_then(|used| used.get(resource));
                let in_use = used.map_or(Some(0.0), number)?;
                (in_use + needed > number(hard)? * (1.0 + f64::EPSILON)).then(|| {
                    format!(
                        "{resource}: {} allowed, {} used, {} needed",
                        hard.0,
                        used.map_or("0", |used| used.0.as_str()),
                        amount(resource, needed)
                    )
                })
            })
            .collect();
        if short.is_empty() {
            return None;
        }
        let name = quota.metadata.name.as_deref().unwrap_or_default();
        Some(format!(
            "the floor of {} replicas is {more} more than there are, for which the ResourceQuota {name:?} has no room ({})",
            self.floor,
            short.join("; ")
        ))
    }

    /// What one pod counts for; `None` where it counts for nothing, or that isn't known.
    fn of_one_pod(&self, resource: &str) -> Option<f64> {
        let each = match resource {
            "pods" | "count/pods" => 1.0,
            "cpu" | "requests.cpu" => of_pod(self.pod?, "cpu", true),
            "memory" | "requests.memory" => of_pod(self.pod?, "memory", true),
            "limits.cpu" => of_pod(self.pod?, "cpu", false),
            "limits.memory" => of_pod(self.pod?, "memory", false),
            _ => return None,
        };
        (each > 0.0).then_some(each)
    }
}

/// What a pod requests, or is limited to, as quotas count: all containers together, or the largest that runs before them; and the
/// overhead. A container that says nothing counts for nothing, though a LimitRange may give it something.
fn of_pod(pod: &PodSpec, resource: &str, requests: bool) -> f64 {
    let of = |container: &Container| of_container(container, resource, requests);
    let (mut beside, mut before) = (0.0, 0.0_f64);
    for container in pod.init_containers.iter().flatten() {
        if container.restart_policy.as_deref() == Some("Always") {
            beside += of(container);
        } else {
            before = before.max(beside + of(container));
        }
    }
    let together = beside + pod.containers.iter().map(of).sum::<f64>();
    let overhead = pod.overhead.as_ref().and_then(|all| all.get(resource));
    together.max(before) + overhead.and_then(number).unwrap_or(0.0)
}

fn of_container(container: &Container, resource: &str, requests: bool) -> f64 {
    let Some(resources) = &container.resources else {
        return 0.0;
    };
    let of = |map: &Option<BTreeMap<String, Quantity>>| number(map.as_ref()?.get(resource)?);
    let limit = of(&resources.limits);
    // Without a request, the limit is one.
    let found = match requests {
        true => of(&resources.requests).or(limit),
        false => limit,
    };
    found.unwrap_or(0.0)
}

fn number(quantity: &Quantity) -> Option<f64> {
    let parsed: sakidori_engine::Quantity = quantity.0.parse().ok()?;
    Some(parsed.to_f64())
}

fn amount(resource: &str, value: f64) -> String {
    let gibibyte = f64::from(1 << 30);
    let (value, unit) = match resource.ends_with("memory") {
        true => (value / gibibyte, "Gi"),
        false => (value, ""),
    };
    // To the hundredth, without zeros at the end.
    let text = format!("{value:.2}");
    let text = text.trim_end_matches('0').trim_end_matches('.');
    format!("{text}{unit}")
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use jiff::Timestamp;
    use sakidori_engine::prescale::{Baseline, LeadTime, Occurrence, Settings, Wish};
    use serde_json::{Value, json};

    use super::*;

    fn held(lead_minutes: i64, scale_up: Value) -> Option<String> {
        let object: ScaledObject = serde_json::from_value(json!({
            "apiVersion": "keda.sh/v1alpha1", "kind": "ScaledObject", "metadata": {"name": "web"},
            "spec": {
                "scaleTargetRef": {"name": "web"}, "triggers": [],
                "advanced": {"horizontalPodAutoscalerConfig": {"behavior": {"scaleUp": scale_up}}},
            },
        }))
        .unwrap();
        let settings = Settings {
            wish: Wish::Replicas(120),
            baseline: Baseline::Replicas(20),
            lead_time: LeadTime::Fixed(SignedDuration::from_mins(lead_minutes)),
            ..Settings::default()
        };
        let occurrence = Arc::new(Occurrence {
            id: "a".into(),
            source: String::new(),
            name: "a".into(),
            start: Timestamp::from_second(1_000_000).unwrap(),
            end: Timestamp::from_second(1_010_000).unwrap(),
            labels: BTreeMap::new(),
            multiplier: None,
        });
        let lead = SignedDuration::from_mins(lead_minutes);
        object.held_by_behavior(&Profile::new(0, &settings, &occurrence, 20, lead)?)
    }

    #[test]
    fn policies_hold_what_is_above_the_floor_for_as_long_as_they_count_the_climb() {
        let pods = |value: i32, period: i32| json!({"type": "Pods", "value": value, "periodSeconds": period});
        let percent = |value: i32, period: i32| json!({"type": "Percent", "value": value, "periodSeconds": period});
        let all = |policies: Value| json!({"policies": policies});
        assert_eq!(
            held(15, all(json!([pods(10, 1800)]))).unwrap(),
            "behavior.scaleUp counts the climb to the floor against its policies: above 120 replicas the HPA adds none for up to 15m \
             after the start. Make leadTime 30m or longer, or periodSeconds shorter"
        );
        // Once the period is over, the policy is open.
        assert_eq!(held(15, all(json!([pods(10, 900)]))), None);
        assert_eq!(held(30, all(json!([pods(10, 1800)]))), None);
        // Where the whole climb is allowed, nothing is held.
        assert_eq!(held(15, all(json!([pods(101, 1800)]))), None);
        assert_eq!(held(15, all(json!([percent(1000, 1800)]))), None);
        assert!(held(15, all(json!([percent(100, 1800)]))).is_some());
        // Of several, the one that allows the most counts, or the least.
        let both = json!([pods(10, 1800), pods(10, 60)]);
        assert_eq!(held(15, all(both.clone())), None);
        let least = json!({"policies": both, "selectPolicy": "Min"});
        assert!(held(15, least).is_some());
        // Kubernetes' own defaults, and what somebody wrote down.
        assert_eq!(held(15, json!({"stabilizationWindowSeconds": 3600})), None);
        assert_eq!(held(15, json!({"selectPolicy": "Disabled"})), None);
    }

    fn refused(floor: i32, running: i32, spec: Value, used: Value) -> Option<String> {
        let pod: PodSpec = serde_json::from_value(json!({
            "initContainers": [
                {"name": "setup", "resources": {"requests": {"memory": "3Gi"}}},
                {"name": "proxy", "restartPolicy": "Always", "resources": {"limits": {"cpu": "100m"}}},
            ],
            "containers": [
                {"name": "app", "resources": {"requests": {"cpu": "400m", "memory": "1Gi"}, "limits": {"memory": "2Gi"}}},
                {"name": "bare"},
            ],
        }))
        .unwrap();
        let quota = json!({"metadata": {"name": "team"}, "spec": spec, "status": {"used": used}});
        let need = Need {
            floor,
            running,
            pod: Some(&pod),
        };
        need.refused_by(&serde_json::from_value(quota).unwrap())
    }

    #[test]
    fn a_quota_is_in_the_way_where_it_has_no_room_for_what_is_missing() {
        let hard = |hard: Value| json!({"hard": hard});
        assert_eq!(
            refused(
                12,
                2,
                hard(json!({"pods": "11", "requests.cpu": "6"})),
                json!({"pods": "3", "requests.cpu": "1"})
            )
            .unwrap(),
            "the floor of 12 replicas is 10 more than there are, for which the ResourceQuota \"team\" has no room \
             (pods: 11 allowed, 3 used, 10 needed)"
        );
        assert_eq!(
            refused(12, 2, hard(json!({"pods": "13"})), json!({"pods": "3"})),
            None
        );
        let memory = refused(
            4,
            0,
            hard(json!({"requests.memory": "10Gi", "limits.memory": "9Gi"})),
            json!({}),
        );
        assert!(
            memory
                .unwrap()
                .ends_with("(requests.memory: 10Gi allowed, 0 used, 12Gi needed)")
        );
        assert!(refused(4, 0, hard(json!({"limits.memory": "7Gi"})), json!({})).is_some());
        let cpu = refused(4, 0, hard(json!({"cpu": "1900m"})), json!({}));
        assert!(
            cpu.unwrap()
                .ends_with("(cpu: 1900m allowed, 0 used, 2 needed)")
        );
        assert_eq!(refused(2, 2, hard(json!({"pods": "0"})), json!({})), None);
        assert_eq!(
            refused(9, 2, hard(json!({"services": "0"})), json!({})),
            None
        );
        let some = json!({"hard": {"pods": "1"}, "scopes": ["BestEffort"]});
        assert_eq!(refused(9, 2, some, json!({})), None);
    }
}
