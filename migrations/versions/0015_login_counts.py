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
    """Return the view of logins: what was counted, and the last logins by mail servers."""
    sql = load("0007_report_views.py").Dialect(dialect)
    days = load("0010_quick_report_views.py").Days(sql)
    is_login = "a.remote_ip <> '0.0.0.0'"

    def newest(before: str) -> Any:  # noqa: ANN401 - of a module that has no name
        return days.later(
            f"(SELECT max(a.at) FROM last_auths a WHERE {is_login} {before.format('a.at')})",
            f"(SELECT max(c.hour) FROM login_counts c WHERE 1 = 1 {before.format('c.hour')})",
        )

    return f"""
        WITH RECURSIVE days (day) AS (
            SELECT {days.of(newest(""))}
            UNION ALL
            SELECT {days.of(newest("AND {} < d.day"))} FROM days d WHERE d.day IS NOT NULL
        )
        SELECT {days.shown("x.day")} AS date, x.domain AS domain, x.service AS service,
            x.remote_ip AS ip, count(DISTINCT x.account) AS distinct_users,
            {sql.integer("sum(x.ok)")} AS ok, {sql.integer("sum(x.failed)")} AS failed,
            max(x.last_at) AS last_at
        FROM (
            SELECT d.day AS day, n.name AS domain, NULLIF(a.service, 'any') AS service,
                a.remote_ip AS remote_ip, m.name || '@' || n.name AS account,
                NULL AS ok, NULL AS failed, a.at AS last_at
            FROM days d JOIN last_auths a ON {days.has("d.day", "a.at")} AND {is_login}
            JOIN mailboxes m ON m.id = a.mailbox_id
            JOIN domain_names n ON n.domain_id = m.domain_id AND NOT n.is_alias
            UNION ALL
            SELECT d.day, c.domain, c.service, NULLIF(c.remote_ip, ''),
                NULLIF(c.account, ''), c.ok, c.failed, c.last_at
            FROM days d JOIN login_counts c ON {days.has("d.day", "c.hour")}
        ) x
        GROUP BY x.day, x.domain, x.service, x.remote_ip
        """
