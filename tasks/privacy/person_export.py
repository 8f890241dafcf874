"""Everything that is stored about one person, as one JSON document (GDPR, articles 15 and 20), written as it is read."""

from collections.abc import Iterator, Sequence

import orjson

from db.engine import Database
from db.queries import erasure, person, traces
from db.queries.erasure import Person
from db.states import Channel
from tasks.erasure import by_erased_address
from tasks.privacy.traces import traces_of

_FORMAT = orjson.OPT_INDENT_2


def export_person(database: Database, client_id: int, *, keys: Sequence[bytes]) -> Iterator[bytes]:
    """Pieces of `{"client": {...}, "consents": [...], "lists": [...], ...}`.

    Raises:
        NotFound: there is no such client; before the first piece.
    """
    with database.reading() as session:
        profile = person.get_profile(session, client_id)
        found = erasure.get_person(session, client_id)
        named = traces_of(_all_addresses(found))
        rejects = traces.list_rejects_naming(session, named.texts, named.digits, named.are_in_cell)
        messages = person.list_message_ids(session, found)
    hashes = _hashes(keys, found)
    sections = person.sections_of(found, hashes=hashes, message_ids=messages, reject_ids=rejects)
    return _pieces(database, profile, sections)


def _pieces(database: Database, profile: person.Row, sections: list[person.Section]) -> Iterator[bytes]:
    yield b'{\n"client": ' + orjson.dumps(profile, option=_FORMAT)
    for section in sections:
        yield b',\n"%s": [' % section.name.encode()
        after: int | None = 0
        is_first = True
        while after is not None:
            with database.reading() as session:
                rows, after = person.read_section(session, section, after=after)
            if rows:
                text = b",\n".join(orjson.dumps(row, option=_FORMAT) for row in rows)
                yield (b"\n" if is_first else b",\n") + text
                is_first = False
        yield b"]"
    yield b"\n}\n"


def _hashes(keys: Sequence[bytes], found: Person) -> dict[Channel, list[str]]:
    return {
        channel: list(by_erased_address(keys, channel, sorted(group)))
        for channel, group in _all_addresses(found).items()
    }


def _all_addresses(found: Person) -> dict[Channel, frozenset[str]]:
    return {channel: found.addresses[channel] | found.shared[channel] for channel in Channel}
