//! The business's calendar: an iCalendar file behind a URL, whose server can be down.

use anyhow::Result;
use jiff::{SignedDuration, Timestamp};
use sakidori_test_servers::{Answer, HttpSource};

const PATH: &str = "/sales.ics";

/// A sale in the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sale {
    pub name: &'static str,
    pub start: Timestamp,
    pub end: Timestamp,
}

impl Sale {
    /// One that starts `starts_in` from now, to the whole second.
    pub fn from_now(
        name: &'static str,
        starts_in: SignedDuration,
        lasts: SignedDuration,
    ) -> Result<Self> {
        let start = Timestamp::from_second((Timestamp::now() + starts_in).as_second())?;
        Ok(Self {
            name,
            start,
            end: start + lasts,
        })
    }
}

/// The file's server.
pub struct CalendarServer {
    server: HttpSource,
}

impl CalendarServer {
    pub fn start() -> Result<Self> {
        let server = HttpSource::start()?;
        let calendar = Self { server };
        calendar.publish(&[]);
        Ok(calendar)
    }

    pub fn url(&self) -> String {
        self.server.url(PATH)
    }

    pub fn publish(&self, sales: &[Sale]) {
        self.server
            .set(PATH, Answer::new("text/calendar", file(sales)));
    }

    pub fn stop(&mut self) {
        self.server.stop();
    }

    pub fn run_again(&mut self) -> Result<()> {
        self.server.run()
    }
}

fn file(sales: &[Sale]) -> String {
    let mut text = "BEGIN:VCALENDAR\r\nVERSION:2.0\r\nPRODID:-//shop//sales//EN\r\n".to_owned();
    for Sale { name, start, end } in sales {
        let utc = |at: &Timestamp| at.strftime("%Y%m%dT%H%M%SZ").to_string();
        text += &format!(
            "BEGIN:VEVENT\r\nUID:{name}\r\nSUMMARY:{name}\r\nDTSTART:{}\r\nDTEND:{}\r\nCATEGORIES:tier=S\r\n\
             X-SAKIDORI-MULTIPLIER:3\r\nEND:VEVENT\r\n",
            utc(start),
            utc(end)
        );
    }
    text + "END:VCALENDAR\r\n"
}
