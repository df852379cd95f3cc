//! A source that can misbehave below HTTP: it answers byte by byte or not to the end, or shows the certificate of another host.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use anyhow::Result;
use flate2::Compression;
use flate2::write::GzEncoder;
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
    /// Promises a gigabyte, and sends it.
    Gigabyte,
    /// Sends a hundred million bytes as a hundred thousand, by gzip.
    Bomb,
    /// Sends lists in one another, 10,000 of them.
    Deep,
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
            Mischief::Trickle
            | Mischief::Endless
            | Mischief::Gigabyte
            | Mischief::Bomb
            | Mischief::Deep
            | Mischief::CutOff => (None, None),
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

    /// From the next connection on it is what it was.
    pub fn mend_it(&self) {
        self.broken.store(false, Ordering::SeqCst);
    }

    pub fn port(&self) -> u16 {
        self.port
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
        let body = match mischief {
            Some(Mischief::Bomb) => bomb(),
            Some(Mischief::Deep) => deep(),
            _ => self.body.as_bytes(),
        };
        let length = match mischief {
            Some(Mischief::Endless) => String::new(),
            Some(Mischief::Trickle) => "content-length: 10000\r\n".to_owned(),
            Some(Mischief::Gigabyte) => format!("content-length: {}\r\n", 1 << 30),
            Some(Mischief::Bomb) => format!(
                "content-encoding: gzip\r\ncontent-length: {}\r\n",
                body.len()
            ),
            _ => format!("content-length: {}\r\n", body.len()),
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
            Some(Mischief::Gigabyte) => {
                for _ in 0..(1 << 30) / (64 * 1024) {
                    stream.write_all(&[b' '; 64 * 1024])?;
                }
                Ok(stream.flush()?)
            }
            Some(Mischief::CutOff) => {
                stream.write_all(&self.body.as_bytes()[..self.body.len() / 2])?;
                Ok(stream.flush()?)
            }
            _ => {
                stream.write_all(body)?;
                Ok(stream.flush()?)
            }
        }
    }
}

/// A hundred million bytes, by gzip.
fn bomb() -> &'static [u8] {
    static BOMB: OnceLock<Vec<u8>> = OnceLock::new();
    BOMB.get_or_init(|| {
        let mut bomb = GzEncoder::new(Vec::new(), Compression::fast());
        for _ in 0..1600 {
            // Into memory, which doesn't fail.
            let _ = bomb.write_all(&[b' '; 64 * 1024]);
        }
        bomb.finish().unwrap_or_default()
    })
}

/// What is deep where a `metrics-api` trigger looks for its value, where a `prometheus` trigger does, and where a calendar has its events.
fn deep() -> &'static [u8] {
    static DEEP: OnceLock<String> = OnceLock::new();
    let whole = DEEP.get_or_init(|| {
        let lists = format!("{}1{}", "[".repeat(10_000), "]".repeat(10_000));
        format!("{{\"value\":{lists},\"data\":{{\"result\":[{{\"value\":{lists}}}]}},\"events\":{lists}}}")
    });
    whole.as_bytes()
}

fn server_config(identity: &Identity) -> Result<Arc<ServerConfig>> {
    let certificate = CertificateDer::from_pem_slice(identity.certificate.as_bytes())?;
    let key = PrivateKeyDer::from_pem_slice(identity.key.as_bytes())?;
    let config = ServerConfig::builder()
        .with_no_client_auth()
        .with_single_cert(vec![certificate], key)?;
    Ok(Arc::new(config))
}
