//! KEDA's gRPC services as tools see them that are written for KEDA: the client is Go, on KEDA's own generated code.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use sakidori_test_cluster::eventually;
use sakidori_test_cluster::pki::Authority;
use sakidori_test_servers::{Connection, MetricsClient, RawMetricsStream};
use sakidori_tests::Operator;
use sakidori_tests::bed;
use sakidori_tests::certificates::Certificates;
use sakidori_tests::throughout::throughout;
use serde_json::{Value, json};

use crate::installed::play_installed;
use crate::scene::{PATH, SOON, Scene, merge, play, same};

/// A client of the shared operator.
async fn tool() -> Result<MetricsClient> {
    tool_of(&*bed::shared()?.operator.lock().await).await
}

/// A client with the operator's own certificate, which tools have from its Secret.
async fn tool_of(operator: &Operator) -> Result<MetricsClient> {
    let (address, certificates) = (operator.metrics_service_address(), operator.certificates());
    MetricsClient::new(address, certificates, Connection::Mutual).await
}

/// The scene's trigger under a name.
fn named(scene: &Scene<'_>, name: &str) -> Value {
    let mut trigger = scene.trigger();
    trigger["name"] = json!(name);
    trigger
}

/// What kube-apiserver says to an HPA: the list's only item.
async fn read(scene: &Scene<'_>, object: &str, metric: &str) -> Result<Value> {
    let path = format!(
        "/apis/external.metrics.k8s.io/v1beta1/namespaces/{}/{metric}?labelSelector=scaledobject.keda.sh%2Fname%3D{object}",
        scene.namespace
    );
    let mut list: Value = scene
        .client
        .request(http::Request::get(path).body(Vec::new())?)
        .await?;
    Ok(list["items"][0].take())
}

#[test]
fn get_metrics_gives_what_an_hpa_reads() {
    play("grpc-get", async |scene| {
        scene.set(25);
        scene.bring_up(1, json!({})).await?;
        let composed = json!({
            "triggers": [named(scene, "queue")],
            "advanced": {"scalingModifiers": {"formula": "queue / 2", "target": "5"}},
        });
        scene.deploy("composed", 1).await?;
        scene
            .apply(scene.scaled_object("composed", composed))
            .await?;
        scene.ready("composed").await?;
        let tool = tool().await?;
        let (here, plain) = (scene.namespace.as_str(), "s0-metric-api-value");
        for (value, name, metric, expected) in [
            (25, "web", plain, "25"),
            (32, "web", plain, "32"),
            (31, "composed", "composite-metric", "15500m"),
            (30, "composed", "COMPOSITE-METRIC", "15"),
        ] {
            scene.set(value);
            eventually(&format!("{metric} of {expected}"), SOON, async || {
                let got = tool.call(&["get", here, name, metric]).await?;
                let items = got["items"].as_array().context("no items")?;
                ensure!(items.len() == 1, "{got}");
                ensure!(items[0]["value"] == json!({"string": expected}), "{got}");
                let read = read(scene, name, metric).await?;
                ensure!(read["value"] == expected, "{read}");
                same("the name", &items[0]["metricName"], &read["metricName"])?;
                let told = items[0]["timestamp"]["seconds"].as_str();
                let told: i64 = told.context("no time")?.parse()?;
                let age = jiff::Timestamp::now().as_second() - told;
                ensure!((0..=10).contains(&age), "{age} s old: {got}");
                Ok(Some(()))
            })
            .await?;
        }
        for (name, metric, why) in [
            ("web", "s9-none", "s9-none"),
            ("other", plain, "other"),
            ("", plain, ""),
        ] {
            let got = tool.call(&["get", here, name, metric]).await?;
            let message = got["message"].as_str().unwrap_or_default();
            ensure!(got["code"] == "Unknown", "{got}");
            ensure!(
                message.starts_with("error when getting metric values ") && message.contains(why),
                "{got}"
            );
        }
        Ok(())
    });
}

/// The values and activities of a stream's messages, of which each has one metric of the trigger.
fn told(scene: &Scene<'_>, stream: &RawMetricsStream, trigger: &str) -> Result<Vec<(f64, bool)>> {
    let named = json!({"name": "web", "namespace": scene.namespace, "metricName": trigger});
    let metric = |message: &Value| {
        let metrics = message["metrics"]
            .as_array()
            .with_context(|| message.to_string())?;
        ensure!(
            metrics.len() == 1 && metrics[0]["metadata"] == named,
            "{message}"
        );
        let asked: jiff::Timestamp = metrics[0]["timestamp"]
            .as_str()
            .context("no time")?
            .parse()?;
        ensure!(asked <= jiff::Timestamp::now(), "{message}");
        Ok((
            metrics[0]["value"].as_f64().context("no value")?,
            metrics[0]["isActive"].as_bool().context("no activity")?,
        ))
    };
    stream.messages()?.iter().map(metric).collect()
}

#[test]
fn a_raw_stream_shows_each_poll_until_the_last_subscription_ends() {
    play("grpc-raw", async |scene| {
        scene.set(0);
        scene.deploy("web", 0).await?;
        let object = |interval: u64| {
            let spec =
                json!({"pollingInterval": interval, "triggers": [named(scene, "incoming-orders")]});
            scene.scaled_object("web", spec)
        };
        let tool = tool().await?;
        let subscription = ["tool", &scene.namespace, "web", "incoming-orders"];
        let subscribe = [&["subscribe"], &subscription[..]].concat();
        let unsubscribe = [&["unsubscribe"], &subscription[..]].concat();
        // Before there is such an object: it may come later.
        let was = |subscribed: bool| json!({"wasSubscribed": subscribed});
        for (call, expected) in [
            (&subscribe, false),
            (&unsubscribe, true),
            (&unsubscribe, false),
            (&subscribe, false),
            (&subscribe, true),
        ] {
            let got = tool.call(call).await?;
            same("the acknowledgement", &got, &was(expected))?;
        }
        let mut stream = tool.stream("tool")?;
        scene.apply(object(1)).await?;
        scene.ready("web").await?;
        let until = async |what: &str, looked_for: (f64, bool)| {
            eventually(what, SOON, async || {
                let told = told(scene, &stream, "incoming-orders")?;
                Ok(told.contains(&looked_for).then_some(()))
            })
            .await
        };
        until("an inactive poll", (0.0, false)).await?;
        scene.set(25);
        until("an active poll", (25.0, true)).await?;
        scene.until_replicas("web", 3).await?;

        // Each poll, also those that the HPA makes start: as many as the source is asked.
        let (asked, heard) = (scene.source.requests(PATH), stream.messages()?.len());
        eventually("ten more polls", SOON, async || {
            Ok((scene.source.requests(PATH) >= asked + 10).then_some(()))
        })
        .await?;
        eventually("as many messages", SOON, async || {
            let polls = scene.source.requests(PATH) - asked;
            let messages = (stream.messages()?.len() - heard) as u64;
            // One may have been read and not told yet, at either end.
            ensure!(
                messages.abs_diff(polls) <= 1,
                "{polls} polls, {messages} messages"
            );
            Ok(Some(()))
        })
        .await?;

        // A subscription outlives what the object is prepared anew for.
        let mut changed = object(2);
        merge(&mut changed, json!({"spec": {"cooldownPeriod": 3}}));
        scene.apply(changed).await?;
        scene.set(35);
        until("a poll after the change", (35.0, true)).await?;

        same(
            "the acknowledgement",
            &tool.call(&unsubscribe).await?,
            &was(true),
        )?;
        eventually("the end of the stream", SOON, async || {
            Ok(stream.has_ended().then_some(()))
        })
        .await?;
        // No error among what it said.
        told(scene, &stream, "incoming-orders")?;
        Ok(())
    });
}

#[test]
fn a_replica_that_does_not_lead_serves_both_and_a_stream_ends_with_its_leader() {
    play_installed(async |installed| {
        let _lease = installed.lease.lock().await;
        let scene = Scene::open(&installed.cluster, "grpc-pair").await?;
        let mut settings = installed.watching("grpc-pair");
        settings.leader_elect = true;
        let on = ("RAW_METRICS_GRPC_PROTOCOL".into(), "enabled".into());
        settings.environment.push(on);
        let certificates = Arc::new(Certificates::new()?);
        let mut leader = Operator::start_with(settings.clone(), certificates.clone())?;
        leader.wait_ready(SOON).await?;
        let mut other = Operator::start_with(settings, certificates)?;
        scene.set(7);
        let spec = json!({"triggers": [named(&scene, "queue")]});
        scene.bring_up(1, spec).await?;
        other.wait_ready(SOON).await?;

        let tool = tool_of(&other).await?;
        let get = ["get", "grpc-pair", "web", "s0-metric-api-value"];
        let got = |expected: &'static str| {
            let (tool, get) = (&tool, &get);
            eventually("GetMetrics", SOON, async move || {
                let got = tool.call(get).await?;
                ensure!(got["items"][0]["value"]["string"] == expected, "{got}");
                Ok(Some(()))
            })
        };
        got("7").await?;
        let subscribe = ["subscribe", "pair", "grpc-pair", "web", "queue"];
        let acknowledged = async |expected: bool| {
            eventually("an acknowledgement", SOON, async || {
                let got = tool.call(&subscribe).await?;
                same("it", &got, &json!({"wasSubscribed": expected}))?;
                Ok(Some(()))
            })
            .await
        };
        acknowledged(false).await?;
        acknowledged(true).await?;
        let mut stream = tool.stream("pair")?;
        let heard = async |stream: &RawMetricsStream, value: f64| {
            eventually("a poll", SOON, async || {
                let told = told(&scene, stream, "queue")?;
                Ok(told.contains(&(value, true)).then_some(()))
            })
            .await
        };
        heard(&stream, 7.0).await?;

        leader.terminate(Duration::from_secs(5)).await?;
        eventually("the end of the stream", SOON, async || {
            Ok(stream.has_ended().then_some(()))
        })
        .await?;
        let last = stream.messages()?.pop().unwrap_or_default();
        ensure!(last["code"] == "Unavailable", "{last}");
        got("7").await?;
        // The new leader knows of no subscription.
        eventually("the end of the former leader's term", SOON, async || {
            let got = tool.call(&subscribe).await?;
            Ok((got["wasSubscribed"] == false).then_some(()))
        })
        .await?;
        let stream = tool.stream("pair")?;
        scene.set(8);
        heard(&stream, 8.0).await?;
        got("8").await
    });
}

/// A folder of certificates, as a client has them that is no part of the installation.
fn write(dir: &Path, authority: &str, certificate: &str, key: &str) -> Result<()> {
    for (file, text) in [
        ("ca.crt", authority),
        ("tls.crt", certificate),
        ("tls.key", key),
    ] {
        std::fs::write(dir.join(file), text)?;
    }
    Ok(())
}

#[test]
fn strangers_get_nothing() {
    play("grpc-strangers", async |scene| {
        scene.set(7);
        scene.bring_up(1, json!({})).await?;
        let (address, own, authority, misnamed) = {
            let operator = bed::shared()?.operator.lock().await;
            (
                operator.metrics_service_address(),
                operator.certificates(),
                operator.authority().to_owned(),
                operator.issue(&["shop.keda.svc", "keda-operator.shop.svc"])?,
            )
        };
        let other = Authority::new("another")?.issue("keda", &[], &["keda-operator.keda.svc"])?;
        let (foreign, named) = (tempfile::tempdir()?, tempfile::tempdir()?);
        write(foreign.path(), &authority, &other.certificate, &other.key)?;
        write(
            named.path(),
            &authority,
            &misnamed.certificate,
            &misnamed.key,
        )?;
        let get = ["get", &scene.namespace, "web", "s0-metric-api-value"];
        let subscribe = ["subscribe", "stranger", &scene.namespace, "web", "queue"];
        for (who, certificates, connection) in [
            ("nobody", own.as_path(), Connection::Nobody),
            ("one of TLS 1.2", &own, Connection::Tls12),
            ("one in plain text", &own, Connection::Plain),
            (
                "one of another authority",
                foreign.path(),
                Connection::Mutual,
            ),
            ("one of another name", named.path(), Connection::Mutual),
        ] {
            let client = MetricsClient::new(address, certificates.to_owned(), connection).await?;
            for call in [&get[..], &subscribe[..], &["stream", "stranger"]] {
                let got = client.call(call).await?;
                ensure!(got["code"] == "Unavailable", "{who}: {got}");
            }
        }
        let known = tool().await?;
        throughout("answers", Duration::from_secs(1), async || {
            let got = known.call(&get).await?;
            ensure!(got["items"][0]["value"]["string"] == "7", "{got}");
            Ok(())
        })
        .await?;
        let metrics = bed::shared()?.operator.lock().await.metrics().await?;
        let counted = r#"keda_internal_metricsservice_grpc_server_handled_total{grpc_code="OK",grpc_method="GetMetrics""#;
        ensure!(metrics.contains(counted), "{metrics}");
        Ok(())
    });
}
