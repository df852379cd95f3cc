//! What a key is asked for, and how.
//!
//! KEDA reads a length with a Lua script. Here it is the script's own commands, one after the other: they need no permission that
//! the script doesn't need, and work where scripts are forbidden or not known.

use std::fmt;
use std::sync::atomic::Ordering;

use redis::{Cmd, Value};

use super::Servers;
use crate::scaler::ScalerError;

/// A number that a key gives.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Question {
    /// The elements of a list, set, sorted set or hash; none of a key that isn't there.
    Length { key: String },
    /// All entries of a stream; none of a key that isn't there.
    Entries { stream: String },
    /// The entries that a group's consumers have read and not acknowledged.
    Pending { stream: String, group: String },
    /// The entries that a group has not read yet: all, if there is no such group yet; none of a key that isn't there.
    Lag { stream: String, group: String },
}

/// For messages: the key, and the group where one is asked for.
impl fmt::Display for Question {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Length { key } => write!(f, "key {key:?}"),
            Self::Entries { stream } => write!(f, "stream {stream:?}"),
            Self::Pending { stream, group } | Self::Lag { stream, group } => {
                write!(f, "group {group:?} of stream {stream:?}")
            }
        }
    }
}

impl Question {
    pub(super) async fn ask(&self, servers: &Servers) -> Result<i64, ScalerError> {
        let number = match self {
            Self::Length { key } => length(servers, key).await,
            Self::Entries { stream } => entries(servers, stream).await,
            Self::Pending { stream, group } => pending(servers, stream, group).await,
            Self::Lag { stream, group } => lag(servers, stream, group).await,
        };
        // `key "orders" of Redis at cache:6379: ...`
        number.map_err(|error| error.map(|text| format!("{self} of {text}")))
    }
}

async fn length(servers: &Servers, key: &str) -> Result<i64, ScalerError> {
    let kind = servers.ask(key, &command(&["TYPE", key])).await?;
    let Value::SimpleString(kind) = kind else {
        return Err(servers.malformed(&unexpected("the name of a type")));
    };
    let Some(counting) = counting(&kind) else {
        return Err(servers.malformed(&format!("ERR unsupported key type: {kind}")));
    };
    let answer = servers.ask(key, &command(&[counting, key])).await?;
    number(&answer).map_err(|text| servers.malformed(&text))
}

/// The command that counts what a key of a type holds. `none` is that of a key that isn't there, and may be a list by the time
/// that it is counted.
fn counting(kind: &str) -> Option<&'static str> {
    match kind {
        "list" | "none" => Some("LLEN"),
        "set" => Some("SCARD"),
        "zset" => Some("ZCARD"),
        "hash" => Some("HLEN"),
        _ => None,
    }
}

async fn entries(servers: &Servers, stream: &str) -> Result<i64, ScalerError> {
    let answer = servers.ask(stream, &command(&["XLEN", stream])).await?;
    number(&answer).map_err(|text| servers.malformed(&text))
}

async fn pending(servers: &Servers, stream: &str, group: &str) -> Result<i64, ScalerError> {
    let answer = servers
        .ask(stream, &command(&["XPENDING", stream, group]))
        .await?;
    let count = match &answer {
        Value::Array(parts) if !parts.is_empty() => number(&parts[0]),
        _ => Err(unexpected("a number and what it is made of")),
    };
    count.map_err(|text| servers.malformed(&text))
}

async fn lag(servers: &Servers, stream: &str, group: &str) -> Result<i64, ScalerError> {
    check_version(servers, stream).await?;
    let groups = servers
        .ask(stream, &command(&["XINFO", "GROUPS", stream]))
        .await;
    let groups = match groups {
        // The stream is made by whoever writes or reads first: until then there is nothing to do.
        Err(ScalerError::Malformed(text)) if text.ends_with("ERR no such key") => return Ok(0),
        groups => groups?,
    };
    let lag = lag_of(&groups, group).map_err(|text| servers.malformed(&text))?;
    match lag {
        Lag::Entries(entries) => Ok(entries),
        // Its consumers make the group, and there are none yet: what it will have to read is the whole stream.
        Lag::NoGroup => entries(servers, stream).await,
        Lag::Unknown => Err(servers.malformed(
            "it can't tell the lag, because entries of the stream were deleted, or the group began in the middle of it; it can once the group has read what is left",
        )),
        Lag::NotNumbered => Err(servers.malformed(TOO_OLD)),
    }
}

/// KEDA's words.
const TOO_OLD: &str = "redis version 7+ required for lag";

/// Redis 7 is the first to number a group's lag. Asked until it is known that they do.
async fn check_version(servers: &Servers, stream: &str) -> Result<(), ScalerError> {
    if servers.number_lag.load(Ordering::Relaxed) {
        return Ok(());
    }
    let answer = servers.ask(stream, &command(&["INFO", "server"])).await;
    let answer = answer
        .map_err(|error| error.map(|text| format!("{text} (could not find Redis version)")))?;
    let text = match &answer {
        Value::BulkString(text) => String::from_utf8_lossy(text),
        Value::VerbatimString { text, .. } => text.into(),
        _ => return Err(servers.malformed(&unexpected("a text about the server"))),
    };
    match major_version(&text) {
        Some(major) if major >= 7 => {
            servers.number_lag.store(true, Ordering::Relaxed);
            Ok(())
        }
        Some(_) => Err(servers.malformed(TOO_OLD)),
        None => Err(servers.malformed("could not find Redis version number")),
    }
}

/// `redis_version:7.0.15` among the lines of INFO.
fn major_version(info: &str) -> Option<u32> {
    let version = info
        .lines()
        .find_map(|line| line.strip_prefix("redis_version:"))?;
    version.split('.').next()?.trim().parse().ok()
}

/// What XINFO GROUPS says of a group's lag.
#[derive(Debug, PartialEq, Eq)]
enum Lag {
    Entries(i64),
    /// There is no such group.
    NoGroup,
    /// There is one, and the server can't tell.
    Unknown,
    /// The server tells of no lag at all.
    NotNumbered,
}

fn lag_of(groups: &Value, group: &str) -> Result<Lag, String> {
    let Value::Array(groups) = groups else {
        return Err(unexpected("the stream's groups"));
    };
    for fields in groups {
        let Value::Array(fields) = fields else {
            return Err(unexpected("the fields of a group"));
        };
        let field = |name: &str| {
            let pairs = fields.chunks_exact(2);
            let mut found = pairs.filter(|pair| text(&pair[0]) == Some(name.as_bytes()));
            found.next().map(|pair| &pair[1])
        };
        if field("name").and_then(text) != Some(group.as_bytes()) {
            continue;
        }
        return match field("lag") {
            None => Ok(Lag::NotNumbered),
            Some(Value::Nil) => Ok(Lag::Unknown),
            Some(lag) => number(lag).map(Lag::Entries),
        };
    }
    Ok(Lag::NoGroup)
}

fn text(value: &Value) -> Option<&[u8]> {
    match value {
        Value::BulkString(text) => Some(text),
        Value::SimpleString(text) => Some(text.as_bytes()),
        _ => None,
    }
}

fn command(words: &[&str]) -> Cmd {
    let mut command = Cmd::new();
    for word in words {
        command.arg(word);
    }
    command
}

/// A count. No count is negative, and one that is must not scale down.
fn number(value: &Value) -> Result<i64, String> {
    match value {
        Value::Int(number) if *number >= 0 => Ok(*number),
        _ => Err(unexpected("a number")),
    }
}

fn unexpected(what: &str) -> String {
    format!("the answer is not {what}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_type_has_its_count() {
        for (kind, expected) in [
            ("list", Some("LLEN")),
            ("none", Some("LLEN")),
            ("set", Some("SCARD")),
            ("zset", Some("ZCARD")),
            ("hash", Some("HLEN")),
            ("string", None),
            ("stream", None),
            ("ReJSON-RL", None),
        ] {
            assert_eq!(counting(kind), expected, "{kind}");
        }
    }

    fn bulk(text: &str) -> Value {
        Value::BulkString(text.as_bytes().to_vec())
    }

    fn group(name: &str, more: &[(&str, Value)]) -> Value {
        let mut fields = vec![bulk("name"), bulk(name), bulk("consumers"), Value::Int(1)];
        for (name, value) in more {
            fields.extend([bulk(name), value.clone()]);
        }
        Value::Array(fields)
    }

    #[test]
    fn the_lag_is_that_of_the_group() {
        let groups = Value::Array(vec![
            group("lag", &[("lag", Value::Int(9))]),
            group("workers", &[("lag", Value::Int(3))]),
            group("deleted", &[("lag", Value::Nil)]),
            group("old", &[]),
        ]);
        for (name, expected) in [
            ("workers", Lag::Entries(3)),
            ("lag", Lag::Entries(9)),
            ("deleted", Lag::Unknown),
            ("old", Lag::NotNumbered),
            ("others", Lag::NoGroup),
        ] {
            assert_eq!(lag_of(&groups, name), Ok(expected), "{name}");
        }
        assert_eq!(
            lag_of(&Value::Array(Vec::new()), "workers"),
            Ok(Lag::NoGroup)
        );
        for broken in [
            Value::Int(1),
            Value::Array(vec![Value::Int(1)]),
            Value::Array(vec![group("workers", &[("lag", bulk("three"))])]),
            Value::Array(vec![group("workers", &[("lag", Value::Int(-1))])]),
        ] {
            assert!(lag_of(&broken, "workers").is_err(), "{broken:?}");
        }
    }

    #[test]
    fn the_version_stands_in_a_line() {
        for (info, expected) in [
            (
                "# Server\r\nredis_version:7.0.15\r\nredis_mode:standalone\r\n",
                Some(7),
            ),
            ("redis_version:6.2.6\nos:Linux", Some(6)),
            ("redis_version:10.0", Some(10)),
            ("valkey_version:8.0.1\r\nredis_version:7.2.4\r\n", Some(7)),
            ("redis_version:seven", None),
            ("", None),
        ] {
            assert_eq!(major_version(info), expected, "{info}");
        }
    }

    #[test]
    fn a_count_is_a_number_that_is_not_negative() {
        assert_eq!(number(&Value::Int(3)), Ok(3));
        for broken in [Value::Int(-1), Value::Nil, Value::Okay, bulk("3")] {
            assert!(number(&broken).is_err(), "{broken:?}");
        }
    }
}
