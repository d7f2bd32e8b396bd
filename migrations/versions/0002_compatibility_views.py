"""Views with the names and columns of vpopmail's own SQL tables.

Revision: 0002
Follows: 0001

What sites run against vpopmail's database today (Dovecot, Postfix, qpsmtpd, webmail plug-ins)
runs unchanged against these. They take the two writes that outsiders make: a changed password in
``vpopmail`` and a login in ``lastauth``. Every other row written is refused with the command to
use instead; an UPDATE or DELETE that finds no row changes nothing and is no error, as on a table.

* A password that is not there is NULL, not ``''``: Dovecot lets anyone in whose stored password
  is empty.
* A new hash without a new clear text empties the clear text: the old password must not go on
  working for who compares that one.
* ``limits`` has a row for a domain with limits of its own only, as vpopmail's table has.
* ``lastauth`` has one row a mailbox, the newest of its services, and the account's name twice:
  vpopmail calls the column ``user`` on MySQL and ``userid`` on PostgreSQL. ``vlog`` likewise.
* On PostgreSQL the functions behind the writable views run with the rights of the schema's owner,
  so UPDATE on a view is all that a webmail's database user has to be given.

SQLite looks at every view when a table is renamed, so a later batch migration has to begin with
``PRAGMA legacy_alter_table = ON``. PostgreSQL does not let the type of a column change that a view
reads; a migration that does so drops the views first and creates them anew.
"""

from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the views, and the triggers that guard them or make them writable."""
    dialect = op.get_bind().dialect.name
    for name, select in views(dialect).items():
        op.execute(f"CREATE VIEW {name} AS {select}")
    for statement in sqlite_triggers() if dialect == "sqlite" else postgresql_triggers():
        op.execute(statement)


def downgrade() -> None:
    """Drop the views; their triggers go with them."""
    dialect = op.get_bind().dialect.name
    for name in views(dialect):
        op.execute(f"DROP VIEW {name}")
    if dialect == "postgresql":
        for function in ("vpopsql_refuse", "vpopsql_update_vpopmail", "vpopsql_write_lastauth"):
            op.execute(f"DROP FUNCTION {function}()")


REAL_NAME = "JOIN domain_names n ON n.domain_id = d.id AND NOT n.is_alias"

SWITCHES = {
    "disable_pop": "disable_pop",
    "disable_imap": "disable_imap",
    "disable_dialup": "disable_dialup",
    "disable_passwordchanging": "disable_password_changing",
    "disable_webmail": "disable_webmail",
    "disable_relay": "disable_external_relay",
    "disable_smtp": "disable_smtp",
    "disable_spamassassin": "disable_spamassassin",
    "delete_spam": "delete_spam",
    "disable_maildrop": "disable_maildrop",
}

DIR_CONTROL = (
    "cur_users, level_cur, level_max, level_start0, level_start1, level_start2, level_end0,"
    " level_end1, level_end2, level_mod0, level_mod1, level_mod2, level_index0, level_index1,"
    " level_index2, the_dir"
)


def views(dialect: str) -> dict[str, str]:
    """Return the SELECT of each view, with the columns in the order of vpopmail's tables."""
    epoch = {
        "sqlite": "CAST(strftime('%s', a.at) AS INTEGER)",
        "postgresql": "CAST(floor(extract(epoch FROM a.at)) AS bigint)",
    }[dialect]
    switches = ", ".join(f"CAST(l.{ours} AS INTEGER) AS {name}" for name, ours in SWITCHES.items())
    return {
        "vpopmail": f"""
            SELECT m.name AS pw_name, n.name AS pw_domain,
                NULLIF(m.password_hash, '') AS pw_passwd, m.apop_uid AS pw_uid,
                m.flags AS pw_gid, m.comment AS pw_gecos, m.directory AS pw_dir,
                CASE
                    WHEN m.quota_bytes IS NULL AND m.quota_messages IS NULL THEN 'NOQUOTA'
                    WHEN m.quota_messages IS NULL THEN m.quota_bytes || 'S'
                    WHEN m.quota_bytes IS NULL THEN m.quota_messages || 'C'
                    ELSE m.quota_bytes || 'S,' || m.quota_messages || 'C'
                END AS pw_shell,
                NULLIF(m.clear_text, '') AS pw_clear_passwd,
                m.id AS id, d.uid AS my_uid, d.gid AS my_gid
            FROM mailboxes m JOIN domains d ON d.id = m.domain_id {REAL_NAME}
            """,
        "aliasdomains": f"""
            SELECT a.name AS alias, n.name AS domain
            FROM domain_names a JOIN domains d ON d.id = a.domain_id {REAL_NAME}
            WHERE a.is_alias
            """,
        "limits": f"""
            SELECT n.name AS domain, l.max_popaccounts AS maxpopaccounts,
                l.max_aliases AS maxaliases, l.max_forwards AS maxforwards,
                l.max_autoresponders AS maxautoresponders,
                l.max_mailinglists AS maxmailinglists, l.disk_quota AS diskquota,
                l.max_msgcount AS maxmsgcount, l.default_quota AS defaultquota,
                l.default_maxmsgcount AS defaultmaxmsgcount, {switches},
                l.perm_account AS perm_account, l.perm_alias AS perm_alias,
                l.perm_forward AS perm_forward, l.perm_autoresponder AS perm_autoresponder,
                l.perm_maillist + 8 * l.perm_maillist_users + 64 * l.perm_maillist_moderators
                    AS perm_maillist,
                l.perm_quota AS perm_quota, l.perm_defaultquota AS perm_defaultquota
            FROM domain_limits l JOIN domains d ON d.id = l.domain_id {REAL_NAME}
            """,
        "lastauth": f"""
            SELECT m.name AS "user", m.name AS userid, n.name AS domain, a.remote_ip AS remote_ip,
                {epoch} AS timestamp
            FROM last_auths a JOIN mailboxes m ON m.id = a.mailbox_id
            JOIN domains d ON d.id = m.domain_id {REAL_NAME}
            WHERE NOT EXISTS (
                SELECT 1 FROM last_auths b
                WHERE b.mailbox_id = a.mailbox_id
                AND (b.at > a.at OR b.at = a.at AND b.service < a.service)
            )
            """,
        "valias": f"""
            SELECT f.id * 1048576 + l.position AS id, f.name AS alias, n.name AS domain,
                l.line AS valias_line,
                CASE l.kind WHEN 'forward' THEN 1 ELSE 0 END AS valias_type, 0 AS copy
            FROM dotqmail_files f JOIN dotqmail_lines l ON l.file_id = f.id
            JOIN domains d ON d.id = f.domain_id {REAL_NAME}
            WHERE f.mailbox_id IS NULL AND f.name NOT IN ('', 'default') AND l.kind <> 'blank'
            """,
        "ip_alias_map": f"""
            SELECT i.address AS ip_addr, n.name AS domain
            FROM ip_mappings i JOIN domains d ON d.id = i.domain_id {REAL_NAME}
            """,
        # The counter of the domains' own directories is named after the user who owns them.
        "dir_control": f"""
            SELECT n.name AS domain, {DIR_CONTROL}
            FROM dir_counters c JOIN domains d ON d.id = c.domain_id {REAL_NAME}
            UNION ALL
            SELECT 'dom_' || COALESCE(
                (SELECT uid FROM domains GROUP BY uid ORDER BY count(*) DESC, uid LIMIT 1), 89
            ), {DIR_CONTROL}
            FROM dir_counters WHERE domain_id IS NULL
            """,
        "vlog": """
            SELECT CAST(NULL AS INTEGER) AS id, CAST(NULL AS VARCHAR(64)) AS "user",
                CAST(NULL AS VARCHAR(64)) AS userid, CAST(NULL AS VARCHAR(32)) AS passwd,
                CAST(NULL AS VARCHAR(96)) AS domain, CAST(NULL AS VARCHAR(200)) AS logon,
                CAST(NULL AS VARCHAR(39)) AS remoteip, CAST(NULL AS VARCHAR(255)) AS message,
                CAST(NULL AS BIGINT) AS timestamp, CAST(NULL AS INTEGER) AS error
            WHERE 1 = 0
            """,
        "relay": """
            SELECT CAST(NULL AS VARCHAR(39)) AS ip_addr, CAST(NULL AS BIGINT) AS timestamp
            WHERE 1 = 0
            """,
    }


MAIL = "vpopmail is a view, of which pw_passwd and pw_clear_passwd can be updated;"
LOGIN = "lastauth is a view, to which remote_ip and timestamp of an account can be written;"
BAD_CHARACTERS = "vpopmail: a password must not have colons or control characters"
NO_ACCOUNT = "lastauth: there is no such account"
NO_LOGIN = "lastauth: remote_ip and timestamp are needed"

REFUSED = {
    ("vpopmail", "INSERT"): f"{MAIL} use vpopmaild add_user to create an account",
    ("vpopmail", "UPDATE"): f"{MAIL} use vpopmaild mod_user for anything else",
    ("vpopmail", "DELETE"): f"{MAIL} use vpopmaild del_user to delete an account",
    ("lastauth", "UPDATE"): f"{LOGIN} whose they are cannot be changed",
    ("lastauth", "DELETE"): f"{LOGIN} they go with the account, use vpopmaild del_user",
    **{
        (view, action): f"{view} is a view and cannot be written; use {instead} instead"
        for view, instead in {
            "aliasdomains": "vpopmaild add_alias_domain and del_domain",
            "limits": "vpopmaild set_limits and del_limits",
            "valias": "vpopmaild add_alias, remove_alias and delete_alias",
            "ip_alias_map": "vpopmaild add_ip_map and del_ip_map",
            "dir_control": "vpopmaild add_user and add_domain, which count for themselves,",
            "vlog": "the log of the daemon",
            "relay": "SMTP AUTH",
        }.items()
        for action in ("INSERT", "UPDATE", "DELETE")
    },
}
"""Why a write is refused and what to use; the two UPDATEs are refused by what they change."""

SETTLED = (
    "pw_name",
    "pw_domain",
    "pw_uid",
    "pw_gid",
    "pw_gecos",
    "pw_dir",
    "pw_shell",
    "id",
    "my_uid",
    "my_gid",
)
"""The columns of ``vpopmail`` that an UPDATE must leave as they are."""


def sqlite_triggers() -> list[str]:
    """Return the triggers as SQLite wants them: no functions, so conditions are repeated."""
    settled = " OR ".join(f"NEW.{column} IS NOT OLD.{column}" for column in SETTLED)
    new_hash = "NULLIF(NEW.pw_passwd, '') IS NOT OLD.pw_passwd"
    new_text = "NULLIF(NEW.pw_clear_passwd, '') IS NOT OLD.pw_clear_passwd"
    now = "strftime('%Y-%m-%d %H:%M:%f', 'now') || '000'"
    unwritable = "'*[' || char(1) || '-' || char(31) || char(127) || ':]*'"
    given_user = 'lower(COALESCE(NEW."user", NEW.userid))'
    mailbox = (
        "(SELECT m.id FROM mailboxes m JOIN domain_names n ON n.domain_id = m.domain_id"
        f" WHERE m.name = {given_user} AND n.name = lower(NEW.domain))"
    )

    def write_lastauth(action: str, at: str, check: str = "") -> str:
        """Return the trigger that records a login under the service "any"."""
        return f"""
            CREATE TRIGGER lastauth_{action.lower()} INSTEAD OF {action} ON lastauth
            BEGIN
                {check}
                SELECT RAISE(ABORT, '{NO_LOGIN}')
                WHERE NEW.remote_ip IS NULL OR NEW.timestamp IS NULL;
                SELECT RAISE(ABORT, '{NO_ACCOUNT}') WHERE {mailbox} IS NULL;
                UPDATE last_auths SET at = {at}, remote_ip = NEW.remote_ip
                WHERE mailbox_id = {mailbox} AND service = 'any';
                INSERT INTO last_auths (mailbox_id, service, at, remote_ip)
                SELECT {mailbox}, 'any', {at}, NEW.remote_ip
                WHERE NOT EXISTS (
                    SELECT 1 FROM last_auths WHERE mailbox_id = {mailbox} AND service = 'any'
                );
            END
            """

    same_account = f"""
        SELECT RAISE(ABORT, '{REFUSED["lastauth", "UPDATE"]}')
        WHERE NEW."user" IS NOT OLD."user" OR NEW.userid IS NOT OLD.userid
            OR NEW.domain IS NOT OLD.domain;
        """
    given_time = "strftime('%Y-%m-%d %H:%M:%S', NEW.timestamp, 'unixepoch') || '.000000'"
    kept_time = (
        f"CASE WHEN NEW.timestamp <> OLD.timestamp THEN {given_time}"
        f" ELSE (SELECT max(at) FROM last_auths WHERE mailbox_id = {mailbox}) END"
    )
    return [
        *(
            f"""
            CREATE TRIGGER {view}_no_{action.lower()} INSTEAD OF {action} ON {view}
            BEGIN SELECT RAISE(ABORT, '{text}'); END
            """
            for (view, action), text in REFUSED.items()
            if (view, action) not in {("vpopmail", "UPDATE"), ("lastauth", "UPDATE")}
        ),
        f"""
        CREATE TRIGGER vpopmail_update INSTEAD OF UPDATE ON vpopmail
        BEGIN
            SELECT RAISE(ABORT, '{REFUSED["vpopmail", "UPDATE"]}') WHERE {settled};
            SELECT RAISE(ABORT, '{BAD_CHARACTERS}')
            WHERE NEW.pw_passwd GLOB {unwritable} OR NEW.pw_clear_passwd GLOB {unwritable};
            INSERT INTO audit_log (at, actor, channel, action, object_type, object, changes)
            SELECT {now}, 'sql', 'sql', 'mod_user', 'mailbox', OLD.pw_name || '@' || OLD.pw_domain,
                CASE
                    WHEN NOT {new_text} THEN json_object('password_hash', json_array('***', '***'))
                    WHEN NOT {new_hash} THEN json_object('clear_text', json_array('***', '***'))
                    ELSE json_object(
                        'password_hash', json_array('***', '***'),
                        'clear_text', json_array('***', '***')
                    )
                END
            WHERE {new_hash} OR {new_text};
            INSERT INTO revisions (at, domain, topic)
            SELECT {now}, OLD.pw_domain, 'mailboxes' WHERE {new_hash} OR {new_text};
            UPDATE mailboxes SET
                password_hash = COALESCE(NEW.pw_passwd, ''),
                clear_text = CASE
                    WHEN {new_text} THEN COALESCE(NEW.pw_clear_passwd, '')
                    WHEN clear_text IS NULL THEN NULL
                    ELSE ''
                END,
                password_changed_at = {now}
            WHERE id = OLD.id AND ({new_hash} OR {new_text});
        END
        """,
        write_lastauth("INSERT", given_time),
        write_lastauth("UPDATE", kept_time, check=same_account),
    ]


def postgresql_triggers() -> list[str]:
    """Return the functions and triggers as PostgreSQL wants them."""
    schema = op.get_bind().exec_driver_sql("SELECT quote_ident(current_schema())").scalar_one()
    as_owner = (
        f"RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path = {schema}, pg_temp"
    )
    old, new = (
        "(" + ", ".join(f"{row}.{column}" for column in SETTLED) + ")" for row in ("OLD", "NEW")
    )
    return [
        """
        CREATE FUNCTION vpopsql_refuse() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
            RAISE EXCEPTION '%', TG_ARGV[0] USING ERRCODE = 'feature_not_supported';
        END $$
        """,
        f"""
        CREATE FUNCTION vpopsql_update_vpopmail() {as_owner} AS $$
        DECLARE
            masked CONSTANT jsonb = '["***", "***"]';
            changes jsonb = '{{}}';
        BEGIN
            IF {new} IS DISTINCT FROM {old} THEN
                RAISE EXCEPTION '{REFUSED["vpopmail", "UPDATE"]}'
                    USING ERRCODE = 'feature_not_supported';
            END IF;
            IF NEW.pw_passwd ~ '[\\x01-\\x1f\\x7f:]' OR NEW.pw_clear_passwd ~ '[\\x01-\\x1f\\x7f:]'
            THEN
                RAISE EXCEPTION '{BAD_CHARACTERS}' USING ERRCODE = 'check_violation';
            END IF;
            IF NULLIF(NEW.pw_passwd, '') IS DISTINCT FROM OLD.pw_passwd THEN
                UPDATE mailboxes SET password_hash = COALESCE(NEW.pw_passwd, ''),
                    clear_text = CASE WHEN clear_text IS NULL THEN NULL ELSE '' END
                WHERE id = OLD.id;
                changes = jsonb_build_object('password_hash', masked);
            END IF;
            IF NULLIF(NEW.pw_clear_passwd, '') IS DISTINCT FROM OLD.pw_clear_passwd THEN
                UPDATE mailboxes SET clear_text = COALESCE(NEW.pw_clear_passwd, '')
                WHERE id = OLD.id;
                changes = changes || jsonb_build_object('clear_text', masked);
            END IF;
            IF changes <> '{{}}' THEN
                UPDATE mailboxes SET password_changed_at = clock_timestamp() WHERE id = OLD.id;
                INSERT INTO audit_log
                    (at, actor, actor_ip, channel, action, object_type, object, changes)
                VALUES (clock_timestamp(), session_user, host(inet_client_addr()), 'sql',
                    'mod_user', 'mailbox', OLD.pw_name || '@' || OLD.pw_domain, changes);
                INSERT INTO revisions (at, domain, topic)
                VALUES (clock_timestamp(), OLD.pw_domain, 'mailboxes');
            END IF;
            RETURN NEW;
        END $$
        """,
        f"""
        CREATE FUNCTION vpopsql_write_lastauth() {as_owner} AS $$
        DECLARE
            mailbox bigint;
            login timestamptz;
        BEGIN
            IF TG_OP = 'UPDATE' AND (NEW."user", NEW.userid, NEW.domain)
                IS DISTINCT FROM (OLD."user", OLD.userid, OLD.domain) THEN
                RAISE EXCEPTION '{REFUSED["lastauth", "UPDATE"]}'
                    USING ERRCODE = 'feature_not_supported';
            END IF;
            IF NEW.remote_ip IS NULL OR NEW.timestamp IS NULL THEN
                RAISE EXCEPTION '{NO_LOGIN}' USING ERRCODE = 'not_null_violation';
            END IF;
            SELECT m.id INTO mailbox FROM mailboxes m
            JOIN domain_names n ON n.domain_id = m.domain_id
            WHERE m.name = lower(COALESCE(NEW."user", NEW.userid)) AND n.name = lower(NEW.domain);
            IF mailbox IS NULL THEN
                RAISE EXCEPTION '{NO_ACCOUNT}' USING ERRCODE = 'foreign_key_violation';
            END IF;
            login = to_timestamp(NEW.timestamp);
            IF TG_OP = 'UPDATE' AND NEW.timestamp = OLD.timestamp THEN
                SELECT max(at) INTO login FROM last_auths WHERE mailbox_id = mailbox;
            END IF;
            INSERT INTO last_auths (mailbox_id, service, at, remote_ip)
            VALUES (mailbox, 'any', login, NEW.remote_ip)
            ON CONFLICT (mailbox_id, service)
            DO UPDATE SET at = EXCLUDED.at, remote_ip = EXCLUDED.remote_ip;
            RETURN NEW;
        END $$
        """,
        """
        CREATE TRIGGER vpopmail_update INSTEAD OF UPDATE ON vpopmail
        FOR EACH ROW EXECUTE FUNCTION vpopsql_update_vpopmail()
        """,
        """
        CREATE TRIGGER lastauth_write INSTEAD OF INSERT OR UPDATE ON lastauth
        FOR EACH ROW EXECUTE FUNCTION vpopsql_write_lastauth()
        """,
        *(
            f"""
            CREATE TRIGGER {view}_no_{action.lower()} INSTEAD OF {action} ON {view}
            FOR EACH ROW EXECUTE FUNCTION vpopsql_refuse('{text}')
            """
            for (view, action), text in REFUSED.items()
            if (view, action) not in {("vpopmail", "UPDATE"), ("lastauth", "UPDATE")}
        ),
    ]
