//! The figures of pods that are helped to start, beside what was promised, and the verdict over them.

use std::fmt;
use std::time::Duration;

use anyhow::{Result, ensure};
use jiff::SignedDuration;
use sakidori_test_cluster::audit::Write;
use sakidori_tests::memory::Memory;

/// Requests per pod that go through: the annotation and the resize, there and back, and the annotation's end.
const WRITES_PER_POD: usize = 5;

/// All that was measured. Times are ascending.
#[derive(Default)]
pub struct ResizeReport {
    pub pods: usize,
    pub created_to_taken_in: Vec<SignedDuration>,
    pub taken_in_to_asked: Vec<SignedDuration>,
    /// Of that: until the first of the two requests reached the API server, and from there to the second.
    pub taken_in_to_noted: Vec<SignedDuration>,
    pub noted_to_asked: Vec<SignedDuration>,
    pub created_to_asked: Vec<SignedDuration>,
    pub asked_to_actual: Vec<SignedDuration>,
    pub ready_to_asked_back: Vec<SignedDuration>,
    /// Writes of pods by the operator that went through, and that met a conflict.
    pub writes: usize,
    pub conflicts: usize,
    pub refused: usize,
    /// The operator's processor time.
    pub processor: Duration,
    pub memory: Memory,
    /// Of the machine over a minute, before and after.
    pub load: (String, String),
}

impl ResizeReport {
    pub fn sort(&mut self) {
        for times in [
            &mut self.created_to_taken_in,
            &mut self.taken_in_to_asked,
            &mut self.taken_in_to_noted,
            &mut self.noted_to_asked,
            &mut self.created_to_asked,
            &mut self.asked_to_actual,
            &mut self.ready_to_asked_back,
        ] {
            times.sort_unstable();
        }
    }

    pub fn count(&mut self, log: &[Write], user: &str) {
        for write in log
            .iter()
            .filter(|it| it.username == user && it.resource == "pods")
        {
            match write.code {
                409 => self.conflicts += 1,
                200..300 => self.writes += 1,
                _ => self.refused += 1,
            }
        }
    }

    /// # Errors
    /// If more was written than promised. Times depend on the machine, so they are printed only.
    pub fn judge(&self) -> Result<()> {
        let promised = WRITES_PER_POD * self.pods;
        ensure!(
            self.writes <= promised && self.refused == 0,
            "{} writes of {} pods, promised are {promised}; {} were refused",
            self.writes,
            self.pods,
            self.refused
        );
        Ok(())
    }
}

impl fmt::Display for ResizeReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{:<44} {:>9} {:>9} {:>9}   promised",
            "", "half", "99 %", "all"
        )?;
        let of = |times: &[SignedDuration], percent: usize| {
            let place = (times.len() * percent).div_ceil(100).saturating_sub(1);
            let time = times.get(place).map_or(0.0, SignedDuration::as_secs_f64);
            format!("{time:.3} s")
        };
        for (what, times, promised) in [
            (
                "created, until its node takes it in",
                &self.created_to_taken_in,
                "",
            ),
            (
                "taken in, until asked to have more",
                &self.taken_in_to_asked,
                "",
            ),
            (
                "  until the first request, the annotation",
                &self.taken_in_to_noted,
                "",
            ),
            (
                "  from there to the second, the resize",
                &self.noted_to_asked,
                "",
            ),
            (
                "created, until asked to have more",
                &self.created_to_asked,
                "1 s",
            ),
            ("asked, until it has it", &self.asked_to_actual, ""),
            (
                "Ready, until asked to give it back",
                &self.ready_to_asked_back,
                "1 s",
            ),
        ] {
            let [half, most, all] = [50, 99, 100].map(|percent| of(times, percent));
            writeln!(f, "{what:<44} {half:>9} {most:>9} {all:>9}   {promised}")?;
        }
        let mut line = |what: &str, figure: String, promised: &str| {
            writeln!(f, "{what:<44} {figure:>9}   {promised}")
        };
        let per_pod = |count: usize| format!("{:.2}", count as f64 / self.pods as f64);
        line("writes per pod", per_pod(self.writes), "5")?;
        line("conflicts per pod", per_pod(self.conflicts), "")?;
        line(
            "operator's processor time",
            format!("{:.2} s", self.processor.as_secs_f64()),
            "",
        )?;
        line(
            "operator's memory, peak",
            format!("{:.1} MiB", self.memory.peak_kib as f64 / 1024.0),
            "",
        )?;
        line(
            "the machine's load before, and after",
            format!("{} {}", self.load.0, self.load.1),
            "",
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_write_too_many_fails_and_conflicts_are_told() {
        let mut report = ResizeReport {
            pods: 1,
            writes: 5,
            conflicts: 3,
            created_to_asked: (1..=200).map(SignedDuration::from_millis).collect(),
            ..ResizeReport::default()
        };
        report.judge().unwrap();
        let text = report.to_string();
        assert!(text.contains("0.100 s   0.198 s   0.200 s   1 s"), "{text}");
        report.writes = 6;
        assert!(report.judge().is_err());
    }
}
