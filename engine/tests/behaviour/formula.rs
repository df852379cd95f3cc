//! Formulas against what Go's expr library, which KEDA uses, makes of them. `tests/formula/oracle` wrote the table.

use proptest::prelude::*;
use sakidori_engine::Formula;
use serde_json::Value;

/// What `a`, `b` and `c` answer in each row of the table.
const ROWS: [[Option<f64>; 3]; 6] = [
    [Some(0.0), Some(0.0), Some(0.0)],
    [Some(1.0), Some(2.0), Some(3.5)],
    [Some(10.5), Some(-4.0), Some(100.0)],
    [None, Some(5.0), Some(7.0)],
    [None, None, Some(7.0)],
    [None, None, None],
];

#[test]
fn formulas_give_what_gos_library_gives() {
    let vectors: Vec<Value> =
        serde_json::from_str(include_str!("../formula/vectors.json")).unwrap();
    assert!(vectors.len() > 150, "{} formulas", vectors.len());
    let mut differences = Vec::new();
    for vector in &vectors {
        let text = vector["formula"].as_str().unwrap();
        let compiled = Formula::compile(text, &["a", "b", "c"]);
        let formula = match (&vector["refused"], compiled) {
            (Value::String(_), Err(_)) => continue,
            (Value::String(reason), Ok(_)) => {
                differences.push(format!("{text}: accepted, but Go refuses it: {reason}"));
                continue;
            }
            (_, Err(error)) => {
                differences.push(format!("{text}: refused, but Go accepts it: {error}"));
                continue;
            }
            (_, Ok(formula)) => formula,
        };
        for (row, expected) in ROWS.iter().zip(vector["results"].as_array().unwrap()) {
            let result = formula.evaluate(row);
            let same = match (expected, &result) {
                (Value::Number(number), Ok(Some(result))) => number.as_f64().unwrap() == *result,
                (Value::String(word), Ok(None)) => word == "nil",
                (Value::String(word), Err(_)) => word == "error" || word == "not a number",
                _ => false,
            };
            if !same {
                differences.push(format!(
                    "{text} with {row:?}: {result:?}, but Go gives {expected}"
                ));
            }
        }
    }
    assert!(differences.is_empty(), "{}", differences.join("\n"));
}

proptest! {
    #![proptest_config(crate::cases(2000))]

    /// Whatever someone writes: an error or a value, never a panic, and never a long wait.
    #[test]
    fn no_text_panics(parts in prop::collection::vec(prop::sample::select(PARTS), 0..40)) {
        let text = parts.concat();
        if let Ok(formula) = Formula::compile(&text, &["a", "b", "c"]) {
            for row in ROWS {
                let _ = formula.evaluate(&row);
            }
        }
    }
}

const PARTS: &[&str] = &[
    "a",
    "b",
    "c",
    "d",
    "1",
    "0",
    "2.5",
    "1e308",
    "9223372036854775807",
    "nil",
    "true",
    " + ",
    " - ",
    " * ",
    " / ",
    " % ",
    " ** ",
    " < ",
    " == ",
    " and ",
    " or ",
    "not ",
    "!",
    " in ",
    " ?? ",
    " ? ",
    " : ",
    "(",
    ")",
    "[",
    "]",
    "{",
    "}",
    ", ",
    "..",
    "#",
    "#acc",
    "#index",
    "let x = ",
    "; ",
    "x",
    "if ",
    " else ",
    "sum(",
    "map(",
    "filter(",
    "reduce(",
    "sortBy(",
    "find(",
    "count(",
    "max(",
    "median(",
    "concat(",
    "flatten(",
    "take(",
    "get(",
    "int(",
    "float(",
    "round(",
    " | ",
    ".",
    "'",
    "\u{3b1}",
    "/*",
    "*/",
    "//",
];
