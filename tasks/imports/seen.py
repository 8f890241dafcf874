"""Who was in a file so far, in eight bytes a person. Pure."""

from collections.abc import Collection, Sequence

import numpy as np
from numpy.typing import NDArray

_Hashes = NDArray[np.int64]


class SeenKeys:
    """A set of texts by their 64-bit hashes, sorted in runs whose sizes double: ten million take 80 MB, where Python's set of
    numbers takes 900. That two of them share a hash has a chance of one in 300,000 among ten million."""

    def __init__(self) -> None:
        self._runs: list[_Hashes] = []

    def add(self, keys: Collection[str]) -> None:
        if keys:
            self._push(np.sort(_hashes(keys)))

    def among(self, keys: Sequence[str]) -> list[str]:
        """Those of the keys that were added before."""
        if not self._runs or not keys:
            return []
        hashes = _hashes(keys)
        found = np.zeros(len(keys), dtype=bool)
        for run in self._runs:
            places = np.searchsorted(run, hashes)
            places[places == len(run)] = 0
            found |= run[places] == hashes
        return [keys[position] for position in np.flatnonzero(found).tolist()]

    def _push(self, run: _Hashes) -> None:
        # Each number is copied once per doubling; there are never more runs than doublings.
        while self._runs and len(self._runs[-1]) <= 2 * len(run):
            run = np.sort(np.concatenate([self._runs.pop(), run]), kind="stable")
        self._runs.append(run)


def _hashes(keys: Collection[str]) -> _Hashes:
    return np.fromiter(map(hash, keys), dtype=np.int64, count=len(keys))
