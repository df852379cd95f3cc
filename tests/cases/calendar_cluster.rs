//! ClusterSaleCalendars, whose sources and credentials are in the cluster object namespace; and which Secrets calendars may read.

use anyhow::{Context, Result, bail, ensure};
use jiff::{SignedDuration, Timestamp};
use kube::Client;
use sakidori_test_cluster::eventually;
use sakidori_test_servers::HttpSource;
use sakidori_tests::canary::CANARY;
use serde_json::{Value, json};

use crate::calendars::{calendar, calendar_file, ics, until};
use crate::credential_sources::{authentication, cluster_wide, ready, secret};
use crate::installed::play_installed;
use crate::prescaling::{floor, from_now, trigger};
use crate::scene::{SOON, Scene, condition, merge, play};

const CLUSTER_CALENDARS: &str = "/apis/sakidori.dev/v1alpha1/clustersalecalendars";

/// The operator's own namespace, which is the cluster object namespace, too.
const OFFICE: &str = "keda";

fn in_office(mut object: Value, name: &str) -> Value {
    merge(
        &mut object,
        json!({"metadata": {"name": name, "namespace": OFFICE}}),
    );
    object
}

fn cluster_calendar(name: &str, sources: &Value) -> Value {
    let mut object = calendar(sources);
    merge(
        &mut object,
        json!({"kind": "ClusterSaleCalendar", "metadata": {"name": name}}),
    );
    object
}

/// A calendar in JSON with one sale in two days.
fn sale(name: &str) -> String {
    let start = Timestamp::now() + SignedDuration::from_hours(48);
    json!([{"name": name, "start": start.to_string(), "duration": "1h"}]).to_string()
}

fn stored(kind: &str, name: &str, text: &str) -> Value {
    let texts = if kind == "Secret" {
        "stringData"
    } else {
        "data"
    };
    let mut object = json!({"apiVersion": "v1", "kind": kind, "metadata": {"name": name}});
    object[texts] = json!({"sales.json": text});
    object
}

fn names(object: &Value) -> Vec<&str> {
    let all = object["status"]["occurrences"].as_array();
    let mut names: Vec<_> = all
        .into_iter()
        .flatten()
        .filter_map(|one| one["name"].as_str())
        .collect();
    names.sort_unstable();
    names
}

/// Waits until a ClusterSaleCalendar is not stale, with these occurrences.
async fn until_fresh(client: &Client, name: &str, expected: &[&str]) -> Result<()> {
    let mut last = Value::Null;
    let found = eventually("the calendar's occurrences", SOON, async || {
        let request = http::Request::get(format!("{CLUSTER_CALENDARS}/{name}")).body(Vec::new())?;
        last = client.request::<Value>(request).await?;
        let fresh = condition(&last, "Stale").is_some_and(|stale| stale["status"] == "False");
        Ok((fresh && names(&last) == expected).then_some(()))
    });
    found.await.with_context(|| format!("it is {last:#}"))
}

async fn delete(client: &Client, name: &str) -> Result<()> {
    let request = http::Request::delete(format!("{CLUSTER_CALENDARS}/{name}")).body(Vec::new())?;
    let _: Value = client.request(request).await?;
    Ok(())
}

#[test]
fn services_of_two_namespaces_share_a_cluster_wide_calendar() {
    play("cluster-one", async |scene| {
        let other = Scene::open(scene.cluster, "cluster-two").await?;
        let calendar = "cluster-shared";
        // In the services' namespaces, things of the same names say something else.
        for (place, suffix) in [(scene, "here"), (&other, "there")] {
            let text = sale(&format!("wrong-{suffix}"));
            for kind in ["ConfigMap", "Secret"] {
                place.apply(stored(kind, calendar, &text)).await?;
            }
            place.apply(secret("cluster-token", "wrong")).await?;
        }
        let source = HttpSource::start()?;
        let bearer = format!("Bearer {CANARY}-right");
        let drop = json!([{"name": "drop", "start": from_now(8).to_string(), "end": from_now(600).to_string()}]);
        let guarded = calendar_file(drop.to_string()).requiring("authorization", &bearer);
        source.set("/sales.json", guarded);
        for (kind, name) in [("ConfigMap", "mapped"), ("Secret", "embargoed")] {
            let object = in_office(stored(kind, calendar, &sale(name)), calendar);
            scene.apply(object).await?;
        }
        scene
            .apply(in_office(secret("", "right"), "cluster-token"))
            .await?;
        let modes = json!({
            "apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": ""}, "data": {"modes": "bearer"},
        });
        scene.apply(in_office(modes, "cluster-modes")).await?;
        let spec = json!({
            "configMapTargetRef": [{"parameter": "authModes", "name": "cluster-modes", "key": "modes"}],
            "secretTargetRef": [{"parameter": "bearerToken", "name": "cluster-token", "key": "token"}],
        });
        scene.apply(cluster_wide("cluster-token", &spec)).await?;
        // One that belongs to a namespace is looked for in the office, too.
        scene
            .apply(in_office(authentication(&spec), "cluster-own"))
            .await?;
        let key = json!({"name": calendar, "key": "sales.json"});
        let by = |name: &str, reference: Value| {
            json!({
                "name": name, "format": "json", "url": source.url("/sales.json"), "authenticationRef": reference,
            })
        };
        scene
            .apply(cluster_calendar(
                calendar,
                &json!([
                    by("by-cluster", json!({"name": "cluster-token", "kind": "ClusterTriggerAuthentication"})),
                    by("by-own", json!({"name": "cluster-own"})),
                    {"name": "mapped", "format": "json", "configMapKeyRef": key},
                    {"name": "embargoed", "format": "json", "secretKeyRef": key},
                ]),
            ))
            .await?;
        for place in [scene, &other] {
            place.deploy("web", 1).await?;
            let mut shared = trigger(calendar, floor(4));
            shared["metadata"]["calendarKind"] = json!("ClusterSaleCalendar");
            let spec = json!({"minReplicaCount": 1, "triggers": [shared]});
            place.apply(place.scaled_object("web", spec)).await?;
        }
        until_fresh(
            &scene.client,
            calendar,
            &["drop", "drop", "embargoed", "mapped"],
        )
        .await?;
        scene.until_replicas("web", 4).await?;
        other.until_replicas("web", 4).await?;
        other.close().await?;
        scene.close().await?;
        delete(&scene.client, calendar).await
    });
}

/// What docs/authentication.md says of triggers.
#[test]
fn calendars_read_no_secret_that_triggers_may_not() {
    play_installed(async |installed| {
        let scene = Scene::open(&installed.cluster, "cluster-restricted").await?;
        let mut settings = installed.watching(&scene.namespace);
        settings.environment = vec![("KEDA_RESTRICT_SECRET_ACCESS".to_owned(), "true".to_owned())];
        let _operator = ready(settings).await?;
        let source = HttpSource::start()?;
        let bearer = format!("Bearer {CANARY}-one");
        let guarded = calendar_file(ics("drop")).requiring("authorization", &bearer);
        source.set("/sales.ics", guarded);
        // Each is of the right content: what keeps it from counting is the restriction.
        let name = "cluster-restricted";
        scene
            .apply(stored("Secret", "embargoed", &sale("embargoed")))
            .await?;
        scene.apply(secret("token", "one")).await?;
        scene.apply(in_office(secret("", "one"), name)).await?;
        scene
            .apply(in_office(
                stored("Secret", "", &sale("embargoed")),
                "cluster-embargoed",
            ))
            .await?;
        let given = |secret: &str| {
            json!({
                "secretTargetRef": [{"parameter": "bearerToken", "name": secret, "key": "token"}],
                "configMapTargetRef": [{"parameter": "authModes", "name": "modes", "key": "modes"}],
            })
        };
        let modes = json!({
            "apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "modes"}, "data": {"modes": "bearer"},
        });
        scene.apply(modes.clone()).await?;
        scene.apply(in_office(modes, "modes")).await?;
        scene.apply(authentication(&given("token"))).await?;
        scene.apply(cluster_wide(name, &given(name))).await?;

        let by_url = |reference: Value| {
            json!([{
                "name": "marketing", "format": "ics", "url": source.url("/sales.ics"), "authenticationRef": reference,
            }])
        };
        let by_secret = |secret: &str| {
            json!([{
                "name": "embargoed", "format": "json", "secretKeyRef": {"name": secret, "key": "sales.json"},
            }])
        };
        let refused = |name: &str| {
            format!(
                "Secret cluster-restricted/{name} may not be read: KEDA_RESTRICT_SECRET_ACCESS allows Secrets of the \
                 namespace \"keda\" only"
            )
        };
        scene.apply(calendar(&by_secret("embargoed"))).await?;
        until(&scene, "True", &refused("embargoed"), &[]).await?;
        scene
            .apply(calendar(&by_url(json!({"name": "token"}))))
            .await?;
        until(&scene, "True", &refused("token"), &[]).await?;
        ensure!(source.all_requests() == 0, "it was asked without a token");
        // Nor is a Secret of the operator's read by its name.
        scene
            .apply(calendar(&by_secret("cluster-embargoed")))
            .await?;
        until(&scene, "True", &refused("cluster-embargoed"), &[]).await?;
        let reference = json!({"name": name, "kind": "ClusterTriggerAuthentication"});
        scene.apply(calendar(&by_url(reference))).await?;
        until(&scene, "False", "", &["drop"]).await?;

        // A cluster-wide calendar's Secrets are where they may be.
        scene
            .apply(cluster_calendar(name, &by_secret("cluster-embargoed")))
            .await?;
        until_fresh(&scene.client, name, &["embargoed"]).await?;
        delete(&scene.client, name).await?;
        match source.last("/sales.ics") {
            Some(last) if last.headers["authorization"] == bearer.as_str() => Ok(()),
            last => bail!("{last:?}"),
        }
    });
}
