//! Several operators that elect a leader, with the certificates of one installation, behind a Service.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use jiff::Timestamp;
use sakidori_test_cluster::audit::Write;
use sakidori_test_cluster::{Cluster, Login, eventually};

use crate::balancer::{Backend, Balancer};
use crate::certificates::Certificates;
use crate::footprint::Footprint;
use crate::operator::{NAMESPACE, Operator, OperatorSettings};
use crate::terms::{holds_the_lease, out_of_term};
use crate::{chart, manifests};

/// One of them.
pub struct Replica {
    pub operator: Operator,
    login: Login,
}

impl Replica {
    /// What it holds now.
    ///
    /// # Errors
    /// If it isn't running.
    pub async fn footprint(&self) -> Result<Footprint> {
        let pid = self.operator.pid().context("the operator is not running")?;
        Footprint::of(pid, &self.operator.metrics().await?)
    }

    /// Whether a write in the audit log is its own.
    pub fn wrote(&self, write: &Write) -> bool {
        write.credential == self.login.credential
    }
}

/// All of them. Dropped, they are killed, those that are stopped too.
pub struct Replicas<'a> {
    each: Vec<Replica>,
    /// Cuts its connections when it is dropped.
    _balancer: Balancer,
    cluster: &'a Cluster,
    /// Up to where the audit log was read, and whose write of the Lease was the last there.
    holder: Mutex<(u64, Option<String>)>,
}

impl<'a> Replicas<'a> {
    /// Installs the CRDs, starts so many operators, and registers the Service in front of them as the external metrics API.
    /// The first leads; all serve.
    ///
    /// # Errors
    /// If one of these steps fails.
    pub async fn install(
        cluster: &'a Cluster,
        count: usize,
        change: impl Fn(&mut OperatorSettings),
    ) -> Result<Self> {
        manifests::install_crds(&cluster.client()).await?;
        chart::service_account(cluster).await?;
        let certificates = Arc::new(Certificates::new()?);
        let mut each = Vec::new();
        for number in 0..count {
            // A token each, as each pod has: by it the audit log tells them apart.
            let file = format!("replica-{number}");
            let login = cluster
                .login(NAMESPACE, chart::SERVICE_ACCOUNT, &file)
                .await?;
            let mut settings = OperatorSettings::new(&login.kubeconfig);
            settings.leader_elect = true;
            change(&mut settings);
            let operator = Operator::start_with(settings, certificates.clone())?;
            each.push(Replica { operator, login });
        }
        let backends = each.iter().map(|replica| Backend {
            probe: replica.operator.health_probe_address(),
            address: replica.operator.external_metrics_address(),
        });
        let balancer = Balancer::start(backends.collect()).await?;
        let first = each.first().context("no replicas are wanted")?;
        cluster
            .register_external_metrics(balancer.port(), &first.operator.trust())
            .await?;
        let mut replicas = Self {
            each,
            _balancer: balancer,
            cluster,
            holder: Mutex::default(),
        };
        replicas.wait_ready(Duration::from_secs(60)).await?;
        replicas.each[0]
            .operator
            .wait_registered(&cluster.client(), Duration::from_secs(60))
            .await?;
        Ok(replicas)
    }

    /// Waits until each of them is ready, those that follow too.
    ///
    /// # Errors
    /// If one isn't in time; with its log.
    pub async fn wait_ready(&mut self, within: Duration) -> Result<()> {
        let deadline = Instant::now() + within;
        for replica in &mut self.each {
            let left = deadline.saturating_duration_since(Instant::now());
            replica.operator.wait_ready(left).await?;
        }
        Ok(())
    }

    pub fn each(&self) -> &[Replica] {
        &self.each
    }

    pub fn operator(&mut self, number: usize) -> &mut Operator {
        &mut self.each[number].operator
    }

    /// Which one leads: who was the last to write the Lease, and runs.
    ///
    /// # Errors
    /// If none of them does.
    pub fn leader(&self) -> Result<usize> {
        let mut holder = self.holder.lock().unwrap_or_else(PoisonError::into_inner);
        let (writes, place) = self.cluster.writes_from(holder.0)?;
        holder.0 = place;
        let renewed = writes.into_iter().rfind(holds_the_lease);
        if let Some(write) = renewed {
            holder.1 = Some(write.credential);
        }
        let credential = holder.1.as_deref().context("nobody holds the Lease yet")?;
        let leader = self
            .each
            .iter()
            .position(|replica| replica.login.credential == credential)
            .context("somebody else holds the Lease")?;
        ensure!(
            self.each[leader].operator.pid().is_some(),
            "nobody leads: replica {leader} was the last"
        );
        Ok(leader)
    }

    /// How long after `since` another than `old` took the Lease.
    ///
    /// # Errors
    /// If none has.
    pub fn taken_over(&self, old: usize, since: Timestamp) -> Result<Duration> {
        let log = self.cluster.write_log()?;
        for write in log.iter().filter(|write| holds_the_lease(write)) {
            let received: Timestamp = write.received.parse()?;
            if received > since && !self.each[old].wrote(write) {
                return Ok(Duration::try_from(received.duration_since(since))?);
            }
        }
        bail!("nobody has taken the Lease from replica {old}")
    }

    /// What was written by one of them that only who leads may write, while another held the Lease; a line each.
    ///
    /// # Errors
    /// If the audit log can't be read.
    pub fn written_out_of_term(&self) -> Result<Vec<String>> {
        let user = format!(
            "system:serviceaccount:{NAMESPACE}:{}",
            chart::SERVICE_ACCOUNT
        );
        let log = self.cluster.write_log()?;
        let wrong = out_of_term(&log, &user);
        Ok(wrong.into_iter().map(ToString::to_string).collect())
    }

    /// Waits until one leads that isn't `old`.
    ///
    /// # Errors
    /// If none does in time.
    pub async fn other_leader(&self, old: usize, within: Duration) -> Result<usize> {
        eventually("other leader", within, async || {
            let leader = self.leader()?;
            Ok((leader != old).then_some(leader))
        })
        .await
    }

    /// The end of each one's log, for messages.
    pub fn log_tails(&self) -> String {
        let tails = self.each.iter().enumerate().map(|(number, replica)| {
            let tail = replica.operator.log_tail();
            format!("the log of replica {number} ends with\n{tail}\n")
        });
        tails.collect()
    }
}
