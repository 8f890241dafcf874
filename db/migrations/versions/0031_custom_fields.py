"""The table custom_fields, with the fields that clients have values in already.

Revision: 0031, after 0030.
"""

import re

import sqlalchemy as sa
from alembic import op

from db.base import table
from db.dialect import insert_ignore, utc_now
from db.migrations.steps import create_table, drop_table, id_column
from db.types import UTCDateTime, exact

revision = "0031"
down_revision = "0030"
branch_labels = None
depends_on = None


def upgrade() -> None:
    create_table(
        "custom_fields",
        id_column(),
        sa.Column("key", exact(64), nullable=False),
        sa.Column("label", sa.String(150), nullable=False),
        sa.Column("kind", sa.String(24), nullable=False),
        sa.Column("choices", sa.JSON(), nullable=False),
        sa.Column("created_at", UTCDateTime(), nullable=False, server_default=utc_now()),
        sa.Column("updated_at", UTCDateTime(), nullable=False, server_default=utc_now()),
        sa.UniqueConstraint("key"),
    )
    _define_what_is_used()


def downgrade() -> None:
    drop_table("custom_fields")


# What SQLite, MariaDB and MySQL call the types of JSON values.
_KINDS = {
    **dict.fromkeys(("INTEGER", "REAL", "DOUBLE", "DECIMAL", "UNSIGNED INTEGER"), "number"),
    **dict.fromkeys(("TRUE", "FALSE", "BOOLEAN"), "boolean"),
}
_KEY = re.compile(r"[a-z0-9_]{1,64}")


def _define_what_is_used() -> None:
    """A number or a boolean where all values of a key are, text everywhere else; no value is touched, and null is none.

    A definition that is there stays: this may be run again. The API and imports have always refused other keys.
    """
    kinds: dict[str, set[str]] = {}
    for key, found in op.get_bind().execute(sa.text(_types_of_values())):
        if _KEY.fullmatch(key or "") and str(found).upper() != "NULL":
            kinds.setdefault(key, set()).add(_KINDS.get(str(found).upper(), "text"))
    fields = sa.table(
        table("custom_fields"), *(sa.column(name) for name in ("key", "label", "kind", "choices"))
    )
    for key, found in sorted(kinds.items()):
        kind = found.pop() if len(found) == 1 else "text"
        label = key.replace("_", " ").strip().capitalize() or key
        op.execute(insert_ignore(fields).values(key=key, label=label, kind=kind, choices="[]"))


def _types_of_values() -> str:
    """Each key with the types of its values; of the members of a document only the names become rows."""
    clients = table("clients")
    if op.get_bind().dialect.name == "sqlite":
        return f"SELECT DISTINCT held.key, held.type FROM {clients}, json_each({clients}.custom_fields) held"
    kind = f"JSON_TYPE(JSON_EXTRACT({clients}.custom_fields, CONCAT('$.', JSON_QUOTE(held.name))))"
    return (
        f"SELECT DISTINCT held.name, {kind} FROM {clients}, "
        f"JSON_TABLE(JSON_KEYS({clients}.custom_fields), '$[*]' COLUMNS (name VARCHAR(255) PATH '$')) held"
    )
