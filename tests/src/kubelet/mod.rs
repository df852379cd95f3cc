//! A kubelet that runs the pods of some namespaces as processes of this machine: with the command line, the environment, the volumes, the user and
//! the probes that stand in the pod, in a network namespace with an address of its own and a root filesystem that holds the binary under test
//! and nothing else. What it doesn't understand it refuses.
//!
//! The API server reaches the pods by the endpoints of their Services (`--enable-aggregator-routing`), and pods reach the API server under
//! its usual address. There is no image: whatever a container's image says, the binary under test is in it.

mod command;
mod logs;
mod network;
mod pod;
mod probe;
mod relay;
mod root;
mod volumes;

use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result};
use kube::Client;
use sakidori_test_cluster::sandbox::Sandbox;
use sakidori_test_cluster::{Cluster, ClusterOptions};
use serde_json::Value;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::binary;
use network::Network;
pub use relay::Relay;

/// How often the API server is asked for pods.
const INTERVAL: Duration = Duration::from_millis(100);

/// A kubelet for all nodes of a cluster. Dropped, it and all its pods are gone.
pub struct Kubelet {
    task: JoinHandle<()>,
    node: Arc<Node>,
    _api_server: Relay,
}

/// What all pods share.
struct Node {
    client: Client,
    http: reqwest::Client,
    logs: logs::Logs,
    network: Network,
    binary: PathBuf,
    /// The port of the machine's address where pods find the API server.
    api_server: u16,
    /// The command lines of all pods that were started, by their names.
    started: Mutex<BTreeMap<String, Vec<String>>>,
    // Last: what runs in it is in the fields above.
    sandbox: Sandbox,
}

impl Node {
    fn started(&self, pod: &str, line: Vec<String>) {
        let mut started = self.started.lock().unwrap_or_else(PoisonError::into_inner);
        started.insert(pod.to_owned(), line);
    }
}

impl Kubelet {
    /// What the cluster has to be like for a kubelet of these namespaces.
    pub fn options(namespaces: &[&str]) -> ClusterOptions {
        ClusterOptions {
            unmanaged_namespaces: namespaces.iter().map(|&name| name.to_owned()).collect(),
            // Without kube-proxy on the machine, the API server has to find pods by itself.
            apiserver_args: vec!["--enable-aggregator-routing=true".to_owned()],
            ..ClusterOptions::default()
        }
    }

    /// Runs what is scheduled in `namespaces`, which the cluster's fake kubelet leaves alone.
    ///
    /// # Errors
    /// If this isn't root, or the network can't be made.
    pub async fn start(cluster: &Cluster, namespaces: &[&str]) -> Result<Self> {
        let sandbox = Sandbox::new("sakidori-kubelet")?;
        let network = Network::create(&sandbox).await?;
        let url: http::Uri = cluster.apiserver_url().parse()?;
        let port = url.port_u16().context("an API server without a port")?;
        let api_server = Relay::start(network.machine(), port).await?;
        let http = reqwest::Client::builder()
            .no_proxy()
            .tls_danger_accept_invalid_certs(true)
            .redirect(reqwest::redirect::Policy::none())
            .build()?;
        let node = Arc::new(Node {
            client: cluster.client(),
            http,
            logs: logs::Logs::start(&cluster.client()).await?,
            network,
            binary: std::path::absolute(binary::sakidori()?)?,
            api_server: port,
            started: Mutex::default(),
            sandbox,
        });
        let namespaces = namespaces.iter().map(|&name| name.to_owned()).collect();
        Ok(Self {
            task: tokio::spawn(follow(node.clone(), namespaces)),
            node,
            _api_server: api_server,
        })
    }

    /// Makes a port of 127.0.0.1 reachable for pods, while the relay lives.
    ///
    /// # Errors
    /// If it can't listen there.
    pub async fn expose(&self, port: u16) -> Result<Relay> {
        Relay::start(self.node.network.machine(), port).await
    }

    /// What a pod has logged so far, over restarts.
    pub fn log(&self, pod: &str) -> String {
        std::fs::read_to_string(self.node.sandbox.log(pod)).unwrap_or_default()
    }

    /// The command lines of all pods that were started, by the pods' names.
    pub fn command_lines(&self) -> BTreeMap<String, Vec<String>> {
        let started = self.node.started.lock();
        started.unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The logs of all pods, for messages.
    pub fn logs(&self) -> String {
        let mut logs = String::new();
        for pod in self.command_lines().keys() {
            let log = self.log(pod);
            let lines: Vec<&str> = log.lines().collect();
            let tail = lines[lines.len().saturating_sub(30)..].join("\n");
            logs.push_str(&format!("--- {pod}\n{tail}\n"));
        }
        logs
    }
}

impl Drop for Kubelet {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// One pod's task, and how it is told that the pod is deleted. It ends with this value.
struct Followed {
    task: JoinHandle<()>,
    deleted: watch::Sender<bool>,
}

impl Drop for Followed {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn follow(node: Arc<Node>, namespaces: Vec<String>) {
    let mut followed: HashMap<String, Followed> = HashMap::new();
    loop {
        let mut there = Vec::new();
        let mut complete = true;
        for namespace in &namespaces {
            match pods(&node.client, namespace).await {
                Ok(pods) => there.extend(pods),
                // What runs goes on while the API server is away.
                Err(_) => complete = false,
            }
        }
        if complete {
            followed.retain(|uid, _| there.iter().any(|pod| pod["metadata"]["uid"] == *uid));
        }
        for pod in there {
            show_log(&node, &pod);
            let uid = command::text(&pod["metadata"]["uid"]);
            let deleted = pod["metadata"]["deletionTimestamp"].is_string();
            if let Some(known) = followed.get(&uid) {
                known.deleted.send_if_modified(|now| {
                    let first = deleted && !*now;
                    *now |= deleted;
                    first
                });
                continue;
            }
            let ended = ["Succeeded", "Failed"]
                .contains(&pod["status"]["phase"].as_str().unwrap_or_default());
            if pod["spec"]["nodeName"].is_string() && (!ended || deleted) {
                let (sender, receiver) = watch::channel(deleted);
                let task = tokio::spawn(pod::live(node.clone(), pod, receiver));
                followed.insert(
                    uid,
                    Followed {
                        task,
                        deleted: sender,
                    },
                );
            }
        }
        tokio::time::sleep(INTERVAL).await;
    }
}

/// Has the API server find what the pod has logged.
fn show_log(node: &Node, pod: &Value) {
    let [namespace, name] =
        ["namespace", "name"].map(|field| command::text(&pod["metadata"][field]));
    if let Ok(log) = std::fs::read_to_string(node.sandbox.log(&name)) {
        let container = command::text(&pod["spec"]["containers"][0]["name"]);
        node.logs.set(&namespace, &name, &container, &log);
    }
}

async fn pods(client: &Client, namespace: &str) -> Result<Vec<Value>> {
    let path = format!("/api/v1/namespaces/{namespace}/pods");
    let mut list: Value = client
        .request(http::Request::get(path).body(Vec::new())?)
        .await?;
    let items = list["items"].as_array_mut().context("no list of pods")?;
    Ok(std::mem::take(items))
}
