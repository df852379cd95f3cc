//! The kubelets of all nodes: what each decides and writes. No IO, and no clock of its own.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::time::Duration;

use k8s_openapi::api::core::v1::{Node, Pod};
use k8s_openapi::jiff::Timestamp;
use serde_json::{Value, json};

use super::amounts::{self, Amounts, CPU, MEMORY};
use super::knobs::{Annotations, Knobs};
use super::record::{DEFERRED, INFEASIBLE, Record, after};
use super::status::status;

/// How long a write that failed is left alone.
const RETRY: Duration = Duration::from_millis(50);

/// One write of a pod's status.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Write {
    pub node: String,
    pub uid: String,
    pub namespace: String,
    pub name: String,
    /// A strategic merge patch of `pods/status`, for the version of the pod that was seen.
    pub patch: Value,
}

/// All kubelets.
#[derive(Debug, Default)]
pub(super) struct Kubelets {
    start_time: Duration,
    unmanaged: Vec<String>,
    nodes: BTreeMap<String, Kubelet>,
    /// The node of each pod.
    homes: BTreeMap<String, String>,
    addresses: u32,
}

/// The kubelet of one node.
#[derive(Debug, Default)]
struct Kubelet {
    /// What the node has; `None` as long as it is not known.
    room: Option<Amounts>,
    annotations: Annotations,
    pods: BTreeMap<String, Kept>,
    /// Something has happened: to the node, or to one of its pods.
    touched: bool,
    /// When something is due.
    due: Option<Timestamp>,
}

/// A pod, and how far the API server knows of it.
#[derive(Debug)]
struct Kept {
    record: Record,
    written: Option<Value>,
    writing: Option<Value>,
    /// A write got no answer, and may have been made: what was written before says nothing of what is there.
    unsure: bool,
    /// A resize that was found infeasible is not looked at again: its generation.
    infeasible: Option<i64>,
    /// A write failed; not before.
    retry: Option<Timestamp>,
    /// Something has happened to it. Others of its node are not looked at again for that: there may be hundreds.
    touched: bool,
    due: Option<Timestamp>,
    /// What its node counts for it.
    used: Amounts,
}

impl Kubelets {
    /// With how long a pod takes from being taken on until it is Ready, and the namespaces that are somebody else's.
    pub fn new(start_time: Duration, unmanaged: Vec<String>) -> Kubelets {
        Kubelets {
            start_time,
            unmanaged,
            ..Kubelets::default()
        }
    }

    pub fn node_seen(&mut self, node: &Node) {
        let Some(name) = &node.metadata.name else {
            return;
        };
        let kubelet = self.nodes.entry(name.clone()).or_default();
        let allocatable = node
            .status
            .as_ref()
            .and_then(|status| status.allocatable.as_ref());
        let of = |resource: &str| allocatable.and_then(|all| all.get(resource));
        let room = Some(Amounts {
            cpu: of(CPU).map_or(0, amounts::milli),
            memory: of(MEMORY).map_or(0, amounts::units),
        });
        let annotations = node.metadata.annotations.clone().unwrap_or_default();
        // Heartbeats change neither.
        if kubelet.room != room || kubelet.annotations != annotations {
            kubelet.touched = true;
            kubelet
                .pods
                .values_mut()
                .for_each(|kept| kept.touched = true);
        }
        kubelet.room = room;
        kubelet.annotations = annotations;
    }

    pub fn node_gone(&mut self, name: &str) {
        self.nodes.remove(name);
        self.homes.retain(|_, home| home != name);
    }

    pub fn pod_seen(&mut self, pod: Pod, now: Timestamp) {
        let node = pod.spec.as_ref().and_then(|spec| spec.node_name.clone());
        let (Some(uid), Some(node)) = (pod.metadata.uid.clone(), node) else {
            return;
        };
        let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
        if self.unmanaged.iter().any(|it| it == namespace) {
            return;
        }
        let kubelet = self.nodes.entry(node.clone()).or_default();
        kubelet.touched = true;
        if let Some(kept) = kubelet.pods.get_mut(&uid) {
            // A watch may bring what a write's answer was newer than.
            if !is_older(&pod, &kept.record.pod) {
                kept.record.pod = pod;
                kept.touched = true;
            }
            return;
        }
        self.addresses += 1;
        let (high, low) = (self.addresses / 250 % 250, self.addresses % 250 + 1);
        let record = Record::new(pod, format!("10.244.{high}.{low}"), now);
        let kept = Kept {
            record,
            written: None,
            writing: None,
            unsure: false,
            infeasible: None,
            retry: None,
            touched: true,
            due: None,
            used: Amounts::default(),
        };
        kubelet.pods.insert(uid.clone(), kept);
        self.homes.insert(uid, node);
    }

    pub fn pod_gone(&mut self, uid: &str) {
        let Some(kubelet) = self
            .homes
            .remove(uid)
            .and_then(|node| self.nodes.get_mut(&node))
        else {
            return;
        };
        kubelet.pods.remove(uid);
        kubelet.touched = true;
    }

    /// Keeps these pods only: the watch began again.
    pub fn only(&mut self, uids: &std::collections::BTreeSet<String>) {
        let gone: Vec<_> = self
            .homes
            .keys()
            .filter(|uid| !uids.contains(*uid))
            .cloned()
            .collect();
        for uid in gone {
            self.pod_gone(&uid);
        }
    }

    /// What became of a write: the pod's version after it, or nothing when it failed.
    pub fn written(&mut self, write: &Write, version: Option<String>, now: Timestamp) {
        let Some(kubelet) = self.nodes.get_mut(&write.node) else {
            return;
        };
        kubelet.touched = true;
        let Some(kept) = kubelet.pods.get_mut(&write.uid) else {
            return;
        };
        let writing = kept.writing.take();
        kept.touched = true;
        match version {
            Some(version) => {
                (kept.written, kept.unsure) = (writing, false);
                // It was written for the version that was seen, so that nothing else has changed; or the watch was quicker.
                let seen = &mut kept.record.pod.metadata.resource_version;
                if number(seen.as_deref()) < number(Some(&version)) {
                    *seen = Some(version);
                }
            }
            None => (kept.unsure, kept.retry) = (true, Some(after(now, RETRY))),
        }
    }

    /// Decides for all nodes where something has happened or is due. Gives what is to be written, and when to come
    /// back if nothing happens before.
    pub fn act(&mut self, now: Timestamp) -> (Vec<Write>, Option<Timestamp>) {
        let mut writes = Vec::new();
        for (name, kubelet) in &mut self.nodes {
            let is_due = kubelet.due.is_some_and(|due| due <= now);
            if kubelet.room.is_some() && (kubelet.touched || is_due) {
                kubelet.act(name, now, self.start_time, &mut writes);
            }
        }
        let due = self.nodes.values().filter_map(|kubelet| kubelet.due).min();
        (writes, due)
    }
}

impl Kubelet {
    fn act(&mut self, name: &str, now: Timestamp, start_time: Duration, writes: &mut Vec<Write>) {
        self.touched = false;
        self.due = None;
        let annotations = &self.annotations;
        let down = Knobs {
            pod: None,
            node: Some(annotations),
        };
        if down.silent() {
            return;
        }
        for kept in self.pods.values_mut() {
            kept.touched |= kept.due.is_some_and(|due| due <= now);
            if kept.touched && kept.is_mine() {
                kept.with_annotations(annotations, |record, knobs| {
                    record.advance(now, knobs, start_time)
                });
            }
            if kept.touched {
                kept.count();
            }
        }
        let mut used = self
            .pods
            .values()
            .fold(Amounts::default(), |sum, kept| sum.plus(kept.used));
        for uid in self.pending() {
            self.consider(&uid, &mut used, now);
        }
        for (uid, kept) in &mut self.pods {
            if kept.touched && kept.is_mine() {
                kept.tell(name, uid, &self.annotations, now, start_time, writes);
            } else if kept.touched {
                kept.due = None;
            }
            kept.touched = false;
            self.due = self.due.into_iter().chain(kept.due).min();
        }
    }

    /// The pods that ask for another size than they were given, in the order in which a kubelet looks at them.
    fn pending(&self) -> Vec<String> {
        let mut pods: Vec<_> = self
            .pods
            .iter()
            .filter(|(_, kept)| self.asks(kept))
            .collect();
        pods.sort_by_key(|(_, Kept { record, .. })| {
            let spec = record.pod.spec.as_ref();
            let priority = spec.and_then(|spec| spec.priority).unwrap_or(0);
            let status = record.pod.status.as_ref();
            let class = status.and_then(|status| status.qos_class.as_deref());
            let since = record
                .pending
                .as_ref()
                .map_or(Timestamp::MAX, |pending| pending.since);
            (
                record.grows(),
                Reverse(priority),
                class != Some("Guaranteed"),
                since,
            )
        });
        pods.into_iter().map(|(uid, _)| uid.clone()).collect()
    }

    fn asks(&self, kept: &Kept) -> bool {
        let annotations = kept.record.pod.metadata.annotations.as_ref();
        // One that was put off and is taken back is not pending any more.
        (kept.record.pending.is_some() || kept.touched && kept.record.wants_another_size())
            && kept.is_mine()
            && !knobs(annotations, &self.annotations).silent()
            && kept.infeasible != Some(kept.record.generation())
    }

    /// Decides what becomes of one; `used` is what the node counts for all of its pods.
    fn consider(&mut self, uid: &str, used: &mut Amounts, now: Timestamp) {
        let room = self.room.unwrap_or_default();
        let Some(kept) = self.pods.get_mut(uid) else {
            return;
        };
        kept.infeasible = None;
        if !kept.record.wants_another_size() {
            kept.touched |= kept.record.pending.take().is_some();
            return;
        }
        let of_others = used.minus(kept.used);
        let before = kept.record.pending.clone();
        let infeasible = kept.with_annotations(&self.annotations, |record, knobs| {
            let wanted = record.wanted();
            let told = |message: &str| Some(message.to_owned());
            if let Some(message) = knobs
                .infeasible()
                .and_then(told)
                .or_else(|| too_large(wanted, room))
            {
                record.refuse(INFEASIBLE, message, now);
                return Some(record.generation());
            }
            match knobs
                .deferred()
                .and_then(told)
                .or_else(|| no_room(wanted, of_others, room))
            {
                Some(message) => record.refuse(DEFERRED, message, now),
                None => record.allocate(now, knobs.resize_time()),
            }
            None
        });
        kept.infeasible = infeasible;
        kept.count();
        kept.touched |= kept.record.pending.is_none() || kept.record.pending != before;
        *used = of_others.plus(kept.used);
    }
}

/// What a kubelet up to 1.35 says of more than its node has. With 1.36 the API server says it, and refuses; so that it
/// comes here only when a node has shrunk, or with `--disable-admission-plugins=PodResizeValidator`.
fn too_large(wanted: Amounts, room: Amounts) -> Option<String> {
    let of = |name: &str, wanted: i128, room: i128| {
        (wanted > room).then(|| {
            format!(
                "Node didn't have enough capacity: {name}, requested: {wanted}, capacity: {room}"
            )
        })
    };
    of(CPU, wanted.cpu, room.cpu).or_else(|| of(MEMORY, wanted.memory, room.memory))
}

/// What a kubelet says of more than is left on its node.
fn no_room(wanted: Amounts, used: Amounts, room: Amounts) -> Option<String> {
    let of = |name: &str, wanted: i128, used: i128, room: i128| {
        (wanted > 0 && wanted > room - used).then(|| {
            format!("Node didn't have enough resource: {name}, requested: {wanted}, used: {used}, capacity: {room}")
        })
    };
    of(CPU, wanted.cpu, used.cpu, room.cpu)
        .or_else(|| of(MEMORY, wanted.memory, used.memory, room.memory))
}

impl Kept {
    /// Not one that has ended, or is going.
    fn is_mine(&self) -> bool {
        !self.record.is_over() && !self.record.is_deleted()
    }

    /// Gives `f` the record, and its annotations beside it.
    fn with_annotations<T>(
        &mut self,
        node: &Annotations,
        f: impl FnOnce(&mut Record, Knobs<'_>) -> T,
    ) -> T {
        let pod = self.record.pod.metadata.annotations.take();
        let given = f(&mut self.record, knobs(pod.as_ref(), node));
        self.record.pod.metadata.annotations = pod;
        given
    }

    fn count(&mut self) {
        self.used = if self.record.is_over() {
            Amounts::default()
        } else {
            self.record.used()
        };
    }

    /// Writes what the API server does not know yet, and says when the pod is due again.
    fn tell(
        &mut self,
        node: &str,
        uid: &str,
        annotations: &Annotations,
        now: Timestamp,
        start_time: Duration,
        writes: &mut Vec<Write>,
    ) {
        let knobs = knobs(self.record.pod.metadata.annotations.as_ref(), annotations);
        self.due = self.record.due(knobs, start_time);
        let mute = knobs.mute(self);
        if self.writing.is_some() || mute {
            return;
        }
        let status = status(&self.record);
        if !self.unsure && self.written.as_ref() == Some(&status) {
            return;
        }
        match self.retry.filter(|retry| *retry > now) {
            Some(retry) => self.due = self.due.into_iter().chain([retry]).min(),
            None => writes.push(self.write(node, uid, status)),
        }
    }

    fn write(&mut self, node: &str, uid: &str, status: Value) -> Write {
        let metadata = &self.record.pod.metadata;
        let written = self.written.as_ref().filter(|_| !self.unsure);
        let write = Write {
            node: node.to_owned(),
            uid: uid.to_owned(),
            namespace: metadata.namespace.clone().unwrap_or_default(),
            name: metadata.name.clone().unwrap_or_default(),
            // Not over what somebody else has written meanwhile: that it has ended, or another size.
            patch: json!({
                "metadata": {"uid": uid, "resourceVersion": metadata.resource_version},
                "status": news(&status, written),
            }),
        };
        self.writing = Some(status);
        self.retry = None;
        write
    }
}

/// What of a status was not written yet. A strategic merge patch leaves the rest as it is, other conditions too.
fn news(status: &Value, written: Option<&Value>) -> Value {
    let mut news = status.clone();
    let (Some(all), Some(written)) = (news.as_object_mut(), written) else {
        return news;
    };
    all.retain(|key, value| written.get(key) != Some(value));
    if let (Some(Value::Array(now)), Some(Value::Array(before))) =
        (all.get_mut("conditions"), written.get("conditions"))
    {
        now.retain(|condition| !before.contains(condition));
    }
    news
}

impl Knobs<'_> {
    /// A pod that is to be silent about resizes is written as long as it starts, not afterwards.
    fn mute(self, kept: &Kept) -> bool {
        let tells = |status: &Value| {
            status["conditions"]
                .as_array()
                .is_some_and(|all| is_ready(all))
        };
        self.silent() && kept.written.as_ref().is_some_and(tells)
    }
}

fn is_ready(conditions: &[Value]) -> bool {
    conditions
        .iter()
        .any(|it| it["type"] == "Ready" && it["status"] == "True")
}

fn knobs<'a>(pod: Option<&'a Annotations>, node: &'a Annotations) -> Knobs<'a> {
    Knobs {
        pod,
        node: Some(node),
    }
}

/// Whether a pod is an older version than another.
fn is_older(pod: &Pod, than: &Pod) -> bool {
    let version = |pod: &Pod| number(pod.metadata.resource_version.as_deref());
    version(pod) < version(than)
}

/// Resource versions may be compared since Kubernetes 1.35.
fn number(version: Option<&str>) -> Option<u64> {
    version?.parse().ok()
}

#[cfg(test)]
mod tests;
