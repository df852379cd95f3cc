//! The status of ScaledObjects: the one module that writes it, as the smallest merge patch that makes the difference.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use http::HeaderValue;
use http::header::ACCEPT;
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::api::{Patch, PatchParams, Request};
use kube::{Client, Resource};
use sakidori_api::{
    PrescalingStatus, SakidoriStatus, ScaledObject, ScaledObjectStatus, TriggerActivity,
    conditions_from_engine,
};
use sakidori_engine::{ObjectKey, ObjectStatus, Spell};
use serde::de::IgnoredAny;
use serde_json::{Map, Value, json};
use tokio::sync::Notify;
use tokio::time::timeout;
use tracing::{debug, info, warn};

use crate::api_error::plain;
use crate::gate::{Gate, QUICK_REQUEST};
use crate::lock::lock;
use crate::objects::Objects;

/// Status writes that begin at the same time, over all objects.
const AT_ONCE: usize = 6;
/// Hardly anybody waits for a status, so where a thousand objects have something to tell at one instant, the API server is left to the
/// writes that move replicas; for so long, since an API server may refuse those and take these.
const STANDS_BACK: Duration = Duration::from_secs(5);
/// Between tries while the API server can't be reached.
const FIRST_RETRY: Duration = Duration::from_millis(500);
const LAST_RETRY: Duration = Duration::from_secs(10);
/// An API server that hangs must not keep a writer for the minutes of kube's own timeouts.
const WRITE_WITHIN: Duration = Duration::from_secs(15);

/// How long what depends on a status waits for it.
const SETTLED_WITHIN: Duration = Duration::from_millis(500);

/// What waits for an object's writer, and who waits for it.
#[derive(Default)]
struct Waiting {
    /// The newest status.
    status: Option<ObjectStatus>,
    /// Tells that nothing waits any more.
    settled: Arc<Notify>,
    /// Tells the writer that somebody waits for it.
    wanted: Arc<Notify>,
}

pub struct StatusWriter {
    client: Client,
    objects: Arc<Objects>,
    /// Objects that have a writer at work.
    waiting: Mutex<HashMap<ObjectKey, Waiting>>,
    /// What was written last, where the watch may not have shown it yet.
    written: Mutex<HashMap<ObjectKey, (String, ScaledObjectStatus)>>,
    /// Statuses whose writes have no answer: any of them may stand there.
    uncertain: Mutex<HashMap<ObjectKey, Vec<(String, Value)>>>,
    gate: Gate,
    /// The writes of HPAs' bounds.
    bounds: Arc<Gate>,
}

impl StatusWriter {
    pub fn new(client: Client, objects: Arc<Objects>, bounds: Arc<Gate>) -> Arc<Self> {
        Arc::new(Self {
            client,
            objects,
            waiting: Mutex::default(),
            written: Mutex::default(),
            uncertain: Mutex::default(),
            gate: Gate::new(AT_ONCE, QUICK_REQUEST),
            bounds,
        })
    }

    /// Writes `status` soon; a newer one for the same object replaces one that waits.
    pub fn write(self: &Arc<Self>, key: ObjectKey, status: ObjectStatus) {
        let is_idle = {
            let mut waiting = lock(&self.waiting);
            let is_idle = !waiting.contains_key(&key);
            waiting.entry(key.clone()).or_default().status = Some(status);
            is_idle
        };
        if is_idle {
            let this = self.clone();
            tokio::spawn(async move { this.work(key).await });
        }
    }

    /// Waits until nothing of the object's status waits to be written, a moment at most: what depends on the status is not to
    /// overtake it, but must not hang on it either.
    pub async fn settled(&self, key: &ObjectKey) {
        // Made while the writer can't end: none that ends later is missed.
        let settled = match lock(&self.waiting).get(key) {
            Some(waiting) => {
                waiting.wanted.notify_one();
                waiting.settled.clone().notified_owned()
            }
            None => return,
        };
        let _ = timeout(SETTLED_WITHIN, settled).await;
    }

    pub fn forget(&self, key: &ObjectKey) {
        lock(&self.written).remove(key);
        lock(&self.uncertain).remove(key);
    }

    /// Writes until nothing waits for `key`.
    async fn work(&self, key: ObjectKey) {
        let mut pause = FIRST_RETRY;
        let mut writing = Spell::default();
        while let Some(wanted) = self.waits(&key) {
            tokio::select! {
                () = self.bounds.quiet(STANDS_BACK) => {}
                () = wanted.notified() => {}
            }
            let failed = self.gate.pass(self.write_newest(&key)).await;
            match failed {
                None => {
                    pause = FIRST_RETRY;
                    if writing.works() {
                        info!(object = %key, "the status is written again");
                    }
                }
                Some((error, _)) if is_final(&error) => {
                    debug!(object = %key, error = plain(&error), "the status is of an object that is gone");
                    // The next write starts from what the watch shows.
                    self.forget(&key);
                }
                Some((error, status)) => {
                    let told = plain(&error);
                    // Where the API server can't be reached at all, the watches tell that once, and not every object.
                    let is_an_answer = matches!(error, kube::Error::Api(_));
                    if is_an_answer && writing.fails(Timestamp::now(), &told) {
                        warn!(object = %key, error = told, "writing the status fails; trying again");
                    } else {
                        debug!(object = %key, error = told, "writing the status failed");
                    }
                    if is_refused(&error) {
                        pause = LAST_RETRY;
                    }
                    tokio::time::sleep(pause).await;
                    pause = (pause * 2).min(LAST_RETRY);
                    // Put back unless a newer one came meanwhile.
                    if let Some(slot) = lock(&self.waiting).get_mut(&key) {
                        slot.status.get_or_insert(status);
                    }
                }
            }
        }
    }

    /// Where a status of the object waits to be written: what tells that somebody waits for it. Else its writer has ended.
    fn waits(&self, key: &ObjectKey) -> Option<Arc<Notify>> {
        let mut waiting = lock(&self.waiting);
        let one = waiting.get(key)?;
        if one.status.is_some() {
            return Some(one.wanted.clone());
        }
        one.settled.notify_waiters();
        waiting.remove(key);
        None
    }

    /// Writes the newest status that waits, taken only now: what came while others were written costs no write of its own. Returns what
    /// failed to be written, and why.
    async fn write_newest(&self, key: &ObjectKey) -> Option<(kube::Error, ObjectStatus)> {
        let status = lock(&self.waiting).get_mut(key)?.status.take()?;
        let written = timeout(WRITE_WITHIN, self.write_once(key, &status)).await;
        let written =
            written.unwrap_or_else(|_| Err(kube::Error::Service("no answer in time".into())));
        written.err().map(|error| (error, status))
    }

    async fn write_once(&self, key: &ObjectKey, status: &ObjectStatus) -> Result<(), kube::Error> {
        let Some(object) = self.objects.object(key) else {
            return Ok(());
        };
        let uid = object.metadata.uid.clone().unwrap_or_default();
        // By our own writes: the watch may lag behind them.
        let written = lock(&self.written).get(key).cloned();
        let before = match written.filter(|(of, _)| *of == uid) {
            Some((_, written)) => written,
            None => own_part(object.status.clone().unwrap_or_default()),
        };
        let prepared = self.objects.prepared(key);
        let found = prepared.as_ref().map(|prepared| &prepared.found);
        let wanted = complete(before.clone(), found, status);
        let as_json =
            |status: &ScaledObjectStatus| serde_json::to_value(status).unwrap_or_default();
        let wanted_as_json = as_json(&wanted);
        // What stands there is that, or one that nobody knows to have been written: the patch turns each of them into what is wanted.
        let mut patch = merge_patch(&as_json(&before), &wanted_as_json);
        for (of, maybe) in lock(&self.uncertain).get(key).into_iter().flatten() {
            if *of == uid {
                both(&mut patch, merge_patch(maybe, &wanted_as_json));
            }
        }
        let Some(mut patch) = patch else {
            return Ok(());
        };
        spare_others(&mut patch);
        debug!(object = %key, "writing status");
        let patch = json!({"metadata": {"uid": uid}, "status": patch});
        // Before the answer: this future may be dropped while it waits.
        let this = (uid.clone(), wanted_as_json);
        {
            let mut uncertain = lock(&self.uncertain);
            let all = uncertain.entry(key.clone()).or_default();
            if !all.contains(&this) {
                all.push(this.clone());
            }
        }
        match self.patch(key, &Patch::Merge(&patch)).await {
            Ok(()) => drop(lock(&self.uncertain).remove(key)),
            Err(error) => {
                if !is_uncertain(&error)
                    && let Some(all) = lock(&self.uncertain).get_mut(key)
                {
                    all.retain(|one| *one != this);
                }
                return Err(error);
            }
        }
        let still_there = self.objects.object(key);
        if still_there.is_some_and(|object| object.metadata.uid.as_deref() == Some(&*uid)) {
            lock(&self.written).insert(key.clone(), (uid, wanted));
        }
        Ok(())
    }

    /// Patches the status, and has only the metadata sent back: the object comes by the watch anyway.
    async fn patch(&self, key: &ObjectKey, patch: &Patch<&Value>) -> Result<(), kube::Error> {
        let request = Request::new(ScaledObject::url_path(&(), Some(&key.namespace)));
        let mut request = request
            .patch_subresource("status", &key.name, &PatchParams::default(), patch)
            .map_err(kube::Error::BuildRequest)?;
        let metadata_only = HeaderValue::from_static(METADATA_ONLY);
        request.headers_mut().insert(ACCEPT, metadata_only);
        let _: IgnoredAny = self.client.request(request).await?;
        Ok(())
    }
}

const METADATA_ONLY: &str = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1";

/// What preparation finds out and the status shows.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Found {
    pub scale_target_kind: String,
    pub scale_target_gvkr: sakidori_api::GroupVersionKindResource,
    pub original_replica_count: i32,
    pub external_metric_names: Vec<String>,
    pub resource_metric_names: Vec<String>,
    pub hpa_name: String,
    /// Where a formula makes one metric of all triggers.
    pub composite_scaler_name: Option<String>,
    pub triggers_types: String,
    pub authentications_types: String,
}

/// The whole status: what stands there, what preparation found, what the engine decided.
fn complete(
    mut status: ScaledObjectStatus,
    found: Option<&Found>,
    decided: &ObjectStatus,
) -> ScaledObjectStatus {
    if let Some(found) = found {
        status.scale_target_kind = Some(found.scale_target_kind.clone());
        status.scale_target_gvkr = Some(found.scale_target_gvkr.clone());
        status
            .original_replica_count
            .get_or_insert(found.original_replica_count);
        status.external_metric_names = found.external_metric_names.clone();
        status.resource_metric_names = found.resource_metric_names.clone();
        status.hpa_name = Some(found.hpa_name.clone());
        status.composite_scaler_name = found.composite_scaler_name.clone();
        status.triggers_types = Some(found.triggers_types.clone());
        status.authentications_types =
            Some(found.authentications_types.clone()).filter(|types| !types.is_empty());
    }
    status.conditions = conditions_from_engine(&decided.conditions);
    status.last_active_time = decided.last_active_time.map(Time);
    status.paused_replica_count = decided.paused_replicas;
    status.sakidori = PrescalingStatus::from_engine(&decided.prescale).map(with_prescaling);
    status.health = decided
        .health
        .iter()
        .map(|(metric, health)| (metric.clone(), (*health).into()))
        .collect();
    status.triggers_activity = decided
        .triggers_activity
        .iter()
        .map(|(metric, is_active)| {
            (
                metric.clone(),
                TriggerActivity {
                    is_active: *is_active,
                },
            )
        })
        .collect();
    status
}

fn with_prescaling(prescaling: PrescalingStatus) -> SakidoriStatus {
    SakidoriStatus {
        prescaling: Some(prescaling),
        ..SakidoriStatus::default()
    }
}

/// A status without what others write into it: `resizedTargets`, see `resize/resized_targets.rs`.
fn own_part(mut status: ScaledObjectStatus) -> ScaledObjectStatus {
    let prescaling = status.sakidori.take().and_then(|it| it.prescaling);
    status.sakidori = prescaling.map(with_prescaling);
    status
}

/// Takes away what is this writer's own only, where all of `sakidori` is to go.
fn spare_others(patch: &mut Value) {
    if let Some(sakidori) = patch.get_mut("sakidori").filter(|it| it.is_null()) {
        *sakidori = json!({"prescaling": null});
    }
}

/// 404: it is gone. 409: another object has its name (the uid in the patch differs).
fn is_final(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(status) if matches!(status.code, 404 | 409))
}

/// A right, or a field of the definition, that is missing during an upgrade: somebody has to give it first, but then it is wanted.
fn is_refused(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(status) if matches!(status.code, 400 | 403 | 422))
}

/// Whether the API server may have done it all the same.
fn is_uncertain(error: &kube::Error) -> bool {
    match error {
        kube::Error::Api(status) => status.code >= 500,
        _ => true,
    }
}

/// Adds what one patch changes to another, where both lead to the same.
fn both(patch: &mut Option<Value>, more: Option<Value>) {
    match (patch.as_mut(), more) {
        (_, None) => {}
        (Some(Value::Object(fields)), Some(Value::Object(more))) => {
            for (key, value) in more {
                let mut field = fields.remove(&key);
                both(&mut field, Some(value));
                fields.extend(field.map(|field| (key, field)));
            }
        }
        (_, more) => *patch = more,
    }
}

/// The merge patch (RFC 7386) that turns `from` into `to`; `None` where they are equal.
pub(crate) fn merge_patch(from: &Value, to: &Value) -> Option<Value> {
    if from == to {
        return None;
    }
    let (Value::Object(from), Value::Object(to)) = (from, to) else {
        return Some(to.clone());
    };
    let gone = from
        .keys()
        .filter(|key| !to.contains_key(*key))
        .map(|key| (key.clone(), Value::Null));
    let changed = to.iter().filter_map(|(key, value)| {
        let patch = from
            .get(key)
            .map_or_else(|| Some(value.clone()), |before| merge_patch(before, value))?;
        Some((key.clone(), patch))
    });
    Some(Value::Object(gone.chain(changed).collect::<Map<_, _>>()))
}

#[cfg(test)]
mod tests;
