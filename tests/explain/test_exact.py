"""Delivery without vdelivermail: who is found by a line of his own."""

import os
from pathlib import Path

import pytest
from sqlalchemy import select
from sqlalchemy.orm import Session

from tests import databases, factories
from tests.conftest import SHARED
from tests.explain.conftest import Sample
from tests.explain.crossing import own_file
from vpopsql.config import Config, Export, Paths
from vpopsql.db import Database
from vpopsql.explain.claims import Assigns
from vpopsql.explain.rows import Build
from vpopsql.exporter.apply import apply
from vpopsql.model import CatchAll, DomainName, Flag, ForeignLine, Mailbox
from vpopsql.qmail import assign

EXACT = Build(exact=True)
HOME = "/home/vpopmail/domains/example.com"
FOREIGN_LINE = "=example.com-special:joe:1001:1001:/home/joe:::"
LINE = f"=example.com-alice:example.com:{os.geteuid()}:{os.getegid()}:{HOME}/alice:::"


@pytest.fixture
def site(request: pytest.FixtureRequest, tmp_path: Path) -> Sample:
    """A domain with mailboxes that get lines of their own, and such that do not."""
    url = databases.SQLite(request.config.stash[SHARED], tmp_path).create(migrated=True)
    database = Database(url)
    with database.writer() as session:
        populate(session)
    database.close()
    return Sample(url, database, tmp_path / "site")


def populate(session: Session) -> None:
    ids = {"uid": os.geteuid(), "gid": os.getegid()}
    domain = factories.domain(session, "example.com", "example.org", **ids)
    for name in ("alice", "sales-alice", "aliased"):
        factories.mailbox(session, domain, name)
    factories.mailbox(session, domain, "bob", Flag.BOUNCE_MAIL)
    factories.mailbox(session, domain, "spam", Flag.DELETE_SPAM)
    factories.mailbox(session, domain, "full", quota_bytes=1000, quota_text="1000S")
    factories.mailbox(session, domain, "slash", directory=f"{HOME}/slash/")
    factories.mailbox(session, domain, "colon", directory=f"{HOME}/0:1/colon")
    own_file(session, factories.mailbox(session, domain, "carol"), "&c@else.example")
    factories.alias(session, domain, "aliased", "&alice@example.com")
    factories.alias(session, domain, "sales-default", "&alice@example.com")
    limited = factories.domain(session, "limited.example", **ids)
    factories.limits(session, limited, delete_spam=True)
    factories.mailbox(session, limited, "alice")
    factories.mailbox(session, limited, "boss", Flag.V_OVERRIDE)
    shared = factories.domain(session, "shared.example", **ids)
    factories.mailbox(session, shared, "alice")
    line = "else.example:shared.example"
    session.add(ForeignLine(file="control/virtualdomains", position=1, line=line, sort_key="e"))
    none = factories.domain(session, "none.example", catchall=CatchAll.NONE, **ids)
    factories.mailbox(session, none, "alice")


def is_direct(site: Sample, address: str, build: Build) -> bool:
    steps = site.explain(address, build=build).steps
    return any("a line of its own" in step.result for step in steps)


@pytest.mark.parametrize(
    "address, direct",
    [
        ("alice@example.com", True),
        ("alice@example.org", True),
        ("slash@example.com", True),
        ("boss@limited.example", True),
        ("alice-ext@example.com", False),
        ("nobody@example.com", False),
        ("aliased@example.com", False),
        ("sales-alice@example.com", False),
        ("bob@example.com", False),
        ("spam@example.com", False),
        ("full@example.com", False),
        ("colon@example.com", False),
        ("carol@example.com", False),
        ("alice@limited.example", False),
        ("alice@none.example", False),
        ("alice@shared.example", False),
    ],
)
def test_a_line_of_its_own_is_for_whom_vdelivermail_would_do_no_more(
    site: Sample, address: str, direct: bool
) -> None:
    assert is_direct(site, address, EXACT) == direct
    assert not is_direct(site, address, Build())


def test_a_quota_may_be_given_up(site: Sample) -> None:
    despite = Build(exact=True, exact_despite_quota=True)

    assert is_direct(site, "full@example.com", despite)


def test_the_line_and_its_record_are_compared(site: Sample) -> None:
    users = site.root / "var/qmail/users"
    users.mkdir(parents=True)
    (users / "assign").write_text(f"{LINE}\n.\n")
    (users / "assign.cdb").write_bytes(assign.compile_cdb([LINE]))
    build = Build(exact=True, assign_cdb="assign.cdb")

    found = site.explain("alice@example.com", read_files=True, build=build)

    step = next(step for step in found.steps if step.kind == "assign")
    assert [(each.path, each.text, each.state.value) for each in step.evidence[:2]] == [
        ("/var/qmail/users/assign", LINE, "agrees"),
        ("/var/qmail/users/assign.cdb", LINE, "agrees"),
    ]


def test_of_accounts_in_the_database_alone_vdelivermail_knows_nothing(site: Sample) -> None:
    stale = site.root / "home/vpopmail/domains/example.com/vpasswd"
    stale.parent.mkdir(parents=True, exist_ok=True)
    stale.write_text("alice:$1$stale:1:0:Alice:/home:NOQUOTA\n")
    build = Build(has_accounts=False)

    found = site.explain("alice@example.com", read_files=True, build=build)

    assert found.account is not None
    assert [(each.path, each.state.value) for each in found.account.evidence] == [
        ("/home/vpopmail/domains/example.com/vpasswd", "unexpected")
    ]
    assert "no-vpasswd" in {each.code.value for each in found.defects}
    assert [each.kind.value for each in found.deliveries] == ["bounce"]


def test_mail_ends_in_the_same_maildir(site: Sample) -> None:
    usual, exact = (site.explain("alice@example.org", build=build) for build in (Build(), EXACT))

    assert exact.deliveries == usual.deliveries
    assert exact.verdict == usual.verdict


@pytest.mark.parametrize("despite", [False, True])
def test_who_has_a_line_is_who_the_export_writes_one_for(
    crossed: Sample, tmp_path: Path, despite: bool
) -> None:
    export = Export(delivery="exact", exact_despite_quota=despite)
    apply(crossed.database, Config(paths=Paths(root=str(tmp_path)), export=export))
    written = (tmp_path / "var/qmail/users/assign").read_text(encoding="utf-8").splitlines()
    build = Build(exact=True, exact_despite_quota=despite)
    with crossed.database.snapshot() as session:
        addresses = session.execute(
            select(Mailbox.name, DomainName.name).join(
                DomainName, DomainName.domain_id == Mailbox.domain_id
            )
        ).all()

    told = {
        claim.line
        for name, domain in addresses
        for step in crossed.explain(f"{name}@{domain}", build=build).steps
        for claim in step.claims
        if isinstance(claim, Assigns) and claim.line.startswith("=")
    }

    assert len(told) > 10
    assert told <= set(written)
    assert {line for line in written if line.startswith("=")} - told <= {FOREIGN_LINE}
