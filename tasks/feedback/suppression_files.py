"""Lists of suppressed addresses as CSV: in, from another system or an older one, and out."""

import csv
import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

from db.engine import Database, Session
from db.errors import Invalid
from db.models import Unsubscribed
from db.models.suppressions import EVERYWHERE
from db.queries.suppressions import (
    SuppressionChange,
    apply_suppressions,
    list_held,
    list_suppressions,
    lock_gate,
)
from db.states import Channel, SuppressionReason
from tasks.addresses import AddressInvalid, normalise_address
from tasks.spreadsheets import BYTE_ORDER_MARK, csv_lines, restored

MOST_ROWS = 100_000
MOST_ERRORS = 100
_ADDRESS_NAMES = ("address", "email", "e-mail", "email address", "phone", "mobile")
_ROWS_A_PIECE = 2_000
_EXPORTED_A_PIECE = 2_000
COLUMNS = (
    "address",
    "channel",
    "flow_id",
    "reason",
    "active",
    "effective_at",
    "source",
    "evidence",
)


@dataclass(frozen=True)
class RowError:
    """A row that was left out; `row` is its number in the file, the header being 1."""

    row: int
    message: str


@dataclass
class ImportedSuppressions:
    """`rows` are those of the file; `errors` are the first of the `rejected` ones."""

    rows: int = 0
    suppressed: int = 0
    rejected: int = 0
    errors: list[RowError] = field(default_factory=list)


def import_suppressions(
    database: Database, body: bytes, *, source: str, region: str, flow_id: int | None = None
) -> ImportedSuppressions:
    """Suppress every address of a CSV file, everywhere or for a flow, in short transactions. Saying it again changes nothing.

    The column of addresses is named address, email or phone; `channel`, `effective_at` (ISO 8601) and `note` are read where they
    are there. Who was lifted later than `effective_at` stays lifted.

    Raises:
        Invalid: it is no such file, or has more than `MOST_ROWS` rows.
    """
    report, piece = ImportedSuppressions(), []
    now = datetime.now(UTC)
    for number, row in _rows(body):
        report.rows += 1
        try:
            piece.append(_change(row, source, region, flow_id or EVERYWHERE, now))
        except (AddressInvalid, ValueError) as error:
            report.rejected += 1
            if len(report.errors) < MOST_ERRORS:
                report.errors.append(RowError(number, str(error)))
        if len(piece) == _ROWS_A_PIECE:
            report.suppressed += _apply(database, piece)
            piece = []
    report.suppressed += _apply(database, piece)
    return report


def export_suppressions(
    database: Database,
    *,
    channel: Channel | None = None,
    reason: SuppressionReason | None = None,
    active: bool = True,
) -> Iterator[str]:
    """Pieces of a CSV with `COLUMNS`; formulas are defused."""
    yield BYTE_ORDER_MARK + csv_lines([COLUMNS])
    after: int | None = 0
    while after is not None:
        with database.reading() as session:
            page = list_suppressions(
                session,
                after=after,
                limit=_EXPORTED_A_PIECE,
                channel=channel,
                reason=reason,
                active=active,
            )
        yield csv_lines(_cells(each) for each in page.items)
        after = page.next_cursor


def _cells(row: Unsubscribed) -> Sequence[object]:
    return (
        row.address,
        row.channel.value,
        row.scope or "",
        row.reason.value,
        "yes" if row.active else "no",
        row.effective_at.isoformat(),
        row.source,
        row.evidence or "",
    )


def _rows(body: bytes) -> Iterator[tuple[int, dict[str, str]]]:
    """(number of the row, its cells by column in lower case)."""
    try:
        text = body.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise Invalid("file", "is no UTF-8 text: save it as CSV UTF-8") from None
    reader = csv.reader(io.StringIO(text), strict=True)
    try:
        header = [cell.strip().lower() for cell in next(reader, [])]
        places = [header.index(name) for name in _ADDRESS_NAMES if name in header]
        if not places:
            raise Invalid("file", "has no column of addresses: name it address, email or phone")
        for number, cells in enumerate(reader, start=2):
            if number > MOST_ROWS + 1:
                raise Invalid("file", f"has more than {MOST_ROWS:,} rows: cut it into several")
            row = {name: restored(cell.strip()) for name, cell in zip(header, cells, strict=False)}
            given = next(
                (cells[place].strip() for place in places if place < len(cells) and cells[place].strip()), ""
            )
            if given or any(row.values()):
                yield number, {**row, "address": restored(given)}
    except csv.Error as error:
        raise Invalid("file", f"cannot be read as CSV: {error}, near row {reader.line_num}") from None


def _change(row: dict[str, str], source: str, region: str, scope: int, now: datetime) -> SuppressionChange:
    address = row["address"]
    if not address:
        raise ValueError("the address is empty")
    channel = _channel(row.get("channel", ""), address)
    return SuppressionChange(
        channel=channel,
        address=normalise_address(channel, address, region),
        reason=SuppressionReason.MANUAL,
        effective_at=_moment(row.get("effective_at", ""), now),
        source=source[:40],
        scope=scope,
        evidence=row.get("note", "")[:1000] or None,
    )


def _channel(text: str, address: str) -> Channel:
    if not text:
        return Channel.EMAIL if "@" in address else Channel.SMS
    try:
        return Channel(text.lower())
    except ValueError:
        raise ValueError(f"channel {text[:20]!r} is neither email nor sms") from None


def _moment(text: str, now: datetime) -> datetime:
    if not text:
        return now
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise ValueError(
            f"effective_at {text[:40]!r} is no ISO 8601 moment, such as 2026-11-23T12:00:00Z"
        ) from None
    moment = moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)
    if not 1990 <= moment.year <= 9000:
        raise ValueError(f"effective_at {text[:40]!r} is not in our time")
    return min(moment, now)


def _apply(database: Database, piece: Sequence[SuppressionChange]) -> int:
    """How many are different by it. What holds already holds on as it is, with its moment and source."""

    def work(session: Session) -> int:
        lock_gate(session)
        held = {
            (channel, address)
            for channel in Channel
            for address in list_held(session, [each for each in piece if each.channel is channel])
        }
        return apply_suppressions(
            session, [each for each in piece if (each.channel, each.address) not in held]
        )

    return database.run(work) if piece else 0
