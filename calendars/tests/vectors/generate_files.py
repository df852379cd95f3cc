"""Writes random.json: calendar files made by chance, and what an independent library finds in them over a year.

Installed and run as generate.py, whose instants it takes. Always writes the same bytes.

Each file has some events as calendar programs write them: recurring in one of four zones or in UTC or by days, with EXDATE,
RDATE, moved, renamed and cancelled occurrences (RECURRENCE-ID), changes from an occurrence on (RANGE=THISANDFUTURE), and events
longer than a month. The first occurrence is one that the rule has, as all of those programs see to.
"""

import json
import random
from datetime import date, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import icalendar
import recurring_ical_events
from dateutil.rrule import rrulestr

from generate import UTC, WINDOW, ZONES, instant, of_value, seconds

HERE = Path(__file__).parent
WEEKDAYS = ["MO", "TU", "WE", "TH", "FR", "SA", "SU"]
WINDOWS_NAMES = {
    "Asia/Tokyo": "Tokyo Standard Time",
    "America/New_York": "Eastern Standard Time",
    "Europe/London": "GMT Standard Time",
    "Australia/Lord_Howe": "Lord Howe Standard Time",
}
FILES = 60


def any_rule(chance):
    weekly = "FREQ=WEEKLY;BYDAY=" + ",".join(sorted(chance.sample(WEEKDAYS, chance.randint(1, 3)), key=WEEKDAYS.index))
    rule = chance.choice([
        weekly,
        weekly + ";INTERVAL=2;WKST=SU",
        "FREQ=DAILY;INTERVAL=" + str(chance.choice([2, 3, 9])),
        "FREQ=MONTHLY;BYMONTHDAY=" + chance.choice(["1", "-1", "29", "31", "1,15"]),
        "FREQ=MONTHLY;BYDAY=" + chance.choice(["1MO", "-1FR", "2SU", "5SA"]),
        "FREQ=MONTHLY;BYDAY=MO,TU,WE,TH,FR;BYSETPOS=-1",
        "FREQ=YEARLY;BYMONTH=2;BYMONTHDAY=29",
        "FREQ=YEARLY;BYMONTH=12,1;BYMONTHDAY=31,1",
        "FREQ=YEARLY;BYMONTH=3,10,11,4;BYDAY=1SU,2SU,-1SU",
    ])
    return rule + chance.choice(["", "", "", ";COUNT=12", ";UNTIL"])


class Event:
    """One series, or one event, with the lines that it has in the file."""

    def __init__(self, chance, number):
        self.chance = chance
        self.uid = f"event-{number}@calendar.example"
        self.kind = chance.choice(["zone", "zone", "zone", "utc", "day", "once", "long"])
        self.zone_name = chance.choice(ZONES)
        self.zone = ZoneInfo(self.zone_name)
        # Around the hours at which clocks change as often as elsewhere.
        hour, minute = chance.choice([(1, 30), (1, 45), (2, 0), (2, 15), (3, 0), (0, 0), (10, 0), (20, 0), (23, 30)])
        self.start = datetime(chance.choice([2024, 2025, 2026]), chance.randint(1, 12), chance.randint(1, 28), hour, minute)
        self.length = timedelta(minutes=chance.choice([30, 90, 120, 24 * 60, 36 * 60]))
        if self.kind == "long":
            self.length = timedelta(days=chance.randint(32, 70))
        if self.kind == "day":
            self.start = self.start.replace(hour=0, minute=0)
            self.length = timedelta(days=chance.randint(1, 4))

    def time(self, name, wall):
        if self.kind == "day":
            return f"{name};VALUE=DATE:{wall:%Y%m%d}"
        if self.kind == "utc":
            return f"{name}:{wall:%Y%m%dT%H%M%S}Z"
        return f"{name};TZID={self.tzid}:{wall:%Y%m%dT%H%M%S}"

    def entry(self, summary, start, length, more):
        lines = ["BEGIN:VEVENT", f"UID:{self.uid}", "DTSTAMP:20260101T000000Z", f"SUMMARY:{summary}", self.time("DTSTART", start)]
        return lines + [self.time("DTEND", start + length)] + more + ["END:VEVENT"]

    def lines(self):
        chance = self.chance
        self.tzid = chance.choice([self.zone_name, self.zone_name, WINDOWS_NAMES[self.zone_name]])
        if self.kind in ("once", "long"):
            return self.entry(f"{self.kind} {self.uid[:8]}", self.start.replace(year=2026), self.length, [])
        rule = any_rule(chance)
        plain = rule.replace(";UNTIL", "")
        walls = list(rrulestr(plain, dtstart=self.start).between(self.start, datetime(2027, 3, 1), inc=True))
        if not walls:
            return []
        self.start = walls[0]
        if rule.endswith(";UNTIL"):
            last = chance.choice(walls)
            walls = [wall for wall in walls if wall <= last]
            until = f"{last:%Y%m%d}"
            if self.kind == "utc":
                until = f"{last:%Y%m%dT%H%M%S}Z"
            elif self.kind == "zone":
                until = f"{instant(last, self.zone):%Y%m%dT%H%M%S}Z"
            rule = f"{plain};UNTIL={until}"
        name = f"{self.kind} {self.uid[:8]}"
        more = [f"RRULE:{rule}"]
        if chance.random() < 0.3 and self.kind != "day":
            # On the half hour before: no time that the rule has.
            extra = chance.choice(walls) - timedelta(minutes=37)
            if extra > self.start:
                more.append(self.time("RDATE", extra))
        if chance.random() < 0.2 and len(walls) > 2:
            # From one on, all are later and longer. With other changes beside it, what is meant would be open.
            wall = chance.choice(walls[1:])
            shift = timedelta(days=1) if self.kind == "day" else timedelta(days=chance.randint(0, 1), hours=4)
            what = [self.time("RECURRENCE-ID;RANGE=THISANDFUTURE", wall), "SEQUENCE:1"]
            lines = self.entry(name, self.start, self.length, more[:1])
            return lines + self.entry(f"{name} from here on", wall + shift, self.length + timedelta(days=1), what)
        picked = chance.sample(walls[1:], min(len(walls) - 1, chance.randint(0, 6)))
        for wall in picked[3:]:
            more.append(self.time("EXDATE", wall))
        lines = self.entry(name, self.start, self.length, more)
        for wall in picked[:3]:
            # An occurrence is not moved within an hour that the clock skips or repeats: what that means is settled elsewhere.
            shift = timedelta(days=chance.randint(0, 2), hours=0 if self.kind == "day" else chance.choice([3, 5]))
            moved = wall + shift
            what = [self.time("RECURRENCE-ID", wall), "SEQUENCE:1"]
            if chance.random() < 0.3:
                what.append("STATUS:CANCELLED")
            lines += self.entry(f"{name} moved", moved, self.length, what)
        return lines


def found(text, zone):
    calendar = icalendar.Calendar.from_ical(text)
    margin = timedelta(days=3)
    for event in recurring_ical_events.of(calendar).between(WINDOW[0] - margin, WINDOW[1] + margin):
        if str(event.get("STATUS", "")) == "CANCELLED":
            continue
        start, end = of_value(event.start, zone), of_value(event.end, zone)
        if start < WINDOW[1] and end > WINDOW[0]:
            yield [seconds(start), seconds(end), str(event["SUMMARY"])]


def files():
    chance = random.Random(20270101)
    for number in range(FILES):
        lines = ["BEGIN:VCALENDAR", "VERSION:2.0", "PRODID:-//chance//EN"]
        for event in range(chance.randint(2, 5)):
            lines += Event(chance, event).lines()
        lines.append("END:VCALENDAR")
        zone_name = chance.choice(ZONES)
        text = "\r\n".join(lines) + "\r\n"
        yield {"timeZone": zone_name, "lines": lines, "occurrences": sorted(found(text, ZoneInfo(zone_name)))}


def main():
    whole = {
        "from": WINDOW[0].isoformat().replace("+00:00", "Z"),
        "to": WINDOW[1].isoformat().replace("+00:00", "Z"),
        "files": list(files()),
    }
    text = json.dumps(whole, separators=(",", ":")).replace('{"timeZone"', '\n{"timeZone"')
    (HERE / "random.json").write_text(text + "\n")


if __name__ == "__main__":
    main()
