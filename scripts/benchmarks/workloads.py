"""The workloads: what each is called, what it does, and how it is measured."""

import contextlib
import itertools
import random
import shutil
from collections.abc import Callable, Iterator

from scripts.benchmarks.changes import CHANGES
from scripts.benchmarks.client import Client
from scripts.benchmarks.footprint import FOOTPRINT
from scripts.benchmarks.growth import GROWTH
from scripts.benchmarks.load import Job, Step
from scripts.benchmarks.site import PASSWORD
from scripts.benchmarks.stage import DatabaseStage, Measured, Run, Stage, repeat
from scripts.benchmarks.workload import Asking, Unit, Workload, commands

# --- logins -------------------------------------------------------------------------------------


def _logins(domain_index: int, users: int) -> Callable[[Stage, int], Job]:
    """Connect, greeting, slogin, quit: some users of a domain, in turn."""

    def make_job(stage: Stage, port: int) -> Job:
        addresses = stage.sites.get("users").domains[domain_index].addresses[:users]
        lines = [f"slogin {address} {PASSWORD}".encode() for address in addresses]

        @contextlib.contextmanager
        def job(worker: int) -> Iterator[Step]:
            first = worker * 37 % len(lines)
            turn = itertools.cycle(lines[first:] + lines[:first])

            def step() -> None:
                with Client(port) as client:
                    client.ask(next(turn))
                    client.ask(b"quit")

            yield step

        return job

    return make_job


def _login_workloads() -> Iterator[Workload]:
    for domain_index, scheme in enumerate(("md5", "sha512")):
        for workers in (1, 8, 32):
            asking = Asking("users", _logins(domain_index, 100), workers)
            yield Workload(
                f"login-{scheme}-{workers}",
                f"connect, greeting, slogin, quit; {workers} at once; {scheme.upper()} hashes",
                Unit.PER_SECOND,
                asking.run,
                # What is in the hash makes no difference to the driver.
                on_stub=asking.on_stub if scheme == "md5" else None,
                cold=asking.cold if workers == 1 else None,
            )
        for workers in (8, 32):
            asking = Asking("users", _logins(domain_index, 10_000), workers, "new")
            yield Workload(
                f"login-{scheme}-new-{workers}",
                f"the same, each as if it were the first of its user; {workers} at once",
                Unit.PER_SECOND,
                asking.run,
                c_name=f"login-{scheme}-{workers}",
            )


# --- commands that read -------------------------------------------------------------------------


def _user_info(stage: Stage) -> Iterator[bytes]:
    addresses = stage.sites.get("users").main.addresses
    random.Random(1).shuffle(addresses)  # noqa: S311 - the same order in every run
    return itertools.cycle(f"user_info {address}".encode() for address in addresses)


def _about_users(text: str) -> Callable[[Stage], Iterator[bytes]]:
    """Ask the same again and again, about the domain with the users."""

    def make(stage: Stage) -> Iterator[bytes]:
        domain = stage.sites.get("users").main
        last = -(-domain.users // 10)
        return itertools.repeat(text.format(domain=domain.name, last=last).encode())

    return make


def _about_domains(text: str) -> Callable[[Stage], Iterator[bytes]]:
    """Ask the same again and again, on the site with the domains; of one, the last."""

    def make(stage: Stage) -> Iterator[bytes]:
        site = stage.sites.get(f"domains-{stage.options.domains}")
        return itertools.repeat(text.format(domain=site.domains[-1].name).encode())

    return make


def _of_users(
    name: str, text: str, what: str, verb: str = "slogin", *, on_stub: bool = False
) -> Workload:
    asking = Asking("users", commands("users", _about_users(text), verb), is_rate=False)
    return Workload(
        name,
        what,
        Unit.SECONDS,
        asking.run,
        on_stub=asking.on_stub if on_stub else None,
        cold=asking.cold,
    )


def _of_domains(name: str, text: str, what: str) -> Workload:
    """Return a workload on a site whose name has its size in it."""

    def asking(stage: Stage) -> Asking:
        site = f"domains-{stage.options.domains}"
        return Asking(site, commands(site, _about_domains(text)), is_rate=False)

    return Workload(
        name,
        what,
        Unit.SECONDS,
        lambda stage: asking(stage).run(stage),
        size=lambda options: options.domains,
        cold=lambda stage: asking(stage).cold(stage),
    )


_INFO = Asking("users", commands("users", _user_info))

_READING = (
    Workload(
        "user_info",
        "user_info of every mailbox in random order, one connection",
        Unit.PER_SECOND,
        _INFO.run,
        on_stub=_INFO.on_stub,
        cold=_INFO.cold,
    ),
    _of_users(
        "list_users-expanded",
        "list_users {domain}",
        "list_users of the whole domain after login",
        "login",
        on_stub=True,
    ),
    _of_users(
        "list_users-compact", "list_users {domain}", "list_users of the whole domain after slogin"
    ),
    _of_users(
        "list_users-last-page", "list_users {domain} {last} 10", "list_users, the last page of 10"
    ),
    _of_users("user_count", "user_count {domain}", "user_count of the domain"),
    _of_domains("list_domains", "list_domains", "list_domains of a site of many domains"),
    _of_domains("list_domains-first-page", "list_domains 1 10", "list_domains, the first ten"),
    _of_domains("find_domain", "find_domain {domain} 10", "find_domain of the last one"),
    _of_domains("domain_count", "domain_count", "domain_count"),
    _of_domains("dom_info", "dom_info {domain}", "dom_info of the last one"),
)

# --- whole sites --------------------------------------------------------------------------------


def _import(stage: DatabaseStage) -> list[Run]:
    def take() -> Measured:
        seconds = stage.import_site("users")
        return Measured(seconds, [seconds])

    stage.sites.get("users")
    return repeat(stage.options, take)


def _export(stage: DatabaseStage) -> list[Run]:
    def take() -> Measured:
        root = stage.directory("exported")
        root.mkdir()
        seconds = stage.export_site("users", root)
        shutil.rmtree(root)
        return Measured(seconds, [seconds])

    stage.imported("users")
    return repeat(stage.options, take)


_WHOLE_SITES = (
    Workload(
        "import",
        "vpopsql import tree --apply, into an empty database, start and verification included",
        Unit.SECONDS,
        _import,
        is_bulk=True,
    ),
    Workload(
        "export",
        "vpopsql export apply, into an empty directory, start included",
        Unit.SECONDS,
        _export,
        is_bulk=True,
    ),
)

WORKLOADS: tuple[Workload, ...] = (
    *_WHOLE_SITES,
    *_login_workloads(),
    *_READING,
    *CHANGES,
    *FOOTPRINT,
    *GROWTH,
)
"""In the order in which they run: what imports comes first."""
