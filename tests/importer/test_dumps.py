"""Dumps: the same site as the database that they were made of, and what is wrong with a dump."""

import gzip
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.importer import sqlsites, support
from tests.importer.conftest import MakeMysql, PgSources, SampleSite
from tests.importer.sqlsites import (
    MYSQL,
    MYSQL_BY_DOMAIN,
    MYSQL_OLD,
    MYSQL_SHIPPED,
    PGSQL,
    PGSQL_BY_DOMAIN,
    PGSQL_OLD,
    Schema,
)
from tests.mariadb import MariaDB
from vpopsql.importer.origin import Store

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
