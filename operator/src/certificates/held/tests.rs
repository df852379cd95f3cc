//! From what Secrets may hold to what is made of it.

use super::*;

fn lives() -> Lives {
    Lives::new(SignedDuration::from_hours(24))
}

fn names() -> ServiceNames {
    ServiceNames {
        namespace: "keda".into(),
        cluster_domain: "cluster.local".into(),
        services: Vec::new(),
    }
}

fn now() -> Timestamp {
    Timestamp::from_second(1_800_000_000).unwrap()
}

fn made() -> Held {
    let nothing = Held::default();
    nothing
        .after(&Step::StartAnew, now(), &lives(), &names())
        .unwrap()
}

/// As KEDA's operator and a chart leave it: no key that could be used.
fn foreign() -> Held {
    let mut content = made().content();
    content.insert(
        AUTHORITY_KEY.to_owned(),
        b"-----BEGIN RSA PRIVATE KEY-----\nMAA=\n-----END RSA PRIVATE KEY-----\n".to_vec(),
    );
    Held::read(&content)
}

fn step(held: &Held, at: Timestamp, announced_for: Option<SignedDuration>) -> Step {
    held.plan(at, &lives(), &names(), |_| announced_for).0
}

#[test]
fn what_is_made_is_read_back_and_kept() {
    let made = made();
    let read = Held::read(&made.content());
    assert!(read == made);
    assert_eq!(made.bundle().authorities().len(), 1);
    assert!(made.serving(now()).is_some());
    assert_eq!(step(&read, now(), None), Step::Keep);
    let wanted = ServiceNames {
        services: vec!["another".into()],
        ..names()
    };
    assert_eq!(made.plan(now(), &lives(), &wanted, |_| None).0, Step::Issue);
    // Even of a name that is none, no more than one is issued.
    let odd = ServiceNames {
        services: vec!["not a name.".into()],
        ..names()
    };
    let again = made.after(&Step::Issue, now(), &lives(), &odd).unwrap();
    assert_eq!(again.plan(now(), &lives(), &odd, |_| None).0, Step::Keep);
    let end = now() + SignedDuration::from_hours(24);
    assert!(made.serving(end).is_none(), "it has expired");
    assert_eq!(step(&made, end, None), Step::Issue);
    assert_eq!(
        step(&made, end + SignedDuration::from_hours(72), None),
        Step::StartAnew
    );
}

#[test]
fn a_foreign_authority_is_kept_until_ours_is_known_and_nobody_needs_it() {
    let foreign = foreign();
    assert!(foreign.serving(now()).is_some());
    assert_eq!(step(&foreign, now(), None), Step::Publish);
    let beside = foreign
        .after(&Step::Publish, now(), &lives(), &names())
        .unwrap();
    assert_eq!(beside.bundle().authorities().len(), 2);
    assert_eq!(
        beside.content()[CERTIFICATE],
        foreign.content()[CERTIFICATE]
    );
    assert_eq!(step(&beside, now(), None), Step::Keep);
    let announced = Some(SignedDuration::from_mins(5));
    assert_eq!(step(&beside, now(), announced), Step::Issue);
    let ours = beside
        .after(&Step::Issue, now(), &lives(), &names())
        .unwrap();
    assert_eq!(ours.bundle().authorities().len(), 2);
    assert_ne!(ours.content()[CERTIFICATE], foreign.content()[CERTIFICATE]);
    assert!(ours.serving(now()).is_some());
    assert_eq!(step(&ours, now(), announced), Step::Keep);
    let later = now() + SignedDuration::from_hours(14);
    assert_eq!(step(&ours, later, announced), Step::Drop(vec![1]));
    let alone = ours
        .after(&Step::Drop(vec![1]), later, &lives(), &names())
        .unwrap();
    assert_eq!(
        alone.bundle().authorities(),
        &beside.bundle().authorities()[..1]
    );
    assert!(alone.serving(later).is_some());
}

#[test]
fn what_is_of_no_use_is_as_good_as_nothing() {
    let (one, other) = (made().content(), made().content());
    let with = |key: &str, value: &[u8]| {
        let mut content = one.clone();
        content.insert(key.to_owned(), value.to_vec());
        Held::read(&content)
    };
    for (held, problem) in [
        (Held::read(&BTreeMap::new()), "no authority in ca.crt"),
        (
            with(
                AUTHORITIES,
                b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
            ),
            "no authority in ca.crt",
        ),
        (
            with(AUTHORITIES, b"-----BEGIN CERTIFICATE-----\nAAAA"),
            "no authority in ca.crt",
        ),
        (
            with(AUTHORITIES, &other[AUTHORITIES]),
            "no certificate of an authority",
        ),
        (
            with(CERTIFICATE, &other[CERTIFICATE]),
            "no certificate of an authority",
        ),
        (with(KEY, &other[KEY]), "no certificate of an authority"),
        (with(KEY, b"\0"), "no certificate of an authority"),
    ] {
        assert!(held.serving(now()).is_none(), "{problem}");
        assert!(held.problem().contains(problem), "{}", held.problem());
    }
    // A leaf can be issued as long as the authority is there.
    assert_eq!(step(&with(KEY, b""), now(), None), Step::Issue);
    assert_eq!(step(&with(AUTHORITIES, b""), now(), None), Step::StartAnew);
}

#[test]
fn a_lost_key_is_remembered_for_its_own_authority_only() {
    let known = made();
    let mut content = known.content();
    content.remove(AUTHORITY_KEY);
    let without = Held::read(&content);
    assert_eq!(step(&without, now(), None), Step::Publish);
    assert!(without.clone().with_key_of(&known) == known);
    let still_without = without.clone().with_key_of(&made());
    assert!(still_without == without);
}
