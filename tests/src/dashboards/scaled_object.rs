//! One ScaledObject: why has it the replicas that it has?

use super::board::{Board, Mark, Row, Variable};
use super::panel::{BAD, CALM, FINE, NONE_IS_FINE, OFF, Panel, Unit, WATCH};
use super::queries::{not_ready, pods_by_state, resizes};

/// The one that is chosen.
const CHOSEN: &str = r#"{namespace="$namespace",scaledObject="$scaledObject"}"#;

/// What tells one trigger from another.
const TRIGGER: &str = "triggerIndex, scaler, metric";

pub fn board() -> Board {
    Board {
        uid: "sakidori-scaled-object",
        title: "Sakidori / ScaledObject",
        about: "Why one ScaledObject has the replicas that it has.",
        variables: vec![
            Variable {
                name: "namespace",
                label: "Namespace",
                query: "label_values(sakidori_scaled_object_decision, namespace)",
                several: false,
            },
            Variable {
                name: "scaledObject",
                label: "ScaledObject",
                query: r#"label_values(sakidori_scaled_object_decision{namespace="$namespace"}, scaledObject)"#,
                several: false,
            },
        ],
        marks: vec![
            Mark {
                name: "Decision",
                expr: r#"max by (reason) (sakidori_scaled_object_decision{namespace="$namespace",scaledObject="$scaledObject"}) unless max by (reason) (sakidori_scaled_object_decision{namespace="$namespace",scaledObject="$scaledObject"} offset 30s)"#,
                title: "{{reason}}",
                colour: "purple",
                value_is_time: false,
            },
            Mark {
                name: "Sale starts",
                expr: r#"max(sakidori_prescale_next_start_timestamp_seconds{namespace="$namespace",scaledObject="$scaledObject"}) * 1000"#,
                title: "A sale starts",
                colour: "orange",
                value_is_time: true,
            },
        ],
        from: "now-1h",
        rows: vec![answer(), replicas(), triggers(), sources(), sale(), pods()],
    }
}

/// One line of the object.
fn of(metric: &str) -> String {
    format!("max({metric}{CHOSEN})")
}

/// One line for each trigger.
fn of_triggers(metric: &str) -> String {
    format!("max by ({TRIGGER}) ({metric}{CHOSEN})")
}

const TRIGGER_NAME: &str = "{{triggerIndex}} {{scaler}}: {{metric}}";

fn answer() -> Row {
    let panels = vec![
        Panel::stat(
            "Replicas",
            Unit::Count,
            "The target's replicas, as last polled.",
        )
        .ask(of("sakidori_scaled_object_replicas"), "replicas")
        .whole()
        .width(3),
        Panel::stat(
            "The HPA wants",
            Unit::Count,
            "The HPA's desiredReplicas. Other than the replicas for long: pods can't be made, or the Deployment is being rolled out. Nothing \
             here: the HPA doesn't scale now, since there are no replicas.",
        )
        .ask(of("sakidori_scaled_object_desired_replicas"), "wanted")
        .now()
        .whole()
        .width(3),
        Panel::stat(
            "Bounds of the HPA",
            Unit::Count,
            "The HPA's minReplicas, with a sale's floor in it, and its maxReplicas.",
        )
        .ask(of("sakidori_scaled_object_min_replicas"), "minimum")
        .ask(of("sakidori_scaled_object_max_replicas"), "maximum")
        .whole()
        .width(5),
        Panel::stat(
            "Decided last",
            Unit::Count,
            "The reason of what was decided last: docs/metrics.md says what each means for the replicas.",
        )
        .ask(
            format!("max by (reason) (sakidori_scaled_object_decision{CHOSEN})"),
            "{{reason}}",
        )
        .naming_series()
        .width(4),
        Panel::stat(
            "Floor of a sale",
            Unit::Count,
            "What a sale-calendar has put under the replicas; 0 is none.",
        )
        .ask(of("sakidori_prescale_floor_replicas"), "floor")
        .now()
        .or_says("no sales")
        .whole()
        .width(3),
        Panel::stat(
            "Cooldown left",
            Unit::Seconds,
            "How long replicas still stay although no trigger is active.",
        )
        .ask(of("sakidori_scaled_object_cooldown_seconds"), "left")
        .now()
        .whole()
        .width(3),
        Panel::stat(
            "Last poll was late by",
            Unit::Seconds,
            "By how much the last poll began after it was planned. Runbook: SakidoriPollsLate.",
        )
        .ask(
            r#"max(keda_internal_scale_loop_latency_seconds{namespace="$namespace",resource="$scaledObject",type="scaledobject"})"#,
            "late",
        )
        .steps(&[(f64::NEG_INFINITY, FINE), (5.0, WATCH), (15.0, BAD)])
        .width(3),
    ];
    Row {
        heading: "",
        height: 4,
        panels,
    }
}

fn replicas() -> Row {
    Row {
        heading: "Replicas",
        height: 9,
        panels: vec![
            Panel::series(
                "Replicas, and what they are between",
                Unit::Count,
                "The replicas, what the HPA wants, and its bounds. The minimum rises with a sale's floor.",
            )
            .bound(of("sakidori_scaled_object_max_replicas"), "maximum", BAD)
            .bound(of("sakidori_scaled_object_min_replicas"), "minimum", WATCH)
            .ask(of("sakidori_scaled_object_desired_replicas"), "wanted by the HPA")
            .coloured(CALM)
            .ask(of("sakidori_scaled_object_replicas"), "replicas")
            .coloured(FINE)
            .whole()
            .width(14),
            Panel::timeline(
                "What decided",
                "The reason of each decision, while it counted. Sale and Active let the HPA scale; Cooldown, TriggersFail, Paused and NotPrepared keep the replicas.",
            )
            .ask(
                format!("max by (reason) (sakidori_scaled_object_decision{CHOSEN})"),
                "{{reason}}",
            )
            .named(1.0, "counts", CALM)
            .width(10),
        ],
    }
}

fn triggers() -> Row {
    Row {
        heading: "Triggers",
        height: 9,
        panels: vec![
            Panel::table(
                "Each trigger now",
                "What each trigger's last value asks for. The HPA takes the highest of them, within its bounds. A target is for one replica, or for all \
                 with metricType: Value. cpu and memory are the HPA's own: there is no value here.",
            )
            .ask(of_triggers("keda_scaler_metrics_value"), "Value")
            .ask(of_triggers("sakidori_trigger_target"), "Target")
            .ask(of_triggers("sakidori_trigger_desired_replicas"), "Asks for")
            .ask(of_triggers("keda_scaler_active"), "Active")
            .ask(of_triggers("sakidori_trigger_failing"), "Failing")
            .ask(of_triggers("sakidori_trigger_age_seconds"), "Read before")
            .column("triggerIndex", "#")
            .column("scaler", "Trigger")
            .column("metric", "Metric")
            .column_unit("Read before", Unit::Seconds)
            .column_names("Active", &[(1.0, "yes", FINE), (0.0, "no", OFF)])
            .column_names("Failing", &[(1.0, "yes", BAD), (0.0, "no", OFF)])
            .steps(&[(f64::NEG_INFINITY, OFF)])
            .or_says("It has no trigger whose value is read.")
            .width(14),
            Panel::series(
                "Replicas that each trigger asks for",
                Unit::Count,
                "By its last value, without bounds. The highest wins, and the replicas follow it within the minimum and the maximum.",
            )
            .ask(of_triggers("sakidori_trigger_desired_replicas"), TRIGGER_NAME)
            .bound(of("sakidori_scaled_object_max_replicas"), "maximum", BAD)
            .bound(of("sakidori_scaled_object_min_replicas"), "minimum", WATCH)
            .whole()
            .width(10),
            Panel::series(
                "Value against target",
                Unit::Count,
                "Each trigger's value, and the value that its replicas can carry by its target: the replicas times the target. \
                 Above the dashed line, the HPA adds replicas.",
            )
            .ask(of_triggers("keda_scaler_metrics_value"), TRIGGER_NAME)
            .bound(
                of_triggers("sakidori_trigger_carried"),
                "{{triggerIndex}} {{scaler}}: carried by the replicas",
                OFF,
            )
            .width(14),
            Panel::timeline(
                "Active",
                "Which trigger was active. While any is, there is at least one replica.",
            )
            .ask(of_triggers("keda_scaler_active"), TRIGGER_NAME)
            .named(1.0, "active", FINE)
            .named(0.0, "not active", OFF)
            .width(10),
        ],
    }
}

fn sources() -> Row {
    Row {
        heading: "Reading the sources",
        height: 8,
        panels: vec![
            Panel::series(
                "Reads that fail",
                Unit::PerSecond,
                "Of each trigger. While one fails, replicas stay, or rise for another trigger, or are those of the fallback.",
            )
            .ask(
                format!(
                    "sum by ({TRIGGER}) (rate(keda_scaler_detail_errors_total{CHOSEN}[$__rate_interval]))"
                ),
                TRIGGER_NAME,
            )
            .or_says("No read fails.")
            .width(8),
            Panel::series(
                "How long a read takes",
                Unit::Seconds,
                "The last read of each trigger.",
            )
            .ask(
                of_triggers("keda_scaler_metrics_latency_seconds"),
                TRIGGER_NAME,
            )
            .width(8),
            Panel::timeline(
                "Conditions that ask for a look",
                "Not ready, in fallback, paused, late for a sale.",
            )
            .ask(
                format!(
                    "max({}) or vector(0)",
                    not_ready(CHOSEN.trim_matches(['{', '}']))
                ),
                "not ready",
            )
            .ask(
                format!("{} or vector(0)", of("sakidori_scaled_object_fallback")),
                "in fallback",
            )
            .ask(
                format!("{} or vector(0)", of("keda_scaled_object_paused")),
                "paused",
            )
            .ask(
                format!("{} or vector(0)", of("sakidori_prescale_late")),
                "late for a sale",
            )
            .named(1.0, "yes", BAD)
            .named(0.0, "no", FINE)
            .width(8),
        ],
    }
}

fn sale() -> Row {
    Row {
        heading: "Sales",
        height: 8,
        panels: vec![
            Panel::series(
                "Floor and Ready replicas",
                Unit::Count,
                "The floor that sales set, and the pods that are Ready. Ready below the floor shortly before a start is late.",
            )
            .bound(of("sakidori_prescale_floor_replicas"), "floor", WATCH)
            .ask(
                // Pods are looked at while there is a floor.
                format!(
                    "{} and {} > 0",
                    of("sakidori_prescale_ready_replicas"),
                    of("sakidori_prescale_floor_replicas")
                ),
                "Ready",
            )
            .coloured(FINE)
            .or_says("It has no sale-calendar trigger.")
            .whole()
            .width(14),
            Panel::stat(
                "Next sale in",
                Unit::Duration,
                "The time to the start of the next sale.",
            )
            .ask(
                format!(
                    "{} - time()",
                    of("sakidori_prescale_next_start_timestamp_seconds")
                ),
                "next sale",
            )
            .now()
            .or_says("none is known")
            .width(5),
            Panel::stat(
                "Late",
                Unit::Count,
                "1 while replicas of a floor are missing although half of the lead time is over. Runbook: PrescaleLate.",
            )
            .ask(of("sakidori_prescale_late"), "late")
            .named(0.0, "no", FINE)
            .named(1.0, "yes", BAD)
            .steps(NONE_IS_FINE)
            .or_says("no sales")
            .width(5),
        ],
    }
}

fn pods() -> Row {
    Row {
        heading: "Pods that are resized in place",
        height: 8,
        panels: vec![
            pods_by_state(CHOSEN).width(10),
            resizes(CHOSEN).width(7),
            Panel::timeline(
                "Resized",
                "The reason of the condition Resized, while it was so. Resized and NoPolicyHolds are how it is to be; Resizing and Restoring pass. \
                 Runbook: SakidoriPodsNotResized.",
            )
            .ask(
                format!(
                    r#"max by (reason) (sakidori_scaled_object_condition{{condition="Resized",{})"#,
                    &CHOSEN[1..]
                ),
                "{{reason}}",
            )
            .named(1.0, "is so", CALM)
            .or_says("It has no inPlaceResize.")
            .width(7),
        ],
    }
}
