//! The part of the overview that is about the operator itself: its polls, what HPAs read from it, what it asks the API server, admission, and
//! its processes.

use super::board::Row;
use super::panel::{CALM, FINE, Panel, Unit};
use super::queries::{quantiles, rate_by};

pub fn polls() -> Row {
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

pub fn hpa() -> Row {
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
            .ask("sakidori_values_silence_seconds unless on (job, instance) sakidori_leader == 1", "{{instance}}")
            .or_says("There is one replica: nobody is told anything.")
            .width(6),
        ],
    }
}

pub fn api() -> Row {
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
                "`invalid`: an object that a policy doesn't take; `refused`: a right is missing, or a webhook says no; `throttled`: too many requests; `failed`: no answer. Conflicts are written \
                 again and are no fault. Runbook: SakidoriApiWritesFail.",
            )
            .ask(
                rate_by(
                    "sakidori_api_requests_total",
                    r#"{outcome=~"invalid|refused|throttled|failed"}"#,
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

pub fn admission() -> Row {
    Row {
        heading: "Admission",
        height: 7,
        panels: vec![
            Panel::series(
                "What the webhooks answer",
                Unit::PerSecond,
                "`unchecked` had no time or room to be checked, and was let through with a warning; `error` was no question of an API server. \
                 Nothing here while people apply objects: the webhooks aren't called. Runbook: SakidoriWebhookFails.",
            )
            .ask(
                rate_by("sakidori_webhook_requests_total", "", "outcome"),
                "{{outcome}}",
            )
            .or_says("Nobody has asked yet.")
            .width(8),
            Panel::series(
                "ScaledObjects that admission looked at",
                Unit::PerSecond,
                "By what was done with them.",
            )
            .ask(
                rate_by("keda_webhook_scaled_object_validations_total", "", "action"),
                "{{action}}",
            )
            .or_says("None was applied yet.")
            .width(8),
            Panel::series(
                "Refused",
                Unit::PerSecond,
                "By reason, which docs/admission.md explains. Many of one namespace: a pipeline applies something broken over and over.",
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
            .width(8),
        ],
    }
}

pub fn process() -> Row {
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
            // It counts whole seconds: over less time, there would be none or one.
            .ask(ours("rate(process_cpu_seconds_total[5m])"), "{{instance}}")
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
