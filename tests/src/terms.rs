//! Whether only the one who holds the Lease does what only a leader may do, from the API server's audit log. Pure.

use sakidori_test_cluster::audit::Write;

/// KEDA's name of the Lease.
pub const LEASE: &str = "operator.keda.sh";

/// What a leader alone writes: replicas, HPAs, the status of ScaledObjects.
fn is_a_leaders(write: &Write) -> bool {
    match (write.resource.as_str(), write.subresource.as_str()) {
        (_, "scale") | ("horizontalpodautoscalers", _) => true,
        ("scaledobjects", subresource) => subresource == "status",
        _ => false,
    }
}

/// Whether this write took or kept the Lease.
pub fn holds_the_lease(write: &Write) -> bool {
    write.resource == "leases" && write.name == LEASE && write.code < 300
}

/// The leader's writes of `user` that came from another process than the one who held the Lease when they came.
pub fn out_of_term<'w>(log: &'w [Write], user: &str) -> Vec<&'w Write> {
    let mut writes: Vec<&Write> = log.iter().filter(|write| write.username == user).collect();
    // The log is in the order of completion.
    writes.sort_by(|one, other| one.received.cmp(&other.received));
    let mut holder = None;
    writes
        .into_iter()
        .filter(|write| {
            if holds_the_lease(write) {
                holder = Some(&write.credential);
            }
            is_a_leaders(write) && holder != Some(&write.credential)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(received: &str, credential: &str, resource: &str, code: u16) -> Write {
        let (resource, subresource) = resource.split_once('/').unwrap_or((resource, ""));
        Write {
            verb: "update".into(),
            group: String::new(),
            resource: resource.into(),
            subresource: subresource.into(),
            namespace: String::new(),
            name: LEASE.into(),
            credential: credential.into(),
            username: "operator".into(),
            user_agent: String::new(),
            code,
            received: received.into(),
        }
    }

    #[test]
    fn whoever_does_not_hold_the_lease_must_not_write() {
        let log = [
            write("01", "a", "leases", 200),
            write("02", "a", "deployments/scale", 200),
            // Not taken, so it stays a's.
            write("03", "b", "leases", 409),
            write("04", "a", "scaledobjects/status", 200),
            write("06", "b", "leases", 200),
            // It came before, and was slow.
            write("05", "a", "horizontalpodautoscalers", 200),
            write("07", "b", "deployments/scale", 200),
            // Anybody may.
            write("08", "a", "subjectaccessreviews", 201),
        ];
        assert!(out_of_term(&log, "operator").is_empty());
        let late = [
            write("08", "a", "deployments/scale", 409),
            write("09", "c", "horizontalpodautoscalers", 200),
        ];
        let log = [&log[..], &late].concat();
        let found = out_of_term(&log, "operator");
        assert_eq!(found, [&late[0], &late[1]]);
        assert!(out_of_term(&log, "somebody else").is_empty());
    }
}
