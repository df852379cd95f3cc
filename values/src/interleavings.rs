//! What a follower serves under any interleaving of readings, messages, reconnects and changes of the leader: never a value that is too old or
//! of another object, and in the end what the leader has.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use proptest::prelude::*;
use prost::Message;
use sakidori_engine::{ObjectKey, Quantity};
use tokio::runtime::Runtime;

use crate::messages::take_in;
use crate::moment::Moment;
use crate::reads::Reads;
use crate::store::{State, Store, Writer};
use crate::telling::Telling;
use crate::wire::Told;

const OBJECTS: usize = 3;
/// The first object's polling interval; the others' are twice and three times that. So long that the time a case takes doesn't count.
const INTERVAL: Duration = Duration::from_secs(10_000);
const METRICS: [&str; 2] = ["s0-a", "s1-b"];

fn key(object: usize) -> ObjectKey {
    ObjectKey::new("shop", format!("web-{object}"))
}

fn interval(object: usize) -> Duration {
    INTERVAL * (object as u32 + 1)
}

/// Two processes: 0 leads first. Ages are in thousandths of the object's polling interval.
#[derive(Clone, Debug)]
enum Step {
    /// The object is replaced by another of its name.
    Replaced {
        object: usize,
    },
    Deleted {
        object: usize,
    },
    /// The leader's watch shows the object as it is.
    Watched {
        object: usize,
    },
    /// The leader pauses it.
    Paused {
        object: usize,
    },
    /// The leader's first lists are in.
    Listed,
    /// The leader's poll ends.
    Read {
        object: usize,
        metric: usize,
        age: u32,
    },
    Failed {
        object: usize,
        metric: usize,
    },
    /// The follower's connection ends, and it has another with the leader; that it asked was so long under way.
    Connected {
        lag: u32,
    },
    Disconnected,
    /// So many messages arrive.
    Heard {
        messages: usize,
    },
    /// The follower leads, and who led follows it; or that one ends, and a new process follows.
    Changed {
        crashed: bool,
    },
}

fn step() -> impl Strategy<Value = Step> {
    let (object, metric) = (0..OBJECTS, 0..METRICS.len());
    prop_oneof![
        1 => object.clone().prop_map(|object| Step::Replaced { object }),
        1 => object.clone().prop_map(|object| Step::Deleted { object }),
        4 => object.clone().prop_map(|object| Step::Watched { object }),
        1 => object.clone().prop_map(|object| Step::Paused { object }),
        2 => Just(Step::Listed),
        6 => (object.clone(), metric.clone(), 0..3_000_u32)
            .prop_map(|(object, metric, age)| Step::Read { object, metric, age }),
        1 => (object, metric).prop_map(|(object, metric)| Step::Failed { object, metric }),
        2 => (0..2_000_u32).prop_map(|lag| Step::Connected { lag }),
        1 => Just(Step::Disconnected),
        6 => (1..6_usize).prop_map(|messages| Step::Heard { messages }),
        1 => any::<bool>().prop_map(|crashed| Step::Changed { crashed }),
    ]
}

/// Where a value comes from.
struct Origin {
    key: ObjectKey,
    uid: String,
    metric: &'static str,
    at: Moment,
}

struct Process {
    store: Arc<Store>,
    /// While it leads.
    writer: Writer,
}

impl Process {
    fn new() -> Self {
        let store = Arc::new(Store::default());
        let writer = Writer::new(store.clone());
        Self { store, writer }
    }
}

/// A stream between the two.
struct Stream {
    telling: Telling,
    writer: Writer,
    asked: Moment,
}

struct World {
    leader: Process,
    follower: Process,
    stream: Option<Stream>,
    /// The uids of the objects that there are.
    uids: [Option<u32>; OBJECTS],
    uids_given: u32,
    /// By value: no two readings are the same.
    origins: HashMap<Quantity, Origin>,
}

impl World {
    fn new() -> Self {
        let leader = Process::new();
        leader.writer.begin();
        Self {
            leader,
            follower: Process::new(),
            stream: None,
            uids: [Some(0), Some(1), None],
            uids_given: 2,
            origins: HashMap::new(),
        }
    }

    fn uid(&self, object: usize) -> Option<String> {
        self.uids[object].map(|uid| uid.to_string())
    }

    fn take(&mut self, step: Step) {
        match step {
            Step::Replaced { object } => {
                self.uids[object] = Some(self.uids_given);
                self.uids_given += 1;
            }
            Step::Deleted { object } => self.uids[object] = None,
            Step::Watched { object } => self.watch(object),
            Step::Paused { object } => {
                if let Some(uid) = self.uid(object) {
                    self.leader.writer.set(&key(object), &uid, State::Paused);
                }
            }
            Step::Listed => {
                (0..OBJECTS).for_each(|object| self.note(object));
                self.leader.writer.listed();
            }
            Step::Read {
                object,
                metric,
                age,
            } => self.read(object, METRICS[metric], interval(object) * age / 1000),
            Step::Failed { object, metric } => {
                if let Some(uid) = self.uid(object)
                    && let Some(slot) = self.leader.store.slot(&key(object), &uid, METRICS[metric])
                {
                    slot.record_failure("down");
                }
            }
            Step::Connected { lag } => self.connect(INTERVAL * lag / 1000),
            Step::Disconnected => self.stream = None,
            Step::Heard { messages } => {
                (0..messages).for_each(|_| {
                    self.hear();
                });
            }
            Step::Changed { crashed } => {
                self.stream = None;
                std::mem::swap(&mut self.leader, &mut self.follower);
                if crashed {
                    self.follower = Process::new();
                }
                self.leader.writer.begin();
            }
        }
    }

    /// The leader sees whether there is the object.
    fn note(&self, object: usize) {
        let writer = &self.leader.writer;
        match self.uid(object) {
            Some(uid) => writer.set_unprepared(&key(object), &uid, None),
            None => writer.remove(&key(object)),
        }
    }

    /// The same, and it is prepared: with the readings that are known.
    fn watch(&self, object: usize) {
        self.note(object);
        let Some(uid) = self.uid(object) else { return };
        let (key, store) = (key(object), &self.leader.store);
        let metrics = METRICS.map(|metric| (metric.to_owned(), false));
        let readings = store.readings(&key, interval(object), metrics, |metric| {
            store.slot(&key, &uid, metric)
        });
        let state = State::Served {
            readings: Arc::new(readings),
            complaint: None,
        };
        self.leader.writer.set(&key, &uid, state);
    }

    fn read(&mut self, object: usize, metric: &'static str, age: Duration) {
        let Some(uid) = self.uid(object) else { return };
        let Some(slot) = self.leader.store.slot(&key(object), &uid, metric) else {
            return;
        };
        let value = Quantity::from_integer(self.origins.len() as i64 + 1);
        slot.record(value, age);
        let origin = Origin {
            key: key(object),
            uid,
            metric,
            at: Moment::now().before(age),
        };
        self.origins.insert(value, origin);
    }

    fn connect(&mut self, lag: Duration) {
        let writer = Writer::new(self.follower.store.clone());
        writer.begin();
        self.stream = Some(Stream {
            telling: Telling::new(self.leader.store.clone()),
            writer,
            asked: Moment::now().before(lag),
        });
    }

    /// One message, as bytes; false where there is none.
    fn hear(&mut self) -> bool {
        let Some(stream) = &mut self.stream else {
            return false;
        };
        let Some(what) = stream.telling.next() else {
            return false;
        };
        let bytes = Told { what: Some(what) }.encode_to_vec();
        let told = Told::decode(bytes.as_slice()).expect("what was encoded");
        take_in(
            &stream.writer,
            stream.asked,
            told.what.expect("what was told"),
        );
        true
    }

    /// # Errors
    /// If one of the two serves what it may not.
    fn check(&self, runtime: &Runtime) -> Result<(), TestCaseError> {
        for process in [&self.leader, &self.follower] {
            let reads = Reads::new(process.store.clone(), Duration::ZERO);
            for (object, metric) in (0..OBJECTS).flat_map(|o| METRICS.map(|metric| (o, metric))) {
                let key = key(object);
                let served = process.store.served(&key);
                // A read waits a millisecond, if no more, for what isn't served yet.
                let Some(State::Served { .. }) = served.as_ref().map(|served| &served.state) else {
                    continue;
                };
                let Ok(taken) = runtime.block_on(reads.metric(&key, metric)) else {
                    continue;
                };
                let origin = &self.origins[&taken.value];
                let uid = served.map(|served| served.uid);
                prop_assert_eq!(&origin.key, &key);
                prop_assert_eq!(origin.metric, metric);
                prop_assert_eq!(Some(&origin.uid), uid.as_ref(), "another object's");
                let age = origin.at.elapsed();
                prop_assert!(age <= interval(object) * 2 + SLACK, "{age:?} old");
                prop_assert!(
                    taken.at <= origin.at.after(SLACK),
                    "it looks younger than it is"
                );
            }
        }
        Ok(())
    }

    /// # Errors
    /// If the follower doesn't end with what the leader has.
    fn settle(&mut self, lag: Duration) -> Result<(), TestCaseError> {
        self.take(Step::Listed);
        (0..OBJECTS).for_each(|object| self.watch(object));
        self.connect(lag);
        while self.hear() {}
        let (leader, follower) = (&self.leader.store, &self.follower.store);
        prop_assert!(follower.is_listed());
        for object in 0..OBJECTS {
            let key = key(object);
            let uid = |store: &Store| store.served(&key).map(|served| served.uid);
            prop_assert_eq!(uid(leader), self.uid(object));
            prop_assert_eq!(uid(follower), self.uid(object));
            let Some(uid) = self.uid(object) else {
                continue;
            };
            for metric in METRICS {
                let latest = |store: &Store| store.slot(&key, &uid, metric).map(|s| s.latest());
                let (has, heard) = (latest(leader), latest(follower));
                let (Some(has), Some(heard)) = (has, heard) else {
                    prop_assert!(false, "{key} has no {metric}");
                    continue;
                };
                // Where the leader has no answer yet, what was known before it stays.
                if let Some(reading) = has.reading {
                    prop_assert_eq!(Some(reading.value), heard.reading.map(|taken| taken.value));
                    prop_assert_eq!(has.failure.is_some(), heard.failure.is_some());
                }
            }
        }
        Ok(())
    }
}

/// What a slow machine may take between two lines of a test.
const SLACK: Duration = Duration::from_secs(5);

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn a_follower_serves_what_it_may_and_ends_with_what_the_leader_has(
        steps in prop::collection::vec(step(), 1..80),
        lag in 0..2_000_u32,
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build()?;
        let mut world = World::new();
        for step in steps {
            world.take(step);
            world.check(&runtime)?;
        }
        world.settle(INTERVAL * lag / 1000)?;
        world.check(&runtime)?;
    }
}

/// What a leader that begins with nothing doesn't know yet isn't taken from its followers.
#[test]
fn a_new_leader_takes_nothing_away_before_it_has_listed() {
    let mut world = World::new();
    for step in [
        Step::Watched { object: 0 },
        Step::Watched { object: 1 },
        Step::Listed,
        Step::Read {
            object: 0,
            metric: 0,
            age: 0,
        },
        Step::Read {
            object: 1,
            metric: 0,
            age: 0,
        },
        Step::Connected { lag: 0 },
        Step::Heard { messages: 9 },
        Step::Deleted { object: 1 },
    ] {
        world.take(step);
    }
    world.leader = Process::new();
    world.leader.writer.begin();
    let value = |world: &World, object: usize| {
        let uid = object.to_string();
        let slot = world.follower.store.slot(&key(object), &uid, METRICS[0])?;
        slot.latest().reading.map(|taken| taken.value)
    };
    for step in [Step::Connected { lag: 0 }, Step::Heard { messages: 9 }] {
        world.take(step);
    }
    assert_eq!(value(&world, 0), Some(Quantity::from_integer(1)));
    assert_eq!(value(&world, 1), Some(Quantity::from_integer(2)));
    assert!(!world.follower.store.is_listed());
    // Listed, it is not prepared yet.
    for step in [Step::Listed, Step::Heard { messages: 9 }] {
        world.take(step);
    }
    assert_eq!(value(&world, 0), Some(Quantity::from_integer(1)));
    assert_eq!(value(&world, 1), None);
    assert!(world.follower.store.is_listed());
    // Prepared, it has no reading yet.
    for step in [Step::Watched { object: 0 }, Step::Heard { messages: 9 }] {
        world.take(step);
    }
    assert_eq!(value(&world, 0), Some(Quantity::from_integer(1)));
}
