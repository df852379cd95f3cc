//! The day of a sale: what the calendars say, the floors, whether they are met in time, and the coming week.

use super::board::{Board, Mark, Row, Variable};
use super::overview::TO_THE_OBJECT;
use super::panel::{BAD, CALM, FINE, NONE_IS_FINE, OFF, Panel, Unit, WATCH};
use super::queries::{NOT_RESIZED, of_objects, pods_by_state, resizes};

const CHOSEN: &str = r#"{namespace=~"$namespace",scaledObject=~"$scaledObject"}"#;
/// The bucket of what was Ready after the start. Prometheus 3 writes its bound in another way than 2.
const LATE: &str = r#"le=~"0|0.0","#;
/// A ClusterSaleCalendar has no namespace.
const CALENDARS: &str = r#"{namespace=~"$namespace|",calendar=~"$calendar"}"#;

pub fn board() -> Board {
    let variable = |name, label, query| Variable {
        name,
        label,
        query,
        several: true,
    };
    Board {
        uid: "sakidori-sale-day",
        title: "Sakidori / Sale day",
        about: "The sales that calendars announce, the floors that they set, and whether these are met in time.",
        variables: vec![
            variable(
                "namespace",
                "Namespace",
                "label_values(sakidori_prescale_floor_replicas, namespace)",
            ),
            variable(
                "scaledObject",
                "ScaledObject",
                r#"label_values(sakidori_prescale_floor_replicas{namespace=~"$namespace"}, scaledObject)"#,
            ),
            variable(
                "calendar",
                "Calendar",
                "label_values(sakidori_calendar_stale_seconds, calendar)",
            ),
        ],
        marks: vec![
            Mark {
                name: "Sale starts",
                expr: r#"max by (calendar, event, ordinal) (sakidori_calendar_occurrence_start_timestamp_seconds{namespace=~"$namespace|",calendar=~"$calendar"}) * 1000"#,
                title: "{{event}} starts",
                colour: "orange",
                value_is_time: true,
            },
            Mark {
                name: "Sale ends",
                expr: r#"max by (calendar, event, ordinal) (sakidori_calendar_occurrence_end_timestamp_seconds{namespace=~"$namespace|",calendar=~"$calendar"}) * 1000"#,
                title: "{{event}} ends",
                colour: "blue",
                value_is_time: true,
            },
        ],
        from: "now-3h",
        rows: vec![now(), floors(), readiness(), pods(), week(), calendars()],
    }
}

fn now() -> Row {
    let panels = vec![
        Panel::stat(
            "Next sale in",
            Unit::Duration,
            "The time to the start of the next sale of any of the ScaledObjects that are chosen.",
        )
        .ask(
            format!("min(sakidori_prescale_next_start_timestamp_seconds{CHOSEN}) - time()"),
            "next sale",
        )
        .now()
        .or_says("none is known"),
        Panel::stat(
            "ScaledObjects with a floor",
            Unit::Count,
            "Those of which a sale sets the minimum now.",
        )
        .ask(
            format!(
                "count({} > 0) or vector(0)",
                of_objects("sakidori_prescale_floor_replicas", CHOSEN)
            ),
            "with a floor",
        ),
        Panel::stat(
            "Missing replicas",
            Unit::Count,
            "Replicas of floors that are not Ready, over all ScaledObjects. It is above 0 while a floor climbs, and has to be 0 at the start.",
        )
        .ask(format!("sum({}) or vector(0)", missing()), "missing")
        .steps(&[(f64::NEG_INFINITY, FINE), (1.0, WATCH)]),
        Panel::stat(
            "Late",
            Unit::Count,
            "ScaledObjects whose floor isn't Ready although half of the lead time is over. Runbook: PrescaleLate.",
        )
        .ask(
            format!(
                "sum({}) or vector(0)",
                of_objects("sakidori_prescale_late", CHOSEN)
            ),
            "late",
        )
        .steps(NONE_IS_FINE),
        Panel::stat(
            "Floors that can't be had",
            Unit::Count,
            "ScaledObjects whose floor a maximum, a quota or the room on the nodes forbids. Waiting doesn't help. Runbook: PrescaleImpossible.",
        )
        .ask(
            format!(
                r#"count(max by (namespace, scaledObject) (sakidori_prescale_condition{{reason=~"LimitedByMaxReplicas|QuotaExceeded|Unschedulable",{})) or vector(0)"#,
                &CHOSEN[1..]
            ),
            "impossible",
        )
        .steps(NONE_IS_FINE),
        Panel::stat(
            "Stale calendars",
            Unit::Count,
            "Calendars of which a source can't be read. What was known counts. Runbook: CalendarStale.",
        )
        .ask(
            format!(
                "count(max by (kind, namespace, calendar) (sakidori_calendar_stale_seconds{CALENDARS}) > 0) or vector(0)"
            ),
            "stale",
        )
        .steps(NONE_IS_FINE),
    ];
    Row {
        heading: "",
        height: 4,
        panels: panels.into_iter().map(|panel| panel.width(4)).collect(),
    }
}

/// Pods are looked at while there is a floor. What was seen last of one that is over says nothing.
fn ready() -> String {
    format!(
        "{} and {} > 0",
        of_objects("sakidori_prescale_ready_replicas", CHOSEN),
        of_objects("sakidori_prescale_floor_replicas", CHOSEN)
    )
}

/// How many of its floor a ScaledObject lacks.
fn missing() -> String {
    format!(
        "clamp_min({} - {}, 0)",
        of_objects("sakidori_prescale_floor_replicas", CHOSEN),
        of_objects("sakidori_prescale_ready_replicas", CHOSEN)
    )
}

fn floors() -> Row {
    Row {
        heading: "Floors",
        height: 10,
        panels: vec![
            Panel::series(
                "Floor, and replicas that are Ready",
                Unit::Count,
                "The dashed floor climbs before a sale, holds, and falls. Ready has to be there at the mark of the start. Choose one ScaledObject above where there are many.",
            )
            .bound(
                of_objects("sakidori_prescale_floor_replicas", CHOSEN),
                "{{scaledObject}}: floor",
                "",
            )
            .ask(
                ready(),
                "{{scaledObject}}: Ready",
            )
            .whole()
            .width(16),
            Panel::series(
                "Replicas of a floor that are missing",
                Unit::Count,
                "It rises with each step of a ramp and falls as pods become Ready. What stays is late: see why it is so below.",
            )
            .ask(missing(), "{{namespace}}/{{scaledObject}}")
            .whole()
            .width(8),
        ],
    }
}

fn readiness() -> Row {
    let reports = |part: &str, selector: &str| {
        format!(
            "sum by (namespace, scaledObject) (sakidori_prescale_ready_lead_seconds_{part}{{{selector}{})",
            &CHOSEN[1..]
        )
    };
    Row {
        heading: "Readiness",
        height: 9,
        panels: vec![
            Panel::timeline(
                "Prescaled",
                "The reason of the condition Prescaled, while a floor climbs or holds. PodsNotReady is usual while it climbs; LimitedByMaxReplicas, \
                 QuotaExceeded and Unschedulable need somebody.",
            )
            .ask(
                format!(
                    "max by (namespace, scaledObject, reason) (sakidori_prescale_condition{CHOSEN})"
                ),
                "{{scaledObject}}: {{reason}}",
            )
            .named(1.0, "yes", CALM)
            .or_says("No floor climbs or holds.")
            .width(12),
            Panel::table(
                "Sales so far: in time?",
                "Since the replica that leads has begun to lead: of how many sales the floor was met, how many of them too late, and how long before the \
                 start the last pod was Ready, on average. Little and falling: raise leadTime.",
            )
            .ask(reports("count", ""), "Sales")
            .ask(reports("bucket", LATE), "Late")
            .ask(
                format!("{} / {}", reports("sum", ""), reports("count", "")),
                "Ready before the start by",
            )
            .column("namespace", "Namespace")
            .column("scaledObject", "ScaledObject")
            .column_unit("Ready before the start by", Unit::Duration)
            .leads("ScaledObject", "Why it has its replicas", TO_THE_OBJECT)
            .steps(&[(f64::NEG_INFINITY, OFF)])
            .or_says("No sale is over yet.")
            .width(12),
        ],
    }
}

fn pods() -> Row {
    let mut not_resized = Panel::table(
        "Pods that should be bigger, or smaller, and are not",
        "Of each ScaledObject with inPlaceResize, how many pods are in each state in which something is in the way. Its condition Resized says what. \
         Runbook: SakidoriPodsNotResized.",
    )
    .column("namespace", "Namespace")
    .column("scaledObject", "ScaledObject")
    .leads("ScaledObject", "Why it has its replicas", TO_THE_OBJECT)
    .steps(&[(f64::NEG_INFINITY, OFF), (1.0, WATCH)])
    .or_says("No ScaledObject has inPlaceResize.");
    for (state, heading) in NOT_RESIZED {
        let metric = format!("sakidori_resize_pods{{state=\"{state}\",{}", &CHOSEN[1..]);
        not_resized = not_resized.ask(of_objects(&metric, ""), *heading);
    }
    Row {
        heading: "Pods that are resized in place",
        height: 9,
        panels: vec![
            pods_by_state(CHOSEN).width(7),
            resizes(CHOSEN).width(6),
            not_resized.width(11),
        ],
    }
}

fn week() -> Row {
    let day = |day: u32, metric: &str, labels: &str, selector: &str| {
        format!(
            r#"max by ({labels}) ({metric}{{day="{day}",{})"#,
            &selector[1..]
        )
    };
    // Days as they are counted in the metrics: from now on, 24 hours each.
    let days = [
        "today", "in 1 day", "2 days", "3 days", "4 days", "5 days", "6 days",
    ];
    let mut floors = Panel::table(
        "The highest floor of each of the next 7 days",
        "What sales will ask of each ScaledObject, in days of 24 hours from now on: for whoever has to see that nodes and quotas suffice. \
         0 is none. `sakidori plan` tells more.",
    )
    .column("namespace", "Namespace")
    .column("scaledObject", "ScaledObject")
    .leads("ScaledObject", "Why it has its replicas", TO_THE_OBJECT)
    .steps(&[(f64::NEG_INFINITY, OFF), (1.0, CALM)])
    .or_says("No floor is planned.");
    for (number, heading) in (0..).zip(days) {
        let metric = "sakidori_prescale_planned_floor_replicas";
        floors = floors.ask(
            day(number, metric, "namespace, scaledObject", CHOSEN),
            heading,
        );
    }
    let occurrence = |end: &str| {
        format!(
            "max by (kind, namespace, calendar, event, ordinal) (sakidori_calendar_occurrence_{end}_timestamp_seconds{CALENDARS}) * 1000"
        )
    };
    Row {
        heading: "The next 7 days",
        height: 9,
        panels: vec![
            Panel::table(
                "Sales in the calendars",
                "Sales that run or come within 7 days, as the calendars have them: 20 of each at most.",
            )
            .ask(occurrence("start"), "Starts")
            .ask(occurrence("end"), "Ends")
            .column("event", "Sale")
            .column("calendar", "Calendar")
            .column("namespace", "Namespace")
            .hiding("kind")
            .hiding("ordinal")
            .sorted_by("Starts")
            .column_unit("Starts", Unit::Time)
            .column_unit("Ends", Unit::Time)
            .steps(&[(f64::NEG_INFINITY, OFF)])
            .or_says("No sale within 7 days.")
            .width(10),
            floors.width(14),
        ],
    }
}

fn calendars() -> Row {
    Row {
        heading: "Calendars",
        height: 8,
        panels: vec![
            Panel::series(
                "How long a source could not be read",
                Unit::Seconds,
                "0 where all sources of a calendar can be read. Runbook: CalendarStale.",
            )
            .ask(
                format!(
                    "max by (kind, namespace, calendar) (sakidori_calendar_stale_seconds{CALENDARS})"
                ),
                "{{kind}} {{calendar}}",
            )
            .width(12),
            Panel::series(
                "Refreshes that failed",
                Unit::PerSecond,
                "Reads of calendars' sources that failed.",
            )
            .ask(
                format!(
                    "sum by (kind, namespace, calendar) (rate(sakidori_calendar_refresh_errors_total{CALENDARS}[$__rate_interval]))"
                ),
                "{{kind}} {{calendar}}",
            )
            .coloured(BAD)
            .width(12),
        ],
    }
}
