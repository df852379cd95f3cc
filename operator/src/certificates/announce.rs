//! Tells the API server whom to believe behind the external metrics API and behind the webhooks: the authorities stand in the `caBundle`s of
//! two objects, which are watched, since an upgrade by Helm may take them away.

use std::pin::pin;
use std::time::Duration;

use futures::StreamExt;
use kube::api::{ApiResource, DynamicObject, GroupVersionKind, Patch, PatchParams};
use kube::{Api, Client};
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};
use tracing::{debug, info, warn};

use super::bundle::Bundle;
use super::secret::{Recheck, is_conflict};
use super::{CertificateSettings, named};
use crate::api_error::{plain, plain_watch};
use crate::api_service;

/// After a patch that failed.
const PAUSE: Duration = Duration::from_secs(2);

/// Who puts other authorities into an object again and again is answered at once the first time, then after pauses that double up to this:
/// the two would keep the API server busy otherwise.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// With one of these annotations, cert-manager puts authorities into an object.
const CERT_MANAGER: [&str; 3] = [
    "cert-manager.io/inject-ca-from",
    "cert-manager.io/inject-ca-from-secret",
    "cert-manager.io/inject-apiserver-ca",
];

/// An object that authorities are announced in.
pub(super) struct Target {
    resource: ApiResource,
    name: String,
    /// The patch that puts them where they are missing.
    lacking: fn(&Value, &Bundle) -> Option<Value>,
}

impl std::fmt::Display for Target {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}", self.resource.kind, self.name)
    }
}

/// Those that the operator is told to look after.
pub(super) fn targets(settings: &CertificateSettings) -> Vec<Target> {
    let target = |group: &str, kind: &str, plural: &str, name: &str, lacking| Target {
        resource: ApiResource::from_gvk_with_plural(
            &GroupVersionKind::gvk(group, "v1", kind),
            plural,
        ),
        name: name.to_owned(),
        lacking,
    };
    let api_service = settings.patch_api_service.then(|| {
        target(
            "apiregistration.k8s.io",
            "APIService",
            "apiservices",
            api_service::NAME,
            api_service_lacks,
        )
    });
    let webhooks = settings.patch_webhooks.as_deref().map(|name| {
        target(
            "admissionregistration.k8s.io",
            "ValidatingWebhookConfiguration",
            "validatingwebhookconfigurations",
            name,
            webhooks_lack,
        )
    });
    api_service.into_iter().chain(webhooks).collect()
}

/// Never ends. Where others write the authorities, too, `recheck` has a last look at whether they are still those. `carries` is told
/// which authorities the object has, all that are believed; `None` while some are missing. An object that isn't there, or is
/// somebody else's to patch, keeps nobody waiting.
pub(super) async fn announce(
    client: Client,
    target: Target,
    mut believed: watch::Receiver<Bundle>,
    recheck: Option<Recheck>,
    carries: impl Fn(Option<Bundle>),
) {
    let api: Api<DynamicObject> = Api::all_with(client, &target.resource);
    let mut objects = pin!(named::follow(api.clone(), &target.name));
    // `None` before the first look.
    let mut object: Option<Option<DynamicObject>> = None;
    let mut pace = Pace::default();
    // When to patch again what couldn't be patched, or only now was.
    let mut again: Option<Instant> = None;
    let mut complained = false;
    loop {
        tokio::select! {
            seen = objects.next() => match seen {
                Some(Ok(seen)) => object = Some(seen),
                Some(Err(error)) => {
                    if !complained {
                        warn!(error = plain_watch(&error), "can't watch the {target}");
                    }
                    complained = true;
                    continue;
                }
                None => return,
            },
            changed = believed.changed() => if changed.is_err() { return },
            () = sleep_until(again.unwrap_or_else(Instant::now)), if again.is_some() => {}
        }
        again = None;
        let bundle = believed.borrow_and_update().clone();
        let Some(seen) = object.as_ref().filter(|_| !bundle.authorities().is_empty()) else {
            continue;
        };
        let Some(patch) = seen.as_ref().and_then(|seen| patch(&target, seen, &bundle)) else {
            carries(Some(bundle));
            continue;
        };
        carries(None);
        again = pace.earliest(&bundle).filter(|at| *at > Instant::now());
        if again.is_some() {
            continue;
        }
        if let Some(recheck) = &recheck
            && !recheck.has(&bundle).await
        {
            again = Some(Instant::now() + PAUSE);
            continue;
        }
        match api
            .patch(&target.name, &PatchParams::default(), &Patch::Merge(&patch))
            .await
        {
            Ok(patched) => {
                complained = false;
                info!("put the authorities into the {target}");
                object = Some(Some(patched));
                pace.patched(&bundle, Instant::now());
                carries(Some(bundle));
            }
            Err(error) => {
                again = Some(Instant::now() + PAUSE);
                if is_conflict(&error) {
                    debug!("the {target} has changed meanwhile");
                } else if !complained {
                    complained = true;
                    warn!(
                        error = plain(&error),
                        "can't put the authorities into the {target}"
                    );
                }
            }
        }
    }
}

/// How soon the same authorities may be put into an object again.
#[derive(Default)]
struct Pace {
    last: Option<(Bundle, Instant)>,
    pause: Duration,
}

impl Pace {
    fn earliest(&self, bundle: &Bundle) -> Option<Instant> {
        let (last, at) = self.last.as_ref()?;
        (last == bundle).then(|| *at + self.pause)
    }

    fn patched(&mut self, bundle: &Bundle, now: Instant) {
        let repeated = self.last.as_ref().is_some_and(|(last, at)| {
            last == bundle && now.duration_since(*at) < self.pause + LONGEST_PAUSE
        });
        self.pause = if repeated {
            (self.pause * 2).clamp(Duration::from_secs(1), LONGEST_PAUSE)
        } else {
            Duration::ZERO
        };
        self.last = Some((bundle.clone(), now));
    }
}

/// What is to be patched; a change in between is a conflict.
fn patch(target: &Target, object: &DynamicObject, bundle: &Bundle) -> Option<Value> {
    let annotations = object.metadata.annotations.as_ref();
    let injected = annotations.is_some_and(|annotations| {
        CERT_MANAGER
            .iter()
            .any(|name| annotations.contains_key(*name))
    });
    if injected {
        return None;
    }
    let mut patch = (target.lacking)(&object.data, bundle)?;
    patch["metadata"] = json!({"resourceVersion": object.metadata.resource_version});
    Some(patch)
}

/// One that believes everybody needs none.
fn api_service_lacks(service: &Value, bundle: &Bundle) -> Option<Value> {
    let spec = &service["spec"];
    let fine = spec["insecureSkipTLSVerify"] == true || bundle.is(spec["caBundle"].as_str());
    (!fine).then(|| json!({"spec": {"caBundle": bundle.encoded()}}))
}

fn webhooks_lack(configuration: &Value, bundle: &Bundle) -> Option<Value> {
    // A patch replaces the list as a whole.
    let mut webhooks = configuration["webhooks"].as_array()?.clone();
    let mut lacking = false;
    for webhook in &mut webhooks {
        let client = &mut webhook["clientConfig"];
        if !bundle.is(client["caBundle"].as_str()) {
            client["caBundle"] = bundle.encoded().into();
            lacking = true;
        }
    }
    lacking.then(|| json!({"webhooks": webhooks}))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bundle() -> Bundle {
        Bundle::new(vec![vec![7; 9].into()])
    }

    #[test]
    fn an_api_service_gets_what_it_lacks() {
        let bundle = bundle();
        let wanted = Some(json!({"spec": {"caBundle": bundle.encoded()}}));
        for (spec, expected) in [
            (json!({}), wanted.clone()),
            (json!({"caBundle": "b2xk"}), wanted),
            (json!({"caBundle": bundle.encoded()}), None),
            (json!({"insecureSkipTLSVerify": true}), None),
        ] {
            assert_eq!(api_service_lacks(&json!({"spec": spec}), &bundle), expected);
        }
    }

    #[test]
    fn webhooks_get_what_they_lack_and_nothing_else_changes() {
        let bundle = bundle();
        let with = |bundles: [Option<&str>; 2]| {
            let webhooks = bundles.map(|bundle| match bundle {
                Some(bundle) => {
                    json!({"name": "a", "clientConfig": {"url": "https://a", "caBundle": bundle}})
                }
                None => json!({"name": "a", "clientConfig": {"url": "https://a"}}),
            });
            json!({"webhooks": webhooks})
        };
        let encoded = bundle.encoded();
        let good = with([Some(&encoded), Some(&encoded)]);
        assert_eq!(
            webhooks_lack(&with([Some("b2xk"), None]), &bundle),
            Some(good.clone())
        );
        assert_eq!(webhooks_lack(&good, &bundle), None);
        assert_eq!(webhooks_lack(&json!({}), &bundle), None);
    }

    #[test]
    fn a_rival_is_answered_ever_more_slowly() {
        let mut pace = Pace::default();
        let mut now = Instant::now();
        assert_eq!(pace.earliest(&bundle()), None);
        for pause in [0, 1, 2, 4, 8, 16, 32, 60, 60] {
            pace.patched(&bundle(), now);
            let earliest = pace.earliest(&bundle()).unwrap();
            assert_eq!(earliest, now + Duration::from_secs(pause));
            now = earliest;
        }
        // A change of authorities waits for nothing, and neither does who was left in peace for a while.
        let other = Bundle::new(vec![vec![8; 9].into()]);
        assert_eq!(pace.earliest(&other), None);
        now += LONGEST_PAUSE * 3;
        pace.patched(&bundle(), now);
        assert_eq!(pace.earliest(&bundle()), Some(now));
    }

    #[test]
    fn what_cert_manager_looks_after_is_left_alone() {
        let targets = targets(&CertificateSettings {
            patch_api_service: true,
            ..CertificateSettings::for_tests()
        });
        let object = |annotations: Value| -> DynamicObject {
            serde_json::from_value(json!({
                "apiVersion": "apiregistration.k8s.io/v1",
                "kind": "APIService",
                "metadata": {"annotations": annotations, "resourceVersion": "7"},
                "spec": {},
            }))
            .unwrap()
        };
        let patched = patch(&targets[0], &object(json!({})), &bundle()).unwrap();
        assert_eq!(patched["metadata"]["resourceVersion"], "7");
        for name in CERT_MANAGER {
            let annotated = object(json!({name: "keda/certs"}));
            assert_eq!(patch(&targets[0], &annotated, &bundle()), None, "{name}");
        }
    }
}
