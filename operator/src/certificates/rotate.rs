//! The leader's work on the Secret: mends it, and carries out what the plan says, one write at a time and never over somebody else's.

use std::collections::HashMap;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::Secret;
use kube::{Api, Client};
use rustls::pki_types::CertificateDer;
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout};
use tracing::{debug, info, warn};

use super::bundle::Bundle;
use super::held::Held;
use super::names::ServiceNames;
use super::plan::{Lives, Step};
use super::secret::{Seen, SharedSecret, is_conflict};
use crate::api_error::plain;

/// A write that takes longer is given up: the next one may do.
const WRITE_WITHIN: Duration = Duration::from_secs(5);
/// After a write, until its echo has come, or whatever else has changed there. Nothing is worth more writes than one a second.
const ECHO: Duration = Duration::from_secs(1);
/// After a write that failed.
const PAUSE: Duration = Duration::from_secs(5);
/// The plan is asked at least so often: clocks are set, and then its times are others.
const LONGEST_SLEEP: Duration = Duration::from_secs(600);

/// A new authority and a certificate by it.
///
/// # Errors
/// When they can't be made.
pub(super) fn start_anew(names: &ServiceNames, lives: &Lives) -> Result<Held, rcgen::Error> {
    Held::default().after(&Step::StartAnew, Timestamp::now(), lives, names)
}

/// Never ends. `carried` has, for each object that authorities are announced in, those that it has.
pub(super) async fn rotate(
    client: &Client,
    secret: &SharedSecret,
    names: &ServiceNames,
    lives: &Lives,
    mut carried: watch::Receiver<Vec<Option<Bundle>>>,
) {
    // By the client of who leads: its connections end with the leadership, those of the process don't.
    let api = secret.api(client);
    let mut seen = secret.seen();
    let mut announced = Announced::default();
    let mut complained = false;
    loop {
        let known = seen.borrow_and_update().clone();
        announced.update(&carried.borrow_and_update(), &known.held.bundle());
        let pause = if known.known {
            match turn(&api, secret, &known, names, lives, &announced).await {
                Ok(Some(pause)) => {
                    complained = false;
                    pause
                }
                Ok(None) => {
                    complained = false;
                    sleep(ECHO).await;
                    continue;
                }
                Err(problem) => {
                    if !complained {
                        warn!(
                            error = problem,
                            "can't renew the certificates in the Secret {secret}"
                        );
                    }
                    complained = true;
                    PAUSE
                }
            }
        } else {
            LONGEST_SLEEP
        };
        tokio::select! {
            _ = seen.changed() => {}
            changed = carried.changed() => if changed.is_err() { return },
            () = sleep(pause) => {}
        }
    }
}

/// Does the next step; where there is none, says for how long.
async fn turn(
    api: &Api<Secret>,
    secret: &SharedSecret,
    seen: &Seen,
    names: &ServiceNames,
    lives: &Lives,
    announced: &Announced,
) -> Result<Option<Duration>, String> {
    let now = Timestamp::now();
    let base = base(seen, now);
    let (step, again) = base.plan(now, lives, names, |authority| {
        announced.announced_for(authority)
    });
    if step == Step::Keep && base == seen.held && seen.object.is_some() {
        let pause = Duration::try_from(again.duration_since(now)).unwrap_or_default();
        // Whole milliseconds, rounded up: never a busy loop just before the time.
        return Ok(Some(pause.min(LONGEST_SLEEP) + Duration::from_millis(1)));
    }
    let next = match step {
        Step::Keep => base,
        _ => base
            .after(&step, now, lives, names)
            .map_err(|error| error.to_string())?,
    };
    let written = secret.write(api, seen.object.as_ref(), &next);
    match timeout(WRITE_WITHIN, written).await {
        Ok(Ok(_)) => info!("the Secret {secret}: {}", say(&step)),
        Ok(Err(error)) if is_conflict(&error) => {
            debug!("the Secret {secret} has changed meanwhile")
        }
        Ok(Err(error)) => return Err(plain(&error)),
        Err(_) => return Err("the API server doesn't answer".to_owned()),
    }
    Ok(None)
}

/// What the next step is made of: the Secret, but where it can't be used, what was there before.
fn base(seen: &Seen, now: Timestamp) -> Held {
    match &seen.memory {
        Some(memory) if seen.held.serving(now).is_none() => memory.clone(),
        Some(memory) => seen.held.clone().with_key_of(memory),
        None => seen.held.clone(),
    }
}

fn say(step: &Step) -> &'static str {
    match step {
        Step::Keep => "put back what was there",
        Step::Publish => "published a new authority beside the old one",
        Step::Issue => "issued a new certificate",
        Step::StartAnew => "made an authority and a certificate",
        Step::Drop(_) => "took back an authority that vouches for nothing any more",
    }
}

/// Since when authorities have stood in all objects that they are announced in.
#[derive(Default)]
struct Announced(HashMap<CertificateDer<'static>, Instant>);

impl Announced {
    fn update(&mut self, carried: &[Option<Bundle>], authorities: &Bundle) {
        let in_all = |authority: &CertificateDer<'static>| {
            carried.iter().all(|bundle| {
                bundle
                    .as_ref()
                    .is_some_and(|bundle| bundle.authorities().contains(authority))
            })
        };
        self.0.retain(|authority, _| in_all(authority));
        for authority in authorities.authorities() {
            if in_all(authority) {
                self.0.entry(authority.clone()).or_insert_with(Instant::now);
            }
        }
    }

    fn announced_for(&self, authority: &CertificateDer<'static>) -> Option<SignedDuration> {
        let since = self.0.get(authority)?;
        SignedDuration::try_from(since.elapsed()).ok()
    }
}
