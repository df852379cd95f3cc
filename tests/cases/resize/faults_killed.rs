//! The operator is killed (SIGKILL), or asked to end, while it resizes pods, and started again: it goes on where it was, and all that it has to know
//! for that stands on the pods.

use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use sakidori_test_cluster::eventually;
use sakidori_tests::bed::Bed;
use serde_json::{Value, json};

use super::between::{Between, Resizes};
use super::faults::{
    OWN, TRIPLED, another, asked, asks_nothing_for, begin_sale, bring_up, end_sale, shop, slow,
    tripled, until_any, until_back, until_nothing_is_left, until_of, until_says, until_tripled,
};
use super::faults_deleted::until_gone_after_pods;
use super::stage::{Seen, has, is_back, options, play_on, until_all, until_pods, web};
use super::witness::Witness;
use crate::prescaling::calendar;
use crate::scene::{SCALED_OBJECTS, Scene, text};

const SOON: Duration = Duration::from_secs(30);
/// An operator that is up has listed everything long before.
const LOOKED: Duration = Duration::from_secs(4);

/// It is looked up 1 s after a refusal, then 2 s, 4 s, 8 s; where a right is missing all the time, every two minutes.
const ROLES_KNOWN_AGAIN: Duration = Duration::from_secs(14);

/// When the operator is killed: what is waited for, and how it is seen in a pod.
type Moment = (&'static str, fn(&Seen) -> bool);

/// A bed whose operator these cases end, one after the other.
struct Stage {
    bed: Bed,
    between: Between,
}

fn play(name: &str, case: impl AsyncFnOnce(&Stage, &Scene) -> Result<()>) {
    static STAGE: OnceLock<Mutex<Stage>> = OnceLock::new();
    let stage = STAGE.get_or_init(|| {
        let between = Between::start().unwrap();
        let bed = Bed::start_with(options(), |settings| {
            between.stand_before(settings).unwrap()
        });
        Mutex::new(Stage {
            bed: bed.unwrap(),
            between,
        })
    });
    let stage = stage.lock().unwrap_or_else(PoisonError::into_inner);
    stage.between.set(Resizes::GoThrough);
    play_on(&stage.bed, name, async |scene| case(&stage, scene).await);
}

impl Stage {
    async fn kill(&self) -> Result<()> {
        self.bed.operator.lock().await.kill()
    }

    async fn start(&self) -> Result<()> {
        let mut operator = self.bed.operator.lock().await;
        operator.restart()?;
        operator.wait_ready(SOON).await
    }
}

fn is_noted_only(pod: &Seen) -> bool {
    pod.remembers && pod.wanted == OWN
}

fn is_under_way(pod: &Seen) -> bool {
    pod.wanted == TRIPLED && pod.actual == OWN
}

fn goes_back(pod: &Seen) -> bool {
    pod.wanted == OWN && pod.actual == TRIPLED
}

#[test]
fn an_operator_that_is_killed_mid_wave_goes_on_where_it_was() {
    play("resize-killed", async |stage, scene| {
        let three = json!({"maxConcurrent": 3});
        bring_up(scene, 9, slow("1500ms"), tripled(), three).await?;
        let witness = Witness::of(scene);
        // What is asked gets to the API server when whoever asked may be dead.
        stage
            .between
            .set(Resizes::AreLate(Duration::from_millis(700)));
        begin_sale(scene).await?;
        let moments: [Moment; 4] = [
            ("a pod with an annotation", is_noted_only),
            ("a pod under way", is_under_way),
            ("another pod with an annotation", is_noted_only),
            ("another pod under way", is_under_way),
        ];
        for (what, is) in moments {
            until_any(scene, what, is).await?;
            stage.kill().await?;
            stage.start().await?;
        }
        let grown = until_tripled(scene, 9).await?;
        witness.content(3)?;
        ensure!(
            witness.most_under_way() == 3,
            "waves of {}",
            witness.most_under_way()
        );

        // A restart within a sale takes nothing back.
        let before = asked(scene)?;
        stage.kill().await?;
        stage.start().await?;
        asks_nothing_for(scene, LOOKED).await?;
        ensure!(asked(scene)? == before, "{before:?} {:?}", asked(scene)?);

        // The sale ends while it is away, and it is killed again on the way back.
        stage.kill().await?;
        end_sale(scene).await?;
        stage.start().await?;
        for _ in 0..2 {
            until_any(scene, "a pod on its way back", goes_back).await?;
            stage.kill().await?;
            stage.start().await?;
        }
        let back = until_back(scene, 9).await?;
        ensure!(back.keys().eq(grown.keys()), "{back:?} {grown:?}");
        witness.content(3)
    });
}

#[test]
fn what_is_deleted_while_the_operator_is_away_is_put_back_when_it_comes() {
    play("resize-away-deleted", async |stage, scene| {
        bring_up(scene, 3, json!({}), tripled(), json!({"maxConcurrent": 3})).await?;
        let witness = Witness::of(scene);
        begin_sale(scene).await?;
        until_tripled(scene, 3).await?;
        stage.kill().await?;
        scene.delete(SCALED_OBJECTS, "web").await?;
        let held = scene
            .get(SCALED_OBJECTS, "web")
            .await?
            .context("it is gone")?;
        ensure!(
            held["metadata"]["deletionTimestamp"].is_string(),
            "{held:#}"
        );
        stage.start().await?;
        until_gone_after_pods(scene, 3).await?;
        witness.content(3)
    });
}

#[test]
fn policies_that_go_while_the_operator_is_away_take_pods_back_when_it_comes() {
    play("resize-away-policies", async |stage, scene| {
        bring_up(scene, 3, json!({}), tripled(), json!({"maxConcurrent": 3})).await?;
        let witness = Witness::of(scene);
        begin_sale(scene).await?;
        until_tripled(scene, 3).await?;
        stage.kill().await?;
        let none = json!({"spec": {"advanced": {"sakidori": null}}});
        scene.patch(SCALED_OBJECTS, "web", &none).await?;
        stage.start().await?;
        until_all(scene, "pods that are back", 3, is_back).await?;
        until_nothing_is_left(scene).await?;
        witness.content(3)
    });
}

#[test]
fn an_operator_that_is_asked_to_end_within_a_deletion_leaves_the_finalizer() {
    play("resize-terminated", async |stage, scene| {
        let one = json!({"maxConcurrent": 1});
        bring_up(scene, 3, slow("500ms"), tripled(), one).await?;
        let witness = Witness::of(scene);
        begin_sale(scene).await?;
        until_tripled(scene, 3).await?;
        stage
            .between
            .set(Resizes::AreLate(Duration::from_millis(1500)));
        scene.delete(SCALED_OBJECTS, "web").await?;
        until_any(scene, "a pod on its way back", goes_back).await?;
        stage.bed.operator.lock().await.terminate(SOON).await?;
        let held = scene
            .get(SCALED_OBJECTS, "web")
            .await?
            .context("it is gone")?;
        let finalizers: Vec<_> = held["metadata"]["finalizers"]
            .as_array()
            .into_iter()
            .flatten()
            .map(text)
            .collect();
        ensure!(
            finalizers.iter().any(|it| it == "finalizer.keda.sh"),
            "{finalizers:?}"
        );
        stage.start().await?;
        until_gone_after_pods(scene, 3).await?;
        witness.content(1)
    });
}

#[test]
fn a_pause_outlives_a_restart() {
    play("resize-away-paused", async |stage, scene| {
        bring_up(scene, 3, json!({}), tripled(), json!({"maxConcurrent": 1})).await?;
        let witness = Witness::of(scene);
        begin_sale(scene).await?;
        until_tripled(scene, 3).await?;
        let paused = |paused: Option<&str>| json!({"metadata": {"annotations": {"autoscaling.keda.sh/paused": paused}}});
        let before = asked(scene)?;
        scene
            .patch(SCALED_OBJECTS, "web", &paused(Some("true")))
            .await?;
        until_says(scene, "ResizingPaused", &[]).await?;
        stage.kill().await?;
        end_sale(scene).await?;
        stage.start().await?;
        asks_nothing_for(scene, LOOKED).await?;
        ensure!(asked(scene)? == before, "{before:?} {:?}", asked(scene)?);
        until_says(scene, "ResizingPaused", &[]).await?;
        scene.patch(SCALED_OBJECTS, "web", &paused(None)).await?;
        until_back(scene, 3).await?;
        witness.content(1)
    });
}

#[test]
fn an_api_server_that_is_away_mid_wave_holds_nothing_up_for_long() {
    play("resize-apiserver", async |stage, scene| {
        let two = json!({"maxConcurrent": 2});
        bring_up(scene, 6, slow("1s"), tripled(), two).await?;
        begin_sale(scene).await?;
        until_any(scene, "a pod under way", is_under_way).await?;
        stage.bed.cluster.restart_apiserver().await?;
        let grown = until_tripled(scene, 6).await?;
        end_sale(scene).await?;
        until_any(scene, "a pod on its way back", goes_back).await?;
        stage.bed.cluster.restart_apiserver().await?;
        let back = until_back(scene, 6).await?;
        ensure!(back.keys().eq(grown.keys()), "{back:?} {grown:?}");
        Ok(())
    });
}

#[test]
fn an_api_server_that_knows_no_roles_for_a_moment_holds_nothing_up_for_long() {
    play("resize-roles", async |stage, scene| {
        let two = json!({"maxConcurrent": 2});
        bring_up(scene, 4, json!({}), tripled(), two).await?;
        stage.between.set(Resizes::AreForbidden);
        begin_sale(scene).await?;
        until_says(scene, "NotAllowed", &["rbac.inPlaceResize"]).await?;
        stage.between.set(Resizes::GoThrough);
        until_pods(scene, "grown pods", ROLES_KNOWN_AGAIN, |pods| {
            pods.values().all(has(TRIPLED)).then_some(())
        })
        .await?;
        scene.condition("web", "Resized", "True", "Resized").await?;
        Ok(())
    });
}

/// Two Deployments, of which `web` has grown for a sale; the ScaledObject, which is to be changed.
async fn one_of_two_grown(scene: &Scene<'_>) -> Result<Value> {
    scene.apply(another("other", 2)).await?;
    until_of(scene, "pods of the other", "other-", 2, has(OWN)).await?;
    scene.apply(web(2, json!({}))).await?;
    until_all(scene, "all pods", 4, has(OWN)).await?;
    scene.apply(calendar("sales", &[])).await?;
    let object = shop(scene, 2, tripled(), json!({"maxConcurrent": 1}))?;
    scene.apply(object.clone()).await?;
    scene.ready("web").await?;
    begin_sale(scene).await?;
    until_of(scene, "grown pods", "web-", 2, has(TRIPLED)).await?;
    Ok(object)
}

async fn resized_targets(scene: &Scene<'_>) -> Result<Vec<String>> {
    let object = scene
        .get(SCALED_OBJECTS, "web")
        .await?
        .context("it is gone")?;
    let targets = object["status"]["sakidori"]["resizedTargets"].as_array();
    let names = targets.into_iter().flatten().map(|one| text(&one["name"]));
    Ok(names.collect())
}

#[test]
fn pods_of_a_target_that_changed_while_the_operator_was_away_go_back() {
    play("resize-away-retargeted", async |stage, scene| {
        let mut object = one_of_two_grown(scene).await?;
        let witness = Witness::of(scene);
        ensure!(resized_targets(scene).await? == ["web"]);
        stage.kill().await?;
        object["spec"]["scaleTargetRef"]["name"] = "other".into();
        scene.apply(object.clone()).await?;
        stage.start().await?;
        until_of(scene, "pods that are back", "web-", 2, is_back).await?;
        until_of(scene, "grown pods of the other", "other-", 2, has(TRIPLED)).await?;
        scene.condition("web", "Resized", "True", "Resized").await?;
        eventually("only the other in the status", SOON, async || {
            Ok((resized_targets(scene).await? == ["other"]).then_some(()))
        })
        .await?;

        // Back to the first, and killed while its pods and the other's are both on their way.
        object["spec"]["scaleTargetRef"]["name"] = "web".into();
        stage
            .between
            .set(Resizes::AreLate(Duration::from_millis(700)));
        scene.apply(object).await?;
        until_of(scene, "one that grows", "web-", 2, |pod| pod.remembers).await?;
        stage.kill().await?;
        stage.start().await?;
        until_of(scene, "the other's that are back", "other-", 2, is_back).await?;
        until_of(scene, "grown pods", "web-", 2, has(TRIPLED)).await?;
        end_sale(scene).await?;
        until_of(scene, "pods that are back", "web-", 2, is_back).await?;
        // Each of the two has waves of its own.
        witness.content(2)
    });
}

#[test]
fn an_object_that_is_deleted_puts_back_pods_of_all_targets_that_it_had() {
    play("resize-away-twice", async |stage, scene| {
        let mut object = one_of_two_grown(scene).await?;
        stage.kill().await?;
        object["spec"]["scaleTargetRef"]["name"] = "other".into();
        scene.apply(object).await?;
        scene.delete(SCALED_OBJECTS, "web").await?;
        stage.start().await?;
        until_of(scene, "pods that are back", "web-", 2, is_back).await?;
        until_of(scene, "pods that never grew", "other-", 2, is_back).await?;
        scene.until_gone(SCALED_OBJECTS, "web").await
    });
}
