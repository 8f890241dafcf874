"""The command line itself: what it leaves on the machine."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_what_it_writes_is_readable_by_its_user_only(tmp_path: Path) -> None:
    home = tmp_path / "home"
    environment = {**os.environ, "ICS_HOME": str(home), "ICS_DATABASE_URL": ""}
    command = [sys.executable, "-m", "cli", "migrate"]
    subprocess.run(command, cwd=ROOT, env=environment, check=True, umask=0o022)
    written = [home, *home.rglob("*")]
    assert home / "ics.db" in written
    assert [str(each) for each in written if each.stat().st_mode & 0o077] == []
