//! A network of pods on this machine: each pod has a network namespace and an address of its own, and sees what a pod of a cluster sees.
//!
//! The pods of one cluster hang on a bridge, which is in a network namespace itself, and one pair of interfaces leads from there to the
//! machine. So nothing is forwarded or filtered by the machine, and what was made is gone with the processes that hold the namespaces.

use std::net::Ipv4Addr;
use std::process::Command;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use sakidori_test_cluster::install;
use sakidori_test_cluster::sandbox::{Process, Sandbox};

/// Where a pod finds the API server: the first address of the cluster's range of Services, as everywhere.
pub const API_SERVER: &str = "10.96.0.1";

/// How many networks there may be at once: the /24s of 198.18.0.0/15, which are set aside for tests of networks (RFC 2544), so that
/// nothing of the machine's is in the way.
const NETWORKS: u32 = 512;

/// The bridge and the machine's way to it.
#[derive(Debug)]
pub struct Network {
    /// Its number of [`NETWORKS`].
    number: u32,
    /// Holds the bridge's namespace.
    bridge: Process,
    next: AtomicU8,
}

impl Network {
    /// Makes one that no other test has.
    ///
    /// # Errors
    /// Without the right to make network namespaces, which only root has.
    pub async fn create(sandbox: &Sandbox) -> Result<Self> {
        ensure!(
            install::is_root(),
            "only root can make the network namespaces that pods run in: run this test as root"
        );
        let bridge = namespace(sandbox, "bridge").await?;
        // Another test process takes another number: the kernel refuses an interface whose name is taken.
        let first = std::process::id() % NETWORKS;
        for number in (first..NETWORKS).chain(0..first) {
            let machine_end = interface(number);
            let pair = format!(
                "link add {machine_end} type veth peer name machine netns {}",
                bridge.id()
            );
            match ip(&pair) {
                Ok(()) => {}
                Err(error) if error.to_string().contains("File exists") => continue,
                Err(error) => return Err(error),
            }
            let network = Self {
                number,
                bridge,
                next: AtomicU8::new(10),
            };
            ip(&format!(
                "addr add {}/24 dev {machine_end}",
                network.machine()
            ))?;
            ip(&format!("link set {machine_end} up"))?;
            network.in_namespace(
                &network.bridge,
                "ip link add pods type bridge && ip link set machine master pods && ip link set machine up && ip link set pods up",
            )?;
            return Ok(network);
        }
        bail!("all {NETWORKS} networks of pods are taken: `ip link` lists them as sakidori-0, ...")
    }

    /// The machine, as pods see it.
    pub fn machine(&self) -> Ipv4Addr {
        self.address(1)
    }

    fn address(&self, host: u8) -> Ipv4Addr {
        // 198.18.0.0/15 has two values of the second byte.
        let [high, low] = [self.number / 256, self.number % 256];
        Ipv4Addr::new(198, 18 + high as u8, low as u8, host)
    }

    /// Gives the namespace of `pod` an address, and the API server at [`API_SERVER`], port 443, which is served on the machine's address and port
    /// `api_server`: what kube-proxy does on a node.
    ///
    /// # Errors
    /// If the network is full, or a command fails.
    pub fn join(&self, pod: &Process, api_server: u16) -> Result<Ipv4Addr> {
        let host = self.next.fetch_add(1, Ordering::Relaxed);
        ensure!(
            (10..=250).contains(&host),
            "a network of tests has room for 240 pods"
        );
        let address = self.address(host);
        ip(&format!(
            "link add eth0 netns {} type veth peer name p{host} netns {}",
            pod.id(),
            self.bridge.id()
        ))?;
        self.in_namespace(
            &self.bridge,
            &format!("ip link set p{host} master pods && ip link set p{host} up"),
        )?;
        let machine = self.machine();
        self.in_namespace(
            pod,
            &format!(
                "ip link set lo up && ip addr add {address}/24 dev eth0 && ip link set eth0 up && ip route add default via {machine} && \
                 iptables -t nat -A OUTPUT -d {API_SERVER} -p tcp --dport 443 -j DNAT --to-destination {machine}:{api_server}"
            ),
        )?;
        Ok(address)
    }

    fn in_namespace(&self, holder: &Process, script: &str) -> Result<()> {
        let mut command = Command::new("nsenter");
        command.args(["--net", "--target", &holder.id().to_string()]);
        run(command.args(["sh", "-c", script]))
    }
}

/// A process that does nothing but hold a network namespace, in which the machine is called `host`.
///
/// # Errors
/// If it can't be started.
pub async fn namespace(sandbox: &Sandbox, host: &str) -> Result<Process> {
    let mut command = Command::new("unshare");
    let hold = "echo \"$0\" >/proc/sys/kernel/hostname && exec sleep infinity";
    command.args(["--net", "--uts", "sh", "-c", hold, host]);
    let mut process = sandbox.spawn(&format!("{host}-net"), command)?;
    let of = |process: &str| std::fs::read_link(format!("/proc/{process}/ns/net"));
    let own = of("self")?;
    let pid = process.id().to_string();
    let deadline = Instant::now() + Duration::from_secs(10);
    while of(&pid)? == own {
        process.check()?;
        ensure!(
            Instant::now() < deadline,
            "unshare made no network namespace"
        );
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    Ok(process)
}

/// The machine's end of a network. Fifteen characters are the most that the kernel takes.
fn interface(number: u32) -> String {
    format!("sakidori-{number}")
}

fn ip(arguments: &str) -> Result<()> {
    run(Command::new("ip").args(arguments.split(' ')))
}

fn run(command: &mut Command) -> Result<()> {
    let output = command
        .output()
        .with_context(|| format!("can't start {command:?}"))?;
    ensure!(
        output.status.success(),
        "{command:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(())
}
