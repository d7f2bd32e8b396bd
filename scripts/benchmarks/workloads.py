"""The workloads: what each is called, what it does, and how it is measured."""

import contextlib
import enum
import itertools
import random
import shutil
import statistics
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from scripts.benchmarks.client import Client
from scripts.benchmarks.load import Job, Step, drive
from scripts.benchmarks.site import PASSWORD
from scripts.benchmarks.stage import DatabaseStage, Options, Run, Stage, repeat


class Unit(enum.StrEnum):
    """What a figure counts."""

    PER_SECOND = "per_second"
    SECONDS = "seconds"


@dataclass(frozen=True, slots=True)
class Workload:
    """Something to measure."""

    name: str
    what: str
    unit: Unit
    site: str
    """The site it is about: ``users`` or ``domains``."""
    run: Callable[[DatabaseStage], list[Run]]
    on_stub: Callable[[Stage], list[Run]] | None = None
    """How the driver shows what it can do by itself, for workloads where that may matter."""
    is_bulk: bool = False
    """Whether it handles every mailbox of the site, so that mailboxes a second make sense."""

    def size(self, options: Options) -> int:
        """Return the size of the site that it is about."""
        return options.users if self.site == "users" else options.domains


# --- over the wire ------------------------------------------------------------------------------


def _rate(make_job: Callable[[Stage], Job], workers: int = 1) -> Callable[[Stage], list[Run]]:
    """Measure how many steps a second some workers do at once."""

    def run(stage: Stage) -> list[Run]:
        job = make_job(stage)

        def measure() -> tuple[float, list[float]]:
            load = drive(job, workers, stage.options.seconds)
            return load.per_second, load.latencies_s

        return repeat(stage.options, measure)

    return run


def _time(make_job: Callable[[Stage], Job]) -> Callable[[Stage], list[Run]]:
    """Measure how long a step of one worker usually takes."""

    def run(stage: Stage) -> list[Run]:
        job = make_job(stage)

        def measure() -> tuple[float, list[float]]:
            load = drive(job, 1, stage.options.seconds)
            return statistics.median(load.latencies_s), load.latencies_s

        return repeat(stage.options, measure)

    return run


def _logins(domain_index: int) -> Callable[[Stage], Job]:
    """Connect, greeting, slogin, quit: a hundred users of a domain, in turn."""

    def make_job(stage: Stage) -> Job:
        port = stage.port("users")
        addresses = stage.sites.get("users").domains[domain_index].addresses[:100]
        lines = [f"slogin {address} {PASSWORD}".encode() for address in addresses]

        @contextlib.contextmanager
        def job(worker: int) -> Iterator[Step]:
            turn = itertools.cycle(lines[worker % len(lines) :] + lines[: worker % len(lines)])

            def step() -> None:
                with Client(port) as client:
                    client.ask(next(turn))
                    client.ask(b"quit")

            yield step

        return job

    return make_job


def _commands(
    site: str, make_lines: Callable[[Stage], list[bytes]], login: str = "slogin"
) -> Callable[[Stage], Job]:
    """Ask for one line after the other on one connection of a system administrator."""

    def make_job(stage: Stage) -> Job:
        port, lines = stage.port(site), make_lines(stage)
        administrator = stage.sites.get(site).main.addresses[0]

        @contextlib.contextmanager
        def job(_worker: int) -> Iterator[Step]:
            with Client(port) as client:
                client.ask(f"{login} {administrator} {PASSWORD}".encode())
                turn = itertools.cycle(lines)
                yield lambda: client.ask(next(turn))

        return job

    return make_job


def _user_info(stage: Stage) -> list[bytes]:
    addresses = stage.sites.get("users").main.addresses
    random.Random(1).shuffle(addresses)  # noqa: S311 - the same order in every run
    return [f"user_info {address}".encode() for address in addresses]


def _list_users(stage: Stage) -> list[bytes]:
    return [f"list_users {stage.sites.get('users').main.name}".encode()]


def _last_page(stage: Stage) -> list[bytes]:
    domain = stage.sites.get("users").main
    return [f"list_users {domain.name} {-(-domain.users // 10)} 10".encode()]


def _user_count(stage: Stage) -> list[bytes]:
    return [f"user_count {stage.sites.get('users').main.name}".encode()]


def _list_domains(_stage: Stage) -> list[bytes]:
    return [b"list_domains"]


# --- whole sites --------------------------------------------------------------------------------


def _import(stage: DatabaseStage) -> list[Run]:
    def measure() -> tuple[float, list[float]]:
        seconds = stage.import_site("users")
        return seconds, [seconds]

    stage.sites.get("users")
    return repeat(stage.options, measure)


def _export(stage: DatabaseStage) -> list[Run]:
    def measure() -> tuple[float, list[float]]:
        root = stage.directory("exported")
        root.mkdir()
        seconds = stage.export_site("users", root)
        shutil.rmtree(root)
        return seconds, [seconds]

    stage.imported("users")
    return repeat(stage.options, measure)


# --- the table ----------------------------------------------------------------------------------


def _login_workloads() -> Iterator[Workload]:
    for domain_index, scheme in enumerate(("md5", "sha512")):
        for workers in (1, 8, 32):
            run = _rate(_logins(domain_index), workers)
            yield Workload(
                f"login-{scheme}-{workers}",
                f"connect, greeting, slogin, quit; {workers} at once; {scheme.upper()} hashes",
                Unit.PER_SECOND,
                "users",
                run,
                # What is in the hash makes no difference to the driver.
                on_stub=run if scheme == "md5" else None,
            )


_EXPANDED = _time(_commands("users", _list_users, "login"))
_INFO = _rate(_commands("users", _user_info))

WORKLOADS: tuple[Workload, ...] = (
    Workload(
        "import",
        "vpopsql import tree --apply, into an empty database, start and verification included",
        Unit.SECONDS,
        "users",
        _import,
        is_bulk=True,
    ),
    Workload(
        "export",
        "vpopsql export apply, into an empty directory, start included",
        Unit.SECONDS,
        "users",
        _export,
        is_bulk=True,
    ),
    *_login_workloads(),
    Workload(
        "user_info",
        "user_info of every mailbox in random order, one connection",
        Unit.PER_SECOND,
        "users",
        _INFO,
        on_stub=_INFO,
    ),
    Workload(
        "list_users-expanded",
        "list_users of the whole domain after login",
        Unit.SECONDS,
        "users",
        _EXPANDED,
        on_stub=_EXPANDED,
    ),
    Workload(
        "list_users-compact",
        "list_users of the whole domain after slogin",
        Unit.SECONDS,
        "users",
        _time(_commands("users", _list_users)),
    ),
    Workload(
        "list_users-last-page",
        "list_users, the last page of 10",
        Unit.SECONDS,
        "users",
        _time(_commands("users", _last_page)),
    ),
    Workload(
        "user_count",
        "user_count of the domain",
        Unit.SECONDS,
        "users",
        _time(_commands("users", _user_count)),
    ),
    Workload(
        "list_domains",
        "list_domains of a site of many domains",
        Unit.SECONDS,
        "domains",
        _time(_commands("domains", _list_domains)),
    ),
)
"""In the order in which they run: what imports comes first."""
