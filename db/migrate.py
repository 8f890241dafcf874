"""Bring a database to a revision: used by `ics migrate`, the demo and the tests."""

from collections.abc import Callable
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection

from db.base import PREFIX
from db.engine import make_engine

_SCRIPTS = Path(__file__).parent / "migrations"


def upgrade(url: str, revision: str = "head") -> None:
    """Apply all migrations up to `revision` ("head" or a revision id)."""
    _with_connection(url, lambda config: command.upgrade(config, revision))


def downgrade(url: str, revision: str) -> None:
    """Take migrations back down to `revision` ("base" for an empty database)."""
    _with_connection(url, lambda config: command.downgrade(config, revision))


def pending(url: str) -> list[str]:
    """Revisions the code has and the database has not, oldest first. Empty when the database is up to date."""
    script = ScriptDirectory.from_config(_config())
    engine = make_engine(url)
    try:
        with engine.connect() as connection:
            context = MigrationContext.configure(connection, opts={"version_table": PREFIX + "migrations"})
            current = context.get_current_revision() or "base"
        return [step.revision for step in reversed(list(script.iterate_revisions("head", current)))]
    finally:
        engine.dispose()


def _config(connection: Connection | None = None) -> Config:
    config = Config()
    config.set_main_option("script_location", str(_SCRIPTS))
    config.attributes["connection"] = connection
    return config


def _with_connection(url: str, action: Callable[[Config], None]) -> None:
    engine = make_engine(url)
    try:
        with engine.connect() as connection:
            action(_config(connection))
            connection.commit()
    finally:
        engine.dispose()
