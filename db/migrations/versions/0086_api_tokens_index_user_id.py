"""The tokens of a user are looked for.

Revision: 0086, after 0085.
"""

from db.migrations.steps import create_index, drop_index

revision = "0086"
down_revision = "0085"
branch_labels = None
depends_on = None


def upgrade() -> None:
    create_index("api_tokens", "user_id", "id")


def downgrade() -> None:
    drop_index("api_tokens", "user_id", "id")
