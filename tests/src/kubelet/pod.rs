//! The life of one pod: its namespace, its volumes, its process, its probes, and its end.

use std::collections::{BTreeMap, HashMap};
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::process::{Command, ExitStatus};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use k8s_openapi::api::core::v1::Pod;
use kube::api::{Api, DeleteParams, Patch, PatchParams, Preconditions};
use sakidori_test_cluster::sandbox::Process;
use serde_json::{Value, json};
use tokio::sync::watch;

use super::command::{Invocation, container, list, text};
use super::probe::Probe;
use super::{Node, network, root, volumes};

/// How often a running pod is looked at.
const INTERVAL: Duration = Duration::from_millis(50);
/// How long a process that ended stays away. A kubelet begins with ten seconds.
const BACK_OFF: Duration = Duration::from_millis(500);
/// How much of the log becomes the message of a container that failed: a kubelet takes 2 KiB.
const MESSAGE: usize = 2048;

/// Ends with the pod, or when the pod is deleted.
pub async fn live(node: Arc<Node>, pod: Value, deleted: watch::Receiver<bool>) {
    let mut life = Life {
        api: Api::namespaced(node.client.clone(), &text(&pod["metadata"]["namespace"])),
        name: text(&pod["metadata"]["name"]),
        told: Value::Null,
        restarts: 0,
        last: None,
        node,
        pod,
        deleted,
    };
    let end = life.run().await;
    if let Err(error) = end
        && !life.is_deleted()
    {
        // As a kubelet says it, so that whoever waits for the pod sees why.
        let waiting = json!({"reason": "CreateContainerError", "message": format!("{error:#}")});
        life.tell("Pending", None, json!({"waiting": waiting}))
            .await;
    }
    if life.deleted.wait_for(|deleted| *deleted).await.is_ok() {
        life.delete().await;
    }
}

struct Life {
    node: Arc<Node>,
    api: Api<Pod>,
    pod: Value,
    name: String,
    deleted: watch::Receiver<bool>,
    /// The status as it was last written.
    told: Value,
    restarts: u32,
    /// How the process before this one ended.
    last: Option<Value>,
}

/// A container's process, and what is asked of it.
struct Running {
    process: Process,
    started: Instant,
    startup: Option<Probe>,
    readiness: Option<Probe>,
    liveness: Option<Probe>,
}

impl Life {
    fn is_deleted(&self) -> bool {
        *self.deleted.borrow()
    }

    async fn run(&mut self) -> Result<()> {
        let node = self.node.clone();
        let namespace = network::namespace(&node.sandbox, &self.name).await?;
        let address = node.network.join(&namespace, node.api_server)?;
        let creating = json!({"waiting": {"reason": "ContainerCreating"}});
        self.tell("Pending", Some(address), creating).await;
        let volumes = self.volumes(address).await?;
        loop {
            if self.is_deleted() {
                return Ok(());
            }
            let mut running = self.start(&namespace, address, &volumes).await?;
            let ended = self.watch(&mut running, address).await?;
            let (Some(status), false) = (ended, self.is_deleted()) else {
                self.stop(&mut running).await;
                return Ok(());
            };
            let terminated = self.terminated(&running, status);
            let restarts = match self.pod["spec"]["restartPolicy"].as_str() {
                Some("Never") => false,
                Some("OnFailure") => !status.success(),
                _ => true,
            };
            if !restarts {
                let phase = if status.success() {
                    "Succeeded"
                } else {
                    "Failed"
                };
                let state = json!({"terminated": terminated});
                // Who waits for the end reads the log then.
                super::show_log(&self.node, &self.pod);
                self.tell(phase, Some(address), state).await;
                return Ok(());
            }
            self.restarts += 1;
            self.last = Some(json!({"terminated": terminated}));
            let waiting = json!({"waiting": {"reason": "CrashLoopBackOff"}});
            self.tell("Running", Some(address), waiting).await;
            let _ = tokio::time::timeout(BACK_OFF, self.deleted.wait_for(|gone| *gone)).await;
        }
    }

    /// Waits until all that the volumes name is there.
    async fn volumes(&mut self, address: Ipv4Addr) -> Result<BTreeMap<String, PathBuf>> {
        let folder = self.node.sandbox.dir().join("volumes").join(&self.name);
        loop {
            let written = volumes::write(&self.node.client, &self.pod, address, &folder).await;
            match written {
                Ok(volumes) => return Ok(volumes),
                Err(error) if self.is_deleted() => return Err(error),
                Err(error) => {
                    let waiting =
                        json!({"reason": "ContainerCreating", "message": format!("{error:#}")});
                    self.tell("Pending", Some(address), json!({"waiting": waiting}))
                        .await;
                    let _ =
                        tokio::time::timeout(BACK_OFF, self.deleted.wait_for(|gone| *gone)).await;
                }
            }
        }
    }

    async fn start(
        &self,
        namespace: &Process,
        address: Ipv4Addr,
        volumes: &BTreeMap<String, PathBuf>,
    ) -> Result<Running> {
        let node = &self.node;
        let invocation = self.invocation(address).await?;
        let folder = node.sandbox.dir().join("roots").join(&self.name);
        std::fs::create_dir_all(folder.join("root"))?;
        let script = root::script(&folder.join("root"), &node.binary, volumes, &invocation)?;
        let path = folder.join("run.sh");
        std::fs::write(&path, script)?;
        let mut command = Command::new("nsenter");
        command
            .args(["--net", "--uts", "--target", &namespace.id().to_string()])
            .args(["unshare", "--mount", "--propagation", "private", "sh"])
            .arg(path);
        let container = container(&self.pod)?;
        let running = Running {
            process: node.sandbox.spawn(&self.name, command)?,
            started: Instant::now(),
            startup: Probe::of(container, "startupProbe")?,
            readiness: Probe::of(container, "readinessProbe")?,
            liveness: Probe::of(container, "livenessProbe")?,
        };
        node.started(&self.name, invocation.line);
        Ok(running)
    }

    async fn invocation(&self, address: Ipv4Addr) -> Result<Invocation> {
        let client = &self.node.client;
        let namespace = text(&self.pod["metadata"]["namespace"]);
        let mut values = HashMap::new();
        for variable in list(&container(&self.pod)?["env"]) {
            for (field, kind) in [
                ("secretKeyRef", "secrets"),
                ("configMapKeyRef", "configmaps"),
            ] {
                if let Some(name) = variable["valueFrom"][field]["name"].as_str()
                    && let Some(object) = volumes::get(client, &namespace, kind, name).await?
                {
                    values.insert((kind, name), volumes::entries(&object)?);
                }
            }
        }
        let links = self.pod["spec"]["enableServiceLinks"] != false;
        let services = if links {
            let path = format!("/api/v1/namespaces/{namespace}/services");
            let list: Value = client
                .request(http::Request::get(path).body(Vec::new())?)
                .await?;
            list["items"].as_array().cloned().unwrap_or_default()
        } else {
            Vec::new()
        };
        Invocation::new(&self.pod, address, &services, &|kind, name, key| {
            let content = values.get(&(kind, name)).and_then(|object| object.get(key));
            let text = content.map(|content| String::from_utf8(content.clone()));
            text.transpose().context("a variable that is no text")
        })
    }

    /// Probes it until it ends, or the pod is deleted; then there is no status.
    async fn watch(
        &mut self,
        running: &mut Running,
        address: Ipv4Addr,
    ) -> Result<Option<ExitStatus>> {
        let state = json!({"running": {"startedAt": now()}});
        loop {
            if self.is_deleted() {
                return Ok(None);
            }
            if let Some(status) = running.process.ended()? {
                return Ok(Some(status));
            }
            let http = &self.node.http;
            let started = match &mut running.startup {
                Some(probe) => probe.look(http, address).await == Some(true),
                None => true,
            };
            let mut ready = started;
            if started {
                if let Some(probe) = &mut running.readiness {
                    ready = probe.look(http, address).await == Some(true);
                }
                if let Some(probe) = &mut running.liveness
                    && probe.look(http, address).await == Some(false)
                {
                    eprintln!("{}: the liveness probe failed: {}", self.name, probe.said());
                    running.process.terminate();
                    self.gone(running, Duration::from_secs(30)).await;
                }
            }
            self.tell_ready("Running", Some(address), state.clone(), ready)
                .await;
            tokio::time::sleep(INTERVAL).await;
        }
    }

    /// How a kubelet ends a pod: what `preStop` says, SIGTERM, and after the grace period SIGKILL.
    async fn stop(&mut self, running: &mut Running) {
        if !matches!(running.process.ended(), Ok(None)) {
            return;
        }
        let grace = Duration::from_secs(
            self.pod["spec"]["terminationGracePeriodSeconds"]
                .as_u64()
                .unwrap_or(30),
        );
        let first = &self.pod["spec"]["containers"][0]["lifecycle"]["preStop"];
        if let Some(seconds) = first["sleep"]["seconds"].as_u64() {
            tokio::time::sleep(Duration::from_secs(seconds)).await;
        } else if !first.is_null() {
            eprintln!("{}: {first} is not understood here", self.name);
        }
        running.process.terminate();
        self.gone(running, grace).await;
    }

    async fn gone(&self, running: &mut Running, grace: Duration) {
        let deadline = Instant::now() + grace;
        while Instant::now() < deadline {
            if matches!(running.process.ended(), Ok(Some(_)) | Err(_)) {
                return;
            }
            tokio::time::sleep(INTERVAL).await;
        }
        eprintln!("{}: killed after {grace:?}", self.name);
        running.process.kill();
    }

    /// Takes the pod out of the API, as a kubelet does when nothing of it runs any more.
    async fn delete(&self) {
        let now = DeleteParams {
            grace_period_seconds: Some(0),
            preconditions: Some(Preconditions {
                uid: self.pod["metadata"]["uid"].as_str().map(str::to_owned),
                ..Preconditions::default()
            }),
            ..DeleteParams::default()
        };
        let _ = self.api.delete(&self.name, &now).await;
    }

    fn terminated(&self, running: &Running, status: ExitStatus) -> Value {
        let mut terminated = json!({
            "exitCode": status.code().unwrap_or(137),
            "reason": if status.success() { "Completed" } else { "Error" },
            "startedAt": timestamp(running.started),
            "finishedAt": now(),
        });
        let container = &self.pod["spec"]["containers"][0];
        let from_log = container["terminationMessagePolicy"] == "FallbackToLogsOnError";
        if from_log && !status.success() {
            let tail = running.process.tail();
            let start = tail.ceil_char_boundary(tail.len().saturating_sub(MESSAGE));
            terminated["message"] = json!(&tail[start..]);
        }
        terminated
    }

    async fn tell(&mut self, phase: &str, address: Option<Ipv4Addr>, state: Value) {
        self.tell_ready(phase, address, state, false).await;
    }

    /// Writes the status where it has changed.
    async fn tell_ready(
        &mut self,
        phase: &str,
        address: Option<Ipv4Addr>,
        state: Value,
        ready: bool,
    ) {
        let container = &self.pod["spec"]["containers"][0];
        let ready_now = if ready { "True" } else { "False" };
        let conditions: Vec<Value> = [
            ("Initialized", "True"),
            ("PodReadyToStartContainers", "True"),
            ("ContainersReady", ready_now),
            ("Ready", ready_now),
        ]
        .iter()
        .map(|(kind, status)| json!({"type": kind, "status": status}))
        .collect();
        let mut of_container = json!({
            "name": container["name"],
            "image": container["image"],
            "imageID": "",
            "ready": ready,
            "started": state["running"].is_object(),
            "restartCount": self.restarts,
            "state": state,
        });
        if let Some(last) = &self.last {
            of_container["lastState"] = last.clone();
        }
        let mut status = json!({
            "phase": phase,
            "conditions": conditions,
            "containerStatuses": [of_container],
        });
        if let Some(address) = address {
            status["podIP"] = json!(address);
            status["podIPs"] = json!([{"ip": address}]);
        }
        if status == self.told {
            return;
        }
        let mut patch = status.clone();
        for condition in patch["conditions"].as_array_mut().into_iter().flatten() {
            condition["lastTransitionTime"] = json!(now());
        }
        let patch = json!({"metadata": {"uid": self.pod["metadata"]["uid"]}, "status": patch});
        let written = self
            .api
            .patch_status(
                &self.name,
                &PatchParams::default(),
                &Patch::Strategic(&patch),
            )
            .await;
        // While the API server is away, the next look tries again.
        if written.is_ok() {
            self.told = status;
        }
    }
}

fn now() -> String {
    jiff::Timestamp::now()
        .strftime("%Y-%m-%dT%H:%M:%SZ")
        .to_string()
}

fn timestamp(instant: Instant) -> String {
    let ago = jiff::SignedDuration::try_from(instant.elapsed()).unwrap_or_default();
    (jiff::Timestamp::now() - ago)
        .strftime("%Y-%m-%dT%H:%M:%SZ")
        .to_string()
}
