//! What a case does and sees in its namespace.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use k8s_openapi::api::autoscaling::v2::HorizontalPodAutoscaler;
use k8s_openapi::api::events::v1::Event;
use kube::Client;
use kube::api::{Api, DeleteParams, ListParams};
use sakidori_api::{Condition, ScaledObject};
use sakidori_engine::Quantity;
use sakidori_test_cluster::eventually;
use serde_json::{Value, json};

use crate::manifests;
use crate::observe::{self, ExternalMetricValue, Replicas};

/// One namespace, for one case: [`Bed::namespace`](crate::bed::Bed::namespace) makes it.
pub struct Namespace {
    pub client: Client,
    pub name: String,
}

impl Namespace {
    /// Applies objects of any kind.
    ///
    /// # Errors
    /// If the API server refuses one.
    pub async fn apply(&self, objects: impl IntoIterator<Item = Value>) -> Result<()> {
        let objects = objects
            .into_iter()
            .map(|object| serde_json::from_value(object).context("this is no Kubernetes object"))
            .collect::<Result<Vec<_>>>()?;
        manifests::apply_objects(&self.client, &self.name, &objects).await?;
        Ok(())
    }

    /// `spec.replicas` and Ready replicas of a Deployment.
    ///
    /// # Errors
    /// If there is none.
    pub async fn replicas(&self, deployment: &str) -> Result<Replicas> {
        observe::replicas(&self.client, &self.name, deployment).await
    }

    /// Waits until a Deployment has this many replicas, all Ready.
    ///
    /// # Errors
    /// If it hasn't in time.
    pub async fn wait_replicas(
        &self,
        deployment: &str,
        expected: i32,
        within: Duration,
    ) -> Result<()> {
        let what = format!("{expected} replicas of {}/{deployment}", self.name);
        eventually(&what, within, async || {
            let replicas = self.replicas(deployment).await?;
            ensure!(
                replicas.wanted == expected && replicas.ready == expected,
                "there are {replicas:?}"
            );
            Ok(Some(()))
        })
        .await
    }

    /// A ScaledObject as it is now.
    ///
    /// # Errors
    /// If there is none.
    pub async fn scaled_object(&self, name: &str) -> Result<ScaledObject> {
        Ok(Api::namespaced(self.client.clone(), &self.name)
            .get(name)
            .await?)
    }

    /// One of its conditions.
    ///
    /// # Errors
    /// If it has none of that type.
    pub async fn condition(&self, scaled_object: &str, kind: &str) -> Result<Condition> {
        let status = self.scaled_object(scaled_object).await?.status;
        status
            .into_iter()
            .flat_map(|status| status.conditions)
            .find(|condition| condition.type_ == kind)
            .with_context(|| format!("{scaled_object} has no condition {kind} yet"))
    }

    /// Waits until its Ready condition has this status and reason.
    ///
    /// # Errors
    /// If it hasn't in time.
    pub async fn wait_ready(
        &self,
        scaled_object: &str,
        status: &str,
        reason: &str,
        within: Duration,
    ) -> Result<()> {
        let what = format!("Ready={status} ({reason}) of {}/{scaled_object}", self.name);
        eventually(&what, within, async || {
            let ready = self.condition(scaled_object, "Ready").await?;
            ensure!(
                ready.status == status && ready.reason == reason,
                "it is {ready:?}"
            );
            Ok(Some(()))
        })
        .await
    }

    /// The notes of all Events with that reason about a ScaledObject.
    ///
    /// # Errors
    /// If the API server doesn't answer.
    pub async fn notes(&self, scaled_object: &str, reason: &str) -> Result<Vec<String>> {
        let api: Api<Event> = Api::namespaced(self.client.clone(), &self.name);
        let events = api.list(&ListParams::default()).await?;
        let about = |event: &Event| {
            event.regarding.as_ref().is_some_and(|regarding| {
                regarding.kind.as_deref() == Some("ScaledObject")
                    && regarding.name.as_deref() == Some(scaled_object)
            })
        };
        Ok(events
            .into_iter()
            .filter(|event| event.reason.as_deref() == Some(reason) && about(event))
            .filter_map(|event| event.note)
            .collect())
    }

    /// Waits for an Event with that reason whose note contains `text`, and gives the note.
    ///
    /// # Errors
    /// If there is none in time; with the notes that there are.
    pub async fn wait_note(
        &self,
        scaled_object: &str,
        reason: &str,
        text: &str,
        within: Duration,
    ) -> Result<String> {
        let what = format!(
            "Event {reason} of {}/{scaled_object} that says {text:?}",
            self.name
        );
        eventually(&what, within, async || {
            let notes = self.notes(scaled_object, reason).await?;
            let found = notes.iter().find(|note| note.contains(text)).cloned();
            ensure!(found.is_some(), "there is {notes:?}");
            Ok(found)
        })
        .await
    }

    /// Reads a metric through the aggregation layer, as the HPA controller does.
    ///
    /// # Errors
    /// The Status that the read ends with.
    pub async fn external_metric(
        &self,
        metric: &str,
        scaled_object: &str,
    ) -> Result<ExternalMetricValue> {
        observe::external_metric(&self.client, &self.name, metric, scaled_object).await
    }

    /// The value of a metric, read in the same way.
    ///
    /// # Errors
    /// The Status that the read ends with.
    pub async fn value(&self, metric: &str, scaled_object: &str) -> Result<f64> {
        let value = self.external_metric(metric, scaled_object).await?.value;
        let quantity: Quantity = value.parse()?;
        Ok(quantity.to_f64())
    }

    /// Waits until a metric reads as this value.
    ///
    /// # Errors
    /// If it doesn't in time.
    pub async fn wait_value(
        &self,
        metric: &str,
        scaled_object: &str,
        expected: f64,
        within: Duration,
    ) -> Result<()> {
        let what = format!(
            "value {expected} of {metric} of {}/{scaled_object}",
            self.name
        );
        eventually(&what, within, async || {
            let value = self.value(metric, scaled_object).await?;
            ensure!(value == expected, "it is {value}");
            Ok(Some(()))
        })
        .await
    }

    /// The HPA of a ScaledObject that names none.
    ///
    /// # Errors
    /// If there is none.
    pub async fn hpa(&self, scaled_object: &str) -> Result<HorizontalPodAutoscaler> {
        observe::hpa(
            &self.client,
            &self.name,
            &format!("keda-hpa-{scaled_object}"),
        )
        .await
    }

    /// Deletes a ScaledObject, so that its polls no longer count.
    ///
    /// # Errors
    /// If there is none.
    pub async fn delete_scaled_object(&self, name: &str) -> Result<()> {
        let api: Api<ScaledObject> = Api::namespaced(self.client.clone(), &self.name);
        api.delete(name, &DeleteParams::default()).await?;
        Ok(())
    }
}

/// A Deployment of pods that do nothing.
pub fn deployment(name: &str, replicas: i32) -> Value {
    json!({
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": {"app": name}},
            "template": {
                "metadata": {"labels": {"app": name}},
                "spec": {
                    "terminationGracePeriodSeconds": 0,
                    "containers": [{"name": "main", "image": "example.org/none:1"}],
                },
            },
        },
    })
}

/// A ScaledObject of the Deployment of the same name, with the given fields of its specification.
pub fn scaled_object(name: &str, mut spec: Value) -> Value {
    spec["scaleTargetRef"] = json!({"name": name});
    json!({
        "apiVersion": "keda.sh/v1alpha1",
        "kind": "ScaledObject",
        "metadata": {"name": name},
        "spec": spec,
    })
}

/// A trigger that reads `.value` of a JSON answer, ten for each replica; its metric is `s<index>-metric-api-value`.
pub fn metrics_api(url: &str) -> Value {
    json!({
        "type": "metrics-api",
        "metadata": {"url": url, "valueLocation": "value", "targetValue": "10"},
    })
}
