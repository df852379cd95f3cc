//! The live table: redrawn in place on a terminal, a plain line per change to anything else.

use std::io::{self, Write};
use std::time::Duration;

/// The rows that stay on a terminal above the one that is being redrawn.
const HEADER: &str = "   time    queue   external metric   HPA desired   replicas   Ready";

/// To anything but a terminal, a line is written at least this often while only the queue changes.
const AT_LEAST_EVERY: Duration = Duration::from_secs(5);

/// What was seen at one moment; `None` is what couldn't be read.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Row {
    /// Since the first message.
    pub time: Duration,
    pub queue: Option<u32>,
    /// A Kubernetes quantity.
    pub metric: Option<String>,
    pub desired: Option<i32>,
    pub replicas: Option<i32>,
    pub ready: Option<i32>,
}

impl Row {
    /// Whether anything but the queue's length and the time differs: worth a row of its own.
    fn differs(&self, other: &Row) -> bool {
        (self.desired, self.replicas, self.ready) != (other.desired, other.replicas, other.ready)
    }

    fn line(&self) -> String {
        let number = |value: Option<i32>| value.map_or("-".to_owned(), |value| value.to_string());
        format!(
            "{:>6.1}s {:>8} {:>17} {:>13} {:>10} {:>7}",
            self.time.as_secs_f64(),
            self.queue.map_or("-".to_owned(), |queue| queue.to_string()),
            self.metric.as_deref().unwrap_or("-"),
            number(self.desired),
            number(self.replicas),
            number(self.ready),
        )
    }
}

/// Writes rows to `out`.
pub struct Table<W> {
    out: W,
    terminal: bool,
    last: Option<Row>,
}

impl<W: Write> Table<W> {
    /// `terminal` says that `out` understands control characters.
    pub fn new(out: W, terminal: bool) -> Self {
        Self {
            out,
            terminal,
            last: None,
        }
    }

    /// Shows what is the case now.
    ///
    /// # Errors
    /// If `out` can't be written.
    pub fn show(&mut self, row: Row) -> io::Result<()> {
        let Some(last) = &self.last else {
            writeln!(self.out, "{HEADER}")?;
            return self.write(row);
        };
        if row.differs(last) {
            if self.terminal {
                // The row before stays as it is.
                writeln!(self.out)?;
            }
            return self.write(row);
        }
        if self.terminal || row.time.saturating_sub(last.time) >= AT_LEAST_EVERY {
            return self.write(row);
        }
        Ok(())
    }

    /// Ends the row that is being redrawn, so that other text can follow.
    ///
    /// # Errors
    /// If `out` can't be written.
    pub fn end(&mut self) -> io::Result<()> {
        if self.terminal && self.last.take().is_some() {
            writeln!(self.out)?;
        }
        self.last = None;
        self.out.flush()
    }

    fn write(&mut self, row: Row) -> io::Result<()> {
        if self.terminal {
            // To the start of the line, and clear what was there.
            write!(self.out, "\r\x1b[2K{}", row.line())?;
        } else {
            writeln!(self.out, "{}", row.line())?;
        }
        self.last = Some(row);
        self.out.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(seconds: u64, queue: u32, replicas: i32) -> Row {
        Row {
            time: Duration::from_secs(seconds),
            queue: Some(queue),
            replicas: Some(replicas),
            ..Row::default()
        }
    }

    fn shown(terminal: bool, rows: &[Row]) -> String {
        let mut out = Vec::new();
        let mut table = Table::new(&mut out, terminal);
        for row in rows {
            table.show(row.clone()).unwrap();
        }
        table.end().unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn a_pipe_gets_plain_lines_for_changes_and_now_and_then() {
        let text = shown(
            false,
            &[
                row(0, 500, 0),
                row(1, 499, 0),
                row(2, 499, 1),
                row(3, 490, 1),
                row(7, 480, 1),
            ],
        );
        assert!(
            text.chars()
                .all(|letter| letter == '\n' || !letter.is_control()),
            "{text:?}"
        );
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), 4, "{text}");
        assert_eq!(
            lines[1],
            "   0.0s      500                 -             -          0       -"
        );
        assert!(lines[3].starts_with("   7.0s"), "{text}");
    }

    #[test]
    fn a_terminal_keeps_a_row_for_every_change_of_replicas() {
        let text = shown(true, &[row(0, 500, 0), row(1, 499, 0), row(2, 499, 1)]);
        assert_eq!(
            text.lines().count(),
            3,
            "the header, 0 replicas, 1 replica: {text:?}"
        );
        assert_eq!(text.matches("\x1b[2K").count(), 3, "{text:?}");
    }

    #[test]
    fn columns_stay_below_their_titles() {
        assert_eq!(row(1, 2, 3).line().len(), HEADER.len());
    }
}
