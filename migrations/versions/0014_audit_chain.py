"""An audit log whose rows are chained by hash, and aliases in the trash.

Revision: 0014
Follows: 0013

* Each row of ``audit_log`` has the SHA-256 of what it says and of the hash of the row before it in
  its chain, so that none can be altered or removed unseen. The rows that there are, are chained.
* PostgreSQL's trigger takes the first chain that no other open transaction writes to, so nobody
  waits: there are as many chains as there ever were writers at once. SQLite has no SHA-256, and
  one writer: vpopsql itself hashes there, last before it commits. Until then a row has no hash,
  and the guard against UPDATE lets it have one, once.
* ``trash`` takes dot-qmail files.

`vpopsql.audit_chain` defines what is hashed, and checks it.
"""

import hashlib
import json
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None

ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
WHEN = sa.DateTime(timezone=True)
EXACT = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")
JSON = sa.JSON().with_variant(postgresql.JSONB(), "postgresql")
KINDS = ("user", "domain", "directory", "dotqmail")
OLD_KINDS = KINDS[:3]
BATCH = 10_000

LOCKS = 0x76706F70
"""The first key of the advisory locks, one for each chain; "vpop"."""


def upgrade() -> None:
    """Add the columns, chain what there is, and see to it that what comes is chained."""
    for column in (
        sa.Column("chain", sa.Integer(), nullable=True),
        sa.Column("link", sa.BigInteger(), nullable=True),
        sa.Column("hash", sa.String(length=64), nullable=True),
    ):
        op.add_column("audit_log", column)
    if op.get_bind().dialect.name == "sqlite":
        op.execute("DROP TRIGGER audit_log_no_update")
        chain_sqlite()
        op.execute(SQLITE_NO_UPDATE)
    else:
        chain_postgresql()
    op.create_index("uq_audit_log_chain_link", "audit_log", ["chain", "link"], unique=True)
    set_kinds(KINDS)


def downgrade() -> None:
    """Take all of that away; files that are in the trash as rows alone are forgotten."""
    op.execute("DELETE FROM trash WHERE kind = 'dotqmail'")
    set_kinds(OLD_KINDS)
    op.drop_index("uq_audit_log_chain_link", "audit_log")
    is_sqlite = op.get_bind().dialect.name == "sqlite"
    if is_sqlite:
        op.execute("DROP TRIGGER audit_log_no_update")
    else:
        op.execute("DROP TRIGGER audit_log_chain ON audit_log")
        op.execute("DROP FUNCTION vpopsql_chain_audit()")
        op.execute("DROP FUNCTION vpopsql_audit_hash(audit_log, text)")
    for column in ("hash", "link", "chain"):
        op.drop_column("audit_log", column)
    if is_sqlite:
        op.execute(OLD_SQLITE_NO_UPDATE)


def set_kinds(kinds: tuple[str, ...]) -> None:
    """Let the trash hold these kinds and no others."""
    if op.get_bind().dialect.name != "sqlite":
        listed = ", ".join(f"'{kind}'" for kind in kinds)
        op.execute("ALTER TABLE trash DROP CONSTRAINT ck_trash_kind")
        op.execute(f"ALTER TABLE trash ADD CONSTRAINT ck_trash_kind CHECK (kind IN ({listed}))")
        return
    kind = sa.Enum(*kinds, name="kind", native_enum=False, create_constraint=True, length=16)
    op.rename_table("trash", "trash_before")
    op.create_table(
        "trash",
        sa.Column("id", ID, autoincrement=True, nullable=False),
        sa.Column("at", WHEN, nullable=False),
        sa.Column("actor", EXACT, nullable=False),
        sa.Column("kind", kind, nullable=False),
        sa.Column("name", EXACT, nullable=False),
        sa.Column("original_path", EXACT, nullable=False),
        sa.Column("trash_path", EXACT, nullable=False),
        sa.Column("restored_at", WHEN, nullable=True),
        sa.Column("purged_at", WHEN, nullable=True),
        sa.Column("payload", JSON, nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_trash")),
        sa.UniqueConstraint("trash_path", name=op.f("uq_trash_trash_path")),
    )
    columns = (
        "id, at, actor, kind, name, original_path, trash_path, restored_at, purged_at, payload"
    )
    op.execute(f"INSERT INTO trash ({columns}) SELECT {columns} FROM trash_before")
    op.execute("DROP TABLE trash_before")


# --- SQLite -------------------------------------------------------------------------------------

KEPT = (
    "id",
    "at",
    "actor",
    "actor_ip",
    "channel",
    "request_id",
    "action",
    "object_type",
    "object",
    "changes",
)

SQLITE_NO_UPDATE = f"""
    CREATE TRIGGER audit_log_no_update BEFORE UPDATE ON audit_log
    WHEN OLD.hash IS NOT NULL OR NEW.hash IS NULL
        OR {" OR ".join(f"NEW.{column} IS NOT OLD.{column}" for column in KEPT)}
    BEGIN SELECT RAISE(ABORT, 'audit_log is append-only'); END
    """
OLD_SQLITE_NO_UPDATE = """
    CREATE TRIGGER audit_log_no_update BEFORE UPDATE ON audit_log
    BEGIN SELECT RAISE(ABORT, 'audit_log is append-only'); END
    """


def chain_sqlite() -> None:
    """Chain the rows that there are, in their order."""
    connection = op.get_bind()
    few = f"SELECT {', '.join(KEPT)} FROM audit_log WHERE id > ? ORDER BY id LIMIT {BATCH}"
    chain = "UPDATE audit_log SET chain = 1, link = ?, hash = ? WHERE id = ?"
    link, previous, last = 0, "", -(2**63)
    while rows := connection.exec_driver_sql(few, (last,)).all():
        chained = []
        for row in rows:
            link += 1
            previous = sqlite_hash(previous, link, row)
            chained.append((link, previous, row.id))
        connection.exec_driver_sql(chain, chained)
        last = rows[-1].id


def sqlite_hash(previous: str, link: int, row: sa.Row[Any]) -> str:
    """Return the hash of a row of chain 1."""
    at = datetime.fromisoformat(row.at)
    said = [previous, 1, link, row.id, f"{at:%Y-%m-%dT%H:%M:%S.%fZ}", *row[2:-1]]
    text = canonical([*said, json.loads(row.changes)])
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def canonical(value: Any) -> str:  # noqa: ANN401 - what JSON can hold
    """Return a JSON value as PostgreSQL writes it down."""
    if isinstance(value, dict):
        names = sorted(value, key=lambda name: (len(name.encode()), name.encode()))
        pairs = (f"{canonical(name)}: {canonical(value[name])}" for name in names)
        return f"{{{', '.join(pairs)}}}"
    if isinstance(value, list):
        return f"[{', '.join(map(canonical, value))}]"
    return json.dumps(value, ensure_ascii=False)


# --- PostgreSQL ---------------------------------------------------------------------------------

HASH = """
    CREATE FUNCTION vpopsql_audit_hash(e audit_log, previous text) RETURNS text
    LANGUAGE sql STABLE AS $$
        SELECT encode(sha256(convert_to(jsonb_build_array(
            previous, e.chain, e.link, e.id,
            to_char(e.at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'),
            e.actor, e.actor_ip, e.channel, e.request_id, e.action, e.object_type, e.object,
            e.changes
        )::text, 'UTF8')), 'hex')
    $$
    """

CHAIN_ALL = """
    DO $$
    DECLARE
        e audit_log;
        previous text = '';
        n bigint = 0;
    BEGIN
        FOR e IN SELECT * FROM audit_log ORDER BY id LOOP
            n = n + 1;
            e.chain = 1;
            e.link = n;
            previous = vpopsql_audit_hash(e, previous);
            UPDATE audit_log SET chain = 1, link = n, hash = previous WHERE id = e.id;
        END LOOP;
    END $$
    """


def chain_postgresql() -> None:
    """Chain the rows that there are, and have a trigger chain all others."""
    schema = op.get_bind().exec_driver_sql("SELECT quote_ident(current_schema())").scalar_one()
    op.execute(HASH)
    op.execute("ALTER TABLE audit_log DISABLE TRIGGER audit_log_append_only")
    op.execute(CHAIN_ALL)
    op.execute("ALTER TABLE audit_log ENABLE TRIGGER audit_log_append_only")
    # A row with a hash comes from a backup. Each query of the loop sees what is committed when it
    # begins, so that of the lock's last owner too.
    op.execute(f"""
        CREATE FUNCTION vpopsql_chain_audit() RETURNS trigger
        LANGUAGE plpgsql SECURITY DEFINER SET search_path = {schema}, pg_temp AS $$
        DECLARE
            mine integer = 1;
            last record;
        BEGIN
            IF NEW.hash IS NOT NULL THEN
                RETURN NEW;
            END IF;
            WHILE NOT pg_try_advisory_xact_lock({LOCKS}, mine) LOOP
                mine = mine + 1;
            END LOOP;
            SELECT a.link, a.hash INTO last FROM audit_log a
            WHERE a.chain = mine ORDER BY a.link DESC LIMIT 1;
            NEW.chain = mine;
            NEW.link = COALESCE(last.link, 0) + 1;
            NEW.hash = vpopsql_audit_hash(NEW, COALESCE(last.hash, ''));
            RETURN NEW;
        END $$
        """)
    op.execute("""
        CREATE TRIGGER audit_log_chain BEFORE INSERT ON audit_log
        FOR EACH ROW EXECUTE FUNCTION vpopsql_chain_audit()
        """)
