//! A broker that goes away, and one that refuses the login: nothing falls, and everybody can see why.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use k8s_openapi::api::core::v1::Event;
use kube::api::{Api, ListParams};
use sakidori_test_cluster::eventually;
use sakidori_test_servers::RabbitMq;
use sakidori_tests::bed;
use sakidori_tests::namespace::{Namespace, deployment, scaled_object};
use sakidori_tests::throughout::throughout;
use serde_json::{Value, json};

const REPLICAS: i32 = 4;
const COOLDOWN: Duration = Duration::from_secs(3);
/// How long a wrong password is tried: 20 polls, and as many looks of the HPA.
const LASTS: Duration = Duration::from_secs(20);
const SOON: Duration = Duration::from_secs(20);

fn secret(host: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "broker"}, "stringData": {"host": host}})
}

fn authentication() -> Value {
    json!({
        "apiVersion": "keda.sh/v1alpha1",
        "kind": "TriggerAuthentication",
        "metadata": {"name": "broker"},
        "spec": {"secretTargetRef": [{"parameter": "host", "name": "broker", "key": "host"}]},
    })
}

fn consumers(name: &str, queue: &str, min: i32) -> Value {
    let trigger = json!({
        "type": "rabbitmq",
        "metadata": {"queueName": queue, "mode": "QueueLength", "value": "20"},
        "authenticationRef": {"name": "broker"},
    });
    scaled_object(
        name,
        json!({
            "pollingInterval": 1,
            "cooldownPeriod": COOLDOWN.as_secs(),
            "minReplicaCount": min,
            "maxReplicaCount": REPLICAS,
            "triggers": [trigger],
        }),
    )
}

/// Waits until a failing trigger is told of as a condition, as an Event, and to the HPA; gives the Event's note.
async fn told_everywhere(
    namespace: &Namespace,
    name: &str,
    metric: &str,
    why: &str,
) -> Result<String> {
    namespace
        .wait_ready(name, "False", "TriggerError", SOON)
        .await?;
    let begins = format!("trigger 0 (rabbitmq): {why}: ");
    let note = namespace
        .wait_note(name, "KEDAScalerFailed", &begins, SOON)
        .await?;
    let error = namespace.value(metric, name).await.err();
    let error = error.context("a value all the same")?;
    ensure!(
        format!("{error:#}").contains(why),
        "the HPA is not told why: {error:#}"
    );
    Ok(note)
}

/// How often the HPA controller has told that it could not read a metric: once each time it looks.
async fn failed_looks(namespace: &Namespace, hpa: &str) -> Result<i32> {
    let api: Api<Event> = Api::namespaced(namespace.client.clone(), &namespace.name);
    let events = api.list(&ListParams::default()).await?;
    Ok(events
        .into_iter()
        .filter(|event| event.involved_object.name.as_deref() == Some(hpa))
        .filter(|event| event.reason.as_deref() == Some("FailedGetExternalMetric"))
        .map(|event| event.count.unwrap_or(1))
        .sum())
}

#[test]
fn replicas_stay_while_the_broker_is_away_and_it_recovers_by_itself() -> Result<()> {
    const METRIC: &str = "s0-rabbitmq-jobs";
    let bed = bed::shared()?;
    bed.run(async {
        let mut rabbit = RabbitMq::start().await?;
        rabbit.declare_queue("/", "jobs").await?;
        rabbit.publish("/", "jobs", 100).await?;
        let mut namespaces = Vec::new();
        for (name, host) in [
            ("away-amqp", rabbit.amqp_url()),
            ("away-http", rabbit.http_url() + "/%2F"),
        ] {
            let namespace = bed.namespace(name).await?;
            namespace
                .apply([
                    deployment("jobs", 0),
                    secret(&host),
                    authentication(),
                    consumers("jobs", "jobs", 0),
                ])
                .await?;
            namespaces.push(namespace);
        }
        for namespace in &namespaces {
            namespace
                .wait_replicas("jobs", REPLICAS, Duration::from_secs(40))
                .await?;
        }

        rabbit.kill();
        let killed = Instant::now();
        for namespace in &namespaces {
            let note = told_everywhere(namespace, "jobs", METRIC, "unreachable").await?;
            ensure!(
                !note.contains("guest"),
                "the Event holds credentials: {note}"
            );
            println!("{}: {note}", namespace.name);
        }
        println!("the broker's death was told after {:?}", killed.elapsed());
        // The HPA has tried three times since, and the cooldown is over twice.
        let mut failed = 0;
        throughout(
            "replicas while the broker is away",
            COOLDOWN * 2,
            async || {
                failed = i32::MAX;
                for namespace in &namespaces {
                    let replicas = namespace.replicas("jobs").await?;
                    ensure!(
                        replicas.wanted == REPLICAS,
                        "{}: {replicas:?}",
                        namespace.name
                    );
                    failed = failed.min(failed_looks(namespace, "keda-hpa-jobs").await?);
                }
                Ok(())
            },
        )
        .await?;
        ensure!(
            failed >= 3,
            "the HPA controller told of {failed} failed looks only"
        );

        rabbit.restart().await?;
        let restarted = Instant::now();
        let recovered = async {
            for namespace in &namespaces {
                // The AMQP connection's back-off has grown to 8 s by now, the longest it grows to is 30 s.
                namespace
                    .wait_ready("jobs", "True", "ScaledObjectReady", Duration::from_secs(40))
                    .await?;
                namespace.wait_value(METRIC, "jobs", 100.0, SOON).await?;
                println!(
                    "{}: recovered after {:?}",
                    namespace.name,
                    restarted.elapsed()
                );
            }
            anyhow::Ok(())
        };
        let unmoved = throughout(
            "replicas while the broker comes back",
            Duration::from_secs(60),
            async || {
                for namespace in &namespaces {
                    let replicas = namespace.replicas("jobs").await?;
                    ensure!(
                        replicas.wanted == REPLICAS,
                        "{}: {replicas:?}",
                        namespace.name
                    );
                }
                Ok(())
            },
        );
        tokio::select! {
            recovered = recovered => recovered,
            moved = unmoved => moved,
        }
    })
}

/// Connections stay open and nothing is answered: what a broker does that waits for its disk or its peers.
#[test]
fn replicas_stay_while_the_broker_hangs_and_reads_of_it_do_not() -> Result<()> {
    const METRIC: &str = "s0-rabbitmq-jobs";
    // A second, and the way through the API server on a busy machine. The broker's own deadline is 5 s.
    const LONGEST_READ: Duration = Duration::from_secs(4);
    let bed = bed::shared()?;
    bed.run(async {
        let rabbit = RabbitMq::start().await?;
        rabbit.declare_queue("/", "jobs").await?;
        rabbit.publish("/", "jobs", 80).await?;
        let namespace = bed.namespace("hangs-amqp").await?;
        namespace
            .apply([
                deployment("jobs", 0),
                secret(&rabbit.amqp_url()),
                authentication(),
                consumers("jobs", "jobs", 0),
            ])
            .await?;
        namespace.wait_replicas("jobs", REPLICAS, SOON).await?;
        rabbit.pause();
        let hung = Instant::now();
        throughout(
            "quick reads and unmoved replicas",
            Duration::from_secs(9),
            async || {
                let asked = Instant::now();
                let read = namespace.value(METRIC, "jobs").await;
                let took = asked.elapsed();
                ensure!(took <= LONGEST_READ, "a read took {took:?}: {read:?}");
                // Two polling intervals and the read under way.
                ensure!(
                    read.is_err() || hung.elapsed() < Duration::from_secs(2) + LONGEST_READ * 2,
                    "{read:?} was read {:?} after the broker hung",
                    hung.elapsed()
                );
                let replicas = namespace.replicas("jobs").await?;
                ensure!(replicas.wanted == REPLICAS, "{replicas:?}");
                Ok(())
            },
        )
        .await?;
        namespace
            .wait_ready("jobs", "False", "TriggerError", SOON)
            .await?;
        let notes = namespace.notes("jobs", "KEDAScalerFailed").await?;
        ensure!(
            notes.iter().any(|note| note.contains("no answer within")),
            "{notes:?}"
        );
        rabbit.resume();
        let resumed = Instant::now();
        namespace
            .wait_ready("jobs", "True", "ScaledObjectReady", Duration::from_secs(40))
            .await?;
        namespace.wait_value(METRIC, "jobs", 80.0, SOON).await?;
        println!(
            "hangs-amqp: {notes:?}; recovered after {:?}",
            resumed.elapsed()
        );
        ensure!(
            namespace.replicas("jobs").await?.wanted == REPLICAS,
            "they fell in the end"
        );
        Ok(())
    })
}

#[test]
fn a_wrong_password_is_told_and_not_tried_in_a_storm_over_amqp() -> Result<()> {
    refused("refused-amqp", |rabbit, password| {
        rabbit.amqp_url_of("guest", password)
    })
}

#[test]
fn a_wrong_password_is_told_and_not_tried_in_a_storm_over_http() -> Result<()> {
    refused("refused-http", |rabbit, password| {
        rabbit.http_url_of("guest", password) + "/%2F"
    })
}

/// A wrong password for twenty polls, and then the right one.
fn refused(name: &str, host: impl Fn(&RabbitMq, &str) -> String) -> Result<()> {
    const WRONG: &str = "not-the-password";
    const METRIC: &str = "s0-rabbitmq-mail";
    let bed = bed::shared()?;
    bed.run(async {
        let rabbit = RabbitMq::start().await?;
        rabbit.declare_queue("/", "mail").await?;
        rabbit.publish("/", "mail", 100).await?;
        let namespace = bed.namespace(name).await?;
        let refused_before = rabbit.refused_logins()?;
        let start = Instant::now();
        namespace
            .apply([
                // One replica, so that the HPA looks too: it doesn't at zero.
                deployment("mail", 1),
                secret(&host(&rabbit, WRONG)),
                authentication(),
                consumers("mail", "mail", 1),
            ])
            .await?;
        let note = told_everywhere(&namespace, "mail", METRIC, "unauthorized").await?;
        let left = LASTS.saturating_sub(start.elapsed());
        throughout("one replica", left, async || {
            ensure!(namespace.replicas("mail").await?.wanted == 1);
            Ok(())
        })
        .await?;
        let refused = rabbit.refused_logins()? - refused_before;
        println!("{name}: {refused} refused logins in {LASTS:?} with a poll each second: {note}");
        // Pauses of 1, 2, 4 and 8 s between them make 5 or 6; one at each poll would be 20.
        ensure!(
            (2..=8).contains(&refused),
            "{refused} refused logins in {LASTS:?}, expected a back-off"
        );

        let corrected = Instant::now();
        namespace.apply([secret(&host(&rabbit, "guest"))]).await?;
        namespace
            .wait_ready("mail", "True", "ScaledObjectReady", SOON)
            .await?;
        let took = corrected.elapsed();
        println!("{name}: the corrected Secret took effect after {took:?}");
        // The next poll and a moment; not the end of the old password's back-off, which is 11 s away.
        ensure!(took < Duration::from_secs(8), "it took {took:?}");
        namespace.wait_value(METRIC, "mail", 100.0, SOON).await?;
        eventually("more replicas", SOON, async || {
            Ok((namespace.replicas("mail").await?.wanted > 1).then_some(()))
        })
        .await?;
        let log = std::fs::read_to_string(bed.operator.lock().await.log_path())?;
        ensure!(
            !log.contains(WRONG),
            "the operator's log holds the password"
        );
        ensure!(
            !note.contains(WRONG),
            "the Event holds the password: {note}"
        );
        Ok(())
    })
}
