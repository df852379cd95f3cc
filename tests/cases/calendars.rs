//! SaleCalendars and their sources: what fails removes nothing, what changes is seen at once.

use anyhow::{Context, Result, ensure};
use jiff::{SignedDuration, Timestamp};
use sakidori_test_cluster::eventually;
use sakidori_test_servers::{Answer, HttpSource};
use sakidori_tests::canary::CANARY;
use serde_json::{Value, json};

use crate::credential_sources::{authentication, start};
use crate::installed::play_installed;
use crate::scene::{SOON, Scene, condition};

pub const CALENDARS: &str = "apis/sakidori.dev/v1alpha1/salecalendars";

/// A sale of that name, an hour long, in two days.
pub fn ics(name: &str) -> String {
    let at = |hours: i64| {
        let at = Timestamp::now() + SignedDuration::from_hours(48 + hours);
        at.strftime("%Y%m%dT%H%M%SZ").to_string()
    };
    format!(
        "BEGIN:VCALENDAR\r\nVERSION:2.0\r\nPRODID:test\r\nBEGIN:VEVENT\r\nUID:{name}\r\nSUMMARY:{name}\r\nDTSTART:{}\r\nDTEND:{}\r\n\
         END:VEVENT\r\nEND:VCALENDAR\r\n",
        at(0),
        at(1)
    )
}

pub fn calendar_file(text: impl Into<Vec<u8>>) -> Answer {
    Answer::new("text/calendar", text)
}

pub fn calendar(sources: &Value) -> Value {
    json!({
        "apiVersion": "sakidori.dev/v1alpha1",
        "kind": "SaleCalendar",
        "metadata": {"name": "sales"},
        "spec": {"sources": sources},
    })
}

/// Another interval lets the source be read at once.
pub fn by_url(source: &HttpSource, seconds: usize) -> Value {
    calendar(&json!([{
        "name": "marketing",
        "format": "ics",
        "url": source.url("/sales.ics"),
        "refreshInterval": format!("{seconds}s"),
    }]))
}

fn names(object: &Value) -> Vec<&str> {
    let all = object["status"]["occurrences"].as_array();
    let all = all.into_iter().flatten();
    all.filter_map(|one| one["name"].as_str()).collect()
}

/// Waits until the calendar is stale or not, with these occurrences.
pub async fn until(scene: &Scene<'_>, stale: &str, part: &str, expected: &[&str]) -> Result<()> {
    let what = format!("Stale={stale} with {part:?} and {expected:?}");
    scene
        .until(&what, CALENDARS, "sales", |object| {
            let condition = condition(object, "Stale")?;
            let message = condition["message"].as_str()?;
            (condition["status"] == stale && message.contains(part) && names(object) == expected)
                .then_some(())
        })
        .await
}

#[test]
fn a_source_that_is_down_keeps_its_occurrences_also_over_a_restart() {
    play_installed(async |installed| {
        let scene = Scene::open(&installed.cluster, "calendars-restart").await?;
        let mut operator = start(installed, &scene.namespace, &[]).await?;
        let mut source = HttpSource::start()?;
        source.set("/sales.ics", calendar_file(ics("drop")));
        scene.apply(by_url(&source, 30)).await?;
        until(&scene, "False", "", &["drop"]).await?;

        source.stop();
        operator.kill()?;
        operator.restart()?;
        operator.wait_ready(SOON).await?;
        until(
            &scene,
            "True",
            "\"marketing\" can't be read since",
            &["drop"],
        )
        .await?;
        scene.until_told("sales", "CalendarStale").await?;
        let told = scene.told("sales").await?;
        let stale = told.iter().filter(|told| told.1 == "CalendarStale");
        ensure!(stale.count() == 1, "{told:?}");
        let series = r#"{calendar="sales",kind="SaleCalendar",namespace="calendars-restart"}"#;
        let metrics = operator.metrics().await?;
        let value = |name: &str| {
            let line = metrics.lines().find_map(|line| {
                line.strip_prefix(name)?
                    .strip_prefix(series)?
                    .trim()
                    .parse::<f64>()
                    .ok()
            });
            line.with_context(|| format!("no {name}{series} in\n{metrics}"))
        };
        ensure!(value("sakidori_calendar_stale_seconds")? > 0.0);
        ensure!(value("sakidori_calendar_refresh_errors_total")? >= 1.0);

        source.run()?;
        until(&scene, "False", "", &["drop"]).await?;

        scene.delete(CALENDARS, "sales").await?;
        eventually("no series of the deleted calendar", SOON, async || {
            let metrics = operator.metrics().await?;
            Ok((!metrics.contains(series)).then_some(()))
        })
        .await
    });
}

#[test]
fn an_answer_that_is_no_calendar_removes_nothing() {
    play_installed(async |installed| {
        let scene = Scene::open(&installed.cluster, "calendars-answers").await?;
        let _operator = start(installed, &scene.namespace, &[]).await?;
        let (source, other) = (HttpSource::start()?, HttpSource::start()?);
        let good = calendar_file(ics("drop"));
        let to = |url: &str| Answer::status(302).with_header("Location", url);
        // The same server under another name.
        let other_host = other.url("/sales.ics").replace("127.0.0.1", "localhost");
        let answers = [
            (
                "an empty calendar",
                calendar_file("BEGIN:VCALENDAR\r\nVERSION:2.0\r\nEND:VCALENDAR\r\n"),
            ),
            ("no iCalendar", calendar_file("<html></html>")),
            ("larger than 5 MiB", calendar_file("x".repeat(64 << 20))),
            ("another host", to(&other_host)),
            ("stopped after 5 redirects", to(&source.url("/sales.ics"))),
            ("401", Answer::status(401)),
            ("no complete answer within 10000 ms", Answer::hang()),
        ];
        let mut interval = 30..;
        let mut again = || by_url(&source, interval.next().unwrap_or_default());
        for (part, answer) in answers {
            source.set("/sales.ics", good.clone());
            scene.apply(again()).await?;
            until(&scene, "False", "", &["drop"]).await?;
            source.set("/sales.ics", answer);
            scene.apply(again()).await?;
            let part = if part == "no iCalendar" { "" } else { part };
            until(&scene, "True", part, &["drop"]).await?;
        }
        ensure!(other.all_requests() == 0, "the redirect was followed");
        Ok(())
    });
}

#[test]
fn config_maps_and_secrets_are_read_as_soon_as_they_change() {
    play_installed(async |installed| {
        let scene = Scene::open(&installed.cluster, "calendars-objects").await?;
        let _operator = start(installed, &scene.namespace, &[]).await?;
        let day = |days: i64| {
            let at = Timestamp::now() + SignedDuration::from_hours(24 * days);
            at.strftime("%Y-%m-%d").to_string()
        };
        let drops = |text: String| {
            json!({
                "apiVersion": "v1",
                "kind": "ConfigMap",
                "metadata": {"name": "drops"},
                "data": {"drops.csv": text},
            })
        };
        scene
            .apply(drops(format!("name,start\nspring,{}\n", day(2))))
            .await?;
        scene
            .apply(json!({
                "apiVersion": "v1",
                "kind": "Secret",
                "metadata": {"name": "embargoed"},
                "stringData": {"sales.json": json!([{"name": "secret-drop", "start": day(3)}]).to_string()},
            }))
            .await?;
        scene
            .apply(calendar(&json!([
                {"name": "drops", "format": "csv", "configMapKeyRef": {"name": "drops", "key": "drops.csv"}},
                {"name": "embargoed", "format": "json", "secretKeyRef": {"name": "embargoed", "key": "sales.json"}},
            ])))
            .await?;
        until(&scene, "False", "", &["spring", "secret-drop"]).await?;
        // What is wrong with one event is told by its name, and the other counts.
        let text = format!("name,start\nsummer,{}\nbad,2027-13-01\n", day(2));
        scene.apply(drops(text)).await?;
        until(&scene, "False", "", &["summer", "secret-drop"]).await?;
        scene
            .until("the bad event", CALENDARS, "sales", |object| {
                let ready = condition(object, "Ready")?;
                let message = ready["message"].as_str()?;
                (ready["status"] == "False" && message.contains("\"bad\"")).then_some(())
            })
            .await?;
        scene.apply(drops("no table".to_owned())).await?;
        until(&scene, "True", "\"drops\"", &["summer", "secret-drop"]).await?;
        scene.delete("api/v1/configmaps", "drops").await?;
        until(&scene, "True", "doesn't exist", &["summer", "secret-drop"]).await
    });
}

#[test]
fn rotated_credentials_of_a_source_are_used_at_once() {
    play_installed(async |installed| {
        let scene = Scene::open(&installed.cluster, "calendars-rotation").await?;
        let _operator = start(installed, &scene.namespace, &[]).await?;
        let source = HttpSource::start()?;
        let guarded = |token: &str, name: &str| {
            let bearer = format!("Bearer {CANARY}-{token}");
            source.set(
                "/sales.ics",
                calendar_file(ics(name)).requiring("authorization", &bearer),
            );
        };
        guarded("one", "first");
        scene
            .apply(json!({
                "apiVersion": "v1",
                "kind": "Secret",
                "metadata": {"name": "cal"},
                "stringData": {"token": format!("{CANARY}-one"), "modes": "bearer"},
            }))
            .await?;
        let of =
            |parameter: &str, key: &str| json!({"parameter": parameter, "name": "cal", "key": key});
        scene
            .apply(authentication(&json!({
                "secretTargetRef": [of("authModes", "modes"), of("bearerToken", "token")],
            })))
            .await?;
        let mut spec = by_url(&source, 3600);
        spec["spec"]["sources"][0]["authenticationRef"] = json!({"name": "token"});
        scene.apply(spec).await?;
        until(&scene, "False", "", &["first"]).await?;
        guarded("two", "second");
        scene
            .apply(json!({
                "apiVersion": "v1",
                "kind": "Secret",
                "metadata": {"name": "cal"},
                "stringData": {"token": format!("{CANARY}-two"), "modes": "bearer"},
            }))
            .await?;
        until(&scene, "False", "", &["second"]).await
    });
}
