//! That the fake kubelet acts out in-place resizes, on the real API server. Pods are bound to nodes of their own, so that nothing else takes
//! their room.

use anyhow::{Context, Result};
use k8s_openapi::api::core::v1::{Node, Pod};
use kube::api::{Api, DeleteParams, Patch, PatchParams, PostParams};
use sakidori_test_cluster::{Cluster, ClusterOptions, KWOK_USER, NodeSize, eventually, nodes};
use serde_json::{Value, json};

use crate::SOON;

/// One cluster for all: a start costs seconds. Each part has a namespace and nodes of its own, and they run at once.
#[tokio::test(flavor = "multi_thread")]
async fn a_kubelet_acts_out_resizes() -> Result<()> {
    let options = ClusterOptions {
        nodes: 0,
        acts_out_resizes: true,
        ..ClusterOptions::default()
    };
    let cluster = Cluster::start(options).await?;
    tokio::try_join!(
        it_is_taken_on_and_then_in_place(&cluster),
        it_waits_for_room(&cluster),
        it_is_infeasible_on_a_node_that_has_shrunk(&cluster),
        it_fails_half_way_and_recovers(&cluster),
        memory_in_use_is_not_taken_away(&cluster),
        a_container_restarts_where_its_policy_says_so(&cluster),
        a_silent_kubelet_writes_nothing(&cluster),
        a_later_resize_goes_in_the_place_of_an_earlier(&cluster),
        a_pod_starts_with_the_size_it_was_given_meanwhile(&cluster),
        a_sidecar_is_resized(&cluster),
        the_api_server_refuses_what_it_does_not_allow(&cluster),
    )?;
    two_hundred_pods_are_resized_at_once(&cluster).await
}

async fn it_is_taken_on_and_then_in_place(cluster: &Cluster) -> Result<()> {
    let stage = Stage::new(cluster, "taken", "8").await?;
    stage
        .pod(
            "web",
            &json!({nodes::RESIZE_TIME_ANNOTATION: "2s"}),
            &[app("100m", "1Gi")],
        )
        .await?;
    stage.ready("web").await?;
    stage
        .resize("web", &[("app", resources("2", "1Gi"))])
        .await?;
    let taken = stage
        .until("resize that is taken on", "web", |pod| {
            condition(pod, "PodResizeInProgress").is_some()
        })
        .await?;
    let condition_of = condition(&taken, "PodResizeInProgress").context("no condition")?;
    assert_eq!(condition_of["status"], "True");
    assert_eq!(condition_of.get("reason"), None, "{condition_of}");
    assert_eq!(
        condition_of["observedGeneration"],
        taken["metadata"]["generation"]
    );
    assert_eq!(
        taken["status"]["observedGeneration"],
        taken["metadata"]["generation"]
    );
    assert_eq!(allocated(&taken, "app"), "2");
    assert_eq!(actual(&taken, "app"), "100m", "it takes its time");
    let done = stage
        .until("resize that is in place", "web", |pod| {
            actual(pod, "app") == "2"
        })
        .await?;
    assert_eq!(condition(&done, "PodResizeInProgress"), None);
    assert_eq!(condition(&done, "PodResizePending"), None);
    assert_eq!(container(&done, "app")["restartCount"], 0);
    assert_eq!(
        condition(&done, "Ready").context("no Ready")?["status"],
        "True"
    );

    let refused = stage
        .resize("web", &[("app", resources("9", "1Gi"))])
        .await
        .err()
        .context("9 CPUs fit on a node of 8")?;
    assert!(
        format!("{refused:#}").contains(
            "node didn't have enough allocatable resources: cpu, requested: 9000, allocatable: 8000"
        ),
        "{refused:#}"
    );
    Ok(())
}

async fn it_waits_for_room(cluster: &Cluster) -> Result<()> {
    let stage = Stage::new(cluster, "room-for-it", "4").await?;
    for (name, cpu) in [("web", "1"), ("other", "2"), ("third", "500m")] {
        stage.pod(name, &json!({}), &[app(cpu, "1Gi")]).await?;
    }
    for name in ["web", "other", "third"] {
        stage.ready(name).await?;
    }
    stage
        .resize("web", &[("app", resources("2", "1Gi"))])
        .await?;
    let deferred = stage.pending("web", "Deferred").await?;
    let pending = condition(&deferred, "PodResizePending").context("no condition")?;
    assert_eq!(
        pending["message"],
        "Node didn't have enough resource: cpu, requested: 2000, used: 2500, capacity: 4000"
    );
    assert_eq!(
        pending["observedGeneration"],
        deferred["metadata"]["generation"]
    );
    assert_eq!(allocated(&deferred, "app"), "1");
    assert_eq!(actual(&deferred, "app"), "1");

    // Another pod shrinks.
    stage
        .resize("third", &[("app", resources("100m", "1Gi"))])
        .await?;
    stage
        .resize("other", &[("app", resources("1500m", "1Gi"))])
        .await?;
    let done = stage
        .until("resize once others shrank", "web", |pod| {
            actual(pod, "app") == "2"
        })
        .await?;
    assert_eq!(condition(&done, "PodResizePending"), None);

    // Another pod goes.
    stage
        .resize("web", &[("app", resources("3500m", "1Gi"))])
        .await?;
    stage.pending("web", "Deferred").await?;
    stage.pods.delete("other", &DeleteParams::default()).await?;
    stage
        .until("resize once another pod went", "web", |pod| {
            actual(pod, "app") == "3500m"
        })
        .await?;

    // The node grows.
    stage
        .resize("third", &[("app", resources("1", "1Gi"))])
        .await?;
    stage.pending("third", "Deferred").await?;
    stage.allocatable("8").await?;
    stage
        .until("resize once the node grew", "third", |pod| {
            actual(pod, "app") == "1"
        })
        .await?;
    Ok(())
}

async fn it_is_infeasible_on_a_node_that_has_shrunk(cluster: &Cluster) -> Result<()> {
    let stage = Stage::new(cluster, "infeasible", "8").await?;
    let silent = json!({nodes::RESIZE_SILENT_ANNOTATION: "true"});
    stage.pod("web", &silent, &[app("1", "1Gi")]).await?;
    stage.pod("told", &json!({}), &[app("1", "1Gi")]).await?;
    stage.ready("web").await?;
    stage
        .resize("web", &[("app", resources("6", "1Gi"))])
        .await?;
    stage.allocatable("4").await?;
    stage
        .annotate("web", nodes::RESIZE_SILENT_ANNOTATION, None)
        .await?;
    let pod = stage.pending("web", "Infeasible").await?;
    assert_eq!(
        condition(&pod, "PodResizePending").context("no condition")?["message"],
        "Node didn't have enough capacity: cpu, requested: 6000, capacity: 4000"
    );
    assert_eq!(allocated(&pod, "app"), "1");
    // Back to what it has: nothing is pending any more.
    stage
        .resize("web", &[("app", resources("1", "1Gi"))])
        .await?;
    stage.settled("web").await?;

    stage
        .annotate(
            "told",
            nodes::RESIZE_INFEASIBLE_ANNOTATION,
            Some("static CPUs"),
        )
        .await?;
    stage
        .resize("told", &[("app", resources("2", "1Gi"))])
        .await?;
    let pod = stage.pending("told", "Infeasible").await?;
    let pending = condition(&pod, "PodResizePending").context("no condition")?;
    assert_eq!(pending["message"], "static CPUs");
    Ok(())
}

async fn it_fails_half_way_and_recovers(cluster: &Cluster) -> Result<()> {
    let stage = Stage::new(cluster, "fails", "8").await?;
    let fails = json!({
        nodes::RESIZE_FAILS_ANNOTATION: "side",
        nodes::RESIZE_RECOVERS_AFTER_ANNOTATION: "3s",
    });
    let two = [app("1", "1Gi"), named("side", "100m", "1Gi")];
    stage.pod("web", &fails, &two).await?;
    let half = json!({nodes::RESIZE_FAILS_ANNOTATION: "true"});
    stage.pod("half", &half, &[app("1", "1Gi")]).await?;
    stage.ready("web").await?;
    let bigger = [
        ("app", resources("2", "1Gi")),
        ("side", resources("200m", "1Gi")),
    ];
    stage.resize("web", &bigger).await?;
    let failed = stage.failed("web").await?;
    assert_eq!(actual(&failed, "app"), "2");
    assert_eq!(actual(&failed, "side"), "100m");
    assert_eq!(allocated(&failed, "side"), "200m");
    let done = stage
        .until("resize that has recovered", "web", |pod| {
            actual(pod, "side") == "200m"
        })
        .await?;
    assert_eq!(condition(&done, "PodResizeInProgress"), None);

    // Memory comes before CPU: half of one container's resize.
    stage
        .resize("half", &[("app", resources("2", "2Gi"))])
        .await?;
    let failed = stage.failed("half").await?;
    assert_eq!(actual(&failed, "app"), "1");
    assert_eq!(
        container(&failed, "app")["resources"]["limits"]["memory"],
        "2Gi"
    );
    stage
        .annotate("half", nodes::RESIZE_FAILS_ANNOTATION, None)
        .await?;
    stage.settled("half").await?;
    assert_eq!(actual(&stage.get("half").await?, "app"), "2");
    Ok(())
}

async fn memory_in_use_is_not_taken_away(cluster: &Cluster) -> Result<()> {
    let stage = Stage::new(cluster, "memory", "8").await?;
    let in_use = json!({nodes::RESIZE_MEMORY_IN_USE_ANNOTATION: "600Mi"});
    stage.pod("web", &in_use, &[app("2", "1Gi")]).await?;
    stage.ready("web").await?;
    stage
        .resize("web", &[("app", resources("1", "512Mi"))])
        .await?;
    let kept = stage.failed("web").await?;
    let message =
        condition(&kept, "PodResizeInProgress").context("no condition")?["message"].clone();
    assert_eq!(
        message,
        "cannot decrease memory limits: [attempting to set pod memory limit (536870912) below current usage (629145600), \
         attempting to set container \"app\" memory limit (536870912) below current usage (629145600)]"
    );
    assert_eq!(actual(&kept, "app"), "2", "nothing of it is carried out");
    assert_eq!(
        container(&kept, "app")["resources"]["limits"]["memory"],
        "1Gi"
    );
    assert_eq!(allocated(&kept, "app"), "1");
    stage
        .annotate("web", nodes::RESIZE_MEMORY_IN_USE_ANNOTATION, Some("300Mi"))
        .await?;
    stage.settled("web").await?;
    let done = stage.get("web").await?;
    assert_eq!(
        container(&done, "app")["resources"]["limits"]["memory"],
        "512Mi"
    );
    Ok(())
}

async fn a_container_restarts_where_its_policy_says_so(cluster: &Cluster) -> Result<()> {
    let stage = Stage::new(cluster, "restarts", "8").await?;
    let mut container_of = app("1", "1Gi");
    container_of["resizePolicy"] =
        json!([{"resourceName": "memory", "restartPolicy": "RestartContainer"}]);
    let away = json!({nodes::RESIZE_RESTART_TIME_ANNOTATION: "2s"});
    stage.pod("web", &away, &[container_of]).await?;
    stage.ready("web").await?;
    stage
        .resize("web", &[("app", resources("2", "1Gi"))])
        .await?;
    stage.settled("web").await?;
    let before = stage.get("web").await?;
    assert_eq!(
        container(&before, "app")["restartCount"],
        0,
        "CPU needs no restart"
    );

    stage
        .resize("web", &[("app", resources("2", "2Gi"))])
        .await?;
    let away = stage
        .until("container that is away", "web", |pod| {
            container(pod, "app")["state"].get("terminated").is_some()
        })
        .await?;
    assert_eq!(container(&away, "app")["ready"], false);
    let ready = condition(&away, "Ready").context("no Ready")?;
    assert_eq!(
        (&ready["status"], &ready["reason"]),
        (&json!("False"), &json!("ContainersNotReady"))
    );
    assert_eq!(away["status"]["phase"], "Running");
    let back = stage
        .until("container that is back", "web", |pod| {
            container(pod, "app")["restartCount"] == 1
        })
        .await?;
    stage.ready("web").await?;
    let started = |pod: &Value| container(pod, "app")["state"]["running"]["startedAt"].clone();
    assert_ne!(started(&back), started(&before));
    assert!(
        container(&back, "app")["lastState"]
            .get("terminated")
            .is_some()
    );
    assert_eq!(
        container(&back, "app")["resources"]["limits"]["memory"],
        "2Gi"
    );
    Ok(())
}

async fn a_silent_kubelet_writes_nothing(cluster: &Cluster) -> Result<()> {
    let stage = Stage::new(cluster, "silent", "8").await?;
    let silent = json!({nodes::RESIZE_SILENT_ANNOTATION: "true"});
    stage.pod("web", &silent, &[app("1", "1Gi")]).await?;
    stage.pod("other", &json!({}), &[app("1", "1Gi")]).await?;
    stage.ready("web").await?;
    stage.ready("other").await?;
    let bigger = [("app", resources("2", "1Gi"))];
    stage.resize("web", &bigger).await?;
    stage.resize("other", &bigger).await?;
    // It had the same time.
    stage.settled("other").await?;
    let pod = stage.get("web").await?;
    assert_eq!(actual(&pod, "app"), "1");
    assert_eq!(allocated(&pod, "app"), "1");
    assert!(pod["status"]["observedGeneration"].as_i64() < pod["metadata"]["generation"].as_i64());
    stage
        .annotate("web", nodes::RESIZE_SILENT_ANNOTATION, None)
        .await?;
    stage.settled("web").await?;
    assert_eq!(actual(&stage.get("web").await?, "app"), "2");

    // The whole node: not even a new pod starts.
    let annotation = |value: Value| json!({"metadata": {"annotations": {nodes::RESIZE_SILENT_ANNOTATION: value}}});
    let nodes: Api<Node> = Api::all(cluster.client());
    let patch = Patch::Merge(annotation(json!("true")));
    nodes
        .patch(&stage.node, &PatchParams::default(), &patch)
        .await?;
    stage.pod("late", &json!({}), &[app("1", "1Gi")]).await?;
    let witness = Stage::new(cluster, "silent-witness", "8").await?;
    witness.pod("late", &json!({}), &[app("1", "1Gi")]).await?;
    witness.ready("late").await?;
    assert_eq!(stage.get("late").await?["status"].get("startTime"), None);
    let patch = Patch::Merge(annotation(Value::Null));
    nodes
        .patch(&stage.node, &PatchParams::default(), &patch)
        .await?;
    stage.ready("late").await
}

async fn a_later_resize_goes_in_the_place_of_an_earlier(cluster: &Cluster) -> Result<()> {
    let stage = Stage::new(cluster, "superseded", "8").await?;
    let slow = json!({nodes::RESIZE_TIME_ANNOTATION: "1h"});
    stage.pod("web", &slow, &[app("1", "1Gi")]).await?;
    stage.pod("other", &json!({}), &[app("4", "1Gi")]).await?;
    stage.ready("web").await?;
    stage.ready("other").await?;
    stage
        .resize("web", &[("app", resources("3", "1Gi"))])
        .await?;
    stage
        .until("first resize under way", "web", |pod| {
            allocated(pod, "app") == "3"
        })
        .await?;
    // One that has to wait: both.
    stage
        .resize("web", &[("app", resources("5", "1Gi"))])
        .await?;
    let both = stage.pending("web", "Deferred").await?;
    let progress = condition(&both, "PodResizeInProgress").context("the first has gone")?;
    assert!(progress["observedGeneration"].as_i64() < both["metadata"]["generation"].as_i64());
    assert_eq!(allocated(&both, "app"), "3");
    // And one that has not.
    stage
        .annotate("web", nodes::RESIZE_TIME_ANNOTATION, Some("0s"))
        .await?;
    stage
        .resize("web", &[("app", resources("2", "1Gi"))])
        .await?;
    stage.settled("web").await?;
    let done = stage.get("web").await?;
    assert_eq!(
        (actual(&done, "app"), allocated(&done, "app")),
        (json!("2"), json!("2"))
    );
    Ok(())
}

async fn a_pod_starts_with_the_size_it_was_given_meanwhile(cluster: &Cluster) -> Result<()> {
    let stage = Stage::new(cluster, "starting", "8").await?;
    let slow = json!({
        nodes::START_TIME_ANNOTATION: "6s",
        nodes::RUNNING_AFTER_ANNOTATION: "3s",
    });
    stage.pod("web", &slow, &[app("1", "1Gi")]).await?;
    let admitted = stage
        .until("pod with a start time", "web", |pod| {
            pod["status"].get("startTime").is_some()
        })
        .await?;
    assert_eq!(admitted["status"]["phase"], "Pending");
    let ready = condition(&admitted, "Ready").context("no Ready")?;
    assert_eq!(
        (&ready["status"], &ready["reason"]),
        (&json!("False"), &json!("ContainersNotReady"))
    );
    assert_eq!(
        condition(&admitted, "PodScheduled").context("not scheduled")?["status"],
        "True"
    );
    let container_of = container(&admitted, "app");
    assert_eq!(
        container_of["state"]["waiting"]["reason"],
        "ContainerCreating"
    );
    assert_eq!(container_of.get("resources"), None);
    assert_eq!(admitted["status"]["observedGeneration"], 1);
    // Before anything runs.
    stage
        .resize("web", &[("app", resources("2", "1Gi"))])
        .await?;
    let running = stage
        .until("pod that runs", "web", |pod| {
            pod["status"]["phase"] == "Running"
        })
        .await?;
    assert_eq!(
        (actual(&running, "app"), allocated(&running, "app")),
        (json!("2"), json!("2"))
    );
    assert_eq!(condition(&running, "PodResizeInProgress"), None);
    assert_eq!(container(&running, "app")["ready"], false);
    // And before it is ready.
    stage
        .resize("web", &[("app", resources("3", "1Gi"))])
        .await?;
    let resized = stage
        .until("resize of a pod that is not ready", "web", |pod| {
            actual(pod, "app") == "3"
        })
        .await?;
    assert_eq!(
        condition(&resized, "Ready").context("no Ready")?["status"],
        "False"
    );
    stage.ready("web").await
}

async fn a_sidecar_is_resized(cluster: &Cluster) -> Result<()> {
    let stage = Stage::new(cluster, "sidecar", "8").await?;
    let mut side = named("side", "100m", "1Gi");
    side["restartPolicy"] = json!("Always");
    let pod = json!({
        "metadata": {"name": "web"},
        "spec": {"nodeName": stage.node, "initContainers": [side], "containers": [app("1", "1Gi")]},
    });
    stage
        .pods
        .create(&PostParams::default(), &serde_json::from_value(pod)?)
        .await?;
    stage.ready("web").await?;
    let patch = json!({"spec": {"initContainers": [{"name": "side", "resources": resources("300m", "1Gi")}]}});
    stage
        .pods
        .patch_subresource(
            "resize",
            "web",
            &PatchParams::default(),
            &Patch::Strategic(patch),
        )
        .await?;
    stage
        .until("sidecar of its new size", "web", |pod| {
            actual(pod, "side") == "300m"
        })
        .await?;
    Ok(())
}

/// What comes before any kubelet, in the API server's words.
async fn the_api_server_refuses_what_it_does_not_allow(cluster: &Cluster) -> Result<()> {
    let stage = Stage::new(cluster, "refused", "8").await?;
    stage.pod("web", &json!({}), &[app("1", "1Gi")]).await?;
    let never = json!({nodes::START_TIME_ANNOTATION: "1h"});
    stage.pod("pending", &never, &[app("1", "1Gi")]).await?;
    stage.ready("web").await?;
    let objects: [(&str, &str, Value); 2] = [
        (
            "limitranges",
            "LimitRange",
            json!({"limits": [{"type": "Container", "max": {"cpu": "3"}}]}),
        ),
        (
            "resourcequotas",
            "ResourceQuota",
            json!({"hard": {"requests.memory": "1Gi"}}),
        ),
    ];
    for (plural, kind, spec) in objects {
        let object =
            json!({"apiVersion": "v1", "kind": kind, "metadata": {"name": "bound"}, "spec": spec});
        let request = http::Request::post(format!("/api/v1/namespaces/refused/{plural}"))
            .header("content-type", "application/json")
            .body(serde_json::to_vec(&object)?)?;
        cluster.client().request::<Value>(request).await?;
    }
    let refusal = async |pod: &str, resources: Value| -> Result<String> {
        let refused = stage.resize(pod, &[("app", resources)]).await;
        let refused = refused.err().with_context(|| format!("{pod} is resized"))?;
        Ok(format!("{refused:#}"))
    };
    for pod in ["web", "pending"] {
        let message = refusal(pod, resources("4", "1Gi")).await?;
        assert!(
            message.contains("maximum cpu usage per Container is 3, but limit is 4"),
            "{message}"
        );
        let message = refusal(pod, json!({"limits": {"memory": null}})).await?;
        assert!(
            message.contains("resource limits cannot be removed"),
            "{message}"
        );
        let equal = json!({"cpu": "1", "memory": "1Gi"});
        let message = refusal(pod, json!({"requests": equal, "limits": equal})).await?;
        assert!(
            message.contains("Pod QOS Class may not change as a result of resizing"),
            "{message}"
        );
    }
    let message = eventually("quota that is counted", SOON, async || {
        let larger = json!({"requests": {"memory": "1100Mi"}, "limits": {"memory": "2Gi"}});
        let message = refusal("web", larger).await?;
        Ok(message.contains("exceeded quota").then_some(message))
    })
    .await?;
    assert!(
        message.contains("exceeded quota: bound, requested: requests.memory="),
        "{message}"
    );
    // A pod that has not started, and of whose containers nothing is reported, is resized all the same.
    stage
        .resize("pending", &[("app", resources("2", "1Gi"))])
        .await?;
    stage.settled("pending").await
}

/// In one second, without a list for each.
async fn two_hundred_pods_are_resized_at_once(cluster: &Cluster) -> Result<()> {
    let stage = Stage::new(cluster, "many", "1000").await?;
    let at_once = json!({nodes::RESIZE_TIME_ANNOTATION: "0s"});
    let names: Vec<String> = (0..200).map(|index| format!("web-{index}")).collect();
    for name in &names {
        stage.pod(name, &at_once, &[app("1", "1Gi")]).await?;
    }
    // One by one: lists of them all would take the time of whom this is about.
    for name in &names {
        stage.ready(name).await?;
    }
    let writes = || anyhow::Ok(cluster.writes(KWOK_USER)?.of("pods", "status", "patch"));
    let before = writes()?;
    let bigger = [("app", resources("2", "1Gi"))];
    let began = std::time::Instant::now();
    futures::future::try_join_all(names.iter().map(|name| stage.resize(name, &bigger))).await?;
    let asked = began.elapsed();
    for name in &names {
        let resized = |pod: &Value| actual(pod, "app") == "2";
        stage.until("resized pod", name, resized).await?;
    }
    println!(
        "200 resizes asked for in {asked:?}, in place after {:?}",
        began.elapsed()
    );
    // Taken on, in place, and what had to be decided again because the pod had changed.
    let count = writes()? - before;
    assert!((200..=1000).contains(&count), "{count} writes");
    Ok(())
}

/// A namespace and a node for its pods.
struct Stage {
    client: kube::Client,
    pods: Api<Pod>,
    node: String,
}

impl Stage {
    async fn new(cluster: &Cluster, name: &str, cpu: &str) -> Result<Stage> {
        cluster.create_namespace(name).await?;
        let size = NodeSize {
            cpu: cpu.to_owned(),
            memory: "1000Gi".to_owned(),
            pods: 1000,
        };
        let node = format!("node-{name}");
        cluster.add_node(&node, &size).await?;
        Ok(Stage {
            client: cluster.client(),
            pods: Api::namespaced(cluster.client(), name),
            node,
        })
    }

    async fn pod(&self, name: &str, annotations: &Value, containers: &[Value]) -> Result<()> {
        let pod = json!({
            "metadata": {"name": name, "annotations": annotations},
            "spec": {"nodeName": self.node, "containers": containers},
        });
        self.pods
            .create(&PostParams::default(), &serde_json::from_value(pod)?)
            .await?;
        Ok(())
    }

    async fn get(&self, name: &str) -> Result<Value> {
        Ok(serde_json::to_value(self.pods.get(name).await?)?)
    }

    /// Gives the pod once it is as it should be.
    async fn until(&self, what: &str, name: &str, holds: impl Fn(&Value) -> bool) -> Result<Value> {
        let mut last = Value::Null;
        let found = eventually(what, SOON, async || {
            last = self.get(name).await?;
            Ok(holds(&last).then(|| last.clone()))
        })
        .await;
        found.with_context(|| format!("pod {name} is {last:#}"))
    }

    async fn ready(&self, name: &str) -> Result<()> {
        let ready = |pod: &Value| condition(pod, "Ready").is_some_and(|it| it["status"] == "True");
        self.until("Ready pod", name, ready).await.map(drop)
    }

    async fn pending(&self, name: &str, reason: &str) -> Result<Value> {
        let what = format!("resize that is {reason}");
        let pending = |pod: &Value| {
            condition(pod, "PodResizePending").is_some_and(|it| it["reason"] == reason)
        };
        self.until(&what, name, pending).await
    }

    async fn failed(&self, name: &str) -> Result<Value> {
        let failed = |pod: &Value| {
            condition(pod, "PodResizeInProgress").is_some_and(|it| it["reason"] == "Error")
        };
        self.until("resize that failed", name, failed).await
    }

    /// The kubelet has seen the newest resize, and nothing of it is left to do.
    async fn settled(&self, name: &str) -> Result<()> {
        let settled = |pod: &Value| {
            pod["status"]["observedGeneration"] == pod["metadata"]["generation"]
                && condition(pod, "PodResizePending").is_none()
                && condition(pod, "PodResizeInProgress").is_none()
        };
        self.until("pod without a resize", name, settled)
            .await
            .map(drop)
    }

    async fn resize(&self, name: &str, containers: &[(&str, Value)]) -> Result<()> {
        let containers: Vec<_> = containers
            .iter()
            .map(|(name, resources)| json!({"name": name, "resources": resources}))
            .collect();
        let patch = Patch::Strategic(json!({"spec": {"containers": containers}}));
        self.pods
            .patch_subresource("resize", name, &PatchParams::default(), &patch)
            .await?;
        Ok(())
    }

    async fn annotate(&self, name: &str, key: &str, value: Option<&str>) -> Result<()> {
        let patch = Patch::Merge(json!({"metadata": {"annotations": {key: value}}}));
        self.pods
            .patch(name, &PatchParams::default(), &patch)
            .await?;
        Ok(())
    }

    async fn allocatable(&self, cpu: &str) -> Result<()> {
        let patch = Patch::Merge(json!({"status": {"allocatable": {"cpu": cpu}}}));
        Api::<Node>::all(self.client.clone())
            .patch_status(&self.node, &PatchParams::default(), &patch)
            .await?;
        Ok(())
    }
}

fn app(cpu: &str, memory: &str) -> Value {
    named("app", cpu, memory)
}

fn named(name: &str, cpu: &str, memory: &str) -> Value {
    json!({"name": name, "image": "none", "resources": resources(cpu, memory)})
}

fn resources(cpu: &str, memory: &str) -> Value {
    json!({"requests": {"cpu": cpu, "memory": "64Mi"}, "limits": {"cpu": cpu, "memory": memory}})
}

fn condition(pod: &Value, kind: &str) -> Option<Value> {
    let conditions = pod["status"]["conditions"].as_array()?;
    conditions.iter().find(|it| it["type"] == kind).cloned()
}

/// A container's status, or that of a sidecar.
fn container(pod: &Value, name: &str) -> Value {
    let lists = ["containerStatuses", "initContainerStatuses"];
    let mut statuses = lists
        .iter()
        .flat_map(|list| pod["status"][list].as_array().into_iter().flatten());
    statuses
        .find(|it| it["name"] == name)
        .cloned()
        .unwrap_or_default()
}

/// The CPUs that a container has.
fn actual(pod: &Value, name: &str) -> Value {
    container(pod, name)["resources"]["limits"]["cpu"].clone()
}

/// The CPUs that its node keeps for it.
fn allocated(pod: &Value, name: &str) -> Value {
    container(pod, name)["allocatedResources"]["cpu"].clone()
}
