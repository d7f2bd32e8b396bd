"""What was measured in Maildirs: snapshots of each mailbox and of each domain.

Revision: 0006
Follows: 0005

A mailbox's snapshots go with it. A domain's have its name instead of a key: what a domain held is
still a fact when it is no more.
"""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

SERIAL = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
NAME = sa.String(255).with_variant(sa.String(255, collation="C"), "postgresql")
WHEN = sa.DateTime(timezone=True)


def upgrade() -> None:
    """Create both tables."""
    op.create_table(
        "mailbox_usage",
        sa.Column("id", SERIAL, autoincrement=True, nullable=False),
        sa.Column("mailbox_id", SERIAL, nullable=False),
        sa.Column("measured_at", WHEN, nullable=False),
        sa.Column("bytes", sa.BigInteger(), nullable=False),
        sa.Column("messages", sa.BigInteger(), nullable=False),
        sa.Column(
            "source",
            sa.Enum(
                "maildirsize",
                "count",
                name="source",
                native_enum=False,
                create_constraint=True,
                length=16,
            ),
            nullable=False,
        ),
        sa.CheckConstraint("bytes >= 0 AND messages >= 0", name=op.f("ck_mailbox_usage_sizes")),
        sa.ForeignKeyConstraint(
            ["mailbox_id"],
            ["mailboxes.id"],
            name=op.f("fk_mailbox_usage_mailbox_id_mailboxes"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_mailbox_usage")),
    )
    op.create_index(
        "ix_mailbox_usage_mailbox_id_measured_at", "mailbox_usage", ["mailbox_id", "measured_at"]
    )
    op.create_table(
        "domain_usage",
        sa.Column("id", SERIAL, autoincrement=True, nullable=False),
        sa.Column("domain", NAME, nullable=False),
        sa.Column("measured_at", WHEN, nullable=False),
        sa.Column("mailboxes", sa.Integer(), nullable=False),
        sa.Column("measured", sa.Integer(), nullable=False),
        sa.Column("bytes", sa.BigInteger(), nullable=False),
        sa.Column("messages", sa.BigInteger(), nullable=False),
        sa.Column("aliases", sa.Integer(), nullable=False),
        sa.CheckConstraint(
            "measured >= 0 AND measured <= mailboxes", name=op.f("ck_domain_usage_measured")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_domain_usage")),
    )
    op.create_index(
        "ix_domain_usage_domain_measured_at", "domain_usage", ["domain", "measured_at"]
    )


def downgrade() -> None:
    """Drop them, with all that was measured."""
    op.drop_table("domain_usage")
    op.drop_table("mailbox_usage")
