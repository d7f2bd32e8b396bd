"""TLS: from the first byte, and from the moment on when a client asks for it."""

import shutil
import socket
import ssl
import warnings
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests import factories
from tests.daemon.conftest import Running
from vpopsql.client import Client, Disconnected, connect
from vpopsql.config import Address
from vpopsql.daemon import admission, encryption, server
from vpopsql.db import Database
from vpopsql.model import Flag

pytestmark = pytest.mark.parametrize("_backend", ["sqlite"], indirect=True)
CERTIFICATE = Path(__file__).parent.parent / "client/localhost.pem"
RENEWED = Path(__file__).with_name("renewed.pem")
ACCOUNT = ("postmaster@root.example", factories.PASSWORD)
LOGIN = "slogin {} {}\r\n".format(*ACCOUNT).encode()
Start = Callable[..., Running]


@pytest.fixture
def site(database: Database) -> Database:
    with database.writer() as session:
        root = factories.domain(session, "root.example")
        factories.mailbox(session, root, "postmaster", Flag.SA_ADMIN)
    return database


@pytest.fixture
def certificate(tmp_path: Path) -> Path:
    return Path(shutil.copy(CERTIFICATE, tmp_path / "tls.pem"))


@pytest.fixture
def encrypted(site: Database, start: Start, certificate: Path, tmp_path: Path) -> Running:
    """A daemon that speaks TLS from the first byte."""
    here = Address("127.0.0.1", 0)
    return start(tmp_path, tls_certificate=str(certificate), tls_listen=here, idle_timeout_s=5)


@pytest.fixture
def upgradable(site: Database, start: Start, certificate: Path, tmp_path: Path) -> Running:
    """A daemon that speaks TLS when it is asked to."""
    return start(tmp_path, tls_certificate=str(certificate))


@pytest.fixture
def opened() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


def trusting(*certificates: Path) -> ssl.SSLContext:
    context = ssl.create_default_context()
    for each in certificates:
        context.load_verify_locations(each)
    return context


def log_in(daemon: Running, context: ssl.SSLContext) -> Client:
    client = connect("localhost", daemon.address[1], tls=context, timeout_s=20)
    client.login(*ACCOUNT)
    return client


def test_a_whole_session_is_encrypted(encrypted: Running, opened: ExitStack) -> None:
    client = opened.enter_context(log_in(encrypted, trusting(CERTIFICATE)))

    assert client.domain_count() == 1
    assert client.user_count("root.example") == 1


def test_what_is_no_tls_is_hung_up_on(encrypted: Running, opened: ExitStack) -> None:
    plain = opened.enter_context(socket.create_connection(encrypted.address, timeout=20))

    plain.sendall(LOGIN)

    said = plain.recv(1000)
    # An alert, or nothing: nothing of the protocol in any case.
    assert not said or said[0] == 0x15


def test_tls_1_1_is_refused(encrypted: Running) -> None:
    old = trusting(CERTIFICATE)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        old.minimum_version = old.maximum_version = ssl.TLSVersion.TLSv1_1
    old.set_ciphers("ALL:@SECLEVEL=0")

    with pytest.raises(Disconnected):
        connect("localhost", encrypted.address[1], tls=old, timeout_s=20)


def test_who_does_not_finish_the_handshake_holds_up_nobody_and_is_let_go(
    site: Database,
    start: Start,
    certificate: Path,
    tmp_path: Path,
    opened: ExitStack,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for module in (encryption, server):
        monkeypatch.setattr(module, "HANDSHAKE_S", 0.2)
    here = Address("127.0.0.1", 0)
    daemon = start(tmp_path, tls_certificate=str(certificate), tls_listen=here)
    silent = [
        opened.enter_context(socket.create_connection(daemon.address, timeout=20))
        for _ in range(10)
    ]
    silent[0].sendall(b"\x16\x03\x01")

    opened.enter_context(log_in(daemon, trusting(CERTIFICATE)))

    assert [each.recv(100) for each in silent] == [b""] * 10


def test_a_long_answer_comes_whole(encrypted: Running, opened: ExitStack) -> None:
    with encrypted.database.writer() as session:
        many = factories.domain(session, "many.example")
        for number in range(300):
            factories.mailbox(session, many, f"user{number:03}")
    client = opened.enter_context(log_in(encrypted, trusting(CERTIFICATE)))

    names = [each.name for each in client.list_users("many.example")]

    assert names == [f"user{number:03}" for number in range(300)]


def test_a_renewed_certificate_is_for_new_connections(
    encrypted: Running, certificate: Path, opened: ExitStack
) -> None:
    before = opened.enter_context(log_in(encrypted, trusting(CERTIFICATE)))

    shutil.copy(RENEWED, certificate)
    encrypted.server.reload()

    after = opened.enter_context(log_in(encrypted, trusting(RENEWED)))
    assert before.domain_count() == after.domain_count() == 1
    with pytest.raises(Disconnected):
        log_in(encrypted, trusting(CERTIFICATE))


def test_a_damaged_certificate_is_not_taken(
    encrypted: Running, certificate: Path, opened: ExitStack
) -> None:
    certificate.write_text("nothing")

    encrypted.server.reload()

    opened.enter_context(log_in(encrypted, trusting(CERTIFICATE)))


# --- stls -------------------------------------------------------------------------------------


def test_a_client_may_ask_for_tls(upgradable: Running, opened: ExitStack) -> None:
    plain = opened.enter_context(socket.create_connection(upgradable.address, timeout=20))
    assert plain.recv(100) == b"+OK \r\n"
    plain.sendall(b"STLS\r\n")
    assert plain.recv(100) == b"+OK \r\n"

    context = trusting(CERTIFICATE)
    inner = opened.enter_context(context.wrap_socket(plain, server_hostname="localhost"))

    inner.sendall(b"stls\r\n" + LOGIN)
    said = b""
    while said.count(b"\n") < 2:
        said += inner.recv(1000)
    assert said == b"-ERR 4.104 Invalid Command\r\n+OK \r\n"


def test_what_is_said_behind_stls_in_the_clear_is_not_heard(
    upgradable: Running, opened: ExitStack
) -> None:
    plain = opened.enter_context(socket.create_connection(upgradable.address, timeout=20))
    assert plain.recv(100) == b"+OK \r\n"
    plain.sendall(b"stls\r\n" + LOGIN + b"quit\r\nslo")
    assert plain.recv(100) == b"+OK \r\n"

    context = trusting(CERTIFICATE)
    inner = opened.enter_context(context.wrap_socket(plain, server_hostname="localhost"))

    inner.sendall(b"domain_count\r\n")
    assert inner.recv(100) == b"-ERR 4.104 Invalid Command\r\n"


def help_of(daemon: Running) -> bytes:
    with socket.create_connection(daemon.address, timeout=20) as client:
        client.sendall(b"help\r\nquit\r\n")
        said = b""
        while data := client.recv(4096):
            said += data
    return said


def test_help_tells_of_stls_only_where_it_is(
    upgradable: Running, start: Start, tmp_path: Path
) -> None:
    without = help_of(start(tmp_path))

    usage = b"\r\nstls stls - go on encrypted, as TLS\r\n\r\nUtility"
    assert help_of(upgradable) == without.replace(b"\r\n\r\nUtility", usage)
    assert b"stls" not in without


def test_a_login_in_the_clear_is_possible_after_stls_only(
    upgradable: Running, monkeypatch: pytest.MonkeyPatch, opened: ExitStack
) -> None:
    ends = admission.Ends

    def from_afar(_remote: str, _local: str, is_tls: bool) -> admission.Ends:
        return ends("192.0.2.1", "192.0.2.2", is_tls)

    monkeypatch.setattr(server, "Ends", from_afar)
    plain = opened.enter_context(socket.create_connection(upgradable.address, timeout=20))
    plain.recv(100)
    plain.sendall(LOGIN)
    assert plain.recv(100).startswith(b"-ERR 3.115 ")
    plain.sendall(b"stls\r\n")
    assert plain.recv(100) == b"+OK \r\n"

    context = trusting(CERTIFICATE)
    inner = opened.enter_context(context.wrap_socket(plain, server_hostname="localhost"))

    inner.sendall(LOGIN)
    assert inner.recv(100) == b"+OK \r\n"
