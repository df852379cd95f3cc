//! `spec.advanced.scalingModifiers` and `spec.fallback` as the engine takes them, and what can be wrong with them.

use sakidori_engine::{Fallback, FallbackBehavior, Formula, Modifiers, TargetType};

use crate::checks::Problem;
use crate::scaled_object::{ScaledObject, ScalingModifiers};

impl ScaledObject {
    /// `spec.fallback`, where it says anything sensible: counts below zero, which admission refuses, switch it off as in KEDA.
    pub(crate) fn fallback(&self) -> Option<Fallback> {
        let fallback = self.spec.fallback.as_ref()?;
        let sensible = fallback.failure_threshold >= 0 && fallback.replicas >= 0;
        sensible.then(|| Fallback {
            failure_threshold: fallback.failure_threshold,
            replicas: fallback.replicas,
            behavior: FallbackBehavior::of(fallback.behavior.as_deref()),
        })
    }

    /// The formula over the object's triggers, where it has one. What is wrong with it is in the formula's place.
    pub fn modifiers(&self) -> Option<Modifiers> {
        self.has_formula().then(|| self.checked_modifiers().0)
    }

    /// What is wrong with the formula, its targets, and a fallback that needs one.
    pub(crate) fn modifier_problems(&self) -> Vec<Problem> {
        let mut problems = if self.has_formula() {
            self.checked_modifiers().1
        } else {
            Vec::new()
        };
        let falls_back_to_nil = self
            .fallback()
            .is_some_and(|fallback| fallback.behavior == FallbackBehavior::ScalingModifiers);
        let formula = self
            .scaling_modifiers()
            .and_then(|modifiers| modifiers.formula.as_deref());
        if falls_back_to_nil && formula.is_none_or(str::is_empty) {
            problems.push(Problem::FallbackWithoutFormula);
        }
        problems
    }

    fn scaling_modifiers(&self) -> Option<&ScalingModifiers> {
        self.spec.advanced.as_ref()?.scaling_modifiers.as_ref()
    }

    fn checked_modifiers(&self) -> (Modifiers, Vec<Problem>) {
        let nothing = ScalingModifiers::default();
        let modifiers = self.scaling_modifiers().unwrap_or(&nothing);
        let text = |field: &Option<String>| field.clone().unwrap_or_default();
        let (formula, target) = (text(&modifiers.formula), text(&modifiers.target));
        let mut problems = Vec::new();
        let compiled = Formula::compile(&formula, &self.formula_names());
        if formula.is_empty() {
            problems.push(Problem::NoFormula);
        } else if let Err(error) = &compiled {
            problems.push(Problem::WrongFormula {
                problem: error.to_string(),
            });
        }
        let number = |text: &str| {
            text.trim()
                .parse()
                .ok()
                .filter(|number: &f64| number.is_finite())
        };
        if target.is_empty() {
            problems.push(Problem::NoFormulaTarget);
        } else if number(&target).is_none_or(|target| target <= 0.0) {
            problems.push(Problem::WrongFormulaTarget {
                target: target.clone(),
            });
        }
        let activation_target = text(&modifiers.activation_target);
        if !activation_target.is_empty() && number(&activation_target).is_none() {
            problems.push(Problem::WrongActivationTarget {
                target: activation_target.clone(),
            });
        }
        let metric_type = modifiers.metric_type.as_deref();
        if metric_type == Some("Utilization") {
            problems.push(Problem::FormulaUtilization);
        }
        let wrong: Vec<String> = problems.iter().map(ToString::to_string).collect();
        let modifiers = Modifiers {
            formula: match compiled {
                Ok(formula) if wrong.is_empty() => Ok(formula),
                _ => Err(wrong.join("; ")),
            },
            target: number(&target).unwrap_or(1.0),
            target_type: match metric_type {
                Some("Value") => TargetType::Value,
                _ => TargetType::AverageValue,
            },
            activation_target: number(&activation_target).unwrap_or(0.0),
        };
        (modifiers, problems)
    }

    /// One name for each trigger: empty for one that the formula can't name, since it has none or the HPA reads it.
    fn formula_names(&self) -> Vec<String> {
        let name = |trigger: &crate::Trigger| match &*trigger.type_ {
            "cpu" | "memory" => String::new(),
            _ => trigger.name.clone().unwrap_or_default(),
        };
        self.spec.triggers.iter().map(name).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    /// A ScaledObject with the triggers `a`, one without a name, and `cpu`.
    fn object(modifiers: Value, fallback: Value) -> ScaledObject {
        let spec = json!({
            "scaleTargetRef": { "name": "orders" },
            "triggers": [
                { "type": "rabbitmq", "name": "a", "metadata": {} },
                { "type": "rabbitmq", "metadata": {} },
                { "type": "cpu", "name": "load", "metricType": "Utilization", "metadata": { "value": "50" } },
            ],
            "advanced": { "scalingModifiers": modifiers },
            "fallback": fallback,
        });
        ScaledObject::new("orders", serde_json::from_value(spec).unwrap())
    }

    fn problems(modifiers: Value, fallback: Value) -> Vec<String> {
        let problems = object(modifiers, fallback).modifier_problems();
        problems.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_formula_is_checked_with_all_that_belongs_to_it() {
        for (modifiers, expected) in [
            (json!({}), vec![]),
            (json!({ "formula": "a * 2", "target": "2.5" }), vec![]),
            (
                json!({ "target": "2" }),
                vec!["error ScalingModifiers.Formula is mandatory"],
            ),
            (
                json!({ "formula": "a" }),
                vec![
                    "error validating formula in ScalingModifiers: formula is given but target is empty",
                ],
            ),
            (
                json!({ "formula": "a + load", "target": "0", "activationTarget": "x", "metricType": "Utilization" }),
                vec![
                    "error validating formula in ScalingModifiers: unknown name \"load\" at column 5",
                    "error validating target in ScalingModifiers: error converting target for scalingModifiers (string->float) to valid target: \"0\" is no number above 0",
                    "scalingModifiers.ActivationTarget parsing error: \"x\" is no number",
                    "error validating target in ScalingModifiers: error trigger type is Utilization, but it needs to be AverageValue or Value for external metrics",
                ],
            ),
        ] {
            assert_eq!(
                problems(modifiers.clone(), json!(null)),
                expected,
                "{modifiers}"
            );
        }
    }

    #[test]
    fn a_fallback_of_the_formula_needs_one() {
        let fallback =
            json!({ "failureThreshold": 1, "replicas": 2, "behavior": "scalingModifiers" });
        let expected =
            "scalingModifiers fallback behavior requires scalingModifiers.formula to be defined";
        assert_eq!(problems(json!({}), fallback.clone()), [expected]);
        assert!(problems(json!({ "formula": "a ?? 1", "target": "2" }), fallback).is_empty());
    }

    #[test]
    fn the_engine_gets_the_formula_with_its_targets() {
        let modifiers = json!({ "formula": "a * 2", "target": "2.5", "activationTarget": "1.5", "metricType": "Value" });
        let modifiers = object(modifiers, json!(null)).modifiers().unwrap();
        assert_eq!(
            modifiers
                .formula
                .unwrap()
                .evaluate(&[Some(3.0), None, None]),
            Ok(Some(6.0))
        );
        assert_eq!(
            (
                modifiers.target,
                modifiers.activation_target,
                modifiers.target_type
            ),
            (2.5, 1.5, TargetType::Value)
        );
        // A wrong one is never another one.
        let wrong = object(json!({ "formula": "a", "target": "-1" }), json!(null))
            .modifiers()
            .unwrap();
        assert!(
            wrong
                .formula
                .unwrap_err()
                .contains("\"-1\" is no number above 0")
        );
        assert_eq!(object(json!({}), json!(null)).modifiers(), None);
    }
}
