"""Pure: our schedules in the words of Prefect's REST API. Daylight saving is Prefect's to keep, in the zone given."""

import re
from datetime import UTC, datetime
from typing import Any, Final, Protocol
from zoneinfo import ZoneInfo

_LOCAL: Final = "%Y%m%dT%H%M%S"
_UTC_MOMENT: Final = re.compile(r"\b(UNTIL=|DTSTART:)(\d{8}T\d{6})Z")


class Schedule(Protocol):
    """What a row of `flow_schedules` has; `kind` is once, cron or rrule."""

    @property
    def kind(self) -> str: ...
    @property
    def expression(self) -> str: ...
    @property
    def time_zone(self) -> str: ...
    @property
    def starts_at(self) -> datetime | None: ...
    @property
    def active(self) -> bool: ...


def schedule_of(schedule: Schedule | None) -> dict[str, Any] | None:
    """Prefect's form of the schedule; `None` where nothing is to start by itself.

    Raises:
        ValueError: the expression of a one-off schedule is not an ISO moment, or its kind is not known.
    """
    if schedule is None or not schedule.active:
        return None
    match schedule.kind:
        case "once":
            return _once(datetime.fromisoformat(schedule.expression), schedule.time_zone)
        case "cron":
            return {"cron": schedule.expression, "timezone": schedule.time_zone, "day_or": True}
        case "rrule":
            return _recurring(schedule.expression, schedule.time_zone, starts_at=schedule.starts_at)
    raise ValueError(f"{schedule.kind!r} is not a kind of schedule")


def _once(moment: datetime, time_zone: str) -> dict[str, Any]:
    """Prefect has no one-off schedule: a rule that ends after one occurrence.

    In UTC, because only there is every moment one moment: a local time may come twice in autumn.
    """
    local = moment if moment.tzinfo else moment.replace(tzinfo=ZoneInfo(time_zone))
    return {
        "rrule": f"DTSTART:{local.astimezone(UTC).strftime(_LOCAL)}\nRRULE:FREQ=DAILY;COUNT=1",
        "timezone": "UTC",
    }


def _recurring(expression: str, time_zone: str, *, starts_at: datetime | None) -> dict[str, Any]:
    """A rule in local time. Prefect drops the zone of DTSTART and UNTIL and reads both in `timezone`."""
    zone = ZoneInfo(time_zone)

    def local(match: re.Match[str]) -> str:
        moment = datetime.strptime(match[2], _LOCAL).replace(tzinfo=UTC)
        return f"{match[1]}{moment.astimezone(zone).strftime(_LOCAL)}"

    rule = _UTC_MOMENT.sub(local, expression.strip())
    if "RRULE:" not in rule:
        rule = f"RRULE:{rule}"
    if "DTSTART" not in rule and starts_at is not None:
        rule = f"DTSTART:{starts_at.astimezone(zone).strftime(_LOCAL)}\n{rule}"
    return {"rrule": rule, "timezone": time_zone}
