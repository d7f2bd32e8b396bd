"""What a daemon counts, and the page that Prometheus reads it from."""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner
from prometheus_client.parser import text_string_to_metric_families

from tests import factories
from tests.daemon.conftest import Running, Talk, settings
from tests.transcripts import Client
from vpopsql import errors
from vpopsql.cli import cli
from vpopsql.config import Address
from vpopsql.daemon import scraping
from vpopsql.daemon.conversation import Conversation, Peer, Service
from vpopsql.daemon.metrics import Metrics, Result
from vpopsql.db import Database
from vpopsql.exposition import render
from vpopsql.model import Export, Flag, Revision

Figures = dict[tuple[str, ...], float]
Ask = Callable[[bytes], bytes]

on_sqlite = pytest.mark.parametrize("_backend", ["sqlite"], indirect=True)
RUN = "from vpopsql.cli import main; main()"
GET = b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n"


def parsed(text: str) -> Figures:
    """Return each number by its name, without "vpopsql_", and the values of its labels."""
    return {
        (sample.name.removeprefix("vpopsql_"), *sample.labels.values()): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def counted(metrics: Metrics) -> Figures:
    return parsed(render(metrics.families()))


@pytest.fixture
def site(database: Database) -> Database:
    with database.writer() as session:
        root = factories.domain(session, "root.example")
        factories.mailbox(session, root, "postmaster", Flag.SA_ADMIN)
    return database


@pytest.fixture
def daemon(site: Database, start: Callable[..., Running], tmp_path: Path) -> Running:
    return start(tmp_path)


def metrics_of(daemon: Running) -> Metrics:
    return daemon.server.service.metrics


# --- what is counted --------------------------------------------------------------------------


@on_sqlite
def test_commands_are_counted_by_verb_and_result(
    daemon: Running, talk_to: Callable[..., Talk]
) -> None:
    talk = talk_to(daemon, "postmaster@root.example", factories.PASSWORD)

    talk.ask("domain_count")
    talk.ask("domain_count")
    talk.ask("user_info nobody@root.example")
    talk.ask("secret-word-that-is-no-verb")
    talk.change("mod_user postmaster@root.example", "comment New")

    found = counted(metrics_of(daemon))
    assert {
        key[1:]: value for key, value in found.items() if key[0] == "daemon_commands_total"
    } == {
        ("domain_count", "ok"): 2,
        ("mod_user", "ok"): 1,
        ("slogin", "ok"): 1,
        ("unknown", "refused"): 1,
        ("user_info", "refused"): 1,
    }
    assert found["daemon_command_duration_seconds_count", "domain_count"] == 2
    assert found["daemon_command_duration_seconds_bucket", "domain_count", "+Inf"] == 2
    assert found["daemon_command_duration_seconds_sum", "domain_count"] > 0
    assert found["daemon_file_updates_total", "ok"] == 1


@on_sqlite
def test_logins_are_counted(daemon: Running, talk_to: Callable[..., Talk]) -> None:
    talk = talk_to(daemon, "postmaster@root.example", factories.PASSWORD)
    other = Talk(daemon.address)
    other.ask("slogin postmaster@root.example wrong")
    other.ask("slogin b!d\x7f@root.example wrong")

    found = counted(metrics_of(daemon))

    other.client.close()
    talk.client.close()
    assert found["daemon_logins_total", "ok"] == 1
    assert found["daemon_logins_total", "failed"] == 2


@on_sqlite
def test_connections_are_counted_in_and_out(
    site: Database, start: Callable[..., Running], tmp_path: Path
) -> None:
    daemon = start(tmp_path)
    metrics = metrics_of(daemon)
    first, second = Talk(daemon.address), Talk(daemon.address)

    both = counted(metrics)
    first.ask("quit")
    first.client.close()
    until(lambda: counted(metrics)["daemon_connections_open",] == 1)

    second.client.close()
    until(lambda: counted(metrics)["daemon_connections_open",] == 0)
    assert both["daemon_connections_open",] == 2
    assert both["daemon_connections_total", "accepted"] == 2
    assert both["daemon_connections_total", "refused"] == 0


def until(is_so: Callable[[], bool]) -> None:
    """Wait for something to happen."""
    deadline = time.monotonic() + 20
    while not is_so() and time.monotonic() < deadline:
        time.sleep(0.01)
    assert is_so()


@on_sqlite
def test_connections_beyond_the_limit_are_counted_as_refused(daemon: Running) -> None:
    clients = [Talk(daemon.address).client for _ in range(50)]

    refused = Client(daemon.address)
    refused.line()

    found = counted(metrics_of(daemon))
    with contextlib.ExitStack() as opened:
        for client in (*clients, refused):
            opened.callback(client.close)
    assert found["daemon_connections_total", "accepted"] == 50
    assert found["daemon_connections_total", "refused"] == 1
    assert found["daemon_connections_open",] == 50


class BrokenFiles:
    """Files that cannot be written."""

    def follow(self, _touched: object) -> None:
        raise errors.ExportFailed("/var/qmail: No space left on device")


@pytest.fixture
def spoken(site: Database, tmp_path: Path) -> tuple[Conversation, Metrics]:
    """A conversation, logged in, of a daemon that cannot write files; and what it counts."""
    service = Service(site, settings(str(site.url), tmp_path), BrokenFiles())
    conversation = Conversation(service, Peer())
    conversation.receive(f"slogin postmaster@root.example {factories.PASSWORD}".encode())
    return conversation, service.metrics


@on_sqlite
def test_an_outage_is_counted(
    site: Database, spoken: tuple[Conversation, Metrics], monkeypatch: pytest.MonkeyPatch
) -> None:
    conversation, metrics = spoken

    def unavailable(_work: object) -> None:
        raise errors.DatabaseUnavailable("gone")

    monkeypatch.setattr(site, "read", unavailable)
    conversation.receive(b"domain_count")

    found = counted(metrics)
    assert found["daemon_commands_total", "domain_count", "database_unavailable"] == 1
    # It was tried twice.
    assert found["daemon_database_errors_total",] == 2


@on_sqlite
def test_a_defect_is_counted(
    spoken: tuple[Conversation, Metrics], monkeypatch: pytest.MonkeyPatch
) -> None:
    conversation, metrics = spoken
    monkeypatch.setattr("vpopsql.services.domains.count_domains", lambda _: 1 / 0)

    conversation.receive(b"domain_count")

    assert counted(metrics)["daemon_commands_total", "domain_count", "internal_error"] == 1


@on_sqlite
def test_files_that_cannot_be_written_are_counted(
    spoken: tuple[Conversation, Metrics],
) -> None:
    conversation, metrics = spoken

    conversation.receive(b"add_alias info@root.example &postmaster@root.example")

    found = counted(metrics)
    assert found["daemon_commands_total", "add_alias", "files_behind"] == 1
    assert found["daemon_file_updates_total", "failed"] == 1
    assert found["daemon_file_update_duration_seconds_count",] == 1


def test_threads_lose_no_count() -> None:
    metrics = Metrics()

    def work() -> None:
        for _ in range(2000):
            metrics.command("domain_count", Result.OK, 0.001)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    found = counted(metrics)
    assert found["daemon_commands_total", "domain_count", "ok"] == 8000
    assert found["daemon_command_duration_seconds_bucket", "domain_count", "0.001"] == 8000


# --- the page ---------------------------------------------------------------------------------


@pytest.fixture
def ask() -> Iterator[Ask]:
    """A function that sends bytes to a page of the text "page" and returns all that comes."""
    with page_of(lambda: "page\n") as address:
        yield lambda request: fetch(address, request)


@contextlib.contextmanager
def page_of(make: Callable[[], str]) -> Iterator[tuple[str, int]]:
    """Serve a page; give its address."""
    with (
        scraping.listening(Address("127.0.0.1", 0)) as listener,
        scraping.served(listener, make),
    ):
        yield listener.getsockname()


def fetch(address: tuple[str, int], request: bytes) -> bytes:
    with socket.create_connection(address, timeout=20) as client:
        client.sendall(request)
        received = b""
        while data := client.recv(65536):
            received += data
        return received


def test_the_page_is_given(ask: Ask) -> None:
    assert ask(GET) == (
        b"HTTP/1.1 200 OK\r\nContent-Type: text/plain; version=0.0.4; charset=utf-8\r\n"
        b"Content-Length: 5\r\nConnection: close\r\n\r\npage\n"
    )


@pytest.mark.parametrize(
    "request_, status",
    [
        (b"GET /metrics?x=1 HTTP/1.0\r\n\r\n", b"200 OK"),
        (b"GET / HTTP/1.1\r\n\r\n", b"404 Not Found"),
        (b"GET /metrics/ HTTP/1.1\r\n\r\n", b"404 Not Found"),
        (b"POST /metrics HTTP/1.1\r\n\r\n", b"405 Method Not Allowed"),
        (b"HEAD /metrics HTTP/1.1\r\n\r\n", b"405 Method Not Allowed"),
        (b"slogin a b\r\n\r\n", b"400 Bad Request"),
        (b"\r\n\r\n", b"400 Bad Request"),
        (b"GET /metrics HTTP/1.1\r\nX: " + b"x" * 8192, b"400 Bad Request"),
    ],
)
def test_nothing_else_is_given(ask: Ask, request_: bytes, status: bytes) -> None:
    answer = ask(request_)

    assert answer.partition(b"\r\n")[0] == b"HTTP/1.1 " + status
    assert (b"page" in answer) == (status == b"200 OK")


def test_a_client_that_says_nothing_does_not_hold_up_the_next_for_long(
    ask: Ask, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scraping, "_PATIENCE_S", 0.1)
    with page_of(lambda: "page\n") as address:
        silent = socket.create_connection(address)
        silent.sendall(b"GET /metr")

        answer = fetch(address, GET)

        silent.close()
    assert answer.endswith(b"page\n")


def test_a_page_that_cannot_be_made_does_not_end_the_others() -> None:
    pages: Iterator[Exception | str] = iter([ZeroDivisionError(), "page\n"])

    def make() -> str:
        page = next(pages)
        if isinstance(page, Exception):
            raise page
        return page

    with page_of(make) as address:
        broken, whole = fetch(address, GET), fetch(address, GET)

    assert (broken, whole[-5:]) == (b"", b"page\n")


def test_an_address_that_is_taken_is_refused() -> None:
    with scraping.listening(Address("127.0.0.1", 0)) as listener:
        taken = Address(*listener.getsockname())

        with pytest.raises(errors.CannotListen, match=f"--metrics: cannot listen on {taken}: "):
            scraping.listening(taken)


def test_the_page_tells_of_the_daemon_and_of_exports(site: Database) -> None:
    with site.writer() as session:
        session.add(Revision(topic="test"))
        session.flush()
        session.add(Export(revision=1, files_changed=1))
    metrics = Metrics()
    metrics.command("quit", Result.OK, 0.5)

    found = parsed(scraping.page(metrics, site))

    assert found["daemon_commands_total", "quit", "ok"] == 1
    assert found["database_up",] == 1
    assert (found["revision",], found["export_lag_revisions",]) == (1, 0)


@on_sqlite
def test_the_page_is_there_while_the_database_is_away(
    site: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unavailable() -> None:
        raise errors.DatabaseUnavailable("gone")

    monkeypatch.setattr(site, "reader", unavailable)

    found = parsed(scraping.page(Metrics(), site))

    assert found["database_up",] == 0
    assert found["daemon_connections_open",] == 0
    assert ("revision",) not in found


# --- the command ------------------------------------------------------------------------------


@on_sqlite
def test_a_daemon_serves_its_page_until_it_ends(
    site: Database, database_url: str, tmp_path: Path
) -> None:
    daemon = subprocess.Popen(
        [sys.executable, "-c", RUN, "serve", "--metrics", "0"],
        stderr=subprocess.PIPE,
        env=os.environ
        | {
            "VPOPSQL_DATABASE_URL": database_url,
            "VPOPSQL_DAEMON_LISTEN": "127.0.0.1:0",
            "VPOPSQL_PATHS_ROOT": str(tmp_path),
        },
    )
    assert daemon.stderr is not None
    try:
        events = [json.loads(daemon.stderr.readline()) for _ in range(2)]
        page = fetch((events[0]["address"], events[0]["port"]), GET)
    finally:
        daemon.send_signal(signal.SIGTERM)
        daemon.communicate(timeout=60)

    assert [each["event"] for each in events] == ["serving metrics", "listening"]
    assert events[0]["address"] == "127.0.0.1"
    assert parsed(page.partition(b"\r\n\r\n")[2].decode())["database_up",] == 1
    assert daemon.returncode == 0


@pytest.mark.parametrize(
    "words, complaint",
    [
        (["--metrics", "everywhere"], "'everywhere' is neither host:port nor a port"),
        (["--metrics", "99999"], "'99999' is neither host:port nor a port"),
        (["--stdio", "--metrics", "0"], "--metrics is for the daemon that listens"),
    ],
)
def test_what_makes_no_sense_is_refused(words: list[str], complaint: str) -> None:
    refused = CliRunner().invoke(cli, ["serve", *words])

    assert refused.exit_code == 2
    assert complaint in refused.stderr
