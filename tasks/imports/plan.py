"""How a file is going to be read: decided once, when it is uploaded, so that every run reads it alike."""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from db.errors import Invalid
from db.fields import FieldKind
from tasks.imports.cleaning import clean_chunk
from tasks.imports.custom_columns import KnownField
from tasks.imports.layout import Layout, detect_layout
from tasks.imports.mapping import ColumnMapping, require_fit, validate_mapping
from tasks.imports.reading import Chunk, read_sample
from tasks.imports.regions import date_order_in, decimal_in
from tasks.imports.reject_columns import ADDED_COLUMNS
from tasks.imports.rejects import Reject
from tasks.imports.suggestions import Suggested, suggest
from tasks.imports.targets import DecimalMark, Target
from tasks.imports.workbook import as_text_file

SAMPLE_ROWS = 1000
SHOWN_ROWS = 20
_SHOWN_CHARACTERS = 200


@dataclass(frozen=True)
class Wishes:
    """What a person said about a file, None where nothing: detection and settings decide then.

    `mapping` is the person's own (JSON) or a saved one (`mapping_name` tells its name). `sheet` is one of a workbook,
    `has_header` the word on the first row, `region` (ISO 3166) that on phones in national form.
    """

    mapping: ColumnMapping | None = None
    mapping_name: str | None = None
    sheet: str | None = None
    has_header: bool | None = None
    region: str | None = None


@dataclass(frozen=True)
class Plan:
    """How an import reads its file."""

    mapping: ColumnMapping
    layout: Layout


@dataclass(frozen=True)
class Preview:
    """What a file looks like: how it is written, what its columns would become, and its first rows.

    `sheets` are those of a workbook, `notes` doubts about the file as a whole, `new_fields` the custom fields that the
    mapping would define.
    """

    plan: Plan
    sheets: tuple[str, ...]
    suggested: Suggested
    rows: list[dict[str, str]]
    problems: list[Reject]
    notes: list[str] = field(default_factory=list)
    new_fields: dict[str, FieldKind] = field(default_factory=dict)


def preview_file(
    path: Path, *, default_region: str, fields: Mapping[str, KnownField], wishes: Wishes | None = None
) -> Preview:
    """Look at the beginning of a file; `problems` are those of its first rows under the mapping.

    Raises:
        UnreadableFile: it cannot be read.
        Invalid: the mapping or the sheet does not fit it.
    """
    wishes = wishes or Wishes()
    with _looked_at(path, wishes) as (layout, sheets, sample):
        suggested = _suggested(sample, layout, wishes, default_region, fields)
        plan = _plan(layout, suggested, wishes, default_region, fields)
        shown = sample.frame.head(SHOWN_ROWS)
        last = int(shown.index[-1]) if len(shown) else 0
        types = {key: known.type for key, known in fields.items()}
        cleaned = clean_chunk(shown, plan.mapping, default_region=default_region, fields=types)
        unread = [found for found in (*sample.rejects, *sample.warnings) if found.row_number <= last]
    problems = sorted([*unread, *cleaned.rejects, *cleaned.warnings], key=lambda found: found.row_number)
    rows = [{str(name): _shown(cell) for name, cell in row.items()} for row in shown.to_dict("records")]
    notes = [*_notes(plan, wishes), *suggested.notes]
    new_fields = {key: kind for key, kind in plan.mapping.custom_kinds().items() if key not in fields}
    return Preview(plan, sheets, suggested, rows, problems, notes, new_fields)


def plan_import(
    path: Path,
    *,
    default_region: str,
    fields: Mapping[str, KnownField] | None = None,
    wishes: Wishes | None = None,
) -> Plan:
    """How to import a file: with the mapping that a person wished for, or else with the suggested one.

    Without a person's word on phones in national form the mapping, the file's numbers and `default_region` decide, in
    this order; on dates and decimals the mapping, the file's cells and the region.

    Raises:
        UnreadableFile: it cannot be read.
        Invalid: the mapping or the sheet does not fit it, or the fields that there are.
    """
    wishes = wishes or Wishes()
    with _looked_at(path, wishes) as (layout, _, sample):
        suggested = _suggested(sample, layout, wishes, default_region, fields or {})
    return _plan(layout, suggested, wishes, default_region, fields or {})


def parse_mapping(given: str) -> ColumnMapping:
    """A mapping that a person sent as JSON.

    Raises:
        Invalid: it is no JSON, or no mapping.
    """
    try:
        document = json.loads(given)
    except (ValueError, RecursionError) as error:
        raise Invalid("mapping", f"is no JSON: {error}") from error
    return ColumnMapping.from_json(document)


def to_stored(mapping: ColumnMapping) -> dict[str, Any]:
    """The mapping for a JSON column. Pairs, since MySQL sorts the members of an object."""
    return mapping.to_json() | {"columns": [list(pair) for pair in mapping.targets]}


def from_stored(document: Mapping[str, Any]) -> ColumnMapping:
    """What `to_stored` made."""
    return replace(
        ColumnMapping.from_json({**document, "columns": {}}),
        targets=tuple((name, target) for name, target in document["columns"]),
    )


@contextmanager
def _looked_at(path: Path, wishes: Wishes) -> Iterator[tuple[Layout, tuple[str, ...], Chunk]]:
    with TemporaryDirectory(prefix="ics-look-") as folder:
        text = as_text_file(path, Path(folder), sheet=wishes.sheet, rows=SAMPLE_ROWS)
        layout = detect_layout(text.path, has_header=wishes.has_header, sheet=text.sheet)
        yield layout, text.sheets, read_sample(text.path, rows=SAMPLE_ROWS, layout=layout)


def _suggested(
    sample: Chunk, layout: Layout, wishes: Wishes, default_region: str, fields: Mapping[str, KnownField]
) -> Suggested:
    region = wishes.region or default_region
    return suggest(sample.frame, default_region=region, fields=fields, is_workbook=layout.sheet is not None)


def _plan(
    layout: Layout,
    suggested: Suggested,
    wishes: Wishes,
    default_region: str,
    fields: Mapping[str, KnownField],
) -> Plan:
    mapping = wishes.mapping or suggested.mapping
    region = wishes.region or mapping.default_region or suggested.mapping.default_region or default_region
    decimal = DecimalMark.POINT if layout.sheet is not None else decimal_in(region)
    # With a word on everything: a setting that is changed later does not change how the rest is read.
    mapping = replace(
        mapping,
        default_region=region,
        date_order=mapping.date_order or suggested.mapping.date_order or date_order_in(region),
        decimal=mapping.decimal or suggested.mapping.decimal or decimal,
    )
    if wishes.mapping_name is not None:
        require_fit(mapping, layout.columns, name=wishes.mapping_name)
        mapping = replace(
            mapping, targets=tuple(pair for pair in mapping.targets if pair[0] in layout.columns)
        )
    validate_mapping(mapping, layout.columns, fields={key: known.type for key, known in fields.items()})
    return Plan(mapping, layout)


def _notes(plan: Plan, wishes: Wishes) -> list[str]:
    notes = []
    if not plan.layout.has_header and wishes.has_header is None:
        notes.append(
            "the first row holds a client, so the columns have no names; if it does hold names, say has_header=true"
        )
    mapped = {name for name, target in plan.mapping.targets if target != Target.IGNORE}
    left_out = [name for name in plan.layout.columns if name not in mapped and name not in ADDED_COLUMNS]
    if left_out:
        notes.append(f"not imported: {', '.join(map(repr, left_out[:20]))}")
    return notes


def _shown(cell: object) -> str:
    text = str(cell)
    return text if len(text) <= _SHOWN_CHARACTERS else text[: _SHOWN_CHARACTERS - 1] + "…"
