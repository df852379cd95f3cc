//! Fifty ScaledObjects under a load that changes every second, and a record of what their source said and what became of it.

pub mod judge;
pub mod recorder;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use sakidori_test_cluster::eventually;
use sakidori_test_servers::{Answer, HttpSource};
use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::namespace::{Namespace, deployment, metrics_api, scaled_object};
use judge::{Step, behind, unjustified_falls};
use recorder::Recorder;

/// How many objects there are.
pub const COUNT: usize = 50;
/// The external metric of each of them.
pub const METRIC: &str = "s0-metric-api-value";
/// The number that a source says changes that often.
pub const TICK: Duration = Duration::from_secs(1);
/// For how many ticks it asks for the same replicas: longer than [`Subject::reading_age`], or nothing could ever be held against a
/// fall, and longer than [`Subject::follows_within`].
const PLATEAU: u64 = 30;
const COOLDOWN: Duration = Duration::from_secs(5);
/// From a reading to what is seen in the Deployment: a write of the HPA controller's and a watch, on a machine that is busy.
const SEEN_WITHIN: Duration = Duration::from_secs(3);

/// One of the ScaledObjects, and its Deployment of the same name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Subject(pub usize);

impl Subject {
    /// All of them.
    pub fn all() -> impl Iterator<Item = Subject> + Clone {
        (0..COUNT).map(Subject)
    }

    /// Those of that polling interval.
    pub fn polled_every(interval: Duration) -> impl Iterator<Item = Subject> + Clone {
        Self::all().filter(move |subject| subject.polling_interval() == interval)
    }

    pub fn name(self) -> String {
        format!("load-{}", self.0)
    }

    fn path(self) -> String {
        format!("/load/{}", self.0)
    }

    /// Ten are polled every 10 s: their readings outlive a takeover. Ten are polled every 2 s: theirs don't.
    pub fn polling_interval(self) -> Duration {
        Duration::from_secs(match self.0 % 5 {
            0 => 10,
            1 => 2,
            _ => 5,
        })
    }

    /// How old a reading may be that the HPA is told: two polling intervals.
    pub fn reading_age(self) -> Duration {
        self.polling_interval() * 2
    }

    /// From what the source says to a fall that it justifies, at most: the HPA is told a reading that is as old as it may be, and acts
    /// on it. (The operator's own step to zero needs a reading too, which is younger.)
    fn justifies_for(self) -> Duration {
        self.reading_age() + SEEN_WITHIN
    }

    /// From what the source says to as many replicas, at most, while somebody leads: a poll, the cooldown where it says zero, and then
    /// the poll after it; a look of the HPA controller's.
    fn follows_within(self, hpa_sync_period: Duration) -> Duration {
        self.polling_interval() + COOLDOWN.max(hpa_sync_period) + SEEN_WITHIN
    }

    /// How many replicas it asks for at a tick.
    fn replicas(self, tick: u64) -> i32 {
        const ALWAYS_BUSY: [i32; 6] = [4, 2, 7, 5, 1, 6];
        const AT_TIMES_IDLE: [i32; 6] = [0, 3, 0, 6, 2, 0];
        // Not all at once: one or two of them change their mind at each tick.
        let number = self.0 as u64;
        let plateau = (tick + number * 7) / PLATEAU + number;
        let levels = if self.0.is_multiple_of(3) {
            AT_TIMES_IDLE
        } else {
            ALWAYS_BUSY
        };
        levels[(plateau % 6) as usize]
    }
}

/// The number that asks for so many replicas at 10 each, in thousandths. It is another one at each tick, so that a number tells when
/// the source was asked.
fn thousandths(replicas: i32, tick: u64) -> i64 {
    if replicas == 0 {
        return 0;
    }
    // 617 has no divisor in common with 9990: all of 9990 ticks differ. Less than 10 is taken off, so the replicas are the same.
    i64::from(replicas) * 10_000 - (tick * 617 % 9_990) as i64
}

/// What a source said from a moment on.
#[derive(Clone, Copy, Debug)]
struct Said {
    at: Instant,
    thousandths: i64,
    replicas: i32,
}

/// The objects, their source, and what is seen of them. Dropped, it stops.
pub struct Load {
    source: Arc<HttpSource>,
    said: Arc<Mutex<Vec<Vec<Said>>>>,
    recorder: Recorder,
    hpa_sync_period: Duration,
    _ticking: JoinSet<()>,
}

impl Load {
    /// Creates the objects in a namespace; the load changes from now on.
    ///
    /// # Errors
    /// If the API server refuses one.
    pub async fn start(namespace: &Namespace, hpa_sync_period: Duration) -> Result<Self> {
        let source = Arc::new(HttpSource::start()?);
        let said = Arc::new(Mutex::new(vec![Vec::new(); COUNT]));
        speak(&source, &said, 0);
        let recorder = Recorder::start(namespace.client.clone(), &namespace.name);
        let objects = Subject::all()
            .flat_map(|subject| [deployment(&subject.name(), 0), object(&source, subject)]);
        namespace.apply(objects).await?;
        let mut ticking = JoinSet::new();
        let (voice, record) = (source.clone(), said.clone());
        ticking.spawn(async move {
            let mut ticks = tokio::time::interval(TICK);
            for tick in 1.. {
                ticks.tick().await;
                speak(&voice, &record, tick);
            }
        });
        Ok(Self {
            source,
            said,
            recorder,
            hpa_sync_period,
            _ticking: ticking,
        })
    }

    /// When each subject was first polled after `since`: the first of all, and the last. `None` while one wasn't.
    pub fn polled_since(&self, since: Instant) -> Option<(Instant, Instant)> {
        let first: Option<Vec<Instant>> = Subject::all()
            .map(|subject| {
                let arrivals = self.source.arrivals(&subject.path());
                arrivals.into_iter().find(|at| *at > since)
            })
            .collect();
        let first = first?;
        Some((*first.iter().min()?, *first.iter().max()?))
    }

    /// Every fall since then that no source asked for, a line each.
    pub fn falls_since(&self, since: Instant) -> Vec<String> {
        let falls = Subject::all().flat_map(|subject| {
            let (said, seen) = (self.asked(subject), self.recorder.steps(&subject.name()));
            let age = subject.justifies_for();
            unjustified_falls(&said, &seen, age)
                .into_iter()
                .filter(|fall| fall.at >= since)
                .map(move |fall| {
                    let after = fall.at - since;
                    format!(
                        "{} from {} to {} replicas, after {after:.1?}, although its source asked for {} or more \
                         throughout the {age:?} before",
                        subject.name(),
                        fall.from,
                        fall.to,
                        fall.asked
                    )
                })
                .collect::<Vec<_>>()
        });
        falls.collect()
    }

    /// Waits until each of them has as many replicas as its source asks for, or asked for a moment ago.
    ///
    /// # Errors
    /// If one hasn't in time: what it has, and should have.
    pub async fn followed(&self, within: Duration) -> Result<()> {
        eventually("replicas that follow their sources", within, async || {
            let behind: Vec<_> = Subject::all()
                .filter_map(|subject| {
                    let (said, seen) = (self.asked(subject), self.recorder.steps(&subject.name()));
                    let within = subject.follows_within(self.hpa_sync_period);
                    let (now, least, most) = behind(&said, &seen, Instant::now(), within)?;
                    Some(format!(
                        "{} has {now}, not {least} to {most} as asked for in the last {within:?}",
                        subject.name()
                    ))
                })
                .collect();
            ensure!(behind.is_empty(), "{behind:#?}");
            Ok(Some(()))
        })
        .await
    }

    /// How long ago the source last said this number, at the moment `at`; `None` if it never did.
    pub fn age(&self, subject: Subject, thousandths: i64, at: Instant) -> Option<Duration> {
        let said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        let all = said.get(subject.0)?;
        let last = all
            .iter()
            .rposition(|said| said.thousandths == thousandths && said.at <= at)?;
        // Until it said the next.
        let until = all.get(last + 1).map_or(at, |next| next.at);
        Some(at.saturating_duration_since(until))
    }

    /// How many replicas its source asked for, and since when.
    fn asked(&self, subject: Subject) -> Vec<Step> {
        let said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        let steps = said[subject.0].iter().map(|said| Step {
            at: said.at,
            replicas: said.replicas,
        });
        let mut steps: Vec<Step> = steps.collect();
        steps.dedup_by_key(|step| step.replicas);
        steps
    }

    /// Where all of them read, for those who have more objects read there.
    pub fn source(&self) -> &HttpSource {
        &self.source
    }
}

/// Has each source say its number of this tick.
fn speak(source: &HttpSource, said: &Mutex<Vec<Vec<Said>>>, tick: u64) {
    for subject in Subject::all() {
        let replicas = subject.replicas(tick);
        let thousandths = thousandths(replicas, tick);
        let whole = Said {
            at: Instant::now(),
            thousandths,
            replicas,
        };
        // Recorded first: nothing is read before it was said.
        said.lock().unwrap_or_else(PoisonError::into_inner)[subject.0].push(whole);
        let value = thousandths as f64 / 1000.0;
        source.set(&subject.path(), Answer::json(&json!({"value": value})));
    }
}

fn object(source: &HttpSource, subject: Subject) -> Value {
    let at_once = |policy: &str| {
        json!({
            "stabilizationWindowSeconds": 0,
            "policies": [{"type": policy, "value": 100, "periodSeconds": 1}],
        })
    };
    let spec = json!({
        "pollingInterval": subject.polling_interval().as_secs(),
        "cooldownPeriod": COOLDOWN.as_secs(),
        "maxReplicaCount": 20,
        "advanced": {"horizontalPodAutoscalerConfig": {"behavior": {
            // What the HPA is told shows at once.
            "scaleDown": at_once("Percent"), "scaleUp": at_once("Pods"),
        }}},
        "triggers": [metrics_api(&source.url(&subject.path()))],
    });
    scaled_object(&subject.name(), spec)
}

/// A number that was read, in thousandths: `42150m` is 42.15.
///
/// # Errors
/// If it is no quantity of thousandths.
pub fn parse_thousandths(quantity: &str) -> Result<i64> {
    let parsed: sakidori_engine::Quantity = quantity
        .parse()
        .with_context(|| format!("{quantity:?} is no quantity"))?;
    Ok((parsed.to_f64() * 1000.0).round() as i64)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn each_tick_has_a_number_of_its_own_that_asks_for_the_same_replicas() {
        let numbers: BTreeSet<i64> = (0..9_990).map(|tick| thousandths(3, tick)).collect();
        assert_eq!(numbers.len(), 9_990);
        assert!(
            numbers
                .iter()
                .all(|number| (20_001..=30_000).contains(number))
        );
        assert_eq!(thousandths(0, 5), 0);
        assert_eq!(parse_thousandths("42150m").unwrap(), 42_150);
        assert_eq!(parse_thousandths("7").unwrap(), 7_000);
    }

    #[test]
    fn plateaus_are_longer_than_all_that_is_waited_for() {
        for subject in Subject::all() {
            let plateau = TICK * PLATEAU as u32;
            assert!(subject.justifies_for() < plateau, "{subject:?}");
            assert!(
                subject.follows_within(Duration::from_secs(3)) < plateau,
                "{subject:?}"
            );
        }
    }

    #[test]
    fn the_load_changes_always_and_some_are_idle_at_times() {
        let at = |tick: u64| Subject::all().map(move |subject| subject.replicas(tick));
        for tick in 0..200 {
            let idle = at(tick).filter(|replicas| *replicas == 0).count();
            assert!((4..20).contains(&idle), "{idle} are idle at {tick}");
            let sum: i32 = at(tick).sum();
            assert!((100..250).contains(&sum), "{sum} replicas at {tick}");
            let changed = (0..5).any(|step| at(tick + step).ne(at(tick + step + 1)));
            assert!(changed, "nothing changes at {tick}");
        }
        assert_eq!(
            Subject::polled_every(Duration::from_secs(10)).count(),
            COUNT / 5
        );
    }
}
