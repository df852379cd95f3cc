//! What the operator's flags and environment say of credentials that are elsewhere than in Secrets.

use std::path::PathBuf;
use std::time::Duration;

use sakidori_scalers::clients::tls::TlsSettings;
use sakidori_scalers::params::GoDuration;

use super::{OwnTokens, VaultEnvironment};

const TOKEN_LIFE: &str = "KEDA_BOUND_SERVICE_ACCOUNT_TOKEN_EXPIRY";
const HOUR: Duration = Duration::from_secs(60 * 60);

/// What fetching is set up with. No `Debug`: it holds Vault's token.
#[derive(Clone)]
pub struct CredentialSettings {
    /// `--filepath-auth-root-path`. Without one there are no files.
    pub file_root: Option<PathBuf>,
    /// How long a ServiceAccount's token is asked for.
    pub token_life: Duration,
    /// How often a secret that says nothing of its end is asked for again.
    pub refresh: Duration,
    pub vault: VaultEnvironment,
}

impl CredentialSettings {
    /// # Errors
    /// Names the variable that isn't what it should be, and never its value where that is a secret.
    pub fn new(
        file_root: &str,
        refresh: Duration,
        vaults: &str,
        lookup: impl Fn(&str) -> Option<String>,
    ) -> Result<Self, String> {
        let given = |name: &str| lookup(name).filter(|value| !value.is_empty());
        let token_life = given(TOKEN_LIFE).map_or(Ok(HOUR), |text| match text.parse() {
            Ok(GoDuration(life)) if (HOUR..=6 * HOUR).contains(&life) => Ok(life),
            _ => Err(format!(
                "{TOKEN_LIFE} is {text:?}: expected a duration from 1h to 6h, such as 1h30m"
            )),
        })?;
        let ca = given("VAULT_CACERT")
            .map(|path| {
                std::fs::read_to_string(&path)
                    .map_err(|error| format!("VAULT_CACERT {path:?}: {error}"))
            })
            .transpose()?;
        let insecure = match given("VAULT_SKIP_VERIFY").as_deref() {
            None | Some("0" | "f" | "F" | "false" | "False" | "FALSE") => false,
            Some("1" | "t" | "T" | "true" | "True" | "TRUE") => true,
            Some(text) => {
                return Err(format!(
                    "VAULT_SKIP_VERIFY is {text:?}: expected true or false"
                ));
            }
        };
        Ok(Self {
            file_root: (!file_root.is_empty()).then(|| PathBuf::from(file_root)),
            token_life,
            refresh,
            vault: VaultEnvironment {
                token: given("VAULT_TOKEN"),
                own_tokens: OwnTokens::parse(vaults)
                    .map_err(|problem| format!("--vault-addresses (VAULT_ADDR) {problem}"))?,
                namespace: given("VAULT_NAMESPACE"),
                tls: TlsSettings {
                    ca,
                    insecure,
                    ..TlsSettings::default()
                },
            },
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(environment: &[(&str, &str)]) -> Result<CredentialSettings, String> {
        CredentialSettings::new("", HOUR, "", |name| {
            let found = environment.iter().find(|(key, _)| *key == name);
            found.map(|(_, value)| (*value).to_owned())
        })
    }

    #[test]
    fn a_tokens_life_is_one_to_six_hours() {
        let minutes = |minutes: u64| Duration::from_secs(minutes * 60);
        for (text, life) in [("", 60), ("1h", 60), ("6h", 360), ("90m", 90)] {
            let found = settings(&[(TOKEN_LIFE, text)]).ok().unwrap();
            assert_eq!(found.token_life, minutes(life), "{text}");
        }
        for text in ["59m", "6h1s", "-1h", "soon", "3600"] {
            let error = settings(&[(TOKEN_LIFE, text)]).err().unwrap();
            assert!(
                error.starts_with(TOKEN_LIFE) && error.contains(text),
                "{error}"
            );
        }
    }

    #[test]
    fn vaults_own_variables_count() {
        let found = settings(&[
            ("VAULT_TOKEN", "t"),
            ("VAULT_NAMESPACE", "team"),
            ("VAULT_SKIP_VERIFY", "true"),
        ]);
        let vault = found.ok().unwrap().vault;
        assert_eq!(vault.token.as_deref(), Some("t"));
        assert_eq!(vault.namespace.as_deref(), Some("team"));
        assert!(vault.tls.insecure && vault.tls.ca.is_none());
        let error = settings(&[("VAULT_CACERT", "/nowhere/ca.crt")]).err();
        assert!(
            error
                .unwrap()
                .starts_with("VAULT_CACERT \"/nowhere/ca.crt\"")
        );
        assert!(settings(&[("VAULT_SKIP_VERIFY", "yes")]).is_err());
    }
}
