//! The rules for `sale-calendar` triggers that need more than the trigger: its calendar, the object's HPA, the namespace's quotas.
//! What can't be read in time, or isn't known to this replica, says nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::StreamExt;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{PodSpec, ResourceQuota};
use kube::api::ListParams;
use kube::{Api, ResourceExt};
use sakidori_api::{
    ClusterSaleCalendar, Need, SaleCalendar, SaleCalendarSpec, SaleCalendarStatus, ScaledObject,
};
use sakidori_calendars::{Book, SaleCalendarTrigger, limits};
use sakidori_engine::prescale::{Baseline, LeadTime, Occurrence, Profile};
use tokio::time::timeout_at;
use tracing::{debug, warn};

use super::cluster::{ClusterReads, TargetKind};
use super::triggers::named;
use super::verdict::{Verdict, reason};
use super::{Admission, Asked};
use crate::calendars::CalendarRef;
use crate::sales;

/// For all reads together: they only make a warning more.
const WITHIN: Duration = Duration::from_secs(2);
/// Calendars that are read at a time; an object has one or two.
const AT_ONCE: usize = 4;

/// One trigger that can be parsed, with its place.
struct Sale {
    index: usize,
    trigger: SaleCalendarTrigger,
    calendar: CalendarRef,
}

/// What a calendar says, as far as this replica knows.
#[derive(Clone)]
enum Said {
    Nothing,
    Absent,
    Occurrences {
        all: Vec<Arc<Occurrence>>,
        /// Nothing is missing, so that what isn't there doesn't exist.
        whole: bool,
    },
}

/// What there is around the object's target.
#[derive(Default)]
struct Around {
    running: i32,
    pod: Option<PodSpec>,
    quotas: Vec<ResourceQuota>,
}

/// Judges an object's sale-calendar triggers.
pub async fn judge(
    admission: &Admission,
    object: &ScaledObject,
    kind: &TargetKind,
    asked: &Asked,
    verdict: &mut Verdict,
) {
    let triggers = parsed(object);
    if triggers.is_empty() {
        return;
    }
    let until = asked.until.min(Instant::now() + WITHIN);
    let cluster = &admission.cluster;
    let now = admission.clock.now();
    let namespace = object.namespace().unwrap_or_default();
    let (said, around) = tokio::join!(said(cluster, &triggers, now, until), async {
        match asked.dry_run {
            true => Around::default(),
            false => timeout_at(until.into(), around(cluster, kind, &namespace))
                .await
                .unwrap_or_default(),
        }
    });
    let Ok(Ok(_slot)) = timeout_at(until.into(), admission.checks.acquire()).await else {
        return;
    };
    let (object, dry_run) = (object.clone(), asked.dry_run);
    let judged = tokio::task::spawn_blocking(move || {
        let mut verdict = Verdict::default();
        for sale in &triggers {
            let said = said.get(&sale.calendar).unwrap_or(&Said::Nothing);
            match said {
                Said::Nothing => {}
                Said::Absent if dry_run => {}
                Said::Absent => {
                    let kind = sale.calendar.kind();
                    let text = format!("the {kind} {:?} is not there yet", sale.calendar.name);
                    verdict.warn(sale.named(&object, &text));
                }
                Said::Occurrences { all, whole } => {
                    by_calendar(sale, &object, all, *whole, now, &mut verdict);
                }
            }
            by_quotas(sale, &object, said, &around, &mut verdict);
        }
        verdict
    });
    match judged.await {
        Ok(judged) => verdict.append(judged),
        Err(error) => warn!(%error, "checking sale-calendar triggers failed"),
    }
}

fn parsed(object: &ScaledObject) -> Vec<Sale> {
    let namespace = object.namespace().unwrap_or_default();
    let declared = object.spec.triggers.iter().enumerate();
    declared
        .filter(|(_, declared)| sales::is_sale(&declared.type_))
        .filter_map(|(index, declared)| {
            // One that can't be parsed is refused already.
            let trigger = sales::parse(declared).ok()?;
            let calendar = sales::calendar(&trigger, &namespace);
            Some(Sale {
                index,
                trigger,
                calendar,
            })
        })
        .collect()
}

impl Sale {
    fn named(&self, object: &ScaledObject, text: &str) -> String {
        match object.spec.triggers.get(self.index) {
            Some(declared) => named(self.index, declared, text),
            None => text.to_owned(),
        }
    }
}

fn by_calendar(
    sale: &Sale,
    object: &ScaledObject,
    all: &[Arc<Occurrence>],
    whole: bool,
    now: Timestamp,
    verdict: &mut Verdict,
) {
    let trigger = &sale.trigger;
    let selected = trigger.select(all);
    let horizon = now.checked_add(limits::HORIZON).unwrap_or(Timestamp::MAX);
    if let Some(text) = trigger.endless_ramp(&selected, (now, horizon)) {
        verdict.refuse_beyond_keda(reason::TRIGGERS, sale.named(object, &text));
    }
    if whole && let Some(text) = trigger.idle(&selected, now) {
        verdict.warn(sale.named(object, &text));
    }
    let to_come: Vec<_> = selected.into_iter().filter(|one| one.end > now).collect();
    let max = object
        .max_replicas()
        .max(trigger.settings.max_replicas.unwrap_or(0));
    // Where the trigger alone says so, it is refused.
    if trigger.floor_above(object.max_replicas()).is_none()
        && let Some((floor, name)) = trigger.highest_floor(&to_come)
        && floor > max
    {
        let text = format!(
            "the floor of {floor} replicas for {name:?} is above the maximum ({max}): raise maxReplicaCount, or set maxReplicas"
        );
        verdict.warn(sale.named(object, &text));
    }
    let baseline = match trigger.settings.baseline {
        Baseline::Replicas(replicas) => replicas,
        Baseline::Observed(_) => object.min_replicas().max(1),
    };
    if let LeadTime::Fixed(lead) = trigger.settings.lead_time
        && let Some(next) = to_come.first()
        && let Some(profile) = Profile::new(0, &trigger.settings, next, baseline, lead)
        && let Some(text) = object.held_by_behavior(&profile)
    {
        verdict.warn(sale.named(object, &text));
    }
}

fn by_quotas(
    sale: &Sale,
    object: &ScaledObject,
    said: &Said,
    around: &Around,
    verdict: &mut Verdict,
) {
    let Said::Occurrences { all, .. } = said else {
        return;
    };
    let selected = sale.trigger.select(all);
    let Some((floor, _)) = sale.trigger.highest_floor(&selected) else {
        return;
    };
    let max = object
        .max_replicas()
        .max(sale.trigger.settings.max_replicas.unwrap_or(0));
    let need = Need {
        floor: floor.min(max),
        running: around.running,
        pod: around.pod.as_ref(),
    };
    for quota in &around.quotas {
        if let Some(text) = need.refused_by(quota) {
            verdict.warn(sale.named(object, &text));
        }
    }
}

/// What the triggers' calendars say, each read once.
async fn said(
    cluster: &ClusterReads,
    triggers: &[Sale],
    now: Timestamp,
    until: Instant,
) -> BTreeMap<CalendarRef, Said> {
    let wanted: BTreeSet<CalendarRef> = triggers.iter().map(|sale| sale.calendar.clone()).collect();
    let reads = futures::stream::iter(wanted)
        .map(|calendar| async move {
            let read = timeout_at(until.into(), read(cluster, &calendar)).await;
            let said = match read {
                Ok(Ok(Some((spec, status)))) => {
                    of_calendar(cluster, &calendar, spec, status, now).await
                }
                Ok(Ok(None)) => Said::Absent,
                Ok(Err(error)) => {
                    debug!(%calendar, %error, "admission could not read a calendar");
                    Said::Nothing
                }
                Err(_) => Said::Nothing,
            };
            (calendar, said)
        })
        .buffer_unordered(AT_ONCE);
    reads.collect().await
}

async fn read(
    cluster: &ClusterReads,
    calendar: &CalendarRef,
) -> Result<Option<(SaleCalendarSpec, SaleCalendarStatus)>, kube::Error> {
    let client = cluster.client.clone();
    let name = &calendar.name;
    Ok(if calendar.cluster {
        let api: Api<ClusterSaleCalendar> = Api::all(client);
        let found = api.get_opt(name).await?;
        found.map(|found| (found.spec.0, found.status.unwrap_or_default()))
    } else {
        let api: Api<SaleCalendar> = Api::namespaced(client, &calendar.namespace);
        let found = api.get_opt(name).await?;
        found.map(|found| (found.spec, found.status.unwrap_or_default()))
    })
}

/// What stands in the object, and what its status remembers of the sources; or, where this replica leads and all sources were read, all
/// that it holds of it.
async fn of_calendar(
    cluster: &ClusterReads,
    calendar: &CalendarRef,
    spec: SaleCalendarSpec,
    status: SaleCalendarStatus,
    now: Timestamp,
) -> Said {
    if !spec.sources.is_empty()
        && let Some(term) = cluster.leading.term()
        && let Some(known) = term.calendars.known(calendar)
        && known.complete
    {
        return Said::Occurrences {
            all: known.known.to_vec(),
            whole: true,
        };
    }
    let found = tokio::task::spawn_blocking(move || {
        let zone = spec.zone().ok()?;
        let names = spec.sources.iter().map(|source| source.name.as_str());
        let book = Book::new(spec.inline_events(&zone), names, &status.to_calendars());
        let whole = spec.sources.is_empty() && book.inline_problems().is_empty();
        Some((book.occurrences(now).ok()?, whole))
    });
    match found.await {
        Ok(Some((all, whole))) => Said::Occurrences {
            all: all.to_vec(),
            whole,
        },
        _ => Said::Nothing,
    }
}

/// What can't be read counts as not there: a warning less.
async fn around(cluster: &ClusterReads, kind: &TargetKind, namespace: &str) -> Around {
    let quotas: Api<ResourceQuota> = Api::namespaced(cluster.client.clone(), namespace);
    let params = ListParams::default();
    let (quotas, target) = tokio::join!(quotas.list(&params), async {
        let (target, has_template) = match kind {
            TargetKind::PodTemplate(target) => (target, true),
            TargetKind::Other(target) => (target, false),
            TargetKind::Unknown => return (0, None),
        };
        let scale = cluster.targets.scale(target).await.ok();
        let running = scale.and_then(|scale| Some(scale.status?.replicas));
        let pod = match has_template {
            true => cluster.pod_template(target).await.ok().flatten(),
            false => None,
        };
        (running.unwrap_or(0), pod)
    });
    let quotas = quotas.map(|quotas| quotas.items).unwrap_or_else(|error| {
        debug!(%error, "admission could not list ResourceQuotas");
        Vec::new()
    });
    Around {
        running: target.0,
        pod: target.1,
        quotas,
    }
}
