"""``vpopsql serve``: the daemon."""

import contextlib
import functools
import socket
from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass

import click
import structlog

from vpopsql import logs
from vpopsql.cli import load_config
from vpopsql.config import WORKERS_MAX, Address, Config, Daemon, listen_address
from vpopsql.daemon import auth_server, scraping
from vpopsql.daemon.authentication import Authenticator
from vpopsql.daemon.conversation import Service
from vpopsql.daemon.metrics import Metrics
from vpopsql.daemon.rehash import Rehasher, rehashing
from vpopsql.daemon.roster import Roster
from vpopsql.daemon.server import Server, listen
from vpopsql.daemon.stdio import serve_stdio
from vpopsql.daemon.workers import Supervisor, serve_alone, usual_workers
from vpopsql.db import Database
from vpopsql.errors import ExportFailed, VpopsqlError
from vpopsql.exporter import moving
from vpopsql.exporter.hooks import Courier, hooks_in_background
from vpopsql.exporter.projector import Projector
from vpopsql.systemd import take_listener


class _MetricsAddress(click.ParamType[Address]):
    """``host:port``, or a port on loopback."""

    name = "host:port"

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> Address:
        """Return it."""
        text = str(value)
        try:
            return listen_address(f"127.0.0.1:{text}" if text.isdecimal() else text)
        except ValueError:
            self.fail(f"{text!r} is neither host:port nor a port", param, ctx)


@click.command()
@click.option("--stdio", is_flag=True, help="Serve one client on standard input and output.")
@click.option(
    "--metrics",
    type=_MetricsAddress(),
    help="Also serve counters for Prometheus there, at /metrics; a port alone is on loopback.",
)
@click.option(
    "--workers",
    type=click.IntRange(1, WORKERS_MAX),
    help="How many processes serve; default: as daemon.workers says.",
)
@click.pass_context
def serve(
    ctx: click.Context, *, stdio: bool, metrics: Address | None, workers: int | None
) -> None:
    """Answer clients of the vpopmaild protocol."""
    for name, value in (("--metrics", metrics), ("--workers", workers)):
        if stdio and value:
            raise click.UsageError(f"{name} is for the daemon that listens, not for --stdio")
    run(load_config(ctx), stdio=stdio, metrics=metrics, workers=workers)


PATIENCE_S = 4.0
"""How long a client's transaction may take before the database counts as out of order."""


def _catch_up(files: Projector, database: Database, config: Config) -> None:
    try:
        files.catch_up()
        moving.finish(database, config)
    except ExportFailed as error:
        # Reading works without files, and each change says itself when they cannot be written.
        structlog.get_logger("vpopsql.daemon").error("files behind", error=str(error))


def _tell_once(courier: Courier) -> None:
    try:
        failures = courier.deliver() if courier.is_needed else []
    except VpopsqlError as error:
        failures = [str(error)]
    if failures:
        structlog.get_logger("vpopsql.hooks").error("hooks failed", errors=failures)


@dataclass(frozen=True, slots=True)
class _Shared:
    """What is made once, before there are workers."""

    config: Config
    listener: socket.socket
    workers: int
    roster: Roster
    metrics: Metrics
    inboxes: list[tuple[socket.socket, socket.socket]]
    auth: socket.socket | None
    scraped: socket.socket | None

    def forget(self, worker: int) -> None:
        """Count out what a worker has left behind."""
        self.roster.forget(worker)
        self.metrics.count_out(worker)


def run(
    config: Config, *, stdio: bool, metrics: Address | None = None, workers: int | None = None
) -> None:
    """Serve until told to stop, or on standard input until the client is done.

    :param metrics: where to serve what is counted, of the daemon that listens.
    :param workers: how many processes serve; None: as the configuration says.
    :raises CannotListen: an address cannot be had.
    :raises SchemaError: the database is not one that this code may serve.
    """
    logs.configure(config.log)
    if stdio:
        _serve_one(config)
        return
    with contextlib.ExitStack() as held:
        settings = config.daemon
        listener = held.enter_context(take_listener() or listen(settings.listen))
        count = workers or settings.workers or usual_workers()
        shared = _Shared(
            config,
            listener,
            count,
            Roster(settings.max_connections, count),
            Metrics(count),
            [_inbox(held) for _ in range(count if count > 1 else 0)],
            _auth_listener(settings, held),
            held.enter_context(scraping.listening(metrics)) if metrics else None,
        )
        _prepare(config)
        log = structlog.get_logger("vpopsql.daemon")

        def ready() -> None:
            _tell_addresses(shared)

        def work(number: int) -> AbstractContextManager[Server]:
            return _worker(shared, number)

        if count == 1:
            serve_alone(work, ready)
        else:
            Supervisor(count, work, shared.forget, settings.drain_timeout_s).run(ready)
        log.info("stopped")


def _inbox(held: contextlib.ExitStack) -> tuple[socket.socket, socket.socket]:
    """Return the two ends of what workers hand connections over by, neither of which waits."""
    here, there = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    for end in (here, there):
        held.enter_context(end).setblocking(False)  # noqa: FBT003 - takes no keyword
    return here, there


def _auth_listener(settings: Daemon, held: contextlib.ExitStack) -> socket.socket | None:
    if not settings.auth_socket:
        return None
    mode = int(settings.auth_socket_mode, 8)
    return held.enter_context(auth_server.listening(settings.auth_socket, mode))


def _prepare(config: Config) -> None:
    """Look at the database, and bring the files to it, before anybody is served.

    Nothing that is opened here stays open: workers are forked after it.
    """
    settings = config.database
    database = Database(settings.url, pool_size=1, busy_timeout_s=settings.busy_timeout_s)
    with contextlib.closing(database):
        database.require_schema()
        _catch_up(Projector(database, config), database, config)


def _tell_addresses(shared: _Shared) -> None:
    if shared.scraped:
        host, port = shared.scraped.getsockname()[:2]
        structlog.get_logger("vpopsql.metrics").info("serving metrics", address=host, port=port)
    if path := shared.auth and shared.auth.getsockname():
        structlog.get_logger("vpopsql.logins").info("checking logins", path=path)
    host, port = shared.listener.getsockname()[:2]
    log = structlog.get_logger("vpopsql.daemon")
    log.info("listening", address=host, port=port, workers=shared.workers)


def _database(config: Config, workers: int = 1) -> Database:
    """Return the database for clients, with the part of the connections that a worker may have."""
    settings = config.database
    return Database(
        settings.url,
        pool_size=max(-(-settings.pool_size // workers), min(settings.pool_size, 2)),
        busy_timeout_s=settings.busy_timeout_s,
        patience_s=PATIENCE_S,
    )


def _for_files(config: Config) -> Database:
    """Return the database for files: its transactions read whole domains, and may take a while."""
    settings = config.database
    return Database(settings.url, pool_size=1, busy_timeout_s=settings.busy_timeout_s)


@contextlib.contextmanager
def _worker(shared: _Shared, number: int) -> Iterator[Server]:
    """Give what a worker serves, with connections and threads of its own."""
    config = shared.config
    shared.metrics.count_for(number)
    with contextlib.ExitStack() as held:
        database = held.enter_context(contextlib.closing(_database(config, shared.workers)))
        for_files = held.enter_context(contextlib.closing(_for_files(config)))
        wake = held.enter_context(hooks_in_background(Courier(for_files, config)))
        files = Projector(for_files, config, wake)
        after_login = held.enter_context(rehashing(database, config, files))
        service = Service(database, config, files, shared.metrics, after_login)
        if shared.auth:
            authenticator = Authenticator(database, config, after_login)
            most = -(-config.daemon.max_connections // shared.workers)
            held.enter_context(auth_server.answering(shared.auth, authenticator, most))
        if shared.scraped and number == 0:
            # A connection of its own, so that a page never waits for clients' ones.
            of_page = Database(config.database.url, pool_size=1, patience_s=PATIENCE_S)
            held.enter_context(contextlib.closing(of_page))
            make = functools.partial(scraping.page, shared.metrics, of_page)
            held.enter_context(scraping.served(shared.scraped, make))
        yield Server(service, shared.listener, shared.roster, number, shared.inboxes)


def _serve_one(config: Config) -> None:
    """Serve one client on standard input and output."""
    with (
        contextlib.closing(_database(config)) as database,
        contextlib.closing(_for_files(config)) as for_files,
    ):
        database.require_schema()
        files = Projector(for_files, config)
        rehasher = Rehasher(database, config, files)
        serve_stdio(Service(database, config, files, after_login=rehasher.take))
        rehasher.finish()
        # The client has gone: nobody waits for them.
        _tell_once(Courier(for_files, config))
