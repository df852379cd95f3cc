//! A bound on what a server may send: client libraries take a message of a gigabyte into memory before anybody can look at it.

use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};

use futures::FutureExt;
use futures::future::BoxFuture;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::limits::{Held, Room, too_large};
use crate::scaler::ScalerError;

/// Answers in memory at the same time that are larger than most. What a library makes of one may be fourteen times as large: a number
/// in Redis' protocol is four bytes there and 56 here.
const LARGE_AT_ONCE: usize = 8;
/// Of these, those of one server.
const LARGE_OF_ONE: usize = 2;
static ROOM: Room = Room::new(LARGE_AT_ONCE, LARGE_OF_ONE);

/// What may still be received.
#[derive(Debug)]
pub struct Received {
    left: AtomicUsize,
    limit: AtomicUsize,
    /// A large answer's.
    room: Mutex<Option<Held>>,
}

/// For logging in, with TLS: a server's certificates and settings are a few KiB. Not counted against the caller's limit. What is
/// larger needs room.
const GREETING: usize = 64 * 1024;

impl Received {
    pub fn new(limit: usize) -> Self {
        Self {
            left: AtomicUsize::new(limit.saturating_add(GREETING)),
            limit: AtomicUsize::new(limit),
            room: Mutex::default(),
        }
    }

    /// From here on so much, whatever was received before: for the next question on a connection that is kept. One that was past
    /// its limit stays so.
    pub fn allow(&self, limit: usize) {
        if self.past_limit().is_none() {
            self.limit.store(limit, Ordering::Relaxed);
            let left = limit.saturating_add(GREETING);
            self.left.store(left, Ordering::Relaxed);
        }
        self.is_answered();
    }

    /// What was large is no longer in memory. Whoever keeps a connection without asking says so at the end of each question.
    pub fn is_answered(&self) {
        *self.room() = None;
    }

    /// As [`Received::allow`], without the room for a greeting: for what would do harm long before that.
    #[cfg(feature = "postgresql")]
    pub fn allow_no_more_than(&self, limit: usize) {
        self.allow(limit);
        let within = |left: usize| Some(left.min(limit));
        let _ = self
            .left
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, within);
    }

    /// The error, if the limit is reached.
    pub fn too_large(&self) -> Option<ScalerError> {
        self.past_limit().map(too_large)
    }

    /// The limit, if it is reached.
    pub fn past_limit(&self) -> Option<usize> {
        let reached = self.left.load(Ordering::Relaxed) == 0;
        reached.then(|| self.limit.load(Ordering::Relaxed))
    }

    fn needs_room(&self) -> bool {
        let limit = self.limit.load(Ordering::Relaxed);
        let is_large = limit > GREETING && self.left.load(Ordering::Relaxed) < limit;
        is_large && self.room().is_none()
    }

    fn room(&self) -> MutexGuard<'_, Option<Held>> {
        self.room.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn count(&self, bytes: usize) {
        let _ = self
            .left
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| {
                Some(left.saturating_sub(bytes))
            });
    }
}

/// A stream that fails once more than that was received.
pub struct Bounded<S> {
    inner: S,
    received: Arc<Received>,
    /// The server's name and port.
    place: String,
    entering: Option<BoxFuture<'static, Held>>,
}

impl<S> Bounded<S> {
    /// `place` is what large answers of one server are known by.
    pub fn new(inner: S, received: Arc<Received>, place: String) -> Self {
        Self {
            inner,
            received,
            place,
            entering: None,
        }
    }

    /// Waits until there is room for what is large.
    fn poll_room(&mut self, context: &mut Context<'_>) -> Poll<()> {
        if self.received.needs_room() {
            let entering = self.entering.get_or_insert_with(|| {
                let place = self.place.clone();
                async move { ROOM.enter(&place).await }.boxed()
            });
            let held = ready!(entering.as_mut().poll(context));
            self.entering = None;
            *self.received.room() = Some(held);
        }
        Poll::Ready(())
    }
}

impl<S> Drop for Bounded<S> {
    fn drop(&mut self) {
        *self.received.room() = None;
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Bounded<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.received.past_limit().is_some() {
            return Poll::Ready(Err(io::Error::other("too much was sent")));
        }
        ready!(this.poll_room(context));
        // Not one byte past it: a client's buffer may have room for a message of any length.
        let room = this.received.left.load(Ordering::Relaxed);
        let room = room.min(buffer.remaining());
        let mut part = ReadBuf::new(buffer.initialize_unfilled_to(room));
        ready!(Pin::new(&mut this.inner).poll_read(context, &mut part))?;
        let read = part.filled().len();
        buffer.advance(read);
        this.received.count(read);
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Bounded<S> {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().inner).poll_write(context, bytes)
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().inner).poll_flush(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().inner).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncReadExt;

    use super::*;

    #[tokio::test]
    async fn what_is_past_the_limit_is_not_read() {
        let read = async |sent: usize| {
            let received = Arc::new(Received::new(1000));
            let sent = vec![0; sent];
            let mut all = Vec::new();
            let mut stream = Bounded::new(&sent[..], received.clone(), "a".to_owned());
            let outcome = stream.read_to_end(&mut all).await;
            (outcome.is_ok(), received.past_limit())
        };
        assert_eq!(read(1000).await, (true, None));
        assert_eq!(read(GREETING + 999).await, (true, None));
        assert_eq!(read(10 * GREETING).await, (false, Some(1000)));
    }

    #[tokio::test]
    async fn a_large_buffer_gets_no_more_than_the_limit() {
        let received = Arc::new(Received::new(1000));
        let sent = vec![0; 10 * GREETING];
        let mut stream = Bounded::new(&sent[..], received.clone(), "a".to_owned());
        let mut buffer = vec![0; 10 * GREETING];
        assert_eq!(stream.read(&mut buffer).await.unwrap(), GREETING + 1000);
        assert!(stream.read(&mut buffer).await.is_err());
    }

    #[test]
    fn each_question_has_the_whole_limit_until_it_is_passed_once() {
        let received = Received::new(1000);
        received.count(GREETING + 999);
        received.allow(2000);
        received.count(GREETING + 1999);
        assert_eq!(received.past_limit(), None);
        received.count(1);
        received.allow(5000);
        assert_eq!(received.past_limit(), Some(2000));
    }

    #[cfg(feature = "postgresql")]
    #[test]
    fn a_limit_may_be_strict() {
        let received = Received::new(100_000);
        received.allow_no_more_than(1000);
        received.count(999);
        assert_eq!(received.past_limit(), None);
        received.allow_no_more_than(1000);
        received.count(1000);
        assert_eq!(received.past_limit(), Some(1000));
    }
}
