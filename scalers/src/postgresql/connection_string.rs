//! Connection strings, as PostgreSQL's clients read them (KEDA's: pgx): `key=value` pairs, or a URL.

use percent_encoding::percent_decode_str;

/// The settings of a connection string, by PostgreSQL's names.
///
/// # Errors
/// One sentence without the string, which holds a password.
pub fn read(text: &str) -> Result<Vec<(String, String)>, String> {
    let text = text.trim();
    let url = ["postgres://", "postgresql://"];
    if let Some(rest) = url.iter().find_map(|scheme| text.strip_prefix(scheme)) {
        return of_url(rest);
    }
    if !text.contains('=') {
        return Err("is neither a URL (postgresql://...) nor pairs (host=... user=...)".to_owned());
    }
    of_pairs(text)
}

/// Values stand in single quotes where they hold spaces; a backslash takes the next character as it is.
fn of_pairs(text: &str) -> Result<Vec<(String, String)>, String> {
    let mut found = Vec::new();
    let mut rest = text;
    while !rest.is_empty() {
        let (key, value) = rest
            .split_once('=')
            .ok_or("ends with what is no key=value pair")?;
        let (key, value) = (key.trim(), value.trim_start());
        if key.is_empty() || key.contains(char::is_whitespace) {
            return Err("has a pair without a key: expected key=value, with single quotes around values that hold spaces".to_owned());
        }
        let quoted = value.starts_with('\'');
        let mut read = String::new();
        let mut end = value.len();
        let mut closed = !quoted;
        let mut characters = value.char_indices().skip(usize::from(quoted));
        while let Some((at, character)) = characters.next() {
            match character {
                '\\' => {
                    let (_, escaped) = characters.next().ok_or("ends with a backslash")?;
                    read.push(escaped);
                }
                '\'' if quoted => {
                    (end, closed) = (at + 1, true);
                    break;
                }
                space if space.is_whitespace() && !quoted => {
                    end = at;
                    break;
                }
                other => read.push(other),
            }
        }
        if !closed {
            return Err("has a quote that is opened and never closed".to_owned());
        }
        found.push((key.to_owned(), read));
        rest = value[end..].trim_start();
    }
    Ok(found)
}

/// `[user[:password]@][host[:port],...][/database][?key=value&...]`
fn of_url(rest: &str) -> Result<Vec<(String, String)>, String> {
    let mut found = Vec::new();
    let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
    // An unescaped slash in a password is none of the path's.
    let (user, rest) = match rest.rsplit_once('@') {
        Some((user, rest)) => (user, rest),
        None => ("", rest),
    };
    let (hosts, database) = rest.split_once('/').unwrap_or((rest, ""));
    let (user, password) = match user.split_once(':') {
        Some((user, password)) => (user, Some(password)),
        None => (user, None),
    };
    let mut add = |key: &str, value: &str| {
        let value = percent_decode_str(value).decode_utf8();
        let value = value.map_err(|_| format!("has a {key} that is no UTF-8 when decoded"))?;
        if !value.is_empty() {
            found.push((key.to_owned(), value.into_owned()));
        }
        Ok::<_, String>(())
    };
    add("user", user)?;
    add("password", password.unwrap_or_default())?;
    add("dbname", database)?;
    let (mut names, mut ports) = (Vec::new(), Vec::new());
    for host in hosts.split(',').filter(|host| !host.is_empty()) {
        // The colons of an IPv6 address are within brackets.
        let colon = host
            .rfind(':')
            .filter(|colon| !host[*colon..].contains(']'));
        let (name, port) = match colon {
            Some(colon) => (&host[..colon], &host[colon + 1..]),
            None => (host, "5432"),
        };
        names.push(name);
        ports.push(port);
    }
    add("host", &names.join(","))?;
    add("port", &ports.join(","))?;
    let query = form_urlencoded::parse(query.as_bytes());
    found.extend(query.map(|(key, value)| (key.into_owned(), value.into_owned())));
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(text: &str) -> String {
        let pairs = read(text).unwrap();
        let pairs = pairs.iter().map(|(key, value)| format!("{key}={value}"));
        pairs.collect::<Vec<_>>().join("|")
    }

    #[test]
    fn strings_are_read_as_postgresqls_clients_do() {
        for (text, expected) in [
            ("host=db", "host=db"),
            (" host = db  user='a b' ", "host=db|user=a b"),
            (r"password='it\'s' user=a\ b", "password=it's|user=a b"),
            ("password='' user=u", "password=|user=u"),
            ("password=a=b", "password=a=b"),
            ("postgres://db", "host=db|port=5432"),
            (
                "postgres://u:p@db:1/shop?sslmode=require",
                "user=u|password=p|dbname=shop|host=db|port=1|sslmode=require",
            ),
            (
                "postgresql://u:p/w%40x@a:1,[::1]:2,c/d",
                "user=u|password=p/w@x|dbname=d|host=a,[::1],c|port=1,2,5432",
            ),
            ("postgresql:///shop?host=db", "dbname=shop|host=db"),
        ] {
            assert_eq!(shown(text), expected, "{text}");
        }
    }

    #[test]
    fn what_is_none_is_refused_without_quoting_it() {
        for text in [
            "hunter2",
            "='hunter2'",
            "a b=hunter2",
            "password=hunter2\\",
            "password='hunter2",
            "password=hunter2 x",
        ] {
            let error = read(text).unwrap_err();
            assert!(!error.contains("hunter2"), "{error}");
        }
    }
}
