//! The admission webhooks, asked by a real API server: what is refused and in which words, what is let through with a warning, and
//! that nothing of it ever holds up a deletion.

mod calendars;
mod failures;
mod page;
mod resize;
mod rules;
mod sales;
mod stage;

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use sakidori_test_cluster::eventually;
use sakidori_tests::Operator;
use serde_json::{Value, json};

use self::rules::{
    Rule, Warned, authentication, cpu, cron, deployment, hpa, scaled_object, trigger, triggers,
};
use self::stage::{A_WHILE, Ward, play};
use crate::scene::SOON;

/// Tries every rule, and tells of all that don't hold.
async fn holds(ward: &Ward, rules: Vec<Rule>) -> Result<()> {
    let mut wrong = Vec::new();
    for rule in rules {
        for object in &rule.before {
            ward.create(object).await?.passed()?;
        }
        let name = rule.object["metadata"]["name"].clone();
        // What was made just before may not be known yet.
        let mut said = String::new();
        let held = eventually("refusal", Duration::from_secs(10), async || {
            said = match ward.dry_run_or_create(&rule).await?.refused() {
                Ok(said) => said,
                Err(error) => error.to_string(),
            };
            Ok((said == rule.refused).then_some(()))
        });
        if held.await.is_err() {
            wrong.push(format!("{name}: expected {}\n  got {said}", rule.refused));
        }
    }
    ensure!(wrong.is_empty(), "{}", wrong.join("\n"));
    Ok(())
}

/// Stores every object, and each time nothing but its warning is said.
async fn is_warned_of(ward: &Ward, warnings: Vec<Warned>) -> Result<()> {
    for warned in warnings {
        for object in &warned.before {
            ward.create(object).await?.passed()?;
        }
        let answer = ward.create(&warned.object).await?.passed()?;
        ensure!(answer.warnings == [warned.warning], "{answer:?}");
    }
    Ok(())
}

impl Ward {
    /// A dry run first where others matter, so that an object which is let through too early isn't there the next time.
    async fn dry_run_or_create(&self, rule: &Rule) -> Result<stage::Answer> {
        if !rule.before.is_empty() && needs_others(rule) {
            self.dry_run(&rule.object).await?.refused()?;
        }
        self.create(&rule.object).await
    }
}

/// True for a rule that is held by comparing with what a watch shows.
fn needs_others(rule: &Rule) -> bool {
    rule.before
        .iter()
        .any(|object| object["kind"] != "Deployment")
}

#[test]
fn every_rule_of_scaled_objects_is_refused_in_its_words() {
    play(async |stage| {
        let ward = stage.ward("admission-objects").await?;
        holds(&ward, rules::of_scaled_objects()).await
    });
}

#[test]
fn every_rule_of_scaled_jobs_is_refused_in_its_words() {
    play(async |stage| {
        let ward = stage.ward("admission-jobs").await?;
        holds(&ward, rules::of_scaled_jobs()).await
    });
}

#[test]
fn every_rule_of_authentications_and_event_sources_is_refused_in_its_words() {
    play(async |stage| {
        let ward = stage.ward("admission-others").await?;
        // The only case that is asked about objects without a namespace.
        ward.guarded_by(&stage.leader, "Fail", 10, true).await?;
        eventually(
            "refusal of an object without a namespace",
            SOON,
            async || {
                let bad = rules::of_authentications("ClusterTriggerAuthentication");
                Ok(ward.dry_run(&bad[0].object).await?.refused().ok())
            },
        )
        .await?;
        for kind in ["TriggerAuthentication", "ClusterTriggerAuthentication"] {
            holds(&ward, rules::of_authentications(kind)).await?;
            let good = json!({"podIdentity": {"provider": "aws", "roleArn": "a", "identityOwner": "keda"}});
            ward.create(&authentication(kind, "good", good))
                .await?
                .passed()?;
        }
        for kind in ["CloudEventSource", "ClusterCloudEventSource"] {
            holds(&ward, rules::of_event_sources(kind)).await?;
        }
        // KEDA refuses this one, though its CRD has it.
        let removed = "keda.authentication.triggerauthentication.removed.v1";
        let source = json!({
            "apiVersion": "eventing.keda.sh/v1alpha1", "kind": "CloudEventSource", "metadata": {"name": "good"},
            "spec": {"eventSubscription": {"includedEventTypes": [removed]}},
        });
        ward.create(&source).await?.passed()?;
        Ok(())
    });
}

#[test]
fn a_replica_that_does_not_lead_refuses_the_same() {
    play(async |stage| {
        let follower = Operator::start(stage.settings())?;
        stage.cluster.create_namespace("admission-follower").await?;
        let ward = stage.unasked("admission-follower");
        ward.guarded_by(&follower, "Fail", 10, false).await?;
        ward.until_guarded().await?;
        holds(&ward, rules::of_scaled_objects()).await?;
        let leads = std::fs::read_to_string(follower.log_path())?.contains("\"leading\"");
        ensure!(!leads, "it leads");
        Ok(())
    });
}

#[test]
fn all_problems_are_told_at_once_in_the_documented_order() {
    play(async |stage| {
        let ward = stage.ward("admission-at-once").await?;
        let before = [
            hpa("by-hand", "web"),
            scaled_object(
                "first",
                json!({"scaleTargetRef": {"name": "web"}, "advanced": {"horizontalPodAutoscalerConfig": {"name": "shared"}}}),
            ),
            deployment("web", &[("main", json!({}))]),
        ];
        // The HPA last, or the first ScaledObject would be refused for it.
        for object in before.iter().rev() {
            ward.create(object).await?.passed()?;
        }
        let bad = scaled_object(
            "second",
            json!({
                "scaleTargetRef": {"name": "web"},
                "minReplicaCount": 3,
                "maxReplicaCount": 2,
                "idleReplicaCount": 3,
                "advanced": {"horizontalPodAutoscalerConfig": {"name": "shared"}},
                "triggers": [
                    {"type": "cpu", "metricType": "Utilization", "useCachedMetrics": true, "metadata": {"value": "60%"}},
                    trigger("cron", json!({"timezone": "Mars/Base", "start": "0 8 * * *", "end": "0 8 * * *", "desiredReplicas": "2"})),
                    trigger("kafak", json!({})),
                ],
            }),
        );
        let expected = "12 problems:\n\
            - MinReplicaCount=3 must be less than MaxReplicaCount=2\n\
            - IdleReplicaCount=3 must be less than MinReplicaCount=3\n\
            - property \"useCachedMetrics\" is not supported for \"cpu\" scaler\n\
            - trigger 0 (cpu): error parsing cpu metadata: parameter \"value\" is \"60%\": expected a whole percentage above 0\n\
            - trigger 1 (cron): unable to load timezone: unknown time zone Mars/Base: expected a name of the IANA time zone database, such as Europe/Berlin\n\
            - trigger 1 (cron): start and end can not have exactly same time input\n\
            - trigger 2 (kafak): no trigger type \"kafak\", did you mean \"kafka\"?\n\
            - the workload 'web' of type 'apps/v1.Deployment' is already managed by the ScaledObject 'first'\n\
            - the HPA 'shared' is already managed by the ScaledObject 'first'\n\
            - the workload 'web' of type 'apps/v1.Deployment' is already managed by the hpa 'by-hand'\n\
            - the workload 'web' of type 'apps/v1.Deployment' is already managed by the hpa 'shared'\n\
            - the scaledobject has a cpu trigger but the container main doesn't have the cpu request defined";
        let mut said = String::new();
        let told = eventually("all problems", SOON, async || {
            said = ward.create(&bad).await?.refused()?;
            Ok((said == expected).then_some(()))
        });
        told.await.with_context(|| said.clone())?;
        ensure!(ward.get(&bad).await?.code == 404, "it was stored");
        Ok(())
    });
}

#[test]
fn warnings_reach_the_client_and_the_object_is_stored() {
    play(async |stage| {
        let ward = stage.ward("admission-warnings").await?;
        for warned in rules::warnings() {
            for object in &warned.before {
                ward.create(object).await?.passed()?;
            }
            let answer = ward.create(&warned.object).await?.passed()?;
            ensure!(answer.warnings == [warned.warning], "{answer:?}");
            ensure!(
                !format!("{answer:?}").contains("299 - ")
                    && !answer.warnings[0].contains("hunter2"),
                "{answer:?}"
            );
        }
        Ok(())
    });
}

/// KEDA's admission makes an Event of its two warnings.
#[test]
fn a_useless_setting_becomes_an_event_but_not_in_a_dry_run() {
    play(async |stage| {
        let ward = stage.ward("admission-events").await?;
        ward.create(&deployment("web", &[("main", json!({}))]))
            .await?
            .passed()?;
        let events = json!({"apiVersion": "events.k8s.io/v1", "kind": "Event"});
        let path = ward.path(&events, false)?;
        let notes = async || -> Result<Vec<String>> {
            let request = http::Request::get(&path).body(Vec::new())?;
            let list: Value = ward.client.request(request).await?;
            let items = list["items"].as_array().cloned().unwrap_or_default();
            let info = items
                .iter()
                .filter(|event| event["reason"] == "KEDAScalerInfo");
            Ok(info
                .map(|event| event["note"].as_str().unwrap_or_default().to_owned())
                .collect())
        };
        let first = scaled_object("web", json!({"minReplicaCount": 1, "pollingInterval": 30}));
        let answer = ward.dry_run(&first).await?.passed()?;
        ensure!(answer.warnings.len() == 1, "{answer:?}");
        let second = scaled_object("web", json!({"minReplicaCount": 1, "cooldownPeriod": 30}));
        ward.create(&second).await?.passed()?;
        eventually("Event", SOON, async || {
            let notes = notes().await?;
            Ok(notes
                .iter()
                .any(|note| note.starts_with("CooldownPeriod is configured"))
                .then_some(()))
        })
        .await?;
        let notes = notes().await?;
        ensure!(
            notes
                .iter()
                .all(|note| !note.starts_with("PollingInterval")),
            "{notes:?}"
        );
        Ok(())
    });
}

#[test]
fn a_dry_run_stores_nothing_and_looks_at_no_target() {
    play(async |stage| {
        let ward = stage.ward("admission-dry").await?;
        ward.create(&deployment("web", &[("main", json!({}))]))
            .await?
            .passed()?;
        // Two rules that KEDA skips in a dry run, and a missing target.
        let only_cpu = triggers("web", json!([cpu()]));
        let answer = ward.dry_run(&only_cpu).await?.passed()?;
        ensure!(answer.warnings.is_empty(), "{answer:?}");
        let answer = ward
            .dry_run(&scaled_object("absent", json!({})))
            .await?
            .passed()?;
        ensure!(answer.warnings.is_empty(), "{answer:?}");
        ensure!(ward.get(&only_cpu).await?.code == 404, "it was stored");
        let refused = ward.create(&only_cpu).await?.refused()?;
        ensure!(refused.starts_with("2 problems:\n"), "{refused}");
        let bad = triggers("bad", json!([trigger("nonsense", json!({}))]));
        ward.dry_run(&bad).await?.refused()?;
        Ok(())
    });
}

/// Manifests are applied in any order, and credentials are nobody's business at admission.
#[test]
fn what_is_right_passes_before_what_it_needs_is_there() {
    play(async |stage| {
        let ward = stage.ward("admission-right").await?;
        let login = json!({"name": "login"});
        let object = triggers(
            "web",
            json!([
                {"type": "rabbitmq", "metadata": {"queueName": "orders", "mode": "MessageRate", "value": "5"}, "authenticationRef": login},
                trigger("rabbitmq", json!({"queueName": "orders", "hostFromEnv": "RABBIT"})),
                {"type": "metrics-api", "metadata": {"url": "http://stats.example", "valueLocation": "a", "targetValue": "1", "authModes": "basic"}, "authenticationRef": login},
                cpu(),
            ]),
        );
        let answer = ward.create(&object).await?.passed()?;
        let absent = [
            "the scale target is not there yet: deployments.apps \"web\" not found",
            "trigger 0 (rabbitmq): the TriggerAuthentication \"login\" is not there yet",
        ];
        ensure!(answer.warnings == absent, "{answer:?}");
        // A LimitRange gives the request that the container lacks.
        let range = json!({
            "apiVersion": "v1", "kind": "LimitRange", "metadata": {"name": "defaults"},
            "spec": {"limits": [{"type": "Container", "defaultRequest": {"cpu": "100m"}}]},
        });
        ward.create(&range).await?.passed()?;
        ward.create(&deployment("sized", &[("main", json!({}))]))
            .await?
            .passed()?;
        let sized = scaled_object("sized", json!({"minReplicaCount": 1, "triggers": [cpu()]}));
        let answer = ward.create(&sized).await?.passed()?;
        ensure!(answer.warnings.is_empty(), "{answer:?}");
        // An HPA with the annotation is none, and one that is named is taken over.
        let mut exempt = hpa("exempt", "exempt");
        exempt["metadata"]["annotations"] = json!({"validations.keda.sh/hpa-ownership": "false"});
        ward.create(&exempt).await?.passed()?;
        ward.create(&hpa("taken", "taken")).await?.passed()?;
        tokio::time::sleep(A_WHILE).await;
        ward.create(&scaled_object("exempt", json!({})))
            .await?
            .passed()?;
        let mut taken = scaled_object(
            "taken",
            json!({"advanced": {"horizontalPodAutoscalerConfig": {"name": "taken"}}}),
        );
        taken["metadata"]["annotations"] =
            json!({"scaledobject.keda.sh/transfer-hpa-ownership": "true"});
        ward.create(&taken).await?.passed()?;
        Ok(())
    });
}

#[test]
fn an_object_that_was_stored_before_can_be_labelled_and_let_go_but_not_be_left_wrong() {
    play(async |stage| {
        stage.cluster.create_namespace("admission-stored").await?;
        let ward = stage.unasked("admission-stored");
        ward.create(&deployment("web", &[("main", json!({}))]))
            .await?
            .passed()?;
        let mut ours = triggers("web", json!([trigger("solarwinds", json!({}))]));
        ours["metadata"]["finalizers"] = json!(["example.org/a", "example.org/b"]);
        let mut kedas = triggers("none", json!([]));
        kedas["metadata"]["finalizers"] = json!(["example.org/a"]);
        ward.create(&ours).await?.passed()?;
        ward.create(&kedas).await?.passed()?;
        ward.guarded_by(&stage.leader, "Fail", 10, false).await?;
        ward.until_guarded().await?;

        // A rule that only we have doesn't keep anyone from pausing what is stored.
        let pause = json!({"metadata": {"annotations": {"autoscaling.keda.sh/paused": "true"}}});
        let answer = ward.patch(&ours, &pause).await?.passed()?;
        ensure!(
            answer.warnings
                == [
                    "trigger 0 (solarwinds): the trigger type \"solarwinds\" of KEDA is not supported by this version"
                ],
            "{answer:?}"
        );
        let refused = ward.patch(&kedas, &pause).await?.refused()?;
        ensure!(
            refused == "no triggers defined in the ScaledObject/ScaledJob",
            "{refused}"
        );
        // A new spec is judged by every rule.
        let refused = ward
            .patch(&ours, &json!({"spec": {"maxReplicaCount": 7}}))
            .await?
            .refused()?;
        ensure!(
            refused.ends_with("is not supported by this version"),
            "{refused}"
        );

        // Finalizers go, one by one, whatever the object is like; but not together with a change.
        let one = json!({"metadata": {"finalizers": ["example.org/b"]}});
        let answer = ward.patch(&ours, &one).await?.passed()?;
        ensure!(answer.warnings.is_empty(), "{answer:?}");
        let changed = json!({"metadata": {"finalizers": []}, "spec": {"maxReplicaCount": 7}});
        ward.patch(&ours, &changed).await?.refused()?;
        // While it is being deleted, nothing is looked at.
        for object in [&ours, &kedas] {
            ward.delete(object).await?.passed()?;
            ward.patch(object, &json!({"spec": {"maxReplicaCount": 9}}))
                .await?
                .passed()?;
            ward.patch(object, &json!({"metadata": {"finalizers": null}}))
                .await?
                .passed()?;
            ensure!(ward.get(object).await?.code == 404, "it is still there");
        }
        Ok(())
    });
}

/// `keda_webhook_*`, with KEDA's labels.
#[test]
fn validations_are_counted() {
    play(async |stage| {
        let ward = stage.ward("admission-counted").await?;
        ward.create(&deployment("web", &[("main", json!({}))]))
            .await?
            .passed()?;
        ward.create(&scaled_object("web", json!({})))
            .await?
            .passed()?;
        let patch = json!({"spec": {"minReplicaCount": 3, "maxReplicaCount": 2, "triggers": []}});
        let web = scaled_object("web", json!({}));
        ward.patch(&web, &patch).await?.refused()?;
        let metrics = stage.leader.metrics().await?;
        let total = "keda_webhook_scaled_object_validations_total";
        let errors = "keda_webhook_scaled_object_validation_errors_total";
        let namespace = r#"namespace="admission-counted""#;
        for line in [
            format!(r#"{total}{{action="update",{namespace}}} 1"#),
            format!(r#"{errors}{{action="update",{namespace},reason="incorrect-replicas"}} 1"#),
            format!(r#"{errors}{{action="update",{namespace},reason="incorrect-triggers"}} 1"#),
        ] {
            ensure!(metrics.lines().any(|have| have == line), "no {line}");
        }
        let creations = format!(r#"{total}{{action="create",{namespace}}}"#);
        ensure!(metrics.contains(&creations), "no {creations}");
        Ok(())
    });
}

#[test]
fn the_cron_trigger_of_these_cases_is_right() {
    play(async |stage| {
        let ward = stage.ward("admission-cron").await?;
        ward.create(&deployment("web", &[("main", json!({}))]))
            .await?
            .passed()?;
        let answer = ward
            .create(&triggers("web", json!([cron()])))
            .await?
            .passed()?;
        ensure!(answer.warnings.is_empty(), "{answer:?}");
        Ok(())
    });
}
