//! The front proxy: whoever has a certificate of the request-header CA may name the user in headers.

use std::collections::BTreeMap;

use http::{HeaderMap, HeaderName};
use percent_encoding::percent_decode_str;

use super::User;
use super::certificate::{Authorities, Chain, common_name};

/// Which proxy is believed, and the headers it names the user in.
#[derive(Debug)]
pub(crate) struct FrontProxy {
    pub(crate) authorities: Authorities,
    /// Common names of the proxy's certificate; empty allows any.
    pub(crate) allowed_names: Vec<String>,
    pub(crate) username_headers: Vec<HeaderName>,
    pub(crate) uid_headers: Vec<HeaderName>,
    pub(crate) group_headers: Vec<HeaderName>,
    /// In lower case, as header names are compared.
    pub(crate) extra_header_prefixes: Vec<String>,
}

impl FrontProxy {
    /// The user whom the proxy names.
    ///
    /// # Errors
    /// Says why the peer is not the proxy, or that it names nobody. Then its headers count for nothing.
    pub(crate) fn user(&self, chain: &Chain, headers: &HeaderMap) -> Result<User, String> {
        self.authorities.verify(chain)?;
        let proxy = common_name(chain).unwrap_or_default();
        if !self.allowed_names.is_empty() && !self.allowed_names.contains(&proxy) {
            return Err(format!(
                "{proxy:?} is none of the allowed names {:?}",
                self.allowed_names
            ));
        }
        let Some(name) = values(headers, &self.username_headers).next() else {
            return Err("it names no user".to_owned());
        };
        Ok(User {
            name: name.to_owned(),
            uid: values(headers, &self.uid_headers)
                .next()
                .unwrap_or_default()
                .to_owned(),
            groups: values(headers, &self.group_headers)
                .map(str::to_owned)
                .collect(),
            extra: self.extra(headers),
        })
    }

    /// What headers such as `X-Remote-Extra-Scopes` say; their names are percent-encoded.
    fn extra(&self, headers: &HeaderMap) -> BTreeMap<String, Vec<String>> {
        let mut extra: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for prefix in &self.extra_header_prefixes {
            for (name, value) in headers {
                if let Some(key) = name.as_str().strip_prefix(prefix.as_str())
                    && let Ok(value) = value.to_str()
                {
                    let key = percent_decode_str(key).decode_utf8_lossy().into_owned();
                    extra.entry(key).or_default().push(value.to_owned());
                }
            }
        }
        extra
    }
}

/// What the headers say, in the order of their names; empty values count as absent.
fn values<'a>(headers: &'a HeaderMap, names: &'a [HeaderName]) -> impl Iterator<Item = &'a str> {
    names
        .iter()
        .flat_map(|name| headers.get_all(name))
        .filter_map(|value| value.to_str().ok())
        .filter(|value| !value.is_empty())
}
