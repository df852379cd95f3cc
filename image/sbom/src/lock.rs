//! The hashes of crates, which stand in Cargo.lock.

use std::collections::BTreeMap;

use crate::crates::Name;

/// The SHA-256 of each crate's archive in the registry. Cargo writes the file, one field a line, so that lines are enough.
pub fn hashes(lock: &str) -> BTreeMap<Name, String> {
    lock.split("[[package]]")
        .filter_map(|package| {
            let field = |key: &str| {
                let line = package.lines().find_map(|line| line.strip_prefix(key));
                Some(line?.trim_matches([' ', '=', '"']).to_owned())
            };
            let name = Name {
                name: field("name")?,
                version: field("version")?,
            };
            Some((name, field("checksum")?))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_crate_of_the_registry_has_a_hash() {
        let lock = "version = 4\n\n[[package]]\nname = \"own\"\nversion = \"0.1.0\"\n\n\
            [[package]]\nname = \"serde\"\nversion = \"1.0.9\"\nsource = \"registry\"\nchecksum = \"ab12\"\n";
        let hashes = hashes(lock);
        assert_eq!(hashes.len(), 1);
        let (name, hash) = hashes.first_key_value().unwrap();
        assert_eq!((name.name.as_str(), hash.as_str()), ("serde", "ab12"));
    }
}
