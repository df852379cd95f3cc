//! The plan as an iCalendar (RFC 5545): one event per occurrence and object, to be looked at beside one's own appointments.

use jiff::Timestamp;
use jiff::tz::TimeZone;

use crate::object::{ObjectPlan, Sale};
use crate::plan::{Plan, event};
use crate::table::hours;
use crate::time::{shown, zone_name};

/// Lines are folded at 75 bytes, without the line break.
const LINE: usize = 75;

pub fn write(plan: &Plan) -> String {
    let mut text = String::new();
    line(&mut text, "BEGIN:VCALENDAR");
    line(&mut text, "VERSION:2.0");
    line(&mut text, "PRODID:-//Sakidori//plan//EN");
    line(&mut text, "CALSCALE:GREGORIAN");
    line(&mut text, "METHOD:PUBLISH");
    line(&mut text, "X-WR-CALNAME:Sakidori plan");
    for object in &plan.objects {
        for sale in &object.sales {
            of_sale(&mut text, plan, object, sale);
        }
    }
    line(&mut text, "END:VCALENDAR");
    text
}

fn of_sale(text: &mut String, plan: &Plan, object: &ObjectPlan, sale: &Sale) {
    let (begins, ends) = sale.span();
    let ObjectPlan {
        namespace, name, ..
    } = object;
    let sold = event(&sale.occurrence);
    let zone = &plan.period.zone;
    let (what, mut description) = match &sale.floor {
        Ok(profile) => (
            format!("{} replicas", profile.peak),
            format!(
                "Floor: {} -> {}\nRamp starts: {}\nComplete: {}\nHolds until: {}\nGone: {}\nCost: {} pod-hours",
                profile.baseline,
                profile.peak,
                shown(profile.climbs_at, zone),
                shown(profile.complete_at, zone),
                shown(profile.holds_until, zone),
                shown(profile.gone_at, zone),
                hours(sale.pod_seconds)
            ),
        ),
        Err(limit) => (
            format!("at most {} replicas", limit.replicas),
            format!(
                "Cap: {}\nFrom: {}\nUntil: {}",
                limit.replicas,
                shown(limit.from, zone),
                shown(limit.until, zone)
            ),
        ),
    };
    description.push_str(&sale_times(sale, zone));
    line(text, "BEGIN:VEVENT");
    let id = format!("{namespace}/{name}/{}/{}", sale.trigger, sale.occurrence.id);
    line(text, &format!("UID:{}@plan.sakidori.dev", escaped(&id)));
    // The start of the period and not the clock: the same plan is the same text.
    line(text, &format!("DTSTAMP:{}", utc(plan.period.from)));
    line(text, &format!("DTSTART:{}", utc(begins)));
    line(text, &format!("DTEND:{}", utc(ends.max(begins))));
    line(
        text,
        &format!(
            "SUMMARY:{}",
            escaped(&format!("{namespace}/{name}: {what} for {sold}"))
        ),
    );
    line(text, &format!("DESCRIPTION:{}", escaped(&description)));
    // It is no appointment of whoever looks at it.
    line(text, "TRANSP:TRANSPARENT");
    line(text, "END:VEVENT");
}

fn sale_times(sale: &Sale, zone: &TimeZone) -> String {
    format!(
        "\nSale: {} to {} ({})",
        shown(sale.occurrence.start, zone),
        shown(sale.occurrence.end, zone),
        zone_name(zone)
    )
}

fn utc(at: Timestamp) -> String {
    at.strftime("%Y%m%dT%H%M%SZ").to_string()
}

fn escaped(text: &str) -> String {
    let mut escaped = String::new();
    for c in text.chars() {
        match c {
            '\\' | ';' | ',' => {
                escaped.push('\\');
                escaped.push(c);
            }
            '\n' => escaped.push_str("\\n"),
            c if c.is_control() => escaped.push(' '),
            c => escaped.push(c),
        }
    }
    escaped
}

/// One content line, folded between characters.
fn line(text: &mut String, content: &str) {
    let mut length = 0;
    for c in content.chars() {
        if length + c.len_utf8() > LINE {
            text.push_str("\r\n ");
            length = 1;
        }
        text.push(c);
        length += c.len_utf8();
    }
    text.push_str("\r\n");
}
