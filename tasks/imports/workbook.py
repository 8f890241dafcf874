"""Excel workbooks (.xlsx, .xlsm) as CSV: `as_text_file` writes the text that everything downstream reads.

The upload itself stays as it is. Macros are ignored, formulas are what the program computed last.
"""

import csv
import posixpath
import zipfile
from collections.abc import Callable, Generator, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from itertools import repeat
from pathlib import Path

from db.errors import Invalid
from db.fields import nearest
from tasks.imports.archives import open_archive
from tasks.imports.formats import UnreadableFile, damaged, is_zip, require_xlsx
from tasks.imports.parts import Attributes, Elements, Strings, parse
from tasks.imports.sheets import Row, Rows, Styles
from tasks.imports.strings import SharedStrings

MAX_SHEETS = 1000
# As much as an upload of CSV may hold: cells that share a text make a small workbook a large one.
_MAX_TEXT_CHARACTERS = 512 * 1024**2
_MAX_SAMPLE_CHARACTERS = 16 * 1024**2
_ROWS_BETWEEN_SIGNS = 10_000
_WORKBOOK = "xl/workbook.xml"


@dataclass(frozen=True)
class TextFile:
    """A file of text to read rows from. `sheet` is the sheet of a workbook that it holds, None for what was text already.

    `sheets` are all that the workbook has.
    """

    path: Path
    sheet: str | None = None
    sheets: tuple[str, ...] = ()


def as_text_file(
    path: Path,
    folder: Path,
    *,
    sheet: str | None = None,
    rows: int | None = None,
    on_progress: Callable[[], None] = lambda: None,
) -> TextFile:
    """The file as text: a CSV as it is, a sheet of a workbook as a CSV (UTF-8, commas) in `folder`.

    Without `sheet`, the first visible sheet with content. Records of the CSV are rows of the sheet, blank ones
    included, so that row numbers fit. `rows` stops after the first ones. `on_progress` is called now and then.

    Raises:
        UnreadableFile: it is an archive, a damaged or too large workbook, or one without content.
        Invalid: there is no sheet of that name.
    """
    if not is_zip(path):
        if sheet is not None:
            raise Invalid("sheet", "only an Excel workbook has sheets; leave it out for a CSV")
        return TextFile(path)
    with _opened(path, folder) as workbook:
        chosen = workbook.choose(sheet)
        written = folder / "sheet.csv"
        with closing(workbook.rows(chosen)) as content:
            _write(content, written, most_rows=rows, on_progress=on_progress)
        return TextFile(written, chosen.name, tuple(each.name for each in workbook.sheets))


def _write(
    rows: Iterator[Row], path: Path, *, most_rows: int | None, on_progress: Callable[[], None]
) -> None:
    limit = _MAX_TEXT_CHARACTERS if most_rows is None else _MAX_SAMPLE_CHARACTERS
    written = characters = 0
    with path.open("w", encoding="utf-8", errors="replace", newline="") as file:
        writer = csv.writer(file)
        for count, (number, cells) in enumerate(rows, start=1):
            writer.writerows(repeat((), number - written - 1))
            writer.writerow(cells)
            written = number
            characters += sum(map(len, cells)) + len(cells)
            if count % _ROWS_BETWEEN_SIGNS == 0:
                on_progress()
            if count == most_rows:
                return
            if characters > limit:
                if most_rows is not None:
                    return
                raise UnreadableFile(
                    "the sheet holds too much text (more than 512 MiB); cut it into several files"
                )


@dataclass(frozen=True)
class _Sheet:
    name: str
    entry: zipfile.ZipInfo
    is_visible: bool


class _Workbook:
    """An open workbook: what its small parts say, and how to get at the large ones."""

    def __init__(self, archive: zipfile.ZipFile, folder: Path) -> None:
        self._archive = archive
        self._entries = {entry.filename.lower(): entry for entry in archive.infolist()}
        self._relations = self._read_relations()
        self.sheets, counts_from_1904 = self._read_sheets()
        self._styles = self._read_styles(counts_from_1904=counts_from_1904)
        self.strings = SharedStrings(self._read_strings(), folder)

    def rows(self, sheet: _Sheet) -> Generator[Row]:
        return parse(self._archive, sheet.entry, Rows(self.strings, self._styles))

    def choose(self, name: str | None) -> _Sheet:
        """The sheet of this name, or the first one with content that people can see, or the first with content.

        Raises:
            Invalid: there is none of the name.
            UnreadableFile: all are blank.
        """
        if name is not None:
            for sheet in self.sheets:
                if sheet.name.casefold() == name.casefold():
                    return sheet
            known = [sheet.name for sheet in self.sheets]
            raise Invalid("sheet", f"there is no sheet '{name[:100]}'{nearest(name, known)}")
        for sheet in sorted(self.sheets, key=lambda each: not each.is_visible):
            with closing(self.rows(sheet)) as rows:
                if next(rows, None) is not None:
                    return sheet
        raise UnreadableFile("the workbook is empty; it needs a row of column names and a row per client")

    def _entry(self, name: str) -> zipfile.ZipInfo:
        try:
            return self._entries[name.lower()]
        except KeyError:
            raise damaged("a part of it is missing") from None

    def _elements(self, entry: zipfile.ZipInfo, *names: str) -> Iterator[tuple[str, Attributes]]:
        return parse(self._archive, entry, Elements(*names))

    def _read_relations(self) -> dict[str, tuple[str, str]]:
        """(last word of the type, part) by id."""
        entry = self._entry("xl/_rels/workbook.xml.rels")
        return {
            found.get("Id", ""): (
                found.get("Type", "").rpartition("/")[2],
                posixpath.normpath(posixpath.join("/xl", found.get("Target", ""))).lstrip("/"),
            )
            for _, found in self._elements(entry, "Relationship")
        }

    def _read_sheets(self) -> tuple[list[_Sheet], bool]:
        sheets: list[_Sheet] = []
        counts_from_1904 = False
        for name, found in self._elements(self._entry(_WORKBOOK), "workbookPr", "sheet"):
            if name == "workbookPr":
                counts_from_1904 = found.get("date1904") in ("1", "true")
                continue
            relation = next((value for key, value in found.items() if key.endswith(":id")), "")
            kind, part = self._relations.get(relation, ("", ""))
            if kind == "worksheet":
                is_visible = found.get("state", "visible") == "visible"
                sheets.append(_Sheet(found.get("name", ""), self._entry(part), is_visible))
            if len(sheets) > MAX_SHEETS:
                raise damaged(f"it has more than {MAX_SHEETS:,} sheets")
        return sheets, counts_from_1904

    def _read_styles(self, *, counts_from_1904: bool) -> Styles:
        part = self._part_of("styles")
        elements = list(self._elements(part, "numFmt", "cellXfs", "cellStyles", "xf")) if part else []
        return Styles.of(elements, counts_from_1904=counts_from_1904)

    def _read_strings(self) -> Generator[str]:
        part = self._part_of("sharedStrings")
        if part is not None:
            yield from parse(self._archive, part, Strings())

    def _part_of(self, kind: str) -> zipfile.ZipInfo | None:
        names = [part for found, part in self._relations.values() if found == kind]
        return self._entry(names[0]) if names else None


@contextmanager
def _opened(path: Path, folder: Path) -> Iterator[_Workbook]:
    with open_archive(path) as archive:
        require_xlsx(archive.namelist())
        workbook = _Workbook(archive, folder)
        try:
            yield workbook
        finally:
            workbook.strings.close()
