//! Names that a user wrote, on their way into a path of the API server.
//!
//! The API server takes `..` in a path for a name, and RBAC judges what it took it for. But a proxy on the way there may tidy paths
//! up, and then `x/../../other/secrets/y` is another namespace's Secret, read with the operator's rights. So nothing that isn't a
//! name becomes part of a path.

/// # Errors
/// For what can't be the name of an object, in words that name it.
pub fn check(name: &str) -> Result<(), String> {
    // DNS names, and what RBAC's own objects may have besides.
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_' | ':');
    // A name has 253 characters at most (Kubernetes).
    let is_name = !name.is_empty() && name.len() <= 253 && name.chars().all(allowed);
    match is_name && !matches!(name, "." | "..") {
        true => Ok(()),
        false => Err(format!(
            "{name:?} is no name of an object: expected letters, digits, '-' and '.'"
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_become_part_of_a_path() {
        let long = "a".repeat(254);
        for name in [
            "web",
            "web-1.shop",
            "keda-hpa-web",
            "system:node",
            "v1",
            "A_b",
        ] {
            assert_eq!(check(name), Ok(()), "{name}");
        }
        for name in [
            "",
            ".",
            "..",
            "../x",
            "x/../../other/secrets/y",
            "x/status",
            "x?watch=1",
            "x#",
            "x%2f..",
            "x y",
            "x,metadata.namespace=other",
            "ä",
            &long,
        ] {
            assert!(check(name).is_err(), "{name}");
        }
    }
}
