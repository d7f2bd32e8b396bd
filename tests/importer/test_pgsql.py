"""``vpopsql import pgsql``: vpopmail's tables in a running PostgreSQL."""

import pytest

from tests.importer import sqlsites, support
from tests.importer.conftest import PgSources, SampleSite
from tests.importer.sqlsites import PGSQL, PGSQL_BY_DOMAIN, PGSQL_OLD, Schema
from vpopsql.importer.origin import Store

# --- the same site ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "schema, clear_text",
    [(PGSQL, True), (PGSQL_OLD, False), (PGSQL_BY_DOMAIN, True)],
    ids=["one table", "padded", "by domain"],
)
def test_a_database_gives_the_site_that_the_tree_gives(
    pgsql: PgSources, pgsql_site: SampleSite, schema: Schema, clear_text: bool
) -> None:
    sample, tree = pgsql_site

    found, evidence = support.read_tables(Store.PGSQL, pgsql.of(schema, sample), sample.root)

    assert found == sqlsites.expected(tree, clear_text=clear_text, limits_text=True)
    assert support.codes(evidence) == ["link"]
