//! What a server's refusals mean.

use redis::ServerError;

use crate::scaler::ScalerError;

/// In characters: a server may write any text, and it ends up in a condition.
const LONGEST: usize = 300;

/// By the word that a refusal begins with.
pub(super) fn meaning(refusal: &ServerError) -> ScalerError {
    let text = text(refusal);
    match refusal.code() {
        // DENIED: it takes no one from other machines while it has no password.
        "NOAUTH" | "WRONGPASS" | "NOPERM" | "DENIED" => ScalerError::Unauthorized(text),
        "NOGROUP" => ScalerError::NotFound(text),
        "ERR" if text.contains("DB index is out of range") => ScalerError::NotFound(text),
        // It starts, the cluster or its master is away, slots are moving, a script runs, a sentinel has just started.
        "LOADING" | "CLUSTERDOWN" | "MASTERDOWN" | "TRYAGAIN" | "BUSY" | "IDONTKNOW" => {
            ScalerError::Unreachable(text)
        }
        "ERR" if text.contains("max number of clients") => ScalerError::Unreachable(text),
        "MOVED" | "ASK" => ScalerError::Malformed(format!(
            "{text}: it is a node of a cluster, which redis-cluster and redis-cluster-streams read"
        )),
        _ => ScalerError::Malformed(text),
    }
}

/// A login that is refused is wrong whatever the reason, unless the server can't tell at the moment.
pub(super) fn of_login(refusal: &ServerError) -> ScalerError {
    match meaning(refusal) {
        ScalerError::Malformed(text) | ScalerError::NotFound(text) => {
            ScalerError::Unauthorized(text)
        }
        told => told,
    }
}

fn text(refusal: &ServerError) -> String {
    let whole = match refusal.details() {
        Some(details) => format!("{} {details}", refusal.code()),
        None => refusal.code().to_owned(),
    };
    // What follows may be the beginning of a password.
    let whole = match whole.split_once(", with args beginning with") {
        Some((told, _)) => told.to_owned(),
        None => whole,
    };
    match whole.char_indices().nth(LONGEST) {
        Some((cut, _)) => format!("{}...", &whole[..cut]),
        None => whole,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use redis::Value;

    fn refusal(line: &str) -> ServerError {
        match redis::parse_redis_value(format!("-{line}\r\n").as_bytes()) {
            Ok(Value::ServerError(refusal)) => refusal,
            other => panic!("{other:?}"),
        }
    }

    type Meaning = fn(String) -> ScalerError;

    #[test]
    fn refusals_say_what_is_to_be_done() {
        let table: &[(&str, Meaning)] = &[
            ("NOAUTH Authentication required.", ScalerError::Unauthorized),
            (
                "WRONGPASS invalid username-password pair or user is disabled.",
                ScalerError::Unauthorized,
            ),
            (
                "NOPERM this user has no permissions to run the 'llen' command",
                ScalerError::Unauthorized,
            ),
            (
                "DENIED Redis is running in protected mode",
                ScalerError::Unauthorized,
            ),
            (
                "NOGROUP No such key 'orders' or consumer group 'workers'",
                ScalerError::NotFound,
            ),
            ("ERR DB index is out of range", ScalerError::NotFound),
            (
                "LOADING Redis is loading the dataset in memory",
                ScalerError::Unreachable,
            ),
            ("CLUSTERDOWN Hash slot not served", ScalerError::Unreachable),
            (
                "MASTERDOWN Link with MASTER is down",
                ScalerError::Unreachable,
            ),
            (
                "TRYAGAIN Multiple keys request during rehashing of slot",
                ScalerError::Unreachable,
            ),
            (
                "BUSY Redis is busy running a script.",
                ScalerError::Unreachable,
            ),
            (
                "ERR max number of clients reached",
                ScalerError::Unreachable,
            ),
            (
                "WRONGTYPE Operation against a key holding the wrong kind of value",
                ScalerError::Malformed,
            ),
            ("ERR unknown command 'XLEN'", ScalerError::Malformed),
        ];
        for (line, expected) in table {
            assert_eq!(meaning(&refusal(line)), expected((*line).to_owned()));
        }
        let moved = meaning(&refusal("MOVED 3999 10.0.0.2:6379")).to_string();
        assert!(moved.contains("redis-cluster"), "{moved}");
    }

    #[test]
    fn a_refused_login_is_unauthorized_unless_the_server_starts() {
        for (line, expected) in [
            ("ERR invalid password", "unauthorized: ERR invalid password"),
            ("LOADING in memory", "unreachable: LOADING in memory"),
        ] {
            assert_eq!(of_login(&refusal(line)).to_string(), expected);
        }
    }

    #[test]
    fn a_long_text_is_cut() {
        let long = format!("ERR {}", "ä".repeat(1000));
        let told = meaning(&refusal(&long)).to_string();
        assert!(told.ends_with("ä...") && told.chars().count() < 400);
    }
}
