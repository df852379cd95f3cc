//! The shop: the manifests of examples/sale-demo/ as a user applies them, with the URLs and times of the demo written in, and the
//! answers of what its triggers read.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use jiff::SignedDuration;
use k8s_openapi::api::apps::v1::Deployment;
use kube::Client;
use kube::api::{Api, Patch, PatchParams};
use kube::core::DynamicObject;
use sakidori_api::ScaledObject;
use sakidori_test_cluster::eventually;
use sakidori_test_cluster::nodes::START_TIME_ANNOTATION;
use sakidori_test_servers::{Answer, HttpSource};
use sakidori_tests::demo::kind;
use sakidori_tests::{binary, manifests};
use serde_json::{Value, json};

use crate::pace::Pace;

pub const EXAMPLE: &str = "examples/sale-demo";
/// What the manifests call themselves.
pub const NAMESPACE: &str = "shop";
pub const CALENDAR: &str = "sales";
pub const SERVICES: [&str; 3] = ["web", "checkout", "reports"];

/// Where the two triggers look that aren't a calendar's.
const TRAFFIC: &str = "/traffic";
const JOBS: &str = "/jobs";
/// Six replicas' worth, at 10 each.
const WAITING_JOBS: u32 = 60;

/// The event sources of the shop.
pub struct Sources {
    server: HttpSource,
}

impl Sources {
    pub fn start(requests_per_second: u32) -> Result<Self> {
        let sources = Self {
            server: HttpSource::start()?,
        };
        sources.set_traffic(requests_per_second);
        sources
            .server
            .set(JOBS, Answer::json(&json!({"waiting": WAITING_JOBS})));
        Ok(sources)
    }

    pub fn set_traffic(&self, requests_per_second: u32) {
        let answer = json!({"requestsPerSecond": requests_per_second});
        self.server.set(TRAFFIC, Answer::json(&answer));
    }
}

/// What is Ready before anything of a sale is known: the lead time is learnt from the pods that are there.
pub async fn apply_deployments(client: &Client) -> Result<()> {
    let objects = read()?;
    let first = objects
        .iter()
        .filter(|object| ["Namespace", "Deployment"].contains(&kind(object)));
    let mut first: Vec<_> = first.cloned().collect();
    first.sort_by_key(|object| kind(object) != "Namespace");
    manifests::apply_objects(client, NAMESPACE, &first).await?;
    for name in SERVICES {
        rolled_out(client, name).await?;
    }
    Ok(())
}

/// The rest, with what the manifests leave to their reader.
pub async fn apply_scaled_objects(
    client: &Client,
    sources: &Sources,
    calendar_url: &str,
    pace: &Pace,
) -> Result<()> {
    let mut objects = read()?;
    objects.retain(|object| ["ClusterSaleCalendar", "ScaledObject"].contains(&kind(object)));
    for object in &mut objects {
        let spec = &mut object.data["spec"];
        if spec["sources"].is_array() {
            spec["sources"][0]["url"] = json!(calendar_url);
        }
        let triggers = spec.get_mut("triggers").and_then(Value::as_array_mut);
        for trigger in triggers.into_iter().flatten() {
            fill_in(&mut trigger["metadata"], sources, pace)?;
        }
    }
    manifests::apply_objects(client, NAMESPACE, &objects).await?;
    for name in SERVICES {
        is_ready(client, name).await?;
    }
    Ok(())
}

fn read() -> Result<Vec<DynamicObject>> {
    manifests::parse_folder(&binary::repository().join(Path::new(EXAMPLE)))
}

fn fill_in(metadata: &mut Value, sources: &Sources, pace: &Pace) -> Result<()> {
    if let Some(url) = metadata["url"].as_str() {
        let path = url
            .rfind('/')
            .and_then(|at| url.get(at..))
            .context("a URL has a path")?;
        metadata["url"] = json!(sources.server.url(path));
        return Ok(());
    }
    let ramps = [
        ("rampUp", pace.ramp_up),
        ("holdAfter", pace.hold_after),
        ("rampDown", pace.ramp_down),
    ];
    for (parameter, length) in ramps {
        if !metadata[parameter].is_null() {
            metadata[parameter] = json!(format!("{}s", length.as_secs()));
        }
    }
    Ok(())
}

async fn is_ready(client: &Client, name: &str) -> Result<()> {
    let api: Api<ScaledObject> = Api::namespaced(client.clone(), NAMESPACE);
    let what = format!("ScaledObject {name} that is Ready");
    eventually(&what, Duration::from_secs(60), async || {
        let status = api.get(name).await?.status.unwrap_or_default();
        let ready = status
            .conditions
            .iter()
            .find(|condition| condition.type_ == "Ready")
            .context("no condition Ready yet")?;
        ensure!(
            ready.status == "True",
            "{} {}: {}",
            ready.status,
            ready.reason,
            ready.message
        );
        Ok(Some(()))
    })
    .await
}

/// A new version of all three, whose pods take so long to become Ready.
pub async fn roll_out(client: &Client, pods_start_in: SignedDuration) -> Result<()> {
    let api: Api<Deployment> = Api::namespaced(client.clone(), NAMESPACE);
    let start_time = format!("{}s", pods_start_in.as_secs());
    let annotations = json!({START_TIME_ANNOTATION: start_time});
    let patch = json!({"spec": {"template": {"metadata": {"annotations": annotations}}}});
    for name in SERVICES {
        api.patch(name, &PatchParams::default(), &Patch::Merge(&patch))
            .await
            .with_context(|| format!("can't change the Deployment {name}"))?;
    }
    for name in SERVICES {
        rolled_out(client, name).await?;
    }
    Ok(())
}

/// All pods are of the newest version and Ready, and none of an older one is left: `kubectl rollout status`.
async fn rolled_out(client: &Client, name: &str) -> Result<()> {
    let api: Api<Deployment> = Api::namespaced(client.clone(), NAMESPACE);
    let what = format!("Deployment {name} that is rolled out");
    eventually(&what, Duration::from_secs(120), async || {
        let deployment = api.get(name).await?;
        let wanted = deployment.spec.and_then(|spec| spec.replicas);
        let status = deployment.status.unwrap_or_default();
        let is_done = status.observed_generation >= deployment.metadata.generation
            && status.updated_replicas == wanted
            && status.replicas == wanted
            && status.ready_replicas == wanted;
        Ok(is_done.then_some(()))
    })
    .await
}
