"""Views that have their first rows soon, whatever the size of the site.

Revision: 0013
Follows: 0012

* Those that follow aliases and forwards begin with the names of domains. Who asks for some of
  them, as ``vpopsql report`` does, one part after the other, has the first rows without anybody
  looking at the lines of all others. Mail is followed from each file that may lead onward, in a
  walk of its own. ``report_alias_loops.cycle_id`` counts the circles of a domain.
* Those on quotas and limits, which are sorted by how full something is, look up what that needs,
  and everything else for the rows alone that somebody reads.
"""

import importlib.util
import re
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

from alembic import op

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the views anew."""
    dialect = op.get_bind().dialect.name
    old, new = old_views(dialect), views(dialect)
    make({name: old[name] for name in new}, new)


def downgrade() -> None:
    """Make them as they were."""
    dialect = op.get_bind().dialect.name
    old, new = old_views(dialect), views(dialect)
    make(new, {name: old[name] for name in new})


def load(file: str) -> Any:  # noqa: ANN401 - a module that has no name
    """Return an earlier migration: most of what lines mean stays what it is there."""
    spec = importlib.util.spec_from_file_location("earlier", Path(__file__).with_name(file))
    module: ModuleType = importlib.util.module_from_spec(spec)  # type: ignore[arg-type]
    spec.loader.exec_module(module)  # type: ignore[union-attr]
    return module


earlier = load("0011_quick_forward_views.py")
accounts, walks, lines, quick = earlier.accounts, earlier.walks, earlier.lines, earlier.quick
BOUNCE_MAIL, DEPTH, PATH_DEPTH = 0x10, 32, 16


def old_views(dialect: str) -> dict[str, str]:
    """Return the views as they were."""
    return {**earlier.views(dialect)}


def views(dialect: str) -> dict[str, str]:
    """Return the views that change; none of them reads another one."""
    sql = Spelling(is_sqlite=dialect == "sqlite")
    return {**of_quotas(accounts.Dialect(dialect)), **of_single_lines(sql), **of_walks(sql)}


def make(old: dict[str, str], new: dict[str, str]) -> None:
    """Drop the views that there are, and create others."""
    for name in old:
        op.execute(f"DROP VIEW {name}")
    for name, select in new.items():
        op.execute(f"CREATE VIEW {name} AS {select}")


def of_quotas(sql: Any) -> dict[str, str]:  # noqa: ANN401 - the Dialect of 0007
    """Return the views that are sorted by how full something is."""
    return {
        "report_over_quota": over_quota(sql),
        "report_domain_limits": domain_limits(sql),
        "report_quota_overcommit": quota_overcommit(sql),
    }


def over_quota(sql: Any) -> str:  # noqa: ANN401
    """Return the view of how full mailboxes are."""
    pct = sql.percent("u.bytes", "m.quota_bytes")
    pct_msgs = sql.percent("u.messages", "m.quota_messages")
    earlier_use = f"""
        FROM mailbox_usage o WHERE o.mailbox_id = m.id
        AND o.measured_at <= {sql.before("u.measured_at", 30)}
        ORDER BY o.measured_at DESC, o.id DESC LIMIT 1
        """
    kind = "REAL" if sql.is_sqlite else "double precision"
    days = sql.days_between("o.measured_at", "u.measured_at")
    left = f"CAST(m.quota_bytes - u.bytes AS {kind}) * {days} / (u.bytes - o.bytes)"
    return f"""
        SELECT m.name || '@' || n.name AS address, n.name AS domain,
            m.quota_bytes AS quota_bytes, u.bytes AS used_bytes,
            CASE WHEN {pct_msgs} > COALESCE({pct}, -1) THEN {pct_msgs} ELSE {pct} END AS pct,
            m.quota_messages AS quota_msgs, u.messages AS used_msgs,
            u.measured_at AS measured_at, (SELECT u.bytes - o.bytes {earlier_use})
                AS growth_30d_bytes,
            (
                SELECT CASE WHEN u.bytes > o.bytes AND u.bytes < m.quota_bytes AND {left} < 36500
                    THEN {sql.day("u.measured_at", left)} END
                {earlier_use}
            ) AS est_full_on,
            (
                SELECT max(a.at) FROM last_auths a
                WHERE a.mailbox_id = m.id AND a.remote_ip <> '0.0.0.0'
            ) AS last_auth_at
        FROM mailboxes m {quick.LATEST_USE} {quick.REAL_NAME_OF_BOX}
        WHERE m.quota_bytes IS NOT NULL OR m.quota_messages IS NOT NULL
        """


POOL = f"NULLIF({accounts.setting('disk_quota', '0')}, 0) * {accounts.MEBIBYTE}"
ALLOCATED = "(SELECT sum(q.quota_bytes) FROM mailboxes q WHERE q.domain_id = d.id)"
# Of a domain that was deleted and made again, the old one's measurements do not count.
LAST_USE = """
    SELECT {columns} FROM domain_usage u
    WHERE u.domain = n.name AND (d.created_at IS NULL OR u.measured_at >= d.created_at) {where}
    ORDER BY u.measured_at DESC, u.id DESC LIMIT 1
    """
KNOWN_USE = "CASE WHEN u.measured > 0 OR u.mailboxes = 0 THEN u.{} END"


def quota_overcommit(sql: Any) -> str:  # noqa: ANN401
    """Return the view of what is promised, and what there is."""
    allocated = f"COALESCE({ALLOCATED}, 0)"
    return f"""
        SELECT n.name AS domain, {POOL} AS pool_bytes,
            {sql.integer(allocated)} AS sum_user_quota,
            (
                SELECT count(*) FROM mailboxes c
                WHERE c.domain_id = d.id AND c.quota_bytes IS NULL
            ) AS unlimited_users,
            ({LAST_USE.format(columns=KNOWN_USE.format("bytes"), where="")}) AS used_bytes,
            CASE WHEN {POOL} > 0 THEN {sql.percent(allocated, POOL)} / 100 END
                AS overcommit_ratio
        FROM domains d {accounts.REAL_NAME} {accounts.LIMITS}
        """


KINDS = {
    "max_aliases": "alias",
    "max_forwards": "forward",
    "max_autoresponders": "robot",
    "max_mailinglists": "list",
}


def domain_limits(sql: Any) -> str:  # noqa: ANN401
    """Return the view of how near domains are to their limits."""
    setting = accounts.setting
    number_of = {
        limit: (
            f"COALESCE(json_extract(k.value, '$.{kind}'), 0)" if sql.is_sqlite else f"k.{limit}"
        )
        for limit, kind in KINDS.items()
    }
    limits = {
        "max_popaccounts": (
            setting("max_popaccounts", "-1"),
            "(SELECT count(*) FROM mailboxes c WHERE c.domain_id = d.id)",
        ),
        **{limit: (setting(limit, "-1"), number) for limit, number in number_of.items()},
        "disk_quota": (f"COALESCE({POOL}, -1)", KNOWN_USE.format("bytes")),
        "max_msgcount": (
            f"COALESCE(NULLIF({setting('max_msgcount', '0')}, 0), -1)",
            KNOWN_USE.format("messages"),
        ),
    }
    names = " UNION ALL ".join(f"SELECT '{name}' AS name" for name in limits)
    value, number = (
        "CASE g.name "
        + " ".join(f"WHEN '{name}' THEN {pair[place]}" for name, pair in limits.items())
        + " END"
        for place in (0, 1)
    )
    return f"""
        SELECT domain, limit_name, limit_value, used,
            {sql.percent("used", "limit_value")} AS pct, source, used > limit_value AS over
        FROM (
            SELECT n.name AS domain, g.name AS limit_name, {value} AS limit_value,
                j.value AS used,
                CASE WHEN l.domain_id IS NOT NULL THEN 'domain' ELSE 'default' END AS source
            FROM domains d {accounts.REAL_NAME} {accounts.LIMITS}
            {used_of(sql, [limits["disk_quota"][0], limits["max_msgcount"][0]])}
            {numbers_of(sql, {limit: limits[limit][0] for limit in KINDS})}
            CROSS JOIN ({names}) g {quick.once(number, "j", is_sqlite=sql.is_sqlite)}
            WHERE (l.domain_id IS NOT NULL OR s.disk_quota IS NOT NULL) AND {value} >= 0
        ) v
        """


def used_of(sql: Any, limits: list[str]) -> str:  # noqa: ANN401
    """Return the join with the last measurement of a domain, where one of the limits is set."""
    where = "AND (" + " OR ".join(f"{each} >= 0" for each in limits) + ")"
    if sql.is_sqlite:
        return (
            f"LEFT JOIN domain_usage u ON u.id = ({LAST_USE.format(columns='u.id', where=where)})"
        )
    return f"LEFT JOIN LATERAL ({LAST_USE.format(columns='u.*', where=where)}) u ON true"


def numbers_of(sql: Any, limits: Mapping[str, str]) -> str:  # noqa: ANN401
    """Return the join that counts a domain's files of each kind, where a limit is set."""
    select = quick.building_blocks(sql)["report_dotqmail_files"]
    # Most files are no programs: whether they lead elsewhere is looked up if it matters.
    matters = f"({limits['max_aliases']} >= 0 OR {limits['max_forwards']} >= 0)"
    select = select.replace(
        f"WHEN {quick.IS_EXTERNAL}", f"WHEN NOT {matters} THEN 'any' WHEN {quick.IS_EXTERNAL}"
    )
    is_set = " OR ".join(f"{each} >= 0" for each in limits.values())
    files = f"FROM ({select}) f WHERE ({is_set}) AND f.domain_id = d.id"
    if sql.is_sqlite:
        kinds = f"SELECT f.kind AS kind, count(*) AS number {files} GROUP BY 1"
        return f"""
            CROSS JOIN json_each((
                SELECT json_array(json_group_object(kind, number)) FROM ({kinds})
            )) k
            """
    numbers = ", ".join(
        f"count(*) FILTER (WHERE kind = '{kind}') AS {limit}" for limit, kind in KINDS.items()
    )
    # Or each of these would ask anew what kind a file is of.
    return f"CROSS JOIN LATERAL (SELECT {numbers} FROM (SELECT f.kind {files} OFFSET 0) f) k"


class Spelling:
    """What the two databases spell differently."""

    def __init__(self, *, is_sqlite: bool) -> None:
        self.is_sqlite = is_sqlite
        self.newline, self.find = ("char(10)", "instr") if is_sqlite else ("chr(10)", "strpos")
        self.first = quick.in_order(is_sqlite=is_sqlite)
        self.false = "0" if is_sqlite else "false"
        self.null_id = earlier.NULL_ID[is_sqlite]

    def for_each(self, query: str, columns: tuple[str, ...], name: str) -> str:
        """Return the join with the rows of a query that reads what was joined before it."""
        if not self.is_sqlite:
            return f"CROSS JOIN LATERAL ({query}) {name}"
        # SQLite knows only functions that do so: the rows come as one text.
        rows = f"SELECT json_group_array(json_array({', '.join(columns)})) FROM ({query})"
        return f"CROSS JOIN json_each(({rows})) {name}"

    def value(self, columns: tuple[str, ...], column: str, name: str) -> str:
        """Return a column of such a join."""
        if not self.is_sqlite:
            return f"{name}.{column}"
        return f"json_extract({name}.value, '$[{columns.index(column)}]')"

    def either(self, one: str, other: str) -> str:
        """Return whether one of two truths holds."""
        return f"max({one}, {other})" if self.is_sqlite else f"({one} OR {other})"

    def has(self, path: str, address: str) -> str:
        """Tell whether an address is part of a path: there is a newline around each."""
        return f"{self.find}({path}, {self.newline} || {address} || {self.newline}) > 0"

    def shown(self, path: str) -> str:
        """Return a path for people."""
        return f"replace(trim({path}, {self.newline}), {self.newline}, ' > ')"

    def joined(self, paths: str) -> str:
        """Return texts as one; SQLite takes them as they come, and they come in order."""
        if self.is_sqlite:
            return f"group_concat({paths}, '; ')"
        return f"string_agg({paths}, '; ' ORDER BY {paths})"

    def is_wildcard(self, name: str) -> str:
        """Tell whether a file's name serves many; the index has the same."""
        return str(walks.ending(name, is_sqlite=self.is_sqlite))


def of_single_lines(sql: Spelling) -> dict[str, str]:
    """Return the views that look at where a line leads, and no further."""
    return {"report_dangling_aliases": dangling(sql), "report_shadowed": shadowed(sql)}


def dangling(sql: Spelling) -> str:
    """Return the view of the lines that lead to no mailbox, to a closed one, or a gone domain."""
    # Few lines are like that: where the others lead in full is not looked up.
    rows = f"""
        FROM domain_names n {sql.first} JOIN dotqmail_files f ON f.domain_id = n.domain_id
        {sql.first} JOIN dotqmail_lines t ON t.file_id = f.id AND t.kind = 'forward'
        LEFT JOIN mailboxes b ON b.id = f.mailbox_id
        LEFT JOIN domain_names x ON x.name = t.to_host
        LEFT JOIN mailboxes y ON y.domain_id = x.domain_id AND y.name = t.to_user
        """
    gone = """EXISTS (
        SELECT 1 FROM audit_log a WHERE a.object_type = 'domain' AND a.object = t.to_host
        AND a.action = 'del_domain'
    )"""
    where = f"""
        NOT n.is_alias AND ({earlier.IS_ALIAS} OR {earlier.IS_OWN}) AND CASE
            WHEN y.id IS NOT NULL THEN (y.flags & {BOUNCE_MAIL}) <> 0
            WHEN x.domain_id IS NOT NULL THEN 1 = 1
            ELSE {gone} END
        """
    is_sqlite = sql.is_sqlite
    of_files = earlier.resolved(earlier.OF_LINES, rows, where, is_sqlite=is_sqlite)
    of_catchalls = earlier.resolved(
        earlier.OF_CATCHALL, earlier.FROM_CATCHALL, "d.catchall = 'address'", is_sqlite=is_sqlite
    )
    old = walks.of_one_step(is_sqlite=is_sqlite)["report_dangling_aliases"]
    followed = f"FROM ({of_files} UNION ALL {of_catchalls}) followed"
    return re.sub(r"\bf\.", "followed.", old).replace("FROM report_forwards f", followed)


def shadowed(sql: Spelling) -> str:
    """Return the view of the mailboxes that a file of the same name, or a wildcard, hides."""
    keeps = walks.KEEPS.format(file="f.id")
    shadows = walks.wildcard("m.domain_id", "m.name", is_sqlite=sql.is_sqlite)
    select = f"""
        SELECT m.name || '@' || n.name AS address, n.name AS domain,
            '.qmail-' || replace(f.name, '.', ':') AS winner,
            (SELECT count(*) FROM dotqmail_lines k WHERE k.file_id = f.id) AS alias_lines,
            {keeps} AS keeps_copy
        FROM domain_names n
        """
    exact = """
        dotqmail_files e ON e.domain_id = m.domain_id AND e.mailbox_id IS NULL
        AND e.name = m.name AND e.name <> 'default' AND e.link_target IS NULL
        """
    return f"""
        {select} {sql.first} JOIN mailboxes m ON m.domain_id = n.domain_id
        {sql.first} JOIN {exact.replace("e.", "f.").replace("files e", "files f")}
        WHERE NOT n.is_alias
        UNION ALL
        {select} {sql.first} JOIN dotqmail_files f ON f.domain_id = n.domain_id
            AND f.mailbox_id IS NULL AND {sql.is_wildcard("f.name")} AND f.link_target IS NULL
        {sql.first} JOIN mailboxes m ON m.domain_id = f.domain_id
            AND substr(m.name, 1, length(f.name) - 7) = substr(f.name, 1, length(f.name) - 7)
        LEFT JOIN {exact}
        WHERE NOT n.is_alias AND e.id IS NULL AND f.id = ({shadows})
        """


# What a walk has reached is a file, or a domain whose catch-all is an address, which has none.
TO = {
    "destination": f"COALESCE({lines.DESTINATION.format('t.line')}, x.catchall_target)",
    "to_user": f"COALESCE(t.to_user, {lines.TO_USER.format('x.catchall_target')})",
    "to_host": f"CASE WHEN x.id IS NULL THEN t.to_host"
    f" ELSE {lines.TO_HOST.format('x.catchall_target')} END",
}
GOES_ON = "c.catchall IN ('address', 'directory', 'dotqmail')"


def next_node(of: Mapping[str, str]) -> str:
    """Return to which address mail goes next."""
    return f"""
        CASE WHEN h.domain_id IS NULL THEN lower({of["destination"]})
        WHEN e.id IS NOT NULL THEN {of["to_user"]} || '@' || r.name
        WHEN w.id IS NOT NULL THEN w.name || '@' || r.name
        WHEN m.id IS NULL AND {GOES_ON} THEN '*@' || r.name
        ELSE {of["to_user"]} || '@' || r.name END
        """


NEXT = {
    "node": next_node(TO),
    "file_id": earlier.TARGET_FILE,
    "all_of": """CASE WHEN e.id IS NULL AND w.id IS NULL AND m.id IS NULL
        AND c.catchall = 'address' THEN c.id END""",
}
"""Where mail goes next: an address, and its file or the domain whose catch-all gets it."""


def steps(sql: Spelling, file: str, domain: str) -> str:
    """Return the joins that follow what a file, or a domain's catch-all, forwards."""
    return f"""
        LEFT JOIN dotqmail_lines t ON t.file_id = {file} AND t.kind = 'forward'
        LEFT JOIN domains x ON x.id = {domain}
        {earlier.next_of(TO, is_sqlite=sql.is_sqlite)}
        """


IS_STEP = "(t.file_id IS NOT NULL OR x.id IS NOT NULL)"
FORWARDS = """
    EXISTS (SELECT 1 FROM dotqmail_lines k WHERE k.file_id = {} AND k.kind = 'forward')
    """
# A mailbox's own file counts for nothing where an alias of its name gets the mail.
IS_REACHED = f"""
    ({earlier.IS_ALIAS} OR {earlier.IS_OWN} AND NOT EXISTS (
        SELECT 1 FROM dotqmail_files o WHERE o.domain_id = f.domain_id
        AND o.mailbox_id IS NULL AND o.name = b.name AND o.link_target IS NULL
    ))
    """
NAME = earlier.OF_LINES["name"]


def leads_onward(sql: Spelling, file: str, *, or_if: str = "") -> str:
    """Return whether a line of a file may lead to who forwards, or to where others do."""
    return f"""
        EXISTS (
            SELECT 1 FROM dotqmail_lines t JOIN domain_names h ON h.name = t.to_host
            LEFT JOIN mailboxes m ON m.domain_id = h.domain_id AND m.name = t.to_user
            LEFT JOIN dotqmail_files q ON q.mailbox_id = m.id AND q.name = ''
            LEFT JOIN dotqmail_files e ON e.domain_id = h.domain_id AND e.mailbox_id IS NULL
                AND e.name = t.to_user
            WHERE t.file_id = {file} AND t.kind = 'forward' AND (
                m.id IS NULL OR q.id IS NOT NULL OR e.id IS NOT NULL {or_if}
                OR {sql.find}(t.to_user, '-') > 0 AND EXISTS (
                    SELECT 1 FROM dotqmail_files v WHERE v.domain_id = h.domain_id
                    AND v.mailbox_id IS NULL AND {sql.is_wildcard("v.name")}
                )
            )
        )
        """


def of_walks(sql: Spelling) -> dict[str, str]:
    """Return the views that follow mail from address to address."""
    return {
        "report_alias_loops": loops(sql),
        "report_alias_depth": depth(sql),
        "report_duplicate_forwards": duplicates(sql),
    }


def starts(sql: Spelling, condition: str) -> str:
    """Return the query for the addresses of domains from which mail is followed.

    It has the columns node, domain, file_id and all_of, as `NEXT` has them.
    """
    return f"""
        SELECT {NAME} || '@' || n.name AS node, n.name AS domain, f.id AS file_id,
            {sql.null_id} AS all_of
        FROM domain_names n {sql.first} JOIN dotqmail_files f ON f.domain_id = n.domain_id
        LEFT JOIN mailboxes b ON b.id = f.mailbox_id
        WHERE NOT n.is_alias AND {condition} AND {IS_REACHED}
        """


CATCHALLS = """
    SELECT '*@' || n.name AS node, n.name AS domain, {null} AS file_id, d.id AS all_of
    FROM domain_names n JOIN domains d ON d.id = n.domain_id
    WHERE NOT n.is_alias AND d.catchall = 'address'
    """


def depth(sql: Spelling) -> str:
    """Return the view of how far mail is forwarded."""
    goes_on = f"({FORWARDS.format(NEXT['file_id'])} OR {NEXT['all_of']} IS NOT NULL)"
    columns = ("depth",)
    walk = f"""
        WITH RECURSIVE walk (file_id, all_of, depth) AS (
            SELECT s.file_id, s.all_of, 1
            UNION
            SELECT {NEXT["file_id"]}, {NEXT["all_of"]}, walk.depth + 1
            FROM walk {steps(sql, "walk.file_id", "walk.all_of")}
            WHERE walk.depth < {DEPTH} AND {IS_STEP} AND {goes_on}
        )
        SELECT max(depth) AS depth FROM walk HAVING max(depth) > 1
        """
    found = sql.value(columns, "depth", "j")
    return f"""
        SELECT s.node AS address, s.domain AS domain, {found} AS depth,
            {found} >= {DEPTH} AS is_cut_off
        FROM (
            {starts(sql, leads_onward(sql, "f.id"))} UNION ALL {CATCHALLS.format(null=sql.null_id)}
        ) s {sql.for_each(walk, columns, "j")}
        """


def duplicates(sql: Spelling) -> str:
    """Return the view of the same message that comes more than once."""
    columns = ("node", "times", "via")
    newline = sql.newline
    walk = f"""
        WITH RECURSIVE walk (node, file_id, all_of, path, depth) AS (
            SELECT {NEXT["node"]}, {NEXT["file_id"]}, {NEXT["all_of"]},
                {newline} || s.node || {newline}, 1
            FROM (SELECT 1 AS one) begin {steps(sql, "s.file_id", sql.null_id)}
            WHERE {IS_STEP}
            UNION ALL
            SELECT {NEXT["node"]}, {NEXT["file_id"]}, {NEXT["all_of"]},
                walk.path || walk.node || {newline}, walk.depth + 1
            FROM walk {steps(sql, "walk.file_id", "walk.all_of")}
            WHERE walk.depth < {PATH_DEPTH} AND {IS_STEP}
                AND NOT {sql.has("walk.path", "walk.node")}
        )
        SELECT node, count(*) AS times, {sql.joined("path")} AS via
        FROM (
            SELECT node, {sql.shown("path || node")} AS path FROM walk
            WHERE all_of IS NULL AND NOT {FORWARDS.format("walk.file_id")} ORDER BY 2
        ) ends
        GROUP BY node HAVING count(*) > 1
        """
    # The same message comes twice if two lines say the same, if one goes through an alias
    # domain, or if one leads onward: only from these files on anybody has to walk.
    many = f"""
        1 < (SELECT count(*) FROM dotqmail_lines k WHERE k.file_id = f.id AND k.kind = 'forward')
        AND (EXISTS (
            SELECT 1 FROM dotqmail_lines k JOIN dotqmail_lines g ON g.file_id = k.file_id
                AND g.position > k.position AND g.kind = 'forward' AND g.to_user = k.to_user
                AND COALESCE(g.to_host, '') = COALESCE(k.to_host, '')
            WHERE k.file_id = f.id AND k.kind = 'forward'
        ) OR {leads_onward(sql, "f.id", or_if="OR h.is_alias")})
        """
    return f"""
        SELECT s.node AS alias, s.domain AS domain,
            {sql.value(columns, "node", "j")} AS destination,
            {sql.value(columns, "times", "j")} AS times, {sql.value(columns, "via", "j")} AS via
        FROM ({starts(sql, many)}) s {sql.for_each(walk, columns, "j")}
        """


def loops(sql: Spelling) -> str:
    """Return the view of circles: each begins with the address that is the first by its bytes."""
    columns = ("path", "length", "box", "entries")
    newline = sql.newline
    # Whether there is a mailbox of an address, too: a wildcard's is another than the one sought.
    box = f"""CASE WHEN e.id IS NULL AND w.id IS NOT NULL THEN EXISTS (
            SELECT 1 FROM mailboxes i WHERE i.domain_id = h.domain_id AND i.name = w.name
        ) WHEN h.domain_id IS NULL THEN {sql.false} ELSE m.id IS NOT NULL END"""
    walk = f"""
        WITH RECURSIVE walk (node, file_id, all_of, path, length, box) AS (
            SELECT {NEXT["node"]}, {NEXT["file_id"]}, {NEXT["all_of"]},
                {newline} || s.node || {newline}, 1, {box}
            FROM (SELECT 1 AS one) begin {steps(sql, "s.file_id", "s.all_of")}
            WHERE {IS_STEP} AND {NEXT["node"]} >= s.node
            UNION
            SELECT {NEXT["node"]}, {NEXT["file_id"]}, {NEXT["all_of"]},
                walk.path || walk.node || {newline}, walk.length + 1,
                {sql.either("walk.box", box)}
            FROM walk {steps(sql, "walk.file_id", "walk.all_of")}
            WHERE walk.node <> s.node AND walk.length < {DEPTH} AND {IS_STEP}
                AND {NEXT["node"]} >= s.node AND {NEXT["node"]} <> walk.node
                AND ({NEXT["node"]} = s.node OR NOT {sql.has("walk.path", NEXT["node"])})
        )
        SELECT path, length, box, (
            SELECT count(DISTINCT i.node) FROM ({entries(sql)}) i WHERE i.path = walk.path
        ) AS entries
        FROM walk WHERE node = s.node
        """
    path, length, found, number = (sql.value(columns, column, "j") for column in columns)
    return f"""
        SELECT row_number() OVER (PARTITION BY s.domain ORDER BY {path}) AS cycle_id,
            s.domain AS domain, {sql.shown(f"{path} || s.node")} AS path, {length} AS length,
            {found} AS contains_mailbox, {number} AS entry_points
        FROM ({led_to(sql)}) s {sql.for_each(walk, columns, "j")}
        WHERE s.file_id IS NULL OR {leads_onward(sql, "s.file_id")}
        """


def led_to(sql: Spelling) -> str:
    """Return the query for the addresses of domains that forward, and that somebody forwards to.

    Each once, with the columns of `starts`; of wildcards and catch-alls some may be led to by
    nobody. Most are found by the lines that lead to them.
    """
    is_own = f"""
        {earlier.IS_OWN} AND EXISTS (
            SELECT 1 FROM domain_names l JOIN dotqmail_lines t ON t.to_host = l.name
            WHERE l.domain_id = f.domain_id AND t.to_user = b.name AND t.kind = 'forward'
        )
        """
    serves_many = f"f.mailbox_id IS NULL AND (f.name = 'default' OR {sql.is_wildcard('f.name')})"
    return f"""
        SELECT DISTINCT f.name || '@' || n.name AS node, n.name AS domain, f.id AS file_id,
            {sql.null_id} AS all_of
        FROM domain_names n {sql.first} JOIN domain_names l ON l.domain_id = n.domain_id
        {sql.first} JOIN dotqmail_lines t ON t.to_host = l.name AND t.kind = 'forward'
        {sql.first} JOIN dotqmail_files f ON f.domain_id = n.domain_id
            AND f.mailbox_id IS NULL AND f.name = t.to_user
        WHERE NOT n.is_alias AND f.name NOT IN ('', 'default') AND f.link_target IS NULL
            AND NOT {sql.is_wildcard("f.name")}
        UNION ALL {starts(sql, f"({is_own} OR {serves_many})")}
        UNION ALL {CATCHALLS.format(null=sql.null_id)}
        """


def entries(sql: Spelling) -> str:
    """Return the query for who forwards right into each circle of a walk, from outside.

    :returns: its columns are the path of the circle, and node.
    """
    newline = sql.newline
    cut = f"{sql.find}(rest, {newline})"
    host, user = (part.format("i.node") for part in (lines.TO_HOST, lines.TO_USER))
    of = earlier.OF_LINES
    from_lines = f"""
        SELECT i.path AS path, {NAME} || '@' || n.name AS node
        FROM members i JOIN domain_names p ON p.name = {host}
        {sql.first} JOIN domain_names l ON l.domain_id = p.domain_id
        {sql.first} JOIN dotqmail_lines t ON t.to_host = l.name AND t.kind = 'forward'
            AND ({user} IN ('*', t.to_user) OR {sql.is_wildcard(user)})
        JOIN dotqmail_files f ON f.id = t.file_id
        JOIN domain_names n ON n.domain_id = f.domain_id AND NOT n.is_alias
        LEFT JOIN mailboxes b ON b.id = f.mailbox_id
        {earlier.next_of(of, is_sqlite=sql.is_sqlite)}
        WHERE {next_node(of)} = i.node AND {IS_REACHED}
        """
    of = earlier.OF_CATCHALL
    from_catchalls = f"""
        SELECT i.path, '*@' || n.name
        FROM domains d {sql.first} JOIN domain_names l ON l.name = {of["to_host"]}
        {sql.first} JOIN domain_names n ON n.domain_id = d.id AND NOT n.is_alias
        {earlier.next_of(of, is_sqlite=sql.is_sqlite)}
        JOIN members i ON i.node = {next_node(of)}
        WHERE d.catchall = 'address' AND l.domain_id IN (
            SELECT p.domain_id FROM members i JOIN domain_names p ON p.name = {host}
        )
        """
    return f"""
        WITH RECURSIVE members (path, node, rest) AS (
            SELECT path, substr(path, 1, 0), substr(path, 2) FROM walk WHERE node = s.node
            UNION ALL
            SELECT path, substr(rest, 1, {cut} - 1), substr(rest, {cut} + 1)
            FROM members WHERE {cut} > 0
        )
        SELECT path, node FROM ({from_lines} UNION ALL {from_catchalls}) led
        WHERE NOT {sql.has("path", "node")}
        """
