//! The trigger type `external-push`, against a server that KEDA's own generated code serves in Go.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use sakidori_test_cluster::eventually;
use sakidori_test_servers::{Answers, ExternalScaler, ExternalScalerOptions, Seen};
use serde_json::{Value, json};

use crate::external::{average, trigger, until_metrics, web};
use crate::scene::{SCALED_OBJECTS, SOON, Scene, play};

/// Nobody polls within a case.
const RARELY: i64 = 3600;

fn object(scene: &Scene<'_>, trigger: &Value) -> Value {
    let spec = json!({"triggers": [trigger], "pollingInterval": RARELY, "cooldownPeriod": RARELY});
    scene.scaled_object("web", spec)
}

/// Waits until the server sees what is wanted.
async fn until_seen(
    scene: &Scene<'_>,
    server: &ExternalScaler,
    what: &str,
    wanted: impl Fn(&Seen) -> bool,
) -> Result<Seen> {
    let mut last = Seen::default();
    let seen = eventually(what, SOON, async || {
        last = server.seen(&web(scene)).await?;
        Ok(wanted(&last).then(|| last.clone()))
    });
    seen.await
        .with_context(|| format!("the server has seen {last:?}"))
}

/// A server with nothing to do, and a ScaledObject `web` at zero that listens to it.
async fn listening(scene: &Scene<'_>, options: ExternalScalerOptions) -> Result<ExternalScaler> {
    let server = ExternalScaler::start_with(options).await?;
    server
        .set(&web(scene), Answers::metric("orders", 10, 0))
        .await?;
    scene.deploy("web", 0).await?;
    scene
        .apply(object(scene, &trigger("external-push", &server)))
        .await?;
    scene.ready("web").await?;
    until_seen(scene, &server, "a stream", |seen| seen.streams == 1).await?;
    Ok(server)
}

#[test]
fn a_message_activates_a_target_at_zero_without_a_poll() {
    play("push-activates", async |scene| {
        let server = listening(scene, ExternalScalerOptions::default()).await?;
        // One that is not active leads to nothing: polls see that.
        let before = server.seen(&web(scene)).await?;
        server.push(&web(scene), false).await?;
        scene.stays_for("web", 0, Duration::from_secs(2)).await?;
        let after = server.seen(&web(scene)).await?;
        ensure!(after.calls == before.calls, "{before:?} became {after:?}");

        let pushed = Instant::now();
        server.push(&web(scene), true).await?;
        let mut took = None;
        eventually("the first replica", SOON, async || {
            took.get_or_insert(pushed.elapsed());
            let replicas = scene.replicas("web").await?;
            took = (replicas == 1).then(|| pushed.elapsed());
            Ok(took)
        })
        .await?;
        println!("the target had its first replica {took:?} after the message");
        // The promise is a second; a machine that compiles meanwhile is slower.
        ensure!(took < Some(Duration::from_secs(5)), "it took {took:?}");
        let note = scene.until_told("web", "KEDAScaleTargetActivated").await?;
        ensure!(
            note.ends_with("from 0 to 1, triggered by s0-orders"),
            "{note}"
        );
        scene
            .condition("web", "Active", "True", "ScalerActive")
            .await?;
        // IsActive says no: the cooldown counts from the message.
        scene
            .until("activity", SCALED_OBJECTS, "web", |object| {
                let active = &object["status"]["triggersActivity"]["s0-orders"]["isActive"];
                (active == true && object["status"]["lastActiveTime"].is_string()).then_some(())
            })
            .await?;
        scene.stays_for("web", 1, Duration::from_secs(3)).await
    });
}

#[test]
fn a_server_that_floods_is_polled_now_and_then() {
    play("push-floods", async |scene| {
        let server = listening(scene, ExternalScalerOptions::default()).await?;
        let before = server.seen(&web(scene)).await?.calls["IsActive"];
        let started = Instant::now();
        while started.elapsed() < Duration::from_secs(5) {
            server.push(&web(scene), true).await?;
        }
        scene.until_replicas("web", 1).await?;
        let polls = server.seen(&web(scene)).await?.calls["IsActive"] - before;
        let seconds = started.elapsed().as_secs_f64();
        println!("{polls} polls in {seconds:.1} s");
        ensure!(
            polls as f64 <= seconds * 2.0 + 2.0,
            "{polls} polls in {seconds} s"
        );
        Ok(())
    });
}

#[test]
fn a_stream_ends_with_its_trigger() {
    play("push-ends", async |scene| {
        let server = listening(scene, ExternalScalerOptions::default()).await?;
        let open = async |count: i64| {
            let what = format!("{count} streams of each kind");
            let wanted = |seen: &Seen| seen.streams == count && seen.metric_streams == count;
            until_seen(scene, &server, &what, wanted).await
        };
        open(1).await?;
        let opened = async || {
            Ok::<_, anyhow::Error>(server.seen(&web(scene)).await?.calls["StreamIsActive"])
        };
        let first = opened().await?;
        // What does not concern the trigger does not concern its streams.
        let mut edited = object(scene, &trigger("external-push", &server));
        edited["spec"]["maxReplicaCount"] = json!(7);
        scene.apply(edited).await?;
        scene
            .until("the edit", crate::scene::HPAS, "keda-hpa-web", |hpa| {
                (hpa["spec"]["maxReplicas"] == 7).then_some(())
            })
            .await?;
        open(1).await?;
        ensure!(opened().await? == first, "the stream was opened again");

        let paused = json!({"metadata": {"annotations": {"autoscaling.keda.sh/paused": "true"}}});
        scene.patch(SCALED_OBJECTS, "web", &paused).await?;
        open(0).await?;
        let unpaused = json!({"metadata": {"annotations": {"autoscaling.keda.sh/paused": null}}});
        scene.patch(SCALED_OBJECTS, "web", &unpaused).await?;
        open(1).await?;

        let mut other = trigger("external-push", &server);
        other["metadata"]["warehouse"] = json!("tokyo");
        let before = opened().await?;
        scene.apply(object(scene, &other)).await?;
        until_seen(scene, &server, "one stream of the new trigger", |seen| {
            seen.streams == 1 && seen.calls["StreamIsActive"] == before + 1
        })
        .await?;
        scene.delete(SCALED_OBJECTS, "web").await?;
        open(0).await.map(drop)
    });
}

#[test]
fn changed_metrics_are_pushed_into_the_hpa() {
    play("push-metrics", async |scene| {
        let server = listening(scene, ExternalScalerOptions::default()).await?;
        until_seen(scene, &server, "a stream of metrics", |seen| {
            seen.metric_streams == 1
        })
        .await?;
        until_metrics(scene, &[("s0-orders", average("10"))]).await?;
        server
            .set(
                &web(scene),
                Answers::metric("orders", 7, 0).and_metric("claims", "2.5"),
            )
            .await?;
        let both = [("s0-orders", average("7")), ("s0-claims", average("2500m"))];
        until_metrics(scene, &both).await?;
        // What is pushed is not asked for, and what can't be right changes nothing.
        let before = server.seen(&web(scene)).await?;
        server
            .set(
                &web(scene),
                Answers::metric("orders", 7, 0).without_metrics(),
            )
            .await?;
        server.push(&web(scene), true).await?;
        scene.until_replicas("web", 1).await?;
        until_metrics(scene, &both).await?;
        let after = server.seen(&web(scene)).await?;
        ensure!(
            after.calls["IsActive"] > before.calls["IsActive"],
            "{after:?}"
        );
        ensure!(
            after.calls["GetMetricSpec"] == before.calls["GetMetricSpec"],
            "{before:?} {after:?}"
        );
        Ok(())
    });
}

#[test]
fn a_server_without_a_stream_of_metrics_just_works() {
    play("push-older", async |scene| {
        let options = ExternalScalerOptions {
            without_metric_stream: true,
            ..ExternalScalerOptions::default()
        };
        let server = listening(scene, options).await?;
        server
            .set(&web(scene), Answers::metric("orders", 7, 0))
            .await?;
        // The poll that the message leads to asks for the metrics.
        server.push(&web(scene), true).await?;
        scene.until_replicas("web", 1).await?;
        until_metrics(scene, &[("s0-orders", average("7"))]).await?;
        scene.ready("web").await
    });
}

#[test]
fn a_stream_is_opened_again_after_the_server_died() {
    play("push-again", async |scene| {
        let mut server = listening(scene, ExternalScalerOptions::default()).await?;
        server.restart().await?;
        until_seen(scene, &server, "a stream", |seen| seen.streams == 1).await?;
        server.push(&web(scene), true).await?;
        scene.until_replicas("web", 1).await
    });
}
