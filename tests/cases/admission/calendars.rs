//! SaleCalendars and ClusterSaleCalendars: each field that can be wrong, and that a calendar which is stored already is never held up.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use sakidori_test_cluster::eventually;
use serde_json::{Value, json};

use super::rules::{Rule, Warned, rule};
use super::stage::play;
use super::{holds, is_warned_of};
use crate::scene::SOON;

fn calendar(kind: &str, name: &str, spec: Value) -> Value {
    json!({"apiVersion": "sakidori.dev/v1alpha1", "kind": kind, "metadata": {"name": name}, "spec": spec})
}

/// One event; `more` over a right one.
fn event(more: Value) -> Value {
    let mut event =
        json!({"name": "new-year", "start": "2027-01-02T00:00:00", "end": "2027-01-04T23:59:59"});
    crate::scene::merge(&mut event, more);
    json!({"events": [event]})
}

fn recurring(more: Value) -> Value {
    let mut sale = json!({"name": "friday", "cron": "0 20 * * FRI", "duration": "2h"});
    crate::scene::merge(&mut sale, more);
    json!({"recurring": [sale]})
}

fn source(more: Value) -> Value {
    let mut source =
        json!({"name": "marketing", "format": "ics", "url": "https://calendar.example/sales.ics"});
    crate::scene::merge(&mut source, more);
    json!({"sources": [source]})
}

/// For a SaleCalendar or a ClusterSaleCalendar.
pub fn rules(kind: &str) -> Vec<Rule> {
    let mut index = 0;
    let mut case = |spec: Value, refused| {
        index += 1;
        rule(calendar(kind, &format!("bad-{index}"), spec), refused)
    };
    let twice = json!({"events": [
        {"name": "a", "start": "2027-01-02", "duration": "1d"},
        {"name": "a", "start": "2027-02-02", "duration": "1d"},
    ]});
    vec![
        case(
            json!({"timeZone": "Asia/Tokio"}),
            "spec.timeZone: unknown time zone Asia/Tokio, did you mean Asia/Tokyo?",
        ),
        case(
            event(json!({"end": "2027-01-01T00:00:00"})),
            "spec.events[0].end: \"2027-01-01T00:00:00\" is not after the start (\"2027-01-02T00:00:00\")",
        ),
        case(
            event(json!({"start": "2027-02-30T00:00:00", "end": "2027-03-02"})),
            "spec.events[0].start: \"2027-02-30T00:00:00\": there is no 2027-02-30",
        ),
        case(
            event(json!({"start": "tomorrow"})),
            "spec.events[0].start: \"tomorrow\" is no time: expected 2027-01-02T20:00:00 (the calendar's time zone), 2027-01-02T20:00:00+09:00, or 2027-01-02",
        ),
        case(
            event(json!({"end": null})),
            "spec.events[0].end: missing: give an end or a duration",
        ),
        case(
            event(json!({"duration": "3d"})),
            "spec.events[0].duration: end and duration exclude each other: keep one",
        ),
        case(
            event(json!({"end": null, "duration": "3 days or so"})),
            "spec.events[0].duration: \"3 days or so\" is no duration: expected 2h30m, 3d or PT2H30M",
        ),
        case(
            event(json!({"labels": {"tier": "S or A"}})),
            "spec.events[0].labels[tier]: \"S or A\" is no label value: expected at most 63 letters, digits, '-', '_' or '.', a letter or digit at both ends",
        ),
        case(
            event(json!({"multiplier": "three"})),
            "spec.events[0].multiplier: \"three\" is no multiplier: expected a number above 0 and up to 1000000, such as 3.5",
        ),
        case(
            twice,
            "spec.events[1].name: \"a\" is the name of an earlier event: give each its own",
        ),
        case(
            recurring(json!({"cron": "0 20 * * 7"})),
            "spec.recurring[0].cron: end of range (7) above maximum (6): \"7\" in the day of week field; Sunday is 0 or SUN",
        ),
        case(
            recurring(json!({"cron": null, "rrule": "FREQ=SOMETIMES"})),
            "spec.recurring[0].rrule: FREQ=SOMETIMES: expected YEARLY, MONTHLY, WEEKLY, DAILY, HOURLY, MINUTELY or SECONDLY",
        ),
        case(
            recurring(json!({"cron": null, "rrule": "FREQ=DAILY;INTERVAL=2"})),
            "spec.recurring[0].start: missing: a rule with INTERVAL or COUNT, or without days (BYDAY, BYMONTHDAY), needs a start to count from",
        ),
        case(
            recurring(json!({"except": ["2027-01-01", "2027-02-29"]})),
            "spec.recurring[0].except[1]: \"2027-02-29\": there is no 2027-02-29",
        ),
        case(
            recurring(json!({"cron": "* * * * *", "duration": "1m"})),
            "spec.recurring[0]: more than the limit of 10000 occurrences within 400 days: make rules sparser, or split the calendar",
        ),
        case(
            source(json!({"url": null})),
            "spec.sources[0].url: missing: give url, configMapKeyRef or secretKeyRef",
        ),
        case(
            source(json!({"configMapKeyRef": {"name": "drops", "key": "drops.csv"}})),
            "spec.sources[0].configMapKeyRef: excludes url: keep one",
        ),
        case(
            source(json!({"url": "ftp://calendar.example/sales.ics"})),
            "spec.sources[0].url: expected https:// or http://",
        ),
        case(
            source(json!({"format": "xml"})),
            "spec.sources[0].format: \"xml\": expected ics, csv, json or postgresql",
        ),
        case(
            source(json!({"name": "a/b"})),
            "spec.sources[0].name: \"a/b\": expected a name other than spec, without : / #",
        ),
        case(
            source(json!({"refreshInterval": "10s"})),
            "spec.sources[0].refreshInterval: \"10s\" is shorter than 30s",
        ),
        case(
            source(json!({"authenticationRef": {"name": "cal", "kind": "Secret"}})),
            "spec.sources[0].authenticationRef.kind: \"Secret\": expected TriggerAuthentication or ClusterTriggerAuthentication",
        ),
        case(
            source(
                json!({"format": "postgresql", "url": null, "authenticationRef": {"name": "db"}}),
            ),
            "spec.sources[0].query: missing: postgresql needs a query",
        ),
    ]
}

pub fn warnings() -> Vec<Warned> {
    let warned = |name: &str, source: Value, warning| Warned {
        before: vec![],
        object: calendar("SaleCalendar", name, json!({"sources": [source]})),
        warning,
    };
    vec![
        warned(
            "no-config-map",
            json!({"name": "drops", "format": "csv", "configMapKeyRef": {"name": "drops", "key": "drops.csv"}}),
            "spec.sources[0].configMapKeyRef: the ConfigMap \"drops\" is not there yet",
        ),
        warned(
            "no-secret",
            json!({"name": "drops", "format": "csv", "secretKeyRef": {"name": "drops", "key": "drops.csv"}}),
            "spec.sources[0].secretKeyRef: the Secret \"drops\" is not there yet",
        ),
        warned(
            "no-login",
            json!({"name": "marketing", "format": "ics", "url": "https://calendar.example/sales.ics", "authenticationRef": {"name": "cal"}}),
            "spec.sources[0].authenticationRef: the TriggerAuthentication \"cal\" is not there yet",
        ),
    ]
}

#[test]
fn every_rule_of_calendars_is_refused_with_the_path_of_its_field() {
    play(async |stage| {
        let ward = stage.ward("admission-calendars").await?;
        holds(&ward, rules("SaleCalendar")).await?;
        is_warned_of(&ward, warnings()).await?;
        // What is there is not warned of, and a dry run of many objects warns of none.
        let drops = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "drops"}});
        ward.create(&drops).await?.passed()?;
        let mut again = warnings().swap_remove(0).object;
        again["metadata"]["name"] = json!("config-map");
        let answer = ward.create(&again).await?.passed()?;
        ensure!(answer.warnings.is_empty(), "{answer:?}");
        let mut dry = warnings().swap_remove(1).object;
        dry["metadata"]["name"] = json!("dry");
        let answer = ward.dry_run(&dry).await?.passed()?;
        ensure!(answer.warnings.is_empty(), "{answer:?}");
        Ok(())
    });
}

#[test]
fn a_cluster_calendar_has_the_same_rules_and_refers_to_the_operators_namespace() {
    play(async |stage| {
        let ward = stage.ward("admission-cluster-calendars").await?;
        ward.guarded_by(&stage.leader, "Fail", 10, true).await?;
        let all = rules("ClusterSaleCalendar");
        eventually(
            "refusal of an object without a namespace",
            SOON,
            async || Ok(ward.dry_run(&all[0].object).await?.refused().ok()),
        )
        .await?;
        holds(&ward, all).await?;
        let mut warned = warnings().swap_remove(0).object;
        warned["kind"] = json!("ClusterSaleCalendar");
        let answer = ward.create(&warned).await?.passed()?;
        let expected = "spec.sources[0].configMapKeyRef: the ConfigMap \"drops\" is not there yet in namespace \"keda\"";
        ensure!(answer.warnings == [expected], "{answer:?}");
        Ok(())
    });
}

#[test]
fn all_problems_of_a_calendar_are_told_at_once() {
    play(async |stage| {
        let ward = stage.ward("admission-calendar-at-once").await?;
        let bad = calendar(
            "SaleCalendar",
            "bad",
            json!({
                "timeZone": "Mars/Base",
                "events": [{"name": "a", "start": "2027-02-30", "end": "soon", "multiplier": "0"}],
                "recurring": [{"name": "b", "duration": "never"}],
                "sources": [{"name": "c", "format": "csv", "refreshInterval": "1s"}],
            }),
        );
        let said = ward.create(&bad).await?.refused()?;
        let paths: Vec<&str> = said
            .lines()
            .skip(1)
            .filter_map(|line| line.strip_prefix("- ")?.split(": ").next())
            .collect();
        let expected = [
            "spec.timeZone",
            "spec.events[0].multiplier",
            "spec.events[0].start",
            "spec.events[0].end",
            "spec.recurring[0].cron",
            "spec.recurring[0].duration",
            "spec.sources[0].url",
            "spec.sources[0].refreshInterval",
        ];
        ensure!(paths == expected, "{said}");
        ensure!(said.starts_with("8 problems:\n"), "{said}");
        ensure!(ward.get(&bad).await?.code == 404, "it was stored");
        Ok(())
    });
}

#[test]
fn a_calendar_that_was_stored_before_is_never_held_up() {
    play(async |stage| {
        stage
            .cluster
            .create_namespace("admission-calendar-stored")
            .await?;
        let ward = stage.unasked("admission-calendar-stored");
        let mut bad = calendar(
            "SaleCalendar",
            "bad",
            event(json!({"end": "2027-01-01T00:00:00"})),
        );
        bad["metadata"]["finalizers"] = json!(["example.org/a"]);
        ward.create(&bad).await?.passed()?;
        ward.guarded_by(&stage.leader, "Fail", 10, false).await?;
        ward.until_guarded().await?;

        let label = json!({"metadata": {"labels": {"team": "shop"}}});
        let answer = ward.patch(&bad, &label).await?.passed()?;
        ensure!(
            answer.warnings.len() == 1 && answer.warnings[0].starts_with("spec.events[0].end: "),
            "{answer:?}"
        );
        let refused = ward
            .patch(&bad, &json!({"spec": {"timeZone": "Asia/Tokyo"}}))
            .await?
            .refused()?;
        ensure!(refused.starts_with("spec.events[0].end: "), "{refused}");
        // The operator's own writes of it are of its status.
        ward.until_status(&bad, Duration::from_secs(30)).await?;
        ward.patch(&bad, &json!({"spec": event(json!({}))}))
            .await?
            .passed()?;
        // Nothing holds a deletion up.
        ward.delete(&bad).await?.passed()?;
        let broken = json!({"spec": {"timeZone": "Mars/Base"}});
        ward.patch(&bad, &broken).await?.passed()?;
        let free = json!({"metadata": {"finalizers": null}});
        ward.patch(&bad, &free).await?.passed()?;
        ensure!(ward.get(&bad).await?.code == 404, "it is still there");
        Ok(())
    });
}

impl super::stage::Ward {
    /// Waits until the operator has written that the calendar can't be read as a whole.
    async fn until_status(&self, calendar: &Value, within: Duration) -> Result<()> {
        let path = self.path(calendar, true)?;
        eventually("a status", within, async || {
            let request = http::Request::get(&path).body(Vec::new())?;
            let object: Value = self.client.request(request).await?;
            let ready = object["status"]["conditions"].as_array().cloned();
            Ok(ready.filter(|all| !all.is_empty()).map(drop))
        })
        .await
        .context("the operator writes no status")
    }
}
