"""The shared strings of a workbook: as many as there are, in bounded memory."""

import tempfile
from collections import OrderedDict
from collections.abc import Generator
from itertools import islice
from pathlib import Path
from typing import IO

_BLOCK_STRINGS = 256
_KEPT_BYTES = 96 * 1024 * 1024
_STRING_OVERHEAD = 64
# XML cannot hold it, so no string does.
_BETWEEN = "\0"


class SharedStrings:
    """Strings by their number, read from the workbook no further than they are asked for.

    Those read lie on the disk in blocks of 256; the blocks used last, up to about 96 MiB, are in memory too. Cells of
    the first rows mostly use the first strings, so the beginning of a large workbook is read at once.
    """

    def __init__(self, strings: Generator[str], folder: Path) -> None:
        self._strings = strings
        self._folder = folder
        self._file: IO[bytes] | None = None
        self._places: list[tuple[int, int]] = []
        self._kept: OrderedDict[int, list[str]] = OrderedDict()
        self._kept_bytes = 0
        self._current = -1
        self._block: list[str] = []

    def __getitem__(self, index: int) -> str:
        if index < 0:
            raise IndexError(index)
        number, position = divmod(index, _BLOCK_STRINGS)
        if number != self._current:
            self._block = self._kept.get(number) or self._load(number)
            self._kept.move_to_end(number)
            self._current = number
        return self._block[position]

    def close(self) -> None:
        self._strings.close()
        if self._file is not None:
            self._file.close()

    def _load(self, number: int) -> list[str]:
        while number >= len(self._places):
            block = self._read_on()
            if number == len(self._places) - 1:
                return block
        offset, size = self._places[number]
        file = self._opened()
        file.seek(offset)
        block = file.read(size).decode().split(_BETWEEN)
        self._keep(number, block, size)
        return block

    def _read_on(self) -> list[str]:
        block = [text.replace(_BETWEEN, "") for text in islice(self._strings, _BLOCK_STRINGS)]
        if not block:
            raise IndexError(len(self._places) * _BLOCK_STRINGS)
        data = _BETWEEN.join(block).encode()
        file = self._opened()
        offset = file.seek(0, 2)
        file.write(data)
        self._places.append((offset, len(data)))
        self._keep(len(self._places) - 1, block, len(data))
        return block

    def _keep(self, number: int, block: list[str], size: int) -> None:
        self._kept[number] = block
        self._kept_bytes += size + _STRING_OVERHEAD * len(block)
        while self._kept_bytes > _KEPT_BYTES and len(self._kept) > 1:
            dropped, strings = self._kept.popitem(last=False)
            self._kept_bytes -= self._places[dropped][1] + _STRING_OVERHEAD * len(strings)

    def _opened(self) -> IO[bytes]:
        if self._file is None:
            self._file = tempfile.TemporaryFile(dir=self._folder)  # noqa: SIM115
        return self._file
