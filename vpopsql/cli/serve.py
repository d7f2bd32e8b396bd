"""``vpopsql serve``: the daemon."""

import contextlib
from collections.abc import Iterator

import click
import structlog

from vpopsql import logs
from vpopsql.cli import load_config
from vpopsql.config import Address, Config, listen_address
from vpopsql.daemon import scraping
from vpopsql.daemon.auth_server import answering
from vpopsql.daemon.authentication import Authenticator
from vpopsql.daemon.conversation import Service
from vpopsql.daemon.rehash import Rehasher, rehashing
from vpopsql.daemon.server import serve_stdio, serve_tcp
from vpopsql.db import Database
from vpopsql.errors import ExportFailed, VpopsqlError
from vpopsql.exporter import directories, moving
from vpopsql.exporter.hooks import Courier, hooks_in_background
from vpopsql.exporter.projector import Projector
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
@click.pass_context
def serve(ctx: click.Context, *, stdio: bool, metrics: Address | None) -> None:
    """Answer clients of the vpopmaild protocol."""
    if stdio and metrics:
        raise click.UsageError("--metrics is for the daemon that listens, not for --stdio")
    run(load_config(ctx), stdio=stdio, metrics=metrics)


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


def run(config: Config, *, stdio: bool, metrics: Address | None = None) -> None:
    """Serve until told to stop, or on standard input until the client is done.

    :param metrics: where to serve what is counted, of the daemon that listens.
    :raises CannotListen: an address cannot be had.
    :raises SchemaError: the database is not one that this code may serve.
    """
    logs.configure(config.log)
    listener = None if stdio else take_listener()
    settings = config.database
    database = Database(
        settings.url,
        pool_size=settings.pool_size,
        busy_timeout_s=settings.busy_timeout_s,
        patience_s=PATIENCE_S,
    )
    # Its transactions read whole domains, and nobody minds if that takes a while.
    for_files = Database(settings.url, pool_size=1, busy_timeout_s=settings.busy_timeout_s)
    with contextlib.closing(database), contextlib.closing(for_files):
        database.require_schema()
        courier = Courier(for_files, config)
        if stdio:
            files = Projector(for_files, config)
            rehasher = Rehasher(database, config, files)
            serve_stdio(Service(database, config, files, after_login=rehasher.take))
            rehasher.finish()
            # The client has gone: nobody waits for them.
            _tell_once(courier)
            return
        with hooks_in_background(courier) as wake:
            files = Projector(for_files, config, wake)
            _catch_up(files, for_files, config)
            with rehashing(database, config, files) as after_login:
                service = Service(database, config, files, after_login=after_login)
                with _metrics_of(service, metrics), _authentication_of(service):
                    serve_tcp(service, listener)


@contextlib.contextmanager
def _authentication_of(service: Service) -> Iterator[None]:
    settings = service.config.daemon
    if not settings.auth_socket:
        yield
        return
    authenticator = Authenticator(service.database, service.config, service.after_login)
    mode = int(settings.auth_socket_mode, 8)
    with answering(settings.auth_socket, mode, authenticator, settings.max_connections):
        log = structlog.get_logger("vpopsql.logins")
        log.info("checking logins", path=settings.auth_socket)
        yield


@contextlib.contextmanager
def _metrics_of(service: Service, address: Address | None) -> Iterator[None]:
    if address is None:
        yield
        return
    # A connection of its own, so that a page never waits for clients' ones.
    settings = service.config.database
    database = Database(settings.url, pool_size=1, patience_s=PATIENCE_S)
    with (
        contextlib.closing(database),
        scraping.served(address, lambda: scraping.page(service.metrics, database)) as there,
    ):
        log = structlog.get_logger("vpopsql.metrics")
        log.info("serving metrics", address=there.host, port=there.port)
        yield
