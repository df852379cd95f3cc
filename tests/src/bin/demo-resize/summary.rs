//! What was seen, with its times, and whether it is what was promised.

use std::collections::BTreeMap;
use std::fmt::Write;

use anyhow::{Context, Result, ensure};
use jiff::{SignedDuration, Timestamp};
use sakidori_tests::pod_sizes::{Course, Look, PodSizes, changes, first};

use crate::shop::{
    FLOOR, FULL_NODE, GROWN, HOLD_SECONDS, LEAD_SECONDS, MAX_CONCURRENT, OWN, PODS,
    PODS_ON_FULL_NODE, RAMP_SECONDS,
};

/// How long a pod waits for room.
const PATIENCE: SignedDuration = SignedDuration::from_mins(5);
/// That it was asked is seen a moment later than the operator's clock has it.
const SEEN_LATER: SignedDuration = SignedDuration::from_secs(1);
/// How late the operator may be with that, on a busy machine.
const LATE: SignedDuration = SignedDuration::from_secs(15);

pub struct Sale {
    pub start: Timestamp,
    pub end: Timestamp,
    /// Longer than a pod waits for room.
    pub is_long: bool,
}

impl Sale {
    pub fn ramp(&self) -> Timestamp {
        self.start - SignedDuration::from_secs(LEAD_SECONDS + RAMP_SECONDS)
    }

    pub fn over(&self) -> Timestamp {
        self.end + SignedDuration::from_secs(HOLD_SECONDS)
    }

    /// Says what was seen.
    ///
    /// # Errors
    /// If something was otherwise than promised.
    pub fn judge(&self, watching: &PodSizes) -> Result<String> {
        let courses = watching.courses()?;
        let (old, new): (BTreeMap<_, _>, BTreeMap<_, _>) = courses
            .iter()
            .partition(|(_, course)| course.first().is_some_and(|look| look.at < self.ramp()));
        ensure!(
            old.len() == PODS,
            "{} pods were there before, not {PODS}",
            old.len()
        );
        let (full, roomy): (BTreeMap<_, _>, BTreeMap<_, _>) = old
            .into_iter()
            .partition(|(_, course)| node(course) == Some(FULL_NODE));
        let asked = first_of(roomy.values().copied(), asked)?;
        let grown = last_of(&roomy, "did not grow", grown)?;
        let came = new
            .values()
            .filter_map(|course| Some(course.first()?.at))
            .min();
        let came = came.context("no pod came for the sale")?;
        ensure!(
            asked.at >= self.ramp(),
            "one was asked at {}, before the ramp",
            asked.at
        );
        ensure!(
            grown < came && grown < self.start,
            "the pods that ran had grown at {grown}, and the first new one came at {came}"
        );
        let most = watching.most_under_way();
        ensure!(most <= MAX_CONCURRENT, "{most} pods were under way at once");
        let restarts: i32 = courses
            .values()
            .flatten()
            .map(|look| look.restarts)
            .max()
            .unwrap_or_default();
        ensure!(restarts == 0, "a container was restarted {restarts} times");
        for course in new.values() {
            ensure!(
                first(course, is_grown).is_some(),
                "a pod that came did not grow: {course:#?}"
            );
        }
        let back = courses
            .values()
            .filter(|course| course.last().is_some_and(|look| !look.deleting));
        let back = back.map(back_at).collect::<Option<Vec<_>>>();
        let back = back
            .context("a pod is not back")?
            .into_iter()
            .max()
            .context("no pod is left")?;

        let mut text = String::new();
        let before = |at: Timestamp| {
            format!(
                "{:.1} s before the start",
                self.start.duration_since(at).as_secs_f64()
            )
        };
        writeln!(
            text,
            "The pods that ran, {} on nodes with room",
            roomy.len()
        )?;
        line(&mut text, "the ramp begins", &before(self.ramp()))?;
        line(
            &mut text,
            "the first was asked to have more",
            &before(asked.at),
        )?;
        line(
            &mut text,
            &format!("all {} had it: {GROWN} instead of {OWN}", roomy.len()),
            &before(grown),
        )?;
        let ahead = came.duration_since(grown).as_secs_f64();
        line(
            &mut text,
            "the first new pod came",
            &format!("{}, {ahead:.1} s after that", before(came)),
        )?;
        line(
            &mut text,
            "under way at once, at most",
            &format!("{most} of {MAX_CONCURRENT} allowed"),
        )?;
        writeln!(
            text,
            "The {} pods that came, of {FLOOR} in the sale",
            new.len()
        )?;
        line(
            &mut text,
            "had the same before the sale was over",
            &format!("{}", new.len()),
        )?;
        self.deferred(&full, &mut text)?;
        writeln!(text, "After the sale")?;
        let after = back.duration_since(self.over()).as_secs_f64();
        line(
            &mut text,
            "all have what their template says",
            &format!("{after:.1} s after its hold"),
        )?;
        line(&mut text, "containers restarted", &restarts.to_string())?;
        Ok(text)
    }

    /// Of the full node's pods one is deferred and taken back, and the other is never asked while that lasts.
    fn deferred(&self, full: &BTreeMap<&String, &Course>, text: &mut String) -> Result<()> {
        ensure!(
            full.len() == PODS_ON_FULL_NODE,
            "{} pods were on {FULL_NODE}",
            full.len()
        );
        let is_deferred = |look: &Look| {
            look.pending
                .as_ref()
                .is_some_and(|(reason, _)| reason == "Deferred")
        };
        let mut deferred = full
            .iter()
            .filter(|(_, course)| first(course, is_deferred).is_some());
        let (name, course) = deferred.next().context("no pod was Deferred")?;
        let asked = asked(course).context("it was not asked")?.at;
        let refused = first(course, is_deferred).context("it was not Deferred")?;
        let (_, message) = refused.pending.as_ref().context("it was not Deferred")?;
        let back = course
            .iter()
            .find(|look| look.at > refused.at && look.wanted == OWN);
        let back = back.context("it was not taken back")?.at;
        for course in full.values() {
            ensure!(
                first(course, |look| look.actual.as_deref() == Some(GROWN)).is_none(),
                "one grew without room: {course:#?}"
            );
        }
        writeln!(text, "{FULL_NODE}, without room")?;
        let waited = refused.at.duration_since(asked).as_secs_f64();
        line(
            text,
            &format!("{name} was Deferred"),
            &format!("{waited:.1} s after it was asked"),
        )?;
        line(text, "", message)?;
        let lasted = back.duration_since(asked);
        let seconds = lasted.as_secs_f64();
        if self.is_long {
            ensure!(
                lasted >= PATIENCE - SEEN_LATER && lasted < PATIENCE + LATE && back < self.end,
                "it was taken back {seconds:.1} s after it was asked, not after 5 minutes"
            );
            line(
                text,
                "and was taken back, in the sale",
                &format!("{seconds:.1} s after it was asked"),
            )?;
        } else {
            ensure!(
                back >= self.over(),
                "it was taken back at {back}, before the sale was over"
            );
            let after = back.duration_since(self.over()).as_secs_f64();
            line(
                text,
                "and was taken back, with the sale",
                &format!("{after:.1} s after its hold"),
            )?;
            let others = full.values().filter(|course| changes(course) == 0).count();
            line(
                text,
                "waited for that, and was not asked",
                &others.to_string(),
            )?;
            ensure!(
                others == PODS_ON_FULL_NODE - 1,
                "the other one was asked, too"
            );
        }
        Ok(())
    }
}

fn line(text: &mut String, what: &str, figure: &str) -> std::fmt::Result {
    writeln!(text, "  {what:<52} {figure}")
}

fn node(course: &Course) -> Option<&str> {
    course.iter().find_map(|look| look.node.as_deref())
}

fn asked(course: &Course) -> Option<&Look> {
    first(course, |look| look.wanted == GROWN)
}

fn is_grown(look: &Look) -> bool {
    look.wanted == GROWN && look.actual.as_deref() == Some(GROWN)
}

fn grown(course: &Course) -> Option<&Look> {
    first(course, |look| is_grown(look) && !look.is_under_way())
}

/// Since when it has nothing but what its template says.
fn back_at(course: &Course) -> Option<Timestamp> {
    let is_back = |look: &&Look| look.wanted == OWN && !look.is_under_way();
    let back = course.iter().rev().take_while(is_back).last();
    back.map(|look| look.at)
}

fn first_of<'c>(
    courses: impl Iterator<Item = &'c Course>,
    which: fn(&Course) -> Option<&Look>,
) -> Result<&'c Look> {
    let looks = courses.filter_map(which);
    looks
        .min_by_key(|look| look.at)
        .context("no pod was asked to have more")
}

fn last_of(
    courses: &BTreeMap<&String, &Course>,
    otherwise: &str,
    which: fn(&Course) -> Option<&Look>,
) -> Result<Timestamp> {
    let mut last = Timestamp::MIN;
    for (name, course) in courses {
        let look = which(course).with_context(|| format!("{name} {otherwise}: {course:#?}"))?;
        last = last.max(look.at);
    }
    Ok(last)
}
