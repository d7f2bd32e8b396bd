"""How many names of domains there are, counted as they come and go.

Revision: 0016
Follows: 0015

``domain_name_counts`` divides the order of ``domain_names.sort_key`` into parts of some hundreds
of names, and says how many names each has: the sum is how many there are, and where a name stands
is the sum of the parts before its own and what its own has before it. Triggers keep it exact,
whoever writes. A part that has become large is divided.

* SQLite has one writer, so a part is one row, which is changed and divided on the spot.
* On PostgreSQL nobody waits for anybody else's count: a statement adds a row to a part, and puts
  those together that no other open transaction has. A part is divided at the end of a transaction,
  if no other one has names of its own then; if one has, the next that adds a name does it.

An index finds the names of ``control/rcpthosts``, which are counted for each new name.
"""

import sqlalchemy as sa
from alembic import op

revision = "0016"
down_revision = "0015"
branch_labels = None
depends_on = None

ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
NAME = sa.String(255).with_variant(sa.String(255, collation="C"), "postgresql")

PART = 512
"""Names of a part that has just been made."""

MOST = 2 * PART
FIRST = "''"


def upgrade() -> None:
    """Create the table, count, and see to it that it stays right."""
    op.create_table(
        "domain_name_counts",
        sa.Column("id", ID, autoincrement=True, nullable=False),
        sa.Column("from_key", NAME, nullable=False),
        sa.Column("names", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_domain_name_counts")),
    )
    op.create_index("ix_domain_name_counts_from_key", "domain_name_counts", ["from_key"])
    # From here on nobody else adds a name before this is committed.
    op.create_index(
        "ix_domain_names_rcpthosts",
        "domain_names",
        ["name"],
        sqlite_where=sa.text("in_morercpthosts = 0"),
        postgresql_where=sa.text("NOT in_morercpthosts"),
    )
    op.execute(f"{INTO} {parts(FIRST)}")
    op.execute(f"{INTO} SELECT {FIRST}, 0 WHERE NOT EXISTS (SELECT 1 FROM domain_name_counts)")
    if op.get_bind().dialect.name == "sqlite":
        for statement in SQLITE:
            op.execute(statement)
    else:
        postgresql()


def downgrade() -> None:
    """Take all of that away."""
    is_sqlite = op.get_bind().dialect.name == "sqlite"
    for name in OF_NAMES if is_sqlite else (*OF_NAMES, "domain_names_emptied"):
        op.execute(f"DROP TRIGGER {name}" + ("" if is_sqlite else " ON domain_names"))
    op.drop_index("ix_domain_names_rcpthosts", "domain_names")
    op.drop_table("domain_name_counts")
    if not is_sqlite:
        op.execute("DROP FUNCTION vpopsql_count_domain_names()")
        op.execute("DROP FUNCTION vpopsql_divide_domain_names()")


INTO = "INSERT INTO domain_name_counts (from_key, names)"


def parts(first: str, which: str = "1 = 1") -> str:
    """Return the query that divides names into parts, and counts them.

    :param first: where the first part begins.
    :param which: which names.
    """
    return f"""
        SELECT CASE WHEN part = 0 THEN {first} ELSE min(sort_key) END, count(*)
        FROM (
            SELECT n.sort_key, (row_number() OVER (ORDER BY n.sort_key) - 1) / {PART} AS part
            FROM domain_names n WHERE {which}
        ) AS divided
        GROUP BY part
        """


PART_OF = "(SELECT max(c.from_key) FROM domain_name_counts c WHERE c.from_key <= {key})"

OF_NAMES = ("domain_names_added", "domain_names_changed", "domain_names_removed")

# --- SQLite -------------------------------------------------------------------------------------

COUNT_ONE = """
    UPDATE domain_name_counts SET names = names {change} 1 WHERE id = (
        SELECT id FROM domain_name_counts WHERE from_key <= {key} ORDER BY from_key DESC LIMIT 1
    );
    """
COUNT_IN = COUNT_ONE.format(change="+", key="NEW.sort_key")
COUNT_OUT = COUNT_ONE.format(change="-", key="OLD.sort_key")
SQLITE = (
    f"CREATE TRIGGER domain_names_added AFTER INSERT ON domain_names BEGIN {COUNT_IN} END",
    f"""
    CREATE TRIGGER domain_names_changed AFTER UPDATE OF sort_key ON domain_names
    BEGIN {COUNT_OUT} {COUNT_IN} END
    """,
    f"CREATE TRIGGER domain_names_removed AFTER DELETE ON domain_names BEGIN {COUNT_OUT} END",
    f"""
    CREATE TRIGGER domain_name_counts_divided AFTER UPDATE OF names ON domain_name_counts
    WHEN NEW.names > {MOST}
    BEGIN
        {INTO} SELECT sort_key, NEW.names - {PART} FROM domain_names
            WHERE sort_key >= NEW.from_key ORDER BY sort_key LIMIT 1 OFFSET {PART};
        UPDATE domain_name_counts SET names = {PART} WHERE id = NEW.id;
    END
    """,
)

# --- PostgreSQL ---------------------------------------------------------------------------------


def counted(rows: str) -> str:
    """Return the statement that adds what rows change to their parts.

    :param rows: a query for keys, each with the number of names that it means.
    """
    return f"""
        {INTO}
        SELECT {PART_OF.format(key="k.sort_key")}, sum(k.names)
        FROM ({rows}) AS k (sort_key, names)
        GROUP BY 1 HAVING sum(k.names) <> 0
        """


NEW, OLD = "SELECT sort_key, 1 FROM new_rows", "SELECT sort_key, -1 FROM old_rows"

COUNT = f"""
    BEGIN
        IF TG_OP = 'TRUNCATE' THEN
            DELETE FROM domain_name_counts;
            {INTO} VALUES ({FIRST}, 0);
            RETURN NULL;
        ELSIF TG_OP = 'INSERT' THEN
            {counted(NEW)};
        ELSIF TG_OP = 'DELETE' THEN
            {counted(OLD)};
        ELSE
            {counted(f"{OLD} UNION ALL {NEW}")};
        END IF;
        WITH free AS (
            SELECT id FROM domain_name_counts WHERE from_key IN (
                SELECT from_key FROM domain_name_counts GROUP BY from_key HAVING count(*) > 1
            )
            FOR UPDATE SKIP LOCKED
        ), gone AS (
            DELETE FROM domain_name_counts WHERE id IN (SELECT id FROM free)
            RETURNING from_key, names
        )
        {INTO} SELECT from_key, sum(names) FROM gone GROUP BY from_key;
        RETURN NULL;
    END
    """

OF_PART = "n.sort_key >= NEW.from_key AND (next_key IS NULL OR n.sort_key < next_key)"
DIVIDE = f"""
    DECLARE
        next_key text;
    BEGIN
        -- An older state than the newest would not do.
        IF current_setting('transaction_isolation') <> 'read committed'
            OR NOT EXISTS (SELECT FROM domain_name_counts WHERE id = NEW.id)
        THEN
            RETURN NULL;
        END IF;
        BEGIN
            -- Nobody else has names that are not committed, nor adds any before this is.
            LOCK TABLE domain_names IN SHARE ROW EXCLUSIVE MODE NOWAIT;
        EXCEPTION WHEN lock_not_available THEN
            RETURN NULL;
        END;
        DELETE FROM domain_name_counts WHERE from_key = NEW.from_key;
        SELECT min(from_key) INTO next_key FROM domain_name_counts WHERE from_key > NEW.from_key;
        {INTO} {parts("NEW.from_key", OF_PART)};
        IF NOT FOUND THEN
            {INTO} VALUES (NEW.from_key, 0);
        END IF;
        RETURN NULL;
    END
    """

BY_STATEMENT = "FOR EACH STATEMENT EXECUTE FUNCTION vpopsql_count_domain_names()"
POSTGRESQL = (
    f"""
    CREATE TRIGGER domain_names_added AFTER INSERT ON domain_names
    REFERENCING NEW TABLE AS new_rows {BY_STATEMENT}
    """,
    f"""
    CREATE TRIGGER domain_names_changed AFTER UPDATE ON domain_names
    REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows {BY_STATEMENT}
    """,
    f"""
    CREATE TRIGGER domain_names_removed AFTER DELETE ON domain_names
    REFERENCING OLD TABLE AS old_rows {BY_STATEMENT}
    """,
    f"CREATE TRIGGER domain_names_emptied AFTER TRUNCATE ON domain_names {BY_STATEMENT}",
    # At the end of a transaction, which waits for nobody any more: no deadlock can come of it.
    f"""
    CREATE CONSTRAINT TRIGGER domain_name_counts_divided AFTER INSERT ON domain_name_counts
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW WHEN (NEW.names > {MOST})
    EXECUTE FUNCTION vpopsql_divide_domain_names()
    """,
)


def postgresql() -> None:
    """Make the functions and triggers."""
    schema = op.get_bind().exec_driver_sql("SELECT quote_ident(current_schema())").scalar_one()
    functions = {"vpopsql_count_domain_names": COUNT, "vpopsql_divide_domain_names": DIVIDE}
    for name, body in functions.items():
        # Whoever may write names need not have rights to write counts.
        op.execute(
            f"CREATE FUNCTION {name}() RETURNS trigger LANGUAGE plpgsql"
            f" SECURITY DEFINER SET search_path = {schema}, pg_temp AS $$ {body} $$"
        )
    for statement in POSTGRESQL:
        op.execute(statement)
