"""Writes expected.json: what independent libraries make of calendars and rules.

Needs icalendar, recurring-ical-events, python-dateutil and tzdata from PyPI:

    python3 -m venv /tmp/vectors
    /tmp/vectors/bin/pip install icalendar==7.3.2 recurring-ical-events==3.8.2 python-dateutil==2.9.0.post0 tzdata
    /tmp/vectors/bin/python calendars/tests/vectors/generate.py

The libraries find wall-clock times. What instant a wall clock stands for is this project's own rule (a skipped time is the
first instant after the gap, a repeated one the first of the two), so it is written down here a second time, in other words.
"""

import json
import random
from datetime import date, datetime, time, timedelta, timezone
from pathlib import Path
from zoneinfo import ZoneInfo

import icalendar
import recurring_ical_events
from dateutil.rrule import rrulestr

HERE = Path(__file__).parent
UTC = timezone.utc
ZONES = ["Asia/Tokyo", "America/New_York", "Europe/London", "Australia/Lord_Howe"]
WINDOW = (datetime(2026, 1, 1, tzinfo=UTC), datetime(2027, 2, 5, tzinfo=UTC))


def exists(wall, zone):
    """Whether a wall clock ever shows a time: going to UTC and back keeps it."""
    return wall.replace(tzinfo=zone).astimezone(UTC).astimezone(zone).replace(tzinfo=None) == wall


def instant(wall, zone):
    """The instant of a wall-clock time. In a gap, the first minute after it that exists."""
    wall = wall.replace(tzinfo=None, fold=0)
    while not exists(wall, zone):
        wall = wall.replace(second=0) + timedelta(minutes=1)
    return wall.replace(tzinfo=zone).astimezone(UTC)


def of_value(value, calendar_zone):
    """The instant of a DTSTART or DTEND: a day and a floating time are the calendar's."""
    if not isinstance(value, datetime):
        return instant(datetime.combine(value, time.min), calendar_zone)
    return instant(value, value.tzinfo or calendar_zone)


def seconds(at):
    return int(at.timestamp())


def of_exports():
    for path in sorted((HERE / "exports").glob("*.ics")):
        calendar = icalendar.Calendar.from_ical(path.read_bytes())
        # Cancelled events are events to the library.
        for zone_name in ("Asia/Tokyo", "America/New_York"):
            zone = ZoneInfo(zone_name)
            found = []
            # A day more on both sides: the library does not know the calendar's zone.
            margin = timedelta(days=2)
            for event in recurring_ical_events.of(calendar).between(WINDOW[0] - margin, WINDOW[1] + margin):
                if str(event.get("STATUS", "")) == "CANCELLED":
                    continue
                start, end = of_value(event.start, zone), of_value(event.end, zone)
                if start < WINDOW[1] and end > WINDOW[0]:
                    found.append([seconds(start), seconds(end), str(event["SUMMARY"])])
            yield {"file": path.name, "timeZone": zone_name, "occurrences": sorted(found)}


def some(random, pool, most):
    return sorted(random.sample(pool, random.randint(1, min(most, len(pool)))))


def any_rule(random):
    """A rule that RFC 5545 allows, and its start."""
    frequency = random.choice(["YEARLY", "MONTHLY", "MONTHLY", "WEEKLY", "WEEKLY", "DAILY", "DAILY", "HOURLY", "MINUTELY"])
    parts = [f"FREQ={frequency}"]
    interval = random.choice([1, 1, 1, 2, 3, 5])
    if frequency == "HOURLY":
        interval = random.choice([5, 7, 24, 36])
    if frequency == "MINUTELY":
        interval = random.choice([301, 720, 1440, 2000])
    if interval > 1:
        parts.append(f"INTERVAL={interval}")
    chance = lambda share: random.random() < share
    weekdays = ["MO", "TU", "WE", "TH", "FR", "SA", "SU"]
    chosen = False
    if frequency == "YEARLY":
        kind = random.choice(["week", "yearday", "month", "nth", "plain"])
        if kind == "week":
            parts.append("BYWEEKNO=" + ",".join(map(str, some(random, [1, 2, 20, 52, 53, -1, -2], 3))))
            parts.append("BYDAY=" + ",".join(some(random, weekdays, 2)))
            chosen = True
        elif kind == "yearday":
            parts.append("BYYEARDAY=" + ",".join(map(str, some(random, [1, 60, 100, 366, -1, -366, -50], 4))))
            chosen = True
        elif kind == "month":
            parts.append("BYMONTH=" + ",".join(map(str, some(random, range(1, 13), 4))))
            if chance(0.5):
                parts.append("BYMONTHDAY=" + ",".join(map(str, some(random, [1, 13, 29, 30, 31, -1, -2, -31], 3))))
        elif kind == "nth":
            parts.append("BYDAY=" + random.choice(["1MO", "-1FR", "20MO", "53TH", "-53SU", "2TU,-2WE"]))
            if chance(0.5):
                parts[-1] = "BYDAY=" + random.choice(["1MO", "-1FR", "5SU", "-5TH", "2TU,-2WE"])
                parts.append("BYMONTH=" + ",".join(map(str, some(random, range(1, 13), 4))))
            chosen = True
    elif frequency == "MONTHLY":
        kind = random.choice(["day", "nth", "weekdays", "plain"])
        if kind == "day":
            parts.append("BYMONTHDAY=" + ",".join(map(str, some(random, [1, 13, 15, 29, 30, 31, -1, -2, -31], 3))))
            chosen = True
        elif kind == "nth":
            parts.append("BYDAY=" + random.choice(["1MO", "-1FR", "5SU", "-5TH", "2TU,-2WE"]))
            chosen = True
        elif kind == "weekdays":
            parts.append("BYDAY=" + ",".join(some(random, weekdays, 5)))
            chosen = True
    elif chance(0.6):
        parts.append("BYDAY=" + ",".join(some(random, weekdays, 4)))
        chosen = frequency == "WEEKLY"
    if frequency in ("DAILY", "HOURLY") and chance(0.3):
        parts.append("BYMONTH=" + ",".join(map(str, some(random, range(1, 13), 5))))
    if frequency not in ("HOURLY", "MINUTELY") and chance(0.4):
        parts.append("BYHOUR=" + ",".join(map(str, some(random, [0, 1, 2, 3, 20, 23], 2))))
    if frequency != "MINUTELY" and chance(0.3):
        parts.append("BYMINUTE=" + ",".join(map(str, some(random, [0, 15, 30, 45], 2))))
    if chosen and chance(0.4):
        parts.append("BYSETPOS=" + random.choice(["1", "-1", "2,-2", "1,-1"]))
    if chance(0.3):
        parts.append("WKST=" + random.choice(weekdays))
    start = datetime(random.choice([2011, 2024, 2025, 2026]), random.randint(1, 12), random.randint(1, 28),
                     random.choice([0, 1, 1, 2, 2, 3, 12, 20]), random.choice([0, 15, 30, 30]))
    if frequency == "WEEKLY" and any(part.startswith("BYSETPOS") for part in parts):
        # dateutil chooses among the days of the first week from the start on; RFC 5545 among all of the week. From a week's
        # first day on, both are the same.
        week_start = next((part[5:] for part in parts if part.startswith("WKST")), "MO")
        start -= timedelta(days=(start.weekday() - weekdays.index(week_start)) % 7)
    if chance(0.2):
        parts.append(f"COUNT={random.choice([3, 20, 400])}")
    elif chance(0.25):
        parts.append("UNTIL=" + random.choice(["20260308T023000", "20261101T013000", "20261231", "20260405T014500"]))
    return ";".join(parts), start


def of_rules():
    generator = random.Random(20261124)
    for number in range(220):
        rule, start = any_rule(generator)
        zone_name = ZONES[number % len(ZONES)]
        zone = ZoneInfo(zone_name)
        length = generator.choice(["30m", "2h", "1d", "36h"])
        # A date alone includes its day.
        for_dateutil = rule.replace("UNTIL=20261231", "UNTIL=20261231T235959")
        until = WINDOW[1].replace(tzinfo=None) + timedelta(days=3)
        found = {}
        for wall in rrulestr(for_dateutil, dtstart=start).between(datetime(2025, 12, 20), until, inc=True):
            begin = instant(wall, zone)
            if length == "1d":
                end = instant(begin.astimezone(zone).replace(tzinfo=None) + timedelta(days=1), zone)
            else:
                end = begin + {"30m": timedelta(minutes=30), "2h": timedelta(hours=2), "36h": timedelta(hours=36)}[length]
            if begin < WINDOW[1] and end > WINDOW[0]:
                found[seconds(begin)] = seconds(end)
        # A hundred at most, spread over the year: the file stays small.
        starts = sorted(found)
        yield {
            "rrule": rule,
            "start": start.isoformat(),
            "timeZone": zone_name,
            "duration": length,
            "count": len(starts),
            "occurrences": [[at, found[at]] for at in starts[:: max(1, len(starts) // 40)]],
        }


def main():
    expected = {
        "from": WINDOW[0].isoformat().replace("+00:00", "Z"),
        "to": WINDOW[1].isoformat().replace("+00:00", "Z"),
        "exports": list(of_exports()),
        "rules": list(of_rules()),
    }
    lines = json.dumps(expected, ensure_ascii=False, separators=(",", ":"))
    lines = lines.replace('{"file"', '\n{"file"').replace('{"rrule"', '\n{"rrule"')
    (HERE / "expected.json").write_text(lines + "\n")


if __name__ == "__main__":
    main()
