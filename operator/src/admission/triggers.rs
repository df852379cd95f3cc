//! The rules about triggers, which ScaledObjects and ScaledJobs share: each trigger's type and parameters, by the scalers' own
//! parser, and what is probably not meant.

use std::collections::BTreeMap;
use std::time::Instant;

use sakidori_api::{AuthenticationRef, Trigger as Declared};
use sakidori_scalers::{Context, Known, Trigger};
use tokio::time::timeout_at;
use tracing::warn;

use super::Admission;
use super::verdict::{Verdict, reason};
use crate::resource_trigger;
use crate::sales;
use crate::triggers::metric_type;

/// Whose triggers they are.
#[derive(Clone)]
pub struct Owner {
    pub namespace: String,
    pub name: String,
    /// A ScaledObject has an HPA, a ScaledJob none.
    pub has_hpa: bool,
    /// Whether one formula makes one metric of all triggers.
    pub has_formula: bool,
    /// `maxReplicaCount`, where a floor must not be above it.
    pub max_replicas: i32,
}

/// `trigger 0 (cron): message`.
pub fn named(index: usize, declared: &Declared, message: &str) -> String {
    format!("trigger {index} ({}): {message}", declared.type_)
}

/// The name of a trigger's authentication; an empty one is none.
pub fn authentication(declared: &Declared) -> Option<&AuthenticationRef> {
    let reference = declared.authentication_ref.as_ref();
    reference.filter(|reference| !reference.name.is_empty())
}

/// Judges all triggers beside the threads on which everything else runs: a large object takes the processor for a while.
pub async fn judge(
    admission: &Admission,
    triggers: &[Declared],
    owner: Owner,
    until: Instant,
    verdict: &mut Verdict,
) {
    let Ok(Ok(_slot)) = timeout_at(until.into(), admission.checks.acquire()).await else {
        return verdict.warn("there was no time to check its triggers");
    };
    let (triggers, scaling) = (triggers.to_vec(), admission.scaling.clone());
    let judged = tokio::task::spawn_blocking(move || {
        let mut verdict = Verdict::default();
        judge_now(&triggers, &owner, &scaling, until, &mut verdict);
        verdict
    });
    match judged.await {
        Ok(judged) => verdict.append(judged),
        Err(error) => {
            warn!(%error, "checking triggers failed");
            verdict.warn("its triggers were not checked: checking them failed");
        }
    }
}

/// One after the other, as long as there is time.
fn judge_now(
    triggers: &[Declared],
    owner: &Owner,
    scaling: &Context,
    until: Instant,
    verdict: &mut Verdict,
) {
    for (index, declared) in triggers.iter().enumerate() {
        if Instant::now() > until {
            verdict.warn(format!(
                "there was no time to check the triggers from {index} on"
            ));
            return;
        }
        for problem in problems(index, declared, owner, scaling) {
            verdict.refuse_beyond_keda(reason::TRIGGERS, named(index, declared, &problem));
        }
        if has_scaler(declared) {
            for warning in sakidori_scalers::warnings(&input(index, declared, owner)) {
                verdict.warn(named(index, declared, &warning.text));
            }
        }
    }
}

fn problems(index: usize, declared: &Declared, owner: &Owner, scaling: &Context) -> Vec<String> {
    if sales::is_sale(&declared.type_) {
        return sales::problems(declared, owner.max_replicas);
    }
    let mut problems = match resource_trigger::is_resource(&declared.type_) {
        true if owner.has_hpa => resource_trigger::metric(declared)
            .err()
            .into_iter()
            .collect(),
        true => Vec::new(),
        false => {
            let known = match authentication(declared) {
                Some(_) => Known::MetadataOfAuthenticated,
                None => Known::Metadata,
            };
            sakidori_scalers::check(&input(index, declared, owner), known, scaling)
        }
    };
    let types = ["", "AverageValue", "Value", "Utilization"];
    if let Some(other) = declared.metric_type.as_deref()
        && has_scaler(declared)
        && !types.contains(&other)
    {
        problems.push(format!(
            "metricType is {other:?}: expected \"AverageValue\" or \"Value\""
        ));
    }
    if let Some(kind) = authentication(declared).and_then(|reference| reference.kind.as_deref())
        && !matches!(
            kind,
            "" | "TriggerAuthentication" | "ClusterTriggerAuthentication"
        )
    {
        problems.push(format!(
            "authenticationRef.kind is {kind:?}: expected \"TriggerAuthentication\" or \"ClusterTriggerAuthentication\""
        ));
    }
    problems
}

/// Whether it is read by one of the scalers.
fn has_scaler(declared: &Declared) -> bool {
    !resource_trigger::is_resource(&declared.type_) && !sales::is_sale(&declared.type_)
}

fn input(index: usize, declared: &Declared, owner: &Owner) -> Trigger {
    Trigger {
        kind: declared.type_.clone(),
        index,
        name: declared.name.clone(),
        metric_type: metric_type(declared.metric_type.as_deref()),
        is_part_of_a_formula: owner.has_formula,
        namespace: owner.namespace.clone(),
        object: owner.name.clone(),
        metadata: declared.metadata.clone(),
        environment: BTreeMap::new(),
        authentication: BTreeMap::new(),
        pod_identity: None,
    }
}

#[cfg(test)]
pub(super) mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use async_trait::async_trait;
    use sakidori_scalers::clients::Clients;
    use sakidori_scalers::{Cluster, ClusterError, Endpoint, Pod, StoreKind, Stored};
    use serde_json::{Value, json};

    use super::*;

    /// Nothing is asked of it.
    struct NoCluster;

    #[async_trait]
    impl Cluster for NoCluster {
        async fn stored(
            &self,
            _: StoreKind,
            _: &str,
            _: &str,
            _: &str,
        ) -> Result<Stored, ClusterError> {
            Err(ClusterError("asked for a source".to_owned()))
        }

        async fn pods(&self, _: &str, _: &str) -> Result<Vec<Pod>, ClusterError> {
            Err(ClusterError("asked for pods".into()))
        }

        async fn ready_endpoints(&self, _: &str, _: &str) -> Result<Vec<Endpoint>, ClusterError> {
            Err(ClusterError("asked for endpoints".into()))
        }
    }

    pub fn scaling() -> Context {
        Context {
            clients: Arc::new(Clients::default()),
            cluster: Arc::new(NoCluster),
        }
    }

    fn judged(triggers: Value, until: Instant) -> (Vec<String>, Vec<String>) {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let triggers: Vec<Declared> = serde_json::from_value(triggers).unwrap();
        let owner = Owner {
            namespace: "shop".into(),
            name: "web".into(),
            has_hpa: true,
            has_formula: false,
            max_replicas: 100,
        };
        let scaling = scaling();
        let mut verdict = Verdict::default();
        judge_now(&triggers, &owner, &scaling, until, &mut verdict);
        (verdict.texts(), verdict.into_warnings())
    }

    fn soon() -> Instant {
        Instant::now() + Duration::from_secs(60)
    }

    #[test]
    fn all_problems_of_all_triggers_are_told() {
        let by = |kind: &str| json!({"name": "login", "kind": kind});
        let (texts, warnings) = judged(
            json!([
                {"type": "cron", "metadata": {"start": "0 0 31 2 *", "end": "61 * * * *", "timezone": "Mars/Base", "desiredReplicas": "1"}},
                {"type": "cpu", "metricType": "AverageValue", "metadata": {"value": "lots"}},
                {"type": "rabitmq", "metadata": {}},
                {"type": "solarwinds", "metadata": {}},
                {"type": "rabbitmq", "authenticationRef": by("Secret"), "metadata": {"queueName": "orders", "pageSize": "0"}},
                {"type": "rabbitmq", "authenticationRef": by("TriggerAuthentication"), "metadata": {"queueNmae": "orders"}},
            ]),
            soon(),
        );
        assert_eq!(
            texts,
            [
                "trigger 0 (cron): error parsing start schedule: 0 0 31 2 * never fires: no month in it has such a day",
                "trigger 0 (cron): error parsing end schedule: end of range (61) above maximum (59): \"61\" in the minute field; expected 0-59",
                "trigger 0 (cron): unable to load timezone: unknown time zone Mars/Base: expected a name of the IANA time zone database, such as Europe/Berlin",
                "trigger 1 (cpu): error parsing cpu metadata: parameter \"value\": \"lots\" is no quantity: expected a number such as 5, 2.5, 100m or 2Gi",
                "trigger 2 (rabitmq): no trigger type \"rabitmq\", did you mean \"rabbitmq\"?",
                "trigger 3 (solarwinds): the trigger type \"solarwinds\" of KEDA is not supported by this version",
                "trigger 4 (rabbitmq): pageSize should be 1 or greater",
                "trigger 4 (rabbitmq): authenticationRef.kind is \"Secret\": expected \"TriggerAuthentication\" or \"ClusterTriggerAuthentication\"",
                "trigger 5 (rabbitmq): missing required parameter \"queueName\" in [triggerMetadata]: did you mean it with \"queueNmae\"?",
            ]
        );
        assert_eq!(
            warnings,
            [
                "trigger 5 (rabbitmq): Unmatched input property queueNmae in scaler rabbitmq, did you mean \"queueName\"?"
            ]
        );
    }

    #[test]
    fn a_secret_in_plain_metadata_is_a_warning_without_it() {
        let (texts, warnings) = judged(
            json!([{"type": "metrics-api", "metadata": {
                "url": "http://stats", "valueLocation": "a", "targetValue": "1", "authModes": "apiKey", "apiKey": "hunter2",
            }}]),
            soon(),
        );
        assert_eq!(texts, [""; 0]);
        assert_eq!(
            warnings,
            [
                "trigger 0 (metrics-api): parameter \"apiKey\" is a secret and stands readable in the trigger's metadata: put it into a TriggerAuthentication"
            ]
        );
    }

    #[test]
    fn without_time_triggers_are_let_through_and_the_user_is_told() {
        let bad = json!({"type": "nonsense", "metadata": {}});
        let past = Instant::now() - Duration::from_millis(1);
        let (texts, warnings) = judged(json!([bad, bad]), past);
        assert_eq!(texts, [""; 0]);
        assert_eq!(
            warnings,
            ["there was no time to check the triggers from 0 on"]
        );
    }
}
