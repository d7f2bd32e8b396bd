"""Views for Dovecot and Postfix, one lookup each, and the table that takes Dovecot's logins.

Revision: 0012
Follows: 0011

* ``dovecot_users`` has a row for each name that somebody can log in by: an account under its own
  domain and under each alias domain. What the account's flags and its domain's limits forbid is
  worked out: a bit of the account's own, or a limit of the domain (else of the site) unless the
  account has ``V_OVERRIDE``. Passwords carry the scheme's name as Dovecot wants it.
* ``dovecot_logins`` is a slot to drop a row in: it is always empty. Dovecot writes logins with
  INSERT … ON CONFLICT, which no view takes, and only with all fields of its key in a unique key.
* ``postfix_*`` answer for each name of a domain, so that none is rewritten first. Programs and
  wildcards are qmail's: Postfix cannot run the former, and no key of a lookup has the latter.
"""

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None

NAME = sa.String(255).with_variant(sa.String(255, collation="C"), "postgresql")
EXACT = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")


def upgrade() -> None:
    """Create the table with its trigger, and the views."""
    dialect = op.get_bind().dialect.name
    op.create_table(
        "dovecot_logins",
        sa.Column("username", NAME, nullable=False),
        sa.Column("service", sa.String(16), nullable=False),
        sa.Column("remote_ip", EXACT, nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("username", "service", "remote_ip", name="pk_dovecot_logins"),
    )
    for statement in sqlite_trigger() if dialect == "sqlite" else postgresql_trigger():
        op.execute(statement)
    for name, select in views(is_sqlite=dialect == "sqlite").items():
        op.execute(f"CREATE VIEW {name} AS {select}")


def downgrade() -> None:
    """Drop the views and the table; its trigger goes with it."""
    is_sqlite = op.get_bind().dialect.name == "sqlite"
    for name in views(is_sqlite=is_sqlite):
        op.execute(f"DROP VIEW {name}")
    op.drop_table("dovecot_logins")
    if not is_sqlite:
        op.execute("DROP FUNCTION vpopsql_note_login()")


OVERRIDE, BOUNCE_MAIL = 0x2000, 0x10

FORBIDDEN = {
    "no_pop": (0x2, "disable_pop"),
    "no_imap": (0x8, "disable_imap"),
    "no_webmail": (0x4, "disable_webmail"),
    "no_smtp": (0x800, "disable_smtp"),
    "no_relay": (0x20, "disable_external_relay"),
}
"""What may be forbidden: the account's bit, and the limit that sets it for a domain."""

# The name asked for, the domain's own name, and the domain.
NAMES = """domain_names a JOIN domain_names n ON n.domain_id = a.domain_id AND NOT n.is_alias
    JOIN domains d ON d.id = a.domain_id"""

BLANKS = "' \t\r'"
DESTINATION = f"""
    rtrim(ltrim(CASE WHEN substr(t.line, 1, 1) = '&' THEN substr(t.line, 2) ELSE t.line END,
        {BLANKS}), {BLANKS})
    """
BOUNCES = f"(m.flags & {BOUNCE_MAIL}) <> 0"

# vdelivermail looks for the file of a name before it looks for a mailbox.
IS_ALIAS = """EXISTS (
    SELECT 1 FROM dotqmail_files x JOIN dotqmail_lines y ON y.file_id = x.id
    WHERE x.domain_id = m.domain_id AND x.mailbox_id IS NULL AND x.name = m.name
    AND y.kind IN ('forward', 'maildir')
)"""
FORWARDS = """EXISTS (
    SELECT 1 FROM dotqmail_files x JOIN dotqmail_lines y ON y.file_id = x.id
    WHERE x.mailbox_id = m.id AND x.name = '' AND y.kind = 'forward'
)"""
KEEPS = """EXISTS (
    SELECT 1 FROM dotqmail_files x JOIN dotqmail_lines y ON y.file_id = x.id
    WHERE x.mailbox_id = m.id AND x.name = '' AND (
        y.kind IN ('maildir', 'mbox') OR y.kind = 'program' AND y.line LIKE '%/vdelivermail %'
    )
)"""


def views(*, is_sqlite: bool) -> dict[str, str]:
    """Return the SELECT of each view."""
    ending = "substr(f.name, -8, 8)" if is_sqlite else "right(f.name, 8)"
    return {
        "dovecot_users": f"""
            SELECT m.name AS name, a.name AS domain, m.name || '@' || n.name AS address,
                a.is_alias AS is_alias, {password(is_sqlite=is_sqlite)} AS password,
                m.directory AS home, d.uid AS uid, d.gid AS gid,
                COALESCE(m.quota_bytes, 0) AS quota_bytes,
                COALESCE(m.quota_messages, 0) AS quota_messages,
                {forbidden(*FORBIDDEN)},
                CASE WHEN {BOUNCES} THEN 1 ELSE 0 END AS bounce_mail
            FROM {NAMES} JOIN mailboxes m ON m.domain_id = a.domain_id
            LEFT JOIN domain_limits l ON l.domain_id = d.id
            LEFT JOIN default_limits s ON s.id = 1
            """,
        "postfix_domains": f"""
            SELECT a.name AS domain, n.name AS real_domain, a.is_alias AS is_alias FROM {NAMES}
            """,
        "postfix_mailboxes": f"""
            SELECT m.name AS name, a.name AS domain, m.name || '@' || n.name AS address,
                m.directory || '/Maildir/' AS maildir, d.uid AS uid, d.gid AS gid
            FROM {NAMES} JOIN mailboxes m ON m.domain_id = a.domain_id
            WHERE NOT {BOUNCES}
            """,
        "postfix_aliases": aliases(),
        "postfix_recipients": f"""
            SELECT m.name AS name, a.name AS domain
            FROM domain_names a JOIN mailboxes m ON m.domain_id = a.domain_id
            WHERE NOT {BOUNCES}
            UNION ALL
            SELECT f.name, a.name
            FROM domain_names a JOIN dotqmail_files f ON f.domain_id = a.domain_id
            WHERE f.mailbox_id IS NULL AND f.name NOT IN ('', 'default')
            """,
        "postfix_wildcards": f"""
            SELECT substr(f.name, 1, length(f.name) - 7) AS prefix, a.name AS domain
            FROM domain_names a JOIN dotqmail_files f ON f.domain_id = a.domain_id
            WHERE f.mailbox_id IS NULL AND {ending} = '-default'
            UNION ALL
            SELECT '', a.name FROM domain_names a JOIN domains d ON d.id = a.domain_id
            WHERE d.catchall NOT IN ('none', 'bounce')
            """,
        "postfix_senders": f"""
            SELECT m.name AS name, a.name AS domain, {forbidden("no_smtp", "no_relay")}
            FROM {NAMES} JOIN mailboxes m ON m.domain_id = a.domain_id
            LEFT JOIN domain_limits l ON l.domain_id = d.id
            LEFT JOIN default_limits s ON s.id = 1
            """,
    }


def forbidden(*names: str) -> str:
    """Return the columns that say 1 where something is forbidden, else 0."""
    columns = []
    for name in names:
        bit, limit = FORBIDDEN[name]
        columns.append(
            f"""CASE WHEN (m.flags & {bit}) <> 0 THEN 1 WHEN (m.flags & {OVERRIDE}) <> 0 THEN 0
                WHEN CASE WHEN l.domain_id IS NULL THEN s.{limit} ELSE l.{limit} END THEN 1
                ELSE 0 END AS {name}"""
        )
    return ", ".join(columns)


def password(*, is_sqlite: bool) -> str:
    """Return a hash with its scheme before it; NULL where nobody can log in.

    A prefix that is stored is not believed: vpopmail takes the rest for crypt(3)'s.
    """
    close = "instr(m.password_hash, '}')" if is_sqlite else "strpos(m.password_hash, '}')"
    bare = f"CASE WHEN m.password_hash LIKE '{{%}}%' THEN substr(m.password_hash, {close} + 1)"
    bare = f"{bare} ELSE m.password_hash END"
    return f"""
        CASE
            WHEN {bare} = '' OR substr({bare}, 1, 1) IN ('*', '!') THEN NULL
            WHEN {bare} LIKE '$argon2id$%' THEN '{{ARGON2ID}}' || {bare}
            WHEN {bare} LIKE '$argon2i$%' THEN '{{ARGON2I}}' || {bare}
            ELSE '{{CRYPT}}' || {bare}
        END
        """


def aliases() -> str:
    """Return the SELECT of what stands for an address; the name of a catch-all is empty."""
    lines = "JOIN dotqmail_lines t ON t.file_id = f.id"
    return f"""
        SELECT f.name AS name, a.name AS domain, t.position AS position,
            {DESTINATION} AS destination
        FROM domain_names a JOIN dotqmail_files f ON f.domain_id = a.domain_id {lines}
        WHERE f.mailbox_id IS NULL AND f.name NOT IN ('', 'default') AND t.kind = 'forward'
        UNION ALL
        SELECT f.name, a.name, t.position, m.name || '@' || n.name
        FROM {NAMES} JOIN dotqmail_files f ON f.domain_id = a.domain_id {lines}
        JOIN mailboxes m ON m.domain_id = a.domain_id
            AND m.directory || '/Maildir/' IN (t.line, d.directory || substr(t.line, 2))
        WHERE f.mailbox_id IS NULL AND f.name NOT IN ('', 'default') AND t.kind = 'maildir'
        UNION ALL
        SELECT m.name, a.name, t.position, {DESTINATION}
        FROM domain_names a JOIN mailboxes m ON m.domain_id = a.domain_id
        JOIN dotqmail_files f ON f.mailbox_id = m.id AND f.name = '' {lines}
        WHERE t.kind = 'forward' AND NOT {BOUNCES} AND NOT {IS_ALIAS}
        UNION ALL
        SELECT m.name, a.name, 0, m.name || '@' || n.name
        FROM {NAMES} JOIN mailboxes m ON m.domain_id = a.domain_id
        WHERE NOT {IS_ALIAS} AND CASE
            WHEN NOT {BOUNCES} AND {FORWARDS} THEN {KEEPS}
            ELSE a.is_alias OR d.catchall NOT IN ('none', 'bounce', 'delete')
        END
        UNION ALL
        SELECT '', a.name, 1, d.catchall_target
        FROM domain_names a JOIN domains d ON d.id = a.domain_id WHERE d.catchall = 'address'
        UNION ALL
        SELECT '', a.name, 1, m.name || '@' || n.name
        FROM {NAMES} JOIN mailboxes m ON m.domain_id = a.domain_id
            AND m.directory = rtrim(d.catchall_target, '/')
        WHERE d.catchall = 'directory'
        UNION ALL
        SELECT '', a.name, t.position, {DESTINATION}
        FROM domain_names a JOIN domains d ON d.id = a.domain_id
        JOIN dotqmail_files f ON f.domain_id = a.domain_id {lines}
        WHERE d.catchall = 'dotqmail' AND f.mailbox_id IS NULL AND f.name = 'default'
        AND t.kind = 'forward'
        """


def sqlite_trigger() -> list[str]:
    """Return the trigger as SQLite wants it: the login is noted, the row is not."""
    mailbox = """(
        SELECT m.id FROM domain_names n JOIN mailboxes m ON m.domain_id = n.domain_id
        WHERE n.name = substr(NEW.username, instr(NEW.username, '@') + 1)
        AND m.name = substr(NEW.username, 1, instr(NEW.username, '@') - 1)
    )"""
    at = "strftime('%Y-%m-%d %H:%M:%S', NEW.at, 'unixepoch') || '.000000'"
    return [
        f"""
        CREATE TRIGGER dovecot_logins_insert BEFORE INSERT ON dovecot_logins
        BEGIN
            UPDATE last_auths SET at = {at}, remote_ip = NEW.remote_ip
            WHERE mailbox_id = {mailbox} AND service = NEW.service AND at <= {at};
            INSERT INTO last_auths (mailbox_id, service, at, remote_ip)
            SELECT {mailbox}, NEW.service, {at}, NEW.remote_ip
            WHERE {mailbox} IS NOT NULL AND NOT EXISTS (
                SELECT 1 FROM last_auths WHERE mailbox_id = {mailbox} AND service = NEW.service
            );
            SELECT RAISE(IGNORE);
        END
        """
    ]


def postgresql_trigger() -> list[str]:
    """Return the function, which runs with the rights of the schema's owner, and the trigger."""
    schema = op.get_bind().exec_driver_sql("SELECT quote_ident(current_schema())").scalar_one()
    return [
        f"""
        CREATE FUNCTION vpopsql_note_login() RETURNS trigger
        LANGUAGE plpgsql SECURITY DEFINER SET search_path = {schema}, pg_temp AS $$
        BEGIN
            INSERT INTO last_auths (mailbox_id, service, at, remote_ip)
            SELECT m.id, NEW.service, to_timestamp(NEW.at), NEW.remote_ip
            FROM domain_names n JOIN mailboxes m ON m.domain_id = n.domain_id
            WHERE n.name = split_part(NEW.username, '@', 2)
            AND m.name = split_part(NEW.username, '@', 1)
            ON CONFLICT (mailbox_id, service)
            DO UPDATE SET at = EXCLUDED.at, remote_ip = EXCLUDED.remote_ip
            WHERE last_auths.at <= EXCLUDED.at;
            RETURN NULL;
        END $$
        """,
        """
        CREATE TRIGGER dovecot_logins_insert BEFORE INSERT ON dovecot_logins
        FOR EACH ROW EXECUTE FUNCTION vpopsql_note_login()
        """,
    ]
