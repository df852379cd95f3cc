//! Servers that mean harm, on threads that end with the test's process.

use std::io::{BufRead, BufReader, Read, Result, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use flate2::Compression;
use flate2::write::GzEncoder;

/// The port of a server that does this with each connection. A client that goes away ends it.
pub fn serving(
    behave: impl Fn(&mut BufReader<TcpStream>) -> Result<()> + Send + Sync + 'static,
) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let behave = Arc::new(behave);
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let behave = Arc::clone(&behave);
            stream.set_nodelay(true).unwrap();
            std::thread::spawn(move || {
                let _ = behave(&mut BufReader::new(stream));
            });
        }
    });
    port
}

/// The port of a server that waits for the client's first bytes, answers these, and goes on with `then` for ever.
pub fn endless(start: &'static [u8], then: &'static [u8]) -> u16 {
    serving(move |stream| {
        let _ = stream.get_mut().read(&mut [0; 4096])?;
        go_on(stream.get_mut(), start, then)
    })
}

/// The same of a server that speaks first.
pub fn endless_at_once(start: &'static [u8], then: &'static [u8]) -> u16 {
    serving(move |stream| go_on(stream.get_mut(), start, then))
}

fn go_on(stream: &mut TcpStream, start: &[u8], then: &[u8]) -> Result<()> {
    stream.write_all(start)?;
    let many = then.repeat((64 * 1024 / then.len()).max(1));
    loop {
        stream.write_all(&many)?;
    }
}

/// The port of a server that sends this, and then a byte every 20 ms.
pub fn trickling(start: &'static [u8]) -> u16 {
    serving(move |stream| {
        stream.get_mut().write_all(start)?;
        trickle(stream.get_mut(), b" ")
    })
}

fn trickle(stream: &mut impl Write, piece: &[u8]) -> Result<()> {
    loop {
        stream.write_all(piece)?;
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// What an HTTP server does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mischief {
    /// A body without end, and without a length.
    Endless,
    /// A body of which a byte comes every 20 ms.
    Trickle,
    /// A body of a gigabyte, as its length says.
    Gigabyte,
    /// A body of chunks without end, each of which says that it is a gigabyte.
    GigabyteChunks,
    /// A hundred million bytes in a hundred thousand, by gzip.
    Bomb,
    /// 10,000 lists in one another, cut off or not.
    Deep,
    /// Headers of which a byte comes every 20 ms.
    SlowHeaders,
    /// Headers without end.
    EndlessHeaders,
    /// Sends on to itself.
    Redirects,
    /// Half of what it promised, and the connection is closed.
    CutOff,
    /// No UTF-8.
    NoText,
}

impl Mischief {
    pub const ALL: [Self; 11] = [
        Self::Endless,
        Self::Trickle,
        Self::Gigabyte,
        Self::GigabyteChunks,
        Self::Bomb,
        Self::Deep,
        Self::SlowHeaders,
        Self::EndlessHeaders,
        Self::Redirects,
        Self::CutOff,
        Self::NoText,
    ];
}

/// The port of an HTTP server that answers each request so.
pub fn http(mischief: Mischief) -> u16 {
    serving(move |stream| {
        let mut line = String::new();
        while stream.read_line(&mut line)? > 0 && !line.trim().is_empty() {
            line.clear();
        }
        answer(stream.get_mut(), mischief)
    })
}

/// A hundred million bytes, by gzip.
pub fn bomb() -> &'static [u8] {
    static BOMB: OnceLock<Vec<u8>> = OnceLock::new();
    BOMB.get_or_init(|| {
        let block = [b' '; 64 * 1024];
        let mut bomb = GzEncoder::new(Vec::new(), Compression::best());
        for _ in 0..100 * 1024 * 1024 / block.len() {
            bomb.write_all(&block).unwrap();
        }
        bomb.finish().unwrap()
    })
}

const OK: &str = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n";

fn answer(stream: &mut TcpStream, mischief: Mischief) -> Result<()> {
    let block = [b' '; 64 * 1024];
    match mischief {
        Mischief::Endless => {
            write!(stream, "{OK}\r\n{{\"depth\":1")?;
            loop {
                stream.write_all(&block)?;
            }
        }
        Mischief::Trickle => {
            write!(stream, "{OK}content-length: 100000\r\n\r\n")?;
            trickle(stream, b" ")
        }
        Mischief::Gigabyte => {
            write!(stream, "{OK}content-length: {}\r\n\r\n", 1 << 30)?;
            for _ in 0..(1 << 30) / block.len() {
                stream.write_all(&block)?;
            }
            Ok(())
        }
        Mischief::GigabyteChunks => {
            write!(stream, "{OK}transfer-encoding: chunked\r\n\r\n40000000\r\n")?;
            loop {
                stream.write_all(&block)?;
            }
        }
        Mischief::Bomb => {
            let (bomb, length) = (bomb(), bomb().len());
            write!(
                stream,
                "{OK}content-encoding: gzip\r\ncontent-length: {length}\r\n\r\n"
            )?;
            stream.write_all(bomb)
        }
        Mischief::Deep => {
            let (open, close) = ("[".repeat(10_000), "]".repeat(10_000));
            let body = format!("{{\"depth\":{open}1{close}}}");
            write!(stream, "{OK}content-length: {}\r\n\r\n{body}", body.len())
        }
        Mischief::SlowHeaders => {
            write!(stream, "{OK}x-slow: ")?;
            trickle(stream, b"x")
        }
        Mischief::EndlessHeaders => {
            write!(stream, "{OK}")?;
            loop {
                stream.write_all(b"x-more: and more\r\n")?;
            }
        }
        Mischief::Redirects => write!(
            stream,
            "HTTP/1.1 302 Found\r\nlocation: /again\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
        ),
        Mischief::CutOff => write!(stream, "{OK}content-length: 100\r\n\r\n{{\"depth\":1"),
        Mischief::NoText => {
            write!(stream, "{OK}content-length: 11\r\n\r\n")?;
            stream.write_all(b"{\"\xff\xfe\":12345")
        }
    }
}
