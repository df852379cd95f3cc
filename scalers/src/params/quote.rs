//! How values appear in messages: short, and without credentials.

/// A value in quotation marks for a message, shortened to what a reader needs to recognise it.
pub(super) fn quote(value: &str) -> String {
    const LONGEST: usize = 120;
    let value = without_credentials(value);
    match value.char_indices().nth(LONGEST) {
        Some((cut, _)) => format!("{:?}...", &value[..cut]),
        None => format!("{value:?}"),
    }
}

/// Strips the user and password of a URL (`amqp://user:password@host` becomes `amqp://***@host`) and its query, which
/// may hold a key. Leaves text that is no URL as it is.
pub fn without_credentials(text: &str) -> String {
    let Some((scheme, rest)) = text.split_once("://") else {
        return text.to_owned();
    };
    let (rest, query) = match rest.split_once('?') {
        Some((rest, _)) => (rest, "?***"),
        None => (rest, ""),
    };
    // A password may hold '/' or '@' unescaped, so the last '@' counts, wherever it stands.
    match rest.rsplit_once('@') {
        Some((_, host)) => format!("{scheme}://***@{host}{query}"),
        None => format!("{scheme}://{rest}{query}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_are_stripped() {
        for (text, shown) in [
            (
                "amqp://guest:p@ss/word@host:5672/vhost",
                "amqp://***@host:5672/vhost",
            ),
            ("http://host/path?api_key=secret", "http://host/path?***"),
            ("http://host/path", "http://host/path"),
            ("http://user@host", "http://***@host"),
            ("orders", "orders"),
        ] {
            assert_eq!(without_credentials(text), shown);
        }
    }

    #[test]
    fn long_values_are_cut_between_characters() {
        assert_eq!(quote(&"ä".repeat(200)).chars().count(), 120 + 2 + 3);
    }
}
