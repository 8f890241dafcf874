"""Zip archives of strangers: looked at before they are opened, and unpacked piece by piece.

What an archive says of itself may be a lie, so nothing is trusted that costs memory or time: the size of its directory is
checked before the directory is read, and `zipfile` never unpacks more of an entry than its directory says (it ends
there, and finds the checksum wrong).
"""

import zipfile
import zlib
from collections.abc import Generator
from pathlib import Path

from tasks.imports.formats import BROKEN_ZIP, UnreadableFile, damaged

MIB = 1024 * 1024
MAX_ENTRIES = 10_000
MAX_PART_BYTES = 2048 * MIB
"""Unpacked, of a sheet or of the strings. A million rows of eight columns take about 400 MiB."""
MAX_TOTAL_BYTES = 4096 * MIB
MAX_RATIO = 200
"""DEFLATE packs a bomb a thousandfold, a sheet of a million like rows up to about fiftyfold."""
_MAX_DIRECTORY_BYTES = 4 * MIB
_SMALL_BYTES = 16 * MIB
_BLOCK_BYTES = 64 * 1024
_DIRECTORY_SIZE = 5
_ENCRYPTED_FLAG = 1


def open_archive(path: Path) -> zipfile.ZipFile:
    """The archive, if it is safe to open.

    Raises:
        UnreadableFile: it is damaged, encrypted, or unpacks to more than any workbook.
    """
    try:
        _check_directory(path)
        archive = zipfile.ZipFile(path)
    except BROKEN_ZIP as error:
        raise damaged("its zip archive cannot be read") from error
    try:
        _check_entries(archive.infolist())
    except BaseException:
        archive.close()
        raise
    return archive


def read_blocks(archive: zipfile.ZipFile, entry: zipfile.ZipInfo) -> Generator[bytes]:
    """The content of an entry in blocks of up to 64 KiB.

    Raises:
        UnreadableFile: it is damaged.
    """
    try:
        with archive.open(entry) as file:
            while block := file.read(_BLOCK_BYTES):
                yield block
    except (*BROKEN_ZIP, zlib.error) as error:
        raise damaged("a part of it cannot be unpacked") from error


def _check_directory(path: Path) -> None:
    """The directory is read as a whole when an archive is opened: 4 MiB name far more parts than a workbook has."""
    with path.open("rb") as file:
        # The very search that `ZipFile` makes; one of our own could be shown another directory than it.
        found = zipfile._EndRecData(file)  # type: ignore[attr-defined]  # noqa: SLF001
    if not found:
        raise damaged("its zip archive is cut off")
    if found[_DIRECTORY_SIZE] > _MAX_DIRECTORY_BYTES:
        raise _bomb("has more parts than any workbook")


def _check_entries(entries: list[zipfile.ZipInfo]) -> None:
    if len(entries) > MAX_ENTRIES:
        raise _bomb(f"has {len(entries):,} parts")
    for entry in entries:
        if entry.flag_bits & _ENCRYPTED_FLAG:
            raise UnreadableFile("the archive has a password; remove it, and import the file then")
        if entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise damaged("it is packed in a way that no spreadsheet program uses")
        if entry.file_size > MAX_PART_BYTES:
            raise _bomb(f"unpacks to {entry.file_size / MIB:,.0f} MiB in one part")
        if entry.file_size > _SMALL_BYTES and entry.file_size > MAX_RATIO * entry.compress_size:
            raise _bomb(f"unpacks to {entry.file_size // max(entry.compress_size, 1):,} times its size")
    total = sum(entry.file_size for entry in entries)
    if total > MAX_TOTAL_BYTES:
        raise _bomb(f"unpacks to {total / MIB:,.0f} MiB")


def _bomb(why: str) -> UnreadableFile:
    return UnreadableFile(f"the archive {why}; save the clients as 'CSV UTF-8' and import that file")
