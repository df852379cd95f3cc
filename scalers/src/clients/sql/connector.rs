//! The way to a server: its name, its addresses, and a connection to the first that answers.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::clients::TlsVersion;
use crate::clients::names::Names;

/// For one address: a server that is switched off doesn't say so, and another one may be up. Across the world it takes a third of
/// a second.
const ATTEMPT: Duration = Duration::from_secs(3);

/// Makes connections for clients of databases, whose own resolvers and TLS settings would be others than those of all other
/// clients.
pub struct Connector {
    pub oldest_tls: TlsVersion,
    names: Names,
}

impl Connector {
    pub fn new(oldest_tls: TlsVersion) -> Self {
        Self {
            oldest_tls,
            names: Names::of_the_system(),
        }
    }

    /// # Errors
    /// Of the last address that was tried.
    pub async fn tcp(&self, host: &str, port: u16) -> io::Result<TcpStream> {
        let addresses = self.names.addresses(host).await?;
        let mut last = io::Error::other("the name has no address");
        for address in addresses.iter() {
            let address = SocketAddr::new(address.ip(), port);
            match timeout(ATTEMPT, TcpStream::connect(address)).await {
                Ok(Ok(stream)) => {
                    stream.set_nodelay(true)?;
                    return Ok(stream);
                }
                Ok(Err(error)) => last = error,
                Err(_) => last = io::Error::new(io::ErrorKind::TimedOut, "no connection in time"),
            }
        }
        Err(last)
    }
}

/// `db:5432`, `[::1]:5432`.
pub fn place(host: &str, port: u16) -> String {
    match host.contains(':') {
        true => format!("[{host}]:{port}"),
        false => format!("{host}:{port}"),
    }
}
