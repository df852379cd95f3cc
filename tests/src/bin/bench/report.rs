//! The figures, beside what was promised, and the verdict over them.

use std::fmt;
use std::time::Duration;

use anyhow::{Result, ensure};
use sakidori_test_cluster::audit::{Write, WriteCounts};
use sakidori_tests::memory::Memory;

/// Writes per object that the operator may need until its HPA exists: the HPA and the status.
const WRITES_UNTIL_HPA: f64 = 2.0;
/// Writes per object in the first minute, the HPA controller's own included.
const WRITES_IN_FIRST_MINUTE: f64 = 4.0;

/// Who writes what is counted here.
pub const OPERATOR: &str = "system:serviceaccount:keda:keda-operator";
pub const HPA_CONTROLLER: &str = "system:serviceaccount:kube-system:horizontal-pod-autoscaler";

/// What one user wrote.
#[derive(Debug, Default, PartialEq)]
pub struct Writes {
    pub objects: WriteCounts,
    /// They expire, and nothing waits for them.
    pub events: usize,
    /// SubjectAccessReviews and TokenReviews: questions in the form of a create, of which nothing is stored.
    pub reviews: usize,
}

impl Writes {
    /// The writes of `user` that the API server accepted or refused.
    pub fn of(log: &[Write], user: &str) -> Self {
        let mut writes = Self::default();
        let mut objects = Vec::new();
        for write in log.iter().filter(|write| write.username == user) {
            match write.resource.as_str() {
                "events" => writes.events += 1,
                "subjectaccessreviews" | "tokenreviews" => writes.reviews += 1,
                _ => objects.push(write),
            }
        }
        writes.objects = objects.into_iter().collect();
        writes
    }
}

/// All that was measured.
pub struct Report {
    pub objects: usize,
    /// From the answer to the last create until all HPAs were listed.
    pub until_hpas: Duration,
    /// The operator's own, at the moment when all HPAs were listed.
    pub writes_until_hpas: Writes,
    pub operator_in_first_minute: Writes,
    pub hpa_controller_in_first_minute: Writes,
    pub reads_until_hpas: u64,
    pub reads_in_first_minute: u64,
    /// At the end of the first minute.
    pub memory: Memory,
    /// The operator's processor time in the first minute.
    pub processor_in_first_minute: Duration,
    /// The same in the minute after that, in which nothing happens but polls and the HPAs' reads.
    pub processor_in_second_minute: Duration,
}

impl Report {
    /// # Errors
    /// If more was written than promised. Times and memory depend on the machine, so they are printed only.
    pub fn judge(&self) -> Result<()> {
        let until = self.per_object(self.writes_until_hpas.objects.total());
        ensure!(
            until <= WRITES_UNTIL_HPA,
            "{until:.2} API writes per object until the HPAs exist, promised are at most {WRITES_UNTIL_HPA}"
        );
        let minute = self.per_object(self.in_first_minute());
        ensure!(
            minute <= WRITES_IN_FIRST_MINUTE,
            "{minute:.2} API writes per object in the first minute, promised are at most {WRITES_IN_FIRST_MINUTE}"
        );
        Ok(())
    }

    fn in_first_minute(&self) -> usize {
        self.operator_in_first_minute.objects.total()
            + self.hpa_controller_in_first_minute.objects.total()
    }

    fn per_object(&self, count: usize) -> f64 {
        count as f64 / self.objects as f64
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mebibytes = |kib: u64| kib as f64 / 1024.0;
        let mut line = |what: &str, figure: String, promised: &str| {
            writeln!(f, "{what:<52} {figure:>12}   {promised}")
        };
        line("", "measured".into(), "promised")?;
        line(
            "all HPAs exist, after the last create",
            format!("{:.1} s", self.until_hpas.as_secs_f64()),
            "3 s",
        )?;
        line(
            "API writes per object until then",
            format!(
                "{:.2}",
                self.per_object(self.writes_until_hpas.objects.total())
            ),
            "2",
        )?;
        line(
            "API writes per object in the first minute",
            format!("{:.2}", self.per_object(self.in_first_minute())),
            "4, the HPA controller's included",
        )?;
        line(
            "operator's memory, peak",
            format!("{:.1} MiB", mebibytes(self.memory.peak_kib)),
            "60 MiB",
        )?;
        line(
            "operator's memory, after a minute",
            format!("{:.1} MiB", mebibytes(self.memory.resident_kib)),
            "",
        )?;
        for (what, time) in [
            ("first", self.processor_in_first_minute),
            ("second", self.processor_in_second_minute),
        ] {
            line(
                &format!("operator's processor time in the {what} minute"),
                format!("{:.1} s", time.as_secs_f64()),
                "",
            )?;
        }
        line(
            "source reads per object until all HPAs exist",
            format!("{:.2}", self.reads_until_hpas as f64 / self.objects as f64),
            "",
        )?;
        line(
            "source reads per object in the first minute",
            format!(
                "{:.2}",
                self.reads_in_first_minute as f64 / self.objects as f64
            ),
            "",
        )?;
        for (who, writes) in [
            ("operator", &self.operator_in_first_minute),
            ("HPA controller", &self.hpa_controller_in_first_minute),
        ] {
            writeln!(
                f,
                "\nThe {who}'s writes in the first minute, besides {} Events and {} access reviews:",
                writes.events, writes.reviews
            )?;
            write!(f, "{}", writes.objects)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(username: &str, resource: &str, subresource: &str) -> Write {
        Write {
            verb: "patch".into(),
            group: String::new(),
            resource: resource.into(),
            subresource: subresource.into(),
            namespace: String::new(),
            name: String::new(),
            credential: String::new(),
            username: username.into(),
            user_agent: String::new(),
            code: 200,
            received: String::new(),
        }
    }

    fn report(log: &[Write], objects: usize) -> Report {
        Report {
            objects,
            until_hpas: Duration::from_millis(1500),
            writes_until_hpas: Writes::of(log, OPERATOR),
            operator_in_first_minute: Writes::of(log, OPERATOR),
            hpa_controller_in_first_minute: Writes::of(log, HPA_CONTROLLER),
            reads_until_hpas: 1,
            reads_in_first_minute: 3,
            memory: Memory {
                resident_kib: 20 * 1024,
                peak_kib: 30 * 1024,
            },
            processor_in_first_minute: Duration::from_secs(2),
            processor_in_second_minute: Duration::from_secs(1),
        }
    }

    #[test]
    fn events_and_other_users_do_not_count() {
        let log = [
            write(OPERATOR, "horizontalpodautoscalers", ""),
            write(OPERATOR, "scaledobjects", "status"),
            write(OPERATOR, "events", ""),
            write(OPERATOR, "subjectaccessreviews", ""),
            write("someone", "scaledobjects", ""),
            write(HPA_CONTROLLER, "horizontalpodautoscalers", "status"),
        ];
        let report = report(&log, 1);
        assert_eq!(
            (
                report.writes_until_hpas.objects.total(),
                report.in_first_minute()
            ),
            (2, 3)
        );
        let operator = &report.operator_in_first_minute;
        assert_eq!((operator.events, operator.reviews), (1, 1));
        report.judge().unwrap();
    }

    #[test]
    fn one_write_too_many_fails() {
        let log = vec![write(OPERATOR, "scaledobjects", "status"); 3];
        let error = report(&log, 1).judge().unwrap_err().to_string();
        assert_eq!(
            error,
            "3.00 API writes per object until the HPAs exist, promised are at most 2"
        );
        let log = vec![write(HPA_CONTROLLER, "horizontalpodautoscalers", "status"); 5];
        assert!(
            report(&log, 1)
                .judge()
                .unwrap_err()
                .to_string()
                .contains("in the first minute")
        );
    }
}
