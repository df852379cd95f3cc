//! `sakidori plan` of a cluster: with the user's own rights, and the same as of manifests.

use std::path::Path;
use std::process::{Command, Output};

use anyhow::{Context, Result, ensure};
use jiff::{SignedDuration, Timestamp};
use sakidori_test_cluster::{Cluster, ClusterOptions};
use sakidori_test_servers::Answer;
use sakidori_tests::binary;
use sakidori_tests::namespace::deployment;
use serde_json::{Value, json};

use crate::scene::{Scene, play};

const CALENDARS: &str = "apis/sakidori.dev/v1alpha1/salecalendars";
/// Long after every other case.
const PERIOD: [&str; 4] = ["--from", "2031-01-01", "--to", "2031-01-10"];

/// Runs `sakidori plan`.
fn plan(kubeconfig: &Path, arguments: &[&str]) -> Result<Output> {
    let mut command = Command::new(binary::sakidori()?);
    command.arg("plan").args(arguments);
    command.env("KUBECONFIG", kubeconfig);
    command.output().context("running sakidori plan")
}

fn errors(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn text(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn calendar(kind: &str, name: &str, event: &str, sources: Value) -> Value {
    json!({
        "apiVersion": "sakidori.dev/v1alpha1",
        "kind": kind,
        "metadata": {"name": name},
        "spec": {
            "timeZone": "Asia/Tokyo",
            "events": [{"name": event, "start": "2031-01-02T20:00:00", "duration": "2h"}],
            "sources": sources,
        },
    })
}

fn scaled_object(name: &str, kind: &str, calendar: &str) -> Value {
    json!({
        "apiVersion": "keda.sh/v1alpha1",
        "kind": "ScaledObject",
        "metadata": {"name": name},
        "spec": {
            "scaleTargetRef": {"name": name},
            "minReplicaCount": 2,
            "triggers": [{"type": "sale-calendar", "metadata": {
                "calendar": calendar, "calendarKind": kind, "desiredReplicas": "20", "leadTime": "15m",
            }}],
        },
    })
}

/// A ConfigMap or Secret `drops` with one more sale.
fn table(kind: &str, name: &str, sale: &str, start: &str) -> Value {
    let text = format!("name,start,duration\n{sale},{start},3h\n");
    let (field, value) = match kind {
        "Secret" => ("stringData", json!({"drops.csv": text})),
        _ => ("data", json!({"drops.csv": text})),
    };
    let mut object = json!({"apiVersion": "v1", "kind": kind, "metadata": {"name": name}});
    object[field] = value;
    object
}

fn from_table(reference: &str, name: &str) -> Value {
    let mut source = json!({"name": name, "format": "csv"});
    source[reference] = json!({"name": name, "key": "drops.csv"});
    source
}

#[test]
fn the_plan_of_a_cluster_is_that_of_its_manifests() {
    play("plan-cluster", async |scene| {
        let sources = json!([
            from_table("configMapKeyRef", "drops"),
            from_table("secretKeyRef", "hidden")
        ]);
        let cluster_wide = json!([from_table("configMapKeyRef", "plan-cluster-drops")]);
        let mut far = table("ConfigMap", "plan-cluster-drops", "far", "2031-01-06 09:00");
        // The cluster object namespace.
        far["metadata"]["namespace"] = json!("keda");
        let mut paused = scaled_object("batch", "SaleCalendar", "sales");
        paused["metadata"]["annotations"] = json!({"autoscaling.keda.sh/paused": "true"});
        let mut objects = vec![
            table("ConfigMap", "drops", "drop", "2031-01-03 10:00"),
            table("Secret", "hidden", "secret-drop", "2031-01-04 10:00"),
            far,
            calendar("SaleCalendar", "sales", "new-year", sources),
            calendar(
                "ClusterSaleCalendar",
                "plan-cluster",
                "campaign",
                cluster_wide,
            ),
            // Nobody uses it, so what is wrong with it is not told.
            calendar(
                "SaleCalendar",
                "unused",
                "other",
                json!([from_table("configMapKeyRef", "missing")]),
            ),
            scaled_object("web", "SaleCalendar", "sales"),
            scaled_object("checkout", "ClusterSaleCalendar", "plan-cluster"),
            paused,
        ];
        for object in &objects {
            scene.apply(object.clone()).await?;
        }
        objects.retain(|object| object["metadata"]["name"] != "unused");
        let manifests = scene.cluster.dir().join("plan-cluster.json");
        let list = json!({"apiVersion": "v1", "kind": "List", "items": objects});
        std::fs::write(&manifests, serde_json::to_string(&list)?)?;
        let manifests = manifests.to_str().context("the path")?;
        let kubeconfig = scene.cluster.kubeconfig();
        for format in ["table", "json", "svg", "ics"] {
            let mut arguments = vec![
                "-n",
                "plan-cluster",
                "-o",
                format,
                "--time-zone",
                "Asia/Tokyo",
            ];
            arguments.extend(PERIOD);
            let of_cluster = plan(kubeconfig, &arguments)?;
            arguments.extend(["-f", manifests]);
            let of_files = plan(kubeconfig, &arguments)?;
            let told = errors(&of_cluster);
            ensure!(of_cluster.status.success(), "{told}");
            let expected = "warning: the cluster: ScaledObject plan-cluster/batch: it is paused, so no floor takes effect\n";
            ensure!(told == expected, "{told}");
            if format == "json" {
                let json = |output: &Output| -> Result<Value> {
                    let mut plan: Value = serde_json::from_slice(&output.stdout)?;
                    plan["findings"].take();
                    Ok(plan)
                };
                let (one, other) = (json(&of_cluster)?, json(&of_files)?);
                ensure!(one == other, "{one:#}\n{other:#}");
            } else {
                ensure!(
                    text(&of_cluster) == text(&of_files),
                    "{}\n{}",
                    text(&of_cluster),
                    text(&of_files)
                );
            }
            if format == "table" {
                let table = text(&of_cluster);
                for part in [
                    "plan-cluster/web",
                    "plan-cluster/checkout",
                    "new-year",
                    "  drop",
                    "secret-drop",
                    "campaign",
                    "  far",
                ] {
                    ensure!(table.contains(part), "{part} is missing in\n{table}");
                }
            }
        }
        // Of all namespaces, beside others that come and go.
        let everywhere = plan(
            kubeconfig,
            &[
                "-A", "-o", "json", PERIOD[0], PERIOD[1], PERIOD[2], PERIOD[3],
            ],
        )?;
        let everywhere: Value =
            serde_json::from_slice(&everywhere.stdout).with_context(|| errors(&everywhere))?;
        let ours = everywhere["objects"].as_array().into_iter().flatten();
        let ours = ours.filter(|object| object["namespace"] == "plan-cluster");
        ensure!(ours.count() == 3, "{everywhere:#}");
        scene
            .delete("apis/sakidori.dev/v1alpha1/salecalendars", "unused")
            .await
    });
}

#[test]
fn what_the_user_may_not_read_is_told_and_the_rest_is_planned() {
    play("plan-rights", async |scene| {
        let soon = Timestamp::now() + SignedDuration::from_hours(48);
        let soon = soon.strftime("%Y-%m-%dT%H:%M:00Z").to_string();
        scene
            .apply(table("Secret", "hidden", "secret-drop", &soon))
            .await?;
        let sources = json!([from_table("secretKeyRef", "hidden")]);
        scene
            .apply(calendar("SaleCalendar", "sales", "new-year", sources))
            .await?;
        scene
            .apply(scaled_object("web", "SaleCalendar", "sales"))
            .await?;
        scene
            .until("what the source says", CALENDARS, "sales", |object| {
                let remembered = object["status"]["remembered"].to_string();
                remembered.contains("secret-drop").then_some(())
            })
            .await?;
        let kubeconfig = reader(scene).await?;
        let output = plan(&kubeconfig, &["-n", "plan-rights"])?;
        let (told, table) = (errors(&output), text(&output));
        ensure!(output.status.code() == Some(1), "{told}");
        for part in [
            "error: the cluster: ClusterSaleCalendar objects are not in the plan, since you may not list them: \
             clustersalecalendars.sakidori.dev is forbidden",
            "warning: the cluster: SaleCalendar plan-rights/sales: spec.sources[0] (\"hidden\"): you may not read it: secrets \
             \"hidden\" is forbidden",
            "of it counts what the calendar's status remembers, the 7 days after its last refresh",
            "warning: the cluster: ResourceQuotas are not considered, since you may not list them: resourcequotas is forbidden",
        ] {
            ensure!(told.contains(part), "{part}\n{told}");
        }
        ensure!(table.contains("secret-drop"), "{table}");
        // Elsewhere the same user may read nothing at all.
        let output = plan(&kubeconfig, &["-A"])?;
        let told = errors(&output);
        ensure!(output.status.code() == Some(1), "{told}");
        for kind in ["ScaledObject", "SaleCalendar", "ClusterSaleCalendar"] {
            let part = format!("error: the cluster: {kind} objects are not in the plan");
            ensure!(told.contains(&part), "{part}\n{told}");
        }
        let output = plan(scene.cluster.kubeconfig(), &["-n", "plan-right"])?;
        let told = errors(&output);
        let part = "warning: the cluster: there is no ScaledObject in namespace plan-right (-A looks in all)";
        ensure!(output.status.success() && told.contains(part), "{told}");
        Ok(())
    });
}

/// What runs already is among what the quota says is used, and what a pod asks for comes from the target.
#[test]
fn a_quota_of_the_cluster_that_has_no_room_is_told() {
    play("plan-quota", async |scene| {
        let mut web = deployment("web", 2);
        web["spec"]["template"]["spec"]["containers"][0]["resources"] =
            json!({"requests": {"cpu": "500m"}});
        let quota = json!({
            "apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "team"},
            "spec": {"hard": {"requests.cpu": "8", "pods": "40"}},
        });
        for object in [
            quota,
            web,
            calendar("SaleCalendar", "sales", "new-year", json!([])),
            scaled_object("web", "SaleCalendar", "sales"),
        ] {
            scene.apply(object).await?;
        }
        let used = |object: &Value| (object["status"]["used"]["pods"] == "2").then_some(());
        scene
            .until(
                "the pods in the quota",
                "api/v1/resourcequotas",
                "team",
                used,
            )
            .await?;
        let arguments = [
            "-n",
            "plan-quota",
            PERIOD[0],
            PERIOD[1],
            PERIOD[2],
            PERIOD[3],
        ];
        let told = |output: &Output| errors(output).trim_end().to_owned();
        let output = plan(scene.cluster.kubeconfig(), &arguments)?;
        let expected = "warning: the cluster: ScaledObject plan-quota/web: the floor of 20 replicas is 18 more than there are, \
                        for which the ResourceQuota \"team\" has no room (requests.cpu: 8 allowed, 1 used, 9 needed)";
        ensure!(told(&output) == expected, "{}", told(&output));
        ensure!(output.status.success());
        scene
            .apply(json!({
                "apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "team"},
                "spec": {"hard": {"requests.cpu": "10", "pods": "40"}},
            }))
            .await?;
        let output = plan(scene.cluster.kubeconfig(), &arguments)?;
        ensure!(told(&output).is_empty(), "{}", told(&output));
        Ok(())
    });
}

/// The kubeconfig of one who may list ScaledObjects and SaleCalendars of the scene's namespace.
async fn reader(scene: &Scene<'_>) -> Result<std::path::PathBuf> {
    for object in [
        json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "reader"}}),
        json!({
            "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role", "metadata": {"name": "reader"},
            "rules": [
                {"apiGroups": ["keda.sh"], "resources": ["scaledobjects"], "verbs": ["list"]},
                {"apiGroups": ["sakidori.dev"], "resources": ["salecalendars"], "verbs": ["list"]},
            ],
        }),
        json!({
            "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding", "metadata": {"name": "reader"},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "reader"},
            "subjects": [{"kind": "ServiceAccount", "name": "reader", "namespace": scene.namespace}],
        }),
    ] {
        scene.apply(object).await?;
    }
    scene
        .cluster
        .service_account_kubeconfig(&scene.namespace, "reader")
        .await
}

#[test]
fn of_a_url_the_coming_days_are_known_from_the_calendars_status() {
    play("plan-url", async |scene| {
        let soon = Timestamp::now() + SignedDuration::from_hours(48);
        let file = |name: &str| {
            format!(
                "BEGIN:VCALENDAR\r\nVERSION:2.0\r\nBEGIN:VEVENT\r\nUID:{name}\r\nSUMMARY:{name}\r\nDTSTART:{}\r\nDURATION:PT2H\r\n\
                 END:VEVENT\r\nEND:VCALENDAR\r\n",
                soon.strftime("%Y%m%dT%H%M%SZ")
            )
        };
        scene.source.set(
            "/sales.ics",
            Answer::new("text/calendar", file("online-drop")),
        );
        let sources =
            json!([{"name": "marketing", "format": "ics", "url": scene.source.url("/sales.ics")}]);
        scene
            .apply(calendar("SaleCalendar", "sales", "new-year", sources))
            .await?;
        scene
            .apply(scaled_object("web", "SaleCalendar", "sales"))
            .await?;
        scene
            .until("what the source says", CALENDARS, "sales", |object| {
                let remembered = object["status"]["remembered"].to_string();
                remembered.contains("online-drop").then_some(())
            })
            .await?;
        let kubeconfig = scene.cluster.kubeconfig();
        let output = plan(kubeconfig, &["-n", "plan-url"])?;
        let told = errors(&output);
        ensure!(output.status.success(), "{told}");
        let part = "spec.sources[0] (\"marketing\"): of it counts what the calendar's status remembers, the 7 days after its \
                    last refresh\n";
        ensure!(told.contains(part), "{told}");
        ensure!(text(&output).contains("online-drop"), "{}", text(&output));

        // A text that is given counts instead, and nothing has to be said of it.
        let other = scene.cluster.dir().join("plan-url.ics");
        std::fs::write(&other, file("other-drop"))?;
        let source = format!("sales/marketing={}", other.display());
        let output = plan(kubeconfig, &["-n", "plan-url", "--source", &source])?;
        ensure!(errors(&output).is_empty(), "{}", errors(&output));
        let table = text(&output);
        ensure!(
            table.contains("other-drop") && !table.contains("online-drop"),
            "{table}"
        );
        Ok(())
    });
}

#[test]
fn kinds_that_a_cluster_does_not_have_are_named() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let output = runtime.block_on(async {
        let cluster = Cluster::start(ClusterOptions::default()).await?;
        plan(cluster.kubeconfig(), &[])
    });
    let output = output.unwrap();
    let told = errors(&output);
    assert_eq!(output.status.code(), Some(1), "{told}");
    for (kind, version) in [
        ("ScaledObject", "keda.sh/v1alpha1"),
        ("SaleCalendar", "sakidori.dev/v1alpha1"),
        ("ClusterSaleCalendar", "sakidori.dev/v1alpha1"),
    ] {
        let part = format!("error: the cluster: this cluster has no {kind} ({version})");
        assert!(told.contains(&part), "{part}\n{told}");
    }
}
