//! What Prometheus answers, as Grafana would ask it.

use std::collections::BTreeMap;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

/// One series: its labels, and its values by Unix time.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Series {
    pub labels: BTreeMap<String, String>,
    pub points: Vec<(f64, f64)>,
}

impl Series {
    pub fn last(&self) -> Option<f64> {
        self.points.last().map(|(_, value)| *value)
    }
}

/// What is shown: from when to when, with a value every `step` seconds.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Span {
    pub from: f64,
    pub to: f64,
    pub step: f64,
}

/// A server, and what a reader has chosen in the dashboard's variables.
pub struct Prometheus {
    pub url: String,
    pub http: reqwest::Client,
    pub chosen: BTreeMap<String, String>,
    pub span: Span,
}

impl Prometheus {
    /// Every value of the span.
    ///
    /// # Errors
    /// If the server doesn't answer, or refuses the query.
    pub async fn range(&self, expr: &str) -> Result<Vec<Series>> {
        let Span { from, to, step } = self.span;
        let times = [
            ("start", from.to_string()),
            ("end", to.to_string()),
            ("step", step.to_string()),
        ];
        self.ask("query_range", expr, &times).await
    }

    /// The values at the end of the span.
    ///
    /// # Errors
    /// As [`range`](Self::range).
    pub async fn instant(&self, expr: &str) -> Result<Vec<Series>> {
        self.ask("query", expr, &[("time", self.span.to.to_string())])
            .await
    }

    async fn ask(&self, what: &str, expr: &str, times: &[(&str, String)]) -> Result<Vec<Series>> {
        let expr = filled_in(expr, &self.chosen, self.span);
        let mut form = vec![("query", expr.clone())];
        form.extend(times.iter().map(|(name, time)| (*name, time.clone())));
        let url = format!("{}/api/v1/{what}", self.url);
        let answer = self.http.post(url).form(&form).send().await?;
        let answer: Value = serde_json::from_str(&answer.text().await?)?;
        ensure!(answer["status"] == "success", "{expr}: {answer}");
        let result = answer["data"]["result"]
            .as_array()
            .with_context(|| format!("{expr}: {answer}"))?;
        result.iter().map(series).collect()
    }
}

fn series(answer: &Value) -> Result<Series> {
    let labels = answer["metric"].as_object().context("no labels")?;
    let labels = labels.iter().map(|(name, value)| {
        let value = value.as_str().unwrap_or_default();
        (name.clone(), value.to_owned())
    });
    let several = answer["values"].as_array().cloned();
    let points = several.unwrap_or_else(|| vec![answer["value"].clone()]);
    let points = points.iter().filter_map(|point| {
        let value = point[1].as_str()?.parse::<f64>().ok()?;
        Some((point[0].as_f64()?, value))
    });
    Ok(Series {
        labels: labels.collect(),
        // A quantile of nothing is no number; Grafana shows none either.
        points: points.filter(|(_, value)| value.is_finite()).collect(),
    })
}

/// Puts what was chosen in the place of the variables, and Grafana's own.
fn filled_in(expr: &str, chosen: &BTreeMap<String, String>, span: Span) -> String {
    let mut expr = expr.replace("$__range", &format!("{}s", (span.to - span.from).round()));
    // Four scrapes, as Grafana has it; here they are 5 s apart.
    expr = expr.replace("$__rate_interval", "20s");
    // The longest first: one name may begin as another.
    let mut names: Vec<_> = chosen.iter().collect();
    names.sort_by_key(|(name, _)| std::cmp::Reverse(name.len()));
    for (name, value) in names {
        expr = expr.replace(&format!("${name}"), value);
    }
    expr
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_are_filled_in() {
        let chosen = [("namespace", ".*"), ("name", "web")];
        let chosen = chosen.map(|(name, value)| (name.to_owned(), value.to_owned()));
        let span = Span {
            from: 0.0,
            to: 600.0,
            step: 5.0,
        };
        let expr = r#"rate(a{b=~"$namespace",c="$name"}[$__rate_interval]) / x[$__range]"#;
        assert_eq!(
            filled_in(expr, &chosen.into(), span),
            r#"rate(a{b=~".*",c="web"}[20s]) / x[600s]"#
        );
    }
}
