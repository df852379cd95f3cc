//! What people give to a plan: sales that follow each other, long names, the same object twice, values of the wrong type.

#![allow(
    clippy::unwrap_used,
    reason = "a test's own functions may, as its cases may"
)]

use sakidori_plan::{Assumptions, Given, Manifests, Period, Plan, point_in_time, table, zone};

const OBJECT: &str = "
apiVersion: keda.sh/v1alpha1
kind: ScaledObject
metadata: {name: web}
spec:
  scaleTargetRef: {name: web}
  minReplicaCount: 2
  triggers:
  - type: sale-calendar
    metadata: {calendar: sales, desiredReplicas: '20', baseline: '2', leadTime: 15m, rampUp: 10m, holdAfter: 10m, rampDown: 30m}
";

fn calendar(events: &str) -> String {
    format!(
        "apiVersion: sakidori.dev/v1alpha1\nkind: ClusterSaleCalendar\nmetadata: {{name: sales}}\nspec:\n  events:\n{events}---"
    )
}

fn planned(texts: &[(&str, &str)]) -> Plan {
    let mut manifests = Manifests::default();
    for (file, text) in texts {
        manifests.read(file, text, "shop");
    }
    let zone = zone("UTC").unwrap();
    let period = Period {
        from: point_in_time("2027-01-01", &zone).unwrap(),
        to: point_in_time("2027-01-10", &zone).unwrap(),
        zone,
    };
    Plan::new(&manifests, &Given::new(), period, Assumptions::default())
}

/// The lines of the phases, without the days.
fn rows(plan: &Plan, columns: Option<usize>) -> Vec<String> {
    let text = table::write(plan, columns);
    let rows = text
        .lines()
        .filter(|line| line.starts_with("  ") && line.contains("2027-"));
    rows.map(str::to_owned).collect()
}

#[test]
fn where_one_sale_hands_over_to_the_next_the_floor_holds() {
    // The second is complete at 12:10, and began to climb at 12:00, before the hold of the first was over.
    let events = "  - {name: first, start: 2027-01-02T10:00:00, end: 2027-01-02T11:55:00}\n  \
                  - {name: second, start: 2027-01-02T12:25:00, duration: 1h}\n";
    let plan = planned(&[("a.yaml", &(calendar(events) + OBJECT))]);
    let expected = [
        "  Sat 2027-01-02 09:35        10m      2 -> 20       1.4  first",
        "  Sat 2027-01-02 09:45      2h20m           20      42.0  first",
        "  Sat 2027-01-02 12:05      3m53s           20       1.2  first                 hand-over",
        "  Sat 2027-01-02 12:08:53    1m6s           20       0.3  second                hand-over",
        "  Sat 2027-01-02 12:10      1h25m           20      25.5  second",
        "  Sat 2027-01-02 13:35        30m      20 -> 0       4.3  second",
    ];
    assert_eq!(rows(&plan, None), expected);
    assert_eq!(plan.findings, []);
}

#[test]
fn long_names_keep_the_columns_and_are_cut_on_a_terminal_only() {
    let long = "the-great-new-year-clearance-of-all-winter-coats-and-boots";
    let events = format!(
        "  - {{name: {long}, start: 2027-01-02T10:00:00, duration: 1h}}\n  - {{name: short, start: 2027-01-04T10:00:00, duration: 1h}}\n  \
         - {{name: 新春大売り出し, start: 2027-01-06T10:00:00, duration: 1h}}\n"
    );
    let object = OBJECT.replace(
        "desiredReplicas: '20'",
        "desiredReplicas: '200', maxReplicas: '300'",
    );
    let plan = planned(&[("a.yaml", &(calendar(&events) + &object))]);
    let all = rows(&plan, None);
    assert!(all[0].contains(long));
    // Where notes begin; each of the seven letters is two columns wide.
    let place = |row: &String| row.find("max 300").map(|at| row[..at].chars().count());
    assert_eq!(place(&all[0]), place(&all[3]));
    assert_eq!(place(&all[0]).map(|at| at - 7), place(&all[6]));
    let narrow = rows(&plan, Some(90));
    assert!(
        narrow[0].contains("  the-great-new-year-cle…  max 300"),
        "{narrow:#?}"
    );
    for row in &narrow {
        assert!(row.chars().count() <= 90, "{row}");
    }
    // What is too narrow for any table gets one that is too wide.
    assert!(rows(&plan, Some(20))[0].contains("  the-great-n…  max 300"));
}

#[test]
fn the_later_of_two_of_one_name_counts_and_both_are_told() {
    let events = "  - {name: a, start: 2027-01-02T10:00:00, duration: 1h}\n";
    let other = OBJECT.replace("'20'", "'30'");
    let plan = planned(&[
        ("a.yaml", &(calendar(events) + OBJECT)),
        ("b.yaml", &other),
        ("c.yaml", &calendar(&events.replace("name: a", "name: b"))),
    ]);
    assert_eq!(plan.objects.len(), 1);
    assert_eq!(plan.objects[0].highest_floor, 30);
    assert_eq!(plan.objects[0].sales[0].occurrence.name, "b");
    let told: Vec<_> = plan.findings.iter().map(ToString::to_string).collect();
    assert_eq!(
        told,
        [
            "error: b.yaml, document 1: ScaledObject shop/web: it is also in a.yaml, document 2: this one counts",
            "error: c.yaml, document 1: ClusterSaleCalendar sales: it is also in a.yaml, document 1: this one counts",
        ]
    );
}

#[test]
fn a_value_of_the_wrong_type_is_told_with_its_field() {
    let events = "  - {name: a, start: 2027-01-02T10:00:00, duration: 1h, labels: {tier: no}}\n";
    let plan = planned(&[
        ("a.yaml", &calendar(events)),
        ("b.yaml", &OBJECT.replace("'20'", "20")),
        ("c.yaml", "kind: [\n"),
    ]);
    let told: Vec<_> = plan.findings.iter().map(ToString::to_string).collect();
    for (number, expected) in [
        "error: a.yaml, document 1: ClusterSaleCalendar sales: spec.events[0].labels.tier: invalid type: boolean `false`, expected \
         a string: write it in quotes",
        "error: b.yaml, document 1: ScaledObject shop/web: spec.triggers[0].metadata.desiredReplicas: invalid type: integer `20`, \
         expected a string: write it in quotes",
        "error: c.yaml, document 1: no YAML: line ",
    ]
    .into_iter()
    .enumerate()
    {
        assert!(told[number].starts_with(expected), "{expected}\n{told:#?}");
    }
}

#[test]
fn a_calendar_near_its_limit_is_planned_over_the_horizon() {
    // 9,600 within 400 days, and more within the time from which sales reach into the period.
    let calendar = "apiVersion: sakidori.dev/v1alpha1\nkind: ClusterSaleCalendar\nmetadata: {name: sales}\nspec:\n  \
                    recurring: [{name: often, cron: '0 * * * *', duration: 20m}]\n---";
    let plan = planned(&[("a.yaml", &(calendar.to_owned() + OBJECT))]);
    assert_eq!(plan.findings, []);
    assert!(plan.objects[0].sales.len() >= 9 * 24);
    let too_many = calendar.replace("0 *", "0,30 *");
    let plan = planned(&[("a.yaml", &(too_many + OBJECT))]);
    let told = plan.findings[0].to_string();
    assert!(
        told.contains("more than the limit of 10000 occurrences within 400 days"),
        "{told}"
    );
}

#[test]
fn an_object_without_a_sale_is_none_of_a_plan() {
    let object = OBJECT.replace("type: sale-calendar", "type: cron");
    let object = object.replace(
        "calendar: sales, desiredReplicas: '20'",
        "timezone: UTC, start: 0 1 * * *, end: 0 2 * * *, desiredReplicas: '20'",
    );
    let plan = planned(&[("a.yaml", &object)]);
    assert_eq!(plan.objects.len(), 0);
    assert!(
        table::write(&plan, None).ends_with("\nNo ScaledObject has a sale-calendar trigger.\n")
    );
}
