"""Tests that pass, and tell secrets meanwhile: what `tests.test_told` has the watch find.

Pytest collects this file only where it is named. Each test but those of innocents plants one
secret in one kind of place.
"""

import html
import json
import logging
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import click
import pytest
import structlog
from click.testing import CliRunner
from sqlalchemy import make_url

from tests import factories
from tests.transcripts import Client
from vpopsql import passwords
from vpopsql.config import Log
from vpopsql.daemon import scraping
from vpopsql.db import Database
from vpopsql.errors import NoSuchUser
from vpopsql.exporter.programs import reload
from vpopsql.logs import configure
from vpopsql.model import AuditEntry
from vpopsql.sealed import Keyring, new_key

WORD = "Geheim-7Q!"
HASH = factories.PASSWORD_HASH
DES = "Nq9GZJJ2PnyQc"
SAY = (sys.executable, "-c", f"print('it was {HASH}')")
on_sqlite = pytest.mark.parametrize("_backend", ["sqlite"], indirect=True)


@pytest.fixture
def talk() -> Iterator[tuple[Client, socket.socket]]:
    """A client, and the other end of its connection."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        client = Client(server.getsockname())
        daemon, _ = server.accept()
        with daemon:
            yield client, daemon
        client.close()


# --- every place ------------------------------------------------------------------------------


def test_printed_and_read() -> None:
    click.echo(f"it was {HASH}")


def test_printed_and_captured(capsys: pytest.CaptureFixture[str]) -> None:
    click.echo(f"it was {HASH}")

    assert capsys.readouterr().out


def test_printed_by_a_command() -> None:
    assert CliRunner().invoke(click.Command("say", callback=lambda: click.echo(HASH))).output


def test_logged(capsys: pytest.CaptureFixture[str]) -> None:
    configure(Log())
    structlog.get_logger("vpopsql.telling").warning("login failed", password=HASH)
    structlog.reset_defaults()

    assert capsys.readouterr().err


def test_logged_with_a_traceback() -> None:
    try:
        int(HASH)
    except ValueError:
        structlog.get_logger("vpopsql.telling").exception("failed")


def test_logged_and_captured() -> None:
    with structlog.testing.capture_logs() as logs:
        structlog.get_logger("vpopsql.telling").warning("login failed", password=HASH)

    assert logs


def test_logged_by_a_library() -> None:
    logging.getLogger("some.library").warning("it was %s", HASH)


def test_said_by_a_program() -> None:
    assert subprocess.run(SAY, capture_output=True, check=True).stdout


def test_said_by_a_program_that_shares_standard_output(capfd: pytest.CaptureFixture[str]) -> None:
    subprocess.run(SAY, check=True)

    assert capfd.readouterr().out


@pytest.mark.parametrize("is_text", [False, True])
def test_said_by_a_program_line_by_line(is_text: bool) -> None:
    with subprocess.Popen(SAY, stdout=subprocess.PIPE, text=is_text) as program:
        assert program.stdout
        assert program.stdout.readline()


def test_answered(talk: tuple[Client, socket.socket]) -> None:
    client, daemon = talk

    daemon.sendall(b"-ERR it was " + HASH.encode() + b"\r\n")

    assert client.line()


def test_measured() -> None:
    assert scraping._respond(b"GET /metrics HTTP/1.1\r\n\r\n", lambda: HASH)


def test_given_to_a_program() -> None:
    reload(["true", HASH])


def test_refused() -> None:
    with pytest.raises(NoSuchUser):
        raise NoSuchUser(f"{HASH}@example.com")


@pytest.mark.parametrize("name", ["log", "site/index.html", "core"])
def test_written(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(b"\0it was " + HASH.encode())


@on_sqlite
def test_audited(database: Database) -> None:
    with database.writer() as session:
        session.add(
            AuditEntry(
                actor="root",
                channel="cli",
                action="mod_user",
                object_type="user",
                object="alice@example.com",
                changes={"password": ["(masked)", HASH]},
            )
        )


# --- every kind -------------------------------------------------------------------------------


def _made(scheme: str) -> str:
    return passwords.hash_password("x", scheme, min(passwords.ROUNDS[scheme]))


def _sealed() -> str:
    return Keyring((bytes(32),)).seal("x")


@pytest.mark.parametrize(
    "scheme", ["sha256-crypt", "sha512-crypt", "bcrypt", "yescrypt", "argon2"]
)
def test_a_hash(scheme: str) -> None:
    click.echo(_made(scheme))


def test_a_hash_in_a_spelling_of_dovecot() -> None:
    click.echo("{SHA512-CRYPT}" + _made("sha512-crypt"))


def test_a_hash_of_des() -> None:
    passwords.verify("x", DES)
    click.echo(DES)


def test_a_sealed_password() -> None:
    click.echo(_sealed())


def test_a_new_key() -> None:
    click.echo(f"it is {new_key()}")


def test_a_url() -> None:
    click.echo(f"cannot connect to postgresql://vpopsql:{WORD}@db.example/vpopsql")


def test_the_password_of_a_url() -> None:
    make_url(f"postgresql://vpopsql:{WORD}@db.example/vpopsql")
    click.echo(f"connecting with password={WORD}")


def test_a_word_that_was_hashed() -> None:
    passwords.hash_password(WORD, "sha512-crypt", 1000)
    click.echo(WORD)


def test_a_word_that_was_verified_later() -> None:
    click.echo(WORD)
    passwords.verify(WORD, HASH)


@pytest.mark.parametrize("line", ["slogin a@b.c", "add_user a@b.c", "clear_text_password"])
def test_a_word_that_was_sent(talk: tuple[Client, socket.socket], line: str) -> None:
    talk[0].send(f"{line} {WORD}\r\n".encode())
    click.echo(WORD)


def test_a_word_that_answered_a_challenge() -> None:
    passwords.verify_challenge(WORD, "<1@example.com>", "0" * 32)
    click.echo(WORD)


@on_sqlite
def test_a_word_that_was_stored(database: Database) -> None:
    with database.writer() as session:
        factories.mailbox(session, factories.domain(session), clear_text=WORD)
    click.echo(WORD)


@pytest.mark.parametrize("spell", [str, repr, json.dumps, html.escape])
def test_a_word_in_another_spelling(spell: Callable[[str], str]) -> None:
    passwords.verify(f'{WORD}\u00fc"<', HASH)
    click.echo(spell(f'{WORD}\u00fc"<'))


def test_a_word_that_all_tests_log_in_with() -> None:
    click.echo(factories.PASSWORD)


# --- innocents --------------------------------------------------------------------------------


def test_innocent_texts(tmp_path: Path) -> None:
    for word in ("short", "password", "aaaaaaaaaa", "encrypted_password"):
        passwords.verify(word, HASH)
        click.echo(f"short: encrypted_password of aaaaaaaaaa: {word}")
    click.echo("postgresql://user:password@host:port/name postgresql://vpopsql:***@db.example/x")
    click.echo("$1$ and $6$salt$tooshort, $sealed$1$, 2a$05$, a price of $1$2")
    click.echo(f"'sha256-{new_key()}' {'0' * 64}")
    (tmp_path / "log").write_text("login failed, password (masked)")


def test_innocent_places(tmp_path: Path) -> None:
    (tmp_path / "vpasswd").write_text(f"alice:{HASH}:1:0:Alice:/home/alice:NOQUOTA")
    (tmp_path / "keys").write_text(new_key())


@on_sqlite
def test_innocent_rows(database: Database) -> None:
    with database.writer() as session:
        factories.mailbox(session, factories.domain(session), clear_text=WORD)


def test_innocent_after_a_test_that_knew_a_word() -> None:
    click.echo(WORD)
