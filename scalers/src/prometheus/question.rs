//! The request of a query, which is the same at each time but for the time itself.

use jiff::Timestamp;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use reqwest::Url;

use crate::http::{host_of, parse_url};

/// What needs no escape in a query (RFC 3986, 2.3). A space is `%20`, not `+`: signatures know only that.
const ESCAPED: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'_')
    .remove(b'.')
    .remove(b'~');

/// A request without its time. May hold credentials (in the server's address), so it has no `Debug`.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Question {
    /// Up to the time.
    before: String,
    /// What follows it.
    after: String,
}

impl Question {
    /// `address` is a text that the API's path is appended to, as KEDA does: with a slash at its end, the path begins with two.
    ///
    /// # Errors
    /// What is wrong with the address, without the address.
    pub fn new<'a>(
        address: &str,
        query: &str,
        namespace: Option<&str>,
        parameters: impl Iterator<Item = (&'a String, &'a String)>,
    ) -> Result<Self, String> {
        let escaped = |text: &str| utf8_percent_encode(text, ESCAPED).to_string();
        let before = format!("{address}/api/v1/query?query={}&time=", escaped(query));
        let mut after = String::new();
        if let Some(namespace) = namespace {
            // As it stands, like KEDA: some write further parameters behind it.
            after.push_str(&format!("&namespace={namespace}"));
        }
        for (name, value) in parameters {
            after.push_str(&format!("&{}={}", escaped(name), escaped(value)));
        }
        let question = Self { before, after };
        question.at(Timestamp::UNIX_EPOCH)?;
        Ok(question)
    }

    /// The request's URL, for whole seconds.
    ///
    /// # Errors
    /// As [`Question::new`].
    pub fn at(&self, now: Timestamp) -> Result<Url, String> {
        let seconds = Timestamp::from_second(now.as_second()).unwrap_or(now);
        parse_url(&format!("{}{seconds}{}", self.before, self.after))
    }

    /// The server's `host:port`.
    pub fn host(&self) -> String {
        self.at(Timestamp::UNIX_EPOCH)
            .map(|url| host_of(&url))
            .unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn url(
        address: &str,
        query: &str,
        namespace: Option<&str>,
        parameters: &[(&str, &str)],
    ) -> String {
        let owned: Vec<(String, String)> = parameters
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect();
        let parameters = owned.iter().map(|(name, value)| (name, value));
        let question = Question::new(address, query, namespace, parameters)
            .ok()
            .unwrap();
        let now: Timestamp = "2026-08-20T17:53:42.9Z".parse().unwrap();
        question.at(now).unwrap().into()
    }

    const TIME: &str = "time=2026-08-20T17:53:42Z";

    #[test]
    fn requests_are_kedas() {
        assert_eq!(
            url(
                "http://p:9090",
                "sum(rate(a{b=\"c d\"}[2m])) + 1",
                None,
                &[]
            ),
            format!(
                "http://p:9090/api/v1/query?query=sum%28rate%28a%7Bb%3D%22c%20d%22%7D%5B2m%5D%29%29%20%2B%201&{TIME}"
            )
        );
        assert_eq!(
            url(
                "https://thanos/tenant/a",
                "up",
                Some("shop"),
                &[("dedup", "true"), ("x&y", "a=ä")]
            ),
            format!(
                "https://thanos/tenant/a/api/v1/query?query=up&{TIME}&namespace=shop&dedup=true&x%26y=a%3D%C3%A4"
            )
        );
        // The address is a text, and nothing of it is tidied up.
        assert_eq!(
            url("http://p/x/", "up", None, &[]),
            format!("http://p/x//api/v1/query?query=up&{TIME}")
        );
    }
}
