//! Sources that mean harm: they never end, send a byte at a time, a gigabyte, a gzip bomb, or lists 10,000 deep. Each is told by the
//! limit that it passed, its object keeps its replicas, and ten others beside them are polled on time and scale. Then the sources
//! are honest again, and everything recovers.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use sakidori_test_cluster::eventually;
use sakidori_test_servers::HttpSource;
use sakidori_tests::bed::Bed;
use sakidori_tests::namespace::metrics_api;
use sakidori_tests::raw_source::{Mischief, RawSource};
use serde_json::{Value, json};

use crate::calendars::{CALENDARS, calendar};
use crate::scene::{SCALED_OBJECTS, SOON, Scene, answer, condition};

/// What a value of 30 makes of targets of 10.
const REPLICAS: i64 = 3;
const HEALTHY: usize = 10;
/// How long the hostile ones are watched.
const WATCHED: Duration = Duration::from_secs(15);
/// An operator with these objects takes some 150 MiB in a debug build; ten answers of 10 MiB may be read at once.
const MEMORY_KIB: u64 = 500 * 1024;

/// A source, and how its errors and those of a calendar are told.
struct Hostile {
    name: &'static str,
    source: RawSource,
    calendar: RawSource,
    /// By `metrics-api`, by `prometheus`, and by a calendar.
    told: [&'static str; 3],
}

fn hostile(name: &'static str, mischief: Mischief, told: [&'static str; 3]) -> Result<Hostile> {
    // Both triggers find a value in it.
    let body = json!({"value": 30, "data": {"result": [{"value": [1, "30"]}]}});
    let events = json!([{"name": "drop", "start": "2099-01-01T00:00:00Z", "duration": "1h"}]);
    Ok(Hostile {
        name,
        source: RawSource::start(mischief, &body)?,
        calendar: RawSource::start(mischief, &events)?,
        told,
    })
}

fn all() -> Result<Vec<Hostile>> {
    let large = "larger than 10 MiB";
    let slow = "no complete answer within 3000 ms";
    Ok(vec![
        hostile(
            "endless",
            Mischief::Endless,
            [large, large, "larger than 5 MiB"],
        )?,
        hostile(
            "trickle",
            Mischief::Trickle,
            [slow, slow, "no complete answer within 10000 ms"],
        )?,
        hostile(
            "gigabyte",
            Mischief::Gigabyte,
            [large, large, "larger than 5 MiB"],
        )?,
        // Nobody asked for it to be compressed; of calendars it is.
        hostile(
            "bomb",
            Mischief::Bomb,
            ["no UTF-8 text", "no JSON", "larger than 5 MiB"],
        )?,
        hostile(
            "deep",
            Mischief::Deep,
            [
                "nests deeper than 100 levels",
                "nests deeper than 128 levels",
                "nests deeper than 128 levels",
            ],
        )?,
    ])
}

/// Its objects: name, trigger, and how the error is told.
fn objects(hostile: &Hostile) -> [(String, Value, &'static str); 2] {
    let url = hostile.source.url();
    let mut api = metrics_api(&url);
    let mut prometheus = json!({
        "type": "prometheus",
        "metadata": {"serverAddress": url, "query": "up", "threshold": "10"},
    });
    if hostile.told[0].contains("MiB") {
        // So much takes its time on a busy machine, and is to be told by its size.
        api["metadata"]["timeout"] = json!("20s");
        prometheus["metadata"]["timeout"] = json!("20000");
    }
    let [of_api, of_prometheus, _] = hostile.told;
    [
        (format!("api-{}", hostile.name), api, of_api),
        (
            format!("prometheus-{}", hostile.name),
            prometheus,
            of_prometheus,
        ),
    ]
}

fn sales(hostile: &Hostile, seconds: usize) -> Value {
    let mut sales = calendar(&json!([{
        "name": "marketing",
        "format": "json",
        "url": hostile.calendar.url(),
        "refreshInterval": format!("{seconds}s"),
    }]));
    sales["metadata"]["name"] = json!(format!("sales-{}", hostile.name));
    sales
}

async fn until_stale(scene: &Scene<'_>, hostile: &Hostile, stale: &str, part: &str) -> Result<()> {
    let name = format!("sales-{}", hostile.name);
    let what = format!("Stale={stale} of {name} with {part:?}");
    scene
        .until(&what, CALENDARS, &name, |object| {
            let condition = condition(object, "Stale")?;
            let message = condition["message"].as_str()?;
            (condition["status"] == stale && message.contains(part)).then_some(())
        })
        .await
}

/// Waits until an object's Ready is so, with this in an Event where it is not.
async fn until_ready(scene: &Scene<'_>, name: &str, status: &str) -> Result<()> {
    let what = format!("Ready={status} of {name}");
    scene
        .until(&what, SCALED_OBJECTS, name, |object| {
            (condition(object, "Ready")?["status"] == status).then_some(())
        })
        .await
}

/// External scalers that are none from the beginning: their targets stay as they are.
async fn no_external_scalers(scene: &Scene<'_>) -> Result<Vec<RawSource>> {
    let mut sources = Vec::new();
    for mischief in [Mischief::Endless, Mischief::Trickle] {
        let source = RawSource::start(mischief, &json!({}))?;
        source.break_it();
        let name = format!("external-{}", sources.len());
        scene.deploy(&name, i32::try_from(REPLICAS)?).await?;
        let address = format!("127.0.0.1:{}", source.port());
        let trigger = json!({"type": "external", "metadata": {"scalerAddress": address}});
        let spec = json!({"triggers": [trigger]});
        scene.apply(scene.scaled_object(&name, spec)).await?;
        sources.push(source);
    }
    Ok(sources)
}

#[test]
fn hostile_sources_harm_nobody_beside_them_and_recover() -> Result<()> {
    let bed = Bed::start()?;
    bed.run(async {
        let scene = Scene::open(&bed.cluster, "hostile").await?;
        let pid = bed.operator.lock().await.pid();
        let hostile = all()?;
        let healthy = HttpSource::start()?;
        let path = |number: usize| format!("/healthy-{number}");
        for number in 0..HEALTHY {
            let name = format!("healthy-{number}");
            healthy.set(&path(number), answer(10));
            scene.deploy(&name, 0).await?;
            let trigger = metrics_api(&healthy.url(&path(number)));
            scene
                .apply(scene.scaled_object(&name, json!({"triggers": [trigger]})))
                .await?;
        }
        for one in &hostile {
            for (name, trigger, _) in objects(one) {
                scene.deploy(&name, 0).await?;
                scene
                    .apply(scene.scaled_object(&name, json!({"triggers": [trigger]})))
                    .await?;
            }
            scene.apply(sales(one, 30)).await?;
        }
        for one in &hostile {
            for (name, ..) in objects(one) {
                scene.until_replicas(&name, REPLICAS).await?;
            }
            until_stale(&scene, one, "False", "").await?;
        }
        let external = no_external_scalers(&scene).await?;
        for number in 0..HEALTHY {
            scene
                .until_replicas(&format!("healthy-{number}"), 1)
                .await?;
        }

        let broken = Instant::now();
        for one in &hostile {
            one.source.break_it();
            one.calendar.break_it();
            // Another interval lets it be read at once.
            scene.apply(sales(one, 31)).await?;
        }
        let counts = || (0..HEALTHY).map(|number| healthy.requests(&path(number)));
        let before: Vec<u64> = counts().collect();
        for one in &hostile {
            for (name, _, told) in objects(one) {
                until_ready(&scene, &name, "False").await?;
                let note = scene
                    .until_told_that(&name, "KEDAScalerFailed", told)
                    .await?;
                println!("{name}: {note}");
            }
            until_stale(&scene, one, "True", one.told[2]).await?;
        }
        for number in 0..external.len() {
            let name = format!("external-{number}");
            until_ready(&scene, &name, "False").await?;
        }
        println!("all were told {:?} after they turned bad", broken.elapsed());

        // Those beside them scale meanwhile.
        for number in 0..HEALTHY {
            healthy.set(&path(number), answer(20));
        }
        for number in 0..HEALTHY {
            scene
                .until_replicas(&format!("healthy-{number}"), 2)
                .await?;
        }
        // Cooldowns of 2 s are over many times.
        scene
            .stays_for(
                "external-0",
                REPLICAS,
                WATCHED.saturating_sub(broken.elapsed()),
            )
            .await?;
        let seconds = broken.elapsed().as_secs_f64();
        for (number, (count, before)) in counts().zip(&before).enumerate() {
            let polls = (count - before) as f64;
            println!("healthy-{number}: {polls} requests in {seconds:.1} s");
            // One each second, and the HPA's reads beside them.
            ensure!(polls >= seconds * 0.9 - 2.0, "{polls} in {seconds} s");
        }
        for one in &hostile {
            for (name, ..) in objects(one) {
                let replicas = scene.replicas(&name).await?;
                ensure!(replicas == REPLICAS, "{name}: {replicas} replicas");
            }
        }
        for number in 0..external.len() {
            let replicas = scene.replicas(&format!("external-{number}")).await?;
            ensure!(
                replicas == REPLICAS,
                "external-{number}: {replicas} replicas"
            );
        }
        let memory = bed.operator.lock().await.memory()?;
        println!(
            "the operator's memory: {} MiB, and {} MiB at most",
            memory.resident_kib / 1024,
            memory.peak_kib / 1024
        );
        ensure!(memory.peak_kib < MEMORY_KIB, "{memory:?}");

        for one in &hostile {
            one.source.mend_it();
            one.calendar.mend_it();
            scene.apply(sales(one, 32)).await?;
        }
        for one in &hostile {
            for (name, ..) in objects(one) {
                until_ready(&scene, &name, "True").await?;
            }
            until_stale(&scene, one, "False", "").await?;
        }
        let now = bed.operator.lock().await.pid();
        ensure!(now == pid && now.is_some(), "it was {pid:?} and is {now:?}");
        eventually("readiness", SOON, async || {
            let address = bed.operator.lock().await.health_probe_address();
            let stream = std::net::TcpStream::connect(address).context("no probe")?;
            drop(stream);
            Ok(Some(()))
        })
        .await?;
        scene.close().await
    })
}
