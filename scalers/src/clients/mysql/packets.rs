//! MySQL's packets: a length of three bytes, a number that counts up within one exchange, and what they hold.

use std::io;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

/// What one packet holds at most. A longer message goes on in the next.
const LONGEST: usize = 0xff_ffff;

/// What is sent by servers of other kinds.
#[derive(Debug, thiserror::Error)]
#[error("a packet is out of order: is it MySQL?")]
pub struct OutOfOrder;

/// Reads and writes packets, in turn with the server.
pub struct Packets<S> {
    stream: S,
    next: u8,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Packets<S> {
    pub fn new(stream: S) -> Self {
        Self { stream, next: 0 }
    }

    /// The same exchange over another stream: the first one, encrypted.
    pub fn over<T>(self, wrap: impl FnOnce(S) -> T) -> Packets<T> {
        Packets {
            stream: wrap(self.stream),
            next: self.next,
        }
    }

    pub fn into_stream(self) -> (S, u8) {
        (self.stream, self.next)
    }

    pub fn going_on(stream: S, next: u8) -> Self {
        Self { stream, next }
    }

    /// The next message. Memory is spent on what was received, not on what its length promises.
    pub async fn read(&mut self) -> io::Result<Vec<u8>> {
        let mut message = Vec::new();
        loop {
            let mut header = [0; 4];
            self.stream.read_exact(&mut header).await?;
            let [a, b, c, number] = header;
            if number != self.next {
                return Err(io::Error::new(io::ErrorKind::InvalidData, OutOfOrder));
            }
            self.next = number.wrapping_add(1);
            let length = usize::from(a) | usize::from(b) << 8 | usize::from(c) << 16;
            let before = message.len();
            let mut rest = (&mut self.stream).take(length as u64);
            rest.read_to_end(&mut message).await?;
            if message.len() - before < length {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            if length < LONGEST {
                return Ok(message);
            }
        }
    }

    pub async fn write(&mut self, message: &[u8]) -> io::Result<()> {
        // Each whole packet is followed by another one, and be it empty.
        for at in (0..=message.len()).step_by(LONGEST) {
            let part = &message[at..message.len().min(at + LONGEST)];
            let [a, b, c, ..] = (part.len() as u32).to_le_bytes();
            let mut packet = vec![a, b, c, self.next];
            packet.extend_from_slice(part);
            self.next = self.next.wrapping_add(1);
            self.stream.write_all(&packet).await?;
        }
        self.stream.flush().await
    }

    /// Begins an exchange with a command.
    pub async fn command(&mut self, command: u8, argument: &[u8]) -> io::Result<()> {
        self.next = 0;
        self.write(&[&[command], argument].concat()).await
    }
}

/// What stands in front of a text, or counts columns; and what is behind it. `None` for NULL, and for what is cut short.
pub fn length(message: &[u8]) -> Option<(u64, &[u8])> {
    let (first, rest) = message.split_first()?;
    let bytes = match first {
        0..=0xfa => return Some((u64::from(*first), rest)),
        0xfc => 2,
        0xfd => 3,
        0xfe => 8,
        _ => return None,
    };
    let (number, rest) = rest.split_at_checked(bytes)?;
    let number = number
        .iter()
        .rev()
        .fold(0, |sum, byte| sum << 8 | u64::from(*byte));
    Some((number, rest))
}

/// A text with its length in front, and what is behind it.
pub fn text(message: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = length(message)?;
    rest.split_at_checked(usize::try_from(length).ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_have_four_forms() {
        for (message, expected) in [
            (&b"\x05rest"[..], Some((5, &b"rest"[..]))),
            (b"\xfc\x00\x01", Some((256, b""))),
            (b"\xfd\x00\x00\x01", Some((65_536, b""))),
            (b"\xfe\x01\0\0\0\0\0\0\0", Some((1, b""))),
            (b"\xfb", None),
            (b"\xff", None),
            (b"\xfc\x00", None),
            (b"", None),
        ] {
            assert_eq!(length(message), expected, "{message:?}");
        }
        assert_eq!(text(b"\x02abc"), Some((&b"ab"[..], &b"c"[..])));
        assert_eq!(text(b"\x04abc"), None);
        assert_eq!(text(b"\xfe\xff\xff\xff\xff\xff\xff\xff\xff"), None);
    }

    #[tokio::test]
    async fn long_messages_go_in_several_packets() {
        for length in [0, 5, LONGEST - 1, LONGEST, LONGEST + 5] {
            let (here, there) = tokio::io::duplex(2 * LONGEST);
            let message = vec![7; length];
            Packets::new(here).write(&message).await.unwrap();
            let read = Packets::new(there).read().await.unwrap();
            assert!(read == message, "{length}");
        }
    }

    #[tokio::test]
    async fn what_is_no_packet_is_an_error() {
        for (sent, kind) in [
            (&b"HTTP/1.1 400"[..], io::ErrorKind::InvalidData),
            (b"\xff\xff\xff\0cut", io::ErrorKind::UnexpectedEof),
        ] {
            let (mut here, there) = tokio::io::duplex(1024);
            here.write_all(sent).await.unwrap();
            drop(here);
            let error = Packets::new(there).read().await.unwrap_err();
            assert_eq!(error.kind(), kind);
        }
    }
}
