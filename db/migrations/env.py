"""Alembic's entry: runs the versions on the connection it is given (`db/migrate.py`) or on `ICS_DATABASE_URL`."""

from alembic import context
from sqlalchemy import Connection

import db.models  # noqa: F401 - registers the tables, for autogenerate
from db.base import PREFIX, Base
from db.engine import make_engine
from settings import get_settings


def _run(connection: Connection) -> None:
    context.configure(
        connection=connection,
        target_metadata=Base.metadata,
        version_table=PREFIX + "migrations",
        transaction_per_migration=True,
        compare_type=True,
    )
    with context.begin_transaction():
        context.run_migrations()


given = context.config.attributes.get("connection")
if given is not None:
    _run(given)
else:
    with make_engine(get_settings().database_url).connect() as connection:
        _run(connection)
        connection.commit()
