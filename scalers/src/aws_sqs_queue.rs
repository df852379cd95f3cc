//! `aws-sqs-queue`: the number of messages in a queue of Amazon SQS.
//!
//! Messages that are visible count, those that somebody received and has not deleted yet (`scaleOnInFlight`, on by default), and with
//! `scaleOnDelayed` those that are not delivered yet. SQS itself calls the numbers approximate.
//!
//! Permission on AWS: `sqs:GetQueueAttributes` on the queue.
//!
//! ```yaml
//! apiVersion: v1
//! kind: Secret
//! metadata:
//!   name: orders-aws
//! stringData:
//!   id: AKIAIOSFODNN7EXAMPLE
//!   key: wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY
//! ---
//! apiVersion: keda.sh/v1alpha1
//! kind: TriggerAuthentication
//! metadata:
//!   name: orders-aws
//! spec:
//!   secretTargetRef:
//!     - parameter: awsAccessKeyID
//!       name: orders-aws
//!       key: id
//!     - parameter: awsSecretAccessKey
//!       name: orders-aws
//!       key: key
//! ---
//! apiVersion: keda.sh/v1alpha1
//! kind: ScaledObject
//! metadata:
//!   name: orders
//! spec:
//!   scaleTargetRef:
//!     name: orders
//!   triggers:
//!     - type: aws-sqs-queue
//!       metadata:
//!         queueURL: https://sqs.eu-west-1.amazonaws.com/123456789012/orders
//!         queueLength: "20"
//!         awsRegion: eu-west-1
//!       authenticationRef:
//!         name: orders-aws
//! ```

use percent_encoding::percent_decode_str;
use serde::Deserialize;

use crate::aws::{AwsParameters, Count};
use crate::clients::aws::sqs::QueueLength;
use crate::metric::MetricSpec;
use crate::params::{self, Field, METADATA, ParameterSet, Parameters, Source};
use crate::registry::Kind;
use crate::scaler::{BuildError, Context, Scaler, Trigger};

/// The parameters of an `aws-sqs-queue` trigger.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Queue {
    /// The queue's URL, or its name.
    #[serde(rename = "queueURL")]
    queue_url: String,
    /// Messages per replica.
    queue_length: i64,
    /// The trigger is active above this number of messages.
    activation_queue_length: i64,
    /// Counts messages that somebody received and has not deleted yet.
    scale_on_in_flight: bool,
    /// Counts messages that are not delivered yet.
    scale_on_delayed: bool,
}

impl Parameters for Queue {
    const FIELDS: &'static [Field] = &[
        Field::required("queueURL", &[Source::Metadata, Source::Environment]),
        Field::with_default("queueLength", METADATA, "5"),
        Field::with_default("activationQueueLength", METADATA, "0"),
        Field::with_default("scaleOnInFlight", METADATA, "true"),
        Field::with_default("scaleOnDelayed", METADATA, "false"),
    ];

    fn check(&self) -> Vec<String> {
        queue_name(&self.queue_url).err().into_iter().collect()
    }
}

type QueueParameters = (Queue, AwsParameters);

pub const KIND: Kind = Kind {
    name: "aws-sqs-queue",
    label: "awsSqsQueueScaler",
    fields: QueueParameters::fields,
    passes_metadata_on: false,
    build,
};

fn build(trigger: &Trigger, context: &Context) -> Result<Box<dyn Scaler>, BuildError> {
    let (queue, aws): QueueParameters = params::parse(trigger)?;
    let name = queue_name(&queue.queue_url).map_err(BuildError::Invalid)?;
    let name = format!("aws-sqs-{name}");
    Ok(Box::new(Count {
        metric: MetricSpec::integer(trigger, &name, queue.queue_length)?,
        activation: queue.activation_queue_length,
        question: QueueLength {
            url: queue.queue_url,
            in_flight: queue.scale_on_in_flight,
            delayed: queue.scale_on_delayed,
        },
        aws: aws.client(context),
    }))
}

/// The queue's name: the second part of a URL's path, or all of what is no URL, as Go's `url.ParseRequestURI` tells them apart.
///
/// # Errors
/// For a URL with another path than `/ACCOUNT/NAME`.
fn queue_name(queue: &str) -> Result<String, String> {
    let Some(path) = path_of_url(queue) else {
        return Ok(queue.to_owned());
    };
    let parts: Vec<&str> = path.split('/').collect();
    match parts[..] {
        [_, _, name] if !name.is_empty() => Ok(name.to_owned()),
        _ => Err(
            "cannot get queueName from queueURL: expected a URL such as https://sqs.eu-west-1.amazonaws.com/123456789012/orders, \
             or the queue's name"
                .to_owned(),
        ),
    }
}

/// The path of a URL, or of what a request may ask for: `/path`, `*`, `scheme:...`. `None` for everything else.
fn path_of_url(text: &str) -> Option<String> {
    if text.contains(|c: char| c.is_ascii_control()) {
        return None;
    }
    if text == "*" {
        return Some(text.to_owned());
    }
    let (scheme, rest) = match text.split_once(':') {
        Some((scheme, rest)) if is_scheme(scheme) => (Some(scheme), rest),
        Some(("", _)) => return None,
        _ => (None, text),
    };
    let rest = rest.split_once('?').map_or(rest, |(rest, _)| rest);
    if !rest.starts_with('/') {
        // `arn:aws:sqs:...` is a URL without a path for Go.
        return scheme.map(|_| String::new());
    }
    let path = match (scheme, rest.strip_prefix("//")) {
        (Some(_), Some(authority)) => {
            let start = authority.find('/').unwrap_or(authority.len());
            let (authority, path) = authority.split_at(start);
            is_authority(authority).then_some(path)?
        }
        _ => rest,
    };
    if path.split('%').skip(1).any(|tail| !is_escape(tail)) {
        return None;
    }
    let decoded = percent_decode_str(path).decode_utf8_lossy();
    Some(decoded.into_owned())
}

/// `user@host:port`, where a port is a number and an IPv6 address stands in brackets.
fn is_authority(text: &str) -> bool {
    let host = text.rsplit_once('@').map_or(text, |(_, host)| host);
    let port = match host.strip_prefix('[') {
        Some(address) => match address.split_once(']') {
            Some((_, port)) => port,
            None => return false,
        },
        None => &host[host.find(':').unwrap_or(host.len())..],
    };
    let digits = port.strip_prefix(':').unwrap_or(port);
    !host.contains(char::is_whitespace) && digits.bytes().all(|byte| byte.is_ascii_digit())
}

/// Whether two hexadecimal digits come first.
fn is_escape(text: &str) -> bool {
    let mut digits = text.bytes().take(2).filter(u8::is_ascii_hexdigit);
    digits.next().and(digits.next()).is_some()
}

fn is_scheme(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_alphabetic())
        && text
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || "+-.".contains(c))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::example;

    #[test]
    fn the_example_works() {
        let [trigger] = &example::triggers(include_str!("aws_sqs_queue.rs"))[..] else {
            panic!("one trigger");
        };
        let scaler = crate::build(trigger, &example::context(Vec::new())).unwrap();
        assert_eq!(scaler.metrics()[0].name, "s0-aws-sqs-orders");
        assert_eq!(scaler.metrics()[0].target.to_string(), "20");
    }

    #[test]
    fn queues_have_urls_or_names() {
        for (queue, name) in [
            (
                "https://sqs.eu-west-1.amazonaws.com/1/orders",
                Some("orders"),
            ),
            (
                "https://sqs.eu-west-1.amazonaws.com/1/orders.fifo?a=/b/c",
                Some("orders.fifo"),
            ),
            ("http://127.0.0.1:9324/000000000000/a%20b", Some("a b")),
            ("/1/orders", Some("orders")),
            ("orders", Some("orders")),
            ("a/b", Some("a/b")),
            ("1:orders", Some("1:orders")),
            (":orders", Some(":orders")),
            ("or ders", Some("or ders")),
            ("https://u:p@[::1]:80/1/orders", Some("orders")),
            ("https:/1/orders", Some("orders")),
            ("https://h//orders", Some("orders")),
            ("//h/1/orders", None),
            // What Go can't read as a URL is a name.
            ("https://h:port/1/q", Some("https://h:port/1/q")),
            ("https://h h/1/q", Some("https://h h/1/q")),
            ("https://[::1/1/q", Some("https://[::1/1/q")),
            ("https://h/1/a%zz", Some("https://h/1/a%zz")),
            ("a_b:/1/q", Some("a_b:/1/q")),
            ("https://sqs.eu-west-1.amazonaws.com/orders", None),
            ("https://sqs.eu-west-1.amazonaws.com/1/", None),
            ("https://sqs.eu-west-1.amazonaws.com/1/orders/", None),
            ("https://sqs.eu-west-1.amazonaws.com", None),
            ("/orders", None),
            ("arn:aws:sqs:eu-west-1:1:orders", None),
            ("*", None),
        ] {
            assert_eq!(queue_name(queue).ok().as_deref(), name, "{queue}");
        }
    }

    #[test]
    fn defaults_are_kedas() {
        let keys = [("awsAccessKeyID", "id"), ("awsSecretAccessKey", "key")];
        let trigger = Trigger::new("aws-sqs-queue")
            .metadata([("queueURLFromEnv", "QUEUE"), ("awsRegion", "eu-west-1")])
            .environment([("QUEUE", "orders")])
            .authentication(keys);
        let scaler = build(&trigger, &example::context(Vec::new())).unwrap();
        assert_eq!(scaler.metrics()[0].name, "s0-aws-sqs-orders");
        assert_eq!(scaler.metrics()[0].target.to_string(), "5");
        let (queue, _): QueueParameters = params::parse(&trigger).unwrap();
        assert_eq!(queue.activation_queue_length, 0);
        assert!(queue.scale_on_in_flight && !queue.scale_on_delayed);
    }

    #[test]
    fn all_problems_are_told_at_once() {
        let trigger =
            Trigger::new("aws-sqs-queue").metadata([("queueURL", "/orders"), ("queueLength", "5")]);
        let problem = build(&trigger, &example::context(Vec::new()))
            .err()
            .unwrap()
            .to_string();
        for part in [
            "cannot get queueName",
            "awsRegion",
            "awsAccessKeyID not found",
        ] {
            assert!(problem.contains(part), "{problem}");
        }
        let wrong = trigger.metadata([("queueLength", "2.5")]);
        let problem = build(&wrong, &example::context(Vec::new())).err().unwrap();
        assert!(problem.to_string().contains("queueLength"), "{problem}");
    }
}
