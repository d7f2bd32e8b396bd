"""Dumps: the same site as the database that they were made of, and what is wrong with a dump."""

import gzip
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.importer import sqlsites, support
from tests.importer.conftest import MakeMysql, PgSources, SampleSite
from tests.importer.sqlschemas import (
    MYSQL,
    MYSQL_BY_DOMAIN,
    MYSQL_OLD,
    PGSQL,
    PGSQL_BY_DOMAIN,
    PGSQL_OLD,
    Schema,
)
from tests.mariadb import MariaDB
from vpopsql.errors import ImportFailed
from vpopsql.importer import site
from vpopsql.importer.evidence import Evidence, Tally
from vpopsql.importer.origin import Store
from vpopsql.importer.tables import sqltext
from vpopsql.importer.tables.source import Layout

# --- the same site ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "options",
    [
        [],
        ["--skip-extended-insert"],
        ["--complete-insert", "--hex-blob"],
        ["--single-transaction", "--quick", "--skip-comments"],
        ["--compatible=ansi", "--default-character-set=utf8mb4"],
        ["--skip-quote-names", "--compact"],
    ],
    ids=lambda options: " ".join(options) or "default",
)
@pytest.mark.parametrize("schema", [MYSQL, MYSQL_BY_DOMAIN], ids=["one table", "by domain"])
def test_a_dump_gives_the_site_that_the_tree_gives(
    mariadb_server: MariaDB,
    mysql_of: MakeMysql,
    utf8_site: SampleSite,
    tmp_path: Path,
    schema: Schema,
    options: list[str],
) -> None:
    sample, tree = utf8_site
    dump = tmp_path / "dump.sql"
    dump.write_bytes(mariadb_server.dump(mysql_of(schema, sample), *options))

    found, evidence = support.read_tables(Store.MYSQL, str(dump), sample.root)

    assert found == sqlsites.expected(tree)
    assert {"link", "unreliable-permissions"} <= set(support.codes(evidence))


@pytest.mark.parametrize(
    "options",
    [
        [],
        ["--skip-extended-insert", "--hex-blob"],
        ["--default-character-set=latin1"],
        ["--default-character-set=binary"],
    ],
    ids=lambda options: " ".join(options) or "default",
)
def test_a_dump_of_an_old_database_gives_the_site_byte_for_byte(
    mariadb_server: MariaDB,
    mysql_of: MakeMysql,
    latin1_site: SampleSite,
    tmp_path: Path,
    options: list[str],
) -> None:
    sample, tree = latin1_site
    dump = tmp_path / "dump.sql.gz"
    dump.write_bytes(gzip.compress(mariadb_server.dump(mysql_of(MYSQL_OLD, sample), *options)))

    found, evidence = support.read_tables(Store.MYSQL, str(dump), sample.root)

    assert found == sqlsites.expected(tree, clear_text=False)
    assert support.codes(evidence) == ["link", "unreliable-permissions"]


@pytest.mark.parametrize(
    "options",
    [[], ["--inserts"], ["--column-inserts", "--rows-per-insert=50"], ["--no-comments"]],
    ids=lambda options: " ".join(options) or "copy",
)
@pytest.mark.parametrize(
    "schema, clear_text",
    [(PGSQL, True), (PGSQL_OLD, False), (PGSQL_BY_DOMAIN, True)],
    ids=["one table", "padded", "by domain"],
)
def test_a_dump_of_postgresql_gives_the_site_that_the_tree_gives(
    pgsql: PgSources,
    pgsql_site: SampleSite,
    tmp_path: Path,
    schema: Schema,
    clear_text: bool,
    options: list[str],
) -> None:
    sample, tree = pgsql_site
    dump = tmp_path / "dump.sql"
    dump.write_bytes(pgsql.dump(pgsql.of(schema, sample), *options))

    found, evidence = support.read_tables(Store.PGSQL, str(dump), sample.root)

    assert found == sqlsites.expected(tree, clear_text=clear_text, limits_text=True)
    assert "link" in support.codes(evidence)


# --- old and other forms ----------------------------------------------------------------------

HASH = "$1$Sa1tSa1t$jIAWQh25ZR2Tn11uDIhCr0"
VALUES = (
    f"'joe','example.com','{HASH}',1,0,'J\xf6 ''n''','/home/vpopmail/domains/example.com/joe',"
)
OLDEST = rf"""# MySQL dump 8.23
#
# Host: localhost    Database: vpopmail
#--------------------------------------------------------
# Server version	3.23.58

#
# Table structure for table 'vpopmail'
#

CREATE TABLE vpopmail (
  pw_name char(32) NOT NULL default '',
  pw_domain char(64) NOT NULL default '',
  pw_passwd char(40) default NULL,
  pw_uid int(11) default NULL,
  pw_gid int(11) default NULL,
  pw_gecos char(48) default NULL,
  pw_dir char(160) default NULL,
  pw_shell char(20) default NULL,
  PRIMARY KEY  (pw_name,pw_domain)
) TYPE=MyISAM;

#
# Dumping data for table 'vpopmail'
#

INSERT INTO vpopmail VALUES ({VALUES}'NOQUOTA');
""".encode("latin-1")
OLD = rf"""-- MySQL dump 10.9
--
-- Host: localhost    Database: vpopmail
-- ------------------------------------------------------
-- Server version	4.1.22

/*!40101 SET @OLD_CHARACTER_SET_CLIENT=@@CHARACTER_SET_CLIENT */;
/*!40101 SET NAMES utf8 */;
/*!40111 SET @OLD_SQL_NOTES=@@SQL_NOTES, SQL_NOTES=0 */;

DROP TABLE IF EXISTS `vpopmail`;
CREATE TABLE `vpopmail` (
  `pw_name` char(32) NOT NULL default '',
  `pw_domain` char(64) NOT NULL default '',
  `pw_passwd` char(40) default NULL,
  `pw_uid` int(11) default NULL,
  `pw_gid` int(11) default NULL,
  `pw_gecos` char(48) default NULL,
  `pw_dir` char(160) default NULL,
  `pw_shell` char(20) default NULL,
  PRIMARY KEY  (`pw_name`,`pw_domain`)
) ENGINE=MyISAM DEFAULT CHARSET=latin1;

/*!40000 ALTER TABLE `vpopmail` DISABLE KEYS */;
LOCK TABLES `vpopmail` WRITE;
INSERT INTO `vpopmail` VALUES ({VALUES}'NOQUOTA');
UNLOCK TABLES;
/*!40000 ALTER TABLE `vpopmail` ENABLE KEYS */;

/*!40101 SET CHARACTER_SET_CLIENT=@OLD_CHARACTER_SET_CLIENT */;
/*!40111 SET SQL_NOTES=@OLD_SQL_NOTES */;
""".encode()


POSTGRESQL = rb"""--
-- PostgreSQL database dump
--

SET client_encoding = 'UTF8';
CREATE FUNCTION public.f() RETURNS trigger LANGUAGE plpgsql AS $_$ begin; 'x' end $_$;
CREATE TABLE public.vpopmail (
    pw_name character varying(64) NOT NULL,
    pw_domain character(96) NOT NULL,
    pw_passwd character varying(128) DEFAULT ','::character varying,
    pw_uid integer, pw_gid integer, pw_gecos character varying(64),
    pw_dir character varying(160), pw_shell character varying(20)
);
COPY public.vpopmail FROM stdin;
joe	example.com  	*	1	0	J\\o\te	/home/vpopmail/domains/example.com/joe	\N
\.

INSERT INTO public.vpopmail VALUES ('ann','example.com',E'*\\',1,0,'O''A\\','/srv/ann','');
--
-- PostgreSQL database dump complete
--
"""
SECOND = (
    OLD[OLD.index(b"CREATE") : OLD.index(b"/*!40000")]
    .replace(b"`vpopmail`", b"`example_com`")
    .replace(b"  `pw_domain` char(64) NOT NULL default '',", b"")
    .replace(b",`pw_domain`", b"")
)
"""A table of the accounts of one domain."""


@pytest.fixture
def qmail(tmp_path: Path) -> Path:
    """A site with the one domain example.com, without a tree."""
    return sqlsites.bare_site(tmp_path, "example.com")


def read(root: Path, dump: bytes, store: Store = Store.MYSQL) -> tuple[site.Site, Evidence]:
    path = root / "dump.sql"
    path.write_bytes(dump)
    return support.read_tables(store, str(path), root, with_tree=False)


@pytest.mark.parametrize(
    "dump, codes", [(OLDEST, ["unmarked-dump"]), (OLD, [])], ids=["3.23", "4.1"]
)
def test_dumps_of_old_servers_are_read(qmail: Path, dump: bytes, codes: list[str]) -> None:
    found, evidence = read(qmail, dump)

    (domain,) = found.domains
    (joe,) = domain.mailboxes
    assert (joe.name, joe.comment, joe.password_hash) == ("joe", "J\udcf6 'n'", HASH)
    assert support.codes(evidence) == codes


def test_values_of_postgresql_are_what_they_were(qmail: Path) -> None:
    found, evidence = read(qmail, POSTGRESQL, Store.PGSQL)

    (domain,) = found.domains
    assert [(box.name, box.password_hash, box.comment) for box in domain.mailboxes] == [
        ("ann", "*\\", "O'A\\\\"),
        ("joe", "*", "J\\o\te"),
    ]
    assert support.codes(evidence) == ["home-outside"]


def test_a_dump_with_windows_line_ends_is_read(qmail: Path) -> None:
    found, evidence = read(qmail, OLD.replace(b"\n", b"\r\n"))

    (domain,) = found.domains
    assert [box.name for box in domain.mailboxes] == ["joe"]
    assert support.codes(evidence) == []


def test_values_may_be_in_any_order_and_form(qmail: Path) -> None:
    row = (
        b"INSERT INTO `vpopmail` (`pw_domain`, pw_gid, pw_name, pw_uid, pw_dir, pw_passwd,"
        b" pw_gecos, pw_shell) VALUES\n (\"example.com\" , 0, _binary 'a\\'n', 1,"
        b" '/home/vpopmail/domains/example.com/an' ,0x2431, X'4A6F', '')\n,\n"
        b" ('example.com',0,'bo',1,'/x/bo','*','(;--','');\n"
    )

    found, _ = read(qmail, OLD.replace(b"UNLOCK", row + b"UNLOCK"))

    (domain,) = found.domains
    assert [(box.name, box.password_hash, box.comment) for box in domain.mailboxes] == [
        ("a'n", "$1", "Jo"),
        ("bo", "*", "(;--"),
        ("joe", HASH, "J\udcf6 'n'"),
    ]


def test_bytes_in_a_binary_column_are_not_taken_for_text(qmail: Path) -> None:
    dump = OLD.replace(b"`pw_gecos` char(48)", b"`pw_gecos` varbinary(48)")

    found, _ = read(qmail, dump)

    (domain,) = found.domains
    assert domain.mailboxes[0].comment == "J\xf6 'n'"


def test_triggers_and_views_are_passed_over(qmail: Path) -> None:
    trigger = (
        b"DELIMITER ;;\n/*!50003 CREATE TRIGGER t BEFORE INSERT ON vpopmail FOR EACH ROW BEGIN\n"
        b"INSERT INTO vpopmail VALUES ('no'); END */;;\nDELIMITER ;\n"
        b"/*!50001 CREATE VIEW `v` AS SELECT 'INSERT INTO vpopmail;' AS `x` */;\n"
    )

    found, evidence = read(
        qmail, OLD.replace(b"/*!40101 SET CHARACTER", trigger + b"/*!40101 SET CHARACTER")
    )

    (domain,) = found.domains
    assert [box.name for box in domain.mailboxes] == ["joe"]
    assert support.codes(evidence) == []


# --- damage -----------------------------------------------------------------------------------


def test_a_dump_says_where_a_row_is_damaged(qmail: Path) -> None:
    bad = b"INSERT INTO `vpopmail` VALUES ('a','b'),('c','d');\n"

    dump = OLD.replace(b"UNLOCK", bad + b"UNLOCK")

    found, evidence = read(qmail, dump)

    (finding,) = (each for each in evidence.findings if str(each.code) == "damaged-dump")
    line = dump[: dump.index(bad)].count(b"\n") + 1
    assert finding.place == f"{qmail}/dump.sql:{line}"
    assert finding.reason == "a row of other values"
    (domain,) = found.domains
    assert [box.name for box in domain.mailboxes] == ["joe"]


@given(share=st.floats(0, 1))
@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_a_dump_that_is_cut_anywhere_is_never_taken_for_a_whole_one(
    qmail: Path, share: float
) -> None:
    last = OLD.index(b"/*!40101 SET CHARACTER_SET_CLIENT=@OLD")

    assert damage_of(qmail, OLD[: int(share * last)], Store.MYSQL)


def damage_of(root: Path, dump: bytes, store: Store) -> str:
    """Return what is said to be wrong with a dump, with its place; empty: nothing."""
    path = root / "cut.sql"
    path.write_bytes(dump)
    try:
        _, evidence = support.read_tables(store, str(path), root, with_tree=False)
    except ImportFailed as error:
        return str(error) if str(path) in str(error) else ""
    places = [each.place for each in evidence.findings if str(each.code) == "damaged-dump"]
    return " ".join(place for place in places if place.startswith(f"{path}:"))


@pytest.mark.parametrize("part", range(0, 1000, 83))
@pytest.mark.parametrize("options", [(), ("--skip-comments", "--skip-extended-insert")])
def test_a_real_dump_that_is_cut_is_never_taken_for_a_whole_one(
    mariadb_server: MariaDB,
    mysql_of: MakeMysql,
    utf8_site: SampleSite,
    tmp_path: Path,
    options: tuple[str, ...],
    part: int,
) -> None:
    sample, _ = utf8_site
    dump = mariadb_server.dump(mysql_of(MYSQL, sample), *options)
    (tmp_path / "var").symlink_to(sample.root / "var")

    assert damage_of(tmp_path, dump[: len(dump) * part // 1000], Store.MYSQL)


@pytest.mark.parametrize("part", range(0, 1000, 83))
@pytest.mark.parametrize("options", [(), ("--inserts",)])
def test_a_real_dump_of_postgresql_that_is_cut_is_never_taken_for_a_whole_one(
    pgsql: PgSources,
    pgsql_site: SampleSite,
    tmp_path: Path,
    options: tuple[str, ...],
    part: int,
) -> None:
    sample, _ = pgsql_site
    dump = pgsql.dump(pgsql.of(PGSQL, sample), *options)
    (tmp_path / "var").symlink_to(sample.root / "var")

    assert damage_of(tmp_path, dump[: len(dump) * part // 1000], Store.PGSQL)


@pytest.mark.parametrize("part", [0, 12, 500, 900, 999])
def test_a_compressed_dump_that_is_cut_is_never_taken_for_a_whole_one(
    qmail: Path, part: int
) -> None:
    whole = gzip.compress(OLD)

    assert damage_of(qmail, whole[: max(1, len(whole) * part // 1000)], Store.MYSQL)


def test_a_damaged_byte_of_a_compressed_dump_is_seen(qmail: Path) -> None:
    whole = bytearray(gzip.compress(OLD))
    whole[len(whole) // 2] ^= 0xFF

    assert damage_of(qmail, bytes(whole), Store.MYSQL)


# --- what is no dump of vpopmail's ------------------------------------------------------------


@pytest.mark.parametrize(
    "dump, reason",
    [
        (b"", "neither a table vpopmail nor one for each domain"),
        (b"hello", "dump.sql:1: the dump ends within a statement, and no table of accounts"),
        (b"PGDMP\x01\x0e", "pg_restore --file=dump.sql"),
        (b"BZh91AY", "decompress it with bunzip2"),
        (
            b"INSERT INTO vpopmail VALUES ('joe');\n",
            "nothing says what the columns of vpopmail are",
        ),
        (
            b"INSERT INTO `example_com` VALUES ('joe');\n",
            "nothing says what the columns of example_com are",
        ),
        (
            b"-- PostgreSQL database dump\n\nCREATE TABLE public.vpopmail (pw_name text);\n",
            "is a dump of PostgreSQL: vpopsql import pgsql",
        ),
        (
            b"CREATE TABLE vpopmail (pw_name text, pw_domain text);\n",
            "neither a table vpopmail nor one for each domain",
        ),
    ],
)
def test_what_cannot_be_a_dump_of_vpopmail_is_refused_in_one_sentence(
    qmail: Path, dump: bytes, reason: str
) -> None:
    with pytest.raises(ImportFailed) as refused:
        read(qmail, dump)

    assert reason in str(refused.value)
    assert f"{qmail}/dump.sql" in str(refused.value)


def test_tables_of_two_databases_are_not_taken_for_one(qmail: Path) -> None:
    dump = b"USE `a`;\n" + OLD + b"USE `b`;\n" + OLD

    with pytest.raises(ImportFailed, match="dump the one database of vpopmail only"):
        read(qmail, dump)


def test_a_real_dump_without_definitions_is_refused(
    mariadb_server: MariaDB, mysql_of: MakeMysql, utf8_site: SampleSite, qmail: Path
) -> None:
    dump = mariadb_server.dump(mysql_of(MYSQL, utf8_site.sample), "--no-create-info")

    with pytest.raises(ImportFailed, match="dump the definitions of tables as well"):
        read(qmail, dump)


def test_tables_of_both_layouts_are_a_doubt(qmail: Path) -> None:
    _, evidence = read(qmail, OLD.replace(b"DROP", SECOND + b"DROP"))

    (finding,) = (each for each in evidence.findings if str(each.code) == "two-layouts")
    assert finding.reason == "read as one table, vpopmail; not read: example_com"


@pytest.mark.parametrize(
    "layout, name", [(Layout.ONE, "joe"), (Layout.PER_DOMAIN, "ann"), (Layout.AUTO, "joe")]
)
def test_the_layout_can_be_chosen(qmail: Path, layout: Layout, name: str) -> None:
    row = b"INSERT INTO `example_com` VALUES ('ann','x',1,0,'','/home/vpopmail/a/ann','');\n"
    path = qmail / "dump.sql"
    path.write_bytes(OLD.replace(b"DROP", SECOND + row + b"DROP"))

    found, _ = support.read_tables(Store.MYSQL, str(path), qmail, with_tree=False, layout=layout)

    (domain,) = found.domains
    assert [box.name for box in domain.mailboxes] == [name]


@pytest.mark.parametrize(
    "layout, table, reason",
    [
        (Layout.ONE, b"`example_com`", "has no table vpopmail"),
        (Layout.PER_DOMAIN, b"`vpopmail`", "has no table of accounts named after a domain"),
    ],
)
def test_a_layout_that_is_not_there_is_refused(
    qmail: Path, layout: Layout, table: bytes, reason: str
) -> None:
    path = qmail / "dump.sql"
    path.write_bytes(OLD.replace(b"`vpopmail`", table))

    with pytest.raises(ImportFailed, match=reason):
        support.read_tables(Store.MYSQL, str(path), qmail, with_tree=False, layout=layout)


# --- how it is read ---------------------------------------------------------------------------


@pytest.mark.parametrize("size", [1, 7, 64, 4096])
@pytest.mark.parametrize("options", [(), ("--skip-extended-insert", "--hex-blob")])
def test_how_a_dump_is_cut_into_blocks_does_not_matter(
    mariadb_server: MariaDB,
    mysql_of: MakeMysql,
    latin1_site: SampleSite,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    options: tuple[str, ...],
    size: int,
) -> None:
    sample, tree = latin1_site
    dump = tmp_path / "dump.sql"
    dump.write_bytes(mariadb_server.dump(mysql_of(MYSQL_OLD, sample), *options))
    monkeypatch.setattr(sqltext, "_BLOCK", size)
    monkeypatch.setattr(sqltext, "_AHEAD", 256)

    found, _ = support.read_tables(Store.MYSQL, str(dump), sample.root)

    assert found == sqlsites.expected(tree, clear_text=False)


@pytest.mark.parametrize(
    "dump, store", [(OLD, Store.MYSQL), (POSTGRESQL, Store.PGSQL)], ids=["mysql", "pgsql"]
)
@given(share=st.floats(0, 1), cut=st.integers(0, 30), put=st.binary(max_size=3))
@settings(
    max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_no_change_of_a_dump_ends_in_a_crash_or_loses_count(
    qmail: Path, dump: bytes, store: Store, share: float, cut: int, put: bytes
) -> None:
    at = int(share * len(dump))

    tallies = tallies_of(qmail, dump[:at] + put + dump[at + cut :], store)

    assert [tally for tally in tallies if not tally.adds_up] == []


def tallies_of(root: Path, dump: bytes, store: Store) -> list[Tally]:
    try:
        return read(root, dump, store)[1].tallies
    except ImportFailed:
        return []
