//! Whoever watches a namespace's pods from the API server all the time: what holds throughout is not seen by looking now and then.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Result, ensure};
use futures::StreamExt as _;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::Pod;
use kube::runtime::watcher::{self, Event, watcher};
use kube::{Api, Client, ResourceExt as _};
use serde_json::Value;
use tokio::task::JoinSet;

use super::stage::{Seen, seen};
use crate::scene::Scene;

/// Watches until it is dropped.
pub struct Witness {
    record: Arc<Mutex<Record>>,
    _tasks: JoinSet<()>,
}

#[derive(Default)]
struct Record {
    pods: BTreeMap<String, Watched>,
    /// The pods that were under way when most were.
    most: Vec<String>,
    wrong: Vec<String>,
    replicas: BTreeMap<String, i32>,
}

struct Watched {
    name: String,
    qos: String,
    is_under_way: bool,
}

impl Witness {
    /// Watches all pods and Deployments of the scene's namespace from now on.
    pub fn of(scene: &Scene<'_>) -> Self {
        let record = Arc::new(Mutex::new(Record::default()));
        let mut tasks = JoinSet::new();
        let (client, namespace) = (scene.client.clone(), scene.namespace.clone());
        tasks.spawn(watch_pods(
            client.clone(),
            namespace.clone(),
            record.clone(),
        ));
        tasks.spawn(watch_replicas(client, namespace, record.clone()));
        Self {
            record,
            _tasks: tasks,
        }
    }

    /// Nothing was wrong so far: never more than so many pods were under way, none changed its class or restarted a container, no
    /// Deployment lost replicas.
    pub fn content(&self, most: usize) -> Result<()> {
        let record = self.record.lock().unwrap_or_else(PoisonError::into_inner);
        ensure!(record.wrong.is_empty(), "{:#?}", record.wrong);
        ensure!(
            record.most.len() <= most,
            "{} pods were under way at a time, not {most}: {:?}",
            record.most.len(),
            record.most
        );
        Ok(())
    }

    /// So many pods were under way at some time.
    pub fn most_under_way(&self) -> usize {
        let record = self.record.lock().unwrap_or_else(PoisonError::into_inner);
        record.most.len()
    }
}

async fn watch_pods(client: Client, namespace: String, record: Arc<Mutex<Record>>) {
    let api: Api<Pod> = Api::namespaced(client, &namespace);
    let mut stream = std::pin::pin!(watcher(api, watcher::Config::default()));
    while let Some(event) = stream.next().await {
        let mut record = record.lock().unwrap_or_else(PoisonError::into_inner);
        match event {
            Ok(Event::Apply(pod) | Event::InitApply(pod)) => record.pod(&pod),
            Ok(Event::Delete(pod)) => {
                record.pods.remove(&pod.uid().unwrap_or_default());
            }
            Ok(Event::Init | Event::InitDone) => {}
            // A gap in what is watched would be a gap in what is held.
            Err(error) => record.wrong.push(format!("the watch broke: {error}")),
        }
    }
}

async fn watch_replicas(client: Client, namespace: String, record: Arc<Mutex<Record>>) {
    let api: Api<Deployment> = Api::namespaced(client, &namespace);
    let mut stream = std::pin::pin!(watcher(api, watcher::Config::default()));
    while let Some(event) = stream.next().await {
        if let Ok(Event::Apply(deployment) | Event::InitApply(deployment)) = event {
            let mut record = record.lock().unwrap_or_else(PoisonError::into_inner);
            let now = deployment.spec.as_ref().and_then(|spec| spec.replicas);
            let (name, now) = (deployment.name_any(), now.unwrap_or(1));
            let before = record.replicas.insert(name.clone(), now);
            if before.is_some_and(|before| now < before) {
                let text = format!("{name} went from {before:?} to {now} replicas");
                record.wrong.push(text);
            }
        }
    }
}

impl Record {
    fn pod(&mut self, pod: &Pod) {
        let uid = pod.uid().unwrap_or_default();
        if pod.metadata.deletion_timestamp.is_some() {
            self.pods.remove(&uid);
            return;
        }
        let (name, value) = (
            pod.name_any(),
            serde_json::to_value(pod).unwrap_or_default(),
        );
        let seen = seen(&value);
        if seen.restarts > 0 {
            self.wrong.push(format!("{name} restarted: {seen:?}"));
        }
        let watched = Watched {
            name: name.clone(),
            qos: seen.qos.clone(),
            is_under_way: is_ready(&value) && is_under_way(&seen),
        };
        let before = self.pods.insert(uid, watched);
        if before.is_some_and(|before| before.qos != seen.qos && before.qos != "-") {
            self.wrong
                .push(format!("{name} changed its class: {seen:?}"));
        }
        let under_way = self.pods.values().filter(|it| it.is_under_way);
        let under_way: Vec<_> = under_way.map(|it| it.name.clone()).collect();
        if under_way.len() > self.most.len() {
            self.most = under_way;
        }
    }
}

/// One that was never Ready serves nobody whom a resize could disturb.
fn is_ready(pod: &Value) -> bool {
    let conditions = pod["status"]["conditions"].as_array();
    let mut conditions = conditions.into_iter().flatten();
    conditions.any(|one| one["type"] == "Ready" && one["status"] == "True")
}

fn is_under_way(pod: &Seen) -> bool {
    pod.wanted != pod.actual || !pod.conditions.is_empty()
}
