//! What goes wrong for a while is told when it begins, when its words change, now and then while it lasts, and when it is over.

use jiff::{SignedDuration, Timestamp};

/// How often what lasts is told again. API servers keep an Event for an hour: told twice within that, it is always there for whoever
/// looks.
const REMIND_EVERY: SignedDuration = SignedDuration::from_mins(30);
/// Words that are told between two reminders. Those of some sources hold a number that is another each time, and others fail in two
/// or three ways by turns.
const DIFFERENT_WORDS: usize = 4;

/// One thing that works or fails.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Spell {
    /// When its beginning was told, or the last reminder.
    since: Option<Timestamp>,
    /// The words that were told since then.
    told: Vec<String>,
}

impl Spell {
    /// Of what works, as far as is known.
    pub const fn new() -> Self {
        Self {
            since: None,
            told: Vec::new(),
        }
    }

    /// It fails with these words. True if that is to be told.
    pub fn fails(&mut self, now: Timestamp, words: &str) -> bool {
        let goes_on = self
            .since
            .is_some_and(|since| now.duration_since(since) < REMIND_EVERY);
        if !goes_on {
            self.since = Some(now);
            self.told.clear();
        } else if self.told.len() >= DIFFERENT_WORDS || self.told.iter().any(|one| one == words) {
            return false;
        }
        self.told.push(words.to_owned());
        true
    }

    /// It works. True if it failed before, and so that is to be told.
    pub fn works(&mut self) -> bool {
        std::mem::take(self).since.is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whether each failure is told, which are seconds and words.
    fn told(failures: &[(i64, &str)]) -> Vec<bool> {
        let mut spell = Spell::default();
        let told = |(second, words): &(i64, &str)| {
            spell.fails(Timestamp::from_second(*second).unwrap(), words)
        };
        failures.iter().map(told).collect()
    }

    #[test]
    fn a_failure_is_told_when_it_begins_and_when_its_words_change() {
        let failures = [(0, "refused"), (1, "refused"), (2, "denied"), (3, "denied")];
        assert_eq!(told(&failures), [true, false, true, false]);
        let by_turns = [(0, "refused"), (1, "denied"), (2, "refused"), (3, "denied")];
        assert_eq!(told(&by_turns), [true, true, false, false]);
    }

    #[test]
    fn words_that_are_others_each_time_are_told_a_few_times() {
        let words: Vec<String> = (0..100)
            .map(|number| format!("after {number} ms"))
            .collect();
        let failures: Vec<(i64, &str)> = (0..).zip(words.iter().map(String::as_str)).collect();
        let times = told(&failures).into_iter().filter(|told| *told).count();
        assert_eq!(times, DIFFERENT_WORDS);
    }

    #[test]
    fn what_lasts_is_told_again_before_its_event_is_gone() {
        let half_an_hour = REMIND_EVERY.as_secs();
        let failures = [
            (0, "refused"),
            (half_an_hour - 1, "refused"),
            (half_an_hour, "refused"),
            (half_an_hour + 1, "refused"),
        ];
        assert_eq!(told(&failures), [true, false, true, false]);
    }

    #[test]
    fn the_end_is_told_once_and_a_new_beginning_at_once() {
        let mut spell = Spell::default();
        assert!(!spell.works());
        assert!(spell.fails(Timestamp::UNIX_EPOCH, "refused"));
        assert!(spell.works());
        assert!(!spell.works());
        assert!(spell.fails(Timestamp::UNIX_EPOCH, "refused"));
    }
}
