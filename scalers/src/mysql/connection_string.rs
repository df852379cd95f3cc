//! Connection strings, as Go's MySQL driver reads them, which is KEDA's: `user:password@tcp(host:port)/database?tls=true`.

use percent_encoding::percent_decode_str;

/// The parts of a connection string. Only the parameters' values and the database are percent-encoded.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct ConnectionString {
    pub user: String,
    pub password: String,
    /// `tcp` if nothing is said.
    pub protocol: String,
    /// Host and port, a path; empty for the protocol's own default.
    pub address: String,
    pub database: String,
    pub parameters: Vec<(String, String)>,
}

/// # Errors
/// One sentence without the string, which holds a password.
pub fn read(text: &str) -> Result<ConnectionString, String> {
    let expected = "expected user:password@tcp(host:port)/database";
    // An unescaped slash in a password is none of the path's, but one in a parameter is.
    let (login, rest) = text
        .rsplit_once('/')
        .ok_or_else(|| format!("has no slash in front of the database: {expected}"))?;
    let (login, server) = login.rsplit_once('@').unwrap_or(("", login));
    let (user, password) = login.split_once(':').unwrap_or((login, ""));
    let (protocol, address) = match server.split_once('(') {
        None => (server, ""),
        Some((protocol, address)) => {
            let address = address.strip_suffix(')');
            (protocol, address.ok_or_else(|| {
                format!("has an address that isn't closed: {expected}, with %2F for a slash in a parameter")
            })?)
        }
    };
    let (database, parameters) = rest.split_once('?').unwrap_or((rest, ""));
    let parameters = parameters
        .split('&')
        .filter_map(|parameter| parameter.split_once('='))
        .map(|(name, value)| Ok((name.to_owned(), decoded(name, &value.replace('+', " "))?)));
    Ok(ConnectionString {
        user: user.to_owned(),
        password: password.to_owned(),
        protocol: match protocol {
            "" => "tcp",
            protocol => protocol,
        }
        .to_owned(),
        address: address.to_owned(),
        database: decoded("database", database)?,
        parameters: parameters.collect::<Result<_, String>>()?,
    })
}

fn decoded(name: &str, value: &str) -> Result<String, String> {
    let decoded = percent_decode_str(value).decode_utf8();
    let decoded = decoded.map_err(|_| format!("has a {name} that is no UTF-8 when decoded"))?;
    Ok(decoded.into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strings_are_read_as_gos_driver_does() {
        for (text, expected) in [
            ("/", "|||tcp||"),
            ("/shop", "|||tcp||shop"),
            ("u:p@tcp(db:3307)/shop", "u|p|db:3307|tcp||shop"),
            ("u@tcp(db)/", "u||db|tcp||"),
            ("u:p@/shop", "u|p||tcp||shop"),
            // The last @ and the last slash count, and the first colon.
            ("u:a/b:c@d(e@tcp(db)/shop", "u|a/b:c@d(e|db|tcp||shop"),
            ("u:%41@tcp([::1]:3306)/a%2Fb", "u|%41|[::1]:3306|tcp||a/b"),
            (
                "u@unix(%2Ftmp%2Fmysql.sock)/s",
                "u||%2Ftmp%2Fmysql.sock|unix||s",
            ),
            (
                "u@tcp(db)/s?tls=true&time_zone=%27Europe%2FParis%27&flag&a=b+c",
                "u||db|tcp|tls=true time_zone='Europe/Paris' a=b c|s",
            ),
        ] {
            let read = read(text).unwrap();
            let parameters: Vec<_> = read
                .parameters
                .iter()
                .map(|(name, value)| format!("{name}={value}"))
                .collect();
            let shown = [
                read.user,
                read.password,
                read.address,
                read.protocol,
                parameters.join(" "),
                read.database,
            ];
            assert_eq!(shown.join("|"), expected, "{text}");
        }
    }

    #[test]
    fn what_is_none_is_refused_without_quoting_it() {
        for text in [
            "",
            "hunter2",
            "u:hunter2@tcp(db)",
            "u:hunter2@tcp(db/s",
            "u:hunter2@tcp(db)/%FF",
        ] {
            let error = read(text).unwrap_err();
            assert!(!error.contains("hunter2"), "{error}");
        }
    }
}
