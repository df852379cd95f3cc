//! One row of the live table.

use std::time::Duration;

use jiff::Timestamp;
use sakidori_tests::demo;

/// What was seen of one service; `None` is what couldn't be read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ServiceSeen {
    /// What the sale trigger publishes: 0 without a sale.
    pub floor: Option<i32>,
    /// The maximum, where it is below the service's own.
    pub cap: Option<i32>,
    /// The HPA's.
    pub bounds: Option<(i32, i32)>,
    pub replicas: Option<i32>,
    pub ready: Option<i32>,
}

/// What was seen at one moment.
#[derive(Clone, Debug)]
pub struct Row {
    pub at: Timestamp,
    /// Since the table's beginning.
    pub time: Duration,
    /// The next sale that the calendar knows, or the one that runs.
    pub sale: Option<(String, Timestamp)>,
    pub stale: Option<bool>,
    /// Requests per second.
    pub traffic: u32,
    pub web: ServiceSeen,
    pub checkout: ServiceSeen,
    pub reports: ServiceSeen,
}

/// Between the columns of two services.
const GAP: &str = "  ";

impl Row {
    /// `-90 s` is before the start, `+5 s` after it.
    fn to_start(&self) -> String {
        let Some((_, start)) = &self.sale else {
            return "-".to_owned();
        };
        format!("{:+} s", self.at.duration_since(*start).as_secs())
    }

    fn services(&self) -> [ServiceSeen; 3] {
        [self.web, self.checkout, self.reports]
    }
}

impl ServiceSeen {
    fn columns(&self) -> String {
        let number = |value: Option<i32>| value.map_or("-".to_owned(), |value| value.to_string());
        let floor = match (self.cap, self.floor) {
            (Some(cap), _) => format!("<={cap}"),
            (None, Some(0) | None) => "-".to_owned(),
            (None, Some(floor)) => floor.to_string(),
        };
        let bounds = self
            .bounds
            .map_or("-".to_owned(), |(min, max)| format!("{min}-{max}"));
        format!(
            "{floor:>5} {bounds:>6} {:>4} {:>5}",
            number(self.replicas),
            number(self.ready)
        )
    }
}

impl demo::Row for Row {
    fn header() -> String {
        let services = ["web", "checkout", "reports"].map(|name| format!("{GAP}{name:-^23}"));
        let columns = ["floor    HPA repl Ready"; 3].map(|names| format!("{GAP}{names}"));
        format!(
            "{:>8} {:<11} {:>8} {:>7}{}\n{:>8} {:<11} {:>8} {:>7}{}",
            "",
            "",
            "",
            "",
            services.concat(),
            "to start",
            "next sale",
            "calendar",
            "traffic",
            columns.concat()
        )
    }

    fn line(&self) -> String {
        let name = self.sale.as_ref().map_or("-", |(name, _)| name.as_str());
        let calendar = match self.stale {
            Some(true) => "Stale",
            Some(false) => "ok",
            None => "-",
        };
        let services = self
            .services()
            .map(|service| format!("{GAP}{}", service.columns()));
        format!(
            "{:>8} {name:<11} {calendar:>8} {:>5}/s{}",
            self.to_start(),
            self.traffic,
            services.concat()
        )
    }

    fn time(&self) -> Duration {
        self.time
    }

    fn differs(&self, other: &Row) -> bool {
        (self.services(), &self.sale, self.stale, self.traffic)
            != (other.services(), &other.sale, other.stale, other.traffic)
    }
}

#[cfg(test)]
mod tests {
    use sakidori_tests::demo::Row as _;

    use super::*;

    #[test]
    fn columns_stay_below_their_titles() {
        let start = Timestamp::from_second(1_800_000_000).unwrap();
        let row = Row {
            at: start - jiff::SignedDuration::from_secs(90),
            time: Duration::ZERO,
            sale: Some(("first-sale".to_owned(), start)),
            stale: Some(false),
            traffic: 230,
            web: ServiceSeen {
                floor: Some(15),
                cap: None,
                bounds: Some((15, 20)),
                replicas: Some(15),
                ready: Some(15),
            },
            checkout: ServiceSeen::default(),
            reports: ServiceSeen {
                floor: Some(0),
                cap: Some(2),
                bounds: Some((1, 2)),
                replicas: Some(2),
                ready: None,
            },
        };
        let header = Row::header();
        let titles = header.lines().nth(1).unwrap();
        assert_eq!(
            row.line(),
            "   -90 s first-sale        ok   230/s     15  15-20   15    15      -      -    -     -    <=2    1-2    2     -"
        );
        assert_eq!(row.line().len(), titles.len());
    }
}
