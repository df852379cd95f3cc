//! One calendar while it exists: its task asks its sources in turn, and takes in what they answer.
//!
//! A refresh that fails, or an answer past a limit, changes no occurrence (the calendars crate's book holds that); a spec whose time
//! zone is unknown changes none either.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use kube::Api;
use kube::api::{DynamicObject, Patch, PatchParams};
use sakidori_api::{CalendarSource, SaleCalendarSpec, SaleCalendarStatus, reasons};
use sakidori_calendars::{Book, Refresh};
use sakidori_engine::prescale::Occurrences;
use sakidori_engine::{EventType, Spell};
use serde_json::json;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout};
use tracing::{debug, error, info, warn};

use super::follow::{Around, Seen, owner, resource};
use super::source;
use super::status::{Facts, is_worth_a_write, status};
use crate::api_error::plain;
use crate::status::merge_patch;

/// After the first failure; doubles up to the source's `refreshInterval`.
const FIRST_RETRY: Duration = Duration::from_secs(10);
/// A source that hangs, credentials that hang: then it failed.
const REFRESH_WITHIN: Duration = Duration::from_secs(30);
/// How often the window of the occurrences moves on.
const LOOK_AGAIN: Duration = Duration::from_secs(3600);
/// Between tries to write a status.
const WRITE_AGAIN: Duration = Duration::from_secs(5);
const WRITE_WITHIN: Duration = Duration::from_secs(15);

pub enum Message {
    Respecified(Box<Seen>),
    /// What a source refers to changed.
    Refresh(String),
}

/// When a source is asked next.
struct Turn {
    due: Instant,
    failures: u32,
    asking: bool,
    /// Something changed while it was asked: ask again at once.
    again: bool,
    /// Tells answers under this spec from those under an earlier one.
    version: u64,
}

struct Answer {
    source: String,
    version: u64,
    refresh: Refresh,
}

struct Calendar {
    around: Arc<Around>,
    seen: Seen,
    zone: Result<TimeZone, String>,
    book: Book,
    turns: BTreeMap<String, Turn>,
    version: u64,
    occurrences: Occurrences,
    /// The limit that it is past, and whether that has been told.
    limit: Option<String>,
    looked: Instant,
    written: SaleCalendarStatus,
    write_again: Option<Instant>,
    told_stale: bool,
    told_problems: String,
    /// The status.
    writing: Spell,
}

/// Runs until it is aborted.
pub async fn run(around: Arc<Around>, seen: Seen, mut messages: mpsc::UnboundedReceiver<Message>) {
    let mut calendar = Calendar::new(around, seen).await;
    let mut asking = JoinSet::new();
    loop {
        calendar.ask(&mut asking);
        calendar.write().await;
        let wake = calendar.next_wake();
        tokio::select! {
            message = messages.recv() => match message {
                Some(Message::Respecified(seen)) => calendar.respecify(*seen).await,
                Some(Message::Refresh(source)) => calendar.refresh_now(&source),
                None => return,
            },
            Some(answer) = asking.join_next() => match answer {
                Ok(answer) => calendar.take_in(answer).await,
                // A panic while a source was asked: it is asked again with the others.
                Err(error) => {
                    let (object, kind) = (calendar.seen.calendar.object(), calendar.seen.calendar.kind());
                    error!(object, kind, %error, "asking a source of the calendar panicked; it is asked again");
                    calendar.unask();
                }
            },
            () = tokio::time::sleep_until(wake) => {
                if calendar.looked.elapsed() >= LOOK_AGAIN {
                    calendar.look().await;
                }
            }
        }
    }
}

/// The sources that count: of those with one name the first.
fn sources(spec: &SaleCalendarSpec) -> impl Iterator<Item = &CalendarSource> {
    let mut names = BTreeSet::new();
    spec.sources
        .iter()
        .filter(move |source| names.insert(source.name.as_str()))
}

impl Calendar {
    async fn new(around: Arc<Around>, seen: Seen) -> Self {
        let zone = seen.spec.zone().map_err(|error| error.to_string());
        let inline = match &zone {
            Ok(zone) => seen.spec.inline_events(zone),
            Err(_) => sakidori_calendars::Events::default(),
        };
        let names = sources(&seen.spec).map(|source| source.name.as_str());
        let mut book = Book::new(inline, names, &seen.status.to_calendars());
        for source in &seen.status.sources {
            let (read, stale) = (&source.last_refresh_time, &source.stale_since);
            book.remember(
                &source.name,
                read.as_ref().map(|time| time.0),
                stale.as_ref().map(|time| time.0),
                source.error.clone(),
            );
        }
        let condition = |name: &str| {
            let mut all = seen.status.conditions.iter();
            all.find(|condition| condition.type_ == name)
        };
        let told_stale = condition("Stale").is_some_and(|condition| condition.status == "True");
        let told_problems = condition("Ready")
            .filter(|condition| condition.status == "False")
            .map(|condition| condition.message.clone())
            .unwrap_or_default();
        let mut calendar = Self {
            around,
            written: seen.status.clone(),
            zone,
            book,
            turns: BTreeMap::new(),
            version: 0,
            occurrences: Occurrences::default(),
            limit: None,
            looked: Instant::now(),
            write_again: None,
            told_stale,
            told_problems,
            writing: Spell::default(),
            seen,
        };
        calendar.plan_turns(None);
        calendar.look().await;
        calendar
    }

    async fn respecify(&mut self, seen: Seen) {
        let before = std::mem::replace(&mut self.seen, seen);
        let zone = self.seen.spec.zone().map_err(|error| error.to_string());
        // With an unknown zone nothing can be read: what is known counts.
        if let Ok(zone) = &zone {
            let names: Vec<String> = sources(&self.seen.spec)
                .map(|source| source.name.clone())
                .collect();
            self.book.respecify(
                self.seen.spec.inline_events(zone),
                names.iter().map(String::as_str),
            );
        }
        let same_zone = before.spec.time_zone == self.seen.spec.time_zone;
        self.zone = zone;
        self.plan_turns(same_zone.then_some(&before.spec));
        self.look().await;
    }

    /// Gives every source its turn. One that is as it was `before` keeps it, any other is asked at once.
    fn plan_turns(&mut self, before: Option<&SaleCalendarSpec>) {
        self.version += 1;
        let mut old = std::mem::take(&mut self.turns);
        for source in sources(&self.seen.spec) {
            let unchanged = before.is_some_and(|spec| sources(spec).any(|one| one == source));
            let turn = match old.remove(&source.name) {
                Some(turn) if unchanged => turn,
                _ => Turn {
                    due: Instant::now(),
                    failures: 0,
                    asking: false,
                    again: false,
                    version: self.version,
                },
            };
            self.turns.insert(source.name.clone(), turn);
        }
        for name in old.keys() {
            let owner = owner(&self.around, &self.seen.calendar, name);
            self.around.references.forget(&owner);
        }
    }

    fn refresh_now(&mut self, source: &str) {
        if let Some(turn) = self.turns.get_mut(source) {
            turn.again = turn.asking;
            turn.due = Instant::now();
        }
    }

    fn unask(&mut self) {
        for turn in self.turns.values_mut() {
            turn.asking = false;
            turn.due = Instant::now() + FIRST_RETRY;
        }
    }

    /// Asks the sources whose turn it is.
    fn ask(&mut self, asking: &mut JoinSet<Answer>) {
        let now = Instant::now();
        for source in sources(&self.seen.spec) {
            let Some(turn) = self.turns.get_mut(&source.name) else {
                continue;
            };
            if turn.asking || turn.due > now {
                continue;
            }
            turn.asking = true;
            let (around, source, zone) = (self.around.clone(), source.clone(), self.zone.clone());
            let owner = owner(&around, &self.seen.calendar, &source.name);
            let version = turn.version;
            asking.spawn(async move {
                let asked = async {
                    match &zone {
                        Ok(zone) => source::read(&around, &owner, &source, zone).await,
                        Err(message) => Refresh::Failed(format!("spec.timeZone: {message}")),
                    }
                };
                let refresh = timeout(REFRESH_WITHIN, asked).await.unwrap_or_else(|_| {
                    Refresh::Failed(format!("no answer within {} s", REFRESH_WITHIN.as_secs()))
                });
                Answer {
                    source: source.name,
                    version,
                    refresh,
                }
            });
        }
    }

    async fn take_in(&mut self, answer: Answer) {
        let Answer {
            source,
            version,
            refresh,
        } = answer;
        let interval = self.interval(&source);
        let Some(turn) = self.turns.get_mut(&source) else {
            return;
        };
        if turn.version != version {
            return;
        }
        turn.asking = false;
        let now = self.around.clock.now();
        // Finding the occurrences of a large calendar takes a while: not where polls run.
        let (mut book, name) = (self.book.clone(), source.clone());
        let taken = tokio::task::spawn_blocking(move || {
            let changed = book.refreshed(&name, now, refresh);
            (book, changed)
        });
        let taken = taken.await;
        let Ok((book, changed)) = taken else {
            turn.due = Instant::now() + FIRST_RETRY;
            return;
        };
        self.book = book;
        let failed = self.book.source(&source).and_then(|it| it.error.clone());
        turn.failures = match &failed {
            Some(_) => turn.failures.saturating_add(1),
            None => 0,
        };
        let pause = match turn.failures {
            0 => interval,
            failures => FIRST_RETRY
                .saturating_mul(1 << (failures - 1).min(10))
                .min(interval),
        };
        let again = std::mem::take(&mut turn.again);
        turn.due = Instant::now() + if again { Duration::ZERO } else { pause };
        if let Some(error) = &failed {
            self.around.metrics.count_error(&self.seen.calendar);
            let (object, kind) = (self.seen.calendar.object(), self.seen.calendar.kind());
            debug!(object, kind, source, error, "a refresh failed");
        }
        if changed || self.book.is_complete() != self.occurrences.complete {
            self.look().await;
        } else {
            self.publish();
        }
    }

    /// A source's `refreshInterval`, a little longer: calendars that were made together should not ask together for ever.
    fn interval(&self, name: &str) -> Duration {
        let source = sources(&self.seen.spec).find(|source| source.name == name);
        let interval = source.map(CalendarSource::refresh_interval);
        let interval = match interval {
            Some(Ok(interval)) => Duration::try_from(interval).unwrap_or(LOOK_AGAIN),
            // It is a problem in the status.
            _ => Duration::from_secs(300),
        };
        let mut hash = DefaultHasher::new();
        (&self.seen.uid, name).hash(&mut hash);
        interval.mul_f64(1.0 + (hash.finish() % 1000) as f64 / 10_000.0)
    }

    /// Finds the occurrences, and puts them where triggers ask for them.
    async fn look(&mut self) {
        self.looked = Instant::now();
        let (book, now) = (self.book.clone(), self.around.clock.now());
        let found = tokio::task::spawn_blocking(move || book.occurrences(now)).await;
        match found {
            Ok(Ok(known)) => {
                self.limit = None;
                self.occurrences = Occurrences {
                    known,
                    complete: self.book.is_complete() && self.zone.is_ok(),
                };
            }
            Ok(Err(limit)) => self.limit = Some(limit.to_string()),
            Err(_) => {
                self.limit = Some("finding the occurrences failed; please report this".into());
            }
        }
        self.publish();
    }

    fn publish(&self) {
        let stale_since = self.book.stale_since();
        self.around
            .metrics
            .set_stale_since(&self.seen.calendar, stale_since);
        self.around
            .calendars
            .learned(&self.seen.calendar, &self.occurrences);
    }

    /// The next turn of a source, the end of an occurrence that the status shows, or the next look.
    fn next_wake(&self) -> Instant {
        let now = self.around.clock.now();
        let turns = self.turns.values().filter(|turn| !turn.asking);
        let end = self.written.occurrences.iter().map(|one| one.end.0).min();
        let end = end.map(|end| {
            let left = Duration::try_from(end.duration_since(now)).unwrap_or(Duration::ZERO);
            Instant::now() + left.min(LOOK_AGAIN).max(Duration::from_secs(1))
        });
        turns
            .map(|turn| turn.due)
            .chain(end)
            .chain(self.write_again)
            .chain([self.looked + LOOK_AGAIN])
            .min()
            .unwrap_or_else(Instant::now)
    }

    /// Writes the status where a reader can see a difference, and tells what changed in it.
    async fn write(&mut self) {
        // One write once every source was asked, not one for each.
        let first_answers = self
            .turns
            .values()
            .any(|turn| turn.asking && turn.failures == 0 && turn.version == self.version);
        let waits = self.write_again.is_some_and(|again| again > Instant::now());
        if waits || (first_answers && !self.all_heard()) {
            return;
        }
        self.write_again = None;
        let wanted = status(&Facts {
            spec: &self.seen.spec,
            generation: self.seen.generation,
            book: &self.book,
            occurrences: &self.occurrences.known,
            limit: self.limit.as_deref(),
            now: self.around.clock.now(),
        });
        if !is_worth_a_write(&self.written, &wanted) {
            return;
        }
        self.tell(&wanted);
        match timeout(WRITE_WITHIN, self.patch(&wanted)).await {
            Ok(Ok(())) => {
                self.written = wanted;
                if self.writing.works() {
                    let (object, kind) = (self.seen.calendar.object(), self.seen.calendar.kind());
                    info!(object, kind, "the status is written again");
                }
            }
            Ok(Err(kube::Error::Api(status))) if matches!(status.code, 404 | 409) => {
                // It is gone, or another object has its name: the watch says so soon.
                self.write_again = Some(Instant::now() + WRITE_AGAIN);
            }
            failed => {
                let error = match &failed {
                    Ok(Err(error)) => plain(error),
                    _ => "no answer in time".to_owned(),
                };
                let (object, kind) = (self.seen.calendar.object(), self.seen.calendar.kind());
                if self.writing.fails(Timestamp::now(), &error) {
                    warn!(
                        object,
                        kind, error, "writing the status fails; trying again"
                    );
                } else {
                    debug!(object, kind, error, "writing the status failed");
                }
                self.write_again = Some(Instant::now() + WRITE_AGAIN);
            }
        }
    }

    fn all_heard(&self) -> bool {
        sources(&self.seen.spec).all(|source| {
            let state = self.book.source(&source.name);
            state.is_some_and(|state| state.refreshed_at.is_some() || state.error.is_some())
        })
    }

    async fn patch(&self, wanted: &SaleCalendarStatus) -> Result<(), kube::Error> {
        let before = serde_json::to_value(&self.written).unwrap_or_default();
        let after = serde_json::to_value(wanted).unwrap_or_default();
        let Some(patch) = merge_patch(&before, &after) else {
            return Ok(());
        };
        let calendar = &self.seen.calendar;
        let (client, resource) = (self.around.client.clone(), resource(calendar));
        let api: Api<DynamicObject> = if calendar.cluster {
            Api::all_with(client, &resource)
        } else {
            Api::namespaced_with(client, &calendar.namespace, &resource)
        };
        let patch = json!({"metadata": {"uid": self.seen.uid}, "status": patch});
        api.patch_status(
            &calendar.name,
            &PatchParams::default(),
            &Patch::Merge(&patch),
        )
        .await?;
        Ok(())
    }

    /// Events, each once per change.
    fn tell(&mut self, wanted: &SaleCalendarStatus) {
        let publish = |kind, reason, message: &str| {
            let regarding = self.seen.regarding.clone();
            self.around
                .publisher
                .publish_on(regarding, kind, reason, message.to_owned());
        };
        let mut told_stale = self.told_stale;
        let mut told_problems = self.told_problems.clone();
        for condition in &wanted.conditions {
            let message = condition.message.as_str();
            match (condition.type_.as_str(), condition.status.as_str()) {
                ("Stale", "True") if !told_stale => {
                    publish(EventType::Warning, reasons::CALENDAR_STALE, message);
                    told_stale = true;
                }
                ("Stale", "False") if told_stale => {
                    publish(EventType::Normal, reasons::CALENDAR_FRESH, message);
                    told_stale = false;
                }
                ("Ready", "False") if told_problems != message => {
                    publish(EventType::Warning, reasons::CALENDAR_INVALID, message);
                    told_problems = message.to_owned();
                }
                ("Ready", "True") => told_problems.clear(),
                _ => {}
            }
        }
        self.told_stale = told_stale;
        self.told_problems = told_problems;
    }
}
