//! What the trigger types of Redis share: a scaler that asks for the number that a key gives.

mod list;
mod parameters;
mod stream;

use std::sync::Arc;

use async_trait::async_trait;

use crate::answers::Freshness;
use crate::clients::redis::{Question, Servers};
use crate::metric::{MetricSpec, Reading};
use crate::params;
use crate::scaler::{BuildError, Context, Scaler, ScalerError, Trigger};

use self::list::ListParameters;
use self::parameters::ConnectionParameters;
pub(crate) use self::parameters::Layout;
use self::stream::StreamParameters;

/// The parameters of `redis`, `redis-cluster` and `redis-sentinel`.
pub(crate) type OfLists = (ListParameters, ConnectionParameters);
/// The parameters of `redis-streams`, `redis-cluster-streams` and `redis-sentinel-streams`.
pub(crate) type OfStreams = (StreamParameters, ConnectionParameters);

/// Builds the scaler of a trigger type that reads lists.
pub(crate) fn build_list(
    trigger: &Trigger,
    context: &Context,
    layout: Layout,
) -> Result<Box<dyn Scaler>, BuildError> {
    let (list, connection): OfLists = params::parse(trigger)?;
    build(trigger, context, &connection, layout, list.wanted())
}

/// Builds the scaler of a trigger type that reads streams.
pub(crate) fn build_stream(
    trigger: &Trigger,
    context: &Context,
    layout: Layout,
) -> Result<Box<dyn Scaler>, BuildError> {
    let (stream, connection): OfStreams = params::parse(trigger)?;
    build(trigger, context, &connection, layout, stream.wanted())
}

fn build(
    trigger: &Trigger,
    context: &Context,
    connection: &ConnectionParameters,
    layout: Layout,
    wanted: Wanted,
) -> Result<Box<dyn Scaler>, BuildError> {
    let metric = MetricSpec::integer(trigger, &wanted.metric, wanted.target)?;
    let endpoint = connection.endpoint(layout).map_err(BuildError::Invalid)?;
    let servers = context.clients.redis.servers(endpoint);
    Ok(Box::new(RedisScaler {
        metric: [metric],
        servers: servers.map_err(BuildError::Invalid)?,
        question: wanted.question,
        activation: wanted.activation,
    }))
}

/// What a trigger's parameters say about its number.
#[derive(Debug, PartialEq, Eq)]
struct Wanted {
    /// Without the `s<index>-`.
    metric: String,
    target: i64,
    activation: i64,
    question: Question,
}

struct RedisScaler {
    metric: [MetricSpec; 1],
    servers: Arc<Servers>,
    question: Question,
    activation: i64,
}

#[async_trait]
impl Scaler for RedisScaler {
    fn metrics(&self) -> Vec<MetricSpec> {
        self.metric.to_vec()
    }

    async fn read(&self, freshness: &Freshness) -> Result<Vec<Reading>, ScalerError> {
        let number = self.servers.number(&self.question, freshness).await?;
        Ok(vec![Reading {
            metric: self.metric[0].name.clone(),
            value: number as f64,
            active: number > self.activation,
        }])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::{Known, check};
    use crate::example;

    #[test]
    fn admission_tells_what_no_authentication_can_mend() {
        let told = |kind: &str, metadata: &[(&'static str, &'static str)]| {
            let trigger = Trigger::new(kind)
                .metadata([("listName", "orders"), ("stream", "orders")])
                .metadata(metadata.iter().copied());
            let context = example::context(Vec::new());
            check(&trigger, Known::MetadataOfAuthenticated, &context)
        };
        for kind in [
            "redis",
            "redis-cluster",
            "redis-cluster-streams",
            "redis-sentinel",
            "redis-sentinel-streams",
            "redis-streams",
        ] {
            assert_eq!(told(kind, &[]), [""; 0], "{kind}: the rest may be in it");
            let found = told(kind, &[("hosts", "a,b"), ("ports", "1")]);
            assert!(
                found
                    .iter()
                    .any(|text| text.starts_with("not enough hosts or ports given")),
                "{kind}: {found:?}"
            );
        }
        let found = told("redis", &[("listLength", "many")]);
        assert!(
            found.len() == 1 && found[0].contains("listLength"),
            "{found:?}"
        );
    }
}
