"""The kinds of findings of an import: how bad each is, what it means, what to do about it."""

from vpopsql.importer.severity import Kind, Severity

__all__ = ["Code", "Severity"]


class Code(Kind):
    """All kinds of findings, see `Kind` for what each says of itself."""

    NO_LASTAUTH = (
        "no-lastauth",
        Severity.NOTE,
        "the home of an account has no file `lastauth`: it never logged in, or the file is lost",
        "nothing: the account counts as one that never logged in",
    )
    RESPELLED = (
        "respelled",
        Severity.NOTE,
        "a line says what vpopmail's own line would say, in another spelling",
        "nothing: the export writes it in its usual spelling",
    )
    EXACT_LINES = (
        "exact-lines",
        Severity.NOTE,
        "lines let qmail deliver straight into mailboxes, as vpopsql writes them",
        "nothing: they are made of the mailboxes; set `export.delivery` to `exact` to have them",
    )
    NO_TABLE = (
        "no-table",
        Severity.NOTE,
        "the database has no table of this name, or hides it from this user",
        "nothing, if the site never used it; else let the user of the URL read it",
    )
    UNREAD_FILE = (
        "unread-file",
        Severity.NOTE,
        "a site with its accounts in a database still has a file of the cdb build",
        "nothing: vpopmail does not read it, nor does the import; the export writes it anew",
    )
    MAPPED_FLAGS = (
        "mapped-flags",
        Severity.NOTE,
        "accounts have flags of indimail's that vpopmail knows by other bits",
        "nothing: they are imported, and written by the export, as vpopmail's",
    )
    UNSORTED = (
        "unsorted",
        Severity.NOTE,
        "the lines of `vpasswd` are not in the order of their names",
        "nothing: the export writes them in that order, as vpopmail does",
    )
    MISCOUNTED = (
        "miscounted",
        Severity.NOTE,
        "`.dir-control` does not count as many accounts as there are",
        "nothing: the count is not exact in vpopmail either; it is imported as it is",
    )
    SAYS_NOTHING = (
        "says-nothing",
        Severity.NOTE,
        "a line is blank or a comment, in a file that vpopmail writes without such lines",
        "nothing: it has no effect; the export leaves it out",
    )

    HOMES_NOT_READ = (
        "homes-not-read",
        Severity.NOTE,
        "no directory of an account was opened: no .qmail and lastauth in them is imported",
        "import again without --no-homes, if accounts forward mail or last logins are wanted",
    )
    DUPLICATE = (
        "duplicate",
        Severity.WARNING,
        "a line or row says again, or says otherwise, what an earlier one has said",
        "nothing: an earlier line says it and wins",
    )
    TRAILING_TEXT = (
        "trailing-text",
        Severity.WARNING,
        "a file of which only the first line counts has more lines",
        "nothing: qmail does not read it; the export leaves it out",
    )
    NOT_IN_RCPTHOSTS = (
        "not-in-rcpthosts",
        Severity.WARNING,
        "a domain is in neither `rcpthosts` nor `morercpthosts`: qmail takes no mail for it",
        "check that mail for it is wanted: the export adds the line",
    )
    NOT_VIRTUAL = (
        "not-in-virtualdomains",
        Severity.WARNING,
        "a domain has no line in `virtualdomains`: qmail does not bring its mail to vpopmail",
        "check that mail for it is wanted: the export adds the line",
    )
    OTHER_PREPEND = (
        "other-prepend",
        Severity.WARNING,
        "`virtualdomains` gives a domain of the site to another user; the line is kept as foreign",
        "decide which of the two is meant: the export adds NAME:NAME beside it",
    )
    OTHER_HOME = (
        "other-home",
        Severity.WARNING,
        "the site's directories are not below the vpopmail home that is configured",
        "set paths.vpopmail to it: the daemon and the export look for files there",
    )
    IN_LOCALS = (
        "in-locals",
        Severity.WARNING,
        "`locals` names a domain of the site, so its mail goes to local users instead",
        "check that the domain is not served locally: the export removes the line",
    )
    OPEN_RELAY = (
        "no-rcpthosts",
        Severity.WARNING,
        "there is no `control/rcpthosts`",
        "without the file qmail relays for everybody: the export makes one",
    )
    NOT_PLAIN = (
        "not-plain-path",
        Severity.WARNING,
        "a path has slashes that say nothing, such as `//` or one at its end",
        "nothing: imported, and written by the export, without the slashes that say nothing",
    )
    OUTSIDE = (
        "home-outside",
        Severity.WARNING,
        "an account's directory is not below the directory of its domain",
        "check that the account's directory is meant: programs of this account work there",
    )
    SHARED_HOME = (
        "shared-home",
        Severity.WARNING,
        "two accounts have the same directory",
        "check that both accounts are meant to have one directory, mail and forwards",
    )
    CARRIAGE_RETURNS = (
        "carriage-returns",
        Severity.WARNING,
        "lines end in a carriage return, as editors of other systems write them",
        "nothing: imported, and written by the export, without them",
    )
    UNKNOWN_FLAGS = (
        "unknown-flags",
        Severity.WARNING,
        "an account's gid, a set of flags, has bits that vpopmail does not define",
        "nothing: bits that vpopmail gives no meaning are kept",
    )
    HASH_PREFIX = (
        "hash-prefix",
        Severity.NOTE,
        "password hashes have a prefix such as `{CRYPT}`",
        "nothing: the prefix is kept, and ignored when a password is checked",
    )
    UNKNOWN_HASH = (
        "unknown-hash",
        Severity.WARNING,
        "password hashes are of a kind that nothing here can check",
        "set new passwords: the hashes are kept, but no login can succeed with them",
    )
    ODD_DEFAULT_DOMAIN = (
        "odd-defaultdomain",
        Severity.WARNING,
        "`etc/defaultdomain` does not begin with the name of a domain",
        "correct the file if logins without a domain are wanted: it is not imported",
    )
    CDB_ONLY = (
        "cdb-only",
        Severity.WARNING,
        "`vpasswd` is missing and `vpasswd.cdb` is not: the accounts are read from that",
        "compare with the last good copy: the cdb may be older than the lost text",
    )
    CDB_MISSING = (
        "cdb-missing",
        Severity.WARNING,
        "a text has no cdb beside it, though programs read the cdb only",
        "nothing: the export makes it; until then nothing that reads only the cdb finds an entry",
    )
    CDB_DAMAGED = (
        "cdb-damaged",
        Severity.WARNING,
        "a cdb is empty or broken",
        "nothing: the text is read, and the export makes the cdb anew from it",
    )
    CDB_DIFFERS = (
        "cdb-differs",
        Severity.WARNING,
        "an entry of a cdb says something else than the text that it is made from",
        "decide which of the two is right: the text is imported, as the cdb is made from it",
    )
    IN_CDB_ONLY = (
        "in-cdb-only",
        Severity.WARNING,
        "an entry of a cdb has no line in the text that it is made from",
        "check whether it was removed, or lost from the text: it is not imported",
    )
    NOT_IN_CDB = (
        "not-in-cdb",
        Severity.WARNING,
        "a line of a text has no entry in the cdb that is made from it",
        "check whether it is wanted: it is imported, and had no effect without the cdb",
    )
    UNASSIGNED = (
        "unassigned-domain",
        Severity.REJECT,
        "`users/cdb` has a domain whose directory is there, and `users/assign` has not",
        "add its line to users/assign, or remove its directory if it was deleted",
        "the domain is left out: qmail stops delivering to it with the first export",
    )
    ORPHAN_DOMAIN = (
        "orphan-domain",
        Severity.WARNING,
        "a directory is that of a domain, and `users/assign` names no such domain",
        "add its line to users/assign if it is one: without that its accounts stay behind",
    )
    VIRTUAL_ONLY = (
        "virtual-only",
        Severity.WARNING,
        "a host is virtual as vpopmail makes it, and `users/assign` has no line for it",
        "add it to users/assign, or remove the line, unless qmail's alias user serves it",
    )
    RELAYED = (
        "relayed",
        Severity.NOTE,
        "mail is accepted for a host that is neither virtual nor local here",
        "nothing, if this host is a secondary mail server for it: the line is kept",
    )
    ALIAS_TO_NOBODY = (
        "alias-to-nobody",
        Severity.WARNING,
        "a line forwards mail to an address of this site that nobody has",
        "correct or remove the line: it is imported, and its mail bounces or is deleted as before",
    )
    NO_FINAL_NEWLINE = (
        "no-final-newline",
        Severity.WARNING,
        "the last line of `vpasswd` is an account, but has no newline: its end may be missing",
        "compare quota and password with a backup: the line is imported as it stands there",
    )
    LONG_LINE = (
        "long-line",
        Severity.WARNING,
        "a line of `vpasswd` has more than 299 bytes, newline included",
        "nothing: but vpopmail's own tools stop here and do not show the accounts behind it",
    )
    BLANK_LINE = (
        "blank-line",
        Severity.WARNING,
        "a line of `vpasswd` is blank",
        "nothing: but vpopmail's own tools stop here and do not show the accounts behind it",
    )
    UPPER_CASE = (
        "upper-case",
        Severity.WARNING,
        "the name of an account has capital letters",
        "nothing: names are kept in lower case, as vpopmail looks them up",
    )
    CLEAR_TEXT = (
        "clear-text-left-out",
        Severity.WARNING,
        "accounts have readable passwords, and `passwords.store_clear_text` is off",
        "set passwords.store_clear_text if clients log in with APOP or CRAM-MD5",
    )
    LINK = (
        "link",
        Severity.WARNING,
        "a dot-qmail file is a symbolic link",
        "nothing: it is kept as a link; what it leads to is not read",
    )
    NO_FILE = (
        "no-file",
        Severity.WARNING,
        "something is called like a dot-qmail file, but qmail would not read it",
        "nothing: it is left where it is, and not imported",
    )
    NO_HOME = (
        "no-home",
        Severity.WARNING,
        "the directory of an account is missing",
        "restore the directory if it had mail: the account is imported without it",
    )
    UNSAFE_HOME = (
        "unsafe-home",
        Severity.WARNING,
        "the directory of a domain or account is sticky, or writable for everybody",
        "take the bits away (chmod o-w,-t): qmail defers mail for such a directory",
    )
    ORPHAN_HOME = (
        "orphan-home",
        Severity.WARNING,
        "a directory has a Maildir or lastauth, but belongs to no account that is imported",
        "look for mail in it: it stays where it is, and nothing delivers to it",
    )
    ORPHAN_LIST = (
        "orphan-list",
        Severity.WARNING,
        "a dot-qmail file is part of a mailing list whose directory or own file is missing",
        "remove what is left of the list, or restore it: the file is imported as it is",
    )
    ORPHAN_ROBOT = (
        "orphan-robot",
        Severity.WARNING,
        "a dot-qmail file runs an autoresponder whose message or directory is missing",
        "restore or remove it: the file is imported as it is, and mail for it fails",
    )
    NO_MAILDIR = (
        "no-maildir",
        Severity.WARNING,
        "a dot-qmail file delivers into a Maildir that is not there",
        "make or remove it: the file is imported as it is, and mail for it waits",
    )
    ODD_QUOTA = (
        "odd-quota",
        Severity.WARNING,
        "vpopmail takes the quota of an account for something else than it looks like",
        "set the quota anew if it is not meant like that: the text is kept as it is",
    )
    UNKNOWN_SETTING = (
        "unknown-setting",
        Severity.WARNING,
        "a line of a limits file sets something that vpopmail does not know",
        "nothing: vpopmail ignores the line; it is kept in the file's text",
    )
    LIMIT_WITHOUT_VALUE = (
        "limit-without-value",
        Severity.WARNING,
        "a key of a limits file has no value behind it",
        "check the domain's limits: without a value vpopmail leaves the limit at its default",
    )
    PACKED_PERMISSIONS = (
        "packed-permissions",
        Severity.WARNING,
        "`perm_quota` in a limits file holds permissions for lists as well",
        "check what the domain's administrators may do: vpopmail itself does not find them there",
    )
    UNREAD_LIMITS = (
        "unread-limits",
        Severity.WARNING,
        "a limits file goes on where vpopmail stops: behind 2048 bytes, or a NUL",
        "shorten the file if the rest is meant to count: it has no effect, and is not imported",
    )
    DAMAGED_COUNTER = (
        "damaged-counter",
        Severity.WARNING,
        "`.dir-control` is not of its form",
        "nothing: it is imported as if it were missing, which only decides where new accounts go",
    )
    ODD_LASTAUTH = (
        "odd-lastauth",
        Severity.WARNING,
        "a last login has no IP address, or no possible time",
        "nothing: only the account's last login is in doubt",
    )
    NO_DOMAIN_USERS = (
        "users-without-domain",
        Severity.WARNING,
        "vpopmail's `users` directory has accounts that belong to no domain",
        "move the accounts of users/ into a domain: accounts without one are not imported",
    )
    COUNTER_KEPT = (
        "counter-kept",
        Severity.WARNING,
        "the count of the domains' directories in the source is not the database's",
        "nothing: the count is not exact in vpopmail either; the database's stays",
    )
    SHARED_TABLE = (
        "shared-table",
        Severity.WARNING,
        "the names of two domains give the same table name",
        "nothing: each account goes to the domain whose directory its own is in",
    )
    COLON = (
        "colon",
        Severity.WARNING,
        "the comment of an account in a database has a colon, which parts the fields of `vpasswd`",
        "check the comment: it is imported without its colons, as vpopmail writes it into a file",
    )
    TRAILING_BLANKS = (
        "trailing-blanks",
        Severity.WARNING,
        "the name of an account in a database has blanks behind it",
        "nothing: MySQL finds the account without them, and it is imported without them",
    )
    TWO_LAYOUTS = (
        "two-layouts",
        Severity.WARNING,
        "the database has a table `vpopmail` and also tables of accounts named after domains",
        "check which of them vpopmail uses, and say so with --layout: the others are not read",
    )
    UNMARKED_DUMP = (
        "unmarked-dump",
        Severity.WARNING,
        "a dump was made without the comments that tell where it ends",
        "check that it is whole, or make it again with comments: a missing end cannot be seen",
    )
    NO_ACCOUNT_TABLE = (
        "no-account-table",
        Severity.WARNING,
        "each domain has a table of its own, but for this one there is none",
        "check that the domain has no accounts: it is imported without any",
    )
    NO_ACCOUNTS = (
        "no-accounts",
        Severity.WARNING,
        "the database has no row for any account of a domain",
        "check that the database or dump is whole: every domain begins with a postmaster",
    )
    FOREIGN_TABLE = (
        "foreign-table",
        Severity.WARNING,
        "a table is called like one of vpopmail's, but has other columns; it is not read",
        "check that the table is another program's: it lacks a column that vpopmail's has",
    )
    NO_SNAPSHOT = (
        "no-snapshot",
        Severity.WARNING,
        "the source's tables cannot be read as of one moment",
        "let nothing write to the database meanwhile: tables of this kind have no snapshots",
    )
    BLANK_ALIAS = (
        "blank-alias",
        Severity.WARNING,
        "a row of `valias` has nothing that mail could go to",
        "nothing: a row without a destination is left out",
    )
    ODD_LIMIT = (
        "odd-limit",
        Severity.WARNING,
        "a limit, or a column of `dir_control`, is no number, or none that it can have",
        "check the domain's limits: the value is imported as vpopmail understands it",
    )
    UNRELIABLE_PERMISSIONS = (
        "unreliable-permissions",
        Severity.WARNING,
        "columns of `limits` are set that vpopmail writes in one order and reads in another",
        "check what the domain's administrators may do: vpopmail confuses these columns",
    )
    LASTAUTH_WITHOUT_USER = (
        "lastauth-without-user",
        Severity.WARNING,
        "`lastauth` has rows of accounts that the domain does not have",
        "nothing: the account is gone, or its name is longer than the column",
    )
    ALIAS_DOMAIN_DIFFERS = (
        "alias-domain-differs",
        Severity.WARNING,
        "`aliasdomains` and `users/assign` say different things of a name",
        "nothing: users/assign decides, as it does for mail",
    )
    ROW_WITHOUT_DOMAIN = (
        "row-without-domain",
        Severity.WARNING,
        "rows of a table belong to a domain that `users/assign` does not have",
        "nothing: no domain of the site has this name, so vpopmail does not read the rows",
    )
    INDIMAIL_FLAGS = (
        "indimail-flags",
        Severity.WARNING,
        "an account has flags of indimail's that vpopmail has no counterpart for",
        "set by hand what they stood for: in vpopmail the bits mean something else, if anything",
    )
    SHADOWED_ALIAS = (
        "shadowed-alias",
        Severity.WARNING,
        "`valias` has an alias that a dot-qmail file of the domain serves already",
        "nothing: the file is imported, the rows of the table never had an effect",
    )
    KEPT = (
        "kept-in-database",
        Severity.WARNING,
        "the database differs and was changed since the import, or the source is incomplete",
        "nothing if the database is right: it stays as it is there",
    )
    FROM_ELSEWHERE = (
        "from-elsewhere",
        Severity.WARNING,
        "the database has domains from another source; what is gone from this one may be theirs",
        "nothing, if two sites become one; else import from where the site was imported before",
    )
    MALFORMED = (
        "malformed",
        Severity.REJECT,
        "a line or row is not of the form that its file or table has",
        "repair or remove the line",
        "the line or row is left out, and the account or domain with it if it is one's",
    )
    CUT_OFF = (
        "cut-off",
        Severity.REJECT,
        "the last line of `vpasswd` is no account and has no newline: the file is cut off",
        "restore the file from a backup, or the account from vpasswd.cdb, see --prefer",
        "the line is left out, and the account with it",
    )
    BAD_NAME = (
        "bad-name",
        Severity.REJECT,
        "a domain, account or alias has a name that none can have",
        "correct the name or remove the line",
        "the line or row is left out, and the account or domain with it",
    )
    BAD_FILE_NAME = (
        "bad-file-name",
        Severity.REJECT,
        "the name of a dot-qmail file has control characters, which no list of files can show",
        "rename or remove the file",
        "the file stays where it is and is not imported",
    )
    BAD_PATH = (
        "bad-path",
        Severity.REJECT,
        "a directory is not absolute, has `.` or `..` in it, or holds whole domains",
        "write the real, absolute path into the line",
        "the line or row is left out, and the account or domain with it",
    )
    SAME_USER = (
        "same-user",
        Severity.REJECT,
        "two accounts of a domain have the same name, apart from capital letters",
        "remove or rename one of the two",
        "the first of them is imported, the others are left out",
    )
    SHARED_DIRECTORY = (
        "shared-directory",
        Severity.REJECT,
        "two real domains have the same directory",
        "if it is an alias domain, name the real domain in the line's second field",
        "the first of them is imported, the others are left out",
    )
    NO_REAL_DOMAIN = (
        "no-real-domain",
        Severity.REJECT,
        "an alias domain names a real domain that has no line of its own",
        "remove the line, or add one for the real domain",
        "the alias domain is left out",
    )
    ALIAS_DIFFERS = (
        "alias-differs",
        Severity.REJECT,
        "an alias domain has not the uid, gid and directory of its real domain",
        "give the line the uid, gid and directory of the real domain",
        "the alias domain is left out",
    )
    UNKNOWN_DOMAIN = (
        "unknown-domain",
        Severity.REJECT,
        "an IP address or accounts belong to a domain that `users/assign` does not have",
        "remove the line or add the domain",
        "the line or the rows are left out",
    )
    UNREADABLE = (
        "unreadable",
        Severity.REJECT,
        "a file or directory may not be read, or cannot be",
        "make it readable for this user, or run the import as one who may read it",
        "what is in it is left out: with a domain's directory or vpasswd, the domain",
    )
    LINKED = (
        "symbolic-link",
        Severity.REJECT,
        "a file or directory is a symbolic link",
        "put the real one in its place, or import a copy made with `cp -RL`: no link is followed",
        "what it leads to is left out: with a domain's directory or vpasswd, the domain",
    )
    LINKED_DOMAIN = (
        "linked-domain",
        Severity.REJECT,
        "the directory of a domain is a symbolic link, as some made alias domains by hand",
        "name an alias domain in users/assign; else put the directory in place of the link",
        "the domain is left out",
    )
    MISSING = (
        "missing",
        Severity.REJECT,
        "a file or directory that should be there is not",
        "restore it, or remove the line that names it",
        "what would be in it is left out: with a domain's directory or vpasswd, the domain",
    )
    UNWRITABLE = (
        "unwritable",
        Severity.REJECT,
        "something of a domain cannot be written into the file where it belongs",
        "correct it in the source: the export could not write it into a file",
        "the whole domain is left out",
    )
    TAKEN = (
        "taken",
        Severity.REJECT,
        "a domain is new, but the database has its name or directory for another domain",
        "remove one of the two: the database has it for another",
        "the domain of the source is left out",
    )
    DIFFERS = (
        "differs",
        Severity.REJECT,
        "the database has another value than the source, and `--update` was not given",
        "bring the database to what the source says with --update, or accept that it differs",
        "the database stays as it is there",
    )
    AMBIGUOUS_ROW = (
        "ambiguous-row",
        Severity.REJECT,
        "a row of a table that two domains share tells by nothing to which it belongs",
        "correct pw_dir: the table is that of two domains, and it is in neither's directory",
        "the account is left out",
    )
    DAMAGED_DUMP = (
        "damaged-dump",
        Severity.REJECT,
        "a dump is cut off or broken: it cannot be read from here on",
        "make the dump again: what stands behind this place is missing",
        "what stands behind this place is left out",
    )
