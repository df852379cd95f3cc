//! Where the tokens of the operator's own may go.

use reqwest::Url;

use super::{Login, url};

/// Which Vaults the operator's own tokens may be shown to. A TriggerAuthentication is written by whoever may write one in some
/// namespace, and names the server: without a bound, that server would be given a token that opens everything that the operator may
/// read, in Vault or in the cluster. A ClusterTriggerAuthentication is the administrator's.
#[derive(Clone, Default)]
pub struct OwnTokens {
    /// Those that the operator was started with, besides those of ClusterTriggerAuthentications.
    pub addresses: Vec<Url>,
    /// Any, as in KEDA.
    pub anywhere: bool,
}

impl OwnTokens {
    /// `--vault-addresses`, which is also `VAULT_ADDR`: addresses between commas, or `*` for any.
    ///
    /// # Errors
    /// For what is no URL; without credentials that may be in it.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut parsed = Self::default();
        for address in text
            .split(',')
            .map(str::trim)
            .filter(|text| !text.is_empty())
        {
            if address == "*" {
                parsed.anywhere = true;
                continue;
            }
            let url = url(address, "").map_err(|_| {
                let shown = sakidori_scalers::params::without_credentials(address);
                format!("{shown:?}: expected URLs such as https://vault.example.com:8200, or *")
            })?;
            parsed.addresses.push(url);
        }
        Ok(parsed)
    }

    pub(super) fn may_go_to(&self, login: &Login) -> bool {
        login.of_the_cluster
            || self.anywhere
            || url(&login.address, "").is_ok_and(|address| self.addresses.contains(&address))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::credentials::vault::Method;

    fn login(address: &str) -> Login {
        Login {
            of_the_cluster: false,
            address: address.to_owned(),
            namespace: None,
            method: Method::Token(None),
        }
    }

    #[test]
    fn the_operators_own_tokens_go_where_the_administrator_says() {
        let own = OwnTokens::parse("https://vault:8200, http://localhost:1/proxy/").unwrap();
        for (address, may) in [
            ("https://vault:8200", true),
            ("https://VAULT:8200/", true),
            ("http://localhost:1/proxy", true),
            ("http://localhost:1", false),
            ("http://vault:8200", false),
            ("https://vault:8201", false),
            ("https://vault:8200@attacker", false),
            ("https://user@vault:8200", false),
            ("https://vault.attacker:8200", false),
            ("https://vault:8200.attacker", false),
            ("*", false),
            ("", false),
        ] {
            let mut login = login(address);
            assert_eq!(own.may_go_to(&login), may, "{address}");
            login.of_the_cluster = true;
            assert!(own.may_go_to(&login), "{address}");
        }
        let anywhere = OwnTokens::parse("*").unwrap();
        assert!(anywhere.may_go_to(&login("https://vault:8200")));
        assert!(
            !OwnTokens::parse("")
                .unwrap()
                .may_go_to(&login("https://vault:8200"))
        );
        let problem = OwnTokens::parse("vault:8200, http://user:hunter2@").err();
        assert!(!problem.unwrap().contains("hunter2"));
    }
}
