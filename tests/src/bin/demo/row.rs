//! One row of the live table.

use std::time::Duration;

use sakidori_tests::demo;

/// What was seen at one moment; `None` is what couldn't be read.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Row {
    /// Since the first message.
    pub time: Duration,
    pub queue: Option<u32>,
    /// A Kubernetes quantity.
    pub metric: Option<String>,
    pub desired: Option<i32>,
    pub replicas: Option<i32>,
    pub ready: Option<i32>,
}

impl demo::Row for Row {
    fn header() -> String {
        "   time    queue   external metric   HPA desired   replicas   Ready".to_owned()
    }

    fn line(&self) -> String {
        let number = |value: Option<i32>| value.map_or("-".to_owned(), |value| value.to_string());
        format!(
            "{:>6.1}s {:>8} {:>17} {:>13} {:>10} {:>7}",
            self.time.as_secs_f64(),
            self.queue.map_or("-".to_owned(), |queue| queue.to_string()),
            self.metric.as_deref().unwrap_or("-"),
            number(self.desired),
            number(self.replicas),
            number(self.ready),
        )
    }

    fn time(&self) -> Duration {
        self.time
    }

    /// The queue's length changes all the time.
    fn differs(&self, other: &Row) -> bool {
        (self.desired, self.replicas, self.ready) != (other.desired, other.replicas, other.ready)
    }
}

#[cfg(test)]
mod tests {
    use sakidori_tests::demo::Row as _;

    use super::*;

    #[test]
    fn columns_stay_below_their_titles() {
        let row = Row {
            queue: Some(500),
            replicas: Some(0),
            ..Row::default()
        };
        assert_eq!(
            row.line(),
            "   0.0s      500                 -             -          0       -"
        );
        assert_eq!(row.line().len(), Row::header().len());
    }
}
