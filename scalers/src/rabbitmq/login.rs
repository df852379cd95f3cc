//! As whom the broker is asked: the rules of the login, and the login to the management API.

use super::parameters::{Protocol, RabbitMq};
use crate::http::{Authentication, OAuthParameters, parse_url, user_of};

/// Whether an OAuth2 client logs in (KEDA: scopes and endpointParams alone say nothing).
pub fn is_oauth(oauth: &OAuthParameters) -> bool {
    oauth.token_uri.is_some() || oauth.client_id.is_some() || oauth.client_secret.is_some()
}

/// The rule that the login breaks (KEDA: validateOAuth2 for most of them).
pub fn broken_rule(
    parameters: &RabbitMq,
    oauth: &OAuthParameters,
    protocol: Option<Protocol>,
) -> Option<&'static str> {
    let over_amqp = protocol == Some(Protocol::Amqp);
    let workload_identity = parameters.workload_identity_resource.is_some();
    let complete =
        oauth.token_uri.is_some() && oauth.client_id.is_some() && oauth.client_secret.is_some();
    let rule = if is_oauth(oauth) {
        if !complete {
            "OAuth2 requires tokenUrl clientId and clientSecret to be configured in TriggerAuthentication: \
                 give oauthTokenURI, clientID and clientSecret"
        } else if over_amqp {
            "OAuth2 authentication is only supported with HTTP protocol, not AMQP"
        } else if workload_identity
            || (parameters.username.is_some() && parameters.password.is_some())
        {
            "OAuth2 authentication cannot be combined with username/password authentication or Azure Workload Identity"
        } else {
            return None;
        }
    } else if workload_identity && over_amqp {
        "workload identity is not supported for the AMQP protocol at the moment"
    } else if workload_identity {
        "workloadIdentityResource: Azure workload identity is not supported yet: use username and password, or OAuth2"
    } else {
        return None;
    };
    Some(rule)
}

/// As whom to ask the management API: an OAuth2 client, else `username` and `password`, else the user in `host`.
///
/// # Errors
/// When the token URL can't be one.
pub fn authentication(
    parameters: &RabbitMq,
    oauth: Option<OAuthParameters>,
) -> Result<Authentication, String> {
    let in_parameters = parameters.username.clone().zip(parameters.password.clone());
    let in_host = || user_of(&parse_url(&parameters.host).ok()?);
    match (oauth, in_parameters.or_else(in_host)) {
        (Some(oauth), _) => Authentication::oauth(oauth),
        (None, Some((username, password))) => Ok(Authentication::basic(&username, &password)),
        (None, None) => Ok(Authentication::default()),
    }
}

#[cfg(test)]
mod tests {
    use super::super::parameters::RabbitMqParameters;
    use crate::params;
    use crate::scaler::Trigger;

    type Pairs<'a> = &'a [(&'a str, &'a str)];

    const AMQP: &str = "amqp://user:hunter2@rabbit:5672/vhost";
    const HTTP: &str = "http://user:hunter2@rabbit:15672/vhost";

    const OAUTH: [(&str, &str); 3] = [
        ("oauthTokenURI", "https://idp/token"),
        ("clientID", "c"),
        ("clientSecret", "hunter2"),
    ];

    fn problems(trigger: &Trigger) -> String {
        let parsed: Result<RabbitMqParameters, _> = params::parse(trigger);
        parsed.err().unwrap().to_string()
    }

    #[test]
    fn logins_are_checked_together() {
        let azure = "workloadIdentityResource";
        let table: &[(&str, Pairs, &str)] = &[
            (
                AMQP,
                &[("username", "u")],
                "username and password must be given together",
            ),
            (
                AMQP,
                &[("password", "hunter2")],
                "username and password must be given together",
            ),
            (
                AMQP,
                &[("tls", "hunter2")],
                "incorrect value for TLS given: expected enable or disable",
            ),
            (
                AMQP,
                &[("tls", "enable"), ("key", "k")],
                "both key and certificate must be provided",
            ),
            (
                AMQP,
                &[("cert", "c")],
                "both key and certificate must be provided",
            ),
            (
                AMQP,
                &[(azure, "r")],
                "workload identity is not supported for the AMQP protocol at the moment",
            ),
            (
                HTTP,
                &[(azure, "r")],
                "workloadIdentityResource: Azure workload identity is not supported yet: use username and password, or OAuth2",
            ),
            (
                HTTP,
                &[("clientID", "c"), ("oauthTokenURI", "https://idp")],
                "OAuth2 requires tokenUrl clientId and clientSecret to be configured in TriggerAuthentication: \
                 give oauthTokenURI, clientID and clientSecret",
            ),
            (
                AMQP,
                &OAUTH,
                "OAuth2 authentication is only supported with HTTP protocol, not AMQP",
            ),
            (
                HTTP,
                &[OAUTH[0], OAUTH[1], OAUTH[2], (azure, "r")],
                "OAuth2 authentication cannot be combined with username/password authentication or Azure Workload Identity",
            ),
            (
                HTTP,
                &[
                    OAUTH[0],
                    OAUTH[1],
                    OAUTH[2],
                    ("username", "u"),
                    ("password", "hunter2"),
                ],
                "OAuth2 authentication cannot be combined with username/password authentication or Azure Workload Identity",
            ),
        ];
        for (host, authentication, message) in table {
            let trigger = Trigger::new("rabbitmq")
                .metadata([("queueName", "orders"), ("host", host)])
                .authentication(authentication.iter().copied());
            assert_eq!(problems(&trigger), *message, "{authentication:?}");
        }
    }
}
