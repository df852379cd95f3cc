//! PostgreSQL: how a trigger, or a calendar, names a database, and the rows of a query.

mod connection;
mod connection_string;
mod table;

pub use table::{Rows, Table, TableLimits};
