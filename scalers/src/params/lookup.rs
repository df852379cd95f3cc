//! Finds a parameter's value, and tells why it isn't there.

use sakidori_engine::name_distance;

use super::field::{Field, Source};
use crate::Trigger;

const FROM_ENV: &str = "FromEnv";

/// A value that was found.
#[derive(Clone, Copy)]
pub(super) struct Found<'a> {
    pub value: &'a str,
    pub source: Source,
}

/// The first place, in the field's order, that has a value which isn't blank.
pub(super) fn find<'a>(trigger: &'a Trigger, field: &Field) -> Option<Found<'a>> {
    let present = |value: &'a String| Some(value.trim()).filter(|value| !value.is_empty());
    field.sources.iter().find_map(|&source| {
        field
            .names()
            .find_map(|name| match source {
                Source::Metadata => trigger.metadata.get(name).and_then(present),
                Source::Authentication => trigger.authentication.get(name).and_then(present),
                Source::Environment => trigger
                    .metadata
                    .get(&format!("{name}{FROM_ENV}"))
                    .and_then(|variable| trigger.environment.get(variable))
                    .and_then(present),
            })
            .map(|value| Found { value, source })
    })
}

/// True for a parameter that is there.
pub(crate) fn is_given(trigger: &Trigger, field: &Field) -> bool {
    find(trigger, field).is_some()
}

/// The sentence for a required parameter that [`find`] doesn't find, with the likeliest reason.
pub(super) fn missing(trigger: &Trigger, field: &Field, known: &[&'static Field]) -> String {
    let reason = unresolved_variable(trigger, field)
        .or_else(|| misplaced(trigger, field))
        .or_else(|| {
            let key = unknown_keys(trigger, known)
                .filter(|key| {
                    !key.ends_with(FROM_ENV) || field.sources.contains(&Source::Environment)
                })
                .filter_map(|key| {
                    Some((
                        name_distance(key.strip_suffix(FROM_ENV).unwrap_or(key), field.name)?,
                        key,
                    ))
                })
                .min()?
                .1;
            Some(format!(": did you mean it with {key:?}?"))
        })
        .unwrap_or_default();
    format!(
        "missing required parameter {:?} in {}{reason}",
        field.name,
        field.places()
    )
}

/// `hostFromEnv: RABBIT` where the container has no `RABBIT`.
fn unresolved_variable(trigger: &Trigger, field: &Field) -> Option<String> {
    if !field.sources.contains(&Source::Environment) {
        return None;
    }
    let key = field
        .names()
        .map(|name| format!("{name}{FROM_ENV}"))
        .find(|key| trigger.metadata.contains_key(key))?;
    let variable = &trigger.metadata[&key];
    Some(format!(
        ": {key:?} names the variable {variable:?}, which the scale target's container doesn't have, or leaves empty"
    ))
}

/// A parameter in a place where it isn't read.
fn misplaced(trigger: &Trigger, field: &Field) -> Option<String> {
    let in_metadata = field
        .names()
        .any(|name| trigger.metadata.contains_key(name));
    let in_authentication = field
        .names()
        .any(|name| trigger.authentication.contains_key(name));
    if in_metadata && !field.sources.contains(&Source::Metadata) {
        Some(": it stands in the trigger's metadata, where it isn't read; put it into a TriggerAuthentication".into())
    } else if in_authentication && !field.sources.contains(&Source::Authentication) {
        Some(": it stands in the TriggerAuthentication, where it isn't read; put it into the trigger's metadata".into())
    } else if field.names().any(|name| {
        trigger.metadata.contains_key(name) || trigger.authentication.contains_key(name)
    }) {
        Some(": it is given, but empty".into())
    } else {
        None
    }
}

/// What works, but probably not as meant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Warning {
    /// One sentence.
    pub text: String,
    /// It is about a metadata key that no parameter reads: KEDA can make an Event of it.
    pub unmatched: bool,
}

/// Metadata keys that no parameter reads, secrets in plain metadata, parameters that are deprecated, in this order.
pub fn warnings(trigger: &Trigger, known: &[&'static Field]) -> Vec<Warning> {
    let scaler = match trigger.name.as_deref() {
        Some(name) if !name.is_empty() => format!("{} ({name})", trigger.kind),
        _ => trigger.kind.clone(),
    };
    let unexpected = unknown_keys(trigger, known).map(|key| {
        let hint = known
            .iter()
            .filter_map(|field| {
                Some((
                    name_distance(key.strip_suffix(FROM_ENV).unwrap_or(key), field.name)?,
                    field.name,
                ))
            })
            .min()
            .map(|(_, name)| {
                format!(
                    ", did you mean \"{name}{}\"?",
                    if key.ends_with(FROM_ENV) {
                        FROM_ENV
                    } else {
                        ""
                    }
                )
            });
        // KEDA's sentence of its Event KEDAScalersInfo.
        format!(
            "Unmatched input property {key} in scaler {scaler}{}",
            hint.unwrap_or_default()
        )
    });
    let plain = known.iter().filter(|field| field.secret).flat_map(|field| field.names()).filter_map(|name| {
        trigger.metadata.get(name).filter(|value| !value.trim().is_empty())?;
        Some(format!(
            "parameter {name:?} is a secret and stands readable in the trigger's metadata: put it into a TriggerAuthentication"
        ))
    });
    let deprecated = known.iter().filter_map(|field| {
        let instead = field.deprecated?;
        find(trigger, field)?;
        Some(format!(
            "parameter {:?} is deprecated: {instead}",
            field.name
        ))
    });
    let unmatched = unexpected.map(|text| Warning {
        text,
        unmatched: true,
    });
    let others = plain.chain(deprecated).map(|text| Warning {
        text,
        unmatched: false,
    });
    unmatched.chain(others).collect()
}

/// Metadata keys that no known parameter reads.
fn unknown_keys<'a>(
    trigger: &'a Trigger,
    known: &[&'static Field],
) -> impl Iterator<Item = &'a str> {
    trigger
        .metadata
        .keys()
        .map(String::as_str)
        .filter(move |key| {
            !known.iter().any(|field| {
                field.names().any(|name| {
                    name == *key
                        || (field.sources.contains(&Source::Environment)
                            && key.strip_suffix(FROM_ENV) == Some(name))
                })
            })
        })
}

#[cfg(feature = "rabbitmq")]
#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_probably_not_meant_is_told() {
        let mut trigger = Trigger::new("rabbitmq").metadata([
            ("queueNmae", "orders"),
            ("host", "amqp://rabbit"),
            ("passwordFromEnv", "PASSWORD"),
            ("zzz", "1"),
            ("zzzFromEnv", "Z"),
            ("queueLength", "5"),
        ]);
        trigger.name = Some("orders".to_owned());
        let told = |trigger: &Trigger| -> Vec<(String, bool)> {
            let warnings = crate::warnings(trigger).into_iter();
            warnings
                .map(|warning| (warning.text, warning.unmatched))
                .collect()
        };
        let unmatched = "Unmatched input property";
        assert_eq!(
            told(&trigger),
            [
                (
                    format!(
                        r#"{unmatched} queueNmae in scaler rabbitmq (orders), did you mean "queueName"?"#
                    ),
                    true
                ),
                (format!("{unmatched} zzz in scaler rabbitmq (orders)"), true),
                (
                    format!("{unmatched} zzzFromEnv in scaler rabbitmq (orders)"),
                    true
                ),
                (
                    r#"parameter "queueLength" is deprecated: use mode and value"#.to_owned(),
                    false
                ),
            ]
        );
        let readable = Trigger::new("metrics-api").metadata([("apiKey", "hunter2")]);
        let told = told(&readable);
        assert_eq!(told.len(), 1);
        assert!(told[0].0.starts_with(r#"parameter "apiKey" is a secret"#));
        assert!(!told[0].1 && !told[0].0.contains("hunter2"));
    }
}
