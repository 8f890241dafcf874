"""`ics import`: what is asked for must make sense before anything is sent."""

from pathlib import Path

import pytest
from typer.testing import CliRunner

from cli import app


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ([], "give a file, or one of"),
        (["FILE", "--undo", "3"], "give a file, or one of"),
        (["--undo", "3", "--follow", "4"], "give a file, or one of"),
        (["--undo", "3", "--dry-run"], "belong to a file"),
        (["--undo", "0"], "Invalid value for '--undo'"),
        (["FILE", "--policy", "merge"], "is not one of"),
        (["FILE", "--mapping", "not-there.json"], "does not exist"),
        (["not-there.csv"], "does not exist"),
    ],
)
def test_bad_usage_is_said_and_ends_with_code_2(tmp_path: Path, arguments: list[str], says: str) -> None:
    path = tmp_path / "clients.csv"
    path.write_text("email\n")
    given = [str(path) if word == "FILE" else word for word in arguments]
    found = CliRunner().invoke(app, ["import", *given, "--token", "ics_x"], env={"COLUMNS": "300"})
    assert found.exit_code == 2
    assert says in " ".join(found.output.split())


def test_an_api_that_does_not_answer_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "clients.csv"
    path.write_text("email\n")
    arguments = ["import", str(path), "--token", "ics_x", "--url", "http://127.0.0.1:9"]
    found = CliRunner().invoke(app, arguments)
    assert found.exit_code == 1
    assert "does not answer" in str(found.exception)
