//! A year of certificates in milliseconds: replicas and API servers that learn of each change at another moment, clocks that differ,
//! a leader that restarts or stays away; and no handshake fails.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};

use proptest::prelude::*;

use super::*;

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(1_800_000_000 + seconds).unwrap()
}

fn seconds(seconds: i64) -> SignedDuration {
    SignedDuration::from_secs(seconds)
}

/// A life that is divided without rest: a spread of 1,000 s, clocks that may be 300 s off.
const LEAF: i64 = 6_000;
const SPREAD_OF_IT: i64 = 1_000;
const STEP: i64 = 125;

fn lives() -> Lives {
    let lives = Lives::new(seconds(LEAF));
    Lives {
        // Of such a short life it would be five minutes.
        spread: seconds(SPREAD_OF_IT),
        ..lives
    }
}

fn validity(from: i64, until: i64) -> Validity {
    Validity {
        from: at(from),
        until: at(until),
    }
}

#[test]
fn what_is_done_follows_from_what_there_is() {
    let lives = lives();
    let authority = |from, until, announced: Option<i64>| Authority {
        validity: validity(from, until),
        announced_for: announced.map(seconds),
    };
    let leaf = |from, until, issuer| {
        Some(Leaf {
            validity: validity(from, until),
            issuer,
            has_names: true,
        })
    };
    let nameless = |leaf: Option<Leaf>| {
        leaf.map(|leaf| Leaf {
            has_names: false,
            ..leaf
        })
    };
    let young = authority(-100, 24_000, Some(100));
    let foreign = authority(-90_000, 90_000, Some(5_000));
    let (keep, issue, publish) = (Step::Keep, Step::Issue, Step::Publish);
    for (name, authorities, signer, leaf, expected, again) in [
        ("nothing", vec![], None, None, Step::StartAnew, 0),
        (
            "all is well",
            vec![young],
            Some(0),
            leaf(-100, 5_900, 0),
            keep.clone(),
            3_900,
        ),
        (
            "the leaf is lost",
            vec![young],
            Some(0),
            None,
            issue.clone(),
            0,
        ),
        (
            "the leaf has expired",
            vec![young],
            Some(0),
            leaf(-9_000, 0, 0),
            issue.clone(),
            0,
        ),
        (
            "the leaf is not good yet",
            vec![young],
            Some(0),
            leaf(1, 6_000, 0),
            issue.clone(),
            0,
        ),
        (
            "two thirds are over",
            vec![young],
            Some(0),
            leaf(-4_000, 2_000, 0),
            issue.clone(),
            0,
        ),
        (
            "a name is missing",
            vec![young],
            Some(0),
            nameless(leaf(-100, 5_900, 0)),
            issue.clone(),
            0,
        ),
        (
            "leaves lived longer once",
            vec![young],
            Some(0),
            leaf(-4_000, 90_000, 0),
            issue.clone(),
            0,
        ),
        (
            "the key is lost",
            vec![young],
            None,
            leaf(-100, 5_900, 0),
            publish.clone(),
            0,
        ),
        (
            "key and leaf are lost",
            vec![young],
            None,
            None,
            Step::StartAnew,
            0,
        ),
        (
            "half an authority is over",
            vec![authority(-12_000, 12_000, Some(9_000))],
            Some(0),
            leaf(-100, 5_900, 0),
            publish.clone(),
            0,
        ),
        (
            "the same, but its leaf is old",
            vec![authority(-12_000, 12_000, Some(9_000))],
            Some(0),
            leaf(-3_000, 3_000, 0),
            issue.clone(),
            0,
        ),
        (
            "the authority has expired",
            vec![authority(-24_000, 0, Some(9_000))],
            Some(0),
            leaf(-100, 5_900, 0),
            Step::StartAnew,
            0,
        ),
        (
            "the authority ends too soon",
            vec![authority(-24_000, 2_000, Some(9_000))],
            Some(0),
            None,
            Step::StartAnew,
            0,
        ),
        (
            "not announced yet",
            vec![authority(-100, 24_000, None), foreign],
            Some(0),
            leaf(-9_000, 9_000, 1),
            keep.clone(),
            8_700,
        ),
        (
            "announced a while ago",
            vec![authority(-100, 24_000, Some(300)), foreign],
            Some(0),
            leaf(-9_000, 9_000, 1),
            keep.clone(),
            700,
        ),
        (
            "announced long ago",
            vec![authority(-1_100, 24_000, Some(1_000)), foreign],
            Some(0),
            leaf(-9_000, 9_000, 1),
            issue.clone(),
            0,
        ),
        (
            "the foreign leaf ends before that",
            vec![authority(-100, 24_000, Some(100)), foreign],
            Some(0),
            leaf(-9_000, 300, 1),
            issue.clone(),
            0,
        ),
        (
            "somebody may still show a leaf by the old one",
            vec![young, foreign],
            Some(0),
            leaf(-1_000, 5_000, 0),
            keep.clone(),
            2_300,
        ),
        (
            "nobody does any more",
            vec![young, foreign],
            Some(0),
            leaf(-3_300, 2_700, 0),
            Step::Drop(vec![1]),
            0,
        ),
        (
            "one has expired",
            vec![young, authority(-9_000, 0, Some(9_000))],
            Some(0),
            leaf(-100, 5_900, 0),
            Step::Drop(vec![1]),
            0,
        ),
    ] {
        let present = Present {
            authorities: &authorities,
            signer,
            leaf,
        };
        assert_eq!(
            plan(at(0), &present, &lives),
            (expected, at(again)),
            "{name}"
        );
    }
}

#[test]
fn lives_follow_from_one_number() {
    let long = Lives::new(SignedDuration::from_hours(90 * 24));
    assert_eq!((long.backdated, long.spread), (BACKDATED, SPREAD));
    let short = Lives::new(seconds(30));
    assert_eq!(short.spread, seconds(5));
    let ends = validity(-100, 10);
    assert_eq!(short.of_leaf(at(0), ends).until, at(10));
}

/// What stands in the Secret.
#[derive(Clone, Default)]
struct Stored {
    authorities: Vec<(u32, Validity)>,
    signer: Option<u32>,
    leaf: Option<(Validity, u32)>,
}

impl Stored {
    fn after(mut self, step: &Step, now: Timestamp, lives: &Lives) -> Self {
        if let Step::Drop(useless) = step {
            let kept = self.authorities.iter().enumerate();
            let kept = kept.filter(|(index, _)| !useless.contains(index));
            self.authorities = kept.map(|(_, one)| *one).collect();
        }
        self.authorities.retain(|(_, one)| now < one.until);
        if matches!(step, Step::Publish | Step::StartAnew) {
            let id = self.authorities.iter().map(|(id, _)| id + 1).max();
            let id = id.unwrap_or(1).max(self.signer.unwrap_or(0) + 1);
            self.authorities.insert(0, (id, lives.of_authority(now)));
            self.signer = Some(id);
        }
        if matches!(step, Step::Issue | Step::StartAnew) {
            let signer = self.signer.unwrap();
            let (_, validity) = *self
                .authorities
                .iter()
                .find(|(id, _)| *id == signer)
                .unwrap();
            self.leaf = Some((lives.of_leaf(now, validity), signer));
        }
        self
    }
}

/// A time at which the leader isn't there.
#[derive(Clone, Debug)]
struct Absence {
    after: i64,
    lasts: i64,
}

#[derive(Clone, Debug)]
struct Story {
    seed: u64,
    /// How long KEDA's leaf is still good for; without one there is nothing at the start.
    foreign: Option<i64>,
    absences: Vec<Absence>,
}

fn story() -> impl Strategy<Value = Story> {
    let short = 0..=LEAF / 6;
    let long = LEAF / 2..LEAF * 6;
    let lasts = prop_oneof![4 => short, 1 => long];
    let absence =
        (3 * SPREAD_OF_IT..2 * LEAF, lasts).prop_map(|(after, lasts)| Absence { after, lasts });
    (
        any::<u64>(),
        proptest::option::of(5 * SPREAD_OF_IT..LEAF * 9),
        proptest::collection::vec(absence, 0..12),
    )
        .prop_map(|(seed, foreign, absences)| Story {
            seed,
            foreign,
            absences,
        })
}

/// Delays and clocks, the same for the same seed.
struct Chance(u64);

impl Chance {
    fn below(&self, bound: i64, what: impl Hash) -> i64 {
        let mut hasher = DefaultHasher::new();
        (self.0, what).hash(&mut hasher);
        i64::try_from(hasher.finish() % u64::try_from(bound).unwrap()).unwrap()
    }

    /// A clock that differs from the true time by less than what certificates are backdated by, of two clocks together.
    fn clock(&self, now: i64, of: impl Hash) -> Timestamp {
        let most = lives().backdated.as_secs() / 2;
        at(now + self.below(2 * most - 1, of) - (most - 1))
    }
}

/// What was written, when; each reader learns of each after a time of its own.
struct Written<T>(Vec<(i64, T)>);

impl<T> Written<T> {
    fn last(&self) -> &T {
        &self.0.last().unwrap().1
    }

    fn as_seen(&self, now: i64, delay: impl Fn(usize) -> i64) -> &T {
        let seen = self.0.iter().enumerate().rev();
        let mut seen =
            seen.filter(|(version, (when, _))| *version == 0 || when + delay(*version) <= now);
        &seen.next().unwrap().1.1
    }
}

const REPLICAS: usize = 3;

fn play(story: &Story) -> Result<usize, String> {
    let chance = Chance(story.seed);
    let lives = lives();
    let mut start = Stored::default();
    let mut bundle = Vec::new();
    if let Some(left) = story.foreign {
        let foreign = (100, validity(-LEAF * 9, LEAF * 10));
        start.authorities.push(foreign);
        start.leaf = Some((validity(-LEAF * 9, left), 100));
        bundle.push(foreign);
    }
    let mut secret = Written(vec![(-LEAF, start)]);
    let mut bundles = Written(vec![(-LEAF, bundle)]);
    let mut announced: HashMap<u32, i64> = HashMap::new();
    let mut patch_at = None;
    // While somebody can't be blamed: at the first start, and after everything expired while nobody was there.
    let mut excused = if story.foreign.is_some() {
        0
    } else {
        4 * SPREAD_OF_IT
    };
    let mut absences = Vec::new();
    let mut end = 0;
    for absence in &story.absences {
        let from = end + absence.after;
        end = from + absence.lasts;
        absences.push((from, end));
    }
    let mut authorities = 0;
    let mut now = 0;
    while now < (LEAF * 30).max(end + LEAF * 10) {
        now += STEP;
        let away = absences
            .iter()
            .find(|(from, until)| *from <= now && now < *until);
        let restarted = absences
            .iter()
            .any(|(_, until)| now - STEP < *until && *until <= now);
        if restarted {
            announced.clear();
            patch_at = None;
        }
        if let Some((from, until)) = away
            && until - from > LEAF / 6
        {
            excused = until + 4 * SPREAD_OF_IT;
        }
        if away.is_none() {
            let clock = chance.clock(now, "leader");
            for round in 0.. {
                let stored = secret.last().clone();
                let present: Vec<Authority> = stored
                    .authorities
                    .iter()
                    .map(|(id, validity)| Authority {
                        validity: *validity,
                        announced_for: announced.get(id).map(|since| seconds(now - since)),
                    })
                    .collect();
                let index = |id: u32| stored.authorities.iter().position(|(one, _)| *one == id);
                let leaf = stored.leaf.and_then(|(validity, issuer)| {
                    Some(Leaf {
                        validity,
                        issuer: index(issuer)?,
                        has_names: true,
                    })
                });
                let present = Present {
                    authorities: &present,
                    signer: stored.signer.and_then(index),
                    leaf,
                };
                let (step, again) = plan(clock, &present, &lives);
                if step == Step::Keep {
                    if again <= clock {
                        return Err(format!("at {now}: nothing to do, and look again at once"));
                    }
                    break;
                }
                if round > 4 {
                    return Err(format!("at {now}: no end of steps, {step:?}"));
                }
                if matches!(step, Step::Publish | Step::StartAnew) {
                    authorities += 1;
                }
                secret.0.push((now, stored.after(&step, clock, &lives)));
            }
            // Patches take a while, too.
            if *bundles.last() != secret.last().authorities {
                let due =
                    *patch_at.get_or_insert(now + chance.below(SPREAD_OF_IT / 2, ("patch", now)));
                if due <= now {
                    bundles.0.push((now, secret.last().authorities.clone()));
                    patch_at = None;
                }
            }
            if *bundles.last() == secret.last().authorities {
                let there = bundles.last();
                announced.retain(|id, _| there.iter().any(|(one, _)| one == id));
                for (id, _) in there {
                    announced.entry(*id).or_insert(now);
                }
            }
        }
        if now < excused {
            continue;
        }
        let spread = |kind: &'static str, who: usize| {
            let chance = &chance;
            move |version: usize| chance.below(SPREAD_OF_IT - STEP, (kind, who, version))
        };
        for server in 0..REPLICAS {
            let shows = secret.as_seen(now, spread("replica", server)).leaf;
            let (leaf, issuer) = shows.ok_or_else(|| format!("at {now}: nothing is shown"))?;
            for client in 0..REPLICAS {
                let believed = [
                    bundles.as_seen(now, spread("API server", client)),
                    &secret.as_seen(now, spread("replica", client)).authorities,
                ];
                let clock = chance.clock(now, ("client", client));
                for believed in believed {
                    let good = believed
                        .iter()
                        .any(|(id, validity)| *id == issuer && validity.is_at(clock));
                    if !good || !leaf.is_at(clock) {
                        return Err(format!(
                            "at {now}: a leaf {leaf:?} by {issuer} is shown to one who believes {believed:?}"
                        ));
                    }
                }
            }
        }
    }
    Ok(authorities)
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(300) })]

    #[test]
    fn no_handshake_fails_whoever_learns_when(story in story()) {
        let authorities = play(&story).map_err(TestCaseError::fail)?;
        // Thirty lives of leaves, twelve and more authorities.
        prop_assert!(authorities > 5, "only {authorities} authorities were made");
    }
}
