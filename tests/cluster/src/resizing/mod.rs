//! A fake kubelet that acts out an in-place resize as that of Kubernetes 1.36 does, instead of KWOK's stages: it starts
//! pods in two steps, takes a resize on, puts it off or refuses it, carries it out, or fails.
//!
//! What it writes, and when:
//!
//! - Taken on: `containerStatuses[].allocatedResources` and the condition `PodResizeInProgress`. In place:
//!   `containerStatuses[].resources`, and the condition goes.
//! - No room on the node (what its pods were given or still have, against `status.allocatable`): `PodResizePending`
//!   with reason `Deferred`. Looked at again whenever something changes on the node, those first that ask for no more,
//!   then by priority, Guaranteed before Burstable, and who has waited longest.
//! - Infeasible: `PodResizePending` with reason `Infeasible`, until the next resize of that pod.
//! - Failed: `PodResizeInProgress` with reason `Error`; tried again. A limit of memory at or below what is in use is
//!   such a failure, and nothing of that resize is carried out.
//! - A resize that comes while another is under way goes in its place; where it has to wait, both conditions are there.
//! - A container is restarted where its `resizePolicy` says so for what changes.
//! - A pod that has not started takes a new size without being in progress, and starts with it.
//!
//! Left out: events, pod-level resources beyond their requests, CPU and memory managers, swap, and that a kubelet turns
//! away a new pod that it has no room for.
//!
//! [`kubelets`] decides, without IO; this module watches and writes.

mod amounts;
mod knobs;
mod kubelets;
mod record;
mod status;

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::{Context as _, Result};
use futures::StreamExt as _;
use http::Request;
use k8s_openapi::api::core::v1::{Node, Pod};
use k8s_openapi::jiff::Timestamp;
use kube::api::{Api, PartialObjectMeta};
use kube::runtime::WatchStreamExt as _;
use kube::runtime::watcher::{self, Event, watcher};
use kube::{Client, ResourceExt as _};
use tokio::sync::oneshot;
use tokio::task::JoinSet;

use crate::kubeconfig::Kubeconfig;
use kubelets::{Kubelets, Write};

/// How many writes are under way at once.
const WRITERS: usize = 32;

/// The fake kubelet of all nodes. Dropped, it stops.
#[derive(Debug)]
pub(crate) struct Resizing {
    /// Closed when this is dropped.
    _stop: oneshot::Sender<()>,
}

impl Resizing {
    /// Starts it as that user, on a thread of its own: what a test does on its runtime must not hold it up.
    ///
    /// # Errors
    /// When there is no thread to be had.
    pub fn start(
        user: Kubeconfig,
        start_time: Duration,
        unmanaged: Vec<String>,
    ) -> Result<Resizing> {
        let kubelets = Kubelets::new(start_time, unmanaged);
        let (stop, stopped) = oneshot::channel();
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let run = async move {
            let acts = async {
                match user.client().await {
                    Ok(client) => run(client, kubelets).await,
                    Err(error) => eprintln!("fake kubelet: it does not act out resizes: {error:#}"),
                }
            };
            tokio::select! {
                () = acts => {}
                _ = stopped => {}
            }
        };
        std::thread::Builder::new()
            .name("fake-kubelet".to_owned())
            .spawn(move || runtime.block_on(run))
            .context("can't start the fake kubelet")?;
        Ok(Resizing { _stop: stop })
    }
}

/// What the watches bring.
#[expect(clippy::large_enum_variant, reason = "one at a time")]
enum Seen {
    Pod(Event<Pod>),
    Node(Event<Node>),
}

async fn run(client: Client, mut kubelets: Kubelets) {
    let bound = watcher::Config::default().fields("spec.nodeName!=");
    let pods = watcher(Api::<Pod>::all(client.clone()), bound).default_backoff();
    let nodes =
        watcher(Api::<Node>::all(client.clone()), watcher::Config::default()).default_backoff();
    // An error is a watch that begins again by itself.
    let pods = pods.filter_map(async |event| event.ok().map(Seen::Pod));
    let nodes = nodes.filter_map(async |event| event.ok().map(Seen::Node));
    let mut seen = std::pin::pin!(futures::stream::select(pods, nodes).ready_chunks(1000));

    let mut listed = BTreeSet::new();
    let mut queue = std::collections::VecDeque::new();
    let mut writes = JoinSet::new();
    let mut due = None;
    loop {
        tokio::select! {
            events = seen.next() => {
                let Some(events) = events else { return };
                let now = Timestamp::now();
                for event in events {
                    take(&mut kubelets, &mut listed, event, now);
                }
            }
            Some(done) = writes.join_next() => {
                let now = Timestamp::now();
                if let Ok((write, version)) = done {
                    kubelets.written(&write, version, now);
                }
                while let Some(done) = writes.try_join_next() {
                    if let Ok((write, version)) = done {
                        kubelets.written(&write, version, now);
                    }
                }
            }
            () = until(due) => {}
        }
        let (new, next) = kubelets.act(Timestamp::now());
        due = next;
        queue.extend(new);
        while writes.len() < WRITERS
            && let Some(write) = queue.pop_front()
        {
            writes.spawn(send(client.clone(), write));
        }
    }
}

async fn until(due: Option<Timestamp>) {
    let Some(due) = due else {
        return std::future::pending().await;
    };
    let left = Duration::try_from(due.duration_since(Timestamp::now())).unwrap_or_default();
    tokio::time::sleep(left).await;
}

fn take(kubelets: &mut Kubelets, listed: &mut BTreeSet<String>, event: Seen, now: Timestamp) {
    match event {
        Seen::Pod(Event::Apply(pod)) => kubelets.pod_seen(pod, now),
        Seen::Pod(Event::Delete(pod)) => {
            kubelets.pod_gone(pod.metadata.uid.as_deref().unwrap_or_default())
        }
        Seen::Pod(Event::Init) => listed.clear(),
        Seen::Pod(Event::InitApply(pod)) => {
            listed.extend(pod.metadata.uid.clone());
            kubelets.pod_seen(pod, now);
        }
        Seen::Pod(Event::InitDone) => kubelets.only(listed),
        Seen::Node(Event::Apply(node) | Event::InitApply(node)) => kubelets.node_seen(&node),
        Seen::Node(Event::Delete(node)) => kubelets.node_gone(&node.name_any()),
        Seen::Node(Event::Init | Event::InitDone) => {}
    }
}

/// Gives the pod's version afterwards; nothing where it is another by now, or the API server does not answer: the watch
/// brings what it is, and it is decided again.
async fn send(client: Client, write: Write) -> (Write, Option<String>) {
    let pod = format!("{}/{}", write.namespace, write.name);
    let version = match patch(client, &write).await {
        Ok(version) => version,
        Err(error) => {
            let api = error.downcast_ref::<kube::Error>();
            if !matches!(api, Some(kube::Error::Api(status)) if matches!(status.code, 404 | 409)) {
                eprintln!("fake kubelet: can't write the status of pod {pod}: {error:#}");
            }
            None
        }
    };
    (write, version)
}

/// Asks for no more than the metadata back: the watch brings the rest, once.
async fn patch(client: Client, write: &Write) -> Result<Option<String>> {
    let path = format!(
        "/api/v1/namespaces/{}/pods/{}/status",
        write.namespace, write.name
    );
    let request = Request::patch(path)
        .header("content-type", "application/strategic-merge-patch+json")
        .header(
            "accept",
            "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1",
        )
        .body(serde_json::to_vec(&write.patch)?)?;
    let answer: PartialObjectMeta<Pod> = client.request(request).await?;
    Ok(answer.metadata.resource_version)
}
