//! Calendars as tables: `name,start,end,labels,multiplier`, with a header line, as spreadsheets save them.

use jiff::tz::TimeZone;

use crate::json::UnreadableText;
use crate::limits::check_text;
use crate::spec::{EventSpec, Events, Reading};

/// Reads a table. Its first line names the columns, in any order and case: `name` and `start` have to be there, `end` or
/// `duration`, `labels` and `multiplier` may. Other columns are left alone. Cells are separated by commas, semicolons or tabs,
/// whichever the first line uses.
///
/// # Errors
/// For a text that is too long, or has no such first line. What is wrong with single lines is in the result.
pub fn read(text: &str, zone: &TimeZone) -> Result<Events, UnreadableText> {
    check_text(text)?;
    let text = text.trim_start_matches('\u{feff}');
    let first = text.lines().next().unwrap_or_default();
    let separator = [',', ';', '\t']
        .into_iter()
        .max_by_key(|separator| (first.matches(*separator).count(), *separator == ','))
        .unwrap_or(',');
    let mut rows = rows(text, separator)?.into_iter();
    let header = rows.next().unwrap_or_default();
    let column = |name: &str| {
        header
            .iter()
            .position(|one| one.trim().eq_ignore_ascii_case(name))
    };
    let (Some(name), Some(start)) = (column("name"), column("start")) else {
        return Err(UnreadableText::Malformed(format!(
            "the first line names no columns name and start: expected name,start,end,labels,multiplier, found {:?}",
            first.chars().take(80).collect::<String>()
        )));
    };
    let [end, duration, labels, multiplier] =
        ["end", "duration", "labels", "multiplier"].map(column);
    let mut reading = Reading::default();
    let filled = rows
        .enumerate()
        .filter(|(_, row)| row.iter().any(|cell| !cell.trim().is_empty()));
    for (index, row) in filled {
        let cell = |at: usize| row.get(at).map(|cell| cell.trim()).unwrap_or_default();
        let given = |at: Option<usize>| {
            at.map(cell)
                .filter(|text| !text.is_empty())
                .map(str::to_owned)
        };
        let (found, refused) = crate::labels::parse(labels.map(cell).unwrap_or_default());
        let spec = EventSpec {
            name: cell(name).to_owned(),
            start: cell(start).to_owned(),
            end: given(end),
            duration: given(duration),
            labels: found,
            multiplier: given(multiplier),
        };
        let path = format!("rows[{index}]");
        reading.take(index, &spec.name, &path, spec.read(zone));
        reading.refuse_labels(index, &spec.name, &path, refused);
    }
    Ok(reading.events)
}

/// Splits a table into cells (RFC 4180): quoted cells may hold separators, line breaks and doubled quotes.
fn rows(text: &str, separator: char) -> Result<Vec<Vec<String>>, UnreadableText> {
    let mut rows = Vec::new();
    let mut row = Vec::new();
    let mut cell = String::new();
    let mut quoted = false;
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '"' if quoted && chars.peek() == Some(&'"') => {
                chars.next();
                cell.push('"');
            }
            '"' if quoted => quoted = false,
            '"' if cell.trim().is_empty() => {
                cell.clear();
                quoted = true;
            }
            c if quoted => cell.push(c),
            c if c == separator => row.push(std::mem::take(&mut cell)),
            '\r' => {}
            '\n' => {
                row.push(std::mem::take(&mut cell));
                rows.push(std::mem::take(&mut row));
            }
            c => cell.push(c),
        }
    }
    if quoted {
        let message = "a quote that is opened is never closed: the table ends within a cell";
        return Err(UnreadableText::Malformed(message.to_owned()));
    }
    if !cell.is_empty() || !row.is_empty() {
        row.push(cell);
        rows.push(row);
    }
    Ok(rows)
}
