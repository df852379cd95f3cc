//! What the server tells by itself: `StreamIsActive`, and `StreamMetricSpec` where it has that (KEDA 2.21).
//!
//! Each stream is opened again when it ended, after 2 s, then 4 s and so on up to a minute; after one that told something, or that the
//! server ended in peace, again after 2 s (KEDA).

use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;
use sakidori_engine::Spell;
use tonic::{Code, Status};
use tracing::{debug, info, warn};

use super::protocol::{
    GetMetricSpecResponse, IsActiveResponse, STREAM_IS_ACTIVE, STREAM_METRIC_SPEC,
};
use super::{ExternalScaler, metrics};
use crate::clients::back_off::BackOff;
use crate::clients::grpc;
use crate::scaler::{Push, Pushes};

const BACK_OFF: BackOff = BackOff {
    first: Duration::from_secs(2),
    longest: Duration::from_secs(60),
};

#[async_trait]
impl Push for ExternalScaler {
    async fn listen(&self, pushes: &Pushes) {
        tokio::join!(self.follow_activity(pushes), self.follow_metrics(pushes));
    }
}

/// How a stream ended.
struct End {
    /// It told something.
    told: bool,
    /// `Ok` is the server's own wish.
    by: Result<(), Status>,
}

/// Of one stream.
#[derive(Default)]
struct Failures {
    in_a_row: u32,
    told: Spell,
}

impl ExternalScaler {
    async fn follow_activity(&self, pushes: &Pushes) {
        let mut failures = Failures::default();
        loop {
            let end = self.follow_activity_once(pushes).await;
            self.pause("StreamIsActive", end, &mut failures).await;
        }
    }

    async fn follow_activity_once(&self, pushes: &Pushes) -> End {
        let mut told = false;
        let by = async {
            let mut answers = self
                .server
                .stream::<_, IsActiveResponse>(STREAM_IS_ACTIVE, self.object.clone())
                .await?;
            while let Some(answer) = answers.message().await? {
                told = true;
                // That it is not active any more says the next poll.
                if answer.result {
                    pushes.active();
                }
            }
            Ok(())
        };
        let by = by.await;
        End { told, by }
    }

    async fn follow_metrics(&self, pushes: &Pushes) {
        let mut failures = Failures::default();
        let mut unusable = Spell::default();
        loop {
            let end = self.follow_metrics_once(pushes, &mut unusable).await;
            if matches!(&end.by, Err(status) if status.code() == Code::Unimplemented) {
                // An older server: polls ask for the metrics.
                debug!(object = %self.name(), "the external scaler has no StreamMetricSpec");
                return;
            }
            self.pause("StreamMetricSpec", end, &mut failures).await;
        }
    }

    async fn follow_metrics_once(&self, pushes: &Pushes, unusable: &mut Spell) -> End {
        let mut told = false;
        let _asked_again_after = Streaming(self);
        let by = async {
            let mut answers = self
                .server
                .stream::<_, GetMetricSpecResponse>(STREAM_METRIC_SPEC, self.object.clone())
                .await?;
            while let Some(answer) = answers.message().await? {
                told = true;
                match metrics(&self.trigger, &answer) {
                    Ok(metrics) => {
                        if unusable.works() {
                            info!(object = %self.name(), "StreamMetricSpec is usable again");
                        }
                        let mut named = self.named();
                        let is_news = named.metrics != metrics;
                        named.metrics = metrics;
                        named.streamed = true;
                        drop(named);
                        if is_news {
                            pushes.metrics_changed();
                        }
                    }
                    // What it named before stands.
                    Err(error) => {
                        if unusable.fails(Timestamp::now(), &error) {
                            warn!(object = %self.name(), error, "StreamMetricSpec is not usable; what it named before stands");
                        }
                    }
                }
            }
            Ok(())
        };
        let by = by.await;
        End { told, by }
    }

    /// Waits until the stream may be opened again.
    async fn pause(&self, stream: &str, end: End, failures: &mut Failures) {
        if end.told || end.by.is_ok() {
            failures.in_a_row = 0;
            if failures.told.works() {
                info!(object = %self.name(), stream, "the stream works again");
            }
        }
        failures.in_a_row = failures.in_a_row.saturating_add(1);
        let pause = BACK_OFF.after(failures.in_a_row);
        match end.by {
            Ok(()) => debug!(object = %self.name(), stream, "the stream ended"),
            Err(status) => {
                let error = self.without_secrets(grpc::reason(&status));
                // Polls go on, and tell what is wrong with the server.
                if failures.told.fails(Timestamp::now(), &error) {
                    info!(object = %self.name(), stream, error, "the stream broke; it is opened again, and polls go on");
                } else {
                    debug!(object = %self.name(), stream, error, again_in = ?pause, "the stream broke");
                }
            }
        }
        tokio::time::sleep(pause).await;
    }

    fn name(&self) -> String {
        format!("{}/{}", self.trigger.namespace, self.trigger.object)
    }
}

/// When it ends, in whatever way, polls ask for the metrics again.
struct Streaming<'a>(&'a ExternalScaler);

impl Drop for Streaming<'_> {
    fn drop(&mut self) {
        self.0.named().streamed = false;
    }
}
