//! What is to become of authorities and certificate, as a pure function of what there is and of the time.
//!
//! A handshake works while the client believes the authority that issued what the server shows. Everybody learns of a change at
//! another moment, so every change has two steps with time between them: a new authority is published beside the old one, and
//! issues only after everybody believes it; an old one is dropped only after nobody shows anything by it.

use jiff::{SignedDuration, Timestamp};

/// How long certificates live and how long changes take to be known; all of it follows from one number, the life of a leaf.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lives {
    /// What a leaf lives: 90 days by default, as certificates of public authorities do. It is short because nothing can revoke it.
    leaf: SignedDuration,
    /// From when on a certificate is good before it was made: clocks of machines differ. An hour is more than clocks
    /// that anybody looks after; of short lives, a twentieth.
    backdated: SignedDuration,
    /// From the moment when an authority stands in all caBundles until it issues. Watches bring a change within seconds; five
    /// minutes are also enough for Secrets that others mount, which the kubelet refreshes every minute or two. Of short lives, a
    /// sixth: half of what is left of a leaf when it is renewed.
    spread: SignedDuration,
}

const BACKDATED: SignedDuration = SignedDuration::from_hours(1);
const SPREAD: SignedDuration = SignedDuration::from_mins(5);
/// An authority lives four leaves: about a year. It has a successor at half of that, so that the last leaf it issues, and one that
/// was put off while the API server was away, end before it does.
const LEAVES: i32 = 4;

/// From when to when something is good.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Validity {
    pub from: Timestamp,
    pub until: Timestamp,
}

impl Validity {
    pub fn is_at(self, now: Timestamp) -> bool {
        self.from <= now && now < self.until
    }

    fn share(self, numerator: i32, denominator: i32) -> Timestamp {
        later(
            self.from,
            self.until.duration_since(self.from) * numerator / denominator,
        )
    }
}

impl Lives {
    /// For leaves that live that long.
    pub fn new(leaf: SignedDuration) -> Self {
        Self {
            leaf,
            backdated: BACKDATED.min(leaf / 20),
            spread: SPREAD.min(leaf / 6),
        }
    }

    /// Of an authority that is made now.
    pub fn of_authority(&self, now: Timestamp) -> Validity {
        Validity {
            from: later(now, -self.backdated),
            until: later(now, self.leaf * LEAVES),
        }
    }

    /// Of a leaf that is issued now: it ends with its issuer at the latest.
    pub fn of_leaf(&self, now: Timestamp, issuer: Validity) -> Validity {
        Validity {
            from: later(now, -self.backdated),
            until: later(now, self.leaf).min(issuer.until),
        }
    }

    /// When a leaf is renewed: after two thirds of its life, and of what a life is now, should that have been longer once. What is left is
    /// for an API server that is away and an operator that doesn't run.
    fn renewal(&self, leaf: Validity) -> Timestamp {
        leaf.share(2, 3).min(later(leaf.from, self.leaf * 2 / 3))
    }

    /// When an authority gets its successor.
    fn succession(&self, authority: Validity) -> Timestamp {
        authority
            .share(1, 2)
            .min(later(authority.from, self.leaf * LEAVES / 2))
    }

    /// When nobody shows anything any more of what was there before this leaf. Who hasn't learnt of a change for so long is lost
    /// anyway; and it is before the next renewal, which would begin the time anew.
    fn forgetting(&self, leaf: Validity) -> Timestamp {
        later(leaf.from, self.backdated + self.leaf / 2)
    }
}

/// A time that is too far away for the calendar is the end of the calendar.
fn later(from: Timestamp, by: SignedDuration) -> Timestamp {
    from.saturating_add(by).unwrap_or(if by.is_negative() {
        Timestamp::MIN
    } else {
        Timestamp::MAX
    })
}

/// One of the authorities that are published.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Authority {
    pub validity: Validity,
    /// For how long it has stood in all caBundles; `None` while it is missing in one. A restart may forget this: then it is waited
    /// for again.
    pub announced_for: Option<SignedDuration>,
}

/// The certificate that is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Leaf {
    pub validity: Validity,
    /// Which of the authorities has issued it.
    pub issuer: usize,
    /// Whether it is good for all names that are wanted.
    pub has_names: bool,
}

/// What there is.
#[derive(Clone, Copy, Debug)]
pub struct Present<'a> {
    pub authorities: &'a [Authority],
    /// The authority whose key is there.
    pub signer: Option<usize>,
    /// `None` where there is none that can be shown: it is unreadable, its key is missing or another's, or none of the
    /// authorities has issued it.
    pub leaf: Option<Leaf>,
}

/// What is to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    Keep,
    /// Publish a new authority beside the others; the leaf stays.
    Publish,
    /// Issue a new leaf by the authority whose key is there.
    Issue,
    /// A new authority beside the others, and a leaf by it at once: nothing that is there can be shown.
    StartAnew,
    /// Take these authorities back.
    Drop(Vec<usize>),
}

/// What is to be done now, and when to ask again if nothing changes before.
pub fn plan(now: Timestamp, present: &Present<'_>, lives: &Lives) -> (Step, Timestamp) {
    let signer = present
        .signer
        .and_then(|index| Some((index, *present.authorities.get(index)?)))
        // One that ends before its successor may issue is of no use.
        .filter(|(_, signer)| {
            signer.validity.is_at(now) && later(now, lives.spread * 2) < signer.validity.until
        });
    let shown = present.leaf.filter(|leaf| {
        let issuer = present.authorities.get(leaf.issuer);
        leaf.validity.is_at(now) && issuer.is_some_and(|issuer| issuer.validity.is_at(now))
    });
    let (signer, leaf) = match (signer, shown) {
        (None, None) => return (Step::StartAnew, now),
        // Nobody believes what is shown now: it can only get better.
        (Some(_), None) => return (Step::Issue, now),
        (None, Some(_)) => return (Step::Publish, now),
        (Some(signer), Some(leaf)) => (signer, leaf),
    };
    let (index, signer) = signer;
    let succession = lives.succession(signer.validity);
    if succession <= now {
        // Its key goes with the publication of a successor: the last leaf by it has to last until that one may issue.
        let last = lives.of_leaf(now, signer.validity).until;
        let gained = last.duration_since(leaf.validity.until);
        let first = leaf.issuer == index && gained > lives.leaf / 3;
        let step = if first { Step::Issue } else { Step::Publish };
        return (step, now);
    }
    let issue = issue_at(now, leaf, index, signer, lives);
    if issue <= now {
        return (Step::Issue, now);
    }
    let forgetting = lives.forgetting(leaf.validity);
    let (useless, next_useless) = useless(now, present.authorities, leaf, index, forgetting);
    if !useless.is_empty() {
        return (Step::Drop(useless), now);
    }
    (Step::Keep, succession.min(issue).min(next_useless))
}

/// When the leaf is to be replaced by one of `signer`'s.
fn issue_at(
    now: Timestamp,
    leaf: Leaf,
    index: usize,
    signer: Authority,
    lives: &Lives,
) -> Timestamp {
    let wanted = if leaf.has_names {
        lives.renewal(leaf.validity)
    } else {
        now
    };
    // Who believes what is shown now believes the next one.
    if leaf.issuer == index {
        return wanted;
    }
    // Without waiting for who believes the new authority yet: nobody believes the old leaf after that.
    let last = later(leaf.validity.until, -lives.backdated);
    let believed = match signer.announced_for {
        Some(since) => later(now, lives.spread - since),
        None => last,
    };
    believed.min(last)
}

/// The authorities that nobody needs, and when there will be more of them.
fn useless(
    now: Timestamp,
    authorities: &[Authority],
    leaf: Leaf,
    signer: usize,
    forgetting: Timestamp,
) -> (Vec<usize>, Timestamp) {
    let mut useless = Vec::new();
    let mut next = Timestamp::MAX;
    for (index, authority) in authorities.iter().enumerate() {
        if index == signer || index == leaf.issuer {
            continue;
        }
        let end = authority.validity.until.min(forgetting);
        if end <= now {
            useless.push(index);
        } else {
            next = next.min(end);
        }
    }
    (useless, next)
}

#[cfg(test)]
mod tests;
