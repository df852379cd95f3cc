//! A workload that is scaled, and whether anything has touched it.

use anyhow::{Context, Result, ensure};
use sakidori_test_cluster::Cluster;
use sakidori_tests::kubelet::{Kubelet, Relay};
use sakidori_tests::namespace::{deployment, metrics_api};
use serde_json::{Value, json};

use crate::scene::{DEPLOYMENTS, HPAS, PATH, SCALED_OBJECTS, Scene, answer, merge};

const HPA: &str = "keda-hpa-web";

/// A Deployment `web`, whose ScaledObject reads a number that the case sets.
pub struct Shop<'a> {
    pub scene: Scene<'a>,
    /// Where pods find the number.
    url: String,
    _relay: Relay,
}

/// All of it that must not change while something else does: the Deployment's generation counts every write of its replicas, and an HPA that was
/// deleted and made again has another uid.
#[derive(Debug, PartialEq)]
pub struct AsItWas {
    deployment: [Value; 3],
    hpa: [Value; 2],
    scaled_object: [Value; 2],
}

impl<'a> Shop<'a> {
    pub async fn open(cluster: &'a Cluster, kubelet: &Kubelet, namespace: &str) -> Result<Self> {
        let scene = Scene::open(cluster, namespace).await?;
        let relay = kubelet.expose(scene.source.port()).await?;
        Ok(Self {
            scene,
            url: format!("http://{}{PATH}", relay.address()),
            _relay: relay,
        })
    }

    /// Makes the Deployment with one replica, and what scales it.
    pub async fn bring_up(&self) -> Result<()> {
        self.scene.apply(deployment("web", 1)).await?;
        self.scene.apply(self.scaled_object()).await?;
        self.scene.ready("web").await
    }

    pub fn scaled_object(&self) -> Value {
        let spec = json!({"triggers": [metrics_api(&self.url)], "minReplicaCount": 1});
        self.scene.scaled_object("web", spec)
    }

    /// A Deployment with so many replicas, its ScaledObject with KEDA's label and finalizer, and the HPA that KEDA makes of it.
    pub async fn as_keda_left_it(&self, replicas: i32) -> Result<()> {
        self.scene
            .source
            .set(PATH, answer(i64::from(replicas) * 10));
        self.scene.apply(deployment("web", replicas)).await?;
        let mut object = self.scaled_object();
        merge(
            &mut object["metadata"],
            json!({
                "finalizers": ["finalizer.keda.sh"],
                "labels": {"scaledobject.keda.sh/name": "web"},
            }),
        );
        let object = self.scene.create(SCALED_OBJECTS, &object).await?;
        let hpa = json!({
            "apiVersion": "autoscaling/v2",
            "kind": "HorizontalPodAutoscaler",
            "metadata": {
                "name": HPA,
                "labels": {
                    "app.kubernetes.io/managed-by": "keda-operator",
                    "app.kubernetes.io/name": HPA,
                    "app.kubernetes.io/part-of": "web",
                    "app.kubernetes.io/version": "2.20.2",
                    "scaledobject.keda.sh/name": "web",
                },
                "ownerReferences": [{
                    "apiVersion": "keda.sh/v1alpha1",
                    "kind": "ScaledObject",
                    "name": "web",
                    "uid": object["metadata"]["uid"],
                    "controller": true,
                    "blockOwnerDeletion": true,
                }],
            },
            "spec": {
                "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"},
                "minReplicas": 1,
                "maxReplicas": 5,
                "metrics": [{"type": "External", "external": {
                    "metric": {
                        "name": "s0-metric-api-value",
                        "selector": {"matchLabels": {"scaledobject.keda.sh/name": "web"}},
                    },
                    "target": {"type": "AverageValue", "averageValue": "10"},
                }}],
            },
        });
        self.scene.create(HPAS, &hpa).await?;
        let status = json!({"status": {
            "hpaName": HPA,
            "externalMetricNames": ["s0-metric-api-value"],
            "originalReplicaCount": replicas,
            "scaleTargetKind": "apps/v1.Deployment",
            "scaleTargetGVKR": {"group": "apps", "kind": "Deployment", "resource": "deployments", "version": "v1"},
            "conditions": [{"type": "Ready", "status": "True", "reason": "ScaledObjectReady", "message": "ScaledObject is defined correctly and is ready for scaling"}],
        }});
        self.scene
            .patch(SCALED_OBJECTS, "web/status", &status)
            .await?;
        Ok(())
    }

    /// Sets the number, and waits until it has become replicas.
    pub async fn scale_to(&self, replicas: i64) -> Result<()> {
        self.scene.source.set(PATH, answer(replicas * 10));
        self.scene.until_replicas("web", replicas).await
    }

    /// Waits until the HPA has read its metric.
    pub async fn until_read(&self) -> Result<()> {
        let value = |hpa: &Value| {
            let current = &hpa["status"]["currentMetrics"][0]["external"]["current"];
            current["averageValue"].is_string().then_some(())
        };
        self.scene.until("metric", HPAS, HPA, value).await
    }

    /// Who has written the HPA.
    pub async fn writers_of_hpa(&self) -> Result<String> {
        let path = format!(
            "/apis/autoscaling/v2/namespaces/{}/horizontalpodautoscalers/{HPA}",
            self.scene.namespace
        );
        let request = http::Request::get(path).body(Vec::new())?;
        let hpa: Value = self.scene.client.request(request).await?;
        Ok(hpa["metadata"]["managedFields"].to_string())
    }

    async fn get(&self, resource: &str, name: &str) -> Result<Value> {
        let object = self.scene.get(resource, name).await?;
        object.with_context(|| format!("there is no {name}"))
    }

    pub async fn as_it_is(&self) -> Result<AsItWas> {
        let deployment = self.get(DEPLOYMENTS, "web").await?;
        let hpa = self.get(HPAS, HPA).await?;
        let object = self.get(SCALED_OBJECTS, "web").await?;
        let metadata = |object: &Value, field: &str| object["metadata"][field].clone();
        Ok(AsItWas {
            deployment: [
                metadata(&deployment, "uid"),
                metadata(&deployment, "generation"),
                deployment["spec"]["replicas"].clone(),
            ],
            hpa: [metadata(&hpa, "uid"), hpa["spec"].clone()],
            scaled_object: [metadata(&object, "uid"), object["spec"].clone()],
        })
    }

    /// Fails if anything of it is another than it was.
    pub async fn is_still(&self, before: &AsItWas) -> Result<()> {
        let now = self.as_it_is().await?;
        ensure!(now == *before, "it was {before:#?}\nand is {now:#?}");
        Ok(())
    }
}
