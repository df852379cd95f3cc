//! ScaledObjects, calendars and what their sources are in, from the cluster of the user's kubeconfig, with the user's own rights.
//!
//! What the user may not read, and kinds that the cluster doesn't have, are findings: the rest is planned.

use anyhow::Context;
use kube::api::{ApiResource, DynamicObject, GroupVersionKind, ListParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Api, Client, Config, Resource};
use sakidori_api::{ClusterSaleCalendar, SaleCalendar, ScaledObject};
use sakidori_plan::{Finding, Manifests, Origin, Severity};
use serde_json::Value;

pub struct Place {
    pub context: Option<String>,
    /// `None` is that of the context.
    pub namespace: Option<String>,
    pub all_namespaces: bool,
    /// Where ClusterSaleCalendars have their ConfigMaps and Secrets; `None` is where the operator is.
    pub cluster_object_namespace: Option<String>,
}

/// Objects of one answer: a large cluster's are not made into one text by the API server.
const PAGE: u32 = 500;

/// What the operator is registered as, in its own namespace.
const EXTERNAL_METRICS: &str = "v1beta1.external.metrics.k8s.io";

pub fn read(place: &Place) -> anyhow::Result<Manifests> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("starting the runtime")?;
    runtime.block_on(list(place))
}

async fn list(place: &Place) -> anyhow::Result<Manifests> {
    let kubeconfig =
        Kubeconfig::read().context("reading the kubeconfig; for manifests, name them with -f")?;
    let options = KubeConfigOptions {
        context: place.context.clone(),
        ..KubeConfigOptions::default()
    };
    let config = Config::from_custom_kubeconfig(kubeconfig, &options)
        .await
        .context("reading the kubeconfig")?;
    let namespace = place
        .namespace
        .clone()
        .unwrap_or_else(|| config.default_namespace.clone());
    let client = Client::try_from(config).context("making a client of the kubeconfig")?;
    let mut manifests = Manifests::default();
    for resource in [
        ApiResource::erase::<ScaledObject>(&()),
        ApiResource::erase::<SaleCalendar>(&()),
        ApiResource::erase::<ClusterSaleCalendar>(&()),
    ] {
        let everywhere = place.all_namespaces || resource.kind == ClusterSaleCalendar::kind(&());
        let api: Api<DynamicObject> = if everywhere {
            Api::all_with(client.clone(), &resource)
        } else {
            Api::namespaced_with(client.clone(), &namespace, &resource)
        };
        for object in all(&api, &resource, &mut manifests).await? {
            let value = serde_json::to_value(&object).context("reading an object")?;
            let (version, kind) = (&*resource.api_version, &*resource.kind);
            take(&mut manifests, (version, kind), value, &namespace);
        }
    }
    if manifests.scaled_objects.is_empty() && manifests.findings.is_empty() {
        let place = match place.all_namespaces {
            true => "this cluster".to_owned(),
            false => format!("namespace {namespace} (-A looks in all)"),
        };
        tell(
            &mut manifests,
            Severity::Warning,
            format!("there is no ScaledObject in {place}"),
        );
    }
    sources(place, &client, &mut manifests).await?;
    quotas(place, &client, &namespace, &mut manifests).await?;
    Ok(manifests)
}

/// The ResourceQuotas that a floor may run into, and the targets that are under them: what can't be read costs no plan.
async fn quotas(
    place: &Place,
    client: &Client,
    namespace: &str,
    manifests: &mut Manifests,
) -> anyhow::Result<()> {
    let quota = resource("", "v1", "ResourceQuota");
    let api: Api<DynamicObject> = match place.all_namespaces {
        true => Api::all_with(client.clone(), &quota),
        false => Api::namespaced_with(client.clone(), namespace, &quota),
    };
    let listed = match pages(&api).await {
        Err(kube::Error::Api(status)) if status.code == 403 => {
            let message = format!(
                "ResourceQuotas are not considered, since you may not list them: {}",
                status.message
            );
            tell(manifests, Severity::Warning, message);
            return Ok(());
        }
        listed => listed.context("listing resourcequotas")?,
    };
    for object in listed {
        let value = serde_json::to_value(&object).context("reading a ResourceQuota")?;
        take(manifests, ("v1", "ResourceQuota"), value, namespace);
    }
    for (kind, namespace, name) in manifests.targets_under_quotas() {
        let target = resource("apps", "v1", &kind);
        let api = Api::namespaced_with(client.clone(), &namespace, &target);
        let read = get(&api, &name).await;
        match read.with_context(|| format!("reading {kind} {namespace}/{name}"))? {
            Read::Object(value) => take(manifests, ("apps/v1", &kind), value, &namespace),
            // Its pods count without what they ask for.
            Read::NotThere | Read::Forbidden(_) => {}
        }
    }
    Ok(())
}

/// Lists and reads don't say of an object what it is.
fn take(
    manifests: &mut Manifests,
    (version, kind): (&str, &str),
    mut value: Value,
    namespace: &str,
) {
    value["apiVersion"] = version.into();
    value["kind"] = kind.into();
    manifests.take(&Origin::Cluster, value, namespace);
}

/// All objects that there are, or a finding that says why there are none.
async fn all(
    api: &Api<DynamicObject>,
    resource: &ApiResource,
    manifests: &mut Manifests,
) -> anyhow::Result<Vec<DynamicObject>> {
    let ApiResource {
        kind, api_version, ..
    } = resource;
    let message = match pages(api).await {
        Ok(objects) => return Ok(objects),
        Err(kube::Error::Api(status)) if status.code == 404 => {
            format!("this cluster has no {kind} ({api_version}): its definition is not installed")
        }
        Err(kube::Error::Api(status)) if status.code == 403 => format!(
            "{kind} objects are not in the plan, since you may not list them: {}",
            status.message
        ),
        Err(error) => return Err(error).with_context(|| format!("listing {}", resource.plural)),
    };
    tell(manifests, Severity::Error, message);
    Ok(Vec::new())
}

async fn pages(api: &Api<DynamicObject>) -> Result<Vec<DynamicObject>, kube::Error> {
    let mut objects = Vec::new();
    let mut page = ListParams::default().limit(PAGE);
    loop {
        let list = api.list(&page).await?;
        objects.extend(list.items);
        match list.metadata.continue_ {
            Some(token) if !token.is_empty() => page = page.continue_token(&token),
            _ => return Ok(objects),
        }
    }
}

/// The ConfigMaps and Secrets of the calendars' sources.
async fn sources(place: &Place, client: &Client, manifests: &mut Manifests) -> anyhow::Result<()> {
    manifests.cluster_object_namespace = match &place.cluster_object_namespace {
        Some(namespace) => Some(namespace.clone()),
        None => operators_namespace(client).await,
    };
    for (kind, namespace, name) in manifests.referenced() {
        let resource = resource("", "v1", kind.word());
        let api = Api::namespaced_with(client.clone(), &namespace, &resource);
        let read = get(&api, &name)
            .await
            .with_context(|| format!("reading {} {namespace}/{name}", kind.word()))?;
        match read {
            Read::Object(value) => take(manifests, ("v1", kind.word()), value, &namespace),
            Read::NotThere => {}
            Read::Forbidden(message) => {
                manifests.unread.insert((kind, namespace, name), message);
            }
        }
    }
    Ok(())
}

enum Read {
    Object(Value),
    NotThere,
    Forbidden(String),
}

async fn get(api: &Api<DynamicObject>, name: &str) -> anyhow::Result<Read> {
    match api.get(name).await {
        Ok(object) => Ok(Read::Object(serde_json::to_value(&object)?)),
        Err(kube::Error::Api(status)) if status.code == 404 => Ok(Read::NotThere),
        Err(kube::Error::Api(status)) if status.code == 403 => {
            Ok(Read::Forbidden(status.message.clone()))
        }
        Err(error) => Err(error.into()),
    }
}

/// `None` where it is not registered, or the user may not see it: then the calendars that need it say so.
async fn operators_namespace(client: &Client) -> Option<String> {
    let resource = resource("apiregistration.k8s.io", "v1", "APIService");
    let services = Api::all_with(client.clone(), &resource);
    let service: DynamicObject = services.get(EXTERNAL_METRICS).await.ok()?;
    let namespace = service.data["spec"]["service"]["namespace"].as_str();
    namespace.map(str::to_owned)
}

fn resource(group: &str, version: &str, kind: &str) -> ApiResource {
    ApiResource::from_gvk(&GroupVersionKind::gvk(group, version, kind))
}

fn tell(manifests: &mut Manifests, severity: Severity, message: String) {
    manifests.findings.push(Finding {
        severity,
        origin: Origin::Cluster,
        object: String::new(),
        message,
    });
}
