//! Which database a trigger means (KEDA: `connection`, or `host` and its neighbours), and how the connection is encrypted.

use serde::Deserialize;

use super::connection_string;
use crate::clients::postgresql::{Database, Encryption, Role};
use crate::clients::tls::{Identity, TlsSettings};
use crate::params::{Field, Parameters, Source};

/// The parameters of a connection, KEDA's and those of TLS.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ConnectionParameters {
    /// All in one: `host=db port=5432 user=sales password=... dbname=shop sslmode=verify-full`, or
    /// `postgresql://sales:...@db:5432/shop?sslmode=verify-full`. Then the next six don't count.
    connection: Option<String>,
    /// The server's name or address.
    host: Option<String>,
    /// Its port.
    port: Option<String>,
    /// As whom to log in.
    user_name: Option<String>,
    /// That user's password.
    password: Option<String>,
    /// The database.
    db_name: Option<String>,
    /// `disable`, `allow`, `prefer`, `require`, `verify-ca` or `verify-full`.
    sslmode: Option<String>,
    /// PEM of authorities that are trusted besides the system's.
    ca: Option<String>,
    /// A client certificate, PEM.
    cert: Option<String>,
    /// The client certificate's private key, PEM.
    key: Option<String>,
    /// The password of an encrypted `key`.
    key_password: Option<String>,
}

const AUTHENTICATION_METADATA: &[Source] = &[Source::Authentication, Source::Metadata];
const AUTHENTICATION_ENVIRONMENT: &[Source] = &[Source::Authentication, Source::Environment];
const AUTHENTICATION: &[Source] = &[Source::Authentication];

impl Parameters for ConnectionParameters {
    const FIELDS: &'static [Field] = &[
        Field::optional("connection", AUTHENTICATION_ENVIRONMENT).secret(),
        Field::optional("host", AUTHENTICATION_METADATA),
        Field::optional("port", AUTHENTICATION_METADATA),
        Field::optional("userName", AUTHENTICATION_METADATA),
        Field::optional("password", AUTHENTICATION_ENVIRONMENT).secret(),
        Field::optional("dbName", AUTHENTICATION_METADATA),
        Field::optional("sslmode", AUTHENTICATION_METADATA),
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

impl ConnectionParameters {
    /// # Errors
    /// What is missing or can't be; without what is secret.
    pub fn database(&self) -> Result<Database, String> {
        let (settings, named) = match &self.connection {
            Some(text) => {
                let read = connection_string::read(text);
                (
                    read.map_err(|why| format!("connection {why}"))?,
                    " in connection",
                )
            }
            None => (self.parts()?, ""),
        };
        Settings { settings, named }.database(self)
    }

    /// The same as pairs, as they would stand in `connection`.
    fn parts(&self) -> Result<Vec<(String, String)>, String> {
        let given = [
            ("host", "host", &self.host),
            ("port", "port", &self.port),
            ("user", "userName", &self.user_name),
            ("dbname", "dbName", &self.db_name),
            ("sslmode", "sslmode", &self.sslmode),
        ];
        let missing: Vec<_> = given
            .iter()
            .filter(|(_, _, value)| value.is_none())
            .map(|(_, name, _)| format!("{name:?}"))
            .collect();
        if !missing.is_empty() {
            return Err(format!(
                "missing {}: give it, or all in one as \"connection\"",
                missing.join(" and ")
            ));
        }
        let password = [("password", "password", &self.password)];
        let all = given.into_iter().chain(password);
        Ok(all
            .filter_map(|(name, _, value)| Some((name.to_owned(), value.clone()?)))
            .collect())
    }

    /// What takes any certificate of the server.
    fn tls(&self) -> Result<TlsSettings, String> {
        let (cert, key) = (self.cert.as_ref(), self.key.as_ref());
        let identity = Identity::given(cert, key, self.key_password.as_ref())?;
        Ok(TlsSettings {
            ca: self.ca.clone(),
            identity,
            insecure: true,
        })
    }
}

/// What PostgreSQL's clients know by these names and has no meaning here: waiting and pooling are the caller's, and whatever else
/// stands in a connection string goes to the server.
const WITHOUT_MEANING: &[&str] = &[
    "application_name",
    "channel_binding",
    "client_encoding",
    "connect_timeout",
    "default_query_exec_mode",
    "description_cache_capacity",
    "fallback_application_name",
    "gssencmode",
    "keepalives",
    "keepalives_count",
    "keepalives_idle",
    "keepalives_interval",
    "krbspn",
    "krbsrvname",
    "load_balance_hosts",
    "sslcompression",
    "sslnegotiation",
    "sslsni",
    "statement_cache_capacity",
    "tcp_user_timeout",
];

/// Files on the operator's own disk.
const FILES: &[(&str, &str)] = &[
    ("passfile", "password"),
    ("service", "the settings themselves"),
    ("servicefile", "the settings themselves"),
    ("sslcert", "cert"),
    ("sslkey", "key"),
    ("sslpassword", "keyPassword"),
    ("sslrootcert", "ca"),
];

struct Settings {
    settings: Vec<(String, String)>,
    /// Where they stand.
    named: &'static str,
}

impl Settings {
    /// Of several the last one, as in PostgreSQL's clients; nothing is the same as none.
    fn get(&self, names: &[&str]) -> Option<&str> {
        let mut found = self.settings.iter().rev();
        let (_, value) = found.find(|(name, _)| names.contains(&name.as_str()))?;
        (!value.is_empty()).then_some(value)
    }

    /// Which server of several is meant. One that may be read only is a standby here: nobody asks for a primary that nobody writes to.
    fn role(&self) -> Result<Role, String> {
        match self.get(&["target_session_attrs"]) {
            // With `prefer-standby`, another one does as well.
            None | Some("any" | "prefer-standby") => Ok(Role::Any),
            Some("primary" | "read-write") => Ok(Role::Primary),
            Some("standby" | "read-only") => Ok(Role::Standby),
            Some(other) => Err(format!(
                "target_session_attrs{} is {other:?}: expected any, primary, read-write, standby, read-only or prefer-standby",
                self.named
            )),
        }
    }

    fn database(&self, parameters: &ConnectionParameters) -> Result<Database, String> {
        let named = self.named;
        let mut options = Vec::new();
        for (name, value) in &self.settings {
            let file = FILES.iter().find(|(file, _)| file == name);
            match (name.as_str(), file) {
                ("sslrootcert", _) if value == "system" => {}
                (_, Some((_, instead))) => {
                    return Err(format!(
                        "{name}{named} is a file of the operator's, which is not read: give {instead}"
                    ));
                }
                ("options", _) => options.push(value.clone()),
                (
                    "host" | "hostaddr" | "port" | "user" | "password" | "dbname" | "database"
                    | "sslmode",
                    _,
                ) => {}
                ("target_session_attrs", _) => {}
                (known, _) if WITHOUT_MEANING.contains(&known) || known.starts_with("pool_") => {}
                (setting, _) => options.push(format!("-c {setting}={}", escaped(value))),
            }
        }
        let user = self.get(&["user"]);
        let user = user.ok_or_else(|| format!("no user{named}"))?;
        Ok(Database {
            hosts: self.hosts()?,
            user: user.to_owned(),
            password: self.get(&["password"]).map(str::to_owned),
            name: self.get(&["dbname", "database"]).map(str::to_owned),
            encryption: self.encryption(parameters)?,
            options: (!options.is_empty()).then(|| options.join(" ")),
            role: self.role()?,
        })
    }

    fn hosts(&self) -> Result<Vec<(String, u16)>, String> {
        let named = self.named;
        let hosts = self.get(&["host", "hostaddr"]);
        let hosts = hosts.ok_or_else(|| format!("no host{named}"))?;
        let ports: Vec<_> = self
            .get(&["port"])
            .unwrap_or("5432")
            .split(',')
            .map(|port| {
                let parsed = port.trim().parse::<u16>().ok().filter(|port| *port > 0);
                parsed.ok_or_else(|| format!("port{named} is no number from 1 to 65535"))
            })
            .collect::<Result<_, _>>()?;
        let mut found = Vec::new();
        for (index, host) in hosts.split(',').map(str::trim).enumerate() {
            if host.starts_with('/') || host.starts_with('@') || host.is_empty() {
                return Err(format!(
                    "host{named} is a path, or nothing: expected the name or address of a server"
                ));
            }
            // One port for all, or one each.
            let port = ports.get(index).or(ports.last()).copied();
            let host = host.trim_start_matches('[').trim_end_matches(']');
            found.push((host.to_owned(), port.unwrap_or(5432)));
        }
        Ok(found)
    }

    fn encryption(&self, parameters: &ConnectionParameters) -> Result<Encryption, String> {
        let mode = self.get(&["sslmode"]).unwrap_or("prefer");
        let any = parameters.tls()?;
        let checked = TlsSettings {
            insecure: false,
            ..any.clone()
        };
        Ok(match mode {
            "disable" => Encryption::Never,
            "allow" | "prefer" => Encryption::IfOffered(any),
            // PostgreSQL's clients: with an authority it is asked for what it signed.
            "require" if any.ca.is_some() => Encryption::AnyHost(checked),
            "require" => Encryption::Always(any),
            "verify-ca" => Encryption::AnyHost(checked),
            "verify-full" => Encryption::Always(checked),
            // The value itself is not repeated: all of them may come from a Secret.
            _ => {
                return Err(format!(
                    "sslmode{} is none that there is: expected disable, allow, prefer, require, verify-ca or verify-full",
                    self.named
                ));
            }
        })
    }
}

/// As the server's command line wants it.
fn escaped(value: &str) -> String {
    let mut escaped = String::new();
    for c in value.chars() {
        if c == '\\' || c.is_whitespace() {
            escaped.push('\\');
        }
        escaped.push(c);
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::params;
    use crate::scaler::Trigger;

    fn read(given: &[(&str, &str)]) -> Result<Database, String> {
        let trigger = Trigger {
            authentication: given
                .iter()
                .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
                .collect(),
            ..Trigger::new("postgresql")
        };
        let parameters: ConnectionParameters =
            params::parse(&trigger).map_err(|error| error.to_string())?;
        parameters.database()
    }

    const PARTS: &[(&str, &str)] = &[
        ("host", "db"),
        ("port", "6432"),
        ("userName", "sales"),
        ("password", "hunter2 '\\"),
        ("dbName", "shop"),
        ("sslmode", "disable"),
    ];

    #[test]
    fn parts_and_both_forms_of_a_connection_mean_the_same() {
        let parts = read(PARTS).unwrap();
        assert_eq!(parts.hosts, [("db".to_owned(), 6432)]);
        assert_eq!(parts.password.as_deref(), Some("hunter2 '\\"));
        for connection in [
            r"host=db port=6432 user=sales password='hunter2 \'\\' dbname=shop sslmode=disable",
            r"host = db port=6432 user=sales password=hunter2\ '\\ database=shop sslmode=disable connect_timeout=5 pool_max_conns=3",
            "postgres://sales:hunter2%20'%5C@db:6432/shop?sslmode=disable",
            "postgresql://sales@db:6432/shop?sslmode=disable&password=hunter2+'%5C",
        ] {
            assert_eq!(
                read(&[("connection", connection)]).unwrap(),
                parts,
                "{connection}"
            );
        }
    }

    #[test]
    fn which_server_of_several_is_meant() {
        let role = |wanted: &str| {
            let connection = format!("host=a,b user=u target_session_attrs={wanted}");
            read(&[("connection", &connection)]).map(|database| database.role)
        };
        for (wanted, expected) in [
            ("any", Role::Any),
            ("prefer-standby", Role::Any),
            ("read-write", Role::Primary),
            ("primary", Role::Primary),
            ("read-only", Role::Standby),
            ("standby", Role::Standby),
        ] {
            assert_eq!(role(wanted).ok(), Some(expected), "{wanted}");
        }
        let problem = format!("{:?}", role("master"));
        assert!(problem.contains("master"), "{problem}");
    }

    #[test]
    fn a_connection_wins_over_the_parts_as_in_keda() {
        let mut given = PARTS.to_vec();
        given.push((
            "connection",
            "host=a,b port=1,2 user=u search_path=shop options='-c jit=off'",
        ));
        let found = read(&given).unwrap();
        assert_eq!(found.hosts, [("a".to_owned(), 1), ("b".to_owned(), 2)]);
        assert_eq!((found.password, found.name), (None, None));
        assert_eq!(
            found.options.as_deref(),
            Some("-c search_path=shop -c jit=off")
        );
        assert_eq!(format!("{:?}", found.encryption), "IfOffered");
    }

    #[test]
    fn each_sslmode_asks_for_what_it_says() {
        for (mode, ca, expected) in [
            ("disable", false, "Never"),
            ("allow", false, "IfOffered"),
            ("prefer", true, "IfOffered"),
            ("require", false, "Always, insecure"),
            ("require", true, "AnyHost"),
            ("verify-ca", true, "AnyHost"),
            ("verify-full", true, "Always"),
        ] {
            let mut given = PARTS.to_vec();
            given.retain(|(name, _)| *name != "sslmode");
            given.push(("sslmode", mode));
            given.extend(ca.then_some(("ca", "PEM")));
            let found = read(&given).unwrap();
            assert_eq!(format!("{:?}", found.encryption), expected, "{mode}");
        }
    }

    #[test]
    fn what_is_wrong_is_told_without_secrets() {
        for (connection, part) in [
            ("hunter2", "connection is neither"),
            ("user=u password=hunter2", "no host in connection"),
            ("host=db password=hunter2", "no user in connection"),
            ("host=db user=u password='hunter2", "a quote that is opened"),
            (
                "host=db user=u port=70000 password=hunter2",
                "port in connection is no number",
            ),
            (
                "host=/var/run user=u password=hunter2",
                "host in connection is a path",
            ),
            (
                "host=db user=u password=hunter2 sslmode=on",
                "sslmode in connection is none that there is: expected disable",
            ),
            (
                "host=db user=u password=hunter2 sslrootcert=/ca.pem",
                "sslrootcert in connection is a file of the operator's, which is not read: give ca",
            ),
            ("postgres://u:hunter2%FF@db", "connection"),
        ] {
            let error = read(&[("connection", connection)]).unwrap_err();
            assert!(error.contains(part), "{error}");
            assert!(!error.contains("hunter2"), "{error}");
        }
        let error = read(&[("host", "db"), ("userName", "u")]).unwrap_err();
        assert!(
            error.contains(r#"missing "port" and "dbName" and "sslmode""#),
            "{error}"
        );
        let mut given = PARTS.to_vec();
        given.push(("key", "hunter2"));
        assert!(
            read(&given)
                .unwrap_err()
                .contains("cert and key go together")
        );
    }
}
