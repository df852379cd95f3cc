//! `mysql`: the number that a query gives, of MySQL and what speaks its protocol, such as MariaDB.
//!
//! The query returns one column, and the first row's value counts, if it is a number: of whatever type, also a text that is one. NULL,
//! no row, and anything else are errors, and the HPA keeps its replicas: write `coalesce(sum(x), 0)` where NULL is to be 0.
//!
//! The user needs `SELECT` on what the query reads. Queries run in read-only transactions, and the server ends them after 20 s where it
//! knows how to (MySQL 5.7.8, MariaDB 10.1, and later). Triggers with the same server, database and user share up to four connections,
//! and the same query is asked once for all of them.
//!
//! Without `tls` in `connectionString` the connection is not encrypted, as in KEDA. With `tls=true` the server's certificate is
//! checked; authorities besides the system's, and a client certificate, can be given as `ca`, `cert` and `key` in the
//! TriggerAuthentication, which KEDA doesn't know.
//!
//! With a `connectionString`, the metric's name has what stands behind its last slash, parameters included.
//!
//! ```yaml
//! apiVersion: v1
//! kind: Secret
//! metadata:
//!   name: orders-database
//! stringData:
//!   connectionString: sales:secret@tcp(mysql.shop:3306)/shop?tls=true
//! ---
//! apiVersion: keda.sh/v1alpha1
//! kind: TriggerAuthentication
//! metadata:
//!   name: orders-database
//! spec:
//!   secretTargetRef:
//!     - parameter: connectionString
//!       name: orders-database
//!       key: connectionString
//! ---
//! apiVersion: keda.sh/v1alpha1
//! kind: ScaledObject
//! metadata:
//!   name: orders
//! spec:
//!   scaleTargetRef:
//!     name: orders
//!   triggers:
//!     - type: mysql
//!       metadata:
//!         query: select count(*) from orders where state = 'waiting'
//!         queryValue: "20"
//!         activationQueryValue: "5"
//!       authenticationRef:
//!         name: orders-database
//! ```

mod connection;
mod connection_string;

use serde::Deserialize;

use self::connection::ConnectionParameters;
use crate::metric::MetricSpec;
use crate::params::{self, Field, METADATA, ParameterSet, Parameters};
use crate::registry::Kind;
use crate::scaler::{BuildError, Context, Scaler, Trigger};
use crate::sql_query::QueryScaler;

/// What a `mysql` trigger asks.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Query {
    /// A select of one number.
    query: String,
    /// How much of it one replica is for.
    query_value: f64,
    /// The trigger is active above this value.
    activation_query_value: f64,
    /// Has no meaning, as in KEDA.
    #[expect(dead_code, reason = "declared so that it is no misspelling")]
    metric_name: Option<String>,
}

impl Parameters for Query {
    const FIELDS: &'static [Field] = &[
        Field::required("query", METADATA),
        Field::required("queryValue", METADATA),
        Field::with_default("activationQueryValue", METADATA, "0"),
        Field::optional("metricName", METADATA),
    ];
}

pub const KIND: Kind = Kind {
    name: "mysql",
    label: "mySQLScaler",
    fields: <(Query, ConnectionParameters)>::fields,
    passes_metadata_on: false,
    build,
};

fn build(trigger: &Trigger, context: &Context) -> Result<Box<dyn Scaler>, BuildError> {
    let (query, connection): (Query, ConnectionParameters) = params::parse(trigger)?;
    let database = connection.database().map_err(BuildError::Invalid)?;
    Ok(Box::new(QueryScaler {
        metric: MetricSpec::milli(trigger, &connection.metric(), query.query_value)?,
        server: context.clients.mysql.server(database),
        query: query.query,
        activation: query.activation_query_value,
    }))
}

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
        assert_eq!(metric.name, "s0-mysql-shop?tls=true");
        assert_eq!(metric.target.to_string(), "20");
    }

    #[test]
    fn parameters_are_found_where_keda_looks_for_them() {
        let query = [("query", "select 1"), ("queryValue", "2.5")];
        let parts = [("host", "db"), ("port", "3306"), ("dbName", "a.b")];
        let login = [("usernameFromEnv", "USER"), ("passwordFromEnv", "PASS")];
        let trigger = Trigger::new("mysql")
            .metadata(query.into_iter().chain(parts).chain(login))
            .environment([("USER", "u"), ("PASS", "hunter2")]);
        let metric = built(&trigger).unwrap();
        assert_eq!(metric.name, "s0-mysql-a-b");
        assert_eq!(metric.target.to_string(), "2500m");
        let trigger = Trigger::new("mysql")
            .metadata(query)
            .metadata([("connectionStringFromEnv", "DSN"), ("metricName", "other")])
            .environment([("DSN", "u:p@tcp(http://my.mysql.dev:3306)/stats_db")]);
        assert_eq!(built(&trigger).unwrap().name, "s0-mysql-stats_db");
    }

    #[test]
    fn what_is_missing_is_told() {
        let error = built(&Trigger::new("mysql").metadata([("activationQueryValue", "AA")]));
        let error = error.unwrap_err();
        for part in [
            r#"missing required parameter "query""#,
            r#"missing required parameter "queryValue""#,
            r#""activationQueryValue" has the value "AA""#,
            r#"missing "host" and "port""#,
        ] {
            assert!(error.contains(part), "{error}");
        }
    }
}
