//! Faults, end to end: three replicas, fifty ScaledObjects under a load that changes every second, and somebody who kills, stops and
//! drains. What is promised: HPA reads are answered by the replicas that live, a new leader polls within 20 s, and no target falls
//! while its source says otherwise. And a single operator that is away, for which the HPA's reads fail at once, and one that hands over.
//!
//! These cases measure times, so nothing else runs beside them. Each prints its figures.

mod control_plane;
mod hand_over;
mod leaders;
mod operator_away;

use std::time::{Duration, Instant};

use anyhow::{Result, anyhow, ensure};
use kube::Client;
use sakidori_test_cluster::{Cluster, ClusterOptions, eventually};
use sakidori_tests::OperatorSettings;
use sakidori_tests::bed::without_retries;
use sakidori_tests::load::{Load, Subject};
use sakidori_tests::namespace::Namespace;
use sakidori_tests::reads::{self, Read, Reader, Trust, User, Way};
use sakidori_tests::replicas::Replicas;
use tokio::runtime::Runtime;

const REPLICAS: usize = 3;
const NAMESPACE: &str = "load";
/// Less than Kubernetes' own 15 s, so that what the HPA is told is seen soon.
const HPA_SYNC_PERIOD: Duration = Duration::from_secs(3);
/// Readings of those that are polled so often outlive a takeover: their reads never fail.
const STEADY: Duration = Duration::from_secs(10);
/// Readings of these don't: their reads fail meanwhile, rather than tell what is no longer so.
const QUICK: Duration = Duration::from_secs(2);
/// Each reader asks that often.
const READ_EVERY: Duration = Duration::from_millis(200);
/// A poll that was sent before a fault is counted by the source within that time.
const ON_ITS_WAY: Duration = Duration::from_millis(100);
/// The promise.
const POLLS_WITHIN: Duration = Duration::from_secs(20);
/// A new leader polls all objects as it meets them.
const POLLS_ALL_WITHIN: Duration = Duration::from_secs(25);
/// From the first poll to replicas that follow again: the longest time that a subject may take by itself, and as much once more for
/// all fifty being brought up at once on a machine of two processors.
const FOLLOWS_WITHIN: Duration = Duration::from_secs(40);
/// From when a replica decides to when the read's end is seen.
const ANSWER_SEEN_WITHIN: Duration = Duration::from_secs(1);
/// A Service still sends reads to a replica that is dead or stopped until its probe says so: 1.25 s here, and connections are made
/// anew.
const AGGREGATED_GAP: Duration = Duration::from_secs(5);

/// Runs a case on a control plane of its own, with replicas, a load on them, and readers.
fn play(
    user: User,
    change: impl Fn(&mut OperatorSettings),
    case: impl AsyncFnOnce(&mut Stage<'_>) -> Result<()>,
) {
    let runtime = Runtime::new().expect("a runtime");
    let played = runtime.block_on(async {
        let options = ClusterOptions {
            hpa_sync_period: HPA_SYNC_PERIOD,
            // Nothing but what the HPA is told keeps replicas up.
            hpa_downscale_stabilization: Some(Duration::ZERO),
            hpa_tolerance: Some(0.0),
            // Pods are counted, not run.
            nodes: 0,
            scheduler: false,
            ..ClusterOptions::default()
        };
        let cluster = Cluster::start(options).await?;
        let mut stage = Stage::set(&cluster, user, change).await?;
        let played = case(&mut stage).await;
        // Also between the faults.
        let falls = stage.load.falls_since(stage.began);
        stage.hold(falls.is_empty(), || {
            format!("from the beginning to the end: {falls:#?}")
        });
        let wrong = stage.replicas.written_out_of_term()?;
        stage.hold(wrong.is_empty(), || {
            format!("written by one while another held the Lease: {wrong:#?}")
        });
        // What did not hold before may be why it ended.
        let problems: Vec<String> = stage
            .problems
            .iter()
            .cloned()
            .chain(played.err().map(|error| format!("{error:#}")))
            .collect();
        ensure!(
            problems.is_empty(),
            "{}\n{}",
            problems.join("\n"),
            stage.replicas.log_tails()
        );
        anyhow::Ok(())
    });
    if let Err(error) = played {
        panic!("{error:#}");
    }
}

/// What a case has.
struct Stage<'a> {
    cluster: &'a Cluster,
    client: Client,
    replicas: Replicas<'a>,
    load: Load,
    /// One for each replica.
    direct: Vec<Reader>,
    aggregated: Reader,
    _trust: Trust,
    began: Instant,
    /// What did not hold so far.
    problems: Vec<String>,
}

impl<'a> Stage<'a> {
    async fn set(
        cluster: &'a Cluster,
        user: User,
        change: impl Fn(&mut OperatorSettings),
    ) -> Result<Stage<'a>> {
        let began = Instant::now();
        let replicas = Replicas::install(cluster, REPLICAS, change).await?;
        cluster.create_namespace(NAMESPACE).await?;
        let client = without_retries(cluster).await?;
        let namespace = Namespace {
            client: client.clone(),
            name: NAMESPACE.to_owned(),
        };
        let load = Load::start(&namespace, HPA_SYNC_PERIOD).await?;
        let read = |way| {
            let subjects = Subject::polled_every(STEADY)
                .zip(Subject::polled_every(QUICK))
                .flat_map(|(steady, quick)| [steady, quick]);
            Reader::start(way, NAMESPACE, subjects.collect(), READ_EVERY)
        };
        let trust = Trust::start(cluster).await?;
        let direct = replicas.each().iter().map(|replica| {
            let address = replica.operator.external_metrics_address();
            read(Way::direct(&trust, address, user))
        });
        let stage = Stage {
            cluster,
            client: client.clone(),
            load,
            direct: direct.collect(),
            aggregated: read(Way::Aggregated(client)),
            _trust: trust,
            replicas,
            began,
            problems: Vec::new(),
        };
        let set = stage.load.followed(FOLLOWS_WITHIN).await;
        set.map_err(|error| anyhow!("{error:#}\n{}", stage.replicas.log_tails()))?;
        println!("set up in {:.1?}", began.elapsed());
        Ok(stage)
    }

    /// Waits until somebody polls after the fault, and gives how long it took until the first poll, and until all were polled.
    async fn polled(&self, fault: Instant) -> Result<(Duration, Duration)> {
        let within = POLLS_ALL_WITHIN + POLLS_WITHIN;
        let (first, all) = eventually("a poll of every object", within, async || {
            Ok(self.load.polled_since(fault + ON_ITS_WAY))
        })
        .await?;
        Ok((first - fault, all - fault))
    }

    /// Waits until replicas follow their sources again, and holds what is promised of the time since the fault for everybody and for
    /// the replicas that lived.
    async fn aftermath(&mut self, what: &str, fault: Instant, living: &[usize]) -> Result<()> {
        let (first, all) = self.polled(fault).await?;
        self.load.followed(FOLLOWS_WITHIN).await?;
        let end = Instant::now();
        let falls = self.load.falls_since(fault);
        let aggregated = Reads::new(&self.aggregated, fault, end);
        let direct: Vec<_> = living
            .iter()
            .map(|number| (number, Reads::new(&self.direct[*number], fault, end)))
            .collect();
        let told: Vec<_> = direct
            .iter()
            .map(|(number, reads)| format!("by replica {number} {}", reads.told()))
            .collect();
        println!(
            "{what}: first poll after {first:.1?}, all polled after {all:.1?}, followed again after {:.1?}, {} falls; reads {}, \
             through the API server {}",
            end - fault,
            falls.len(),
            told.join(", "),
            aggregated.told(),
        );
        self.hold(first < POLLS_WITHIN, || {
            format!("{what}: the first poll came after {first:?}")
        });
        self.hold(all < POLLS_ALL_WITHIN, || {
            format!("{what}: all were polled after {all:?} only")
        });
        self.hold(falls.is_empty(), || format!("{what}: {falls:#?}"));
        for (number, reads) in &direct {
            self.answered(&format!("{what}: reads by replica {number}"), reads);
        }
        self.young(
            &format!("{what}: reads through the API server"),
            &aggregated,
        );
        self.hold(aggregated.gap < AGGREGATED_GAP, || {
            format!(
                "{what}: for {:?} no read through the API server was answered, expected at most {AGGREGATED_GAP:?}: {:#?}",
                aggregated.gap,
                aggregated.failures(STEADY)
            )
        });
        Ok(())
    }

    /// Keeps what did not hold for the case's end: after one fault the next ones are worth seeing, too.
    fn hold(&mut self, holds: bool, otherwise: impl FnOnce() -> String) {
        if !holds {
            let problem = otherwise();
            println!("{problem}");
            self.problems.push(problem);
        }
    }

    /// A replica that lives answers while readings are young enough, and never tells what is older.
    fn answered(&mut self, what: &str, reads: &Reads) {
        let failures = reads.failures(STEADY);
        self.hold(failures.is_empty(), || {
            format!("{what}: failed: {failures:#?}")
        });
        self.young(what, reads);
    }

    fn young(&mut self, what: &str, reads: &Reads) {
        let old = reads.too_old(&self.load);
        self.hold(old.is_empty(), || format!("{what}: {old:#?}"));
    }
}

/// The reads that one reader did in a time.
struct Reads {
    all: Vec<Read>,
    from: Instant,
    gap: Duration,
}

impl Reads {
    fn new(reader: &Reader, from: Instant, until: Instant) -> Self {
        let all = reader.since(from);
        let gap = reads::longest_gap(&all, from, until);
        Self { all, from, gap }
    }

    fn failed(&self, interval: Duration) -> impl Iterator<Item = (&Read, &String)> {
        self.all
            .iter()
            .filter(move |read| read.subject.polling_interval() == interval)
            .filter_map(|read| Some((read, read.answer.as_ref().err()?)))
    }

    /// Why reads of those with that polling interval failed, each as far as it is new.
    fn failures(&self, interval: Duration) -> Vec<String> {
        let mut failures: Vec<String> = Vec::new();
        let mut last = "";
        for (read, error) in self.failed(interval) {
            if error.as_str() != last {
                let after = read.asked - self.from;
                failures.push(format!(
                    "{}, after {after:.1?}: {error}",
                    read.subject.name()
                ));
            }
            last = error;
        }
        failures
    }

    fn told(&self) -> String {
        format!(
            "{} ({} steady and {} quick ones failed, longest gap {:.1?})",
            self.all.len(),
            self.failed(STEADY).count(),
            self.failed(QUICK).count(),
            self.gap
        )
    }

    /// The numbers that are older than readings may be.
    fn too_old(&self, load: &Load) -> Vec<String> {
        let old = self.all.iter().filter_map(|read| {
            let value = *read.answer.as_ref().ok()?;
            let Some(age) = load.age(read.subject, value, read.answered) else {
                return Some(format!(
                    "{} never said {value} thousandths",
                    read.subject.name()
                ));
            };
            let oldest = read.subject.reading_age() + ANSWER_SEEN_WITHIN;
            (age > oldest).then(|| {
                format!(
                    "{}, after {:.1?}: {value} thousandths, which its source last said {age:.1?} before, expected at most {oldest:?}",
                    read.subject.name(),
                    read.asked - self.from
                )
            })
        });
        old.collect()
    }
}
