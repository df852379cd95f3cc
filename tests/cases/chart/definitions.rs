//! The CustomResourceDefinitions in the chart: an upgrade upgrades them, and an uninstall leaves them.

use sakidori_tests::{binary, manifests};
use serde_json::{Value, json};

use super::{objects, of, with};

const KEEP: &str = "helm.sh/resource-policy";

/// The same with all numbers as floats: Helm writes 3600.0 as 3600.
fn numbered(value: &Value) -> Value {
    match value {
        Value::Number(number) => json!(number.as_f64()),
        Value::Array(values) => values.iter().map(numbered).collect(),
        Value::Object(map) => map
            .iter()
            .map(|(key, value)| (key.clone(), numbered(value)))
            .collect(),
        other => other.clone(),
    }
}

#[tokio::test]
async fn they_are_the_generated_ones_and_stay() {
    let more = json!({"argocd.argoproj.io/sync-options": "ServerSideApply=true"});
    let rendered = objects(&with(&[("crds.additionalAnnotations", more)])).await;
    let rendered = of(&rendered, "CustomResourceDefinition");
    let folder = binary::repository().join("charts/sakidori/files/crds");
    let generated = manifests::parse_folder(&folder).unwrap();
    assert!(!generated.is_empty());
    assert_eq!(rendered.len(), generated.len());
    for definition in generated {
        let definition = serde_json::to_value(definition).unwrap();
        let name = &definition["metadata"]["name"];
        let mut same = rendered
            .iter()
            .filter(|object| object["metadata"]["name"] == *name);
        let object = same.next().unwrap();
        let same = numbered(&object["spec"]) == numbered(&definition["spec"]);
        assert!(same, "{name}: Helm makes something else of its file");
        let annotations = &object["metadata"]["annotations"];
        assert_eq!(annotations[KEEP], "keep", "{name}");
        assert_eq!(
            annotations["argocd.argoproj.io/sync-options"],
            "ServerSideApply=true"
        );
    }
}

#[tokio::test]
async fn they_can_be_left_out_or_go_with_the_release() {
    let without = objects(&with(&[("crds.install", json!(false))])).await;
    assert!(of(&without, "CustomResourceDefinition").is_empty());
    let going = objects(&with(&[("crds.keep", json!(false))])).await;
    for definition in of(&going, "CustomResourceDefinition") {
        assert_eq!(definition["metadata"]["annotations"], Value::Null);
    }
}
