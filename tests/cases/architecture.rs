//! Holds the direction of dependencies that ARCHITECTURE.md describes, as cargo resolves them.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

use sakidori_tests::binary;
use serde::Deserialize;

const API: &str = "sakidori-api";
const CALENDARS: &str = "sakidori-calendars";
const CLI: &str = "sakidori";
const ENGINE: &str = "sakidori-engine";
const KAFKA_FFI: &str = "sakidori-kafka-ffi";
const METRICS_ADAPTER: &str = "sakidori-metrics-adapter";
const OPERATOR: &str = "sakidori-operator";
const PLAN: &str = "sakidori-plan";
const SBOM: &str = "sakidori-sbom";
const SCALERS: &str = "sakidori-scalers";
const TEST_CLUSTER: &str = "sakidori-test-cluster";
const TEST_SERVERS: &str = "sakidori-test-servers";
const TESTS: &str = "sakidori-tests";
const VALUES: &str = "sakidori-values";

/// Which of our crates each of our crates may depend on directly, dev-dependencies aside.
const ALLOWED: &[(&str, &[&str])] = &[
    (ENGINE, &[]),
    (CALENDARS, &[ENGINE]),
    (API, &[CALENDARS, ENGINE]),
    (KAFKA_FFI, &[]),
    (SCALERS, &[CALENDARS, ENGINE, KAFKA_FFI]),
    (METRICS_ADAPTER, &[ENGINE]),
    (VALUES, &[ENGINE, METRICS_ADAPTER]),
    (
        OPERATOR,
        &[API, CALENDARS, ENGINE, METRICS_ADAPTER, SCALERS, VALUES],
    ),
    (PLAN, &[API, CALENDARS, ENGINE]),
    (CLI, &[API, CALENDARS, OPERATOR, PLAN]),
    (SBOM, &[]),
    (TEST_CLUSTER, &[]),
    (TEST_SERVERS, &[TEST_CLUSTER]),
    (TESTS, &[API, ENGINE, SCALERS, TEST_CLUSTER, TEST_SERVERS]),
];

#[derive(Deserialize)]
struct Metadata {
    packages: Vec<Package>,
    workspace_members: Vec<String>,
    resolve: Resolve,
}

#[derive(Deserialize)]
struct Package {
    id: String,
    name: String,
}

#[derive(Deserialize)]
struct Resolve {
    nodes: Vec<Node>,
}

#[derive(Deserialize)]
struct Node {
    id: String,
    deps: Vec<NodeDependency>,
}

#[derive(Deserialize)]
struct NodeDependency {
    pkg: String,
    dep_kinds: Vec<DependencyKind>,
}

#[derive(Deserialize)]
struct DependencyKind {
    /// `None` for a normal dependency, else `dev` or `build`.
    kind: Option<String>,
}

/// Normal dependencies, by package name.
struct Graph {
    members: BTreeSet<String>,
    direct: BTreeMap<String, BTreeSet<String>>,
}

impl Graph {
    /// Asks cargo, for this machine's platform only: nothing has to be downloaded that wasn't for the build.
    fn of_workspace() -> Self {
        let version = output(Command::new("rustc").arg("-vV"));
        let host = version
            .lines()
            .find_map(|line| line.strip_prefix("host: "))
            .expect("rustc -vV names its host");
        let text = output(
            Command::new("cargo")
                .args([
                    "metadata",
                    "--format-version=1",
                    "--offline",
                    "--locked",
                    "--filter-platform",
                    host,
                ])
                .current_dir(binary::repository()),
        );
        let metadata: Metadata =
            serde_json::from_str(&text).expect("cargo metadata prints its documented JSON");

        let names: BTreeMap<&str, &str> = metadata
            .packages
            .iter()
            .map(|package| (package.id.as_str(), package.name.as_str()))
            .collect();
        let mut direct: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        for node in &metadata.resolve.nodes {
            let dependencies = direct
                .entry(names[node.id.as_str()].to_owned())
                .or_default();
            dependencies.extend(
                node.deps
                    .iter()
                    .filter(|dependency| {
                        dependency.dep_kinds.iter().any(|kind| kind.kind.is_none())
                    })
                    .map(|dependency| names[dependency.pkg.as_str()].to_owned()),
            );
        }
        let members = metadata
            .workspace_members
            .iter()
            .map(|id| names[id.as_str()].to_owned())
            .collect();
        Self { members, direct }
    }

    /// All that `package` is linked with.
    fn closure(&self, package: &str) -> BTreeSet<&str> {
        let mut seen = BTreeSet::new();
        let mut open = vec![package];
        while let Some(next) = open.pop() {
            for dependency in &self.direct[next] {
                if seen.insert(dependency.as_str()) {
                    open.push(dependency);
                }
            }
        }
        seen
    }
}

fn output(command: &mut Command) -> String {
    let output = command
        .output()
        .unwrap_or_else(|error| panic!("can't run {command:?}: {error}"));
    assert!(
        output.status.success(),
        "{command:?} failed: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).expect("its output is UTF-8")
}

#[test]
fn crates_depend_only_in_the_documented_direction() {
    let graph = Graph::of_workspace();
    let known: BTreeSet<String> = ALLOWED.iter().map(|(name, _)| (*name).to_owned()).collect();
    assert_eq!(
        graph.members, known,
        "a crate came or went: say in ALLOWED and in ARCHITECTURE.md what it may depend on"
    );

    for (name, allowed) in ALLOWED {
        let ours: Vec<&str> = graph.direct[*name]
            .iter()
            .map(String::as_str)
            .filter(|name| graph.members.contains(*name))
            .collect();
        let forbidden: Vec<&&str> = ours
            .iter()
            .filter(|dependency| !allowed.contains(dependency))
            .collect();
        assert!(
            forbidden.is_empty(),
            "{name} must not depend on {forbidden:?}, only on {allowed:?}"
        );
    }
}

#[test]
fn the_engine_can_do_no_io() {
    let graph = Graph::of_workspace();
    let linked = graph.closure(ENGINE);
    for forbidden in [
        "tokio",
        "mio",
        "kube-client",
        "k8s-openapi",
        "reqwest",
        "hyper",
        "tracing",
        "rand",
        "socket2",
    ] {
        assert!(
            !linked.contains(forbidden),
            "the engine is linked with {forbidden}"
        );
    }
}

#[test]
fn calendars_can_do_no_io_and_know_no_kubernetes() {
    let graph = Graph::of_workspace();
    let linked = graph.closure(CALENDARS);
    // Random numbers are only drawn while the cron crate's tables are compiled.
    for forbidden in [
        "tokio",
        "mio",
        "kube",
        "kube-client",
        "k8s-openapi",
        "reqwest",
        "hyper",
        "tracing",
        "socket2",
    ] {
        assert!(
            !linked.contains(forbidden),
            "the calendars are linked with {forbidden}"
        );
    }
}

#[test]
fn scalers_know_no_kubernetes() {
    let graph = Graph::of_workspace();
    let linked = graph.closure(SCALERS);
    for forbidden in [
        "kube",
        "kube-client",
        "kube-core",
        "kube-runtime",
        "k8s-openapi",
    ] {
        assert!(
            !linked.contains(forbidden),
            "the scalers are linked with {forbidden}"
        );
    }
}

#[test]
fn there_is_one_tls_provider() {
    let graph = Graph::of_workspace();
    for forbidden in ["aws-lc-rs", "aws-lc-sys", "native-tls"] {
        assert!(
            !graph.direct.contains_key(forbidden),
            "{forbidden} came in beside ring: see rustls in Cargo.toml"
        );
    }
    // Kafka's client is C, and has a TLS of its own.
    let linked = graph.direct.iter();
    let linked = linked.filter(|(_, dependencies)| dependencies.contains("openssl-sys"));
    let linked: Vec<&str> = linked.map(|(name, _)| name.as_str()).collect();
    assert_eq!(linked, ["rdkafka-sys"], "who is linked with OpenSSL");
}

#[test]
fn only_the_scalers_speak_with_librdkafka_unsafely() {
    let graph = Graph::of_workspace();
    let users = graph.direct.iter();
    let users = users.filter(|(_, dependencies)| dependencies.contains(KAFKA_FFI));
    let users: Vec<&str> = users.map(|(name, _)| name.as_str()).collect();
    assert_eq!(users, [SCALERS]);
}
