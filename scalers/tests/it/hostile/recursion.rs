//! A PostgreSQL server whose types are made of one another without end: a client that follows them by recursion has no stack left.

use std::io::{BufReader, Read, Result, Write};
use std::net::TcpStream;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use sakidori_scalers::Trigger;

use super::servers::serving;
use super::{alone, context, run, value};

/// An object id that no type of PostgreSQL's own has.
const STRANGE: u32 = 1_000_000;

const NAME: u32 = 19;
const CHAR: u32 = 18;
const OID: u32 = 26;

fn message(kind: u8, body: &[u8]) -> Vec<u8> {
    let length = (body.len() as u32 + 4).to_be_bytes();
    [&[kind], &length[..], body].concat()
}

/// `RowDescription` of columns with these types.
fn row_description(types: &[u32]) -> Vec<u8> {
    let mut body = (types.len() as u16).to_be_bytes().to_vec();
    for oid in types {
        // No name, no table, and then the type, of any length, without a modifier, in binary.
        body.extend([0, 0, 0, 0, 0, 0, 0]);
        body.extend(oid.to_be_bytes());
        body.extend([0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0, 1]);
    }
    message(b'T', &body)
}

/// `DataRow`.
fn row(cells: &[Option<&[u8]>]) -> Vec<u8> {
    let mut body = (cells.len() as u16).to_be_bytes().to_vec();
    for cell in cells {
        match cell {
            None => body.extend((-1_i32).to_be_bytes()),
            Some(cell) => {
                body.extend((cell.len() as u32).to_be_bytes());
                body.extend(*cell);
            }
        }
    }
    message(b'D', &body)
}

/// One connection. Each type is an array of the next.
fn talk(stream: &mut BufReader<TcpStream>, deepest: &AtomicU32) -> Result<()> {
    let ready = message(b'Z', b"I");
    let body = |stream: &mut BufReader<TcpStream>| {
        let mut length = [0; 4];
        stream.read_exact(&mut length)?;
        let mut body = vec![0; u32::from_be_bytes(length) as usize - 4];
        stream.read_exact(&mut body)?;
        Ok::<_, std::io::Error>(body)
    };
    body(stream)?;
    let welcome = [message(b'R', &[0; 4]), ready.clone()].concat();
    stream.get_mut().write_all(&welcome)?;
    let (mut parsed, mut next) = (0, STRANGE);
    loop {
        let mut kind = [0];
        stream.read_exact(&mut kind)?;
        body(stream)?;
        let answer = match kind[0] {
            b'Q' => [message(b'C', b"BEGIN\0"), ready.clone()].concat(),
            b'P' => {
                parsed += 1;
                message(b'1', &[])
            }
            // The query has a column of a strange type; what the client asks about types has those that it knows.
            b'D' if parsed == 1 => [message(b't', &[0, 0]), row_description(&[STRANGE])].concat(),
            b'D' => {
                let parameters = [&[0, 1][..], &OID.to_be_bytes()].concat();
                let columns = [NAME, CHAR, OID, OID, OID, NAME, OID];
                [message(b't', &parameters), row_description(&columns)].concat()
            }
            b'B' => message(b'2', &[]),
            b'E' => {
                next += 1;
                deepest.fetch_max(next - STRANGE, Ordering::SeqCst);
                let (oid, none) = (next.to_be_bytes(), 0_u32.to_be_bytes());
                let row = row(&[
                    Some(b"t"),
                    Some(b"b"),
                    Some(&oid),
                    None,
                    Some(&none),
                    Some(b"public"),
                    Some(&none),
                ]);
                [row, message(b'C', b"SELECT 1\0")].concat()
            }
            b'S' => ready.clone(),
            b'X' => return Ok(()),
            _ => Vec::new(),
        };
        stream.get_mut().write_all(&answer)?;
    }
}

#[test]
fn types_without_end_do_not_exhaust_the_stack() {
    if !alone("hostile::recursion::types_without_end_do_not_exhaust_the_stack") {
        return;
    }
    run(async {
        static DEEPEST: AtomicU32 = AtomicU32::new(0);
        let port = serving(|stream| talk(stream, &DEEPEST)).to_string();
        let trigger = Trigger::new("postgresql").metadata([
            ("host", "127.0.0.1"),
            ("port", &port),
            ("userName", "u"),
            ("dbName", "d"),
            ("sslmode", "disable"),
            ("query", "select 1"),
            ("targetQueryValue", "1"),
        ]);
        let error = value(&context(Duration::from_secs(5)), &trigger).await;
        let error = error.unwrap_err().to_string();
        let deepest = DEEPEST.load(Ordering::SeqCst);
        println!("{deepest} types in one another: {error}");
        assert!(deepest > 10, "the server was not asked about types");
        assert!(
            error.starts_with("malformed answer")
                && error.contains("their types is larger than 16 KiB"),
            "{error}"
        );
    });
}
