"""The tables.

Revision: 0001
Follows: nothing
"""

from typing import Any

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

OLDEST_CODE = 1

ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
WHEN = sa.DateTime(timezone=True)
# By bytes on PostgreSQL too: the order of vpopmail's files.
EXACT = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")
NAME = sa.String(255).with_variant(sa.String(255, collation="C"), "postgresql")
ADDRESS = sa.String(39).with_variant(sa.String(39, collation="C"), "postgresql")
JSON = sa.JSON().with_variant(postgresql.JSONB(), "postgresql")


def limit_columns() -> list[sa.Column[Any]]:
    """Return the settings that domain_limits and default_limits share."""
    maxima = [
        "max_popaccounts",
        "max_aliases",
        "max_forwards",
        "max_autoresponders",
        "max_mailinglists",
    ]
    counts = ["disk_quota", "max_msgcount", "default_quota", "default_maxmsgcount"]
    switches = [
        "disable_pop",
        "disable_imap",
        "disable_dialup",
        "disable_password_changing",
        "disable_webmail",
        "disable_external_relay",
        "disable_smtp",
        "disable_spamassassin",
        "delete_spam",
        "disable_maildrop",
    ]
    permissions = [
        "perm_account",
        "perm_alias",
        "perm_forward",
        "perm_autoresponder",
        "perm_maillist",
        "perm_maillist_users",
        "perm_maillist_moderators",
        "perm_quota",
        "perm_defaultquota",
    ]
    return [
        *(
            sa.Column(n, sa.BigInteger(), server_default=sa.text("-1"), nullable=False)
            for n in maxima
        ),
        *(
            sa.Column(n, sa.BigInteger(), server_default=sa.text("0"), nullable=False)
            for n in counts
        ),
        *(sa.Column(n, sa.Boolean(), server_default=sa.false(), nullable=False) for n in switches),
        *(
            sa.Column(n, sa.SmallInteger(), server_default=sa.text("0"), nullable=False)
            for n in permissions
        ),
        sa.Column("source_text", EXACT, nullable=True),
    ]


def upgrade() -> None:
    """Create every table, and say which code may open them."""
    op.create_table(
        "audit_log",
        sa.Column("id", ID, autoincrement=True, nullable=False),
        sa.Column("at", WHEN, nullable=False),
        sa.Column("actor", EXACT, nullable=False),
        sa.Column("actor_ip", sa.String(length=45), nullable=True),
        sa.Column("channel", sa.String(length=16), nullable=False),
        sa.Column("request_id", sa.String(length=64), nullable=True),
        sa.Column("action", sa.String(length=32), nullable=False),
        sa.Column("object_type", sa.String(length=32), nullable=False),
        sa.Column("object", EXACT, nullable=False),
        sa.Column("changes", JSON, nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_audit_log")),
    )
    op.create_index("ix_audit_log_at", "audit_log", ["at"], unique=False)
    op.create_index(
        "ix_audit_log_object", "audit_log", ["object_type", "object", "id"], unique=False
    )
    op.create_table(
        "default_limits",
        sa.Column("id", sa.Integer(), autoincrement=False, nullable=False),
        *limit_columns(),
        sa.CheckConstraint("id = 1", name=op.f("ck_default_limits_single_row")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_default_limits")),
    )
    op.create_table(
        "domains",
        sa.Column("id", ID, autoincrement=True, nullable=False),
        sa.Column("directory", EXACT, nullable=False),
        sa.Column("uid", sa.Integer(), nullable=False),
        sa.Column("gid", sa.Integer(), nullable=False),
        sa.Column("created_at", WHEN, nullable=True),
        sa.Column(
            "catchall",
            sa.Enum(
                "none",
                "bounce",
                "delete",
                "address",
                "directory",
                "dotqmail",
                name="catchall",
                native_enum=False,
                create_constraint=True,
                length=16,
            ),
            nullable=False,
        ),
        sa.Column("catchall_target", EXACT, nullable=True),
        sa.CheckConstraint(
            "(catchall IN ('address', 'directory')) = (catchall_target IS NOT NULL)",
            name=op.f("ck_domains_catchall_target"),
        ),
        sa.CheckConstraint("uid >= 0 AND gid >= 0", name=op.f("ck_domains_ids")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_domains")),
        sa.UniqueConstraint("directory", name=op.f("uq_domains_directory")),
    )
    op.create_table(
        "exports",
        sa.Column("id", ID, autoincrement=True, nullable=False),
        sa.Column("at", WHEN, nullable=False),
        sa.Column("revision", sa.BigInteger(), nullable=False),
        sa.Column("files_changed", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_exports")),
    )
    op.create_table(
        "foreign_lines",
        sa.Column("file", sa.String(length=64), nullable=False),
        sa.Column("position", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("line", EXACT, nullable=False),
        sa.Column("sort_key", EXACT, nullable=False),
        sa.PrimaryKeyConstraint("file", "position", name=op.f("pk_foreign_lines")),
    )
    op.create_table(
        "revisions",
        sa.Column("id", ID, autoincrement=True, nullable=False),
        sa.Column("at", WHEN, nullable=False),
        sa.Column("domain", NAME, nullable=True),
        sa.Column("topic", sa.String(length=32), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_revisions")),
    )
    op.create_table(
        "schema_guard",
        sa.Column("id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("oldest_code", sa.Integer(), nullable=False),
        sa.CheckConstraint("id = 1", name=op.f("ck_schema_guard_single_row")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_schema_guard")),
    )
    op.create_table(
        "site_settings",
        sa.Column("key", sa.String(length=64), nullable=False),
        sa.Column("value", EXACT, nullable=False),
        sa.PrimaryKeyConstraint("key", name=op.f("pk_site_settings")),
    )
    op.create_table(
        "dir_counters",
        sa.Column("id", ID, autoincrement=True, nullable=False),
        sa.Column("domain_id", ID, nullable=True),
        sa.Column("cur_users", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("level_cur", sa.Integer(), nullable=False),
        sa.Column("level_max", sa.Integer(), nullable=False),
        sa.Column("level_start0", sa.Integer(), nullable=False),
        sa.Column("level_start1", sa.Integer(), nullable=False),
        sa.Column("level_start2", sa.Integer(), nullable=False),
        sa.Column("level_end0", sa.Integer(), nullable=False),
        sa.Column("level_end1", sa.Integer(), nullable=False),
        sa.Column("level_end2", sa.Integer(), nullable=False),
        sa.Column("level_mod0", sa.Integer(), nullable=False),
        sa.Column("level_mod1", sa.Integer(), nullable=False),
        sa.Column("level_mod2", sa.Integer(), nullable=False),
        sa.Column("level_index0", sa.Integer(), nullable=False),
        sa.Column("level_index1", sa.Integer(), nullable=False),
        sa.Column("level_index2", sa.Integer(), nullable=False),
        sa.Column("the_dir", EXACT, nullable=False),
        sa.Column("free_buckets", EXACT, nullable=True),
        sa.CheckConstraint(
            "(domain_id IS NULL) = (id = 0)", name=op.f("ck_dir_counters_site_is_0")
        ),
        sa.ForeignKeyConstraint(
            ["domain_id"],
            ["domains.id"],
            name=op.f("fk_dir_counters_domain_id_domains"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_dir_counters")),
        sa.UniqueConstraint("domain_id", name=op.f("uq_dir_counters_domain_id")),
    )
    op.create_table(
        "domain_limits",
        sa.Column("domain_id", ID, nullable=False),
        *limit_columns(),
        sa.ForeignKeyConstraint(
            ["domain_id"],
            ["domains.id"],
            name=op.f("fk_domain_limits_domain_id_domains"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("domain_id", name=op.f("pk_domain_limits")),
    )
    op.create_table(
        "domain_names",
        sa.Column("name", NAME, nullable=False),
        sa.Column("domain_id", ID, nullable=False),
        sa.Column("is_alias", sa.Boolean(), nullable=False),
        sa.Column("sort_key", NAME, nullable=False),
        sa.Column("in_morercpthosts", sa.Boolean(), server_default=sa.false(), nullable=False),
        sa.CheckConstraint("name = lower(name)", name=op.f("ck_domain_names_lower_case")),
        sa.ForeignKeyConstraint(
            ["domain_id"],
            ["domains.id"],
            name=op.f("fk_domain_names_domain_id_domains"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_domain_names")),
        sa.UniqueConstraint("sort_key", name=op.f("uq_domain_names_sort_key")),
    )
    op.create_index(
        "ix_domain_names_domain_id_is_alias",
        "domain_names",
        ["domain_id", "is_alias", "sort_key"],
        unique=False,
    )
    op.create_index(
        "uq_domain_names_real",
        "domain_names",
        ["domain_id"],
        unique=True,
        sqlite_where=sa.text("NOT is_alias"),
        postgresql_where=sa.text("NOT is_alias"),
    )
    op.create_table(
        "ip_mappings",
        sa.Column("address", ADDRESS, nullable=False),
        sa.Column("family", sa.SmallInteger(), nullable=False),
        sa.Column("packed", sa.LargeBinary(length=16), nullable=False),
        sa.Column("domain_id", ID, nullable=False),
        sa.CheckConstraint("family IN (4, 6)", name=op.f("ck_ip_mappings_family")),
        sa.ForeignKeyConstraint(
            ["domain_id"],
            ["domains.id"],
            name=op.f("fk_ip_mappings_domain_id_domains"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("address", name=op.f("pk_ip_mappings")),
        sa.UniqueConstraint("family", "packed", name=op.f("uq_ip_mappings_family_packed")),
    )
    op.create_index("ix_ip_mappings_domain_id", "ip_mappings", ["domain_id"], unique=False)
    op.create_table(
        "mailboxes",
        sa.Column("id", ID, autoincrement=True, nullable=False),
        sa.Column("domain_id", ID, nullable=False),
        sa.Column("name", NAME, nullable=False),
        sa.Column("password_hash", EXACT, nullable=False),
        sa.Column("clear_text", EXACT, nullable=True),
        sa.Column("apop_uid", sa.Integer(), server_default=sa.text("1"), nullable=False),
        sa.Column("flags", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("comment", EXACT, nullable=False),
        sa.Column("directory", EXACT, nullable=False),
        sa.Column("quota_bytes", sa.BigInteger(), nullable=True),
        sa.Column("quota_messages", sa.BigInteger(), nullable=True),
        sa.Column("quota_text", EXACT, nullable=False),
        sa.Column("created_at", WHEN, nullable=True),
        sa.Column("password_changed_at", WHEN, nullable=True),
        sa.CheckConstraint("quota_bytes > 0", name=op.f("ck_mailboxes_quota_bytes")),
        sa.CheckConstraint("quota_messages > 0", name=op.f("ck_mailboxes_quota_messages")),
        sa.ForeignKeyConstraint(
            ["domain_id"],
            ["domains.id"],
            name=op.f("fk_mailboxes_domain_id_domains"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_mailboxes")),
        sa.UniqueConstraint("domain_id", "name", name=op.f("uq_mailboxes_domain_id_name")),
    )
    op.create_table(
        "dotqmail_files",
        sa.Column("id", ID, autoincrement=True, nullable=False),
        sa.Column("domain_id", ID, nullable=False),
        sa.Column("mailbox_id", ID, nullable=True),
        sa.Column("name", EXACT, nullable=False),
        sa.Column("final_newline", sa.Boolean(), server_default=sa.true(), nullable=False),
        sa.Column("link_target", EXACT, nullable=True),
        sa.ForeignKeyConstraint(
            ["domain_id"],
            ["domains.id"],
            name=op.f("fk_dotqmail_files_domain_id_domains"),
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(
            ["mailbox_id"],
            ["mailboxes.id"],
            name=op.f("fk_dotqmail_files_mailbox_id_mailboxes"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_dotqmail_files")),
        sa.UniqueConstraint("mailbox_id", "name", name=op.f("uq_dotqmail_files_mailbox_id_name")),
    )
    op.create_index("ix_dotqmail_files_domain_id", "dotqmail_files", ["domain_id"], unique=False)
    op.create_index(
        "uq_dotqmail_files_domain",
        "dotqmail_files",
        ["domain_id", "name"],
        unique=True,
        sqlite_where=sa.text("mailbox_id IS NULL"),
        postgresql_where=sa.text("mailbox_id IS NULL"),
    )
    op.create_table(
        "last_auths",
        sa.Column("mailbox_id", ID, nullable=False),
        sa.Column("service", sa.String(length=16), nullable=False),
        sa.Column("at", WHEN, nullable=False),
        sa.Column("remote_ip", EXACT, nullable=False),
        sa.ForeignKeyConstraint(
            ["mailbox_id"],
            ["mailboxes.id"],
            name=op.f("fk_last_auths_mailbox_id_mailboxes"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("mailbox_id", "service", name=op.f("pk_last_auths")),
    )
    op.create_table(
        "dotqmail_lines",
        sa.Column("file_id", ID, nullable=False),
        sa.Column("position", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("line", EXACT, nullable=False),
        sa.Column(
            "kind",
            sa.Enum(
                "blank",
                "comment",
                "program",
                "forward",
                "mbox",
                "maildir",
                name="kind",
                native_enum=False,
                create_constraint=True,
                length=16,
            ),
            nullable=False,
        ),
        sa.ForeignKeyConstraint(
            ["file_id"],
            ["dotqmail_files.id"],
            name=op.f("fk_dotqmail_lines_file_id_dotqmail_files"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("file_id", "position", name=op.f("pk_dotqmail_lines")),
    )
    op.execute(f"INSERT INTO schema_guard (id, oldest_code) VALUES (1, {OLDEST_CODE})")
    for statement in APPEND_ONLY[op.get_bind().dialect.name]:
        op.execute(statement)


def downgrade() -> None:
    """Drop every table."""
    for table in (
        "dotqmail_lines",
        "last_auths",
        "dotqmail_files",
        "mailboxes",
        "ip_mappings",
        "domain_names",
        "domain_limits",
        "dir_counters",
        "site_settings",
        "schema_guard",
        "revisions",
        "foreign_lines",
        "exports",
        "domains",
        "default_limits",
        "audit_log",
    ):
        op.drop_table(table)
    if op.get_bind().dialect.name == "postgresql":
        op.execute("DROP FUNCTION vpopsql_append_only()")


# The audit log only grows: whoever can write SQL still cannot rewrite history by accident.
APPEND_ONLY = {
    "sqlite": [
        f"""
        CREATE TRIGGER audit_log_no_{action.lower()} BEFORE {action} ON audit_log
        BEGIN SELECT RAISE(ABORT, 'audit_log is append-only'); END
        """
        for action in ("UPDATE", "DELETE")
    ],
    "postgresql": [
        """
        CREATE FUNCTION vpopsql_append_only() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN RAISE EXCEPTION '% is append-only', TG_TABLE_NAME; END $$
        """,
        """
        CREATE TRIGGER audit_log_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON audit_log
        FOR EACH STATEMENT EXECUTE FUNCTION vpopsql_append_only()
        """,
    ],
}
