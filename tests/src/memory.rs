//! How much memory a process uses.

use anyhow::{Context, Result};

/// Resident memory of a process in KiB, as `/proc/PID/status` tells it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
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
    fn this_process_uses_memory() {
        let memory = of_process(std::process::id()).unwrap();
        assert!(
            memory.resident_kib > 0 && memory.peak_kib >= memory.resident_kib,
            "{memory:?}"
        );
    }
}
