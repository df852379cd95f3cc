//! The series of in-place resizing, made at a scrape.

use std::collections::BTreeMap;

use sakidori_engine::ObjectKey;
use sakidori_engine::resize::{PodState, Report, ResizeResult};

use super::text::{Family, Labels, Page};

const PODS: Family = Family::gauge(
    "sakidori_resize_pods",
    "Pods of ScaledObjects that ask for in-place resizing, by what they are in",
);
const TOTAL: Family = Family::counter(
    "sakidori_resize_total",
    "What became of resizing pods in place",
);

/// What is known of an object's resizing.
#[derive(Default)]
pub struct ResizeFacts {
    pods: Option<[usize; PodState::ALL.len()]>,
    results: BTreeMap<ResizeResult, u64>,
}

impl ResizeFacts {
    pub fn show(&mut self, report: &Report) {
        self.pods = Some(report.pods);
    }

    pub fn count(&mut self, result: ResizeResult) {
        *self.results.entry(result).or_default() += 1;
    }
}

/// Writes the series of one object's resizing: all of them from the start, so that a rate sees the first of each.
pub fn write(page: &mut Page, key: &ObjectKey, facts: &ResizeFacts) {
    let Some(pods) = &facts.pods else {
        return;
    };
    let labels = |name, value| {
        Labels::new([
            ("namespace", &*key.namespace),
            (name, value),
            ("scaledObject", &key.name),
        ])
    };
    for (state, count) in PodState::ALL.iter().zip(pods) {
        page.count(PODS, &labels("state", state.as_str()), *count as u64);
    }
    for result in ResizeResult::ALL {
        let count = facts.results.get(&result).copied().unwrap_or_default();
        page.count(TOTAL, &labels("result", result.as_str()), count);
    }
}
