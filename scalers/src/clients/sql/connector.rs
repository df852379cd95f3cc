//! The way to a server: its name, its addresses, and a connection to the first that answers.

use std::io;

use tokio::net::TcpStream;

use crate::clients::TlsFloor;
use crate::clients::names::Names;

/// Makes connections for clients of databases, whose own resolvers and TLS settings would be others than those of all other
/// clients.
pub struct Connector {
    pub oldest_tls: TlsFloor,
    names: Names,
}

impl Connector {
    pub fn new(oldest_tls: TlsFloor) -> Self {
        Self {
            oldest_tls,
            names: Names::of_the_system(),
        }
    }

    /// # Errors
    /// Of the last address that was tried.
    pub async fn tcp(&self, host: &str, port: u16) -> io::Result<TcpStream> {
        self.names.connect(host, port).await
    }
}

/// `db:5432`, `[::1]:5432`.
pub fn place(host: &str, port: u16) -> String {
    match host.contains(':') {
        true => format!("[{host}]:{port}"),
        false => format!("{host}:{port}"),
    }
}
