"""An explanation beside another model of qmail, which knows nothing but the exported files."""

from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.exporter.delivering import Host
from tests.exporter.test_delivery import WORDS, exported, populate
from vpopsql.config import Export
from vpopsql.db import Database, upgrade
from vpopsql.explain import explanation, rows
from vpopsql.explain.claims import Assigns, HasLine
from vpopsql.explain.result import DeliveryKind, Explanation, StepKind
from vpopsql.explain.rows import Build
from vpopsql.qmail import assign

HOSTS = ["a.example", "a.example-b.org", "c.test", "alias.test", "deep.a.example"]
Models = tuple[Database, Host, Build]


@pytest.fixture(scope="module", params=range(6))
def database(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Database]:
    """A site with all that decides about delivery, in a combination of its own."""
    upgrade(url := f"sqlite:///{tmp_path_factory.mktemp('models')}/site.db")
    made = Database(url)
    with made.writer() as session:
        populate(session, request.param)
    yield made
    made.close()


@pytest.fixture(scope="module", params=["vdelivermail", "exact"])
def models(
    database: Database, request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Models:
    """The site, what is exported of it, and how."""
    export = Export(delivery=request.param)
    host = exported(database, tmp_path_factory.mktemp("models") / "site", export)
    return database, host, Build(exact=export.delivery == "exact")


def explain(database: Database, address: str, build: Build) -> Explanation:
    with database.snapshot() as session:
        site = rows.read_site(session, "/home/vpopmail", "/var/qmail", build)
        return explanation.explain(session, address, site)


def assigned(found: Explanation) -> tuple[str, str, str]:
    """Return user, directory and dash of the line that decides."""
    own = [step for step in found.steps if step.address == found.address]
    (line,) = {c.line for step in own for c in step.claims if isinstance(c, Assigns)}
    record = assign.parse_cdb_record(*assign.cdb_record(line))
    assert record is not None
    return record.user, record.directory, record.dash


def outcome(found: Explanation) -> tuple[str, ...]:
    """Return what becomes of a message at its first address, in the words of the model."""
    own = [step for step in found.steps if step.address == found.address]
    lines = [c for step in own for c in step.claims if isinstance(c, HasLine)]
    last = [line for line in lines if line.path == lines[-1].path]
    first = found.deliveries[0]
    if first.kind is DeliveryKind.SYSTEM and len(first.via) == 1:
        return ("elsewhere",)
    if any(step.kind is StepKind.CATCHALL for step in own):
        return ("catch-all",)
    if any("has bounce_mail" in step.result for step in own):
        return ("bounce", found.address.user)
    if last and "vdelivermail" not in last[0].text:
        return ("instructions", last[0].path, *(line.text for line in last))
    if first.kind is DeliveryKind.MAILDIR:
        return ("maildir", first.target)
    return ("no mailbox",)


def of_model(told: tuple[str, ...]) -> tuple[str, ...]:
    match told:
        case ("catch-all", _):
            return ("catch-all",)
        case ("maildir", path, *_):
            return ("maildir", path)
        case (what, *rest) if what.endswith("instructions"):
            return ("instructions", *rest)
    return told


@given(st.sampled_from(WORDS) | st.text("abex-.Y", min_size=1), st.sampled_from(HOSTS))
@settings(deadline=None, max_examples=25)
def test_both_find_the_same(models: Models, local: str, domain: str) -> None:
    database, host, build = models

    found = explain(database, f"{local}@{domain}", build)

    line = host.look_up(f"{domain}-{local}")
    assert line is not None
    assert assigned(found) == (line.user, line.home, line.dash)
    assert outcome(found) in {("elsewhere",), of_model(host.deliver(local, domain))}
