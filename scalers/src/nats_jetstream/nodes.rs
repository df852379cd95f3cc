//! The monitoring endpoints of a cluster's servers. All of them listen on the same port, that of the endpoint that is known.

use reqwest::Url;

use crate::clients::nats;

/// A server of the cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    /// Its monitoring endpoint.
    pub endpoint: Url,
    /// As its cluster calls it, where that is known without asking it.
    pub name: Option<String>,
}

/// The servers of a cluster, from what one of them says.
///
/// Where the cluster advertises its servers to clients, they are reached at those hosts. Where it doesn't (as in NATS' Helm chart),
/// the first part of a route's host is the server's name, and it is reached at that name before the known host: the route
/// `nats-0.nats.shop.svc:6222` and the endpoint `nats.shop.svc:8222` give `nats-0.nats.shop.svc:8222` (KEDA).
pub fn nodes(known: &Url, server: &nats::Server) -> Vec<Node> {
    let advertised = &server.connect_urls;
    let nodes: Vec<Option<Node>> = if advertised.is_empty() {
        let routes = &server.cluster.urls;
        routes.iter().map(|route| of_route(known, route)).collect()
    } else {
        let at = |address: &String| {
            Some(Node {
                endpoint: with_host(known, host(address))?,
                name: None,
            })
        };
        advertised.iter().map(at).collect()
    };
    let mut distinct: Vec<Node> = Vec::new();
    for node in nodes.into_iter().flatten() {
        if !distinct.contains(&node) {
            distinct.push(node);
        }
    }
    distinct
}

fn of_route(known: &Url, route: &str) -> Option<Node> {
    let name = route.split('.').next()?;
    let host = format!("{name}.{}", known.host_str()?);
    Some(Node {
        endpoint: with_host(known, &host)?,
        name: Some(name.to_owned()),
    })
}

fn with_host(known: &Url, host: &str) -> Option<Url> {
    let mut url = known.clone();
    url.set_host(Some(host)).ok()?;
    Some(url)
}

/// Of `HOST:PORT`, with the brackets of an IPv6 address.
fn host(address: &str) -> &str {
    match address.rfind(']') {
        Some(end) => &address[..=end],
        None => address.split(':').next().unwrap_or(address),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn found(known: &str, varz: serde_json::Value) -> Vec<(String, Option<String>)> {
        let server: nats::Server = serde_json::from_value(varz).unwrap();
        let nodes = nodes(&Url::parse(known).unwrap(), &server);
        let shown = nodes
            .into_iter()
            .map(|node| (node.endpoint.to_string(), node.name));
        shown.collect()
    }

    #[test]
    fn advertised_servers_are_asked_at_the_known_port() {
        let varz = json!({"server_name": "a", "cluster": {"urls": ["x.nats:6222"]}, "connect_urls":
            ["172.0.1.3:4222", "nats-1.nats.svc.cluster.local:4222", "[fd00::1]:4222", "172.0.1.3:4223"]});
        let at = |url: &str| (url.to_owned(), None);
        assert_eq!(
            found("https://nats.shop.svc:8222", varz.clone()),
            [
                at("https://172.0.1.3:8222/"),
                at("https://nats-1.nats.svc.cluster.local:8222/"),
                at("https://[fd00::1]:8222/"),
            ]
        );
        let portless = found("http://nats.shop.svc", varz);
        assert_eq!(portless[0], at("http://172.0.1.3/"));
    }

    #[test]
    fn servers_that_are_not_advertised_are_asked_by_name() {
        let varz = json!({"server_name": "nats-0", "cluster": {"urls":
            ["nats-0.nats.shop.svc.cluster.local:6222", "nats-1.nats.shop.svc.cluster.local:6222"]}});
        let at = |url: &str, name: &str| (url.to_owned(), Some(name.to_owned()));
        assert_eq!(
            found("http://nats.shop.svc:8222", varz),
            [
                at("http://nats-0.nats.shop.svc:8222/", "nats-0"),
                at("http://nats-1.nats.shop.svc:8222/", "nats-1"),
            ]
        );
        assert_eq!(found("http://nats:8222", json!({})), []);
    }
}
