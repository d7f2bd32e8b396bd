"""Views for reports on accounts, domains and history that are quick on large sites, too.

Revision: 0010
Follows: 0009

What is sorted by time or by domain follows an index, what is counted is counted where it is asked
for, and days are found one by one, so that a report can be asked for in parts.
``report_inactive_mailboxes`` has a new column, ``idle_since``, by which it is sorted.
"""

import importlib.util
from pathlib import Path
from types import ModuleType
from typing import Any

from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the views anew."""
    dialect = op.get_bind().dialect.name
    make(old_views(dialect), views(dialect))


def downgrade() -> None:
    """Make them as they were."""
    dialect = op.get_bind().dialect.name
    make(views(dialect), old_views(dialect))


def load(file: str) -> Any:  # noqa: ANN401 - a module that has no name
    """Return an earlier migration: most views stay what they are there."""
    spec = importlib.util.spec_from_file_location("earlier", Path(__file__).with_name(file))
    module: ModuleType = importlib.util.module_from_spec(spec)  # type: ignore[arg-type]
    spec.loader.exec_module(module)  # type: ignore[union-attr]
    return module


accounts, walks = load("0007_report_views.py"), load("0008_forward_reports.py")


def old_views(dialect: str) -> dict[str, str]:
    """Return the views as they were."""
    return {**accounts.views(dialect), **walks.views(dialect)}


def views(dialect: str) -> dict[str, str]:
    """Return all views as they are from now on; a view reads only those before it."""
    sql = accounts.Dialect(dialect)
    new = building_blocks(sql) | of_accounts(sql) | of_domains(sql) | of_history(sql)
    return {name: new.get(name, old) for name, old in old_views(dialect).items()}


def make(old: dict[str, str], new: dict[str, str]) -> None:
    """Drop the views that there are, and create others."""
    for name in reversed(old):
        op.execute(f"DROP VIEW {name}")
    for name, select in new.items():
        op.execute(f"CREATE VIEW {name} AS {select}")


REAL_NAME_OF_BOX = "JOIN domain_names n ON n.domain_id = m.domain_id AND NOT n.is_alias"
LATEST_USE = "LEFT JOIN latest_usage u ON u.mailbox_id = m.id"
OWN_LINES = """
    FROM dotqmail_files f JOIN dotqmail_lines t ON t.file_id = f.id
    WHERE f.mailbox_id = m.id AND f.name = ''
    """
HAS_FORWARD = f"EXISTS (SELECT 1 {OWN_LINES} AND t.kind = 'forward')"
IS_FORWARD_ONLY = f"""
    ({HAS_FORWARD} AND NOT EXISTS (
        SELECT 1 {OWN_LINES} AND t.kind IN ('program', 'mbox', 'maildir')
    ))
    """
FLAG_NAMES = " || ".join(
    f"CASE WHEN (m.flags & {bit}) <> 0 THEN ' {name}' ELSE '' END"
    for name, bit in accounts.FLAGS.items()
)


def in_order(*, is_sqlite: bool) -> str:
    """Return the word before JOIN that keeps SQLite, which has no statistics, from turning it."""
    return "CROSS" if is_sqlite else ""


def indexed(name: str, *, is_sqlite: bool) -> str:
    """Return what makes SQLite use the index of the few rows, which it cannot know to be few."""
    return f"INDEXED BY {name}" if is_sqlite else ""


def once(value: str, name: str, *, is_sqlite: bool) -> str:
    """Return a join that computes a value for each row, once for all places that name it."""
    if is_sqlite:
        return f"CROSS JOIN json_each(json_array({value})) {name}"
    return f"CROSS JOIN LATERAL (SELECT {value} AS value OFFSET 0) {name}"


def building_blocks(sql: Any) -> dict[str, str]:  # noqa: ANN401 - the Dialect of 0007
    """Return the views that others are made of."""
    mailboxes = accounts.building_blocks(sql)["report_mailboxes"]
    old = f"FROM mailboxes m JOIN domains d ON d.id = m.domain_id {accounts.REAL_NAME}"
    begin, found, end = mailboxes.partition(old)
    if not found or accounts.LAST_USE not in end:
        raise AssertionError("0007 is another one")
    # Whether a measured size matters is asked before the names and logins of millions are.
    joins = f"FROM mailboxes m {LATEST_USE} {REAL_NAME_OF_BOX}"
    begin = begin.replace("d.id AS domain_id", "m.domain_id AS domain_id")
    has = "EXISTS (SELECT 1 FROM dotqmail_lines t WHERE t.file_id = f.id AND"
    program = f"{has} t.kind = 'program'"

    def runs(*programs: str) -> str:
        return " OR ".join(
            f"lower(t.line) LIKE '%{at}ezmlm-{each}%'" for each in programs for at in ("/", "|")
        )

    return {
        "report_mailboxes": f"{begin} {joins} {accounts.LAST_LOGIN}",
        "report_dotqmail_files": f"""
            SELECT f.id AS file_id, f.domain_id AS domain_id, n.name AS domain, f.name AS name,
                CASE WHEN {program}) THEN CASE
                    WHEN {program} AND ({runs("send", "store", "gate")})) THEN 'list'
                    WHEN {program} AND ({runs("")})) THEN 'list-part'
                    WHEN {program} AND (lower(t.line) LIKE '%autorespond%'
                        OR lower(t.line) LIKE '%/vacation %'
                        OR lower(t.line) LIKE '|vacation %')) THEN 'robot'
                    WHEN {IS_EXTERNAL} THEN 'forward' ELSE 'alias' END
                WHEN {IS_EXTERNAL} THEN 'forward' ELSE 'alias' END AS kind
            FROM dotqmail_files f
            JOIN domain_names n ON n.domain_id = f.domain_id AND NOT n.is_alias
            WHERE f.mailbox_id IS NULL AND f.name NOT IN ('', 'default')
            """,
    }


IS_EXTERNAL = """EXISTS (
    SELECT 1 FROM dotqmail_lines t WHERE t.file_id = f.id AND t.kind = 'forward'
    AND t.to_host IS NOT NULL
    AND NOT EXISTS (SELECT 1 FROM domain_names x WHERE x.name = t.to_host)
)"""


def of_accounts(sql: Any) -> dict[str, str]:  # noqa: ANN401
    """Return the views on mailboxes that an index sorts."""
    false = "0" if sql.is_sqlite else "false"
    true = "1" if sql.is_sqlite else "true"
    # Those with a login in the order of an index on logins, the others in that of one on accounts.
    newest = """
        NOT EXISTS (
            SELECT 1 FROM last_auths b WHERE b.mailbox_id = a.mailbox_id
            AND b.remote_ip <> '0.0.0.0'
            AND (b.at > a.at OR b.at = a.at AND b.service < a.service)
        )
        """
    never = """
        NOT EXISTS (
            SELECT 1 FROM last_auths b WHERE b.mailbox_id = m.id AND b.remote_ip <> '0.0.0.0'
        )
        """

    def inactive(since: str, login: str, is_never: str, source: str) -> str:
        return f"""
            SELECT m.name || '@' || n.name AS address, n.name AS domain,
                m.created_at AS created_at, {login},
                {since} AS idle_since, {sql.days_since(since)} AS days_idle, {is_never} AS never,
                u.bytes AS used_bytes, ltrim({FLAG_NAMES}, ' ') AS flags,
                {IS_FORWARD_ONLY} AS is_forward_only, {accounts.IS_ADMIN} AS is_admin
            {source}
            """

    # Both databases sort by both indexes only if the values of both sides are of the same kind.
    text = "CAST(NULL AS TEXT)" + ("" if sql.is_sqlite else ' COLLATE "C"')
    moment = "DATETIME" if sql.is_sqlite else "timestamptz"
    service = "NULL" if sql.is_sqlite else "CAST(NULL AS text)"
    unknown = f"""CAST(NULL AS {moment}) AS last_auth_at, {service} AS last_service,
        {text} AS last_ip"""
    known = """a.at AS last_auth_at, NULLIF(a.service, 'any') AS last_service,
        a.remote_ip AS last_ip"""
    created_by = accounts.CREATED_BY.replace("b.address", "m.name || '@' || n.name")
    admins = accounts.of_accounts(sql)["report_admins"]
    return {
        "report_inactive_mailboxes": inactive(
            "a.at",
            known,
            false,
            f"""
            FROM last_auths a JOIN mailboxes m ON m.id = a.mailbox_id {LATEST_USE}
            {REAL_NAME_OF_BOX} WHERE a.remote_ip <> '0.0.0.0' AND {newest}
            """,
        )
        + " UNION ALL "
        + inactive(
            "m.created_at",
            unknown,
            true,
            f"FROM mailboxes m {LATEST_USE} {REAL_NAME_OF_BOX} WHERE {never}",
        ),
        "report_never_logged_in": f"""
            SELECT m.name || '@' || n.name AS address, n.name AS domain,
                m.created_at AS created_at, {sql.days_since("m.created_at")} AS age_days,
                ({created_by}) AS created_by, {HAS_FORWARD} AS has_forward,
                u.bytes AS used_bytes
            FROM mailboxes m {LATEST_USE} {REAL_NAME_OF_BOX} WHERE {never}
            """,
        "report_admins": f"{admins} WHERE b.is_admin",
    }


def counts(sql: Any, kinds: dict[str, str]) -> str:  # noqa: ANN401
    """Return the join that counts a domain's files of each kind."""
    of_each = {
        column: f"COALESCE(sum(CASE f.kind WHEN '{kind}' THEN 1 ELSE 0 END), 0)"
        for column, kind in kinds.items()
    }
    files = "FROM report_dotqmail_files f WHERE f.domain_id = d.id"
    if sql.is_sqlite:
        pairs = ", ".join(f"'{column}', {number}" for column, number in of_each.items())
        return f"CROSS JOIN json_each((SELECT json_array(json_object({pairs})) {files})) k"
    numbers = ", ".join(f"{number} AS {column}" for column, number in of_each.items())
    return f"CROSS JOIN LATERAL (SELECT {numbers} {files}) k"


def of_domains(sql: Any) -> dict[str, str]:  # noqa: ANN401
    """Return the views on domains, each of which counts its own only."""
    old = accounts.of_domains(sql)
    kinds = {"aliases": "alias", "forwards": "forward", "robots": "robot", "lists": "list"}
    overview = old["report_domain_overview"].replace(accounts.KINDS, counts(sql, kinds))
    if sql.is_sqlite:
        for column in kinds:
            counted = f"COALESCE(k.{column}, 0)"
            overview = overview.replace(counted, f"json_extract(k.value, '$.{column}')")
    of_domain = "SELECT count(*) FROM report_dotqmail_files f WHERE f.domain_id = d.id"
    used = "CASE WHEN u.measured > 0 OR u.mailboxes = 0 THEN u.{} END"
    setting = accounts.setting
    limits = {
        "max_popaccounts": (
            setting("max_popaccounts", "-1"),
            "(SELECT count(*) FROM mailboxes c WHERE c.domain_id = d.id)",
        ),
        **{
            limit: (setting(limit, "-1"), f"({of_domain} AND f.kind = '{kind}')")
            for limit, kind in (
                ("max_aliases", "alias"),
                ("max_forwards", "forward"),
                ("max_autoresponders", "robot"),
                ("max_mailinglists", "list"),
            )
        },
        "disk_quota": (
            f"COALESCE(NULLIF({setting('disk_quota', '0')}, 0) * {accounts.MEBIBYTE}, -1)",
            used.format("bytes"),
        ),
        "max_msgcount": (
            f"COALESCE(NULLIF({setting('max_msgcount', '0')}, 0), -1)",
            used.format("messages"),
        ),
    }
    names = " UNION ALL ".join(f"SELECT '{name}' AS name" for name in limits)
    value, number = (
        "CASE g.name "
        + " ".join(f"WHEN '{name}' THEN {pair[place]}" for name, pair in limits.items())
        + " END"
        for place in (0, 1)
    )
    # What is used is counted where there is a limit, and once.
    counted = once(number, "j", is_sqlite=sql.is_sqlite)
    colon = f"{sql.position(':', 'name')} > 0"
    of_boxes, of_files = (
        indexed(f"ix_{table}_colons", is_sqlite=sql.is_sqlite)
        for table in ("mailboxes", "dotqmail_files")
    )
    return {
        "report_domain_limits": f"""
            SELECT domain, limit_name, limit_value, used,
                {sql.percent("used", "limit_value")} AS pct, source, used > limit_value AS over
            FROM (
                SELECT n.name AS domain, g.name AS limit_name, {value} AS limit_value,
                    j.value AS used,
                    CASE WHEN l.domain_id IS NOT NULL THEN 'domain' ELSE 'default' END AS source
                FROM domains d {accounts.REAL_NAME} {accounts.LIMITS} {accounts.LAST_DOMAIN_USE}
                CROSS JOIN ({names}) g {counted}
                WHERE {value} >= 0
            ) v
            """,
        "report_domain_overview": overview,
        "report_catchall": old["report_catchall"].replace(accounts.LAST_USE, LATEST_USE),
        # Names that clash in a directory differ in a colon, which few have.
        "report_name_clashes": f"""
            WITH tables AS MATERIALIZED (
                SELECT x.domain_id AS domain_id, x.name AS name,
                    replace(replace(x.name, '.', '_'), '-', '_') AS known_as
                FROM domain_names x WHERE NOT x.is_alias
            ), clashes AS MATERIALIZED (
                SELECT known_as FROM tables GROUP BY known_as HAVING count(*) > 1
            ), clashing AS MATERIALIZED (
                SELECT t.* FROM clashes c JOIN tables t ON t.known_as = c.known_as
            ), colons AS MATERIALIZED (
                SELECT domain_id, name FROM mailboxes {of_boxes} WHERE {colon}
                UNION SELECT domain_id, name FROM dotqmail_files {of_files}
                WHERE mailbox_id IS NULL AND {colon}
            ), files AS MATERIALIZED (
                SELECT domain_id, name FROM colons
                UNION SELECT m.domain_id, m.name FROM (SELECT DISTINCT domain_id FROM colons) c
                JOIN mailboxes m ON m.domain_id = c.domain_id
                UNION SELECT f.domain_id, f.name FROM (SELECT DISTINCT domain_id FROM colons) c
                JOIN dotqmail_files f ON f.domain_id = c.domain_id AND f.mailbox_id IS NULL
            ), known AS MATERIALIZED (
                SELECT domain_id, name, replace(name, '.', ':') AS known_as FROM files
            )
            SELECT 'table' AS kind, c.name AS domain, c.name AS name, o.name AS other
            FROM clashing c JOIN clashing o ON o.known_as = c.known_as AND o.name > c.name
            UNION ALL
            SELECT 'dotqmail', n.name, c.name || '@' || n.name, o.name || '@' || n.name
            FROM known c JOIN known o ON o.domain_id = c.domain_id AND o.known_as = c.known_as
                AND o.name > c.name
            JOIN domain_names n ON n.domain_id = c.domain_id AND NOT n.is_alias
            """,
    }


class Days:
    """The spelling of days: each is the time at which it begins, in UTC."""

    def __init__(self, sql: Any) -> None:  # noqa: ANN401
        self._is_sqlite = sql.is_sqlite

    def of(self, time: str) -> str:
        """Return the day of a time."""
        return f"date({time})" if self._is_sqlite else f"date_trunc('day', {time}, 'UTC')"

    def shown(self, day: str) -> str:
        """Return a day as text: ``2026-01-31``."""
        return day if self._is_sqlite else f"to_char({day} AT TIME ZONE 'UTC', 'YYYY-MM-DD')"

    def has(self, day: str, time: str) -> str:
        """Return the condition that a time is of a day, in a form that an index on it answers."""
        following = f"date({day}, '+1 day')" if self._is_sqlite else f"{day} + interval '24 hours'"
        return f"({time} >= {day} AND {time} < {following})"

    def later(self, one: str, other: str) -> str:
        """Return the later of two times, either of which may be NULL."""
        if self._is_sqlite:
            return f"NULLIF(max(COALESCE({one}, ''), COALESCE({other}, '')), '')"
        return f"GREATEST({one}, {other})"


def of_history(sql: Any) -> dict[str, str]:  # noqa: ANN401
    """Return the views on what happened, which are quick if they are asked for one day."""
    days = Days(sql)

    def newest(table: str, at: str, where: str = "1 = 1") -> str:
        return f"(SELECT max({at}) FROM {table} WHERE {where} AND {{before}})"

    def all_days(*tables: tuple[str, str, str]) -> str:
        """Return the recursive query for the days on which any of the tables has something."""
        ends = []
        for before in ("1 = 1", "{at} < d.day"):
            times = [
                newest(table, at, where).format(before=before.format(at=at))
                for table, at, where in tables
            ]
            ends.append(days.of(times[0] if len(times) == 1 else days.later(*times)))
        return f"""
            days (day) AS (
                SELECT {ends[0]} UNION ALL SELECT {ends[1]} FROM days d WHERE d.day IS NOT NULL
            )
            """

    by_time = indexed("ix_audit_log_at", is_sqlite=sql.is_sqlite)
    logged_in = "a.remote_ip <> '0.0.0.0'"
    domain = """
        CASE WHEN e.object LIKE '%@%'
        THEN substr(e.object, length(rtrim(e.object, replace(e.object, '@', ''))) + 1) END
        """
    is_added = "e.object_type = 'user' AND e.action IN ('add_user', 'restore')"
    is_removed = "e.object_type = 'user' AND e.action = 'del_user'"
    used = "CASE WHEN u.measured > 0 OR u.mailboxes = 0 THEN u.bytes END"
    return {
        "report_auth_activity": f"""
            WITH RECURSIVE {all_days(("last_auths a", "a.at", logged_in))}
            SELECT {days.shown("d.day")} AS date, n.name AS domain,
                NULLIF(a.service, 'any') AS service, a.remote_ip AS ip,
                count(*) AS distinct_users, max(a.at) AS last_at
            FROM days d JOIN last_auths a ON {days.has("d.day", "a.at")} AND {logged_in}
            JOIN mailboxes m ON m.id = a.mailbox_id {REAL_NAME_OF_BOX}
            GROUP BY d.day, n.name, a.service, a.remote_ip
            """,
        "report_growth": f"""
            WITH RECURSIVE {
            all_days(
                ("audit_log e", "e.at", "1 = 1"), ("domain_usage v", "v.measured_at", "1 = 1")
            )
        }
            SELECT {days.shown("w.day")} AS date, w.domain AS domain, u.mailboxes AS mailboxes,
                {sql.integer("w.added")} AS added, {sql.integer("w.removed")} AS removed,
                u.aliases AS aliases, {used} AS used_bytes,
                {used} - (
                    SELECT p.bytes FROM domain_usage p
                    WHERE p.domain = w.domain AND p.measured > 0 AND p.measured_at < w.day
                    ORDER BY p.measured_at DESC, p.id DESC LIMIT 1
                ) AS delta_bytes
            FROM (
                SELECT day, domain, sum(added) AS added, sum(removed) AS removed,
                    max(usage_id) AS usage_id
                FROM (
                    SELECT d.day AS day, {domain} AS domain,
                        CASE WHEN {is_added} THEN 1 ELSE 0 END AS added,
                        CASE WHEN {is_removed} THEN 1 ELSE 0 END AS removed, NULL AS usage_id
                    FROM days d JOIN audit_log e {by_time} ON {days.has("d.day", "e.at")}
                    WHERE {is_added} OR {is_removed}
                    UNION ALL
                    SELECT d.day, v.domain, 0, 0, v.id
                    FROM days d JOIN domain_usage v ON {days.has("d.day", "v.measured_at")}
                ) x GROUP BY day, domain
            ) w LEFT JOIN domain_usage u ON u.id = w.usage_id
            """,
    }
