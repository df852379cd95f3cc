//! `postgresql`: the number that a query gives.
//!
//! The query returns one column, and the first row's value counts, if it is a number: of whatever type, also a text that is one. NULL,
//! no row, and anything else are errors, and the HPA keeps its replicas: write `coalesce(sum(x), 0)` where NULL is to be 0.
//!
//! The user needs `SELECT` on what the query reads. Queries run in read-only transactions, and the server ends them after 20 s.
//! Triggers with the same server, database and user share up to four connections, and the same query is asked once for all of them.
//!
//! With `sslmode` `verify-ca` and `verify-full` the server's certificate is checked; authorities besides the system's, and a client
//! certificate, can be given as `ca`, `cert` and `key` in the TriggerAuthentication, which KEDA doesn't know.
//!
//! ```yaml
//! apiVersion: v1
//! kind: Secret
//! metadata:
//!   name: orders-database
//! stringData:
//!   connection: postgresql://sales:secret@postgresql.shop:5432/shop?sslmode=verify-full
//! ---
//! apiVersion: keda.sh/v1alpha1
//! kind: TriggerAuthentication
//! metadata:
//!   name: orders-database
//! spec:
//!   secretTargetRef:
//!     - parameter: connection
//!       name: orders-database
//!       key: connection
//! ---
//! apiVersion: keda.sh/v1alpha1
//! kind: ScaledObject
//! metadata:
//!   name: orders
//! spec:
//!   scaleTargetRef:
//!     name: orders
//!   triggers:
//!     - type: postgresql
//!       metadata:
//!         query: select count(*) from orders where state = 'waiting'
//!         targetQueryValue: "20"
//!         activationTargetQueryValue: "5"
//!       authenticationRef:
//!         name: orders-database
//! ```

mod connection;
mod connection_string;
mod table;

use serde::Deserialize;

use self::connection::ConnectionParameters;
pub use self::table::{Rows, Table, TableLimits};
use crate::metric::MetricSpec;
use crate::params::{self, Field, METADATA, ParameterSet, Parameters};
use crate::registry::Kind;
use crate::scaler::{BuildError, Context, Scaler, Trigger};
use crate::sql_query::QueryScaler;

/// What a `postgresql` trigger asks.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Query {
    /// A select of one number.
    query: String,
    /// How much of it one replica is for. Needed unless `scalingModifiers` make one metric of all triggers.
    target_query_value: Option<f64>,
    /// The trigger is active above this value.
    activation_target_query_value: f64,
}

impl Parameters for Query {
    const FIELDS: &'static [Field] = &[
        Field::required("query", METADATA),
        Field::optional("targetQueryValue", METADATA),
        Field::with_default("activationTargetQueryValue", METADATA, "0"),
    ];
}

pub const KIND: Kind = Kind {
    name: "postgresql",
    label: "postgreSQLScaler",
    fields: <(Query, ConnectionParameters)>::fields,
    passes_metadata_on: false,
    build,
};

fn build(trigger: &Trigger, context: &Context) -> Result<Box<dyn Scaler>, BuildError> {
    let (query, connection): (Query, ConnectionParameters) = params::parse(trigger)?;
    let target = query.target_query_value.unwrap_or_default();
    if target == 0.0 && !trigger.is_part_of_a_formula {
        return Err(BuildError::Invalid(NO_TARGET.to_owned()));
    }
    let database = connection.database().map_err(BuildError::Invalid)?;
    let metric = MetricSpec::milli(trigger, "postgresql", target)?;
    Ok(Box::new(QueryScaler {
        metric,
        server: context.clients.postgresql.server(database),
        query: query.query,
        activation: query.activation_target_query_value,
    }))
}

/// The beginning is KEDA's.
const NO_TARGET: &str = "no targetQueryValue given: expected a number above 0";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::example;

    fn built(trigger: &Trigger) -> Result<MetricSpec, String> {
        let scaler = build(trigger, &example::context(Vec::new()));
        let scaler = scaler.map_err(|error| error.to_string())?;
        Ok(scaler.metrics().remove(0))
    }

    #[test]
    fn the_example_works() {
        let trigger = &example::triggers(include_str!("mod.rs"))[0];
        let metric = built(trigger).unwrap();
        assert_eq!(metric.name, "s0-postgresql");
        assert_eq!(metric.target.to_string(), "20");
    }

    const PARTS: [(&str, &str); 6] = [
        ("query", "select 1"),
        ("host", "db"),
        ("port", "5432"),
        ("userName", "sales"),
        ("dbName", "shop"),
        ("sslmode", "require"),
    ];

    #[test]
    fn parameters_are_found_where_keda_looks_for_them() {
        let trigger = Trigger::new("postgresql")
            .metadata(PARTS)
            .metadata([("targetQueryValue", "2.5"), ("passwordFromEnv", "PASS")])
            .environment([("PASS", "hunter2")]);
        assert_eq!(built(&trigger).unwrap().target.to_string(), "2500m");
        let mut trigger = Trigger::new("postgresql")
            .metadata([("query", "select 1"), ("targetQueryValue", "5")])
            .metadata([("connectionFromEnv", "DSN")])
            .environment([("DSN", "postgresql://test@localhost")]);
        trigger.index = 1;
        assert_eq!(built(&trigger).unwrap().name, "s1-postgresql");
    }

    #[test]
    fn a_target_is_needed_unless_a_formula_takes_its_place() {
        let mut trigger = Trigger::new("postgresql").metadata(PARTS);
        let error = built(&trigger).unwrap_err();
        assert!(error.contains("no targetQueryValue given"), "{error}");
        trigger.is_part_of_a_formula = true;
        assert!(built(&trigger).is_ok());
    }
}
