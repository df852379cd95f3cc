//! Where Redis is, and as whom it is asked: the parameters that all of its trigger types share.

use serde::Deserialize;

use crate::clients::redis::{Address, Endpoint, Login, Topology};
use crate::clients::tls::{Identity, TlsSettings};
use crate::params::{AUTHENTICATION, EVERYWHERE, Field, METADATA, Parameters, Source};

/// The parameters of the connection.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ConnectionParameters {
    /// `HOST:PORT`; several with commas between them. One server is the first of them; of a cluster any nodes; of a master the
    /// sentinels.
    address: Option<Vec<String>>,
    /// The host, or several, each with a port of its own in `port`. They come after those in `address`.
    host: Option<Vec<String>>,
    /// The port of `host`, or as many as there are hosts.
    port: Option<Vec<String>>,
    /// The user. Counts together with `password` only.
    username: Option<String>,
    /// The password of the user, or of the server.
    password: Option<String>,
    /// The user that sentinels know. Counts together with `sentinelPassword` only.
    sentinel_username: Option<String>,
    /// The password of the sentinels.
    sentinel_password: Option<String>,
    /// The name that sentinels call the master by. They need it; others don't look at it.
    sentinel_master: Option<String>,
    /// The number of the database. A cluster has only one.
    database_index: i64,
    /// Speaks TLS, with sentinels too.
    #[serde(rename = "enableTLS")]
    enable_tls: Option<bool>,
    /// `enable` or `disable`, instead of `enableTLS`.
    tls: Option<String>,
    /// Takes any certificate of the server.
    unsafe_ssl: bool,
    /// PEM of authorities that are trusted besides the system's.
    ca: Option<String>,
    /// PEM of the client certificate. Counts together with `key` only.
    cert: Option<String>,
    /// PEM of the client certificate's key.
    key: Option<String>,
    /// The password of `key`, where it is encrypted.
    key_password: Option<String>,
}

/// KEDA looks these up in the authentication before the environment.
const AUTHENTICATION_FIRST: &[Source] = &[
    Source::Metadata,
    Source::Authentication,
    Source::Environment,
];

impl Parameters for ConnectionParameters {
    const FIELDS: &'static [Field] = &[
        Field::optional("address", AUTHENTICATION_FIRST).aliases(&["addresses"]),
        Field::optional("host", EVERYWHERE).aliases(&["hosts"]),
        Field::optional("port", EVERYWHERE).aliases(&["ports"]),
        Field::optional("username", EVERYWHERE),
        Field::optional("password", EVERYWHERE).secret(),
        Field::optional("sentinelUsername", AUTHENTICATION_FIRST),
        Field::optional("sentinelPassword", AUTHENTICATION_FIRST).secret(),
        Field::optional("sentinelMaster", AUTHENTICATION_FIRST),
        Field::with_default("databaseIndex", METADATA, "0"),
        Field::optional("enableTLS", METADATA),
        Field::optional("tls", AUTHENTICATION),
        Field::with_default("unsafeSsl", METADATA, "false"),
        Field::optional("ca", AUTHENTICATION),
        Field::optional("cert", AUTHENTICATION).aliases(&["Cert"]),
        Field::optional("key", AUTHENTICATION).secret(),
        Field::optional("keyPassword", AUTHENTICATION).secret(),
    ];

    fn check(&self) -> Vec<String> {
        let rules = [self.given().err(), self.is_encrypted().err()];
        rules.into_iter().flatten().map(str::to_owned).collect()
    }
}

/// Which servers a trigger type reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Layout {
    Single,
    Cluster,
    Sentinel,
}

impl ConnectionParameters {
    /// # Errors
    /// What is missing, or can't be an address. Quotes no value: each may stand in an authentication.
    pub(crate) fn endpoint(&self, layout: Layout) -> Result<Endpoint, String> {
        let given = self.given()?;
        let looked_at = match layout {
            Layout::Single => &given[..1],
            Layout::Cluster | Layout::Sentinel => &given[..],
        };
        // One of several that is none is like one of several that is down.
        let addresses: Vec<Address> = looked_at
            .iter()
            .filter_map(|text| Address::parse(text))
            .collect();
        if addresses.is_empty() {
            return Err(
                "parameter \"address\": expected HOST:PORT, such as cache.shop:6379".to_owned(),
            );
        }
        let topology = match layout {
            Layout::Single => Topology::Single,
            Layout::Cluster => Topology::Cluster,
            Layout::Sentinel => Topology::Sentinel {
                master: self.sentinel_master.clone().ok_or(
                    "parameter \"sentinelMaster\" is missing: sentinels tell a master by its name",
                )?,
                login: login(&self.sentinel_username, &self.sentinel_password),
            },
        };
        Ok(Endpoint {
            topology,
            addresses,
            login: login(&self.username, &self.password),
            database: match layout {
                Layout::Cluster => 0,
                Layout::Single | Layout::Sentinel => self.database_index.max(0),
            },
            tls: self.is_encrypted()?.then(|| self.tls_settings()),
        })
    }

    /// All addresses, at least one. The first isn't empty.
    fn given(&self) -> Result<Vec<String>, &'static str> {
        let mut given = self.address.clone().unwrap_or_default();
        if let (Some(hosts), Some(ports)) = (&self.host, &self.port) {
            if hosts.len() != ports.len() {
                return Err(UNEQUAL);
            }
            given.extend(
                hosts
                    .iter()
                    .zip(ports)
                    .map(|(host, port)| format!("{host}:{port}")),
            );
        }
        match given.first() {
            Some(first) if !first.is_empty() => Ok(given),
            _ => Err(NO_ADDRESS),
        }
    }

    fn is_encrypted(&self) -> Result<bool, &'static str> {
        match (self.enable_tls, self.tls.as_deref()) {
            (Some(_), Some(_)) => Err(TLS_TWICE),
            (Some(encrypted), None) => Ok(encrypted),
            (None, Some("enable")) => Ok(true),
            (None, Some("disable") | None) => Ok(false),
            // The value stands in an authentication, so it isn't shown.
            (None, Some(_)) => Err("error incorrect TLS value given: expected enable or disable"),
        }
    }

    fn tls_settings(&self) -> TlsSettings {
        let identity = self.cert.clone().zip(self.key.clone());
        TlsSettings {
            ca: self.ca.clone(),
            identity: identity.map(|(certificate, key)| Identity {
                certificate,
                key,
                key_password: self.key_password.clone(),
            }),
            insecure: self.unsafe_ssl,
        }
    }
}

/// KEDA's words, on which users' searches match.
const NO_ADDRESS: &str = "no addresses or hosts given. address should be a comma separated list of host:port or set the host/port values";
const UNEQUAL: &str =
    "not enough hosts or ports given. number of hosts should be equal to the number of ports";
const TLS_TWICE: &str =
    "unable to set `tls` in both ScaledObject and TriggerAuthentication together";

fn login(username: &Option<String>, password: &Option<String>) -> Login {
    Login {
        username: username.clone(),
        password: password.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::params;
    use crate::scaler::Trigger;

    type Pairs<'a> = &'a [(&'a str, &'a str)];

    fn endpoint(trigger: &Trigger, layout: Layout) -> Result<Endpoint, String> {
        let parsed: ConnectionParameters =
            params::parse(trigger).map_err(|errors| errors.to_string())?;
        parsed.endpoint(layout)
    }

    fn of(metadata: Pairs, layout: Layout) -> Result<Endpoint, String> {
        let master = [("sentinelMaster", "shop")];
        let trigger = Trigger::new("redis").metadata(metadata.iter().copied());
        endpoint(&trigger.metadata(master), layout)
    }

    #[test]
    fn addresses_come_before_hosts_and_the_first_is_the_server() {
        let table: &[(Pairs, &str, &str)] = &[
            (&[("address", "a:1")], "a:1", "a:1"),
            (&[("addresses", " a:1, b:2 ")], "a:1", "a:1 b:2"),
            (&[("address", "a:1"), ("addresses", "b:2")], "a:1", "a:1"),
            (&[("host", "a"), ("port", "1")], "a:1", "a:1"),
            (
                &[("hosts", "a, ::1"), ("ports", "1,2")],
                "a:1",
                "a:1 [::1]:2",
            ),
            (
                &[("host", "a"), ("port", "1"), ("address", "b:2")],
                "b:2",
                "b:2 a:1",
            ),
            // Half of a pair is nothing.
            (&[("host", "a"), ("address", "b:2")], "b:2", "b:2"),
            // KEDA asks the others.
            (&[("address", "a:1,,b")], "a:1", "a:1"),
        ];
        for (metadata, single, several) in table {
            for (layout, expected) in [
                (Layout::Single, single),
                (Layout::Cluster, several),
                (Layout::Sentinel, several),
            ] {
                let found = of(metadata, layout).map_err(|error| format!("{metadata:?}: {error}"));
                let found: Vec<String> = found
                    .unwrap()
                    .addresses
                    .iter()
                    .map(Address::to_string)
                    .collect();
                assert_eq!(found.join(" "), *expected, "{metadata:?} {layout:?}");
            }
        }
    }

    #[test]
    fn each_parameter_has_kedas_order_of_places() {
        let trigger = Trigger::new("redis-sentinel")
            .metadata([
                ("addressFromEnv", "ADDRESS"),
                ("usernameFromEnv", "USERNAME"),
                ("passwordFromEnv", "PASSWORD"),
                ("sentinelPasswordFromEnv", "PASSWORD"),
                ("sentinelMasterFromEnv", "MASTER"),
            ])
            .environment([
                ("ADDRESS", "environment:1"),
                ("USERNAME", "environment"),
                ("PASSWORD", "environment"),
                ("MASTER", "environment"),
            ])
            .authentication([
                ("address", "authentication:1"),
                ("username", "authentication"),
                ("password", "authentication"),
                ("sentinelPassword", "authentication"),
            ]);
        let found = endpoint(&trigger, Layout::Sentinel).ok().unwrap();
        assert_eq!(found.addresses[0].to_string(), "authentication:1");
        let name = |text: &str| Some(text.to_owned());
        assert_eq!(found.login.username, name("environment"));
        assert_eq!(found.login.password, name("environment"));
        let Topology::Sentinel { master, login } = found.topology else {
            panic!("sentinels");
        };
        assert_eq!(master, "environment");
        assert_eq!(login.password, name("authentication"));
    }

    #[test]
    fn broken_rules_have_kedas_words() {
        let table: &[(Pairs, Pairs, &str)] = &[
            (&[], &[], NO_ADDRESS),
            (&[("host", "a")], &[], NO_ADDRESS),
            (&[("address", ",a:1")], &[], NO_ADDRESS),
            (&[("hosts", "a,b"), ("ports", "1")], &[], UNEQUAL),
            (
                &[("hosts", "a,b"), ("ports", "1"), ("address", "c:1")],
                &[],
                UNEQUAL,
            ),
            (
                &[("address", "a:1"), ("enableTLS", "false")],
                &[("tls", "disable")],
                TLS_TWICE,
            ),
            (
                &[("address", "a:1")],
                &[("tls", "hunter2")],
                "error incorrect TLS value given: expected enable or disable",
            ),
            (
                &[("address", "redis://user:hunter2@cache")],
                &[],
                "parameter \"address\": expected HOST:PORT, such as cache.shop:6379",
            ),
        ];
        for (metadata, authentication, expected) in table {
            let trigger = Trigger::new("redis")
                .metadata(metadata.iter().copied())
                .authentication(authentication.iter().copied());
            let error = endpoint(&trigger, Layout::Single).err();
            assert_eq!(error.as_deref(), Some(*expected), "{metadata:?}");
        }
        let nobody = Trigger::new("redis-sentinel").metadata([("address", "a:1")]);
        let error = endpoint(&nobody, Layout::Sentinel).err().unwrap();
        assert!(
            error.starts_with("parameter \"sentinelMaster\" is missing"),
            "{error}"
        );
    }

    #[test]
    fn tls_is_spoken_where_either_parameter_says_so() {
        let table: &[(Pairs, Pairs, bool)] = &[
            (&[], &[], false),
            (&[("enableTLS", "t")], &[], true),
            (&[("enableTLS", "false")], &[], false),
            (&[], &[("tls", "enable"), ("ca", "pem")], true),
            (&[], &[("tls", "disable")], false),
            (&[("unsafeSsl", "true")], &[("ca", "pem")], false),
        ];
        for (metadata, authentication, expected) in table {
            let trigger = Trigger::new("redis")
                .metadata([("address", "a:1")])
                .metadata(metadata.iter().copied())
                .authentication(authentication.iter().copied());
            let found = endpoint(&trigger, Layout::Single).ok().unwrap();
            assert_eq!(found.tls.is_some(), *expected, "{metadata:?}");
        }
    }

    #[test]
    fn half_an_identity_is_none() {
        for (authentication, expected) in [
            (&[("cert", "pem"), ("key", "pem")][..], true),
            (&[("Cert", "pem"), ("key", "pem")], true),
            (&[("cert", "pem")], false),
            (&[("key", "pem")], false),
        ] {
            let trigger = Trigger::new("redis")
                .metadata([("address", "a:1"), ("enableTLS", "true")])
                .authentication(authentication.iter().copied());
            let found = endpoint(&trigger, Layout::Single).ok().unwrap();
            let tls = found.tls.unwrap();
            assert_eq!(tls.identity.is_some(), expected, "{authentication:?}");
        }
    }

    #[test]
    fn only_what_has_databases_gets_one() {
        for (index, layout, expected) in [
            ("3", Layout::Single, 3),
            ("3", Layout::Sentinel, 3),
            ("3", Layout::Cluster, 0),
            ("-1", Layout::Single, 0),
        ] {
            let found = of(&[("address", "a:1"), ("databaseIndex", index)], layout);
            assert_eq!(found.ok().unwrap().database, expected);
        }
    }
}
