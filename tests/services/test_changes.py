"""The trace of a change: which revision of its domain was the newest before it."""

import pytest
from sqlalchemy import insert

from tests import factories
from vpopsql.db import Database
from vpopsql.model import Revision
from vpopsql.services import changes

REVISIONS = [
    ("a.example", "add_user"),
    ("b.example", "mod_user"),
    ("b.example", "set_limits"),  # changes no account
    (None, "import"),
    ("c.example", "add_user"),
    (None, "add_ip_map"),
    *[("z.example", "mod_user")] * (changes._NEAR - 3),
]


@pytest.mark.parametrize("newest", [changes._BEFORE_ON_SQLITE, changes._BEFORE_ON_A_SERVER])
@pytest.mark.parametrize(
    "domain, revision",
    [
        ("z.example", len(REVISIONS)),
        ("c.example", 5),
        ("b.example", 4),  # of the whole site
        ("a.example", 4),
        ("none.example", 4),
        (None, 4),
    ],
)
def test_the_newest_revision_that_is_about_a_domains_accounts_is_found(
    database: Database,
    newest: changes.Newest,
    domain: str | None,
    revision: int,
) -> None:
    with database.writer() as session:
        session.execute(
            insert(Revision),
            [
                {"id": id_, "at": factories.at(2026, 1, 2), "domain": of, "topic": topic}
                for id_, (of, topic) in enumerate(REVISIONS, start=1)
            ],
        )

        assert newest.first(session, domain=domain) == (revision, factories.at(2026, 1, 2))


@pytest.mark.parametrize("newest", [changes._BEFORE_ON_SQLITE, changes._BEFORE_ON_A_SERVER])
def test_none_is_found_that_is_too_far_back_or_not_there(
    database: Database, newest: changes.Newest
) -> None:
    with database.writer() as session:
        assert newest.first(session, domain="a.example") is None
        rows = [
            {"at": factories.at(2026, 1, 2), "domain": each, "topic": "add_user"}
            for each in ["a.example", *["z.example"] * changes._NEAR]
        ]
        session.execute(insert(Revision), rows)

        assert newest.first(session, domain="a.example") is None
