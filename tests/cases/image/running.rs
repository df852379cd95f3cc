//! It runs: in a container with nothing but the image's files and what a kubelet gives, started by the command line of the chart.

use std::fs::Permissions;
use std::net::Ipv4Addr;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use jiff::{Timestamp, ToSpan as _};
use sakidori_test_cluster::ports::Port;
use sakidori_test_cluster::sandbox::Sandbox;
use sakidori_test_cluster::{Cluster, ClusterOptions, ExternalMetricsTrust, eventually};
use sakidori_test_servers::{Answer, HttpSource, Kafka, KafkaListener, Tls};
use sakidori_tests::bed::HPA_SYNC_PERIOD;
use sakidori_tests::container::{Container, Pod};
use sakidori_tests::name_server::NameServer;
use sakidori_tests::namespace::{Namespace, deployment, metrics_api, scaled_object};
use sakidori_tests::{canary, chart, manifests};
use serde_json::{Value, json};

use super::image;

const SHOP: &str = "shop";
/// Services of that namespace.
const KAFKA: &str = "kafka.shop.svc.cluster.local";
const QUEUE: &str = "queue.shop.svc.cluster.local";
/// How long anything may take that should happen at once, beside a build of the image for another case.
const SOON: Duration = Duration::from_secs(60);

fn pod(arguments: &[&str]) -> Pod {
    Pod {
        root: image().root(),
        config: image().config.clone(),
        command: Vec::new(),
        arguments: arguments.iter().map(|one| (*one).to_owned()).collect(),
        environment: Vec::new(),
        mounts: Vec::new(),
    }
}

#[test]
fn commands_that_need_no_cluster_run_in_an_empty_root() -> Result<()> {
    assert!(pod(&["--version"]).output()?.starts_with("sakidori "));
    let crds = pod(&["crds"]).output()?;
    assert!(manifests::parse(&crds)?.len() >= 4);
    let help = pod(&["operator", "--help"]).output()?;
    assert!(help.contains("--leader-elect"), "{help}");
    Ok(())
}

#[test]
fn the_operator_scales_from_an_empty_root() -> Result<()> {
    let runtime = tokio::runtime::Runtime::new()?;
    // Before the clock of the case runs.
    let _ = image();
    runtime.block_on(async {
        let options = ClusterOptions {
            hpa_sync_period: HPA_SYNC_PERIOD,
            hpa_downscale_stabilization: Some(Duration::ZERO),
            ..ClusterOptions::default()
        };
        let cluster = Cluster::start(options).await?;
        let mut installation = Installation::start(&cluster).await?;
        match installation.scales(&cluster).await {
            Ok(()) => {}
            Err(error) => {
                let log = installation.container.log();
                let lines: Vec<&str> = log.lines().collect();
                let end = lines[lines.len().saturating_sub(40)..].join("\n");
                return Err(error.context(format!("the container's log ends with\n{end}")));
            }
        }
        installation.ends().await?;
        canary::cluster_tells_no_secret(&cluster.client()).await
    })
}

/// What answers in the container's place in the network.
struct Ports {
    metrics: Port,
    probes: Port,
    https: Port,
    values: Port,
}

/// The operator in its container, and what it reads.
struct Installation {
    container: Container,
    ports: Ports,
    names: NameServer,
    kafka: Kafka,
    /// By a name of the cluster's.
    queue: HttpSource,
    /// By HTTPS, with a certificate of an authority that only the container's own list has.
    believed: HttpSource,
    http: reqwest::Client,
    // What is mounted goes after the container.
    _files: Sandbox,
}

impl Installation {
    async fn start(cluster: &Cluster) -> Result<Self> {
        let client = cluster.client();
        manifests::install_crds(&client).await?;
        let values = json!({"webhooks": {"enabled": false}});
        let kubeconfig = chart::service_account_with(cluster, &values).await?;
        let kafka = Kafka::start().await?;
        let queue = HttpSource::start()?;
        let believed = HttpSource::start_with(Tls::Server)?;
        let names =
            NameServer::start(&[(KAFKA, Ipv4Addr::LOCALHOST), (QUEUE, Ipv4Addr::LOCALHOST)])?;
        let ports = Ports {
            metrics: Port::take()?,
            probes: Port::take()?,
            https: Port::take()?,
            values: Port::take()?,
        };
        let authority = believed.tls().context("it speaks TLS")?.ca();
        let files = Sandbox::new("sakidori-mounts")?;
        let mounts = mounts(files.dir(), &kubeconfig, &names, authority)?;
        let container = &deployed(&values).await?["spec"]["template"]["spec"]["containers"][0];
        let server = cluster.apiserver_url();
        let server: http::Uri = server.parse()?;
        let port = server.port().context("the API server has a port")?;
        let pod = Pod {
            root: image().root(),
            config: image().config.clone(),
            command: arguments(&container["command"], &ports),
            arguments: arguments(&container["args"], &ports),
            environment: environment(&container["env"], port.as_str()),
            mounts,
        };
        let http = reqwest::Client::builder()
            .no_proxy()
            .timeout(Duration::from_secs(5))
            .build()?;
        cluster
            .register_external_metrics(ports.https.number(), &ExternalMetricsTrust::Unknown)
            .await?;
        Ok(Self {
            container: pod.start()?,
            ports,
            names,
            kafka,
            queue,
            believed,
            http,
            _files: files,
        })
    }

    async fn scales(&mut self, cluster: &Cluster) -> Result<()> {
        self.has_no_rights()?;
        let probe = format!("http://127.0.0.1:{}/readyz", self.ports.probes.number());
        eventually("readiness", SOON, async || {
            self.container.check()?;
            let answer = self.http.get(&probe).send().await?.error_for_status()?;
            Ok(Some(answer))
        })
        .await?;
        cluster.create_namespace(SHOP).await?;
        let shop = Namespace {
            client: cluster.client(),
            name: SHOP.to_owned(),
        };
        self.scales_by_kafka(&shop).await?;
        self.scales_by_http(&shop).await?;
        self.scales_by_the_clock(&shop).await?;
        let metrics = format!("http://127.0.0.1:{}/metrics", self.ports.metrics.number());
        let metrics = self.http.get(metrics).send().await?.text().await?;
        ensure!(metrics.contains("keda_"), "{metrics}");
        Ok(())
    }

    /// As the kernel sees the process.
    fn has_no_rights(&self) -> Result<()> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.container.pid()?))?;
        let field = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name));
            line.unwrap_or_default().trim().to_owned()
        };
        assert_eq!(field("Uid:"), "65532\t65532\t65532\t65532");
        assert_eq!(field("Gid:"), "65532\t65532\t65532\t65532");
        for set in ["CapInh:", "CapPrm:", "CapEff:", "CapBnd:", "CapAmb:"] {
            assert_eq!(field(set), "0000000000000000", "{set}");
        }
        assert_eq!(field("NoNewPrivs:"), "1");
        // System calls are filtered.
        assert_eq!(field("Seccomp:"), "2");
        Ok(())
    }

    /// librdkafka looks up names and speaks TLS by itself, both in C. One trigger finds the broker by a name, the other asks by TLS.
    async fn scales_by_kafka(&self, shop: &Namespace) -> Result<()> {
        self.kafka.create_topics(&["orders"], 4).await?;
        let from_start: Vec<(i32, i64)> = (0..4).map(|partition| (partition, 0)).collect();
        self.kafka.commit("orders", "orders", &from_start).await?;
        let named = format!("kafka:{}", self.kafka.port(KafkaListener::Sasl));
        let by_tls = self.kafka.address(KafkaListener::SaslTls);
        let login = |tls: bool| {
            let mut login =
                json!({"sasl": "scram_sha512", "username": "app", "password": "hunter2"});
            if tls {
                login["tls"] = json!("enable");
                login["ca"] = json!(self.kafka.tls().ca());
            }
            login
        };
        let of = |name: &str| {
            let keys = ["sasl", "username", "password", "tls", "ca"];
            let keys = if name == "tls" { &keys[..] } else { &keys[..3] };
            let references: Vec<Value> = keys
                .iter()
                .map(|key| json!({"parameter": key, "name": name, "key": key}))
                .collect();
            json!({
                "apiVersion": "keda.sh/v1alpha1",
                "kind": "TriggerAuthentication",
                "metadata": {"name": name},
                "spec": {"secretTargetRef": references},
            })
        };
        let secret = |name: &str, tls: bool| json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}, "stringData": login(tls)});
        let trigger = |servers: &str, login: &str| {
            json!({
                "type": "kafka",
                "metadata": {
                    "bootstrapServers": servers,
                    "consumerGroup": "orders",
                    "topic": "orders",
                    "lagThreshold": "10",
                },
                "authenticationRef": {"name": login},
            })
        };
        let triggers = [trigger(&named, "name"), trigger(&by_tls, "tls")];
        let spec = json!({"pollingInterval": 1, "maxReplicaCount": 4, "triggers": triggers});
        shop.apply([
            secret("name", false),
            secret("tls", true),
            of("name"),
            of("tls"),
            deployment("orders", 0),
            scaled_object("orders", spec),
        ])
        .await?;
        shop.wait_ready("orders", "True", "ScaledObjectReady", SOON)
            .await?;
        for partition in 0..4 {
            self.kafka.publish("orders", partition, 20).await?;
        }
        // 80 messages at 10 each would be 8.
        wait_replicas(shop, "orders", 4).await?;
        for metric in ["s0-kafka-orders", "s1-kafka-orders"] {
            let value = shop.value(metric, "orders").await?;
            ensure!(value == 40.0, "{metric} is {value}");
        }
        ensure!(
            self.names.asked().iter().any(|name| name == KAFKA),
            "nobody asked for {KAFKA}: {:?}",
            self.names.asked()
        );
        Ok(())
    }

    /// Rust asks for a short name, which the search list makes whole; and believes the authorities of the image's list.
    async fn scales_by_http(&self, shop: &Namespace) -> Result<()> {
        for source in [&self.queue, &self.believed] {
            source.set("/queue", Answer::json(&json!({"value": 25})));
        }
        let plain = format!("http://queue:{}/queue", self.queue.port());
        let by_tls = format!("https://localhost:{}/queue", self.believed.port());
        for (name, url) in [("plain", plain), ("believed", by_tls)] {
            let spec = json!({"pollingInterval": 1, "triggers": [metrics_api(&url)]});
            shop.apply([deployment(name, 0), scaled_object(name, spec)])
                .await?;
            wait_replicas(shop, name, 3).await?;
        }
        Ok(())
    }

    /// In Tokyo it is nine hours later, and there is no list of zones in the container.
    async fn scales_by_the_clock(&self, shop: &Namespace) -> Result<()> {
        let tokyo = Timestamp::now().in_tz("Asia/Tokyo")?;
        let hour = |hours: i64| tokyo.checked_add(hours.hours()).map(|time| time.hour());
        let (start, end) = (hour(-1)?, hour(1)?);
        let metadata = json!({
            "timezone": "Asia/Tokyo",
            "start": format!("0 {start} * * *"),
            "end": format!("0 {end} * * *"),
            "desiredReplicas": "3",
        });
        let triggers = json!([{"type": "cron", "metadata": metadata}]);
        let spec = json!({"pollingInterval": 1, "triggers": triggers});
        shop.apply([deployment("open", 0), scaled_object("open", spec)])
            .await?;
        wait_replicas(shop, "open", 3).await
    }

    async fn ends(mut self) -> Result<()> {
        let (status, took) = self.container.terminate(Duration::from_secs(30))?;
        let log = self.container.log();
        ensure!(status.success(), "it ended with {status}:\n{log}");
        println!("it ended {took:?} after SIGTERM");
        ensure!(!log.contains("panicked"), "{log}");
        canary::tells_no_secret("the container's log", &log)
    }
}

async fn wait_replicas(shop: &Namespace, name: &str, count: i32) -> Result<()> {
    shop.wait_replicas(name, count, SOON).await?;
    Ok(())
}

/// The operator's Deployment, as the chart has it.
async fn deployed(values: &Value) -> Result<Value> {
    let objects = chart::render(values).await?;
    let deployment = objects.into_iter().find(|object| {
        let kind = object.types.as_ref().map(|types| types.kind.as_str());
        kind == Some("Deployment") && object.metadata.name.as_deref() == Some("keda-operator")
    });
    Ok(deployment.context("the chart has no Deployment")?.data)
}

/// A command line of the chart, on loopback and on ports of the test's: the container has no network of its own.
fn arguments(list: &Value, ports: &Ports) -> Vec<String> {
    let place = |argument: &str| {
        let (flag, value) = argument.split_once("-bind-address=")?;
        let port = match flag {
            "--metrics" => &ports.metrics,
            "--health-probe" => &ports.probes,
            "--external-metrics" => &ports.https,
            "--metrics-service" => &ports.values,
            _ => return None,
        };
        value
            .starts_with(':')
            .then(|| format!("{flag}-bind-address=127.0.0.1:{}", port.number()))
    };
    let list = list.as_array().into_iter().flatten();
    list.filter_map(Value::as_str)
        .map(|argument| place(argument).unwrap_or_else(|| argument.to_owned()))
        .collect()
}

/// A container's environment, with what a kubelet adds of the API server.
fn environment(list: &Value, port: &str) -> Vec<(String, String)> {
    let own = list.as_array().into_iter().flatten().filter_map(|entry| {
        let value = match entry["valueFrom"]["fieldRef"]["fieldPath"].as_str() {
            Some("metadata.namespace") => "keda",
            Some("metadata.name") => "keda-operator-0",
            Some(_) => "127.0.0.1",
            None => entry["value"].as_str().unwrap_or_default(),
        };
        Some((entry["name"].as_str()?.to_owned(), value.to_owned()))
    });
    let server = [
        ("KUBERNETES_SERVICE_HOST".to_owned(), "127.0.0.1".to_owned()),
        ("KUBERNETES_SERVICE_PORT".to_owned(), port.to_owned()),
    ];
    own.chain(server).collect()
}

/// What a kubelet mounts into every pod; and over the image's authorities a list with one more, as somebody does who has an authority
/// of their own.
fn mounts(
    dir: &Path,
    kubeconfig: &Path,
    names: &NameServer,
    authority: &str,
) -> Result<Vec<(PathBuf, String)>> {
    let login: Value = serde_json::from_slice(&std::fs::read(kubeconfig)?)?;
    let account = dir.join("serviceaccount");
    std::fs::create_dir(&account)?;
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let ca = text(&login["clusters"][0]["cluster"]["certificate-authority-data"]);
    let ca = base64::Engine::decode(&base64::prelude::BASE64_STANDARD, ca)?;
    std::fs::write(account.join("ca.crt"), ca)?;
    std::fs::write(
        account.join("token"),
        text(&login["users"][0]["user"]["token"]),
    )?;
    std::fs::write(account.join("namespace"), "keda")?;
    std::fs::write(dir.join("resolv.conf"), names.resolv_conf(SHOP))?;
    std::fs::write(dir.join("hosts"), "127.0.0.1 localhost\n::1 localhost\n")?;
    let bundle = "etc/ssl/certs/ca-certificates.crt";
    let believed = std::fs::read_to_string(image().root().join(bundle))?;
    std::fs::write(
        dir.join("ca-certificates.crt"),
        format!("{believed}{authority}"),
    )?;
    // The user in the container is nobody here; a kubelet gives the group of the pod a right to read.
    for readable in [dir, &account] {
        std::fs::set_permissions(readable, Permissions::from_mode(0o755))?;
    }
    Ok(vec![
        (
            account,
            "/var/run/secrets/kubernetes.io/serviceaccount".to_owned(),
        ),
        (dir.join("resolv.conf"), "/etc/resolv.conf".to_owned()),
        (dir.join("hosts"), "/etc/hosts".to_owned()),
        (dir.join("ca-certificates.crt"), format!("/{bundle}")),
    ])
}
