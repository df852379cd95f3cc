//! What is wrong with a trigger before it runs, for admission: while its authentication and the environment of the target's
//! container aren't known, only what is wrong whatever they give.

use crate::params::unknown::{GUESSES, UNDECIDED, marker};
use crate::params::{Field, ParamErrors, Source, is_given};
use crate::registry::{Kind, find};
use crate::scaler::{BuildError, Context, Scaler, Trigger};

/// What of a trigger is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Known {
    /// Its metadata; it has no authentication.
    Metadata,
    /// Its metadata, and that an authentication gives more.
    MetadataOfAuthenticated,
}

/// All problems of a trigger, one sentence each, in the order of the parameters. Does no IO. Parameters that the
/// authentication may give, and those that `<name>FromEnv` takes from the environment, are not missing.
pub fn check(trigger: &Trigger, known: Known, context: &Context) -> Vec<String> {
    let kind = match find(&trigger.kind) {
        Ok(kind) => kind,
        Err(error) => return vec![error.to_string()],
    };
    let fields = (kind.fields)();
    if !may_get_more(trigger, known, &fields) {
        return problems(kind, trigger, context).err().unwrap_or_default();
    }
    // Held to the end, so that the guesses share their clients.
    let mut built = Vec::new();
    let (mut decided, mut undecided) = (None, None);
    for guess in 0..GUESSES {
        let found = match problems(kind, &guessed(trigger, known, &fields, guess), context) {
            Ok(scaler) => {
                built.push(scaler);
                Vec::new()
            }
            Err(found) => found,
        };
        let certain = match found.iter().any(|problem| problem == UNDECIDED) {
            true => &mut undecided,
            false => &mut decided,
        };
        keep_common(certain, found);
        if decided.as_ref().is_some_and(Vec::is_empty) {
            return Vec::new();
        }
    }
    let mut certain = decided.or(undecided).unwrap_or_default();
    certain.retain(|problem| problem != UNDECIDED);
    certain
}

fn problems(
    kind: &Kind,
    trigger: &Trigger,
    context: &Context,
) -> Result<Box<dyn Scaler>, Vec<String>> {
    (kind.build)(trigger, context).map_err(|error| match error {
        BuildError::Parameters(ParamErrors(problems)) => problems,
        error => vec![error.to_string()],
    })
}

/// What was there every time, in the order of the first.
fn keep_common(certain: &mut Option<Vec<String>>, found: Vec<String>) {
    match certain {
        None => *certain = Some(found),
        Some(certain) => certain.retain(|problem| found.contains(problem)),
    }
}

fn variables<'a>(
    trigger: &'a Trigger,
    fields: &'a [&'static Field],
) -> impl Iterator<Item = &'a str> {
    let from_environment = fields
        .iter()
        .filter(|field| field.sources.contains(&Source::Environment));
    from_environment
        .flat_map(|field| field.names())
        .filter_map(|name| {
            trigger
                .metadata
                .get(&format!("{name}FromEnv"))
                .map(String::as_str)
        })
}

/// True where a parameter may be given by what isn't known.
fn may_get_more(trigger: &Trigger, known: Known, fields: &[&'static Field]) -> bool {
    let by_authentication = known == Known::MetadataOfAuthenticated
        && fields
            .iter()
            .any(|field| field.sources.contains(&Source::Authentication));
    by_authentication || variables(trigger, fields).next().is_some()
}

/// The trigger with a guess at everything that isn't known.
fn guessed(trigger: &Trigger, known: Known, fields: &[&'static Field], guess: usize) -> Trigger {
    let mut guessed = trigger.clone();
    let needed = |field: &Field| guess > 0 || (field.required && !is_given(trigger, field));
    let wanted = fields.iter().copied().filter(|field| needed(field));
    let wanted: Vec<&'static Field> = wanted.collect();
    for variable in variables(trigger, &wanted) {
        guessed
            .environment
            .insert(variable.to_owned(), marker(guess));
    }
    if known == Known::MetadataOfAuthenticated {
        for field in wanted {
            if field.sources.contains(&Source::Authentication) {
                guessed
                    .authentication
                    .insert(field.name.to_owned(), marker(guess));
            }
        }
    }
    guessed
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::example;

    type Pairs<'a> = &'a [(&'a str, &'a str)];

    fn problems_of(kind: &str, metadata: Pairs, known: Known) -> Vec<String> {
        let trigger = Trigger::new(kind).metadata(metadata.iter().copied());
        check(&trigger, known, &example::context(Vec::new()))
    }

    #[test]
    fn what_the_authentication_may_give_is_not_missing() {
        let queue = ("queueName", "orders");
        let mode = ("mode", "QueueLength");
        let missing_host =
            r#"missing required parameter "host" in [triggerMetadata authParams resolvedEnv]"#;
        let one_of = "trigger mode QueueLenght must be one of QueueLength, MessageRate, DeliverGetRate, PublishedToDeliveredRatio or ExpectedQueueConsumptionTime";
        let cases: &[(Pairs, Known, &[&str])] = &[
            (&[queue], Known::Metadata, &[missing_host]),
            (&[queue], Known::MetadataOfAuthenticated, &[]),
            (&[queue, ("hostFromEnv", "RABBIT")], Known::Metadata, &[]),
            // Not by any of the two.
            (
                &[("hostFromEnv", "RABBIT")],
                Known::MetadataOfAuthenticated,
                &[r#"missing required parameter "queueName" in [triggerMetadata]"#],
            ),
            // A value's own fault, and a rule between known values.
            (
                &[queue, ("pageSize", "many")],
                Known::MetadataOfAuthenticated,
                &[
                    r#"parameter "pageSize" has the value "many": expected a whole number from -9223372036854775808 to 9223372036854775807"#,
                ],
            ),
            (
                &[
                    queue,
                    ("hostFromEnv", "RABBIT"),
                    ("mode", "QueueLenght"),
                    ("value", "5"),
                ],
                Known::Metadata,
                &[one_of],
            ),
            (
                &[queue, mode],
                Known::MetadataOfAuthenticated,
                &["value must be specified"],
            ),
            // By AMQP it would be wrong, by HTTP not.
            (
                &[queue, ("mode", "MessageRate"), ("value", "5")],
                Known::MetadataOfAuthenticated,
                &[],
            ),
            (
                &[
                    queue,
                    ("mode", "MessageRate"),
                    ("value", "5"),
                    ("protocol", "amqp"),
                ],
                Known::MetadataOfAuthenticated,
                &["protocol amqp not supported; must be HTTP to use trigger mode MessageRate"],
            ),
        ];
        for (metadata, known, expected) in cases {
            assert_eq!(
                problems_of("rabbitmq", metadata, *known),
                *expected,
                "{metadata:?} {known:?}"
            );
        }
    }

    #[test]
    fn modes_of_authentication_are_judged_by_what_is_known() {
        let metadata = [
            ("url", "http://stats"),
            ("valueLocation", "a"),
            ("targetValue", "1"),
        ];
        let with = |modes| [metadata.as_slice(), &[("authModes", modes)]].concat();
        assert_eq!(
            problems_of(
                "metrics-api",
                &with("basic"),
                Known::MetadataOfAuthenticated
            ),
            [""; 0]
        );
        assert_eq!(
            problems_of("metrics-api", &with("basic"), Known::Metadata),
            [r#"authModes has basic, which needs "username" from the TriggerAuthentication"#]
        );
        assert_eq!(
            problems_of(
                "metrics-api",
                &with("basic,bearer"),
                Known::MetadataOfAuthenticated
            ),
            ["authModes: at most one of basic, bearer and oauth can be used at a time"]
        );
    }

    #[test]
    fn every_example_passes_with_only_its_metadata() {
        let examples = [
            include_str!("apache_kafka.rs"),
            include_str!("cron/mod.rs"),
            include_str!("kafka/mod.rs"),
            include_str!("kubernetes_workload.rs"),
            include_str!("metrics_api/mod.rs"),
            include_str!("rabbitmq/mod.rs"),
        ];
        for trigger in examples.into_iter().flat_map(example::triggers) {
            let mut bare = trigger.clone();
            bare.authentication.clear();
            let known = match trigger.authentication.is_empty() {
                true => Known::Metadata,
                false => Known::MetadataOfAuthenticated,
            };
            let found = check(&bare, known, &example::context(Vec::new()));
            assert_eq!(found, [""; 0], "{}", trigger.kind);
        }
    }
}
