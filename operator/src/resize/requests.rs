//! What is written to pods, and what the answers mean. This is the one module that writes pods' resources, and evicts pods.

use jiff::SignedDuration;
use kube::api::{DeleteParams, EvictParams, Patch, PatchParams, PostParams, Preconditions};
use kube::core::Status;
use kube::{Api, Client, ResourceExt};
use sakidori_engine::resize::{
    ContainerResize, Memory, Pod, PodRef, REMEMBERED_ANNOTATION, Remembered, ResizeOutcome,
};
use serde_json::{Value, json};

use super::pod::{ResizablePod, to_engine};
use super::usage::{self, Used};
use crate::api_error::plain;
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
        let mut version = noted.resource_version().unwrap_or_default();
        let mut last = noted;
        for _ in 0..TRIES {
            let patch = resize_patch(pod, &version, containers);
            let params = PatchParams {
                field_manager: Some(FIELD_MANAGER.to_owned()),
                ..PatchParams::default()
            };
            let patched = self.api().patch_subresource(
                "resize",
                &pod.name,
                &params,
                &Patch::Strategic(&patch),
            );
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
                Ok(newer) => {
                    version = newer.resource_version().unwrap_or_default();
                    last = newer;
                }
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
                    too_large: false,
                    message: format!("writing what is remembered of it as JSON: {error}"),
                }));
            }
        };
        let mut version = version.to_owned();
        let mut known: Option<ResizablePod> = None;
        for _ in 0..TRIES {
            let patch = json!({"metadata": {
                "uid": &*pod.uid, "resourceVersion": version, "annotations": {REMEMBERED_ANNOTATION: text},
            }});
            let params = PatchParams::default();
            let patched = self.api().patch(&pod.name, &params, &Patch::Merge(&patch));
            let error = match patched.await {
                Ok(written) => return Ok(written),
                Err(error) => error,
            };
            let outcome = outcome_of(&error, Asked::Pod, &pod.name);
            if outcome != ResizeOutcome::Conflict {
                return Err(Answer::of(outcome));
            }
            // What this was decided on isn't at hand; so one more look decides it anew, and only between two looks it may be retried.
            match &known {
                None => {
                    let read = self.read_raw(pod).await?;
                    if read.resource_version().unwrap_or_default() == version {
                        return Err(self.conflict(&read));
                    }
                    if !self.decided_on(&read, remember) {
                        return Err(self.conflict(&read));
                    }
                    version = read.resource_version().unwrap_or_default();
                    known = Some(read);
                }
                Some(last) => {
                    let newer = self.same_still(pod, last).await?;
                    version = newer.resource_version().unwrap_or_default();
                    known = Some(newer);
                }
            }
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
        let sizes = sizes(&seen);
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
                    && sizes(&last) == sizes(&newer)
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

    /// Asks again what a pod uses of its memory whose limits are kept up.
    pub async fn look_at_memory(&self, pod: &PodRef) {
        let used = usage::ask(&self.client, &self.namespace, &pod.name).await;
        self.used.saw(&pod.uid, used);
    }

    fn seen(&self, pod: &ResizablePod) -> Option<Pod> {
        to_engine(pod, &self.used)
    }

    fn api(&self) -> Api<ResizablePod> {
        Api::namespaced(self.client.clone(), &self.namespace)
    }
}

fn sizes(pod: &Pod) -> sakidori_engine::resize::Sizes {
    use sakidori_engine::resize::ContainerKind::Init;
    let resizable = pod.containers.iter().filter(|one| one.kind != Init);
    resizable
        .map(|one| (one.name.clone(), one.resources))
        .collect()
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

/// What was asked of the API server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Asked {
    /// Something of the pod itself, or its eviction.
    Pod,
    /// Its subresource `resize`.
    Resize,
}

/// What an error of the API server means.
fn outcome_of(error: &kube::Error, asked: Asked, pod: &str) -> ResizeOutcome {
    let message = plain(error);
    let kube::Error::Api(status) = error else {
        return ResizeOutcome::Failed {
            message,
            retry_after: None,
        };
    };
    match status.code {
        404 if asked == Asked::Pod || names(status, pod) => ResizeOutcome::Gone,
        404 | 405 => ResizeOutcome::Unsupported,
        409 => ResizeOutcome::Conflict,
        // The authorizer's words; admission has others, with the same code.
        403 if message.contains(" cannot ") && message.contains("resource \"pods") => {
            ResizeOutcome::NotAllowed { message }
        }
        401 | 408 | 429 | 500.. => ResizeOutcome::Failed {
            message,
            retry_after: retry_after(status),
        },
        _ => ResizeOutcome::Refused {
            too_large: is_too_large(status),
            message,
        },
    }
}

/// Whether the answer is about an object of this name, rather than about a path that isn't served.
fn names(status: &Status, name: &str) -> bool {
    let details = status.details.as_ref();
    details.is_some_and(|details| details.name == name)
}

/// The API server knows that the node is too small.
fn is_too_large(status: &Status) -> bool {
    let causes = status.details.iter().flat_map(|details| &details.causes);
    causes.into_iter().any(|cause| cause.reason == "NodeCapacity")
}

fn retry_after(status: &Status) -> Option<SignedDuration> {
    let seconds = status.details.as_ref()?.retry_after_seconds;
    (seconds > 0).then(|| SignedDuration::from_secs(seconds.into()))
}

#[cfg(test)]
mod tests {
    use kube::core::response::{StatusCause, StatusDetails};
    use sakidori_engine::resize::{ResourceList, Resources};

    use super::*;

    fn answer(code: u16, message: &str, details: StatusDetails) -> kube::Error {
        let status = Status::failure(message, "").with_code(code);
        kube::Error::Api(
            Status {
                details: Some(details),
                ..status
            }
            .boxed(),
        )
    }

    #[test]
    fn answers_are_told_apart() {
        let none = || StatusDetails {
            name: String::new(),
            group: String::new(),
            kind: String::new(),
            uid: String::new(),
            causes: Vec::new(),
            retry_after_seconds: 0,
        };
        let named = StatusDetails {
            name: "web-1".into(),
            ..none()
        };
        let node = StatusDetails {
            causes: vec![StatusCause {
                reason: "NodeCapacity".into(),
                message: String::new(),
                field: String::new(),
            }],
            ..none()
        };
        let wait = StatusDetails {
            retry_after_seconds: 7,
            ..none()
        };
        let kind = |outcome: ResizeOutcome| match outcome {
            ResizeOutcome::Done => "done".to_owned(),
            ResizeOutcome::Gone => "gone".to_owned(),
            ResizeOutcome::Conflict => "conflict".to_owned(),
            ResizeOutcome::Refused { too_large, .. } => format!("refused {too_large}"),
            ResizeOutcome::Unsupported => "unsupported".to_owned(),
            ResizeOutcome::NotAllowed { .. } => "not allowed".to_owned(),
            ResizeOutcome::Failed { retry_after, .. } => {
                format!("failed {}", retry_after.unwrap_or_default().as_secs())
            }
        };
        let rbac = "pods \"web-1\" is forbidden: User \"u\" cannot patch resource \"pods/resize\" in API group \"\"";
        let quota = "pods \"web-1\" is forbidden: exceeded quota: team, requested: requests.cpu=1";
        for (asked, code, message, details, expected) in [
            (Asked::Resize, 404, "", named.clone(), "gone"),
            (Asked::Resize, 404, "the server could not find the requested resource", none(), "unsupported"),
            (Asked::Resize, 405, "", none(), "unsupported"),
            (Asked::Pod, 404, "", none(), "gone"),
            (Asked::Pod, 409, "", named, "conflict"),
            (Asked::Resize, 403, rbac, none(), "not allowed"),
            (Asked::Resize, 403, quota, none(), "refused false"),
            (Asked::Resize, 403, "", node, "refused true"),
            (Asked::Resize, 422, "", none(), "refused false"),
            (Asked::Resize, 400, "admission webhook denied", none(), "refused false"),
            (Asked::Pod, 429, "", wait, "failed 7"),
            (Asked::Pod, 500, "", none(), "failed 0"),
            (Asked::Pod, 503, "", none(), "failed 0"),
        ] {
            let error = answer(code, message, details);
            let found = kind(outcome_of(&error, asked, "web-1"));
            assert_eq!(found, expected, "{asked:?} {code} {message}");
        }
    }

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
