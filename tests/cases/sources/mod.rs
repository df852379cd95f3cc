//! The examples of `examples/`, one module per kind of source: applied as a user applies them, each takes a Deployment from 0 over
//! 1 to its most replicas and back, by the real HPA, with the real server.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use kube::core::DynamicObject;
use sakidori_test_cluster::eventually;
use sakidori_tests::bed::Bed;
use sakidori_tests::namespace::Namespace;
use sakidori_tests::{binary, manifests};

mod aws;
mod etcd;
mod kafka;
mod mysql;
mod nats;
mod postgresql;
mod prometheus;
mod rabbitmq;
mod redis;

/// The HPA goes to 4, or doubles, at each look; the pods then take two seconds.
const TO_MOST: Duration = Duration::from_secs(60);
/// The examples' cooldown of 10 s, and a poll before and after it.
const TO_ZERO: Duration = Duration::from_secs(60);

/// An example of a source whose work is counted.
pub struct Example<'a> {
    /// Its folder in `examples/`.
    pub folder: &'a str,
    /// What it calls its objects.
    pub name: &'a str,
    /// The external metric's name.
    pub metric: &'a str,
    /// The replicas that it allows.
    pub most: i32,
    /// Texts in its manifests and what they become here: what its README tells a user to change.
    pub changes: &'a [(&'a str, &'a str)],
}

impl Example<'_> {
    /// Applies it to a new namespace. `fill` makes work until the metric has the given value, enough for the most replicas;
    /// `empty` takes all of it away.
    ///
    /// # Errors
    /// With what didn't happen in time.
    pub async fn scales_up_and_back(
        &self,
        bed: &Bed,
        namespace: &str,
        fill: (f64, impl AsyncFnOnce() -> Result<()>),
        empty: impl AsyncFnOnce() -> Result<()>,
    ) -> Result<()> {
        let (name, metric) = (self.name, self.metric);
        let shop = bed.namespace(namespace).await?;
        manifests::apply_objects(&shop.client, namespace, &self.objects(namespace)?).await?;
        shop.wait_ready(name, "True", "ScaledObjectReady", Duration::from_secs(15))
            .await?;
        shop.wait_value(metric, name, 0.0, Duration::from_secs(10))
            .await?;

        let (value, fill) = fill;
        let filled = Instant::now();
        fill().await?;
        let seen = self.watch_up(&shop).await?;
        // The first replica may be there for less than a look takes; its Event stays.
        shop.wait_note(
            name,
            "KEDAScaleTargetActivated",
            "from 0 to 1",
            Duration::from_secs(5),
        )
        .await?;
        ensure!(
            seen.last() == Some(&self.most) && seen.is_sorted(),
            "expected up to {}: {seen:?}",
            self.most
        );
        let full = filled.elapsed();
        // What the HPA scaled by is the source's number, read the way the HPA controller reads it.
        shop.wait_value(metric, name, value, Duration::from_secs(10))
            .await?;
        let hpa = shop.hpa(name).await?;
        let wanted = hpa
            .status
            .context("the HPA has no status")?
            .desired_replicas;
        ensure!(wanted == self.most, "the HPA wants {wanted}");

        let emptied = Instant::now();
        empty().await?;
        shop.wait_replicas(name, 0, TO_ZERO).await?;
        println!(
            "{namespace}: replicas {seen:?} in {full:?}, back to 0 in {:?}",
            emptied.elapsed()
        );
        for reason in ["KEDAScaleTargetActivated", "KEDAScaleTargetDeactivated"] {
            let notes = shop.notes(name, reason).await?;
            ensure!(notes.len() == 1, "one {reason}, expected: {notes:?}");
        }
        Ok(())
    }

    /// The different numbers of replicas that the Deployment is given, until it has the most.
    async fn watch_up(&self, shop: &Namespace) -> Result<Vec<i32>> {
        let mut seen = Vec::new();
        eventually("all replicas", TO_MOST, async || {
            let replicas = shop.replicas(self.name).await?;
            if replicas.wanted > 0 && seen.last() != Some(&replicas.wanted) {
                seen.push(replicas.wanted);
            }
            Ok((replicas.ready == self.most).then_some(()))
        })
        .await
        .with_context(|| format!("after the replicas {seen:?}"))?;
        Ok(seen)
    }

    /// Its objects in another namespace, with the changes made.
    fn objects(&self, namespace: &str) -> Result<Vec<DynamicObject>> {
        let folder = binary::repository().join("examples").join(self.folder);
        let mut text = yaml_in(&folder)?;
        for (from, to) in self.changes {
            ensure!(text.contains(from), "no {from:?} in {}", folder.display());
            text = text.replace(from, to);
        }
        let mut objects = manifests::parse(&text)?;
        let kind = |object: &DynamicObject| object.types.as_ref().map(|types| types.kind.clone());
        objects.retain(|object| kind(object).as_deref() != Some("Namespace"));
        for object in &mut objects {
            object.metadata.namespace = Some(namespace.to_owned());
        }
        Ok(objects)
    }
}

/// All manifests of a folder as one text of several documents.
fn yaml_in(folder: &Path) -> Result<String> {
    let mut files: Vec<_> = std::fs::read_dir(folder)
        .with_context(|| format!("no example in {}", folder.display()))?
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.extension().is_some_and(|end| end == "yaml"))
        .collect();
    files.sort();
    let texts: Result<Vec<_>, _> = files.iter().map(std::fs::read_to_string).collect();
    Ok(texts?.join("\n---\n"))
}
