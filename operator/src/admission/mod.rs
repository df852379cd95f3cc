//! The validating admission webhooks, on KEDA's paths: what is wrong with an object is told when it is applied, all of it at once.
//!
//! Every replica answers, whether it leads or not. What is compared with other objects comes from memory ([`neighbours`]); what has
//! to be read is read with a deadline ([`cluster`]). Nothing that goes wrong in here refuses anything: an object that could not be
//! checked in time, or whose check panicked, is let through with a warning, and the operator says in its status what is wrong with
//! it. Deletions aren't asked about, and neither an update of an object that is being deleted nor one that only takes a finalizer
//! away is looked at.

mod allowance;
mod authentication;
mod calendar;
mod cluster;
mod event_source;
mod neighbours;
mod referred;
mod request;
mod resize;
mod sales;
mod scaled_job;
mod scaled_object;
mod triggers;
mod verdict;

use std::sync::{Arc, Mutex};
use std::time::Instant;

use axum::body::Body;
use axum::extract::{Query, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use axum::{Json, Router};
use jiff::Timestamp;
use kube::ResourceExt;
use kube::api::DynamicObject;
use kube::core::admission::{AdmissionRequest, AdmissionResponse, Operation};
use sakidori_api::ScaledObject;
use sakidori_engine::{EventType, Spell};
use sakidori_scalers::Context;
use serde::de::DeserializeOwned;
use tokio::sync::Semaphore;
use tokio::time::timeout_at;
use tokio_util::task::AbortOnDropHandle;
use tracing::{debug, info, warn};

use allowance::Allowance;
pub use cluster::ClusterReads;
pub use neighbours::Neighbours;
use request::{Limit, Room};
use verdict::Verdict;

use crate::clock::Clock;
use crate::events::EventPublisher;
use crate::lock::lock;
use crate::prometheus::Metrics;

/// Checks of parameters that run at the same time: they take the processor, which the scaling needs too.
const CHECKS_AT_ONCE: usize = 2;
/// Reviews at the same time that read the cluster. An API server has a few under way; a client that is none has no more of the
/// operator's rights to read with than that.
const JUDGED_AT_ONCE: usize = 32;
/// Events that admission tells in a minute, one each for an object that has useless settings: more are in the answer only.
const EVENTS_A_MINUTE: u32 = 120;

/// What is judged on which path.
const PATHS: [(&str, Kind); 8] = [
    (
        "/validate-keda-sh-v1alpha1-scaledobject",
        Kind::ScaledObject,
    ),
    ("/validate-keda-sh-v1alpha1-scaledjob", Kind::ScaledJob),
    (
        "/validate-keda-sh-v1alpha1-triggerauthentication",
        Kind::Authentication,
    ),
    (
        "/validate-keda-sh-v1alpha1-clustertriggerauthentication",
        Kind::Authentication,
    ),
    (
        "/validate-eventing-keda-sh-v1alpha1-cloudeventsource",
        Kind::EventSource,
    ),
    (
        "/validate-eventing-keda-sh-v1alpha1-clustercloudeventsource",
        Kind::EventSource,
    ),
    (
        "/validate-sakidori-dev-v1alpha1-salecalendar",
        Kind::SaleCalendar,
    ),
    (
        "/validate-sakidori-dev-v1alpha1-clustersalecalendar",
        Kind::ClusterSaleCalendar,
    ),
];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    ScaledObject,
    ScaledJob,
    Authentication,
    EventSource,
    SaleCalendar,
    ClusterSaleCalendar,
}

impl Kind {
    /// How metrics name it.
    fn word(self) -> &'static str {
        match self {
            Self::ScaledObject => "scaledobjects",
            Self::ScaledJob => "scaledjobs",
            Self::Authentication => "triggerauthentications",
            Self::EventSource => "cloudeventsources",
            Self::SaleCalendar => "salecalendars",
            Self::ClusterSaleCalendar => "clustersalecalendars",
        }
    }
}

/// What the rules look at beside the object.
pub struct Admission {
    neighbours: Arc<Neighbours>,
    cluster: ClusterReads,
    scaling: Context,
    publisher: Arc<EventPublisher>,
    metrics: Arc<Metrics>,
    clock: Clock,
    room: Room,
    checks: Semaphore,
    judged: Semaphore,
    events: Mutex<Allowance>,
}

/// How an object is to be judged.
#[derive(Clone, Copy)]
struct Asked {
    dry_run: bool,
    until: Instant,
}

impl Admission {
    pub fn new(
        neighbours: Arc<Neighbours>,
        cluster: ClusterReads,
        scaling: Context,
        publisher: Arc<EventPublisher>,
        metrics: Arc<Metrics>,
        clock: Clock,
    ) -> Self {
        Self {
            neighbours,
            cluster,
            scaling,
            publisher,
            metrics,
            clock,
            room: Room::new(),
            checks: Semaphore::new(CHECKS_AT_ONCE),
            judged: Semaphore::new(JUDGED_AT_ONCE),
            events: Mutex::new(Allowance::new(EVENTS_A_MINUTE, Instant::now())),
        }
    }

    /// Tells an Event about an object that is being applied; not any number, as nobody proves here that there is such an object.
    fn tell(&self, object: &ScaledObject, reason: &'static str, message: &str) {
        if lock(&self.events).take(Instant::now()) {
            let message = message.to_owned();
            self.publisher
                .publish(object, EventType::Normal, reason, message);
        }
    }

    /// The webhooks' router.
    pub fn router(self) -> Router {
        let this = Arc::new(self);
        PATHS
            .into_iter()
            .fold(Router::new(), |router, (path, kind)| {
                let this = this.clone();
                let route = post(
                    move |State(this): State<Arc<Self>>,
                          Query(limit): Query<Limit>,
                          headers: HeaderMap,
                          body: Body| async move {
                        let until = Instant::now() + limit.budget();
                        this.review(kind, until, &headers, body).await
                    },
                );
                router.route(path, route.with_state(this))
            })
    }

    async fn review(
        self: Arc<Self>,
        kind: Kind,
        until: Instant,
        headers: &HeaderMap,
        body: Body,
    ) -> Response {
        let (request, taken) = match self.room.receive(headers, body, until).await {
            Ok(received) => received,
            Err((status, message)) => {
                self.metrics
                    .validations()
                    .count_review(kind.word(), "error");
                return refusal(status, &message);
            }
        };
        let mut response = AdmissionResponse::from(&request);
        let about = match request.namespace.as_deref() {
            Some(namespace) if !namespace.is_empty() => format!("{namespace}/{}", request.name),
            _ => request.name.clone(),
        };
        let about_kind = request.kind.kind.clone();
        // Reads end before the whole does, so that what is known without them is still told.
        let reads = until - until.saturating_duration_since(Instant::now()) / 5;
        let this = self.clone();
        let judging = async move {
            let _taken = taken;
            this.judge(kind, request, reads).await
        };
        let verdict = decided(judging, until).await;
        self.metrics
            .validations()
            .count_review(kind.word(), verdict.result());
        if let Some(message) = verdict.message() {
            info!(
                object = about,
                kind = about_kind,
                reason = "Refused",
                "refused an object: {message}"
            );
            response = response.deny(message);
            response.result.code = 403;
            response.result.reason = "Forbidden".to_owned();
        }
        let warnings = verdict.into_warnings();
        response.warnings = (!warnings.is_empty()).then_some(warnings);
        Json(response.into_review()).into_response()
    }

    async fn judge(
        &self,
        kind: Kind,
        request: AdmissionRequest<DynamicObject>,
        until: Instant,
    ) -> Verdict {
        let action = match request.operation {
            Operation::Create => "create",
            Operation::Update => "update",
            Operation::Delete | Operation::Connect => return Verdict::default(),
        };
        let Some(object) = request.object else {
            return Verdict::default();
        };
        let Ok(Ok(_turn)) = timeout_at(until.into(), self.judged.acquire()).await else {
            return Verdict::unchecked("too many are being checked");
        };
        let before = request.old_object.as_ref();
        if request.sub_resource.is_some() || is_going(&object, before) {
            return Verdict::default();
        }
        let namespace = request.namespace.as_deref().unwrap_or_default();
        let asked = Asked {
            dry_run: request.dry_run,
            until,
        };
        let stored = before.is_some_and(|before| before.data["spec"] == object.data["spec"]);
        let mut verdict = match kind {
            Kind::ScaledObject => {
                self.metrics.validations().count(namespace, action);
                match object.try_parse::<ScaledObject>() {
                    Ok(object) => scaled_object::judge(self, &object, &asked).await,
                    Err(error) => unreadable(&error.to_string()),
                }
            }
            Kind::ScaledJob => scaled_job::judge(self, &object, &asked).await,
            Kind::Authentication => authentication::judge(&object),
            Kind::EventSource => event_source::judge(&object),
            Kind::SaleCalendar => calendar::judge(self, &object, namespace, false, &asked).await,
            Kind::ClusterSaleCalendar => {
                let namespace = &self.cluster.cluster_object_namespace;
                calendar::judge(self, &object, namespace, true, &asked).await
            }
        };
        if stored {
            verdict.spare_what_is_stored();
        }
        if matches!(kind, Kind::ScaledObject | Kind::ScaledJob) {
            for reason in verdict.reasons() {
                self.metrics
                    .validations()
                    .count_error(namespace, action, reason);
            }
        }
        verdict
    }
}

/// What judging comes to. It runs in a task of its own, so that a panic in it is only its own; without a verdict in time the object is
/// let through.
async fn decided(
    judging: impl Future<Output = Verdict> + Send + 'static,
    until: Instant,
) -> Verdict {
    let why = match timeout_at(until.into(), AbortOnDropHandle::new(tokio::spawn(judging))).await {
        Ok(Ok(verdict)) => return verdict,
        Ok(Err(error)) => {
            warn!(%error, "checking an object failed; it is let through");
            "checking it failed"
        }
        Err(_) => {
            warn!("there was no time to check an object; it is let through");
            "there was no time"
        }
    };
    Verdict::unchecked(why)
}

fn refusal(status: StatusCode, message: &str) -> Response {
    // Whoever reaches the port can send any number of these.
    static TOLD: Mutex<Spell> = Mutex::new(Spell::new());
    let status_code = status.as_u16();
    if lock(&TOLD).fails(Timestamp::now(), message) {
        warn!(
            status = status_code,
            error = message,
            "a webhook request was not answered; more are told at debug"
        );
    } else {
        debug!(
            status = status_code,
            error = message,
            "a webhook request was not answered"
        );
    }
    (status, message.to_owned()).into_response()
}

fn unreadable(error: &str) -> Verdict {
    let mut verdict = Verdict::default();
    verdict.refuse("unreadable", format!("the object can't be read: {error}"));
    verdict
}

/// True for an object that is being deleted, or of which an update only takes a finalizer away: nothing may hold that up.
fn is_going(object: &DynamicObject, before: Option<&DynamicObject>) -> bool {
    object.metadata.deletion_timestamp.is_some()
        || before.is_some_and(|before| {
            object.finalizers().len() < before.finalizers().len()
                && object.data["spec"] == before.data["spec"]
        })
}

/// The part of an object's spec that the rules look at.
fn spec_of<T: DeserializeOwned + Default>(object: &DynamicObject) -> Result<T, String> {
    match object.data.get("spec") {
        None => Ok(T::default()),
        Some(spec) => {
            T::deserialize(spec).map_err(|error| format!("the object can't be read: spec: {error}"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::prometheus::MetricsOptions;
    use std::time::Duration;

    use serde_json::{Value, json};
    use tokio_util::sync::CancellationToken;

    /// The API server takes the connection and never answers.
    #[tokio::test]
    async fn reads_that_hang_keep_nothing_else_from_being_told() {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = format!("http://{}", silent.local_addr().unwrap());
        let client = kube::Client::try_from(kube::Config::new(address.parse().unwrap())).unwrap();
        let (publisher, _) =
            EventPublisher::start(client.clone(), "me".into(), CancellationToken::new());
        let cluster = ClusterReads {
            client: client.clone(),
            targets: Arc::new(crate::target::Targets::new(client)),
            leading: crate::term::Current::channel().1,
            cluster_object_namespace: "keda".into(),
        };
        let admission = Admission::new(
            Arc::new(Neighbours::with(&[], &[])),
            cluster,
            triggers::tests::scaling(),
            publisher,
            Arc::new(Metrics::new(MetricsOptions::default()).unwrap()),
            Clock::start(),
        );
        let review = json!({
            "apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview",
            "request": {
                "uid": "1", "operation": "CREATE", "namespace": "shop", "userInfo": {},
                "kind": {"group": "keda.sh", "version": "v1alpha1", "kind": "ScaledObject"},
                "resource": {"group": "keda.sh", "version": "v1alpha1", "resource": "scaledobjects"},
                "object": {
                    "apiVersion": "keda.sh/v1alpha1", "kind": "ScaledObject",
                    "metadata": {"name": "web", "namespace": "shop"},
                    "spec": {
                        "scaleTargetRef": {"name": "web"}, "minReplicaCount": 3, "maxReplicaCount": 2,
                        "triggers": [{"type": "cpu", "metricType": "Utilization", "metadata": {"value": "60"}}],
                    },
                },
            },
        });
        let until = Instant::now() + Duration::from_secs(1);
        let body = Body::from(review.to_string());
        let answer = Arc::new(admission)
            .review(Kind::ScaledObject, until, &HeaderMap::new(), body)
            .await;
        assert!(Instant::now() <= until);
        let answer = axum::body::to_bytes(answer.into_body(), 10_000)
            .await
            .unwrap();
        let answer: Value = serde_json::from_slice(&answer).unwrap();
        let response = &answer["response"];
        assert_eq!(
            response["status"]["message"],
            "MinReplicaCount=3 must be less than MaxReplicaCount=2"
        );
        assert_eq!(
            response["warnings"],
            json!(["there was no time to look at the requests of its target"])
        );
    }

    fn object(metadata: Value, spec: Value) -> DynamicObject {
        let object = json!({"apiVersion": "keda.sh/v1alpha1", "kind": "ScaledObject", "metadata": metadata, "spec": spec});
        serde_json::from_value(object).unwrap()
    }

    #[tokio::test]
    async fn what_fails_or_hangs_in_here_refuses_nothing() {
        let soon = || Instant::now() + Duration::from_millis(50);
        let panics = async { panic!("a rule is broken in another way") };
        for (verdict, why) in [
            (decided(panics, soon()).await, "checking it failed"),
            (
                decided(std::future::pending(), soon()).await,
                "there was no time",
            ),
        ] {
            assert_eq!(verdict.message(), None);
            let warning = format!("Sakidori did not check this object: {why}");
            assert_eq!(verdict.into_warnings(), [warning]);
        }
        let refuses = async { unreadable("it") };
        let later = Instant::now() + Duration::from_secs(60);
        assert!(decided(refuses, later).await.message().is_some());
    }

    #[test]
    fn what_goes_is_not_looked_at() {
        let held = object(
            json!({"finalizers": ["finalizer.keda.sh"]}),
            json!({"a": 1}),
        );
        let let_go = object(json!({}), json!({"a": 1}));
        let changed = object(json!({}), json!({"a": 2}));
        let deleted = object(
            json!({"deletionTimestamp": "2026-01-01T00:00:00Z", "finalizers": ["x"]}),
            json!({"a": 2}),
        );
        assert!(is_going(&let_go, Some(&held)));
        assert!(!is_going(&changed, Some(&held)));
        assert!(!is_going(&held, Some(&let_go)));
        assert!(!is_going(&let_go, Some(&let_go)));
        assert!(!is_going(&let_go, None));
        assert!(is_going(&deleted, Some(&held)));
    }
}
