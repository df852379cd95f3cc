//! docs/helm-values.md has a row for each value of ours and of KEDA's, with the defaults that they have.

use std::collections::BTreeMap;

use sakidori_tests::binary;
use serde_json::Value;

use super::kedas_values;

/// A value's row: what stands there of KEDA's default, of ours, and as text.
struct Row {
    path: String,
    keda: String,
    here: String,
    text: String,
}

/// The rows of the page. One may be for several values, `a.{b,c}`, with a default for all or one for each.
fn rows(page: &str) -> Vec<Row> {
    let mut rows = Vec::new();
    for line in page.lines().filter(|line| line.starts_with("| `")) {
        let cells: Vec<_> = line.trim_matches('|').split(" | ").map(str::trim).collect();
        let [paths, keda, here, text] = cells[..] else {
            panic!("{line}: {} cells", cells.len());
        };
        let paths = expanded(paths.trim_matches('`'));
        let each = |cell: &str| -> Vec<String> {
            let several: Vec<_> = cell.split(", ").map(str::to_owned).collect();
            match several.len() == paths.len() {
                true => several,
                false => vec![cell.to_owned(); paths.len()],
            }
        };
        let defaults = each(keda).into_iter().zip(each(here));
        for (path, (keda, here)) in paths.iter().zip(defaults) {
            rows.push(Row {
                path: path.clone(),
                keda,
                here,
                text: text.to_owned(),
            });
        }
    }
    assert!(rows.len() > 200, "{}", rows.len());
    rows
}

fn expanded(paths: &str) -> Vec<String> {
    let Some((before, rest)) = paths.split_once('{') else {
        return vec![paths.to_owned()];
    };
    let (names, after) = rest.split_once('}').unwrap();
    let names = names.split(',');
    names.map(|name| format!("{before}{name}{after}")).collect()
}

/// Each value that isn't a map with something in it, by its path.
fn leaves(values: &Value) -> BTreeMap<String, Value> {
    let mut leaves = BTreeMap::new();
    let mut todo = vec![(String::new(), values.clone())];
    while let Some((path, value)) = todo.pop() {
        match value {
            Value::Object(map) if !map.is_empty() => {
                let paths = map.into_iter().map(|(key, value)| {
                    let path = format!("{path}.{key}");
                    (path.trim_start_matches('.').to_owned(), value)
                });
                todo.extend(paths);
            }
            value => {
                leaves.insert(path, value);
            }
        }
    }
    leaves
}

/// Whether a cell says this default: as JSON, or where it is too long for a table, where it stands.
fn says(cell: &str, default: &Value) -> bool {
    const LONG: &str = "[values.yaml](../charts/sakidori/values.yaml)";
    cell == format!("`{}`", spaced(default)) || (cell == LONG && default.to_string().len() > 50)
}

/// JSON with a space after commas and colons, as people write it.
fn spaced(value: &Value) -> String {
    match value {
        Value::Array(values) => {
            let values: Vec<_> = values.iter().map(spaced).collect();
            format!("[{}]", values.join(", "))
        }
        Value::Object(map) => {
            let pairs: Vec<_> = map
                .iter()
                .map(|(key, value)| format!("{}: {}", Value::from(key.as_str()), spaced(value)))
                .collect();
            format!("{{{}}}", pairs.join(", "))
        }
        other => other.to_string(),
    }
}

fn below<'a, T>(
    map: &'a BTreeMap<String, T>,
    path: &str,
) -> impl Iterator<Item = (&'a String, &'a T)> {
    let below = format!("{path}.");
    map.iter().filter(move |(key, _)| key.starts_with(&below))
}

#[test]
fn every_value_has_its_row_and_its_defaults() {
    let root = binary::repository();
    let page = std::fs::read_to_string(root.join("docs/helm-values.md")).unwrap();
    let values = std::fs::read_to_string(root.join("charts/sakidori/values.yaml")).unwrap();
    let ours = leaves(&serde_saphyr::from_str(&values).unwrap());
    let kedas = kedas_values::all();
    let mut wrong = Vec::new();
    let mut covered_ours = Vec::new();
    let mut covered_kedas = Vec::new();
    for row in rows(&page) {
        let Row {
            path,
            keda,
            here,
            text,
        } = row;
        let here_is = match ours.get(&path) {
            Some(default) => says(&here, default),
            None if below(&ours, &path).next().is_some() => false,
            None => match here.as_str() {
                "gone" => text.starts_with("accepted") || text.starts_with("refused"),
                here => here == "unset",
            },
        };
        if !here_is {
            wrong.push(format!("{path}: here: {here}: {:?}", ours.get(&path)));
        }
        let keda_is = match kedas.get(&path) {
            Some(Some(default)) => says(&keda, default),
            Some(None) => keda == "unset",
            None if below(&kedas, &path).next().is_some() => keda == "…",
            None => keda == "–",
        };
        if !keda_is {
            wrong.push(format!("{path}: in KEDA: {keda}: {:?}", kedas.get(&path)));
        }
        covered_kedas.extend(below(&kedas, &path).map(|(path, _)| path.clone()));
        covered_kedas.push(path.clone());
        covered_ours.push(path);
    }
    for path in ours.keys().filter(|path| !covered_ours.contains(path)) {
        wrong.push(format!("{path} of values.yaml has no row"));
    }
    // A map whose values have rows of their own needs none.
    let alone = kedas
        .keys()
        .filter(|path| below(&kedas, path).next().is_none());
    for path in alone.filter(|path| !covered_kedas.contains(path)) {
        wrong.push(format!("{path} of KEDA's has no row"));
    }
    assert!(
        wrong.is_empty(),
        "docs/helm-values.md:\n{}",
        wrong.join("\n")
    );
}
