//! Answers that were compressed, bounded by what they become: a few KiB can stand for a gigabyte.

use std::borrow::Cow;
use std::io::Read;

use flate2::bufread::{DeflateDecoder, MultiGzDecoder, ZlibDecoder};

use crate::limits::too_large;
use crate::scaler::ScalerError;

/// For `Accept-Encoding`.
pub const ACCEPTED: &str = "gzip, deflate";

/// How a gzip file begins, and no text does.
const GZIP: [u8; 2] = [0x1f, 0x8b];

/// Whether a body becomes another one, which may be larger.
pub fn is_compressed(encoding: Option<&str>, body: &[u8]) -> bool {
    encoding.is_some() || body.starts_with(&GZIP)
}

/// What a body is without the compression that its `Content-Encoding` names. A file that is compressed itself (`sales.csv.gz`) is
/// decompressed, too.
///
/// # Errors
/// Malformed where it becomes larger than `limit` bytes, or is not what it should be.
pub fn decompress<'a>(
    encoding: Option<&str>,
    body: &'a [u8],
    limit: usize,
) -> Result<Cow<'a, [u8]>, ScalerError> {
    let encoding = encoding.unwrap_or_default().trim().to_ascii_lowercase();
    match encoding.as_str() {
        "gzip" | "x-gzip" => read(MultiGzDecoder::new(body), &encoding, limit),
        // By the standard with a header of two bytes, whose first one names the method, 8; some servers leave it out.
        "deflate" if body.first().is_some_and(|first| first & 0x0f == 8) => {
            read(ZlibDecoder::new(body), &encoding, limit)
        }
        "deflate" => read(DeflateDecoder::new(body), &encoding, limit),
        "" | "identity" if body.starts_with(&GZIP) => {
            read(MultiGzDecoder::new(body), "gzip", limit)
        }
        "" | "identity" => Ok(Cow::Borrowed(body)),
        other => Err(ScalerError::Malformed(format!(
            "the answer's Content-Encoding is {other:?}: expected gzip, deflate or none"
        ))),
    }
}

fn read<'a>(
    decoder: impl Read,
    encoding: &str,
    limit: usize,
) -> Result<Cow<'a, [u8]>, ScalerError> {
    let mut whole = Vec::new();
    let most = u64::try_from(limit).unwrap_or(u64::MAX).saturating_add(1);
    match decoder.take(most).read_to_end(&mut whole) {
        Ok(_) if whole.len() > limit => Err(too_large(limit)),
        Ok(_) => Ok(Cow::Owned(whole)),
        Err(error) => Err(ScalerError::Malformed(format!(
            "the answer is no complete {encoding}: {error}"
        ))),
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use flate2::Compression;
    use flate2::write::{DeflateEncoder, GzEncoder, ZlibEncoder};

    use super::*;

    const LIMIT: usize = 1024 * 1024;
    const TEXT: &[u8] = b"BEGIN:VCALENDAR";

    fn gzip(text: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
        encoder.write_all(text).unwrap();
        encoder.finish().unwrap()
    }

    fn read(encoding: Option<&str>, body: &[u8]) -> Result<Vec<u8>, String> {
        let found = decompress(encoding, body, LIMIT).map(Cow::into_owned);
        found.map_err(|error| error.to_string())
    }

    #[test]
    fn what_servers_send_is_read() {
        let mut zlib = ZlibEncoder::new(Vec::new(), Compression::fast());
        zlib.write_all(TEXT).unwrap();
        let mut raw = DeflateEncoder::new(Vec::new(), Compression::fast());
        raw.write_all(TEXT).unwrap();
        let (zlib, raw) = (zlib.finish().unwrap(), raw.finish().unwrap());
        let twice = [gzip(&TEXT[..5]), gzip(&TEXT[5..])].concat();
        for (encoding, body) in [
            (None, TEXT),
            (Some("identity"), TEXT),
            (Some("GZIP"), &gzip(TEXT)),
            (Some("x-gzip"), &twice),
            (None, &gzip(TEXT)),
            (Some("deflate"), &zlib),
            (Some("deflate"), &raw),
        ] {
            assert_eq!(read(encoding, body).unwrap(), TEXT, "{encoding:?}");
        }
        assert_eq!(read(None, b"").unwrap(), b"");
    }

    #[test]
    fn the_limit_is_that_of_what_it_becomes() {
        let fits = gzip(&vec![b'x'; LIMIT]);
        assert_eq!(read(Some("gzip"), &fits).unwrap().len(), LIMIT);
        // A hundred thousand bytes that stand for a hundred million.
        let bomb = gzip(&vec![0; 100 << 20]);
        assert!(bomb.len() < 200_000);
        let error = read(Some("gzip"), &bomb).unwrap_err();
        assert!(error.ends_with("larger than 1 MiB"), "{error}");
    }

    #[test]
    fn what_is_cut_off_or_something_else_is_an_error() {
        let whole = gzip(TEXT);
        for (encoding, body, part) in [
            ("gzip", &whole[..whole.len() - 9], "no complete gzip"),
            ("gzip", TEXT, "no complete gzip"),
            ("deflate", TEXT, "no complete deflate"),
            ("br", TEXT, "Content-Encoding is \"br\": expected gzip"),
        ] {
            let error = read(Some(encoding), body).unwrap_err();
            assert!(error.contains(part), "{error}");
        }
    }
}
