"""From a chunk of text to what the database takes of it. No I/O."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

from db.fields import FieldKind, FieldType
from db.queries.import_guard import ByErasedAddress
from db.queries.import_writing import CleanRows, RejectRow
from db.queries.imports import Severity
from db.states import ImportPolicy
from tasks.imports.cleaning import clean_chunk, read_identities
from tasks.imports.duplicates import merge_duplicates, repeated_row
from tasks.imports.mapping import ColumnMapping
from tasks.imports.reading import Chunk
from tasks.imports.rejects import Reject
from tasks.imports.seen import SeenKeys
from tasks.imports.targets import Target

_COLUMNS = {
    "email": (Target.EMAIL,),
    "phone": (Target.PHONE,),
    "email_consent": (Target.EMAIL_CONSENT, Target.EMAIL_OPT_OUT),
    "sms_consent": (Target.SMS_CONSENT, Target.SMS_OPT_OUT),
}


@dataclass
class Preparation:
    """Cleans the chunks of one file in their order, and knows whom it had before."""

    mapping: ColumnMapping
    default_region: str
    policy: ImportPolicy = ImportPolicy.UPDATE
    fields: Mapping[str, FieldType] = field(default_factory=dict)
    by_erased: ByErasedAddress | None = None
    _seen: SeenKeys = field(default_factory=SeenKeys)

    def skip(self, chunk: Chunk) -> None:
        """An earlier run imported the chunk: only whom it had is of interest."""
        self._seen.add(set(read_identities(chunk.frame, self.mapping, default_region=self.default_region)))

    def prepare(self, chunk: Chunk) -> CleanRows:
        """What the next chunk means for the database."""
        cleaned = clean_chunk(
            chunk.frame, self.mapping, default_region=self.default_region, fields=self.fields
        )
        merged = merge_duplicates(cleaned.rows, self.policy)
        keys = [row["identity_key"] for row in merged.rows]
        repeated = set(self._seen.among(keys))
        self._seen.add(keys)
        copies = (
            [repeated_row(row, self.policy) for row in merged.rows if row["identity_key"] in repeated]
            if repeated
            else []
        )
        return CleanRows(
            first_row=chunk.first_row,
            row_count=chunk.row_count,
            clients=merged.rows,
            duplicates=len(merged.warnings),
            repeated=repeated,
            rejects=_stored(Severity.REJECT, [*chunk.rejects, *cleaned.rejects]),
            warnings=_stored(
                Severity.WARNING, [*chunk.warnings, *cleaned.warnings, *merged.warnings, *copies]
            ),
            fields=self._fields(cleaned.spare_fields),
            spare_fields=cleaned.spare_fields,
            columns=self._columns(),
            by_erased=self.by_erased,
        )

    def _fields(self, spare: Collection[str]) -> dict[str, FieldType]:
        """The custom fields of the rows, as they were read."""
        kinds = self.mapping.custom_kinds() | dict.fromkeys(spare, FieldKind.TEXT)
        return {key: self.fields.get(key) or FieldType(key, kind) for key, kind in kinds.items()}

    def _columns(self) -> dict[str, str]:
        """The file's names of the columns that decide about consents and addresses."""
        named = {
            key: [name for target in targets for name in self.mapping.columns_of(target)]
            for key, targets in _COLUMNS.items()
        }
        return {key: names[0] for key, names in named.items() if names}


def cut_chunk(chunk: Chunk, count: int) -> tuple[Chunk, Chunk]:
    """The first `count` rows of a chunk, and the others. Runs may differ in the size of their chunks."""
    count = min(max(count, 0), chunk.row_count)
    if count == 0:
        return _part(chunk, 0, 0, 0, float("inf")), chunk
    numbers = sorted([*chunk.frame.index.tolist(), *(found.row_number for found in chunk.rejects)])
    last = numbers[count - 1]
    return (
        _part(chunk, chunk.first_row, count, 0, last),
        _part(chunk, chunk.first_row + count, chunk.row_count - count, last + 1, float("inf")),
    )


def _part(chunk: Chunk, first_row: int, row_count: int, start: float, last: float) -> Chunk:
    """Those rows of a chunk whose numbers are from `start` to `last`; none if `row_count` is 0."""
    is_in = (chunk.frame.index >= start) & (chunk.frame.index <= last) & (row_count > 0)

    def some(found: Sequence[Reject]) -> tuple[Reject, ...]:
        return tuple(each for each in found if row_count and start <= each.row_number <= last)

    return Chunk(first_row, row_count, chunk.frame[is_in], some(chunk.rejects), some(chunk.warnings))


def _stored(severity: Severity, rejects: list[Reject]) -> list[RejectRow]:
    found = sorted(rejects, key=lambda each: each.row_number)
    return [
        RejectRow(
            severity,
            each.row_number,
            each.column,
            each.value,
            each.reason.value,
            each.message,
            each.cells if severity is Severity.REJECT else None,
        )
        for each in found
    ]
