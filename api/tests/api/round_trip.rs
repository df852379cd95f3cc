//! No field of a manifest is lost: what the types read, they write again.

use std::collections::BTreeSet;

use sakidori_api::{ClusterTriggerAuthentication, ScaledObject, TriggerAuthentication};
use serde_json::{Value, json};

use crate::manifests::{parse, through};
use crate::schema;

const SCALED_OBJECT: &str = include_str!("manifests/scaled-object.yaml");
const AUTHENTICATION: &str = include_str!("manifests/authentication.yaml");

/// The paths of a manifest, as [`schema::paths`] writes them for its schema.
fn paths(manifest: &Value, schema: &Value) -> BTreeSet<String> {
    fn walk(value: &Value, schema: &Value, path: &str, found: &mut BTreeSet<String>) {
        for (name, field) in value.as_object().into_iter().flatten() {
            if schema["additionalProperties"].is_object() {
                walk(
                    field,
                    &schema["additionalProperties"],
                    &format!("{path}{{}}"),
                    found,
                );
                continue;
            }
            let path = if path.is_empty() {
                name.clone()
            } else {
                format!("{path}.{name}")
            };
            walk(field, &schema["properties"][name], &path, found);
            found.insert(path);
        }
        for item in value.as_array().into_iter().flatten() {
            walk(item, &schema["items"], &format!("{path}[]"), found);
        }
    }
    let mut found = BTreeSet::new();
    let own = json!({ "spec": manifest["spec"], "status": manifest["status"] });
    walk(&own, schema, "", &mut found);
    found
}

/// The manifests have every path of the schemas and no other, so none is left untested here.
#[test]
fn every_field_of_a_scaled_object_survives() {
    let manifest = parse(SCALED_OBJECT);
    let schema = schema::of("ScaledObject");
    assert_eq!(paths(&manifest, &schema), schema::paths(&schema));
    assert_eq!(through::<ScaledObject>(&manifest), manifest);
    assert_eq!(
        schema::refused("ScaledObject", &manifest["spec"]),
        Vec::<String>::new()
    );
}

#[test]
fn every_field_of_an_authentication_survives() {
    let mut manifest = parse(AUTHENTICATION);
    for (kind, through) in [
        (
            "TriggerAuthentication",
            through::<TriggerAuthentication> as fn(&Value) -> Value,
        ),
        (
            "ClusterTriggerAuthentication",
            through::<ClusterTriggerAuthentication>,
        ),
    ] {
        manifest["kind"] = json!(kind);
        let schema = schema::of(kind);
        assert_eq!(paths(&manifest, &schema), schema::paths(&schema));
        assert_eq!(through(&manifest), manifest);
        assert_eq!(
            schema::refused(kind, &manifest["spec"]),
            Vec::<String>::new()
        );
    }
}

#[test]
fn a_field_that_is_left_out_stays_out() {
    let manifest = parse(
        "{apiVersion: keda.sh/v1alpha1, kind: ScaledObject, metadata: {name: a}, \
         spec: {scaleTargetRef: {name: a}, triggers: [{type: cron, metadata: {}}]}}",
    );
    assert_eq!(through::<ScaledObject>(&manifest), manifest);
    for kind in ["TriggerAuthentication", "ClusterTriggerAuthentication"] {
        let manifest = json!({ "apiVersion": "keda.sh/v1alpha1", "kind": kind, "metadata": { "name": "a" }, "spec": {} });
        let written = match kind {
            "TriggerAuthentication" => through::<TriggerAuthentication>(&manifest),
            _ => through::<ClusterTriggerAuthentication>(&manifest),
        };
        assert_eq!(written, manifest);
    }
}

/// An API server that had another CRD may have stored what today's would refuse, and KEDA writes null for some empty
/// fields. Neither may end the watch of all objects.
#[test]
fn an_object_that_the_schema_would_refuse_can_be_read() {
    let manifest = json!({
        "apiVersion": "keda.sh/v1alpha1",
        "kind": "TriggerAuthentication",
        "metadata": { "name": "old" },
        "spec": {
            "podIdentity": { "provider": "azure" },
            "azureKeyVault": { "vaultUri": "u", "secrets": [], "credentials": null, "podIdentity": null, "cloud": null },
        },
    });
    let read: TriggerAuthentication = serde_json::from_value(manifest).unwrap();
    assert_eq!(read.spec.pod_identity.unwrap().provider, "azure");
    assert_eq!(read.spec.azure_key_vault.unwrap().cloud, None);
}

#[test]
fn the_last_active_time_has_whole_seconds() {
    let mut object: ScaledObject = serde_json::from_value(parse(SCALED_OBJECT)).unwrap();
    let status = object.status.as_mut().unwrap();
    let time: jiff::Timestamp = "2026-01-01T00:00:00.987654321Z".parse().unwrap();
    status.last_active_time = Some(time.into());
    assert_eq!(
        serde_json::to_value(&object).unwrap()["status"]["lastActiveTime"],
        "2026-01-01T00:00:00Z"
    );
}
