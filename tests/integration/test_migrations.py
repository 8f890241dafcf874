"""Migrations: they make what the models say, can be taken back, and can be run again after a cut."""

import json
import os
import subprocess
import sys
from pathlib import Path

from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import Engine, create_engine, inspect, text

from db.base import PREFIX, Base
from db.migrate import downgrade, pending, upgrade

PROJECT = Path(__file__).parents[2]


def test_the_migrations_make_exactly_what_the_models_say(engine: Engine) -> None:
    with engine.connect() as connection:
        context = MigrationContext.configure(
            connection, opts={"version_table": PREFIX + "migrations", "compare_type": True}
        )
        assert compare_metadata(context, Base.metadata) == []


def test_every_migration_can_be_taken_back_and_applied_again(database_url: str, engine: Engine) -> None:
    downgrade(database_url, "base")
    assert inspect(engine).get_table_names() == [PREFIX + "migrations"]
    assert len(pending(database_url)) > 20
    upgrade(database_url)
    assert pending(database_url) == []
    with engine.connect() as connection:
        gates = connection.execute(text(f"SELECT name FROM {PREFIX}gates")).scalars().all()
    assert sorted(gates) == ["list_rules", "suppressions"]


def test_a_migration_that_was_cut_after_its_table_is_finished_by_running_it_again(
    database_url: str, engine: Engine
) -> None:
    """MySQL commits each DDL statement by itself: the table is there, its index and the version are not."""
    downgrade(database_url, "0003")
    with engine.begin() as connection:
        Base.metadata.tables[PREFIX + "clients"].create(connection)
        # The models do not know the case of SQLite's index by name, so that a later migration has to make it.
        for columns in ("phone", "last_name_first_name", "first_name"):
            connection.execute(text(_drop_index(engine, columns)))
    upgrade(database_url)
    names = {index["name"] for index in inspect(engine).get_indexes(PREFIX + "clients")}
    assert f"ix_{PREFIX}clients_phone" in names


def test_the_custom_fields_that_clients_have_are_defined(database_url: str, engine: Engine) -> None:
    """By the migration that brought definitions: of one kind where all values agree, else text. No value is touched."""
    downgrade(database_url, "0030")
    documents = (
        '{"city": "Cork", "visits": 3, "vip": true, "code": 7, "2fa": false}',
        '{"visits": 2.5, "code": "x7", "vip": null, "never": null}',
        "{}",
        # Written by hand in the database: nothing could name them.
        json.dumps({'Straße "7"': 1, "x" * 300: 2}),
    )
    columns = "identity_key, tags, custom_fields, email_consent, sms_consent"
    with engine.begin() as connection:
        for number, document in enumerate(documents):
            connection.execute(
                text(
                    f"INSERT INTO {PREFIX}clients ({columns}) VALUES (:key, '[]', :fields, 'unknown', 'unknown')"
                ),
                {"key": f"c{number}@x.example", "fields": document},
            )
    upgrade(database_url)
    with engine.connect() as connection:
        found = connection.execute(text(f"SELECT * FROM {PREFIX}custom_fields")).mappings().all()
        stored = connection.execute(text(f"SELECT custom_fields FROM {PREFIX}clients ORDER BY id")).scalars()
        assert [json.loads(each) for each in stored] == [json.loads(each) for each in documents]
    kinds = {row["key"]: (row["label"], row["kind"]) for row in found}
    assert kinds == {
        "2fa": ("2fa", "boolean"),
        "city": ("City", "text"),
        "code": ("Code", "text"),
        "vip": ("Vip", "boolean"),
        "visits": ("Visits", "number"),
    }


def test_the_definitions_of_custom_fields_are_finished_after_a_cut(database_url: str, engine: Engine) -> None:
    """The table is there with one of the two fields; the version is not."""
    downgrade(database_url, "0030")
    columns = "identity_key, tags, custom_fields, email_consent, sms_consent"
    document = '{"city": "Cork", "visits": 3}'
    with engine.begin() as connection:
        connection.execute(
            text(
                f"INSERT INTO {PREFIX}clients ({columns}) VALUES ('a@x.example', '[]', :fields, 'unknown', 'unknown')"
            ),
            {"fields": document},
        )
        fields = Base.metadata.tables[PREFIX + "custom_fields"]
        fields.create(connection)
        connection.execute(fields.insert().values(key="city", label="Town", kind="text", choices=[]))
    upgrade(database_url)
    with engine.connect() as connection:
        found = connection.execute(text(f"SELECT * FROM {PREFIX}custom_fields")).mappings().all()
    assert {row["key"]: row["label"] for row in found} == {"city": "Town", "visits": "Visits"}


def test_the_prefix_of_all_tables_is_a_setting(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'crm.db'}"
    environment = os.environ | {
        "ICS_DATABASE_URL": url,
        "ICS_TABLE_PREFIX": "crm_",
        "ICS_HOME": str(tmp_path),
    }
    subprocess.run([sys.executable, "cli.py", "migrate"], cwd=PROJECT, env=environment, check=True)
    engine = create_engine(url)
    names = inspect(engine).get_table_names()
    engine.dispose()
    assert "crm_messages" in names
    assert all(name.startswith("crm_") for name in names)


def _drop_index(engine: Engine, columns: str) -> str:
    index = f"ix_{PREFIX}clients_{columns}"
    return f"DROP INDEX {index}" + ("" if engine.dialect.name == "sqlite" else f" ON {PREFIX}clients")
