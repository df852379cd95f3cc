//! What the occurrences that a trigger selects say about the trigger itself: what admission and plans tell before the day.

use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use sakidori_engine::prescale::{Baseline, Factor, LeadTime, Occurrence, Settings, Wish, in_words};

use crate::trigger::SaleCalendarTrigger;

/// Who has no sale for so long has probably selected none.
const SOON: SignedDuration = SignedDuration::from_hours(90 * 24);

impl SaleCalendarTrigger {
    /// Those that the trigger selects.
    pub fn select(&self, occurrences: &[Arc<Occurrence>]) -> Vec<Arc<Occurrence>> {
        occurrences
            .iter()
            .filter(|one| self.selector.matches(&one.labels))
            .cloned()
            .collect()
    }

    /// Why the trigger has nothing to do soon, where that is so. `selected` are all that it selects.
    pub fn idle(&self, selected: &[Arc<Occurrence>], now: Timestamp) -> Option<String> {
        let until = now.checked_add(SOON).unwrap_or(Timestamp::MAX);
        if selected
            .iter()
            .any(|one| one.end > now && one.start < until)
        {
            return None;
        }
        Some(format!(
            "no occurrence of {} {:?} that it selects is in the next 90 days",
            self.kind(),
            self.calendar
        ))
    }

    /// Where a ramp is under way at every moment from `from` to `to`, what is to be changed. Of `selected` none may be missing in that
    /// time.
    ///
    /// A ramp that begins within the sale before it is none of that: the floor is handed over, and however long the ramp is, the
    /// first sale of a series has a climb and the last one an end. Only where there is no first and no last one, each climb begins
    /// before the sale before it has even started, and there are pauses between the sales that it leaves nothing of, the floor is what
    /// `minReplicaCount` is for. With `leadTime: auto` the lead isn't known, and nothing is said.
    pub fn endless_ramp(
        &self,
        selected: &[Arc<Occurrence>],
        (from, to): (Timestamp, Timestamp),
    ) -> Option<String> {
        let LeadTime::Fixed(lead) = self.settings.lead_time else {
            return None;
        };
        let climb = lead + self.settings.ramp_up;
        let running = selected.iter().filter(|one| one.start <= from);
        let mut over = running.map(|one| one.end).fold(from, Timestamp::max);
        let mut covered = from;
        let mut longest = SignedDuration::ZERO;
        let mut pauses = false;
        for one in selected.iter().filter(|one| one.start > from) {
            let gap = one.start.duration_since(covered);
            if gap > climb {
                return None;
            }
            // The first one's pause is before any sale.
            pauses |= one.start > over && over > from;
            longest = longest.max(gap);
            covered = one.start;
            over = over.max(one.end);
        }
        if !pauses || to.duration_since(covered) > climb {
            return None;
        }
        Some(format!(
            "leadTime: with rampUp it is {}, and the occurrences that it selects start {} apart at most: a ramp is always under way, \
             and the floor never falls. Shorten it, or raise minReplicaCount instead",
            in_words(climb),
            in_words(longest)
        ))
    }

    /// The highest floor, and for what, where it is known beforehand: what is a multiple of an observed baseline isn't.
    pub fn highest_floor<'a>(&self, selected: &'a [Arc<Occurrence>]) -> Option<(i32, &'a str)> {
        let of =
            |one: &'a Arc<Occurrence>| Some((floor_for(&self.settings, one)?, one.name.as_str()));
        selected
            .iter()
            .filter_map(of)
            .max_by_key(|(floor, _)| *floor)
    }

    /// The calendar's kind.
    pub fn kind(&self) -> &'static str {
        if self.namespaced {
            "SaleCalendar"
        } else {
            "ClusterSaleCalendar"
        }
    }
}

fn floor_for(settings: &Settings, occurrence: &Occurrence) -> Option<i32> {
    let baseline = match settings.baseline {
        Baseline::Replicas(replicas) => Some(replicas),
        Baseline::Observed(_) => None,
    };
    match settings.wish {
        Wish::Replicas(replicas) => Some(replicas),
        Wish::Times(Factor::Fixed(multiplier)) => Some(multiplier.of(baseline?)),
        Wish::Times(Factor::OfEvent) => {
            Some(occurrence.multiplier.unwrap_or_default().of(baseline?))
        }
        Wish::Limit(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: i64 = 3600;
    const DAY: i64 = 24 * HOUR;

    fn trigger(metadata: &[(&str, &str)]) -> SaleCalendarTrigger {
        let metadata = metadata.iter().chain(&[("calendar", "sales")]);
        let metadata = metadata.map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
        SaleCalendarTrigger::parse(&metadata.collect()).unwrap()
    }

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn sale(name: &str, start: i64, length: i64) -> Arc<Occurrence> {
        Arc::new(Occurrence {
            id: name.to_owned(),
            source: String::new(),
            name: name.to_owned(),
            start: at(start),
            end: at(start + length),
            labels: Default::default(),
            multiplier: None,
        })
    }

    fn every(period: i64, length: i64) -> Vec<Arc<Occurrence>> {
        let starts = (-7 * DAY / period)..=(400 * DAY / period);
        starts.map(|n| sale("a", n * period, length)).collect()
    }

    #[test]
    fn a_ramp_is_endless_only_where_there_is_no_moment_without_one() {
        let with = |lead: &str, ramp: &str, sales: &[Arc<Occurrence>]| {
            let settings = [
                ("desiredReplicas", "9"),
                ("leadTime", lead),
                ("rampUp", ramp),
            ];
            trigger(&settings).endless_ramp(sales, (at(0), at(400 * DAY)))
        };
        let weekly = every(7 * DAY, 2 * HOUR);
        assert_eq!(
            with("7d", "10m", &weekly).unwrap(),
            "leadTime: with rampUp it is 7d 10m, and the occurrences that it selects start 7d apart at most: a ramp is always under \
             way, and the floor never falls. Shorten it, or raise minReplicaCount instead"
        );
        assert_eq!(with("6d", "10m", &weekly), None);
        assert_eq!(with("7d", "0", &[]), None);
        // Sale upon sale, without a moment in between, is what the calendar says and not the ramp.
        let daily = every(DAY, DAY);
        assert_eq!(with("1h", "10m", &daily), None);
        assert_eq!(with("0", "0", &daily), None);
        assert_eq!(with("2d", "0", &daily), None);
        assert!(with("2d", "0", &every(DAY, DAY - 1)).is_some());
        // A series that ends has a first climb, or at least an end.
        assert_eq!(with("7d", "10m", &weekly[..20]), None);
        // One longer pause is enough.
        let mut pause = weekly.clone();
        pause.remove(30);
        assert_eq!(with("7d", "10m", &pause), None);
        let auto = trigger(&[("desiredReplicas", "9"), ("rampUp", "8d")]);
        assert_eq!(auto.endless_ramp(&weekly, (at(0), at(400 * DAY))), None);
    }

    #[test]
    fn a_trigger_is_idle_where_nothing_that_it_selects_is_near() {
        let trigger = trigger(&[("desiredReplicas", "9")]);
        let text =
            "no occurrence of ClusterSaleCalendar \"sales\" that it selects is in the next 90 days";
        assert_eq!(trigger.idle(&[], at(0)).unwrap(), text);
        let (over, far) = (sale("over", -DAY, DAY), sale("far", 90 * DAY, DAY));
        assert!(trigger.idle(&[over, far], at(0)).is_some());
        assert!(trigger.idle(&[sale("runs", -1, 2)], at(0)).is_none());
        assert!(trigger.idle(&[sale("near", 89 * DAY, 1)], at(0)).is_none());
    }

    #[test]
    fn the_highest_floor_is_known_where_nothing_of_it_is_observed() {
        let mut hot = (*sale("hot", DAY, DAY)).clone();
        hot.multiplier = Some("3.5".parse().unwrap());
        let sales = [sale("calm", 0, DAY), Arc::new(hot)];
        let highest = |metadata: &[(&str, &str)]| {
            let trigger = trigger(metadata);
            let found = trigger.highest_floor(&sales);
            found.map(|(floor, name)| (floor, name.to_owned()))
        };
        let hot = |floor| Some((floor, "hot".to_owned()));
        assert_eq!(highest(&[("desiredReplicas", "120")]), hot(120));
        let event = ("multiplier", "event");
        assert_eq!(highest(&[event, ("baseline", "20")]), hot(70));
        assert_eq!(highest(&[("multiplier", "2"), ("baseline", "20")]), hot(40));
        assert_eq!(highest(&[event]), None);
        assert_eq!(highest(&[("limitReplicas", "3")]), None);
    }
}
