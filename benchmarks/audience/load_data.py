"""The bare limit of an import: LOAD DATA of rows that are clean already, into a table like `clients`, without a second look."""

import csv
import json
import tempfile
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

import pymysql
from sqlalchemy import make_url

from benchmarks.measured import Row
from db.models import Client

_TABLE = "bench_load_data"
_COLUMNS = ("identity_key", "email", "phone", "first_name", "last_name", "tags", "custom_fields")


def load_at_the_limit(database_url: str, file: Path, rows: int) -> Row:
    """The rows of the file, cleaned beforehand and not in the measured time; every index is there, one commit."""
    with tempfile.TemporaryDirectory(prefix="ics-bench-") as folder:
        clean = Path(folder) / "clean.tsv"
        _write_clean(file, clean)
        seconds, loaded = _load(database_url, clean)
    if loaded != rows:
        raise SystemExit(f"LOAD DATA took {loaded:,} of {rows:,} rows")
    return Row("bare import, LOAD DATA", rows, seconds)


def _load(database_url: str, clean: Path) -> tuple[float, int]:
    url = make_url(database_url)
    connection = pymysql.connect(
        host=url.host,
        port=url.port or 3306,
        user=url.username,
        password=url.password or "",
        database=url.database,
        charset="utf8mb4",
        local_infile=True,
    )
    with connection, connection.cursor() as cursor:
        # MySQL has it off; the server of the benchmark is a private one.
        cursor.execute("SET GLOBAL local_infile = 1")
        cursor.execute(f"DROP TABLE IF EXISTS {_TABLE}")
        cursor.execute(f"CREATE TABLE {_TABLE} LIKE {Client.__tablename__}")
        started = time.perf_counter()
        cursor.execute(
            f"LOAD DATA LOCAL INFILE '{clean}' INTO TABLE {_TABLE} CHARACTER SET utf8mb4 ({', '.join(_COLUMNS)})"
            " SET email_consent = 'unknown', sms_consent = 'unknown'"
        )
        connection.commit()
        seconds = time.perf_counter() - started
        cursor.execute(f"SELECT COUNT(*) FROM {_TABLE}")
        found = cursor.fetchone()
        cursor.execute(f"DROP TABLE {_TABLE}")
    return seconds, int(found[0]) if found else 0


def _write_clean(file: Path, clean: Path) -> None:
    with file.open(encoding="utf-8", newline="") as source, clean.open("w", encoding="utf-8") as target:
        for row in _clean_rows(csv.DictReader(source)):
            target.write("\t".join(row) + "\n")


def _clean_rows(rows: Iterable[dict[str, str]]) -> Iterator[tuple[str, ...]]:
    for row in rows:
        email, phone = row["Email"].lower(), "+353" + row["Mobile"].replace(" ", "").removeprefix("0")
        day, month, year = row["Birthday"].split("/")
        custom = {"city": row["City"], "birthday": f"{year}-{month}-{day}", "plan": row["Plan"]}
        tags = row["Tags"].split(",") if row["Tags"] else []
        yield (
            *(email, email, phone, row["First name"], row["Last name"]),
            json.dumps(tags),
            json.dumps(custom, ensure_ascii=False),
        )
