"""Views for reports on accounts, domains and history; docs/reports.md describes their columns.

Revision: 0007
Follows: 0006

Any SQL tool can read them, and none has a password hash or a password in it. NULL is "unknown",
or "there is none" where the page says so; 0 is a measured or counted 0. What came in through an
alias domain stands under the real one.

``report_mailboxes`` and ``report_dotqmail_files`` are what the others are made of. Whoever may
read a view needs no right on the tables: on PostgreSQL a view reads with its owner's rights.
"""

from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the views."""
    for name, select in views(op.get_bind().dialect.name).items():
        op.execute(f"CREATE VIEW {name} AS {select}")


def downgrade() -> None:
    """Drop them, those first that read others."""
    for name in reversed(views(op.get_bind().dialect.name)):
        op.execute(f"DROP VIEW {name}")


FLAGS = {
    "no_passwd_chng": 0x1,
    "no_pop": 0x2,
    "no_webmail": 0x4,
    "no_imap": 0x8,
    "bounce_mail": 0x10,
    "no_relay": 0x20,
    "no_dialup": 0x40,
    "v_user0": 0x80,
    "v_user1": 0x100,
    "v_user2": 0x200,
    "v_user3": 0x400,
    "no_smtp": 0x800,
    "qa_admin": 0x1000,
    "v_override": 0x2000,
    "no_spamassassin": 0x4000,
    "delete_spam": 0x8000,
    "sa_admin": 0x10000,
    "sa_expert": 0x20000,
    "no_maildrop": 0x40000,
}
OVERRIDE, ADMINS = 0x2000, 0x11000

SWITCHES = {
    "no_passwd_chng": "disable_password_changing",
    "no_pop": "disable_pop",
    "no_webmail": "disable_webmail",
    "no_imap": "disable_imap",
    "no_relay": "disable_external_relay",
    "no_dialup": "disable_dialup",
    "no_smtp": "disable_smtp",
    "no_spamassassin": "disable_spamassassin",
    "delete_spam": "delete_spam",
    "no_maildrop": "disable_maildrop",
}
"""The flags that a domain's limits set for all its accounts."""

REAL_NAME = "JOIN domain_names n ON n.domain_id = d.id AND NOT n.is_alias"

# The login is the newest of all services; the address 0.0.0.0 says that there was none.
LAST_LOGIN = """
    LEFT JOIN last_auths a ON a.mailbox_id = m.id AND a.service = (
        SELECT b.service FROM last_auths b
        WHERE b.mailbox_id = m.id AND b.remote_ip <> '0.0.0.0'
        ORDER BY b.at DESC, b.service LIMIT 1
    )
    """
LAST_USE = """
    LEFT JOIN mailbox_usage u ON u.id = (
        SELECT v.id FROM mailbox_usage v
        WHERE v.mailbox_id = m.id ORDER BY v.measured_at DESC, v.id DESC LIMIT 1
    )
    """
# Of a domain that was deleted and made again, the old one's measurements do not count.
LAST_DOMAIN_USE = """
    LEFT JOIN domain_usage u ON u.id = (
        SELECT v.id FROM domain_usage v
        WHERE v.domain = n.name AND (d.created_at IS NULL OR v.measured_at >= d.created_at)
        ORDER BY v.measured_at DESC, v.id DESC LIMIT 1
    )
    """
LIMITS = """
    LEFT JOIN domain_limits l ON l.domain_id = d.id
    LEFT JOIN default_limits s ON l.domain_id IS NULL
    """
IS_ADMIN = f"((m.flags & {ADMINS}) <> 0 OR m.name = 'postmaster')"
ALLOCATED = "(SELECT COALESCE(sum(q.quota_bytes), 0) FROM mailboxes q WHERE q.domain_id = d.id)"
MEBIBYTE = 1024 * 1024

CREATED_BY = """
    SELECT e.actor FROM audit_log e
    WHERE e.object_type = 'user' AND e.object = b.address AND e.action = 'add_user'
    ORDER BY e.id DESC LIMIT 1
    """


def setting(name: str, otherwise: str) -> str:
    """Return what holds for a domain: its own limits, else the site's, else none."""
    return (
        f"CASE WHEN l.domain_id IS NOT NULL THEN l.{name} ELSE COALESCE(s.{name}, {otherwise}) END"
    )


KINDS = """
    LEFT JOIN (
        SELECT f.domain_id AS domain_id,
            sum(CASE f.kind WHEN 'alias' THEN 1 ELSE 0 END) AS aliases,
            sum(CASE f.kind WHEN 'forward' THEN 1 ELSE 0 END) AS forwards,
            sum(CASE f.kind WHEN 'robot' THEN 1 ELSE 0 END) AS robots,
            sum(CASE f.kind WHEN 'list' THEN 1 ELSE 0 END) AS lists
        FROM report_dotqmail_files f GROUP BY f.domain_id
    ) k ON k.domain_id = d.id
    """


class Dialect:
    """What the two databases spell differently."""

    def __init__(self, name: str) -> None:
        self.is_sqlite = name == "sqlite"

    def days_since(self, time: str) -> str:
        """Return whole days between a time and now."""
        if self.is_sqlite:
            return f"CAST(julianday('now') - julianday({time}) AS INTEGER)"
        return f"CAST(floor(extract(epoch FROM now() - {time}) / 86400) AS bigint)"

    def days_between(self, begin: str, end: str) -> str:
        """Return the days between two times, with a fraction."""
        if self.is_sqlite:
            return f"(julianday({end}) - julianday({begin}))"
        return f"(CAST(extract(epoch FROM {end} - {begin}) AS double precision) / 86400)"

    def day(self, time: str, after: str = "0") -> str:
        """Return the date of a time, so many days after it, as text: ``2026-01-31``."""
        if self.is_sqlite:
            return f"date({time}, ({after}) || ' days')"
        return (
            f"to_char(({time} AT TIME ZONE 'UTC') + make_interval(secs => ({after}) * 86400.0),"
            " 'YYYY-MM-DD')"
        )

    def before(self, time: str, days: int) -> str:
        """Return the time so many days before another one."""
        if self.is_sqlite:
            return f"strftime('%Y-%m-%d %H:%M:%f', {time}, '-{days} days') || '999'"
        return f"{time} - interval '{days} days'"

    def octets(self, value: str) -> str:
        """Return the length of a text in bytes."""
        return f"length(CAST({value} AS BLOB))" if self.is_sqlite else f"octet_length({value})"

    def position(self, character: str, value: str) -> str:
        """Return where a character stands in a text, from 1; 0: nowhere."""
        return f"{'instr' if self.is_sqlite else 'strpos'}({value}, '{character}')"

    def fields(self) -> str:
        """Return the join that has a row (key, value) for each field of an audit entry."""
        of_each = "json_each(e.changes)" if self.is_sqlite else "jsonb_each(e.changes)"
        return f"LEFT JOIN {of_each} f ON {'1 = 1' if self.is_sqlite else 'true'}"

    def old_or_new(self, index: int) -> str:
        """Return one of the two values of a field as text."""
        if not self.is_sqlite:
            return f"f.value ->> {index}"
        place = f"f.value, '$[{index}]'"
        return (
            f"CASE json_type({place}) WHEN 'true' THEN 'true' WHEN 'false' THEN 'false'"
            f" ELSE CAST(json_extract({place}) AS TEXT) END"
        )

    def changed(self, field: str, index: int) -> str:
        """Return one of the two values of a field as a number; NULL: it was not changed."""
        if self.is_sqlite:
            return f"CAST(json_extract(e.changes, '$.{field}[{index}]') AS INTEGER)"
        return f"CAST(e.changes -> '{field}' ->> {index} AS bigint)"

    def integer(self, value: str) -> str:
        """Return a sum as an integer: PostgreSQL makes a numeric of it."""
        return value if self.is_sqlite else f"CAST({value} AS bigint)"

    def percent(self, part: str, whole: str) -> str:
        """Return a ratio in percent, NULL for a part of nothing."""
        kind = "REAL" if self.is_sqlite else "double precision"
        return f"CAST({part} AS {kind}) * 100 / NULLIF({whole}, 0)"


def views(dialect: str) -> dict[str, str]:
    """Return the SELECT of each view; a view reads only those before it."""
    sql = Dialect(dialect)
    return {**building_blocks(sql), **of_accounts(sql), **of_domains(sql), **of_history(sql)}


def building_blocks(sql: Dialect) -> dict[str, str]:
    """Return the views that others are made of."""
    flags = " || ".join(
        f"CASE WHEN (m.flags & {bit}) <> 0 THEN ' {name}' ELSE '' END"
        for name, bit in FLAGS.items()
    )
    of_own_file = "FROM dotqmail_files f JOIN dotqmail_lines t ON t.file_id = f.id WHERE"
    of_own_file += " f.mailbox_id = m.id AND f.name = ''"
    scheme = "CASE WHEN substr(m.password_hash, 1, 1) = '{' THEN substr(m.password_hash,"
    scheme += f" {sql.position('}', 'm.password_hash')} + 1) ELSE m.password_hash END"
    has = "EXISTS (SELECT 1 FROM dotqmail_lines t WHERE t.file_id = f.id AND"
    text = "lower(t.line) LIKE"

    def runs_ezmlm(programs: tuple[str, ...]) -> str:
        lines = (f"{text} '%{at}ezmlm-{each}%'" for each in programs for at in ("/", "|"))
        return f"{has} t.kind = 'program' AND ({' OR '.join(lines)}))"

    return {
        "report_mailboxes": f"""
            SELECT m.id AS mailbox_id, d.id AS domain_id, m.name || '@' || n.name AS address,
                n.name AS domain, m.name AS name, m.created_at AS created_at, a.at AS last_auth_at,
                NULLIF(a.service, 'any') AS last_service, a.remote_ip AS last_ip,
                {sql.days_since("COALESCE(a.at, m.created_at)")} AS days_idle,
                a.at IS NULL AS never, u.bytes AS used_bytes, u.messages AS used_msgs,
                u.measured_at AS measured_at, m.quota_bytes AS quota_bytes,
                m.quota_messages AS quota_msgs, ltrim({flags}, ' ') AS flags,
                m.flags AS flag_bits, {IS_ADMIN} AS is_admin,
                EXISTS (SELECT 1 {of_own_file} AND t.kind = 'forward') AS has_forward,
                EXISTS (SELECT 1 {of_own_file} AND t.kind = 'forward') AND NOT EXISTS (
                    SELECT 1 {of_own_file} AND t.kind IN ('program', 'mbox', 'maildir')
                ) AS is_forward_only,
                {password_scheme(f"({scheme})")} AS scheme,
                COALESCE(m.clear_text, '') <> '' AS has_clear,
                m.password_changed_at AS password_changed_at
            FROM mailboxes m JOIN domains d ON d.id = m.domain_id {REAL_NAME}
            {LAST_LOGIN} {LAST_USE}
            """,
        "report_dotqmail_files": f"""
            SELECT f.id AS file_id, d.id AS domain_id, n.name AS domain, f.name AS name,
                CASE WHEN {runs_ezmlm(("send", "store", "gate"))} THEN 'list'
                WHEN {runs_ezmlm(("",))} THEN 'list-part'
                WHEN {has} t.kind = 'program' AND ({text} '%autorespond%'
                    OR {text} '%/vacation %' OR {text} '|vacation %')) THEN 'robot'
                WHEN {has} t.kind = 'forward' AND t.line LIKE '%@%' AND NOT EXISTS (
                    SELECT 1 FROM domain_names x WHERE x.name = lower(rtrim(substr(
                        t.line, length(rtrim(t.line, replace(t.line, '@', ''))) + 1
                    ), ' \t\r'))
                )) THEN 'forward' ELSE 'alias' END AS kind
            FROM dotqmail_files f JOIN domains d ON d.id = f.domain_id {REAL_NAME}
            WHERE f.mailbox_id IS NULL AND f.name NOT IN ('', 'default')
            """,
    }


def password_scheme(stored: str) -> str:
    """Return the SQL for the scheme of a hash, by its form; damaged ones are not told apart."""
    forms = {
        "md5-crypt": "'$1$%'",
        "sha256-crypt": "'$5$%'",
        "sha512-crypt": "'$6$%'",
        "bcrypt": "'$2_$%'",
        "yescrypt": "'$y$%'",
        "argon2": "'$argon2%'",
    }
    by_form = " ".join(f"WHEN {stored} LIKE {form} THEN '{name}'" for name, form in forms.items())
    return f"""
        CASE WHEN {stored} = '' THEN 'empty'
        WHEN substr({stored}, 1, 1) IN ('*', '!') THEN 'locked'
        {by_form}
        WHEN length({stored}) = 13 AND {stored} NOT LIKE '%$%' THEN 'des'
        ELSE 'unknown' END
        """


IS_WEAK = """
    CASE WHEN b.scheme IN ('des', 'md5-crypt') THEN {true}
    WHEN b.scheme <> 'unknown' THEN {false} END
    """


def of_accounts(sql: Dialect) -> dict[str, str]:
    """Return the views with a row, or some, for a mailbox."""
    true, false = ("1", "0") if sql.is_sqlite else ("true", "false")
    weak = IS_WEAK.format(true=true, false=false)
    pct = sql.percent("b.used_bytes", "b.quota_bytes")
    pct_msgs = sql.percent("b.used_msgs", "b.quota_msgs")
    days = sql.days_between("o.measured_at", "b.measured_at")
    kind = "REAL" if sql.is_sqlite else "double precision"
    left = f"CAST(b.quota_bytes - b.used_bytes AS {kind}) * {days} / (b.used_bytes - o.bytes)"
    switches = ", ".join(f"{setting(name, false)} AS {name}" for name in SWITCHES.values())
    bits = " UNION ALL ".join(
        f"SELECT '{name}' AS flag, {bit} AS bit" for name, bit in FLAGS.items()
    )
    domain_bit = " ".join(f"WHEN '{name}' THEN w.{switch}" for name, switch in SWITCHES.items())
    is_set, overrides = "(b.flag_bits & g.bit) <> 0", f"(b.flag_bits & {OVERRIDE}) <> 0"
    effective = f"({is_set} OR (CASE g.flag {domain_bit} ELSE {false} END AND NOT {overrides}))"
    bit_of = {"system": 0x10000, "expert": 0x20000, "domain": 0x1000, "postmaster": 0}
    roles = " UNION ALL ".join(
        f"SELECT '{name}' AS role, {bit} AS bit" for name, bit in bit_of.items()
    )
    has_role = "((b.flag_bits & r.bit) <> 0 OR r.role = 'postmaster' AND b.name = 'postmaster')"
    granted = f"""
        SELECT max(e.id) FROM audit_log e
        WHERE e.object_type = 'user' AND e.object = b.address AND e.action = 'mod_user'
        AND ({sql.changed("flags", 1)} & r.bit) <> 0 AND ({sql.changed("flags", 0)} & r.bit) = 0
        """
    length = " + ".join(
        sql.octets(value)
        for value in (
            "m.name",
            "m.password_hash",
            "m.comment",
            "m.directory",
            "m.quota_text",
            "CAST(m.apop_uid AS VARCHAR(20))",
            "CAST(m.flags AS VARCHAR(20))",
            "COALESCE(':' || m.clear_text, '')",
        )
    )
    return {
        "report_inactive_mailboxes": """
            SELECT address, domain, created_at, last_auth_at, last_service, last_ip, days_idle,
                never, used_bytes, flags, is_forward_only, is_admin
            FROM report_mailboxes
            """,
        "report_never_logged_in": f"""
            SELECT b.address AS address, b.domain AS domain, b.created_at AS created_at,
                {sql.days_since("b.created_at")} AS age_days, ({CREATED_BY}) AS created_by,
                b.has_forward AS has_forward, b.used_bytes AS used_bytes
            FROM report_mailboxes b WHERE b.never
            """,
        "report_over_quota": f"""
            SELECT b.address AS address, b.domain AS domain, b.quota_bytes AS quota_bytes,
                b.used_bytes AS used_bytes,
                CASE WHEN {pct_msgs} > COALESCE({pct}, -1) THEN {pct_msgs} ELSE {pct} END AS pct,
                b.quota_msgs AS quota_msgs, b.used_msgs AS used_msgs,
                b.measured_at AS measured_at, b.used_bytes - o.bytes AS growth_30d_bytes,
                CASE WHEN b.used_bytes > o.bytes AND b.used_bytes < b.quota_bytes
                    AND {left} < 36500
                THEN {sql.day("b.measured_at", left)} END AS est_full_on,
                b.last_auth_at AS last_auth_at
            FROM report_mailboxes b LEFT JOIN mailbox_usage o ON o.id = (
                SELECT v.id FROM mailbox_usage v WHERE v.mailbox_id = b.mailbox_id
                AND v.measured_at <= {sql.before("b.measured_at", 30)}
                ORDER BY v.measured_at DESC, v.id DESC LIMIT 1
            )
            WHERE b.quota_bytes IS NOT NULL OR b.quota_msgs IS NOT NULL
            """,
        "report_password_schemes": f"""
            SELECT b.domain AS domain, b.scheme AS scheme, count(*) AS count,
                min(b.password_changed_at) AS oldest_change,
                max(b.password_changed_at) AS newest_change, {weak} AS weak
            FROM report_mailboxes b GROUP BY b.domain, b.scheme
            """,
        "report_password_scheme_mailboxes": f"""
            SELECT b.address AS address, b.domain AS domain, b.scheme AS scheme, {weak} AS weak,
                b.password_changed_at AS password_changed_at, b.last_auth_at AS last_auth_at
            FROM report_mailboxes b
            """,
        "report_clear_text": """
            SELECT address, domain, has_clear, scheme, last_service, last_auth_at
            FROM report_mailboxes WHERE has_clear
            """,
        "report_admins": f"""
            SELECT b.address AS address, b.domain AS domain, r.role AS role,
                CASE WHEN r.role IN ('system', 'expert') THEN '*' ELSE b.domain END AS domains,
                e.actor AS granted_by, e.at AS granted_at, b.last_auth_at AS last_auth_at,
                b.scheme AS password_scheme
            FROM report_mailboxes b JOIN ({roles}) r ON {has_role}
            LEFT JOIN audit_log e ON e.id = ({granted})
            """,
        "report_flags": f"""
            SELECT b.address AS address, b.domain AS domain, g.flag AS flag, {is_set} AS user_bit,
                CASE g.flag {domain_bit} END AS domain_bit, {overrides} AS override,
                {effective} AS effective,
                {effective} <> CASE g.flag {domain_bit} END AS differs_from_domain_default
            FROM report_mailboxes b JOIN (
                SELECT d.id AS domain_id, {switches} FROM domains d {LIMITS}
            ) w ON w.domain_id = b.domain_id CROSS JOIN ({bits}) g
            WHERE {is_set} OR CASE g.flag {domain_bit} END
            """,
        # Six colons between the seven fields.
        "report_long_lines": f"""
            SELECT m.name || '@' || n.name AS address, n.name AS domain,
                {length} + 6 AS vpasswd_line_length, 299 AS line_limit
            FROM mailboxes m JOIN domains d ON d.id = m.domain_id {REAL_NAME}
            """,
    }


def of_domains(sql: Dialect) -> dict[str, str]:
    """Return the views with a row, or some, for a domain."""
    mailboxes = "(SELECT count(*) FROM mailboxes c WHERE c.domain_id = d.id)"
    logins = """(SELECT max(a.at) FROM mailboxes c JOIN last_auths a ON a.mailbox_id = c.id
        WHERE c.domain_id = d.id AND a.remote_ip <> '0.0.0.0')"""
    used = "CASE WHEN u.measured > 0 OR u.mailboxes = 0 THEN u.{} END"
    pool = f"NULLIF({setting('disk_quota', '0')}, 0) * {MEBIBYTE}"
    source = "CASE WHEN l.domain_id IS NOT NULL THEN 'domain' ELSE 'default' END"
    unlimited = "(SELECT count(*) FROM mailboxes c WHERE c.domain_id = d.id"
    unlimited += " AND c.quota_bytes IS NULL)"
    counted = {
        "max_popaccounts": mailboxes,
        "max_aliases": "COALESCE(k.aliases, 0)",
        "max_forwards": "COALESCE(k.forwards, 0)",
        "max_autoresponders": "COALESCE(k.robots, 0)",
        "max_mailinglists": "COALESCE(k.lists, 0)",
    }
    limits = {name: (setting(name, "-1"), number) for name, number in counted.items()} | {
        "disk_quota": (f"COALESCE({pool}, -1)", used.format("bytes")),
        "max_msgcount": (
            f"COALESCE(NULLIF({setting('max_msgcount', '0')}, 0), -1)",
            used.format("messages"),
        ),
    }
    of_each = ", ".join(
        f"{value} AS {name}, {number} AS {name}_used" for name, (value, number) in limits.items()
    )
    names = " UNION ALL ".join(f"SELECT '{name}' AS name" for name in limits)
    value, number = (
        "CASE g.name " + " ".join(f"WHEN '{name}' THEN w.{name}{end}" for name in limits) + " END"
        for end in ("", "_used")
    )
    folder = "substr(rtrim(d.catchall_target, '/'), length(rtrim(rtrim(d.catchall_target, '/'),"
    folder += " replace(rtrim(d.catchall_target, '/'), '/', ''))) + 1)"
    at = "length(rtrim(d.catchall_target, replace(d.catchall_target, '@', '')))"
    host = f"lower(substr(d.catchall_target, {at} + 1))"
    user = f"lower(substr(d.catchall_target, 1, {at} - 1))"
    true, false = ("1", "0") if sql.is_sqlite else ("true", "false")
    return {
        "report_domain_limits": f"""
            SELECT domain, limit_name, limit_value, used,
                {sql.percent("used", "limit_value")} AS pct, source, used > limit_value AS over
            FROM (
                SELECT w.domain AS domain, g.name AS limit_name, {value} AS limit_value,
                    {number} AS used, w.source AS source
                FROM (
                    SELECT n.name AS domain, {source} AS source, {of_each}
                    FROM domains d {REAL_NAME} {LIMITS} {LAST_DOMAIN_USE} {KINDS}
                ) w CROSS JOIN ({names}) g
            ) v WHERE limit_value >= 0
            """,
        "report_domain_overview": f"""
            SELECT n.name AS domain,
                (SELECT count(*) FROM domain_names x WHERE x.domain_id = d.id AND x.is_alias)
                    AS alias_domains,
                {mailboxes} AS mailboxes, {counted["max_aliases"]} AS aliases,
                {counted["max_forwards"]} AS forwards, {counted["max_autoresponders"]} AS robots,
                {counted["max_mailinglists"]} AS lists,
                d.catchall AS catchall, {used.format("bytes")} AS used_bytes,
                u.mailboxes - u.measured AS unmeasured, {pool} AS pool_bytes,
                {sql.integer(ALLOCATED)} AS allocated_bytes,
                (SELECT count(*) FROM mailboxes m WHERE m.domain_id = d.id AND {IS_ADMIN})
                    AS admins,
                d.created_at AS created_at, {logins} AS last_auth_at
            FROM domains d {REAL_NAME} {LIMITS} {LAST_DOMAIN_USE} {KINDS}
            """,
        "report_quota_overcommit": f"""
            SELECT n.name AS domain, {pool} AS pool_bytes,
                {sql.integer(ALLOCATED)} AS sum_user_quota, {unlimited} AS unlimited_users,
                {used.format("bytes")} AS used_bytes,
                {sql.percent(ALLOCATED, pool)} / 100 AS overcommit_ratio
            FROM domains d {REAL_NAME} {LIMITS} {LAST_DOMAIN_USE}
            """,
        "report_catchall": f"""
            SELECT n.name AS domain, d.catchall AS mode, d.catchall_target AS target,
                CASE d.catchall
                WHEN 'directory' THEN m.id IS NOT NULL
                WHEN 'address' THEN CASE WHEN t.domain_id IS NULL THEN NULL
                    WHEN m.id IS NOT NULL THEN {true}
                    WHEN EXISTS (SELECT 1 FROM dotqmail_files f WHERE f.domain_id = t.domain_id
                        AND f.mailbox_id IS NULL AND f.name = {user}) THEN {true}
                    ELSE {false} END
                END AS target_exists,
                u.bytes >= m.quota_bytes AS target_over_quota
            FROM domains d {REAL_NAME}
            LEFT JOIN domain_names t ON d.catchall = 'address' AND t.name = {host}
            LEFT JOIN mailboxes m ON m.domain_id = COALESCE(t.domain_id, d.id)
                AND m.name = CASE d.catchall WHEN 'directory' THEN {folder}
                    WHEN 'address' THEN {user} END
                AND (d.catchall = 'address'
                    OR rtrim(m.directory, '/') = rtrim(d.catchall_target, '/'))
            {LAST_USE}
            """,
        "report_ip_map": f"""
            SELECT i.address AS ip, n.name AS domain, i.family AS family
            FROM ip_mappings i JOIN domains d ON d.id = i.domain_id {REAL_NAME}
            """,
        "report_alias_domains": f"""
            SELECT x.name AS alias, n.name AS domain
            FROM domain_names x JOIN domains d ON d.id = x.domain_id {REAL_NAME}
            WHERE x.is_alias
            """,
        "report_name_clashes": f"""
            WITH names AS MATERIALIZED (
                SELECT 'table' AS kind, 0 AS of_domain, x.domain_id AS domain_id, x.name AS name,
                    replace(replace(x.name, '.', '_'), '-', '_') AS known_as
                FROM domain_names x WHERE NOT x.is_alias
                UNION ALL
                SELECT 'dotqmail', y.domain_id, y.domain_id, y.name, replace(y.name, '.', ':')
                FROM (
                    SELECT domain_id, name FROM mailboxes
                    UNION SELECT domain_id, name FROM dotqmail_files WHERE mailbox_id IS NULL
                ) y
            ), clashes AS MATERIALIZED (
                SELECT kind, of_domain, known_as FROM names
                GROUP BY kind, of_domain, known_as HAVING count(*) > 1
            ), clashing AS MATERIALIZED (
                SELECT z.* FROM clashes c JOIN names z ON z.known_as = c.known_as
                    AND z.of_domain = c.of_domain AND z.kind = c.kind
            )
            SELECT c.kind AS kind, n.name AS domain,
                c.name || CASE c.kind WHEN 'table' THEN '' ELSE '@' || n.name END AS name,
                o.name || CASE c.kind WHEN 'table' THEN '' ELSE '@' || n.name END AS other
            FROM clashing c JOIN clashing o ON o.kind = c.kind AND o.of_domain = c.of_domain
                AND o.known_as = c.known_as AND o.name > c.name
            JOIN domains d ON d.id = c.domain_id {REAL_NAME}
            """,
    }


def of_history(sql: Dialect) -> dict[str, str]:
    """Return the views on what happened."""
    domain = """
        CASE WHEN e.object_type IN ('user', 'mailbox', 'list') AND e.object LIKE '%@%'
        THEN substr(e.object, length(rtrim(e.object, replace(e.object, '@', ''))) + 1)
        WHEN e.object_type = 'domain' THEN e.object END
        """
    secret = "COALESCE(f.key IN ('password', 'password_hash', 'clear_text'), {false})".format(
        false="0" if sql.is_sqlite else "false"
    )
    is_added = "e.object_type = 'user' AND e.action IN ('add_user', 'restore')"
    is_removed = "e.object_type = 'user' AND e.action = 'del_user'"
    used = "CASE WHEN u.measured > 0 OR u.mailboxes = 0 THEN u.bytes END"
    return {
        "report_changes": f"""
            SELECT e.id AS id, e.at AS at, e.actor AS actor, e.actor_ip AS actor_ip,
                e.channel AS channel, e.object_type AS object_type, e.object AS object,
                {domain} AS domain, e.action AS action, f.key AS field,
                CASE WHEN NOT {secret} THEN {sql.old_or_new(0)}
                    WHEN {sql.old_or_new(0)} IS NOT NULL THEN '(masked)' END AS old,
                CASE WHEN NOT {secret} THEN {sql.old_or_new(1)}
                    WHEN {sql.old_or_new(1)} IS NOT NULL THEN '(masked)' END AS new
            FROM audit_log e {sql.fields()}
            """,
        "report_growth": f"""
            SELECT w.day AS date, w.domain AS domain, u.mailboxes AS mailboxes,
                {sql.integer("w.added")} AS added, {sql.integer("w.removed")} AS removed,
                u.aliases AS aliases, {used} AS used_bytes,
                {used} - (
                    SELECT p.bytes FROM domain_usage p
                    WHERE p.domain = w.domain AND p.measured > 0
                    AND {sql.day("p.measured_at")} < w.day
                    ORDER BY p.measured_at DESC, p.id DESC LIMIT 1
                ) AS delta_bytes
            FROM (
                SELECT day, domain, sum(added) AS added, sum(removed) AS removed,
                    max(usage_id) AS usage_id
                FROM (
                    SELECT {sql.day("e.at")} AS day, {domain} AS domain,
                        CASE WHEN {is_added} THEN 1 ELSE 0 END AS added,
                        CASE WHEN {is_removed} THEN 1 ELSE 0 END AS removed, NULL AS usage_id
                    FROM audit_log e WHERE {is_added} OR {is_removed}
                    UNION ALL
                    SELECT {sql.day("v.measured_at")}, v.domain, 0, 0, v.id FROM domain_usage v
                ) x GROUP BY day, domain
            ) w LEFT JOIN domain_usage u ON u.id = w.usage_id
            """,
        "report_auth_activity": f"""
            SELECT {sql.day("a.at")} AS date, n.name AS domain,
                NULLIF(a.service, 'any') AS service, a.remote_ip AS ip,
                count(*) AS distinct_users, max(a.at) AS last_at
            FROM last_auths a JOIN mailboxes m ON m.id = a.mailbox_id
            JOIN domains d ON d.id = m.domain_id {REAL_NAME}
            WHERE a.remote_ip <> '0.0.0.0'
            GROUP BY 1, n.name, a.service, a.remote_ip
            """,
    }
