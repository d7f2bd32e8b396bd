"""What commands about one thing cost on a small and on a large site: it should be the same."""

import contextlib
import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from sqlalchemy import bindparam, func, select, update
from sqlalchemy.orm import Session

from scripts.benchmarks.client import Client
from scripts.benchmarks.load import Job, Step
from scripts.benchmarks.stage import DatabaseStage, Options, Run, Stage
from scripts.benchmarks.workload import Asking, Change, Unit, Workload
from scripts.sites.database import fill
from scripts.sites.synthesis import PASSWORD, Size
from vpopsql.db import Database
from vpopsql.model import DomainName, DotQmailFile, Flag, Mailbox

_SMALL = 1_000
_PER_DOMAIN = 10
_SAMPLES = 200
_USUAL = (5, 15)
"""Mailboxes of the domains that are asked about, on both sites."""

_FORMS = {
    "user_info": "user_info {user}@{domain}",
    "user_count": "user_count {domain}",
    "get_lastauth": "get_lastauth {user}@{domain}",
    "list_users": "list_users {domain} 1 10",
    "list_alias": "list_alias {alias}@{domain}",
    "dom_info": "dom_info {domain}",
    "get_limits": "get_limits {domain}",
    "find_domain": "find_domain {domain} 10",
    "domain_count": "domain_count",
    "list_domains": "list_domains 1 10",
}
"""What is asked, by the verb."""

_CHANGES = {
    "add_user": ("add_user bench-new@{domain} " + PASSWORD, "del_user bench-new@{domain}"),
    "mod_user": ("mod_user {user}@{domain}", ""),
    "add_alias": ("add_alias bench-new@{domain} &x@y.example", "delete_alias bench-new@{domain}"),
    "set_limits": ("set_limits {domain}", ""),
    "add_ip_map": ("add_ip_map 192.0.2.77 {domain}", "del_ip_map 192.0.2.77 {domain}"),
}
"""What is changed, by the verb, and how that is undone. Files of the domain alone follow."""

_BODIES = {"mod_user": b"comment Change %d", "set_limits": b"max_popaccounts %d"}
_DIRECTORIES = ("home/vpopmail/domains", "var/qmail/control", "var/qmail/users")


@dataclass(frozen=True, slots=True)
class _Made:
    """A site that is made up in a database, and what of it is asked about."""

    administrator: str
    asked: list[dict[str, str]]


def _make(url: str, mailboxes: int) -> _Made:
    database = Database(url)
    with contextlib.closing(database):
        fill(database, Size(max(1, mailboxes // _PER_DOMAIN), mailboxes))
        with database.writer() as session:
            # Everybody's first domain, of which nothing else is known.
            name = session.execute(_NAME, {"domain_id": 1}).scalar_one()
            session.execute(
                update(Mailbox)
                .where(Mailbox.domain_id == 1, Mailbox.name == "postmaster")
                .values(flags=Flag.SA_ADMIN.value)
            )
            found = session.scalars(_OF_USUAL_SIZE).all()
            chosen = found[:: max(1, len(found) // _SAMPLES)]
            return _Made(f"postmaster@{name}", [_things(session, each) for each in chosen])


_NAME = select(DomainName.name).where(
    DomainName.domain_id == bindparam("domain_id"), ~DomainName.is_alias
)
_USER = select(func.max(Mailbox.name)).where(Mailbox.domain_id == bindparam("domain_id"))
_ALIAS = select(func.max(DotQmailFile.name)).where(
    DotQmailFile.domain_id == bindparam("domain_id"), DotQmailFile.mailbox_id.is_(None)
)
_OF_USUAL_SIZE = (
    select(Mailbox.domain_id)
    .group_by(Mailbox.domain_id)
    .having(func.count().between(*_USUAL))
    .order_by(Mailbox.domain_id)
)


def _things(session: Session, domain_id: int) -> dict[str, str]:
    """Return what `_FORMS` need to ask about a domain."""
    queries = {"domain": _NAME, "user": _USER, "alias": _ALIAS}
    return {
        what: session.execute(query, {"domain_id": domain_id}).scalar() or "none"
        for what, query in queries.items()
    }


def _asking(
    form: str, size: Callable[[Options], int], made: dict[str, _Made]
) -> Callable[[Stage], Asking]:
    def make_job(stage: Stage, port: int) -> Job:
        found = made[f"filled-{size(stage.options)}"]
        lines = [form.format(**each).encode() for each in found.asked]

        @contextlib.contextmanager
        def job(_worker: int) -> Iterator[Step]:
            turn = itertools.cycle(lines)
            with Client(port) as client:
                client.ask(f"slogin {found.administrator} {PASSWORD}".encode())
                yield lambda: client.ask(next(turn))

        return job

    def prepare(stage: DatabaseStage) -> None:
        _fill(stage, size(stage.options), made)

    return lambda stage: Asking(
        f"filled-{size(stage.options)}", make_job, is_rate=False, prepare=prepare
    )


def _changing(
    verb: str, size: Callable[[Options], int], made: dict[str, _Made]
) -> Callable[[Stage], Change]:
    def change(stage: Stage) -> Change:
        name = f"filled-{size(stage.options)}"

        def say(form: str, client: Client, number: int) -> None:
            line = form.format(**made[name].asked[0]).encode()
            if verb in _BODIES:
                client.change(line, _BODIES[verb] % number)
            else:
                client.ask(line)

        def make(client: Client, number: int) -> None:
            say(_CHANGES[verb][0], client, number)

        def undo(client: Client, number: int) -> None:
            if form := _CHANGES[verb][1]:
                say(form, client, number)

        def prepare(stage: DatabaseStage, site: str) -> None:
            _fill(stage, size(stage.options), made)
            # Files of domains that nothing is done to are of no interest here.
            for each in _DIRECTORIES:
                (stage.root(site) / each).mkdir(parents=True, exist_ok=True)

        def log_in(client: Client, _stage: Stage, _site: str) -> None:
            client.ask(f"slogin {made[name].administrator} {PASSWORD}".encode())
            # The first change of a domain writes all its files.
            make(client, 0)
            undo(client, 0)

        return Change(name, make, undo, prepare=prepare, log_in=log_in)

    return change


def _fill(stage: DatabaseStage, mailboxes: int, made: dict[str, _Made]) -> None:
    name = f"filled-{mailboxes}"

    def make(url: str) -> None:
        made[name] = _make(url, mailboxes)

    stage.fill(name, make)


def _workloads() -> Iterator[Workload]:
    sizes: tuple[tuple[str, Callable[[Options], int]], ...] = (
        ("small", lambda _options: _SMALL),
        ("large", lambda options: options.mailboxes),
    )
    made: dict[str, _Made] = {}
    for suffix, size in sizes:
        for verb, form in _FORMS.items():
            yield _one(suffix, verb, form, size, _run(_asking(form, size, made)))
        for verb, (form, _) in _CHANGES.items():
            yield _one(suffix, verb, form, size, _run(_changing(verb, size, made)))


def _one(
    suffix: str,
    verb: str,
    form: str,
    size: Callable[[Options], int],
    run: Callable[[DatabaseStage], list[Run]],
) -> Workload:
    return Workload(
        f"{suffix}-{verb}",
        f"{form.split(' ', maxsplit=1)[0]} of one thing, on a {suffix} site that is made up",
        Unit.SECONDS,
        run,
        size=size,
        c_name="none",
        is_large=True,
        base="" if suffix == "small" else f"small-{verb}",
    )


def _run(make: Callable[[Stage], Asking | Change]) -> Callable[[DatabaseStage], list[Run]]:
    return lambda stage: make(stage).run(stage)


GROWTH: tuple[Workload, ...] = tuple(_workloads())
