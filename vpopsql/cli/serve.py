"""``vpopsql serve``: the daemon."""

import contextlib
import ctypes
import functools
import ipaddress
import os
import pwd
import resource
import socket
from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass

import click
import structlog

from vpopsql import dumps, logs, passwords
from vpopsql.cli import load_config
from vpopsql.config import WORKERS_MAX, Address, Config, Daemon, listen_address
from vpopsql.daemon import auth_server, privileges, scraping
from vpopsql.daemon.authentication import Authenticator
from vpopsql.daemon.conversation import Service
from vpopsql.daemon.encryption import Certificate
from vpopsql.daemon.guard import guarding
from vpopsql.daemon.guessing import Pacer
from vpopsql.daemon.metrics import Metrics
from vpopsql.daemon.rehash import Rehasher, rehashing
from vpopsql.daemon.roster import Roster
from vpopsql.daemon.server import Listener, Server
from vpopsql.daemon.stdio import serve_stdio
from vpopsql.daemon.workers import Supervisor, serve_alone, usual_workers
from vpopsql.db import Database
from vpopsql.errors import ExportFailed, VpopsqlError
from vpopsql.exporter import directories, moving
from vpopsql.exporter.hooks import Courier, hooks_in_background
from vpopsql.exporter.projector import Projector
from vpopsql.exporter.retrying import retrying
from vpopsql.remembered import Remembered
from vpopsql.systemd import take_listener
from vpopsql.tree import Tree, UnsafePath


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


_M_ARENA_MAX = -8  # <malloc.h>

_OTHER_DESCRIPTORS = 512
"""For files, the database and programs that are run."""

PATIENCE_S = 4.0
"""How long a client's transaction may take before the database counts as out of order."""


def _catch_up(files: Projector, database: Database, config: Config) -> None:
    try:
        files.catch_up()
        moving.finish(database, config)
        # What is still there of what was deleted would seem not to be.
        directories.finish_deletions(database, Tree(config.paths.root, config.paths.places))
    except (ExportFailed, OSError, UnsafePath) as error:
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
    listeners: list[Listener]
    certificate: Certificate | None
    workers: int
    roster: Roster
    metrics: Metrics
    pacer: Pacer
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
    dumps.forbid()
    _share_arena()
    logs.configure(config.log)
    if stdio:
        _serve_one(config)
        return
    with contextlib.ExitStack() as held:
        settings = config.daemon
        user = privileges.find_user(settings.user)
        listeners = _listeners(settings, held)
        count = workers or settings.workers or usual_workers()
        auth = _auth_listener(settings, user, held)
        scraped = held.enter_context(scraping.listening(metrics)) if metrics else None
        _give_up_rights(config, user)
        shared = _Shared(
            config,
            listeners,
            # Read with the rights that it will be read again with.
            Certificate(settings) if settings.tls_certificate else None,
            count,
            Roster(settings.max_connections, count),
            Metrics(count),
            held.enter_context(contextlib.closing(_pacer(config))),
            [_inbox(held) for _ in range(count if count > 1 else 0)],
            auth,
            scraped,
        )
        _prepare(config)
        _allow_descriptors(settings.max_connections)
        log = structlog.get_logger("vpopsql.daemon")

        def ready() -> None:
            _tell_addresses(shared)

        def work(number: int) -> AbstractContextManager[Server]:
            return _worker(shared, number)

        if count == 1:
            serve_alone(work, ready)
        else:
            hooks_s = config.hooks.timeout_s if config.hooks.commands else 0.0
            finish_s = settings.drain_timeout_s + hooks_s
            Supervisor(count, work, shared.forget, finish_s).run(ready)
        log.info("stopped")


def _inbox(held: contextlib.ExitStack) -> tuple[socket.socket, socket.socket]:
    """Return the two ends of what workers hand connections over by, neither of which waits."""
    here, there = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    for end in (here, there):
        held.enter_context(end).setblocking(False)  # noqa: FBT003 - takes no keyword
    return here, there


def _listeners(settings: Daemon, held: contextlib.ExitStack) -> list[Listener]:
    listeners = [held.enter_context(Listener(take_listener() or settings.listen))]
    if settings.tls_listen:
        made = Listener(settings.tls_listen, is_tls=True, key="daemon.tls_listen")
        listeners.append(held.enter_context(made))
    return listeners


def _auth_listener(
    settings: Daemon, user: pwd.struct_passwd | None, held: contextlib.ExitStack
) -> socket.socket | None:
    if not settings.auth_socket:
        return None
    mode = int(settings.auth_socket_mode, 8)
    listener = held.enter_context(auth_server.listening(settings.auth_socket, mode))
    if user:
        os.chown(settings.auth_socket, user.pw_uid, user.pw_gid)
    return listener


def _give_up_rights(config: Config, user: pwd.struct_passwd | None) -> None:
    """Keep no right that is not needed from here on, unless the daemon is to be root."""
    if user:
        privileges.become(user)
    elif os.geteuid() == 0 and not config.daemon.user:
        of_lists = privileges.FOR_PROGRAMS if config.lists.ezmlm_make else ()
        privileges.keep_only((*privileges.FOR_FILES, *of_lists))


def _allow_descriptors(connections: int) -> None:
    """Let a process have the descriptors of all connections, as far as the system does."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = connections + _OTHER_DESCRIPTORS
    most = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    if soft != resource.RLIM_INFINITY and soft < most:
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))


def _share_arena() -> None:
    """Let all threads have their memory from one arena of glibc's.

    By itself it makes one for each thread, up to eight for each processor, and what one of them
    frees is of no use to another: a worker had a third more memory, and took an hour to get there.
    Threads hardly ever want memory at the same moment, as most of it is Python's own.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt:
        mallopt(_M_ARENA_MAX, 1)


def _prepare(config: Config) -> None:
    """Look at the database, and bring the files to it, before anybody is served.

    Nothing that is opened here stays open: workers are forked after it.
    """
    with contextlib.closing(_for_files(config)) as database:
        database.require_schema()
        _catch_up(Projector(database, config), database, config)


def _tell_addresses(shared: _Shared) -> None:
    if shared.scraped:
        host, port = shared.scraped.getsockname()[:2]
        structlog.get_logger("vpopsql.metrics").info("serving metrics", address=host, port=port)
    if path := shared.auth and shared.auth.getsockname():
        structlog.get_logger("vpopsql.logins").info("checking logins", path=path)
    log = structlog.get_logger("vpopsql.daemon")
    for listener in shared.listeners:
        host, port = listener.socket.getsockname()[:2]
        log.info(
            "listening",
            address=host,
            port=port,
            tls=listener.is_tls,
            workers=shared.workers,
            uid=os.geteuid(),
        )
        is_open = not (listener.is_tls or ipaddress.ip_address(host).is_loopback)
        if is_open and not shared.config.daemon.allow_clear_text:
            log.warning("only TLS logins from other hosts", see="daemon.allow_clear_text")


def _database(config: Config, workers: int = 1) -> Database:
    """Return the database for clients, with the part of the connections that a worker may have."""
    settings = config.database
    return Database(
        settings.url,
        pool_size=max(-(-settings.pool_size // workers), min(settings.pool_size, 2)),
        busy_timeout_s=settings.busy_timeout_s,
        patience_s=PATIENCE_S,
        key_file=config.passwords.key_file,
    )


def _remembered(config: Config) -> Remembered:
    """Return what verifies passwords, as this site makes its hashes."""
    settings = config.passwords
    return Remembered(settings.remember_s, (settings.scheme, settings.rounds))


def _pacer(config: Config) -> Pacer:
    """Return what counts failed logins, for all workers that are forked later."""
    settings = config.daemon
    longest_s = settings.login_delay_max_s
    if settings.guessing_file:
        return Pacer.on_file(settings.guessing_file, longest_s)
    return Pacer(longest_s)


def _for_files(config: Config) -> Database:
    """Return the database for files: its transactions read whole domains, and may take a while."""
    settings = config.database
    return Database(
        settings.url,
        pool_size=1,
        busy_timeout_s=settings.busy_timeout_s,
        key_file=config.passwords.key_file,
    )


@contextlib.contextmanager
def _worker(shared: _Shared, number: int) -> Iterator[Server]:
    """Give what a worker serves, with connections and threads of its own."""
    config = shared.config
    shared.metrics.count_for(number)
    passwords.start_helpers()
    with contextlib.ExitStack() as held:
        database = held.enter_context(contextlib.closing(_database(config, shared.workers)))
        for_files = held.enter_context(contextlib.closing(_for_files(config)))
        wake = held.enter_context(hooks_in_background(Courier(for_files, config)))
        files = held.enter_context(retrying(Projector(for_files, config, wake)))
        after_login = held.enter_context(rehashing(database, config, files))
        guard = held.enter_context(guarding(for_files, config, shared.pacer))
        service = Service(
            database,
            config,
            files,
            metrics=shared.metrics,
            verify=_remembered(config).verify,
            after_login=after_login,
            door=guard,
        )
        if shared.auth:
            authenticator = Authenticator(
                database, config, after_login=after_login, verify=service.verify, door=guard
            )
            most = -(-config.daemon.max_connections // shared.workers)
            held.enter_context(auth_server.answering(shared.auth, authenticator, most))
        if shared.scraped and number == 0:
            # A connection of its own, so that a page never waits for clients' ones.
            of_page = Database(config.database.url, pool_size=1, patience_s=PATIENCE_S)
            held.enter_context(contextlib.closing(of_page))
            make = functools.partial(scraping.page, shared.metrics, of_page)
            held.enter_context(scraping.served(shared.scraped, make))
        yield Server(
            service, shared.listeners, shared.roster, number, shared.inboxes, shared.certificate
        )


def _serve_one(config: Config) -> None:
    """Serve one client on standard input and output."""
    with (
        contextlib.closing(_database(config)) as database,
        contextlib.closing(_for_files(config)) as for_files,
    ):
        database.require_schema()
        files = Projector(for_files, config)
        rehasher = Rehasher(database, config, files)
        with (
            contextlib.closing(_pacer(config)) as pacer,
            guarding(for_files, config, pacer) as guard,
        ):
            serve_stdio(
                Service(
                    database,
                    config,
                    files,
                    verify=_remembered(config).verify,
                    after_login=rehasher.take,
                    door=guard,
                )
            )
        rehasher.finish()
        # The client has gone: nobody waits for them.
        _tell_once(Courier(for_files, config))
