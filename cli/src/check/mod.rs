//! `sakidori check`: asks the cluster whether an installation works, as `helm test` does with the chart.

mod answers;

use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use clap::builder::BoolishValueParser;
use clap::{ArgAction, Args};
use kube::api::{ApiResource, DynamicObject, GroupVersionKind, PostParams};
use kube::{Api, Client, Config};
use serde_json::Value;
use tokio::time::{Instant, sleep};

use answers::Finding;

/// Check an installation: the definitions, who leads, the external metrics API, the webhooks.
///
/// The exit code is 1 where something doesn't work, and each line says what to do. Nothing is stored. The cluster is the one of KUBECONFIG;
/// without it, that of the pod it runs in.
#[derive(Args)]
#[command(after_help = "Example: sakidori check --namespace shop --pod-namespace keda")]
pub struct Arguments {
    /// Where a ScaledObject that has to be refused is applied, as a dry run: a namespace that the operator watches.
    #[arg(short, long, value_name = "NAMESPACE", default_value = "default")]
    namespace: String,

    /// The operator's own namespace.
    #[arg(
        long,
        env = "POD_NAMESPACE",
        value_name = "NAMESPACE",
        default_value = "keda"
    )]
    pod_namespace: String,

    /// The Lease by which one replica leads, in the operator's namespace.
    #[arg(long, value_name = "NAME", default_value = "operator.keda.sh")]
    leader_election_id: String,

    /// Expect the external metrics API.
    #[arg(long, value_name = "BOOL", default_value = "true", default_missing_value = "true", num_args = 0..=1,
          require_equals = true, action = ArgAction::Set, value_parser = BoolishValueParser::new())]
    external_metrics: bool,

    /// Expect the webhooks.
    #[arg(long, value_name = "BOOL", default_value = "true", default_missing_value = "true", num_args = 0..=1,
          require_equals = true, action = ArgAction::Set, value_parser = BoolishValueParser::new())]
    webhooks: bool,

    /// How long what doesn't work is asked again: an installation that has just been made is still starting.
    #[arg(long, value_name = "SECONDS", default_value = "60")]
    wait_seconds: u64,
}

/// Between two rounds: short for who waits, and a handful of requests for the API server.
const PAUSE: Duration = Duration::from_secs(1);

pub fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("starting the runtime")?;
    let findings = runtime.block_on(until_good(arguments))?;
    for finding in &findings {
        println!("{finding}");
    }
    Ok(match findings.iter().all(Finding::good) {
        true => ExitCode::SUCCESS,
        false => ExitCode::FAILURE,
    })
}

/// The first round in which all is well, or the last one.
async fn until_good(arguments: &Arguments) -> anyhow::Result<Vec<Finding>> {
    let mut config = Config::infer()
        .await
        .context("no way to reach the cluster: set KUBECONFIG, or run in a pod")?;
    // So that an API server which doesn't answer is told, and not waited for.
    config.connect_timeout = Some(Duration::from_secs(10));
    config.read_timeout = Some(Duration::from_secs(30));
    // kube's own retries take minutes to tell that an API answers 503.
    config.default_retry = false;
    let client = Client::try_from(config).context("preparing the Kubernetes client")?;
    let end = Instant::now() + Duration::from_secs(arguments.wait_seconds);
    loop {
        let findings = round(&client, arguments).await;
        if findings.iter().all(Finding::good) || Instant::now() >= end {
            return Ok(findings);
        }
        sleep(PAUSE).await;
    }
}

async fn round(client: &Client, arguments: &Arguments) -> Vec<Finding> {
    let mut findings = Vec::new();
    for version in ["keda.sh/v1alpha1", "sakidori.dev/v1alpha1"] {
        let served = client.list_api_group_resources(version).await;
        findings.push(answers::definitions(version, &served));
    }
    let lease = kind("coordination.k8s.io", "v1", "Lease");
    let leases = Api::namespaced_with(client.clone(), &arguments.pod_namespace, &lease);
    let lease = read(&leases, &arguments.leader_election_id).await;
    findings.push(answers::leader(&lease));
    if arguments.external_metrics {
        let services = Api::all_with(
            client.clone(),
            &kind("apiregistration.k8s.io", "v1", "APIService"),
        );
        let service = read(&services, answers::API_SERVICE).await;
        findings.push(answers::api_service(&service));
        let served = client
            .list_api_group_resources(answers::EXTERNAL_METRICS)
            .await;
        findings.push(answers::external_metrics(&served));
    }
    if arguments.webhooks {
        let scaled_object = kind("keda.sh", "v1alpha1", "ScaledObject");
        let api: Api<DynamicObject> =
            Api::namespaced_with(client.clone(), &arguments.namespace, &scaled_object);
        let dry_run = PostParams {
            dry_run: true,
            ..PostParams::default()
        };
        let bad = answers::bad_scaled_object(&scaled_object);
        findings.push(answers::webhooks(
            &api.create(&dry_run, &bad).await.map(drop),
        ));
    }
    findings
}

fn kind(group: &str, version: &str, kind: &str) -> ApiResource {
    ApiResource::from_gvk(&GroupVersionKind::gvk(group, version, kind))
}

async fn read(api: &Api<DynamicObject>, name: &str) -> Result<Value, kube::Error> {
    let object = api.get(name).await?;
    serde_json::to_value(object).map_err(kube::Error::SerdeError)
}
