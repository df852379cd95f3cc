//! Host names: one lookup of a name at a time, however many triggers wait for it.
//!
//! The system's resolver keeps a thread for as long as it takes, half a minute and more where a name server is silent, and
//! there is a bound on threads. Without this, each poll of a name that does not resolve would take another one, until no other
//! name could be resolved either.

use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
#[cfg(any(feature = "mysql", feature = "postgresql", feature = "redis"))]
use std::time::Duration;

use futures::FutureExt;
use futures::future::{BoxFuture, Shared};
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
#[cfg(any(feature = "mysql", feature = "postgresql", feature = "redis"))]
use tokio::{net::TcpStream, time::timeout};

/// For one address: a server that is switched off doesn't say so, and another one may be up. Across the world it takes a third of
/// a second.
#[cfg(any(feature = "mysql", feature = "postgresql", feature = "redis"))]
const ATTEMPT: Duration = Duration::from_secs(3);

/// Addresses, or why there are none.
type Found = Result<Arc<[SocketAddr]>, Arc<io::Error>>;

/// How one name is looked up.
type LookUp = dyn Fn(String) -> BoxFuture<'static, io::Result<Vec<SocketAddr>>> + Send + Sync;

/// All lookups of the process.
#[derive(Clone)]
pub struct Names {
    look_up: Arc<LookUp>,
    under_way: Arc<Mutex<HashMap<String, Shared<BoxFuture<'static, Found>>>>>,
}

impl Names {
    /// Asks the system's resolver.
    pub fn of_the_system() -> Self {
        Self::by(|name| {
            async move {
                let found = tokio::net::lookup_host((name, 0)).await?;
                Ok(found.collect())
            }
            .boxed()
        })
    }

    fn by(
        look_up: impl Fn(String) -> BoxFuture<'static, io::Result<Vec<SocketAddr>>>
        + Send
        + Sync
        + 'static,
    ) -> Self {
        Self {
            look_up: Arc::new(look_up),
            under_way: Arc::default(),
        }
    }

    /// A TCP connection to the first address of a name that takes one.
    ///
    /// # Errors
    /// When the name has no address, or of the address that was tried last.
    #[cfg(any(feature = "mysql", feature = "postgresql", feature = "redis"))]
    pub async fn connect(&self, host: &str, port: u16) -> io::Result<TcpStream> {
        let found = self.found(host).await;
        let addresses = found.map_err(|error| io::Error::new(error.kind(), error.to_string()))?;
        let mut last = io::Error::other("the name has no address");
        for address in addresses.iter() {
            let address = SocketAddr::new(address.ip(), port);
            match timeout(ATTEMPT, TcpStream::connect(address)).await {
                Ok(Ok(stream)) => {
                    stream.set_nodelay(true)?;
                    return Ok(stream);
                }
                Ok(Err(error)) => last = error,
                Err(_) => last = io::Error::new(io::ErrorKind::TimedOut, "no connection in time"),
            }
        }
        Err(last)
    }

    /// The answer of the lookup under way, or of a new one.
    fn found(&self, name: &str) -> Shared<BoxFuture<'static, Found>> {
        let mut under_way = self.under_way();
        if let Some(lookup) = under_way.get(name) {
            return lookup.clone();
        }
        let lookup = (self.look_up)(name.to_owned());
        let (names, key) = (self.clone(), name.to_owned());
        // A task of its own: its thread is taken until the answer comes, whoever waits for it or gives up.
        let task = tokio::spawn(async move {
            let found = lookup.await;
            names.under_way().remove(&key);
            found
        });
        let answer = async move {
            let found = task
                .await
                .unwrap_or_else(|ended| Err(io::Error::other(ended)));
            found.map(Arc::from).map_err(Arc::new)
        };
        let answer = answer.boxed().shared();
        under_way.insert(name.to_owned(), answer.clone());
        answer
    }

    fn under_way(&self) -> MutexGuard<'_, HashMap<String, Shared<BoxFuture<'static, Found>>>> {
        self.under_way
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

impl Resolve for Names {
    fn resolve(&self, name: Name) -> Resolving {
        let found = self.found(name.as_str());
        Box::pin(async move {
            match found.await {
                Ok(addresses) => {
                    let addresses: Vec<_> = addresses.iter().copied().collect();
                    Ok(Box::new(addresses.into_iter()) as Addrs)
                }
                Err(error) => Err(io::Error::new(error.kind(), error.to_string()).into()),
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use tokio::sync::watch;

    use super::*;

    #[tokio::test]
    async fn a_name_that_hangs_is_looked_up_once_and_others_are_found_meanwhile() {
        let asked = Arc::new(AtomicUsize::new(0));
        let (answer, answered) = watch::channel(false);
        let names = Names::by({
            let asked = asked.clone();
            move |name| {
                let (asked, mut answered) = (asked.clone(), answered.clone());
                async move {
                    let address = SocketAddr::from(([127, 0, 0, 1], 0));
                    if name == "hangs" {
                        asked.fetch_add(1, Ordering::SeqCst);
                        let _ = answered.wait_for(|answered| *answered).await;
                    }
                    Ok(vec![address])
                }
                .boxed()
            }
        });
        // Polls that gave up, and one that still waits.
        for _ in 0..3 {
            assert!(names.found("hangs").now_or_never().is_none());
            tokio::task::yield_now().await;
        }
        let waits = names.found("hangs");
        assert_eq!(names.found("other").await.unwrap().len(), 1);
        assert_eq!(asked.load(Ordering::SeqCst), 1);
        answer.send_replace(true);
        assert_eq!(waits.await.unwrap().len(), 1);
        // What was found is not kept: names move.
        assert_eq!(names.found("hangs").await.unwrap().len(), 1);
        assert_eq!(asked.load(Ordering::SeqCst), 2);
        assert!(names.under_way().is_empty());
    }
}
