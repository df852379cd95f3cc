//! The CustomResourceDefinitions, made from the types.
//!
//! They keep every field that KEDA's keep and accept everything that KEDA's accept, under the same names, so that
//! either project's can be applied over the other's.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    CustomResourceDefinition, JSONSchemaProps, JSONSchemaPropsOrArray, JSONSchemaPropsOrBool,
};
use kube::CustomResourceExt;

use crate::{
    ClusterSaleCalendar, ClusterTriggerAuthentication, SaleCalendar, ScaledObject,
    TriggerAuthentication,
};

/// All CustomResourceDefinitions, in the order of their names.
pub fn all() -> Vec<CustomResourceDefinition> {
    let mut all = vec![
        ClusterSaleCalendar::crd(),
        ClusterTriggerAuthentication::crd(),
        SaleCalendar::crd(),
        ScaledObject::crd(),
        TriggerAuthentication::crd(),
    ];
    for crd in &mut all {
        let labels = crd.metadata.labels.get_or_insert_default();
        for key in ["app.kubernetes.io/name", "app.kubernetes.io/part-of"] {
            labels.insert(key.to_owned(), "sakidori".to_owned());
        }
        for version in &mut crd.spec.versions {
            let schema = version.schema.as_mut();
            if let Some(root) = schema.and_then(|schema| schema.open_api_v3_schema.as_mut()) {
                root.title = None;
                tidy(root);
            }
        }
    }
    all
}

/// All CustomResourceDefinitions as one YAML stream, as `kubectl apply -f -` takes it. The same build always gives the
/// same bytes.
pub fn yaml() -> String {
    all().iter().map(document).collect()
}

/// The name and the content of one file per CustomResourceDefinition, as the Helm chart has them in `files/crds/`.
pub fn files() -> Vec<(String, String)> {
    let file = |crd: &CustomResourceDefinition| {
        let name = crd.metadata.name.as_deref().unwrap_or_default();
        let content = format!(
            "# Generated from the types in api/: cargo run -p sakidori -- crds --dir charts/sakidori/files/crds\n{}",
            document(crd)
        );
        (format!("{name}.yaml"), content)
    };
    all().iter().map(file).collect()
}

/// One YAML document, with its separator.
fn document(crd: &CustomResourceDefinition) -> String {
    #[expect(
        clippy::expect_used,
        reason = "the types are ours, and a test writes all of them"
    )]
    let body = serde_saphyr::to_string(crd).expect("a CustomResourceDefinition has a YAML form");
    format!("---\n{body}")
}

/// Brings a derived schema into the form that belongs into a CustomResourceDefinition.
///
/// Optional fields are absent or of their type, but not null: the API server then drops an explicit null, as it does
/// with KEDA's CRDs. Kept, a null would hide the field's default, and the rule on min and max could not compare it.
/// Descriptions lose the line breaks of the source.
fn tidy(schema: &mut JSONSchemaProps) {
    schema.nullable = None;
    if let Some(description) = &mut schema.description {
        *description = description.replace('\n', " ");
    }
    for property in schema
        .properties
        .iter_mut()
        .flat_map(|properties| properties.values_mut())
    {
        tidy(property);
    }
    if let Some(JSONSchemaPropsOrArray::Schema(items)) = &mut schema.items {
        tidy(items);
    }
    if let Some(JSONSchemaPropsOrBool::Schema(values)) = &mut schema.additional_properties {
        tidy(values);
    }
}
