//! A table: the series of all queries, a row for each set of labels and a column for each query, as the panel's transformations put them.

use std::collections::BTreeMap;

use serde_json::Value;

use super::look::Look;
use super::words::escaped;
use crate::ask::Series;

/// A row's cells by the fields' names.
type Cells = BTreeMap<String, Cell>;

#[derive(Debug, Clone, PartialEq)]
enum Cell {
    Text(String),
    Number(f64),
}

/// `answers` are the series of each query, by its name.
pub fn table(
    panel: &Value,
    answers: &[(String, Vec<Series>)],
    look: &Look<'_>,
    height: f64,
) -> String {
    let rows = merged(answers);
    if rows.is_empty() {
        return super::nothing(look);
    }
    let columns = columns(panel);
    let heads: String = columns
        .iter()
        .map(|(_, heading)| format!("<th>{}</th>", escaped(heading)))
        .collect();
    // A line is 29 px high; what doesn't fit is what a reader would scroll to.
    let fit = ((height - 32.0) / 29.0).max(1.0) as usize;
    let sorted = panel["options"]["sortBy"][0]["displayName"].as_str();
    let field = columns
        .iter()
        .find(|(_, heading)| Some(heading.as_str()) == sorted);
    let mut rows: Vec<_> = rows.into_values().collect();
    if let Some((field, _)) = field {
        let number = |cells: &Cells| match cells.get(field) {
            Some(Cell::Number(value)) => *value,
            _ => f64::INFINITY,
        };
        rows.sort_by(|one, other| number(one).total_cmp(&number(other)));
    }
    let lines: String = rows
        .iter()
        .take(fit)
        .map(|cells| line(cells, &columns, look))
        .collect();
    format!("<table><tr>{heads}</tr>{lines}</table>")
}

fn line(cells: &Cells, columns: &[(String, String)], look: &Look<'_>) -> String {
    let mut html = "<tr>".to_owned();
    for (field, heading) in columns {
        html += &match cells.get(field) {
            None => "<td></td>".to_owned(),
            Some(Cell::Text(text)) if look.overridden(heading, "links").is_some() => {
                format!("<td class=\"link\">{}</td>", escaped(text))
            }
            Some(Cell::Text(text)) => format!("<td>{}</td>", escaped(text)),
            Some(Cell::Number(value)) => format!(
                "<td class=\"number\" style=\"color:{}\">{}</td>",
                look.colour(heading, *value),
                escaped(&look.text(heading, *value))
            ),
        };
    }
    html + "</tr>"
}

/// What Grafana's transformation `merge` makes of the queries' tables.
fn merged(answers: &[(String, Vec<Series>)]) -> BTreeMap<Vec<(String, String)>, Cells> {
    let mut rows: BTreeMap<Vec<(String, String)>, Cells> = BTreeMap::new();
    for (name, series) in answers {
        let field = match answers.len() {
            1 => "Value".to_owned(),
            _ => format!("Value #{name}"),
        };
        for one in series {
            let Some(value) = one.last() else { continue };
            let labels: Vec<_> = one.labels.clone().into_iter().collect();
            let cells = rows.entry(labels).or_insert_with_key(|labels| {
                let texts = labels.iter().cloned();
                texts.map(|(name, text)| (name, Cell::Text(text))).collect()
            });
            cells.insert(field.clone(), Cell::Number(value));
        }
    }
    rows
}

/// The fields that are shown, in their order, and what each is called: the transformation `organize`.
fn columns(panel: &Value) -> Vec<(String, String)> {
    let steps = panel["transformations"].as_array();
    let organize = steps
        .into_iter()
        .flatten()
        .find(|step| step["id"] == "organize");
    let Some(options) = organize.map(|step| &step["options"]) else {
        return Vec::new();
    };
    let order = options["indexByName"].as_object();
    let mut fields: Vec<_> = order.into_iter().flatten().collect();
    fields.sort_by_key(|(_, index)| index.as_u64());
    let shown = fields
        .into_iter()
        .filter(|(field, _)| options["excludeByName"][field.as_str()] != true);
    let named = shown.map(|(field, _)| {
        let heading = options["renameByName"][field].as_str().unwrap_or(field);
        (field.clone(), heading.to_owned())
    });
    named.collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn series_of_the_same_labels_are_one_row() {
        let series = |name: &str, value: f64| Series {
            labels: [("name".to_owned(), name.to_owned())].into(),
            points: vec![(0.0, value)],
        };
        let answers = [
            (
                "A".to_owned(),
                vec![series("web", 1.0), series("mail", 2.0)],
            ),
            ("B".to_owned(), vec![series("web", 3.0)]),
        ];
        let rows = merged(&answers);
        assert_eq!(rows.len(), 2);
        let web = &rows[&vec![("name".to_owned(), "web".to_owned())]];
        assert_eq!(web["Value #A"], Cell::Number(1.0));
        assert_eq!(web["Value #B"], Cell::Number(3.0));
    }

    #[test]
    fn columns_are_in_the_order_of_the_panel() {
        let panel = json!({"transformations": [{"id": "merge"}, {"id": "organize", "options": {
            "excludeByName": {"Time": true, "kind": true},
            "indexByName": {"Value": 1, "name": 0, "kind": 2},
            "renameByName": {"Value": "Replicas"},
        }}]});
        let column = |field: &str, heading: &str| (field.to_owned(), heading.to_owned());
        assert_eq!(
            columns(&panel),
            [column("name", "name"), column("Value", "Replicas")]
        );
    }
}
