"""Importing again after something was renamed in the database: it keeps its new name."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.importer.changing import ADMIN, Changing
from tests.importer.updating import is_settled
from vpopsql.daemon.delivery import make_rules
from vpopsql.db import Database
from vpopsql.services import accounts, domains, renames
from vpopsql.services.renames import How

pytestmark = pytest.mark.parametrize("_backend", ["sqlite"], indirect=True)


@pytest.fixture
def base(database: Database, unpack: Callable[[str], Path]) -> Changing:
    """The sample site `base`, imported."""
    site = Changing(database, unpack("base"))
    site.update()
    return site


def test_a_renamed_user_does_not_come_back(base: Changing) -> None:
    rules = make_rules(ADMIN.site_directory, ())
    with base.database.writer() as session:
        alice = ("alice", "example.com")
        renames.rename_account(session, ADMIN, rules, alice, "alicia", How())

    plan = base.update()

    assert is_settled(plan)
    with base.database.reader() as session:
        assert accounts.find_account(session, *alice) is None
        assert accounts.find_account(session, "alicia", "example.com")


def test_a_renamed_domain_does_not_come_back(base: Changing) -> None:
    with base.database.writer() as session:
        renames.rename_domain(session, ADMIN, "test.com", "test.net", How())

    plan = base.update()

    assert is_settled(plan)
    with base.database.reader() as session:
        assert domains.find_domain(session, "test.com") is None
        assert domains.find_domain(session, "test.net")
