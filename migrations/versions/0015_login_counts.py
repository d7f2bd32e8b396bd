"""Logins and failed logins of each hour, and the report of both.

Revision: 0015
Follows: 0014
"""

import importlib.util
from pathlib import Path
from types import ModuleType
from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0015"
down_revision = "0014"
branch_labels = None
depends_on = None

NAME = sa.String(255).with_variant(sa.String(255, collation="C"), "postgresql")
EXACT = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")
WHEN = sa.DateTime(timezone=True)


VIEW = "report_auth_activity"


def upgrade() -> None:
    """Create the table, and the view anew."""
    op.create_table(
        "login_counts",
        sa.Column("hour", WHEN, nullable=False),
        sa.Column("account", EXACT, nullable=False),
        sa.Column("remote_ip", sa.String(45), nullable=False),
        sa.Column("service", sa.String(16), nullable=False),
        sa.Column("domain", NAME, nullable=True),
        sa.Column("ok", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("failed", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("last_at", WHEN, nullable=False),
        sa.PrimaryKeyConstraint(
            "hour", "account", "remote_ip", "service", name=op.f("pk_login_counts")
        ),
    )
    op.create_index("ix_login_counts_account_remote_ip", "login_counts", ["account", "remote_ip"])
    op.execute(f"DROP VIEW {VIEW}")
    op.execute(f"CREATE VIEW {VIEW} AS {view(op.get_bind().dialect.name)}")


def downgrade() -> None:
    """Make the view as it was, and drop the table with what was counted."""
    op.execute(f"DROP VIEW {VIEW}")
    old = load("0010_quick_report_views.py").views(op.get_bind().dialect.name)
    op.execute(f"CREATE VIEW {VIEW} AS {old[VIEW]}")
    op.drop_table("login_counts")


def load(file: str) -> Any:  # noqa: ANN401 - a module that has no name
    """Return an earlier migration."""
    spec = importlib.util.spec_from_file_location("earlier", Path(__file__).with_name(file))
    module: ModuleType = importlib.util.module_from_spec(spec)  # type: ignore[arg-type]
    spec.loader.exec_module(module)  # type: ignore[union-attr]
    return module


def view(dialect: str) -> str:
    """Return the view of logins: the last ones by mail servers, and what was counted.

    They are rows of their own: of the former nobody knows how many there were.
    """
    sql = load("0007_report_views.py").Dialect(dialect)
    days = load("0010_quick_report_views.py").Days(sql)

    def all_days(name: str, at: str, of: str) -> str:
        """Return the recursive query for the days on which a table has something."""
        newest = f"SELECT max({at}) FROM {of}"
        return f"""
            {name} (day) AS (
                SELECT {days.of(f"({newest})")}
                UNION ALL
                SELECT {days.of(f"({newest} AND {at} < d.day)")}
                FROM {name} d WHERE d.day IS NOT NULL
            )
            """

    is_login = "a.remote_ip <> '0.0.0.0'"
    return f"""
        WITH RECURSIVE
            {all_days("days", "a.at", f"last_auths a WHERE {is_login}")},
            {all_days("counted_days", "c.hour", "login_counts c WHERE 1 = 1")}
        SELECT {days.shown("d.day")} AS date, n.name AS domain,
            NULLIF(a.service, 'any') AS service, a.remote_ip AS ip,
            count(*) AS distinct_users, {sql.integer("NULL")} AS ok,
            {sql.integer("NULL")} AS failed, max(a.at) AS last_at
        FROM days d JOIN last_auths a ON {days.has("d.day", "a.at")} AND {is_login}
        JOIN mailboxes m ON m.id = a.mailbox_id
        JOIN domain_names n ON n.domain_id = m.domain_id AND NOT n.is_alias
        GROUP BY d.day, n.name, a.service, a.remote_ip
        UNION ALL
        SELECT {days.shown("d.day")}, c.domain, c.service, NULLIF(c.remote_ip, ''),
            count(DISTINCT NULLIF(c.account, '')), {sql.integer("sum(c.ok)")},
            {sql.integer("sum(c.failed)")}, max(c.last_at)
        FROM counted_days d JOIN login_counts c ON {days.has("d.day", "c.hour")}
        GROUP BY d.day, c.domain, c.service, c.remote_ip
        """
