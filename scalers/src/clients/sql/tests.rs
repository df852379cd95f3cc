//! The pool, over sessions that are made up.

use std::sync::atomic::{AtomicUsize, Ordering};

use futures::FutureExt;
use futures::future::join_all;

use super::*;
use crate::clients::TlsFloor;

/// Counts what is asked of it.
#[derive(Default)]
struct Counts {
    logins: AtomicUsize,
    open: AtomicUsize,
    asked: AtomicUsize,
    /// Sessions that were opened before this count of logins are dead.
    restarted: AtomicUsize,
}

#[derive(Clone)]
struct Fake(Arc<Counts>);

impl PartialEq for Fake {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Eq for Fake {}

impl Hash for Fake {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        Arc::as_ptr(&self.0).hash(state);
    }
}

struct FakeSession {
    counts: Arc<Counts>,
    number: usize,
    busy: bool,
}

impl Drop for FakeSession {
    fn drop(&mut self) {
        self.counts.open.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Endpoint for Fake {
    type Session = FakeSession;

    fn place(&self) -> String {
        "fake:1".to_owned()
    }

    async fn log_in(self, _: Arc<Connector>) -> Result<FakeSession, ScalerError> {
        self.0.open.fetch_add(1, Ordering::SeqCst);
        Ok(FakeSession {
            number: self.0.logins.fetch_add(1, Ordering::SeqCst),
            counts: self.0,
            busy: false,
        })
    }
}

impl Session for FakeSession {
    fn is_sound(&self) -> bool {
        !self.busy
    }

    async fn greet(&mut self) -> Result<(), ScalerError> {
        let dead = self.number < self.counts.restarted.load(Ordering::SeqCst);
        let closed = || Err(ScalerError::Unreachable("closed".to_owned()));
        if dead { closed() } else { Ok(()) }
    }

    async fn number(&mut self, query: &str) -> Result<f64, ScalerError> {
        self.busy = true;
        self.counts.asked.fetch_add(1, Ordering::SeqCst);
        if query == "hangs" {
            futures::future::pending::<()>().await;
        }
        tokio::task::yield_now().await;
        self.busy = false;
        value::of_text(query.as_bytes())
    }
}

fn server() -> (Arc<Counts>, Arc<Server<Fake>>) {
    let counts = Arc::new(Counts::default());
    let pool = Pool::new(Arc::new(Connector::new(TlsFloor::default())));
    let server = pool.server(Fake(counts.clone()));
    assert!(Arc::ptr_eq(&server, &pool.server(Fake(counts.clone()))));
    (counts, server)
}

#[tokio::test]
async fn many_questions_share_a_few_sessions_and_the_same_one_is_asked_once() {
    let (counts, server) = server();
    let queries: Vec<_> = (0..500).map(|at| (at % 100).to_string()).collect();
    let now = Freshness::now();
    let answers = join_all(queries.iter().map(|query| server.number(query, &now))).await;
    for (query, answer) in queries.iter().zip(answers) {
        assert_eq!(answer.unwrap().to_string(), *query);
    }
    assert_eq!(counts.asked.load(Ordering::SeqCst), 100);
    assert_eq!(counts.logins.load(Ordering::SeqCst), SESSIONS);
    for _ in 0..10 {
        assert!(server.number("no number", &now).await.is_err());
    }
    assert_eq!(counts.logins.load(Ordering::SeqCst), SESSIONS);
    drop(server);
    assert_eq!(counts.open.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn a_session_that_was_closed_meanwhile_is_replaced_at_once() {
    let (counts, server) = server();
    let now = Freshness::now();
    server.number("1", &now).await.unwrap();
    counts.restarted.store(1, Ordering::SeqCst);
    assert_eq!(server.number("2", &now).await, Ok(2.0));
    assert_eq!(counts.open.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn a_session_whose_question_was_given_up_is_closed() {
    let (counts, server) = server();
    let now = Freshness::now();
    server.number("1", &now).await.unwrap();
    assert_eq!(counts.open.load(Ordering::SeqCst), 1);
    assert!(server.ask("hangs").now_or_never().is_none());
    assert_eq!(counts.open.load(Ordering::SeqCst), 0);
    assert_eq!(server.number("2", &now).await, Ok(2.0));
    assert_eq!(counts.logins.load(Ordering::SeqCst), 2);
}
