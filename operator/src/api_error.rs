//! The API server's errors in messages for people.

use kube::runtime::watcher;

/// The API server's own sentence, where it said one; else what went wrong on the way to it. kube's Display adds a dump of the
/// whole Status.
pub fn plain(error: &kube::Error) -> String {
    match error {
        kube::Error::Api(status) if !status.message.is_empty() => status.message.clone(),
        kube::Error::Api(status) => {
            format!("the API server answered {} {}", status.code, status.reason)
        }
        other => other.to_string(),
    }
}

/// The same of a watch.
pub fn plain_watch(error: &watcher::Error) -> String {
    match error {
        watcher::Error::InitialListFailed(error) => format!("listing: {}", plain(error)),
        watcher::Error::WatchStartFailed(error) | watcher::Error::WatchFailed(error) => {
            plain(error)
        }
        watcher::Error::WatchError(status) => status.message.clone(),
        watcher::Error::NoResourceVersion => error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use kube::core::Status;

    #[test]
    fn a_refusal_is_one_sentence() {
        let status = Status::failure("deployments.apps \"x\" not found", "NotFound").with_code(404);
        assert_eq!(
            plain(&kube::Error::Api(status.boxed())),
            "deployments.apps \"x\" not found"
        );
        let status = Status::failure("", "Gone").with_code(410);
        assert_eq!(
            plain(&kube::Error::Api(status.boxed())),
            "the API server answered 410 Gone"
        );
    }
}
