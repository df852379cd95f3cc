//! Questions to SQS.

use aws_sdk_sqs::types::QueueAttributeName;

use super::client::{Asker, AwsClient, Question};
use super::error::failure;
use crate::answers::Answers;
use crate::params::without_credentials;
use crate::scaler::ScalerError;

/// How many messages a queue holds, nearly.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct QueueLength {
    /// Its URL or name, as the trigger gives it.
    pub url: String,
    /// Counts what somebody received and has not deleted.
    pub in_flight: bool,
    /// Counts what is not delivered yet.
    pub delayed: bool,
}

impl QueueLength {
    fn attributes(&self) -> Vec<QueueAttributeName> {
        use QueueAttributeName as Name;
        let mut attributes = vec![Name::ApproximateNumberOfMessages];
        if self.in_flight {
            attributes.push(Name::ApproximateNumberOfMessagesNotVisible);
        }
        if self.delayed {
            attributes.push(Name::ApproximateNumberOfMessagesDelayed);
        }
        attributes
    }
}

impl Question for QueueLength {
    type Answer = i64;

    fn subject(&self) -> String {
        format!("the queue {:?}", without_credentials(&self.url))
    }

    fn answers(client: &AwsClient) -> &Answers<Self, i64> {
        &client.queues
    }

    async fn ask(&self, asker: &Asker) -> Result<i64, ScalerError> {
        let attributes = self.attributes();
        let answer = aws_sdk_sqs::Client::new(&asker.sdk)
            .get_queue_attributes()
            .queue_url(&self.url)
            .set_attribute_names(Some(attributes.clone()))
            .send()
            .await
            .map_err(|error| failure(&error))?;
        let given = answer.attributes.unwrap_or_default();
        sum(attributes
            .iter()
            .map(|name| (name.as_str(), given.get(name))))
    }
}

/// The sum of the attributes, each of which has to be there.
fn sum<'a>(
    attributes: impl Iterator<Item = (&'a str, Option<&'a String>)>,
) -> Result<i64, ScalerError> {
    let mut sum: i64 = 0;
    for (name, value) in attributes {
        let malformed = |what: &str| {
            ScalerError::Malformed(format!(
                "metric {name} not found in SQS queue attributes{what}"
            ))
        };
        let value = value.ok_or_else(|| malformed(""))?;
        let number: i64 = value
            .parse()
            .map_err(|_| malformed(": its value is no whole number"))?;
        sum = sum
            .checked_add(number)
            .ok_or_else(|| malformed(": its value is too large"))?;
    }
    Ok(sum)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_attribute_that_was_asked_for_has_to_be_there() {
        let number = |text: &str| Some(text.to_owned());
        for (values, expected) in [
            (&[number("3")][..], Ok(3)),
            (&[number("3"), number("4"), number("0")], Ok(7)),
            (&[number("3"), None], Err("metric b not found")),
            (&[None], Err("metric a not found")),
            (&[number("")], Err("no whole number")),
            (&[number("3.5")], Err("no whole number")),
            (
                &[number("9223372036854775807"), number("1")],
                Err("too large"),
            ),
        ] {
            let found = sum(["a", "b", "c"]
                .into_iter()
                .zip(values.iter().map(Option::as_ref)));
            match (found, expected) {
                (Ok(found), Ok(expected)) => assert_eq!(found, expected),
                (Err(ScalerError::Malformed(text)), Err(part)) => {
                    assert!(text.contains(part), "{text}");
                }
                (found, _) => panic!("{values:?}: {found:?}"),
            }
        }
    }
}
