//! A cluster whose kubelet acts out resizes, and what a person would look at in it.

use std::collections::BTreeMap;
use std::sync::OnceLock;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};
use sakidori_test_cluster::{ClusterOptions, eventually};
use sakidori_tests::bed::{Bed, HPA_SYNC_PERIOD};
use sakidori_tests::namespace::deployment;
use serde_json::{Value, json};

use crate::scene::{SOON, Scene, merge};

pub const PODS: &str = "api/v1/pods";

/// The resources of the containers of [`web`]: Burstable, with limits.
pub fn own() -> Value {
    json!({"requests": {"cpu": "500m", "memory": "256Mi"}, "limits": {"cpu": "1", "memory": "256Mi"}})
}

/// Runs a case in the namespace `name` of a control plane that the cases of this module share.
pub fn play(name: &str, case: impl AsyncFnOnce(&Scene) -> Result<()>) {
    play_on(shared().unwrap(), name, case);
}

/// The control plane that the cases of this module share.
pub fn shared() -> Result<&'static Bed> {
    static SHARED: OnceLock<Result<Bed, String>> = OnceLock::new();
    let bed = SHARED.get_or_init(|| bed().map_err(|error| format!("{error:#}")));
    let bed = bed.as_ref();
    bed.map_err(|error| anyhow!("the bed does not start: {error}"))
}

/// The same on a bed of the case's own.
pub fn play_on(bed: &Bed, name: &str, case: impl AsyncFnOnce(&Scene) -> Result<()>) {
    let played = bed.run(async {
        let scene = Scene::open(&bed.cluster, name).await?;
        match case(&scene).await {
            Ok(()) => scene.close().await,
            Err(error) => bail!(
                "{error:#}\nthe operator's log on {name}:\n{}",
                log_on(bed, name).await
            ),
        }
    });
    if let Err(error) = played {
        panic!("{error:#}");
    }
}

pub fn bed() -> Result<Bed> {
    Bed::start_with(options(), |_| {})
}

pub fn options() -> ClusterOptions {
    ClusterOptions {
        hpa_sync_period: HPA_SYNC_PERIOD,
        hpa_downscale_stabilization: Some(std::time::Duration::ZERO),
        acts_out_resizes: true,
        ..ClusterOptions::default()
    }
}

async fn log_on(bed: &Bed, text: &str) -> String {
    let operator = bed.operator.lock().await;
    let log = std::fs::read_to_string(operator.log_path()).unwrap_or_default();
    let lines: Vec<&str> = log.lines().filter(|line| line.contains(text)).collect();
    lines[lines.len().saturating_sub(60)..].join("\n")
}

/// A Deployment `web` whose container `app` has [`own`] resources; `template` is merged over its pod template.
pub fn web(replicas: i32, template: Value) -> Value {
    let mut object = deployment("web", replicas);
    let container = &mut object["spec"]["template"]["spec"]["containers"][0];
    merge(container, json!({"name": "app", "resources": own()}));
    merge(&mut object["spec"]["template"], template);
    object
}

/// What a ScaledObject has to say to be resized by these policies; `more` is merged over it.
pub fn resized_by(policies: Value, more: Value) -> Value {
    let mut resize = json!({"policies": policies});
    merge(&mut resize, more);
    json!({"advanced": {"sakidori": {"inPlaceResize": resize}}})
}

/// A pod in the words of these cases.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Seen {
    /// `cpu memory` that container `app` requests by its specification.
    pub wanted: String,
    /// The same of its status.
    pub actual: String,
    pub limits: String,
    pub qos: String,
    pub restarts: i64,
    /// `PodResizePending: Deferred`, and so on.
    pub conditions: Vec<String>,
    pub remembers: bool,
}

/// The pods of Deployment `web`, by name, but those on their way out.
pub async fn pods(scene: &Scene<'_>) -> Result<BTreeMap<String, Seen>> {
    let mut pods = BTreeMap::new();
    for pod in scene.list(PODS).await? {
        if pod["metadata"]["deletionTimestamp"].is_null() {
            let name = pod["metadata"]["name"].as_str().context("no name")?;
            pods.insert(name.to_owned(), seen(&pod));
        }
    }
    Ok(pods)
}

pub fn seen(pod: &Value) -> Seen {
    let app = |list: &Value| {
        let containers = list.as_array().into_iter().flatten();
        let mut named = containers.filter(|one| one["name"] == "app");
        named.next().cloned().unwrap_or_default()
    };
    let amounts = |list: &Value| {
        let text = |name: &str| list[name].as_str().unwrap_or("-").to_owned();
        format!("{} {}", text("cpu"), text("memory"))
    };
    let spec = app(&pod["spec"]["containers"]);
    let status = app(&pod["status"]["containerStatuses"]);
    let conditions = pod["status"]["conditions"].as_array();
    let of_resizes = conditions.into_iter().flatten().filter(|one| {
        let kind = one["type"].as_str().unwrap_or_default();
        kind.starts_with("PodResize")
    });
    Seen {
        wanted: amounts(&spec["resources"]["requests"]),
        actual: amounts(&status["resources"]["requests"]),
        limits: amounts(&spec["resources"]["limits"]),
        qos: pod["status"]["qosClass"].as_str().unwrap_or("-").to_owned(),
        restarts: status["restartCount"].as_i64().unwrap_or_default(),
        conditions: of_resizes
            .map(|one| format!("{}: {}", text(&one["type"]), text(&one["reason"])))
            .collect(),
        remembers: !pod["metadata"]["annotations"]["sakidori.dev/resize"].is_null(),
    }
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or("-")
}

/// Waits until there are so many pods of `web`, and all are as `is` says.
pub async fn until_all(
    scene: &Scene<'_>,
    what: &str,
    count: usize,
    is: impl Fn(&Seen) -> bool,
) -> Result<BTreeMap<String, Seen>> {
    until_pods(scene, what, SOON, |pods| {
        (pods.len() == count && pods.values().all(&is)).then(|| pods.clone())
    })
    .await
}

/// Waits, so long at most, until `look` finds what it wants in the pods of the namespace.
pub async fn until_pods<T>(
    scene: &Scene<'_>,
    what: &str,
    time: Duration,
    look: impl Fn(&BTreeMap<String, Seen>) -> Option<T>,
) -> Result<T> {
    let mut last = BTreeMap::new();
    let found = eventually(what, time, async || {
        last = pods(scene).await?;
        Ok(look(&last))
    })
    .await;
    found.with_context(|| format!("the pods are {last:#?}"))
}

/// Has these requests, and the kubelet says so.
pub fn has(requests: &str) -> impl Fn(&Seen) -> bool {
    move |pod| pod.wanted == requests && pod.actual == requests && pod.conditions.is_empty()
}

/// Has its template's resources again, and nothing is left of any resize.
pub fn is_back(pod: &Seen) -> bool {
    has("500m 256Mi")(pod) && pod.limits == "1 256Mi" && !pod.remembers && pod.restarts == 0
}
