"""docs/security.md names a test for each threat: each of them exists."""

import re
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[3]
_NAMED = re.compile(r"`(tests/[\w/]+\.py)(?:::(\w+))?`")


def test_every_test_that_the_threat_table_names_exists() -> None:
    document = (PROJECT / "docs" / "security.md").read_text()
    named = _NAMED.findall(document)
    assert len(named) > 30
    missing = [
        (file, name)
        for file, name in named
        if not (PROJECT / file).exists() or (name and f"def {name}(" not in (PROJECT / file).read_text())
    ]
    assert missing == []
