//! Nodes first: for how many pods room has to be there before they are.
//!
//! Nodes take minutes, and come only for pods that find none. So where a trigger says `nodes: capacity-buffer`, room for the
//! floor is asked for from before the ramp until the floor's pods are Ready, or the hold ends.

use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};

use super::occurrence::Occurrence;
use super::prescaling::{Prescaling, Scene, earlier, lead};
use super::profile::Profile;
use super::settings::{Nodes, Settings};
use super::timeline::{Bounds, Level, Limit, Timeline};
use crate::time::after;

/// Nodes need so long at least, however quickly the pods start: a machine is rented, booted, and pulls its images.
pub const SHORTEST_AHEAD: SignedDuration = SignedDuration::from_mins(5);

/// Room that is to be there before its pods are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Room {
    /// For so many replicas altogether, those that exist included: the floor, as far as the maximum lets it be.
    pub replicas: i32,
    /// The sale with the highest floor among those that it is for.
    pub sale: Arc<Occurrence>,
    /// When the last of their floors begins to climb, where it has not begun.
    pub ramp: Option<Timestamp>,
}

/// How long before its first ramp instant a floor's nodes are asked for: the lead time again, which learns from pods that waited
/// for nodes, too.
fn ahead(lead: SignedDuration) -> SignedDuration {
    lead.max(SHORTEST_AHEAD)
}

impl Prescaling {
    /// The room that is wanted now, and when some will be that isn't yet. `profiles` are those of the runs, `level` and `bounds` what
    /// holds.
    pub(super) fn room(
        &mut self,
        now: Timestamp,
        scene: &Scene<'_>,
        profiles: &[Option<Profile>],
        level: &Level,
        bounds: Bounds,
    ) -> (Option<Room>, Option<Timestamp>) {
        let nodes_first = |settings: &Settings| settings.nodes == Nodes::First;
        if !scene.triggers.iter().any(|one| nodes_first(&one.settings)) {
            return (None, None);
        }
        let all_ready = scene.ready_since.is_some_and(|ready| {
            let wanted = usize::try_from(level.floor.min(bounds.max)).unwrap_or(0);
            ready.len() >= wanted
        });
        let mut wanting: Vec<Profile> = Vec::new();
        for (run, profile) in self.runs.iter_mut().zip(profiles) {
            let Some(profile) = profile else { continue };
            if !nodes_first(&scene.triggers[profile.trigger].settings) || now >= profile.holds_until
            {
                continue;
            }
            let reachable = profile.peak.min(bounds.max);
            if all_ready && now >= profile.complete_at {
                run.housed = run.housed.max(reachable);
            }
            if run.housed < reachable {
                wanting.push(profile.clone());
            }
        }
        let mut next = None;
        let mut ramp = None;
        for (index, trigger) in scene.triggers.iter().enumerate() {
            if !nodes_first(&trigger.settings) {
                continue;
            }
            let lead = ahead(lead(&trigger.settings, scene));
            for profile in self.coming(now, index, scene) {
                let from = after(profile.climbs_at, -lead);
                if from > now {
                    next = earlier(next, Some(from));
                    break;
                }
                ramp = ramp.max(Some(profile.climbs_at));
                wanting.push(profile);
            }
        }
        let Some(horizon) = wanting.iter().map(|one| one.complete_at).max() else {
            return (None, next);
        };
        let timeline = self.expected(scene, profiles, now, horizon);
        let room = wanting
            .into_iter()
            .map(|profile| {
                let level = timeline.at(profile.complete_at.max(now));
                let bounds = level.bounds(scene.min_replica_count, scene.max_replica_count);
                (bounds.min, profile)
            })
            .max_by_key(|(replicas, profile)| (*replicas, profile.peak));
        let room = room.map(|(replicas, profile)| Room {
            replicas,
            sale: profile.occurrence,
            ramp,
        });
        (room, next)
    }

    /// The floors of a trigger that have not begun to climb, as they look now, in their order.
    fn coming<'a>(
        &'a self,
        now: Timestamp,
        index: usize,
        scene: &'a Scene<'_>,
    ) -> impl Iterator<Item = Profile> + 'a {
        let trigger = &scene.triggers[index];
        let settings = &trigger.settings;
        let lead = lead(settings, scene);
        let unstarted = trigger.occurrences.known.iter().filter(move |one| {
            let is_run = |id: &str| {
                let mut runs = self.runs.iter();
                runs.any(|run| run.trigger == trigger.key && run.occurrence.id == id)
            };
            after(after(one.start, -lead), -settings.ramp_up) > now && !is_run(&one.id)
        });
        unstarted.filter_map(move |one| {
            let baseline = self.baseline(settings, now, scene)?;
            Profile::new(index, settings, one, baseline, lead)
        })
    }

    /// What will hold until `horizon`, as it looks now: of all triggers, since their floors may add up and limits win.
    fn expected(
        &self,
        scene: &Scene<'_>,
        profiles: &[Option<Profile>],
        now: Timestamp,
        horizon: Timestamp,
    ) -> Timeline {
        let mut all: Vec<Profile> = profiles.iter().flatten().cloned().collect();
        let mut limits = self.limits(scene.triggers);
        for (index, trigger) in scene.triggers.iter().enumerate() {
            let coming = self.coming(now, index, scene);
            all.extend(coming.take_while(|one| one.climbs_at <= horizon));
            let settings = &trigger.settings;
            let lead = lead(settings, scene);
            let coming = trigger.occurrences.known.iter();
            let coming = coming.filter_map(|one| Limit::new(index, settings, one, lead));
            limits.extend(
                coming
                    .skip_while(|limit| limit.from <= now)
                    .take_while(|limit| limit.from <= horizon),
            );
        }
        Timeline::new(all, limits)
    }
}
