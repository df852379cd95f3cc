//! A check that the SDK leaves out: a number that an answer doesn't have is 0 for it.

use aws_sdk_kinesis::config::interceptors::BeforeDeserializationInterceptorContextRef;
use aws_sdk_kinesis::config::{ConfigBag, Intercept, RuntimeComponents};
use aws_sdk_kinesis::error::BoxError;

use crate::scaler::ScalerError;

/// A successful answer has to hold this member.
#[derive(Debug)]
pub(super) struct Complete(pub &'static str);

#[aws_smithy_runtime_api::client::interceptors::dyn_dispatch_hint]
impl Intercept for Complete {
    fn name(&self) -> &'static str {
        "Complete"
    }

    fn read_after_transmit(
        &self,
        context: &BeforeDeserializationInterceptorContextRef<'_>,
        _: &RuntimeComponents,
        _: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let response = context.response();
        let body = response.body().bytes().unwrap_or_default();
        match !response.status().is_success() || holds(body, self.0) {
            true => Ok(()),
            false => {
                let message = format!("an answer without {}", self.0);
                Err(ScalerError::Malformed(message).into())
            }
        }
    }
}

/// Whether a JSON text names a member.
fn holds(json: &[u8], member: &str) -> bool {
    let quoted = format!("\"{member}\"");
    json.windows(quoted.len())
        .any(|window| window == quoted.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_member_is_found_by_its_whole_name() {
        for (json, found) in [
            (r#"{"Count":3,"ScannedCount":4}"#, true),
            (r#"{"ScannedCount":4}"#, false),
            ("{}", false),
            ("", false),
        ] {
            assert_eq!(holds(json.as_bytes(), "Count"), found, "{json}");
        }
    }
}
