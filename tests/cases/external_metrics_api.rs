//! `external.metrics.k8s.io` as kubectl, the HPA controller and other clients of kube-apiserver see it.

use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};
use sakidori_test_cluster::eventually;
use sakidori_test_servers::Answer;
use sakidori_tests::bed;
use sakidori_tests::namespace::{Namespace, deployment, metrics_api, scaled_object};
use serde_json::{Value, json};

const GROUP: &str = "/apis/external.metrics.k8s.io";
const VERSION: &str = "/apis/external.metrics.k8s.io/v1beta1";
const METRIC: &str = "s0-metric-api-value";
const SELECTOR: &str = "?labelSelector=scaledobject.keda.sh%2Fname%3Dweb";
const SOON: Duration = Duration::from_secs(15);

/// `kubectl get --raw`, with a media type to ask for.
async fn raw(client: &Client, path: &str, accept: &str) -> kube::Result<Value> {
    let request = http::Request::get(path)
        .header("accept", accept)
        .body(Vec::new())
        .map_err(kube::Error::HttpError)?;
    client.request(request).await
}

async fn json_of(client: &Client, path: &str) -> Result<Value> {
    raw(client, path, "application/json")
        .await
        .with_context(|| format!("GET {path}"))
}

/// The Status that a request ends with: its code, reason and message.
async fn refusal(client: &Client, path: &str) -> Result<(u16, String, String)> {
    match raw(client, path, "application/json").await {
        Ok(answer) => bail!("GET {path} was answered: {answer}"),
        Err(kube::Error::Api(status)) => Ok((status.code, status.reason, status.message)),
        Err(error) => Err(error).context("not a Status"),
    }
}

async fn served(name: &str) -> Result<Namespace> {
    let bed = bed::shared()?;
    let namespace = bed.namespace(name).await?;
    bed.source.set("/api", Answer::json(&json!({"value": 7})));
    let spec = json!({"pollingInterval": 5, "triggers": [metrics_api(&bed.source.url("/api"))]});
    namespace
        .apply([deployment("web", 0), scaled_object("web", spec)])
        .await?;
    namespace.wait_value(METRIC, "web", 7.0, SOON).await?;
    Ok(namespace)
}

#[test]
fn a_metric_reads_as_the_list_that_clients_expect() -> Result<()> {
    let bed = bed::shared()?;
    bed.run(async {
        let namespace = served("api-read").await?;
        let path = format!("{VERSION}/namespaces/api-read/{METRIC}{SELECTOR}");
        let list = json_of(&namespace.client, &path).await?;
        ensure!(
            list["kind"] == "ExternalMetricValueList"
                && list["apiVersion"] == "external.metrics.k8s.io/v1beta1",
            "{list}"
        );
        let items = list["items"].as_array().context("no items")?;
        ensure!(items.len() == 1, "{list}");
        ensure!(
            items[0]["metricName"] == METRIC && items[0]["value"] == "7",
            "{list}"
        );
        let timestamp: jiff::Timestamp = items[0]["timestamp"]
            .as_str()
            .context("no timestamp")?
            .parse()?;
        let age = jiff::Timestamp::now().duration_since(timestamp);
        ensure!(age < jiff::SignedDuration::from_secs(10), "{age} old");
        // Whatever the case, as in KEDA.
        let upper = METRIC.to_uppercase();
        json_of(
            &namespace.client,
            &format!("{VERSION}/namespaces/api-read/{upper}{SELECTOR}"),
        )
        .await?;
        Ok(())
    })
}

#[test]
fn what_is_not_there_is_told_as_a_status() -> Result<()> {
    let bed = bed::shared()?;
    bed.run(async {
        let namespace = served("api-errors").await?;
        let client = &namespace.client;
        let here = format!("{VERSION}/namespaces/api-errors");
        let table = [
            (format!("{here}/s9-none{SELECTOR}"), 404, "NotFound", "s9-none"),
            (
                format!("{here}/{METRIC}?labelSelector=scaledobject.keda.sh%2Fname%3Dother"),
                404,
                "NotFound",
                "api-errors/other",
            ),
            (
                format!("{VERSION}/namespaces/nowhere/{METRIC}{SELECTOR}"),
                404,
                "NotFound",
                "nowhere/web",
            ),
            (format!("{here}/{METRIC}"), 400, "BadRequest", "scaledobject.keda.sh/name"),
            (
                format!("{here}/{METRIC}?labelSelector=app%3Dweb"),
                400,
                "BadRequest",
                "scaledobject.keda.sh/name",
            ),
            (format!("{here}/{METRIC}?labelSelector=%2C%2C"), 400, "BadRequest", ""),
            (format!("{VERSION}/nothing"), 404, "NotFound", ""),
        ];
        for (path, code, reason, text) in table {
            let (got_code, got_reason, message) = refusal(client, &path).await?;
            ensure!(
                got_code == code && got_reason == reason && message.contains(text),
                "GET {path}: expected {code} {reason} with {text:?}, got {got_code} {got_reason}: {message}"
            );
        }
        // A source that fails is neither: the metric is known, and has no value now.
        bed.source.set("/api-down", Answer::status(500));
        let down = json!({"pollingInterval": 5, "triggers": [metrics_api(&bed.source.url("/api-down"))]});
        namespace
            .apply([deployment("down", 0), scaled_object("down", down)])
            .await?;
        namespace
            .wait_ready("down", "False", "TriggerError", SOON)
            .await?;
        let path = format!("{here}/{METRIC}?labelSelector=scaledobject.keda.sh%2Fname%3Ddown");
        let (code, reason, message) = refusal(client, &path).await?;
        ensure!(
            code == 503 && reason == "ServiceUnavailable" && message.contains("500"),
            "{code} {reason}: {message}"
        );
        Ok(())
    })
}

#[test]
fn the_group_is_discovered_and_documented() -> Result<()> {
    let bed = bed::shared()?;
    bed.run(async {
        let client = bed.namespace("api-discovery").await?.client;
        let group = json_of(&client, GROUP).await?;
        ensure!(
            group["kind"] == "APIGroup"
                && group["preferredVersion"]["groupVersion"] == "external.metrics.k8s.io/v1beta1",
            "{group}"
        );
        let resources = json_of(&client, VERSION).await?;
        let resource = &resources["resources"][0];
        ensure!(
            resources["kind"] == "APIResourceList"
                && resource["kind"] == "ExternalMetricValueList"
                && resource["namespaced"] == true
                && resource["verbs"] == json!(["get"]),
            "{resources}"
        );
        let service = json_of(
            &client,
            "/apis/apiregistration.k8s.io/v1/apiservices/v1beta1.external.metrics.k8s.io",
        )
        .await?;
        let conditions = service["status"]["conditions"]
            .as_array()
            .context("no conditions")?;
        ensure!(
            conditions
                .iter()
                .any(|condition| condition["type"] == "Available" && condition["status"] == "True"),
            "{conditions:?}"
        );
        // What `kubectl api-resources` asks for. It complains where a version is stale.
        let accept = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList";
        eventually("the group in aggregated discovery", SOON, async || {
            let all = raw(&client, "/apis", accept).await?;
            let groups = all["items"].as_array().context("no items")?;
            let ours = groups
                .iter()
                .find(|group| group["metadata"]["name"] == "external.metrics.k8s.io")
                .context("the group is not there")?;
            let version = &ours["versions"][0];
            ensure!(version["freshness"] == "Current", "{ours}");
            ensure!(
                version["resources"][0]["resource"] == "externalmetrics",
                "{ours}"
            );
            Ok(Some(()))
        })
        .await?;
        eventually(
            "the schema in the cluster's OpenAPI documents",
            Duration::from_secs(30),
            async || {
                let v3 =
                    json_of(&client, "/openapi/v3/apis/external.metrics.k8s.io/v1beta1").await?;
                let schemas = v3["components"]["schemas"]
                    .as_object()
                    .context("no schemas")?;
                ensure!(
                    schemas
                        .keys()
                        .any(|name| name.ends_with("ExternalMetricValueList"))
                );
                let v2 = json_of(&client, "/openapi/v2").await?;
                let path = format!("{VERSION}/namespaces/{{namespace}}/{{metric}}");
                ensure!(v2["paths"].get(&path).is_some(), "v2 has no {path}");
                Ok(Some(()))
            },
        )
        .await
    })
}

#[test]
fn who_has_no_right_is_refused_and_who_is_given_it_may_read() -> Result<()> {
    let bed = bed::shared()?;
    bed.run(async {
        let namespace = served("api-rights").await?;
        namespace
            .apply([json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "reader"}})])
            .await?;
        let path = bed
            .cluster
            .service_account_kubeconfig("api-rights", "reader")
            .await?;
        let options = KubeConfigOptions::default();
        let config = Config::from_custom_kubeconfig(Kubeconfig::read_from(path)?, &options).await?;
        let reader = Client::try_from(config)?;
        let path = format!("{VERSION}/namespaces/api-rights/{METRIC}{SELECTOR}");
        let (code, reason, message) = refusal(&reader, &path).await?;
        ensure!(
            code == 403
                && reason == "Forbidden"
                && message.contains("system:serviceaccount:api-rights:reader")
                && message.contains(METRIC),
            "{code} {reason}: {message}"
        );

        let group = "rbac.authorization.k8s.io";
        namespace
            .apply([
                json!({
                    "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role", "metadata": {"name": "reader"},
                    "rules": [{"apiGroups": ["external.metrics.k8s.io"], "resources": ["*"], "verbs": ["get", "list"]}],
                }),
                json!({
                    "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding", "metadata": {"name": "reader"},
                    "roleRef": {"apiGroup": group, "kind": "Role", "name": "reader"},
                    "subjects": [{"kind": "ServiceAccount", "name": "reader", "namespace": "api-rights"}],
                }),
            ])
            .await?;
        eventually("a read by who was given the right", SOON, async || {
            Ok(Some(json_of(&reader, &path).await?))
        })
        .await?;
        // In its own namespace only.
        let (code, ..) = refusal(
            &reader,
            &format!("{VERSION}/namespaces/default/{METRIC}{SELECTOR}"),
        )
        .await?;
        ensure!(code == 403, "{code} in another namespace");

        // Without the API server in between, nobody is let in on their word.
        let operator = bed.operator.lock().await.external_metrics_address();
        let direct = reqwest::Client::builder()
            .no_proxy()
            .danger_accept_invalid_certs(true)
            .build()?;
        let answer = direct
            .get(format!("https://{operator}{path}"))
            .header("x-remote-user", "admin")
            .header("x-remote-group", "system:masters")
            .send()
            .await?;
        ensure!(
            [401, 403].contains(&answer.status().as_u16()),
            "{} for a client without a certificate",
            answer.status()
        );
        Ok(())
    })
}
