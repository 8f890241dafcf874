"""How a file is written: its encoding, delimiter and columns. A file that is no CSV is named for what it is."""

import codecs
import csv
import io
import re
import zipfile
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from db.errors import Invalid
from tasks.imports.headers import target_of_header

DELIMITERS = (",", ";", "\t", "|")
_HEAD_BYTES = 256 * 1024
_SAMPLE_RECORDS = 200
# Control characters, NUL among them, that a text may hold beside one in a hundred; cleaning removes them.
_FEW_CONTROLS = 3
_BLOCK_BYTES = 1024 * 1024
# Excel writes (and hides) this line to say which delimiter follows. It counts as a row, as text editors show it.
_SEP_LINE = re.compile(r"sep=(.)\r?\n?")
_EMAIL = re.compile(r"[^@\s,;]+@[^@\s,;]+\.[A-Za-z]{2,}")
_BOMS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_SIGNATURES = (
    (b"\x89PNG", "a PNG picture"),
    (b"\xff\xd8\xff", "a JPEG picture"),
    (b"GIF8", "a GIF picture"),
    (b"%PDF", "a PDF document"),
    (b"\xd0\xcf\x11\xe0", "an old Excel workbook (.xls)"),
    (b"\x1f\x8b", "a gzip archive"),
    (b"7z\xbc\xaf", "a 7z archive"),
    (b"Rar!", "a RAR archive"),
    (b"SQLite format 3", "an SQLite database"),
    (b"{\\rtf", "an RTF document"),
)
_TEXT_SIGNATURES = (
    (re.compile(r"<!doctype html|<html", re.IGNORECASE), "a web page"),
    (re.compile(r"<\?xml", re.IGNORECASE), "an XML document"),
    (re.compile(r"BEGIN:VCARD", re.IGNORECASE), "a vCard file"),
    (re.compile(r"[{\[]\s*[\"{\[]"), "a JSON document"),
)
_SPREADSHEETS = ("Excel workbook", "spreadsheet")


class UnreadableFile(Invalid):
    """The file is no CSV that could be read; the message says what it seems to be, and the way out."""

    def __init__(self, message: str) -> None:
        super().__init__("file", message)


@dataclass(frozen=True)
class Layout:
    """How a file is written. `header_row` is the row number of the header, 1 in most files.

    `columns` are the names of the header, made distinct: "Email", "Email (2)"; one without a name is "column 3".
    """

    encoding: str
    delimiter: str
    columns: tuple[str, ...]
    header_row: int


def detect_layout(path: Path) -> Layout:
    """Look at the whole file for its encoding, and at its beginning for the rest.

    Raises:
        UnreadableFile: it is empty, no text, or has no columns or no header.
        OSError: it cannot be opened.
    """
    with path.open("rb") as file:
        head = file.read(_HEAD_BYTES)
    if not head.strip():
        raise UnreadableFile(
            "the file is empty; choose a CSV with a row of column names and a row per client"
        )
    _refuse_binary(path, head)
    encoding = _encoding(path, head)
    text = codecs.getincrementaldecoder(encoding)("replace").decode(head)
    _refuse_other_text(text)
    return _layout_of(text, encoding)


def _refuse_binary(path: Path, head: bytes) -> None:
    for signature, kind in _SIGNATURES:
        if head.startswith(signature):
            raise UnreadableFile(_not_csv(kind))
    if head.startswith(b"PK\x03\x04"):
        raise UnreadableFile(_not_csv(_kind_of_zip(path)))
    if _is_utf16(head):
        return
    controls = len(head) - len(head.translate(None, bytes(set(range(32)) - set(b"\t\n\r\f"))))
    if controls > _FEW_CONTROLS + len(head) / 100:
        raise UnreadableFile(_not_csv("no text"))


def _kind_of_zip(path: Path) -> str:
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except (zipfile.BadZipFile, OSError):
        return "a damaged zip archive"
    if any(name.startswith("xl/") for name in names):
        return "an Excel workbook (.xlsx)"
    if any(name.startswith("word/") for name in names):
        return "a Word document"
    if "mimetype" in names and "content.xml" in names:
        return "an OpenDocument spreadsheet or text"
    return "a zip archive"


def _not_csv(kind: str) -> str:
    if any(word in kind for word in _SPREADSHEETS):
        return f"this is {kind}, not a CSV; open it and save it as 'CSV UTF-8', then import that file"
    if "archive" in kind:
        return f"this is {kind}, not a CSV; unpack it and import the CSV inside"
    return f"this is {kind}, not a CSV; export the clients as CSV and import that file"


def _refuse_other_text(text: str) -> None:
    start = text[:200].lstrip("\ufeff \t\r\n")
    for pattern, kind in _TEXT_SIGNATURES:
        if pattern.match(start):
            raise UnreadableFile(_not_csv(kind))


def _is_utf16(head: bytes) -> bool:
    return head.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)) or _bare_utf16(head) is not None


def _bare_utf16(head: bytes) -> str | None:
    """UTF-16 without a byte order mark: in Western text every second byte is 0, and the others are not."""
    sample = head[:4096]
    half = len(sample) // 2
    if half < 2:
        return None
    zeros = (sample[0::2].count(0), sample[1::2].count(0))
    if zeros[1] > 0.7 * half and zeros[0] == 0:
        return "utf-16-le"
    if zeros[0] > 0.7 * half and zeros[1] == 0:
        return "utf-16-be"
    return None


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


def _layout_of(text: str, encoding: str) -> Layout:
    text = text.removeprefix("\ufeff")
    announced = _SEP_LINE.match(text)
    delimiter = announced[1] if announced else _delimiter(text)
    records = _records(text, delimiter)
    skipped = 1 if announced else 0
    for position, record in enumerate(records[skipped:], start=skipped + 1):
        if any(cell.strip() for cell in record):
            columns = _column_names(record)
            _refuse_headerless(record, columns)
            return Layout(encoding, delimiter, columns, position)
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
        name = " ".join("".join(c if c.isprintable() else " " for c in cell).split())[:120]
        name = name or f"column {position}"
        seen[name] += 1
        while seen[name] > 1 and f"{name} ({seen[name]})" in seen:
            seen[name] += 1
        if seen[name] > 1:
            name = f"{name} ({seen[name]})"
            seen[name] += 1
        names.append(name)
    return tuple(names)


def _refuse_headerless(record: Sequence[str], columns: Sequence[str]) -> None:
    if any(_EMAIL.fullmatch(cell.strip()) for cell in record):
        raise UnreadableFile(
            "the first row seems to hold a client, not column names; put a row of names above it, "
            "such as: email,first_name,last_name"
        )
    if len(columns) == 1 and target_of_header(columns[0]) is None:
        raise UnreadableFile(
            "no columns were found: none of comma, semicolon, tab and | separates them. "
            "Save the file as CSV; a file of a single column must be named email or phone"
        )
