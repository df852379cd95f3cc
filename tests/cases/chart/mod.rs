//! The Helm chart by itself: what it makes of values, and what it says of those that it can't take. Nothing is installed here.

mod accepted;
mod definitions;
mod documented;
mod kedas_values;
mod notes;
mod pods;
mod refusals;
mod rights;
mod snapshots;
mod together;

use std::collections::BTreeMap;
use std::path::PathBuf;

use sakidori_tests::chart::helm;
use sakidori_tests::{binary, manifests};
use serde_json::Value;

/// The folder of these cases.
fn folder() -> PathBuf {
    binary::repository().join("tests/cases/chart")
}

/// The sets of values that stand in `values/`, by their names, and KEDA's own defaults.
fn sets() -> BTreeMap<String, Value> {
    let mut sets = BTreeMap::new();
    for entry in std::fs::read_dir(folder().join("values")).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
        let values = std::fs::read_to_string(&path).unwrap();
        sets.insert(name, serde_saphyr::from_str(&values).unwrap());
    }
    sets.insert("kedas-defaults".to_owned(), kedas_values::with_our_image());
    assert!(sets.len() > 5, "{sets:?}");
    sets
}

/// All objects of the chart with these values.
async fn objects(values: &Value) -> Vec<Value> {
    let text = helm(&["template", "keda", "--namespace", "keda"], values)
        .await
        .unwrap();
    let objects = manifests::parse(&text).unwrap();
    let objects = objects.iter().map(serde_json::to_value);
    objects.collect::<Result<_, _>>().unwrap()
}

/// Those of a kind.
fn of<'a>(objects: &'a [Value], kind: &str) -> Vec<&'a Value> {
    objects
        .iter()
        .filter(|object| object["kind"] == kind)
        .collect()
}

/// The one of a kind with a name.
fn named<'a>(objects: &'a [Value], kind: &str, name: &str) -> &'a Value {
    let mut found = of(objects, kind).into_iter();
    let found = found.find(|object| object["metadata"]["name"] == name);
    found.unwrap_or_else(|| panic!("no {kind} {name}"))
}

/// Values, each by its path such as `operator.name`, with an image where they name none.
fn with(changes: &[(&str, Value)]) -> Value {
    let mut values = Value::Null;
    for (path, value) in changes {
        let mut place = &mut values;
        for key in path.split('.') {
            place = &mut place[key];
        }
        *place = value.clone();
    }
    values["image"]["keda"]["repository"] = match &values["image"]["keda"]["repository"] {
        Value::Null => "example.org/sakidori".into(),
        named => named.clone(),
    };
    values
}
