//! What TLS may be at worst: the oldest version, and for TLS 1.2 the cipher suites. KEDA's variables for them, with Go's names.

use rustls::crypto::{CryptoProvider, ring};
use rustls::version::{TLS12, TLS13};
use rustls::{CipherSuite, SupportedCipherSuite, SupportedProtocolVersion};

/// A version of TLS. There is none before 1.2 here.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TlsVersion {
    #[default]
    Tls12,
    Tls13,
}

/// The oldest version that is spoken, and with which cipher suites.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TlsFloor {
    pub oldest: TlsVersion,
    suites: Suites,
}

/// Some of the cipher suites of TLS 1.2; a bit for each of [`SUITES`]. Those of TLS 1.3 are all good, and always there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Suites(u8);

impl Default for Suites {
    fn default() -> Self {
        Self(u8::MAX)
    }
}

/// Go's names. The third name of two of them is the one that Go had before.
const SUITES: [(CipherSuite, &[&str]); 6] = [
    (
        CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
        &["TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256"],
    ),
    (
        CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,
        &["TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384"],
    ),
    (
        CipherSuite::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256,
        &[
            "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256",
            "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305",
        ],
    ),
    (
        CipherSuite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
        &["TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256"],
    ),
    (
        CipherSuite::TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
        &["TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384"],
    ),
    (
        CipherSuite::TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256,
        &[
            "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256",
            "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305",
        ],
    ),
];

/// Of TLS 1.3: naming them changes nothing, as in Go.
const ALWAYS: [&str; 3] = [
    "TLS_AES_128_GCM_SHA256",
    "TLS_AES_256_GCM_SHA384",
    "TLS_CHACHA20_POLY1305_SHA256",
];

impl TlsFloor {
    /// From a version (`TLS12` or `TLS13`) and a list of cipher suites with `,` or `:` between them, where nothing means all. Each
    /// comes with the variable or flag that it is from.
    ///
    /// # Errors
    /// One sentence for each that isn't what it should be.
    pub fn parse(
        (version_from, version): (&str, &str),
        (suites_from, suites): (&str, &str),
    ) -> Result<Self, Vec<String>> {
        let mut problems = Vec::new();
        let oldest = version_of(version).unwrap_or_else(|problem| {
            problems.push(format!("{version_from} is {version:?}: {problem}"));
            TlsVersion::default()
        });
        let suites = suites_of(suites).unwrap_or_else(|(name, problem)| {
            problems.push(format!("{suites_from} has {name:?}: {problem}"));
            Suites::default()
        });
        match problems.is_empty() {
            true => Ok(Self { oldest, suites }),
            false => Err(problems),
        }
    }

    /// The versions that are spoken.
    pub fn versions(self) -> &'static [&'static SupportedProtocolVersion] {
        static BOTH: [&SupportedProtocolVersion; 2] = [&TLS13, &TLS12];
        match self.oldest {
            TlsVersion::Tls12 => &BOTH,
            TlsVersion::Tls13 => &BOTH[..1],
        }
    }

    /// ring with these cipher suites.
    pub fn provider(self) -> CryptoProvider {
        let mut provider = ring::default_provider();
        provider.cipher_suites.retain(|suite| match suite {
            SupportedCipherSuite::Tls13(_) => true,
            SupportedCipherSuite::Tls12(_) => self.suites.has(suite.suite()),
        });
        provider
    }
}

impl Suites {
    fn has(self, suite: CipherSuite) -> bool {
        let index = SUITES.iter().position(|(known, _)| *known == suite);
        index.is_some_and(|index| self.0 & (1 << index) != 0)
    }
}

fn version_of(text: &str) -> Result<TlsVersion, &'static str> {
    match text {
        "TLS12" => Ok(TlsVersion::Tls12),
        "TLS13" => Ok(TlsVersion::Tls13),
        "TLS10" | "TLS11" => {
            Err("TLS 1.0 and 1.1 are broken and not spoken here: use TLS12 or TLS13")
        }
        _ => Err("expected TLS12 or TLS13"),
    }
}

/// # Errors
/// With the first name that is none.
fn suites_of(text: &str) -> Result<Suites, (String, String)> {
    let names = text.split([',', ':']).map(str::trim);
    let mut names = names.filter(|name| !name.is_empty()).peekable();
    if names.peek().is_none() {
        return Ok(Suites::default());
    }
    let mut suites = Suites(0);
    for name in names {
        if ALWAYS.contains(&name) {
            continue;
        }
        let index = SUITES.iter().position(|(_, names)| names.contains(&name));
        let index = index.ok_or_else(|| {
            let known: Vec<&str> = SUITES.iter().map(|(_, names)| names[0]).collect();
            let problem = format!(
                "it is unknown or too weak: expected some of {}",
                known.join(", ")
            );
            (name.to_owned(), problem)
        })?;
        suites.0 |= 1 << index;
    }
    Ok(suites)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn floor(version: &str, suites: &str) -> Result<TlsFloor, Vec<String>> {
        TlsFloor::parse(("KEDA_HTTP_MIN_TLS_VERSION", version), ("LIST", suites))
    }

    fn tls12(floor: TlsFloor) -> Vec<CipherSuite> {
        let suites = floor.provider().cipher_suites;
        let suites = suites.iter().filter(|suite| suite.tls13().is_none());
        suites.map(|suite| suite.suite()).collect()
    }

    #[test]
    fn all_suites_have_a_name_and_count_by_default() {
        let all = floor("TLS12", "").unwrap();
        assert_eq!(all, TlsFloor::default());
        assert_eq!(tls12(all).len(), SUITES.len());
        assert_eq!(
            all.provider().cipher_suites.len(),
            SUITES.len() + ALWAYS.len()
        );
        assert_eq!(all.versions().len(), 2);
        assert_eq!(floor("TLS13", "").unwrap().versions().len(), 1);
    }

    #[test]
    fn a_list_leaves_the_others_out() {
        const AES: CipherSuite = CipherSuite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256;
        const CHACHA: CipherSuite = CipherSuite::TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256;
        for (list, expected) in [
            ("TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256", vec![AES]),
            (
                " TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305:TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256 ,",
                vec![CHACHA, AES],
            ),
            ("TLS_AES_128_GCM_SHA256", vec![]),
        ] {
            let mut found = tls12(floor("TLS12", list).unwrap());
            found.sort_by_key(|suite| expected.iter().position(|other| other == suite));
            assert_eq!(found, expected, "{list}");
        }
    }

    #[test]
    fn what_is_wrong_is_told_with_its_name() {
        let told = |version: &str, suites: &str| floor(version, suites).unwrap_err().join("; ");
        let old = told("TLS11", "");
        assert!(old.contains("TLS 1.0 and 1.1 are broken"), "{old}");
        let weak = told("TLS14", "TLS_RSA_WITH_AES_128_CBC_SHA");
        assert!(
            weak.contains("\"TLS14\": expected TLS12 or TLS13"),
            "{weak}"
        );
        assert!(
            weak.contains("LIST has \"TLS_RSA_WITH_AES_128_CBC_SHA\": it is unknown or too weak"),
            "{weak}"
        );
    }
}
