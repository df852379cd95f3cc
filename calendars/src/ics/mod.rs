//! Calendars as iCalendar texts (RFC 5545), as Google Calendar, Outlook and Apple's Calendar export them.
//!
//! SUMMARY is the name. CATEGORIES (`tier=S`, or a word alone) and `X-SAKIDORI-*` properties are labels: `X-SAKIDORI-TIER:S` is
//! `tier=S`, `X-SAKIDORI-LABELS:tier=S,category=fashion` several; `X-SAKIDORI-MULTIPLIER:3.5` is the multiplier. What has no
//! time zone (all-day events, floating times) is in the calendar's.
//!
//! Read and expanded here and not by a library, because the ones there are get something wrong that a sale depends on: calcard
//! 0.3 finds a series' changed occurrences by SEQUENCE instead of UID (which exports don't keep equal), reads UNTIL as wall-clock
//! time, and walks every series from its beginning.

mod event;
mod lines;
mod windows;
mod zones;

use std::collections::BTreeMap;

use jiff::tz::TimeZone;

use self::event::Entry;
use self::zones::Zones;
use crate::json::UnreadableText;
use crate::limits::{check_entries, check_problems, check_text};
use crate::problem::Problem;
use crate::spec::Events;

/// Reads an iCalendar text; `zone` is the calendar's.
///
/// # Errors
/// For a text that is too long, no iCalendar, or cut off. What is wrong with single events is in the result.
pub fn read(text: &str, zone: &TimeZone) -> Result<Events, UnreadableText> {
    check_text(text)?;
    let components = lines::components(text).map_err(UnreadableText::malformed)?;
    check_entries(components.len())?;
    let zones = Zones::new(&components);
    let mut all = Events::default();
    // The entries of one UID: the event itself, and changed occurrences of it.
    let mut by_uid: BTreeMap<String, Vec<Entry>> = BTreeMap::new();
    let events = components.iter().filter(|one| one.kind == "VEVENT");
    for (index, component) in events.enumerate() {
        let name = component
            .first("SUMMARY")
            .map(lines::Property::text)
            .unwrap_or_default();
        let path = |field: &str| format!("VEVENT[{index}].{field}");
        match Entry::read(index, component, &zones, zone) {
            Ok((entry, refused_labels)) => {
                all.problems
                    .extend(refused_labels.into_iter().map(|label| Problem {
                        index,
                        name: name.clone(),
                        path: path("CATEGORIES"),
                        message: format!(
                            "{label:?} is no label: expected letters and digits, such as tier=S"
                        ),
                        left_out: false,
                    }));
                by_uid.entry(entry.uid.clone()).or_default().push(entry);
            }
            Err(error) => all.problems.push(Problem {
                index,
                name,
                path: path(&error.field),
                message: error.message,
                left_out: true,
            }),
        }
    }
    let mut events: Vec<_> = by_uid.into_values().flat_map(event::put_together).collect();
    // In the order of the text.
    events.sort_by_key(|(index, _)| *index);
    all.events
        .extend(events.into_iter().map(|(_, event)| event));
    Ok(check_problems(all)?)
}
