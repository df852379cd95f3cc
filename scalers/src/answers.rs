//! Answers of a source that several triggers ask for: the same question is asked once, and its answer counts for everybody who
//! takes one of that age.
//!
//! How old an answer may be is the asker's to say ([`Freshness`]): for a poll nearly its `pollingInterval`, for a read of the
//! HPA's one second. An object's next poll follows an interval after the oldest answer that its last one took, so objects
//! with the same question soon poll at the same moment, and nobody's answer is old.

use std::collections::HashMap;
use std::future::Future;
use std::hash::Hash;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use futures::FutureExt;
use futures::future::{BoxFuture, Shared};

use crate::observer::carried;
use crate::scaler::ScalerError;

/// A question that nobody has asked for so long is forgotten; polls take no older answer.
const REMEMBERED: Duration = Duration::from_secs(600);

/// Objects that poll together begin within this.
const SAME_MOMENT: Duration = Duration::from_millis(10);

/// No question takes longer: whoever asks has given up by then.
const LONGEST: Duration = Duration::from_secs(30);

/// How old the answers may be that a reading is made of, and how old they were.
#[derive(Debug, Default)]
pub struct Freshness {
    limit: Duration,
    oldest: Mutex<Duration>,
}

impl Freshness {
    /// No answer is taken that was there before now; a question under way is joined.
    #[must_use]
    pub fn now() -> Self {
        Self::default()
    }

    /// Answers to questions that were asked less than `limit` ago are taken.
    #[must_use]
    pub fn within(limit: Duration) -> Self {
        Self {
            limit,
            oldest: Mutex::default(),
        }
    }

    /// The age of the oldest answer that was taken; zero if all were asked for.
    pub fn oldest(&self) -> Duration {
        *self.oldest.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn takes(&self, asked: Instant) -> bool {
        let age = asked.elapsed();
        let takes = age < self.limit;
        if takes {
            self.note(age);
        }
        takes
    }

    fn note(&self, age: Duration) {
        // One that was asked for at the same moment is none that is old.
        if age >= SAME_MOMENT {
            let mut oldest = self.oldest.lock().unwrap_or_else(PoisonError::into_inner);
            *oldest = (*oldest).max(age);
        }
    }
}

/// The answers of one source (one endpoint with one set of credentials), by question. Failures are shared by those who wait
/// for the same answer, and not remembered.
pub struct Answers<Q, A> {
    asked: Arc<Mutex<HashMap<Q, Asked<A>>>>,
}

/// A question under way, or the last answer to it.
struct Asked<A> {
    at: Instant,
    answer: Shared<BoxFuture<'static, Result<A, ScalerError>>>,
}

impl<Q, A> Default for Answers<Q, A> {
    fn default() -> Self {
        Self {
            asked: Arc::default(),
        }
    }
}

impl<Q, A> Answers<Q, A>
where
    Q: Clone + Eq + Hash,
    A: Clone + Send + Sync + 'static,
{
    /// The answer to a question: one that is fresh enough, or that of a question under way, or a new one by `ask`.
    ///
    /// Cancel-safe: `ask` runs on a task of its own, so an answer counts even if nobody waits for it any more.
    ///
    /// # Errors
    /// Those of `ask`; `Unreachable` when it takes longer than 30 s.
    pub async fn get<F>(
        &self,
        question: &Q,
        freshness: &Freshness,
        ask: impl FnOnce() -> F,
    ) -> Result<A, ScalerError>
    where
        F: Future<Output = Result<A, ScalerError>> + Send + 'static,
    {
        let answer = {
            let mut asked = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
            match asked.get(question) {
                Some(last) if last.is_useful(freshness) => last.answer.clone(),
                _ => {
                    asked.retain(|_, last| last.at.elapsed() < REMEMBERED);
                    let answer = on_its_own_task(ask());
                    let new = Asked {
                        at: Instant::now(),
                        answer: answer.clone(),
                    };
                    asked.insert(question.clone(), new);
                    answer
                }
            }
        };
        answer.await
    }
}

impl<A: Clone> Asked<A> {
    fn is_useful(&self, freshness: &Freshness) -> bool {
        match self.answer.peek() {
            // Under way: whoever asks now couldn't get a newer answer much sooner.
            None => {
                freshness.note(self.at.elapsed());
                true
            }
            Some(Ok(_)) => freshness.takes(self.at),
            Some(Err(_)) => false,
        }
    }
}

fn on_its_own_task<A, F>(ask: F) -> Shared<BoxFuture<'static, Result<A, ScalerError>>>
where
    A: Clone + Send + Sync + 'static,
    F: Future<Output = Result<A, ScalerError>> + Send + 'static,
{
    let ask = carried(ask);
    let task = tokio::spawn(async move {
        let late = || ScalerError::Unreachable(format!("no answer within {LONGEST:?}"));
        tokio::time::timeout(LONGEST, ask)
            .await
            .unwrap_or_else(|_| Err(late()))
    });
    task.map(|ended| {
        let given_up = || ScalerError::Unreachable("the question was given up".to_owned());
        ended.unwrap_or_else(|_| Err(given_up()))
    })
    .boxed()
    .shared()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicU32, Ordering};

    /// Counts how often it was asked; answers with that count.
    #[derive(Clone, Default)]
    struct Source(Arc<AtomicU32>);

    impl Source {
        async fn ask(self) -> Result<u32, ScalerError> {
            let count = self.0.fetch_add(1, Ordering::SeqCst) + 1;
            tokio::task::yield_now().await;
            Ok(count)
        }
    }

    const HOUR: Duration = Duration::from_secs(3600);

    #[tokio::test]
    async fn the_same_question_is_asked_once() {
        let (source, answers) = (Source::default(), Answers::default());
        let freshness: Vec<_> = (0..100).map(|_| Freshness::now()).collect();
        let all = freshness
            .iter()
            .map(|freshness| answers.get(&"q", freshness, || source.clone().ask()));
        let all = futures::future::join_all(all).await;
        assert!(all.iter().all(|answer| *answer == Ok(1)));
        let within = Freshness::within(HOUR);
        assert_eq!(
            answers.get(&"q", &within, || source.clone().ask()).await,
            Ok(1)
        );
        assert_eq!(
            answers
                .get(&"other", &within, || source.clone().ask())
                .await,
            Ok(2)
        );
    }

    #[tokio::test]
    async fn an_answer_that_is_too_old_is_asked_for_again() {
        let (source, answers) = (Source::default(), Answers::default());
        for expected in 1..=3 {
            let now = Freshness::now();
            let answer = answers.get(&"q", &now, || source.clone().ask()).await;
            assert_eq!(answer, Ok(expected));
            assert_eq!(now.oldest(), Duration::ZERO);
        }
    }

    #[tokio::test]
    async fn a_failure_is_not_remembered_and_a_panic_is_one() {
        let answers: Answers<&str, u32> = Answers::default();
        let within = Freshness::within(HOUR);
        let down = || async { Err(ScalerError::Unreachable("down".to_owned())) };
        assert!(answers.get(&"q", &within, down).await.is_err());
        let panics = || async { panic!("on purpose") };
        assert!(answers.get(&"q", &within, panics).await.is_err());
        assert_eq!(
            answers.get(&"q", &within, || Source::default().ask()).await,
            Ok(1)
        );
    }

    #[tokio::test]
    async fn an_answer_counts_though_nobody_waited_for_it() {
        let (source, answers) = (Source::default(), Answers::default());
        let now = Freshness::now();
        assert!(
            answers
                .get(&"q", &now, || source.clone().ask())
                .now_or_never()
                .is_none()
        );
        let within = Freshness::within(HOUR);
        assert_eq!(
            answers.get(&"q", &within, || source.clone().ask()).await,
            Ok(1)
        );
        assert_eq!(source.0.load(Ordering::SeqCst), 1);
    }
}
