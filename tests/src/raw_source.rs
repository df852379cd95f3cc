//! A source that can misbehave below HTTP: it answers byte by byte or not to the end, or shows the certificate of another host.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::Result;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use sakidori_test_cluster::pki::{Authority, Identity};

/// What it does once it is [broken](RawSource::break_it).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mischief {
    /// Promises a long answer and sends a byte of it every 50 ms.
    Trickle,
    /// Sends without end, and without saying how much it will be.
    Endless,
    /// Promises the whole answer, sends half of it and closes the connection.
    CutOff,
    /// Speaks TLS, with a certificate that has expired.
    Expired,
    /// Speaks TLS, with a certificate that is for another host.
    OtherHost,
}

/// A server on a thread of its own, which ends with the test process.
pub struct RawSource {
    port: u16,
    broken: Arc<AtomicBool>,
    authority: Option<Authority>,
}

struct Behaviour {
    mischief: Mischief,
    body: String,
    broken: Arc<AtomicBool>,
    /// The right identity and the wrong one.
    tls: Option<[Arc<ServerConfig>; 2]>,
}

impl RawSource {
    /// Starts a server that answers every request with this JSON until it is broken.
    ///
    /// # Errors
    /// If no port is free or no certificate can be made.
    pub fn start(mischief: Mischief, body: &serde_json::Value) -> Result<Self> {
        Self::start_with(mischief, body.to_string())
    }

    /// The same with any text.
    ///
    /// # Errors
    /// As [`RawSource::start`].
    pub fn start_with(mischief: Mischief, body: String) -> Result<Self> {
        // An error means that one is chosen already, and ring is the only one that is compiled in.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let (authority, tls) = match mischief {
            Mischief::Trickle | Mischief::Endless | Mischief::CutOff => (None, None),
            Mischief::Expired | Mischief::OtherHost => {
                let authority = Authority::new("raw source")?;
                let right = authority.issue("source", &[], &["127.0.0.1"])?;
                let wrong = match mischief {
                    Mischief::Expired => authority.issue_expired("source", &["127.0.0.1"])?,
                    _ => authority.issue("source", &[], &["somewhere.example"])?,
                };
                let tls = [server_config(&right)?, server_config(&wrong)?];
                (Some(authority), Some(tls))
            }
        };
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let port = listener.local_addr()?.port();
        let broken = Arc::new(AtomicBool::new(false));
        let behaviour = Arc::new(Behaviour {
            mischief,
            body,
            broken: Arc::clone(&broken),
            tls,
        });
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let behaviour = Arc::clone(&behaviour);
                // A client that goes away ends its thread.
                std::thread::spawn(move || behaviour.serve(stream));
            }
        });
        Ok(Self {
            port,
            broken,
            authority,
        })
    }

    /// From the next connection on it misbehaves.
    pub fn break_it(&self) {
        self.broken.store(true, Ordering::SeqCst);
    }

    /// Its address.
    pub fn url(&self) -> String {
        let scheme = if self.authority.is_some() {
            "https"
        } else {
            "http"
        };
        format!("{scheme}://127.0.0.1:{}/", self.port)
    }

    /// The authority to trust, PEM, if it speaks TLS.
    pub fn ca(&self) -> Option<&str> {
        self.authority.as_ref().map(Authority::certificate)
    }
}

impl Behaviour {
    fn serve(&self, stream: TcpStream) -> Result<()> {
        let broken = self.broken.load(Ordering::SeqCst);
        match &self.tls {
            None => self.answer(stream, broken.then_some(self.mischief)),
            Some([right, wrong]) => {
                let config = if broken { wrong } else { right };
                let connection = ServerConnection::new(Arc::clone(config))?;
                self.answer(StreamOwned::new(connection, stream), None)
            }
        }
    }

    fn answer(&self, stream: impl Read + Write, mischief: Option<Mischief>) -> Result<()> {
        let mut stream = BufReader::new(stream);
        let mut line = String::new();
        while stream.read_line(&mut line)? > 0 && !line.trim().is_empty() {
            line.clear();
        }
        let stream = stream.get_mut();
        let length = match mischief {
            Some(Mischief::Endless) => String::new(),
            Some(Mischief::Trickle) => "content-length: 10000\r\n".to_owned(),
            _ => format!("content-length: {}\r\n", self.body.len()),
        };
        let head = format!("HTTP/1.1 200 OK\r\n{length}connection: close\r\n\r\n");
        stream.write_all(head.as_bytes())?;
        match mischief {
            Some(Mischief::Trickle) => loop {
                stream.write_all(b" ")?;
                stream.flush()?;
                std::thread::sleep(Duration::from_millis(50));
            },
            Some(Mischief::Endless) => loop {
                stream.write_all(&[b' '; 64 * 1024])?;
            },
            Some(Mischief::CutOff) => {
                stream.write_all(&self.body.as_bytes()[..self.body.len() / 2])?;
                Ok(stream.flush()?)
            }
            _ => {
                stream.write_all(self.body.as_bytes())?;
                Ok(stream.flush()?)
            }
        }
    }
}

fn server_config(identity: &Identity) -> Result<Arc<ServerConfig>> {
    let certificate = CertificateDer::from_pem_slice(identity.certificate.as_bytes())?;
    let key = PrivateKeyDer::from_pem_slice(identity.key.as_bytes())?;
    let config = ServerConfig::builder()
        .with_no_client_auth()
        .with_single_cert(vec![certificate], key)?;
    Ok(Arc::new(config))
}
