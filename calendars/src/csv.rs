//! Calendars as tables: `name,start,end,labels,multiplier`, with a header line, as spreadsheets save them.

use jiff::tz::TimeZone;

use crate::json::UnreadableText;
use crate::limits::{check_entries, check_problems, check_text};
use crate::spec::Events;
use crate::table::Columns;

/// Reads a table. Its first line names the columns, in any order and case: `name` and `start` have to be there, `end` or
/// `duration`, `labels` and `multiplier` may; `starts_at` and `ends_at` are read, too, as a query's result has them. Other columns
/// are left alone. Cells are separated by commas, semicolons or tabs, whichever the first line uses.
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
    let rows = rows(text, separator)?;
    check_entries(rows.len())?;
    let mut rows = rows.into_iter();
    let Some(columns) = Columns::find(&rows.next().unwrap_or_default()) else {
        return Err(UnreadableText::Malformed(format!(
            "the first line names no columns name and start: expected name,start,end,labels,multiplier, found {:?}",
            first.chars().take(80).collect::<String>()
        )));
    };
    let rows = rows.map(|row| row.into_iter().map(Some).collect());
    Ok(check_problems(columns.read(rows, zone))?)
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
