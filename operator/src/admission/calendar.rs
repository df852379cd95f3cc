//! The rules for SaleCalendars and ClusterSaleCalendars: everything for which an event or a source would be left out, and what a
//! calendar may hold at most. That what a source refers to isn't there yet is a warning.

use kube::api::DynamicObject;
use sakidori_api::SaleCalendarSpec;
use tokio::time::timeout_at;
use tracing::warn;

use super::referred::{Referred, Wanted};
use super::verdict::Verdict;
use super::{Admission, Asked, spec_of};

const REASON: &str = "incorrect-calendar";

/// Judges a calendar. `namespace` is where its sources have what they refer to.
pub async fn judge(
    admission: &Admission,
    object: &DynamicObject,
    namespace: &str,
    is_cluster: bool,
    asked: &Asked,
) -> Verdict {
    let mut verdict = Verdict::default();
    let spec = match spec_of::<SaleCalendarSpec>(object) {
        Ok(spec) => spec,
        Err(error) => {
            verdict.refuse_beyond_keda(REASON, error);
            return verdict;
        }
    };
    let referred = referred(&spec, is_cluster.then_some(namespace));
    by_itself(admission, spec, asked, &mut verdict).await;
    if !asked.dry_run {
        let cluster = &admission.cluster;
        cluster
            .look_for_referred(namespace, referred, asked.until, &mut verdict)
            .await;
    }
    verdict
}

/// Beside the threads on which everything else runs: ten thousand occurrences take the processor for a while.
async fn by_itself(
    admission: &Admission,
    spec: SaleCalendarSpec,
    asked: &Asked,
    verdict: &mut Verdict,
) {
    let Ok(Ok(_slot)) = timeout_at(asked.until.into(), admission.checks.acquire()).await else {
        return verdict.warn("there was no time to check its events");
    };
    let now = admission.clock.now();
    let checked = tokio::task::spawn_blocking(move || {
        let mut problems = spec.problems();
        problems.extend(spec.past_limit(now));
        problems
    });
    match checked.await {
        Ok(problems) => {
            for problem in problems {
                verdict.refuse_beyond_keda(REASON, problem.to_string());
            }
        }
        Err(error) => {
            warn!(%error, "checking a calendar failed");
            verdict.warn("its events were not checked: checking them failed");
        }
    }
}

/// What the sources refer to. Where that is in another namespace than one would look, the warning says so.
fn referred(spec: &SaleCalendarSpec, elsewhere: Option<&str>) -> Wanted {
    let mut wanted = Wanted::new();
    for (index, source) in spec.sources.iter().enumerate() {
        let config_map = source.config_map_key_ref.as_ref();
        let secret = source.secret_key_ref.as_ref();
        let authentication = source.authentication_ref.as_ref();
        let all = [
            (
                "configMapKeyRef",
                Referred::ConfigMap,
                config_map.map(|key| &key.name),
            ),
            (
                "secretKeyRef",
                Referred::Secret,
                secret.map(|key| &key.name),
            ),
            (
                "authenticationRef",
                Referred::by_authentication(authentication.and_then(|it| it.kind.as_deref())),
                authentication.map(|it| &it.name),
            ),
        ];
        for (field, kind, name) in all {
            let Some(name) = name.filter(|name| !name.is_empty()) else {
                continue;
            };
            let place = elsewhere
                .filter(|_| kind != Referred::ClusterTriggerAuthentication)
                .map_or_else(String::new, |namespace| {
                    format!(" in namespace {namespace:?}")
                });
            let absent = kind.absent(name);
            wanted
                .entry((kind, name.clone()))
                .or_insert_with(|| format!("spec.sources[{index}].{field}: {absent}{place}"));
        }
    }
    wanted
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_sources_refer_to_is_looked_for_once_and_named_by_its_field() {
        let spec: SaleCalendarSpec = serde_json::from_value(json!({"sources": [
            {"name": "a", "format": "csv", "configMapKeyRef": {"name": "drops", "key": "a"}},
            {"name": "b", "format": "csv", "configMapKeyRef": {"name": "drops", "key": "b"}},
            {"name": "c", "format": "ics", "url": "https://host", "authenticationRef": {"name": "cal"}},
            {"name": "d", "format": "ics", "url": "https://host", "authenticationRef": {"name": "cal", "kind": "ClusterTriggerAuthentication"}},
            {"name": "e", "format": "json", "secretKeyRef": {"name": "drops", "key": "e"}},
        ]}))
        .unwrap();
        let texts =
            |elsewhere| -> Vec<String> { referred(&spec, elsewhere).into_values().collect() };
        assert_eq!(
            texts(None),
            [
                "spec.sources[2].authenticationRef: the TriggerAuthentication \"cal\" is not there yet",
                "spec.sources[3].authenticationRef: the ClusterTriggerAuthentication \"cal\" is not there yet",
                "spec.sources[0].configMapKeyRef: the ConfigMap \"drops\" is not there yet",
                "spec.sources[4].secretKeyRef: the Secret \"drops\" is not there yet",
            ]
        );
        assert!(texts(Some("keda"))[0].ends_with("is not there yet in namespace \"keda\""));
        assert!(texts(Some("keda"))[1].ends_with("is not there yet"));
    }
}
