"""How much memory a daemon has, all of its processes together."""

import contextlib
import time
from collections.abc import Callable, Iterator

from scripts.benchmarks.client import Client
from scripts.benchmarks.memory import MemorySampler, memory_of
from scripts.benchmarks.site import PASSWORD
from scripts.benchmarks.stage import DatabaseStage, Measured, Options, Run, repeat
from scripts.benchmarks.workload import Unit, Workload, login
from scripts.libcrypt import crypt
from scripts.sites.shape import HOME
from vpopsql.bulk import continue_ids, insert_rows
from vpopsql.db import Database
from vpopsql.model import Base, CatchAll, Flag

_IDLE_MAX = 2_000
_SETTLE_S = 0.5
_LISTED = "listed.example"


def _connections(options: Options) -> int:
    return min(_IDLE_MAX, options.users)


def _listed(options: Options) -> int:
    return 10 * options.users


def _measured(
    site: str, variant: str, hold: Callable[[DatabaseStage, int], contextlib.ExitStack]
) -> Callable[[DatabaseStage], list[Run]]:
    """Look at a daemon that has just been started, while something is held."""

    def run(stage: DatabaseStage) -> list[Run]:
        def take() -> Measured:
            with stage.fresh(site, variant) as daemon, hold(stage, daemon.port):
                time.sleep(_SETTLE_S)
                return Measured(memory_of(daemon.pid), [])

        return repeat(stage.options, take)

    return run


def _nothing(_stage: DatabaseStage, _port: int) -> contextlib.ExitStack:
    return contextlib.ExitStack()


def _clients(stage: DatabaseStage, port: int) -> contextlib.ExitStack:
    with contextlib.ExitStack() as stack:
        for _ in range(_connections(stage.options)):
            login(stack.enter_context(Client(port)), stage, "users")
        return stack.pop_all()


def _listing(stage: DatabaseStage) -> list[Run]:
    stage.fill(_LISTED, lambda url: _fill(url, _listed(stage.options)))

    def take() -> Measured:
        with stage.fresh(_LISTED) as daemon, Client(daemon.port) as client:
            client.ask(f"slogin postmaster@{_LISTED} {PASSWORD}".encode())
            with MemorySampler(daemon.pid) as sampler:
                client.ask(f"list_users {_LISTED}".encode())
            return Measured(max(sampler.peak, memory_of(daemon.pid)), [])

    return repeat(stage.options, take)


def _fill(url: str, users: int) -> None:
    """Make one domain of many users."""
    directory = f"{HOME}/domains/{_LISTED}"
    hashed = crypt(PASSWORD.encode(), b"$1$listed$").decode("ascii")
    tables = Base.metadata.tables
    database = Database(url)
    with contextlib.closing(database), database.writer() as session:
        insert_rows(
            session,
            tables["domains"],
            ("id", "directory", "uid", "gid", "catchall"),
            [(1, directory, 89, 89, CatchAll.BOUNCE)],
        )
        insert_rows(
            session,
            tables["domain_names"],
            ("name", "domain_id", "is_alias", "sort_key", "in_morercpthosts"),
            [(_LISTED, 1, False, _LISTED, False)],
        )
        insert_rows(
            session,
            tables["mailboxes"],
            (
                *("id", "domain_id", "name", "password_hash", "apop_uid", "flags"),
                *("comment", "directory", "quota_text"),
            ),
            _rows(users, hashed, directory),
        )
        for name in ("domains", "mailboxes"):
            continue_ids(session, tables[name])


def _rows(users: int, hashed: str, directory: str) -> Iterator[tuple[object, ...]]:
    yield 1, 1, "postmaster", hashed, 1, Flag.SA_ADMIN.value, "", f"{directory}/p", "NOQUOTA"
    for number in range(2, users + 1):
        name = f"user{number:07}"
        yield number, 1, name, hashed, 1, 0, f"User {number}", f"{directory}/{name}", "NOQUOTA"


FOOTPRINT: tuple[Workload, ...] = (
    Workload(
        "memory-idle",
        "memory of the daemon that nobody has asked anything yet",
        Unit.BYTES,
        _measured("users", "", _nothing),
    ),
    Workload(
        "memory-connections",
        "memory with 2,000 idle connections that have logged in",
        Unit.BYTES,
        _measured("users", "crowd", _clients),
        size=_connections,
    ),
    Workload(
        "memory-listing",
        "memory while list_users gives ten times as many users as the site has elsewhere",
        Unit.BYTES,
        _listing,
        size=_listed,
    ),
)
