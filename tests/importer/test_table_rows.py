"""What becomes of single rows: imported, merged or rejected, each counted once and named.

The rows come from small dumps; that dumps and databases are read alike is tested elsewhere.
"""

from pathlib import Path

import pytest

from tests.importer import support
from vpopsql.importer import site
from vpopsql.importer.evidence import Evidence, Finding
from vpopsql.importer.origin import Dialect, Store
from vpopsql.model import Flag, LineKind

HASH = "$1$Sa1tSa1t$jIAWQh25ZR2Tn11uDIhCr0"
HOME = "/home/vpopmail/domains"
TABLES = """
CREATE TABLE vpopmail (pw_name varchar(64), pw_domain varchar(96), pw_passwd varchar(128),
  pw_uid int, pw_gid int, pw_gecos varchar(64), pw_dir varchar(160), pw_shell varchar(20),
  pw_clear_passwd varchar(128));
CREATE TABLE valias (id int, alias varchar(32), domain varchar(96), valias_line text);
CREATE TABLE limits (perm_maillist int, domain varchar(96), maxaliases int, diskquota bigint,
  disable_pop int, perm_account int);
CREATE TABLE lastauth (user varchar(32), domain varchar(96), remote_ip varchar(39), timestamp int);
CREATE TABLE ip_alias_map (ip_addr varchar(39), domain varchar(96));
CREATE TABLE dir_control (domain varchar(96), cur_users int, level_cur int, level_max int,
  the_dir varchar(160));
CREATE TABLE aliasdomains (alias varchar(100), domain varchar(100));
SET @OLD_SQL_NOTES=@@SQL_NOTES;
"""
END = "SET SQL_NOTES=@OLD_SQL_NOTES;\n"
POSTMASTER = (
    f"INSERT INTO vpopmail VALUES ('postmaster','other.org','{HASH}',1,0,'P',"
    f"'{HOME}/other.org/postmaster','NOQUOTA','');\n"
)
JOE = (
    f"INSERT INTO vpopmail VALUES ('joe','example.com','{HASH}',1,0,'Joe',"
    f"'{HOME}/example.com/joe','NOQUOTA','');\n"
)


def account(
    name: str = "'ann'",
    domain: str = "'example.com'",
    password: str = f"'{HASH}'",
    uid: str = "1",
    gid: str = "0",
    gecos: str = "'Ann'",
    directory: str = f"'{HOME}/example.com/ann'",
    quota: str = "'NOQUOTA'",
) -> str:
    """Return the statement that adds an account, of literals."""
    return (
        f"INSERT INTO vpopmail VALUES ({name},{domain},{password},{uid},{gid},{gecos},"
        f"{directory},{quota},NULL);\n"
    )


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A site with two domains, an alias of one of them, and a tree without accounts."""
    domains = ("example.com", "other.org")
    names = {"alias.com": "example.com", **{name: name for name in domains}}
    qmail = tmp_path / "var/qmail"
    for directory in (qmail / "control", qmail / "users", tmp_path / "home/vpopmail/domains"):
        directory.mkdir(parents=True)
    for name in domains:
        (tmp_path / f"home/vpopmail/domains/{name}").mkdir()
    assign = [f"+{name}-:{real}:89:89:{HOME}/{real}:-::\n" for name, real in names.items()]
    (qmail / "users/assign").write_text("".join([*assign, ".\n"]))
    (qmail / "control/rcpthosts").write_text("".join(f"{name}\n" for name in names))
    (qmail / "control/virtualdomains").write_text("".join(f"{name}:{name}\n" for name in names))
    (qmail / "control/locals").write_text("")
    support.compile_cdbs(tmp_path)
    return tmp_path


def read(
    root: Path, *statements: str, dialect: Dialect = Dialect.VPOPMAIL
) -> tuple[site.Site, Evidence]:
    """Read the site with two accounts and what the statements add; nothing may be lost."""
    dump = root / "dump.sql"
    dump.write_bytes(
        (TABLES + POSTMASTER + JOE + "".join(statements) + END).encode(errors="surrogateescape")
    )
    found, evidence = support.read_tables(
        Store.MYSQL, str(dump), root, read_homes=False, dialect=dialect
    )
    assert [tally for tally in evidence.tallies if not tally.adds_up] == []
    return found, evidence


def found(evidence: Evidence) -> list[tuple[str, str, str]]:
    """Return code, key and text of what was found, but for notes."""
    return sorted(
        (str(each.code), each.key, each.text)
        for each in evidence.findings
        if each.code.severity > 0
    )


def counts(evidence: Evidence, table: str) -> tuple[int, int, int, int]:
    """Return how many rows were read, imported, merged and rejected."""
    _, lines, imported, merged, _, rejected = support.totals(evidence)[table]
    return lines, imported, merged, rejected


def of(code: str, evidence: Evidence) -> Finding:
    """Return the one finding of a code."""
    (finding,) = (each for each in evidence.findings if str(each.code) == code)
    return finding


def domain(found: site.Site, name: str = "example.com") -> site.Domain:
    """Return a domain that was read."""
    (each,) = (each for each in found.domains if each.name.name == name)
    return each


def names(found: site.Site) -> list[str]:
    """Return the accounts of the first domain."""
    return [box.name for box in domain(found).mailboxes]


# --- accounts ---------------------------------------------------------------------------------


def test_a_row_has_its_table_its_line_and_its_key(root: Path) -> None:
    _, evidence = read(root, account(uid="NULL"))

    finding = of("malformed", evidence)
    assert finding.place == f"{root}/dump.sql:16[ann@example.com]"
    assert finding.reason == "NULL in pw_uid"


@pytest.mark.parametrize(
    "values, expected",
    [
        ({"name": "NULL"}, ("malformed", "@example.com", ":…")),
        ({"name": "'  '"}, ("malformed", "@example.com", ":…")),
        ({"password": "NULL"}, ("malformed", "ann@example.com", "ann:…")),
        ({"uid": "'x'"}, ("malformed", "ann@example.com", "ann:…")),
        ({"uid": "99999999999"}, ("malformed", "ann@example.com", "ann:…")),
        ({"gid": "-1"}, ("malformed", "ann@example.com", "ann:…")),
        ({"gecos": r"'a\nb'"}, ("malformed", "ann@example.com", "ann:…")),
        ({"quota": "'1:2'"}, ("malformed", "ann@example.com", "ann:…")),
        ({"directory": "NULL"}, ("malformed", "ann@example.com", "ann:…")),
        ({"directory": "'domains/ann'"}, ("bad-path", "ann@example.com", "domains/ann")),
        ({"name": "'a b'"}, ("bad-name", "a b@example.com", "a b:…")),
        ({"name": "'JOE'"}, ("same-user", "joe@example.com", "JOE")),
        ({"name": "'joe '"}, ("same-user", "joe@example.com", "joe")),
    ],
)
def test_a_row_that_is_no_account_is_rejected_with_its_key(
    root: Path, values: dict[str, str], expected: tuple[str, str, str]
) -> None:
    site_, evidence = read(root, account(**values))

    assert expected in found(evidence)
    assert counts(evidence, "vpopmail") == (3, 2, 0, 1)
    assert names(site_) == ["joe"]


def test_a_hash_in_the_place_of_a_name_is_shown_nowhere(root: Path) -> None:
    _, evidence = read(root, account(name=f"'{HASH}'", password="'ann'", uid="'x'"))

    shown = "".join(map(str, evidence.findings))
    assert of("malformed", evidence).key == "…@example.com"
    assert HASH not in shown
    assert HASH[-22:] not in shown


@pytest.mark.parametrize(
    "values, code, attribute, value",
    [
        ({"name": "'Ann'"}, "upper-case", "name", "ann"),
        ({"name": "'ann  '"}, "trailing-blanks", "name", "ann"),
        ({"gecos": "'Firma: Ann'"}, "colon", "comment", "Firma Ann"),
        ({"directory": f"'{HOME}//example.com/ann/'"}, "not-plain-path", "name", "ann"),
        ({"directory": "'/srv/ann'"}, "home-outside", "directory", "/srv/ann"),
        ({"gid": "524288"}, "unknown-flags", "flags", 524288),
        ({"password": "'nohash'"}, "unknown-hash", "password_hash", "nohash"),
    ],
)
def test_an_account_with_something_odd_is_imported_and_named(
    root: Path, values: dict[str, str], code: str, attribute: str, value: object
) -> None:
    site_, evidence = read(root, account(**values))

    assert support.codes(evidence) == [code]
    assert getattr(domain(site_).mailboxes[0], attribute) == value
    assert counts(evidence, "vpopmail") == (3, 3, 0, 0)


def test_null_in_a_comment_or_quota_is_an_empty_one(root: Path) -> None:
    site_, evidence = read(root, account(gecos="NULL", quota="NULL"))

    ann = domain(site_).mailboxes[0]
    assert (ann.comment, ann.quota_text, ann.clear_text) == ("", "", None)
    assert support.codes(evidence) == []


def test_accounts_of_domains_that_the_site_does_not_have_are_rejected_together(
    root: Path,
) -> None:
    _, evidence = read(root, account(domain="'gone.net'"), account("'bob'", "'gone.net'"))

    assert found(evidence) == [("unknown-domain", "gone.net", "")]
    assert of("unknown-domain", evidence).reason == (
        "2 accounts of gone.net, which users/assign does not have"
    )
    assert counts(evidence, "vpopmail") == (4, 2, 0, 2)


def test_accounts_under_the_name_of_an_alias_domain_are_rejected(root: Path) -> None:
    _, evidence = read(root, account(domain="'alias.com'"))

    assert of("unknown-domain", evidence).reason == (
        "1 accounts of alias.com, an alias of example.com:"
        " vpopmail reads those of example.com only"
    )


def test_the_name_of_a_domain_may_be_padded_and_in_capitals(root: Path) -> None:
    site_, evidence = read(root, account(domain="'Example.COM  '"))

    assert names(site_) == ["ann", "joe"]
    assert support.codes(evidence) == []


def test_indimails_flags_become_vpopmails(root: Path) -> None:
    site_, evidence = read(
        root, account(gid="384"), account("'bob'", gid="16384"), dialect=Dialect.INDIMAIL
    )

    ann, bob, _ = domain(site_).mailboxes
    assert (ann.flags, bob.flags) == (Flag.QA_ADMIN | Flag.NO_SMTP, 0)
    assert found(evidence)[0] == ("indimail-flags", "bob@example.com", "16384")


def test_a_domain_without_a_single_account_is_a_doubt(root: Path) -> None:
    dump = root / "dump.sql"
    dump.write_text(TABLES + JOE + END)

    _, evidence = support.read_tables(Store.MYSQL, str(dump), root, read_homes=False)

    assert found(evidence) == [("no-accounts", "other.org", "")]


# --- aliases ----------------------------------------------------------------------------------


def valias(*rows: tuple[int | str, str, str], domain: str = "example.com") -> str:
    values = ",".join(f"({id_},'{alias}','{domain}',{line})" for id_, alias, line in rows)
    return f"INSERT INTO valias VALUES {values};\n"


def lines(site_: site.Site, name: str) -> list[tuple[str, LineKind]]:
    """Return the lines of the file of an alias."""
    (file,) = (file for file in domain(site_).files if file.name == name)
    return [(line.text, line.kind) for line in file.lines]


@pytest.mark.parametrize(
    "literal, expected",
    [
        ("'&a@b.org'", [("&a@b.org", LineKind.FORWARD)]),
        ("'a@b.org'", [("a@b.org", LineKind.FORWARD)]),
        ("'_a@b.org'", [("&_a@b.org", LineKind.FORWARD)]),
        ("'\"a b\"@b.org'", [('&"a b"@b.org', LineKind.FORWARD)]),
        (r"'|/bin/x \'y\''", [("|/bin/x 'y'", LineKind.PROGRAM)]),
        ("'/a/Maildir/'", [("/a/Maildir/", LineKind.MAILDIR)]),
        ("'#'", [("#", LineKind.COMMENT)]),
        (r"'\na@b.org\n\n_c\n'", [("a@b.org", LineKind.FORWARD), ("&_c", LineKind.FORWARD)]),
    ],
)
def test_a_line_means_to_qmail_what_it_meant_to_vdelivermail(
    root: Path, literal: str, expected: list[tuple[str, LineKind]]
) -> None:
    site_, evidence = read(root, valias((1, "info", literal)))

    assert lines(site_, "info") == expected
    assert support.codes(evidence) == []
    assert counts(evidence, "valias") == (1, 1, 0, 0)


def test_lines_come_in_the_order_of_their_ids(root: Path) -> None:
    site_, _ = read(root, valias((3, "info", "'c'"), (1, "info", "'a'"), (2, "Info ", "'b'")))

    assert [text for text, _ in lines(site_, "info")] == ["a", "b", "c"]


def test_an_alias_of_the_name_of_a_mailbox_is_kept_beside_it(root: Path) -> None:
    site_, evidence = read(root, valias((1, "joe", "'a@b.org'")))

    assert names(site_) == ["joe"]
    assert lines(site_, "joe") == [("a@b.org", LineKind.FORWARD)]
    assert support.codes(evidence) == []


@pytest.mark.parametrize(
    "row, expected, total",
    [
        ((2, "info", "''"), ("blank-alias", "info@example.com", ""), (2, 1, 1, 0)),
        ((2, "info", "NULL"), ("blank-alias", "info@example.com", ""), (2, 1, 1, 0)),
        ((2, "info", "'a'"), ("duplicate", "info@example.com", "a"), (2, 1, 1, 0)),
        ((2, "info", r"'b\r'"), ("carriage-returns", "info@example.com", "b\\r"), (2, 2, 0, 0)),
        ((2, "info", r"'a\0b'"), ("malformed", "info@example.com", "a\\x00b"), (2, 1, 0, 1)),
        ((2, "in/fo", "'b'"), ("bad-name", "in/fo@example.com", "b"), (2, 1, 0, 1)),
        ((2, "default", "'b'"), ("bad-name", "default@example.com", "b"), (2, 1, 0, 1)),
        ((2, "", "'b'"), ("bad-name", "@example.com", "b"), (2, 1, 0, 1)),
    ],
)
def test_an_alias_that_is_not_taken_as_it_is_is_named(
    root: Path,
    row: tuple[int, str, str],
    expected: tuple[str, str, str],
    total: tuple[int, int, int, int],
) -> None:
    _, evidence = read(root, valias((1, "info", "'a'"), row))

    assert found(evidence) == [expected]
    assert counts(evidence, "valias") == total


@pytest.mark.parametrize(
    "file, reason",
    [
        (".qmail-info-desk", "there is a file .qmail-info-desk, which qmail reads instead"),
        (".qmail-info-default", "there is a file .qmail-info-default, which qmail reads instead"),
    ],
)
def test_of_an_alias_and_a_file_qmail_finds_the_file(root: Path, file: str, reason: str) -> None:
    (root / f"home/vpopmail/domains/example.com/{file}").write_text("&file@b.org\n")

    site_, evidence = read(root, valias((1, "info-desk", "'a'"), (2, "info-desk", "'b'")))

    assert [each.name for each in domain(site_).files] == [file.removeprefix(".qmail-")]
    assert of("shadowed-alias", evidence).reason == reason
    assert of("shadowed-alias", evidence).key == "info-desk@example.com"
    assert counts(evidence, "valias") == (2, 0, 2, 0)


def test_the_catch_all_file_hides_no_alias(root: Path) -> None:
    default = root / "home/vpopmail/domains/example.com/.qmail-default"
    default.write_text("| /home/vpopmail/bin/vdelivermail '' delete\n")

    site_, evidence = read(root, valias((1, "info-desk", "'a'")))

    assert lines(site_, "info-desk") == [("a", LineKind.FORWARD)]
    assert support.codes(evidence) == []


@pytest.mark.parametrize("name", ["gone.net", "alias.com"])
def test_aliases_that_vpopmail_does_not_read_are_counted_and_named(root: Path, name: str) -> None:
    _, evidence = read(root, valias((1, "info", "'a'"), (2, "info", "'b'"), domain=name))

    assert found(evidence) == [("row-without-domain", name, "")]
    assert counts(evidence, "valias") == (2, 0, 2, 0)


# --- limits -----------------------------------------------------------------------------------


def test_limits_are_read_by_the_names_of_their_columns(root: Path) -> None:
    site_, evidence = read(root, "INSERT INTO limits VALUES (0,'example.com',7,100,1,0);\n")

    limits = domain(site_).limits
    assert limits is not None
    assert limits.values["max_aliases"] == 7
    assert limits.values["disk_quota"] == 100
    assert limits.values["disable_pop"] is True
    assert limits.values["max_popaccounts"] == -1
    assert support.codes(evidence) == []
    assert counts(evidence, "limits") == (1, 1, 0, 0)


def test_packed_permissions_are_taken_apart_and_doubted(root: Path) -> None:
    site_, evidence = read(root, "INSERT INTO limits VALUES (209,'example.com',7,100,1,4);\n")

    limits = domain(site_).limits
    assert limits is not None
    assert [limits.values[f"perm_maillist{which}"] for which in ("", "_users", "_moderators")] == [
        1,
        2,
        3,
    ]
    assert of("unreliable-permissions", evidence).reason == (
        "not 0: perm_account, perm_maillist, perm_maillist_users, perm_maillist_moderators"
    )
    assert of("unreliable-permissions", evidence).key == "example.com"


@pytest.mark.parametrize(
    "row, text, reason",
    [
        ("NULL,'example.com','x',0,0,0", "maxaliases x", "out of range; imported as 0"),
        ("NULL,'example.com',-7,0,0,0", "maxaliases -7", "out of range; imported as -1"),
        (
            "NULL,'example.com',0,18446744073709551615,0,0",
            "diskquota 18446744073709551615",
            "out of range; imported as 9223372036854775807",
        ),
        ("NULL,'example.com',0,0,5,0", "disable_pop 5", "out of range; imported as 1"),
    ],
)
def test_a_limit_out_of_range_is_named(root: Path, row: str, text: str, reason: str) -> None:
    _, evidence = read(root, f"INSERT INTO limits VALUES ({row});\n")

    finding = of("odd-limit", evidence)
    assert (finding.text, finding.reason, finding.key) == (text, reason, "example.com")
    assert counts(evidence, "limits") == (1, 1, 0, 0)


def test_a_second_row_of_limits_is_a_duplicate(root: Path) -> None:
    row = "(0,'example.com',7,100,1,0)"

    _, evidence = read(root, f"INSERT INTO limits VALUES {row},{row};\n")

    assert found(evidence) == [("duplicate", "example.com", "")]
    assert counts(evidence, "limits") == (2, 1, 1, 0)


# --- last logins ------------------------------------------------------------------------------


def last_auth(user: str, ip: str = "'192.0.2.1'", time: str = "1500000000") -> str:
    return f"INSERT INTO lastauth VALUES ('{user}','example.com',{ip},{time});\n"


@pytest.mark.parametrize(
    "row, code, key, total",
    [
        (last_auth("gone"), "lastauth-without-user", "example.com", (1, 0, 1, 0)),
        (last_auth("joe", ip="'?'"), "odd-lastauth", "joe@example.com", (1, 1, 0, 0)),
        (last_auth("joe", ip="NULL"), "odd-lastauth", "joe@example.com", (1, 1, 0, 0)),
        (last_auth("joe", time="NULL"), "odd-lastauth", "joe@example.com", (1, 1, 0, 0)),
        (last_auth("joe", time="-1"), "odd-lastauth", "joe@example.com", (1, 1, 0, 0)),
        (last_auth("joe") * 2, "duplicate", "joe@example.com", (2, 1, 1, 0)),
        (
            "INSERT INTO lastauth VALUES ('joe','gone.net','192.0.2.1',1);\n",
            "row-without-domain",
            "gone.net",
            (1, 0, 1, 0),
        ),
    ],
)
def test_an_odd_last_login_is_named(
    root: Path, row: str, code: str, key: str, total: tuple[int, int, int, int]
) -> None:
    _, evidence = read(root, row)

    assert support.codes(evidence) == [code]
    assert of(code, evidence).key == key
    assert counts(evidence, "lastauth") == total


def test_the_last_login_of_a_rejected_account_is_not_counted_as_imported(root: Path) -> None:
    _, evidence = read(root, account(uid="NULL"), last_auth("ann"))

    assert counts(evidence, "lastauth") == (1, 0, 1, 0)


def test_a_name_that_was_cut_belongs_to_nobody(root: Path) -> None:
    name = "a" * 40

    site_, evidence = read(root, account(f"'{name}'"), last_auth(name[:32]))

    assert domain(site_).mailboxes[0].name == name
    assert support.codes(evidence) == ["lastauth-without-user"]


# --- the tree beside the tables ---------------------------------------------------------------


def test_files_from_before_the_tables_are_not_read(root: Path) -> None:
    directory = root / "home/vpopmail/domains/example.com"
    (directory / "vpasswd").write_text("an old line\n")
    (directory / ".qmailadmin-limits").write_text("an old line\n")
    (directory / ".dir-control").write_text("an old line\n")

    site_, evidence = read(root, "INSERT INTO dir_control VALUES ('example.com',12,1,3,'0');\n")

    assert names(site_) == ["joe"]
    assert domain(site_).limits is None
    assert support.codes(evidence) == []
    unread = [each.file for each in evidence.findings if str(each.code) == "unread-file"]
    assert sorted(unread) == [
        f"{directory}/.dir-control",
        f"{directory}/.qmailadmin-limits",
        f"{directory}/vpasswd",
    ]


# --- the rest ---------------------------------------------------------------------------------


def ip(address: str, domain: str = "example.com") -> str:
    return f"INSERT INTO ip_alias_map VALUES ('{address}','{domain}');\n"


def test_addresses_are_mapped_to_real_domains(root: Path) -> None:
    site_, evidence = read(root, ip("192.0.2.1"), ip("2001:DB8::0:1 ", "Alias.com"))

    assert site_.ip_mappings == {"192.0.2.1": "example.com", "2001:db8::1": "example.com"}
    assert support.codes(evidence) == []
    assert counts(evidence, "ip_alias_map") == (2, 2, 0, 0)


@pytest.mark.parametrize(
    "row, code, key, total",
    [
        (ip("192.0.2.1", "gone.net"), "unknown-domain", "192.0.2.1", (1, 0, 0, 1)),
        (ip("192.0.2.1", ""), "unknown-domain", "192.0.2.1", (1, 0, 0, 1)),
        (ip("192.0.2.1", "caf\udce9.net"), "unknown-domain", "192.0.2.1", (1, 0, 0, 1)),
        (ip("localhost"), "malformed", "localhost", (1, 0, 0, 1)),
        (ip("#"), "malformed", "#", (1, 0, 0, 1)),
        (ip(""), "malformed", "", (1, 0, 0, 1)),
        (ip(r"192.0.2.1\n192.0.2.2"), "malformed", r"192.0.2.1\n192.0.2.2", (1, 0, 0, 1)),
        (ip("::1") + ip("0::1", "other.org"), "duplicate", "0::1", (2, 1, 1, 0)),
    ],
)
def test_an_address_that_is_not_mapped_is_named(
    root: Path, row: str, code: str, key: str, total: tuple[int, int, int, int]
) -> None:
    _, evidence = read(root, row)

    assert [(each[0], each[1]) for each in found(evidence)] == [(code, key)]
    assert counts(evidence, "ip_alias_map") == total


def test_of_the_map_in_a_file_and_the_map_in_a_table_the_table_counts(root: Path) -> None:
    file = root / "home/vpopmail/etc/ip_alias_map"
    file.parent.mkdir()
    file.write_text("192.0.2.1 other.org\n192.0.2.2 other.org\n")

    site_, evidence = read(root, ip("192.0.2.1"))

    assert site_.ip_mappings == {"192.0.2.1": "example.com", "192.0.2.2": "other.org"}
    assert of("duplicate", evidence).file == str(file)
    assert of("duplicate", evidence).reason == (
        "the table maps 192.0.2.1 to example.com, which counts"
    )


@pytest.mark.parametrize(
    "alias, target, reason",
    [
        ("alias.com", "other.org", "an alias of other.org here, an alias of example.com in"),
        ("gone.net", "example.com", "an alias of example.com here, no alias domain in"),
        ("other.org", "example.com", "an alias of example.com here, a domain of its own in"),
    ],
)
def test_users_assign_decides_about_alias_domains(
    root: Path, alias: str, target: str, reason: str
) -> None:
    site_, evidence = read(root, f"INSERT INTO aliasdomains VALUES ('{alias}','{target}');\n")

    assert [each.name for each in domain(site_).aliases] == ["alias.com"]
    assert of("alias-domain-differs", evidence).reason == f"{reason} users/assign"
    assert counts(evidence, "aliasdomains") == (1, 0, 1, 0)


def test_an_alias_domain_that_assign_has_too_is_fine(root: Path) -> None:
    _, evidence = read(root, "INSERT INTO aliasdomains VALUES ('alias.com','example.com');\n")

    assert support.codes(evidence) == []


def test_counters_are_those_of_domains_and_of_the_site(root: Path) -> None:
    site_, evidence = read(
        root,
        "INSERT INTO dir_control VALUES ('example.com',12,1,3,'0'),('dom_89',2,0,3,''),"
        "('dom_500',9,0,3,''),('other.org','x',0,3,'');\n",
    )

    counter = domain(site_).counter
    assert counter is not None
    assert (counter.control.cur_users, counter.control.the_dir) == (12, "0")
    assert site_.counter is not None
    assert site_.counter.control.cur_users == 2
    assert found(evidence) == [
        ("odd-limit", "other.org", ""),
        ("row-without-domain", "dom_500", ""),
    ]
    assert counts(evidence, "dir_control") == (4, 3, 1, 0)
