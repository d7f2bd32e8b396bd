"""Many connections that change one site at once."""

import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest
from sqlalchemy import select

from tests import factories
from tests.daemon.conftest import Running, settings
from vpopsql.client import Refused, commands, connect
from vpopsql.client.commands import Command
from vpopsql.db import Database
from vpopsql.exporter.apply import apply
from vpopsql.model import DirCounter, Domain, DomainLimits, Flag, Mailbox

MANY = 64
HOME = "root.example"
SYSTEM = (f"postmaster@{HOME}", factories.PASSWORD)

AskAtOnce = Callable[..., list[str]]


@pytest.fixture
def site(database: Database, database_url: str, tmp_path: Path) -> Database:
    """A site with an administrator and one domain."""
    with database.writer() as session:
        domain = factories.domain(session, HOME)
        factories.mailbox(session, domain, "postmaster", Flag.SA_ADMIN)
    apply(database, settings(database_url, tmp_path))
    return database


@pytest.fixture
def daemon(site: Database, database_url: str, tmp_path: Path) -> Iterator[Running]:
    """A daemon that takes all of them."""
    plain = settings(database_url, tmp_path)
    running = Running(replace(plain, daemon=replace(plain.daemon, max_connections=MANY)), site)
    yield running
    running.stop()


@pytest.fixture
def ask_at_once(daemon: Running) -> AskAtOnce:
    """A function that sends each command on a connection of its own, all at one moment.

    It returns what each was refused for; empty: it was carried out.
    """

    def ask_all(asked: Sequence[Command[None]], account: tuple[str, str] = SYSTEM) -> list[str]:
        together = threading.Barrier(len(asked))

        def ask(command: Command[None]) -> str:
            with connect(*daemon.address) as client:
                client.login(*account)
                together.wait()
                try:
                    client.run(command)
                except Refused as refused:
                    return str(refused)
                return ""

        with ThreadPoolExecutor(len(asked)) as threads:
            return list(threads.map(ask, asked))

    return ask_all


def counters(site: Database) -> dict[int | None, int]:
    """Return how many directories have been counted: of each domain, and None: of domains."""
    with site.reader() as session:
        return {each.domain_id: each.cur_users for each in session.scalars(select(DirCounter))}


def test_many_new_users_of_one_domain_are_all_there(
    site: Database, ask_at_once: AskAtOnce, tmp_path: Path
) -> None:
    names = [f"user{number}" for number in range(MANY)]
    (setup,) = ask_at_once([commands.add_domain("crowd.example", "pw")])

    answers = ask_at_once([commands.add_user(f"{name}@crowd.example", "pw") for name in names])

    assert [setup, *answers] == [""] * (MANY + 1)
    with site.reader() as session:
        domain = session.scalars(select(Domain).where(Domain.directory.endswith("crowd.example")))
        domain_id = domain.one().id
        query = select(Mailbox.name, Mailbox.directory).where(Mailbox.domain_id == domain_id)
        homes = dict(session.execute(query).all())
    directory = tmp_path / "home/vpopmail/domains/crowd.example"
    lines = (directory / "vpasswd").read_text().splitlines()
    assert sorted(homes) == sorted([*names, "postmaster"])
    assert len(set(homes.values())) == MANY + 1
    assert [
        home for home in homes.values() if not (tmp_path / home[1:] / "Maildir/new").is_dir()
    ] == []
    assert sorted(line.partition(":")[0] for line in lines) == sorted(homes)
    assert counters(site)[domain_id] == MANY + 1


def test_many_new_domains_are_all_there(
    site: Database, ask_at_once: AskAtOnce, tmp_path: Path
) -> None:
    names = [f"d{number}.example" for number in range(MANY)]

    answers = ask_at_once([commands.add_domain(name, "pw") for name in names])

    assert answers == [""] * MANY
    domains, qmail = tmp_path / "home/vpopmail/domains", tmp_path / "var/qmail"
    control = qmail / "control"
    accepted = [
        *(control / "rcpthosts").read_text().splitlines(),
        *(control / "morercpthosts").read_text().splitlines(),
    ]
    routed = (control / "virtualdomains").read_text().splitlines()
    assigned = (qmail / "users/assign").read_text().splitlines()
    everything = sorted([*names, HOME])
    assert sorted(accepted) == everything
    assert len((control / "rcpthosts").read_text().splitlines()) == 50
    assert sorted(line.partition(":")[0] for line in routed) == everything
    assert sorted(line.split(":")[1] for line in assigned if line != ".") == everything
    assert [
        name for name in names if not (domains / name / "postmaster/Maildir/cur").is_dir()
    ] == []
    assert [name for name in names if not (domains / name / "vpasswd").is_file()] == []
    assert counters(site)[None] == MANY
    assert set(counters(site).values()) == {MANY, 1}


def test_many_at_once_do_not_pass_a_limit(site: Database, ask_at_once: AskAtOnce) -> None:
    ask_at_once([commands.add_domain("full.example", "pw")])
    with site.writer() as session:
        domain = session.scalars(select(Domain).where(Domain.directory.endswith("full.example")))
        session.add(DomainLimits(domain_id=domain.one().id, max_popaccounts=4))

    answers = ask_at_once(
        [commands.add_user(f"u{number}@full.example", "pw") for number in range(16)],
        ("postmaster@full.example", "pw"),
    )

    assert sorted(answers) == [""] * 3 + ["0.305 Limit reached"] * 13
