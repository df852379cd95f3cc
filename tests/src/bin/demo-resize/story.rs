//! The demo from beginning to end.

use std::time::Duration;

use anyhow::{Result, anyhow};
use jiff::{SignedDuration, Timestamp};
use sakidori_test_cluster::Cluster;
use sakidori_tests::Operator;
use sakidori_tests::demo::{diagnosis, step};
use sakidori_tests::pod_sizes::live;

use crate::look::Looks;
use crate::shop::{
    self, FLOOR, FULL_NODE, HOLD_SECONDS, LEAD_SECONDS, MAX_CONCURRENT, NAME, NAMESPACE, OWN, PODS,
    RAMP_SECONDS,
};
use crate::summary::Sale;

/// From the moment when the operator learns of the sale to its start.
const STARTS_IN: SignedDuration = SignedDuration::from_secs(60);
const LASTS: SignedDuration = SignedDuration::from_secs(20);
/// Longer than a pod waits for room, which it does from the ramp's beginning on.
const LASTS_LONG: SignedDuration = SignedDuration::from_mins(5);
/// How long pods may take to be back, on a busy machine.
const BACK_WITHIN: SignedDuration = SignedDuration::from_secs(60);

/// Runs the demo. All that it starts belongs to the returned future, and ends with it.
///
/// # Errors
/// If something doesn't start, or one of the things that the summary says isn't so.
pub async fn tell(long_sale: bool, keep: bool) -> Result<()> {
    println!(
        "The pods of a service grow for a sale, and go back after it. On 127.0.0.1 this starts:"
    );
    println!(
        "  etcd, kube-apiserver, kube-controller-manager, kube-scheduler   a Kubernetes control plane"
    );
    println!(
        "  kwok, and a fake kubelet                                        three nodes: no container runs, but resizes are acted out"
    );
    println!(
        "  sakidori operator                                               what this is about"
    );
    println!();
    let cluster = step("control plane", Cluster::start(shop::options())).await?;
    let mut operator = step(
        "operator, its CRDs and the external metrics API",
        Operator::install(&cluster),
    )
    .await?;
    let watching = step(
        &format!("{PODS} pods of {NAME}, Ready"),
        shop::open(&cluster),
    )
    .await?;
    // Calendars have whole seconds.
    let start = Timestamp::from_second((Timestamp::now() + STARTS_IN).as_second())?;
    let sale = Sale {
        start,
        end: start + if long_sale { LASTS_LONG } else { LASTS },
        is_long: long_sale,
    };
    shop::announce(&cluster, sale.start, sale.end).await?;
    introduce(&sale);

    let mut looks = Looks::new(cluster.client(), watching, start);
    let played = async {
        play(&mut looks, &sale).await?;
        sale.judge(&looks.watching)
    };
    let summary = match played.await {
        Ok(summary) => summary,
        Err(error) => {
            looks.end()?;
            let diagnosis = diagnosis(&cluster.client(), &operator, NAMESPACE, &[NAME]).await;
            return Err(anyhow!("{error:#}\n{diagnosis}"));
        }
    };
    looks.end()?;
    println!("\n{summary}");
    if keep {
        println!("Everything keeps running. In another terminal:");
        println!("  export KUBECONFIG={}", cluster.kubeconfig().display());
        println!("  kubectl -n {NAMESPACE} get scaledobject {NAME} -o yaml");
        println!("  kubectl -n {NAMESPACE} get pods -o wide");
        println!("Ctrl-C stops and removes everything.\n");
        looks.watch(Timestamp::MAX).await?;
    }
    operator.terminate(Duration::from_secs(5)).await?;
    Ok(())
}

fn introduce(sale: &Sale) {
    println!();
    println!(
        "A sale starts in a minute. For it, the {PODS} pods that run get twice the CPU and 128Mi more memory from the first instant of the ramp on,"
    );
    println!(
        "{} s before the start, at most {MAX_CONCURRENT} at a time; the ramp goes on to {FLOOR} pods, a step each 10 s.",
        LEAD_SECONDS + RAMP_SECONDS
    );
    println!(
        "{FULL_NODE} has no room: a pod there waits for it (Deferred), and the other one waits for its outcome. It is taken back after 5 minutes or when the"
    );
    let first = match sale.is_long {
        true => "5 minutes, in a sale that is longer than that",
        false => "the end of the sale, which is sooner here (ARGS=--long-sale shows the 5 minutes)",
    };
    println!("sale is over, whichever comes first: {first}.");
    println!();
    println!(
        "Pods by their node and the CPU that they request: 500m>1 is asked for 1 and doesn't have it yet, 500m>1! has no room, (500m) is not Ready."
    );
    println!();
}

async fn play(looks: &mut Looks, sale: &Sale) -> Result<()> {
    let ramp = sale.ramp();
    looks.watch(ramp).await?;
    looks.say("the ramp begins: the pods that run are to grow")?;
    let complete = sale.start - SignedDuration::from_secs(LEAD_SECONDS);
    looks.watch(complete).await?;
    looks.say("the ramp is complete")?;
    looks.watch(sale.start).await?;
    looks.say("the sale starts")?;
    looks.watch(sale.end).await?;
    looks.say(&format!("the sale ends; it is held for {HOLD_SECONDS} s"))?;
    looks.watch(sale.over()).await?;
    looks.say("it is over: all are to go back")?;
    looks
        .until(
            "pods as before",
            sale.over() + BACK_WITHIN,
            |row, courses| {
                let back = live(courses).filter(|(_, look)| {
                    look.ready && look.wanted == OWN && !look.is_under_way() && !look.remembers
                });
                back.count() == PODS
                    && live(courses).count() == PODS
                    && row.resized == "NoPolicyHolds"
            },
        )
        .await
}
