"""What people wait for while they look: counts of segments, previews, pages and searches, at the database."""

import time
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from statistics import median
from typing import Any, Final

from benchmarks.audience.crm_file import CITIES
from benchmarks.measured import Row
from db.engine import Database, Session
from db.queries.client_search import by_email, by_name, search_clients
from db.queries.clients import list_clients
from db.queries.segments import count_clients, sample_clients, segment_condition

PREVIEW: Final = 25
PAGE: Final = 50
_COUNTS, _LOOKS = 5, 40


def rules(execution_id: int) -> Mapping[str, Mapping[str, Any]]:
    """Three conditions each: a custom field, a tag, a behaviour."""
    city = {"field": "custom.city", "operator": "in", "value": list(CITIES[:10])}
    plan = {"field": "custom.plan", "operator": "in", "value": ["pro", "enterprise"]}
    tagged = {"field": "tags", "operator": "has_any", "value": ["vip", "newsletter"]}
    recently = {"operator": "in_last_days", "value": 60}
    return {
        "opened lately": {"all": [city, tagged, {"message": "opened", "when": recently}]},
        "half of all, clicked lately": {"all": [plan, tagged, {"message": "clicked", "when": recently}]},
        "never opened": {"all": [plan, tagged, {"not": {"message": "opened"}}]},
        "opened one campaign": {"all": [city, tagged, {"message": "opened", "execution": execution_id}]},
    }


def measure_segments(database: Database, clients: int, execution_id: int) -> Iterator[Row]:
    """The count and the first 25 of each rule; the median of several."""
    for name, rule in rules(execution_id).items():
        seconds, found = _timed(database, partial(_count, rule=rule), _COUNTS)
        yield Row(
            f"segment count, {name}", clients, median(seconds), {"found": found, **_milliseconds(seconds)}
        )
        seconds, found = _timed(database, partial(_preview, rule=rule), _LOOKS)
        yield Row(f"segment preview, {name}", clients, median(seconds), _milliseconds(seconds))


def measure_looks(database: Database, clients: int) -> Iterator[Row]:
    """Pages and searches, somewhere in the middle each time."""
    for name, look in (("list page", _page), ("search by email", _email), ("search by name", _name)):
        seconds = []
        for number in range(_LOOKS):
            took, _ = _timed(database, partial(look, place=number * clients // _LOOKS), 1)
            seconds += took
        yield Row(name, clients, median(seconds), _milliseconds(seconds))


def _count(session: Session, rule: Mapping[str, Any]) -> int:
    return count_clients(session, segment_condition(session, rule))


def _preview(session: Session, rule: Mapping[str, Any]) -> int:
    return len(sample_clients(session, segment_condition(session, rule), size=PREVIEW))


def _page(session: Session, place: int) -> int:
    return len(list_clients(session, after=place, limit=PAGE).items)


def _email(session: Session, place: int) -> int:
    return len(search_clients(session, by_email(f"{place * 7919 % 2**12:03x}"), after=0, limit=PAGE).items)


def _name(session: Session, place: int) -> int:
    return len(search_clients(session, by_name(f"aoife {'bdkmnorw'[place % 8]}"), after=0, limit=PAGE).items)


def _timed(database: Database, look: Callable[[Session], int], times: int) -> tuple[list[float], int]:
    seconds, found = [], 0
    for _ in range(times):
        with database.reading() as session:
            started = time.perf_counter()
            found = look(session)
            seconds.append(time.perf_counter() - started)
    return seconds, found


def _milliseconds(seconds: list[float]) -> dict[str, float]:
    return {"median_ms": round(median(seconds) * 1000, 1), "worst_ms": round(max(seconds) * 1000, 1)}
