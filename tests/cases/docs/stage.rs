//! The control plane that the pages are run on: an operator, the chart's webhooks for all namespaces, and a folder for each page in which
//! the repository's folders are at hand.

use std::collections::BTreeSet;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use sakidori_test_cluster::{ClusterOptions, eventually, python};
use sakidori_tests::bed::{Bed, HPA_SYNC_PERIOD};
use sakidori_tests::docs::Page;
use sakidori_tests::docs::script::Yaml;
use sakidori_tests::{binary, chart, manifests};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::process::Command;

/// What a reader has at hand in the repository's folder.
const AT_HAND: [&str; 3] = ["charts", "docs", "examples"];

/// What pages make, and what is taken away after each.
const MADE: &str = "scaledobjects,triggerauthentications,salecalendars,hpa,deployments,statefulsets,cronjobs,services";
const MADE_OF_THE_CLUSTER: &str = "clustersalecalendars,clustertriggerauthentications";

/// The chart is installed already, by the parts that its processes need: what pages do with Helm is looked at and not carried out.
const HELM: &str = r#"#!/bin/sh
command="$1"
shift
case "$command" in
install) exec "$SAKIDORI_HELM" install --dry-run=client "$@" ;;
upgrade) exec "$SAKIDORI_HELM" upgrade --install --dry-run=client "$@" ;;
uninstall) exit 0 ;;
*) exec "$SAKIDORI_HELM" "$command" "$@" ;;
esac
"#;

/// The examples' sources are on nobody's machine: asking for them would leave this one. So they are dry runs, too.
const KUBECTL: &str = r#"#!/bin/sh
case " $* " in
*" apply "*" examples/"*) exec "$SAKIDORI_KUBECTL" "$@" --dry-run=server ;;
*) exec "$SAKIDORI_KUBECTL" "$@" ;;
esac
"#;

pub struct Stage {
    bed: Bed,
    folder: TempDir,
    helm: PathBuf,
    kubectl: PathBuf,
    yaml: Yaml,
}

impl Stage {
    pub fn start() -> Result<Self> {
        let options = ClusterOptions {
            hpa_sync_period: HPA_SYNC_PERIOD,
            hpa_downscale_stabilization: Some(Duration::ZERO),
            pod_start_time: Duration::from_secs(1),
            ..ClusterOptions::default()
        };
        let bed = Bed::start_with(options, |settings| settings.leader_elect = true)?;
        let folder = tempfile::tempdir()?;
        let programs = folder.path().join("bin");
        std::fs::create_dir(&programs)?;
        symlink(binary::sakidori()?, programs.join("sakidori"))?;
        for (name, script) in [("helm", HELM), ("kubectl", KUBECTL)] {
            let program = programs.join(name);
            std::fs::write(&program, script)?;
            std::fs::set_permissions(&program, PermissionsExt::from_mode(0o755))?;
        }
        let stage = Stage {
            folder,
            helm: python::helm()?,
            kubectl: kubectl()?,
            yaml: Yaml {
                values: values_of_the_chart()?,
                spec: fields_of_a_spec()?,
            },
            bed,
        };
        stage.run(async |stage| stage.ask_webhooks().await)?;
        Ok(stage)
    }

    pub fn run<T>(&self, play: impl AsyncFnOnce(&Self) -> Result<T>) -> Result<T> {
        self.bed.run(play(self))
    }

    pub fn yaml(&self) -> &Yaml {
        &self.yaml
    }

    /// A new folder for a page.
    pub fn folder(&self, page: &Page) -> Result<PathBuf> {
        let folder = self.folder.path().join(page.slug());
        std::fs::create_dir(&folder)?;
        for name in AT_HAND {
            symlink(
                binary::repository().join(name).canonicalize()?,
                folder.join(name),
            )?;
        }
        Ok(folder)
    }

    /// Runs a script in a page's folder and namespace; the inner error says how it ended.
    pub async fn shell(
        &self,
        page: &Page,
        folder: &Path,
        script: &str,
        within: Duration,
    ) -> Result<Result<(), String>> {
        let file = folder.join("page.sh");
        std::fs::write(&file, script)?;
        let kubeconfig = folder.join("kubeconfig");
        std::fs::copy(self.bed.cluster.kubeconfig(), &kubeconfig)?;
        let prepare = format!(
            "kubectl create namespace {0} && kubectl config set-context --current --namespace {0}",
            page.slug()
        );
        self.bash(folder, &["-c", &prepare], within)
            .await?
            .map_err(|ended| anyhow::anyhow!("{prepare}: {ended}"))?;
        self.bash(folder, &["page.sh"], within).await
    }

    async fn bash(
        &self,
        folder: &Path,
        arguments: &[&str],
        within: Duration,
    ) -> Result<Result<(), String>> {
        let path = std::env::var("PATH").unwrap_or_default();
        let child = Command::new("bash")
            .args(arguments)
            .current_dir(folder)
            .env(
                "PATH",
                format!("{}:{path}", self.folder.path().join("bin").display()),
            )
            .env("KUBECONFIG", folder.join("kubeconfig"))
            .env("SAKIDORI_HELM", &self.helm)
            .env("SAKIDORI_KUBECTL", &self.kubectl)
            .env("HOME", folder)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .context("can't start bash")?;
        let Ok(output) = tokio::time::timeout(within, child.wait_with_output()).await else {
            return Ok(Err(format!("not done after {within:?}")));
        };
        let output = output?;
        Ok(match output.status.success() {
            true => Ok(()),
            false => Err(format!(
                "{} {}{}",
                output.status,
                String::from_utf8_lossy(&output.stdout),
                String::from_utf8_lossy(&output.stderr)
            )),
        })
    }

    /// Takes away what a page has made, so that the next may use the same names.
    pub async fn clean(&self, page: &Page) -> Result<()> {
        let folder = self.folder.path().join(page.slug());
        let script = std::fs::read_to_string(folder.join("page.sh"))?;
        let own = page.slug();
        let named = sakidori_tests::docs::script::namespaces(page);
        let mut clean = String::new();
        for namespace in named.iter().chain([&own]).filter(|name| *name != "keda") {
            clean.push_str(&format!(
                "kubectl -n {namespace} delete --all --ignore-not-found {MADE} >/dev/null;"
            ));
        }
        // A dry run leaves nothing.
        if script.contains("Cluster") || script.contains("examples/") {
            clean.push_str(&format!(
                "kubectl delete --all {MADE_OF_THE_CLUSTER} >/dev/null"
            ));
        }
        let cleaned = self
            .bash(&folder, &["-c", &clean], Duration::from_secs(60))
            .await?;
        ensure!(cleaned.is_ok(), "{}: {cleaned:?}", page.path.display());
        Ok(())
    }

    /// Has the API server ask this operator about all objects, as the chart does.
    async fn ask_webhooks(&self) -> Result<()> {
        let (address, authority) = {
            let operator = self.bed.operator.lock().await;
            (
                operator.webhook_address(),
                BASE64_STANDARD.encode(operator.authority()),
            )
        };
        let mut objects = chart::render(&json!({})).await?;
        objects.retain(|object| {
            let types = object.types.as_ref();
            types.is_some_and(|types| types.kind == "ValidatingWebhookConfiguration")
        });
        let client = self.bed.cluster.client();
        for object in &mut objects {
            for webhook in object.data["webhooks"].as_array_mut().into_iter().flatten() {
                let path = webhook["clientConfig"]["service"]["path"].as_str();
                let url = format!("https://{address}{}", path.unwrap_or_default());
                webhook["clientConfig"] = json!({"url": url, "caBundle": authority});
                webhook["failurePolicy"] = json!("Fail");
            }
        }
        ensure!(!objects.is_empty(), "the chart has no webhooks");
        manifests::apply_objects(&client, "keda", &objects).await?;
        // The API server takes a moment to learn of them.
        let wrong = json!({
            "apiVersion": "keda.sh/v1alpha1",
            "kind": "ScaledObject",
            "metadata": {"name": "wrong", "namespace": "default"},
            "spec": {"scaleTargetRef": {"name": "a"}, "triggers": [{"type": "none", "metadata": {}}]},
        });
        eventually(
            "webhooks that are asked",
            Duration::from_secs(20),
            async || {
                let path = "/apis/keda.sh/v1alpha1/namespaces/default/scaledobjects?dryRun=All";
                let request = http::Request::post(path)
                    .header("content-type", "application/json")
                    .body(serde_json::to_vec(&wrong)?)?;
                match client.request::<Value>(request).await {
                    Err(kube::Error::Api(status))
                        if status.message.contains("denied the request") =>
                    {
                        Ok(Some(()))
                    }
                    Err(error) => Err(error.into()),
                    Ok(_) => Ok(None),
                }
            },
        )
        .await
    }
}

/// The reader's.
fn kubectl() -> Result<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .map(|folder| folder.join("kubectl"))
        .find(|program| program.is_file())
        .context("there is no kubectl in PATH, which the documentation's commands use")
}

/// The top-level names of the chart's values.
fn values_of_the_chart() -> Result<BTreeSet<String>> {
    let text = std::fs::read_to_string(binary::repository().join("charts/sakidori/values.yaml"))?;
    let values: Value = serde_saphyr::from_str(&text)?;
    let values = values.as_object().context("values.yaml has no fields")?;
    Ok(values.keys().cloned().collect())
}

/// The fields of a ScaledObject's spec, from its CRD.
fn fields_of_a_spec() -> Result<BTreeSet<String>> {
    let definitions = serde_json::to_value(sakidori_api::crds::all())?;
    let definitions = definitions.as_array().into_iter().flatten();
    let named = |crd: &&Value| crd["metadata"]["name"] == "scaledobjects.keda.sh";
    let definition = definitions
        .into_iter()
        .find(named)
        .context("there is no CRD")?;
    let spec =
        &definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"];
    let fields = spec["properties"]
        .as_object()
        .context("the CRD's spec has no fields")?;
    Ok(fields.keys().cloned().collect())
}
