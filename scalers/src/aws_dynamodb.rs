//! `aws-dynamodb`: the number of items that a query of a table of Amazon DynamoDB finds.
//!
//! The items on the first page of the query's result count: DynamoDB looks at 1 MB of a partition for a page, before
//! `filterExpression` is applied. Where the filter leaves nothing of a page, the next ones are read until one has items, 20 at most
//! (then the reading fails): that a page is empty says nothing of the rest. A query costs the read capacity of the pages that it looks at, at every poll.
//!
//! Permission on AWS: `dynamodb:Query` on the table, or on the index.
//!
//! ```yaml
//! apiVersion: keda.sh/v1alpha1
//! kind: TriggerAuthentication
//! metadata:
//!   name: orders-aws
//! spec:
//!   podIdentity:
//!     provider: aws
//! ---
//! apiVersion: keda.sh/v1alpha1
//! kind: ScaledObject
//! metadata:
//!   name: orders
//! spec:
//!   scaleTargetRef:
//!     name: orders
//!   triggers:
//!     - type: aws-dynamodb
//!       metadata:
//!         tableName: orders
//!         indexName: by-state
//!         keyConditionExpression: "#state = :state"
//!         expressionAttributeNames: '{"#state": "state"}'
//!         expressionAttributeValues: '{":state": {"S": "open"}}'
//!         targetValue: "10"
//!         awsRegion: eu-west-1
//!       authenticationRef:
//!         name: orders-aws
//! ```

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value as Json;

use crate::aws::{AwsParameters, Count};
use crate::clients::aws::dynamodb::{Items, Value};
use crate::metric::MetricSpec;
use crate::params::{self, Field, METADATA, ParameterSet, Parameters};
use crate::registry::Kind;
use crate::scaler::{BuildError, Context, Scaler, Trigger};

/// The parameters of an `aws-dynamodb` trigger.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Query {
    /// The table.
    table_name: String,
    /// An index of the table, which is queried instead of it.
    index_name: Option<String>,
    /// Which partition, and perhaps which range of it: `#state = :state`.
    key_condition_expression: String,
    /// Which of the items that are found count.
    filter_expression: Option<String>,
    /// What stands for attributes' names in the expressions, as JSON: `{"#state": "state"}`.
    expression_attribute_names: String,
    /// What stands for values in the expressions, as DynamoDB writes them in JSON: `{":state": {"S": "open"}}`. The text of a `B` is
    /// taken as it is, not as base64.
    expression_attribute_values: String,
    /// Items per replica. It has to be given.
    target_value: i64,
    /// The trigger is active above this number of items.
    activation_target_value: i64,
}

/// KEDA's default of `targetValue`, which stands for none.
const NO_TARGET: &str = "-1";

impl Parameters for Query {
    const FIELDS: &'static [Field] = &[
        Field::required("tableName", METADATA),
        Field::optional("indexName", METADATA),
        Field::required("keyConditionExpression", METADATA),
        Field::optional("filterExpression", METADATA),
        Field::required("expressionAttributeNames", METADATA),
        Field::required("expressionAttributeValues", METADATA),
        Field::with_default("targetValue", METADATA, NO_TARGET),
        Field::with_default("activationTargetValue", METADATA, "0"),
    ];

    fn check_of(&self, trigger: &Trigger) -> Vec<String> {
        let mut broken = Vec::new();
        broken.extend(names(&self.expression_attribute_names).err());
        broken.extend(values(&self.expression_attribute_values).err());
        if self.target_value == -1 && !trigger.is_part_of_a_formula {
            broken.push("no targetValue given".to_owned());
        }
        broken
    }
}

type QueryParameters = (Query, AwsParameters);

pub const KIND: Kind = Kind {
    name: "aws-dynamodb",
    label: "awsDynamoDBScaler",
    fields: QueryParameters::fields,
    passes_metadata_on: false,
    build,
};

fn build(trigger: &Trigger, context: &Context) -> Result<Box<dyn Scaler>, BuildError> {
    let (query, aws): QueryParameters = params::parse(trigger)?;
    let name = format!("aws-dynamodb-{}", query.table_name);
    // None is given: this is a part of a formula.
    let target = match query.target_value {
        -1 => 0,
        target => target,
    };
    Ok(Box::new(Count {
        metric: MetricSpec::integer(trigger, &name, target)?,
        activation: query.activation_target_value,
        question: Items {
            names: names(&query.expression_attribute_names).map_err(BuildError::Invalid)?,
            values: values(&query.expression_attribute_values).map_err(BuildError::Invalid)?,
            table: query.table_name,
            index: query.index_name,
            key_condition: query.key_condition_expression,
            filter: query.filter_expression,
        },
        aws: aws.client(context),
    }))
}

/// What stands for attributes' names.
///
/// # Errors
/// In KEDA's words, with what was expected.
fn names(json: &str) -> Result<BTreeMap<String, String>, String> {
    const PARAMETER: &str = "error parsing expressionAttributeNames";
    let names: BTreeMap<String, String> = serde_json::from_str(json).map_err(|error| {
        format!(
            "{PARAMETER}: invalid expressionAttributeNames: {error}: expected an object of texts such as {{\"#state\": \"state\"}}"
        )
    })?;
    match names.is_empty() {
        true => Err(format!("{PARAMETER}: empty map")),
        false => Ok(names),
    }
}

/// What stands for values.
///
/// # Errors
/// In KEDA's words, with what was expected.
fn values(json: &str) -> Result<BTreeMap<String, Value>, String> {
    let failed = |why: String| format!("error parsing expressionAttributeValues: {why}");
    let values: BTreeMap<String, Json> = serde_json::from_str(json).map_err(|error| {
        failed(format!(
            "{error}: expected an object such as {{\":state\": {{\"S\": \"open\"}}}}"
        ))
    })?;
    let values = values.into_iter().map(|(name, json)| match value(json) {
        Ok(value) => Ok((name, value)),
        Err(problem) => Err(failed(format!("{problem} at {name:?}"))),
    });
    values.collect()
}

/// A value as DynamoDB writes it in JSON: an object with the type as its one name.
fn value(json: Json) -> Result<Value, String> {
    const UNSUPPORTED: &str = "unsupported data type for attribute value";
    let Json::Object(object) = json else {
        return Err(format!(
            "{UNSUPPORTED}: expected an object such as {{\"S\": \"open\"}}"
        ));
    };
    let mut members = object.into_iter();
    let (Some((kind, content)), None) = (members.next(), members.next()) else {
        return Err(format!(
            "{UNSUPPORTED}: expected an object with one type, such as {{\"S\": \"open\"}}"
        ));
    };
    Ok(match (kind.as_str(), content) {
        ("S", Json::String(text)) => Value::Text(text),
        ("N", Json::String(number)) => Value::Number(number),
        ("B", Json::String(text)) => Value::Binary(text.into_bytes()),
        ("BOOL", Json::Bool(flag)) => Value::Boolean(flag),
        // KEDA looks at no more than the type.
        ("NULL", _) => Value::Null,
        ("L", Json::Array(values)) => {
            let values = values.into_iter().map(value);
            Value::List(values.collect::<Result<_, _>>()?)
        }
        ("M", Json::Object(members)) => {
            let members = members.into_iter();
            let members = members.map(|(name, json)| Ok((name, value(json)?)));
            Value::Map(members.collect::<Result<_, String>>()?)
        }
        ("S" | "N" | "B", _) => {
            return Err(format!(
                "invalid expressionAttributeValues: {kind} has to be a text"
            ));
        }
        ("BOOL", _) => {
            return Err(
                "invalid expressionAttributeValues: BOOL has to be true or false".to_owned(),
            );
        }
        ("L" | "M", _) => {
            return Err(format!(
                "invalid expressionAttributeValues: {kind} has to be a list (L) or an object (M)"
            ));
        }
        _ => {
            return Err(format!(
                "{UNSUPPORTED}: {kind}: expected S, N, B, BOOL, NULL, L or M"
            ));
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clients::aws::AwsIdentity;
    use crate::example;
    use crate::scaler::PodIdentity;

    #[test]
    fn the_example_works() {
        let [trigger] = &example::triggers(include_str!("aws_dynamodb.rs"))[..] else {
            panic!("one trigger");
        };
        let mut trigger = trigger.clone();
        trigger.pod_identity = Some(PodIdentity::Aws(AwsIdentity::default()));
        let scaler = crate::build(&trigger, &example::context(Vec::new())).unwrap();
        assert_eq!(scaler.metrics()[0].name, "s0-aws-dynamodb-orders");
        assert_eq!(scaler.metrics()[0].target.to_string(), "10");
    }

    #[test]
    fn values_are_dynamodbs() {
        let text = |text: &str| Value::Text(text.to_owned());
        for (json, expected) in [
            (r#"{"S": "open"}"#, Ok(text("open"))),
            (r#"{"S": ""}"#, Ok(text(""))),
            (r#"{"N": "4.5"}"#, Ok(Value::Number("4.5".to_owned()))),
            (r#"{"B": "aGk="}"#, Ok(Value::Binary(b"aGk=".to_vec()))),
            (r#"{"BOOL": true}"#, Ok(Value::Boolean(true))),
            (r#"{"NULL": false}"#, Ok(Value::Null)),
            (
                r#"{"L": [{"S": "a"}, {"N": "1"}]}"#,
                Ok(Value::List(vec![text("a"), Value::Number("1".to_owned())])),
            ),
            (
                r#"{"M": {"k": {"M": {}}}}"#,
                Ok(Value::Map(BTreeMap::from([(
                    "k".to_owned(),
                    Value::Map(BTreeMap::new()),
                )]))),
            ),
            (r#"{"S": 4}"#, Err("S has to be a text")),
            (r#"{"N": 4}"#, Err("N has to be a text")),
            (r#"{"BOOL": "true"}"#, Err("BOOL has to be true or false")),
            (r#"{"L": {}}"#, Err("L has to be a list")),
            (r#"{"M": []}"#, Err("M has to be")),
            (
                r#"{"SS": ["a"]}"#,
                Err("unsupported data type for attribute value: SS"),
            ),
            (r#"{"L": ["a"]}"#, Err("unsupported data type")),
            (r#""open""#, Err("unsupported data type")),
            ("{}", Err("one type")),
            (r#"{"S": "a", "N": "1"}"#, Err("one type")),
        ] {
            let found = values(&format!("{{\":v\": {json}}}"));
            match (found, expected) {
                (Ok(found), Ok(expected)) => assert_eq!(found[":v"], expected, "{json}"),
                (Err(problem), Err(part)) => assert!(problem.contains(part), "{json}: {problem}"),
                (found, _) => panic!("{json}: {found:?}"),
            }
        }
    }

    #[test]
    fn problems_are_kedas_and_told_at_once() {
        let whole = || {
            Trigger::new("aws-dynamodb").metadata([
                ("tableName", "orders"),
                ("keyConditionExpression", "#k = :v"),
                ("expressionAttributeNames", r##"{"#k": "k"}"##),
                ("expressionAttributeValues", r#"{":v": {"S": "a"}}"#),
                ("targetValue", "0"),
                ("awsRegion", "eu-west-1"),
                ("identityOwner", "operator"),
            ])
        };
        let built = |trigger: &Trigger| match build(trigger, &example::context(Vec::new())) {
            Ok(scaler) => scaler.metrics()[0].target.to_string(),
            Err(error) => error.to_string(),
        };
        assert_eq!(built(&whole()), "0");
        for (name, value, part) in [
            ("targetValue", "", "no targetValue given"),
            ("targetValue", "-1", "no targetValue given"),
            ("targetValue", "1.5", "whole number"),
            (
                "expressionAttributeNames",
                "{}",
                "expressionAttributeNames: empty map",
            ),
            (
                "expressionAttributeNames",
                "{",
                "invalid expressionAttributeNames",
            ),
            (
                "expressionAttributeNames",
                r##"{"#k": 1}"##,
                "invalid expressionAttributeNames",
            ),
            (
                "expressionAttributeValues",
                "[]",
                "error parsing expressionAttributeValues",
            ),
            ("expressionAttributeNames", "", "missing required parameter"),
            ("tableName", "", "missing required parameter"),
        ] {
            let problem = built(&whole().metadata([(name, value)]));
            assert!(problem.contains(part), "{name} {value}: {problem}");
        }
        let both = whole().metadata([("expressionAttributeNames", "{}"), ("targetValue", "-1")]);
        let problem = built(&both);
        assert!(
            problem.contains("empty map") && problem.contains("no targetValue"),
            "{problem}"
        );
    }
}
