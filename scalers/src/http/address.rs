//! The parts of an HTTP URL: who is asked, and as whom.

use percent_encoding::percent_decode_str;
use reqwest::Url;

/// A URL with the scheme `http` or `https`, and so with a host.
///
/// # Errors
/// What is wrong with the text, without the text, which may hold credentials.
pub fn parse(text: &str) -> Result<Url, String> {
    const EXPECTED: &str = "expected an http:// or https:// URL";
    match Url::parse(text) {
        Ok(url) if matches!(url.scheme(), "http" | "https") => Ok(url),
        // What stands before the colon of `user:password@host` is no scheme.
        Ok(url) if text.contains("://") => {
            Err(format!("has the scheme {:?}: {EXPECTED}", url.scheme()))
        }
        Ok(_) => Err(format!("has no scheme: {EXPECTED}")),
        Err(error) => Err(format!("can't be parsed: {error}: {EXPECTED}")),
    }
}

/// `host:port` of a URL: what messages may name.
pub fn host_of(url: &Url) -> String {
    let host = url.host_str().unwrap_or_default();
    match url.port_or_known_default() {
        Some(port) => format!("{host}:{port}"),
        None => host.to_owned(),
    }
}

/// The user and password in a URL, decoded. `None` without either.
pub fn user_of(url: &Url) -> Option<(String, String)> {
    let decode = |text: &str| percent_decode_str(text).decode_utf8_lossy().into_owned();
    let (user, password) = (url.username(), url.password());
    (!user.is_empty() || password.is_some())
        .then(|| (decode(user), decode(password.unwrap_or_default())))
}

/// The URL without its user and password.
pub fn without_user(mut url: Url) -> Url {
    // Both are refused for URLs that have no host, and so no user, only.
    let _ = url.set_username("");
    let _ = url.set_password(None);
    url
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_are_decoded() {
        for (url, expected) in [
            ("http://u%40x:p%2Fw@rabbit", Some(("u@x", "p/w"))),
            ("http://u@rabbit", Some(("u", ""))),
            ("http://:p@rabbit", Some(("", "p"))),
            ("http://rabbit", None),
        ] {
            let expected = expected.map(|(user, password)| (user.to_owned(), password.to_owned()));
            let url = Url::parse(url).unwrap();
            assert_eq!(user_of(&url), expected, "{url}");
            assert_eq!(without_user(url).as_str(), "http://rabbit/");
        }
    }

    #[test]
    fn urls_are_http_and_problems_hold_no_secret() {
        for (text, shown) in [
            (
                "http://[::1]:8080/a b?c d",
                Ok("http://[::1]:8080/a%20b?c%20d"),
            ),
            ("https://Stats", Ok("https://stats/")),
            ("ftp://user:hunter2@x", Err("has the scheme \"ftp\"")),
            ("hunter2:x@host", Err("has no scheme")),
            ("stats/hunter2", Err("relative URL")),
            ("http://ho st/hunter2", Err("invalid")),
            ("http://", Err("empty host")),
            ("http://h:99999/hunter2", Err("invalid port")),
        ] {
            match (parse(text), shown) {
                (Ok(url), Ok(expected)) => assert_eq!(url.as_str(), expected),
                (Err(problem), Err(expected)) => {
                    assert!(problem.contains(expected), "{text}: {problem}");
                    assert!(!problem.contains("hunter2"), "{problem}");
                }
                (found, _) => panic!("{text}: {found:?}"),
            }
        }
        assert_eq!(host_of(&parse("http://u:p@[::1]/").unwrap()), "[::1]:80");
    }
}
