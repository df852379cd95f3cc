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
    let mut manifests = Manifests::default();
    manifests.read("all.yaml", &MANIFESTS.replace("LEAD", lead), "shop");
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
        .inspect(|finding| assert_eq!(finding.severity, Severity::Warning, "{finding}"))
        .map(|finding| finding.message.clone())
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
