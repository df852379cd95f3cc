//! `sakidori operator`: runs the operator and the external metrics API.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::builder::BoolishValueParser;
use clap::{ArgAction, Args};
use jiff::SignedDuration;
use sakidori_operator::{
    CertificateSettings, CertificateSource, ClientSettings, CredentialSettings, GoDuration,
    LeaseTiming, MetricsOptions, Namespaces, Options, RawMetricsMode, ServiceNames, TlsFloor,
};

use crate::logs::{self, Logs};
use crate::process::{Optional, address, address_or_none, until_signal};

/// Run the operator: watch ScaledObjects, poll their triggers, scale their targets, and serve the external metrics API.
///
/// The cluster is the one of KUBECONFIG; without it, that of the pod it runs in.
#[derive(Args)]
#[command(after_help = "\
Environment, for requests to event sources:
  KEDA_HTTP_DEFAULT_TIMEOUT      Milliseconds that an answer may take where the trigger has no timeout [default: 3000]
  KEDA_HTTP_DISABLE_KEEP_ALIVE   true: a new connection for each request [default: false]
  KEDA_HTTP_TLS_CIPHER_LIST      The cipher suites of TLS 1.2, in Go's names, separated by commas; empty means all
  HTTP_PROXY, HTTPS_PROXY        Proxies for http:// and https:// URLs, never for this machine's own addresses
  NO_PROXY                       Hosts, domains and networks that are reached without them, separated by commas
  KEDA_CHECK_UNEXPECTED_SCALERS_PARAMS
                                 enabled: an Event, not only a line in the log, for unknown trigger parameters

Environment, for what is served:
  KEDA_SERVICE_TLS_CIPHER_LIST   The cipher suites of TLS 1.2 [default: KEDA_HTTP_TLS_CIPHER_LIST]

Environment, for tools that read raw metrics (docs/grpc.md):
  RAW_METRICS_GRPC_PROTOCOL      enabled: serve what polls read to subscribers
  RAW_METRICS_MODE               all, hpa or pollinginterval: which of it [default: all]

Environment, for leader election, with durations such as 15s:
  KEDA_OPERATOR_LEADER_ELECTION_LEASE_DURATION
                                 How long others wait for a leader that doesn't renew [default: 15s]
  KEDA_OPERATOR_LEADER_ELECTION_RENEW_DEADLINE
                                 How long a leader goes on without having renewed [default: 10s]
  KEDA_OPERATOR_LEADER_ELECTION_RETRY_PERIOD
                                 Between two renewals, or tries [default: 2s]

Environment, for credentials:
  KEDA_RESTRICT_SECRET_ACCESS    true: Secrets of the cluster object namespace only [default: false]
  KEDA_BOUND_SERVICE_ACCOUNT_TOKEN_EXPIRY
                                 How long tokens of ServiceAccounts are asked for, 1h to 6h [default: 1h]
  VAULT_TOKEN                    Goes before the token for HashiCorp Vault in an authentication
  VAULT_NAMESPACE                HashiCorp Vault's namespace, where an authentication names none
  VAULT_CACERT                   A file with the authority of HashiCorp Vault's certificate
  VAULT_SKIP_VERIFY              true: take any certificate of HashiCorp Vault [default: false]
  AWS_ROLE_ARN, AWS_WEB_IDENTITY_TOKEN_FILE, AWS_REGION, ...
                                 Who the operator is on AWS: set by EKS, or as for any of AWS's clients
  AWS_ENDPOINT_URL, AWS_ENDPOINT_URL_STS, ...
                                 Other endpoints than AWS's own

Example: KUBECONFIG=~/.kube/config sakidori operator --external-metrics-bind-address :6443 \
--enable-cert-rotation=true")]
pub struct Arguments {
    /// Where Prometheus metrics are served: /metrics, plain HTTP without --metrics-secure; 0 for nowhere.
    #[arg(long, value_name = "ADDRESS", default_value = ":8080", value_parser = address_or_none)]
    metrics_bind_address: Optional,

    /// Serve Prometheus metrics.
    #[arg(long, value_name = "BOOL", default_value = "true", default_missing_value = "true", num_args = 0..=1,
          require_equals = true, action = ArgAction::Set, value_parser = BoolishValueParser::new())]
    enable_prometheus_metrics: bool,

    /// Show by ScaledObject and trigger how long HTTP requests of triggers took: a histogram for each.
    #[arg(long, value_name = "BOOL", default_value = "false", default_missing_value = "true", num_args = 0..=1,
          require_equals = true, action = ArgAction::Set, value_parser = BoolishValueParser::new())]
    enable_high_cardinality_metrics_labels: bool,

    /// Where /healthz and /readyz are served, plain HTTP.
    #[arg(long, value_name = "ADDRESS", default_value = ":8081", value_parser = address)]
    health_probe_bind_address: SocketAddr,

    /// Where external.metrics.k8s.io is served, HTTPS.
    #[arg(long, value_name = "ADDRESS", default_value = ":6443", value_parser = address)]
    external_metrics_bind_address: SocketAddr,

    /// Where the admission webhooks are served, HTTPS; 0 for nowhere.
    #[arg(long, value_name = "ADDRESS", default_value = ":9443", value_parser = address_or_none)]
    webhook_bind_address: Optional,

    /// Where the other processes of the installation get values, and tools KEDA's gRPC services: mutual TLS.
    #[arg(long, value_name = "ADDRESS", default_value = ":9666", value_parser = address)]
    metrics_service_bind_address: SocketAddr,

    /// The IP address by which they reach this process, with the port of --metrics-service-bind-address.
    #[arg(long, env = "POD_IP", value_name = "IP")]
    advertise_address: Option<IpAddr>,

    /// The ValidatingWebhookConfiguration of these webhooks.
    #[arg(long, value_name = "NAME", default_value = "keda-admission")]
    validating_webhook_name: String,

    /// Put the authorities of the certificate into that configuration.
    #[arg(long, value_name = "BOOL", default_value = "true", default_missing_value = "true", num_args = 0..=1,
          require_equals = true, action = ArgAction::Set, value_parser = BoolishValueParser::new())]
    enable_webhook_patching: bool,

    /// Put the authorities of the certificate into the APIService v1beta1.external.metrics.k8s.io.
    #[arg(long, value_name = "BOOL", default_value = "true", default_missing_value = "true", num_args = 0..=1,
          require_equals = true, action = ArgAction::Set, value_parser = BoolishValueParser::new())]
    enable_apiservice_patching: bool,

    /// The directory of ca.crt, tls.crt and tls.key, without --enable-cert-rotation.
    #[arg(long, value_name = "DIRECTORY", default_value = "/certs")]
    cert_dir: PathBuf,

    /// Make the certificates and renew them, in a Secret that all replicas share.
    #[arg(long, value_name = "BOOL", default_value = "false", default_missing_value = "true", num_args = 0..=1,
          require_equals = true, action = ArgAction::Set, value_parser = BoolishValueParser::new())]
    enable_cert_rotation: bool,

    /// The Secret of --enable-cert-rotation, in POD_NAMESPACE.
    #[arg(long, value_name = "NAME", default_value = "kedaorg-certs")]
    cert_secret_name: String,

    /// How long a certificate lives that --enable-cert-rotation makes, 20s to 87600h; its authority lives four times as long.
    #[arg(long, value_name = "DURATION", default_value = "2160h", value_parser = validity)]
    cert_validity: SignedDuration,

    /// The Service of the operator, a name that its certificate is good for.
    #[arg(long, value_name = "NAME", default_value = "keda-operator")]
    operator_service_name: String,

    /// The Service of the external metrics API, another one.
    #[arg(long, value_name = "NAME", default_value = "keda-metrics-apiserver")]
    metrics_server_service_name: String,

    /// The Service of the admission webhooks, another one.
    #[arg(long, value_name = "NAME", default_value = "keda-admission-webhooks")]
    webhooks_service_name: String,

    /// What names of Services end with in this cluster.
    #[arg(long, value_name = "DOMAIN", default_value = "cluster.local")]
    k8s_cluster_domain: String,

    /// Lead only while holding a Lease in POD_NAMESPACE; needed with more than one replica.
    #[arg(long, value_name = "BOOL", default_value = "false", default_missing_value = "true", num_args = 0..=1,
          require_equals = true, action = ArgAction::Set, value_parser = BoolishValueParser::new())]
    leader_elect: bool,

    /// The name of that Lease. Replicas, and KEDA's operator, lead one at a time where they have the same.
    #[arg(long, value_name = "NAME", default_value = "operator.keda.sh")]
    leader_election_id: String,

    /// The oldest version of TLS that is served, TLS12 or TLS13.
    #[arg(
        long,
        env = "KEDA_SERVICE_MIN_TLS_VERSION",
        value_name = "VERSION",
        default_value = "TLS13"
    )]
    service_min_tls_version: String,

    /// The oldest version of TLS that is spoken with event sources, TLS12 or TLS13.
    #[arg(
        long,
        env = "KEDA_HTTP_MIN_TLS_VERSION",
        value_name = "VERSION",
        default_value = "TLS12"
    )]
    http_min_tls_version: String,

    /// A file with the authorities of the API server's client certificates: the webhooks then answer to nobody else.
    #[arg(long, value_name = "FILE", default_value = "")]
    webhook_client_ca_file: String,

    /// The common names, separated by commas, that such a certificate may have; empty means any.
    #[arg(long, value_name = "NAMES", default_value = "")]
    webhook_client_names: String,

    /// Serve the Prometheus metrics over TLS, with the same certificate.
    #[arg(long, value_name = "BOOL", default_value = "false", default_missing_value = "true", num_args = 0..=1,
          require_equals = true, action = ArgAction::Set, value_parser = BoolishValueParser::new())]
    metrics_secure: bool,

    /// How long a read by the HPA waits for a slow source before it gets the last reading.
    #[arg(long, value_name = "MILLISECONDS", default_value = "1000")]
    external_metrics_wait_ms: u64,

    #[command(flatten)]
    logs: Logs,

    /// The operator's own namespace.
    #[arg(
        long,
        env = "POD_NAMESPACE",
        value_name = "NAMESPACE",
        default_value = "keda"
    )]
    pod_namespace: String,

    /// Namespaces to watch, separated by commas; empty means all.
    #[arg(
        long,
        env = "WATCH_NAMESPACE",
        value_name = "NAMESPACES",
        default_value = ""
    )]
    watch_namespace: String,

    /// Where ClusterTriggerAuthentications have their Secrets; the operator's own namespace if empty.
    #[arg(
        long,
        env = "KEDA_CLUSTER_OBJECT_NAMESPACE",
        value_name = "NAMESPACE",
        default_value = ""
    )]
    cluster_object_namespace: String,

    /// The directory that `filePath` of a ClusterTriggerAuthentication counts from; without one no files are read.
    #[arg(long, value_name = "DIRECTORY", default_value = "")]
    filepath_auth_root_path: String,

    /// The HashiCorp Vaults, separated by commas, that the operator's own tokens may be shown to where a TriggerAuthentication asks
    /// for that; * is any. A ClusterTriggerAuthentication may name any.
    #[arg(
        long,
        env = "VAULT_ADDR",
        value_name = "URLS",
        default_value = "",
        hide_env_values = true
    )]
    vault_addresses: String,

    /// How often secrets elsewhere (HashiCorp Vault, AWS Secrets Manager) are read again that don't say when they end.
    #[arg(long, value_name = "SECONDS", default_value = "60", value_parser = clap::value_parser!(u64).range(1..))]
    credentials_refresh_seconds: u64,
}

pub fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    arguments.logs.start()?;
    let ended = options(arguments)
        .and_then(|options| until_signal(|shutdown| sakidori_operator::run(options, shutdown)));
    Ok(logs::exit_code(ended))
}

/// # Errors
/// All of the environment's variables that aren't what they should be.
fn options(arguments: &Arguments) -> anyhow::Result<Options> {
    let variable = |name: &str| match name {
        // Which is a flag, too.
        "KEDA_HTTP_MIN_TLS_VERSION" => Some(arguments.http_min_tls_version.clone()),
        _ => std::env::var(name).ok(),
    };
    let clients = ClientSettings::from_environment(variable)
        .map_err(|problems| anyhow::anyhow!("{}", problems.join("; ")))?;
    let service_tls = service_tls(arguments, variable)
        .map_err(|problems| anyhow::anyhow!("{}", problems.join("; ")))?;
    let namespace = arguments.pod_namespace.clone();
    let refresh = Duration::from_secs(arguments.credentials_refresh_seconds);
    let credentials = CredentialSettings::new(
        &arguments.filepath_auth_root_path,
        refresh,
        &arguments.vault_addresses,
        variable,
    )
    .map_err(|problem| anyhow::anyhow!("{problem}"))?;
    Ok(Options {
        metrics_bind_address: arguments
            .metrics_bind_address
            .filter(|_| arguments.enable_prometheus_metrics),
        metrics: MetricsOptions {
            may_lead: true,
            high_cardinality: arguments.enable_high_cardinality_metrics_labels,
        },
        health_probe_bind_address: arguments.health_probe_bind_address,
        external_metrics_bind_address: arguments.external_metrics_bind_address,
        webhook_bind_address: arguments.webhook_bind_address,
        metrics_service_bind_address: arguments.metrics_service_bind_address,
        advertise_address: arguments.advertise_address,
        certificates: certificates(arguments),
        service_tls,
        webhook_client_ca: Some(&arguments.webhook_client_ca_file)
            .filter(|path| !path.is_empty())
            .map(PathBuf::from),
        webhook_client_names: arguments
            .webhook_client_names
            .split(',')
            .map(|name| name.trim().to_owned())
            .filter(|name| !name.is_empty())
            .collect(),
        metrics_secure: arguments.metrics_secure,
        leader_elect: arguments.leader_elect,
        leader_election_id: arguments.leader_election_id.clone(),
        leader_election: leader_election(variable)?,
        watch: Namespaces::parse(&arguments.watch_namespace),
        cluster_object_namespace: Some(arguments.cluster_object_namespace.clone())
            .filter(|name| !name.is_empty())
            .unwrap_or_else(|| namespace.clone()),
        restrict_secret_access: variable("KEDA_RESTRICT_SECRET_ACCESS")
            .is_some_and(|value| value.eq_ignore_ascii_case("true")),
        credentials,
        external_metrics_wait: Duration::from_millis(arguments.external_metrics_wait_ms),
        publish_unmatched_parameters: variable("KEDA_CHECK_UNEXPECTED_SCALERS_PARAMS")
            .is_some_and(|value| value == "enabled"),
        clients,
        raw_metrics: RawMetricsMode::from_environment(variable),
        identity: identity(arguments.external_metrics_bind_address),
        namespace,
    })
}

fn certificates(arguments: &Arguments) -> CertificateSettings {
    let namespace = arguments.pod_namespace.clone();
    CertificateSettings {
        source: if arguments.enable_cert_rotation {
            CertificateSource::Secret {
                namespace: namespace.clone(),
                name: arguments.cert_secret_name.clone(),
            }
        } else {
            CertificateSource::Files(arguments.cert_dir.clone())
        },
        names: ServiceNames {
            namespace,
            cluster_domain: arguments.k8s_cluster_domain.clone(),
            services: [
                &arguments.operator_service_name,
                &arguments.metrics_server_service_name,
                &arguments.webhooks_service_name,
            ]
            .map(String::clone)
            .into(),
        },
        validity: arguments.cert_validity,
        patch_api_service: arguments.enable_apiservice_patching,
        patch_webhooks: arguments
            .enable_webhook_patching
            .then(|| arguments.validating_webhook_name.clone()),
    }
}

/// TLS of what is served.
fn service_tls(
    arguments: &Arguments,
    variable: impl Fn(&str) -> Option<String>,
) -> Result<TlsFloor, Vec<String>> {
    let of_clients = "KEDA_HTTP_TLS_CIPHER_LIST";
    let given = |name: &'static str| {
        let suites = variable(name).filter(|suites| !suites.trim().is_empty());
        suites.map(|suites| (name, suites))
    };
    let suites = given("KEDA_SERVICE_TLS_CIPHER_LIST").or_else(|| given(of_clients));
    let (from, suites) = suites.unwrap_or((of_clients, String::new()));
    // An empty variable is an absent one.
    let version = Some(arguments.service_min_tls_version.trim()).filter(|text| !text.is_empty());
    let version = version.unwrap_or("TLS13");
    TlsFloor::parse(
        (
            "--service-min-tls-version (KEDA_SERVICE_MIN_TLS_VERSION)",
            version,
        ),
        (from, &suites),
    )
}

/// # Errors
/// Which of the variables is no duration, or what doesn't go together.
fn leader_election(variable: impl Fn(&str) -> Option<String>) -> anyhow::Result<LeaseTiming> {
    const PREFIX: &str = "KEDA_OPERATOR_LEADER_ELECTION_";
    let duration = |name: &str, default: SignedDuration| -> anyhow::Result<SignedDuration> {
        let Some(text) = variable(&format!("{PREFIX}{name}")).filter(|text| !text.is_empty())
        else {
            return Ok(default);
        };
        let GoDuration(duration) = text
            .parse()
            .map_err(|expected| anyhow::anyhow!("{PREFIX}{name}: {text:?}: {expected}"))?;
        Ok(SignedDuration::try_from(duration).unwrap_or(SignedDuration::MAX))
    };
    let usual = LeaseTiming::default();
    LeaseTiming::new(
        duration("LEASE_DURATION", usual.lease_duration)?,
        duration("RENEW_DEADLINE", usual.renew_deadline)?,
        duration("RETRY_PERIOD", usual.retry_period)?,
    )
    .map_err(|problem| {
        anyhow::anyhow!("{PREFIX}LEASE_DURATION, _RENEW_DEADLINE, _RETRY_PERIOD: {problem}")
    })
}

/// Names this process among the replicas, and names it the same after a restart: it then renews the lease that it held, instead of
/// waiting for it to end. Two processes that run at the same time never have the same name: they differ in the host, its boot or the
/// network namespace, or could not both listen on the address.
fn identity(listens_on: SocketAddr) -> String {
    let read = |path: &str| {
        std::fs::read_to_string(path)
            .unwrap_or_default()
            .trim()
            .to_owned()
    };
    let host = read("/proc/sys/kernel/hostname");
    let network = std::fs::read_link("/proc/self/ns/net").unwrap_or_default();
    let mut hasher = DefaultHasher::new();
    (read("/proc/sys/kernel/random/boot_id"), network, listens_on).hash(&mut hasher);
    format!(
        "{}_{:016x}",
        if host.is_empty() { "sakidori" } else { &host },
        hasher.finish()
    )
}

/// Below twenty seconds, watches and patches would be too slow for a change of authority.
fn validity(text: &str) -> Result<SignedDuration, String> {
    let allowed = SignedDuration::from_secs(20)..=SignedDuration::from_hours(10 * 365 * 24);
    match text.parse() {
        Ok(validity) if allowed.contains(&validity) => Ok(validity),
        _ => Err("expected a duration from 20s to 87600h, for example 2160h".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_of_the_election_are_gos_and_checked() {
        let timing = |set: &'static [(&'static str, &'static str)]| {
            leader_election(move |name| {
                let short = name.strip_prefix("KEDA_OPERATOR_LEADER_ELECTION_")?;
                let found = set.iter().find(|(key, _)| *key == short)?;
                Some(found.1.to_owned())
            })
        };
        assert_eq!(timing(&[]).unwrap(), LeaseTiming::default());
        let set = &[
            ("LEASE_DURATION", "1m"),
            ("RENEW_DEADLINE", "30s"),
            ("RETRY_PERIOD", "1500ms"),
        ];
        let seconds = SignedDuration::from_secs;
        let (long, half) = (timing(set).unwrap(), SignedDuration::from_millis(1500));
        assert_eq!(
            (long.lease_duration, long.renew_deadline, long.retry_period),
            (seconds(60), seconds(30), half)
        );
        let wrong: [(&'static [_], _); 2] = [
            (&[("RETRY_PERIOD", "soon")], "RETRY_PERIOD: \"soon\""),
            (&[("RENEW_DEADLINE", "15s")], "renew deadline (15s)"),
        ];
        for (set, told) in wrong {
            let error = timing(set).unwrap_err().to_string();
            assert!(error.contains(told), "{error}");
        }
    }

    #[test]
    fn a_validity_is_a_duration_with_bounds() {
        assert_eq!(validity("1h30m"), Ok(SignedDuration::from_mins(90)));
        for bad in ["19s", "90000h", "30", "-1h", "soon"] {
            assert!(validity(bad).is_err(), "{bad}");
        }
    }
}
