//! Calendars as tables: rows of texts under named columns, as spreadsheets save them and queries return them.

use jiff::tz::TimeZone;

use crate::json::UnreadableText;
use crate::labels;
use crate::spec::{EventSpec, Events, Reading};

/// What the columns may be called, in any case.
const NAME: &[&str] = &["name"];
const START: &[&str] = &["start", "starts", "starts_at"];
const END: &[&str] = &["end", "ends", "ends_at"];
const DURATION: &[&str] = &["duration"];
const LABELS: &[&str] = &["labels"];
const MULTIPLIER: &[&str] = &["multiplier"];

/// One row: a text, or nothing, under each column.
pub type Row = Vec<Option<String>>;

/// Where each column stands.
pub(crate) struct Columns {
    name: usize,
    start: usize,
    end: Option<usize>,
    duration: Option<usize>,
    labels: Option<usize>,
    multiplier: Option<usize>,
}

impl Columns {
    /// `None` without a name and a start.
    pub(crate) fn find<T: AsRef<str>>(header: &[T]) -> Option<Self> {
        let find = |names: &[&str]| {
            header.iter().position(|column| {
                let column = column.as_ref().trim();
                names.iter().any(|name| name.eq_ignore_ascii_case(column))
            })
        };
        Some(Self {
            name: find(NAME)?,
            start: find(START)?,
            end: find(END),
            duration: find(DURATION),
            labels: find(LABELS),
            multiplier: find(MULTIPLIER),
        })
    }

    /// Reads rows. Those without any text are passed over. Problems have the paths `rows[n].field`.
    pub(crate) fn read(&self, rows: impl IntoIterator<Item = Row>, zone: &TimeZone) -> Events {
        let mut reading = Reading::default();
        for (index, row) in rows.into_iter().enumerate() {
            let text = |at: usize| row.get(at)?.as_deref().map(str::trim);
            let given = |at: Option<usize>| {
                let text = text(at?).filter(|text| !text.is_empty())?;
                Some(text.to_owned())
            };
            if (0..row.len()).all(|at| text(at).is_none_or(str::is_empty)) {
                continue;
            }
            let (found, refused) = labels::of_cell(&given(self.labels).unwrap_or_default());
            let spec = EventSpec {
                name: given(Some(self.name)).unwrap_or_default(),
                start: given(Some(self.start)).unwrap_or_default(),
                end: given(self.end),
                duration: given(self.duration),
                labels: found,
                multiplier: given(self.multiplier),
            };
            let path = format!("rows[{index}]");
            reading.take(index, &spec.name, &path, spec.read(zone));
            reading.refuse_labels(index, &spec.name, &path, refused);
        }
        reading.events
    }
}

/// Reads what a query returned. The columns may be in any order: `name`, `starts_at` (or `start`, `starts`), and `ends_at` (or
/// `end`, `ends`) or `duration` have to be there, `labels` and `multiplier` may. Others are left alone. Times are texts as
/// everywhere: with an offset an instant, else in `zone`, the calendar's.
///
/// # Errors
/// Where such a column is missing. What is wrong with single rows is in the result.
pub fn read(
    columns: &[String],
    rows: impl IntoIterator<Item = Row>,
    zone: &TimeZone,
) -> Result<Events, UnreadableText> {
    match Columns::find(columns) {
        Some(found) if found.end.is_some() || found.duration.is_some() => {
            Ok(found.read(rows, zone))
        }
        _ => {
            let columns: Vec<_> = columns.iter().map(|name| format!("{name:?}")).collect();
            Err(UnreadableText::Malformed(format!(
                "the query returns the columns {}: expected name, starts_at (or start, starts), and ends_at (or end, ends, \
                 duration); labels and multiplier may be there, too",
                columns.join(", ")
            )))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time_zone;

    fn row(cells: &[&str]) -> Row {
        cells
            .iter()
            .map(|cell| (*cell != "NULL").then(|| (*cell).to_owned()))
            .collect()
    }

    fn columns(names: &str) -> Vec<String> {
        names.split(' ').map(str::to_owned).collect()
    }

    fn occurrences(events: Events) -> Vec<String> {
        let mut book = crate::Book::new(Events::default(), ["db"], &[]);
        let now = "2027-01-01T00:00:00Z".parse().unwrap();
        book.refreshed("db", now, crate::Refresh::Read(events));
        let found = book.occurrences(now).unwrap();
        found
            .iter()
            .map(|one| {
                let labels: Vec<_> = one.labels.iter().map(|(k, v)| format!("{k}={v}")).collect();
                format!(
                    "{} {} {} {}",
                    one.name,
                    one.start,
                    one.end,
                    labels.join(",")
                )
            })
            .collect()
    }

    #[test]
    fn the_texts_of_a_database_mean_what_their_types_do() {
        let tokyo = time_zone("Asia/Tokyo").unwrap();
        let rows = [
            // timestamptz, as PostgreSQL writes it in UTC.
            row(&[
                "instant",
                "2027-01-02 11:00:00+00",
                "2027-01-02 12:00:00.5+00",
                "{\"tier\": \"S\", \"drops\": 2, \"no\": null}",
                "3.5",
            ]),
            // timestamp and date: the calendar's zone.
            row(&[
                "wall",
                "2027-01-02 20:00:00",
                "2027-01-02 21:00:00",
                "tier=A;category=fashion",
                "NULL",
            ]),
            row(&["days", "2027-01-03", "2027-01-04", "NULL", "NULL"]),
        ];
        let read = read(
            &columns("name starts_at ends_at labels multiplier"),
            rows,
            &tokyo,
        )
        .unwrap();
        assert!(read.problems.is_empty(), "{:?}", read.problems);
        assert_eq!(
            occurrences(read),
            [
                "instant 2027-01-02T11:00:00Z 2027-01-02T12:00:00Z drops=2,tier=S",
                "wall 2027-01-02T11:00:00Z 2027-01-02T12:00:00Z category=fashion,tier=A",
                "days 2027-01-02T15:00:00Z 2027-01-04T15:00:00Z ",
            ]
        );
    }

    #[test]
    fn columns_have_several_names_and_any_order() {
        for names in [
            "start end name",
            "STARTS Ends NAME",
            "starts_at ends_at name",
        ] {
            let rows = [row(&["2027-01-02 20:00", "2027-01-02 21:00", "drop"])];
            let read = read(&columns(names), rows, &TimeZone::UTC).unwrap();
            assert_eq!(occurrences(read).len(), 1, "{names}");
        }
        // An interval, as PostgreSQL writes it in ISO 8601.
        let rows = [row(&["drop", "2027-01-02 20:00", "PT2H30M", "left alone"])];
        let read = read(&columns("name start duration id"), rows, &TimeZone::UTC).unwrap();
        assert_eq!(
            occurrences(read),
            ["drop 2027-01-02T20:00:00Z 2027-01-02T22:30:00Z "]
        );
    }

    #[test]
    fn a_missing_column_is_told_with_those_that_are_there() {
        for names in ["title starts_at ends_at", "name ends_at", "name starts_at"] {
            let error = read(&columns(names), [], &TimeZone::UTC).unwrap_err();
            let text = error.to_string();
            assert!(text.contains("expected name, starts_at"), "{text}");
            assert!(
                text.contains("\"ends_at\"") || names.ends_with("starts_at"),
                "{text}"
            );
        }
    }

    #[test]
    fn what_is_missing_in_a_row_is_told_by_its_number() {
        let rows = [
            row(&["a", "2027-01-02 20:00", "NULL"]),
            row(&["NULL", "NULL", "NULL"]),
            row(&["NULL", "2027-01-02 20:00", "2027-01-02 21:00"]),
            row(&["forever", "2027-01-02 20:00:00+00", "infinity"]),
        ];
        let read = read(&columns("name starts_at ends_at"), rows, &TimeZone::UTC).unwrap();
        let told: Vec<_> = read.problems.iter().map(|one| one.path.as_str()).collect();
        assert_eq!(told, ["rows[0].end", "rows[2].name", "rows[3].end"]);
    }
}
