//! Is it healthy, who leads, and which ScaledObjects need a look?

use super::board::{Board, Mark, Row, Variable};
use super::operator;
use super::panel::{BAD, FINE, NONE_IS_FINE, NONE_IS_USUAL, OFF, Panel, Unit, WATCH};
use super::queries::{at_max, certificates, not_ready, of_objects, rate_by};

/// The ScaledObjects of the namespaces that are chosen.
const CHOSEN: &str = r#"{namespace=~"$namespace"}"#;

/// What tells one trigger of all from another.
const TRIGGER: &str = "namespace, scaledObject, triggerIndex, metric";

/// Where a click on a ScaledObject leads.
pub const TO_THE_OBJECT: &str = "/d/sakidori-scaled-object?var-namespace=${__data.fields.Namespace}\
    &var-scaledObject=${__data.fields.ScaledObject}&${datasource:queryparam}&${__url_time_range}";

pub fn board() -> Board {
    Board {
        uid: "sakidori-overview",
        title: "Sakidori / Overview",
        about: "Is the operator healthy, who leads, and which ScaledObjects need a look.",
        variables: vec![Variable {
            name: "namespace",
            label: "Namespace",
            query: "label_values(sakidori_scaled_object_decision, namespace)",
            several: true,
        }],
        marks: vec![Mark {
            name: "Change of leader",
            expr: "sakidori_leader == 1 unless sakidori_leader offset 1m == 1",
            title: "{{instance}} leads",
            colour: "purple",
            value_is_time: false,
        }],
        from: "now-3h",
        rows: vec![
            health(),
            objects(),
            sources(),
            operator::polls(),
            operator::hpa(),
            operator::api(),
            operator::admission(),
            operator::process(),
        ],
    }
}

fn health() -> Row {
    let count = |query: &str| format!("count({query}) or vector(0)");
    let active = r#"{namespace=~"$namespace",condition="Active",status="True"}"#;
    let active = of_objects("sakidori_scaled_object_condition", active);
    let is = |metric: &str| count(&format!("{} == 1", of_objects(metric, CHOSEN)));
    let panels = vec![
        Panel::stat(
            "Who leads",
            Unit::Count,
            "The replica that leads. With nobody, nothing is polled, and HPAs keep what they have. Two for longer than a scrape are a fault. \
             Runbook: SakidoriNoLeader.",
        )
        .ask("max by (instance) (sakidori_leader) == 1", "{{instance}}")
        .steps(&[(f64::NEG_INFINITY, FINE)])
        .naming_series()
        .or_says("nobody"),
        Panel::stat(
            "Processes",
            Unit::Count,
            "Replicas of the operator, and metrics adapters, that Prometheus can read.",
        )
        .ask("count(keda_build_info) or vector(0)", "processes")
        .steps(&[(f64::NEG_INFINITY, BAD), (1.0, FINE)]),
        Panel::stat(
            "ScaledObjects",
            Unit::Count,
            "ScaledObjects that the leader knows.",
        )
        .ask(
            r#"sum(max by (namespace) (keda_resource_registered_total{type="scaled_object",namespace=~"$namespace"})) or vector(0)"#,
            "ScaledObjects",
        ),
        Panel::stat(
            "Active",
            Unit::Count,
            "ScaledObjects with work: some trigger is active, or a sale is near.",
        )
        .ask(count(&active), "active"),
        Panel::stat(
            "Not ready",
            Unit::Count,
            "ScaledObjects that can't be used as they stand: nothing scales them. Their condition Ready says why. Runbook: SakidoriScaledObjectNotReady.",
        )
        .ask(count(&not_ready(r#"namespace=~"$namespace""#)), "not ready")
        .steps(NONE_IS_FINE),
        Panel::stat(
            "With a failing trigger",
            Unit::Count,
            "ScaledObjects of which a source can't be read. They keep their replicas, or rise. Runbook: SakidoriTriggerFails.",
        )
        .ask(is("sakidori_trigger_failing"), "failing")
        .steps(NONE_IS_FINE),
        Panel::stat(
            "In fallback",
            Unit::Count,
            "ScaledObjects that are scaled by their `fallback` instead of by a trigger that fails. Runbook: SakidoriFallbackInUse.",
        )
        .ask(is("sakidori_scaled_object_fallback"), "in fallback")
        .steps(NONE_IS_USUAL),
        Panel::stat(
            "At their maximum",
            Unit::Count,
            "ScaledObjects that have as many replicas as they may. More work than that waits. Runbook: SakidoriAtMaxReplicas.",
        )
        .ask(count(&at_max(CHOSEN)), "at maximum")
        .steps(NONE_IS_USUAL),
        Panel::stat(
            "Paused",
            Unit::Count,
            "ScaledObjects that an annotation holds, in one direction or in both.",
        )
        .ask(is("keda_scaled_object_paused"), "paused")
        .steps(NONE_IS_USUAL),
        Panel::stat(
            "Late for a sale",
            Unit::Count,
            "ScaledObjects whose floor is not Ready although half of the lead time is over. Runbook: PrescaleLate.",
        )
        .ask(is("sakidori_prescale_late"), "late")
        .steps(NONE_IS_FINE),
        Panel::stat(
            "Stale calendars",
            Unit::Count,
            "Calendars of which a source can't be read. What was known counts. Runbook: CalendarStale.",
        )
        .ask(
            "count(max by (kind, namespace, calendar) (sakidori_calendar_stale_seconds) > 0) or vector(0)",
            "stale",
        )
        .steps(NONE_IS_FINE),
        Panel::stat(
            "Certificate ends in",
            Unit::Duration,
            "The time that is left to the certificate, or authority, that ends first. Certificates are renewed long before. Runbook: SakidoriCertificateExpires.",
        )
        .ask(certificates(), "left")
        .now()
        .steps(&[(f64::NEG_INFINITY, BAD), (604_800.0, WATCH), (1_209_600.0, FINE)]),
    ];
    Row {
        heading: "",
        height: 4,
        panels: panels.into_iter().map(|panel| panel.width(4)).collect(),
    }
}

/// A line of the table, for each ScaledObject that `query` finds.
fn problem(query: &str, says: &str) -> String {
    format!(r#"label_replace({query}, "problem", "{says}", "", "")"#)
}

fn objects() -> Row {
    let is_one = |metric: &str| format!("{} == 1", of_objects(metric, CHOSEN));
    let problems = [
        problem(
            &not_ready(r#"namespace=~"$namespace""#),
            "not ready: nothing scales it",
        ),
        problem(&is_one("sakidori_prescale_late"), "late for a sale"),
        problem(&is_one("sakidori_scaled_object_fallback"), "in fallback"),
        problem(&is_one("sakidori_trigger_failing"), "a trigger fails"),
        problem(&at_max(CHOSEN), "at its maximum"),
        problem(&is_one("keda_scaled_object_paused"), "paused"),
    ];
    Row {
        heading: "ScaledObjects",
        height: 9,
        panels: vec![
            Panel::table(
                "What needs a look",
                "A line for each thing that is not as usual with a ScaledObject, now. A click leads to that ScaledObject.",
            )
            .ask(problems.join("\nor\n"), "")
            .column("namespace", "Namespace")
            .column("scaledObject", "ScaledObject")
            .column("problem", "What")
            .leads("ScaledObject", "Why it has its replicas", TO_THE_OBJECT)
            .or_says("Nothing does.")
            .width(10),
            Panel::series(
                "ScaledObjects by what decided last",
                Unit::Count,
                "The reason of what was decided last about each ScaledObject: docs/metrics.md has a table of them. `TriggersFail`, \
                 `NotPrepared` and `ReplicasUnknown` keep replicas where they are, and are worth a look.",
            )
            .ask(
                format!(
                    "count by (reason) (max by (namespace, scaledObject, reason) (sakidori_scaled_object_decision{CHOSEN}))"
                ),
                "{{reason}}",
            )
            .stacked()
            .whole()
            .width(7),
            Panel::series(
                "Replicas, as they are and as HPAs want them",
                Unit::Count,
                "Sums over all ScaledObjects. A gap that stays is a workload that can't grow: room on the nodes, a quota, an image.",
            )
            .ask(
                format!("sum({})", of_objects("sakidori_scaled_object_replicas", CHOSEN)),
                "replicas",
            )
            .ask(
                format!(
                    "sum({})",
                    of_objects("sakidori_scaled_object_desired_replicas", CHOSEN)
                ),
                "wanted by HPAs",
            )
            .bound(
                format!("sum({})", of_objects("sakidori_scaled_object_min_replicas", CHOSEN)),
                "minimum",
                OFF,
            )
            .whole()
            .width(7),
        ],
    }
}

fn sources() -> Row {
    Row {
        heading: "Event sources",
        height: 8,
        panels: vec![
            Panel::series(
                "Reads",
                Unit::PerSecond,
                "Questions to event sources, by trigger type. An answer that several objects share is asked for once.",
            )
            .ask(
                rate_by("sakidori_source_reads_total", "", "type"),
                "{{type}}",
            )
            .width(8),
            Panel::series(
                "Reads that fail",
                Unit::PerSecond,
                "By trigger type and by what is wrong. `unauthorized`: credentials; `not_found`: the queue or topic; `unreachable`: address, \
                 network policy, TLS; `malformed`: the answer; `rate_limited`: ask less often.",
            )
            .ask(
                rate_by("sakidori_source_errors_total", "", "type, kind"),
                "{{type}}: {{kind}}",
            )
            .or_says("No read fails.")
            .width(8),
            Panel::series(
                "How long reads take",
                Unit::Seconds,
                "The last read of each trigger, by type: the slowest. A source that is slower than its trigger's pollingInterval is polled late.",
            )
            .ask(
                format!(
                    "max by (trigger) (max by ({TRIGGER}) (keda_scaler_metrics_latency_seconds{CHOSEN}) \
                     * on ({TRIGGER}) group_left (trigger) max by ({TRIGGER}, trigger) (sakidori_trigger_info{CHOSEN}))"
                ),
                "{{trigger}}",
            )
            .width(8),
        ],
    }
}
