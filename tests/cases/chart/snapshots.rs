//! What the chart makes of the sets of values, object by object: a change of a template shows in the snapshots' diff.
//!
//! `SAKIDORI_UPDATE=1` writes them. That of the defaults is whole; the others have what is different from it.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::{folder, objects, sets};

/// Kind, namespace and name.
type Key = String;

/// All objects but those that have files of their own: definitions, dashboards, and the alerts of the chart.
async fn shown(values: &Value) -> BTreeMap<Key, Value> {
    let mut shown = BTreeMap::new();
    for mut object in objects(values).await {
        let metadata = &object["metadata"];
        let text = |field: &str| metadata[field].as_str().unwrap_or_default().to_owned();
        let (namespace, name) = (text("namespace"), text("name"));
        let kind = object["kind"].as_str().unwrap().to_owned();
        let dashboard = kind == "ConfigMap" && name.contains("-dashboard-");
        if kind == "CustomResourceDefinition" || dashboard {
            continue;
        }
        if let Some(groups) = object["spec"]["groups"].as_array_mut() {
            groups.retain(|group| group["name"] == "keda");
        }
        let twice = shown.insert(format!("{kind} {namespace}/{name}"), object);
        assert_eq!(twice, None, "the chart has {kind} {namespace}/{name} twice");
    }
    shown
}

/// What is in `set` and not so in `defaults`, and the names of what isn't in it.
fn different(set: BTreeMap<Key, Value>, defaults: &BTreeMap<Key, Value>) -> BTreeMap<Key, Value> {
    let mut different: BTreeMap<_, _> = set
        .iter()
        .filter(|(key, object)| defaults.get(*key) != Some(*object))
        .map(|(key, object)| (key.clone(), object.clone()))
        .collect();
    for key in defaults.keys().filter(|key| !set.contains_key(*key)) {
        different.insert(key.clone(), json!("not there"));
    }
    different
}

#[tokio::test]
async fn templates_make_what_the_snapshots_show() {
    let update = std::env::var_os("SAKIDORI_UPDATE").is_some();
    let mut sets = sets();
    let defaults = shown(&sets.remove("defaults").unwrap()).await;
    let mut snapshots = BTreeMap::from([("defaults".to_owned(), defaults.clone())]);
    for (name, values) in sets {
        snapshots.insert(name, different(shown(&values).await, &defaults));
    }
    let folder = folder().join("snapshots");
    std::fs::create_dir_all(&folder).unwrap();
    let mut outdated = Vec::new();
    for (name, objects) in &snapshots {
        let text = serde_saphyr::to_string(objects).unwrap();
        let file = folder.join(format!("{name}.yaml"));
        if std::fs::read_to_string(&file).is_ok_and(|current| current == text) {
            continue;
        }
        if update {
            std::fs::write(&file, text).unwrap();
        }
        outdated.push(name);
    }
    for entry in std::fs::read_dir(&folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_stem().unwrap().to_str().unwrap();
        assert!(
            snapshots.contains_key(name),
            "{} is of no set",
            path.display()
        );
    }
    if update {
        println!("written: {outdated:?}");
    } else {
        assert!(
            outdated.is_empty(),
            "the chart makes something else than the snapshots show of {outdated:?}: write them anew with SAKIDORI_UPDATE=1, and read the diff"
        );
    }
}
