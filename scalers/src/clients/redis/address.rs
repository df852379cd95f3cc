//! Where a server listens: `HOST:PORT`.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr};

/// A host name or an IP address, and a port.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Address {
    pub host: String,
    pub port: u16,
}

impl Address {
    /// `cache:6379`, `10.0.0.1:6379` or `[::1]:6379`; `None` for anything else.
    pub fn parse(text: &str) -> Option<Self> {
        let (host, port) = text.rsplit_once(':')?;
        Self::of(host, port.parse().ok()?)
    }

    /// A host that may be an IPv6 address, with or without brackets.
    pub fn of(host: &str, port: u16) -> Option<Self> {
        let bare = host
            .strip_prefix('[')
            .and_then(|rest| rest.strip_suffix(']'))
            .unwrap_or(host);
        let is_address = bare.parse::<Ipv6Addr>().is_ok();
        let is_name = !bare.is_empty() && !bare.contains([':', '/', '@', '[', ']', ' ']);
        (port > 0 && (is_address || is_name)).then(|| Self {
            host: bare.to_owned(),
            port,
        })
    }

    /// Who is meant by an address that the server at this one told: one without a host, or of the machine that it is read on, is
    /// on the server's own machine.
    pub fn told(&self, host: &str, port: u16) -> Option<Self> {
        let is_loopback = |host: &str| host.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback());
        let here = host.is_empty() || host == "?" || is_loopback(host) && !is_loopback(&self.host);
        Self::of(if here { &self.host } else { host }, port)
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_a_host_and_a_port() {
        for (text, shown) in [
            ("cache:6379", Some("cache:6379")),
            (
                "cache.shop.svc.cluster.local:1",
                Some("cache.shop.svc.cluster.local:1"),
            ),
            ("10.0.0.1:6379", Some("10.0.0.1:6379")),
            ("[::1]:6379", Some("[::1]:6379")),
            ("fd00::1:6379", Some("[fd00::1]:6379")),
            ("cache", None),
            ("cache:", None),
            (":6379", None),
            ("cache:0", None),
            ("cache:65536", None),
            ("cache:redis", None),
            ("redis://cache:6379", None),
            ("user:secret@cache:6379", None),
            ("", None),
        ] {
            let found = Address::parse(text).map(|address| address.to_string());
            assert_eq!(found.as_deref(), shown, "{text}");
        }
    }

    #[test]
    fn a_server_may_tell_an_address_on_its_own_machine() {
        let cache = Address::parse("cache:6379").unwrap();
        let loopback = Address::parse("127.0.0.1:6379").unwrap();
        for (from, host, told) in [
            (&cache, "10.0.0.2", "10.0.0.2:7000"),
            (&cache, "", "cache:7000"),
            (&cache, "?", "cache:7000"),
            (&cache, "127.0.0.1", "cache:7000"),
            (&loopback, "127.0.0.1", "127.0.0.1:7000"),
            (&loopback, "::1", "[::1]:7000"),
        ] {
            assert_eq!(from.told(host, 7000).unwrap().to_string(), told);
        }
        assert_eq!(cache.told("a b", 7000), None);
    }
}
