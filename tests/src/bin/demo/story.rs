//! The demo from beginning to end: start, fill the queue, watch, sum up.

use std::io::{IsTerminal, Stdout};
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail, ensure};
use kube::Client;
use kube::api::Api;
use sakidori_api::ScaledObject;
use sakidori_test_cluster::{Cluster, ClusterOptions, eventually};
use sakidori_test_servers::RabbitMq;
use sakidori_tests::demo::{Table, diagnosis, kind, step};
use sakidori_tests::{Operator, binary, manifests, observe};
use serde_json::json;
use tokio::sync::watch;

use crate::consumers::{self, MESSAGES_PER_SECOND};
use crate::row::Row;

const EXAMPLE: &str = "examples/rabbitmq";
/// What the manifests of the example call themselves.
const NAMESPACE: &str = "shop";
const NAME: &str = "orders";
const HPA: &str = "keda-hpa-orders";
const METRIC: &str = "s0-rabbitmq-orders";
const SECRET: &str = "rabbitmq";
/// The broker's default virtual host, which an AMQP URL without a path names.
const VHOST: &str = "/";

const MESSAGES: usize = 500;
/// Shorter than Kubernetes' own 15 s, so that the demo is over in about a minute.
const HPA_SYNC_PERIOD: Duration = Duration::from_secs(5);
/// What pulling an image and starting a consumer may take.
const POD_START_TIME: Duration = Duration::from_secs(2);
/// How often the table looks.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// Runs the demo. All that it starts belongs to the returned future, and ends with it.
///
/// # Errors
/// If something doesn't start, or a phase doesn't happen in its time; the error says what was seen instead.
pub async fn tell(keep: bool) -> Result<()> {
    println!(
        "A queue scales a Deployment from 0 to 10 replicas and back. On 127.0.0.1 this starts:"
    );
    println!(
        "  etcd, kube-apiserver, kube-controller-manager, kube-scheduler   a Kubernetes control plane"
    );
    println!(
        "  kwok                                                            fake nodes: pods become Ready, no container runs"
    );
    println!("  rabbitmq-server                                                 the broker");
    println!(
        "  sakidori operator                                               what this is about"
    );
    println!();

    let options = ClusterOptions {
        hpa_sync_period: HPA_SYNC_PERIOD,
        pod_start_time: POD_START_TIME,
        ..ClusterOptions::default()
    };
    let cluster = step("control plane", Cluster::start(options)).await?;
    let broker = step("RabbitMQ", RabbitMq::start()).await?;
    let mut operator = step(
        "operator, its CRDs and the external metrics API",
        Operator::install(&cluster),
    )
    .await?;
    let client = cluster.client();
    broker.declare_queue(VHOST, NAME).await?;
    let target = step(
        &format!("{EXAMPLE}/ applied and Ready"),
        apply_example(&client, &broker.amqp_url()),
    )
    .await?;
    println!();
    println!(
        "Every Ready pod takes {MESSAGES_PER_SECOND} messages a second from the queue; this program does that for the fake pods."
    );
    println!(
        "The HPA controller looks every {} s.",
        HPA_SYNC_PERIOD.as_secs()
    );
    println!();

    let (ready, consumers) = watch::channel(0);
    let watching = async {
        let mut story = Story::new(&client, &broker, ready);
        broker.publish(VHOST, NAME, MESSAGES).await?;
        println!("{MESSAGES} messages are in the queue.");
        let times = match story.run(target.max_replicas).await {
            Ok(times) => times,
            Err(error) => {
                story.table.end()?;
                return Err(anyhow!(
                    "{error:#}\n{}",
                    diagnosis(&client, &operator, NAMESPACE, &[NAME]).await
                ));
            }
        };
        story.table.end()?;
        times.print(target.max_replicas);
        if keep {
            print_how_to_look(&cluster, &broker);
            story.watch_forever().await?;
        }
        Ok(())
    };
    // The consumers never end of themselves; when the story has ended, they are dropped.
    let outcome = tokio::select! {
        outcome = watching => outcome,
        outcome = consumers::consume(&broker, VHOST, NAME, consumers) => outcome.context("the consumers lost RabbitMQ"),
    };
    outcome?;
    operator.terminate(Duration::from_secs(5)).await?;
    Ok(())
}

/// What the story needs of the ScaledObject.
struct Target {
    max_replicas: i32,
}

/// Applies the example as it stands in the repository; only the broker's address is put into its Secret, as a user does.
async fn apply_example(client: &Client, amqp_url: &str) -> Result<Target> {
    let mut objects = manifests::parse_folder(&binary::repository().join(Path::new(EXAMPLE)))?;
    // kubectl is told to apply the namespace first; so do we.
    objects.sort_by_key(|object| kind(object) != "Namespace");
    let secret = objects
        .iter_mut()
        .find(|object| kind(object) == "Secret" && object.metadata.name.as_deref() == Some(SECRET))
        .with_context(|| format!("{EXAMPLE} has no Secret {SECRET:?}"))?;
    secret.data["stringData"]["host"] = json!(amqp_url);
    manifests::apply_objects(client, NAMESPACE, &objects).await?;

    let api: Api<ScaledObject> = Api::namespaced(client.clone(), NAMESPACE);
    let object = eventually(
        "ScaledObject that is Ready",
        Duration::from_secs(30),
        async || {
            let object = api.get(NAME).await?;
            let conditions = object
                .status
                .as_ref()
                .map(|status| status.conditions.clone())
                .unwrap_or_default();
            let ready = conditions
                .iter()
                .find(|condition| condition.type_ == "Ready")
                .context("no condition Ready yet")?;
            ensure!(
                ready.status == "True",
                "{} {}: {}",
                ready.status,
                ready.reason,
                ready.message
            );
            observe::hpa(client, NAMESPACE, HPA).await?;
            Ok(Some(object))
        },
    )
    .await?;
    let max_replicas = object
        .spec
        .max_replica_count
        .context("the example states maxReplicaCount")?;
    let replicas = observe::replicas(client, NAMESPACE, NAME).await?;
    ensure!(
        replicas.wanted == 0,
        "the Deployment starts at {} replicas, not at 0",
        replicas.wanted
    );
    Ok(Target { max_replicas })
}

/// How long after the last publish each thing happened.
struct Times {
    first_replica: Duration,
    first_ready: Duration,
    all_replicas: Duration,
    all_ready: Duration,
    empty: Duration,
    none: Duration,
}

impl Times {
    fn print(&self, max_replicas: i32) {
        println!();
        println!("From the message to");
        for (what, time) in [
            ("the first replica wanted".to_owned(), self.first_replica),
            ("the first pod Ready".to_owned(), self.first_ready),
            (format!("{max_replicas} replicas wanted"), self.all_replicas),
            (format!("{max_replicas} pods Ready"), self.all_ready),
            ("an empty queue".to_owned(), self.empty),
            ("0 replicas".to_owned(), self.none),
        ] {
            println!("  {what:<26} {:>6.1} s", time.as_secs_f64());
        }
    }
}

/// Looks at everything, shows it, and tells the consumers how many they are.
struct Story<'a> {
    client: &'a Client,
    broker: &'a RabbitMq,
    ready: watch::Sender<i32>,
    table: Table<Stdout, Row>,
    start: Instant,
}

impl<'a> Story<'a> {
    fn new(client: &'a Client, broker: &'a RabbitMq, ready: watch::Sender<i32>) -> Self {
        let out = std::io::stdout();
        let terminal = out.is_terminal();
        Self {
            client,
            broker,
            ready,
            table: Table::new(out, terminal),
            start: Instant::now(),
        }
    }

    async fn run(&mut self, max: i32) -> Result<Times> {
        self.start = Instant::now();
        // The deadlines: a poll every 5 s, the HPA every 5 s, its second step 15 s after its first, 10 s of cooldown;
        // several times as long, because the machine may be busy.
        Ok(Times {
            first_replica: self
                .until("replica", 30, |row| row.replicas >= Some(1))
                .await?,
            first_ready: self
                .until("Ready pod", 30, |row| row.ready >= Some(1))
                .await?,
            all_replicas: self
                .until(&format!("{max} replicas"), 90, |row| {
                    row.replicas == Some(max)
                })
                .await?,
            all_ready: self
                .until(&format!("{max} Ready pods"), 30, |row| {
                    row.ready == Some(max)
                })
                .await?,
            empty: self
                .until("empty queue", 90, |row| row.queue == Some(0))
                .await?,
            none: self
                .until("return to 0 replicas", 60, |row| row.replicas == Some(0))
                .await?,
        })
    }

    /// Looks until `happened`, and gives the time since the start.
    async fn until(
        &mut self,
        what: &str,
        seconds: u64,
        happened: impl Fn(&Row) -> bool,
    ) -> Result<Duration> {
        let deadline = Instant::now() + Duration::from_secs(seconds);
        loop {
            let row = self.look().await;
            self.table.show(row.clone())?;
            if happened(&row) {
                return Ok(row.time);
            }
            if Instant::now() >= deadline {
                bail!("no {what} within {seconds} s");
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    async fn watch_forever(&mut self) -> Result<()> {
        loop {
            let row = self.look().await;
            self.table.show(row)?;
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    async fn look(&mut self) -> Row {
        let (queue, metric, desired, replicas) = tokio::join!(
            self.broker.queue_depth(VHOST, NAME),
            observe::external_metric(self.client, NAMESPACE, METRIC, NAME),
            observe::hpa_desired(self.client, NAMESPACE, HPA),
            observe::replicas(self.client, NAMESPACE, NAME),
        );
        let replicas = replicas.ok();
        if let Some(replicas) = replicas {
            self.ready.send_replace(replicas.ready);
        }
        Row {
            time: self.start.elapsed(),
            queue: queue.ok(),
            metric: metric.ok().map(|metric| metric.value),
            desired: desired.ok().flatten(),
            replicas: replicas.map(|replicas| replicas.wanted),
            ready: replicas.map(|replicas| replicas.ready),
        }
    }
}

fn print_how_to_look(cluster: &Cluster, broker: &RabbitMq) {
    println!();
    println!("Everything keeps running. In another terminal:");
    println!("  export KUBECONFIG={}", cluster.kubeconfig().display());
    println!("  kubectl -n {NAMESPACE} get scaledobject,hpa,deployment");
    println!("  kubectl -n {NAMESPACE} edit scaledobject {NAME}");
    println!("RabbitMQ is at {}.", broker.amqp_url());
    println!("Ctrl-C stops and removes everything.");
    println!();
}
