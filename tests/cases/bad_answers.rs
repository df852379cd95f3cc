//! Sources that answer nonsense, too much, too slowly or not at all: each is told clearly, no replica falls, and nobody
//! beside them waits.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use sakidori_test_servers::{Answer, HttpSource};
use sakidori_tests::bed;
use sakidori_tests::namespace::{deployment, metrics_api, scaled_object};
use sakidori_tests::raw_source::{Mischief, RawSource};
use sakidori_tests::throughout::throughout;
use serde_json::{Value, json};

const REPLICAS: i32 = 3;
/// Times the target of 10.
const GOOD: i32 = REPLICAS * 10;
const METRIC: &str = "s0-metric-api-value";
const SOON: Duration = Duration::from_secs(30);

/// One way to fail.
struct Fault {
    name: &'static str,
    trigger: Value,
    /// What the Event must say.
    told: &'static str,
}

fn html() -> Answer {
    Answer::new(
        "text/html",
        "<!doctype html><html><body>Please log in</body></html>",
    )
}

fn deep() -> Answer {
    Answer::new(
        "application/json",
        format!(
            "{{\"value\":{}1{}}}",
            "[".repeat(10_000),
            "]".repeat(10_000)
        ),
    )
}

fn huge() -> Answer {
    let filler = "x".repeat(20 * 1024 * 1024);
    Answer::new(
        "application/json",
        format!("{{\"filler\":\"{filler}\",\"value\":1}}"),
    )
}

#[test]
fn every_bad_answer_is_told_and_nothing_falls() -> Result<()> {
    let bed = bed::shared()?;
    bed.run(async {
        let namespace = bed.namespace("bad-answers").await?;
        let good = json!({"value": GOOD});
        let source = HttpSource::start()?;
        let mut leaving = HttpSource::start()?;
        let trickle = RawSource::start(Mischief::Trickle, &good)?;
        let other_host = RawSource::start(Mischief::OtherHost, &good)?;

        // By HTTP alone: the path's answer turns bad.
        let bad: Vec<(&str, Answer, &str)> = vec![
            (
                "garbage",
                Answer::new("application/json", "}\u{1}{]\"value\":"),
                "the answer is no JSON",
            ),
            (
                "error-500",
                Answer::status(500),
                "500 Internal Server Error",
            ),
            (
                "empty",
                Answer::new("application/json", ""),
                "the answer is empty",
            ),
            ("html", html(), "the answer is no JSON"),
            ("huge", huge(), "larger than 10 MiB"),
            ("hang", Answer::hang(), "no complete answer within 3000 ms"),
            (
                "nan",
                Answer::json(&json!({"value": "NaN"})),
                "not parseable as a Quantity",
            ),
            ("deep", deep(), "nests deeper than"),
        ];
        let mut faults = Vec::new();
        for (name, _, told) in &bad {
            let path = format!("/{name}");
            source.set(&path, Answer::json(&good));
            faults.push(Fault {
                name,
                trigger: metrics_api(&source.url(&path)),
                told,
            });
        }
        // Prometheus' format has a NaN of its own.
        source.set(
            "/prometheus-nan",
            Answer::prometheus(format!("value {GOOD}\n")),
        );
        let mut trigger = metrics_api(&source.url("/prometheus-nan"));
        trigger["metadata"]["format"] = json!("prometheus");
        faults.push(Fault {
            name: "prometheus-nan",
            trigger,
            told: "NaN",
        });
        leaving.set("/", Answer::json(&good));
        faults.push(Fault {
            name: "refused",
            trigger: metrics_api(&leaving.url("/")),
            told: "Connection refused",
        });
        faults.push(Fault {
            name: "trickle",
            trigger: metrics_api(&trickle.url()),
            told: "no complete answer within 3000 ms",
        });
        let mut trigger = metrics_api(&other_host.url());
        trigger["authenticationRef"] = json!({"name": "ca"});
        faults.push(Fault {
            name: "other-host",
            trigger,
            told: "not valid for name",
        });
        namespace
            .apply(authority(other_host.ca().context("no authority")?))
            .await?;

        for fault in &faults {
            let spec =
                json!({"pollingInterval": 1, "cooldownPeriod": 1, "triggers": [fault.trigger]});
            namespace
                .apply([deployment(fault.name, 0), scaled_object(fault.name, spec)])
                .await?;
        }
        // At zero, where nobody but the poll reads: one request each second.
        source.set("/calm", Answer::json(&json!({"value": 0})));
        let spec = json!({"pollingInterval": 1, "triggers": [metrics_api(&source.url("/calm"))]});
        namespace
            .apply([deployment("calm", 0), scaled_object("calm", spec)])
            .await?;
        for fault in &faults {
            namespace.wait_replicas(fault.name, REPLICAS, SOON).await?;
        }

        let broken = Instant::now();
        let calm = source.requests("/calm");
        for (name, answer, _) in bad {
            source.set(&format!("/{name}"), answer);
        }
        source.set("/prometheus-nan", Answer::prometheus("value NaN\n"));
        leaving.stop();
        trickle.break_it();
        other_host.break_it();
        for fault in &faults {
            namespace
                .wait_ready(fault.name, "False", "TriggerError", SOON)
                .await?;
            let note = namespace
                .wait_note(
                    fault.name,
                    "KEDAScalerFailed",
                    "trigger 0 (metrics-api): ",
                    SOON,
                )
                .await?;
            ensure!(
                note.contains(fault.told),
                "{}: expected {:?} in {note:?}",
                fault.name,
                fault.told
            );
            println!("{}: {note}", fault.name);
        }
        println!("all were told {:?} after they broke", broken.elapsed());
        // Their cooldowns are over many times, and the HPA has looked as often.
        throughout("replicas", Duration::from_secs(8), async || {
            for fault in &faults {
                let replicas = namespace.replicas(fault.name).await?;
                ensure!(replicas.wanted == REPLICAS, "{}: {replicas:?}", fault.name);
            }
            Ok(())
        })
        .await?;
        for fault in &faults {
            let value = namespace.value(METRIC, fault.name).await;
            ensure!(value.is_err(), "{}: the HPA reads {value:?}", fault.name);
        }
        let seconds = broken.elapsed().as_secs_f64();
        let polls = (source.requests("/calm") - calm) as f64;
        println!("meanwhile {polls} polls of an object beside them in {seconds:.1} s");
        ensure!(
            (polls - seconds).abs() <= 1.5 + seconds * 0.1,
            "{polls} polls in {seconds} s"
        );
        Ok(())
    })
}

fn authority(pem: &str) -> [Value; 2] {
    [
        json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "ca"}, "stringData": {"ca.crt": pem}}),
        json!({
            "apiVersion": "keda.sh/v1alpha1", "kind": "TriggerAuthentication", "metadata": {"name": "ca"},
            "spec": {"secretTargetRef": [{"parameter": "ca", "name": "ca", "key": "ca.crt"}]},
        }),
    ]
}

/// With one of two metrics missing, the HPA adds replicas and takes none.
#[test]
fn a_failing_trigger_beside_a_working_one_lets_replicas_rise_and_never_fall() -> Result<()> {
    let bed = bed::shared()?;
    bed.run(async {
        let namespace = bed.namespace("half-failing").await?;
        let set = |value: i32| {
            bed.source
                .set("/half-works", Answer::json(&json!({"value": value})))
        };
        set(30);
        bed.source.set("/half-fails", Answer::status(500));
        let triggers = [
            metrics_api(&bed.source.url("/half-works")),
            metrics_api(&bed.source.url("/half-fails")),
        ];
        let spec = json!({"pollingInterval": 1, "cooldownPeriod": 1, "triggers": triggers});
        namespace
            .apply([deployment("web", 0), scaled_object("web", spec)])
            .await?;
        namespace.wait_replicas("web", 3, SOON).await?;
        namespace
            .wait_ready("web", "Unknown", "PartialTriggerError", SOON)
            .await?;
        set(60);
        namespace.wait_replicas("web", 6, SOON).await?;

        let stay = async |what: &str| {
            throughout(what, Duration::from_secs(5), async || {
                let replicas = namespace.replicas("web").await?;
                ensure!(replicas.wanted == 6, "{replicas:?}");
                Ok(())
            })
            .await
        };
        set(10);
        namespace.wait_value(METRIC, "web", 10.0, SOON).await?;
        stay("replicas while the working trigger asks for fewer").await?;
        // Nothing is active any more, as far as anybody can tell.
        set(0);
        namespace
            .wait_ready("web", "False", "TriggerError", SOON)
            .await?;
        stay("replicas while the working trigger asks for none").await?;
        // Once both work, what they say counts.
        bed.source
            .set("/half-fails", Answer::json(&json!({"value": 20})));
        namespace.wait_replicas("web", 2, SOON).await?;
        namespace
            .wait_ready("web", "True", "ScaledObjectReady", SOON)
            .await
    })
}
