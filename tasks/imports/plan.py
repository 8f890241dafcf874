"""How a file is going to be read: decided once, when it is uploaded, so that every run reads it alike."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from db.errors import Invalid
from tasks.imports.cleaning import clean_chunk
from tasks.imports.layout import Layout, detect_layout
from tasks.imports.mapping import ColumnMapping, suggest_mapping, validate_mapping
from tasks.imports.reading import read_sample
from tasks.imports.rejects import Reject

SHOWN_ROWS = 20


@dataclass(frozen=True)
class Preview:
    """What a file looks like: how it is written, what its columns would become, and its first rows."""

    layout: Layout
    mapping: ColumnMapping
    rows: list[dict[str, str]]
    problems: list[Reject]


def preview_file(path: Path, *, default_region: str) -> Preview:
    """Look at the beginning of a file; `problems` are those of its first rows under the suggested mapping.

    Raises:
        UnreadableFile: it is no CSV.
    """
    layout = detect_layout(path)
    sample = read_sample(path, layout=layout)
    mapping = _settled(suggest_mapping(sample.frame, default_region=default_region), default_region)
    shown = sample.frame.head(SHOWN_ROWS)
    cleaned = clean_chunk(shown, mapping, default_region=default_region)
    last = shown.index[-1] if len(shown) else 0
    unread = [reject for reject in sample.rejects if reject.row_number <= last]
    problems = sorted([*unread, *cleaned.rejects, *cleaned.warnings], key=lambda found: found.row_number)
    rows = [{str(name): str(cell) for name, cell in row.items()} for row in shown.to_dict("records")]
    return Preview(layout, mapping, rows, problems)


def plan_import(path: Path, *, given: str | None, region: str | None, default_region: str) -> ColumnMapping:
    """The mapping to import a file with: the one that a person gave as JSON, or else the suggested one.

    `region` is the person's word on phones in national form; without it the mapping, the file's numbers and
    `default_region` decide, in this order.

    Raises:
        Invalid: the file is no CSV, or the mapping does not fit it.
    """
    layout = detect_layout(path)
    if given is None:
        sample = read_sample(path, layout=layout)
        mapping = suggest_mapping(sample.frame, default_region=region or default_region)
    else:
        mapping = ColumnMapping.from_json(_document(given))
    if region is not None:
        mapping = replace(mapping, default_region=region)
    mapping = _settled(mapping, default_region)
    validate_mapping(mapping, layout.columns)
    return mapping


def to_stored(mapping: ColumnMapping) -> dict[str, Any]:
    """The mapping for a JSON column. Pairs, since MySQL sorts the members of an object."""
    return mapping.to_json() | {"columns": [list(pair) for pair in mapping.targets]}


def from_stored(document: Mapping[str, Any]) -> ColumnMapping:
    """What `to_stored` made."""
    return replace(
        ColumnMapping.from_json({**document, "columns": {}}),
        targets=tuple((name, target) for name, target in document["columns"]),
    )


def _settled(mapping: ColumnMapping, default_region: str) -> ColumnMapping:
    """With a region of its own: a setting that is changed later does not change how the rest is read."""
    return replace(mapping, default_region=mapping.default_region or default_region)


def _document(given: str) -> Any:
    try:
        return json.loads(given)
    except ValueError as error:
        raise Invalid("mapping", f"is no JSON: {error}") from error
