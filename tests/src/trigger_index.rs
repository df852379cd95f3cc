//! The index of trigger types, `docs/scalers/README.md`, and what each page says of its type's departures from KEDA.

use std::path::Path;

use anyhow::{Result, ensure};
use sakidori_scalers::KEDA_TYPES;

use crate::reference::{header, source_file};

/// What the HPA reads by itself.
const OF_THE_HPA: [&str; 2] = ["cpu", "memory"];

/// The types by what they read, for who looks for one. Each that works is in one of them.
const BY_SOURCE: [(&str, &[&str]); 8] = [
    (
        "queues and streams",
        &[
            "kafka",
            "apache-kafka",
            "rabbitmq",
            "nats-jetstream",
            "redis-streams",
            "redis-cluster-streams",
            "redis-sentinel-streams",
            "aws-sqs-queue",
            "aws-kinesis-stream",
        ],
    ),
    (
        "lists and keys",
        &["redis", "redis-cluster", "redis-sentinel", "etcd"],
    ),
    (
        "databases",
        &[
            "postgresql",
            "mysql",
            "aws-dynamodb",
            "aws-dynamodb-streams",
        ],
    ),
    ("metrics", &["prometheus", "aws-cloudwatch", "metrics-api"]),
    (
        "pods and their usage",
        &["cpu", "memory", "kubernetes-workload"],
    ),
    ("objects of Kubernetes", &["kubernetes-resource"]),
    ("the time", &["cron"]),
    ("a server of your own", &["external", "external-push"]),
];

/// The page.
///
/// # Errors
/// If a source file is missing, or a type that works has no kind of source.
pub fn page(root: &Path) -> Result<String> {
    let departures = std::fs::read_to_string(root.join("ARCHITECTURE.md"))?;
    let mut rows = String::new();
    let mut here = 0;
    for name in KEDA_TYPES {
        let kind = sakidori_scalers::kinds()
            .iter()
            .find(|kind| kind.name == *name);
        let what = match kind {
            Some(kind) => {
                let (_, source) = source_file(root, kind)?;
                first_sentence(&source)
            }
            None if OF_THE_HPA.contains(name) => {
                "The HPA itself, from metrics-server: there is no scaler".to_owned()
            }
            None => "*not yet: refused at admission, with a message*".to_owned(),
        };
        here += usize::from(kind.is_some() || OF_THE_HPA.contains(name));
        let shown = match kind {
            Some(_) => format!("[`{name}`]({name}.md)"),
            None => format!("`{name}`"),
        };
        let differs = match rows_about(&departures, name).len() {
            0 => String::new(),
            1 => format!("[1 row]({DEPARTURES})"),
            many => format!("[{many} rows]({DEPARTURES})"),
        };
        let feature = sakidori_scalers::feature_of(name)
            .map_or_else(String::new, |feature| format!("`{feature}`"));
        rows.push_str(&format!("| {shown} | {what} | {differs} | {feature} |\n"));
    }
    let all = KEDA_TYPES.len();
    Ok(format!(
        "<!-- Written by `make docs`. -->\n\n# Trigger types\n\nFor who looks for the trigger type of an event source, or for one of a name.\n\n\
         All {all} trigger types of KEDA; {here} of them work here, with KEDA's parameters, defaults and metric names. Where one differs from \
         KEDA on purpose, its page says so, and the table of departures has rows of it. A type that belongs to a Cargo feature can be left \
         out of a build; all are in it by default, and a build without one refuses it by the feature's name.\n\n\
         `sale-calendar`, which KEDA doesn't have, is described in [Prescaling](../prescaling.md).\n\n\
         ## By what is read\n\n| | |\n|---|---|\n{}| sales and other dates | [`sale-calendar`](../prescaling.md) |\n\n\
         ## All types\n\n\
         | trigger type | what it reads | differs | Cargo feature |\n|---|---|---|---|\n{rows}",
        by_source()?
    ))
}

fn works(name: &str) -> bool {
    let is_ours = sakidori_scalers::kinds()
        .iter()
        .any(|kind| kind.name == name);
    is_ours || OF_THE_HPA.contains(&name)
}

/// The rows of the table of sources.
fn by_source() -> Result<String> {
    for name in KEDA_TYPES.iter().filter(|name| works(name)) {
        let named = BY_SOURCE.iter().any(|(_, names)| names.contains(name));
        ensure!(named, "{name} is in none of the kinds of sources");
    }
    let shown = |name: &&str| match OF_THE_HPA.contains(name) {
        true => format!("`{name}`"),
        false => format!("[`{name}`]({name}.md)"),
    };
    Ok(BY_SOURCE
        .iter()
        .map(|(source, names)| {
            let names: Vec<String> = names.iter().filter(|name| works(name)).map(shown).collect();
            format!("| {source} | {} |\n", names.join(", "))
        })
        .collect())
}

const DEPARTURES: &str = "../../ARCHITECTURE.md#departures-from-keda";

/// The rows of the table of departures that name the trigger type before their first colon, each without its names.
fn rows_about<'a>(architecture: &'a str, name: &str) -> Vec<&'a str> {
    let quoted = format!("`{name}`");
    let rows = architecture
        .lines()
        .filter_map(|line| line.strip_prefix("| `"));
    rows.filter_map(|row| row.split_once(": "))
        .filter(|(names, _)| format!("`{names}").split(", ").any(|named| named == quoted))
        .map(|(_, row)| row)
        .collect()
}

/// A section of a trigger type's page, or nothing.
pub(crate) fn departures_of(architecture: &str, name: &str) -> String {
    let rows = rows_about(architecture, name);
    if rows.is_empty() {
        return String::new();
    }
    let rows: String = rows
        .iter()
        .map(|row| format!("| {}\n", row.replace("](docs/", "](../")))
        .collect();
    format!("\n## Differs from KEDA\n\n| KEDA | here | why |\n|---|---|---|\n{rows}")
}

/// The first sentence of a header, in one line of a table.
fn first_sentence(source: &str) -> String {
    let text = header(source);
    let first = text.split("\n\n").next().unwrap_or_default();
    first
        .replace('\n', " ")
        .replace('|', r"\|")
        .trim()
        .to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::binary;

    #[test]
    fn the_index_has_every_type_of_keda_once_and_ours_with_a_page() {
        let index = page(&binary::repository()).unwrap();
        let rows: Vec<&str> = index
            .lines()
            .skip_while(|line| *line != "## All types")
            .filter(|line| line.starts_with("| `") || line.starts_with("| [`"))
            .collect();
        assert_eq!(rows.len(), 78);
        for (name, row) in KEDA_TYPES.iter().zip(rows) {
            let is_ours = sakidori_scalers::kinds()
                .iter()
                .any(|kind| kind.name == *name);
            let begins = match is_ours {
                true => format!("| [`{name}`]({name}.md) | "),
                false => format!("| `{name}` | "),
            };
            assert!(row.starts_with(&begins), "{name}: {row}");
            let refused = !is_ours && !OF_THE_HPA.contains(name);
            assert_eq!(row.contains("not yet: refused"), refused, "{row}");
        }
    }

    #[test]
    fn departures_are_found_by_the_names_before_the_colon() {
        let table = "| `external`: a | b |\n| `redis`, `redis-streams`: c | d |\n| `external`: e | f |\n| `numberOfFailures` is `redis`: x |";
        for (name, rows) in [
            ("external", 2),
            ("redis", 1),
            ("redis-streams", 1),
            ("cron", 0),
        ] {
            assert_eq!(rows_about(table, name).len(), rows, "{name}");
        }
    }
}
