"""Views that follow aliases and forwards, without looking at what leads nowhere else.

Revision: 0011
Follows: 0010

Nine of ten lines lead to one mailbox here, which has no file of its own, or out of the site.
``report_onward_lines`` has the others, found by an index; the reports on loops, depth and
duplicate forwards begin there.
"""

import importlib.util
from pathlib import Path
from types import ModuleType
from typing import Any

from alembic import op

revision = "0011"
down_revision = "0010"
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


ONWARD = "report_onward_lines"
BOUNCE_MAIL, ADMINS, DEPTH, PATH_DEPTH = 0x10, 0x11000, 32, 16
accounts, walks = load("0007_report_views.py"), load("0008_forward_reports.py")
lines, quick = load("0009_quick_reports.py"), load("0010_quick_report_views.py")


def old_views(dialect: str) -> dict[str, str]:
    """Return the views as they were."""
    return {**quick.views(dialect)}


def views(dialect: str) -> dict[str, str]:
    """Return all views as they are from now on; a view reads only those before it."""
    new = of_forwards(accounts.Dialect(dialect))
    made = {}
    for name, old in old_views(dialect).items():
        made[name] = new.get(name, old)
        if name == "report_forwards":
            made[ONWARD] = new[ONWARD]
    return made


def make(old: dict[str, str], new: dict[str, str]) -> None:
    """Drop the views that there are, and create others."""
    for name in reversed(old):
        op.execute(f"DROP VIEW {name}")
    for name, select in new.items():
        op.execute(f"CREATE VIEW {name} AS {select}")


FROM_LINES = """
    FROM {source} JOIN domain_names n ON n.domain_id = f.domain_id AND NOT n.is_alias
    """
OF_LINES = {
    "kind": """CASE WHEN f.mailbox_id IS NOT NULL THEN 'mailbox'
        WHEN f.name = 'default' THEN 'catchall' ELSE 'alias' END""",
    "name": """CASE WHEN f.mailbox_id IS NOT NULL THEN b.name
        WHEN f.name = 'default' THEN '*' ELSE f.name END""",
    "domain_id": "f.domain_id",
    "file_id": "f.id",
    "line_no": "t.position",
    "destination": lines.DESTINATION.format("t.line"),
    "to_user": "t.to_user",
    "to_host": "t.to_host",
}
IS_ALIAS = """
    f.mailbox_id IS NULL AND f.name <> '' AND (f.name <> 'default' OR EXISTS (
        SELECT 1 FROM domains d WHERE d.id = f.domain_id AND d.catchall = 'dotqmail'
    ))
    """
IS_OWN = "f.mailbox_id IS NOT NULL AND f.name = ''"
OF_CATCHALL = {
    "kind": "'catchall'",
    "name": "'*'",
    "domain_id": "d.id",
    "file_id": "{null}",
    "line_no": "1",
    "destination": "d.catchall_target",
    "to_user": lines.TO_USER.format("d.catchall_target"),
    "to_host": lines.TO_HOST.format("d.catchall_target"),
}
FROM_CATCHALL = "FROM domains d JOIN domain_names n ON n.domain_id = d.id AND NOT n.is_alias"


TARGET_FILE = """
    CASE WHEN e.id IS NOT NULL THEN e.id WHEN w.id IS NOT NULL THEN w.id
        WHEN m.id IS NOT NULL THEN q.id WHEN c.catchall = 'dotqmail' THEN z.id END
    """


def next_of(of: dict[str, str], *, is_sqlite: bool) -> str:
    """Return the joins that look up who gets the mail next."""
    wildcard = walks.wildcard("h.domain_id", of["to_user"], is_sqlite=is_sqlite)
    if is_sqlite:
        longest = f"dotqmail_files w ON e.id IS NULL AND w.id = ({wildcard})"
    else:
        wildcard = wildcard.replace("SELECT v.id", "SELECT v.id, v.name", 1)
        longest = f"LATERAL ({wildcard}) w ON e.id IS NULL"
    return f"""
        LEFT JOIN domain_names h ON h.name = {of["to_host"]}
        LEFT JOIN domain_names r ON r.domain_id = h.domain_id AND NOT r.is_alias
        LEFT JOIN domains c ON c.id = h.domain_id
        LEFT JOIN dotqmail_files e ON e.domain_id = h.domain_id AND e.mailbox_id IS NULL
            AND e.name = {of["to_user"]} AND e.name NOT IN ('', 'default')
            AND e.link_target IS NULL
        LEFT JOIN {longest}
        LEFT JOIN mailboxes m ON m.domain_id = h.domain_id AND m.name = {of["to_user"]}
        LEFT JOIN dotqmail_files q ON q.mailbox_id = m.id AND q.name = ''
        LEFT JOIN dotqmail_files z ON z.domain_id = h.domain_id AND z.mailbox_id IS NULL
            AND z.name = 'default'
        """


def resolved(of: dict[str, str], rows: str, where: str, *, is_sqlite: bool) -> str:
    """Return the query for where lines lead to.

    As qmail and vpopmail look it up: the file of that name, the longest ``PART-default``, the
    mailbox, the catch-all.
    """
    of = {name: value.format(null=NULL_ID[is_sqlite]) for name, value in of.items()}
    goes_on = "c.catchall IN ('address', 'directory', 'dotqmail')"
    return f"""
        SELECT {of["kind"]} AS kind, {of["name"]} || '@' || n.name AS source, n.name AS domain,
            {of["file_id"]} AS file_id, {of["domain_id"]} AS domain_id, {of["name"]} AS name,
            {of["line_no"]} AS line_no, {of["destination"]} AS destination,
            {of["to_host"]} AS destination_domain,
            CASE WHEN {of["kind"]} <> 'mailbox' OR NOT EXISTS (
                SELECT 1 FROM dotqmail_files o WHERE o.domain_id = {of["domain_id"]}
                AND o.mailbox_id IS NULL AND o.name = {of["name"]} AND o.link_target IS NULL
            ) THEN {of["name"]} || '@' || n.name END AS node,
            CASE WHEN {of["to_host"]} IS NULL THEN 'system'
                WHEN h.domain_id IS NULL THEN 'external'
                WHEN e.id IS NOT NULL OR w.id IS NOT NULL THEN 'alias'
                WHEN m.id IS NOT NULL THEN 'mailbox'
                WHEN {goes_on} THEN 'catchall'
                WHEN c.catchall = 'delete' THEN 'discarded'
                ELSE 'nobody' END AS target_kind,
            CASE WHEN h.domain_id IS NULL THEN lower({of["destination"]})
                WHEN e.id IS NOT NULL THEN {of["to_user"]} || '@' || r.name
                WHEN w.id IS NOT NULL THEN w.name || '@' || r.name
                WHEN m.id IS NULL AND {goes_on} THEN '*@' || r.name
                ELSE {of["to_user"]} || '@' || r.name END AS target,
            CASE WHEN e.id IS NULL AND w.id IS NULL THEN m.id END AS target_mailbox_id,
            {TARGET_FILE} AS target_file_id
        {rows}
        {next_of(of, is_sqlite=is_sqlite)}
        WHERE {where}
        """


NULL_ID = {True: "NULL", False: "CAST(NULL AS bigint)"}


def of_lines(chosen: str, *, is_sqlite: bool) -> str:
    """Return the query for where chosen lines lead to, and all catch-alls that are addresses.

    :param chosen: a query for (file_id, line_no).
    """
    rows = FROM_LINES.format(
        source=f"""({chosen}) chosen
            JOIN dotqmail_lines t ON t.file_id = chosen.file_id AND t.position = chosen.line_no
            JOIN dotqmail_files f ON f.id = t.file_id LEFT JOIN mailboxes b ON b.id = f.mailbox_id
        """
    )
    catchall = resolved(OF_CATCHALL, FROM_CATCHALL, "d.catchall = 'address'", is_sqlite=is_sqlite)
    where = f"t.kind = 'forward' AND ({IS_ALIAS} OR {IS_OWN})"
    return f"{resolved(OF_LINES, rows, where, is_sqlite=is_sqlite)} UNION ALL {catchall}"


def of_forwards(sql: Any) -> dict[str, str]:  # noqa: ANN401
    """Return the views that follow aliases and forwards."""
    is_sqlite = sql.is_sqlite
    files = "dotqmail_files f JOIN dotqmail_lines t ON t.file_id = f.id"
    domain_rows = FROM_LINES.format(source=files)
    own_rows = FROM_LINES.format(source=f"{files} JOIN mailboxes b ON b.id = f.mailbox_id")
    of_domain = OF_LINES | {
        "kind": "CASE f.name WHEN 'default' THEN 'catchall' ELSE 'alias' END",
        "name": "CASE f.name WHEN 'default' THEN '*' ELSE f.name END",
    }
    of_own = OF_LINES | {"kind": "'mailbox'", "name": "b.name"}
    end = walks.ending("v.name", is_sqlite=is_sqlite)
    wildcards = quick.indexed("ix_dotqmail_files_wildcards", is_sqlite=is_sqlite)
    first = quick.in_order(is_sqlite=is_sqlite)
    onward = f"""
        SELECT t.file_id AS file_id, t.position AS line_no
        FROM domain_names h
        LEFT JOIN (
            SELECT DISTINCT v.domain_id AS domain_id FROM dotqmail_files v {wildcards}
            WHERE v.mailbox_id IS NULL AND {end}
        ) s ON s.domain_id = h.domain_id
        {first} JOIN dotqmail_lines t ON t.to_host = h.name AND t.kind = 'forward'
        LEFT JOIN mailboxes m ON m.domain_id = h.domain_id AND m.name = t.to_user
        LEFT JOIN dotqmail_files e ON e.domain_id = h.domain_id AND e.mailbox_id IS NULL
            AND e.name = t.to_user
        WHERE m.id IS NULL OR e.id IS NOT NULL
            OR s.domain_id IS NOT NULL AND replace(t.to_user, '-', '') <> t.to_user
        UNION
        SELECT t.file_id, t.position
        FROM dotqmail_files q {first} JOIN mailboxes m ON m.id = q.mailbox_id
        {first} JOIN domain_names h ON h.domain_id = m.domain_id
        {first} JOIN dotqmail_lines t
            ON t.to_host = h.name AND t.to_user = m.name AND t.kind = 'forward'
        WHERE q.mailbox_id > 0 AND q.name = ''
        """
    return {
        "report_forwards": " UNION ALL ".join(
            resolved(of, rows, where, is_sqlite=is_sqlite)
            for of, rows, where in (
                (of_domain, domain_rows, f"t.kind = 'forward' AND {IS_ALIAS}"),
                (of_own, own_rows, f"t.kind = 'forward' AND {IS_OWN}"),
                (OF_CATCHALL, FROM_CATCHALL, "d.catchall = 'address'"),
            )
        ),
        # All that lead to one mailbox here, which has no file of its own, or out of the site,
        # are not among these: nine of ten.
        ONWARD: onward,
        **of_one_step(is_sqlite=is_sqlite),
        **of_walks(is_sqlite=is_sqlite),
    }


def of_one_step(*, is_sqlite: bool) -> dict[str, str]:
    """Return the views that look at single lines."""
    old = walks.of_one_step(is_sqlite=is_sqlite)
    # To no mailbox; to a mailbox that bounces; to a domain that was deleted here.
    first = quick.in_order(is_sqlite=is_sqlite)
    bouncing = quick.indexed("ix_mailboxes_bouncing", is_sqlite=is_sqlite)
    chosen = f"""
        SELECT t.file_id AS file_id, t.position AS line_no
        FROM domain_names h
        {first} JOIN dotqmail_lines t ON t.to_host = h.name AND t.kind = 'forward'
        LEFT JOIN mailboxes m ON m.domain_id = h.domain_id AND m.name = t.to_user
        WHERE m.id IS NULL
        UNION
        SELECT t.file_id, t.position FROM mailboxes m {bouncing}
        {first} JOIN domain_names h ON h.domain_id = m.domain_id
        {first} JOIN dotqmail_lines t
            ON t.to_host = h.name AND t.to_user = m.name AND t.kind = 'forward'
        WHERE (m.flags & {BOUNCE_MAIL}) <> 0
        UNION
        SELECT t.file_id, t.position FROM (
            SELECT DISTINCT object AS name FROM audit_log
            WHERE object_type = 'domain' AND action = 'del_domain'
        ) g {first} JOIN dotqmail_lines t ON t.to_host = g.name AND t.kind = 'forward'
        """
    dangling = old["report_dangling_aliases"].replace("FROM report_forwards f", "FROM followed f")
    shadows = walks.wildcard("m.domain_id", "m.name", is_sqlite=is_sqlite)
    keeps = walks.KEEPS.format(file="f.id")
    end = walks.ending("f.name", is_sqlite=is_sqlite)
    wildcards = quick.indexed("ix_dotqmail_files_wildcards", is_sqlite=is_sqlite)
    exact = """
        SELECT 1 FROM dotqmail_files e WHERE e.domain_id = m.domain_id AND e.mailbox_id IS NULL
        AND e.name = m.name AND e.name <> 'default' AND e.link_target IS NULL
        """
    shadowed = f"""
        SELECT m.name || '@' || n.name AS address, n.name AS domain,
            '.qmail-' || replace(f.name, '.', ':') AS winner,
            (SELECT count(*) FROM dotqmail_lines k WHERE k.file_id = f.id) AS alias_lines,
            {keeps} AS keeps_copy
        """
    entries = "FROM audit_log a WHERE a.object_type = 'dotqmail' AND a.object = {file}"
    false = "0" if is_sqlite else "false"

    def external(source: str, where: str, **of: str) -> str:
        seen = entries.format(**of)
        return f"""
            SELECT {of["name"]} || '@' || n.name AS source, n.name AS domain, {of["kind"]} AS kind,
                '' || {of["destination"]} AS destination,
                CAST({of["to_host"]} AS TEXT) AS destination_domain, {of["keeps"]} AS keeps_copy,
                (SELECT min(a.at) {seen}) AS first_seen,
                (SELECT a.actor {seen} ORDER BY a.id DESC LIMIT 1) AS changed_by,
                COALESCE((
                    SELECT (m.flags & {ADMINS}) <> 0 OR m.name = 'postmaster' FROM mailboxes m
                    WHERE m.domain_id = d.id AND m.name = {of["name"]}
                ), {false}) AS owner_is_admin
            FROM domain_names n {first} JOIN domains d ON d.id = n.domain_id {source}
            WHERE NOT n.is_alias AND {where} AND {of["to_host"]} IS NOT NULL AND NOT EXISTS (
                SELECT 1 FROM domain_names h WHERE h.name = {of["to_host"]}
            )
            """

    of_files = {each: OF_LINES[each] for each in ("kind", "name", "destination", "to_host")}
    of_files["keeps"] = keeps
    home = "rtrim({}.directory, '/') || "
    with_lines = f"{first} JOIN dotqmail_lines t ON t.file_id = f.id AND t.kind = 'forward'"
    return {
        "report_external_forwards": " UNION ALL ".join(
            (
                external(
                    f"{first} JOIN dotqmail_files f ON f.domain_id = d.id {with_lines}",
                    f"{IS_ALIAS}",
                    **of_files
                    | {
                        "kind": "CASE f.name WHEN 'default' THEN 'catchall' ELSE 'alias' END",
                        "name": "CASE f.name WHEN 'default' THEN '*' ELSE f.name END",
                        "file": home.format("d") + "'/.qmail-' || f.name",
                    },
                ),
                external(
                    f"""
                    {first} JOIN mailboxes b ON b.domain_id = d.id
                    {first} JOIN dotqmail_files f ON f.mailbox_id = b.id AND f.name = ''
                    {with_lines}
                    """,
                    "1 = 1",
                    **of_files
                    | {
                        "kind": "'mailbox'",
                        "name": "b.name",
                        "file": home.format("b") + "'/.qmail'",
                    },
                ),
                external(
                    "",
                    "d.catchall = 'address'",
                    kind="'catchall'",
                    name="'*'",
                    destination="d.catchall_target",
                    to_host=OF_CATCHALL["to_host"],
                    keeps=false,
                    file=home.format("d") + "'/.qmail-default'",
                ),
            )
        ),
        "report_dangling_aliases": f"""
            WITH followed AS (
                {of_lines(chosen, is_sqlite=is_sqlite)}
            ) {dangling}
            """,
        "report_shadowed": f"""
            {shadowed}
            FROM mailboxes m {first} JOIN dotqmail_files f ON f.domain_id = m.domain_id
                AND f.mailbox_id IS NULL AND f.name = m.name AND f.name <> 'default'
                AND f.link_target IS NULL
            {quick.REAL_NAME_OF_BOX}
            UNION ALL
            {shadowed}
            FROM dotqmail_files f {wildcards} JOIN mailboxes m ON m.domain_id = f.domain_id
            {quick.REAL_NAME_OF_BOX}
            WHERE f.mailbox_id IS NULL AND {end} AND f.link_target IS NULL
                AND f.id = ({shadows}) AND NOT EXISTS ({exact})
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
    onward = of_lines("SELECT file_id, line_no FROM report_onward_lines", is_sqlite=is_sqlite)
    # Only what leads to somebody who forwards again can be part of a chain.
    steps = f"""
        lines AS MATERIALIZED ({onward}),
        steps AS MATERIALIZED (
            SELECT node AS a, target AS b, {any_of}(EXISTS (
                SELECT 1 FROM mailboxes m
                WHERE m.domain_id = r.domain_id AND m.name = r.name
            )) AS box
            FROM lines r
            WHERE node IS NOT NULL AND (
                EXISTS (
                    SELECT 1 FROM dotqmail_lines k
                    WHERE k.file_id = r.target_file_id AND k.kind = 'forward'
                ) OR r.target_kind = 'catchall' AND EXISTS (
                    SELECT 1 FROM domain_names x JOIN domains d ON d.id = x.domain_id
                    WHERE x.name = r.destination_domain AND d.catchall = 'address'
                )
            )
            GROUP BY node, target
        )
        """
    first = quick.in_order(is_sqlite=is_sqlite)
    joined = "group_concat(path, '; ')" if is_sqlite else "string_agg(path, '; ' ORDER BY path)"
    cut = f"{find}(rest, {newline})"
    catchalls = resolved(OF_CATCHALL, FROM_CATCHALL, "d.catchall = 'address'", is_sqlite=is_sqlite)
    from_reached = f"""
        FROM reached JOIN onward o ON o.file_id = reached.file_id
        JOIN dotqmail_lines t ON t.file_id = o.file_id AND t.position = o.line_no
        {next_of(OF_LINES, is_sqlite=is_sqlite)}
        """
    every_line = """
        SELECT k.file_id AS file_id, k.position AS line_no FROM dotqmail_lines k
        WHERE k.file_id IN (SELECT file_id FROM reached)
        """
    edges = of_lines(every_line, is_sqlite=is_sqlite)
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
            ),
            loops AS MATERIALIZED (
                SELECT start, path, length, box FROM walk WHERE node = start
            ),
            members (path, node, rest) AS (
                SELECT path, substr(path, 1, 0), substr(path, 2) FROM loops
                UNION ALL
                SELECT path, substr(rest, 1, {cut} - 1), substr(rest, {cut} + 1)
                FROM members WHERE {cut} > 0
            ),
            entries AS MATERIALIZED (
                SELECT i.path AS path, count(DISTINCT s.a) AS number
                FROM members i JOIN steps s ON s.b = i.node
                WHERE {find}(i.path, {newline} || s.a || {newline}) = 0
                GROUP BY i.path
            )
            SELECT row_number() OVER (ORDER BY w.path) AS cycle_id,
                {domain.format("w.start")} AS domain,
                {shown.format("w.path || w.start")} AS path, w.length AS length,
                w.box AS contains_mailbox, COALESCE(e.number, 0) AS entry_points
            FROM loops w LEFT JOIN entries e ON e.path = w.path
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
        # The same message comes twice if two lines say the same, if one goes through an alias
        # domain, or if one leads onward: only from these files on anybody has to walk.
        "report_duplicate_forwards": f"""
            WITH RECURSIVE onward AS MATERIALIZED (
                SELECT file_id, line_no FROM report_onward_lines
            ), suspects AS MATERIALIZED (
                SELECT file_id FROM (
                    SELECT file_id FROM onward
                    UNION
                    SELECT t.file_id FROM domain_names h
                    {first} JOIN dotqmail_lines t ON t.to_host = h.name AND t.kind = 'forward'
                    WHERE h.is_alias
                    UNION
                    SELECT file_id FROM (
                        SELECT to_host, to_user, file_id FROM dotqmail_lines
                        WHERE kind = 'forward'
                        GROUP BY to_host, to_user, file_id HAVING count(*) > 1
                    ) twice
                ) s
                WHERE 1 < (
                    SELECT count(*) FROM dotqmail_lines k
                    WHERE k.file_id = s.file_id AND k.kind = 'forward'
                )
            ), reached (file_id) AS (
                SELECT file_id FROM suspects
                UNION
                SELECT c.target_file_id FROM ({catchalls}) c
                UNION
                SELECT {TARGET_FILE} {from_reached}
            ), edges AS MATERIALIZED (
                SELECT node AS a, target AS b, domain, file_id FROM ({edges}) l
                WHERE node IS NOT NULL
            ), walk (start, domain, node, path, depth) AS (
                SELECT a, domain, b, {newline} || a || {newline}, 1 FROM edges
                WHERE file_id IN (SELECT file_id FROM suspects)
                    AND a IN (SELECT a FROM edges GROUP BY a HAVING count(*) > 1)
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
