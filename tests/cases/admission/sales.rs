//! `sale-calendar` triggers: their parameters, and what their calendar, the HPA's behavior and the namespace's quotas say about them.

use anyhow::ensure;
use serde_json::{Value, json};

use super::rules::{Rule, Warned, deployment, rule, scaled_object};
use super::stage::play;
use super::{holds, is_warned_of};
use crate::scene::merge;

fn trigger(metadata: Value) -> Value {
    let mut all =
        json!({"calendar": "sales", "calendarKind": "SaleCalendar", "desiredReplicas": "50"});
    merge(&mut all, metadata);
    json!({"type": "sale-calendar", "metadata": all})
}

fn object(name: &str, metadata: Value) -> Value {
    scaled_object(name, json!({"triggers": [trigger(metadata)]}))
}

fn calendar(name: &str, spec: Value) -> Value {
    json!({"apiVersion": "sakidori.dev/v1alpha1", "kind": "SaleCalendar", "metadata": {"name": name}, "spec": spec})
}

/// Every Friday; nothing here depends on today's date.
fn weekly(name: &str) -> Value {
    let coupon = json!({"name": "friday-coupon", "cron": "0 20 * * FRI", "duration": "2h", "multiplier": "3.5"});
    calendar(name, json!({"recurring": [coupon]}))
}

pub fn rules() -> Vec<Rule> {
    vec![
        rule(
            object("parameter", json!({"leedTime": "15m"})),
            "trigger 0 (sale-calendar): leedTime: no parameter of sale-calendar, did you mean leadTime?",
        ),
        rule(
            object("no-calendar", json!({"calendar": null})),
            "trigger 0 (sale-calendar): calendar: missing: name a ClusterSaleCalendar or SaleCalendar",
        ),
        rule(
            object("selector", json!({"match": "tier in S"})),
            "trigger 0 (sale-calendar): match: \"tier in S\": expected '(' before \"S\"",
        ),
        rule(
            object("no-floor", json!({"desiredReplicas": null})),
            "trigger 0 (sale-calendar): desiredReplicas: missing: give desiredReplicas, multiplier or limitReplicas",
        ),
        rule(
            object("two-floors", json!({"multiplier": "event"})),
            "trigger 0 (sale-calendar): multiplier: excludes desiredReplicas: keep one of desiredReplicas, multiplier",
        ),
        rule(
            object("lead", json!({"leadTime": "soon"})),
            "trigger 0 (sale-calendar): leadTime: \"soon\" is no duration: expected 2h30m, 3d or PT2H30M, or auto",
        ),
        rule(
            object("too-high", json!({"desiredReplicas": "120"})),
            "trigger 0 (sale-calendar): desiredReplicas: 120 is above maxReplicaCount (100): raise it, or set maxReplicas",
        ),
        rule(
            object(
                "raised-too-little",
                json!({"desiredReplicas": "120", "maxReplicas": "110"}),
            ),
            "trigger 0 (sale-calendar): maxReplicas: 110 is below desiredReplicas (120)",
        ),
        Rule {
            before: vec![weekly("weekly")],
            ..rule(
                object("endless", json!({"calendar": "weekly", "leadTime": "7d"})),
                "trigger 0 (sale-calendar): leadTime: with rampUp it is 7d 10m, and the occurrences that it selects start 7d apart at most: a ramp is always under way, and the floor never falls. Shorten it, or raise minReplicaCount instead",
            )
        },
    ]
}

pub fn warnings() -> Vec<Warned> {
    let sized = |name: &str| {
        let request = json!({"requests": {"cpu": "100m"}});
        deployment(name, &[("main", request)])
    };
    let warned = |name: &str, before: Vec<Value>, spec: Value, warning| {
        let mut all = vec![sized(name)];
        all.extend(before);
        Warned {
            before: all,
            object: scaled_object(name, spec),
            warning,
        }
    };
    let with = |metadata: Value| json!({"triggers": [trigger(metadata)]});
    let policies = json!([{"type": "Pods", "value": 4, "periodSeconds": 1800}]);
    let behavior =
        json!({"horizontalPodAutoscalerConfig": {"behavior": {"scaleUp": {"policies": policies}}}});
    let mut slow = with(json!({"calendar": "slow", "baseline": "10", "leadTime": "15m"}));
    merge(&mut slow, json!({"advanced": behavior}));
    let far = json!({"name": "olympics", "start": "2096-07-01", "duration": "14d"});
    let quota = json!({
        "apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "small"}, "spec": {"hard": {"pods": "5"}},
    });
    vec![
        warned(
            "absent-calendar",
            vec![],
            with(json!({})),
            "trigger 0 (sale-calendar): the SaleCalendar \"sales\" is not there yet",
        ),
        warned(
            "absent-cluster-calendar",
            vec![],
            with(json!({"calendarKind": null})),
            "trigger 0 (sale-calendar): the ClusterSaleCalendar \"sales\" is not there yet",
        ),
        warned(
            "idle",
            vec![calendar("far", json!({"events": [far]}))],
            with(json!({"calendar": "far"})),
            "trigger 0 (sale-calendar): no occurrence of SaleCalendar \"far\" that it selects is in the next 90 days",
        ),
        warned(
            "event-too-high",
            vec![weekly("coupons")],
            with(
                json!({"calendar": "coupons", "desiredReplicas": null, "multiplier": "event", "baseline": "40"}),
            ),
            "trigger 0 (sale-calendar): the floor of 140 replicas for \"friday-coupon\" is above the maximum (100): raise maxReplicaCount, or set maxReplicas",
        ),
        warned(
            "slow",
            vec![weekly("slow")],
            slow,
            "trigger 0 (sale-calendar): behavior.scaleUp counts the climb to the floor against its policies: above 50 replicas the HPA adds none for up to 15m after the start. Make leadTime 30m or longer, or periodSeconds shorter",
        ),
        // The last: it is about every object of the namespace.
        warned(
            "quota",
            vec![weekly("quota"), quota],
            with(json!({"calendar": "quota"})),
            "trigger 0 (sale-calendar): the floor of 50 replicas is 50 more than there are, for which the ResourceQuota \"small\" has no room (pods: 5 allowed, 0 used, 50 needed)",
        ),
    ]
}

#[test]
fn every_rule_of_sale_calendar_triggers_is_refused_in_its_words() {
    play(async |stage| {
        let ward = stage.ward("admission-sales").await?;
        holds(&ward, rules()).await
    });
}

#[test]
fn what_a_floor_may_run_into_is_warned_of_and_the_object_is_stored() {
    play(async |stage| {
        let ward = stage.ward("admission-sale-warnings").await?;
        is_warned_of(&ward, warnings()).await
    });
}

/// Whatever is odd about them, these work, and nothing is said about them.
#[test]
fn an_object_that_works_is_let_through_without_a_word() {
    play(async |stage| {
        let ward = stage.ward("admission-sales-right").await?;
        ward.create(&weekly("sales")).await?.passed()?;
        let day = |n: u8| json!({"name": format!("day-{n}"), "cron": "0 0 * * *", "duration": "1d", "labels": {"day": n.to_string()}});
        let daily = calendar("daily", json!({"recurring": [day(1)]}));
        ward.create(&daily).await?.passed()?;
        let cases = [
            ("ramp", json!({"leadTime": "2h", "rampUp": "1h"})),
            // Sale upon sale without a moment in between, with a ramp that nobody will ever see.
            ("upon", json!({"calendar": "daily", "leadTime": "2d"})),
            (
                "limit",
                json!({"desiredReplicas": null, "limitReplicas": "1"}),
            ),
            (
                "raised",
                json!({"desiredReplicas": "120", "maxReplicas": "200"}),
            ),
            (
                "observed",
                json!({"desiredReplicas": null, "multiplier": "1000"}),
            ),
        ];
        for (name, metadata) in cases {
            ward.create(&deployment(name, &[("main", json!({}))]))
                .await?
                .passed()?;
            let answer = ward.create(&object(name, metadata)).await?.passed()?;
            ensure!(answer.warnings.is_empty(), "{name}: {answer:?}");
        }
        // A spec that was stored when its calendar was another is not held up.
        let weekly = weekly("sales")["spec"].clone();
        let mut hourly = weekly;
        hourly["recurring"][0]["cron"] = json!("0 * * * *");
        hourly["recurring"][0]["duration"] = json!("10m");
        let sales = json!({"spec": hourly});
        ward.patch(&calendar("sales", json!({})), &sales)
            .await?
            .passed()?;
        let pause = json!({"metadata": {"annotations": {"autoscaling.keda.sh/paused": "true"}}});
        let ramp = object("ramp", json!({}));
        let answer = ward.patch(&ramp, &pause).await?.passed()?;
        ensure!(
            answer.warnings.len() == 1 && answer.warnings[0].contains("a ramp is always under way"),
            "{answer:?}"
        );
        Ok(())
    });
}
