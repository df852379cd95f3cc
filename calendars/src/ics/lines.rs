//! The lines of an iCalendar text (RFC 5545, 3.1) as a tree of components.

/// One property: `DTSTART;TZID=Asia/Tokyo:20270102T000000`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Property {
    /// In capitals.
    pub name: String,
    /// Names in capitals, values without quotes.
    pub parameters: Vec<(String, String)>,
    /// As it stands, with its escapes.
    pub value: String,
}

impl Property {
    pub(super) fn parameter(&self, name: &str) -> Option<&str> {
        self.parameters
            .iter()
            .find(|(known, _)| known == name)
            .map(|(_, value)| value.as_str())
    }

    /// The value as a text.
    pub(super) fn text(&self) -> String {
        unescape(&self.value)
    }

    /// The value as a list of texts, at its commas.
    pub(super) fn texts(&self) -> Vec<String> {
        let mut texts = Vec::new();
        let mut start = 0;
        let mut escaped = false;
        for (at, c) in self.value.char_indices() {
            if c == ',' && !escaped {
                texts.push(unescape(&self.value[start..at]));
                start = at + 1;
            }
            escaped = c == '\\' && !escaped;
        }
        texts.push(unescape(&self.value[start..]));
        texts
    }
}

/// `\n`, `\,`, `\;` and `\\`.
fn unescape(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        match c {
            '\\' => match chars.next() {
                Some('n' | 'N') => plain.push('\n'),
                Some(other) => plain.push(other),
                None => {}
            },
            c => plain.push(c),
        }
    }
    plain.trim().to_owned()
}

/// A component with its properties and, one level deep, the components in it: all that events and time zones need.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Component {
    /// In capitals.
    pub kind: String,
    pub properties: Vec<Property>,
    pub components: Vec<Component>,
}

impl Component {
    pub(super) fn first(&self, name: &str) -> Option<&Property> {
        self.properties.iter().find(|one| one.name == name)
    }

    pub(super) fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a Property> {
        self.properties.iter().filter(move |one| one.name == name)
    }
}

/// The components of all calendars of a text: those directly in a VCALENDAR.
///
/// # Errors
/// For a text that is no iCalendar, and for one that ends too early: a copy that was cut off must not count as one in which
/// events were removed.
pub(super) fn components(text: &str) -> Result<Vec<Component>, String> {
    let mut open: Vec<Component> = Vec::new();
    let mut found = Vec::new();
    let mut calendars = 0;
    for line in unfolded(text) {
        let Some(property) = property(&line) else {
            continue;
        };
        match property.name.as_str() {
            "BEGIN" => {
                let kind = property.value.trim().to_ascii_uppercase();
                if open.is_empty() && kind != "VCALENDAR" {
                    continue;
                }
                open.push(Component {
                    kind,
                    ..Component::default()
                });
            }
            "END" => {
                let Some(closed) = open.pop() else { continue };
                let end = property.value.trim();
                if !end.eq_ignore_ascii_case(&closed.kind) {
                    return Err(format!(
                        "END:{end} closes a {}: the text is damaged",
                        closed.kind
                    ));
                }
                match open.len() {
                    0 => calendars += 1,
                    1 => found.push(closed),
                    2 => {
                        if let Some(parent) = open.last_mut() {
                            parent.components.push(closed);
                        }
                    }
                    // What is deeper (an alarm's parts) says nothing about times.
                    _ => {}
                }
            }
            _ => {
                if let Some(component) = open.last_mut()
                    && component.kind != "VCALENDAR"
                {
                    component.properties.push(property);
                }
            }
        }
    }
    if let Some(cut_off) = open.first() {
        return Err(format!(
            "the text ends before END:{}: it was cut off",
            cut_off.kind
        ));
    }
    if calendars == 0 {
        let start: String = text.trim().chars().take(40).collect();
        return Err(format!(
            "no iCalendar: expected BEGIN:VCALENDAR, found {start:?}"
        ));
    }
    Ok(found)
}

/// Lines, with those put together that begin with white space.
fn unfolded(text: &str) -> impl Iterator<Item = String> {
    let text = text.trim_start_matches('\u{feff}');
    let mut lines = text
        .split(['\n', '\r'])
        .filter(|line| !line.is_empty())
        .peekable();
    std::iter::from_fn(move || {
        let mut line = lines.next()?.to_owned();
        while let Some(rest) = lines.next_if(|next| next.starts_with([' ', '\t'])) {
            line.push_str(&rest[1..]);
        }
        Some(line)
    })
}

fn property(line: &str) -> Option<Property> {
    let end_of_name = line.find([':', ';'])?;
    let name = line[..end_of_name].trim().to_ascii_uppercase();
    let mut property = Property {
        name,
        ..Property::default()
    };
    let mut rest = &line[end_of_name..];
    while let Some(parameter) = rest.strip_prefix(';') {
        let equals = parameter.find(['=', ':', ';'])?;
        let name = parameter[..equals].trim().to_ascii_uppercase();
        let Some(value) = parameter[equals..].strip_prefix('=') else {
            // A parameter without a value.
            rest = &parameter[equals..];
            continue;
        };
        let end = end_of_value(value)?;
        let plain = value[..end].replace('"', "");
        property.parameters.push((name, plain));
        rest = &value[end..];
    }
    property.value = rest.strip_prefix(':')?.to_owned();
    Some(property)
}

/// Where a parameter's value ends: at a `:` or `;` outside of quotes.
fn end_of_value(text: &str) -> Option<usize> {
    let mut quoted = false;
    text.char_indices()
        .find(|(_, c)| {
            if *c == '"' {
                quoted = !quoted;
            }
            !quoted && matches!(c, ':' | ';')
        })
        .map(|(at, _)| at)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_line_is_a_name_parameters_and_a_value() {
        let line = "dtstart;TZID=\"(UTC+09:00) Osaka; Tokyo\";VALUE=DATE-TIME:20270102T000000";
        let property = property(line).unwrap();
        assert_eq!(property.name, "DTSTART");
        assert_eq!(property.parameter("TZID"), Some("(UTC+09:00) Osaka; Tokyo"));
        assert_eq!(property.value, "20270102T000000");
    }

    #[test]
    fn texts_are_unfolded_and_unescaped() {
        let text = "BEGIN:VCALENDAR\r\nBEGIN:VEVENT\r\nSUMMARY:New\\, ye\r\n ar\\; sale\\\\\r\nCATEGORIES:a\\,b,c\r\n\
                    END:VEVENT\r\nEND:VCALENDAR\r\n";
        let [event] = &components(text).unwrap()[..] else {
            panic!("one event");
        };
        assert_eq!(event.first("SUMMARY").unwrap().text(), "New, year; sale\\");
        assert_eq!(event.first("CATEGORIES").unwrap().texts(), ["a,b", "c"]);
    }

    #[test]
    fn what_is_no_whole_calendar_is_an_error() {
        for (text, expected) in [
            ("", "no iCalendar"),
            ("<html>", "expected BEGIN:VCALENDAR, found \"<html>\""),
            ("BEGIN:VCALENDAR\nBEGIN:VEVENT\nEND:VEVENT", "cut off"),
            (
                "BEGIN:VCALENDAR\nBEGIN:VEVENT\nEND:VCALENDAR",
                "END:VCALENDAR closes a VEVENT",
            ),
        ] {
            assert!(components(text).unwrap_err().contains(expected), "{text:?}");
        }
    }

    #[test]
    fn deep_nesting_is_walked_and_left_alone() {
        let deep = "BEGIN:X\n".repeat(100_000) + &"END:X\n".repeat(100_000);
        let text = format!("BEGIN:VCALENDAR\n{deep}END:VCALENDAR\n");
        assert_eq!(components(&text).unwrap().len(), 1);
    }

    proptest! {
        #[test]
        fn no_text_breaks_it(text in "((BEGIN|END):(VCALENDAR|VEVENT|VALARM)\n|[A-Z;:=\",\\\\ üé\n\r\t]{0,9}){0,30}") {
            let _ = components(&text);
        }
    }
}
