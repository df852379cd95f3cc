//! The CustomResourceDefinitions, made from the types.
//!
//! They keep every field that KEDA's keep and accept everything that KEDA's accept, under the same names, so that
//! either project's can be applied over the other's.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    CustomResourceDefinition, JSONSchemaProps, JSONSchemaPropsOrArray, JSONSchemaPropsOrBool,
};
use kube::CustomResourceExt;

use crate::{ClusterTriggerAuthentication, ScaledObject, TriggerAuthentication};

/// All CustomResourceDefinitions, in the order of their names.
pub fn all() -> Vec<CustomResourceDefinition> {
    let mut all = vec![
        ClusterTriggerAuthentication::crd(),
        ScaledObject::crd(),
        TriggerAuthentication::crd(),
    ];
    for crd in &mut all {
        crd.metadata.labels.get_or_insert_default().extend(
            [
                ("app.kubernetes.io/name", "sakidori"),
                ("app.kubernetes.io/part-of", "sakidori"),
            ]
            .map(|(key, value)| (key.to_owned(), value.to_owned())),
        );
        for version in &mut crd.spec.versions {
            if let Some(schema) = version
                .schema
                .as_mut()
                .and_then(|schema| schema.open_api_v3_schema.as_mut())
            {
                forbid_nulls(schema);
            }
        }
    }
    all
}

/// Makes an optional field absent or of its type, not null. The API server then drops an explicit null, as it does with
/// KEDA's CRD. Kept, it would hide the field's default, and the rule on min and max would fail to compare it.
fn forbid_nulls(schema: &mut JSONSchemaProps) {
    schema.nullable = None;
    for property in schema
        .properties
        .iter_mut()
        .flat_map(|properties| properties.values_mut())
    {
        forbid_nulls(property);
    }
    if let Some(JSONSchemaPropsOrArray::Schema(items)) = &mut schema.items {
        forbid_nulls(items);
    }
    if let Some(JSONSchemaPropsOrBool::Schema(values)) = &mut schema.additional_properties {
        forbid_nulls(values);
    }
}
