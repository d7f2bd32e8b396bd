"""Hosts that follow the database, and word of each revision to those who wait.

Revision: 0005
Follows: 0004

PostgreSQL tells who listens; the trigger is on the table, so that revisions written by anybody in
SQL count as well. On SQLite whoever waits looks at the file.
"""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

EXACT = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")
NAME = sa.String(255).with_variant(sa.String(255, collation="C"), "postgresql")
WHEN = sa.DateTime(timezone=True)

NOTIFY = """
    CREATE FUNCTION vpopsql_notify_revision() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        PERFORM pg_notify('vpopsql_revisions', '');
        RETURN NULL;
    END $$
    """
ON_REVISION = """
    CREATE TRIGGER revisions_notify AFTER INSERT ON revisions
    FOR EACH STATEMENT EXECUTE FUNCTION vpopsql_notify_revision()
    """


def upgrade() -> None:
    """Create the table and, where there is somebody to tell, the trigger."""
    op.create_table(
        "hosts",
        sa.Column("name", NAME, nullable=False),
        sa.Column(
            "role",
            sa.Enum(
                "mail",
                "relay",
                name="role",
                native_enum=False,
                create_constraint=True,
                length=16,
            ),
            nullable=False,
        ),
        sa.Column("revision", sa.BigInteger(), nullable=False),
        sa.Column("reached_at", WHEN, nullable=True),
        sa.Column("reported_at", WHEN, nullable=False),
        sa.Column("error", EXACT, nullable=True),
        sa.CheckConstraint("name = lower(name)", name=op.f("ck_hosts_lower_case")),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_hosts")),
    )
    if op.get_bind().dialect.name == "postgresql":
        op.execute(NOTIFY)
        op.execute(ON_REVISION)


def downgrade() -> None:
    """Drop both."""
    if op.get_bind().dialect.name == "postgresql":
        op.execute("DROP TRIGGER revisions_notify ON revisions")
        op.execute("DROP FUNCTION vpopsql_notify_revision()")
    op.drop_table("hosts")
