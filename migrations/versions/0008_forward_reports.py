"""Views that follow aliases and forwards: to nobody, to each other, out of the site.

Revision: 0008
Follows: 0007

``report_forwards`` has a row for each line that forwards, with where its mail goes next, as qmail
and vpopmail look it up: the file of that name, the longest ``PART-default``, the mailbox, the
catch-all. The others walk along it, each with a limit to its depth, for what goes round in circles
has no end.

Not looked at: ``.qmail-EXT`` files of mailboxes, lines of other hosts' files, and what programs
do with a message.
"""

from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

WILDCARDS = "ix_dotqmail_files_wildcards"


def upgrade() -> None:
    """Create the index that finds a domain's wildcards, and the views."""
    dialect = op.get_bind().dialect.name
    op.execute(
        f"CREATE INDEX {WILDCARDS} ON dotqmail_files (domain_id)"
        f" WHERE mailbox_id IS NULL AND {ending('name', is_sqlite=dialect == 'sqlite')}"
    )
    for name, select in views(dialect).items():
        op.execute(f"CREATE VIEW {name} AS {select}")


def downgrade() -> None:
    """Drop the views, those first that read others, and the index."""
    for name in reversed(views(op.get_bind().dialect.name)):
        op.execute(f"DROP VIEW {name}")
    op.execute(f"DROP INDEX {WILDCARDS}")


REAL_NAME = "JOIN domain_names n ON n.domain_id = d.id AND NOT n.is_alias"
BLANKS = "' \t\r'"
DEPTH, PATH_DEPTH = 32, 16
ADMINS, BOUNCE_MAIL = 0x11000, 0x10

# What a line forwards to: without the ampersand that may stand before it.
DESTINATION = f"""
    rtrim(ltrim(CASE WHEN substr(t.line, 1, 1) = '&' THEN substr(t.line, 2) ELSE t.line END,
        {BLANKS}), {BLANKS})
    """

# The characters up to the last @: what is left when all others are cut off from the right.
UP_TO_AT = "length(rtrim(x.destination, replace(x.destination, '@', '')))"

KEEPS = """EXISTS (
    SELECT 1 FROM dotqmail_lines k WHERE k.file_id = {file} AND (
        k.kind IN ('maildir', 'mbox') OR k.kind = 'program' AND k.line LIKE '%/vdelivermail %'
    )
)"""


def views(dialect: str) -> dict[str, str]:
    """Return the SELECT of each view; a view reads only those before it."""
    is_sqlite = dialect == "sqlite"
    return {
        **forwards(is_sqlite=is_sqlite),
        **of_one_step(is_sqlite=is_sqlite),
        **of_walks(is_sqlite=is_sqlite),
    }


def ending(name: str, *, is_sqlite: bool) -> str:
    """Return the condition of a name that serves many; the index has the same."""
    end = f"substr({name}, -8, 8)" if is_sqlite else f"right({name}, 8)"
    return f"{end} = '-default'"


def wildcard(domain: str, user: str, *, is_sqlite: bool) -> str:
    """Return the query for the file ``PART-default`` that serves a name, the longest first."""
    end = ending("v.name", is_sqlite=is_sqlite)
    return f"""
        SELECT v.id FROM dotqmail_files v
        WHERE v.domain_id = {domain} AND v.mailbox_id IS NULL AND {end}
        AND v.link_target IS NULL
        AND substr({user}, 1, length(v.name) - 7) = substr(v.name, 1, length(v.name) - 7)
        ORDER BY length(v.name) DESC LIMIT 1
        """


def forwards(*, is_sqlite: bool) -> dict[str, str]:
    """Return the view that all others read."""
    name = "f.mailbox_id IS NULL AND f.name"
    lines = f"""
        SELECT 'alias' AS kind, f.domain_id, f.name AS name, f.id AS file_id,
            t.position AS line_no, {DESTINATION} AS destination
        FROM dotqmail_files f JOIN dotqmail_lines t ON t.file_id = f.id
        WHERE {name} NOT IN ('', 'default') AND t.kind = 'forward'
        UNION ALL
        SELECT 'catchall', f.domain_id, '*', f.id, t.position, {DESTINATION}
        FROM dotqmail_files f JOIN dotqmail_lines t ON t.file_id = f.id
        JOIN domains d ON d.id = f.domain_id
        WHERE {name} = 'default' AND t.kind = 'forward' AND d.catchall = 'dotqmail'
        UNION ALL
        SELECT 'mailbox', f.domain_id, m.name, f.id, t.position, {DESTINATION}
        FROM dotqmail_files f JOIN dotqmail_lines t ON t.file_id = f.id
        JOIN mailboxes m ON m.id = f.mailbox_id
        WHERE f.name = '' AND t.kind = 'forward'
        UNION ALL
        SELECT 'catchall', d.id, '*', NULL, 1, d.catchall_target FROM domains d
        WHERE d.catchall = 'address'
        """
    found = wildcard("h.domain_id", "y.to_user", is_sqlite=is_sqlite)
    return {
        # SQLite would take each line apart anew for each of its lookups.
        "report_forwards": f"""
            WITH y AS {"MATERIALIZED" if is_sqlite else "NOT MATERIALIZED"} (
                SELECT x.*,
                    CASE WHEN x.destination LIKE '%@%'
                        THEN lower(substr(x.destination, 1, {UP_TO_AT} - 1)) END AS to_user,
                    CASE WHEN x.destination LIKE '%@%'
                        THEN lower(substr(x.destination, {UP_TO_AT} + 1)) END AS to_host
                FROM ({lines}) x
            )
            SELECT y.kind AS kind, y.name || '@' || n.name AS source, n.name AS domain,
                y.file_id AS file_id, y.domain_id AS domain_id, y.name AS name,
                y.line_no AS line_no, y.destination AS destination,
                y.to_host AS destination_domain,
                CASE WHEN y.kind <> 'mailbox' OR NOT EXISTS (
                    SELECT 1 FROM dotqmail_files o WHERE o.domain_id = y.domain_id
                    AND o.mailbox_id IS NULL AND o.name = y.name AND o.link_target IS NULL
                ) THEN y.name || '@' || n.name END AS node,
                CASE WHEN y.to_host IS NULL THEN 'system'
                    WHEN h.domain_id IS NULL THEN 'external'
                    WHEN e.id IS NOT NULL OR w.id IS NOT NULL THEN 'alias'
                    WHEN m.id IS NOT NULL THEN 'mailbox'
                    WHEN c.catchall IN ('address', 'directory', 'dotqmail') THEN 'catchall'
                    WHEN c.catchall = 'delete' THEN 'discarded'
                    ELSE 'nobody' END AS target_kind,
                CASE WHEN h.domain_id IS NULL THEN lower(y.destination)
                    WHEN e.id IS NOT NULL THEN y.to_user || '@' || r.name
                    WHEN w.id IS NOT NULL THEN w.name || '@' || r.name
                    WHEN m.id IS NULL AND c.catchall IN ('address', 'directory', 'dotqmail')
                        THEN '*@' || r.name
                    ELSE y.to_user || '@' || r.name END AS target,
                CASE WHEN e.id IS NULL AND w.id IS NULL THEN m.id END AS target_mailbox_id
            FROM y JOIN domain_names n ON n.domain_id = y.domain_id AND NOT n.is_alias
            LEFT JOIN domain_names h ON h.name = y.to_host
            LEFT JOIN domain_names r ON r.domain_id = h.domain_id AND NOT r.is_alias
            LEFT JOIN domains c ON c.id = h.domain_id
            LEFT JOIN dotqmail_files e ON e.domain_id = h.domain_id AND e.mailbox_id IS NULL
                AND e.name = y.to_user AND e.name NOT IN ('', 'default') AND e.link_target IS NULL
            LEFT JOIN dotqmail_files w ON e.id IS NULL AND w.id = ({found})
            LEFT JOIN mailboxes m ON m.domain_id = h.domain_id AND m.name = y.to_user
            """,
    }


def of_one_step(*, is_sqlite: bool) -> dict[str, str]:
    """Return the views that look at single lines."""
    false = "0" if is_sqlite else "false"
    file = """
        rtrim(CASE WHEN f.kind = 'mailbox' THEN m.directory ELSE d.directory END, '/')
        || CASE f.kind WHEN 'mailbox' THEN '/.qmail' WHEN 'catchall' THEN '/.qmail-default'
            ELSE '/.qmail-' || f.name END
        """
    entries = f"FROM audit_log a WHERE a.object_type = 'dotqmail' AND a.object = {file}"
    deleted = """(
        SELECT max(a.id) FROM audit_log a
        WHERE a.object_type = '{}' AND a.object = {} AND a.action = '{}'
    )"""
    shadows = wildcard("m.domain_id", "m.name", is_sqlite=is_sqlite)
    return {
        "report_dangling_aliases": f"""
            SELECT f.source AS alias, f.domain AS domain, f.kind AS kind, f.line_no AS line_no,
                f.destination AS destination,
                CASE WHEN f.target_kind = 'mailbox' THEN 'disabled'
                    WHEN f.target_kind = 'external' THEN 'no-domain'
                    WHEN f.target_kind = 'discarded' THEN 'discarded'
                    WHEN u.id IS NOT NULL THEN 'deleted'
                    ELSE 'no-user' END AS reason,
                COALESCE(u.at, g.at) AS deleted_at
            FROM report_forwards f LEFT JOIN mailboxes m ON m.id = f.target_mailbox_id
            LEFT JOIN audit_log u ON f.target_kind IN ('nobody', 'discarded')
                AND u.id = {deleted.format("user", "f.target", "del_user")}
            LEFT JOIN audit_log g ON f.target_kind = 'external'
                AND g.id = {deleted.format("domain", "f.destination_domain", "del_domain")}
            WHERE f.target_kind IN ('nobody', 'discarded')
                OR f.target_kind = 'external' AND g.id IS NOT NULL
                OR f.target_kind = 'mailbox' AND (m.flags & {BOUNCE_MAIL}) <> 0
            """,
        "report_external_forwards": f"""
            SELECT f.source AS source, f.domain AS domain, f.kind AS kind,
                f.destination AS destination, f.destination_domain AS destination_domain,
                {KEEPS.format(file="f.file_id")} AS keeps_copy,
                (SELECT min(a.at) {entries}) AS first_seen,
                (SELECT a.actor {entries} ORDER BY a.id DESC LIMIT 1) AS changed_by,
                COALESCE((m.flags & {ADMINS}) <> 0 OR m.name = 'postmaster', {false})
                    AS owner_is_admin
            FROM report_forwards f JOIN domains d ON d.id = f.domain_id
            LEFT JOIN mailboxes m ON m.domain_id = f.domain_id AND m.name = f.name
            WHERE f.target_kind = 'external'
            """,
        "report_shadowed": f"""
            SELECT m.name || '@' || n.name AS address, n.name AS domain,
                '.qmail-' || replace(f.name, '.', ':') AS winner,
                (SELECT count(*) FROM dotqmail_lines k WHERE k.file_id = f.id) AS alias_lines,
                {KEEPS.format(file="f.id")} AS keeps_copy
            FROM mailboxes m JOIN domains d ON d.id = m.domain_id {REAL_NAME}
            LEFT JOIN dotqmail_files e ON e.domain_id = m.domain_id AND e.mailbox_id IS NULL
                AND e.name = m.name AND e.name <> 'default' AND e.link_target IS NULL
            JOIN dotqmail_files f ON f.id = COALESCE(e.id, ({shadows}))
            """,
    }


def of_walks(*, is_sqlite: bool) -> dict[str, str]:
    """Return the views that follow mail from address to address.

    A path is the addresses with a newline around each, which none can have in it.
    """
    newline, find = ("char(10)", "instr") if is_sqlite else ("chr(10)", "strpos")
    any_of = "max" if is_sqlite else "bool_or"
    domain = "substr({0}, length(rtrim({0}, replace({0}, '@', ''))) + 1)"
    shown = f"replace(trim({{}}, {newline}), {newline}, ' > ')"
    joined = "group_concat(path, '; ')" if is_sqlite else "string_agg(path, '; ' ORDER BY path)"
    # Only what leads to somebody who forwards again can be part of a chain.
    steps = f"""
        lines AS MATERIALIZED (
            SELECT node AS a, target AS b, {any_of}(EXISTS (
                SELECT 1 FROM mailboxes m
                WHERE m.domain_id = r.domain_id AND m.name = r.name
            )) AS box
            FROM report_forwards r
            WHERE node IS NOT NULL
            GROUP BY node, target
        ),
        steps AS MATERIALIZED (
            SELECT a, b, box FROM lines WHERE b IN (SELECT a FROM lines)
        )
        """
    return {
        "report_alias_loops": f"""
            WITH RECURSIVE {steps}, walk (start, node, path, length, box) AS (
                SELECT a, b, {newline} || a || {newline}, 1, box FROM steps WHERE b >= a
                UNION ALL
                SELECT w.start, s.b, w.path || s.a || {newline}, w.length + 1,
                    {"max(w.box, s.box)" if is_sqlite else "w.box OR s.box"}
                FROM walk w JOIN steps s ON s.a = w.node
                WHERE w.node <> w.start AND s.b >= w.start AND w.length < {DEPTH}
                    AND (s.b = w.start OR {find}(w.path, {newline} || s.b || {newline}) = 0)
                    AND s.a <> s.b
            )
            SELECT row_number() OVER (ORDER BY w.path) AS cycle_id,
                {domain.format("w.start")} AS domain,
                {shown.format("w.path || w.start")} AS path, w.length AS length,
                w.box AS contains_mailbox,
                (
                    SELECT count(DISTINCT s.a) FROM steps s
                    WHERE {find}(w.path, {newline} || s.b || {newline}) > 0
                    AND {find}(w.path, {newline} || s.a || {newline}) = 0
                ) AS entry_points
            FROM walk w WHERE w.node = w.start
            """,
        "report_alias_depth": f"""
            WITH RECURSIVE {steps}, walk (start, node, depth) AS (
                SELECT a, b, 2 FROM steps
                UNION
                SELECT w.start, s.b, w.depth + 1 FROM walk w JOIN steps s ON s.a = w.node
                WHERE w.depth < {DEPTH}
            )
            SELECT start AS address, {domain.format("start")} AS domain, max(depth) AS depth,
                max(depth) >= {DEPTH} AS is_cut_off
            FROM walk GROUP BY start
            """,
        # Whoever has one line only forwards nothing twice, if what comes behind does not.
        "report_duplicate_forwards": f"""
            WITH RECURSIVE edges AS MATERIALIZED (
                SELECT node AS a, target AS b, domain FROM report_forwards WHERE node IS NOT NULL
            ), walk (start, domain, node, path, depth) AS (
                SELECT a, domain, b, {newline} || a || {newline}, 1 FROM edges
                WHERE a IN (SELECT a FROM edges GROUP BY a HAVING count(*) > 1)
                UNION ALL
                SELECT w.start, w.domain, s.b, w.path || s.a || {newline}, w.depth + 1
                FROM walk w JOIN edges s ON s.a = w.node
                WHERE w.depth < {PATH_DEPTH}
                    AND {find}(w.path, {newline} || s.a || {newline}) = 0
            )
            SELECT start AS alias, domain, node AS destination, count(*) AS times, {joined} AS via
            FROM (
                SELECT start, domain, node, {shown.format("path || node")} AS path FROM walk w
                WHERE NOT EXISTS (SELECT 1 FROM edges s WHERE s.a = w.node)
                ORDER BY 4
            ) ends
            GROUP BY start, domain, node HAVING count(*) > 1
            """,
    }
