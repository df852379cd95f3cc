//! What stands in the way of floors, as far as manifests tell: the same words as at admission.

#![allow(
    clippy::unwrap_used,
    reason = "a test's own functions may, as its cases may"
)]

use jiff::Timestamp;
use jiff::tz::TimeZone;
use sakidori_plan::{Assumptions, Given, Manifests, Period, Plan, Severity};

const MANIFESTS: &str = r#"
apiVersion: sakidori.dev/v1alpha1
kind: SaleCalendar
metadata: {name: sales}
spec:
  recurring:
  - {name: friday-coupon, cron: "0 20 * * FRI", duration: 2h, labels: {tier: "B"}}
---
apiVersion: v1
kind: ResourceQuota
metadata: {name: small}
spec: {hard: {requests.cpu: "10"}}
---
apiVersion: v1
kind: ResourceQuota
metadata: {name: elsewhere, namespace: other}
spec: {hard: {requests.cpu: "1"}}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  template:
    spec:
      containers:
      - {name: app, resources: {requests: {cpu: 500m}}}
---
apiVersion: keda.sh/v1alpha1
kind: ScaledObject
metadata: {name: web}
spec:
  scaleTargetRef: {name: web}
  advanced:
    horizontalPodAutoscalerConfig:
      behavior:
        scaleUp: {policies: [{type: Pods, value: 4, periodSeconds: 1800}]}
  triggers:
  - type: sale-calendar
    metadata: {calendar: sales, calendarKind: SaleCalendar, desiredReplicas: "50", baseline: "10", leadTime: LEAD}
"#;

fn findings(lead: &str) -> Vec<String> {
    let findings = found(&MANIFESTS.replace("LEAD", lead));
    findings
        .into_iter()
        .inspect(|(severity, text)| assert_eq!(*severity, Severity::Warning, "{text}"))
        .map(|(_, text)| text)
        .collect()
}

fn found(text: &str) -> Vec<(Severity, String)> {
    let mut manifests = Manifests::default();
    manifests.read("all.yaml", text, "shop");
    let at = |text: &str| text.parse::<Timestamp>().unwrap();
    let period = Period {
        from: at("2027-01-01T00:00:00Z"),
        to: at("2027-01-15T00:00:00Z"),
        zone: TimeZone::UTC,
    };
    let plan = Plan::new(
        &manifests,
        &Given::default(),
        period,
        Assumptions::default(),
    );
    let findings = plan.findings.iter();
    findings
        .map(|finding| (finding.severity, finding.message.clone()))
        .collect()
}

#[test]
fn quotas_and_behavior_in_the_way_of_a_floor_are_found() {
    assert_eq!(
        findings("15m"),
        [
            "behavior.scaleUp counts the climb to the floor against its policies: above 50 replicas the HPA adds none for up to 15m \
             after the start. Make leadTime 30m or longer, or periodSeconds shorter",
            "the floor of 50 replicas is 50 more than there are, for which the ResourceQuota \"small\" has no room \
             (requests.cpu: 10 allowed, 0 used, 25 needed)",
        ]
    );
}

#[test]
fn a_ramp_that_leaves_no_pause_is_found() {
    let found = findings("7d");
    let endless = "leadTime: with rampUp it is 7d 10m, and the occurrences that it selects start 7d apart at most: ";
    assert!(
        found.iter().any(|text| text.starts_with(endless)),
        "{found:#?}"
    );
}

/// With and without a sale.
#[test]
fn what_is_wrong_with_in_place_resize_is_found() {
    let resized = |policy: &str| {
        let policies = format!(
            "  advanced:\n    sakidori: {{inPlaceResize: {{policies: [{policy}]}}}}\n    horizontal"
        );
        MANIFESTS
            .replace("LEAD", "15m")
            .replace("  advanced:\n    horizontal", &policies)
    };
    let path = "spec.advanced.sakidori.inPlaceResize.policies[0]";
    let wrong = resized("{container: app, when: prescale, cpu: two}");
    let no_amount =
        format!("{path}.cpu: \"two\" is no amount: expected CPUs such as 2, 500m, +1, +100% or x3");
    assert_eq!(found(&wrong)[0], (Severity::Error, no_amount));
    let odd = resized("{container: app, when: prescale, cpu: 500m}");
    let nothing = format!(
        "{path}.cpu: 500m does nothing, as the container \"app\" requests 500m in the pod template: expected more than that"
    );
    assert!(found(&odd).contains(&(Severity::Warning, nothing.clone())));
    let no_sale = format!(
        "{path}.when: prescale never holds without a sale-calendar trigger: add one, or leave the policy out"
    );
    let without = odd.replace("- type: sale-calendar", "- type: cron");
    assert_eq!(
        found(&without),
        [(Severity::Warning, no_sale), (Severity::Warning, nothing)]
    );
}
