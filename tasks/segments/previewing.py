"""Who a rule would choose, before anybody saves it."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from db.dialect import time_limit
from db.engine import Database, Session
from db.errors import TookTooLong
from db.models import Client
from db.queries.list_rules import check_references
from db.queries.names import list_names_of_fields, list_names_of_flows, list_names_of_lists
from db.queries.segments import count_clients, read_known, sample_clients, segment_condition
from db.segments.rules import Rule, named_fields, named_flows, named_lists
from tasks.segments.explaining import Names, explain

SAMPLE_SIZE = 25


@dataclass(frozen=True)
class Preview:
    """`members` is None, and so is `sample`, when it takes longer than it may; the sample are the first clients, by id."""

    explanation: str
    members: int | None
    sample: Sequence[Client] | None
    seconds: float


def preview(database: Database, document: Any, *, seconds: float) -> Preview:
    """Count the clients whom a rule chooses, and show the first of them; up to `seconds` for each of the two.

    Raises:
        Invalid: the rule cannot be used; names the part.
    """
    start = time.monotonic()
    members, sample = None, None
    with database.reading() as session:
        rule = read_known(session, document)
        check_references(session, rule)
        explanation = in_words(session, rule)
        condition = segment_condition(session, document)
        try:
            with time_limit(session, "the preview", seconds):
                # First what is quick where many match; where nobody does, the count has looked at everybody already.
                members = count_clients(session, condition)
                sample = sample_clients(session, condition, size=SAMPLE_SIZE) if members else []
        except TookTooLong:
            pass
    return Preview(explanation, members, sample, round(time.monotonic() - start, 3))


def explain_document(session: Session, document: Any) -> str:
    """A rule, stored or not, in plain English.

    Raises:
        Invalid: the rule cannot be used; names the part.
    """
    rule = read_known(session, document)
    check_references(session, rule)
    return in_words(session, rule)


def in_words(session: Session, rule: Rule) -> str:
    """A rule in plain English, with the labels and names of what it names."""
    names = Names(
        list_names_of_fields(session, named_fields(rule)),
        list_names_of_lists(session, named_lists(rule)),
        list_names_of_flows(session, named_flows(rule)),
    )
    return explain(rule, names)
