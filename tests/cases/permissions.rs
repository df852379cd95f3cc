//! What the operator may do, with exactly the rules that Helm makes of the chart: no wildcard by default, and less where a value says so.
//! Whatever right is missing is told with the value that gives it, and nothing else stands still.

use std::sync::LazyLock;

use anyhow::{Context, Result, ensure};
use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::api::events::v1::Event;
use k8s_openapi::api::rbac::v1::{ClusterRole, ClusterRoleBinding, Role, RoleBinding};
use kube::api::{DeleteParams, ListParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Api, Client, Config, Resource};
use sakidori_api::ScaledObject;
use sakidori_test_cluster::{Cluster, ClusterOptions, eventually};
use sakidori_tests::namespace::deployment;
use sakidori_tests::{Operator, OperatorSettings, chart, manifests};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tokio::runtime::Runtime;
use tokio::sync::{Mutex, MutexGuard, OnceCell};

use crate::credential_sources::{
    authentication, cluster_wide, guarded, guarded_cluster_wide, require, secret,
};
use crate::scene::{SCALED_OBJECTS, SOON, Scene, condition};
use crate::targets::{STATEFUL_SETS, WORKERS, apply_when_served, worker, workers};

/// A client lives as long as the runtime that it was made on, and the cases share one.
static RUNTIME: LazyLock<Runtime> = LazyLock::new(|| Runtime::new().expect("a runtime"));
static CLUSTER: OnceCell<Mutex<Cluster>> = OnceCell::const_new();

/// A control plane on which one operator at a time has the rights of a case.
struct Stage<'a> {
    cluster: MutexGuard<'a, Cluster>,
}

fn play(case: impl AsyncFnOnce(&Stage<'_>) -> Result<()>) {
    let played = RUNTIME.block_on(async {
        let start = async || {
            let options = ClusterOptions {
                audit: false,
                acts_out_resizes: true,
                ..ClusterOptions::default()
            };
            let cluster = Cluster::start(options).await?;
            manifests::install_crds(&cluster.client()).await?;
            anyhow::Ok(Mutex::new(cluster))
        };
        let cluster = CLUSTER.get_or_try_init(start).await?;
        let stage = Stage {
            cluster: cluster.lock().await,
        };
        case(&stage).await
    });
    if let Err(error) = played {
        panic!("{error:#}");
    }
}

impl Stage<'_> {
    /// An operator with the rights that the chart gives with these values, and no others.
    async fn operator(&self, values: &Value) -> Result<Operator> {
        self.forget_rights().await?;
        let mut settings = OperatorSettings {
            log_level: "debug".to_owned(),
            ..OperatorSettings::new(self.allow(values).await?)
        };
        if let Some(namespaces) = values["watchNamespace"].as_str() {
            namespaces.clone_into(&mut settings.watch_namespace);
        }
        let mut operator = Operator::start(settings)?;
        operator.wait_ready(SOON).await?;
        Ok(operator)
    }

    async fn allow(&self, values: &Value) -> Result<std::path::PathBuf> {
        chart::service_account_with(&self.cluster, values).await
    }

    /// Takes away what an earlier case allowed.
    async fn forget_rights(&self) -> Result<()> {
        async fn all<K>(client: Client) -> Result<()>
        where
            K: Resource<DynamicType = ()> + Clone + DeserializeOwned + std::fmt::Debug,
        {
            let api: Api<K> = Api::all(client.clone());
            let ours = ListParams::default().labels("app.kubernetes.io/part-of=sakidori");
            for found in api.list(&ours).await?.items {
                let meta = found.meta();
                let name = meta.name.clone().unwrap_or_default();
                let plural = K::plural(&());
                let place = match &meta.namespace {
                    Some(namespace) => format!("namespaces/{namespace}/{plural}"),
                    None => plural.into_owned(),
                };
                let path = format!("/apis/{}/{place}/{name}", K::api_version(&()));
                let request = http::Request::delete(path)
                    .body(serde_json::to_vec(&DeleteParams::default())?)?;
                let _: Value = client.request(request).await?;
            }
            Ok(())
        }
        let client = self.cluster.client();
        all::<RoleBinding>(client.clone()).await?;
        all::<ClusterRoleBinding>(client.clone()).await?;
        all::<Role>(client.clone()).await?;
        all::<ClusterRole>(client).await
    }

    /// A client that is the operator's ServiceAccount.
    async fn as_operator(&self) -> Result<Client> {
        let kubeconfig = self
            .cluster
            .service_account_kubeconfig("keda", chart::SERVICE_ACCOUNT)
            .await?;
        let options = KubeConfigOptions::default();
        let kubeconfig = Kubeconfig::read_from(kubeconfig)?;
        let config = Config::from_custom_kubeconfig(kubeconfig, &options).await?;
        Ok(Client::try_from(config)?)
    }
}

/// Whether the API server refuses it.
fn is_forbidden<T>(answer: kube::Result<T>) -> Result<()> {
    match answer {
        Err(kube::Error::Api(status)) if status.code == 403 => Ok(()),
        Err(error) => Err(error).context("not refused for want of a right"),
        Ok(_) => anyhow::bail!("it was allowed"),
    }
}

/// A ScaledObject of the Worker `jobs`.
fn of_workers(scene: &Scene<'_>) -> Value {
    let target = json!({"apiVersion": "sakidori.test/v1", "kind": "Worker", "name": "jobs"});
    scene.scaled_object(
        "jobs",
        json!({"scaleTargetRef": target, "cooldownPeriod": 0}),
    )
}

#[test]
fn the_default_scales_workloads_and_says_how_another_kind_is_allowed() {
    play(async |stage| {
        let _operator = stage.operator(&json!({})).await?;
        let scene = Scene::open(&stage.cluster, "rights-kinds").await?;
        scene.deploy("web", 0).await?;
        let mut set = deployment("set", 0);
        set["kind"] = json!("StatefulSet");
        set["spec"]["serviceName"] = json!("set");
        scene.apply(set).await?;
        scene.apply(workers("workers", "Worker")).await?;
        apply_when_served(&scene, &worker("jobs")).await?;
        scene
            .apply(scene.scaled_object("web", json!({"cooldownPeriod": 0})))
            .await?;
        let target = json!({"scaleTargetRef": {"kind": "StatefulSet"}, "cooldownPeriod": 0});
        scene.apply(scene.scaled_object("set", target)).await?;
        scene.apply(of_workers(&scene)).await?;

        let message = scene.check_failed("jobs").await?;
        for part in [
            "no right to scale workers.sakidori.test \"jobs\"",
            "{apiGroup: \"sakidori.test\", kind: \"workers\"} to rbac.scaledRefKinds",
        ] {
            ensure!(message.contains(part), "{message}");
        }
        for (replicas, value) in [(1, 1), (0, 0), (1, 1)] {
            scene.set(value);
            scene.until_replicas("web", replicas).await?;
            scene
                .until_replicas_of(STATEFUL_SETS, "set", replicas)
                .await?;
        }
        ensure!(scene.replicas_of(WORKERS, "jobs").await? == 0);

        // The value that the message names is enough, without a restart.
        let kinds = json!([{"apiGroup": "sakidori.test", "kind": "workers"}]);
        stage
            .allow(&json!({"rbac": {"scaledRefKinds": kinds}}))
            .await?;
        scene.until_replicas_of(WORKERS, "jobs", 1).await?;
        scene.ready("jobs").await?;

        // Taken away again: it stays as it is, and the others go on.
        stage.allow(&json!({})).await?;
        scene.set(0);
        scene.until_replicas("web", 0).await?;
        ensure!(scene.replicas_of(WORKERS, "jobs").await? == 1);

        // Or everything.
        stage.allow(&json!({"rbac": {"wide": true}})).await?;
        scene.until_replicas_of(WORKERS, "jobs", 0).await?;
        scene.close().await
    });
}

#[test]
fn only_named_secrets_are_read() {
    play(async |stage| {
        let scene = Scene::open(&stage.cluster, "rights-secrets").await?;
        let named = json!([{"namespace": "rights-secrets", "names": ["mq"]}]);
        let _operator = stage.operator(&json!({"rbac": {"secrets": named}})).await?;
        scene.deploy("web", 0).await?;
        scene.deploy("other", 1).await?;
        scene.apply(secret("mq", "one")).await?;
        scene.apply(secret("unnamed", "unnamed")).await?;
        let from = |name: &str| {
            let entry = json!({"parameter": "token", "name": name, "key": "token"});
            json!({"secretTargetRef": [entry]})
        };
        scene.apply(authentication(&from("mq"))).await?;
        require(&scene, "one", 1);
        scene.apply(guarded(&scene)).await?;
        scene.until_replicas("web", 1).await?;
        scene.ready("web").await?;

        let mut unnamed = authentication(&from("unnamed"));
        unnamed["metadata"]["name"] = json!("unnamed");
        scene.apply(unnamed).await?;
        let mut object = guarded(&scene);
        object["metadata"]["name"] = json!("other");
        object["spec"]["scaleTargetRef"]["name"] = json!("other");
        object["spec"]["triggers"][0]["authenticationRef"]["name"] = json!("unnamed");
        scene.apply(object).await?;
        scene
            .until("what to allow", SCALED_OBJECTS, "other", |object| {
                let ready = condition(object, "Ready")?;
                let message = ready["message"].as_str()?;
                let told = message.contains("Secret rights-secrets/unnamed can't be read")
                    && message.contains("rbac.secrets of its Helm chart");
                (ready["status"] == "False" && told).then_some(())
            })
            .await?;
        ensure!(scene.replicas("other").await? == 1);

        // A watch by name needs no more than the name: a rotation is seen.
        require(&scene, "two", 1);
        scene.apply(secret("mq", "two")).await?;
        scene.ready("web").await?;
        let operator = stage.as_operator().await?;
        let secrets: Api<Secret> = Api::namespaced(operator, "rights-secrets");
        ensure!(secrets.get_opt("mq").await?.is_some());
        is_forbidden(secrets.list(&ListParams::default()).await)?;
        is_forbidden(secrets.get("unnamed").await)?;
        scene.close().await
    });
}

/// Of a pod that starts, what it requests.
async fn requested_cpu(scene: &Scene<'_>) -> Result<Option<String>> {
    let pods = scene.list("api/v1/pods").await?;
    let first = pods.first().map(|pod| {
        let cpu = &pod["spec"]["containers"][0]["resources"]["requests"]["cpu"];
        cpu.as_str().unwrap_or_default().to_owned()
    });
    Ok(first)
}

#[test]
fn pods_are_resized_only_where_the_chart_lets_the_operator() {
    play(async |stage| {
        let scene = Scene::open(&stage.cluster, "rights-resize").await?;
        let mut web = deployment("web", 1);
        let template = &mut web["spec"]["template"];
        // It doesn't become Ready within the case.
        template["metadata"]["annotations"] = json!({"kubelet.sakidori.test/start-time": "1h"});
        template["spec"]["containers"][0]["resources"]["requests"] = json!({"cpu": "100m"});
        scene.apply(web).await?;
        let policy = json!({"container": "main", "when": "starting", "cpu": "x2"});
        let resize = json!({"sakidori": {"inPlaceResize": {"policies": [policy]}}});
        let spec = json!({"minReplicaCount": 1, "advanced": resize});

        let without = json!({"rbac": {"inPlaceResize": false}});
        let operator = stage.operator(&without).await?;
        scene.apply(scene.scaled_object("web", spec)).await?;
        scene
            .until("no right", SCALED_OBJECTS, "web", |object| {
                let resized = condition(object, "Resized")?;
                let told = resized["message"].as_str()?.contains("cannot patch");
                (resized["reason"] == "NotAllowed" && told).then_some(())
            })
            .await?;
        scene.ready("web").await?;
        ensure!(requested_cpu(&scene).await?.as_deref() == Some("100m"));
        drop(operator);

        let _operator = stage.operator(&json!({})).await?;
        eventually("a pod that is boosted", SOON, async || {
            Ok((requested_cpu(&scene).await?.as_deref() == Some("200m")).then_some(()))
        })
        .await?;
        scene.close().await
    });
}

#[test]
fn watched_namespaces_are_all_that_there_is() {
    play(async |stage| {
        let values = json!({"watchNamespace": "rights-watched, rights-also"});
        let scene = Scene::open(&stage.cluster, "rights-watched").await?;
        let also = Scene::open(&stage.cluster, "rights-also").await?;
        let outside = Scene::open(&stage.cluster, "rights-outside").await?;
        let _operator = stage.operator(&values).await?;

        scene.deploy("web", 0).await?;
        scene.apply(secret("mq", "one")).await?;
        let entry = json!({"parameter": "token", "name": "mq", "key": "token"});
        let spec = json!({"secretTargetRef": [entry]});
        scene.apply(authentication(&spec)).await?;
        require(&scene, "one", 1);
        scene.apply(guarded(&scene)).await?;
        scene.until_replicas("web", 1).await?;
        scene.ready("web").await?;

        // What cluster-wide authentications refer to is in the operator's own namespace.
        also.deploy("web", 0).await?;
        let mut shared = secret("shared", "two");
        shared["metadata"]["namespace"] = json!("keda");
        also.apply(shared).await?;
        let entry = json!({"parameter": "token", "name": "shared", "key": "token"});
        let spec = json!({"secretTargetRef": [entry]});
        also.apply(cluster_wide("rights-shared", &spec)).await?;
        require(&also, "two", 1);
        also.apply(guarded_cluster_wide(&also, "rights-shared"))
            .await?;
        also.until_replicas("web", 1).await?;
        also.ready("web").await?;
        // Events of what is in no namespace are in `default`.
        let events: Api<Event> = Api::namespaced(stage.cluster.client(), "default");
        eventually("an Event of the authentication", SOON, async || {
            let events = events.list(&ListParams::default()).await?.items;
            let mut names = events
                .iter()
                .filter_map(|event| event.regarding.as_ref()?.name.as_deref());
            Ok(names.any(|name| name == "rights-shared").then_some(()))
        })
        .await?;

        let operator = stage.as_operator().await?;
        let all: Api<ScaledObject> = Api::all(operator.clone());
        is_forbidden(all.list(&ListParams::default()).await)?;
        let secrets: Api<Secret> = Api::namespaced(operator.clone(), &outside.namespace);
        is_forbidden(secrets.list(&ListParams::default()).await)?;
        let objects: Api<ScaledObject> = Api::namespaced(operator, &outside.namespace);
        is_forbidden(objects.list(&ListParams::default()).await)?;
        for scene in [&scene, &also] {
            scene.close().await?;
        }
        eventually("no ScaledObject", SOON, async || {
            Ok(scene.list(SCALED_OBJECTS).await?.is_empty().then_some(()))
        })
        .await
    });
}
