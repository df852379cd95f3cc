//! ScaledObjects and calendars from the cluster of the user's kubeconfig, with the user's own rights.

use anyhow::Context;
use kube::api::{ApiResource, DynamicObject, ListParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Api, Client, Config, Resource};
use sakidori_api::{ClusterSaleCalendar, SaleCalendar, ScaledObject};
use sakidori_plan::{Manifests, Origin};

pub struct Place {
    pub context: Option<String>,
    /// `None` is that of the context.
    pub namespace: Option<String>,
    pub all_namespaces: bool,
}

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
        let objects = match api.list(&ListParams::default()).await {
            Ok(objects) => objects,
            // No such kind in this cluster: then there are no such objects, which the plan's findings tell.
            Err(kube::Error::Api(status)) if status.code == 404 => continue,
            Err(error) => {
                return Err(error).with_context(|| format!("listing {}", resource.plural));
            }
        };
        for object in objects {
            let mut value = serde_json::to_value(&object).context("reading an object")?;
            // Lists don't say it of each item.
            value["apiVersion"] = resource.api_version.clone().into();
            value["kind"] = resource.kind.clone().into();
            manifests.take(&Origin::Cluster, value, &namespace);
        }
    }
    Ok(manifests)
}
