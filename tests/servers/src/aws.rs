//! What tests do on AWS, or on what stands in for it: one account's queues, metrics, streams, tables and users. Nothing is signed.

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

/// The API of an account in a region.
#[derive(Debug)]
pub struct AwsApi {
    http: reqwest::Client,
    url: String,
    region: String,
    account: String,
}

/// An access key.
#[derive(Debug, Clone)]
pub struct Keys {
    pub id: String,
    pub secret: String,
}

impl AwsApi {
    pub(crate) fn new(url: &str, region: &str, account: &str) -> Result<AwsApi> {
        provide_cryptography();
        Ok(AwsApi {
            // One of its own: connections end with the test that made them, and a server may outlive it.
            http: reqwest::Client::builder().no_proxy().build()?,
            url: url.to_owned(),
            region: region.to_owned(),
            account: account.to_owned(),
        })
    }

    /// Makes a queue.
    ///
    /// # Errors
    /// When it refuses, as all of these.
    pub async fn create_queue(&self, name: &str) -> Result<String> {
        let answer = self
            .json("AmazonSQS.CreateQueue", &json!({"QueueName": name}))
            .await?;
        let url = answer["QueueUrl"].as_str().context("no QueueUrl")?;
        Ok(url.to_owned())
    }

    /// Sends messages to a queue, each delivered so many seconds later.
    pub async fn send(&self, queue: &str, messages: usize, delay: u32) -> Result<()> {
        let numbers: Vec<usize> = (0..messages).collect();
        // As many as AWS takes at once.
        for some in numbers.chunks(10) {
            let entries = some.iter().map(|number| {
                json!({"Id": number.to_string(), "MessageBody": "m", "DelaySeconds": delay})
            });
            let entries: Vec<Value> = entries.collect();
            self.json(
                "AmazonSQS.SendMessageBatch",
                &json!({"QueueUrl": queue, "Entries": entries}),
            )
            .await?;
        }
        Ok(())
    }

    /// Receives messages, which then are in flight; gives how many there were.
    pub async fn receive(&self, queue: &str, most: usize) -> Result<usize> {
        let body = json!({"QueueUrl": queue, "MaxNumberOfMessages": most});
        let answer = self.json("AmazonSQS.ReceiveMessage", &body).await?;
        Ok(answer["Messages"].as_array().map_or(0, Vec::len))
    }

    /// Takes all messages out of a queue.
    pub async fn purge(&self, queue: &str) -> Result<()> {
        self.json("AmazonSQS.PurgeQueue", &json!({"QueueUrl": queue}))
            .await?;
        Ok(())
    }

    /// Measures something now: one value, with a dimension each.
    pub async fn put_metric(
        &self,
        namespace: &str,
        name: &str,
        dimensions: &[(&str, &str)],
        value: f64,
    ) -> Result<()> {
        let value = value.to_string();
        let mut form = vec![
            ("Action".to_owned(), "PutMetricData"),
            ("Version".to_owned(), "2010-08-01"),
            ("Namespace".to_owned(), namespace),
            ("MetricData.member.1.MetricName".to_owned(), name),
            ("MetricData.member.1.Value".to_owned(), &value),
        ];
        for (number, (name, value)) in (1..).zip(dimensions) {
            let member = format!("MetricData.member.1.Dimensions.member.{number}");
            form.push((format!("{member}.Name"), name));
            form.push((format!("{member}.Value"), value));
        }
        self.query("monitoring", &form).await?;
        Ok(())
    }

    /// Makes a stream.
    pub async fn create_stream(&self, name: &str, shards: u32) -> Result<()> {
        let body = json!({"StreamName": name, "ShardCount": shards});
        self.json("Kinesis_20131202.CreateStream", &body).await?;
        Ok(())
    }

    /// Shards a stream anew.
    pub async fn update_shard_count(&self, name: &str, shards: u32) -> Result<()> {
        let body = json!({
            "StreamName": name,
            "TargetShardCount": shards,
            "ScalingType": "UNIFORM_SCALING",
        });
        self.json("Kinesis_20131202.UpdateShardCount", &body)
            .await?;
        Ok(())
    }

    /// Makes a table with the partition key `pk`, the sort key `sk` and the index `by-state` over `state`, perhaps with a stream.
    pub async fn create_table(&self, name: &str, stream: bool) -> Result<()> {
        let key = |name: &str, kind: &str| json!({"AttributeName": name, "KeyType": kind});
        let text = |name: &str| json!({"AttributeName": name, "AttributeType": "S"});
        let mut body = json!({
            "TableName": name,
            "KeySchema": [key("pk", "HASH"), key("sk", "RANGE")],
            "AttributeDefinitions": [text("pk"), text("sk"), text("state")],
            "GlobalSecondaryIndexes": [{
                "IndexName": "by-state",
                "KeySchema": [key("state", "HASH")],
                "Projection": {"ProjectionType": "ALL"},
            }],
            "BillingMode": "PAY_PER_REQUEST",
        });
        if stream {
            body["StreamSpecification"] =
                json!({"StreamEnabled": true, "StreamViewType": "NEW_IMAGE"});
        }
        self.json("DynamoDB_20120810.CreateTable", &body).await?;
        Ok(())
    }

    /// Puts an item into a table: attributes as DynamoDB writes them.
    pub async fn put_item(&self, table: &str, item: &Value) -> Result<()> {
        let body = json!({"TableName": table, "Item": item});
        self.json("DynamoDB_20120810.PutItem", &body).await?;
        Ok(())
    }

    /// Makes a user with an access key and a policy that allows these actions (`sqs:*`).
    pub async fn create_user(&self, name: &str, actions: &str) -> Result<Keys> {
        let user = ("UserName".to_owned(), name);
        let form = |action, more: &[(&str, &'static str)]| {
            let mut form = vec![("Action".to_owned(), action), user.clone()];
            form.extend(
                more.iter()
                    .map(|(name, value)| ((*name).to_owned(), *value)),
            );
            form
        };
        self.query("iam", &form("CreateUser", &[])).await?;
        let policy = json!({
            "Version": "2012-10-17",
            "Statement": [{"Effect": "Allow", "Action": actions, "Resource": "*"}],
        })
        .to_string();
        let mut put = form("PutUserPolicy", &[("PolicyName", "policy")]);
        put.push(("PolicyDocument".to_owned(), &policy));
        self.query("iam", &put).await?;
        let answer = self.query("iam", &form("CreateAccessKey", &[])).await?;
        let between = |name: &str| {
            let (_, rest) = answer.split_once(&format!("<{name}>"))?;
            Some(rest.split_once('<')?.0.to_owned())
        };
        Ok(Keys {
            id: between("AccessKeyId").context("no AccessKeyId")?,
            secret: between("SecretAccessKey").context("no SecretAccessKey")?,
        })
    }

    /// Asks a service that speaks JSON.
    pub(crate) async fn json(&self, target: &str, body: &Value) -> Result<Value> {
        let service = target
            .split_once(['.', '_'])
            .map_or(target, |(first, _)| first);
        let service = service.trim_start_matches("Amazon").to_lowercase();
        let request = self
            .request(&service)
            .header("x-amz-target", target)
            .header("content-type", "application/x-amz-json-1.0")
            .body(body.to_string());
        let answer = finish(target, request).await?;
        match answer.is_empty() {
            true => Ok(Value::Null),
            false => Ok(serde_json::from_str(&answer)?),
        }
    }

    /// Asks a service that takes a form and answers XML.
    async fn query(&self, service: &str, form: &[(String, &str)]) -> Result<String> {
        finish(service, self.request(service).form(form)).await
    }

    fn request(&self, service: &str) -> reqwest::RequestBuilder {
        // The service and the region are read from here.
        let authorization = format!(
            "AWS4-HMAC-SHA256 Credential=test/20260101/{}/{service}/aws4_request, SignedHeaders=host, Signature=0",
            self.region
        );
        self.http
            .post(&self.url)
            .header("authorization", authorization)
            .header("x-moto-account-id", &self.account)
    }
}

/// The HTTP client is not built without, even where nothing is encrypted.
pub(crate) fn provide_cryptography() {
    // It may be there already.
    let _ = rustls::crypto::ring::default_provider().install_default();
}

async fn finish(what: &str, request: reqwest::RequestBuilder) -> Result<String> {
    let answer = request.send().await?;
    let status = answer.status();
    let text = answer.text().await?;
    ensure!(status.is_success(), "{what}: {status}: {text}");
    Ok(text)
}
