//! AMQP URIs, as RabbitMQ's Go client reads them (which is what KEDA's manifests are written for).

use percent_encoding::percent_decode_str;
use url::Url;

use crate::clients::amqp::Mechanism;

/// What an `amqp://` or `amqps://` URI says, with the Go client's defaults for what it doesn't.
#[derive(Clone, PartialEq, Eq)]
#[cfg_attr(test, derive(Debug))]
pub struct AmqpUri {
    pub tls: bool,
    pub host: String,
    pub port: u16,
    pub vhost: String,
    pub username: String,
    pub password: String,
    pub has_password: bool,
    pub mechanism: Option<Mechanism>,
}

/// Reads a URI. Neither a path nor `/` name a virtual host: both mean the default one.
///
/// # Errors
/// One sentence, without the URI, which may hold credentials.
pub fn parse(text: &str) -> Result<AmqpUri, String> {
    if text.contains(char::is_whitespace) {
        return Err("URI must not contain whitespace".to_owned());
    }
    let url = Url::parse(text).map_err(|error| error.to_string())?;
    let tls = match url.scheme() {
        "amqp" => false,
        "amqps" => true,
        _ => return Err("AMQP scheme must be either 'amqp://' or 'amqps://'".to_owned()),
    };
    let host = url.host_str().unwrap_or_default();
    let host = host.trim_start_matches('[').trim_end_matches(']');
    // amqp:///vhost names a virtual host of the default host.
    let vhost = match decode(url.path().strip_prefix('/').unwrap_or(url.path()))?.as_str() {
        "" => "/".to_owned(),
        vhost => vhost.to_owned(),
    };
    let username = decode(url.username())?;
    let guest = || "guest".to_owned();
    let named = !username.is_empty() || url.password().is_some();
    let mechanism = url.query_pairs().find(|(key, _)| key == "auth_mechanism");
    Ok(AmqpUri {
        tls,
        host: match decode(host)? {
            host if host.is_empty() => "localhost".to_owned(),
            host => host,
        },
        port: url.port().unwrap_or(if tls { 5671 } else { 5672 }),
        vhost,
        username: if named { username } else { guest() },
        password: url.password().map_or_else(|| Ok(guest()), decode)?,
        has_password: url.password().is_some(),
        mechanism: match mechanism {
            Some((_, name)) => Some(named_mechanism(&name)?),
            None => None,
        },
    })
}

fn named_mechanism(name: &str) -> Result<Mechanism, String> {
    match name.to_ascii_lowercase().as_str() {
        "plain" => Ok(Mechanism::Plain),
        "amqplain" => Ok(Mechanism::AmqPlain),
        "external" => Ok(Mechanism::External),
        _ => Err(format!(
            "unsupported auth_mechanism: {name}: expected plain, amqplain or external"
        )),
    }
}

fn decode(text: &str) -> Result<String, String> {
    let decoded = percent_decode_str(text).decode_utf8();
    Ok(decoded
        .map_err(|_| "URI must be UTF-8 when decoded".to_owned())?
        .into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uris_are_read_as_the_go_client_does() {
        let table = [
            ("amqp://", ("localhost", 5672, "/", "guest", "guest")),
            ("amqps://", ("localhost", 5671, "/", "guest", "guest")),
            ("amqp://rabbit", ("rabbit", 5672, "/", "guest", "guest")),
            ("amqp://rabbit/", ("rabbit", 5672, "/", "guest", "guest")),
            ("amqp://rabbit/%2F", ("rabbit", 5672, "/", "guest", "guest")),
            ("amqp://rabbit//", ("rabbit", 5672, "/", "guest", "guest")),
            (
                "amqp://rabbit/a%2fb",
                ("rabbit", 5672, "a/b", "guest", "guest"),
            ),
            (
                "amqp://rabbit/a/b",
                ("rabbit", 5672, "a/b", "guest", "guest"),
            ),
            ("amqp://u:p@rabbit:1234/v", ("rabbit", 1234, "v", "u", "p")),
            ("amqp://u@rabbit", ("rabbit", 5672, "/", "u", "guest")),
            (
                "amqp://u%40x:p%2F%3A%40@rabbit",
                ("rabbit", 5672, "/", "u@x", "p/:@"),
            ),
            ("amqp://:p@rabbit", ("rabbit", 5672, "/", "", "p")),
            ("amqps://[::1]:99/v", ("::1", 99, "v", "guest", "guest")),
            ("amqp:///v", ("localhost", 5672, "v", "guest", "guest")),
        ];
        for (text, expected) in table {
            let uri = parse(text).unwrap();
            let found = (
                uri.host.as_str(),
                uri.port,
                uri.vhost.as_str(),
                uri.username.as_str(),
                uri.password.as_str(),
            );
            assert_eq!(found, expected, "{text}");
            assert_eq!(uri.tls, text.starts_with("amqps"), "{text}");
        }
    }

    #[test]
    fn the_mechanism_may_be_named() {
        for (text, mechanism) in [
            ("amqp://rabbit", None),
            (
                "amqp://rabbit?auth_mechanism=EXTERNAL",
                Some(Mechanism::External),
            ),
            (
                "amqp://rabbit/v?heartbeat=5&auth_mechanism=amqplain",
                Some(Mechanism::AmqPlain),
            ),
        ] {
            assert_eq!(parse(text).unwrap().mechanism, mechanism);
        }
    }

    #[test]
    fn what_is_no_uri_is_refused_without_quoting_it() {
        for text in [
            "amqp://user:hunter2@ra bbit",
            "http://user:hunter2@rabbit",
            "amqp://user:hunter2@rabbit:port",
            "hunter2",
            "amqp://user:hunter2%FF@rabbit",
            "amqp://user:hunter2@rabbit?auth_mechanism=magic",
        ] {
            let error = parse(text).unwrap_err();
            assert!(!error.contains("hunter2"), "{error}");
        }
    }
}
