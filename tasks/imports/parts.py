"""The XML parts of a workbook (ECMA-376, part 1, chapter 18), read as a stream: no tree of them is ever in memory.

openpyxl reads workbooks too, but keeps all shared strings and a node per row: a million rows of eight columns took it
160 s, and 58 s more before the first one. What it knows about number formats and dates is used.
"""

import re
import zipfile
from collections.abc import Callable, Generator
from contextlib import closing
from typing import Generic, TypeVar
from xml.parsers import expat

from tasks.imports.archives import MIB, read_blocks
from tasks.imports.formats import UnreadableFile, damaged

T = TypeVar("T")
Attributes = dict[str, str]

_MAX_UNIT_BYTES = 8 * MIB
"""Of one row or one string: a row of 16,384 cells takes about 1 MiB."""
_MAX_CELL_PARTS = 64
# Characters that XML cannot hold are written as _x000D_ (18.4.8).
_ESCAPED = re.compile(r"_x([0-9A-Fa-f]{4})_")


class Handler(Generic[T]):
    """What is done with the elements of a part. `found` are the items that were completed, taken out by `parse`.

    Subclasses keep `progress` moving: the parser gives up on a part in which nothing is completed for 8 MiB.
    """

    def __init__(self) -> None:
        self.found: list[T] = []
        self.progress = 0
        self.is_over = False
        self._text: list[str] | None = None

    def start(self, name: str, attributes: Attributes) -> None:
        raise NotImplementedError

    def end(self, name: str) -> None:
        raise NotImplementedError

    def characters(self, text: str) -> None:
        if self._text is not None:
            self._text.append(text)
            if len(self._text) > _MAX_CELL_PARTS:
                self._text = ["".join(self._text)]
                if len(self._text[0]) > MIB:
                    raise damaged("a cell holds more than a million characters")


def parse(archive: zipfile.ZipFile, entry: zipfile.ZipInfo, handler: Handler[T]) -> Generator[T]:
    """What the handler finds in the part, as soon as it is found. Close it, if it is not read to its end.

    Raises:
        UnreadableFile: the part is damaged, or not what a spreadsheet program writes.
    """
    parser = _parser(handler)
    waiting = seen = 0
    try:
        with closing(read_blocks(archive, entry)) as blocks:
            for block in blocks:
                parser.Parse(block, False)
                yield from handler.found
                handler.found.clear()
                if handler.is_over:
                    return
                waiting = 0 if handler.progress != seen else waiting + len(block)
                seen = handler.progress
                if waiting > _MAX_UNIT_BYTES:
                    raise damaged(f"a row or text of it is larger than {_MAX_UNIT_BYTES // MIB} MiB")
        parser.Parse(b"", True)
    except expat.ExpatError as error:
        raise damaged("a part of it is no XML") from error
    yield from handler.found


def _parser(handler: Handler[T]) -> expat.XMLParserType:
    parser = expat.ParserCreate()
    parser.buffer_text = True
    parser.StartDoctypeDeclHandler = _refuse_entities
    parser.CharacterDataHandler = handler.characters

    def first(name: str, attributes: Attributes) -> None:
        """The root tells whether elements have a prefix, as some programs write them: <x:row>."""
        prefix, colon, _ = name.rpartition(":")
        parser.StartElementHandler = _without(prefix + colon, handler.start) if colon else handler.start
        parser.EndElementHandler = _end_without(prefix + colon, handler.end) if colon else handler.end
        parser.StartElementHandler(name, attributes)

    parser.StartElementHandler = first
    return parser


def _without(prefix: str, start: Callable[[str, Attributes], None]) -> Callable[[str, Attributes], None]:
    return lambda name, attributes: start(name.removeprefix(prefix), attributes)


def _end_without(prefix: str, end: Callable[[str], None]) -> Callable[[str], None]:
    return lambda name: end(name.removeprefix(prefix))


def _refuse_entities(*_: object) -> None:
    """No spreadsheet program writes a document type; entities are declared there, and explode when they are used."""
    raise UnreadableFile(
        "the workbook declares XML entities, which no spreadsheet program does; open it and save it again"
    )


def unescaped(text: str) -> str:
    """The text without `_x000D_` and the like."""
    return _ESCAPED.sub(_unescape, text) if "_x" in text else text


def _unescape(match: re.Match[str]) -> str:
    code = int(match[1], 16)
    return match[0] if 0xD800 <= code <= 0xDFFF else chr(code)


class Strings(Handler[str]):
    """The shared strings: `<si><t>Ann</t></si>`, or several runs of rich text; phonetic hints are no part of them."""

    def __init__(self) -> None:
        super().__init__()
        self._is_phonetic = False

    def start(self, name: str, attributes: Attributes) -> None:
        if name == "si":
            self._parts: list[str] = []
        elif name == "t" and not self._is_phonetic:
            self._text = []
        elif name == "rPh":
            self._is_phonetic = True

    def end(self, name: str) -> None:
        if name == "t" and self._text is not None:
            self._parts.append("".join(self._text))
            self._text = None
        elif name == "rPh":
            self._is_phonetic = False
        elif name == "si":
            self.found.append(unescaped("".join(self._parts)))
            self.progress += 1


_MAX_ELEMENTS = 100_000
_USED = ("Id", "Type", "Target", "name", "state", "date1904", "numFmtId", "formatCode")


class Elements(Handler[tuple[str, Attributes]]):
    """Elements of some names with those of their attributes that are used, in the order in which they begin."""

    def __init__(self, *names: str) -> None:
        super().__init__()
        self._names = names
        self._count = 0

    def start(self, name: str, attributes: Attributes) -> None:
        self.progress += 1
        if name in self._names:
            self._count += 1
            if self._count > _MAX_ELEMENTS:
                raise damaged(f"it has more than {_MAX_ELEMENTS:,} styles or sheets")
            used = {key: value for key, value in attributes.items() if key in _USED or key.endswith(":id")}
            self.found.append((name, used))

    def end(self, name: str) -> None:
        self.progress += 1
