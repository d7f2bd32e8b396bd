"""What is wrong with a schema that is not as the migrations make it, in sentences.

Alembic compares tables with the model. Views, triggers and functions are in no model; their names
stand here, and a test sees to it that the migrations make these and no others.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, inspect, text

_VIEWS = (
    "vpopmail",
    "aliasdomains",
    "limits",
    "lastauth",
    "valias",
    "ip_alias_map",
    "dir_control",
    "vlog",
    "relay",
)
SERVER_VIEWS = (
    "dovecot_users",
    "postfix_domains",
    "postfix_mailboxes",
    "postfix_aliases",
    "postfix_recipients",
    "postfix_wildcards",
    "postfix_senders",
)
"""The views for other mail servers."""

REPORT_VIEWS = {
    **dict.fromkeys(
        (
            "report_mailboxes",
            "report_dotqmail_files",
            "report_inactive_mailboxes",
            "report_never_logged_in",
            "report_over_quota",
            "report_password_schemes",
            "report_password_scheme_mailboxes",
            "report_clear_text",
            "report_admins",
            "report_flags",
            "report_long_lines",
            "report_domain_limits",
            "report_domain_overview",
            "report_quota_overcommit",
            "report_catchall",
            "report_ip_map",
            "report_alias_domains",
            "report_name_clashes",
            "report_changes",
            "report_growth",
            "report_auth_activity",
        ),
        "0007",
    ),
    **dict.fromkeys(
        (
            "report_forwards",
            "report_dangling_aliases",
            "report_external_forwards",
            "report_shadowed",
            "report_alias_loops",
            "report_alias_depth",
            "report_duplicate_forwards",
        ),
        "0008",
    ),
    "report_onward_lines": "0011",
}
"""The views for reports, which nobody writes to, and the migration that makes each."""

_GUARDS = {
    **dict.fromkeys(_VIEWS, ("insert", "update", "delete")),
    "vpopmail": ("insert", "delete"),
    "lastauth": ("delete",),
}
"""The writes to each view that a trigger refuses."""

_OF_USAGE = {
    f"mailbox_usage_{done}": ("mailbox_usage", "0009") for done in ("added", "changed", "removed")
}
_OF_NAMES = {
    **{
        f"domain_names_{done}": ("domain_names", "0016")
        for done in ("added", "changed", "removed")
    },
    "domain_name_counts_divided": ("domain_name_counts", "0016"),
}
_TRIGGERS = {
    "sqlite": {
        "audit_log_no_update": ("audit_log", "0014"),
        "audit_log_no_delete": ("audit_log", "0001"),
        "audit_log_no_replace": ("audit_log", "0004"),
        "vpopmail_update": ("vpopmail", "0002"),
        "lastauth_insert": ("lastauth", "0002"),
        "lastauth_update": ("lastauth", "0002"),
        "dovecot_logins_insert": ("dovecot_logins", "0012"),
        **_OF_USAGE,
        **_OF_NAMES,
    },
    "postgresql": {
        "audit_log_append_only": ("audit_log", "0001"),
        "audit_log_chain": ("audit_log", "0014"),
        "revisions_notify": ("revisions", "0005"),
        "vpopmail_update": ("vpopmail", "0002"),
        "lastauth_write": ("lastauth", "0002"),
        "dovecot_logins_insert": ("dovecot_logins", "0012"),
        **_OF_USAGE,
        **_OF_NAMES,
        "domain_names_emptied": ("domain_names", "0016"),
    },
}
"""The other triggers: what each is on, and the migration that makes it."""

_FUNCTIONS = {
    "sqlite": {},
    "postgresql": {
        "vpopsql_append_only": "0001",
        "vpopsql_audit_hash": "0014",
        "vpopsql_chain_audit": "0014",
        "vpopsql_count_domain_names": "0016",
        "vpopsql_divide_domain_names": "0016",
        "vpopsql_latest_usage": "0009",
        "vpopsql_notify_revision": "0005",
        "vpopsql_refuse": "0002",
        "vpopsql_update_vpopmail": "0002",
        "vpopsql_write_lastauth": "0002",
        "vpopsql_note_login": "0012",
    },
}

_COUNTS = text("""
    SELECT (SELECT COALESCE(SUM(names), 0) FROM domain_name_counts),
        (SELECT count(*) FROM domain_names)
    """)

_COMPUTED = {"dotqmail_lines": ("to_host", "to_user")}
"""Columns that the database computes, which are in no model."""
_INDEXES_OF_COMPUTED = frozenset({"ix_dotqmail_lines_to"})

_FOUND = {
    "sqlite": """
        SELECT type, name, CASE type WHEN 'trigger' THEN tbl_name ELSE '' END
        FROM sqlite_master WHERE type IN ('view', 'trigger')
        """,
    # A trigger that is switched off is as good as none.
    "postgresql": """
        SELECT 'view', viewname, '' FROM pg_views WHERE schemaname = current_schema()
        UNION ALL
        SELECT 'trigger', t.tgname, c.relname
        FROM pg_trigger t JOIN pg_class c ON c.oid = t.tgrelid
        JOIN pg_namespace n ON n.oid = c.relnamespace
        WHERE n.nspname = current_schema() AND NOT t.tgisinternal AND t.tgenabled <> 'D'
        UNION ALL
        SELECT 'function', p.proname, ''
        FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace
        WHERE n.nspname = current_schema()
        """,
}


@dataclass(frozen=True, slots=True)
class Thing:
    """Something with a name in a schema."""

    kind: str
    """``view``, ``trigger`` or ``function``."""
    name: str
    on: str = ""
    """The table or view of a trigger."""

    def __str__(self) -> str:
        return f"the {self.kind} `{self.name}`" + (f" on `{self.on}`" if self.on else "")


def expected(dialect: str) -> dict[Thing, str]:
    """Return what the migrations make besides tables, each with the migration's number."""
    return {
        **{Thing("view", view): "0002" for view in _VIEWS},
        **{Thing("view", view): by for view, by in REPORT_VIEWS.items()},
        **{Thing("view", view): "0012" for view in SERVER_VIEWS},
        **{Thing("function", name): by for name, by in _FUNCTIONS[dialect].items()},
        **{Thing("trigger", name, on): by for name, (on, by) in _TRIGGERS[dialect].items()},
        **{
            Thing("trigger", f"{view}_no_{write}", view): "0002"
            for view, writes in _GUARDS.items()
            for write in writes
        },
    }


def found(connection: Connection) -> set[Thing]:
    """Return the views, triggers and functions of a database; ours and others."""
    rows = connection.execute(text(_FOUND[connection.dialect.name]))
    return {Thing(*row) for row in rows}


def missing(connection: Connection) -> list[str]:
    """Say which views, triggers and functions of ours a database does not have."""
    there = found(connection)
    lacks = {
        thing: by for thing, by in expected(connection.dialect.name).items() if thing not in there
    }
    # Triggers go with their view.
    gone = {thing.name for thing in lacks if thing.kind == "view"}
    return [
        f"{thing} is missing: make it anew as migration {by} does, or restore a backup"
        for thing, by in lacks.items()
        if thing.on not in gone
    ]


def is_compared(
    thing: Any,  # noqa: ANN401 - Alembic's signature
    name: str | None,
    kind: str,
    is_reflected: bool,  # noqa: FBT001 - Alembic's signature
    _compared_to: object,
) -> bool:
    """Tell Alembic whether to compare something with the model: what is computed is in none."""
    if kind == "column" and is_reflected:
        return name not in _COMPUTED.get(thing.table.name, ())
    return kind != "index" or name not in _INDEXES_OF_COMPUTED


def missing_computed(connection: Connection) -> list[str]:
    """Say which computed columns and indexes of them a database does not have."""
    inspector = inspect(connection)
    lacks = []
    for table, columns in _COMPUTED.items():
        there = {each["name"] for each in inspector.get_columns(table)}
        lacks += [f"column `{each}` of `{table}`" for each in columns if each not in there]
        indexes = {each["name"] for each in inspector.get_indexes(table)}
        lacks += [f"index `{each}` of `{table}`" for each in _INDEXES_OF_COMPUTED - indexes]
    return [f"the {each} is missing: make it anew as migration 0009 does" for each in lacks]


def miscounted(connection: Connection) -> list[str]:
    """Say whether triggers have counted something else than there is."""
    if not {"domain_name_counts", "domain_names"} <= {*inspect(connection).get_table_names()}:
        return []
    counted, there = connection.execute(_COUNTS).one()
    if counted == there:
        return []
    sentence = (
        f"`domain_name_counts` has counted {counted} names, `domain_names` has {there}: somebody"
        " has written past the triggers; restore what `vpopsql backup` makes of this database"
    )
    return [sentence]


def describe(differences: Iterable[Any]) -> list[str]:
    """Say what Alembic's ``compare_metadata`` found."""
    return [
        _sentence(one)
        for difference in differences
        # What is different about one column comes as a list.
        for one in (difference if isinstance(difference, list) else [difference])
    ]


def _sentence(difference: tuple[Any, ...]) -> str:
    action, *what = difference
    verb, _, kind = action.partition("_")
    if verb == "modify":
        _, table, name, _, old, new = what
        column = f"the column `{name}` of `{table}`"
        if kind == "nullable":
            return f"{column} {'accepts' if old else 'refuses'} NULL, and must not"
        return f"the {kind} of {column} is {old}, and must be {new}"
    if kind == "table":
        subject = f"the table `{what[0].name}`"
    elif kind == "column":
        subject = f"the column `{what[2].name}` of `{what[1]}`"
    else:
        kind = {"fk": "foreign key"}.get(kind, kind)
        subject = f"the {kind} `{what[0].name}` of `{what[0].table.name}`"
    if verb == "add":
        return f"{subject} is missing: restore a backup"
    return f"{subject} is none of vpopsql's"
