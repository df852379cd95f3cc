//! Documents that are small, or as large as is taken, and would be many times as large in memory, or take hours to search.

use std::time::{Duration, Instant};

use sakidori_scalers::{ScalerError, Trigger};
use sakidori_test_servers::{Answer, HttpSource};

use super::{alone, context, peak, run, value};

/// As much as is taken.
const MOST: usize = 10 * 1024 * 1024 - 4096;

/// For one of them, in a debug build on a busy machine. What it is about takes hours, or never ends.
const BOUNDED: Duration = Duration::from_secs(25);

fn filled(begin: &str, piece: &str, end: &str) -> String {
    let times = (MOST - begin.len() - end.len()) / piece.len();
    format!("{begin}{}{end}", piece.repeat(times))
}

struct Row {
    name: &'static str,
    trigger: Trigger,
    body: String,
    /// What the error says; nothing where a value is read.
    told: &'static str,
}

/// A `metrics-api` trigger. Its `url` is put in later.
fn metrics_api(
    name: &'static str,
    format: &str,
    location: &str,
    body: String,
    told: &'static str,
) -> Row {
    let trigger = Trigger::new("metrics-api").metadata([
        ("format", format),
        ("valueLocation", location),
        ("targetValue", "5"),
    ]);
    Row {
        name,
        trigger,
        body,
        told,
    }
}

/// By wildcards, queries, modifiers and lists of gjson's.
fn rows_of_json() -> Vec<Row> {
    const STEPS: &str = "more than the limit of 500000000 steps";
    const COPIES: &str = "makes more copies of it than the limit of 64 MiB";
    let row = |name, location: &str, body, told| metrics_api(name, "json", location, body, told);
    let key = |length| format!(r#"{{"{}":1}}"#, "a".repeat(length));
    let text = format!(r#"{{"x":["{}"]}}"#, "a".repeat(100_000));
    let small = || r#"{"a":[1,2]}"#.to_owned();
    let ones = || filled("{\"a\":[", "1,", "1]}");
    let indent = format!(r#"@pretty:{{"indent":"{}"}}|a"#, " ".repeat(900));
    let names = format!("a.#.{{\"{}\":@this}}|#", "n".repeat(900));
    let escape = r#"{"a":"\u12é4"}"#.to_owned();
    let long = filled("{\"a\":\"", "x", "\"}");
    vec![
        row("a long key and stars", "*a*a*a*a*a*b", key(200_000), STEPS),
        row("a key and many stars", &"*a".repeat(200), key(2_000), STEPS),
        row("a text and stars", "x.#(%\"*a*a*a*b\")", text, STEPS),
        row(
            "copies of copies",
            &"[@this,@this]|".repeat(60),
            small(),
            COPIES,
        ),
        row("many copies", &"@this|".repeat(150), long, COPIES),
        row("indents", &indent, ones(), COPIES),
        row("names for each", &names, ones(), COPIES),
        row(
            "a broken escape",
            "a",
            escape,
            "\\u stands before something else",
        ),
        row(
            "a long number",
            "a",
            filled("{\"a\":", "9", "}"),
            "no JSON number",
        ),
        row(
            "a long quantity",
            "a",
            filled("{\"a\":\"", "9", "Ki\"}"),
            "",
        ),
        row(
            "no number",
            "a",
            r#"{"a":NaN}"#.to_owned(),
            "the answer is no JSON",
        ),
        row(
            "a huge number",
            "a",
            r#"{"a":1e999999}"#.to_owned(),
            "no JSON number",
        ),
        row("many, counted", "a.#", ones(), ""),
    ]
}

fn rows_of_other_formats() -> Vec<Row> {
    let xml = |name, location: &str, body, told| metrics_api(name, "xml", location, body, told);
    let yaml = |name, location: &str, body, told| metrics_api(name, "yaml", location, body, told);
    let lines =
        |name, location: &str, body, told| metrics_api(name, "prometheus", location, body, told);
    let attributes: String = (0..200_000).map(|n| format!(" a{n}=\"\"")).collect();
    let entities = format!(
        "<!DOCTYPE a [<!ENTITY x \"{}\">]><a>{}</a>",
        "9".repeat(100_000),
        "&x;".repeat(10_000)
    );
    let anchors: String = (1..20)
        .map(|n| format!("a{n}: &a{n} [{}]\n", format!("*a{},", n - 1).repeat(9)))
        .collect();
    let anchors = format!("a0: &a0 [1,1,1,1,1,1,1,1,1]\n{anchors}");
    let sample = |label: usize| format!("jobs{{queue=\"{}\"}} 1\n", "a".repeat(label));
    let regex = r#"jobs{queue=~"(a?){100}b"}"#;
    let longer = "longer than the 512 KiB";
    vec![
        xml(
            "elements",
            "a.b",
            filled("<a>", "<b c=\"\"/>", "</a>"),
            "more than 100000 elements",
        ),
        xml(
            "attributes",
            "a.b",
            format!("<a{attributes}/>"),
            "more than 100000 elements",
        ),
        xml("entities", "a", entities, "not parseable"),
        yaml(
            "a list",
            "a.0",
            filled("a: [", "1,", "1]"),
            "more than 250000 values",
        ),
        yaml("anchors", "a19.0", anchors, "more than 250000 values"),
        yaml(
            "levels",
            "a",
            "[".repeat(10_000),
            "nests deeper than 64 levels",
        ),
        lines(
            "an expression and a long label",
            regex,
            sample(5 << 20),
            longer,
        ),
        lines(
            "an expression and many labels",
            regex,
            filled("", &sample(200), ""),
            longer,
        ),
        lines(
            "labels",
            "jobs",
            filled("jobs{", "a=\"\",", "} 1\n"),
            "line 1 is no sample",
        ),
        lines(
            "many lines",
            "jobs",
            filled("", "a 1\n", ""),
            "metric 'jobs' not found",
        ),
    ]
}

fn rows_of_other_types() -> Vec<Row> {
    let mut rows = Vec::new();
    let mut add = |name, kind: &str, metadata: &[(&str, &str)], body, told| {
        let trigger = Trigger::new(kind).metadata(metadata.iter().copied());
        rows.push(Row {
            name,
            trigger,
            body,
            told,
        });
    };
    if cfg!(feature = "prometheus") {
        let query = [("query", "up"), ("threshold", "5")];
        let vector = filled("{\"data\":{\"result\":[", "{},", "{}]}}");
        let sample = filled("{\"data\":{\"result\":[{\"value\":[1,\"2\"", ",0", "]}]}}");
        let list = filled("{\"data\":{\"result\":[{\"value\":[1,[", "0,", "0]]}]}}");
        add(
            "elements",
            "prometheus",
            &query,
            vector,
            "returned multiple elements",
        );
        add("samples", "prometheus", &query, sample, "");
        add(
            "a list for a value",
            "prometheus",
            &query,
            list,
            "no number in quotes",
        );
    }
    if cfg!(feature = "nats") {
        let lag = [
            ("account", "APP"),
            ("stream", "orders"),
            ("consumer", "workers"),
            ("lagThreshold", "5"),
        ];
        let consumers = filled(
            "{\"account_details\":[{\"stream_detail\":[{\"name\":\"\",\"consumer_detail\":[",
            "{\"name\":\"\"},",
            "{\"name\":\"\"}]}]}]}",
        );
        let accounts = filled("{\"account_details\":[", "{},", "{}]}");
        add(
            "accounts",
            "nats-jetstream",
            &lag,
            accounts,
            "more than 10000 elements",
        );
        add(
            "consumers",
            "nats-jetstream",
            &lag,
            consumers,
            "more than 4 MiB of memory",
        );
    }
    if cfg!(feature = "rabbitmq") {
        let queues = [
            ("protocol", "http"),
            ("queueName", "orders"),
            ("mode", "QueueLength"),
            ("value", "5"),
            ("useRegex", "true"),
        ];
        let page = filled("{\"page_count\":1,\"items\":[", "{},", "{}]}");
        add(
            "queues",
            "rabbitmq",
            &queues,
            page,
            "more than 10000 elements",
        );
    }
    rows
}

/// The trigger with its source, by whatever name its type has for that.
fn at(row: &Row, source: &HttpSource) -> Trigger {
    let (name, place) = match row.trigger.kind.as_str() {
        "metrics-api" => ("url", source.url("/")),
        "prometheus" => ("serverAddress", source.url("")),
        "rabbitmq" => ("host", source.url("/")),
        _ => (
            "natsServerMonitoringEndpoint",
            format!("127.0.0.1:{}", source.port()),
        ),
    };
    row.trigger.clone().metadata([(name, place.as_str())])
}

const PATHS: [&str; 4] = ["/", "/api/v1/query", "/api/queues/%2F", "/jsz"];

#[test]
fn each_costs_little_memory_and_time() {
    if !alone("hostile::documents::each_costs_little_memory_and_time") {
        return;
    }
    run(async {
        let source = HttpSource::start().unwrap();
        let context = context(BOUNDED);
        let mut wrong = Vec::new();
        for rows in [rows_of_json, rows_of_other_formats, rows_of_other_types] {
            for row in rows() {
                for path in PATHS {
                    source.set(path, Answer::new("text/plain", row.body.clone()));
                }
                let (asked, before) = (Instant::now(), peak());
                let answer = value(&context, &at(&row, &source)).await;
                let (took, after) = (asked.elapsed(), peak());
                let told = match &answer {
                    Ok(value) => value.to_string(),
                    Err(error) => ScalerError::to_string(error),
                };
                let (kind, name) = (&row.trigger.kind, row.name);
                println!("{kind}, {name}: {took:?}, {before} to {after} MiB: {told}");
                let is_told = answer.is_err() != row.told.is_empty() && told.contains(row.told);
                if !is_told || took > BOUNDED || told.len() > 2500 {
                    wrong.push(format!("{name}: expected {:?}, found {told:?}", row.told));
                }
            }
        }
        assert!(wrong.is_empty(), "{wrong:#?}");
        // What a document becomes, beside the bodies that the test and the server have: 15 and four of 10 MiB.
        assert!(peak() < 450, "{} MiB", peak());
    });
}
