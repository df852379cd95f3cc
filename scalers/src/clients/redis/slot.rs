//! Which of a cluster's 16384 slots a key is in.

const SLOTS: u16 = 16384;

/// The slot of a key: by what stands in its first braces, if there is something in them, so that keys can be kept together.
pub(super) fn slot(key: &[u8]) -> u16 {
    let position = |bytes: &[u8], letter: u8| bytes.iter().position(|byte| *byte == letter);
    let tag = position(key, b'{').and_then(|open| {
        let rest = key.get(open + 1..)?;
        rest.get(..position(rest, b'}')?)
    });
    let hashed = tag.filter(|tag| !tag.is_empty()).unwrap_or(key);
    crc16(hashed) % SLOTS
}

/// CRC-16/XMODEM.
fn crc16(bytes: &[u8]) -> u16 {
    const POLYNOMIAL: u16 = 0x1021;
    bytes.iter().fold(0, |sum, byte| {
        (0..8).fold(sum ^ (u16::from(*byte) << 8), |sum, _| {
            let shifted = sum << 1;
            if sum & 0x8000 == 0 {
                shifted
            } else {
                shifted ^ POLYNOMIAL
            }
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_are_those_of_the_clusters_specification() {
        assert_eq!(crc16(b"123456789"), 0x31c3);
        // What CLUSTER KEYSLOT answers.
        for (key, expected) in [
            ("", 0),
            ("foo", 12182),
            ("foo{}bar", slot(b"foo{}bar")),
            ("{foo}.bar", 12182),
            ("x{foo}{bar}", 12182),
            ("foo{{bar}}zap", slot(b"{bar")),
        ] {
            assert_eq!(slot(key.as_bytes()), expected, "{key}");
        }
        assert_ne!(slot(b"foo{}bar"), slot(b""));
    }
}
