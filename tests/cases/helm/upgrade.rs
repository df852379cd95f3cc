//! Upgrades of a release: from the chart's previous version, and to a next one.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use sakidori_tests::helm;
use serde_json::Value;
use tempfile::TempDir;

use super::handbook::Handbook;
use super::stage::{CRDS, FIRST, Stage};

const PAGE: &str = "docs/install.md";

#[test]
fn a_release_of_the_previous_chart_is_upgraded_and_nothing_scales() {
    FIRST.play(async |stage: &Stage| {
        let folder = TempDir::new()?;
        let previous = helm::previous_chart(folder.path()).await?;
        let image = ["--set", "image.repository=example/sakidori"];
        stage.install_from(&previous, &image).await?;
        stage.available().await?;
        let shop = stage.scaled_shop().await?;
        let before = shop.as_it_is().await?;

        // That version had the definitions beside its templates, where Helm takes no note of whose they are.
        let handbook = Handbook::open()?;
        // The file with the values is made there.
        let nothing = [("helm install", "true")];
        handbook
            .follow(&stage.helm, PAGE, "## Install", &nothing)
            .await?;
        let way = "### From a chart without KEDA's values";
        let hasty = [("--take-ownership", "")];
        let refused = handbook.follow(&stage.helm, PAGE, way, &hasty).await;
        let refused = format!("{:#}", refused.err().context("it was upgraded")?);
        ensure!(refused.contains("invalid ownership metadata"), "{refused}");
        handbook.follow(&stage.helm, PAGE, way, &[]).await?;
        shop.is_still(&before).await?;
        stage.available().await?;
        ensure!(stage.pods().await?.len() == 2, "not the chart's replicas");
        let definition = stage.get(CRDS, "scaledobjects.keda.sh").await?;
        let policy = &definition["metadata"]["annotations"]["helm.sh/resource-policy"];
        ensure!(policy == "keep", "{}", definition["metadata"]);
        shop.scale_to(4).await
    });
}

#[test]
fn an_upgrade_brings_new_fields_and_values_and_nothing_scales() {
    FIRST.play(async |stage: &Stage| {
        stage.install(&[]).await?;
        stage.available().await?;
        let shop = stage.scaled_shop().await?;
        let before = shop.as_it_is().await?;
        let old = stage.pods().await?;

        let folder = TempDir::new()?;
        let next = next_chart(folder.path())?;
        let level = ["--reuse-values", "--set", "logging.operator.level=debug"];
        stage.upgrade_to(&next, &level).await?;
        shop.is_still(&before).await?;
        let definition = stage.get(CRDS, "scaledobjects.keda.sh").await?;
        ensure!(
            definition.to_string().contains("fieldOfTomorrow"),
            "the definition is the old one"
        );
        let pods = stage.pods().await?;
        let uid = |pod: &Value| pod["metadata"]["uid"].clone();
        for pod in &pods {
            ensure!(
                !old.iter().any(|one| uid(one) == uid(pod)),
                "an old pod is left"
            );
            ensure!(
                pod["spec"]["containers"][0]["args"]
                    .to_string()
                    .contains("level=debug")
            );
        }
        shop.scale_to(4).await
    });
}

/// The repository's chart as its next version might be: with one more field in a definition.
fn next_chart(folder: &Path) -> Result<PathBuf> {
    let chart = folder.join("sakidori");
    copy(&helm::chart(), &chart)?;
    let about = chart.join("Chart.yaml");
    let text = std::fs::read_to_string(&about)?;
    std::fs::write(about, text.replace("\nversion: ", "\nversion: 9"))?;
    let definition = chart.join("files/crds/scaledobjects.keda.sh.yaml");
    let text = std::fs::read_to_string(&definition)?;
    let line = text.lines().find(|line| line.trim() == "cooldownPeriod:");
    let line = line.context("the definition has no cooldownPeriod")?;
    let indent = &line[..line.len() - line.trim_start().len()];
    let more = format!("{indent}fieldOfTomorrow:\n{indent}  type: string\n{line}\n");
    std::fs::write(definition, text.replacen(&format!("{line}\n"), &more, 1))?;
    Ok(chart)
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    std::fs::create_dir_all(to)?;
    for entry in std::fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy(&entry.path(), &target)?;
        } else {
            std::fs::copy(entry.path(), target)?;
        }
    }
    Ok(())
}
