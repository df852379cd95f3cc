//! The names that the certificate has to be good for.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// The Services that lead to this process whatever they are told to be called: those of KEDA's chart, and what its operator calls the
/// metrics server by default. By the first of them replicas know each other.
const SERVICES: [&str; 4] = [
    "keda-operator",
    "keda-operator-metrics-apiserver",
    "keda-metrics-apiserver",
    "keda-admission-webhooks",
];

/// Which names are wanted.
#[derive(Clone, Debug)]
pub struct ServiceNames {
    /// The operator's own namespace, in which the Services are.
    pub namespace: String,
    /// What names of Services end with in this cluster, such as `cluster.local`.
    pub cluster_domain: String,
    /// More Services than KEDA's.
    pub services: Vec<String>,
}

impl ServiceNames {
    /// The name for people.
    pub(super) fn common_name(&self) -> &'static str {
        SERVICES[0]
    }

    /// All DNS names, each once.
    pub(super) fn hosts(&self) -> Vec<String> {
        let more = self.services.iter().map(String::as_str);
        let mut hosts = vec!["localhost".to_owned()];
        for service in SERVICES.into_iter().chain(more) {
            let host = format!("{service}.{}.svc", self.namespace);
            for host in [
                service.to_owned(),
                format!("{service}.{}", self.namespace),
                format!("{host}.{}", self.cluster_domain),
                host,
            ] {
                if !service.is_empty() && !hosts.contains(&host) {
                    hosts.push(host);
                }
            }
        }
        hosts
    }

    pub(super) fn addresses() -> [IpAddr; 2] {
        [
            IpAddr::V4(Ipv4Addr::LOCALHOST),
            IpAddr::V6(Ipv6Addr::LOCALHOST),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_service_has_four_names() {
        let names = ServiceNames {
            namespace: "scaling".into(),
            cluster_domain: "example.internal".into(),
            services: vec!["keda-operator".into(), "mine".into(), String::new()],
        };
        let hosts = names.hosts();
        assert_eq!(hosts.len(), 1 + 5 * 4, "{hosts:?}");
        for expected in [
            "localhost",
            "keda-operator.scaling.svc",
            "keda-metrics-apiserver.scaling.svc.example.internal",
            "mine",
            "mine.scaling",
        ] {
            assert!(hosts.iter().any(|host| host == expected), "{expected}");
        }
    }
}
