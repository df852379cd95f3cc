//! What a ScaledObject asks for under `advanced.sakidori.inPlaceResize`.

use std::fmt;
use std::str::FromStr;

use thiserror::Error;

use super::amount::Amount;
use super::resources::Resource;

/// One container's resources while something holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    pub container: String,
    pub when: When,
    pub cpu: Option<Amount>,
    pub memory: Option<Amount>,
    /// Where the container's `resizePolicy` restarts it for a resource, it gets that resource, too.
    pub allow_restart: bool,
}

impl Policy {
    pub(super) fn amount(&self, resource: Resource) -> Option<Amount> {
        match resource {
            Resource::Cpu => self.cpu,
            Resource::Memory => self.memory,
        }
    }
}

/// What a policy waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum When {
    /// From the first instant of a sale's ramp to the end of its hold.
    Prescale,
    /// The HPA wants more than `maxReplicas`.
    Saturated,
    /// From a pod's creation until it is Ready for the first time.
    Starting,
}

impl When {
    pub const ALL: [Self; 3] = [Self::Prescale, Self::Saturated, Self::Starting];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Prescale => "prescale",
            Self::Saturated => "saturated",
            Self::Starting => "starting",
        }
    }
}

impl fmt::Display for When {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Which of the two policies that don't depend on the pod hold now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Holding {
    pub prescale: bool,
    pub saturated: bool,
}

impl Holding {
    pub(super) fn has(self, when: When, starting: bool) -> bool {
        match when {
            When::Prescale => self.prescale,
            When::Saturated => self.saturated,
            When::Starting => starting,
        }
    }
}

/// `inPlaceResize` with its defaults filled in.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Settings {
    pub policies: Vec<Policy>,
    pub max_concurrent: MaxConcurrent,
    pub on_infeasible: OnInfeasible,
}

/// How many pods may be under way at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MaxConcurrent {
    Pods(u32),
    /// Of the object's pods, rounded down; one at least.
    Percent(u32),
}

/// As many as a Deployment takes down at a time by itself (`maxUnavailable`).
impl Default for MaxConcurrent {
    fn default() -> Self {
        Self::Percent(25)
    }
}

/// A text that is no number of pods.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error(
    "maxConcurrent: {0:?} is no number of pods: expected a whole number above 0 such as 5, or a percentage from 1% to 100% such as 25%"
)]
pub struct ParseMaxConcurrentError(String);

impl FromStr for MaxConcurrent {
    type Err = ParseMaxConcurrentError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let refused = || ParseMaxConcurrentError(text.to_owned());
        let number = |digits: &str| match digits.parse() {
            // `+5` would be read as 5.
            Ok(number) if number > 0 && !digits.starts_with('+') => Ok(number),
            _ => Err(refused()),
        };
        let text = text.trim();
        match text.strip_suffix('%') {
            Some(percent) => match number(percent)? {
                percent if percent <= 100 => Ok(Self::Percent(percent)),
                _ => Err(refused()),
            },
            None => number(text).map(Self::Pods),
        }
    }
}

impl MaxConcurrent {
    /// Of so many pods.
    pub fn of(self, pods: usize) -> usize {
        let limit = match self {
            Self::Pods(limit) => usize::try_from(limit).unwrap_or(usize::MAX),
            Self::Percent(percent) => {
                let percent = usize::try_from(percent).unwrap_or(100);
                pods.saturating_mul(percent) / 100
            }
        };
        limit.max(1)
    }
}

/// What becomes of a pod whose node can never hold it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnInfeasible {
    /// It is left as it is.
    #[default]
    Skip,
    /// It is evicted, so that its successor may find a larger node.
    Evict,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn max_concurrent_is_a_number_or_a_share() {
        for (text, pods, limit) in [
            ("25%", 100, 25),
            ("25%", 7, 1),
            ("25%", 3, 1),
            ("100%", 3, 3),
            ("1%", 0, 1),
            ("5", 3, 5),
            (" 1 ", 50, 1),
        ] {
            assert_eq!(
                text.parse::<MaxConcurrent>().unwrap().of(pods),
                limit,
                "{text}"
            );
        }
        for text in ["", "0", "0%", "101%", "-1", "+5", "1.5", "5 %", "all"] {
            let error = text.parse::<MaxConcurrent>().unwrap_err().to_string();
            assert!(error.contains("maxConcurrent"), "{error}");
        }
    }
}
