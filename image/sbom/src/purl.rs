//! Package URLs, by which scanners know packages: <https://github.com/package-url/purl-spec>.

use crate::crates::Name;

/// Of a crate of crates.io.
pub fn of_crate(of: &Name) -> String {
    format!("pkg:cargo/{}@{}", of.name, encoded(&of.version))
}

/// Of a source package of Debian's, whose version is what security trackers compare.
pub fn of_source_package(name: &str, version: &str, distribution: &str) -> String {
    let (name, version) = (encoded(name), encoded(version));
    format!("pkg:deb/debian/{name}@{version}?arch=source&distro={distribution}")
}

/// Of something that no registry has.
pub fn generic(name: &str, version: &str) -> String {
    format!("pkg:generic/{}@{}", encoded(name), encoded(version))
}

/// Percent-encoded but for what stands for itself in a purl; a colon does.
fn encoded(text: &str) -> String {
    use std::fmt::Write as _;
    text.bytes().fold(String::new(), |mut encoded, byte| {
        if byte.is_ascii_alphanumeric() || b"-._~:".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            let _ = write!(encoded, "%{byte:02X}");
        }
        encoded
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plus_is_encoded() {
        let name = Name {
            name: "rdkafka-sys".to_owned(),
            version: "4.10.0+2.12.1".to_owned(),
        };
        assert_eq!(of_crate(&name), "pkg:cargo/rdkafka-sys@4.10.0%2B2.12.1");
        assert_eq!(
            of_source_package("openssl", "1:3.0.19-1~deb12u2+x", "debian-12"),
            "pkg:deb/debian/openssl@1:3.0.19-1~deb12u2%2Bx?arch=source&distro=debian-12"
        );
        assert_eq!(generic("tzdata", "2026a"), "pkg:generic/tzdata@2026a");
    }
}
