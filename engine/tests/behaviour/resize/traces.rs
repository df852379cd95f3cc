//! Whatever happens in whatever order: pods end with their own resources, never more than maxConcurrent are under way, the
//! QoS class never changes (the API server that is played refuses to), and nothing refused is asked for again for nothing.

use std::sync::Arc;

use proptest::prelude::*;
use sakidori_engine::Quantity;
use sakidori_engine::resize::{
    Amount, MaxConcurrent, Memory, OnInfeasible, Policy, ResizeOutcome, Resource, Settings, When,
};

use super::cluster::{actual, resources, specified};
use super::world::World;

#[derive(Clone, Debug)]
enum Step {
    Hold(bool, bool),
    Restart(bool),
    Replace(usize),
    Scale(usize),
    Meddle(usize),
    PutBack(usize),
    Loss(u64),
    Latency(u64),
    NodeCpu(i128),
    Quota(Option<i128>),
    Slowness(u64),
    Failures(u32),
    MemoryUsed(&'static str, bool),
    NodeDown(usize, bool),
    Policies(usize),
    Reconsider,
    Pause(bool),
    Unready(usize),
    Supported(bool),
    Allowed(bool),
    /// What is looked up may be outdated.
    Foreseen(u8),
}

fn any_step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (any::<bool>(), any::<bool>()).prop_map(|(sale, full)| Step::Hold(sale, full)),
        2 => any::<bool>().prop_map(Step::Restart),
        2 => (0..9usize).prop_map(Step::Replace),
        1 => (1..9usize).prop_map(Step::Scale),
        1 => (0..9usize).prop_map(Step::Meddle),
        1 => (0..9usize).prop_map(Step::PutBack),
        1 => prop_oneof![Just(0u64), Just(3), Just(10)].prop_map(Step::Loss),
        1 => prop_oneof![Just(5u64), Just(50), Just(3000)].prop_map(Step::Latency),
        2 => prop_oneof![Just(1500i128), Just(4000), Just(9000), Just(64_000)].prop_map(Step::NodeCpu),
        1 => prop_oneof![Just(None), Just(Some(6000i128)), Just(Some(20_000))].prop_map(Step::Quota),
        1 => prop_oneof![Just(300u64), Just(20_000), Just(400_000)].prop_map(Step::Slowness),
        1 => prop_oneof![Just(0u32), Just(2), Just(30)].prop_map(Step::Failures),
        1 => (prop_oneof![Just("0"), Just("1500Mi")], any::<bool>()).prop_map(|(used, shown)| Step::MemoryUsed(used, shown)),
        1 => (0..3usize, any::<bool>()).prop_map(|(node, down)| Step::NodeDown(node, down)),
        1 => (0..4usize).prop_map(Step::Policies),
        1 => Just(Step::Reconsider),
        1 => any::<bool>().prop_map(Step::Pause),
        1 => (0..9usize).prop_map(Step::Unready),
        1 => any::<bool>().prop_map(Step::Supported),
        1 => any::<bool>().prop_map(Step::Allowed),
        1 => (0..3u8).prop_map(Step::Foreseen),
    ]
}

/// Times between steps, from at once to longer than any patience.
fn any_gap() -> impl Strategy<Value = u64> {
    prop_oneof![0..2000u64, 2000..60_000u64, 60_000..700_000u64]
}

const OWN: [&str; 6] = [
    "500m/1 1Gi/1Gi",
    "1/1 1Gi/1Gi",
    "1/1 1Gi/2Gi",
    "500m 1Gi",
    "",
    "250m/4",
];

fn policy(when: When, cpu: Option<&str>, memory: Option<&str>) -> Policy {
    let parse =
        |resource, text: Option<&str>| text.map(|text| Amount::parse(resource, text).unwrap());
    Policy {
        container: "app".into(),
        when,
        cpu: parse(Resource::Cpu, cpu),
        memory: parse(Resource::Memory, memory),
        allow_restart: false,
    }
}

fn policies(choice: usize) -> Vec<Policy> {
    let sale = policy(When::Prescale, Some("2"), Some("+1Gi"));
    let full = policy(When::Saturated, Some("+100%"), None);
    let start = policy(When::Starting, Some("x3"), None);
    match choice {
        0 => vec![sale, full, start],
        1 => vec![sale],
        2 => vec![full, start],
        _ => vec![policy(When::Prescale, Some("3500m"), None), start],
    }
}

struct Run {
    world: World,
    own: &'static str,
    created: usize,
}

impl Run {
    fn new(
        own: &'static str,
        most: usize,
        evict: bool,
        seed: u64,
        old: bool,
        validates_node: bool,
    ) -> Self {
        let settings = Settings {
            policies: policies(0),
            max_concurrent: MaxConcurrent::Pods(u32::try_from(most).unwrap()),
            on_infeasible: if evict {
                OnInfeasible::Evict
            } else {
                OnInfeasible::Skip
            },
        };
        let mut world = World::new(settings, most, seed);
        (world.cluster.old, world.cluster.validates_node) = (old, validates_node);
        let mut run = Self {
            world,
            own,
            created: 0,
        };
        run.scale(6);
        run.world.run(30);
        // In between, kubelets need not be quick.
        run.world.tick = 2000;
        run
    }

    fn scale(&mut self, replicas: usize) {
        while self.world.cluster.pods.len() < replicas {
            self.created += 1;
            let (name, node) = (
                format!("p{}", self.created),
                format!("n{}", self.created % 3),
            );
            self.world.create(&name, &node, self.own, 4000);
        }
        while self.world.cluster.pods.len() > replicas {
            let uid = self.uid(0);
            self.world.delete(&uid);
        }
    }

    fn uid(&self, place: usize) -> Arc<str> {
        let pods = &self.world.cluster.pods;
        pods.keys().nth(place % pods.len()).unwrap().clone()
    }

    fn step(&mut self, step: &Step) {
        match *step {
            Step::Hold(sale, full) => self.world.hold(sale, full),
            Step::Restart(arrive) => self.world.restart(arrive),
            Step::Replace(place) => {
                let (uid, replicas) = (self.uid(place), self.world.cluster.pods.len());
                self.world.delete(&uid);
                self.scale(replicas);
            }
            Step::Scale(replicas) => self.scale(replicas),
            Step::Meddle(place) => {
                let uid = self.uid(place);
                let stored = &self.world.cluster.pods[&uid];
                // An actor that sets what stands there already, or what is not remembered, can't be told from the pod's maker.
                let known = matches!(stored.pod.memory, Memory::Known(_));
                if known && self.own == "500m 1Gi" {
                    self.world.meddle(&uid, |pod| {
                        pod.containers[0].resources = resources("777m 1Gi")
                    });
                    self.world.cluster.pods.get_mut(&uid).unwrap().foreign = true;
                }
            }
            Step::PutBack(place) => {
                let uid = self.uid(place);
                let stored = self.world.cluster.pods[&uid].clone();
                if stored.foreign {
                    self.world
                        .meddle(&uid, |pod| pod.containers[0].resources = stored.own["app"]);
                    self.world.cluster.pods.get_mut(&uid).unwrap().foreign = false;
                    // What is under way by that is not what the operator asked for.
                    self.world.asked.remove(&uid);
                }
            }
            Step::Loss(loss) => self.world.loss = loss,
            Step::Latency(latency) => self.world.latency = latency,
            Step::NodeCpu(cpu) => {
                self.world.cluster.node_cpu = cpu;
            }
            Step::Quota(quota) => self.world.cluster.quota = quota.unwrap_or(i128::MAX),
            Step::Slowness(slowness) => self.world.cluster.slowness = slowness,
            Step::Failures(failures) => self.world.cluster.failures = failures,
            Step::MemoryUsed(used, shown) => {
                self.world.cluster.memory_used = used.parse().unwrap();
                self.world.cluster.shows_use = shown;
            }
            Step::NodeDown(node, down) => {
                let node: Arc<str> = format!("n{node}").into();
                self.world.cluster.down.retain(|it| *it != node);
                if down {
                    self.world.cluster.down.push(node);
                }
            }
            Step::Policies(choice) => {
                let settings = Settings {
                    policies: policies(choice),
                    ..self.world.settings.clone()
                };
                self.world.want(settings);
            }
            Step::Reconsider => self.world.reconsider(),
            Step::Foreseen(what) => self.world.foresee(match what {
                0 => ResizeOutcome::Unsupported,
                1 => ResizeOutcome::NotAllowed {
                    message: "no right".to_owned(),
                },
                _ => ResizeOutcome::Done,
            }),
            Step::Pause(paused) => self.world.pause(paused),
            Step::Unready(place) => {
                let uid = self.uid(place);
                let now = self.world.now;
                self.world.cluster.write(&uid, |stored| {
                    if stored.pod.ready && now > stored.ready_at + 6000 {
                        stored.pod.ready = false;
                        stored.pod.ready_changed = Some(super::cluster::stamp(now));
                        stored.ready_at = now + 30_000;
                    }
                });
                self.world.show(&uid);
            }
            Step::Supported(supported) => self.world.supported = supported,
            Step::Allowed(allowed) => self.world.allowed = allowed,
        }
    }

    /// All faults end, and after a while everything has to be as if nothing had been.
    fn calm_down(&mut self) {
        let world = &mut self.world;
        (world.loss, world.latency, world.tick) = (0, 20, 10_000);
        (world.supported, world.allowed) = (true, true);
        let cluster = &mut world.cluster;
        (cluster.node_cpu, cluster.quota) = (64_000, i128::MAX);
        (cluster.slowness, cluster.failures) = (300, 0);
        cluster.memory_used = Quantity::default();
        cluster.down.clear();
        // What is kept since it was in use is looked at again, every few seconds.
        let uids: Vec<_> = world.cluster.pods.keys().cloned().collect();
        for uid in &uids {
            world.show(uid);
        }
        world.hold(false, false);
    }

    fn check_home(&self) -> Result<(), TestCaseError> {
        for (uid, stored) in &self.world.cluster.pods {
            if stored.foreign {
                continue;
            }
            // Before Kubernetes 1.34, memory limits stay up, and with them, in a Guaranteed pod, the requests.
            if !self.world.cluster.old {
                prop_assert_eq!(specified(&stored.pod), stored.own.clone(), "{}", uid);
                prop_assert_eq!(&stored.pod.memory, &Memory::Nothing, "{}", uid);
            }
            let cpu = |sizes: &sakidori_engine::resize::Sizes| sizes["app"].requests.cpu;
            prop_assert_eq!(cpu(&specified(&stored.pod)), cpu(&stored.own), "{}", uid);
            prop_assert_eq!(actual(&stored.pod), specified(&stored.pod), "{}", uid);
        }
        Ok(())
    }
}

#[expect(
    clippy::too_many_arguments,
    reason = "what a failing trace prints, in its order"
)]
fn check(
    own: &'static str,
    most: usize,
    evict: bool,
    seed: u64,
    old: bool,
    validates_node: bool,
    end: bool,
    steps: &[(u64, Step)],
) -> Result<(), TestCaseError> {
    let mut run = Run::new(own, most, evict, seed, old, validates_node);
    for (gap, step) in steps {
        run.step(step);
        run.world.run_until(run.world.now + gap);
    }
    if end {
        // Paused or not.
        run.calm_down();
        run.world.end();
        run.world.run(4 * 3600);
        prop_assert!(run.world.finished);
    } else {
        run.calm_down();
        run.world.pause(false);
        // The longest waits: an hour without the subresource, half an hour after failures.
        run.world.run(4 * 3600);
    }
    run.check_home()
}

proptest! {
    #![proptest_config(crate::cases(96))]

    #[test]
    fn pods_end_with_their_own_resources(
        own in proptest::sample::select(&OWN[..]), most in 1..4usize, evict in any::<bool>(), seed in any::<u64>(),
        old in proptest::bool::weighted(0.2), validates_node in any::<bool>(), end in any::<bool>(),
        steps in proptest::collection::vec((any_gap(), any_step()), 1..40),
    ) {
        check(own, most, evict, seed, old, validates_node, end, &steps)?;
    }
}
