//! The plan of examples/sale in all formats, held word by word. `SAKIDORI_UPDATE=1` writes them anew.

#![allow(
    clippy::unwrap_used,
    reason = "a test's own functions may, as its cases may"
)]

use std::path::{Path, PathBuf};

use sakidori_plan::{
    Assumptions, Given, Manifests, Period, Plan, ics, json, point_in_time, svg, table, zone,
};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn example() -> Plan {
    let mut manifests = Manifests::default();
    for name in ["calendar", "checkout", "namespace", "reports", "web"] {
        let file = format!("examples/sale/{name}.yaml");
        let text = std::fs::read_to_string(root().join(&file)).unwrap();
        manifests.read(&file, &text, "default");
    }
    Plan::new(&manifests, &Given::new(), period(), Assumptions::default())
}

fn period() -> Period {
    let zone = zone("Asia/Tokyo").unwrap();
    Period {
        from: point_in_time("2027-01-01", &zone).unwrap(),
        to: point_in_time("2027-01-10", &zone).unwrap(),
        zone,
    }
}

#[track_caller]
fn hold(name: &str, text: &str) {
    let file = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/snapshots")
        .join(name);
    if std::env::var_os("SAKIDORI_UPDATE").is_some() {
        std::fs::create_dir_all(file.parent().unwrap()).unwrap();
        std::fs::write(&file, text).unwrap();
    }
    let held = std::fs::read_to_string(&file).unwrap_or_default();
    assert!(
        held == text,
        "{name} is outdated; this is the plan now:\n{text}"
    );
}

#[test]
fn the_example_has_this_table() {
    let plan = example();
    let text = table::write(&plan, None);
    hold("sale.txt", &text);
    for line in text.lines() {
        assert!(line.chars().count() <= 100, "{line}");
        assert!(!line.chars().any(char::is_control), "{line:?}");
    }
    assert_eq!(plan.findings, []);
}

#[test]
fn the_example_has_this_json() {
    hold("sale.json", &json::write(&example(), false).unwrap());
}

#[test]
fn the_example_has_this_picture() {
    hold("sale.svg", &svg::write(&example()));
}

#[test]
fn the_example_has_this_calendar() {
    let text = ics::write(&example());
    hold("sale.ics", &text);
    assert!(text.split("\r\n").all(|line| line.len() <= 75));
    // And our own reader takes it.
    let read = sakidori_calendars::ics::read(&text, &jiff::tz::TimeZone::UTC).unwrap();
    assert_eq!(read.problems, []);
    assert_eq!(read.events.len(), text.matches("BEGIN:VEVENT").count());
}

fn findings(text: &str) -> Vec<String> {
    let mut manifests = Manifests::default();
    manifests.read("a.yaml", text, "shop");
    let plan = Plan::new(&manifests, &Given::new(), period(), Assumptions::default());
    plan.findings.iter().map(ToString::to_string).collect()
}

const OBJECT: &str = "
apiVersion: keda.sh/v1alpha1
kind: ScaledObject
metadata: {name: web}
spec:
  scaleTargetRef: {name: web}
  triggers:
  - type: sale-calendar
    metadata: {calendar: sales, desiredReplicas: '20'}
";
const CALENDAR: &str = "
apiVersion: sakidori.dev/v1alpha1
kind: ClusterSaleCalendar
metadata: {name: sales}
spec:
  events: [{name: a, start: 2027-01-02T00:00:00, duration: 1h}]
";

#[test]
fn what_is_wrong_is_told_with_file_document_field_and_value() {
    let both = format!("{CALENDAR}---{OBJECT}");
    let table = [
        (both.clone(), ""),
        (
            both.replace("duration: 1h", "end: 2027-01-01"),
            "error: a.yaml, document 1: ClusterSaleCalendar sales: spec.events[0].end",
        ),
        (
            both.replace("calendar: sales", "calendar: sale"),
            "error: a.yaml, document 2: ScaledObject shop/web: spec.triggers[0].metadata.calendar: \"sale\": no such \
             ClusterSaleCalendar, did you mean sales?",
        ),
        (
            both.replace("'20'", "many"),
            "error: a.yaml, document 2: ScaledObject shop/web: spec.triggers[0].metadata.desiredReplicas: \"many\"",
        ),
        (
            both.replace("'20'", "'200'"),
            "error: a.yaml, document 2: ScaledObject shop/web: spec.triggers[0].metadata.desiredReplicas: 200 is above \
             maxReplicaCount (100)",
        ),
        (
            both.replace(
                "  scaleTargetRef",
                "  minReplicaCount: 101\n  scaleTargetRef",
            ),
            "error: a.yaml, document 2: ScaledObject shop/web: MinReplicaCount=101",
        ),
        (
            both.replace("2027-01-02", "2027-03-02"),
            "warning: a.yaml, document 2: ScaledObject shop/web: no occurrence of calendar \"sales\"",
        ),
        (
            both.replace("spec:\n  events", "spec:\n  timeZone: Asia/Tokio\n  events"),
            "error: a.yaml, document 1: ClusterSaleCalendar sales: spec.timeZone: unknown time zone Asia/Tokio, did you mean \
             Asia/Tokyo?",
        ),
        (
            format!("{both}---\nkind: {{"),
            "error: a.yaml, document 3: no YAML",
        ),
        (
            format!(
                "{CALENDAR}  sources: [{{name: x, format: csv, configMapKeyRef: {{name: drops, key: k}}}}]\n"
            ),
            "error: a.yaml, document 1: ClusterSaleCalendar sales: spec.sources[0] (\"x\"): no ConfigMap drops",
        ),
        (
            format!(
                "{CALENDAR}  sources: [{{name: x, format: ics, url: 'https://calendar.example'}}]\n"
            ),
            "warning: a.yaml, document 1: ClusterSaleCalendar sales: spec.sources[0] (\"x\"): left out",
        ),
    ];
    for (text, expected) in table {
        let found = findings(&text);
        if expected.is_empty() {
            assert_eq!(found, [""; 0], "{text}");
        } else {
            assert!(
                found.iter().any(|one| one.starts_with(expected)),
                "{expected}\n{found:#?}"
            );
        }
    }
}

#[test]
fn a_cap_that_wins_and_a_maximum_that_is_too_low_are_told() {
    let capped = OBJECT.to_owned()
        + "  - type: sale-calendar\n    metadata: {calendar: sales, limitReplicas: '2'}\n";
    let found = findings(&format!("{CALENDAR}---{capped}"));
    assert!(
        found[0].contains("the cap of 2 during \"a\" wins over the floor of 20"),
        "{found:?}"
    );
    let times = OBJECT.replace("desiredReplicas: '20'", "multiplier: '200', baseline: '1'");
    let found = findings(&format!("{CALENDAR}---{times}"));
    assert!(
        found[0].contains("multiplier: a floor of 200 replicas is above maxReplicaCount (100)")
            && found[1].contains("the floor of 200 for \"a\" is above the maximum (100)"),
        "{found:?}"
    );
}

#[test]
fn pod_hours_count_what_is_above_min_replica_count() {
    let zone = zone("UTC").unwrap();
    let object = OBJECT.replace(
        "desiredReplicas: '20'",
        "desiredReplicas: '20', leadTime: 1h, rampUp: '0', holdAfter: '0', rampDown: '0'",
    );
    let object = object.replace("  scaleTargetRef", "  minReplicaCount: 5\n  scaleTargetRef");
    let mut manifests = Manifests::default();
    manifests.read("a.yaml", &format!("{CALENDAR}---{object}"), "shop");
    // 23:00 to 1:00: 15 pods for two hours.
    let hours = |from: &str, to: &str| {
        let period = Period {
            from: point_in_time(from, &zone).unwrap(),
            to: point_in_time(to, &zone).unwrap(),
            zone: zone.clone(),
        };
        Plan::new(&manifests, &Given::new(), period, Assumptions::default()).pod_seconds() / 3600.0
    };
    assert_eq!(hours("2027-01-01", "2027-01-10"), 30.0);
    assert_eq!(hours("2027-01-02", "2027-01-10"), 15.0);
    assert_eq!(hours("2027-01-02T02:00", "2027-01-10"), 0.0);
}

#[test]
fn config_maps_and_texts_that_are_given_stand_for_sources() {
    let text = "{apiVersion: v1, kind: ConfigMap, metadata: {name: drops}, data: {k: \"name,start,end\\nb,2027-01-03,2027-01-03\"}}";
    let sources = "  sources: [{name: x, format: csv, configMapKeyRef: {name: drops, key: k}}]\n";
    let mut manifests = Manifests::default();
    manifests.read(
        "a.yaml",
        &format!("{CALENDAR}{sources}---{OBJECT}---\n{text}"),
        "shop",
    );
    let names = |given: &Given| -> Vec<String> {
        let plan = Plan::new(&manifests, given, period(), Assumptions::default());
        assert_eq!(plan.findings, []);
        plan.objects[0]
            .sales
            .iter()
            .map(|sale| sale.occurrence.name.clone())
            .collect()
    };
    assert_eq!(names(&Given::new()), ["a", "b"]);
    let key = ("sales".to_owned(), "x".to_owned());
    let given = Given::from([(key, "name,start,end\nc,2027-01-04,2027-01-04".to_owned())]);
    assert_eq!(names(&given), ["a", "c"]);
}
