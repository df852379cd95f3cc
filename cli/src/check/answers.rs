//! What the cluster's answers say of an installation. Pure: each answer becomes a line, and where something is wrong, what to do.

use std::fmt;

use kube::api::{ApiResource, DynamicObject};
use kube::core::Status;
use serde_json::{Value, json};

/// The APIService of the external metrics API.
pub const API_SERVICE: &str = "v1beta1.external.metrics.k8s.io";
/// Its group and version.
pub const EXTERNAL_METRICS: &str = "external.metrics.k8s.io/v1beta1";

/// Something that was looked at.
#[derive(Debug, PartialEq)]
pub struct Finding {
    what: String,
    /// How it is; or what is wrong, and what to do.
    is: Result<String, String>,
}

impl Finding {
    pub fn good(&self) -> bool {
        self.is.is_ok()
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (mark, text) = match &self.is {
            Ok(text) => ("ok    ", text),
            Err(text) => ("FAILED", text),
        };
        write!(f, "{mark}  {}: {text}", self.what)
    }
}

fn finding(what: &str, is: Result<impl Into<String>, String>) -> Finding {
    Finding {
        what: what.to_owned(),
        is: is.map(Into::into),
    }
}

/// Whether the API server knows the kinds of a group.
pub fn definitions<T>(version: &str, served: &kube::Result<T>) -> Finding {
    let is = match served {
        Ok(_) => Ok("the API server has these kinds"),
        Err(error) => Err(format!(
            "the API server doesn't have these kinds ({}): install the definitions, with `crds.install: true` in the chart or `sakidori crds | kubectl apply --server-side -f -`",
            plain(error)
        )),
    };
    finding(version, is)
}

/// Whether a replica leads: the holder of the Lease says where it is found, which KEDA's operator doesn't.
pub fn leader(lease: &kube::Result<Value>) -> Finding {
    let is = match lease {
        Ok(lease) => {
            let holder = lease["spec"]["holderIdentity"].as_str().unwrap_or_default();
            let ours = lease["metadata"]["annotations"]["sakidori.dev/address-of"].as_str();
            if holder.is_empty() {
                Err("nobody holds the Lease, so nothing is polled and nothing is scaled from zero: look at the logs of the operator's pods".to_owned())
            } else if ours != Some(holder) {
                Err(format!(
                    "{holder} holds the Lease, and is no Sakidori: stop KEDA's operator, and a replica of this installation takes over within 15 s"
                ))
            } else {
                Ok(format!("{holder} leads"))
            }
        }
        Err(error) => Err(format!(
            "its Lease can't be read ({}): are --pod-namespace and --leader-election-id those of the operator, and does a pod of it run?",
            plain(error)
        )),
    };
    finding("leader", is)
}

/// Whether the API server reaches who serves the external metrics API.
pub fn api_service(service: &kube::Result<Value>) -> Finding {
    let is = match service {
        Ok(service) => {
            let conditions = service["status"]["conditions"].as_array();
            let mut conditions = conditions.into_iter().flatten();
            match conditions.find(|condition| condition["type"] == "Available") {
                Some(condition) if condition["status"] == "True" => Ok("the API server reaches it"),
                Some(condition) => Err(format!(
                    "the API server doesn't reach it, and HPAs keep the replicas that they have: {}. Look whether its pods are Ready, and whether a firewall or a NetworkPolicy lets the API server to port 6443 of them",
                    condition["message"]
                        .as_str()
                        .unwrap_or("it doesn't say why")
                )),
                None => Err("the API server has not looked at it yet".to_owned()),
            }
        }
        Err(error) => Err(format!(
            "it is not registered ({}): install the chart with `metricsServer.enabled: true`",
            plain(error)
        )),
    };
    finding(&format!("APIService {API_SERVICE}"), is)
}

/// Whether the API answers.
pub fn external_metrics<T>(served: &kube::Result<T>) -> Finding {
    let is = match served {
        Ok(_) => Ok("it answers"),
        Err(error) => Err(format!(
            "it doesn't answer ({}): the line above says why, or the logs of the pods behind its Service",
            plain(error)
        )),
    };
    finding(EXTERNAL_METRICS, is)
}

/// What only a webhook refuses: two triggers of one name.
pub fn bad_scaled_object(kind: &ApiResource) -> DynamicObject {
    let trigger = json!({
        "type": "cron", "name": "twice",
        "metadata": {"timezone": "UTC", "start": "0 0 * * *", "end": "0 1 * * *", "desiredReplicas": "1"},
    });
    DynamicObject::new("sakidori-check", kind).data(json!({
        "spec": {"scaleTargetRef": {"name": "sakidori-check"}, "triggers": [trigger, trigger]},
    }))
}

/// Whether that was refused, by a webhook.
pub fn webhooks(created: &kube::Result<()>) -> Finding {
    let is = match created {
        Ok(()) => Err("a ScaledObject that can't work was let through. With failurePolicy Ignore that is what happens while the API server doesn't reach the webhooks: look whether the operator's pods run, and whether a firewall or a NetworkPolicy lets it to port 9443 of them".to_owned()),
        Err(kube::Error::Api(status)) if denied(status) => {
            Ok("they refuse a ScaledObject that can't work")
        }
        Err(error) => Err(format!(
            "it can't be told whether they refuse a ScaledObject that can't work: {}",
            plain(error)
        )),
    };
    finding("admission webhooks", is)
}

fn denied(status: &Status) -> bool {
    // Ours, not those of another policy that this object meets, too.
    status.code == 403
        && status
            .message
            .starts_with("admission webhook \"vscaledobject.")
}

/// The API server's own words, where it said some.
fn plain(error: &kube::Error) -> String {
    match error {
        kube::Error::Api(status) if !status.message.is_empty() => status.message.clone(),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(code: u16, message: &str) -> kube::Error {
        kube::Error::Api(Status::failure(message, "").with_code(code).boxed())
    }

    /// What a finding says, and whether that is good.
    fn told(finding: &Finding, good: bool, text: &str) {
        assert_eq!(finding.good(), good, "{finding}");
        assert!(finding.to_string().contains(text), "{finding}");
    }

    #[test]
    fn a_leader_is_one_of_ours() {
        let lease = |holder: Value, address_of: Value| {
            Ok(json!({
                "metadata": {"annotations": {"sakidori.dev/address-of": address_of}},
                "spec": {"holderIdentity": holder},
            }))
        };
        told(
            &leader(&lease(json!("a"), json!("a"))),
            true,
            "ok      leader: a leads",
        );
        for (holder, address_of, text) in [
            (json!("keda"), json!("a"), "keda holds the Lease"),
            (json!("keda"), Value::Null, "stop KEDA's operator"),
            (json!(""), json!("a"), "nobody holds the Lease"),
            (Value::Null, Value::Null, "nobody holds the Lease"),
        ] {
            told(&leader(&lease(holder, address_of)), false, text);
        }
        let missing = Err(refused(404, "leases \"operator.keda.sh\" not found"));
        told(
            &leader(&missing),
            false,
            "leases \"operator.keda.sh\" not found",
        );
    }

    #[test]
    fn an_api_is_there_while_it_is_available() {
        let service = |status: &str| {
            let condition =
                json!({"type": "Available", "status": status, "message": "no endpoints"});
            Ok(json!({"status": {"conditions": [{"type": "Other", "status": "True"}, condition]}}))
        };
        told(&api_service(&service("True")), true, "reaches it");
        told(&api_service(&service("False")), false, "no endpoints");
        told(&api_service(&Ok(json!({}))), false, "not looked at it yet");
        let missing = Err(refused(404, "not found"));
        told(&api_service(&missing), false, "metricsServer.enabled");
    }

    #[test]
    fn only_a_webhooks_refusal_shows_that_there_is_one() {
        let denial = "admission webhook \"vscaledobject.kb.io\" denied the request: twice";
        told(&webhooks(&Err(refused(403, denial))), true, "refuse");
        told(&webhooks(&Ok(())), false, "let through");
        for (code, message) in [
            (
                403,
                "scaledobjects.keda.sh is forbidden: User \"x\" cannot create resource",
            ),
            (
                500,
                "Internal error occurred: failed calling webhook \"vscaledobject.kb.io\"",
            ),
        ] {
            told(&webhooks(&Err(refused(code, message))), false, message);
        }
    }

    #[test]
    fn kinds_that_are_missing_say_how_to_install_them() {
        told(&definitions("keda.sh/v1alpha1", &Ok(())), true, "keda.sh");
        let missing: kube::Result<()> = Err(refused(404, "not found"));
        told(
            &definitions("keda.sh/v1alpha1", &missing),
            false,
            "sakidori crds",
        );
        told(&external_metrics(&missing), false, "not found");
    }
}
