"""kill -9 of a real process in the middle of a chunk: what was imported is imported once, and counted once."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from sqlalchemy import Engine, func, select

from db.engine import Database
from db.models import Client, ClientListMember, ConsentChange, ImportChange
from db.queries.import_undo import request_undo
from db.states import ImportState
from tests.integration.imports import client, count, noted, run, store

PROJECT = Path(__file__).parents[2]
COLUMNS = {"Email": "email", "Name": "first_name", "News": "email_consent"}
# Stops for ever before its transaction would be committed, in the chunk (or piece) of this number.
PROGRAM = """
import sys, time
from db.engine import get_database
from db.queries import import_undo, import_writing
from tasks.imports.run import run_import

def stopping(module, name, left):
    real = getattr(module, name)
    def work(*given, **values):
        nonlocal left
        left -= 1
        real(*given, **values)
        if left == 0:
            print("ready", flush=True)
            time.sleep(600)
    setattr(module, name, work)

stopping(import_writing, "_add_counts", int(sys.argv[2]))
stopping(import_undo, "_report", int(sys.argv[2]))
run_import(get_database(), int(sys.argv[1]), on_progress=lambda done, total: None, chunk_rows=10)
"""


@pytest.fixture
def database(engine: Engine) -> Database:
    return Database(engine)


def kill_in_the_middle(database: Database, import_id: int, *, chunk: int) -> None:
    url = database.engine.url.render_as_string(hide_password=False)
    process = subprocess.Popen(
        [sys.executable, "-c", PROGRAM, str(import_id), str(chunk)],
        cwd=PROJECT,
        env={**os.environ, "ICS_DATABASE_URL": url},
        stdout=subprocess.PIPE,
    )
    assert process.stdout is not None
    with process.stdout:
        assert process.stdout.readline() == b"ready\n"
        process.kill()
    process.wait()


def test_an_import_and_its_undoing_survive_kill_9(database: Database) -> None:
    run(database, store(database, COLUMNS, *(f"c{number}@x.ie,Old," for number in range(20))))
    rows = [f"c{number}@x.ie,New{number},yes" for number in range(40)]
    rows[25:25] = ["bad,,", "c3@x.ie,Again,", "c24@x.ie,Again,"]
    import_id = store(database, COLUMNS, *rows, list_name="Spring")

    kill_in_the_middle(database, import_id, chunk=3)
    assert count(database, ClientListMember) == 20
    report = run(database, import_id, chunk_rows=7)
    assert (report.created, report.updated, report.duplicates, report.rejected) == (20, 20, 2, 1)
    assert (count(database, Client), count(database, ClientListMember)) == (40, 40)
    assert (count(database, ImportChange), count(database, ConsentChange)) == (20, 40)
    assert client(database, "c3@x.ie").first_name == "Again"
    assert [reason for *_, reason in noted(database, import_id)].count("invalid_email") == 1

    database.run(lambda s: request_undo(s, import_id))
    kill_in_the_middle(database, import_id, chunk=1)
    report = run(database, import_id)
    assert (report.state, report.undone) == (ImportState.UNDONE, 40)
    assert (count(database, Client), count(database, ClientListMember)) == (20, 0)
    with database.reading() as s:
        names = s.execute(select(Client.first_name, func.count()).group_by(Client.first_name)).all()
    assert [tuple(row) for row in names] == [("Old", 20)]
