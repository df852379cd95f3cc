//! Questions to DynamoDB and its streams.

use std::collections::{BTreeMap, HashMap};

use aws_sdk_dynamodb::primitives::Blob;
use aws_sdk_dynamodb::types::{AttributeValue, Select};

use super::client::{Asker, AwsClient, Question};
use super::complete::Complete;
use super::error::failure;
use crate::answers::Answers;
use crate::scaler::ScalerError;

/// Of a query's result: 20 MB, which a poll may have to read again and again.
const MOST_PAGES_OF_ITEMS: usize = 20;

/// The most pages of shards that are read: DynamoDB gives 100 on each, and a table of 100,000 shards is a loop.
const MOST_PAGES: usize = 1000;

/// How many items a query finds.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Items {
    pub table: String,
    pub index: Option<String>,
    pub key_condition: String,
    pub filter: Option<String>,
    pub names: BTreeMap<String, String>,
    pub values: BTreeMap<String, Value>,
}

/// An attribute's value, as an expression has it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Value {
    Text(String),
    /// In DynamoDB's own spelling.
    Number(String),
    Binary(Vec<u8>),
    Boolean(bool),
    Null,
    List(Vec<Value>),
    Map(BTreeMap<String, Value>),
}

impl From<&Value> for AttributeValue {
    fn from(value: &Value) -> Self {
        match value {
            Value::Text(text) => Self::S(text.clone()),
            Value::Number(number) => Self::N(number.clone()),
            Value::Binary(bytes) => Self::B(Blob::new(bytes.clone())),
            Value::Boolean(flag) => Self::Bool(*flag),
            Value::Null => Self::Null(true),
            Value::List(values) => Self::L(values.iter().map(Self::from).collect()),
            Value::Map(values) => Self::M(attributes(values)),
        }
    }
}

fn attributes(values: &BTreeMap<String, Value>) -> HashMap<String, AttributeValue> {
    let pairs = values.iter();
    pairs
        .map(|(name, value)| (name.clone(), AttributeValue::from(value)))
        .collect()
}

impl Question for Items {
    type Answer = i64;

    fn subject(&self) -> String {
        match &self.index {
            None => format!("the table {:?}", self.table),
            Some(index) => format!("the index {index:?} of the table {:?}", self.table),
        }
    }

    fn answers(client: &AwsClient) -> &Answers<Self, i64> {
        &client.items
    }

    /// The items on the first page of the result, as KEDA counts them. A page that has none, because the filter took all of it,
    /// says nothing about the rest: the next ones are read until there is one with items, or the last; a few at most, for each costs
    /// as much as the first.
    async fn ask(&self, asker: &Asker) -> Result<i64, ScalerError> {
        let client = aws_sdk_dynamodb::Client::new(&asker.sdk);
        let mut next_page = None;
        for _ in 0..MOST_PAGES_OF_ITEMS {
            let page = client
                .query()
                .table_name(&self.table)
                .set_index_name(self.index.clone())
                .key_condition_expression(&self.key_condition)
                .set_filter_expression(self.filter.clone())
                .set_expression_attribute_names(Some(self.names.clone().into_iter().collect()))
                .set_expression_attribute_values(Some(attributes(&self.values)))
                // The number alone: a page is up to 1 MB.
                .select(Select::Count)
                .set_exclusive_start_key(next_page)
                .customize()
                .interceptor(Complete("Count"))
                .send()
                .await
                .map_err(|error| failure(&error))?;
            next_page = page.last_evaluated_key;
            if page.count > 0 || next_page.is_none() {
                return Ok(page.count.into());
            }
        }
        Err(ScalerError::Malformed(format!(
            "filterExpression leaves nothing of the first {MOST_PAGES_OF_ITEMS} pages (1 MB each), and there are more: put what it asks for \
             into keyConditionExpression, with an index"
        )))
    }
}

/// How many shards the stream of a table has.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct StreamShards {
    pub table: String,
}

impl Question for StreamShards {
    type Answer = i64;

    fn subject(&self) -> String {
        format!("the stream of the table {:?}", self.table)
    }

    fn answers(client: &AwsClient) -> &Answers<Self, i64> {
        &client.shards
    }

    async fn ask(&self, asker: &Asker) -> Result<i64, ScalerError> {
        // Asked for each time: a stream that is switched off and on is another one.
        let stream = latest_stream(&self.table, asker).await?;
        let client = aws_sdk_dynamodbstreams::Client::new(&asker.sdk);
        let mut shards: i64 = 0;
        let mut last = None;
        for _ in 0..MOST_PAGES {
            let page = client
                .describe_stream()
                .stream_arn(&stream)
                .set_exclusive_start_shard_id(last)
                .send()
                .await
                .map_err(|error| failure(&error))?;
            let description = page.stream_description.ok_or_else(without_shards)?;
            let found = description.shards.ok_or_else(without_shards)?;
            shards += found.len() as i64;
            last = description.last_evaluated_shard_id;
            if last.is_none() {
                return Ok(shards);
            }
        }
        Err(ScalerError::Malformed(format!(
            "more than {MOST_PAGES} pages of shards"
        )))
    }
}

fn without_shards() -> ScalerError {
    ScalerError::Malformed("an answer without shards".to_owned())
}

/// The ARN of a table's stream.
async fn latest_stream(table: &str, asker: &Asker) -> Result<String, ScalerError> {
    let answer = aws_sdk_dynamodb::Client::new(&asker.sdk)
        .describe_table()
        .table_name(table)
        .send()
        .await
        .map_err(|error| failure(&error))?;
    let described = answer
        .table
        .ok_or_else(|| ScalerError::Malformed("an answer without the table".to_owned()))?;
    described.latest_stream_arn.ok_or_else(|| {
        ScalerError::NotFound(format!(
            "dynamodb stream arn for the table {table} is empty: it has no stream"
        ))
    })
}
