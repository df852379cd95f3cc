//! `advanced.sakidori.inPlaceResize` as the API server takes it, with no webhook asked.

use anyhow::ensure;
use serde_json::{Value, json};

use crate::scene::{merge, play, same};

fn resize(change: Value) -> Value {
    let mut whole = json!({"policies": [{"container": "app", "when": "starting", "cpu": "+100%"}]});
    merge(&mut whole, change);
    json!({"advanced": {"sakidori": {"inPlaceResize": whole}}})
}

#[test]
fn in_place_resize_is_stored_as_it_is_written() {
    play("resize-field", async |scene| {
        scene.deploy("web", 0).await?;
        for cpu in [json!(0.5), json!(2), json!("500m"), json!("x3")] {
            let policy = json!({"container": "app", "when": "prescale", "cpu": cpu, "memory": "+1Gi", "allowRestart": true});
            let spec = resize(json!({
                "policies": [policy], "maxConcurrent": "10%", "onInfeasible": "Evict", "allowRestart": false,
            }));
            let stored = scene
                .apply(scene.scaled_object("web", spec.clone()))
                .await?;
            same("advanced", &stored["spec"]["advanced"], &spec["advanced"])?;
        }
        Ok(())
    });
}

#[test]
fn what_has_another_shape_is_refused_with_its_path() {
    play("resize-shape", async |scene| {
        let policy = |change: Value| {
            let mut whole = json!({"container": "app", "when": "starting", "cpu": 2});
            merge(&mut whole, change);
            json!({"policies": [whole]})
        };
        for (change, told) in [
            (
                json!({"policies": []}),
                "inPlaceResize.policies: Invalid value",
            ),
            (
                json!({"policies": null}),
                "inPlaceResize.policies: Required value",
            ),
            (
                policy(json!({"container": null})),
                "inPlaceResize.policies[0].container: Required value",
            ),
            (
                policy(json!({"container": ""})),
                "inPlaceResize.policies[0].container: Invalid value",
            ),
            (
                policy(json!({"when": "sale"})),
                "inPlaceResize.policies[0].when: Unsupported value: \"sale\"",
            ),
            (
                policy(json!({"cpus": 2})),
                ".cpus: field not declared in schema",
            ),
            (json!({"maxConcurrent": 0.5}), "maxConcurrent"),
            (
                json!({"onInfeasible": "skip"}),
                "inPlaceResize.onInfeasible: Unsupported value: \"skip\"",
            ),
            (json!({"allowRestart": "yes"}), "allowRestart"),
        ] {
            let object = scene.scaled_object("web", resize(change.clone()));
            let Err(error) = scene.apply(object).await else {
                anyhow::bail!("it was stored: {change}");
            };
            let error = format!("{error:#}");
            ensure!(error.contains(told), "no {told:?} in: {error}");
        }
        Ok(())
    });
}
