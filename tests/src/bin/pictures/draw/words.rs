//! How values read, in Grafana's units, and HTML's own marks.

/// Text that HTML takes for text.
pub fn escaped(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
}

/// A value in a unit, by Grafana's name of it. `now` is the Unix time that "ago" counts from.
pub fn value(value: f64, unit: &str, whole: bool, now: f64) -> String {
    match unit {
        "s" => seconds(value),
        "dtdurations" => duration(value),
        "reqps" => format!("{} /s", number(value)),
        "bytes" => bytes(value),
        "dateTimeFromNow" => from_now(value / 1000.0 - now),
        _ if whole => format!("{:.0}", value.round()),
        _ => number(value),
    }
}

/// Three digits that count.
fn number(value: f64) -> String {
    let size = value.abs();
    if size >= 1_000_000.0 {
        return format!("{} M", number(value / 1_000_000.0));
    }
    if size >= 10_000.0 {
        return format!("{} K", number(value / 1_000.0));
    }
    let digits = match size {
        _ if (value - value.round()).abs() < 1e-9 => 0,
        size if size >= 100.0 => 0,
        size if size >= 10.0 => 1,
        size if size >= 0.1 => 2,
        _ => 3,
    };
    let text = format!("{value:.digits$}");
    if text.contains('.') {
        text.trim_end_matches('0').trim_end_matches('.').to_owned()
    } else {
        text
    }
}

fn seconds(value: f64) -> String {
    match value.abs() {
        0.0 => "0 s".to_owned(),
        size if size < 0.001 => format!("{} µs", number(value * 1_000_000.0)),
        size if size < 1.0 => format!("{} ms", number(value * 1_000.0)),
        size if size < 60.0 => format!("{} s", number(value)),
        size if size < 3_600.0 => format!("{} min", number(value / 60.0)),
        _ => format!("{} hours", number(value / 3_600.0)),
    }
}

/// The two largest units of it.
fn duration(value: f64) -> String {
    const UNITS: [(f64, &str); 5] = [
        (31_536_000.0, "year"),
        (86_400.0, "day"),
        (3_600.0, "hour"),
        (60.0, "minute"),
        (1.0, "second"),
    ];
    let mut left = value.abs().round();
    let mut parts = Vec::new();
    for (size, name) in UNITS {
        let count = (left / size).floor();
        left -= count * size;
        if count > 0.0 && parts.len() < 2 {
            let end = if count > 1.0 { "s" } else { "" };
            parts.push(format!("{count:.0} {name}{end}"));
        } else if !parts.is_empty() {
            break;
        }
    }
    let sign = if value <= -1.0 { "-" } else { "" };
    match parts.is_empty() {
        true => "0 seconds".to_owned(),
        false => format!("{sign}{}", parts.join(", ")),
    }
}

fn bytes(value: f64) -> String {
    const UNITS: [&str; 4] = ["B", "KiB", "MiB", "GiB"];
    let mut value = value;
    let mut unit = 0;
    while value.abs() >= 1024.0 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    format!("{} {}", number(value), UNITS[unit])
}

fn from_now(seconds: f64) -> String {
    let words = match seconds.abs() {
        size if size < 45.0 => "a few seconds".to_owned(),
        size if size < 90.0 => "a minute".to_owned(),
        size if size < 2_700.0 => format!("{:.0} minutes", size / 60.0),
        size if size < 5_400.0 => "an hour".to_owned(),
        size if size < 79_200.0 => format!("{:.0} hours", size / 3_600.0),
        size if size < 129_600.0 => "a day".to_owned(),
        size => format!("{:.0} days", size / 86_400.0),
    };
    if seconds < 0.0 {
        format!("{words} ago")
    } else {
        format!("in {words}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_read_as_in_grafana() {
        for (number, unit, text) in [
            (0.0, "short", "0"),
            (12.0, "short", "12"),
            (0.1234, "short", "0.12"),
            (123_456.0, "short", "123 K"),
            (0.05, "s", "50 ms"),
            (0.000_25, "s", "250 µs"),
            (90.0, "s", "1.5 min"),
            (2.5, "reqps", "2.5 /s"),
            (31_457_280.0, "bytes", "30 MiB"),
            (7_265.0, "dtdurations", "2 hours, 1 minute"),
            (-65.0, "dtdurations", "-1 minute, 5 seconds"),
            (86_405.0, "dtdurations", "1 day"),
            (0.2, "dtdurations", "0 seconds"),
            (11_000_000.0, "dateTimeFromNow", "in 3 hours"),
            (0.0, "dateTimeFromNow", "2 minutes ago"),
        ] {
            let now = if number == 0.0 { 120.0 } else { 0.0 };
            assert_eq!(value(number, unit, false, now), text, "{number} {unit}");
        }
        assert_eq!(value(4.6, "short", true, 0.0), "5");
    }
}
