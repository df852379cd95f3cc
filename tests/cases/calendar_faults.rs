//! Sources of calendars that fail in every way a server can: what is known counts, floors stay, and it is told since when and why.

use std::io::Write;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use flate2::Compression;
use flate2::write::GzEncoder;
use jiff::{SignedDuration, Timestamp};
use sakidori_test_cluster::eventually;
use sakidori_test_servers::{Answer, HttpSource};
use sakidori_tests::Operator;
use sakidori_tests::raw_source::{Mischief, RawSource};
use serde_json::{Value, json};

use crate::calendars::{CALENDARS, by_url, calendar, calendar_file, ics, until};
use crate::credential_sources::{authentication, start};
use crate::installed::play_installed;
use crate::prescaling::{floor, from_now, trigger};
use crate::scene::{SOON, Scene, merge, play};

/// A calendar with one sale; seconds from now.
fn sale(name: &str, start: i64, end: i64, more: &str) -> String {
    let at = |seconds| from_now(seconds).strftime("%Y%m%dT%H%M%SZ").to_string();
    format!(
        "BEGIN:VCALENDAR\r\nVERSION:2.0\r\nPRODID:test\r\nBEGIN:VEVENT\r\nUID:{name}\r\nSUMMARY:{name}\r\nDTSTART:{}\r\nDTEND:{}\r\n\
         {more}END:VEVENT\r\nEND:VCALENDAR\r\n",
        at(start),
        at(end)
    )
}

#[test]
fn a_sale_that_only_the_status_knows_prescales() {
    play_installed(async |installed| {
        let scene = Scene::open(&installed.cluster, "faults-start-up").await?;
        let mut operator = start(installed, &scene.namespace, &[]).await?;
        let mut source = HttpSource::start()?;
        source.set("/sales.ics", calendar_file(sale("drop", 60, 600, "")));
        scene.apply(by_url(&source, 30)).await?;
        until(&scene, "False", "", &["drop"]).await?;
        source.stop();
        operator.kill()?;
        // It is first seen by an operator that has never reached the source.
        scene.deploy("web", 1).await?;
        let mut early = trigger("sales", floor(4));
        merge(&mut early["metadata"], json!({"leadTime": "1h"}));
        let spec = json!({"minReplicaCount": 1, "triggers": [early]});
        scene.apply(scene.scaled_object("web", spec)).await?;
        operator.restart()?;
        operator.wait_ready(SOON).await?;
        scene.until_replicas("web", 4).await?;
        until(&scene, "True", "can't be read since", &["drop"]).await?;
        scene.stays_for("web", 4, Duration::from_secs(3)).await
    });
}

/// The source by its URL, with the authority that it is to be trusted by.
fn trusting(url: &str, seconds: usize) -> Value {
    calendar(&json!([{
        "name": "marketing",
        "format": "ics",
        "url": url,
        "authenticationRef": {"name": "token"},
        "refreshInterval": format!("{seconds}s"),
    }]))
}

#[test]
fn a_server_that_misbehaves_below_http_removes_nothing() {
    play_installed(async |installed| {
        let scene = Scene::open(&installed.cluster, "faults-raw").await?;
        let operator = start(installed, &scene.namespace, &[]).await?;
        for (at, (mischief, part)) in [
            (Mischief::Trickle, "no complete answer within 10000 ms"),
            (Mischief::Endless, "larger than 5 MiB"),
            (
                Mischief::CutOff,
                "end of file before message length reached",
            ),
            (Mischief::Expired, "certificate expired on 2021-01-01"),
            (
                Mischief::OtherHost,
                "certificate not valid for name \"127.0.0.1\"",
            ),
        ]
        .into_iter()
        .enumerate()
        {
            // A name of its own, so that each is known from its own server.
            let source = RawSource::start_with(mischief, ics("drop"))?;
            let ca = source.ca().unwrap_or_default();
            scene
                .apply(json!({
                    "apiVersion": "v1", "kind": "Secret", "metadata": {"name": "ca"}, "stringData": {"ca": ca},
                }))
                .await?;
            let of_secret = json!([{"parameter": "ca", "name": "ca", "key": "ca"}]);
            let given = if ca.is_empty() { json!([]) } else { of_secret };
            scene
                .apply(authentication(&json!({"secretTargetRef": given})))
                .await?;
            scene.apply(trusting(&source.url(), 30 + 2 * at)).await?;
            until(&scene, "False", "", &["drop"]).await?;
            source.break_it();
            scene.apply(trusting(&source.url(), 31 + 2 * at)).await?;
            until(&scene, "True", part, &["drop"])
                .await
                .with_context(|| format!("{mischief:?}"))?;
        }
        // The endless one alone would have sent gigabytes.
        let peak = operator.memory()?.peak_kib;
        ensure!(peak < 300 * 1024, "{peak} KiB");
        Ok(())
    });
}

fn gzip(text: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(text).expect("it fits in memory");
    encoder.finish().expect("it fits in memory")
}

#[test]
fn a_compressed_answer_is_read_and_a_bomb_is_not() {
    play_installed(async |installed| {
        let scene = Scene::open(&installed.cluster, "faults-gzip").await?;
        let operator = start(installed, &scene.namespace, &[]).await?;
        let source = HttpSource::start()?;
        let compressed =
            |bytes: Vec<u8>| calendar_file(bytes).with_header("Content-Encoding", "gzip");
        let whole = gzip(ics("drop").as_bytes());
        source.set("/sales.ics", compressed(whole.clone()));
        scene.apply(by_url(&source, 30)).await?;
        until(&scene, "False", "", &["drop"]).await?;
        let asked = source.last("/sales.ics").context("nobody asked")?;
        ensure!(
            asked.headers["accept-encoding"] == "gzip, deflate",
            "{:?}",
            asked.headers
        );
        let bomb = gzip(&vec![b' '; 1 << 30]);
        ensure!(bomb.len() < 2 << 20, "{} bytes", bomb.len());
        for (at, (bytes, part)) in [
            (bomb, "larger than 5 MiB"),
            (whole[..whole.len() / 2].to_vec(), "no complete gzip"),
            (ics("drop").into_bytes(), "no complete gzip"),
        ]
        .into_iter()
        .enumerate()
        {
            source.set("/sales.ics", compressed(bytes));
            scene.apply(by_url(&source, 40 + at)).await?;
            until(&scene, "True", part, &["drop"]).await?;
        }
        let peak = operator.memory()?.peak_kib;
        ensure!(peak < 300 * 1024, "{peak} KiB");
        // A file that is compressed itself.
        source.set("/sales.ics", calendar_file(gzip(ics("file").as_bytes())));
        scene.apply(by_url(&source, 50)).await?;
        until(&scene, "False", "", &["file"]).await
    });
}

#[test]
fn what_a_server_says_beside_the_calendar_moves_nothing() {
    play_installed(async |installed| {
        let scene = Scene::open(&installed.cluster, "faults-clock").await?;
        let _operator = start(installed, &scene.namespace, &[]).await?;
        let source = HttpSource::start()?;
        let header = |hours: i64| {
            let at = Timestamp::now() + SignedDuration::from_hours(hours);
            at.strftime("%a, %d %b %Y %H:%M:%S GMT").to_string()
        };
        let stamp = |hours: i64| {
            let at = Timestamp::now() + SignedDuration::from_hours(hours);
            format!(
                "DTSTAMP:{0}\r\nLAST-MODIFIED:{0}\r\nCREATED:{0}\r\n",
                at.strftime("%Y%m%dT%H%M%SZ")
            )
        };
        let due = from_now(7200);
        let text = |name: &str, hours: i64| {
            let start = due.strftime("%Y%m%dT%H%M%SZ").to_string();
            let text = sale(name, 7200, 10_800, &stamp(hours));
            let (head, rest) = text.split_once("DTSTART:").unwrap_or_default();
            let (_, rest) = rest.split_once("\r\n").unwrap_or_default();
            format!("{head}DTSTART:{start}\r\n{rest}")
        };
        let wrong = |name: &str, hours: i64| {
            calendar_file(text(name, hours))
                .with_header("Date", &header(hours))
                .with_header("Last-Modified", &header(hours))
                .with_header("Expires", &header(hours + 24))
                .with_header("Cache-Control", "public, max-age=86400, immutable")
                .with_header("ETag", "\"the same\"")
                .with_header("Age", "3600")
        };
        for (at, (name, hours)) in [("ahead", 1), ("behind", -1)].into_iter().enumerate() {
            source.set("/sales.ics", wrong(name, hours));
            scene.apply(by_url(&source, 30 + at)).await?;
            until(&scene, "False", "", &[name]).await?;
            let start = scene
                .until("its start", CALENDARS, "sales", |object| {
                    let start = object["status"]["occurrences"][0]["start"].as_str()?;
                    start.parse::<Timestamp>().ok()
                })
                .await?;
            ensure!(start == due, "{name}: {start} instead of {due}");
        }
        // And it is asked again when its interval is over, whatever it said of how long that is good.
        source.set("/sales.ics", wrong("changed", 1));
        eventually("the next refresh", 3 * SOON, async || {
            let object = scene.get(CALENDARS, "sales").await?.unwrap_or_default();
            let name = &object["status"]["occurrences"][0]["name"];
            Ok((name == "changed").then_some(()))
        })
        .await?;
        // Nobody asked whether it changed, so that nothing did is no answer.
        source.set("/sales.ics", Answer::status(304));
        scene.apply(by_url(&source, 40)).await?;
        until(&scene, "True", "304", &["changed"]).await
    });
}

/// The value of a calendar's metric.
async fn metric(operator: &Operator, name: &str, namespace: &str) -> Result<f64> {
    let series =
        format!(r#"{name}{{calendar="sales",kind="SaleCalendar",namespace="{namespace}"}}"#);
    let metrics = operator.metrics().await?;
    let line = metrics.lines().find_map(|line| line.strip_prefix(&series));
    let value = line.with_context(|| format!("no {series} in\n{metrics}"))?;
    Ok(value.trim().parse()?)
}

#[test]
fn metrics_tell_for_how_long_a_source_has_been_down() {
    play_installed(async |installed| {
        let namespace = "faults-metrics";
        let scene = Scene::open(&installed.cluster, namespace).await?;
        let operator = start(installed, namespace, &[]).await?;
        let mut source = HttpSource::start()?;
        source.set("/sales.ics", calendar_file(ics("drop")));
        scene.apply(by_url(&source, 30)).await?;
        until(&scene, "False", "", &["drop"]).await?;
        let stale = "sakidori_calendar_stale_seconds";
        let errors = "sakidori_calendar_refresh_errors_total";
        // Both are there from the first on, so that a rule can see them change.
        ensure!(metric(&operator, stale, namespace).await? == 0.0);
        ensure!(metric(&operator, errors, namespace).await? == 0.0);

        source.stop();
        let stopped = Timestamp::now();
        scene.apply(by_url(&source, 31)).await?;
        until(&scene, "True", "", &["drop"]).await?;
        let first = metric(&operator, stale, namespace).await?;
        let since = Timestamp::now().duration_since(stopped).as_secs_f64();
        ensure!(
            first > 0.0 && first <= since + 1.0,
            "{first} s of {since} s"
        );
        // It is asked again, and that is counted, too; the time goes on.
        eventually("a second error", SOON, async || {
            Ok((metric(&operator, errors, namespace).await? >= 2.0).then_some(()))
        })
        .await?;
        ensure!(metric(&operator, stale, namespace).await? > first + 5.0);

        source.run()?;
        scene.apply(by_url(&source, 32)).await?;
        until(&scene, "False", "", &["drop"]).await?;
        ensure!(metric(&operator, stale, namespace).await? == 0.0);
        ensure!(
            metric(&operator, errors, namespace).await? >= 2.0,
            "what was counted stays"
        );
        Ok(())
    });
}

#[test]
fn a_source_that_fails_within_a_sale_lowers_nothing() {
    play("faults-sale", async |scene| {
        let source = HttpSource::start()?;
        source.set("/sales.ics", calendar_file(sale("drop", 5, 600, "")));
        scene.apply(by_url(&source, 30)).await?;
        scene.deploy("web", 1).await?;
        let spec = json!({"minReplicaCount": 1, "triggers": [trigger("sales", floor(4)), scene.trigger()]});
        scene.apply(scene.scaled_object("web", spec)).await?;
        scene.until_replicas("web", 4).await?;
        for (at, (part, answer)) in [
            (
                "empty calendar",
                calendar_file("BEGIN:VCALENDAR\r\nVERSION:2.0\r\nEND:VCALENDAR\r\n"),
            ),
            ("END:VCA", calendar_file(&sale("drop", 5, 600, "")[..150])),
            (
                "expected BEGIN:VCALENDAR",
                calendar_file("<html>moved</html>"),
            ),
            ("500", Answer::status(500)),
            ("no text in UTF-8", calendar_file(vec![0xff; 1000])),
        ]
        .into_iter()
        .enumerate()
        {
            source.set("/sales.ics", answer);
            scene.apply(by_url(&source, 31 + at)).await?;
            until(scene, "True", part, &["drop"]).await?;
            scene.stays("web", 4, crate::scene::PATH, 3).await?;
        }
        Ok(())
    });
}
