//! Follows one credential that no watch shows: fetches it, and fetches it again when its source says so.

use std::sync::Arc;
use std::time::Duration;

use super::watch::{Told, pause};
use super::{ReferenceError, Referenced};
use crate::credentials::{Credential, Fetcher};

/// A first fetch has to end before whoever waits for it gives up, so that its own error is told.
const FETCH_WITHIN: Duration = Duration::from_secs(4);
/// Pauses after failures. A server that refuses a login locks accounts that try too often.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// Runs until it is aborted.
pub(super) async fn follow(fetcher: Arc<Fetcher>, credential: Credential, told: Told) {
    let mut failures: u32 = 0;
    loop {
        let fetched = tokio::time::timeout(FETCH_WITHIN, fetcher.fetch(&credential)).await;
        let fetched = fetched
            .unwrap_or_else(|_| Err(format!("no answer within {} s", FETCH_WITHIN.as_secs())));
        match fetched {
            Ok(fetched) => {
                failures = 0;
                let content = fetched.content;
                told.learned(content.map(|content| Referenced::fetched(&credential, content)));
                let session = fetched.session.as_deref();
                fetcher.wait(fetched.again_in, session).await;
            }
            Err(message) => {
                failures = failures.saturating_add(1);
                let object = credential.to_string();
                told.failed(ReferenceError::NotFetched { object, message }, failures);
                tokio::time::sleep(pause(failures, FIRST_PAUSE, LONGEST_PAUSE)).await;
            }
        }
    }
}
