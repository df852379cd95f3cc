//! What runs on the cluster: pods, resizes, HPAs, API writes.

use anyhow::{Context, Result};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::authorization::v1::SelfSubjectAccessReview;
use k8s_openapi::api::autoscaling::v2::HorizontalPodAutoscaler;
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{ConfigMap, Pod, ServiceAccount};
use kube::api::{Api, Patch, PatchParams, PostParams};
use sakidori_test_cluster::{
    Cluster, ClusterOptions, Component, ExternalMetricsTrust, KWOK_USER, NodeSize, eventually,
    nodes,
};
use serde_json::{Value, json};

use crate::SOON;

/// One cluster for all: a start costs seconds. Each part has a namespace of its own, and they run at once.
#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_runs_workloads() -> Result<()> {
    let options = ClusterOptions {
        hpa_sync_period: std::time::Duration::from_secs(1),
        node: NodeSize {
            cpu: "8".into(),
            memory: "16Gi".into(),
            pods: 50,
        },
        ..ClusterOptions::default()
    };
    let cluster = Cluster::start(options).await?;
    println!("ready in {:?}", cluster.start_duration());
    tokio::try_join!(
        a_deployment_becomes_ready(&cluster),
        a_pod_too_large_is_unschedulable(&cluster),
        annotations_set_how_long_pods_take(&cluster),
        a_resize_reaches_the_container(&cluster),
        an_hpa_without_a_metrics_server_says_so(&cluster),
        writes_are_counted_by_client(&cluster),
        a_service_account_has_only_its_own_rights(&cluster),
    )?;
    // Last, for it takes the API server away from the others.
    state_outlives_the_apiserver_and_etcd(&cluster).await
}

async fn a_deployment_becomes_ready(cluster: &Cluster) -> Result<()> {
    cluster.create_namespace("ready").await?;
    let deployments: Api<Deployment> = Api::namespaced(cluster.client(), "ready");
    deployments
        .create(&PostParams::default(), &deployment("web", 3)?)
        .await?;
    eventually("three Ready replicas", SOON, async || {
        let status = deployments
            .get("web")
            .await?
            .status
            .context("no status yet")?;
        Ok((status.ready_replicas == Some(3)).then_some(()))
    })
    .await
}

async fn a_pod_too_large_is_unschedulable(cluster: &Cluster) -> Result<()> {
    cluster.create_namespace("room").await?;
    let pods: Api<Pod> = Api::namespaced(cluster.client(), "room");
    pods.create(
        &PostParams::default(),
        &pod("large", &json!({}), &json!({"requests": {"cpu": "9"}}))?,
    )
    .await?;
    pods.create(
        &PostParams::default(),
        &pod("small", &json!({}), &json!({"requests": {"cpu": "1"}}))?,
    )
    .await?;
    eventually("Ready pod that fits", SOON, async || {
        condition(&pods, "small", "Ready", "True").await
    })
    .await?;
    eventually("unschedulable pod", SOON, async || {
        let reason = condition(&pods, "large", "PodScheduled", "False").await?;
        Ok(reason.filter(|reason| reason == "Unschedulable"))
    })
    .await?;
    // Room appears, and it runs.
    cluster
        .add_node(
            "large-node",
            &NodeSize {
                cpu: "16".into(),
                ..NodeSize::default()
            },
        )
        .await?;
    eventually("Ready large pod", SOON, async || {
        condition(&pods, "large", "Ready", "True").await
    })
    .await?;
    Ok(())
}

async fn annotations_set_how_long_pods_take(cluster: &Cluster) -> Result<()> {
    cluster.create_namespace("times").await?;
    let pods: Api<Pod> = Api::namespaced(cluster.client(), "times");
    let slow = pod(
        "slow",
        &json!({nodes::START_TIME_ANNOTATION: "3s"}),
        &json!({}),
    )?;
    pods.create(&PostParams::default(), &slow).await?;

    let jobs: Api<Job> = Api::namespaced(cluster.client(), "times");
    for (name, annotation) in [
        ("good", nodes::COMPLETE_AFTER_ANNOTATION),
        ("bad", nodes::FAIL_AFTER_ANNOTATION),
    ] {
        jobs.create(
            &PostParams::default(),
            &job(name, &json!({annotation: "100ms"}))?,
        )
        .await?;
    }
    eventually("succeeded and failed Job", SOON, async || {
        let succeeded = jobs
            .get("good")
            .await?
            .status
            .and_then(|status| status.succeeded);
        let failed = jobs
            .get("bad")
            .await?
            .status
            .and_then(|status| status.failed);
        Ok((succeeded == Some(1) && failed == Some(1)).then_some(()))
    })
    .await?;

    eventually("Ready slow pod", SOON, async || {
        condition(&pods, "slow", "Ready", "True").await
    })
    .await?;
    let status = pods.get("slow").await?.status.context("no status")?;
    let at = |kind: &str| {
        let mut conditions = status.conditions.iter().flatten();
        let condition = conditions.find(|condition| condition.type_ == kind)?;
        Some(condition.last_transition_time.as_ref()?.0.as_second())
    };
    let seconds =
        at("Ready").context("not Ready")? - at("PodScheduled").context("not scheduled")?;
    assert!(
        (2..=10).contains(&seconds),
        "a pod with a start time of 3 s took {seconds} s"
    );
    Ok(())
}

async fn a_resize_reaches_the_container(cluster: &Cluster) -> Result<()> {
    cluster.create_namespace("resize").await?;
    let pods: Api<Pod> = Api::namespaced(cluster.client(), "resize");
    let resources = json!({"requests": {"cpu": "100m", "memory": "64Mi"}, "limits": {"cpu": "1", "memory": "128Mi"}});
    pods.create(&PostParams::default(), &pod("web", &json!({}), &resources)?)
        .await?;
    eventually("Ready pod", SOON, async || {
        condition(&pods, "web", "Ready", "True").await
    })
    .await?;

    let to = |cpu: &str| {
        let resources = json!({"requests": {"cpu": cpu}, "limits": {"cpu": cpu}});
        Patch::Strategic(
            json!({"spec": {"containers": [{"name": "main", "resources": resources}]}}),
        )
    };
    pods.patch_subresource("resize", "web", &PatchParams::default(), &to("2"))
        .await?;
    eventually("container with 2 CPUs", SOON, async || {
        let status = serde_json::to_value(pods.get("web").await?.status)?;
        let container = &status["containerStatuses"][0];
        let cpus = (
            &container["resources"]["limits"]["cpu"],
            &container["allocatedResources"]["cpu"],
        );
        Ok((cpus == (&json!("2"), &json!("2")) && container["ready"] == true).then_some(()))
    })
    .await?;
    let refused = pods
        .patch_subresource("resize", "web", &PatchParams::default(), &to("9"))
        .await;
    let message = refused
        .err()
        .context("9 CPUs fit on a node of 8")?
        .to_string();
    assert!(
        message.contains("node didn't have enough allocatable resources"),
        "{message}"
    );
    Ok(())
}

async fn an_hpa_without_a_metrics_server_says_so(cluster: &Cluster) -> Result<()> {
    cluster.create_namespace("hpa").await?;
    let deployments: Api<Deployment> = Api::namespaced(cluster.client(), "hpa");
    deployments
        .create(&PostParams::default(), &deployment("web", 2)?)
        .await?;
    let hpas: Api<HorizontalPodAutoscaler> = Api::namespaced(cluster.client(), "hpa");
    let hpa = serde_json::from_value(json!({
        "metadata": {"name": "web"},
        "spec": {
            "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"},
            "minReplicas": 1,
            "maxReplicas": 5,
            "metrics": [{"type": "External", "external": {
                "metric": {"name": "queue"}, "target": {"type": "AverageValue", "averageValue": "5"},
            }}],
        },
    }))?;
    hpas.create(&PostParams::default(), &hpa).await?;
    let reason = async || -> Result<Option<String>> {
        let status = hpas.get("web").await?.status.context("no status yet")?;
        let mut conditions = status.conditions.into_iter().flatten();
        let active = conditions
            .find(|condition| condition.type_ == "ScalingActive" && condition.status == "False");
        Ok(active.and_then(|condition| condition.message))
    };
    let message = eventually("HPA that can't read its metric", SOON, async || {
        reason().await
    })
    .await?;
    assert!(message.contains("queue"), "{message}");

    // With a server that is registered but does not answer, it fails as well, and keeps the replicas.
    cluster
        .register_external_metrics(1, &ExternalMetricsTrust::Anything)
        .await?;
    eventually("HPA that names the missing server", SOON, async || {
        Ok(reason().await?.filter(|message| {
            message.contains("the server is currently unable to handle the request")
        }))
    })
    .await?;
    let spec = deployments.get("web").await?.spec.context("no spec")?;
    assert_eq!(spec.replicas, Some(2));
    Ok(())
}

async fn writes_are_counted_by_client(cluster: &Cluster) -> Result<()> {
    cluster.create_namespace("writes").await?;
    let maps: Api<ConfigMap> = Api::namespaced(cluster.client(), "writes");
    let map = serde_json::from_value(json!({"metadata": {"name": "one"}}))?;
    maps.create(&PostParams::default(), &map).await?;
    let patch = Patch::Merge(json!({"data": {"a": "b"}}));
    maps.patch("one", &PatchParams::default(), &patch).await?;
    maps.patch("one", &PatchParams::default(), &patch).await?;
    maps.get("one").await?;

    let writes = cluster.writes("admin")?;
    assert_eq!(writes.of("configmaps", "", "create"), 1, "{writes}");
    assert_eq!(writes.of("configmaps", "", "patch"), 2, "{writes}");
    assert_eq!(writes.resource("configmaps"), 3, "{writes}");
    assert_eq!(cluster.writes("nobody")?.total(), 0);
    eventually("writes of the fake kubelet", SOON, async || {
        let count = cluster.writes(KWOK_USER)?.of("pods", "status", "patch");
        Ok((count > 0).then_some(()))
    })
    .await
}

async fn a_service_account_has_only_its_own_rights(cluster: &Cluster) -> Result<()> {
    cluster.create_namespace("rights").await?;
    let accounts: Api<ServiceAccount> = Api::namespaced(cluster.client(), "rights");
    let account = serde_json::from_value(json!({"metadata": {"name": "reader"}}))?;
    accounts.create(&PostParams::default(), &account).await?;
    let path = cluster
        .service_account_kubeconfig("rights", "reader")
        .await?;
    let options = kube::config::KubeConfigOptions::default();
    let kubeconfig = kube::config::Kubeconfig::read_from(path)?;
    let client =
        kube::Client::try_from(kube::Config::from_custom_kubeconfig(kubeconfig, &options).await?)?;

    let review = serde_json::from_value(json!({"spec": {"resourceAttributes": {
        "namespace": "rights", "verb": "list", "resource": "secrets",
    }}}))?;
    let reviews: Api<SelfSubjectAccessReview> = Api::all(client.clone());
    let answer = reviews.create(&PostParams::default(), &review).await?;
    assert!(!answer.status.context("no answer")?.allowed, "RBAC is on");
    let refused = Api::<Pod>::namespaced(client, "rights").get("x").await;
    assert!(
        matches!(&refused, Err(kube::Error::Api(status)) if status.code == 403),
        "{refused:?}"
    );
    Ok(())
}

async fn state_outlives_the_apiserver_and_etcd(cluster: &Cluster) -> Result<()> {
    let before = cluster
        .process_id(Component::Apiserver)
        .context("no API server")?;
    cluster.restart_apiserver().await?;
    assert_ne!(cluster.process_id(Component::Apiserver), Some(before));
    cluster.kill(Component::Etcd);
    assert_eq!(cluster.process_id(Component::Etcd), None);
    cluster.run(Component::Etcd)?;
    cluster.wait_for_apiserver().await?;
    let deployments: Api<Deployment> = Api::namespaced(cluster.client(), "ready");
    deployments
        .patch(
            "web",
            &PatchParams::default(),
            &Patch::Merge(json!({"spec": {"replicas": 4}})),
        )
        .await?;
    eventually("a fourth Ready replica", SOON, async || {
        let status = deployments
            .get("web")
            .await?
            .status
            .context("no status yet")?;
        Ok((status.ready_replicas == Some(4)).then_some(()))
    })
    .await
}

/// The reason of a pod's condition, once it has that status.
async fn condition(
    pods: &Api<Pod>,
    name: &str,
    kind: &str,
    status: &str,
) -> Result<Option<String>> {
    let pod = pods.get(name).await?;
    let mut conditions = pod
        .status
        .into_iter()
        .flat_map(|status| status.conditions.unwrap_or_default());
    let found = conditions.find(|condition| condition.type_ == kind && condition.status == status);
    Ok(found.map(|condition| condition.reason.unwrap_or_default()))
}

fn pod(name: &str, annotations: &Value, resources: &Value) -> Result<Pod> {
    Ok(serde_json::from_value(json!({
        "metadata": {"name": name, "annotations": annotations},
        "spec": {"containers": [{"name": "main", "image": "none", "resources": resources}]},
    }))?)
}

fn deployment(name: &str, replicas: u32) -> Result<Deployment> {
    Ok(serde_json::from_value(json!({
        "metadata": {"name": name},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": {"app": name}},
            "template": {
                "metadata": {"labels": {"app": name}},
                "spec": {"containers": [{"name": "main", "image": "none"}]},
            },
        },
    }))?)
}

fn job(name: &str, annotations: &Value) -> Result<Job> {
    Ok(serde_json::from_value(json!({
        "metadata": {"name": name},
        "spec": {
            "backoffLimit": 0,
            "template": {
                "metadata": {"annotations": annotations},
                "spec": {"restartPolicy": "Never", "containers": [{"name": "main", "image": "none"}]},
            },
        },
    }))?)
}
