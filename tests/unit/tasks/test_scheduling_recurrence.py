"""Schedules over daylight-saving changes, and what is refused."""

from datetime import UTC, datetime, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from db.errors import Invalid
from db.states import ScheduleKind
from tasks.scheduling.recurrence import Recurrence, next_occurrence, parse_recurrence

DUBLIN = ZoneInfo("Europe/Dublin")
# Northern and southern summers, changes at midnight (Havana), of half an hour (Lord Howe), a skipped day (Apia), none.
ZONES = (
    "Europe/Dublin",
    "America/New_York",
    "Australia/Lord_Howe",
    "America/Havana",
    "Pacific/Apia",
    "Asia/Kathmandu",
    "UTC",
)
instants = st.datetimes(datetime(2011, 1, 1), datetime(2037, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001


def occurrences(recurrence: Recurrence, after: datetime, count: int) -> list[datetime]:
    found: list[datetime] = []
    for _ in range(count):
        moment = next_occurrence(recurrence, found[-1] if found else after)
        assert moment is not None
        found.append(moment)
    return found


def cron(expression: str, zone: str = "Europe/Dublin") -> Recurrence:
    return parse_recurrence(ScheduleKind.CRON, expression, zone)


def daily_rule(hour: int, minute: int, zone: str) -> Recurrence:
    start = datetime(2010, 1, 1, tzinfo=UTC)
    rule = f"FREQ=DAILY;BYHOUR={hour};BYMINUTE={minute}"
    return parse_recurrence(ScheduleKind.RRULE, rule, zone, start)


class TestDaylightSaving:
    def test_nine_stays_nine_in_summer_and_winter(self) -> None:
        found = occurrences(cron("0 9 * * *"), datetime(2027, 3, 26, 12, tzinfo=UTC), 3)
        assert [moment.hour for moment in found] == [9, 8, 8]

    def test_a_wall_time_that_is_skipped_fires_at_the_change(self) -> None:
        found = occurrences(cron("30 1 * * *"), datetime(2027, 3, 27, 12, tzinfo=UTC), 2)
        assert found == [datetime(2027, 3, 28, 1, 0, tzinfo=UTC), datetime(2027, 3, 29, 0, 30, tzinfo=UTC)]

    def test_a_wall_time_that_comes_twice_fires_the_first_time_only(self) -> None:
        found = occurrences(cron("30 1 * * *"), datetime(2027, 10, 30, 12, tzinfo=UTC), 2)
        assert found == [datetime(2027, 10, 31, 0, 30, tzinfo=UTC), datetime(2027, 11, 1, 1, 30, tzinfo=UTC)]

    def test_between_the_two_passes_of_an_hour_nothing_fires_again(self) -> None:
        between = datetime(2027, 10, 31, 0, 45, tzinfo=UTC)
        assert next_occurrence(cron("30 1 * * *"), between) == datetime(2027, 11, 1, 1, 30, tzinfo=UTC)

    def test_what_would_fire_often_in_a_gap_fires_once(self) -> None:
        found = occurrences(cron("*/15 * * * *"), datetime(2027, 3, 28, 0, 44, tzinfo=UTC), 3)
        assert [f"{moment:%H:%M}" for moment in found] == ["00:45", "01:00", "01:15"]

    def test_a_day_that_a_zone_skips_fires_at_the_first_instant_after_it(self) -> None:
        found = occurrences(cron("0 9 * * *", "Pacific/Apia"), datetime(2011, 12, 29, 20, tzinfo=UTC), 2)
        apia = ZoneInfo("Pacific/Apia")
        assert [moment.astimezone(apia).isoformat() for moment in found] == [
            "2011-12-31T00:00:00+14:00",
            "2011-12-31T09:00:00+14:00",
        ]


class TestLaws:
    @given(st.sampled_from(ZONES), st.integers(0, 23), st.integers(0, 59), instants, st.booleans())
    @example("Europe/Dublin", 1, 30, datetime(2027, 3, 27, 23, tzinfo=UTC), False)
    @example("Europe/Dublin", 1, 30, datetime(2027, 10, 31, 0, 45, tzinfo=UTC), True)
    def test_daily_fires_once_a_local_day_at_its_wall_time_unless_that_is_skipped(
        self, zone: str, hour: int, minute: int, after: datetime, is_rule: bool
    ) -> None:
        recurrence = daily_rule(hour, minute, zone) if is_rule else cron(f"{minute} {hour} * * *", zone)
        found = occurrences(recurrence, after, 4)
        assert all(earlier < later for earlier, later in pairwise([after, *found]))
        local = [moment.astimezone(ZoneInfo(zone)) for moment in found]
        on_time = [moment for moment in local if (moment.hour, moment.minute) == (hour, minute)]
        assert len({moment.date() for moment in on_time}) == len(on_time)
        for moment in local:
            if moment not in on_time:
                assert is_first_after_gap(moment)
                assert skips(moment, hour, minute)

    @given(st.sampled_from(ZONES), instants)
    def test_no_occurrence_lies_between_after_and_the_next_one(self, zone: str, after: datetime) -> None:
        recurrence = cron("7 */5 * * *", zone)
        found = next_occurrence(recurrence, after)
        assert found is not None
        assert next_occurrence(recurrence, found - timedelta(microseconds=1)) == found

    @given(instants, st.timedeltas(timedelta(0), timedelta(days=3)))
    def test_a_later_question_never_gets_an_earlier_answer(self, after: datetime, later: timedelta) -> None:
        recurrence = cron("30 1,2 * * *")
        first, second = next_occurrence(recurrence, after), next_occurrence(recurrence, after + later)
        assert first is not None
        assert second is not None
        assert first <= second


def is_first_after_gap(moment: datetime) -> bool:
    before = (moment.astimezone(UTC) - timedelta(seconds=1)).astimezone(moment.tzinfo)
    jump = moment.replace(tzinfo=None) - before.replace(tzinfo=None)
    return jump > timedelta(seconds=1)


def skips(moment: datetime, hour: int, minute: int) -> bool:
    before = (moment.astimezone(UTC) - timedelta(seconds=1)).astimezone(moment.tzinfo).replace(tzinfo=None)
    days = (before.date(), moment.date(), moment.date() - timedelta(days=1))
    walls = (datetime.combine(day, datetime.min.time()).replace(hour=hour, minute=minute) for day in days)
    return any(before < wall < moment.replace(tzinfo=None) for wall in walls)


class TestOnce:
    def test_is_read_on_the_clock_of_the_zone(self) -> None:
        once = parse_recurrence(ScheduleKind.ONCE, "2027-07-01T09:00", "Europe/Dublin")
        assert next_occurrence(once, datetime(2027, 1, 1, tzinfo=UTC)) == datetime(2027, 7, 1, 8, tzinfo=UTC)

    def test_with_an_offset_can_be_the_second_of_two_equal_wall_times(self) -> None:
        once = parse_recurrence(ScheduleKind.ONCE, "2027-10-31T01:30+00:00", "Europe/Dublin")
        assert next_occurrence(once, datetime(2027, 1, 1, tzinfo=UTC)) == datetime(
            2027, 10, 31, 1, 30, tzinfo=UTC
        )

    def test_does_not_come_again(self) -> None:
        once = parse_recurrence(ScheduleKind.ONCE, "2027-07-01T09:00", "Europe/Dublin")
        assert next_occurrence(once, datetime(2027, 7, 1, 8, tzinfo=UTC)) is None


class TestRules:
    def test_starts_at_is_where_a_rule_begins_to_count(self) -> None:
        start = datetime(2027, 1, 4, 9, tzinfo=UTC)
        rule = parse_recurrence(ScheduleKind.RRULE, "FREQ=WEEKLY;INTERVAL=2;COUNT=2", "Europe/Dublin", start)
        assert occurrences(rule, datetime(2027, 1, 1, tzinfo=UTC), 2) == [start, start + timedelta(days=14)]
        assert next_occurrence(rule, start + timedelta(days=14)) is None

    def test_utc_times_inside_a_rule_are_put_on_the_clock_of_the_zone(self) -> None:
        rule = parse_recurrence(
            ScheduleKind.RRULE,
            "DTSTART:20270701T080000Z\nRRULE:FREQ=DAILY;UNTIL=20270702T080000Z",
            "Europe/Dublin",
        )
        assert rule.expression == "DTSTART:20270701T090000\nRRULE:FREQ=DAILY;UNTIL=20270702T090000"
        found = occurrences(rule, datetime(2027, 1, 1, tzinfo=UTC), 2)
        assert found == [datetime(2027, 7, 1, 8, tzinfo=UTC), datetime(2027, 7, 2, 8, tzinfo=UTC)]
        assert next_occurrence(rule, found[-1]) is None

    def test_until_a_date_includes_that_day(self) -> None:
        start = datetime(2027, 1, 1, 9, tzinfo=UTC)
        rule = parse_recurrence(ScheduleKind.RRULE, "FREQ=DAILY;UNTIL=20270102", "Europe/Dublin", start)
        assert next_occurrence(rule, start) == start + timedelta(days=1)
        assert next_occurrence(rule, start + timedelta(days=1)) is None

    def test_a_rule_of_a_day_that_does_not_exist_has_no_occurrence(self) -> None:
        start = datetime(2027, 1, 1, 9, tzinfo=UTC)
        rule = parse_recurrence(
            ScheduleKind.RRULE, "FREQ=YEARLY;BYMONTH=2;BYMONTHDAY=30", "Europe/Dublin", start
        )
        assert next_occurrence(rule, start) is None

    def test_what_was_parsed_is_parsed_to_the_same_again(self) -> None:
        text = "DTSTART;TZID=Europe/Dublin:20270104T090000\nRRULE:FREQ=WEEKLY;BYDAY=MO,TH"
        once = parse_recurrence(ScheduleKind.RRULE, text, "Europe/Dublin")
        assert parse_recurrence(ScheduleKind.RRULE, once.expression, "Europe/Dublin") == once


START = datetime(2027, 1, 1, 9, tzinfo=UTC)


@pytest.mark.parametrize(
    ("kind", "expression", "zone", "starts_at", "field", "says"),
    [
        ("cron", "0 9 * * *", "Europe/Cork", None, "time_zone", "Europe/Dublin"),
        ("cron", "0 9 * *", "UTC", None, "expression", "five fields"),
        ("cron", "*/10 0 9 * * *", "UTC", None, "expression", "five fields"),
        ("cron", "61 9 * * *", "UTC", None, "expression", "minute"),
        ("cron", "0 9 31 2 *", "UTC", None, "expression", "day"),
        ("once", "tomorrow", "UTC", None, "expression", "ISO 8601"),
        ("rrule", "FREQ=DAILY", "UTC", None, "starts_at", "DTSTART"),
        ("rrule", "FREQ=DAILY", "UTC", START.replace(tzinfo=None), "starts_at", "offset"),
        ("rrule", "FREQ=DAILY", "UTC", START.replace(year=1999), "starts_at", "2000"),
        ("rrule", "every day", "UTC", START, "expression", "one rule"),
        ("rrule", "FREQ=SECONDLY", "UTC", START, "expression", "cron"),
        ("rrule", "FREQ=MINUTELY", "UTC", START, "expression", "cron"),
        ("rrule", "FREQ=DAILY;INTERVAL=0", "UTC", START, "expression", "INTERVAL"),
        ("rrule", "FREQ=DAILY;BYSECOND=0,30", "UTC", START, "expression", "BYSECOND"),
        ("rrule", "FREQ=DAILY;BYMONTHDAY=30;BYMONTH=2", "UTC", START, "expression", "BYMONTH"),
        ("rrule", "FREQ=DAILY;FREQ=WEEKLY", "UTC", START, "expression", "twice"),
        ("rrule", "FREQ=DAILY;BYHOUR=25", "UTC", START, "expression", "rrule"),
        ("rrule", "FREQ=DAILY\nRRULE:FREQ=WEEKLY", "UTC", START, "expression", "one rule"),
        (
            "rrule",
            "DTSTART;TZID=Asia/Tokyo:20270101T090000\nRRULE:FREQ=DAILY",
            "UTC",
            None,
            "expression",
            "Asia/Tokyo",
        ),
    ],
)
def test_what_cannot_be_used_is_refused_by_its_field(
    kind: str, expression: str, zone: str, starts_at: datetime | None, field: str, says: str
) -> None:
    with pytest.raises(Invalid) as caught:
        parse_recurrence(ScheduleKind(kind), expression, zone, starts_at)
    assert caught.value.field == field
    assert says in caught.value.message


def test_more_than_48_times_a_day_needs_cron() -> None:
    minutes = ",".join(map(str, range(49)))
    with pytest.raises(Invalid, match="48 times a day"):
        parse_recurrence(ScheduleKind.RRULE, f"FREQ=DAILY;BYMINUTE={minutes}", "UTC", START)


def test_every_minute_is_the_most_that_cron_can_say() -> None:
    found = occurrences(cron("* * * * *", "UTC"), START, 3)
    assert {later - earlier for earlier, later in pairwise(found)} == {timedelta(minutes=1)}
