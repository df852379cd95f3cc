//! The rules for ScaledJobs: those about triggers.

use kube::ResourceExt;
use kube::api::DynamicObject;
use sakidori_api::{Trigger, problems_of_triggers};
use serde::Deserialize;

use super::referred::authentications;
use super::triggers::{self, Owner};
use super::verdict::{Verdict, reason};
use super::{Admission, Asked, spec_of};

/// Nothing runs ScaledJobs yet.
const NOT_RUN: &str = "this version of Sakidori checks ScaledJobs but does not run them yet";

/// What the rules look at.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Spec {
    triggers: Vec<Trigger>,
}

pub async fn judge(admission: &Admission, object: &DynamicObject, asked: &Asked) -> Verdict {
    let mut verdict = Verdict::default();
    let spec: Spec = match spec_of(object) {
        Ok(spec) => spec,
        Err(error) => {
            verdict.refuse(reason::TRIGGERS, error);
            return verdict;
        }
    };
    let namespace = object.namespace().unwrap_or_default();
    for problem in problems_of_triggers(&spec.triggers) {
        verdict.refuse(problem.reason(), problem.to_string());
    }
    // KEDA's reconciler says so of every such object.
    if spec.triggers.iter().any(|trigger| {
        trigger
            .metric_type
            .as_deref()
            .is_some_and(|kind| !kind.is_empty())
    }) {
        verdict.refuse_beyond_keda(
            reason::TRIGGERS,
            "metricType is set in one of the ScaledJob scaler",
        );
    }
    let owner = Owner {
        namespace: namespace.clone(),
        name: object.name_any(),
        has_hpa: false,
        has_formula: false,
        max_replicas: i32::MAX,
    };
    let until = asked.until;
    triggers::judge(admission, &spec.triggers, owner, until, &mut verdict).await;
    if !asked.dry_run {
        admission
            .cluster
            .look_for_referred(
                &namespace,
                authentications(&spec.triggers),
                until,
                &mut verdict,
            )
            .await;
    }
    verdict.warn(NOT_RUN);
    verdict
}
