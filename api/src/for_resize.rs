//! From `spec.advanced.sakidori.inPlaceResize` to what the engine resizes pods by.

use std::collections::BTreeMap;

use sakidori_engine::resize::{
    Amount, MaxConcurrent, OnInfeasible, Policy, Resource, Settings, When,
};
use serde_json::Value;

use crate::in_place_resize::{InPlaceResize, ResizePolicy};
use crate::scaled_object::ScaledObject;

/// Where it stands in a ScaledObject.
pub(crate) const PATH: &str = "spec.advanced.sakidori.inPlaceResize";

impl ScaledObject {
    /// What `inPlaceResize` says, where there is one.
    ///
    /// # Errors
    /// All that is wrong with it, each with the path of the field, its value, and what is expected.
    pub fn resize_settings(&self) -> Result<Option<Settings>, Vec<String>> {
        self.in_place_resize()
            .map(InPlaceResize::to_engine)
            .transpose()
    }

    /// `spec.advanced.sakidori.inPlaceResize`.
    pub fn in_place_resize(&self) -> Option<&InPlaceResize> {
        let advanced = self.spec.advanced.as_ref()?;
        advanced.sakidori.as_ref()?.in_place_resize.as_ref()
    }
}

impl InPlaceResize {
    fn to_engine(&self) -> Result<Settings, Vec<String>> {
        let mut problems = Vec::new();
        if self.policies.is_empty() {
            problems.push(format!(
                "{PATH}.policies: [] has no policy: expected at least one, such as {{container: app, when: prescale, cpu: \"+100%\"}}"
            ));
        }
        let mut policies = Vec::new();
        let mut known = BTreeMap::new();
        for (index, policy) in self.policies.iter().enumerate() {
            let path = format!("{PATH}.policies[{index}]");
            let default = self.allow_restart.unwrap_or_default();
            let read = policy.to_engine(&path, default, &mut problems);
            for resource in Resource::ALL {
                if policy.value(resource).is_none() {
                    continue;
                }
                let what = (&policy.container, &policy.when, resource);
                if let Some(earlier) = known.insert(what, index) {
                    problems.push(format!(
                        "{path}.{resource}: {} of the container {:?} while {}: policies[{earlier}] says that already; expected one policy for it, leave one out",
                        shown(policy.value(resource)), policy.container, policy.when,
                    ));
                }
            }
            policies.extend(read);
        }
        let max_concurrent = match &self.max_concurrent {
            None => MaxConcurrent::default(),
            Some(value) => max_concurrent(value).unwrap_or_else(|problem| {
                problems.push(format!("{PATH}.{problem}"));
                MaxConcurrent::default()
            }),
        };
        let on_infeasible = match self.on_infeasible.as_deref() {
            None | Some("Skip") => OnInfeasible::Skip,
            Some("Evict") => OnInfeasible::Evict,
            Some(other) => {
                problems.push(format!(
                    "{PATH}.onInfeasible: {other:?} is unknown: expected Skip or Evict"
                ));
                OnInfeasible::Skip
            }
        };
        if !problems.is_empty() {
            return Err(problems);
        }
        Ok(Settings {
            policies,
            max_concurrent,
            on_infeasible,
        })
    }
}

impl ResizePolicy {
    fn value(&self, resource: Resource) -> Option<&Value> {
        match resource {
            Resource::Cpu => self.cpu.as_ref(),
            Resource::Memory => self.memory.as_ref(),
        }
    }

    /// `None` with a problem more where it can't be read.
    fn to_engine(
        &self,
        path: &str,
        allow_restart: bool,
        problems: &mut Vec<String>,
    ) -> Option<Policy> {
        if self.container.is_empty() {
            problems.push(format!(
                "{path}.container: {:?} is no name: expected the name of a container of the pod",
                self.container
            ));
        }
        let when = When::ALL.into_iter().find(|it| it.as_str() == self.when);
        if when.is_none() {
            problems.push(format!(
                "{path}.when: {:?} is unknown: expected prescale, saturated or starting",
                self.when
            ));
        }
        if self.cpu.is_none() && self.memory.is_none() {
            problems.push(format!(
                "{path}: it has neither cpu nor memory: expected one of them at least, such as cpu: \"+100%\""
            ));
        }
        let mut amount = |resource| {
            let value = self.value(resource)?;
            amount(resource, value)
                .map_err(|problem| problems.push(format!("{path}.{problem}")))
                .ok()
        };
        let (cpu, memory) = (amount(Resource::Cpu), amount(Resource::Memory));
        Some(Policy {
            container: self.container.clone(),
            when: when?,
            cpu,
            memory,
            allow_restart: self.allow_restart.unwrap_or(allow_restart),
        })
    }
}

/// People write `cpu: 2` as well as `cpu: "2"`, as they do in a pod.
fn amount(resource: Resource, value: &Value) -> Result<Amount, String> {
    let text = match value {
        Value::String(text) => text.clone(),
        Value::Number(number) => number.to_string(),
        other => {
            return Err(format!(
                "{resource}: {other} is no amount: expected a number, or a text such as \"+100%\" or \"x2\""
            ));
        }
    };
    Amount::parse(resource, &text).map_err(|error| error.to_string())
}

fn max_concurrent(value: &Value) -> Result<MaxConcurrent, String> {
    let text = match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    text.parse::<MaxConcurrent>()
        .map_err(|error| error.to_string())
}

fn shown(value: Option<&Value>) -> String {
    value.map(ToString::to_string).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn object(in_place_resize: Value) -> ScaledObject {
        let object = json!({
            "apiVersion": "keda.sh/v1alpha1",
            "kind": "ScaledObject",
            "metadata": {"name": "web"},
            "spec": {
                "scaleTargetRef": {"name": "web"},
                "triggers": [],
                "advanced": {"sakidori": {"inPlaceResize": in_place_resize}},
            },
        });
        serde_json::from_value(object).unwrap()
    }

    fn problems(in_place_resize: Value) -> Vec<String> {
        object(in_place_resize).resize_settings().unwrap_err()
    }

    #[test]
    fn an_object_of_kedas_resizes_nothing() {
        for advanced in [json!(null), json!({}), json!({"sakidori": {}})] {
            let mut keda = object(json!({"policies": []}));
            keda.spec.advanced = serde_json::from_value(advanced).unwrap();
            assert_eq!(keda.resize_settings(), Ok(None));
        }
    }

    #[test]
    fn everything_is_read_and_what_is_left_out_has_its_default() {
        let app = |when| Policy {
            container: "app".into(),
            when,
            cpu: None,
            memory: None,
            allow_restart: false,
        };
        let amount = |resource, text| Some(Amount::parse(resource, text).unwrap());
        let all = object(json!({
            "policies": [
                {"container": "app", "when": "prescale", "cpu": "2", "memory": "+1Gi"},
                {"container": "app", "when": "saturated", "cpu": "+100%", "allowRestart": false},
                {"container": "app", "when": "starting", "cpu": "x3"},
            ],
            "maxConcurrent": 5,
            "onInfeasible": "Evict",
            "allowRestart": true,
        }));
        let expected = Settings {
            policies: vec![
                Policy {
                    cpu: amount(Resource::Cpu, "2"),
                    memory: amount(Resource::Memory, "+1Gi"),
                    allow_restart: true,
                    ..app(When::Prescale)
                },
                Policy {
                    cpu: amount(Resource::Cpu, "+100%"),
                    ..app(When::Saturated)
                },
                Policy {
                    cpu: amount(Resource::Cpu, "x3"),
                    allow_restart: true,
                    ..app(When::Starting)
                },
            ],
            max_concurrent: MaxConcurrent::Pods(5),
            on_infeasible: OnInfeasible::Evict,
        };
        assert_eq!(all.resize_settings(), Ok(Some(expected)));
        let least = object(
            json!({"policies": [{"container": "app", "when": "starting", "memory": "x2", "allowRestart": true}]}),
        );
        let expected = Settings {
            policies: vec![Policy {
                memory: amount(Resource::Memory, "x2"),
                allow_restart: true,
                ..app(When::Starting)
            }],
            max_concurrent: MaxConcurrent::Percent(25),
            on_infeasible: OnInfeasible::Skip,
        };
        assert_eq!(least.resize_settings(), Ok(Some(expected)));
    }

    #[test]
    fn a_number_is_an_amount_as_in_a_pod() {
        for (cpu, text) in [
            (json!(2), "2"),
            (json!(0.5), "500m"),
            (json!(1.25), "1250m"),
            (json!("2"), "2"),
        ] {
            let policy =
                json!({"container": "app", "when": "starting", "cpu": cpu, "memory": 1073741824});
            let settings = object(json!({"policies": [policy], "maxConcurrent": "10%"}))
                .resize_settings()
                .unwrap()
                .unwrap();
            let policy = &settings.policies[0];
            assert_eq!(policy.cpu, Amount::parse(Resource::Cpu, text).ok());
            assert_eq!(policy.memory, Amount::parse(Resource::Memory, "1Gi").ok());
            assert_eq!(settings.max_concurrent, MaxConcurrent::Percent(10));
        }
    }

    #[test]
    fn all_that_is_wrong_is_told_at_once_with_path_value_and_what_is_expected() {
        let path = "spec.advanced.sakidori.inPlaceResize";
        let wrong = json!({
            "policies": [
                {"container": "", "when": "sale", "cpu": "two"},
                {"container": "app"},
                {"container": "app", "when": "prescale", "cpu": "x0.5", "memory": true},
            ],
            "maxConcurrent": 2.5,
            "onInfeasible": "evict",
        });
        assert_eq!(
            problems(wrong),
            [
                format!(
                    "{path}.policies[0].container: \"\" is no name: expected the name of a container of the pod"
                ),
                format!(
                    "{path}.policies[0].when: \"sale\" is unknown: expected prescale, saturated or starting"
                ),
                format!(
                    "{path}.policies[0].cpu: \"two\" is no amount: expected CPUs such as 2, 500m, +1, +100% or x3"
                ),
                format!(
                    "{path}.policies[1].when: \"\" is unknown: expected prescale, saturated or starting"
                ),
                format!(
                    "{path}.policies[1]: it has neither cpu nor memory: expected one of them at least, such as cpu: \"+100%\""
                ),
                format!(
                    "{path}.policies[2].cpu: \"x0.5\" is no amount: a factor below 1 would make the pod smaller"
                ),
                format!(
                    "{path}.policies[2].memory: true is no amount: expected a number, or a text such as \"+100%\" or \"x2\""
                ),
                format!(
                    "{path}.maxConcurrent: \"2.5\" is no number of pods: expected a whole number above 0 such as 5, or a percentage from 1% to 100% such as 25%"
                ),
                format!("{path}.onInfeasible: \"evict\" is unknown: expected Skip or Evict"),
            ]
        );
        assert_eq!(
            problems(json!({})),
            [format!(
                "{path}.policies: [] has no policy: expected at least one, such as {{container: app, when: prescale, cpu: \"+100%\"}}"
            )]
        );
    }

    #[test]
    fn two_policies_for_the_same_are_one_too_many() {
        let policy = |container, when, more: Value| {
            let mut policy = json!({"container": container, "when": when});
            for (key, value) in more.as_object().unwrap() {
                policy[key] = value.clone();
            }
            policy
        };
        let sound = json!({"policies": [
            policy("app", "prescale", json!({"cpu": "2"})),
            policy("app", "prescale", json!({"memory": "x2"})),
            policy("app", "starting", json!({"cpu": "2"})),
            policy("proxy", "prescale", json!({"cpu": "2"})),
        ]});
        assert!(object(sound).resize_settings().is_ok());
        let twice = json!({"policies": [
            policy("app", "prescale", json!({"cpu": "2"})),
            policy("app", "prescale", json!({"cpu": "x3", "memory": "x2"})),
        ]});
        assert_eq!(
            problems(twice),
            [
                "spec.advanced.sakidori.inPlaceResize.policies[1].cpu: \"x3\" of the container \"app\" while prescale: policies[0] says that already; expected one policy for it, leave one out"
            ]
        );
    }
}
