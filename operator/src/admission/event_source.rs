//! The rules for CloudEventSources and ClusterCloudEventSources.

use kube::api::DynamicObject;
use serde::Deserialize;

use super::spec_of;
use super::verdict::Verdict;

const REASON: &str = "incorrect-event-types";

/// All types of CloudEvents. KEDA's admission refuses those of authentications, which its CRD has.
const EVENT_TYPES: &[&str] = &[
    "keda.scaledobject.ready.v1",
    "keda.scaledobject.failed.v1",
    "keda.scaledobject.removed.v1",
    "keda.scaledobject.paused.v1",
    "keda.scaledobject.unpaused.v1",
    "keda.scaledjob.ready.v1",
    "keda.scaledjob.failed.v1",
    "keda.scaledjob.removed.v1",
    "keda.scaledjob.paused.v1",
    "keda.scaledjob.unpaused.v1",
    "keda.scaledjob.rolloutcleanup.started.v1",
    "keda.scaledjob.rolloutcleanup.completed.v1",
    "keda.scaledjob.rolloutcleanup.failed.v1",
    "keda.authentication.triggerauthentication.created.v1",
    "keda.authentication.triggerauthentication.updated.v1",
    "keda.authentication.triggerauthentication.removed.v1",
    "keda.authentication.clustertriggerauthentication.created.v1",
    "keda.authentication.clustertriggerauthentication.updated.v1",
    "keda.authentication.clustertriggerauthentication.removed.v1",
];

/// What the rules look at.
#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Spec {
    event_subscription: Subscription,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Subscription {
    included_event_types: Option<Vec<String>>,
    excluded_event_types: Option<Vec<String>>,
}

pub fn judge(object: &DynamicObject) -> Verdict {
    let mut verdict = Verdict::default();
    let subscription = match spec_of::<Spec>(object) {
        Ok(spec) => spec.event_subscription,
        Err(error) => {
            verdict.refuse(REASON, error);
            return verdict;
        }
    };
    let (included, excluded) = (
        subscription.included_event_types,
        subscription.excluded_event_types,
    );
    if included.is_some() && excluded.is_some() {
        verdict.refuse(
            REASON,
            "setting included types and excluded types at the same time is not supported",
        );
    }
    for (field, types) in [
        ("excludedEventType", excluded),
        ("includedEventType", included),
    ] {
        for unknown in types.iter().flatten() {
            if !EVENT_TYPES.contains(&unknown.as_str()) {
                verdict.refuse(
                    REASON,
                    format!("{field}: {unknown} in cloudeventsource/clustercloudeventsource spec is not supported"),
                );
            }
        }
    }
    verdict
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn texts(subscription: Value) -> Vec<String> {
        let object = serde_json::from_value(json!({
            "apiVersion": "eventing.keda.sh/v1alpha1", "kind": "CloudEventSource",
            "metadata": {"name": "a"}, "spec": {"eventSubscription": subscription},
        }));
        judge(&object.unwrap()).texts()
    }

    #[test]
    fn event_types_are_known_and_included_or_excluded() {
        let ready = "keda.scaledobject.ready.v1";
        let removed = "keda.authentication.triggerauthentication.removed.v1";
        let cases: [(Value, &[&str]); 6] = [
            (json!({}), &[]),
            (json!({"includedEventTypes": [ready, removed]}), &[]),
            (json!({"excludedEventTypes": [ready]}), &[]),
            (
                json!({"includedEventTypes": ["ready"]}),
                &[
                    "includedEventType: ready in cloudeventsource/clustercloudeventsource spec is not supported",
                ],
            ),
            (
                json!({"excludedEventTypes": ["ready"]}),
                &[
                    "excludedEventType: ready in cloudeventsource/clustercloudeventsource spec is not supported",
                ],
            ),
            (
                json!({"includedEventTypes": [ready], "excludedEventTypes": [ready]}),
                &["setting included types and excluded types at the same time is not supported"],
            ),
        ];
        for (subscription, expected) in cases {
            assert_eq!(texts(subscription.clone()), expected, "{subscription}");
        }
    }
}
