//! Whether who asks may have what is asked: delegated to the API server by SubjectAccessReview.

use std::sync::Arc;
use std::time::{Duration, Instant};

use k8s_openapi::api::authorization::v1 as review;
use sha2::{Digest, Sha256};

use crate::attributes::{Attributes, ResourceAttributes};
use crate::authentication::{ANONYMOUS, Caller, User};
use crate::reviews::{Lane, Reviews};
use crate::spell::SharedSpell;
use crate::status::Failure;
use crate::ttl_cache::TtlCache;

/// As kube-apiserver's delegation: so long may a right that was taken away still be good.
const ALLOWED_LIFETIME: Duration = Duration::from_secs(10);
/// Shorter: somebody who has just been given the right shouldn't wait for it.
const DENIED_LIFETIME: Duration = Duration::from_secs(3);
/// Decisions; each is a hash and a sentence. As many as a cluster has metrics.
const CAPACITY: usize = 8192;
/// Whoever is in it may do everything, also while the API server can't be asked (kube-apiserver's rule).
const PRIVILEGED_GROUP: &str = "system:masters";

/// Allowed, or refused for that reason.
type Decision = Result<(), String>;

/// Tells who may do what.
pub(crate) struct Authorizer {
    reviews: Arc<Reviews>,
    /// By a hash of the review, which a client can make as large as its headers.
    known: TtlCache<[u8; 32], Decision>,
    judging: SharedSpell,
}

impl Authorizer {
    pub(crate) fn new(reviews: Arc<Reviews>) -> Self {
        Self {
            reviews,
            known: TtlCache::new(CAPACITY),
            judging: SharedSpell::default(),
        }
    }

    /// # Errors
    /// 403 when the user may not, 429 when too many who aren't behind the front proxy wait for a review, 503 when the API server
    /// can't be asked.
    pub(crate) async fn authorize(
        &self,
        caller: &Caller,
        attributes: &Attributes,
    ) -> Result<(), Failure> {
        let user = &caller.user;
        // Whatever a cluster allows to everybody (its own roles: some paths), nobody is answered here who doesn't say who they are, nor
        // does it cost the API server a review.
        if user.name == ANONYMOUS {
            return Err(refusal(user, attributes, ""));
        }
        if user.groups.iter().any(|group| group == PRIVILEGED_GROUP) {
            return Ok(());
        }
        let lane = match caller.through_front_proxy {
            true => Lane::FrontProxy,
            false => Lane::Direct,
        };
        // The HPA controller may read all metrics: one review in 10 s is enough for all its reads, where one for each
        // metric would be more requests than all the rest of this program makes. Only behind the front proxy, which has
        // asked about this very metric already, so that an authorizer with exceptions from "all" is heard too.
        if caller.through_front_proxy
            && let Attributes::Resource(resource) = attributes
            && let Some(all) = resource.of_all_metrics()
            && self
                .decide(lane, user, &Attributes::Resource(all))
                .await?
                .is_ok()
        {
            return Ok(());
        }
        self.decide(lane, user, attributes)
            .await?
            .map_err(|reason| refusal(user, attributes, &reason))
    }

    /// The API server's decision, or what is remembered of it.
    async fn decide(
        &self,
        lane: Lane,
        user: &User,
        attributes: &Attributes,
    ) -> Result<Decision, Failure> {
        let review = review_of(user, attributes);
        let text = serde_json::to_vec(&review.spec).map_err(|error| {
            Failure::internal(format!("can't write a SubjectAccessReview: {error}"))
        })?;
        let key: [u8; 32] = Sha256::digest(&text).into();
        if let Some(decision) = self.known.get(&key, Instant::now()) {
            return Ok(decision);
        }
        let decision = self.review(lane, &review).await?;
        let lifetime = if decision.is_ok() {
            ALLOWED_LIFETIME
        } else {
            DENIED_LIFETIME
        };
        self.known
            .insert(key, decision.clone(), lifetime, Instant::now());
        Ok(decision)
    }

    async fn review(
        &self,
        lane: Lane,
        review: &review::SubjectAccessReview,
    ) -> Result<Decision, Failure> {
        let status = self
            .reviews
            .ask(lane, review)
            .await?
            .status
            .unwrap_or_default();
        if let Some(error) = status.evaluation_error.filter(|error| !error.is_empty())
            && self.judging.fails(&error)
        {
            tracing::warn!(
                error,
                "the API server could not judge a SubjectAccessReview in full"
            );
        }
        let allowed = status.allowed && status.denied != Some(true);
        Ok(if allowed {
            Ok(())
        } else {
            Err(status.reason.unwrap_or_default())
        })
    }
}

fn review_of(user: &User, attributes: &Attributes) -> review::SubjectAccessReview {
    let some = |text: &str| (!text.is_empty()).then(|| text.to_owned());
    let mut spec = review::SubjectAccessReviewSpec {
        user: some(&user.name),
        uid: some(&user.uid),
        groups: Some(user.groups.clone()),
        extra: Some(user.extra.clone()),
        ..Default::default()
    };
    match attributes {
        Attributes::Resource(resource) => {
            let selector = &resource.label_selector;
            spec.resource_attributes = Some(review::ResourceAttributes {
                verb: some(resource.verb),
                group: some(&resource.group),
                version: some(&resource.version),
                namespace: some(&resource.namespace),
                resource: some(&resource.resource),
                name: some(&resource.name),
                subresource: some(&resource.subresource),
                label_selector: (!selector.is_empty()).then(|| review::LabelSelectorAttributes {
                    requirements: Some(selector.clone()),
                    ..Default::default()
                }),
                ..Default::default()
            });
        }
        Attributes::Path { verb, path } => {
            spec.non_resource_attributes = Some(review::NonResourceAttributes {
                verb: some(verb),
                path: some(path),
            });
        }
    }
    review::SubjectAccessReview {
        spec,
        ..Default::default()
    }
}

/// The refusal in kube-apiserver's words.
fn refusal(user: &User, attributes: &Attributes, reason: &str) -> Failure {
    let because = if reason.is_empty() {
        String::new()
    } else {
        format!(": {reason}")
    };
    let name = &user.name;
    match attributes {
        Attributes::Resource(ResourceAttributes {
            verb,
            group,
            namespace,
            resource,
            subresource,
            name: object,
            ..
        }) => {
            let resource_path = if subresource.is_empty() {
                resource.clone()
            } else {
                format!("{resource}/{subresource}")
            };
            let object = if object.is_empty() {
                String::new()
            } else {
                format!(" {object:?}")
            };
            let scope = if namespace.is_empty() {
                "at the cluster scope".to_owned()
            } else {
                format!("in the namespace {namespace:?}")
            };
            Failure::forbidden(format!(
                "{resource}.{group}{object} is forbidden: User {name:?} cannot {verb} resource {resource_path:?} in API group {group:?} {scope}{because}"
            ))
            .about_metric(resource)
        }
        Attributes::Path { verb, path } => Failure::forbidden(format!(
            "forbidden: User {name:?} cannot {verb} path {path:?}{because}"
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::Method;

    fn jane() -> User {
        User {
            name: "jane".to_owned(),
            groups: vec!["shop".to_owned()],
            ..User::default()
        }
    }

    #[test]
    fn refusals_are_worded_as_kube_apiserver_does() {
        for (path, message) in [
            (
                "/apis/external.metrics.k8s.io/v1beta1/namespaces/shop/s0-orders",
                r#"s0-orders.external.metrics.k8s.io is forbidden: User "jane" cannot list resource "s0-orders" in API group "external.metrics.k8s.io" in the namespace "shop": because"#,
            ),
            (
                "/version",
                r#"forbidden: User "jane" cannot get path "/version": because"#,
            ),
        ] {
            let failure = refusal(&jane(), &Attributes::of(&Method::GET, path, ""), "because");
            assert_eq!(failure.message(), message);
            assert_eq!(failure.code(), http::StatusCode::FORBIDDEN);
        }
    }

    #[test]
    fn a_review_asks_for_the_metric_or_for_the_path() {
        let metric = "/apis/external.metrics.k8s.io/v1beta1/namespaces/shop/s0-orders";
        let spec = review_of(
            &jane(),
            &Attributes::of(&Method::GET, metric, "labelSelector=a%3Db"),
        )
        .spec;
        assert_eq!(
            serde_json::to_value(&spec).unwrap(),
            serde_json::json!({
                "user": "jane",
                "groups": ["shop"],
                "extra": {},
                "resourceAttributes": {
                    "verb": "list", "group": "external.metrics.k8s.io", "version": "v1beta1", "namespace": "shop",
                    "resource": "s0-orders",
                    "labelSelector": {"requirements": [{"key": "a", "operator": "In", "values": ["b"]}]},
                },
            })
        );
        let spec = review_of(&jane(), &Attributes::of(&Method::GET, "/openapi/v2", "")).spec;
        assert!(spec.resource_attributes.is_none());
        assert_eq!(
            serde_json::to_value(spec.non_resource_attributes).unwrap(),
            serde_json::json!({"verb": "get", "path": "/openapi/v2"})
        );
    }
}
