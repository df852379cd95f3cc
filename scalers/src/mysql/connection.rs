//! Which database a trigger means (KEDA: `connectionString`, or `host` and its neighbours), and how the connection is encrypted.

use serde::Deserialize;

use super::connection_string::{self, ConnectionString};
use crate::clients::mysql::{Database, Encryption};
use crate::clients::tls::{Identity, TlsSettings};
use crate::params::{Field, Parameters, Source};

/// The parameters of a connection, KEDA's and those of TLS.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ConnectionParameters {
    /// All in one: `sales:...@tcp(db:3306)/shop?tls=true`. Then the next five don't count. `tls` is `true`, `false`, `skip-verify` or
    /// `preferred`; `allowFallbackToPlaintext` and `allowCleartextPasswords` are known; other parameters of Go's driver have no
    /// meaning here, and what it doesn't know either is a variable of the session (`time_zone=%27%2B00:00%27`).
    connection_string: Option<String>,
    /// The server's name or address.
    host: Option<String>,
    /// Its port.
    port: Option<String>,
    /// As whom to log in.
    username: Option<String>,
    /// That user's password.
    password: Option<String>,
    /// The database.
    db_name: Option<String>,
    /// PEM of authorities that are trusted besides the system's.
    ca: Option<String>,
    /// A client certificate, PEM.
    cert: Option<String>,
    /// The client certificate's private key, PEM.
    key: Option<String>,
    /// The password of an encrypted `key`.
    key_password: Option<String>,
}

const AUTHENTICATION_ENVIRONMENT: &[Source] = &[Source::Authentication, Source::Environment];
const METADATA_AUTHENTICATION: &[Source] = &[Source::Metadata, Source::Authentication];
const ALL: &[Source] = &[
    Source::Metadata,
    Source::Authentication,
    Source::Environment,
];
const AUTHENTICATION: &[Source] = &[Source::Authentication];

impl Parameters for ConnectionParameters {
    const FIELDS: &'static [Field] = &[
        Field::optional("connectionString", AUTHENTICATION_ENVIRONMENT).secret(),
        Field::optional("host", METADATA_AUTHENTICATION),
        Field::optional("port", METADATA_AUTHENTICATION),
        Field::optional("username", ALL),
        Field::optional("password", AUTHENTICATION_ENVIRONMENT).secret(),
        Field::optional("dbName", METADATA_AUTHENTICATION),
        Field::optional("ca", AUTHENTICATION),
        Field::optional("cert", AUTHENTICATION),
        Field::optional("key", AUTHENTICATION).secret(),
        Field::optional("keyPassword", AUTHENTICATION).secret(),
    ];

    fn check(&self) -> Vec<String> {
        let broken = self.database().err();
        broken.into_iter().collect()
    }
}

/// Where a server is whose string doesn't say.
const HOST: &str = "127.0.0.1";
const PORT: u16 = 3306;

/// What Go's driver knows by these names and has no meaning here: waiting and pooling are the caller's, answers are numbers, and there
/// is one statement in a query.
const WITHOUT_MEANING: &[&str] = &[
    "allowAllFiles",
    "allowNativePasswords",
    "allowOldPasswords",
    "charset",
    "checkConnLiveness",
    "clientFoundRows",
    "collation",
    "columnsWithAlias",
    "compress",
    "connectionAttributes",
    "interpolateParams",
    "loc",
    "maxAllowedPacket",
    "multiStatements",
    "parseTime",
    "readTimeout",
    "rejectReadOnly",
    "strict",
    "timeTruncate",
    "timeout",
    "writeTimeout",
];

impl ConnectionParameters {
    /// # Errors
    /// What is missing or can't be; without what is secret.
    pub fn database(&self) -> Result<Database, String> {
        match &self.connection_string {
            Some(text) => {
                let read = connection_string::read(text);
                let read = read.map_err(|why| format!("connectionString {why}"))?;
                self.of_string(read)
            }
            None => self.of_parts(),
        }
    }

    /// KEDA: what stands behind the last slash of a `connectionString`, parameters included, counts as the database's name.
    pub fn metric(&self) -> String {
        let name = match &self.connection_string {
            Some(text) => text.rsplit('/').next(),
            None => self.db_name.as_deref(),
        };
        format!("mysql-{}", name.unwrap_or_default())
    }

    fn of_parts(&self) -> Result<Database, String> {
        let missing: Vec<_> = [("host", &self.host), ("port", &self.port)]
            .into_iter()
            .filter(|(_, value)| value.is_none())
            .map(|(name, _)| format!("{name:?}"))
            .collect();
        let (Some(host), Some(port)) = (&self.host, &self.port) else {
            let missing = missing.join(" and ");
            return Err(format!(
                "missing {missing}: give it, or all in one as \"connectionString\""
            ));
        };
        Ok(Database {
            host: host_of(host, "host")?,
            port: port_of(port, "port")?,
            user: self.username.clone().unwrap_or_default(),
            password: self.password.clone(),
            name: self.db_name.clone(),
            encryption: Encryption::Never,
            cleartext_is_allowed: false,
            settings: Vec::new(),
        })
    }

    fn of_string(&self, read: ConnectionString) -> Result<Database, String> {
        if !matches!(read.protocol.as_str(), "tcp" | "tcp4" | "tcp6") {
            return Err(
                "connectionString has a protocol that isn't tcp: expected tcp(host:port)"
                    .to_owned(),
            );
        }
        // The colons of an IPv6 address are within brackets.
        let colon = read.address.rfind(':');
        let colon = colon.filter(|colon| !read.address[*colon..].contains(']'));
        let (host, port) = match colon {
            Some(colon) => {
                let port = port_of(&read.address[colon + 1..], "the port in connectionString")?;
                (&read.address[..colon], port)
            }
            None => (read.address.as_str(), PORT),
        };
        let host = if host.is_empty() { HOST } else { host };
        let (mut tls, mut falls_back, mut cleartext_is_allowed) =
            ("false".to_owned(), false, false);
        let mut settings = Vec::new();
        for (name, value) in read.parameters {
            match name.as_str() {
                "tls" => tls = value,
                "allowFallbackToPlaintext" => falls_back = boolean(&name, &value)?,
                "allowCleartextPasswords" => cleartext_is_allowed = boolean(&name, &value)?,
                "serverPubKey" => {
                    return Err("serverPubKey in connectionString names a key that there is none of: leave it out, or use tls".to_owned());
                }
                known if WITHOUT_MEANING.contains(&known) => {}
                _ => settings.push((variable(name)?, value)),
            }
        }
        Ok(Database {
            host: host_of(host, "the host in connectionString")?,
            port,
            user: read.user,
            password: Some(read.password).filter(|password| !password.is_empty()),
            name: Some(read.database).filter(|name| !name.is_empty()),
            encryption: self.encryption(&tls, falls_back)?,
            cleartext_is_allowed,
            settings,
        })
    }

    fn encryption(&self, tls: &str, falls_back: bool) -> Result<Encryption, String> {
        let (cert, key) = (self.cert.as_ref(), self.key.as_ref());
        let identity = Identity::given(cert, key, self.key_password.as_ref())?;
        let settings = |insecure| TlsSettings {
            ca: self.ca.clone(),
            identity: identity.clone(),
            insecure,
        };
        Ok(match (tls, go_bool(tls)) {
            (_, Some(false)) => Encryption::Never,
            (_, Some(true)) if falls_back => Encryption::IfOffered(settings(false)),
            (_, Some(true)) => Encryption::Always(settings(false)),
            ("preferred", _) => Encryption::IfOffered(settings(true)),
            ("skip-verify", _) if falls_back => Encryption::IfOffered(settings(true)),
            ("skip-verify", _) => Encryption::Always(settings(true)),
            // The value itself is not repeated: it comes from a Secret.
            _ => {
                return Err("tls in connectionString is none that there is: expected true, false, skip-verify or preferred".to_owned());
            }
        })
    }
}

/// A server's name or address, without an IPv6 address's brackets.
fn host_of(host: &str, named: &str) -> Result<String, String> {
    if host.starts_with('/') || host.starts_with('@') {
        return Err(format!(
            "{named} is a path: expected the name or address of a server"
        ));
    }
    let host = host.trim_start_matches('[').trim_end_matches(']');
    Ok(host.to_owned())
}

fn port_of(port: &str, named: &str) -> Result<u16, String> {
    let parsed = port.parse::<u16>().ok().filter(|port| *port > 0);
    parsed.ok_or_else(|| format!("{named} is no number from 1 to 65535"))
}

/// The driver's own, narrower than Go's.
fn go_bool(text: &str) -> Option<bool> {
    match text {
        "1" | "true" | "TRUE" | "True" => Some(true),
        "0" | "false" | "FALSE" | "False" => Some(false),
        _ => None,
    }
}

fn boolean(name: &str, value: &str) -> Result<bool, String> {
    go_bool(value).ok_or_else(|| format!("{name} in connectionString is neither true nor false"))
}

/// A variable's name, which becomes part of a statement.
fn variable(name: String) -> Result<String, String> {
    let is_name = !name.is_empty()
        && name
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || "_.@".contains(c));
    match is_name {
        true => Ok(name),
        false => Err("connectionString has a parameter whose name is no variable's".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::params;
    use crate::scaler::Trigger;

    fn parameters(given: &[(&str, &str)]) -> Result<ConnectionParameters, String> {
        let trigger = Trigger::new("mysql").authentication(given.iter().copied());
        params::parse(&trigger).map_err(|error| error.to_string())
    }

    fn read(given: &[(&str, &str)]) -> Result<Database, String> {
        parameters(given)?.database()
    }

    #[test]
    fn parts_and_a_string_mean_the_same() {
        let parts = read(&[
            ("host", "db"),
            ("port", "3307"),
            ("username", "sales"),
            ("password", "hunter2:@/"),
            ("dbName", "shop"),
        ])
        .unwrap();
        for string in [
            "sales:hunter2:@/@tcp(db:3307)/shop",
            "sales:hunter2:@/@tcp(db:3307)/shop?tls=false&parseTime=true&timeout=5s&charset=utf8mb4",
        ] {
            assert_eq!(read(&[("connectionString", string)]).unwrap(), parts);
        }
        assert_eq!(
            (parts.host.as_str(), parts.port, parts.name.as_deref()),
            ("db", 3307, Some("shop"))
        );
    }

    #[test]
    fn what_a_string_leaves_out_is_the_drivers_default() {
        let read = |string| read(&[("connectionString", string), ("host", "other")]).unwrap();
        let least = read("/");
        assert_eq!((least.host.as_str(), least.port), (HOST, PORT));
        assert_eq!((least.user.as_str(), least.name), ("", None));
        assert_eq!(read("u@tcp(db)/").port, PORT);
        let six = read("u@tcp([::1])/");
        assert_eq!((six.host.as_str(), six.port), ("::1", PORT));
        assert_eq!(read("u@tcp([::1]:1)/").port, 1);
        let settings = read("u@tcp(db)/?time_zone=%27%2B00:00%27").settings;
        assert_eq!(settings, [("time_zone".to_owned(), "'+00:00'".to_owned())]);
    }

    #[test]
    fn each_tls_asks_for_what_it_says() {
        for (parameters, expected) in [
            ("", "Never"),
            ("?tls=0", "Never"),
            ("?tls=true", "Always"),
            ("?tls=true&allowFallbackToPlaintext=true", "IfOffered"),
            ("?tls=skip-verify", "Always, insecure"),
            ("?tls=preferred", "IfOffered, insecure"),
        ] {
            let string = format!("u@tcp(db)/shop{parameters}");
            let found = read(&[("connectionString", &string)]).unwrap();
            assert_eq!(format!("{:?}", found.encryption), expected, "{string}");
        }
    }

    #[test]
    fn the_metric_has_the_name_that_keda_gives_it() {
        for (given, expected) in [
            (
                &[("connectionString", "u:p@tcp(db)/shop")][..],
                "mysql-shop",
            ),
            (
                &[
                    ("connectionString", "u@tcp(db)/shop?tls=true"),
                    ("dbName", "no"),
                ],
                "mysql-shop?tls=true",
            ),
            (
                &[("host", "db"), ("port", "1"), ("dbName", "shop")],
                "mysql-shop",
            ),
            (&[("host", "db"), ("port", "1")], "mysql-"),
        ] {
            assert_eq!(parameters(given).unwrap().metric(), expected);
        }
    }

    #[test]
    fn what_is_wrong_is_told_without_secrets() {
        for (string, part) in [
            ("hunter2", "connectionString has no slash"),
            (
                "u:hunter2@tcp(db:x)/",
                "the port in connectionString is no number",
            ),
            ("u:hunter2@unix(/tmp/s)/", "has a protocol that isn't tcp"),
            (
                "u:hunter2@tcp(db)/?tls=custom",
                "tls in connectionString is none that there is",
            ),
            ("u:hunter2@tcp(db)/?serverPubKey=k", "serverPubKey"),
            (
                "u:hunter2@tcp(db)/?allowCleartextPasswords=yes",
                "neither true nor false",
            ),
            ("u:hunter2@tcp(db)/?a;b=1", "no variable's"),
        ] {
            let error = read(&[("connectionString", string)]).unwrap_err();
            assert!(error.contains(part), "{error}");
            assert!(!error.contains("hunter2"), "{error}");
        }
        let error = read(&[("port", "1")]).unwrap_err();
        assert!(error.contains(r#"missing "host": give it"#), "{error}");
        let string = ("connectionString", "u@tcp(db)/?tls=true");
        let error = read(&[string, ("key", "hunter2")]).unwrap_err();
        assert!(error.contains("cert and key go together"), "{error}");
    }
}
