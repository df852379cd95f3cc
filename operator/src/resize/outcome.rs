//! What an error of the API server means for a pod that is resized.

use jiff::SignedDuration;
use kube::core::Status;
use sakidori_engine::resize::{Refusal, ResizeOutcome};

use crate::api_error::plain;

/// What was asked of the API server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asked {
    /// Something of the pod itself, or its eviction.
    Pod,
    /// Its subresource `resize`.
    Resize,
}

/// What an error of the API server means.
pub fn outcome_of(error: &kube::Error, asked: Asked, pod: &str) -> ResizeOutcome {
    let message = plain(error);
    let kube::Error::Api(status) = error else {
        return ResizeOutcome::Failed {
            message,
            retry_after: None,
        };
    };
    match status.code {
        404 if asked == Asked::Pod || names(status, pod) => ResizeOutcome::Gone,
        404 | 405 => ResizeOutcome::Unsupported,
        409 => ResizeOutcome::Conflict,
        // The authorizer's words; admission has others, with the same code.
        403 if message.contains(" cannot ") && message.contains("resource \"pods") => {
            not_allowed(&message)
        }
        401 | 408 | 429 | 500.. => ResizeOutcome::Failed {
            message,
            retry_after: retry_after(status),
        },
        _ => ResizeOutcome::Refused {
            why: refusal(status),
            message,
        },
    }
}

/// A right is missing.
pub fn not_allowed(message: &str) -> ResizeOutcome {
    ResizeOutcome::NotAllowed {
        message: format!("{message}; rbac.inPlaceResize of the Helm chart gives that right"),
    }
}

/// Whether the answer is about an object of this name, rather than about a path that isn't served.
fn names(status: &Status, name: &str) -> bool {
    let details = status.details.as_ref();
    details.is_some_and(|details| details.name == name)
}

/// Nodes' sizes are looked at by the plugin PodResizeValidator, since Kubernetes 1.36; memory limits are not lowered before 1.34.
fn refusal(status: &Status) -> Refusal {
    let mut causes = status.details.iter().flat_map(|details| &details.causes);
    if causes.any(|cause| cause.reason == "NodeCapacity") {
        Refusal::NodeTooSmall
    } else if status.message.contains("memory limits cannot be decreased") {
        Refusal::LowersNoMemory
    } else {
        Refusal::Admission
    }
}

fn retry_after(status: &Status) -> Option<SignedDuration> {
    let seconds = status.details.as_ref()?.retry_after_seconds;
    (seconds > 0).then(|| SignedDuration::from_secs(seconds.into()))
}

#[cfg(test)]
mod tests {
    use kube::core::response::{StatusCause, StatusDetails};

    use super::*;

    fn answer(code: u16, message: &str, details: StatusDetails) -> kube::Error {
        let status = Status::failure(message, "").with_code(code);
        kube::Error::Api(
            Status {
                details: Some(details),
                ..status
            }
            .boxed(),
        )
    }

    #[test]
    fn answers_are_told_apart() {
        let none = || StatusDetails {
            name: String::new(),
            group: String::new(),
            kind: String::new(),
            uid: String::new(),
            causes: Vec::new(),
            retry_after_seconds: 0,
        };
        let named = StatusDetails {
            name: "web-1".into(),
            ..none()
        };
        let node = StatusDetails {
            causes: vec![StatusCause {
                reason: "NodeCapacity".into(),
                message: String::new(),
                field: String::new(),
            }],
            ..none()
        };
        let wait = StatusDetails {
            retry_after_seconds: 7,
            ..none()
        };
        let kind = |outcome: ResizeOutcome| match outcome {
            ResizeOutcome::Done => "done".to_owned(),
            ResizeOutcome::Gone => "gone".to_owned(),
            ResizeOutcome::Conflict => "conflict".to_owned(),
            ResizeOutcome::Refused { why, .. } => format!("refused {why:?}"),
            ResizeOutcome::Unsupported => "unsupported".to_owned(),
            ResizeOutcome::NotAllowed { .. } => "not allowed".to_owned(),
            ResizeOutcome::Failed { retry_after, .. } => {
                format!("failed {}", retry_after.unwrap_or_default().as_secs())
            }
        };
        let rbac = "pods \"web-1\" is forbidden: User \"u\" cannot patch resource \"pods/resize\" in API group \"\"";
        let quota = "pods \"web-1\" is forbidden: exceeded quota: team, requested: requests.cpu=1";
        for (asked, code, message, details, expected) in [
            (Asked::Resize, 404, "", named.clone(), "gone"),
            (
                Asked::Resize,
                404,
                "the server could not find the requested resource",
                none(),
                "unsupported",
            ),
            (Asked::Resize, 405, "", none(), "unsupported"),
            (Asked::Pod, 404, "", none(), "gone"),
            (Asked::Pod, 409, "", named, "conflict"),
            (Asked::Resize, 403, rbac, none(), "not allowed"),
            (Asked::Resize, 403, quota, none(), "refused Admission"),
            (Asked::Resize, 403, "", node, "refused NodeTooSmall"),
            (Asked::Resize, 422, "", none(), "refused Admission"),
            (
                Asked::Resize,
                422,
                "Pod \"web-1\" is invalid: spec.containers[0].resources.limits: Forbidden: memory limits cannot be decreased unless resizePolicy is RestartContainer",
                none(),
                "refused LowersNoMemory",
            ),
            (
                Asked::Resize,
                400,
                "admission webhook denied",
                none(),
                "refused Admission",
            ),
            (Asked::Pod, 429, "", wait, "failed 7"),
            (Asked::Pod, 500, "", none(), "failed 0"),
            (Asked::Pod, 503, "", none(), "failed 0"),
        ] {
            let error = answer(code, message, details);
            let found = kind(outcome_of(&error, asked, "web-1"));
            assert_eq!(found, expected, "{asked:?} {code} {message}");
        }
    }
}
