"""The trash: what was deleted, and how to get it back.

Revision: 0003
Follows: 0002
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
WHEN = sa.DateTime(timezone=True)
EXACT = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")
JSON = sa.JSON().with_variant(postgresql.JSONB(), "postgresql")


def upgrade() -> None:
    """Create the table."""
    op.create_table(
        "trash",
        sa.Column("id", ID, autoincrement=True, nullable=False),
        sa.Column("at", WHEN, nullable=False),
        sa.Column("actor", EXACT, nullable=False),
        sa.Column(
            "kind",
            sa.Enum(
                "user",
                "domain",
                "directory",
                name="kind",
                native_enum=False,
                create_constraint=True,
                length=16,
            ),
            nullable=False,
        ),
        sa.Column("name", EXACT, nullable=False),
        sa.Column("original_path", EXACT, nullable=False),
        sa.Column("trash_path", EXACT, nullable=False),
        sa.Column("restored_at", WHEN, nullable=True),
        sa.Column("purged_at", WHEN, nullable=True),
        sa.Column("payload", JSON, nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_trash")),
        sa.UniqueConstraint("trash_path", name=op.f("uq_trash_trash_path")),
    )


def downgrade() -> None:
    """Drop the table; what is in the trash stays on disk."""
    op.drop_table("trash")
