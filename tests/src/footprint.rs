//! What a process holds: memory, threads, sockets, tasks. Compared before and after a fault, it shows what was left behind.

use std::fmt;
use std::path::PathBuf;

use anyhow::{Context, Result};

use crate::memory;

/// The tasks of the operator's runtime, as it counts them itself.
const TASKS: &str = "sakidori_process_tasks";

/// What one process holds at a moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Footprint {
    pub resident_kib: u64,
    pub threads: usize,
    pub sockets: usize,
    pub tasks: usize,
}

impl Footprint {
    /// The footprint of process `pid`, which serves `metrics`.
    ///
    /// # Errors
    /// If there is no such process, or it doesn't tell how many tasks it has.
    pub fn of(pid: u32, metrics: &str) -> Result<Self> {
        Ok(Self {
            resident_kib: memory::of_process(pid)?.resident_kib,
            threads: entries(pid, "task")?.len(),
            sockets: sockets(pid)?,
            tasks: tasks(metrics).with_context(|| format!("no {TASKS} in its metrics"))?,
        })
    }

    /// Whether this is no more than `before` and what may be left over it.
    pub fn is_within(&self, before: &Self, more: &Self) -> bool {
        self.resident_kib <= before.resident_kib + more.resident_kib
            && self.threads <= before.threads + more.threads
            && self.sockets <= before.sockets + more.sockets
            && self.tasks <= before.tasks + more.tasks
    }
}

impl fmt::Display for Footprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            resident_kib,
            threads,
            sockets,
            tasks,
        } = self;
        let mebibytes = resident_kib / 1024;
        write!(
            f,
            "{mebibytes} MiB, {threads} threads, {sockets} sockets, {tasks} tasks"
        )
    }
}

/// The entries of a folder of `/proc/PID`.
fn entries(pid: u32, folder: &str) -> Result<Vec<PathBuf>> {
    let path = format!("/proc/{pid}/{folder}");
    let entries = std::fs::read_dir(&path).with_context(|| format!("can't read {path}"))?;
    Ok(entries
        .filter_map(Result::ok)
        .map(|entry| entry.path())
        .collect())
}

fn sockets(pid: u32) -> Result<usize> {
    let files = entries(pid, "fd")?;
    // One that was closed meanwhile points nowhere.
    let targets = files
        .iter()
        .filter_map(|file| std::fs::read_link(file).ok());
    Ok(targets
        .filter(|target| target.to_string_lossy().starts_with("socket:"))
        .count())
}

fn tasks(metrics: &str) -> Option<usize> {
    let line = metrics
        .lines()
        .find_map(|line| line.strip_prefix(TASKS)?.strip_prefix(' '))?;
    line.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_has_threads_and_a_socket() {
        let _listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let metrics = "# TYPE sakidori_process_tasks gauge\nsakidori_process_tasks 42\n";
        let all = Footprint::of(std::process::id(), metrics).unwrap();
        assert!(
            all.threads >= 1 && all.sockets >= 1 && all.tasks == 42,
            "{all}"
        );
        Footprint::of(std::process::id(), "").unwrap_err();
    }

    #[test]
    fn each_of_the_four_counts() {
        let one = |field: usize| Footprint {
            resident_kib: u64::from(field == 0),
            threads: usize::from(field == 1),
            sockets: usize::from(field == 2),
            tasks: usize::from(field == 3),
        };
        let nothing = one(4);
        for field in 0..4 {
            assert!(!one(field).is_within(&nothing, &nothing), "{field}");
            assert!(one(field).is_within(&nothing, &one(field)), "{field}");
            assert!(one(field).is_within(&one(field), &nothing), "{field}");
        }
    }
}
