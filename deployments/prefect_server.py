"""`prefect server start`, patient with a locked SQLite for seconds and not for a minute.

Now and then two of the server's own coroutines wait for each other: one has the write lock of the database and waits for
something in the process, the other has that and waits for the lock. Prefect 3.8.8 lets it wait for 60 s, and nothing is
answered meanwhile: a campaign that is asked for in such a minute starts after it. With a shorter wait the second one
gives up, answers 503, which Prefect's clients and ours repeat, and all goes on. PostgreSQL, which production has, knows
no such lock. It was seen once in some twenty starts under load (`make bench`).
"""

import sys
from typing import Any, Final

from prefect.cli import app
from prefect.server.database.configurations import AioSqliteConfiguration

BUSY_SECONDS: Final = 5


def be_impatient() -> None:
    """Let every connection that the server opens to SQLite wait so many seconds at most."""
    set_up = AioSqliteConfiguration.setup_sqlite

    def impatient(self: AioSqliteConfiguration, conn: Any, record: Any) -> None:
        set_up(self, conn, record)
        cursor = conn.cursor()
        cursor.execute(f"PRAGMA busy_timeout = {BUSY_SECONDS * 1000}")
        cursor.close()

    AioSqliteConfiguration.setup_sqlite = impatient  # type: ignore[method-assign]


if __name__ == "__main__":
    be_impatient()
    sys.argv[0] = "prefect"
    app()
