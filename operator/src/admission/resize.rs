//! The rules for `advanced.sakidori.inPlaceResize`: what can't be read, and what probably isn't meant, by the object itself and by its
//! target's pod template.

use std::time::{Duration, Instant};

use sakidori_api::{ScaledObject, resize_warnings_of_pod};
use sakidori_engine::resize::Settings;
use tokio::time::timeout_at;

use super::cluster::{ClusterReads, TargetKind};
use super::verdict::{Verdict, reason};
use crate::api_error::plain;

/// For both reads together: they only make warnings.
const WITHIN: Duration = Duration::from_secs(2);

/// Judges the object by itself. What is to be compared with the pod template, where there is anything that can be read.
pub fn judge(object: &ScaledObject, verdict: &mut Verdict) -> Option<Settings> {
    match object.resize_settings() {
        Ok(settings) => {
            let settings = settings?;
            for warning in object.resize_warnings(&settings) {
                verdict.warn(warning);
            }
            Some(settings)
        }
        Err(problems) => {
            for problem in problems {
                verdict.refuse_beyond_keda(reason::RESIZE, problem);
            }
            None
        }
    }
}

/// Compares with the pod template of a target that is there.
pub async fn with_template(
    settings: Option<&Settings>,
    cluster: &ClusterReads,
    kind: &TargetKind,
    until: Instant,
    verdict: &mut Verdict,
) {
    let (Some(settings), TargetKind::PodTemplate(target)) = (settings, kind) else {
        return;
    };
    let until = until.min(Instant::now() + WITHIN);
    let read = async {
        tokio::join!(
            cluster.pod_template(target),
            cluster.limit_ranges(&target.namespace)
        )
    };
    let Ok((pod, ranges)) = timeout_at(until.into(), read).await else {
        return verdict.warn(
            "there was no time to compare inPlaceResize with the pod template of its target",
        );
    };
    match pod {
        // That it isn't there is told already.
        Ok(None) => {}
        Ok(Some(pod)) => {
            for warning in resize_warnings_of_pod(settings, &pod, ranges.ok().as_deref()) {
                verdict.warn(warning);
            }
        }
        Err(error) => verdict.warn(format!(
            "inPlaceResize was not compared with the pod template of its target: {}",
            plain(&error)
        )),
    }
}
