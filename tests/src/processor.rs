//! How much processor time a process has used.

use std::time::Duration;

use anyhow::{Context, Result};

/// Linux counts it in hundredths of a second for every user of `/proc`, whatever the kernel's own tick is.
const TICK: Duration = Duration::from_millis(10);

/// The processor time of process `pid` since it started, in user and kernel mode, over all of its threads.
///
/// # Errors
/// If there is no such process, or the system has no `/proc`.
pub fn time_of(pid: u32) -> Result<Duration> {
    let path = format!("/proc/{pid}/stat");
    let text = std::fs::read_to_string(&path).with_context(|| format!("can't read {path}"))?;
    parse(&text).with_context(|| format!("{path} is not as proc(5) describes it: {text}"))
}

/// Fields 14 and 15. The second field is the program's name in brackets, which may hold spaces and brackets.
fn parse(stat: &str) -> Option<Duration> {
    let (_, after_name) = stat.rsplit_once(')')?;
    let mut fields = after_name.split_whitespace().skip(11);
    let user: u32 = fields.next()?.parse().ok()?;
    let kernel: u32 = fields.next()?.parse().ok()?;
    Some(TICK * user.checked_add(kernel)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_two_fields_behind_a_name_with_brackets() {
        let stat = "42 (a) b) S 1 2 3 4 5 6 7 8 9 10 150 25 0 0 20 0 4";
        assert_eq!(parse(stat), Some(Duration::from_millis(1750)));
        assert_eq!(parse("42 (a) S 1"), None);
    }

    #[test]
    fn work_takes_time() {
        let before = time_of(std::process::id()).unwrap();
        let mut sum = 0_u64;
        while time_of(std::process::id()).unwrap() == before {
            sum = std::hint::black_box(sum + 1);
        }
    }
}
