//! A real Prometheus reads an installation (who leads, who follows, and a metrics adapter) with enough going on, and is asked what KEDA's
//! dashboard, the chart's dashboards and the alerts ask.

mod alerts;
mod boards;
mod bounds;
mod keda;
mod page;
mod server;

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use jiff::{SignedDuration, Timestamp};
use sakidori_test_cluster::eventually;
use sakidori_test_servers::{Answer, HttpSource, Job, Prometheus};
use sakidori_tests::operator::Subcommand;
use sakidori_tests::webhooks::{self, WebhookSettings};
use serde_json::{Value, json};

use self::boards::{Board, Variable, filled_in};
use self::server::Asked;
use crate::replicas::{Installation, Process, play};
use crate::scene::{HPAS, SCALED_OBJECTS, SOON, Scene};

/// The namespace that targets have in the jobs of a cluster.
const INSTALLED_IN: &str = "keda";

/// Prometheus looks for what to scrape 5 s after its start; rates want two scrapes, and a sale has to begin.
const SHOWN_WITHIN: Duration = Duration::from_secs(60);

/// Of calls that have ended: the streams of this installation go on.
const RARE: &[&str] = &[
    "keda_internal_metricsservice_grpc_server_handled_total",
    "keda_internal_metricsservice_grpc_server_handling_seconds",
    "keda_internal_metricsservice_grpc_client_handled_total",
    "keda_internal_metricsservice_grpc_client_handling_seconds",
];

/// The processes of an installation, and who reads them.
struct Watched {
    leader: Process,
    follower: Process,
    adapter: Process,
    /// What kube-state-metrics shows in a cluster.
    hpas: HttpSource,
    prometheus: Prometheus,
}

impl Watched {
    async fn start(installation: &Installation, scene: &Scene<'_>) -> Result<Self> {
        let leader = installation.operator(scene).await?;
        let follower = installation.operator(scene).await?;
        let mut adapter = installation.process(Subcommand::MetricsAdapter, scene)?;
        adapter.operator.wait_ready(SOON).await?;
        // The HPA asks the one that doesn't lead.
        follower.operator.register(&installation.cluster).await?;
        let hpas = HttpSource::start()?;
        hpas.set("/metrics", Answer::prometheus(""));
        let all = [&leader, &follower, &adapter].map(|one| one.operator.metrics_address());
        let job = |name: &str, targets: &[SocketAddr], honor_labels| Job {
            name: name.to_owned(),
            targets: targets.to_vec(),
            labels: vec![("namespace".to_owned(), INSTALLED_IN.to_owned())],
            honor_labels,
        };
        let state = SocketAddr::from(([127, 0, 0, 1], hpas.port()));
        let prometheus = Prometheus::scraping(&[
            // As the chart's PodMonitor does.
            job("sakidori", &all, true),
            // As KEDA's ServiceMonitors do.
            job("keda-operator", &all[..2], false),
            job("keda-operator-metrics-apiserver", &all[2..], false),
            job("kube-state-metrics", &[state], true),
        ])
        .await?;
        Ok(Self {
            leader,
            follower,
            adapter,
            hpas,
            prometheus,
        })
    }

    /// The metrics of who leads, who follows, and the adapter.
    async fn texts(&self) -> Result<[String; 3]> {
        Ok([
            self.leader.operator.metrics().await?,
            self.follower.operator.metrics().await?,
            self.adapter.operator.metrics().await?,
        ])
    }

    /// Shows the HPAs as kube-state-metrics does.
    async fn show_hpas(&self, scene: &Scene<'_>) -> Result<()> {
        let mut text = String::new();
        let hpas = scene.list(HPAS).await?;
        for (name, value) in [
            ("status_current_replicas", "/status/currentReplicas"),
            ("spec_max_replicas", "/spec/maxReplicas"),
        ] {
            let name = format!("kube_horizontalpodautoscaler_{name}");
            text.push_str(&format!("# TYPE {name} gauge\n"));
            for hpa in &hpas {
                let (namespace, hpa_name) =
                    (&hpa["metadata"]["namespace"], &hpa["metadata"]["name"]);
                let value = hpa.pointer(value).and_then(Value::as_i64).unwrap_or(0);
                text.push_str(&format!(
                    "{name}{{namespace={namespace},horizontalpodautoscaler={hpa_name}}} {value}\n"
                ));
            }
        }
        self.hpas.set("/metrics", Answer::prometheus(text));
        Ok(())
    }
}

fn named(trigger: Value, name: &str) -> Value {
    let mut trigger = trigger;
    trigger["name"] = json!(name);
    trigger
}

/// Objects of every kind that series are about.
async fn begin(scene: &Scene<'_>, prometheus: &Prometheus) -> Result<()> {
    scene
        .source
        .set("/busy", Answer::json(&json!({"value": 400})));
    for (name, replicas) in [
        ("web", 0),
        ("mixed", 1),
        ("fallback", 1),
        ("paused", 1),
        ("sale", 1),
        ("formula", 1),
        ("processor", 1),
    ] {
        scene.deploy(name, replicas).await?;
    }
    let missing = || scene.trigger_on("/missing");
    let empty = json!({
        "type": "prometheus",
        "name": "nothing",
        "metadata": {"serverAddress": prometheus.url(), "query": "nothing_here", "threshold": "1"},
    });
    let at = |seconds: i64| (Timestamp::now() + SignedDuration::from_secs(seconds)).to_string();
    let lost = scene.source.url("/lost.ics");
    let sale = json!({
        "type": "sale-calendar",
        "metadata": {
            "calendar": "sales", "calendarKind": "SaleCalendar",
            "desiredReplicas": "8", "leadTime": "8s", "rampUp": "0",
        },
    });
    let formula = json!({"scalingModifiers": {"formula": "one + two", "target": "10"}});
    let policy = json!({"container": "main", "when": "prescale", "cpu": "x2"});
    let resize = json!({"sakidori": {"inPlaceResize": {"policies": [policy]}}});
    let cpu = json!({"type": "cpu", "metricType": "Utilization", "metadata": {"value": "60"}});
    let mut paused = scene.scaled_object("paused", json!({}));
    paused["metadata"]["annotations"] = json!({"autoscaling.keda.sh/paused": "true"});
    let one = |spec: Value, name: &str| scene.scaled_object(name, spec);
    for object in [
        json!({
            "apiVersion": "keda.sh/v1alpha1", "kind": "TriggerAuthentication",
            "metadata": {"name": "login"}, "spec": {"env": [{"parameter": "a", "name": "A"}]},
        }),
        json!({
            "apiVersion": "sakidori.dev/v1alpha1", "kind": "SaleCalendar",
            "metadata": {"name": "sales"},
            "spec": {
                "events": [
                    {"name": "now", "start": at(15), "end": at(900)},
                    {"name": "tomorrow", "start": at(86_400), "end": at(90_000)},
                ],
                "sources": [{"name": "lost", "format": "ics", "url": lost}],
            },
        }),
        one(
            json!({"triggers": [named(scene.trigger(), "queue")]}),
            "web",
        ),
        // At its maximum, and one of its triggers fails.
        one(
            json!({"triggers": [named(scene.trigger_on("/busy"), "busy"), missing(), empty]}),
            "mixed",
        ),
        one(
            json!({
                "minReplicaCount": 1, "triggers": [missing()],
                "fallback": {"failureThreshold": 1, "replicas": 2},
            }),
            "fallback",
        ),
        paused,
        // Its floor is above its maximum: it can't be had, and is late. Its pods can't be resized, since they request nothing.
        one(
            json!({
                "minReplicaCount": 1, "advanced": resize,
                "triggers": [scene.trigger(), missing(), sale],
            }),
            "sale",
        ),
        one(
            json!({
                "minReplicaCount": 1, "advanced": formula,
                "triggers": [named(scene.trigger(), "one"), named(scene.trigger_on("/busy"), "two")],
            }),
            "formula",
        ),
        one(
            json!({"minReplicaCount": 1, "triggers": [cpu]}),
            "processor",
        ),
        // It has no target.
        one(json!({}), "nowhere"),
        // The operator has no right to scale what it names.
        one(
            json!({"scaleTargetRef": {"apiVersion": "v1", "kind": "ReplicationController"}}),
            "forbidden",
        ),
    ] {
        scene.apply(object).await?;
    }
    let shared = json!({
        "apiVersion": "keda.sh/v1alpha1", "kind": "ClusterTriggerAuthentication",
        "metadata": {"name": "prometheus-case"},
        "spec": {"env": [{"parameter": "a", "name": "A"}]},
    });
    scene.apply(shared).await?;
    Ok(())
}

/// Applies what admission lets through, and what it refuses.
async fn ask_admission(scene: &Scene<'_>, watched: &Watched, authority: &str) -> Result<()> {
    let name = format!("metrics-{}", scene.namespace);
    let settings = WebhookSettings {
        name: &name,
        address: watched.leader.operator.webhook_address(),
        authority: Some(authority),
        failure_policy: "Fail",
        timeout_seconds: 10,
        namespace: &scene.namespace,
        cluster_scoped: false,
    };
    webhooks::configure(&scene.client, &settings).await?;
    let unknown = json!({"triggers": [{"type": "unheard-of", "metadata": {}}]});
    eventually("a refusal", SOON, async || {
        let refused = scene.scaled_object("refused", unknown.clone());
        match scene.create(SCALED_OBJECTS, &refused).await {
            Err(error) if format!("{error:#}").contains("denied the request") => Ok(Some(())),
            Err(error) => Err(error),
            Ok(_) => {
                // The API server hasn't heard of the webhook yet.
                scene.delete(SCALED_OBJECTS, "refused").await?;
                Ok(None)
            }
        }
    })
    .await?;
    let allowed = json!({"spec": {"cooldownPeriod": 3}});
    scene.patch(SCALED_OBJECTS, "web", &allowed).await?;
    let path =
        format!("/apis/admissionregistration.k8s.io/v1/validatingwebhookconfigurations/{name}");
    let _: Value = scene
        .client
        .request(http::Request::delete(path).body(Vec::new())?)
        .await?;
    Ok(())
}

/// What comes back empty of what a dashboard asks for.
///
/// What was shown once isn't asked for again: each look is some hundred queries.
async fn empty(
    board: &Board,
    prometheus: &Asked<'_>,
    namespace: &str,
    shown_before: &RefCell<BTreeSet<String>>,
) -> Result<Vec<String>> {
    let choices = board.choices(prometheus, namespace).await?;
    if choices.is_empty() {
        return Ok(vec![format!("{}: a variable has no values", board.name)]);
    }
    let mut empty = Vec::new();
    for query in &board.queries {
        let place = format!("{}, {}: {}", board.name, query.panel, query.expression);
        if alerts::is_quiet(&query.expression) || shown_before.borrow().contains(&place) {
            continue;
        }
        // Which only says that nothing is there.
        let expression = query.expression.replace(" or vector(0)", "");
        let mut shown = 0;
        for choice in &choices {
            let filled = filled_in(&expression, choice);
            shown += usize::from(!prometheus.query(&filled).await?.is_empty());
            if shown > 0 && !board.shows_all() {
                break;
            }
        }
        let wanted = if board.shows_all() { choices.len() } else { 1 };
        if shown < wanted {
            empty.push(place);
        } else {
            shown_before.borrow_mut().insert(place);
        }
    }
    Ok(empty)
}

/// KEDA's dashboard, written down as what it asks for.
fn kedas() -> Board {
    Board {
        name: "KEDA's".to_owned(),
        variables: keda::VARIABLES
            .iter()
            .map(|(name, query, multi)| Variable {
                name: (*name).to_owned(),
                query: (*query).to_owned(),
                multi: *multi,
                all: None,
            })
            .collect(),
        queries: keda::QUERIES
            .iter()
            .map(|query| boards::Query {
                panel: query.panel.to_owned(),
                expression: query.expression.to_owned(),
            })
            .collect(),
    }
}

/// Waits until nothing that is due comes back empty.
async fn until_all_shown(
    what: &str,
    watched: &Watched,
    scene: &Scene<'_>,
    look: impl AsyncFn() -> Result<Vec<String>>,
) -> Result<()> {
    let mut last = Vec::new();
    let shown = eventually(what, SHOWN_WITHIN, async || {
        watched.show_hpas(scene).await?;
        last = look().await?;
        Ok(last.is_empty().then_some(()))
    })
    .await;
    shown.with_context(|| format!("these came back empty:\n{}", last.join("\n")))
}

#[test]
fn a_prometheus_gets_all_that_dashboards_and_alerts_ask_for() {
    play("metrics", async |installation, scene| {
        let watched = Watched::start(installation, scene).await?;
        begin(scene, &watched.prometheus).await?;
        ask_admission(scene, &watched, installation.certificates.authority()).await?;
        scene.set(30);
        scene.until_replicas("web", 3).await?;
        scene.set(0);
        scene.until_replicas("web", 0).await?;

        let asked = Asked::new(&watched.prometheus)?;
        let (namespace, all) = (&scene.namespace, boards::ours()?);
        let shown = RefCell::default();
        until_all_shown("KEDA's dashboard", &watched, scene, async || {
            empty(&kedas(), &asked, namespace, &shown).await
        })
        .await?;
        until_all_shown("what KEDA documents", &watched, scene, async || {
            let mut empty = Vec::new();
            for selector in keda::SELECTORS {
                if asked.query(selector).await?.is_empty() {
                    empty.push((*selector).to_owned());
                }
            }
            Ok(empty)
        })
        .await?;
        until_all_shown("the chart's dashboards", &watched, scene, async || {
            let mut all_empty = Vec::new();
            for board in &all {
                all_empty.extend(empty(board, &asked, namespace, &shown).await?);
            }
            Ok(all_empty)
        })
        .await?;
        until_all_shown("what alerts look at", &watched, scene, async || {
            alerts::empty(&asked).await
        })
        .await?;

        counted_once(&asked, namespace).await?;
        let [leader, follower, adapter] = watched.texts().await?;
        let differences = page::differences(&leader, &follower, &adapter, RARE)?;
        ensure!(differences.is_empty(), "{}", differences.join("\n"));
        for text in [&leader, &follower, &adapter] {
            alerts::lint(text)?;
        }

        // A trigger with another name is another series.
        let renamed = json!({"spec": {"triggers": [named(scene.trigger(), "renamed")]}});
        scene.patch(SCALED_OBJECTS, "web", &renamed).await?;
        eventually("the new name alone", SOON, async || {
            let text = watched.leader.operator.metrics().await?;
            let has = |name: &str| text.contains(&format!("\"{name}\""));
            Ok((has("renamed") && !has("queue")).then_some(()))
        })
        .await?;
        bounds::hold(installation, scene, &watched).await?;
        until_forgotten(scene, &watched).await
    });
}

/// Summed over all processes, what there is once counts once.
async fn counted_once(asked: &Asked<'_>, namespace: &str) -> Result<()> {
    for (expression, expected) in [
        ("sum(sakidori_leader{job=\"sakidori\"})".to_owned(), 1.0),
        ("count(sakidori_leader{job=\"sakidori\"})".to_owned(), 2.0),
        (
            format!("sum(keda_scaled_object_paused{{job=\"sakidori\",namespace=\"{namespace}\"}})"),
            1.0,
        ),
        (
            format!(
                "sum(keda_resource_registered_total{{job=\"sakidori\",namespace=\"{namespace}\",type=\"scaled_object\"}})"
            ),
            9.0,
        ),
        (
            "sum(sakidori_values_followers{job=\"sakidori\"})".to_owned(),
            2.0,
        ),
    ] {
        let values = asked.query(&expression).await?;
        let [value] = &values[..] else {
            bail!("{expression}: {values:?}");
        };
        ensure!(
            (value.value - expected).abs() < f64::EPSILON,
            "{expression} is {}, not {expected}",
            value.value
        );
    }
    Ok(())
}

/// Deletes all, and waits until nothing but what admission counted names the namespace.
async fn until_forgotten(scene: &Scene<'_>, watched: &Watched) -> Result<()> {
    scene.close().await?;
    scene
        .delete("apis/sakidori.dev/v1alpha1/salecalendars", "sales")
        .await?;
    scene
        .delete("apis/keda.sh/v1alpha1/triggerauthentications", "login")
        .await?;
    let own = format!("\"{}\"", scene.namespace);
    let mut last = Vec::new();
    eventually("no series of what is deleted", SOON, async || {
        last = watched
            .texts()
            .await?
            .iter()
            .flat_map(|text| text.lines())
            .filter(|line| line.contains(&own) && !line.starts_with("keda_webhook_"))
            .map(str::to_owned)
            .collect();
        Ok(last.is_empty().then_some(()))
    })
    .await
    .with_context(|| last.join("\n"))
}
