"""Many rows as few parameters: JSON texts of arrays, each as large as a server takes."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import orjson

# Half of MariaDB's default max_allowed_packet (16 MiB) is left for the escaping of quotes.
PARAMETER_BYTES = 4 * 1024 * 1024


def packed(rows: Iterable[Sequence[Any]]) -> Iterator[str]:
    """JSON arrays of the rows, as `db.dialect.json_arrays` reads them; as few as may be, none of them empty."""
    return _packed(list(rows))


def as_text(document: Any) -> str:
    """A JSON document as the text that a JSON column takes."""
    return orjson.dumps(document).decode()


def _packed(rows: list[Sequence[Any]]) -> Iterator[str]:
    if not rows:
        return
    document = orjson.dumps(rows)
    if len(document) <= PARAMETER_BYTES or len(rows) == 1:
        yield document.decode()
        return
    middle = len(rows) // 2
    yield from _packed(rows[:middle])
    yield from _packed(rows[middle:])
