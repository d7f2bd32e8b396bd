"""The kinds of findings of an import: how bad each is, and what to do about it."""

import enum


class Severity(enum.IntEnum):
    """How bad a finding is."""

    NOTE = 0
    """Good to know; nothing to do."""
    WARNING = 1
    """Imported, but not quite as it stands there, or with something left out."""
    REJECT = 2
    """Not importable; nothing of the site is imported while there is one."""


class Code(enum.Enum):
    """The kinds of findings: ``value`` is (code, severity, what to do)."""

    NO_LASTAUTH = (
        "no-lastauth",
        Severity.NOTE,
        "nothing: the account counts as one that never logged in",
    )
    RESPELLED = ("respelled", Severity.NOTE, "nothing: the export writes it in its usual spelling")
    NO_TABLE = (
        "no-table",
        Severity.NOTE,
        "nothing, if the site never used it; else let the user of the URL read it",
    )

    MAPPED_FLAGS = (
        "mapped-flags",
        Severity.NOTE,
        "nothing: they are imported, and written by the export, as vpopmail's",
    )

    DUPLICATE = ("duplicate", Severity.WARNING, "nothing: an earlier line says it and wins")
    TRAILING_TEXT = (
        "trailing-text",
        Severity.WARNING,
        "nothing: qmail does not read it; the export leaves it out",
    )
    NOT_IN_RCPTHOSTS = (
        "not-in-rcpthosts",
        Severity.WARNING,
        "check that mail for it is wanted: the export adds the line",
    )
    NOT_VIRTUAL = (
        "not-in-virtualdomains",
        Severity.WARNING,
        "check that mail for it is wanted: the export adds the line",
    )
    OTHER_PREPEND = (
        "other-prepend",
        Severity.WARNING,
        "decide which of the two is meant: the export adds NAME:NAME beside it",
    )
    OTHER_HOME = (
        "other-home",
        Severity.WARNING,
        "set paths.vpopmail to it: the daemon and the export look for files there",
    )
    IN_LOCALS = (
        "in-locals",
        Severity.WARNING,
        "check that the domain is not served locally: the export removes the line",
    )
    OPEN_RELAY = (
        "no-rcpthosts",
        Severity.WARNING,
        "without the file qmail relays for everybody: the export makes one",
    )
    NOT_PLAIN = (
        "not-plain-path",
        Severity.WARNING,
        "nothing: imported, and written by the export, without the slashes that say nothing",
    )
    OUTSIDE = (
        "home-outside",
        Severity.WARNING,
        "check that the account's directory is meant: programs of this account work there",
    )
    SHARED_HOME = (
        "shared-home",
        Severity.WARNING,
        "check that both accounts are meant to have one directory, mail and forwards",
    )
    CARRIAGE_RETURNS = (
        "carriage-returns",
        Severity.WARNING,
        "nothing: imported, and written by the export, without them",
    )
    UNKNOWN_FLAGS = (
        "unknown-flags",
        Severity.WARNING,
        "nothing: bits that vpopmail gives no meaning are kept",
    )
    HASH_PREFIX = (
        "hash-prefix",
        Severity.NOTE,
        "nothing: the prefix is kept, and ignored when a password is checked",
    )
    UNKNOWN_HASH = (
        "unknown-hash",
        Severity.WARNING,
        "set new passwords: the hashes are kept, but no login can succeed with them",
    )
    ODD_DEFAULT_DOMAIN = (
        "odd-defaultdomain",
        Severity.WARNING,
        "correct the file if logins without a domain are wanted: it is not imported",
    )
    CDB_ONLY = (
        "cdb-only",
        Severity.WARNING,
        "compare with the last good copy: the cdb may be older than the lost text",
    )
    CDB_MISSING = (
        "cdb-missing",
        Severity.WARNING,
        "nothing: the export makes it; until then nothing that reads only the cdb finds an entry",
    )
    CDB_DAMAGED = (
        "cdb-damaged",
        Severity.WARNING,
        "nothing: the text is read, and the export makes the cdb anew from it",
    )
    CDB_DIFFERS = (
        "cdb-differs",
        Severity.WARNING,
        "decide which of the two is right: the text is imported, as the cdb is made from it",
    )
    IN_CDB_ONLY = (
        "in-cdb-only",
        Severity.WARNING,
        "check whether it was removed, or lost from the text: it is not imported",
    )
    NOT_IN_CDB = (
        "not-in-cdb",
        Severity.WARNING,
        "check whether it is wanted: it is imported, and had no effect without the cdb",
    )
    BLANK_LINE = (
        "blank-line",
        Severity.WARNING,
        "nothing: but vpopmail's own tools stop here and do not show the accounts behind it",
    )
    UPPER_CASE = (
        "upper-case",
        Severity.WARNING,
        "nothing: names are kept in lower case, as vpopmail looks them up",
    )
    CLEAR_TEXT = (
        "clear-text-left-out",
        Severity.WARNING,
        "set passwords.store_clear_text if clients log in with APOP or CRAM-MD5",
    )
    LINK = (
        "link",
        Severity.WARNING,
        "nothing: it is kept as a link; what it leads to is not read",
    )
    NO_FILE = ("no-file", Severity.WARNING, "nothing: it is left where it is, and not imported")
    NO_HOME = (
        "no-home",
        Severity.WARNING,
        "restore the directory if it had mail: the account is imported without it",
    )
    UNKNOWN_SETTING = (
        "unknown-setting",
        Severity.WARNING,
        "nothing: vpopmail ignores the line; it is kept in the file's text",
    )
    ODD_LASTAUTH = (
        "odd-lastauth",
        Severity.WARNING,
        "nothing: only the account's last login is in doubt",
    )
    NO_DOMAIN_USERS = (
        "users-without-domain",
        Severity.WARNING,
        "move the accounts of users/ into a domain: accounts without one are not imported",
    )
    COUNTER_KEPT = (
        "counter-kept",
        Severity.WARNING,
        "nothing: the count is not exact in vpopmail either; the database's stays",
    )
    SHARED_TABLE = (
        "shared-table",
        Severity.WARNING,
        "nothing: each account goes to the domain whose directory its own is in",
    )
    NO_ACCOUNT_TABLE = (
        "no-account-table",
        Severity.WARNING,
        "check that the domain has no accounts: it is imported without any",
    )
    FOREIGN_TABLE = (
        "foreign-table",
        Severity.WARNING,
        "check that the table is another program's: it lacks a column that vpopmail's has",
    )
    NO_SNAPSHOT = (
        "no-snapshot",
        Severity.WARNING,
        "let nothing write to the database meanwhile: tables of this kind have no snapshots",
    )
    BLANK_ALIAS = (
        "blank-alias",
        Severity.WARNING,
        "nothing: a row without a destination is left out",
    )
    ODD_LIMIT = (
        "odd-limit",
        Severity.WARNING,
        "check the domain's limits: the value is imported as vpopmail understands it",
    )
    UNRELIABLE_PERMISSIONS = (
        "unreliable-permissions",
        Severity.WARNING,
        "check what the domain's administrators may do: vpopmail confuses these columns",
    )
    LASTAUTH_WITHOUT_USER = (
        "lastauth-without-user",
        Severity.WARNING,
        "nothing: the account is gone, or its name is longer than the column",
    )
    ALIAS_DOMAIN_DIFFERS = (
        "alias-domain-differs",
        Severity.WARNING,
        "nothing: users/assign decides, as it does for mail",
    )
    ROW_WITHOUT_DOMAIN = (
        "row-without-domain",
        Severity.WARNING,
        "nothing: no domain of the site has this name, so vpopmail does not read the rows",
    )
    INDIMAIL_FLAGS = (
        "indimail-flags",
        Severity.WARNING,
        "set by hand what they stood for: in vpopmail the bits mean something else, if anything",
    )

    SHADOWED_ALIAS = (
        "shadowed-alias",
        Severity.WARNING,
        "nothing: the file is imported, the rows of the table never had an effect",
    )

    KEPT = (
        "kept-in-database",
        Severity.WARNING,
        "nothing if the database is right: it stays as it is there",
    )

    MALFORMED = ("malformed", Severity.REJECT, "repair or remove the line")
    BAD_NAME = ("bad-name", Severity.REJECT, "correct the name or remove the line")
    BAD_FILE_NAME = ("bad-file-name", Severity.REJECT, "rename or remove the file")
    BAD_PATH = ("bad-path", Severity.REJECT, "write the real, absolute path into the line")
    SAME_USER = ("same-user", Severity.REJECT, "remove or rename one of the two")
    SHARED_DIRECTORY = (
        "shared-directory",
        Severity.REJECT,
        "if it is an alias domain, name the real domain in the line's second field",
    )
    NO_REAL_DOMAIN = (
        "no-real-domain",
        Severity.REJECT,
        "remove the line, or add one for the real domain",
    )
    ALIAS_DIFFERS = (
        "alias-differs",
        Severity.REJECT,
        "give the line the uid, gid and directory of the real domain",
    )
    UNKNOWN_DOMAIN = ("unknown-domain", Severity.REJECT, "remove the line or add the domain")
    UNREADABLE = (
        "unreadable",
        Severity.REJECT,
        "make it readable for this user, or run the import as one who may read it",
    )
    LINKED = (
        "symbolic-link",
        Severity.REJECT,
        "put the real one in its place, or import a copy made with `cp -RL`: no link is followed",
    )
    MISSING = ("missing", Severity.REJECT, "restore it, or remove the line that names it")
    UNWRITABLE = (
        "unwritable",
        Severity.REJECT,
        "correct it in the source: the export could not write it into a file",
    )
    TAKEN = ("taken", Severity.REJECT, "remove one of the two: the database has it for another")
    DIFFERS = (
        "differs",
        Severity.REJECT,
        "bring the database to what the source says with --update, or accept that it differs",
    )
    AMBIGUOUS_ROW = (
        "ambiguous-row",
        Severity.REJECT,
        "correct pw_dir: the table is that of two domains, and it is in neither's directory",
    )
    DAMAGED_DUMP = (
        "damaged-dump",
        Severity.REJECT,
        "make the dump again: what stands behind this place is missing",
    )

    @property
    def severity(self) -> Severity:
        """How bad it is."""
        return self.value[1]

    @property
    def advice(self) -> str:
        """What to do about it."""
        return self.value[2]

    def __str__(self) -> str:
        return self.value[0]
