"""How a file is written: its encoding, delimiter and columns. A file that is no CSV is named for what it is."""

import codecs
import csv
import io
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from tasks.imports.formats import UnreadableFile, not_csv, refuse_binary, refuse_text
from tasks.imports.headers import target_of_header
from tasks.spreadsheets import restored

DELIMITERS = (",", ";", "\t", "|")
_HEAD_BYTES = 256 * 1024
_SAMPLE_RECORDS = 200
# Control characters, NUL among them, that a text may hold beside one in a hundred; cleaning removes them.
_FEW_CONTROLS = 3
_BLOCK_BYTES = 1024 * 1024
# Excel writes (and hides) this line to say which delimiter follows. It counts as a row, as text editors show it.
_SEP_LINE = re.compile(r"sep=(.)\r?\n?")
_EMAIL = re.compile(r"[^@\s,;]+@[^@\s,;]+\.[A-Za-z]{2,}")
# In international form, or digits in the groups of a phone number. Plain digits may be the name of a year.
_PHONE = re.compile(r"'?(\+|00)[1-9][\d ().\-/]{7,}|\(?0?\d{2,4}\)?[ .\-/]\d{3,4}[ .\-]?\d{3,5}|0\d{8,10}")
_BOMS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)


@dataclass(frozen=True)
class Layout:
    """How a file is written. `header_row` is the row number of the header, 1 in most files; where there is none, that
    of the row before the first client: 0 in most files.

    `columns` are the names of the header, made distinct: "Email", "Email (2)"; one without a name is "column 3".
    `sheet` is the sheet of the workbook that the text was made of.
    """

    encoding: str
    delimiter: str
    columns: tuple[str, ...]
    header_row: int
    has_header: bool = True
    sheet: str | None = None

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> "Layout":
        return cls(**{**document, "columns": tuple(document["columns"])})


def detect_layout(path: Path, *, has_header: bool | None = None, sheet: str | None = None) -> Layout:
    """Look at the whole file for its encoding, and at its beginning for the rest.

    `has_header` is a person's word on whether the first row holds names; without it, a row with an email or a phone
    number is a client's. `sheet` says that the file is the text of a workbook's sheet, in UTF-8 and with commas.

    Raises:
        UnreadableFile: it is empty, no text, or has no columns.
        OSError: it cannot be opened.
    """
    with path.open("rb") as file:
        head = file.read(_HEAD_BYTES)
    if sheet is not None:
        text = codecs.getincrementaldecoder("utf-8")("replace").decode(head)
        return replace(_layout_of(text, "utf-8", ",", has_header), sheet=sheet)
    if not head.strip():
        raise UnreadableFile(
            "the file is empty; choose a CSV with a row of column names and a row per client"
        )
    _refuse_binary(path, head)
    encoding = _encoding(path, head)
    text = codecs.getincrementaldecoder(encoding)("replace").decode(head).removeprefix("\ufeff")
    refuse_text(text)
    announced = _SEP_LINE.match(text)
    return _layout_of(text, encoding, announced[1] if announced else _delimiter(text), has_header)


def _refuse_binary(path: Path, head: bytes) -> None:
    refuse_binary(path, head)
    if _is_utf16(head):
        return
    controls = len(head) - len(head.translate(None, bytes(set(range(32)) - set(b"\t\n\r\f"))))
    if controls > _FEW_CONTROLS + len(head) / 100:
        raise UnreadableFile(not_csv("no text"))


def _is_utf16(head: bytes) -> bool:
    return head.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)) or _bare_utf16(head) is not None


def _bare_utf16(head: bytes) -> str | None:
    """UTF-16 without a byte order mark: a header in Latin letters begins with every second byte 0, which no other text does."""
    start, sample = head[:4], head[: 4096 & ~1]
    if len(start) < 4:
        return None
    for encoding, high, low in (
        ("utf-16-le", start[1::2], start[0::2]),
        ("utf-16-be", start[0::2], start[1::2]),
    ):
        if not any(high) and all(low) and _is_text(sample, encoding):
            return encoding
    return None


def _is_text(sample: bytes, encoding: str) -> bool:
    text = codecs.getincrementaldecoder(encoding)("replace").decode(sample)
    strange = sum(c == "\ufffd" or (c < " " and c not in "\t\r\n\f") for c in text)
    return strange <= _FEW_CONTROLS + len(text) / 100


def _encoding(path: Path, head: bytes) -> str:
    """UTF-8 if the whole file is, apart from a few broken bytes; Windows-1252 otherwise."""
    for bom, encoding in _BOMS:
        if head.startswith(bom):
            return encoding
    bare = _bare_utf16(head)
    if bare is not None:
        return bare
    if _is_utf8(path):
        return "utf-8"
    intact, broken = _count_utf8(path)
    return "utf-8" if broken == 0 or intact > 10 * broken else "cp1252"


def _is_utf8(path: Path) -> bool:
    decoder = codecs.getincrementaldecoder("utf-8")()
    with path.open("rb") as file:
        try:
            while block := file.read(_BLOCK_BYTES):
                decoder.decode(block)
            decoder.decode(b"", final=True)
        except UnicodeDecodeError:
            return False
    return True


def _count_utf8(path: Path) -> tuple[int, int]:
    """How many characters beyond ASCII the file holds if it is UTF-8, and how many bytes break that."""
    intact = broken = 0
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    with path.open("rb") as file:
        while block := file.read(_BLOCK_BYTES):
            text = decoder.decode(block)
            if not text.isascii():
                replaced = text.count("\ufffd")
                broken += replaced
                intact += sum(map(text.count, set(text) - _ASCII)) - replaced
    return intact, broken + decoder.decode(b"", final=True).count("\ufffd")


_ASCII = frozenset(map(chr, range(128)))


def _layout_of(text: str, encoding: str, delimiter: str, has_header: bool | None) -> Layout:
    records = _records(text, delimiter)
    skipped = 1 if _SEP_LINE.match(text) else 0
    for position, record in enumerate(records[skipped:], start=skipped + 1):
        if any(cell.strip() for cell in record):
            rest = records[position:]
            named = not _is_client(record) if has_header is None else has_header
            columns = _column_names(record if named else [""] * max(map(len, [record, *rest])))
            if named:
                _refuse_single(columns, rest)
            return Layout(encoding, delimiter, columns, position if named else position - 1, named)
    raise UnreadableFile("the file has no column names; its first row must hold them")


def _records(text: str, delimiter: str) -> list[list[str]]:
    """The first records of the file; the last of them may be cut."""
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, skipinitialspace=True)
    records: list[list[str]] = []
    try:
        for record in reader:
            records.append(record)
            if len(records) == _SAMPLE_RECORDS:
                break
    except csv.Error:
        # A quote that is never closed: what stands before it is enough to go by.
        pass
    return records


def _delimiter(text: str) -> str:
    """The one that cuts most records into as many cells as the header has; the first of equals."""

    def score(delimiter: str) -> tuple[float, int]:
        widths = [len(record) for record in _records(text, delimiter) if any(record)]
        if not widths or widths[0] < 2:
            return (0.0, 0)
        return (sum(width == widths[0] for width in widths) / len(widths), widths[0])

    scores = {delimiter: score(delimiter) for delimiter in DELIMITERS}
    return max(DELIMITERS, key=lambda delimiter: scores[delimiter])


def _column_names(record: Sequence[str]) -> tuple[str, ...]:
    names: list[str] = []
    seen: Counter[str] = Counter()
    for position, cell in enumerate(record, start=1):
        name = " ".join("".join(c if c.isprintable() else " " for c in restored(cell)).split())[:120].strip()
        name = name or f"column {position}"
        seen[name] += 1
        while seen[name] > 1 and f"{name} ({seen[name]})" in seen:
            seen[name] += 1
        if seen[name] > 1:
            name = f"{name} ({seen[name]})"
            seen[name] += 1
        names.append(name)
    return tuple(names)


def _is_client(record: Sequence[str]) -> bool:
    """Whether a cell is an email or a phone number, as no name of a column is."""
    return any(_EMAIL.fullmatch(cell.strip()) or _PHONE.fullmatch(cell.strip()) for cell in record)


def _refuse_single(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """A single column is one of addresses, or the delimiter was not found."""
    if len(columns) > 1 or target_of_header(columns[0]) is not None or any(map(_is_client, rows)):
        return
    raise UnreadableFile(
        "no columns were found: none of comma, semicolon, tab and | separates them. "
        "Save the file as CSV; a file of a single column must be named email or phone"
    )
