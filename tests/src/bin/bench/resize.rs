//! Many pods that start at once and are helped to: how long after its creation each is asked to have more, how long after it is Ready to
//! give it back, and what that costs.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context, Result};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::apps::v1::Deployment;
use kube::api::{Api, Patch, PatchParams, PostParams};
use sakidori_api::ScaledObject;
use sakidori_test_cluster::audit::Write;
use sakidori_test_cluster::nodes::{RUNNING_AFTER_ANNOTATION, START_TIME_ANNOTATION};
use sakidori_test_cluster::{Cluster, ClusterOptions};
use sakidori_test_servers::{Answer, HttpSource};
use sakidori_tests::pod_sizes::{Course, Look, PodSizes, first};
use sakidori_tests::{Operator, processor};
use serde_json::{Value, json};

use super::objects::NAMESPACE;
use super::report::OPERATOR;
use super::resize_report::ResizeReport;

const NAME: &str = "web";
const PATH: &str = "/queue";
/// What pods request, and what they are to have while they start.
const OWN: &str = "100m 64Mi";
const BOOSTED: &str = "300m 64Mi";
/// Until a pod's containers run, and until it is Ready.
const RUNNING_AFTER: &str = "2s";
const READY_AFTER: &str = "6s";
/// By then all are started and back, or never.
const WITHIN: Duration = Duration::from_secs(180);

pub async fn measure(pods: u32) -> Result<ResizeReport> {
    println!("{pods} pods of one Deployment that start at once, with a policy `starting`");
    let options = ClusterOptions {
        hpa_sync_period: Duration::from_secs(1),
        nodes: pods.div_ceil(50).max(2),
        acts_out_resizes: true,
        ..ClusterOptions::default()
    };
    let cluster = Cluster::start(options).await?;
    let client = cluster.client();
    let operator = Operator::install(&cluster).await?;
    cluster.create_namespace(NAMESPACE).await?;
    let source = HttpSource::start()?;
    source.set(PATH, Answer::json(&json!({"value": 0})));
    let deployments: Api<Deployment> = Api::namespaced(client.clone(), NAMESPACE);
    deployments
        .create(
            &PostParams::default(),
            &serde_json::from_value(deployment())?,
        )
        .await?;
    let watching = PodSizes::watch(&client, NAMESPACE).await?;
    let all_ready = |count: usize| {
        move |courses: &BTreeMap<String, Course>| {
            let ready = courses.values().filter_map(|course| course.last());
            ready.filter(|look| look.ready).count() == count
        }
    };
    watching.until("first pod", WITHIN, all_ready(1)).await?;
    let objects: Api<ScaledObject> = Api::namespaced(client.clone(), NAMESPACE);
    let object = scaled_object(&source.url(PATH), pods);
    objects
        .create(&PostParams::default(), &serde_json::from_value(object)?)
        .await?;
    until_followed(&objects).await?;

    let pid = operator.pid().context("the operator has ended")?;
    let place = cluster.write_log()?.len();
    let (before, load_before) = (processor::time_of(pid)?, load()?);
    let more = json!({"spec": {"minReplicaCount": pods + 1}});
    objects
        .patch(NAME, &PatchParams::default(), &Patch::Merge(&more))
        .await?;
    let expected = pods as usize;
    let back = watching
        .until("pods that started and are back", WITHIN, |courses| {
            courses.values().filter(|it| is_over(it)).count() == expected
        })
        .await?;
    let log = cluster.write_log()?.split_off(place);
    let mut report = ResizeReport {
        pods: expected,
        processor: processor::time_of(pid)? - before,
        memory: operator.memory()?,
        load: (load_before, load()?),
        ..ResizeReport::default()
    };
    for (name, course) in back.iter().filter(|(_, it)| is_over(it)) {
        let requests = Requests::of(&log, name);
        note(course, &requests, &mut report)
            .with_context(|| format!("the course of {name} has a gap"))?;
    }
    report.sort();
    report.count(&log, OPERATOR);
    Ok(report)
}

/// It was given more, and has what it requests itself again, and nothing that is remembered.
fn is_over(course: &Course) -> bool {
    let boosted = first(course, |look| look.wanted == BOOSTED).is_some();
    let last = course.last();
    boosted
        && last.is_some_and(|look| {
            look.ready && look.wanted == OWN && !look.is_under_way() && !look.remembers
        })
}

/// When requests for one pod reached the API server.
struct Requests {
    /// A kubelet's first: it has taken the pod in.
    taken_in: Option<Timestamp>,
    /// The operator's that went through: what is remembered, and both resizes.
    noted: Option<Timestamp>,
    resized: Vec<Timestamp>,
}

impl Requests {
    fn of(log: &[Write], name: &str) -> Self {
        let of_pod = |own: bool, subresource: &str| -> Vec<Timestamp> {
            let those = log.iter().filter(|write| {
                let done = write.resource == "pods" && write.name == name && write.code < 300;
                done && write.subresource == subresource && (write.username == OPERATOR) == own
            });
            let at = those.filter_map(|write| write.received.parse().ok());
            at.collect()
        };
        Self {
            taken_in: of_pod(false, "status").into_iter().min(),
            noted: of_pod(true, "").into_iter().min(),
            resized: of_pod(true, "resize"),
        }
    }
}

/// What the operator asks is timed by the API server, the rest by the watch.
fn note(course: &Course, requests: &Requests, report: &mut ResizeReport) -> Option<()> {
    let at = |is: fn(&Look) -> bool| first(course, is).map(|look| look.at);
    let created = course.first()?.at;
    let taken_in = requests.taken_in?;
    let noted = requests.noted?;
    let [asked, back] = requests.resized[..] else {
        return None;
    };
    let has = at(|look| look.actual.as_deref() == Some(BOOSTED));
    let since = |from: Timestamp, to: Timestamp| -> SignedDuration { to.duration_since(from) };
    report.created_to_taken_in.push(since(created, taken_in));
    report.taken_in_to_noted.push(since(taken_in, noted));
    report.noted_to_asked.push(since(noted, asked));
    report.taken_in_to_asked.push(since(taken_in, asked));
    report.created_to_asked.push(since(created, asked));
    report
        .asked_to_actual
        .extend(has.map(|has| since(asked, has)));
    report
        .ready_to_asked_back
        .push(since(at(|look| look.ready)?, back));
    Some(())
}

/// The load of the machine over the last minute: what else it was doing.
fn load() -> Result<String> {
    let text = std::fs::read_to_string("/proc/loadavg").context("can't read /proc/loadavg")?;
    Ok(text.split(' ').next().unwrap_or_default().to_owned())
}

async fn until_followed(objects: &Api<ScaledObject>) -> Result<()> {
    sakidori_test_cluster::eventually("condition Resized", WITHIN, async || {
        let status = objects.get(NAME).await?.status.unwrap_or_default();
        let mut conditions = status.conditions.iter();
        let told = conditions.any(|one| one.type_ == "Resized");
        Ok(told.then_some(()))
    })
    .await
}

fn deployment() -> Value {
    json!({
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": NAME},
        "spec": {
            "replicas": 1,
            "selector": {"matchLabels": {"app": NAME}},
            "template": {
                "metadata": {
                    "labels": {"app": NAME},
                    "annotations": {RUNNING_AFTER_ANNOTATION: RUNNING_AFTER, START_TIME_ANNOTATION: READY_AFTER},
                },
                "spec": {"containers": [{
                    "name": "app", "image": "app", "resources": {"requests": {"cpu": "100m", "memory": "64Mi"}},
                }]},
            },
        },
    })
}

fn scaled_object(url: &str, pods: u32) -> Value {
    let policies = json!([{"container": "app", "when": "starting", "cpu": "x3"}]);
    json!({
        "apiVersion": "keda.sh/v1alpha1",
        "kind": "ScaledObject",
        "metadata": {"name": NAME},
        "spec": {
            "scaleTargetRef": {"name": NAME},
            "minReplicaCount": 1,
            "maxReplicaCount": pods + 1,
            "advanced": {"sakidori": {"inPlaceResize": {"policies": policies}}},
            "triggers": [{
                "type": "metrics-api",
                "metadata": {"url": url, "valueLocation": "value", "targetValue": "10"},
            }],
        },
    })
}
