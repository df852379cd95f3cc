//! Logging in: the server's greeting, TLS, and whichever way of showing a password the server asks for.

use std::io;
use std::panic::catch_unwind;
use std::sync::Arc;

use mysql_common::constants::CapabilityFlags as Capabilities;
use mysql_common::crypto;
use mysql_common::io::ParseBuf;
use mysql_common::packets::{
    AuthPlugin, AuthSwitchRequest, HandshakePacket, HandshakeResponse, SslRequest,
};
use mysql_common::proto::MySerialize;
use rustls::ClientConfig;
use rustls_pki_types::ServerName;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::packets::Packets;
use super::session::{Failure, TlsFailure, Wire};
use super::{Database, Encryption};
use crate::clients::bounded::Bounded;

/// Told to the server: who looks at its connections sees whose it is.
const PROGRAM: (&str, &str) = ("program_name", "sakidori");

/// `utf8mb4_general_ci`: queries are UTF-8.
const COLLATION: u8 = 45;

/// The longest message that is wanted; servers only take note of it.
const LONGEST_MESSAGE: u32 = 16 * 1024 * 1024;

/// All that is spoken here. Neither several statements in one query, nor files of the client's (`LOCAL INFILE`).
const CAPABILITIES: Capabilities = Capabilities::CLIENT_PROTOCOL_41
    .union(Capabilities::CLIENT_LONG_PASSWORD)
    .union(Capabilities::CLIENT_TRANSACTIONS)
    .union(Capabilities::CLIENT_SECURE_CONNECTION)
    // A procedure's answer is one of several.
    .union(Capabilities::CLIENT_MULTI_RESULTS)
    .union(Capabilities::CLIENT_PLUGIN_AUTH)
    .union(Capabilities::CLIENT_CONNECT_WITH_DB)
    .union(Capabilities::CLIENT_CONNECT_ATTRS);

/// Speaks TLS as the database's setting says, and logs in.
pub async fn log_in(
    stream: Bounded<TcpStream>,
    database: &Database,
    tls: Option<ClientConfig>,
) -> Result<Packets<Box<dyn Wire>>, Failure> {
    let mut packets = Packets::new(stream);
    let greeting = packets.read().await?;
    let handshake = greeting_of(&greeting)?;
    let mut capabilities = CAPABILITIES & handshake.capabilities();
    let offered = handshake.capabilities().contains(Capabilities::CLIENT_SSL);
    let tls = match (tls, &database.encryption) {
        (Some(tls), _) if offered => Some(tls),
        (None, _) | (_, Encryption::IfOffered(_)) => None,
        _ => return Err(Failure::Way("the server doesn't offer TLS".to_owned())),
    };
    let is_encrypted = tls.is_some();
    let packets = match tls {
        None => packets.over(|stream| Box::new(stream) as Box<dyn Wire>),
        Some(tls) => {
            capabilities |= Capabilities::CLIENT_SSL;
            let request = SslRequest::new(capabilities, LONGEST_MESSAGE, COLLATION);
            packets.write(&bytes_of(&request)).await?;
            // Nothing that came before is left over: the greeting was read to its last byte and no further.
            let (stream, next) = packets.into_stream();
            let host = ServerName::try_from(database.host.clone()).map_err(io::Error::other)?;
            let encrypted = TlsConnector::from(Arc::new(tls))
                .connect(host, stream)
                .await;
            let stream = encrypted.map_err(|error| Failure::Tls(TlsFailure(error)))?;
            Packets::going_on(Box::new(stream) as Box<dyn Wire>, next)
        }
    };
    let plugin = match handshake.auth_plugin() {
        Some(plugin @ AuthPlugin::CachingSha2Password) => plugin,
        // For any other, the server asks.
        _ => AuthPlugin::MysqlNativePassword,
    };
    let mut login = Login {
        packets,
        password: database.password.as_deref().unwrap_or_default(),
        cleartext_is_allowed: database.cleartext_is_allowed,
        is_encrypted,
        nonce: handshake.nonce(),
        plugin: plugin.into_owned(),
    };
    let attributes = capabilities.contains(Capabilities::CLIENT_CONNECT_ATTRS);
    let attributes = attributes.then(|| [(PROGRAM.0.to_owned(), PROGRAM.1.to_owned())].into());
    let response = HandshakeResponse::new(
        Some(login.first_answer()),
        handshake.server_version_parsed().unwrap_or((5, 5, 3)),
        Some(database.user.as_bytes()),
        database.name.as_ref().map(|name| name.as_bytes()),
        Some(login.plugin.borrow()),
        capabilities,
        attributes,
        LONGEST_MESSAGE,
    );
    let response = bytes_of(&response);
    login.packets.write(&response).await?;
    login.go_on().await?;
    Ok(login.packets)
}

fn greeting_of(packet: &[u8]) -> Result<HandshakePacket<'_>, Failure> {
    Failure::refused(packet)?;
    if packet.first() != Some(&10) {
        let text = "its greeting is none of MySQL's version 10";
        return Err(Failure::Malformed(text.to_owned()));
    }
    let greeting = ParseBuf(packet).parse::<HandshakePacket<'_>>(());
    greeting.map_err(|error| Failure::Malformed(format!("its greeting is broken: {error}")))
}

fn bytes_of(packet: &impl MySerialize) -> Vec<u8> {
    let mut bytes = Vec::new();
    packet.serialize(&mut bytes);
    bytes
}

/// In bytes.
const ED25519_NONCE: usize = 32;

struct Login<'a> {
    packets: Packets<Box<dyn Wire>>,
    password: &'a str,
    cleartext_is_allowed: bool,
    is_encrypted: bool,
    /// The server's, for this connection.
    nonce: Vec<u8>,
    plugin: AuthPlugin<'static>,
}

impl Login<'_> {
    fn first_answer(&self) -> Vec<u8> {
        let answer = self.plugin.gen_data(Some(self.password), &self.nonce);
        answer.map(|answer| bytes_of(&answer)).unwrap_or_default()
    }

    /// Answers what the server asks, until it lets us in.
    async fn go_on(&mut self) -> Result<(), Failure> {
        loop {
            let packet = self.packets.read().await?;
            Failure::refused(&packet)?;
            match packet.as_slice() {
                [0x00, ..] => return Ok(()),
                [0xfe] => return Err(unknown_plugin("mysql_old_password")),
                [0xfe, ..] => self.switch(&packet).await?,
                // By its cache it knows the password already.
                [0x01, 0x03] => {}
                [0x01, 0x04] => self.whole_password().await?,
                _ => {
                    let text = "the login's answer is none that is known";
                    return Err(Failure::Malformed(text.to_owned()));
                }
            }
        }
    }

    /// The server asks for another way than the one that was tried.
    async fn switch(&mut self, packet: &[u8]) -> Result<(), Failure> {
        let request = ParseBuf(packet).parse::<AuthSwitchRequest<'_>>(());
        let broken = |error| Failure::Malformed(format!("the login's answer is broken: {error}"));
        let request = request.map_err(broken)?;
        self.nonce = request.plugin_data().to_vec();
        self.plugin = request.auth_plugin().into_owned();
        // Its nonce has this length; the parser takes a last byte of 0, one in 256, for the end of a text.
        if matches!(self.plugin, AuthPlugin::Ed25519) {
            self.nonce.resize(ED25519_NONCE, 0);
        }
        match &self.plugin {
            AuthPlugin::MysqlNativePassword
            | AuthPlugin::CachingSha2Password
            | AuthPlugin::Ed25519 => {}
            AuthPlugin::MysqlClearPassword if self.cleartext_is_allowed => {}
            AuthPlugin::MysqlClearPassword => {
                let text = "the server asks for the password in clear text: \
                            allowCleartextPasswords=true in connectionString allows it";
                return Err(Failure::Login(text.to_owned()));
            }
            other => return Err(unknown_plugin(&String::from_utf8_lossy(other.as_bytes()))),
        }
        let answer = self.first_answer();
        self.packets.write(&answer).await?;
        Ok(())
    }

    /// `caching_sha2_password` without a cached login: in clear text if it is encrypted anyway, else by the server's key.
    async fn whole_password(&mut self) -> Result<(), Failure> {
        let mut password = [self.password.as_bytes(), &[0]].concat();
        if !self.is_encrypted {
            self.packets.write(&[0x02]).await?;
            let answer = self.packets.read().await?;
            Failure::refused(&answer)?;
            for (byte, nonce) in password.iter_mut().zip(self.nonce.iter().cycle()) {
                *byte ^= nonce;
            }
            let key = answer.get(1..).unwrap_or_default();
            // A key that is none makes the library panic.
            let encrypted = catch_unwind(|| crypto::encrypt(&password, key));
            let broken = |_| Failure::Malformed("the server's RSA key is none".to_owned());
            password = encrypted.map_err(broken)?;
        }
        self.packets.write(&password).await?;
        Ok(())
    }
}

fn unknown_plugin(name: &str) -> Failure {
    let text = format!(
        "the server asks for a login by {name:?}: expected mysql_native_password, caching_sha2_password, client_ed25519 or mysql_clear_password"
    );
    Failure::Login(text)
}
