"""The columns of an export: which there are, what their headers say, and what stands in their cells. Pure.

The headers are names that our own import maps back by itself (`tasks/imports/headers.py`), so that an exported file can be
corrected and imported again.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from db.errors import Invalid
from db.fields import nearest

CUSTOM_PREFIX = "custom."
IMPORTABLE = (
    "email",
    "phone",
    "first_name",
    "last_name",
    "external_id",
    "time_zone",
    "locale",
    "tags",
    "email_consent",
    "sms_consent",
)
"""What an export has unless columns are named, before the custom fields: everything that an import takes."""

ON_REQUEST = ("client_id", "created_at", "updated_at")
_DOCUMENT = "custom_fields"
Row = Sequence[Any]


@dataclass(frozen=True)
class Columns:
    """`names` as they are asked for and stand in the header: fields of a client, then `custom.<key>`."""

    names: tuple[str, ...]

    @property
    def fields(self) -> list[str]:
        """What has to be read of each client, in this order."""
        return [*self._plain, *([_DOCUMENT] if self._keys else [])]

    @property
    def _plain(self) -> list[str]:
        return [name for name in self.names if not name.startswith(CUSTOM_PREFIX)]

    @property
    def _keys(self) -> list[str]:
        return [name.removeprefix(CUSTOM_PREFIX) for name in self.names if name.startswith(CUSTOM_PREFIX)]

    def reader(self) -> Callable[[Row], list[Any]]:
        """A function from a row as it was read (the id, then `fields`) to the cells of its line: text or numbers."""
        plain, keys = self._plain, self._keys
        end = 1 + len(plain)
        written = [(place, _WRITTEN[name]) for place, name in enumerate(plain) if name in _WRITTEN]

        def cells(row: Row) -> list[Any]:
            line = list(row[1:end])
            for place, write in written:
                line[place] = write(line[place])
            if keys:
                values = row[end]
                line += [v if type(v) is str else _cell(v) for v in map(values.get, keys)]
            return line

        return cells


def choose_columns(asked: Sequence[str] | None, keys: Collection[str]) -> Columns:
    """The columns with these names, or all that can be imported again; `keys` are those of the custom fields there are.

    Raises:
        Invalid: a name is unknown, and which would be the nearest; or it is there twice, or there is none.
    """
    custom = [CUSTOM_PREFIX + key for key in keys]
    if asked is None:
        return Columns((*IMPORTABLE, *custom))
    known = (*IMPORTABLE, *ON_REQUEST, *custom)
    for name in asked:
        if name not in known:
            shown = name[:80].encode("ascii", "replace").decode()
            raise Invalid("columns", f"there is no column '{shown}'{nearest(name, known)}")
    if not asked or len(set(asked)) < len(asked):
        raise Invalid("columns", "name at least one column, and each once")
    is_custom = [name for name in asked if name in custom]
    return Columns((*(name for name in asked if name not in custom), *is_custom))


def _tags(tags: Sequence[str]) -> str:
    return ", ".join(tags)


def _moment(text: str) -> str:
    """ISO 8601 from the database's "2026-11-23 08:51:25.000000"."""
    return f"{text[:10]}T{text[11:19]}Z"


def _cell(value: Any) -> str | int | float:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    return value if isinstance(value, int | float) else orjson.dumps(value).decode()


_WRITTEN: Mapping[str, Callable[[Any], str]] = {"tags": _tags, "created_at": _moment, "updated_at": _moment}
