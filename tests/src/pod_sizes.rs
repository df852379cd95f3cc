//! What a watch sees of the sizes of pods: when each was created, asked for more, Ready, asked to give back; and how many were under way
//! at a time.

use std::collections::{BTreeMap, BTreeSet};
use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result};
use futures::StreamExt;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Container, Pod};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use kube::runtime::watcher::{Config, Event, watcher};
use kube::{Api, Client, ResourceExt};
use sakidori_engine::resize::REMEMBERED_ANNOTATION;
use sakidori_test_cluster::eventually;
use tokio::task::AbortHandle;

/// A pod at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Look {
    /// When the watch brought it.
    pub at: Timestamp,
    pub node: Option<String>,
    /// `status.startTime` is there: the kubelet has taken it in.
    pub taken_in: bool,
    pub ready: bool,
    /// `cpu memory` that the first container requests by its specification, and by its status.
    pub wanted: String,
    pub actual: Option<String>,
    pub restarts: i32,
    /// Reason and message of the condition `PodResizePending`.
    pub pending: Option<(String, String)>,
    pub in_progress: bool,
    pub observed: bool,
    pub deleting: bool,
    /// It has the annotation `sakidori.dev/resize`.
    pub remembers: bool,
}

impl Look {
    fn of(pod: &Pod, at: Timestamp) -> Self {
        let spec = pod.spec.as_ref();
        let container = spec.and_then(|spec| spec.containers.first());
        let status = pod.status.as_ref();
        let conditions = status.and_then(|status| status.conditions.as_ref());
        let condition = |kind: &str| {
            let mut all = conditions.into_iter().flatten();
            all.find(|one| one.type_ == kind && one.status == "True")
        };
        let statuses = status.and_then(|status| status.container_statuses.as_ref());
        let of_container = statuses
            .into_iter()
            .flatten()
            .find(|one| container.is_some_and(|container| container.name == one.name));
        let actual = of_container.and_then(|one| one.resources.as_ref());
        let observed = status.and_then(|status| status.observed_generation);
        Self {
            at,
            node: spec.and_then(|spec| spec.node_name.clone()),
            taken_in: status.is_some_and(|status| status.start_time.is_some()),
            ready: condition("Ready").is_some(),
            wanted: container.map(wanted).unwrap_or_default(),
            actual: actual.map(|it| requests(it.requests.as_ref())),
            restarts: of_container.map_or(0, |one| one.restart_count),
            pending: condition("PodResizePending").map(|one| {
                let text = |text: &Option<String>| text.clone().unwrap_or_default();
                (text(&one.reason), text(&one.message))
            }),
            in_progress: condition("PodResizeInProgress").is_some(),
            observed: observed >= pod.metadata.generation,
            deleting: pod.metadata.deletion_timestamp.is_some(),
            remembers: pod.annotations().contains_key(REMEMBERED_ANNOTATION),
        }
    }

    /// Its node has not yet made of it what its specification says.
    pub fn is_under_way(&self) -> bool {
        let differs = self.actual.as_ref().is_some_and(|it| *it != self.wanted);
        differs || !self.observed || self.pending.is_some() || self.in_progress
    }
}

fn wanted(container: &Container) -> String {
    let resources = container.resources.as_ref();
    requests(resources.and_then(|it| it.requests.as_ref()))
}

fn requests(requests: Option<&BTreeMap<String, Quantity>>) -> String {
    let text = |name: &str| {
        let amount = requests.and_then(|requests| requests.get(name));
        amount.map_or("-", |amount| amount.0.as_str())
    };
    format!("{} {}", text("cpu"), text("memory"))
}

/// All looks at one pod, the oldest first; those that show nothing new are left out.
pub type Course = Vec<Look>;

/// The first look at which something was so.
pub fn first(course: &[Look], is: impl Fn(&Look) -> bool) -> Option<&Look> {
    course.iter().find(|look| is(look))
}

/// How often what a pod's specification requests changed.
pub fn changes(course: &[Look]) -> usize {
    let mut wanted: Vec<_> = course.iter().map(|look| &look.wanted).collect();
    wanted.dedup();
    wanted.len().saturating_sub(1)
}

#[derive(Debug, Default)]
struct Seen {
    courses: BTreeMap<String, Course>,
    /// Pods that are Ready and under way, and the most that were at once.
    under_way: BTreeSet<String>,
    most_under_way: usize,
    broken: Option<String>,
}

/// Watches the pods of a namespace. Dropped, it stops.
#[derive(Debug)]
pub struct PodSizes {
    seen: Arc<Mutex<Seen>>,
    task: AbortHandle,
}

impl Drop for PodSizes {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl PodSizes {
    /// Returns when the pods that are there have been seen.
    ///
    /// # Errors
    /// If the API server does not answer.
    pub async fn watch(client: &Client, namespace: &str) -> Result<Self> {
        let api: Api<Pod> = Api::namespaced(client.clone(), namespace);
        let seen = Arc::new(Mutex::new(Seen::default()));
        let (listed, is_listed) = tokio::sync::oneshot::channel();
        let task = tokio::spawn(follow(api, seen.clone(), listed)).abort_handle();
        let watching = Self { seen, task };
        tokio::time::timeout(Duration::from_secs(30), is_listed)
            .await
            .context("no list of pods")?
            .context("the watch of pods has ended")?;
        Ok(watching)
    }

    /// Everything that was seen until now, by the pods' names.
    ///
    /// # Errors
    /// If the watch broke off: what happened meanwhile was not seen.
    pub fn courses(&self) -> Result<BTreeMap<String, Course>> {
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        match &seen.broken {
            None => Ok(seen.courses.clone()),
            Some(why) => anyhow::bail!("the watch of pods broke off: {why}"),
        }
    }

    /// The most pods that were Ready and under way at once.
    pub fn most_under_way(&self) -> usize {
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        seen.most_under_way
    }

    /// Waits until the pods that are there are as `is` says.
    ///
    /// # Errors
    /// If they are not in time.
    pub async fn until(
        &self,
        what: &str,
        within: Duration,
        is: impl Fn(&BTreeMap<String, Course>) -> bool,
    ) -> Result<BTreeMap<String, Course>> {
        let found = eventually(what, within, async || {
            // Not on a copy: whoever looks often would keep the watch from going on.
            let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(why) = &seen.broken {
                anyhow::bail!("the watch of pods broke off: {why}");
            }
            Ok(is(&seen.courses).then(|| seen.courses.clone()))
        })
        .await;
        found.with_context(|| {
            let courses = self.courses().unwrap_or_default();
            let ends = courses.iter().take(20);
            let ends = ends.map(|(name, course)| (name, course.last()));
            format!("of {} pods: {:#?}", courses.len(), ends.collect::<Vec<_>>())
        })
    }
}

/// The pods whose last look shows that they stay.
pub fn live(courses: &BTreeMap<String, Course>) -> impl Iterator<Item = (&String, &Look)> {
    let last = courses
        .iter()
        .filter_map(|(name, course)| Some((name, course.last()?)));
    last.filter(|(_, look)| !look.deleting)
}

async fn follow(api: Api<Pod>, seen: Arc<Mutex<Seen>>, listed: tokio::sync::oneshot::Sender<()>) {
    let mut listed = Some(listed);
    let mut events = pin!(watcher(api, Config::default()));
    while let Some(event) = events.next().await {
        let at = Timestamp::now();
        let mut seen = seen.lock().unwrap_or_else(PoisonError::into_inner);
        match event {
            Ok(Event::Init) => {}
            Ok(Event::InitDone) => {
                if let Some(listed) = listed.take() {
                    let _ = listed.send(());
                }
            }
            Ok(Event::InitApply(pod) | Event::Apply(pod)) => {
                seen.take_in(&pod.name_any(), Look::of(&pod, at));
            }
            Ok(Event::Delete(pod)) => {
                let look = Look {
                    deleting: true,
                    ..Look::of(&pod, at)
                };
                seen.take_in(&pod.name_any(), look);
            }
            Err(error) => seen.broken = Some(error.to_string()),
        }
    }
}

impl Seen {
    fn take_in(&mut self, name: &str, look: Look) {
        let counts = look.ready && !look.deleting && look.is_under_way();
        let course = self.courses.entry(name.to_owned()).or_default();
        let is_news = course.last().is_none_or(|last| {
            Look {
                at: look.at,
                ..last.clone()
            } != look
        });
        if is_news {
            course.push(look);
        }
        if counts {
            self.under_way.insert(name.to_owned());
        } else {
            self.under_way.remove(name);
        }
        self.most_under_way = self.most_under_way.max(self.under_way.len());
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn pod(cpu: &str, actual: &str, generation: i64) -> Pod {
        let resources = |cpu: &str| json!({"requests": {"cpu": cpu, "memory": "1Gi"}});
        serde_json::from_value(json!({
            "metadata": {"name": "web-1", "generation": generation},
            "spec": {"containers": [{"name": "app", "resources": resources(cpu)}]},
            "status": {
                "observedGeneration": 1,
                "conditions": [{"type": "Ready", "status": "True"}],
                "containerStatuses": [{
                    "name": "app", "image": "", "imageID": "", "ready": true, "restartCount": 0, "resources": resources(actual),
                }],
            },
        }))
        .unwrap()
    }

    #[test]
    fn a_pod_is_under_way_until_its_node_says_so() {
        let mut seen = Seen::default();
        for (wanted, actual, generation) in [
            ("1", "1", 1),
            ("2", "1", 2),
            ("2", "2", 1),
            ("2", "2", 1),
            ("1", "1", 1),
        ] {
            let look = Look::of(&pod(wanted, actual, generation), Timestamp::now());
            assert_eq!(look.is_under_way(), wanted != actual);
            seen.take_in("web-1", look);
        }
        let course = &seen.courses["web-1"];
        assert_eq!(
            (course.len(), changes(course), seen.most_under_way),
            (4, 2, 1)
        );
        assert_eq!(
            first(course, |look| look.wanted == "2 1Gi").map(|look| &*look.wanted),
            Some("2 1Gi")
        );
    }
}
