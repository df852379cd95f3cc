//! The live table: redrawn in place on a terminal, a plain line per change to anything else.

use std::io::{self, Write};
use std::time::Duration;

/// To anything but a terminal, a line is written at least this often while nothing changes that is worth one.
const AT_LEAST_EVERY: Duration = Duration::from_secs(5);

/// To the start of the line, clear what was there, and cut what is longer than the terminal is wide: a line that wraps could
/// not be redrawn.
const REDRAW: &str = "\r\x1b[2K\x1b[?7l";
const WRAP_AGAIN: &str = "\x1b[?7h";

/// What was seen at one moment.
pub trait Row: Clone {
    /// The lines that stay above the rows.
    fn header() -> String;
    fn line(&self) -> String;
    /// Since the table's beginning.
    fn time(&self) -> Duration;
    /// Whether it is worth a row of its own.
    fn differs(&self, other: &Self) -> bool;
}

/// Writes rows to `out`.
pub struct Table<W, R> {
    out: W,
    terminal: bool,
    /// What is being redrawn, or was written last.
    last: Option<R>,
}

impl<W: Write, R: Row> Table<W, R> {
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
    pub fn show(&mut self, row: R) -> io::Result<()> {
        let Some(last) = &self.last else {
            writeln!(self.out, "{}", R::header())?;
            return self.write(row);
        };
        if row.differs(last) {
            if self.terminal {
                // The row before stays as it is.
                writeln!(self.out)?;
            }
            return self.write(row);
        }
        if self.terminal || row.time().saturating_sub(last.time()) >= AT_LEAST_EVERY {
            return self.write(row);
        }
        Ok(())
    }

    /// Writes a line between the rows.
    ///
    /// # Errors
    /// If `out` can't be written.
    pub fn note(&mut self, text: &str) -> io::Result<()> {
        match &self.last {
            Some(row) if self.terminal => {
                // The row goes on below.
                write!(
                    self.out,
                    "\r\x1b[2K{text}\n{REDRAW}{}{WRAP_AGAIN}",
                    row.line()
                )?;
            }
            _ => writeln!(self.out, "{text}")?,
        }
        self.out.flush()
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

    fn write(&mut self, row: R) -> io::Result<()> {
        if self.terminal {
            write!(self.out, "{REDRAW}{}{WRAP_AGAIN}", row.line())?;
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

    #[derive(Clone)]
    struct Seen {
        seconds: u64,
        replicas: i32,
    }

    impl Row for Seen {
        fn header() -> String {
            "time replicas".to_owned()
        }

        fn line(&self) -> String {
            format!("{:>4} {:>8}", self.seconds, self.replicas)
        }

        fn time(&self) -> Duration {
            Duration::from_secs(self.seconds)
        }

        fn differs(&self, other: &Self) -> bool {
            self.replicas != other.replicas
        }
    }

    fn shown(terminal: bool, rows: &[(u64, i32)]) -> String {
        let mut out = Vec::new();
        let mut table = Table::new(&mut out, terminal);
        for &(seconds, replicas) in rows {
            table.show(Seen { seconds, replicas }).unwrap();
        }
        table.note("an Event").unwrap();
        table.end().unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn a_pipe_gets_plain_lines_for_changes_and_now_and_then() {
        let text = shown(false, &[(0, 0), (1, 0), (2, 1), (3, 1), (7, 1)]);
        assert_eq!(
            text,
            "time replicas\n   0        0\n   2        1\n   7        1\nan Event\n"
        );
    }

    #[test]
    fn a_terminal_keeps_a_row_for_every_change() {
        let text = shown(true, &[(0, 0), (1, 0), (2, 1)]);
        assert_eq!(
            text.lines().count(),
            4,
            "the header, 0 replicas, the Event in place of 1 replica, which comes again: {text:?}"
        );
        // Three rows, one of them twice, and the Event over it.
        assert_eq!(text.matches("\x1b[2K").count(), 5, "{text:?}");
    }
}
