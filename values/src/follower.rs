//! Follows the replica that leads, and keeps in the store what it tells.

use std::error::Error as _;
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use futures::{StreamExt, stream};
use jiff::Timestamp;
use rustls_pki_types::ServerName;
use sakidori_engine::Spell;
use sakidori_metrics_adapter::CertificateHandle;
use tokio::sync::{Notify, oneshot, watch};
use tokio::time::{sleep, timeout};
use tonic::Status;
use tracing::{debug, info, warn};

use crate::calls::Calls;
use crate::connect::{chain, connect};
use crate::counts::Counts;
use crate::messages;
use crate::moment::Moment;
use crate::store::{Store, Writer};
use crate::wire::Wanted;
use crate::wire::told::What;
use crate::wire::values_client::ValuesClient;

/// For TCP, TLS, and the first answer. A process that was stopped takes connections and says nothing.
const CONNECT_WITHIN: Duration = Duration::from_secs(3);
/// Who leads says something every second; after this long it doesn't lead, or can't be reached.
const SILENT_AFTER: Duration = Duration::from_secs(5);
/// A stream is begun anew after this long: so two clocks that don't go equally fast (1 in 10,000 would be much) are 0.2 s apart at most, and a
/// certificate that has ended is not believed for much longer.
const LONGEST_STREAM: Duration = Duration::from_secs(30 * 60);
/// A stream that took longer than this to begin makes readings look older than they are: it is begun anew soon.
const SLOW_START: Duration = Duration::from_millis(200);
const SHORT_STREAM: Duration = Duration::from_secs(5);
/// Waits between attempts: a new leader is found soon, and one that is away isn't asked often.
const FIRST_WAIT: Duration = Duration::from_millis(100);
const LONGEST_WAIT: Duration = Duration::from_secs(2);

/// Whoever follows is dropped when its process begins to lead; what it hears in that moment counts for nothing.
const LEADS: &str = "this process leads";

/// Whom to follow, and how.
#[derive(Clone)]
pub struct Follower {
    pub store: Arc<Store>,
    pub counts: Arc<Counts>,
    /// Counts what is asked of the leader.
    pub calls: Calls,
    pub certificate: CertificateHandle,
    /// What the leader's certificate has to be good for.
    pub name: ServerName<'static>,
    /// HOST:PORT of who leads, while it is known.
    pub leader: watch::Receiver<Option<String>>,
    /// Told when the leader says that it has given up the Lease.
    pub released: Arc<Notify>,
}

impl Follower {
    /// Follows whoever leads, until it is dropped. What was heard last stays.
    pub async fn run(&self) {
        let mut leader = self.leader.clone();
        let mut wait = FIRST_WAIT;
        let mut failing = Spell::default();
        let mut followed = String::new();
        loop {
            let Ok(address) = leader
                .wait_for(Option::is_some)
                .await
                .map(|address| address.clone().unwrap_or_default())
            else {
                // Nobody will say any more who leads.
                return std::future::pending().await;
            };
            let mut heard_all = false;
            // A stream that is begun anew as planned is no news.
            let mut follows = || {
                heard_all = true;
                if failing.works() || followed != address {
                    followed.clone_from(&address);
                    info!(leader = address, "following the replica that leads");
                }
            };
            let ended = tokio::select! {
                ended = self.follow(&address, &mut follows) => ended,
                () = becomes_other(&mut leader, &address) => Ok(()),
            };
            if heard_all {
                wait = FIRST_WAIT;
            }
            if let Err(error) = ended {
                // Once, not at each try.
                if failing.fails(Timestamp::now(), &error) {
                    warn!(
                        leader = address,
                        error, "not following the replica that leads"
                    );
                } else {
                    debug!(
                        leader = address,
                        error, "not following the replica that leads"
                    );
                }
            }
            tokio::select! {
                () = sleep(shortened(wait)) => {}
                () = becomes_other(&mut leader, &address) => wait = FIRST_WAIT,
            }
            wait = (wait * 2).min(LONGEST_WAIT);
        }
    }

    /// One stream, until it ends. `heard_all` is called once all objects were told.
    async fn follow(
        &self,
        address: &str,
        heard_all: &mut (dyn FnMut() + Send),
    ) -> Result<(), String> {
        let late = |_| format!("no answer within {} s", CONNECT_WITHIN.as_secs());
        let channel = timeout(
            CONNECT_WITHIN,
            connect(address, &self.certificate, &self.name),
        )
        .await
        .map_err(late)??;
        let mut client = ValuesClient::new(self.calls.over(channel))
            .max_decoding_message_size(messages::LARGEST);
        // Dropped with this stream, it ends the other direction too; by itself that would wait for the next wish, and keep the stream open.
        let (_open, over) = oneshot::channel::<()>();
        let Some(listening) = self.store.listen_as_follower() else {
            return Err(LEADS.to_owned());
        };
        let wanted = stream::unfold(listening, |listening| async {
            let key = listening.next().await?;
            let wanted = Wanted {
                namespace: key.namespace.to_string(),
                name: key.name.to_string(),
            };
            Some((wanted, listening))
        })
        .take_until(over);
        // All times that are told count from here.
        let asked = Moment::now();
        let answer = timeout(CONNECT_WITHIN, client.follow(wanted)).await;
        let mut told = answer.map_err(late)?.map_err(said)?.into_inner();
        self.counts.streams.fetch_add(1, Ordering::Relaxed);
        let writer = Writer::new(self.store.clone());
        if !writer.begin() {
            return Err(LEADS.to_owned());
        }
        // How long the leader took to begin counts as age of all that it tells.
        let longest = match asked.elapsed() < SLOW_START {
            true => LONGEST_STREAM,
            false => SHORT_STREAM,
        };
        while asked.elapsed() < longest {
            let message = timeout(SILENT_AFTER, told.message())
                .await
                .map_err(|_| format!("it has said nothing for {} s", SILENT_AFTER.as_secs()))?
                .map_err(said)?;
            let Some(message) = message else {
                return Ok(());
            };
            self.counts.heard.fetch_add(1, Ordering::Relaxed);
            self.store.heard();
            match message.what {
                Some(What::Released(_)) => {
                    info!(
                        leader = address,
                        "the replica that led has given up the Lease"
                    );
                    self.released.notify_one();
                }
                Some(what) => {
                    if matches!(what, What::Listed(_)) {
                        heard_all();
                    }
                    messages::take_in(&writer, asked, what);
                }
                // Of a later version.
                None => {}
            }
        }
        Ok(())
    }
}

/// Waits until another than `address` leads.
async fn becomes_other(leader: &mut watch::Receiver<Option<String>>, address: &str) {
    let other = |now: &Option<String>| now.as_ref().is_some_and(|now| now != address);
    if leader.wait_for(other).await.is_err() {
        std::future::pending::<()>().await;
    }
}

fn said(status: Status) -> String {
    match status.code() {
        tonic::Code::FailedPrecondition => status.message().to_owned(),
        code => {
            // Its own words for itself hold the causes in their raw form.
            let causes = status.source().map(|cause| format!(": {}", chain(cause)));
            let message = status.message();
            format!("{code:?}: {message}{}", causes.unwrap_or_default())
        }
    }
}

/// Less up to half of it at random, so that followers that lost their leader together don't come to the next one together.
fn shortened(wait: Duration) -> Duration {
    let random = RandomState::new().hash_one(0) as f64 / u64::MAX as f64;
    wait.mul_f64(1.0 - random.clamp(0.0, 1.0) / 2.0)
}
