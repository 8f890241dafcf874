"""What kind of file an upload is, by its first bytes. What cannot be imported is named, with the way out."""

import mmap
import re
import zipfile
from enum import StrEnum
from pathlib import Path

from db.errors import Invalid

ZIP_START = b"PK\x03\x04"
OLE_START = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"
_ENCRYPTED = "EncryptedPackage".encode("utf-16-le")
_SIGNATURES = (
    (b"\x89PNG", "a PNG picture"),
    (b"\xff\xd8\xff", "a JPEG picture"),
    (b"GIF8", "a GIF picture"),
    (b"%PDF", "a PDF document"),
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
_SAVE_AS = "open it and save it as 'Excel workbook (.xlsx)' or as 'CSV UTF-8', then import that file"


class UnreadableFile(Invalid):
    """The file cannot be read as rows of clients; the message says what it seems to be, and the way out."""

    def __init__(self, message: str) -> None:
        super().__init__("file", message)


class Spreadsheet(StrEnum):
    """Spreadsheets that are packed as a zip archive, and the part that tells each from the others."""

    XLSX = "xl/workbook.xml"
    XLSB = "xl/workbook.bin"
    NUMBERS = "Index/Document.iwa"
    ODS = "content.xml"


_NAMES = {
    Spreadsheet.XLSB: "a binary Excel workbook (.xlsb)",
    Spreadsheet.NUMBERS: "a Numbers spreadsheet",
    Spreadsheet.ODS: "an OpenDocument file (.ods)",
}


def is_zip(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(4) == ZIP_START


def refuse_binary(path: Path, head: bytes) -> None:
    """Refuse what is known by its first bytes and is neither text nor a zip archive.

    Raises:
        UnreadableFile: names what it is.
    """
    for signature, kind in _SIGNATURES:
        if head.startswith(signature):
            raise UnreadableFile(not_csv(kind))
    if head.startswith(OLE_START[:4]):
        raise UnreadableFile(_ole(path))


def refuse_text(start: str) -> None:
    """Refuse text of another kind, by its beginning.

    Raises:
        UnreadableFile: names what it is.
    """
    start = start[:200].lstrip("\ufeff \t\r\n")
    for pattern, kind in _TEXT_SIGNATURES:
        if pattern.match(start):
            raise UnreadableFile(not_csv(kind))


def require_xlsx(names: list[str]) -> None:
    """Refuse a zip archive with these entries, unless it is an Excel workbook (.xlsx or .xlsm).

    Raises:
        UnreadableFile: names what it is.
    """
    lower = {name.lower() for name in names}
    kind = next((kind for kind in Spreadsheet if kind.value.lower() in lower), None)
    if kind is Spreadsheet.XLSX:
        return
    if kind is not None:
        raise UnreadableFile(f"this is {_NAMES[kind]}, which cannot be read; {_SAVE_AS}")
    if any(name.startswith("word/") for name in lower):
        raise UnreadableFile(not_csv("a Word document"))
    raise UnreadableFile(not_csv("a zip archive"))


def not_csv(kind: str) -> str:
    """What to say of a file of this kind."""
    if "archive" in kind:
        return f"this is {kind}, not a CSV; unpack it and import the CSV or Excel workbook inside"
    return f"this is {kind}, not a CSV; export the clients as CSV or Excel workbook and import that file"


def _ole(path: Path) -> str:
    """Old Excel workbooks and encrypted new ones are both OLE compound files ([MS-CFB], [MS-OFFCRYPTO] 2.3.4)."""
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        is_encrypted = content.find(_ENCRYPTED) >= 0
    if is_encrypted:
        return (
            "this is an Excel workbook with a password; remove the password (File, Info, Protect Workbook), "
            "save it and import it then"
        )
    return f"this is an old Excel workbook (.xls), which cannot be read; {_SAVE_AS}"


def damaged(why: str) -> UnreadableFile:
    """A workbook that is broken."""
    return UnreadableFile(
        f"the workbook is damaged ({why}); open it, let the program repair it, and save it again"
    )


BROKEN_ZIP = (zipfile.BadZipFile, EOFError, NotImplementedError, OSError, RuntimeError)
"""What `zipfile` raises for archives that are broken, cut, encrypted or packed in a way it does not know."""
