//! What etcd tells by itself: puts of the key.
//!
//! A watch that broke is opened again after 2 s, then 4 s and so on up to a minute, and from 2 s on again once one was open. What was put
//! meanwhile is seen by a look at the key, when the new watch is there.

use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;
use sakidori_engine::Spell;
use tokio::time::timeout;
use tracing::{debug, info};

use super::{EtcdScaler, number};
use crate::clients::back_off::BackOff;
use crate::scaler::{Push, Pushes, ScalerError};

const BACK_OFF: BackOff = BackOff {
    first: Duration::from_secs(2),
    longest: Duration::from_secs(60),
};

#[async_trait]
impl Push for EtcdScaler {
    async fn listen(&self, pushes: &Pushes) {
        let mut failures = 0;
        let mut failing = Spell::default();
        loop {
            let error = self.follow(pushes, &mut failures, &mut failing).await;
            failures = failures.saturating_add(1);
            let pause = BACK_OFF.after(failures);
            // Polls go on, and tell what is wrong with the source.
            if failing.fails(Timestamp::now(), &error.to_string()) {
                info!(object = %self.object, key = self.key, %error, "the watch broke; it is opened again, and polls go on");
            } else {
                debug!(object = %self.object, key = self.key, %error, again_in = ?pause, "the watch broke");
            }
            tokio::time::sleep(pause).await;
        }
    }
}

impl EtcdScaler {
    /// Tells of puts until the watch breaks.
    async fn follow(
        &self,
        pushes: &Pushes,
        failures: &mut u32,
        failing: &mut Spell,
    ) -> ScalerError {
        let mut watch = match self.etcd.watch(&self.key).await {
            Ok(watch) => watch,
            Err(error) => return error,
        };
        *failures = 0;
        if failing.works() {
            info!(object = %self.object, key = self.key, "watching again");
        }
        // What is wrong with the value, or that there is none, is told by polls.
        if let Ok(value) = self.newest_value().await {
            self.tell(value, pushes);
        }
        loop {
            match timeout(self.longest_silence, watch.next()).await {
                Ok(Ok(values)) => {
                    for value in values.iter().filter_map(|value| number(value).ok()) {
                        self.tell(value, pushes);
                    }
                }
                Ok(Err(error)) => return error,
                Err(_) => {
                    // KEDA's words.
                    let silence = self.longest_silence;
                    let reason = format!("no watch progress notification in {silence:?}");
                    return watch.give_up(&reason);
                }
            }
        }
    }

    fn tell(&self, value: f64, pushes: &Pushes) {
        // That it is not above it any more is for polls to see.
        if value > self.activation {
            pushes.active();
        }
    }
}
