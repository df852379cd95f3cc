//! A private folder and the processes that run in it, which go away together: when the [`Sandbox`] is dropped, when
//! a test panics, and when the process that made it is killed with SIGKILL.
//!
//! All processes of a sandbox are in one process group. Its leader is a `cat` that does nothing, so that the group's
//! id stays taken however often the real members are restarted. A second process, the warden, is a `sh` that reads
//! from a pipe whose other end this process holds: when this process ends, in whatever way, the kernel closes the
//! pipe, and the warden kills the group and removes the folder. (`PR_SET_PDEATHSIG` would need `unsafe`, and fires
//! when the *thread* that started the child ends, which in a test is too early.)

use std::fs::File;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use nix::sys::signal::{Signal, kill, killpg};
use nix::unistd::Pid;

/// For the threads of a paused process to stand: it takes milliseconds, also on a busy machine.
const STOPPED: Duration = Duration::from_secs(5);

/// What the warden does: wait for the end of its input, then end the group `$1` and remove the folder `$2`.
/// It waits 2 s at most for the group to be gone: where the init process is slow to reap orphans, they count as members
/// long after they have ended.
const WARDEN: &str = r#"
trap '' INT TERM HUP
cat >/dev/null
tries=0
while kill -s KILL -- "-$1" 2>/dev/null && [ "$tries" -lt 20 ]; do
    sleep 0.1
    tries=$((tries + 1))
done
rm -rf -- "$2"
"#;

/// A folder and a process group that end with this value.
#[derive(Debug)]
pub struct Sandbox {
    dir: PathBuf,
    leader: Child,
    warden: Child,
}

impl Sandbox {
    /// Makes a folder `PREFIX-xxxxxx` in the system's temporary folder, readable by this user only.
    ///
    /// # Errors
    /// When the folder can't be made or `cat` or `sh` can't be started.
    pub fn new(prefix: &str) -> Result<Sandbox> {
        let dir = tempfile::Builder::new()
            .prefix(&format!("{prefix}-"))
            .tempdir()
            .with_context(|| {
                format!(
                    "can't make a temporary folder {prefix}-* in {}",
                    std::env::temp_dir().display()
                )
            })?;
        let leader = idle("cat", &[])?;
        let group = leader.id().to_string();
        let path = dir.path().to_string_lossy().into_owned();
        let warden = idle("sh", &["-c", WARDEN, "sakidori-warden", &group, &path])?;
        // From here on the warden removes the folder.
        Ok(Sandbox {
            dir: dir.keep(),
            leader,
            warden,
        })
    }

    /// The private folder.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Where [`spawn`](Self::spawn) writes what a process says.
    pub fn log(&self, name: &str) -> PathBuf {
        self.dir.join(format!("{name}.log"))
    }

    /// Starts `command` in the sandbox's process group with nothing to read, appending its output to
    /// [`log(name)`](Self::log).
    ///
    /// # Errors
    /// When the log can't be opened or the program can't be started.
    pub fn spawn(&self, name: &str, mut command: Command) -> Result<Process> {
        let path = self.log(name);
        let log = File::options()
            .create(true)
            .append(true)
            .open(&path)
            .with_context(|| format!("can't open the log {}", path.display()))?;
        let program = command.get_program().to_string_lossy().into_owned();
        let child = command
            .process_group(group_of(&self.leader).as_raw())
            .current_dir(&self.dir)
            .stdin(Stdio::null())
            .stdout(
                log.try_clone()
                    .context("can't share the log between stdout and stderr")?,
            )
            .stderr(log)
            .spawn()
            .with_context(|| format!("can't start {name} ({program})"))?;
        Ok(Process {
            name: name.to_owned(),
            child,
            log: path,
        })
    }
}

impl Drop for Sandbox {
    fn drop(&mut self) {
        // The leader is alive and not yet waited for, so its id can't have been given to anybody else.
        let _ = killpg(group_of(&self.leader), Signal::SIGKILL);
        let _ = self.leader.wait();
        remove_dir(&self.dir);
        // The warden has nothing left to do; ended first, it can't signal a group id that is taken again later.
        let _ = self.warden.kill();
        let _ = self.warden.wait();
    }
}

/// Removes a folder in which processes that were just killed may still be finishing a write.
fn remove_dir(dir: &Path) {
    let deadline = Instant::now() + Duration::from_secs(5);
    while let Err(error) = std::fs::remove_dir_all(dir) {
        if error.kind() == std::io::ErrorKind::NotFound {
            return;
        }
        if Instant::now() > deadline {
            eprintln!("can't remove {}: {error}", dir.display());
            return;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Starts a process in a group of its own that reads from a pipe held by this process.
fn idle(program: &str, args: &[&str]) -> Result<Child> {
    Command::new(program)
        .args(args)
        .process_group(0)
        .current_dir("/")
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .with_context(|| format!("can't start {program}"))
}

fn group_of(leader: &Child) -> Pid {
    Pid::from_raw(leader.id().cast_signed())
}

/// One program that runs in a [`Sandbox`]. Dropped, it is killed.
#[derive(Debug)]
pub struct Process {
    name: String,
    child: Child,
    log: PathBuf,
}

impl Process {
    /// The process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Fails with the end of the log if the process has ended.
    ///
    /// # Errors
    /// The process has ended; the message holds the last lines it wrote.
    pub fn check(&mut self) -> Result<()> {
        match self.child.try_wait() {
            Ok(None) => Ok(()),
            Ok(Some(status)) => bail!(
                "{} ended ({status}); the end of {}:\n{}",
                self.name,
                self.log.display(),
                self.tail()
            ),
            Err(error) => bail!("can't ask for the state of {}: {error}", self.name),
        }
    }

    /// Asks it to end (SIGTERM), and doesn't wait for it.
    pub fn terminate(&self) {
        let _ = kill(self.pid(), Signal::SIGTERM);
    }

    /// The last 20 lines of its log, for messages.
    pub fn tail(&self) -> String {
        let text = std::fs::read(&self.log).unwrap_or_default();
        let text = String::from_utf8_lossy(&text);
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(20)..].join("\n")
    }

    /// How it has ended, if it has.
    ///
    /// # Errors
    /// When the system does not tell.
    pub fn ended(&mut self) -> Result<Option<ExitStatus>> {
        self.child
            .try_wait()
            .with_context(|| format!("can't ask for the state of {}", self.name))
    }

    /// Waits until it ends by itself. Blocks.
    ///
    /// # Errors
    /// When the system does not tell.
    pub fn wait(&mut self) -> Result<ExitStatus> {
        self.child
            .wait()
            .with_context(|| format!("can't wait for {}", self.name))
    }

    /// Ends it at once (SIGKILL), as a crash does.
    pub fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Stops it where it is (SIGSTOP): its sockets stay open, and nothing is answered. [`kill`](Self::kill) works still. Blocks until
    /// each of its threads stands: the signal only asks for it, and on a busy machine one of them may answer a question before it does.
    pub fn pause(&self) {
        let _ = kill(self.pid(), Signal::SIGSTOP);
        let deadline = Instant::now() + STOPPED;
        while !all_stand(self.child.id()) && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// Lets a paused process go on.
    pub fn resume(&self) {
        let _ = kill(self.pid(), Signal::SIGCONT);
    }

    /// Asks it to end (SIGTERM), and kills it when it is still there after `grace`. Blocks.
    pub fn stop(&mut self, grace: Duration) -> Option<ExitStatus> {
        let _ = kill(
            Pid::from_raw(self.child.id().cast_signed()),
            Signal::SIGTERM,
        );
        let deadline = Instant::now() + grace;
        while Instant::now() < deadline {
            if let Ok(Some(status)) = self.child.try_wait() {
                return Some(status);
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        let _ = self.child.kill();
        self.child.wait().ok()
    }

    fn pid(&self) -> Pid {
        Pid::from_raw(self.child.id().cast_signed())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Whether no thread of a process runs, or is waiting to: each is stopped, or has ended.
fn all_stand(pid: u32) -> bool {
    let Ok(threads) = std::fs::read_dir(format!("/proc/{pid}/task")) else {
        return true;
    };
    threads.flatten().all(|thread| {
        let stat = std::fs::read_to_string(thread.path().join("stat")).unwrap_or_default();
        // `PID (NAME) STATE ...`, and a name may hold anything.
        let state = stat.rsplit_once(") ").map_or("", |(_, rest)| rest);
        state.is_empty() || state.starts_with(['T', 't', 'Z', 'X'])
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_paused_process_stands_until_it_is_resumed() {
        let sandbox = Sandbox::new("paused").unwrap();
        let mut command = Command::new("sh");
        command.args(["-c", "while :; do :; done"]);
        let process = sandbox.spawn("busy", command).unwrap();
        assert!(!all_stand(process.id()));
        process.pause();
        assert!(all_stand(process.id()));
        process.resume();
        assert!(!all_stand(process.id()));
    }
}
