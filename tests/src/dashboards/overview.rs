//! Is it healthy, who leads, and which ScaledObjects need a look?

use super::board::{Board, Mark, Row, Variable};
use super::panel::{BAD, CALM, FINE, NONE_IS_FINE, NONE_IS_USUAL, OFF, Panel, Unit, WATCH};
use super::queries::{at_max, certificates, not_ready, of_objects, quantiles, rate_by};

/// The ScaledObjects of the namespaces that are chosen.
const CHOSEN: &str = r#"{namespace=~"$namespace"}"#;

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
            query: "label_values(sakidori_scaled_object_replicas, namespace)",
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
            polls(),
            hpa(),
            api(),
            admission(),
            process(),
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
                format!("max by (scaler) (keda_scaler_metrics_latency_seconds{CHOSEN})"),
                "{{scaler}}",
            )
            .width(8),
        ],
    }
}

fn polls() -> Row {
    Row {
        heading: "Polls and writes of replicas",
        height: 8,
        panels: vec![
            Panel::series(
                "Polls",
                Unit::PerSecond,
                "`ok`, `partial` where some trigger failed, `failed` where nothing could be read.",
            )
            .ask(rate_by("sakidori_polls_total", "", "outcome"), "{{outcome}}")
            .width(8),
            quantiles(
                "How late polls begin",
                "By how much polls begin after they were planned. Seconds here: the operator lacks processor time. Runbook: SakidoriPollsLate.",
                "sakidori_poll_late_seconds",
            )
            .width(8),
            Panel::series(
                "Writes of replicas",
                Unit::PerSecond,
                "What the operator itself writes: to and from zero, up to the minimum, and what a pause asks for. HPAs do the rest.",
            )
            .ask(
                rate_by("sakidori_scales_total", "", "direction, outcome"),
                "{{direction}}: {{outcome}}",
            )
            .or_says("No replicas were written.")
            .width(8),
        ],
    }
}

fn hpa() -> Row {
    Row {
        heading: "What HPAs read",
        height: 8,
        panels: vec![
            Panel::series(
                "Reads of HPAs",
                Unit::PerSecond,
                "`fresh` was there, `polled` was waited for, `last` is the last reading of a slow source. `unavailable`, `not_found` and \
                 `bad_request` give no value, and the HPA keeps its replicas. Runbook: SakidoriHpaReadsFail.",
            )
            .ask(
                rate_by("sakidori_hpa_reads_total", "", "outcome"),
                "{{outcome}}",
            )
            .width(6),
            quantiles(
                "How long they take",
                "The HPA controller has five workers for the whole cluster: each second here is one that another HPA waits.",
                "sakidori_hpa_read_duration_seconds",
            )
            .width(6),
            quantiles(
                "How old the values are",
                "The age of a value when it is served. One that is too old is not served at all. Runbook: SakidoriValuesOld.",
                "sakidori_hpa_read_age_seconds",
            )
            .width(6),
            Panel::series(
                "Silence of the leader",
                Unit::Seconds,
                "How long ago the leader last told a replica something. It does so every few seconds: more means that this replica's HPAs get no values soon.",
            )
            .ask("sakidori_values_silence_seconds", "{{instance}}")
            .or_says("There is one replica: nobody is told anything.")
            .width(6),
        ],
    }
}

fn api() -> Row {
    Row {
        heading: "The API server",
        height: 8,
        panels: vec![
            Panel::series(
                "Requests by what is done",
                Unit::PerSecond,
                "What this operator asks of the API server. While nothing changes, that is its Lease and little else.",
            )
            .ask(
                rate_by("sakidori_api_requests_total", "", "verb"),
                "{{verb}}",
            )
            .width(8),
            Panel::series(
                "Requests that fail",
                Unit::PerSecond,
                "`refused`: a right is missing, or a webhook says no; `throttled`: too many requests; `failed`: no answer. Conflicts are written \
                 again and are no fault. Runbook: SakidoriApiWritesFail.",
            )
            .ask(
                rate_by(
                    "sakidori_api_requests_total",
                    r#"{outcome=~"refused|throttled|failed"}"#,
                    "verb, resource, outcome",
                ),
                "{{verb}} {{resource}}: {{outcome}}",
            )
            .or_says("No request fails.")
            .width(8),
            Panel::series(
                "How long requests take",
                Unit::Seconds,
                "99 of 100 are faster, by what is done.",
            )
            .ask(
                "histogram_quantile(0.99, sum by (le, verb) (rate(sakidori_api_request_duration_seconds_bucket[$__rate_interval])))",
                "{{verb}}",
            )
            .width(8),
        ],
    }
}

fn admission() -> Row {
    Row {
        heading: "Admission",
        height: 7,
        panels: vec![
            Panel::series(
                "ScaledObjects that admission looked at",
                Unit::PerSecond,
                "By what was asked for. Nothing here while people apply ScaledObjects: the webhook isn't called.",
            )
            .ask(
                rate_by("keda_webhook_scaled_object_validations_total", "", "action"),
                "{{action}}",
            )
            .or_says("None was applied yet.")
            .width(12),
            Panel::series(
                "Refused",
                Unit::PerSecond,
                "By reason, each with a page in docs/admission.md. Many of one namespace: a pipeline applies something broken over and over.",
            )
            .ask(
                rate_by(
                    "keda_webhook_scaled_object_validation_errors_total",
                    "",
                    "namespace, reason",
                ),
                "{{namespace}}: {{reason}}",
            )
            .or_says("None was refused.")
            .width(12),
        ],
    }
}

fn process() -> Row {
    // Every process has such metrics: those of this one are where keda_build_info is.
    let ours = |metric: &str| format!("{metric} and on (job, instance) keda_build_info");
    Row {
        heading: "Processes",
        height: 7,
        panels: vec![
            Panel::timeline(
                "Who led, and when",
                "Each replica, and when it led. A gap between two is how long a takeover took.",
            )
            .ask("max by (instance) (sakidori_leader)", "{{instance}}")
            .named(1.0, "leads", FINE)
            .named(0.0, "follows", CALM)
            .width(8),
            Panel::series(
                "Processor",
                Unit::Cores,
                "Processors that each process keeps busy.",
            )
            .ask(
                ours("rate(process_cpu_seconds_total[$__rate_interval])"),
                "{{instance}}",
            )
            .width(5),
            Panel::series(
                "Memory",
                Unit::Bytes,
                "Resident memory. It grows with the number of ScaledObjects and of what they refer to, and with nothing else.",
            )
            .ask(ours("process_resident_memory_bytes"), "{{instance}}")
            .width(6),
            Panel::series(
                "Tasks",
                Unit::Count,
                "Tasks that outlive a term of leading. A number that grows for ever is a leak: please report it.",
            )
            .ask("sakidori_process_tasks", "{{instance}}")
            .whole()
            .width(5),
        ],
    }
}
