"""Who was in a file so far."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from tasks.imports.seen import SeenKeys

keys = st.lists(st.text(max_size=3), max_size=20, unique=True)


@given(st.lists(keys, max_size=12), keys)
def test_it_is_a_set(added: list[list[str]], asked: list[str]) -> None:
    seen = SeenKeys()
    for some in added:
        seen.add(some)
    everybody = {key for some in added for key in some}
    assert seen.among(asked) == [key for key in asked if key in everybody]


def test_a_key_takes_eight_bytes_however_it_was_added() -> None:
    seen = SeenKeys()
    for start in range(0, 20_000, 100):
        seen.add([f"client{number}@x.ie" for number in range(start, start + 100)])
    assert sum(run.nbytes for run in seen._runs) == 20_000 * np.dtype(np.int64).itemsize
    assert len(seen._runs) < 12
