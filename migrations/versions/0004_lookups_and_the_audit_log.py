"""Mailboxes found by their name alone, and an audit log that no row can be put over.

Revision: 0004
Follows: 0003

* Dovecot's query for logins through alias domains asks for a name in either of two domains.
  SQLite read every mailbox for it, PostgreSQL a whole index: vpopmail's key began with the name.
* On SQLite ``INSERT OR REPLACE`` deletes the row it replaces without asking the trigger that
  guards against DELETE, so it replaced entries of the audit log.
"""

from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

# An INSERT that gives no id has -1 here, which must not be taken for a row of that number.
NO_REPLACE = """
    CREATE TRIGGER audit_log_no_replace BEFORE INSERT ON audit_log
    WHEN NEW.id >= 0 AND EXISTS (SELECT 1 FROM audit_log WHERE id = NEW.id)
    BEGIN SELECT RAISE(ABORT, 'audit_log is append-only'); END
    """


def upgrade() -> None:
    """Create the index and, where rows can be replaced, the trigger."""
    op.create_index("ix_mailboxes_name", "mailboxes", ["name"], unique=False)
    if op.get_bind().dialect.name == "sqlite":
        op.execute(NO_REPLACE)


def downgrade() -> None:
    """Drop both."""
    if op.get_bind().dialect.name == "sqlite":
        op.execute("DROP TRIGGER audit_log_no_replace")
    op.drop_index("ix_mailboxes_name", "mailboxes")
