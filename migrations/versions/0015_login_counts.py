"""Logins and failed logins of each hour, and the report of both.

Revision: 0015
Follows: 0012
"""

import sqlalchemy as sa
from alembic import op

revision = "0015"
down_revision = "0012"
branch_labels = None
depends_on = None

NAME = sa.String(255).with_variant(sa.String(255, collation="C"), "postgresql")
EXACT = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")
WHEN = sa.DateTime(timezone=True)


def upgrade() -> None:
    """Create the table."""
    op.create_table(
        "login_counts",
        sa.Column("hour", WHEN, nullable=False),
        sa.Column("account", EXACT, nullable=False),
        sa.Column("remote_ip", sa.String(45), nullable=False),
        sa.Column("service", sa.String(16), nullable=False),
        sa.Column("domain", NAME, nullable=False),
        sa.Column("ok", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("failed", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("last_at", WHEN, nullable=False),
        sa.PrimaryKeyConstraint(
            "hour", "account", "remote_ip", "service", name=op.f("pk_login_counts")
        ),
    )
    op.create_index("ix_login_counts_account_remote_ip", "login_counts", ["account", "remote_ip"])


def downgrade() -> None:
    """Drop it, with what was counted."""
    op.drop_table("login_counts")
