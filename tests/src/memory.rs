//! How much memory and processor time a process uses.

use std::time::Duration;

use anyhow::{Context, Result};

/// Resident memory of a process in KiB, as `/proc/PID/status` tells it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Memory {
    /// `VmRSS`: now.
    pub resident_kib: u64,
    /// `VmHWM`: the most since the process started.
    pub peak_kib: u64,
}

/// The memory of process `pid`.
///
/// # Errors
/// If there is no such process, or the system has no `/proc`.
pub fn of_process(pid: u32) -> Result<Memory> {
    let path = format!("/proc/{pid}/status");
    let text = std::fs::read_to_string(&path).with_context(|| format!("can't read {path}"))?;
    parse(&text).with_context(|| format!("{path} has no VmRSS and VmHWM"))
}

fn parse(status: &str) -> Option<Memory> {
    let field = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name))?;
        line.trim_end_matches("kB").trim().parse().ok()
    };
    Some(Memory {
        resident_kib: field("VmRSS:")?,
        peak_kib: field("VmHWM:")?,
    })
}

/// Linux counts in hundredths of a second towards user space (USER_HZ), whatever its own clock is.
const TICK: Duration = Duration::from_millis(10);

/// The processor time of process `pid` since its start, all threads together, its own and the kernel's for it.
///
/// # Errors
/// If there is no such process, or the system has no `/proc`.
pub fn processor_time(pid: u32) -> Result<Duration> {
    let path = format!("/proc/{pid}/stat");
    let text = std::fs::read_to_string(&path).with_context(|| format!("can't read {path}"))?;
    parse_time(&text).with_context(|| format!("{path} has no utime and stime"))
}

fn parse_time(stat: &str) -> Option<Duration> {
    // The second field is the program's name in brackets, which may hold spaces and brackets.
    let (_, rest) = stat.rsplit_once(')')?;
    let mut fields = rest.split_whitespace().skip(11);
    let user: u32 = fields.next()?.parse().ok()?;
    let system: u32 = fields.next()?.parse().ok()?;
    Some(TICK * (user + system))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_two_lines_of_proc_status() {
        let status =
            "Name:\tsakidori\nVmPeak:\t  999 kB\nVmHWM:\t   34816 kB\nVmRSS:\t   30720 kB\n";
        assert_eq!(
            parse(status),
            Some(Memory {
                resident_kib: 30_720,
                peak_kib: 34_816
            })
        );
    }

    #[test]
    fn processor_time_is_the_processes_and_the_kernels() {
        let stat = "7 (a) b) S 1 7 7 0 -1 4194560 9 0 0 0 150 50 0 0 20 0 1 0 99 0";
        assert_eq!(parse_time(stat), Some(Duration::from_secs(2)));
        processor_time(std::process::id()).unwrap();
    }

    #[test]
    fn this_process_uses_memory() {
        let memory = of_process(std::process::id()).unwrap();
        assert!(
            memory.resident_kib > 0 && memory.peak_kib >= memory.resident_kib,
            "{memory:?}"
        );
    }
}
