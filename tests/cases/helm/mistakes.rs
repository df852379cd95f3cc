//! What goes wrong on a first try, and what one is told.

use anyhow::{Context, ensure};
use sakidori_tests::helm::{self, Helm};
use tempfile::TempDir;

use super::keda_chart;
use super::stage::{CRDS, NAMESPACE, OTHER, RELEASE, Stage};

#[test]
fn a_mistake_is_told_and_installs_nothing() {
    OTHER.play(async |stage: &Stage| {
        let chart = helm::chart().display().to_string();
        let image = "image.keda.repository=example/sakidori";
        let install = ["install", RELEASE, &chart, "-n", NAMESPACE, "--set", image];
        let told = async |helm: &Helm, line: &[&str], part: &str| {
            let error = helm.run(line).await.err();
            let error = format!("{:#}", error.with_context(|| format!("{line:?} was done"))?);
            ensure!(error.contains(part), "{line:?}: {error}");
            anyhow::Ok(())
        };
        let nobody = stage.cluster.login("default", "default", "nobody").await?;
        let nobody = Helm::new(&nobody.kubeconfig).await?;
        let mistakes: [(&Helm, &[&str], &str); 4] = [
            // Nobody has made the namespace.
            (&stage.helm, &[], "namespaces \"keda\" not found"),
            (
                &stage.helm,
                &["--create-namespace", "--set", "operator.replicas=2"],
                "additional properties 'replicas' not allowed",
            ),
            (
                &stage.helm,
                &["--create-namespace", "--set", "image.keda.repository="],
                "there is no published image yet",
            ),
            (&nobody, &["--create-namespace"], "forbidden"),
        ];
        for (helm, more, part) in mistakes {
            told(helm, &[install.as_slice(), more].concat(), part).await?;
        }
        ensure!(
            stage.list(CRDS).await?.is_empty(),
            "definitions were installed"
        );

        stage.install(&[]).await?;
        told(
            &stage.helm,
            &install,
            "cannot reuse a name that is still in use",
        )
        .await?;
        let mut second = install;
        second[1] = "second";
        told(
            &stage.helm,
            &second,
            "belongs to release keda in namespace keda",
        )
        .await?;
        stage.available().await
    });
}

/// There is one external metrics API in a cluster, and one Lease.
#[test]
fn beside_a_running_keda_nothing_is_installed() {
    OTHER.play(async |stage: &Stage| {
        let folder = TempDir::new()?;
        let keda = keda_chart::write(folder.path())?;
        stage.install_from(&keda, &[]).await?;
        let before = stage.pods().await?.len();
        let chart = helm::chart().display().to_string();
        let line = [
            "install",
            "sakidori",
            &chart,
            "-n",
            "sakidori",
            "--create-namespace",
        ];
        let image = ["--set", "image.keda.repository=example/sakidori"];
        let refused = stage.helm.run(&[line.as_slice(), &image].concat()).await;
        let refused = format!("{:#}", refused.err().context("it was installed")?);
        for part in [
            "belongs to release keda in namespace keda",
            "docs/migration/from-keda.md",
        ] {
            ensure!(refused.contains(part), "{refused}");
        }
        ensure!(stage.pods().await?.len() == before);
        Ok(())
    });
}
