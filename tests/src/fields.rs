//! The reference pages of the kinds' fields: every field of a CRD's schema with its type, what it must be, and what it means.

use std::fmt::Write as _;
use std::path::PathBuf;

use anyhow::{Context, Result};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    CustomResourceDefinition, JSONSchemaProps, JSONSchemaPropsOrArray, JSONSchemaPropsOrBool,
};

/// A page, the CRD that its fields are read from, and what is to be said besides.
struct FieldsPage {
    file: &'static str,
    definition: &'static str,
    /// Whom the page is for, and what else to read.
    about: &'static str,
    after: &'static str,
}

const PAGES: [FieldsPage; 3] = [
    FieldsPage {
        file: "scaled-object.md",
        definition: "scaledobjects.keda.sh",
        about: "For who writes a ScaledObject and wants to know what a field does. \
                [First ScaledObject](../first-scaled-object.md) has one to begin with, and [Concepts](../concepts.md) how its fields work together.\n\n\
                `kubectl explain scaledobject.spec --recursive` shows the same of the cluster's own version.",
        after: ANNOTATIONS,
    },
    FieldsPage {
        file: "sale-calendar.md",
        definition: "salecalendars.sakidori.dev",
        about: "For who writes a SaleCalendar or a ClusterSaleCalendar, whose fields are the same. \
                [Prescaling](../prescaling.md#calendars) says what a calendar is for, and what its sources may hold.",
        after: "",
    },
    FieldsPage {
        file: "trigger-authentication.md",
        definition: "triggerauthentications.keda.sh",
        about: "For who writes a TriggerAuthentication or a ClusterTriggerAuthentication, whose fields are the same. \
                [Where credentials come from](../authentication.md) has an example of each source. Sources of clouds that aren't supported yet are \
                in the schema, so that manifests for KEDA can be stored; they are refused when the trigger is built, with the field's name.",
        after: "",
    },
];

const ANNOTATIONS: &str = "
## Annotations

On the ScaledObject. One that switches something is on for any value but `false`, `f`, `0`, `False`, `F` and `FALSE`.

| annotation | |
|---|---|
| `autoscaling.keda.sh/paused` | no scaling: the HPA is deleted, and replicas stay as they are |
| `autoscaling.keda.sh/paused-replicas` | the same, after the target was set to this number once |
| `autoscaling.keda.sh/paused-scale-in` | no scaling down |
| `autoscaling.keda.sh/paused-scale-out` | no scaling up |
| `autoscaling.keda.sh/force-activation` | the object counts as active, whatever its triggers say |
| `scaledobject.keda.sh/transfer-hpa-ownership` | `\"true\"`: takes over the HPA that `advanced.horizontalPodAutoscalerConfig.name` names |
| `scaledobject.keda.sh/hpa-excluded-labels` | labels that the HPA doesn't get from the object, with commas between them |
| `validations.keda.sh/hpa-ownership` | `\"false\"`, on an HPA: admission sees no conflict with it |
";

/// The pages' paths relative to the repository's root, and what they hold.
///
/// # Errors
/// If a CRD or a field's description is missing.
pub fn pages() -> Result<Vec<(PathBuf, String)>> {
    let definitions = sakidori_api::crds::all();
    PAGES
        .iter()
        .map(|page| {
            let definition = definitions
                .iter()
                .find(|crd| crd.metadata.name.as_deref() == Some(page.definition))
                .with_context(|| format!("there is no CRD {}", page.definition))?;
            let text = text(page, definition).with_context(|| page.definition.to_owned())?;
            Ok((PathBuf::from("docs/reference").join(page.file), text))
        })
        .collect()
}

fn text(page: &FieldsPage, definition: &CustomResourceDefinition) -> Result<String> {
    let version = definition.spec.versions.first().context("no version")?;
    let root = version
        .schema
        .as_ref()
        .and_then(|schema| schema.open_api_v3_schema.as_ref())
        .context("no schema")?;
    let mut text = format!(
        "<!-- Written by `make docs` from the types in api/: change them there. -->\n\n# {}\n\n{}\n\n\
         `apiVersion: {}/{}`. A field in bold has to be there. `[]` stands for each element of a list.\n",
        definition.spec.names.kind, page.about, definition.spec.group, version.name
    );
    for part in ["spec", "status"] {
        let schema = root.properties.as_ref().and_then(|all| all.get(part));
        let Some(schema) = schema else { continue };
        write!(
            text,
            "\n## {part}\n\n| field | type | meaning |\n|---|---|---|\n"
        )?;
        rows(schema, "", &mut text)?;
        for rule in schema.x_kubernetes_validations.iter().flatten() {
            let message = rule.message.as_deref().unwrap_or(&rule.rule);
            writeln!(text, "\nA rule of the API server: {message}.")?;
        }
    }
    text.push_str(page.after);
    Ok(text)
}

/// A row for each field below `prefix`; what has fields itself is followed by them.
fn rows(schema: &JSONSchemaProps, prefix: &str, text: &mut String) -> Result<()> {
    let required = schema.required.clone().unwrap_or_default();
    for (name, field) in schema.properties.iter().flatten() {
        let path = format!("{prefix}{name}");
        let shown = match required.contains(name) {
            true => format!("**`{path}`**"),
            false => format!("`{path}`"),
        };
        let meaning = field.description.as_deref();
        let meaning = meaning.with_context(|| format!("{path} has no description"))?;
        writeln!(
            text,
            "| {shown} | {} | {}{} |",
            kind(field),
            meaning.replace('|', r"\|"),
            limits(field)
        )?;
        let (within, mark) = match element(field) {
            Some(element) => (element, "[]"),
            None => (field, ""),
        };
        rows(within, &format!("{path}{mark}."), text)?;
    }
    Ok(())
}

/// What a list consists of.
fn element(field: &JSONSchemaProps) -> Option<&JSONSchemaProps> {
    match &field.items {
        Some(JSONSchemaPropsOrArray::Schema(element)) => Some(element),
        _ => None,
    }
}

fn kind(field: &JSONSchemaProps) -> String {
    if field.x_kubernetes_int_or_string == Some(true) {
        return "number or text".to_owned();
    }
    if let Some(element) = element(field) {
        return format!("list of {}s", kind(element));
    }
    match (field.type_.as_deref(), field.format.as_deref()) {
        (Some("object"), _) => match &field.additional_properties {
            Some(JSONSchemaPropsOrBool::Schema(value)) => format!("map of {}s", kind(value)),
            _ => "object".to_owned(),
        },
        (Some("string"), Some("date-time")) => "time".to_owned(),
        (Some("string"), _) => "text".to_owned(),
        (Some("integer"), _) => "integer".to_owned(),
        (Some("number"), _) => "number".to_owned(),
        (Some("boolean"), _) => "true or false".to_owned(),
        _ => "any".to_owned(),
    }
}

/// What a value is held to, behind its meaning.
fn limits(field: &JSONSchemaProps) -> String {
    let mut limits = Vec::new();
    match (field.minimum, field.maximum) {
        (Some(least), Some(most)) => limits.push(format!("{least} to {most}")),
        (Some(least), None) => limits.push(format!("at least {least}")),
        (None, Some(most)) => limits.push(format!("at most {most}")),
        (None, None) => {}
    }
    if let Some(values) = &field.enum_ {
        let values: Vec<String> = values
            .iter()
            .map(|value| format!("`{}`", value.0))
            .collect();
        limits.push(format!("one of {}", values.join(", ")).replace('"', ""));
    }
    if let Some(default) = &field.default {
        limits.push(format!("default `{}`", default.0).replace('"', ""));
    }
    match limits.is_empty() {
        true => String::new(),
        false => format!(" ({})", limits.join("; ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_field_has_its_path_its_type_and_its_limits() {
        let schema: JSONSchemaProps = serde_json::from_value(serde_json::json!({
            "required": ["list"],
            "properties": {
                "count": {"type": "integer", "description": "How many.", "minimum": 1.0},
                "list": {"type": "array", "description": "Some.", "items": {
                    "type": "object", "properties": {"kind": {
                        "type": "string", "description": "Which.", "enum": ["a", "b"], "default": "a"
                    }}
                }},
            },
        }))
        .unwrap();
        let mut text = String::new();
        rows(&schema, "", &mut text).unwrap();
        assert_eq!(
            text.lines().collect::<Vec<_>>(),
            [
                "| `count` | integer | How many. (at least 1) |",
                "| **`list`** | list of objects | Some. |",
                "| `list[].kind` | text | Which. (one of `a`, `b`; default `a`) |",
            ]
        );
    }
}
