//! A case's own namespace and event source on the shared bed, and what a person would do and see in it with kubectl: objects
//! are JSON here, since what is held is what stands in the API, word by word.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use kube::Client;
use sakidori_test_cluster::audit::Write;
use sakidori_test_cluster::{Cluster, eventually};
use sakidori_test_servers::{Answer, HttpSource};
use sakidori_tests::bed;
use sakidori_tests::manifests;
use sakidori_tests::namespace::{deployment, metrics_api};
use sakidori_tests::throughout::throughout;
use serde_json::{Value, json};

/// How long anything may take that should happen at once. Generous, since the machine may be compiling meanwhile.
pub const SOON: Duration = Duration::from_secs(30);

/// How long the garbage collector may take: it looks for kinds that are new to it every 30 s, and a cluster's ScaledObjects
/// are new when the first case deletes one.
const COLLECTED: Duration = Duration::from_secs(90);

/// The operator's user name: all its writes are under it.
pub const OPERATOR: &str = "system:serviceaccount:keda:keda-operator";

pub const SCALED_OBJECTS: &str = "apis/keda.sh/v1alpha1/scaledobjects";
pub const HPAS: &str = "apis/autoscaling/v2/horizontalpodautoscalers";
pub const DEPLOYMENTS: &str = "apis/apps/v1/deployments";
const EVENTS: &str = "apis/events.k8s.io/v1/events";

/// Runs a case on the shared control plane, in the namespace `name`.
pub fn play(name: &str, case: impl AsyncFnOnce(&Scene) -> Result<()>) {
    let bed = bed::shared().unwrap();
    let played = bed.run(async {
        let scene = Scene::open(&bed.cluster, name).await?;
        match case(&scene).await {
            Ok(()) => scene.close().await,
            Err(error) => bail!(
                "{error:#}\nthe operator's log on {name}:\n{}",
                log_on(name).await
            ),
        }
    });
    if let Err(error) = played {
        panic!("{error:#}");
    }
}

/// The last lines of the shared operator's log that hold `text`.
async fn log_on(text: &str) -> String {
    let log = shared_log().await;
    let lines: Vec<&str> = log.lines().filter(|line| line.contains(text)).collect();
    lines[lines.len().saturating_sub(40)..].join("\n")
}

/// The whole log of the shared operator.
pub async fn shared_log() -> String {
    let operator = bed::shared().unwrap().operator.lock().await;
    std::fs::read_to_string(operator.log_path()).unwrap_or_default()
}

/// A namespace with an HTTP source that answers `{"value": 0}` on [`PATH`].
pub struct Scene<'a> {
    pub cluster: &'a Cluster,
    pub client: Client,
    pub namespace: String,
    pub source: HttpSource,
}

/// Where the triggers of [`Scene::trigger`] look.
pub const PATH: &str = "/queue";

/// An Event on an object: type, reason and note.
pub type Told = (String, String, String);

impl<'a> Scene<'a> {
    pub async fn open(cluster: &'a Cluster, namespace: &str) -> Result<Scene<'a>> {
        cluster.create_namespace(namespace).await?;
        let scene = Scene {
            cluster,
            client: cluster.client(),
            namespace: namespace.to_owned(),
            source: HttpSource::start()?,
        };
        scene.set(0);
        Ok(scene)
    }

    /// The source goes with the case: nobody should go on asking it.
    pub async fn close(&self) -> Result<()> {
        let path = self.path(SCALED_OBJECTS, "");
        let request = http::Request::delete(path.trim_end_matches('/')).body(Vec::new())?;
        match self.client.request::<Value>(request).await {
            Err(kube::Error::Api(status)) if status.code != 404 => bail!("{status}"),
            _ => Ok(()),
        }
    }

    /// Sets the number that the source answers.
    pub fn set(&self, value: i64) {
        self.source.set(PATH, answer(value));
    }

    /// A `metrics-api` trigger on the scene's source, with a target of 10 a replica.
    pub fn trigger(&self) -> Value {
        self.trigger_on(PATH)
    }

    /// The same for another path of the source.
    pub fn trigger_on(&self, path: &str) -> Value {
        metrics_api(&self.source.url(path))
    }

    /// A ScaledObject for the Deployment of the same name, polled every second, with a cooldown of 2 s; `spec` is merged
    /// over that.
    pub fn scaled_object(&self, name: &str, spec: Value) -> Value {
        let mut whole = json!({
            "scaleTargetRef": {"name": name},
            "pollingInterval": 1,
            "cooldownPeriod": 2,
            "maxReplicaCount": 5,
            "triggers": [self.trigger()],
        });
        merge(&mut whole, spec);
        json!({
            "apiVersion": "keda.sh/v1alpha1",
            "kind": "ScaledObject",
            "metadata": {"name": name},
            "spec": whole,
        })
    }

    /// Applies one object, of which nothing stays that an earlier call gave and this one doesn't.
    pub async fn apply(&self, object: Value) -> Result<Value> {
        let object = serde_json::from_value(object).context("no Kubernetes object")?;
        let applied = manifests::apply_objects(&self.client, &self.namespace, &[object]).await?;
        Ok(serde_json::to_value(applied)?[0].take())
    }

    /// Applies a Deployment with that many replicas.
    pub async fn deploy(&self, name: &str, replicas: i32) -> Result<Value> {
        self.apply(deployment(name, replicas)).await
    }

    /// A Deployment `web` with that many replicas, and its ScaledObject `web`, ready.
    pub async fn bring_up(&self, replicas: i32, spec: Value) -> Result<()> {
        self.deploy("web", replicas).await?;
        self.apply(self.scaled_object("web", spec)).await?;
        self.ready("web").await
    }

    fn path(&self, resource: &str, name: &str) -> String {
        let (version, plural) = resource
            .rsplit_once('/')
            .expect("a resource with its version");
        format!("/{version}/namespaces/{}/{plural}/{name}", self.namespace)
    }

    /// An object as it is, without its long `managedFields`; `None` when there is none.
    pub async fn get(&self, resource: &str, name: &str) -> Result<Option<Value>> {
        let request = http::Request::get(self.path(resource, name)).body(Vec::new())?;
        match self.client.request::<Value>(request).await {
            Ok(mut object) => {
                merge(&mut object, json!({"metadata": {"managedFields": null}}));
                Ok(Some(object))
            }
            Err(kube::Error::Api(status)) if status.code == 404 => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// All objects of one kind.
    pub async fn list(&self, resource: &str) -> Result<Vec<Value>> {
        let path = self.path(resource, "");
        let request = http::Request::get(path.trim_end_matches('/')).body(Vec::new())?;
        let mut list: Value = self.client.request(request).await?;
        let items = list["items"].as_array_mut().context("no list")?;
        Ok(std::mem::take(items))
    }

    pub async fn delete(&self, resource: &str, name: &str) -> Result<()> {
        let request = http::Request::delete(self.path(resource, name)).body(Vec::new())?;
        let _: Value = self.client.request(request).await?;
        Ok(())
    }

    /// Creates an object as somebody else than the operator and [`Scene::apply`].
    pub async fn create(&self, resource: &str, object: &Value) -> Result<Value> {
        let path = self.path(resource, "");
        let request = http::Request::post(path.trim_end_matches('/'))
            .header("content-type", "application/json")
            .body(serde_json::to_vec(object)?)?;
        Ok(self.client.request(request).await?)
    }

    /// Merges `patch` into an object, as somebody else than the operator and [`Scene::apply`].
    pub async fn patch(&self, resource: &str, name: &str, patch: &Value) -> Result<Value> {
        let request = http::Request::patch(self.path(resource, name))
            .header("content-type", "application/merge-patch+json")
            .body(serde_json::to_vec(patch)?)?;
        Ok(self.client.request(request).await?)
    }

    /// Waits until `look` finds what it wants in an object, `null` where there is none.
    pub async fn until<T>(
        &self,
        what: &str,
        resource: &str,
        name: &str,
        look: impl Fn(&Value) -> Option<T>,
    ) -> Result<T> {
        self.until_within(SOON, what, resource, name, look).await
    }

    /// The same, so long at most.
    pub async fn until_within<T>(
        &self,
        time: Duration,
        what: &str,
        resource: &str,
        name: &str,
        look: impl Fn(&Value) -> Option<T>,
    ) -> Result<T> {
        let mut last = Value::Null;
        let found = eventually(what, time, async || {
            last = self.get(resource, name).await?.unwrap_or_default();
            Ok(look(&last))
        })
        .await;
        found.with_context(|| format!("{name} is {last:#}"))
    }

    /// Waits until an object is gone.
    pub async fn until_gone(&self, resource: &str, name: &str) -> Result<()> {
        let gone = |object: &Value| object.is_null().then_some(());
        self.until_within(COLLECTED, "absence", resource, name, gone)
            .await
    }

    /// Waits until a condition of a ScaledObject has this status and reason, and gives its message.
    pub async fn condition(
        &self,
        name: &str,
        kind: &str,
        status: &str,
        reason: &str,
    ) -> Result<String> {
        let what = format!("condition {kind} {status} {reason}");
        self.until(&what, SCALED_OBJECTS, name, |object| {
            let condition = condition(object, kind)?;
            let is = condition["status"] == status && condition["reason"] == reason;
            is.then(|| text(&condition["message"]))
        })
        .await
    }

    /// Waits until a ScaledObject is ready, as KEDA words it.
    pub async fn ready(&self, name: &str) -> Result<()> {
        let message = self
            .condition(name, "Ready", "True", "ScaledObjectReady")
            .await?;
        ensure!(
            message == "ScaledObject is defined correctly and is ready for scaling",
            "{message}"
        );
        Ok(())
    }

    /// Waits until a ScaledObject is not ready because it can't be scaled as it stands, and gives the reason in words.
    pub async fn check_failed(&self, name: &str) -> Result<String> {
        self.condition(name, "Ready", "False", "ScaledObjectCheckFailed")
            .await
    }

    /// `spec.replicas` of a Deployment.
    pub async fn replicas(&self, name: &str) -> Result<i64> {
        self.replicas_of(DEPLOYMENTS, name).await
    }

    /// `spec.replicas` of any object.
    pub async fn replicas_of(&self, resource: &str, name: &str) -> Result<i64> {
        let object = self.get(resource, name).await?.context("it is gone")?;
        object["spec"]["replicas"]
            .as_i64()
            .context("it has no spec.replicas")
    }

    /// Waits until a Deployment is to have that many replicas.
    pub async fn until_replicas(&self, name: &str, replicas: i64) -> Result<()> {
        self.until_replicas_of(DEPLOYMENTS, name, replicas).await
    }

    /// The same for any object.
    pub async fn until_replicas_of(&self, resource: &str, name: &str, replicas: i64) -> Result<()> {
        self.until(&format!("{replicas} replicas"), resource, name, |object| {
            (object["spec"]["replicas"] == replicas).then_some(())
        })
        .await
    }

    /// Watches that a Deployment keeps its replicas during the next `polls` of the scene's source on `path`.
    pub async fn stays(&self, name: &str, replicas: i64, path: &str, polls: u64) -> Result<()> {
        let end = self.source.requests(path) + polls;
        let deadline = Instant::now() + SOON;
        // One poll more, so that what the last one leads to is seen.
        while self.source.requests(path) <= end {
            let now = self.replicas(name).await?;
            ensure!(
                now == replicas,
                "{name} went from {replicas} to {now} replicas"
            );
            ensure!(
                Instant::now() < deadline,
                "{path} got {} requests, not {end}",
                self.source.requests(path)
            );
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        Ok(())
    }

    /// Watches that a Deployment keeps its replicas for a time, where there is no source whose polls could be counted.
    pub async fn stays_for(&self, name: &str, replicas: i64, time: Duration) -> Result<()> {
        throughout(
            &format!("{replicas} replicas of {name}"),
            time,
            async || {
                let now = self.replicas(name).await?;
                ensure!(now == replicas, "there are {now}");
                Ok(())
            },
        )
        .await
    }

    /// The Events on ScaledObject `name`, the oldest first; a series stands once.
    pub async fn told(&self, name: &str) -> Result<Vec<Told>> {
        let mut events = self.list(EVENTS).await?;
        events.retain(|event| {
            let kind = &event["regarding"]["kind"];
            (kind == "ScaledObject" || kind == "SaleCalendar") && event["regarding"]["name"] == name
        });
        events.sort_by_key(|event| text(&event["eventTime"]));
        Ok(events
            .iter()
            .map(|event| {
                (
                    text(&event["type"]),
                    text(&event["reason"]),
                    text(&event["note"]),
                )
            })
            .collect())
    }

    /// Waits until ScaledObject `name` has an Event with this reason, and gives its note.
    pub async fn until_told(&self, name: &str, reason: &str) -> Result<String> {
        self.until_told_that(name, reason, "").await
    }

    /// Waits until ScaledObject `name` has an Event with this reason whose note holds `part`, and gives its note.
    pub async fn until_told_that(&self, name: &str, reason: &str, part: &str) -> Result<String> {
        let mut last = Vec::new();
        let found = eventually(&format!("Event {reason} ({part})"), SOON, async || {
            last = self.told(name).await?;
            Ok(last
                .iter()
                .find(|(_, its, note)| its == reason && note.contains(part))
                .map(|(_, _, note)| note.clone()))
        })
        .await;
        found.with_context(|| format!("the Events are {last:#?}"))
    }

    /// What the operator has written in this namespace, without Events: `patch scaledobjects/status web`.
    pub fn writes(&self) -> Result<Vec<String>> {
        let log = self.cluster.write_log()?;
        Ok(log
            .iter()
            .filter(|write| write.username == OPERATOR && write.namespace == self.namespace)
            .filter(|write| write.resource != "events")
            .map(described)
            .collect())
    }
}

fn described(write: &Write) -> String {
    let slash = if write.subresource.is_empty() {
        ""
    } else {
        "/"
    };
    let Write {
        verb,
        resource,
        subresource,
        name,
        code,
        ..
    } = write;
    let failed = if *code < 300 {
        String::new()
    } else {
        format!(" ({code})")
    };
    format!("{verb} {resource}{slash}{subresource} {name}{failed}")
}

/// A JSON answer with this number as `value`.
pub fn answer(value: i64) -> Answer {
    Answer::json(&json!({"value": value}))
}

/// A condition of a ScaledObject.
pub fn condition<'v>(object: &'v Value, kind: &str) -> Option<&'v Value> {
    let conditions = object["status"]["conditions"].as_array()?;
    conditions
        .iter()
        .find(|condition| condition["type"] == kind)
}

pub fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

/// Merges objects; everything else, and lists, are replaced, and `null` removes.
pub fn merge(into: &mut Value, from: Value) {
    match (into, from) {
        (Value::Object(into), Value::Object(from)) => {
            for (key, value) in from {
                if value.is_null() {
                    into.remove(&key);
                } else {
                    merge(into.entry(key).or_insert(Value::Null), value);
                }
            }
        }
        (into, from) => *into = from,
    }
}

/// Fails with both values where they differ.
pub fn same(what: &str, found: &Value, expected: &Value) -> Result<()> {
    if found != expected {
        bail!("{what} is\n{found:#}\nexpected\n{expected:#}");
    }
    Ok(())
}
