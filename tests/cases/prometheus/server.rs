//! Questions to a Prometheus.

use std::collections::BTreeMap;

use anyhow::{Context, Result, ensure};
use sakidori_test_servers::Prometheus;
use serde_json::Value;

/// One element of an answer.
#[derive(Debug)]
pub struct Sample {
    pub labels: BTreeMap<String, String>,
    pub value: f64,
}

pub struct Asked<'p> {
    server: &'p Prometheus,
    http: reqwest::Client,
}

impl<'p> Asked<'p> {
    pub fn new(server: &'p Prometheus) -> Result<Self> {
        Ok(Self {
            server,
            http: reqwest::Client::builder().no_proxy().build()?,
        })
    }

    /// What a query gives now.
    pub async fn query(&self, expression: &str) -> Result<Vec<Sample>> {
        let url = format!("{}/api/v1/query", self.server.url());
        let asked = self.http.get(url).query(&[("query", expression)]);
        let answer: Value = asked.send().await?.json().await?;
        ensure!(
            answer["status"] == "success",
            "{expression}: {}",
            answer["error"]
        );
        let data = &answer["data"];
        if data["resultType"] == "scalar" {
            return Ok(vec![Sample {
                labels: BTreeMap::new(),
                value: number(&data["result"][1])?,
            }]);
        }
        let result = data["result"].as_array().context("no vector")?;
        result
            .iter()
            .map(|one| {
                Ok(Sample {
                    labels: serde_json::from_value(one["metric"].clone())?,
                    value: number(&one["value"][1])?,
                })
            })
            .collect()
    }

    /// The values of a label, as a variable of a dashboard asks for them: `label_values(SELECTOR, LABEL)`.
    pub async fn label_values(&self, variable: &str) -> Result<Vec<String>> {
        let inside = variable
            .strip_prefix("label_values(")
            .and_then(|rest| rest.strip_suffix(')'));
        let (selector, label) = inside
            .and_then(|inside| inside.rsplit_once(','))
            .with_context(|| format!("{variable}: not label_values(SELECTOR, LABEL)"))?;
        let label = label.trim();
        let samples = self
            .query(&format!("group by ({label}) ({selector})"))
            .await?;
        let values = samples
            .into_iter()
            .filter_map(|mut one| one.labels.remove(label));
        Ok(values.collect())
    }
}

fn number(value: &Value) -> Result<f64> {
    let text = value.as_str().context("no value")?;
    text.parse().with_context(|| format!("{text} is no number"))
}
