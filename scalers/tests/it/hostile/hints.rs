//! `103 Early Hints` again and again: no answer, and nothing that would end the wait for one but time.

use std::io::{BufRead, Write};
use std::time::{Duration, Instant};

use futures::future::join_all;
use sakidori_scalers::Trigger;
use sakidori_test_servers::{Answer, HttpSource};

use super::servers::serving;
use super::{alone, context, run, value};

const HOSTILE: usize = 4;
const WITHIN: Duration = Duration::from_secs(3);
/// How late a task may wake up beside them. A debug build is held up for seconds at a time where it shares their threads.
const LATE: Duration = Duration::from_millis(900);

fn trigger(port: u16) -> Trigger {
    let url = format!("http://127.0.0.1:{port}/");
    Trigger::new("metrics-api").metadata([
        ("url", url.as_str()),
        ("valueLocation", "depth"),
        ("targetValue", "5"),
    ])
}

#[test]
fn hints_without_end_hold_up_nobody_else() {
    if !alone("hostile::hints::hints_without_end_hold_up_nobody_else") {
        return;
    }
    run(async {
        let hostile = serving(|stream| {
            let mut line = String::new();
            while stream.read_line(&mut line)? > 0 && !line.trim().is_empty() {
                line.clear();
            }
            let many = b"HTTP/1.1 103 Early Hints\r\nlink: </x>\r\n\r\n".repeat(1000);
            loop {
                stream.get_mut().write_all(&many)?;
            }
        });
        let source = HttpSource::start().unwrap();
        source.set("/", Answer::new("application/json", r#"{"depth":7}"#));
        let context = context(WITHIN);
        let (bad, good) = (trigger(hostile), trigger(source.port()));
        let asked = Instant::now();
        let hostile = join_all((0..HOSTILE).map(|_| value(&context, &bad)));
        let healthy = async {
            let mut latest = Duration::ZERO;
            let mut values = Vec::new();
            while asked.elapsed() < WITHIN {
                let slept = Instant::now();
                tokio::time::sleep(Duration::from_millis(20)).await;
                latest = latest.max(slept.elapsed());
                values.push(value(&context, &good).await);
            }
            (latest, values)
        };
        let (hostile, (latest, values)) = tokio::join!(hostile, healthy);
        for answer in hostile {
            let error = answer.unwrap_err().to_string();
            assert!(
                error.contains("no complete answer within 3000 ms"),
                "{error}"
            );
        }
        let read = values.iter().filter(|value| **value == Ok(7.0)).count();
        println!(
            "{:?}; {read} of {} healthy ones were read; woken {latest:?} late",
            asked.elapsed(),
            values.len()
        );
        assert!(read > 0 && read == values.len(), "{values:?}");
        assert!(latest < LATE, "{latest:?}");
        assert!(asked.elapsed() < WITHIN * 2, "{:?}", asked.elapsed());
    });
}
