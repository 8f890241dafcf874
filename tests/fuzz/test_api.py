"""A part of `make fuzz`: every answer of the API fits its own description, and none is an error of ours."""

import itertools
from pathlib import Path

import pytest

from tests.fuzz.api import Fuzzer, environment

EXAMPLES = 4


@pytest.mark.slow
@pytest.mark.parametrize("part", range(4))
def test_every_answer_fits_the_description(
    part: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in environment(tmp_path).items():
        monkeypatch.setenv(name, value)
    fuzzer = Fuzzer(tmp_path)
    operations = list(itertools.islice(fuzzer.operations(), part, None, 4))
    assert len(operations) > 20
    found = [each for operation in operations for each in fuzzer.run(operation, examples=EXAMPLES, seed=20)]
    assert not found, "\n".join(str(each) for each in found)
