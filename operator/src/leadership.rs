//! Whether this process may act as the leader: asked by the control loop before each decision is carried out, and by the term's
//! client for the API server before each write is sent.
//!
//! A process that was suspended past the end of its lease finds that out here, before anything has told it: the end of the lease is
//! known beforehand, and compared with the clock. What no check in this process can hold back is a request that was given to the
//! kernel before, and whose bytes are still under way when another has begun to lead.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::task::{Context, Poll, ready};

use futures::future::{BoxFuture, poll_fn};
use http::{Method, Request};
use jiff::Timestamp;
use tokio_util::sync::CancellationToken;
use tower::{BoxError, Layer, Service};

use crate::clock::Clock;

/// Until when this process leads. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Leadership {
    clock: Clock,
    /// Microseconds, by the process' own clock.
    until: Arc<AtomicI64>,
}

impl Leadership {
    /// Of a process that doesn't lead.
    pub fn none(clock: Clock) -> Self {
        Self::until(clock, i64::MIN)
    }

    /// Of a process that has no other beside it.
    pub fn always(clock: Clock) -> Self {
        Self::until(clock, i64::MAX)
    }

    fn until(clock: Clock, until: i64) -> Self {
        Self {
            clock,
            until: Arc::new(AtomicI64::new(until)),
        }
    }

    pub fn set(&self, until: Option<Timestamp>) {
        let until = until.map_or(i64::MIN, Timestamp::as_microsecond);
        self.until.store(until, Ordering::SeqCst);
    }

    pub fn holds(&self) -> bool {
        self.clock.now().as_microsecond() < self.until.load(Ordering::SeqCst)
    }
}

/// Lets the actions of one term through while its process leads, and until the term ends. Cheap to clone.
///
/// As a layer of a client it lets no request through that writes, from then on.
#[derive(Clone, Debug)]
pub struct Fence {
    leadership: Leadership,
    over: CancellationToken,
}

impl Fence {
    pub fn new(leadership: &Leadership) -> Self {
        Self {
            leadership: leadership.clone(),
            over: CancellationToken::new(),
        }
    }

    pub fn may_act(&self) -> bool {
        self.leadership.holds() && !self.over.is_cancelled()
    }

    /// The term has ended; the process may lead again, in another.
    pub fn close(&self) {
        self.over.cancel();
    }
}

impl<S> Layer<S> for Fence {
    type Service = Fenced<S>;

    fn layer(&self, inner: S) -> Fenced<S> {
        Fenced {
            fence: self.clone(),
            inner,
        }
    }
}

/// A client whose writes end with the leadership.
#[derive(Clone, Debug)]
pub struct Fenced<S> {
    fence: Fence,
    inner: S,
}

impl<S, B> Service<Request<B>> for Fenced<S>
where
    S: Service<Request<B>, Error = BoxError>,
    S::Future: Send + 'static,
    S::Response: 'static,
{
    type Response = S::Response;
    type Error = BoxError;
    type Future = BoxFuture<'static, Result<S::Response, BoxError>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        if matches!(*request.method(), Method::GET | Method::HEAD) {
            return Box::pin(self.inner.call(request));
        }
        let fence = self.fence.clone();
        if !fence.may_act() {
            return Box::pin(async { Err(NoLongerLeading.into()) });
        }
        let mut answer = Box::pin(self.inner.call(request));
        // A request may wait for a connection before it is sent: so at each step, and not only now.
        Box::pin(poll_fn(move |context| {
            if !fence.may_act() {
                return Poll::Ready(Err(NoLongerLeading.into()));
            }
            Poll::Ready(ready!(answer.as_mut().poll(context)))
        }))
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not sent: this replica does not lead any more")]
struct NoLongerLeading;

#[cfg(test)]
mod tests {
    use std::sync::Mutex;
    use std::time::Duration;

    use jiff::SignedDuration;
    use tokio::sync::oneshot;
    use tokio::time::timeout;
    use tower::ServiceExt;

    use super::*;

    fn leading(clock: Clock) -> Leadership {
        let leadership = Leadership::none(clock);
        leadership.set(Some(clock.now() + SignedDuration::from_secs(600)));
        leadership
    }

    /// Asks through the fence; tells whether the request got through.
    async fn ask(fence: &Fence, method: Method) -> Result<Method, String> {
        let server = tower::service_fn(|request: Request<()>| async move {
            Ok::<_, BoxError>(request.method().clone())
        });
        let request = Request::builder().method(method).body(()).unwrap();
        let answer = fence.layer(server).oneshot(request).await;
        answer.map_err(|error| error.to_string())
    }

    #[tokio::test]
    async fn only_who_leads_writes_and_everyone_reads() {
        let clock = Clock::start();
        let lapsed = leading(clock);
        lapsed.set(Some(clock.now()));
        let (stopped, ended) = (leading(clock), Fence::new(&leading(clock)));
        stopped.set(None);
        ended.close();
        let fences = [
            (Fence::new(&leading(clock)), true),
            (Fence::new(&Leadership::always(clock)), true),
            (Fence::new(&Leadership::none(clock)), false),
            (Fence::new(&lapsed), false),
            (Fence::new(&stopped), false),
            (ended, false),
        ];
        for (number, (fence, may_write)) in fences.iter().enumerate() {
            assert_eq!(fence.may_act(), *may_write, "{number}");
            for method in [Method::POST, Method::PUT, Method::PATCH, Method::DELETE] {
                let answer = ask(fence, method.clone()).await;
                if *may_write {
                    assert_eq!(answer, Ok(method), "{number}");
                } else {
                    assert_eq!(answer, Err(NoLongerLeading.to_string()), "{number}");
                }
            }
            assert_eq!(ask(fence, Method::GET).await, Ok(Method::GET), "{number}");
        }
    }

    #[tokio::test]
    async fn the_end_of_one_term_is_not_undone_by_the_next() {
        let leadership = leading(Clock::start());
        let first = Fence::new(&leadership);
        first.close();
        let second = Fence::new(&leadership);
        assert!(second.may_act() && !first.may_act());
    }

    /// A request that waits for its connection when the lease ends is not sent when there is one.
    #[tokio::test]
    async fn a_request_under_way_is_given_up() {
        let clock = Clock::start();
        let leadership = leading(clock);
        let (connected, connection) = oneshot::channel::<()>();
        let connection = Mutex::new(Some(connection));
        let server = tower::service_fn(move |_: Request<()>| {
            let connection = connection.lock().unwrap().take().unwrap();
            async move { Ok::<_, BoxError>(connection.await?) }
        });
        let request = Request::builder().method(Method::PATCH).body(()).unwrap();
        let mut answer = Box::pin(Fence::new(&leadership).layer(server).oneshot(request));
        let waits = timeout(Duration::from_millis(10), &mut answer).await;
        assert!(waits.is_err(), "{waits:?}");
        leadership.set(Some(clock.now()));
        connected.send(()).unwrap();
        let error = answer.await.unwrap_err();
        assert_eq!(error.to_string(), NoLongerLeading.to_string());
    }
}
