//! What one ScaledObject does to itself, it does to no other: sources that hang, answers without end, thousands of
//! neighbours. All others keep their rhythm: their sources are asked within half a second of when it is due.
//!
//! A panic in a scaler is held in the operator's own tests (operator/src/poll/tests.rs): no trigger type of the binary that is
//! shipped is known to panic, and one that did for the test's sake would have to be shipped.

use std::net::TcpListener;
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use futures::{StreamExt, TryStreamExt, stream};
use sakidori_test_cluster::{ClusterOptions, eventually};
use sakidori_test_servers::{Answer, HttpSource};
use sakidori_tests::bed::Bed;
use sakidori_tests::namespace::metrics_api;
use sakidori_tests::raw_source::{Mischief, RawSource};
use sakidori_tests::rhythm::lateness;
use serde_json::{Value, json};

use crate::scene::{PATH, SCALED_OBJECTS, Scene, answer, condition, play};

/// How late a poll may begin.
const BOUND: Duration = Duration::from_millis(500);

/// The interval of those that are watched.
const INTERVAL: Duration = Duration::from_secs(1);

/// ScaledObjects whose rhythm is watched.
const BYSTANDERS: usize = 5;

/// Files that the operator may have open as it is started: fewer than sources hang.
const OPEN_FILES: u32 = 256;

/// Requests of the test itself at the same time.
const AT_ONCE: usize = 32;

/// How long many objects may take to be there, on a machine that compiles meanwhile.
const PATIENCE: Duration = Duration::from_secs(120);

const REPLICA_SETS: &str = "apis/apps/v1/replicasets";

/// A control plane that nothing but these cases puts load on, one case at a time. The HPA controller looks at nothing while they
/// run: it isn't what is measured.
fn play_alone(name: &str, case: impl AsyncFnOnce(&Bed, &Scene) -> Result<()>) {
    static BED: OnceLock<Result<Mutex<Bed>, String>> = OnceLock::new();
    let bed = BED.get_or_init(|| {
        let options = ClusterOptions {
            hpa_sync_period: Duration::from_secs(3600),
            nodes: 0,
            scheduler: false,
            audit: false,
            ..ClusterOptions::default()
        };
        let limited = |settings: &mut sakidori_tests::OperatorSettings| {
            settings.open_files = Some(OPEN_FILES);
            // As it is run: thousands of polls a minute are thousands of lines otherwise.
            "info".clone_into(&mut settings.log_level);
        };
        let bed = Bed::start_with(options, limited).map_err(|error| format!("{error:#}"))?;
        Ok(Mutex::new(bed))
    });
    let bed: MutexGuard<'_, Bed> = match bed {
        Ok(bed) => bed.lock().unwrap_or_else(PoisonError::into_inner),
        Err(error) => panic!("the bed does not start: {error}"),
    };
    let played = bed.run(async {
        let scene = Scene::open(&bed.cluster, name).await?;
        let played = case(&bed, &scene).await;
        scene.close().await?;
        played
    });
    if let Err(error) = played {
        panic!("{error:#}");
    }
}

/// Something that can be scaled, and that no controller does anything with.
fn target(name: &str) -> Value {
    json!({
        "apiVersion": "apps/v1",
        "kind": "ReplicaSet",
        "metadata": {"name": name},
        "spec": {
            "replicas": 0,
            "selector": {"matchLabels": {"app": name}},
            "template": {
                "metadata": {"labels": {"app": name}},
                "spec": {"containers": [{"name": "main", "image": "example.org/none:1"}]},
            },
        },
    })
}

fn scaled_object(name: &str, interval: Duration, triggers: Value) -> Value {
    json!({
        "apiVersion": "keda.sh/v1alpha1",
        "kind": "ScaledObject",
        "metadata": {"name": name},
        "spec": {
            "scaleTargetRef": {"kind": "ReplicaSet", "name": name},
            "pollingInterval": interval.as_secs(),
            "triggers": triggers,
        },
    })
}

/// Creates objects with their targets, many at a time.
async fn create(scene: &Scene<'_>, objects: impl IntoIterator<Item = Value>) -> Result<()> {
    stream::iter(objects)
        .map(async |object| {
            let name = object["metadata"]["name"].as_str().context("no name")?;
            scene.create(REPLICA_SETS, &target(name)).await?;
            scene.create(SCALED_OBJECTS, &object).await?;
            anyhow::Ok(())
        })
        .buffer_unordered(AT_ONCE)
        .try_collect()
        .await
}

/// Objects that do no harm, and a source of their own that sees when they are polled.
struct Bystanders {
    source: HttpSource,
}

impl Bystanders {
    /// Creates them, and waits until they are polled.
    async fn settle(scene: &Scene<'_>) -> Result<Self> {
        let source = HttpSource::start()?;
        let objects: Vec<_> = (0..BYSTANDERS)
            .map(|number| {
                source.set(&path(number), answer(0));
                let trigger = metrics_api(&source.url(&path(number)));
                scaled_object(&format!("bystander-{number}"), INTERVAL, json!([trigger]))
            })
            .collect();
        create(scene, objects).await?;
        for number in 0..BYSTANDERS {
            scene.ready(&format!("bystander-{number}")).await?;
        }
        Ok(Self { source })
    }

    /// Watches all of them for so many polls from now on, and says how late the latest was.
    async fn watch(&self, polls: usize) -> Result<Duration> {
        let begin = Instant::now();
        tokio::time::sleep(INTERVAL * u32::try_from(polls)?).await;
        self.latest(begin, Instant::now())
    }

    /// How late the latest poll was between two times.
    fn latest(&self, begin: Instant, end: Instant) -> Result<Duration> {
        let mut latest = Duration::ZERO;
        for number in 0..BYSTANDERS {
            let mut arrivals = self.source.arrivals(&path(number));
            arrivals.retain(|at| (begin..end).contains(at));
            let late = lateness(&arrivals, INTERVAL)
                .with_context(|| format!("the polls of bystander-{number}"))?;
            let expected = (end - begin).as_secs_f64() / INTERVAL.as_secs_f64();
            ensure!(
                late.len() as f64 > expected - 2.0,
                "bystander-{number} was polled {} times in {:?}",
                late.len(),
                end - begin
            );
            latest = latest.max(late.into_iter().max().unwrap_or_default());
        }
        Ok(latest)
    }
}

fn path(number: usize) -> String {
    format!("/bystander/{number}")
}

fn within_bound(what: &str, latest: Duration, bound: Duration) -> Result<()> {
    println!("{what}: the latest poll began {latest:?} after its time");
    ensure!(
        latest < bound,
        "{what}: a poll began {latest:?} after its time, expected less than {bound:?}"
    );
    Ok(())
}

fn is_ready(object: &Value) -> bool {
    condition(object, "Ready").is_some_and(|ready| ready["status"] == "True")
}

/// The longest that the API server takes for what each poll asks it, while something else is done.
async fn slowest_answer_during(
    scene: &Scene<'_>,
    work: impl Future<Output = Result<()>>,
) -> Result<Duration> {
    const OFTEN: Duration = Duration::from_millis(100);
    let mut slowest = Duration::ZERO;
    let asking = async {
        loop {
            let asked = Instant::now();
            scene.get(REPLICA_SETS, "bystander-0/scale").await?;
            slowest = slowest.max(asked.elapsed());
            tokio::time::sleep(OFTEN).await;
        }
    };
    tokio::select! {
        done = work => done?,
        failed = asking => return failed,
    }
    Ok(slowest)
}

/// The most by which the last poll of any object of the namespace was late, as the operator tells it, and of how many objects.
async fn told_lateness(bed: &Bed, namespace: &str) -> Result<(Duration, usize)> {
    let text = bed.operator.lock().await.metrics().await?;
    let late: Vec<f64> = text
        .lines()
        .filter(|line| line.starts_with("keda_internal_scale_loop_latency_seconds{"))
        .filter(|line| line.contains(&format!("namespace=\"{namespace}\"")))
        // One that hangs is late behind its own attempt, which is longer than its interval: by 4 s after a name that isn't resolved in 5,
        // by 20 s after a timeout. That shows for as long as the poll after it is its last. What is held here is that it makes no other late.
        .filter(|line| !line.contains("resource=\"hanging-"))
        .filter_map(|line| line.rsplit(' ').next()?.parse().ok())
        .collect();
    let most = late.iter().copied().fold(0.0, f64::max);
    Ok((Duration::from_secs_f64(most), late.len()))
}

/// As many as a namespace's objects, in every way that a source can hang: more than the operator may have files open at its
/// start, and each longer than a polling interval.
#[test]
fn hanging_sources_hold_up_nobody() {
    const HANGING: usize = 300;
    play_alone("isolation-hanging", async |bed, scene| {
        let bystanders = Bystanders::settle(scene).await?;
        within_bound("beside nothing", bystanders.watch(3).await?, BOUND)?;

        let hanging = HttpSource::start()?;
        // Connections are accepted by the kernel, until its queue is full: then not even that.
        let silent = TcpListener::bind("127.0.0.1:0")?;
        let port = silent.local_addr()?.port();
        let objects: Vec<_> = (0..HANGING)
            .map(|number| {
                hanging.set(&format!("/{number}"), Answer::hang());
                let mut trigger = match number % 10 {
                    0 => metrics_api(&format!("http://127.0.0.1:{port}/")),
                    1 => metrics_api("http://no-such-host.invalid/"),
                    2 => json!({
                        "type": "rabbitmq",
                        "metadata": {
                            "host": format!("amqp://guest:guest@127.0.0.1:{port}/"),
                            "queueName": format!("queue-{number}"), "mode": "QueueLength", "value": "5",
                        },
                    }),
                    _ => metrics_api(&hanging.url(&format!("/{number}"))),
                };
                if trigger["type"] == "metrics-api" {
                    trigger["metadata"]["timeout"] = json!("20s");
                }
                scaled_object(&format!("hanging-{number}"), INTERVAL, json!([trigger]))
            })
            .collect();
        let begin = Instant::now();
        create(scene, objects).await?;
        let all = eventually("all sources to hang", PATIENCE, async || {
            let asked = (0..HANGING)
                .filter(|number| hanging.requests(&format!("/{number}")) > 0)
                .count();
            let http = (0..HANGING).filter(|number| number % 10 > 2).count();
            ensure!(asked == http, "{asked} of {http} hang");
            Ok(Some(()))
        });
        all.await?;
        bystanders.watch(10).await?;
        within_bound(
            "while sources hang",
            bystanders.latest(begin, Instant::now())?,
            BOUND,
        )?;
        let (late, _) = told_lateness(bed, &scene.namespace).await?;
        within_bound("by the operator's own word", late, BOUND)
    });
}

/// All triggers of an object are asked at once.
#[test]
fn a_slow_trigger_holds_up_no_other_trigger_of_its_object() {
    play("isolation-triggers", async |scene| {
        const SLOW: Duration = Duration::from_secs(2);
        scene.source.set("/slow", answer(0).after(SLOW));
        scene.source.set("/quick", answer(0));
        let triggers = [scene.trigger_on("/slow"), scene.trigger_on("/quick")];
        scene.bring_up(0, json!({"triggers": triggers})).await?;
        eventually("five polls", PATIENCE, async || {
            Ok((scene.source.requests("/slow") >= 5).then_some(()))
        })
        .await?;
        let slow = scene.source.arrivals("/slow");
        let quick = scene.source.arrivals("/quick");
        for (number, (slow, quick)) in slow.iter().zip(&quick).enumerate() {
            let apart = slow.max(quick).duration_since(*slow.min(quick));
            ensure!(
                apart < BOUND,
                "in poll {number} the triggers were asked {apart:?} apart"
            );
        }
        Ok(())
    });
}

#[test]
fn an_answer_of_ten_mebibytes_is_refused_in_bounded_memory() {
    const MEBIBYTE: usize = 1024 * 1024;
    /// Four answers at a time, each in a buffer that has doubled and may just be moved.
    const MOST: u64 = 4 * 3 * 16 * 1024;
    play_alone("isolation-large", async |bed, scene| {
        // The most that it used before counts too: from the start.
        let mut operator = bed.operator.lock().await;
        operator.kill()?;
        operator.restart()?;
        operator.wait_ready(PATIENCE).await?;
        drop(operator);
        let bystanders = Bystanders::settle(scene).await?;
        bystanders.watch(5).await?;
        let before = bed.operator.lock().await.memory()?;

        let source = HttpSource::start()?;
        let filled = |size: usize| {
            let rest = r#"{"filler":"","value":7}"#.len();
            let filler = "x".repeat(size - rest);
            let text = format!(r#"{{"filler":"{filler}","value":7}}"#);
            Answer::new("application/json", text)
        };
        source.set("/large", filled(10 * MEBIBYTE));
        source.set("/larger", filled(10 * MEBIBYTE + 1));
        let endless = RawSource::start(Mischief::Endless, &json!({"value": 0}))?;
        endless.break_it();
        let urls = [
            ("large", source.url("/large")),
            ("larger", source.url("/larger")),
            ("endless", endless.url()),
        ];
        let objects = urls.map(|(name, url)| {
            let mut trigger = metrics_api(&url);
            trigger["metadata"]["timeout"] = json!("20s");
            scaled_object(name, INTERVAL, json!([trigger]))
        });
        let begin = Instant::now();
        create(scene, objects).await?;
        // What may be read is read.
        scene.until_replicas_of(REPLICA_SETS, "large", 1).await?;
        scene.ready("large").await?;
        for name in ["larger", "endless"] {
            let told = scene.until_told(name, "KEDAScalerFailed").await?;
            ensure!(
                told.ends_with("malformed answer: the answer is larger than 10 MiB")
                    || told.contains("the answer is larger than 10 MiB"),
                "{name}: {told}"
            );
            scene
                .condition(name, "Ready", "False", "TriggerError")
                .await?;
        }
        bystanders.watch(10).await?;
        within_bound(
            "beside large answers",
            bystanders.latest(begin, Instant::now())?,
            BOUND,
        )?;
        let after = bed.operator.lock().await.memory()?;
        println!("memory before {before:?}, after {after:?}");
        let more = after.peak_kib.saturating_sub(before.peak_kib);
        ensure!(more < MOST, "{before:?} became {after:?}");
        Ok(())
    });
}

/// They come at once, as from a restored backup, and then are there.
#[test]
fn among_two_thousand_objects_polls_keep_their_rhythm() {
    const MANY: usize = 2000;
    play_alone("isolation-many", async |bed, scene| {
        let bystanders = Bystanders::settle(scene).await?;
        let trigger = scene.trigger();
        let objects = (0..MANY).map(|number| {
            scaled_object(
                &format!("one-of-many-{number}"),
                Duration::from_secs(15),
                json!([trigger]),
            )
        });
        let begin = Instant::now();
        let come = async {
            create(scene, objects).await?;
            println!("created after {:?}", begin.elapsed());
            eventually("all to be ready", PATIENCE, async || {
                let objects = scene.list(SCALED_OBJECTS).await?;
                let ready = objects.iter().filter(|object| is_ready(object)).count();
                ensure!(ready == MANY + BYSTANDERS, "{ready} are");
                Ok(Some(()))
            })
            .await
        };
        // Under a flood of new objects the machine is short of processors: how short, the API server's slowest answer to a plain
        // question shows, and so much is allowed on top. Once they are there, nothing is.
        let slowest = slowest_answer_during(scene, come).await?;
        println!(
            "ready after {:?}, the API server's slowest answer took {slowest:?}",
            begin.elapsed()
        );
        within_bound(
            "while they come",
            bystanders.latest(begin, Instant::now())?,
            BOUND + slowest,
        )?;

        // Each of them is polled once more.
        let asked = scene.source.requests(PATH);
        within_bound("while they are there", bystanders.watch(18).await?, BOUND)?;
        let polls = scene.source.requests(PATH) - asked;
        ensure!(polls >= MANY as u64, "only {polls} polls of {MANY}");
        let (late, objects) = told_lateness(bed, &scene.namespace).await?;
        ensure!(objects == MANY + BYSTANDERS, "{objects} are told of");
        within_bound("by the operator's own word", late, BOUND)
    });
}
