//! What is written to pods, and what the answers mean. This is the one module that writes pods' resources, and evicts pods.

use kube::api::{DeleteParams, EvictParams, Patch, PatchParams, PostParams, Preconditions};
use kube::{Api, Client, ResourceExt};
use sakidori_engine::resize::{
    ContainerResize, Memory, Pod, PodRef, REMEMBERED_ANNOTATION, Refusal, Remembered, ResizeOutcome,
};
use serde_json::{Value, json};

use super::outcome::{Asked, outcome_of};
use super::pod::{ResizablePod, to_engine};
use super::usage::{self, Used};
use crate::hpa::FIELD_MANAGER;

/// A pod's status changes often while it starts, and with it its version, on which each write depends. So often a write is tried again
/// where nothing of what it depends on has changed.
const TRIES: usize = 4;

/// What a request came to, and the pod as it was last read or written for it.
pub struct Answer {
    pub seen: Option<Pod>,
    pub outcome: ResizeOutcome,
}

impl Answer {
    fn of(outcome: ResizeOutcome) -> Self {
        Self {
            seen: None,
            outcome,
        }
    }
}

/// The pods of one namespace. Cheap to clone.
#[derive(Clone)]
pub struct Pods {
    client: Client,
    namespace: String,
    used: Used,
}

impl Pods {
    pub fn new(client: Client, namespace: &str, used: Used) -> Self {
        Self {
            client,
            namespace: namespace.to_owned(),
            used,
        }
    }

    /// Writes down what is to be remembered of the pod, then asks for its containers' resources.
    pub async fn resize(
        &self,
        pod: &PodRef,
        version: &str,
        remember: &Remembered,
        containers: &[ContainerResize],
    ) -> Answer {
        let noted = match self.annotate(pod, version, Some(remember)).await {
            Ok(noted) => noted,
            Err(answer) => return answer,
        };
        if let Some(seen) = self.with_memory_in_use(&noted, containers).await {
            // Judged anew with what is used, it is asked for something else.
            return Answer {
                seen: Some(seen),
                outcome: ResizeOutcome::Conflict,
            };
        }
        let (api, mut last) = (self.api(), noted);
        for _ in 0..TRIES {
            let version = last.resource_version().unwrap_or_default();
            let patch = resize_patch(pod, &version, containers);
            let params = PatchParams {
                field_manager: Some(FIELD_MANAGER.to_owned()),
                ..PatchParams::default()
            };
            let patch = Patch::Strategic(&patch);
            let patched = api.patch_subresource("resize", &pod.name, &params, &patch);
            let error = match patched.await {
                Ok(written) => {
                    return Answer {
                        seen: self.seen(&written),
                        outcome: ResizeOutcome::Done,
                    };
                }
                Err(error) => error,
            };
            let outcome = outcome_of(&error, Asked::Resize, &pod.name);
            if outcome != ResizeOutcome::Conflict {
                return Answer {
                    seen: self.seen(&last),
                    outcome,
                };
            }
            match self.same_still(pod, &last).await {
                Ok(newer) => last = newer,
                Err(answer) => return answer,
            }
        }
        Answer {
            seen: self.seen(&last),
            outcome: ResizeOutcome::Conflict,
        }
    }

    /// Writes down what is to be remembered of the pod, or that nothing is.
    pub async fn remember(
        &self,
        pod: &PodRef,
        version: &str,
        remember: Option<&Remembered>,
    ) -> Answer {
        match self.annotate(pod, version, remember).await {
            Ok(written) => Answer {
                seen: self.seen(&written),
                outcome: ResizeOutcome::Done,
            },
            Err(answer) => answer,
        }
    }

    /// Evicts the pod, if its disruption budget lets it.
    pub async fn evict(&self, pod: &PodRef) -> Answer {
        let api: Api<k8s_openapi::api::core::v1::Pod> =
            Api::namespaced(self.client.clone(), &self.namespace);
        let params = EvictParams {
            delete_options: Some(DeleteParams {
                preconditions: Some(Preconditions {
                    uid: Some(pod.uid.to_string()),
                    resource_version: None,
                }),
                ..DeleteParams::default()
            }),
            post_options: PostParams::default(),
        };
        Answer::of(match api.evict(&pod.name, &params).await {
            Ok(_) => ResizeOutcome::Done,
            Err(error) => outcome_of(&error, Asked::Pod, &pod.name),
        })
    }

    pub async fn read(&self, pod: &PodRef) -> Answer {
        match self.api().get_opt(&pod.name).await {
            Ok(Some(found)) => Answer {
                seen: self.seen(&found),
                outcome: ResizeOutcome::Done,
            },
            Ok(None) => Answer::of(ResizeOutcome::Gone),
            Err(error) => Answer::of(outcome_of(&error, Asked::Pod, &pod.name)),
        }
    }

    async fn annotate(
        &self,
        pod: &PodRef,
        version: &str,
        remember: Option<&Remembered>,
    ) -> Result<ResizablePod, Answer> {
        let text = match remember.map(serde_json::to_string).transpose() {
            Ok(text) => text,
            Err(error) => {
                return Err(Answer::of(ResizeOutcome::Refused {
                    why: Refusal::Admission,
                    message: format!("writing what is remembered of it as JSON: {error}"),
                }));
            }
        };
        let mut version = version.to_owned();
        let (api, mut known) = (self.api(), None::<ResizablePod>);
        for _ in 0..TRIES {
            let patch = json!({"metadata": {
                "uid": &*pod.uid, "resourceVersion": version, "annotations": {REMEMBERED_ANNOTATION: text},
            }});
            let params = PatchParams::default();
            let patch = Patch::Merge(&patch);
            let patched = api.patch(&pod.name, &params, &patch);
            let error = match patched.await {
                Ok(written) => return Ok(written),
                Err(error) => error,
            };
            let outcome = outcome_of(&error, Asked::Pod, &pod.name);
            if outcome != ResizeOutcome::Conflict {
                return Err(Answer::of(outcome));
            }
            // What this was decided on isn't at hand; so one more look decides it anew, and only between two looks it may be retried.
            let newer = match &known {
                None => {
                    let read = self.read_raw(pod).await?;
                    let is_newer = read.resource_version().unwrap_or_default() != version;
                    if !is_newer || !self.decided_on(&read, remember) {
                        return Err(self.conflict(&read));
                    }
                    read
                }
                Some(last) => self.same_still(pod, last).await?,
            };
            version = newer.resource_version().unwrap_or_default();
            known = Some(newer);
        }
        Err(match known {
            Some(last) => self.conflict(&last),
            None => Answer::of(ResizeOutcome::Conflict),
        })
    }

    /// Whether the pod is still one on which this could have been decided: its resources are its own, or what it was asked for, and
    /// nobody else has written down anything since.
    fn decided_on(&self, pod: &ResizablePod, remember: Option<&Remembered>) -> bool {
        let Some(seen) = self.seen(pod) else {
            return false;
        };
        let sizes = seen.sizes();
        match (remember, &seen.memory) {
            (Some(remember), Memory::Nothing) => {
                sizes == remember.before || remember.asked.contains(&sizes)
            }
            (Some(remember), Memory::Known(known)) => {
                known.before == remember.before
                    && known.at <= remember.at
                    && (sizes == remember.before || remember.asked.contains(&sizes))
            }
            (None, Memory::Known(known)) => sizes == known.before,
            (None, Memory::Nothing) => true,
            (_, Memory::Unreadable) => false,
        }
    }

    /// The pod as it is now, where nothing has changed of what a resize depends on.
    async fn same_still(&self, pod: &PodRef, last: &ResizablePod) -> Result<ResizablePod, Answer> {
        let newer = self.read_raw(pod).await?;
        let same = match (self.seen(last), self.seen(&newer)) {
            (Some(last), Some(newer)) => {
                last.uid == newer.uid
                    && last.sizes() == newer.sizes()
                    && last.memory == newer.memory
                    && !newer.deleting
            }
            _ => false,
        };
        if same {
            Ok(newer)
        } else {
            Err(self.conflict(&newer))
        }
    }

    async fn read_raw(&self, pod: &PodRef) -> Result<ResizablePod, Answer> {
        match self.api().get_opt(&pod.name).await {
            Ok(Some(found)) if found.metadata.uid.as_deref() == Some(&*pod.uid) => Ok(found),
            Ok(_) => Err(Answer::of(ResizeOutcome::Gone)),
            Err(error) => Err(Answer::of(outcome_of(&error, Asked::Pod, &pod.name))),
        }
    }

    fn conflict(&self, pod: &ResizablePod) -> Answer {
        Answer {
            seen: self.seen(pod),
            outcome: ResizeOutcome::Conflict,
        }
    }

    /// The pod with what it uses of its memory, where some limit would be lowered below that.
    async fn with_memory_in_use(
        &self,
        pod: &ResizablePod,
        containers: &[ContainerResize],
    ) -> Option<Pod> {
        let seen = self.seen(pod)?;
        let limits = |name: &str| {
            let standing = seen.containers.iter().find(|one| one.name == name)?;
            // One that is restarted for it begins anew with its memory.
            let standing = Some(standing).filter(|one| !one.memory_restarts)?;
            standing.resources.limits.memory
        };
        let lowered: Vec<_> = containers
            .iter()
            .filter_map(|one| Some((&one.name, one.resources.limits.memory?)))
            .filter(|(name, limit)| limits(name).is_some_and(|standing| *limit < standing))
            .collect();
        if lowered.is_empty() {
            return None;
        }
        let used = usage::ask(&self.client, &self.namespace, &seen.name).await;
        let in_use = lowered
            .iter()
            .any(|(name, limit)| used.get(*name).is_some_and(|used| used > limit));
        self.used.saw(&seen.uid, used);
        in_use.then(|| self.seen(pod)).flatten()
    }

    /// Asks again what a pod uses of its memory whose limits are kept up, and reads it; `None` where nobody tells.
    pub async fn look_at_memory(&self, pod: &PodRef) -> Option<Pod> {
        let used = usage::ask(&self.client, &self.namespace, &pod.name).await;
        if used.is_empty() {
            return None;
        }
        self.used.saw(&pod.uid, used);
        self.read(pod).await.seen
    }

    fn seen(&self, pod: &ResizablePod) -> Option<Pod> {
        to_engine(pod, &self.used)
    }

    fn api(&self) -> Api<ResizablePod> {
        Api::namespaced(self.client.clone(), &self.namespace)
    }
}

fn resize_patch(pod: &PodRef, version: &str, containers: &[ContainerResize]) -> Value {
    let of = |sidecars: bool| -> Vec<Value> {
        let those = containers.iter().filter(|one| one.sidecar == sidecars);
        those
            .map(|one| json!({"name": one.name, "resources": one.resources}))
            .collect()
    };
    let mut spec = json!({});
    for (field, list) in [("containers", of(false)), ("initContainers", of(true))] {
        if !list.is_empty() {
            spec[field] = Value::Array(list);
        }
    }
    json!({"metadata": {"uid": &*pod.uid, "resourceVersion": version}, "spec": spec})
}

#[cfg(test)]
mod tests {
    use sakidori_engine::resize::{ResourceList, Resources};

    use super::*;

    #[test]
    fn a_resize_names_only_what_changes() {
        let pod = PodRef {
            name: "web-1".into(),
            uid: "u1".into(),
        };
        let amount = |cpu: &str| Resources {
            requests: ResourceList {
                cpu: Some(cpu.parse().unwrap()),
                memory: None,
            },
            limits: ResourceList::default(),
        };
        let resize = |name: &str, sidecar, cpu| ContainerResize {
            name: name.into(),
            sidecar,
            resources: amount(cpu),
        };
        let patch = resize_patch(&pod, "7", &[resize("app", false, "2")]);
        let of_one = |name: &str, cpu: &str| json!([{"name": name, "resources": {"requests": {"cpu": cpu}}}]);
        let metadata = json!({"uid": "u1", "resourceVersion": "7"});
        let spec = json!({"containers": of_one("app", "2")});
        assert_eq!(patch, json!({"metadata": metadata, "spec": spec}));
        let both = [resize("app", false, "2"), resize("proxy", true, "500m")];
        let patch = resize_patch(&pod, "7", &both);
        assert_eq!(patch["spec"]["initContainers"], of_one("proxy", "500m"));
    }
}
