//! What AWS's refusals mean: one table of its error codes, for all of its services.

use std::error::Error;

use aws_sdk_sts::config::http::HttpResponse;
use aws_sdk_sts::error::{ProvideErrorMetadata, SdkError};

use crate::clients::tls::with_causes;
use crate::scaler::ScalerError;

/// Codes that say who may not.
const UNAUTHORIZED: &[&str] = &[
    "AccessDenied",
    "AccessDeniedException",
    "AuthFailure",
    "ExpiredToken",
    "ExpiredTokenException",
    "IncompleteSignature",
    "IncompleteSignatureException",
    "InvalidAccessKeyId",
    "InvalidClientTokenId",
    "InvalidIdentityToken",
    "InvalidSecurity",
    "InvalidSignatureException",
    "KMSAccessDeniedException",
    "MissingAuthenticationToken",
    "MissingAuthenticationTokenException",
    "NotAuthorized",
    "NotAuthorizedException",
    "OptInRequired",
    "RequestExpired",
    "SignatureDoesNotMatch",
    "UnauthorizedOperation",
    "UnrecognizedClientException",
];

/// Codes that say that there is no such queue, table or stream.
const NOT_FOUND: &[&str] = &[
    "AWS.SimpleQueueService.NonExistentQueue",
    "AWS.SimpleQueueService.QueueDeletedRecently",
    "NonExistentQueue",
    "QueueDeletedRecently",
    "QueueDoesNotExist",
    "ResourceNotFound",
    "ResourceNotFoundException",
    "TableNotFoundException",
];

/// Codes that ask for fewer requests.
const RATE_LIMITED: &[&str] = &[
    "BandwidthLimitExceeded",
    "KMSThrottlingException",
    "LimitExceededException",
    "OverLimit",
    "PriorRequestNotComplete",
    "ProvisionedThroughputExceeded",
    "ProvisionedThroughputExceededException",
    "RequestLimitExceeded",
    "RequestThrottled",
    "RequestThrottledException",
    "SlowDown",
    "ThrottledException",
    "Throttling",
    "ThrottlingException",
    "TooManyRequestsException",
];

/// Codes with which AWS says what is wrong with a parameter. Its sentence is the user's only hint; those of other codes are left
/// out, since one of them repeats the signed request.
const EXPLAINED: &[&str] = &[
    "InvalidParameterCombination",
    "InvalidParameterValue",
    "ValidationError",
    "ValidationException",
];
/// The most of such a sentence that is shown.
const LONGEST: usize = 300;

/// A refusal: AWS's code where there is one, the status of the answer, and AWS's sentence.
pub(super) fn refusal(code: Option<&str>, status: u16, sentence: Option<&str>) -> ScalerError {
    let Some(code) = code else {
        let message = format!("AWS answered with the status {status} and no error code");
        return by_status(status, message);
    };
    // Some services write the code with their own name before it: com.amazonaws.sqs#QueueDoesNotExist.
    let code = code.rsplit('#').next().unwrap_or(code);
    let message = match sentence.filter(|_| EXPLAINED.contains(&code)) {
        None => format!("AWS answered {code}"),
        Some(sentence) => {
            let sentence: String = sentence.chars().take(LONGEST).collect();
            format!("AWS answered {code}: {sentence}")
        }
    };
    if UNAUTHORIZED.contains(&code) {
        ScalerError::Unauthorized(message)
    } else if NOT_FOUND.contains(&code) {
        ScalerError::NotFound(message)
    } else if RATE_LIMITED.contains(&code) {
        rate_limited(message)
    } else {
        by_status(status, message)
    }
}

fn by_status(status: u16, message: String) -> ScalerError {
    match status {
        401 | 403 => ScalerError::Unauthorized(message),
        404 => ScalerError::NotFound(message),
        429 => rate_limited(message),
        500.. => ScalerError::Unreachable(message),
        _ => ScalerError::Malformed(message),
    }
}

fn rate_limited(message: String) -> ScalerError {
    ScalerError::RateLimited {
        retry_after: None,
        message,
    }
}

/// Why an operation of the SDK failed.
pub fn failure<E>(error: &SdkError<E, HttpResponse>) -> ScalerError
where
    E: ProvideErrorMetadata + Error + 'static,
{
    // What failed below the SDK says it itself: the HTTP client, the credentials, a check of an answer.
    if let Some(own) = own_error(error) {
        return own.clone();
    }
    let status = error.raw_response().map(HttpResponse::status);
    match (error, status) {
        (_, Some(status)) if status.is_success() => malformed(),
        // An error of a proxy or a stand-in may have no code, or no body that the SDK can read.
        (_, Some(status)) => {
            let refused = error.as_service_error();
            let code = refused.and_then(ProvideErrorMetadata::code);
            let sentence = refused.and_then(ProvideErrorMetadata::message);
            refusal(code, status.as_u16(), sentence)
        }
        (SdkError::TimeoutError(_), None) => {
            ScalerError::Unreachable("no answer in time".to_owned())
        }
        (SdkError::DispatchFailure(_), None) => {
            ScalerError::Unreachable(format!("no connection to AWS: {}", with_causes(error)))
        }
        _ => ScalerError::Malformed(
            "the request can't be made: is a region given, and are all parameters?".to_owned(),
        ),
    }
}

fn malformed() -> ScalerError {
    ScalerError::Malformed("AWS's answer is not what its API promises".to_owned())
}

/// What failed below the SDK, in the words of who failed.
pub(super) fn own_error<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a ScalerError> {
    let mut cause = Some(error);
    while let Some(error) = cause {
        if let Some(own) = error.downcast_ref() {
            return Some(own);
        }
        cause = error.source();
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Which of the errors it is, and its text.
    fn shown(error: &ScalerError) -> String {
        error.to_string()
    }

    #[test]
    fn codes_say_what_to_do() {
        for (code, status, expected) in [
            ("InvalidClientTokenId", 403, "unauthorized: "),
            ("SignatureDoesNotMatch", 403, "unauthorized: "),
            ("UnrecognizedClientException", 400, "unauthorized: "),
            ("AccessDeniedException", 400, "unauthorized: "),
            ("ExpiredTokenException", 400, "unauthorized: "),
            (
                "com.amazonaws.sqs#QueueDoesNotExist",
                400,
                "not found: AWS answered QueueDoesNotExist",
            ),
            ("ResourceNotFoundException", 400, "not found: "),
            ("ThrottlingException", 400, "rate limited: "),
            (
                "ProvisionedThroughputExceededException",
                400,
                "rate limited: ",
            ),
            ("InternalFailure", 500, "unreachable: "),
            ("SomethingNew", 403, "unauthorized: "),
            ("SomethingNew", 400, "malformed answer: "),
        ] {
            let error = refusal(Some(code), status, None);
            assert!(shown(&error).starts_with(expected), "{code}: {error}");
        }
        for (status, expected) in [
            (403, "unauthorized: "),
            (404, "not found: "),
            (429, "rate limited: "),
            (502, "unreachable: "),
            (302, "malformed answer: "),
        ] {
            let error = refusal(None, status, None);
            assert!(shown(&error).starts_with(expected), "{status}: {error}");
        }
    }

    #[test]
    fn aws_own_sentences_are_shown_of_parameters_only() {
        let sentence = Some("The table does not have the specified index: by-state");
        let error = refusal(Some("ValidationException"), 400, sentence);
        assert_eq!(
            shown(&error),
            "malformed answer: AWS answered ValidationException: The table does not have the specified index: by-state"
        );
        let error = refusal(Some("SignatureDoesNotMatch"), 403, Some("hunter2"));
        assert_eq!(
            shown(&error),
            "unauthorized: AWS answered SignatureDoesNotMatch"
        );
        let long = "x".repeat(1000);
        let error = refusal(Some("ValidationError"), 400, Some(&long));
        assert!(shown(&error).len() < 400);
    }
}
