"""``vpopsql import mysql``: vpopmail's tables in a running MariaDB."""

import pytest

from tests.importer import sqlsites, support
from tests.importer.conftest import MakeMysql, SampleSite
from tests.importer.sqlsites import MYSQL, MYSQL_BY_DOMAIN, MYSQL_OLD, MYSQL_SHIPPED, Schema
from vpopsql.importer.origin import Store

# --- the same site ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "schema", [MYSQL, MYSQL_SHIPPED, MYSQL_BY_DOMAIN], ids=["one table", "shipped", "by domain"]
)
def test_a_database_gives_the_site_that_the_tree_gives(
    mysql_of: MakeMysql, utf8_site: SampleSite, schema: Schema
) -> None:
    sample, tree = utf8_site

    found, evidence = support.read_tables(Store.MYSQL, mysql_of(schema, sample), sample.root)

    assert found == sqlsites.expected(tree)
    assert support.codes(evidence) == ["link", "unreliable-permissions"]


def test_an_old_database_gives_the_site_byte_for_byte(
    mysql_of: MakeMysql, latin1_site: SampleSite
) -> None:
    sample, tree = latin1_site

    found, evidence = support.read_tables(Store.MYSQL, mysql_of(MYSQL_OLD, sample), sample.root)

    assert found == sqlsites.expected(tree, clear_text=False)
    assert support.codes(evidence) == ["link", "no-snapshot", "unreliable-permissions"]
