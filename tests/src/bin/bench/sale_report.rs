//! The figures of a sale for many services, beside what was promised, and the verdict over them.

use std::fmt;
use std::time::Duration;

use anyhow::{Result, ensure};
use jiff::SignedDuration;
use sakidori_tests::memory::Memory;

use super::report::Writes;

/// Writes per service in the half minute from the instant of its floor: the HPA, and the status when the sale begins, when its pods are
/// first looked at, and when they are Ready.
const WRITES_FOR_FLOOR: f64 = 4.0;

/// All that was measured.
pub struct SaleReport {
    pub services: usize,
    /// Processor time of the operator, from the calendar's change until shortly before the floors were due.
    pub taken_in: Duration,
    /// Writes of the operator in that time, all services together.
    pub writes_before: usize,
    /// How long after their instant the floors were seen in the HPAs, ascending.
    pub late: Vec<SignedDuration>,
    /// Processor time of the operator for them.
    pub to_floors: Duration,
    /// The same until half a minute after the instant: pods are Ready, and that is told.
    pub in_first: Duration,
    /// Writes of the operator from shortly before the instant until then.
    pub writes: Writes,
    pub memory: Memory,
}

impl SaleReport {
    /// # Errors
    /// If a floor came too early, or more was written than promised. Times depend on the machine, so they are printed only.
    pub fn judge(&self) -> Result<()> {
        let first = self.late.first().copied().unwrap_or_default();
        ensure!(
            !first.is_negative(),
            "a floor was set {first:#} before its instant"
        );
        let writes = self.per_service();
        ensure!(
            writes <= WRITES_FOR_FLOOR,
            "{writes:.2} API writes per service for its floor, promised are at most {WRITES_FOR_FLOOR}"
        );
        Ok(())
    }

    fn per_service(&self) -> f64 {
        self.writes.objects.total() as f64 / self.services as f64
    }
}

impl fmt::Display for SaleReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut line = |what: &str, figure: String, promised: &str| {
            writeln!(f, "{what:<52} {figure:>12}   {promised}")
        };
        let seconds = |time: Option<&SignedDuration>| {
            format!("{:.2} s", time.map_or(0.0, SignedDuration::as_secs_f64))
        };
        let spent = |time: Duration| format!("{:.2} s", time.as_secs_f64());
        line("", "measured".into(), "promised")?;
        line(
            "first floor, after its instant",
            seconds(self.late.first()),
            "1 s",
        )?;
        line(
            "half of the floors",
            seconds(self.late.get(self.late.len() / 2)),
            "",
        )?;
        line("all floors", seconds(self.late.last()), "5 s")?;
        line(
            "operator's processor time until then",
            spent(self.to_floors),
            "1 s",
        )?;
        line(
            "the same, in the first half minute",
            spent(self.in_first),
            "",
        )?;
        line(
            "the same, for the calendar's change",
            spent(self.taken_in),
            "",
        )?;
        line(
            "API writes for the calendar's change",
            self.writes_before.to_string(),
            "1, the calendar's status",
        )?;
        line(
            "API writes per service for its floor",
            format!("{:.2}", self.per_service()),
            "4",
        )?;
        for (kind, count) in &self.writes.objects.0 {
            let what = [kind.resource.as_str(), &kind.subresource, &kind.verb].join(" ");
            line(&format!("  {what}"), count.to_string(), "")?;
        }
        line("Events", self.writes.events.to_string(), "")?;
        line(
            "operator's memory, peak",
            format!("{:.1} MiB", self.memory.peak_kib as f64 / 1024.0),
            "",
        )
    }
}
