"""The table custom_fields, with the fields that clients have values in already.

Revision: 0031, after 0030.
"""

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


def _define_what_is_used() -> None:
    """A number or a boolean where all values of a key are, text everywhere else; no value is touched."""
    kinds: dict[str, set[str]] = {}
    for key, found in op.get_bind().execute(sa.text(_types_of_values())):
        kinds.setdefault(key, set()).add(_KINDS.get(str(found).upper(), "text"))
    fields = sa.table(
        table("custom_fields"), *(sa.column(name) for name in ("key", "label", "kind", "choices"))
    )
    for key, found in sorted(kinds.items()):
        kind = found.pop() if len(found) == 1 else "text"
        label = key.replace("_", " ").strip().capitalize() or key
        op.execute(insert_ignore(fields).values(key=key, label=label, kind=kind, choices="[]"))


# What SQLite, MariaDB and MySQL call the types of JSON values.
_KINDS = {
    **dict.fromkeys(("INTEGER", "REAL", "DOUBLE", "DECIMAL", "UNSIGNED INTEGER"), "number"),
    **dict.fromkeys(("TRUE", "FALSE", "BOOLEAN"), "boolean"),
}


def _types_of_values() -> str:
    clients = table("clients")
    if op.get_bind().dialect.name == "sqlite":
        return f"SELECT DISTINCT member.key, member.type FROM {clients}, json_each({clients}.custom_fields) member"
    kind = f"JSON_TYPE(JSON_EXTRACT({clients}.custom_fields, CONCAT('$.\"', member.name, '\"')))"
    return (
        f"SELECT DISTINCT member.name, {kind} FROM {clients}, "
        f"JSON_TABLE(JSON_KEYS({clients}.custom_fields), '$[*]' COLUMNS (name VARCHAR(64) PATH '$')) member"
    )
