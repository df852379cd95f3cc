//! The floors of a period before it is there: what `sakidori plan` prints, and what admission looks at.

use jiff::SignedDuration;

use super::prescaling::Trigger;
use super::profile::Profile;
use super::settings::{Baseline, LeadTime};
use super::timeline::{Limit, Timeline};

/// What a plan takes for what only the running object shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Assumed {
    /// For `baseline: observed`.
    pub baseline: i32,
    /// For `leadTime: auto`: [`super::lead_from`] what the pods showed.
    pub lead: SignedDuration,
}

impl Timeline {
    /// The floors and limits that all known occurrences will make, if nothing changes.
    pub fn planned(triggers: &[Trigger], assumed: Assumed) -> Self {
        let mut profiles = Vec::new();
        let mut limits = Vec::new();
        for (index, trigger) in triggers.iter().enumerate() {
            let settings = &trigger.settings;
            let baseline = match settings.baseline {
                Baseline::Replicas(replicas) => replicas,
                Baseline::Observed(_) => assumed.baseline,
            };
            let lead = match settings.lead_time {
                LeadTime::Fixed(lead) => lead,
                LeadTime::Auto => assumed.lead,
            };
            for occurrence in trigger.occurrences.known.iter() {
                profiles.extend(Profile::new(index, settings, occurrence, baseline, lead));
                limits.extend(Limit::new(index, settings, occurrence, lead));
            }
        }
        Self::new(profiles, limits)
    }
}
