//! A container that nobody but runc runs: the image's files, read-only, as the user that the image names, without any capability, with
//! the system calls that `RuntimeDefault` allows, and with what a kubelet puts into a pod. Its network is this machine's, so that it
//! reaches the test bed's servers on 127.0.0.1.

use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use sakidori_test_cluster::install::{RUNC, SECCOMP};
use sakidori_test_cluster::sandbox::{Process, Sandbox};
use serde_json::{Value, json};

/// What is to run, and in what.
#[derive(Debug, Clone)]
pub struct Pod {
    /// The image's files.
    pub root: PathBuf,
    /// The image's configuration, of which user, entrypoint and environment count.
    pub config: Value,
    /// Instead of the entrypoint, as a pod's `command`; none if empty.
    pub command: Vec<String>,
    pub arguments: Vec<String>,
    pub environment: Vec<(String, String)>,
    /// Files and folders of this machine, and where they are in the container, read-only.
    pub mounts: Vec<(PathBuf, String)>,
}

impl Pod {
    fn program(&self) -> Vec<String> {
        let entrypoint = || strings(&self.config["config"]["Entrypoint"]);
        let mut program = if self.command.is_empty() {
            entrypoint()
        } else {
            self.command.clone()
        };
        program.extend(self.arguments.iter().cloned());
        program
    }

    fn environment(&self) -> Vec<String> {
        let mut environment = strings(&self.config["config"]["Env"]);
        let own = self.environment.iter();
        environment.extend(own.map(|(name, value)| format!("{name}={value}")));
        environment
    }

    /// The user and group of the image, which have to be numbers: `runAsNonRoot` can't tell who a name is.
    fn user(&self) -> Result<Value> {
        let user = self.config["config"]["User"].as_str().unwrap_or_default();
        let numbers = || {
            let (user, group) = user.split_once(':')?;
            Some((user.parse::<u32>().ok()?, group.parse::<u32>().ok()?))
        };
        let (uid, gid) =
            numbers().with_context(|| format!("the image's user is '{user}': expected UID:GID"))?;
        Ok(json!({"uid": uid, "gid": gid}))
    }

    /// For [the runtime](https://github.com/opencontainers/runtime-spec/blob/main/config.md).
    fn specification(&self) -> Result<Value> {
        let mut mounts = vec![
            json!({"destination": "/proc", "type": "proc", "source": "proc"}),
            json!({"destination": "/dev", "type": "tmpfs", "source": "tmpfs", "options": ["nosuid", "mode=755", "size=65536k"]}),
        ];
        mounts.extend(self.mounts.iter().map(|(source, destination)| {
            json!({
                "destination": destination,
                "type": "bind",
                "source": source,
                "options": ["rbind", "ro", "nosuid", "nodev", "noexec"],
            })
        }));
        Ok(json!({
            "ociVersion": "1.0.2",
            "process": {
                "user": self.user()?,
                "args": self.program(),
                "env": self.environment(),
                "cwd": "/",
                "capabilities": {},
                "noNewPrivileges": true,
            },
            "root": {"path": self.root, "readonly": true},
            "mounts": mounts,
            "linux": {
                "namespaces": [{"type": "pid"}, {"type": "ipc"}, {"type": "uts"}, {"type": "mount"}],
                "maskedPaths": ["/proc/kcore", "/proc/keys", "/proc/timer_list", "/sys/firmware"],
                "readonlyPaths": ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"],
                "seccomp": seccomp()?,
            },
            "hostname": "keda-operator-0",
        }))
    }

    /// Runs it to its end, and gives what it said.
    ///
    /// # Errors
    /// If it can't be started, or fails.
    pub fn output(&self) -> Result<String> {
        let sandbox = Sandbox::new("sakidori-container")?;
        let output = self.prepare(&sandbox)?.output()?;
        ensure!(
            output.status.success(),
            "{:?} ended with {}: {}",
            self.arguments,
            output.status,
            String::from_utf8_lossy(&output.stderr)
        );
        Ok(String::from_utf8(output.stdout)?)
    }

    /// Starts it.
    ///
    /// # Errors
    /// If it can't be started.
    pub fn start(&self) -> Result<Container> {
        let sandbox = Sandbox::new("sakidori-container")?;
        let command = self.prepare(&sandbox)?;
        let process = sandbox.spawn("container", command)?;
        let mut container = Container {
            process,
            warden: None,
            sandbox,
        };
        let pid = container.wait_started(Duration::from_secs(30))?;
        container.warden = Some(warden(pid)?);
        Ok(container)
    }

    fn prepare(&self, sandbox: &Sandbox) -> Result<Command> {
        let bundle = sandbox.dir();
        let specification = serde_json::to_vec(&self.specification()?)?;
        std::fs::write(bundle.join("config.json"), specification)?;
        let mut command = runc(bundle);
        command
            .arg("run")
            .arg("--bundle")
            .arg(bundle)
            .arg("--pid-file")
            .arg(bundle.join("pid"))
            .arg(name(bundle));
        Ok(command)
    }
}

/// A running container. Dropped, it is killed.
#[derive(Debug)]
pub struct Container {
    // Before `sandbox`: fields are dropped in this order, and the process ends before its folder.
    process: Process,
    warden: Option<Child>,
    sandbox: Sandbox,
}

impl Container {
    fn wait_started(&mut self, within: Duration) -> Result<u32> {
        let deadline = Instant::now() + within;
        loop {
            if let Ok(pid) = self.pid() {
                return Ok(pid);
            }
            self.process.check()?;
            ensure!(Instant::now() < deadline, "not started after {within:?}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// The process in it, by the number that it has outside.
    ///
    /// # Errors
    /// If it hasn't started.
    pub fn pid(&self) -> Result<u32> {
        let text = std::fs::read_to_string(self.sandbox.dir().join("pid"))?;
        text.trim().parse().context("no number")
    }

    /// Fails with the end of its log if it has ended.
    ///
    /// # Errors
    /// It has ended.
    pub fn check(&mut self) -> Result<()> {
        self.process.check()
    }

    /// Ends it as a kubelet does, with a SIGTERM to its first process; gives how it ended and how long that took.
    ///
    /// # Errors
    /// If it had to be killed after `within`.
    pub fn terminate(&mut self, within: Duration) -> Result<(ExitStatus, Duration)> {
        let start = Instant::now();
        let mut kill = runc(self.sandbox.dir());
        kill.args(["kill", &name(self.sandbox.dir()), "TERM"]);
        ensure!(kill.status()?.success(), "runc kill failed");
        loop {
            if let Some(status) = self.process.ended()? {
                return Ok((status, start.elapsed()));
            }
            ensure!(start.elapsed() < within, "it runs {within:?} after SIGTERM");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// What it has said.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.sandbox.log("container")).unwrap_or_default()
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        // The process in it is in no group of ours, and has namespaces of its own.
        let mut delete = runc(self.sandbox.dir());
        delete.args(["delete", "--force", &name(self.sandbox.dir())]);
        let _ = delete.output();
        if let Some(warden) = &mut self.warden {
            let _ = warden.kill();
            let _ = warden.wait();
        }
    }
}

/// Ends the container's process when this process ends without dropping it: runc puts it into no process group of ours.
fn warden(pid: u32) -> Result<Child> {
    Command::new("sh")
        .args([
            "-c",
            "trap '' INT TERM HUP; cat >/dev/null; kill -s KILL \"$0\"",
        ])
        .arg(pid.to_string())
        .process_group(0)
        .stdin(Stdio::piped())
        .spawn()
        .context("can't start sh")
}

fn runc(bundle: &Path) -> Command {
    let mut command = Command::new(RUNC);
    command.arg("--root").arg(bundle.join("state"));
    command
}

/// The folder's own name is nobody else's.
fn name(bundle: &Path) -> String {
    let name = bundle.file_name().unwrap_or_default();
    name.to_string_lossy().into_owned()
}

fn strings(list: &Value) -> Vec<String> {
    let list = list.as_array().into_iter().flatten();
    list.filter_map(|text| text.as_str().map(str::to_owned))
        .collect()
}

/// What container runtimes allow to who has no capability: the file's entries are for all machines and rights, and each says for which.
fn seccomp() -> Result<Value> {
    let text = std::fs::read(SECCOMP)
        .with_context(|| format!("can't read {SECCOMP}: run `test-cluster install`"))?;
    let file: Value = serde_json::from_slice(&text)?;
    let architecture = match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    };
    let entries = file["syscalls"].as_array().context("no system calls")?;
    let holds = |entry: &&Value| {
        let (includes, excludes) = (&entry["includes"], &entry["excludes"]);
        let here = |list: &Value| strings(list).iter().any(|one| one == architecture);
        strings(&includes["caps"]).is_empty()
            && (strings(&includes["arches"]).is_empty() || here(&includes["arches"]))
            && !here(&excludes["arches"])
    };
    let rules = entries.iter().filter(holds).map(|entry| {
        let mut rule = json!({"names": entry["names"], "action": entry["action"]});
        for field in ["args", "errnoRet"] {
            if !entry[field].is_null() {
                rule[field] = entry[field].clone();
            }
        }
        rule
    });
    Ok(json!({
        "defaultAction": file["defaultAction"],
        "defaultErrnoRet": file["defaultErrnoRet"],
        "syscalls": rules.collect::<Vec<_>>(),
    }))
}
