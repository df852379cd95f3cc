//! `filePath` of a ClusterTriggerAuthentication: all parameters in one file of the operator's.

use std::path::Path;

use anyhow::{Context, Result, ensure};
use sakidori_test_cluster::eventually;
use sakidori_tests::canary::CANARY;
use serde_json::json;

use crate::credential_sources::{
    authentication, cluster_wide, guarded, guarded_cluster_wide, require, sent, start,
};
use crate::installed::play_installed;
use crate::scene::{PATH, SOON, Scene};

fn write(folder: &Path, file: &str, content: &str) -> Result<()> {
    // As a mounted volume does it: the new file takes the old one's place at once.
    let new = folder.join("new");
    std::fs::write(&new, content)?;
    std::fs::rename(new, folder.join(file))?;
    Ok(())
}

#[test]
fn a_file_gives_all_parameters_and_a_changed_one_counts() {
    play_installed(async |installed| {
        let scene = Scene::open(&installed.cluster, "sources-file").await?;
        let folder = tempfile::tempdir()?;
        let root = format!("--filepath-auth-root-path={}", folder.path().display());
        let _operator = start(installed, &scene.namespace, &[root]).await?;
        let token = |token: &str| json!({"token": format!("{CANARY}-{token}")}).to_string();
        write(folder.path(), "mq.json", &token("one"))?;
        // What stands besides counts for nothing, not even as a problem.
        let spec = json!({
            "filePath": "mq.json",
            "env": [{"parameter": "token", "name": "ABSENT"}],
            "secretTargetRef": [{"parameter": "token", "name": "absent", "key": "token"}],
        });
        scene.apply(cluster_wide("sources-file", &spec)).await?;
        scene.deploy("web", 0).await?;
        require(&scene, "one", 1);
        scene
            .apply(guarded_cluster_wide(&scene, "sources-file"))
            .await?;
        scene.until_replicas("web", 1).await?;
        scene.ready("web").await?;

        require(&scene, "two", 1);
        write(folder.path(), "mq.json", &token("two"))?;
        eventually("the second token", SOON, async || {
            Ok((sent(&scene) == Some(format!("{CANARY}-two"))).then_some(()))
        })
        .await?;
        scene.ready("web").await?;

        // What is no such file any more costs nothing but the Ready condition.
        for (content, part) in [
            ("{", "expected a JSON object"),
            (&*format!("\"{CANARY}\""), "expected"),
        ] {
            write(folder.path(), "mq.json", content)?;
            let message = scene.check_failed("web").await?;
            ensure!(
                message.contains("mq.json") && message.contains(part),
                "{message}"
            );
            scene.stays("web", 1, PATH, 2).await?;
            write(folder.path(), "mq.json", &token("two"))?;
            scene.ready("web").await?;
        }
        std::fs::remove_file(folder.path().join("mq.json"))?;
        let message = scene.check_failed("web").await?;
        ensure!(
            message.contains("spec.filePath: the file \"mq.json\""),
            "{message}"
        );
        scene.stays("web", 1, PATH, 2).await
    });
}

#[test]
fn no_file_is_read_elsewhere_than_below_the_root() {
    play_installed(async |installed| {
        let scene = Scene::open(&installed.cluster, "sources-traversal").await?;
        let folder = tempfile::tempdir()?;
        let root = folder.path().join("root");
        std::fs::create_dir(&root)?;
        let content = json!({"token": format!("{CANARY}-one")}).to_string();
        std::fs::write(folder.path().join("outside.json"), &content)?;
        std::fs::write(root.join("inside.json"), &content)?;
        std::os::unix::fs::symlink(folder.path().join("outside.json"), root.join("link"))?;
        let flag = format!("--filepath-auth-root-path={}", root.display());
        let _operator = start(installed, &scene.namespace, &[flag]).await?;
        scene.deploy("web", 0).await?;
        require(&scene, "one", 1);
        scene
            .apply(guarded_cluster_wide(&scene, "sources-traversal"))
            .await?;
        let absolute = folder.path().join("outside.json").display().to_string();
        for (path, part) in [
            ("../outside.json", "must be relative and not contain '..'"),
            (absolute.as_str(), "must be relative and not contain '..'"),
            ("link", "outside of --filepath-auth-root-path"),
            ("absent.json", "there is no such thing"),
        ] {
            let spec = json!({"filePath": path});
            scene
                .apply(cluster_wide("sources-traversal", &spec))
                .await?;
            scene
                .until(
                    "its refusal",
                    crate::scene::SCALED_OBJECTS,
                    "web",
                    |object| {
                        let ready =
                            crate::scene::condition(object, "Ready")?["message"].to_string();
                        (ready.contains(part)).then_some(())
                    },
                )
                .await
                .with_context(|| path.to_owned())?;
        }
        let spec = json!({"filePath": "inside.json"});
        scene
            .apply(cluster_wide("sources-traversal", &spec))
            .await?;
        scene.until_replicas("web", 1).await?;
        // A namespace's own authentication must not read the operator's files.
        scene.apply(authentication(&spec)).await?;
        scene.apply(guarded(&scene)).await?;
        let message = scene.check_failed("web").await?;
        ensure!(
            message.contains("only supported for ClusterTriggerAuthentication"),
            "{message}"
        );
        scene
            .stays_for("web", 1, std::time::Duration::from_secs(3))
            .await
    });
}
