//! The programs of a control plane and the flags each is started with.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::Result;

use crate::install::Programs;
use crate::kubeconfig::Kubeconfig;
use crate::options::ClusterOptions;
use crate::pki::{self, Authority, IdentityFiles};
use crate::ports::Port;
use crate::{audit, nodes};

/// One program of a cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Component {
    /// The database.
    Etcd,
    /// The API server.
    Apiserver,
    /// The controllers: Deployments, Jobs, HPAs, garbage collection and so on.
    ControllerManager,
    /// Binds pods to nodes that have room.
    Scheduler,
    /// The fake kubelet of all nodes.
    Kwok,
}

impl Component {
    /// Its usual name, and that of its log.
    pub fn name(self) -> &'static str {
        match self {
            Component::Etcd => "etcd",
            Component::Apiserver => "kube-apiserver",
            Component::ControllerManager => "kube-controller-manager",
            Component::Scheduler => "kube-scheduler",
            Component::Kwok => "kwok",
        }
    }
}

/// The user name that the fake kubelet writes as, to tell it apart in the audit log.
pub const KWOK_USER: &str = "kwok";
/// The only common name that the API server says to trust in `requestheader-allowed-names`.
pub const FRONT_PROXY_NAME: &str = "front-proxy-client";

/// The files and ports that the components share.
#[derive(Debug)]
pub(crate) struct Layout {
    pub programs: Programs,
    pub dir: PathBuf,
    pub apiserver_port: Port,
    etcd_port: Port,
    etcd_peer_port: Port,
    pub ca: PathBuf,
    pub ca_pem: String,
    pub requestheader_ca: PathBuf,
    pub front_proxy: IdentityFiles,
    pub front_proxy_stranger: IdentityFiles,
    pub front_proxy_expired: IdentityFiles,
    pub admin: Kubeconfig,
    pub admin_kubeconfig: PathBuf,
    serving: IdentityFiles,
    token_key: PathBuf,
    token_public_key: PathBuf,
    controller_manager_kubeconfig: PathBuf,
    scheduler_kubeconfig: PathBuf,
    /// The fake kubelet's.
    pub kwok: Kubeconfig,
    kwok_kubeconfig: PathBuf,
    kwok_stages: PathBuf,
    audit_policy: PathBuf,
    pub audit_log: PathBuf,
}

impl Layout {
    /// Makes every certificate, key and configuration in `dir`.
    pub fn create(dir: &Path, programs: Programs, options: &ClusterOptions) -> Result<Layout> {
        let apiserver_port = Port::take()?;
        let server = format!("https://127.0.0.1:{}", apiserver_port.number());
        let ca = Authority::new("test-cluster-ca")?;
        // Its own authority: whoever holds a client certificate of the cluster must not pass for the API server.
        let requestheader_ca = Authority::new("test-cluster-front-proxy-ca")?;
        let (token_key, token_public_key) = pki::signing_key()?;

        let kubeconfig = |user: &str, groups: &[&str]| -> Result<Kubeconfig> {
            Ok(Kubeconfig::with_certificate(
                &server,
                ca.certificate(),
                user,
                &ca.issue(user, groups, &[])?,
            ))
        };
        let admin = kubeconfig("admin", &["system:masters"])?;
        // A kubelet for all nodes: the Node authorizer would let it touch only one.
        let kwok = kubeconfig(KWOK_USER, &["system:masters"])?;

        Ok(Layout {
            programs,
            dir: dir.to_owned(),
            etcd_port: Port::take()?,
            etcd_peer_port: Port::take()?,
            ca: ca.write(dir, "ca")?,
            ca_pem: ca.certificate().to_owned(),
            requestheader_ca: requestheader_ca.write(dir, "requestheader-ca")?,
            front_proxy: requestheader_ca
                .issue(FRONT_PROXY_NAME, &[], &[])?
                .write(dir, "front-proxy-client")?,
            front_proxy_stranger: requestheader_ca
                .issue("front-proxy-stranger", &[], &[])?
                .write(dir, "front-proxy-stranger")?,
            front_proxy_expired: requestheader_ca
                .issue_expired(FRONT_PROXY_NAME, &[])?
                .write(dir, "front-proxy-expired")?,
            serving: ca
                .issue(
                    "kube-apiserver",
                    &[],
                    &[
                        "127.0.0.1",
                        "localhost",
                        "kubernetes.default.svc",
                        "10.96.0.1",
                    ],
                )?
                .write(dir, "kube-apiserver")?,
            token_key: pki::write(dir, "service-account.key", &token_key)?,
            token_public_key: pki::write(dir, "service-account.pub", &token_public_key)?,
            admin_kubeconfig: admin.write(&dir.join("kubeconfig"))?,
            admin,
            controller_manager_kubeconfig: kubeconfig("system:kube-controller-manager", &[])?
                .write(&dir.join("kube-controller-manager.kubeconfig"))?,
            scheduler_kubeconfig: kubeconfig("system:kube-scheduler", &[])?
                .write(&dir.join("kube-scheduler.kubeconfig"))?,
            kwok_kubeconfig: kwok.write(&dir.join("kwok.kubeconfig"))?,
            kwok,
            kwok_stages: pki::write(dir, "kwok.yaml", &nodes::stages(options)?)?,
            audit_policy: pki::write(dir, "audit-policy.json", audit::POLICY)?,
            audit_log: dir.join("audit.log"),
            apiserver_port,
        })
    }

    /// The command that starts a component.
    pub fn command(&self, component: Component, options: &ClusterOptions) -> Command {
        let mut command = match component {
            Component::Kwok => Command::new(&self.programs.kwok),
            _ => {
                let mut command = Command::new(&self.programs.controlplane);
                command.arg(component.name());
                command
            }
        };
        command.args(match component {
            Component::Etcd => self.etcd(),
            Component::Apiserver => self.apiserver(options),
            Component::ControllerManager => self.controller_manager(options),
            Component::Scheduler => self.scheduler(),
            Component::Kwok => self.kwok(),
        });
        // client-go reads it before it looks at a service account; ours are always given.
        command.env_remove("KUBECONFIG");
        command
    }

    fn etcd(&self) -> Vec<String> {
        let client = format!("http://127.0.0.1:{}", self.etcd_port.number());
        let peer = format!("http://127.0.0.1:{}", self.etcd_peer_port.number());
        vec![
            "--name=default".into(),
            flag("data-dir", self.dir.join("etcd").display()),
            flag("listen-client-urls", &client),
            flag("advertise-client-urls", &client),
            flag("listen-peer-urls", &peer),
            flag("initial-advertise-peer-urls", &peer),
            flag("initial-cluster", format!("default={peer}")),
            // A crash of the machine may lose data here; in exchange a write takes microseconds on any disk.
            "--unsafe-no-fsync".into(),
            "--log-level=warn".into(),
        ]
    }

    fn apiserver(&self, options: &ClusterOptions) -> Vec<String> {
        let mut flags = vec![
            flag(
                "etcd-servers",
                format!("http://127.0.0.1:{}", self.etcd_port.number()),
            ),
            "--bind-address=127.0.0.1".into(),
            // Else it looks for the address of a network interface, and fails where there is only loopback.
            "--advertise-address=127.0.0.1".into(),
            flag("secure-port", self.apiserver_port.number()),
            flag("tls-cert-file", self.serving.certificate.display()),
            flag("tls-private-key-file", self.serving.key.display()),
            // Who may call: client certificates of our authority, and service account tokens signed with our key.
            flag("client-ca-file", self.ca.display()),
            "--service-account-issuer=https://kubernetes.default.svc".into(),
            flag("service-account-signing-key-file", self.token_key.display()),
            flag("service-account-key-file", self.token_public_key.display()),
            "--authorization-mode=Node,RBAC".into(),
            // The aggregation layer: what kube-system/extension-apiserver-authentication tells extension servers to
            // trust, and the certificate that this server shows them.
            flag(
                "requestheader-client-ca-file",
                self.requestheader_ca.display(),
            ),
            flag("requestheader-allowed-names", FRONT_PROXY_NAME),
            "--requestheader-username-headers=X-Remote-User".into(),
            "--requestheader-group-headers=X-Remote-Group".into(),
            "--requestheader-extra-headers-prefix=X-Remote-Extra-".into(),
            flag(
                "proxy-client-cert-file",
                self.front_proxy.certificate.display(),
            ),
            flag("proxy-client-key-file", self.front_proxy.key.display()),
            "--service-cluster-ip-range=10.96.0.0/16".into(),
            // Endpoints may not hold loopback addresses, and nothing here reaches the API server through a Service.
            "--endpoint-reconciler-type=none".into(),
            // This plugin marks new nodes as not ready until the node lifecycle controller, which does not run, clears
            // the mark.
            "--disable-admission-plugins=TaintNodesByCondition".into(),
            "--allow-privileged=true".into(),
            "--profiling=false".into(),
        ];
        if options.audit {
            flags.push(flag("audit-policy-file", self.audit_policy.display()));
            flags.push(flag("audit-log-path", self.audit_log.display()));
            // Written before the response is sent: a count taken after a response is exact.
            flags.push("--audit-log-mode=blocking".into());
        }
        flags.extend(options.apiserver_args.iter().cloned());
        flags
    }

    fn controller_manager(&self, options: &ClusterOptions) -> Vec<String> {
        let mut flags = vec![
            flag("kubeconfig", self.controller_manager_kubeconfig.display()),
            "--leader-elect=false".into(),
            // Serves nothing: with it, several clusters would need one more port each.
            "--secure-port=0".into(),
            // No cloud, no routes, and nodes whose heartbeat nobody judges: a machine that was busy or asleep for a
            // minute must not lose its pods.
            "--controllers=*,-cloud-node-lifecycle-controller,-node-ipam-controller,-node-lifecycle-controller,\
             -node-route-controller,-service-lb-controller,-taint-eviction-controller"
                .into(),
            // One identity and role for each controller, as real clusters have.
            "--use-service-account-credentials=true".into(),
            flag("service-account-private-key-file", self.token_key.display()),
            flag("root-ca-file", self.ca.display()),
            // Its own default of 20/s is what would limit a thousand HPAs.
            "--kube-api-qps=500".into(),
            "--kube-api-burst=1000".into(),
            flag("horizontal-pod-autoscaler-sync-period", go_duration(options.hpa_sync_period)),
            "--profiling=false".into(),
        ];
        if let Some(window) = options.hpa_downscale_stabilization {
            flags.push(flag(
                "horizontal-pod-autoscaler-downscale-stabilization",
                go_duration(window),
            ));
        }
        if let Some(tolerance) = options.hpa_tolerance {
            flags.push(flag("horizontal-pod-autoscaler-tolerance", tolerance));
        }
        flags.extend(options.controller_manager_args.iter().cloned());
        flags
    }

    fn scheduler(&self) -> Vec<String> {
        vec![
            flag("kubeconfig", self.scheduler_kubeconfig.display()),
            "--leader-elect=false".into(),
            "--secure-port=0".into(),
            "--kube-api-qps=500".into(),
            "--kube-api-burst=1000".into(),
            "--profiling=false".into(),
        ]
    }

    fn kwok(&self) -> Vec<String> {
        vec![
            flag("kubeconfig", self.kwok_kubeconfig.display()),
            flag("config", self.kwok_stages.display()),
            "--manage-all-nodes=true".into(),
            flag("node-ip", nodes::NODE_IP),
            "--cidr=10.244.0.0/16".into(),
            // No leases: the node lifecycle controller, who would read them, does not run.
            "--node-lease-duration-seconds=0".into(),
        ]
    }
}

fn flag(name: &str, value: impl std::fmt::Display) -> String {
    format!("--{name}={value}")
}

/// As Go's `time.ParseDuration` reads it.
pub(crate) fn go_duration(duration: Duration) -> String {
    format!("{}ms", duration.as_millis())
}
