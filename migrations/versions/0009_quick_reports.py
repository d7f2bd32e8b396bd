"""What reports of large sites need: indexes, the newest measurements, where each line leads.

Revision: 0009
Follows: 0008

* ``dotqmail_lines.to_user`` and ``.to_host`` are what a line that forwards leads to. The database
  computes them, and no program may write them. An index finds the lines that lead somewhere.
* ``latest_usage`` has the newest row of ``mailbox_usage`` for each mailbox; triggers keep it.
* Partial indexes find administrators, readable passwords, programs in dot-qmail files, names with
  colons and mailboxes that bounce: what there are few of.
"""

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None

SERIAL = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
ADMINS, BOUNCE_MAIL = 0x11000, 0x10
IS_ADMIN = f"(flags & {ADMINS}) <> 0 OR name = 'postmaster'"


def upgrade() -> None:
    """Add columns, indexes and the table with its triggers."""
    dialect = op.get_bind().dialect.name
    columns(dialect)
    for name, on, where in indexes(dialect):
        op.execute(f"CREATE INDEX {name} ON {on}" + (f" WHERE {where}" if where else ""))
    latest_usage(dialect)


def downgrade() -> None:
    """Take all of that away."""
    dialect = op.get_bind().dialect.name
    for name in TRIGGERS:
        op.execute(f"DROP TRIGGER {name}" + (" ON mailbox_usage" if dialect != "sqlite" else ""))
    if dialect != "sqlite":
        op.execute("DROP FUNCTION vpopsql_latest_usage")
    op.drop_table("latest_usage")
    for name, _, _ in indexes(dialect):
        op.execute(f"DROP INDEX {name}")
    for column in ("to_user", "to_host"):
        op.execute(f"ALTER TABLE dotqmail_lines DROP COLUMN {column}")


def columns(dialect: str) -> None:
    """Add what a line that forwards leads to; other lines have nothing there."""
    text = "TEXT" if dialect == "sqlite" else 'text COLLATE "C"'
    added = [
        f"{column} {text} GENERATED ALWAYS AS ("
        f"CASE WHEN kind = 'forward' THEN {value.format(DESTINATION.format('line'))} END) STORED"
        for column, value in (("to_user", TO_USER), ("to_host", TO_HOST))
    ]
    if dialect != "sqlite":
        op.execute(
            f"ALTER TABLE dotqmail_lines {', '.join(f'ADD COLUMN {each}' for each in added)}"
        )
        return
    # SQLite adds no column that it has to compute: the table is made anew.
    old = (
        op.get_bind()
        .exec_driver_sql("SELECT sql FROM sqlite_master WHERE name = 'dotqmail_lines'")
        .scalar_one()
    )
    begin, constraint, end = old.partition("CONSTRAINT")
    begin = begin.replace("dotqmail_lines", "dotqmail_lines_new")
    op.execute(f"{begin} {', '.join(added)}, {constraint} {end}".replace(":", r"\:"))
    names = "file_id, position, line, kind"
    op.execute(f"INSERT INTO dotqmail_lines_new ({names}) SELECT {names} FROM dotqmail_lines")
    op.execute("DROP TABLE dotqmail_lines")
    op.execute("ALTER TABLE dotqmail_lines_new RENAME TO dotqmail_lines")


BLANKS = "' \t\r'"
DESTINATION = f"""
    rtrim(ltrim(CASE WHEN substr({{0}}, 1, 1) = '&' THEN substr({{0}}, 2) ELSE {{0}} END,
        {BLANKS}), {BLANKS})
    """
"""What a line forwards to: without the ampersand that may stand before it."""
# The characters up to the last @ are left when all others are cut off from the right.
UP_TO_AT = "length(rtrim({0}, replace({0}, '@', '')))"
TO_USER = f"""
    lower(CASE WHEN replace({{0}}, '@', '') <> {{0}} THEN substr({{0}}, 1, {UP_TO_AT} - 1)
        ELSE {{0}} END)
    """
TO_HOST = (
    f"CASE WHEN replace({{0}}, '@', '') <> {{0}} THEN lower(substr({{0}}, {UP_TO_AT} + 1)) END"
)


def indexes(dialect: str) -> list[tuple[str, str, str]]:
    """Return the name of each index, what it is on, and which rows it has."""
    colon = f"{'instr' if dialect == 'sqlite' else 'strpos'}(name, ':') > 0"
    return [
        ("ix_last_auths_at", "last_auths (at)", "remote_ip <> '0.0.0.0'"),
        ("ix_mailboxes_created_at", "mailboxes (created_at)", ""),
        ("ix_mailboxes_admins", "mailboxes (domain_id)", IS_ADMIN),
        ("ix_mailboxes_clear_text", "mailboxes (domain_id)", "COALESCE(clear_text, '') <> ''"),
        ("ix_mailboxes_bouncing", "mailboxes (domain_id, name)", f"(flags & {BOUNCE_MAIL}) <> 0"),
        ("ix_mailboxes_colons", "mailboxes (domain_id, name)", colon),
        (
            "ix_dotqmail_files_colons",
            "dotqmail_files (domain_id, name)",
            f"mailbox_id IS NULL AND {colon}",
        ),
        ("ix_dotqmail_lines_programs", "dotqmail_lines (file_id)", "kind = 'program'"),
        (
            "ix_dotqmail_lines_to",
            "dotqmail_lines (to_host, to_user, file_id, position)",
            "kind = 'forward'",
        ),
        ("ix_domain_usage_measured_at", "domain_usage (measured_at)", ""),
    ]


LATEST = ("mailbox_id", "usage_id", "measured_at", "bytes", "messages")
NEWEST_OF = """
    SELECT u.mailbox_id, u.id, u.measured_at, u.bytes, u.messages FROM mailbox_usage u
    WHERE {which} AND NOT EXISTS (
        SELECT 1 FROM mailbox_usage v WHERE v.mailbox_id = u.mailbox_id
        AND (v.measured_at > u.measured_at OR v.measured_at = u.measured_at AND v.id > u.id)
    )
    """
INTO = f"INSERT INTO latest_usage ({', '.join(LATEST)})"
# Two scans may write at the same time, and neither sees the other's rows.
IF_NEWER = f"""
    ON CONFLICT (mailbox_id) DO UPDATE SET
        {", ".join(f"{name} = excluded.{name}" for name in LATEST[1:])}
    WHERE excluded.measured_at > latest_usage.measured_at
        OR excluded.measured_at = latest_usage.measured_at
            AND excluded.usage_id > latest_usage.usage_id
    """
TRIGGERS = ("mailbox_usage_added", "mailbox_usage_changed", "mailbox_usage_removed")


def latest_usage(dialect: str) -> None:
    """Create the table of the newest measurements, fill it, and keep it so."""
    op.create_table(
        "latest_usage",
        sa.Column("mailbox_id", SERIAL, autoincrement=False, nullable=False),
        sa.Column("usage_id", sa.BigInteger(), nullable=False),
        sa.Column("measured_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("bytes", sa.BigInteger(), nullable=False),
        sa.Column("messages", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["mailbox_id"],
            ["mailboxes.id"],
            name=op.f("fk_latest_usage_mailbox_id_mailboxes"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("mailbox_id", name=op.f("pk_latest_usage")),
    )
    op.execute(f"{INTO} {NEWEST_OF.format(which='1 = 1')}")
    for statement in SQLITE if dialect == "sqlite" else POSTGRESQL:
        op.execute(statement)


ANEW = f"""
    DELETE FROM latest_usage WHERE mailbox_id = OLD.mailbox_id;
    {INTO} {NEWEST_OF.format(which="u.mailbox_id = OLD.mailbox_id")};
    """
SQLITE = (
    f"""
    CREATE TRIGGER mailbox_usage_added AFTER INSERT ON mailbox_usage
    BEGIN
        {INTO} VALUES (NEW.mailbox_id, NEW.id, NEW.measured_at, NEW.bytes, NEW.messages)
        {IF_NEWER};
    END
    """,
    f"""
    CREATE TRIGGER mailbox_usage_changed AFTER UPDATE ON mailbox_usage
    BEGIN
        {ANEW}
        {ANEW.replace("OLD.", "NEW.")}
    END
    """,
    f"""
    CREATE TRIGGER mailbox_usage_removed AFTER DELETE ON mailbox_usage
    WHEN EXISTS (
        SELECT 1 FROM latest_usage WHERE mailbox_id = OLD.mailbox_id AND usage_id = OLD.id
    )
    BEGIN {ANEW} END
    """,
)
WAS_TOUCHED = "u.mailbox_id IN (SELECT o.mailbox_id FROM old_rows o)"
# Once for all rows of a statement: of these a scan has thousands.
POSTGRESQL = (
    f"""
    CREATE FUNCTION vpopsql_latest_usage() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        IF TG_OP <> 'INSERT' THEN
            DELETE FROM latest_usage l USING old_rows o
                WHERE l.mailbox_id = o.mailbox_id AND l.usage_id = o.id;
            {INTO} {NEWEST_OF.format(which=WAS_TOUCHED)}
                {IF_NEWER};
        END IF;
        IF TG_OP <> 'DELETE' THEN
            {INTO} SELECT DISTINCT ON (mailbox_id) mailbox_id, id, measured_at, bytes, messages
                FROM new_rows ORDER BY mailbox_id, measured_at DESC, id DESC
                {IF_NEWER};
        END IF;
        RETURN NULL;
    END $$
    """,
    *(
        f"""
        CREATE TRIGGER {trigger} AFTER {what} ON mailbox_usage REFERENCING {tables}
        FOR EACH STATEMENT EXECUTE FUNCTION vpopsql_latest_usage()
        """
        for trigger, what, tables in zip(
            TRIGGERS,
            ("INSERT", "UPDATE", "DELETE"),
            (
                "NEW TABLE AS new_rows",
                "OLD TABLE AS old_rows NEW TABLE AS new_rows",
                "OLD TABLE AS old_rows",
            ),
            strict=True,
        )
    ),
)
