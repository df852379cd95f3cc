//! One native client: made, asked, and ended.

use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{Duration, Instant};

use rdkafka::consumer::BaseConsumer;
use sakidori_kafka_ffi::set_token;
use tokio::runtime::Handle;
use tokio::sync::{Notify, watch};
use tokio::task::{AbortHandle, spawn_blocking};

use super::configuration::{configuration, describe};
use super::events::{Connections, Events, Kind};
use super::question::{Asked, Question};
use super::token::{Token, Tokens};
use super::{CONNECT_WITHIN, Endpoint, Failure, handshake};
use crate::clients::TlsFloor;
use crate::clients::tls::TlsSettings;
use crate::scaler::ScalerError;

/// The native client. To drop the last reference to one waits for its threads.
pub type Client = BaseConsumer<Events>;

/// Librdkafka's own timeouts are to come first.
const SLACK: Duration = Duration::from_millis(500);

/// A token is given anew before each question, so librdkafka never has to ask for one. It wants to know an end all the same.
const TOKEN_ENDS_IN: Duration = Duration::from_secs(24 * 60 * 60);

/// A client, and what is known of its connections.
pub struct Link {
    /// `None` once it is to be ended.
    client: Option<Arc<Client>>,
    /// Its own, which it never joins.
    pub group: String,
    connections: Arc<watch::Sender<Connections>>,
    /// When the cluster answered last.
    heard: Arc<Mutex<Option<Instant>>>,
    /// What it logs in with.
    token: tokio::sync::Mutex<Option<Token>>,
    serving: AbortHandle,
    tls: Option<TlsSettings>,
    oldest_tls: TlsFloor,
}

impl Link {
    /// Makes a client and waits until the cluster answers it.
    ///
    /// # Errors
    /// When it doesn't, or refuses the login.
    pub async fn open(
        endpoint: &Endpoint,
        oldest_tls: TlsFloor,
        tokens: Option<&Tokens>,
        question: Question,
    ) -> Result<Self, ScalerError> {
        let link = Self::made(endpoint, oldest_tls, question.group.clone()).await?;
        if let Some(tokens) = tokens {
            link.log_in_with(tokens).await?;
        }
        let answer = link.ask(CONNECT_WITHIN, (), move |asked| question.probe(asked));
        match answer.await {
            // That it says no is for the question itself to tell.
            Ok(()) | Err(Failure::Answered(_) | Failure::Stale(_)) => Ok(link),
            Err(Failure::Silent(error)) => Err(link.explain(error).await),
        }
    }

    async fn made(
        endpoint: &Endpoint,
        oldest_tls: TlsFloor,
        group: String,
    ) -> Result<Self, ScalerError> {
        let connections = Arc::new(watch::Sender::default());
        let events = Events::new(Arc::clone(&connections));
        let wake = Arc::new(Notify::new());
        let (config, waker) = (configuration(endpoint, &group), Arc::clone(&wake));
        // Certificates are read, and threads started.
        let made = spawn_blocking(move || {
            let mut client: Client = config.create_with_context(events)?;
            client.set_nonempty_callback(move || waker.notify_one());
            Ok(Arc::new(client))
        });
        let client = made.await.map_err(|_| given_up())?;
        let client = client.map_err(|error| ScalerError::Unreachable(describe(&error)))?;
        let serving = tokio::spawn(serve(Arc::downgrade(&client), Arc::clone(&wake)));
        // What came before the callback was set.
        wake.notify_one();
        Ok(Self {
            client: Some(client),
            group,
            connections,
            heard: Arc::default(),
            token: tokio::sync::Mutex::default(),
            serving: serving.abort_handle(),
            tls: endpoint.tls.clone(),
            oldest_tls,
        })
    }

    /// Whether all connections are gone, as far as it knows.
    pub fn is_down(&self) -> bool {
        self.connections.borrow().down
    }

    /// Whether the cluster has answered anything since then.
    pub fn heard_since(&self, then: Instant) -> bool {
        let heard = self.heard.lock().unwrap_or_else(PoisonError::into_inner);
        heard.is_some_and(|heard| heard >= then)
    }

    /// Sees to it that the next login is with a token that is good.
    ///
    /// # Errors
    /// When there is none.
    pub async fn log_in_with(&self, tokens: &Tokens) -> Result<(), ScalerError> {
        let Some(client) = &self.client else {
            return Err(given_up());
        };
        let token = tokens.token().await?;
        // Held while it is given: the newest is the last.
        let mut given = self.token.lock().await;
        if given.as_ref() == Some(&token) {
            return Ok(());
        }
        let ends = std::time::SystemTime::now() + TOKEN_ENDS_IN;
        let ends = ends.duration_since(std::time::UNIX_EPOCH);
        let ends = i64::try_from(ends.unwrap_or_default().as_millis()).unwrap_or(i64::MAX);
        let client = rdkafka::consumer::Consumer::client(&**client);
        set_token(
            client,
            &token.value,
            &token.principal,
            ends,
            &token.extensions,
        )
        .map_err(|failure| ScalerError::Unauthorized(format!("the token: {failure}")))?;
        *given = Some(token);
        Ok(())
    }

    /// Asks a blocking question, on a thread that keeps `held` until it is free again. Waits for `within`, and less where the
    /// client says that it can't connect.
    pub async fn ask<T: Send + 'static>(
        &self,
        within: Duration,
        held: impl Send + 'static,
        question: impl FnOnce(&Asked<'_>) -> Result<T, Failure> + Send + 'static,
    ) -> Result<T, Failure> {
        let Some(client) = self.client.clone() else {
            return Err(Failure::Silent(given_up()));
        };
        let mut connections = self.connections.subscribe();
        let began = Instant::now();
        let until = began + within;
        let heard = Arc::clone(&self.heard);
        let mut answer = spawn_blocking(move || {
            let _held = held;
            question(&Asked {
                client: &client,
                until,
                heard: &heard,
            })
        });
        let mut until = until + SLACK;
        let answered = loop {
            let patience = connections.borrow_and_update().patience();
            if let Some(patience) = patience {
                until = until.min(Instant::now() + patience);
            }
            tokio::select! {
                answered = &mut answer => break answered,
                Ok(()) = connections.changed() => {}
                () = tokio::time::sleep_until(until.into()) => {
                    // The thread goes on to the question's own end.
                    return Err(Failure::Silent(late(began.elapsed())));
                }
            }
        };
        let answered = answered.unwrap_or_else(|_| {
            let panicked = "the answer could not be read: please report this";
            Err(Failure::Answered(ScalerError::Malformed(
                panicked.to_owned(),
            )))
        });
        if !matches!(answered, Err(Failure::Silent(_))) {
            self.connections.send_if_modified(|connections| {
                let news = *connections != Connections::default();
                *connections = Connections::default();
                news
            });
        }
        answered
    }

    /// Why nobody answered, where the client has said so.
    pub async fn explain(&self, error: ScalerError) -> ScalerError {
        let connections = self.connections.borrow().clone();
        let Some(trouble) = connections.trouble else {
            return match connections.down {
                true => ScalerError::Unreachable("no broker can be connected to".to_owned()),
                false => error,
            };
        };
        let why = match (&self.tls, trouble.kind) {
            (Some(tls), Kind::Tls) => handshake::why(&trouble.text, tls, self.oldest_tls).await,
            _ => None,
        };
        trouble.error().map(|text| match why {
            Some(why) => format!("{text}: {why}"),
            None => text,
        })
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.serving.abort();
        let client = self.client.take();
        // Its threads are waited for; not by whoever polls.
        match Handle::try_current() {
            Ok(runtime) => drop(runtime.spawn_blocking(move || drop(client))),
            Err(_) => drop(client),
        }
    }
}

/// Hands a client's events on until it is gone.
async fn serve(client: Weak<Client>, wake: Arc<Notify>) {
    loop {
        wake.notified().await;
        let client = client.clone();
        // A reference to a client is only held where it may be the last.
        let there = spawn_blocking(move || client.upgrade().map(|client| drain(&client)).is_some());
        if !there.await.unwrap_or_default() {
            return;
        }
    }
}

/// Until there is no event left: the next wake-up comes when there is one again.
fn drain(client: &Client) {
    use rdkafka::consumer::Consumer as _;
    loop {
        let before = client.context().heard();
        // Messages never come, for nothing is subscribed to.
        let event = client.poll(Duration::ZERO).is_some();
        if !event && client.context().heard() == before {
            return;
        }
    }
}

fn late(waited: Duration) -> ScalerError {
    ScalerError::Unreachable(format!("no answer within {} s", waited.as_secs().max(1)))
}

fn given_up() -> ScalerError {
    ScalerError::Unreachable("the client was given up".to_owned())
}
