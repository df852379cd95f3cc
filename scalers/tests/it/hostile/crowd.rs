//! Hundreds of hostile objects beside as many healthy ones: nobody waits for them, and what they send doesn't add up.

use std::time::{Duration, Instant};

use futures::future::join_all;
use sakidori_scalers::{Freshness, Scaler, Trigger, build};
use sakidori_test_servers::{Answer, HttpSource};

use super::servers::{Mischief, http, serving};
use super::{alone, context, peak, run};

const OF_EACH: usize = 100;
const ROUNDS: usize = 3;
/// The time for an answer, and so the longest that a hostile one takes.
const TIMEOUT: Duration = Duration::from_secs(3);
/// The median of the healthy ones: theirs are a few bytes, on a machine that may be compiling meanwhile.
const QUICK: Duration = Duration::from_secs(1);

fn trigger(url: &str) -> Trigger {
    Trigger::new("metrics-api").metadata([
        ("url", url),
        ("valueLocation", "depth"),
        ("targetValue", "5"),
    ])
}

/// A server that sends as much as needs room, and then a byte every 20 ms: it would have the room for as long as it is waited for.
fn large_and_slow() -> u16 {
    serving(|stream| {
        use std::io::{Read, Write};
        let stream = stream.get_mut();
        let _ = stream.read(&mut [0; 4096])?;
        stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 5000000\r\n\r\n")?;
        stream.write_all(&[b' '; 300 * 1024])?;
        loop {
            stream.write_all(b" ")?;
            std::thread::sleep(Duration::from_millis(20));
        }
    })
}

#[test]
fn a_hundred_hostile_objects_starve_nobody_and_do_not_add_up() {
    if !alone("hostile::crowd::a_hundred_hostile_objects_starve_nobody_and_do_not_add_up") {
        return;
    }
    run(async {
        let context = context(TIMEOUT);
        let mut ports = vec![large_and_slow()];
        ports.extend(
            [
                Mischief::Endless,
                Mischief::Gigabyte,
                Mischief::Trickle,
                Mischief::Deep,
            ]
            .map(http),
        );
        let hostile: Vec<Box<dyn Scaler>> = (0..OF_EACH)
            .map(|number| {
                let url = format!("http://127.0.0.1:{}/{number}", ports[number % ports.len()]);
                build(&trigger(&url), &context).unwrap()
            })
            .collect();
        let source = HttpSource::start().unwrap();
        source.set("/q", Answer::new("application/json", r#"{"depth":7}"#));
        // Honest, and so large that it needs room.
        let large = format!("{{\"depth\":7,\"rest\":\"{}\"}}", "x".repeat(512 * 1024));
        source.set("/large", Answer::new("application/json", large));
        let healthy: Vec<Box<dyn Scaler>> = (0..OF_EACH)
            .map(|_| build(&trigger(&source.url("/q")), &context).unwrap())
            .collect();
        let honest = build(&trigger(&source.url("/large")), &context).unwrap();
        for _ in 0..ROUNDS {
            let asked = Instant::now();
            let timed = async |scaler: &dyn Scaler| {
                let answer = scaler.read(&Freshness::now()).await;
                (answer.map(|readings| readings[0].value), asked.elapsed())
            };
            let bad = join_all(hostile.iter().map(|scaler| timed(&**scaler)));
            let good = join_all(healthy.iter().map(|scaler| timed(&**scaler)));
            let (bad, good, large) = tokio::join!(bad, good, timed(&*honest));
            assert!(bad.iter().all(|(answer, _)| answer.is_err()));
            let slowest = bad.iter().map(|(_, took)| *took).max().unwrap();
            assert!(slowest < TIMEOUT * 3, "{slowest:?}");
            assert!(
                good.iter().all(|(answer, _)| *answer == Ok(7.0)),
                "{good:?}"
            );
            let mut took: Vec<Duration> = good.iter().map(|(_, took)| *took).collect();
            took.sort();
            let (median, last) = (took[OF_EACH / 2], took[OF_EACH - 1]);
            println!(
                "healthy: {median:?}, the last {last:?}; large {:?}; hostile {slowest:?}; {} MiB",
                large.1,
                peak()
            );
            assert!(median < QUICK, "{median:?}");
            assert_eq!(large.0, Ok(7.0), "no room for an honest one");
        }
        // 16 answers of 10 MiB, what a hundred have before they need room, and the servers' own.
        assert!(peak() < 400, "{} MiB", peak());
    });
}
