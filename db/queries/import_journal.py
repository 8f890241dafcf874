"""What an import did to clients that were there: for its undoing, and for the log of consents."""

from collections.abc import Collection, Mapping
from typing import Any

import orjson
from sqlalchemy import delete, select, text, type_coerce
from sqlalchemy.orm import Session
from sqlalchemy.types import Text

from db.dialect import json_arrays, quoted, with_rows
from db.models import Client, ConsentChange, ImportChange, MemberImport
from db.overlay import CONSENTS, chain, difference
from db.queries.parameters import as_text, packed
from db.queries.upserts import StoredClient
from db.states import Channel, Consent

_CHANGES = ImportChange.__tablename__
_LOG = ConsentChange.__tablename__
_CLIENTS = Client.__tablename__
CHANNELS = dict(zip(CONSENTS, (Channel.EMAIL, Channel.SMS), strict=True))
"""By the consents of a client."""
IMPORTED = "import "
UNDONE = "undo of import "
"""How the sources of consents begin that files gave, and that were taken back with them."""
Difference = tuple[Mapping[str, Any], Mapping[str, Any]]
"""(before, after), see `db.overlay.difference`."""


def source_of(import_id: int) -> str:
    return f"{IMPORTED}{import_id}"


def undo_source_of(import_id: int) -> str:
    return f"{UNDONE}{import_id}"


def journal_changes(
    session: Session,
    import_id: int,
    clients: Mapping[int, StoredClient],
    changes: Mapping[int, Mapping[str, Any]],
    *,
    repeated: Collection[int],
) -> int:
    """Keep what the changes write over, by client. Those that the import created itself need nothing kept.

    `repeated` are clients that an earlier row of the file had; returns how many of them had not been changed by it.
    """
    differences: dict[int, Difference] = {
        key: difference(clients[key].columns, values)
        for key, values in changes.items()
        if clients[key].import_id != import_id
    }
    again = [key for key in repeated if key in differences]
    earlier = take_differences(session, import_id, again) if again else {}
    for key, found in earlier.items():
        differences[key] = chain(found, differences[key])
    insert_differences(session, import_id, differences)
    return len(again) - len(earlier)


def take_differences(session: Session, import_id: int, client_ids: Collection[int]) -> dict[int, Difference]:
    """What the import wrote over of these clients, out of its journal."""
    is_one = (ImportChange.import_id == import_id) & ImportChange.client_id.in_(client_ids)
    rows = session.execute(
        select(
            ImportChange.client_id,
            type_coerce(ImportChange.before, Text),
            type_coerce(ImportChange.after, Text),
        ).where(is_one)
    )
    found = {key: (orjson.loads(before), orjson.loads(after)) for key, before, after in rows}
    session.execute(delete(ImportChange).where(is_one).execution_options(synchronize_session=False))
    return found


def insert_differences(session: Session, import_id: int, differences: Mapping[int, Difference]) -> None:
    """Keep what the import wrote over, by client."""
    dialect = session.get_bind().dialect
    source = json_arrays(
        dialect, "rows", {"the_client": "BIGINT", "the_old": "LONGTEXT", "the_new": "LONGTEXT"}
    )
    statement = with_rows(
        f"INSERT INTO {_CHANGES} (import_id, client_id, {quoted(dialect, 'before')}, {quoted(dialect, 'after')})"
        f" SELECT :import_id, the_client, the_old, the_new FROM {source} AS incoming",
        "rows",
    )
    rows = ((key, *map(as_text, differences[key])) for key in sorted(differences))
    for group in packed(rows):
        session.execute(statement, {"import_id": import_id, "rows": group})


def log_consents(
    session: Session,
    member_import: MemberImport,
    *,
    changes: Mapping[int, Mapping[str, Any]],
    created: Collection[Mapping[str, Any]],
    created_after: int,
    columns: Mapping[str, str],
) -> None:
    """Log the consents that a chunk set: of clients that it changed, and of the rows `created`, whose clients' ids are above
    `created_after`. `columns` names the columns of the file."""
    for name, channel in CHANNELS.items():
        column = columns.get(name)
        given = {
            "channel": channel.value,
            "source": source_of(member_import.id),
            "wording": f"column '{column}' of {member_import.filename}" if column else None,
        }
        if any(row.get(name) not in (None, Consent.UNKNOWN) for row in created):
            statement = text(
                f"INSERT INTO {_LOG} (client_id, channel, consent, source, wording)"
                f" SELECT id, :channel, {name}, :source, :wording FROM {_CLIENTS}"
                f" WHERE import_id = :import_id AND id > :after AND {name} <> '{Consent.UNKNOWN}'"
            )
            session.execute(statement, {"import_id": member_import.id, "after": created_after, **given})
        rows = {key: values[name] for key, values in changes.items() if name in values}
        insert_consents(session, rows, **given)


def insert_consents(
    session: Session,
    consents: Mapping[int, str],
    *,
    channel: str | None,
    source: str | None,
    wording: str | None,
) -> None:
    """Log consents of one channel, by client."""
    source_rows = json_arrays(
        session.get_bind().dialect, "rows", {"the_client": "BIGINT", "the_consent": "VARCHAR(24)"}
    )
    statement = with_rows(
        f"INSERT INTO {_LOG} (client_id, channel, consent, source, wording)"
        f" SELECT the_client, :channel, the_consent, :source, :wording FROM {source_rows} AS incoming",
        "rows",
    )
    for group in packed((key, consents[key]) for key in sorted(consents)):
        session.execute(statement, {"rows": group, "channel": channel, "source": source, "wording": wording})
