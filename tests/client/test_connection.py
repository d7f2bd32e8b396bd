"""The client and a daemon, over sockets."""

import contextlib
import socket
import ssl
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.client.conftest import SYSTEM
from tests.daemon.conftest import Running
from vpopsql.client import (
    Client,
    Disconnected,
    Flag,
    Limits,
    ProtocolError,
    Refused,
    Size,
    TimedOut,
    commands,
    connect,
)

EXAMPLE = "/home/vpopmail/domains/example.com"


def test_a_session_tells_who_has_logged_in(daemon: Running) -> None:
    with connect(*daemon.address) as client:
        session = client.login("carol@example.com", "carolpw")

    assert session is not None
    assert (session.user.name, session.user.quota) == ("carol", "10000000S,100C")
    assert (session.uid, session.gid) == (89, 89)
    assert session.domain_directory == EXAMPLE


def test_a_silent_login_tells_nothing(daemon: Running) -> None:
    with connect(*daemon.address) as client:
        assert client.login(*SYSTEM, verb="slogin") is None


def test_a_wrong_password_is_refused_and_another_try_is_good(daemon: Running) -> None:
    with connect(*daemon.address) as client:
        with pytest.raises(Refused) as refused:
            client.login("alice@example.com", "not it")
        assert client.login("alice@example.com", "alicepw")

    assert (refused.value.code, str(refused.value)) == ("8.207", "8.207 Invalid Login")


def test_a_mailbox_from_its_making_to_its_end(client: Client, daemon: Running) -> None:
    address = "zoe@example.com"
    client.add_user(address, " a password ")
    client.mod_user(address, comment="Zoë", quota="10M", set_flags=Flag.NO_POP | Flag.NO_IMAP)
    client.mod_user(address, clear_flags=Flag.NO_IMAP)

    user = client.user_info(address)
    assert (user.comment, user.quota, user.flags) == ("Zoë", "10485760S", Flag.NO_POP)
    assert user.clear_text_password == " a password "
    assert client.user_count("example.com") == 9
    assert [each.name for each in client.list_users("example.com", 9, 1)] == ["zoe"]
    assert client.get_user_size(address) == Size(0, 0)
    assert client.get_lastauth(address).at is None
    with connect(*daemon.address) as own:
        own.login(address, " a password ")
        own.mod_user(address, password="another")
    client.del_user(address)
    with pytest.raises(Refused, match=r"12\.605 User does not exist"):
        client.user_info(address)


def test_a_domain_from_its_making_to_its_end(client: Client) -> None:
    client.add_domain("new.example", "pw")
    client.add_alias_domain("new.example", "also.example")
    client.add_ip_map("192.0.2.7", "new.example")
    client.set_limits("new.example", max_popaccounts=3, disable_pop=True)

    domain = client.dom_info("also.example")
    assert (domain.name, domain.aliases) == ("new.example", ("also.example",))
    assert [each.name for each in client.list_domains() if each.is_alias] == [
        "also.example",
        "example-alias.org",
    ]
    assert client.domain_count() == len(client.list_domains()) == 8
    assert client.find_domain("new.example", 100) == 1
    assert client.get_limits("new.example") == Limits(max_popaccounts=3, disable_pop=True)
    assert client.get_ip_map("192.0.2.7") == "new.example"
    assert client.get_domain_size("new.example").users == {"postmaster@new.example": Size(0, 0)}
    client.del_limits("new.example")
    client.del_ip_map("192.0.2.7", "new.example")
    client.del_domain("new.example")
    assert client.find_domain("new.example", 100) is None


def test_aliases_and_files(client: Client) -> None:
    lines = ["Subject: away", "", ".", "..", "end \r", "ümläut \udcff"]
    client.add_alias("team@example.com", "alice@example.com")
    client.add_alias("team@example.com", "&bob@example.com")
    client.remove_alias("team@example.com", "alice@example.com")
    client.mk_dir("example.com/AWAY")
    client.write_file("example.com/AWAY/draft", lines)
    client.rename_file("example.com/AWAY/draft", "example.com/AWAY/message")

    assert [each.line for each in client.list_alias("team@example.com")] == ["&bob@example.com"]
    assert client.read_file("example.com/AWAY/message") == lines
    assert [(each.name, each.kind) for each in client.list_dir("example.com/AWAY")] == [
        ("message", "file")
    ]
    assert client.stat_file("example.com/AWAY/message") >= 0
    client.rm_file("example.com/AWAY/message")
    client.rm_dir("example.com/AWAY")
    client.delete_alias("team@example.com")
    assert client.list_alias("team@example.com") == []
    assert ".qmail-mylist" in client.list_lists("example.com")
    with pytest.raises(Refused, match=r"36\.4001"):
        client.add_list("example.com", "more")


def test_a_refused_change_leaves_the_conversation_in_step(client: Client) -> None:
    with pytest.raises(Refused, match=r"12\.505"):
        client.mod_user("nobody@example.com", comment="x")
    with pytest.raises(Refused, match=r"0\.507"):
        client.mod_user("alice@example.com", quota="much")
    with pytest.raises(Refused, match=r"26\.15"):
        client.write_file("/etc/passwd", ["del_domain example.com"])
    with pytest.raises(Refused, match=r"34\.3505"):
        client.set_limits("nosuch.example", disable_pop=True)

    assert client.user_info("alice@example.com").comment == "Alice Example"


# --- many at once -------------------------------------------------------------------------------


def test_many_commands_are_answered_in_their_order(client: Client) -> None:
    names = ["alice", "nobody", "bob"] * 200

    answers = list(client.run_all(commands.user_info(f"{name}@example.com") for name in names))

    found = [each.code if isinstance(each, Refused) else each.name for each in answers]
    assert found == ["alice", "12.605", "bob"] * 200


def test_changes_are_answered_in_their_order_refusals_among_them(client: Client) -> None:
    answers = list(
        client.run_all(
            commands.mod_user(f"{name}@example.com", comment=f"{name} {number}")
            for number in range(3)
            for name in ("alice", "nobody", "bob")
        )
    )

    assert [isinstance(each, Refused) for each in answers] == [False, True, False] * 3
    assert client.user_info("bob@example.com").comment == "bob 2"


def test_long_answers_to_long_commands_do_not_stall_each_other(client: Client) -> None:
    lines = ["x" * 1000] * 1000
    write = commands.write_file("example.com/long", lines)
    read = commands.read_file("example.com/long")

    assert list(client.run_all([write] * 4)) == [None] * 4
    assert list(client.run_all([read] * 4)) == [lines] * 4


def test_of_vpopmails_own_daemon_each_answer_is_waited_for(start: Callable[..., Running]) -> None:
    daemon = start(login_attempts=100)
    refused = commands.login("alice@example.com", "wrong")
    with connect(*daemon.address, is_vpopmail=True) as client:
        answers = client.run_all([refused, refused])

        assert str(next(answers)) == "8.207 Invalid Login"
        client.login("alice@example.com", "alicepw")
        assert str(next(answers)).startswith("4.107")


def test_no_line_is_sent_that_vpopmails_own_daemon_would_cut(daemon: Running) -> None:
    long = "x" * 1100
    with connect(*daemon.address, is_vpopmail=True) as client:
        client.login(*SYSTEM)

        with pytest.raises(ValueError, match="mod_user: a line has more than 1023 bytes"):
            client.mod_user("alice@example.com", comment=long)
        with pytest.raises(ValueError, match="add_alias: a line has more than 1023 bytes"):
            client.add_alias("team@example.com", f"|/bin/{long}")
        client.write_file("example.com/long", [long])
        assert client.read_file("example.com/long") == [long]


def test_nothing_else_can_be_run_while_answers_are_on_their_way(client: Client) -> None:
    answers = client.run_all([commands.domain_count()] * 2)
    next(answers)

    with pytest.raises(RuntimeError, match="run_all"):
        client.domain_count()
    answers.close()  # type: ignore[attr-defined]
    with pytest.raises(Disconnected, match="closed"):
        client.domain_count()


# --- what goes wrong ----------------------------------------------------------------------------


@contextlib.contextmanager
def speaking(*pieces: bytes) -> Iterator[tuple[str, int]]:
    """Give the address of what says pieces, one for each that it hears, and then hangs up."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def talk() -> None:
            connection, _ = listener.accept()
            with connection:
                for piece in pieces:
                    connection.sendall(piece)
                    if not connection.recv(4096):
                        break

        thread = threading.Thread(target=talk)
        thread.start()
        yield listener.getsockname()
        thread.join()


def test_a_full_daemon_refuses_the_connection(start: Callable[..., Running]) -> None:
    daemon = start(max_connections=1)
    with connect(*daemon.address), pytest.raises(Refused, match=r"3\.111 Too many connections"):
        connect(*daemon.address)


def test_a_daemon_that_hangs_up_is_told_from_one_that_refuses() -> None:
    with speaking(b"+OK \r\n") as address, connect(*address) as client:
        with pytest.raises(Disconnected, match=r"127\.0\.0\.1 port \d+: the daemon has hung up"):
            client.login("a@b.example", "secret")
        assert repr(client).endswith(", closed>")


def test_a_daemon_that_does_not_answer_is_not_waited_for_long() -> None:
    with (
        speaking(b"+OK \r\n", b"+OK+\r\ncount") as address,
        connect(*address, timeout_s=0.2) as client,
        pytest.raises(TimedOut, match="no answer in time"),
    ):
        client.domain_count()


def test_what_is_no_daemon_at_all_is_noticed() -> None:
    with (
        speaking(b"* OK IMAP4rev1 ready\r\n.\r\n") as address,
        pytest.raises(ProtocolError, match="list"),
    ):
        connect(*address)


def test_where_nobody_listens_there_is_no_connection() -> None:
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))

        with pytest.raises(Disconnected, match="refused"):
            connect(*bound.getsockname())


def test_no_failure_shows_a_password() -> None:
    with speaking(b"+OK \r\n", b"gibberish secret\r\n.\r\n") as address:
        client = connect(*address)

        with pytest.raises(ProtocolError) as failed:
            client.login("a@b.example", "secret", verb="slogin")

    assert "secret" not in f"{failed.value}{failed.value.__context__}{client!r}"


# --- other transports ---------------------------------------------------------------------------


@contextlib.contextmanager
def passing_on(
    listener: socket.socket, to: tuple[str, int], tls: ssl.SSLContext | None = None
) -> Iterator[None]:
    """Pass one connection on to a daemon, once it speaks TLS if that is wanted."""

    def copy(source: socket.socket, target: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                target.sendall(data)
        with contextlib.suppress(OSError):
            target.shutdown(socket.SHUT_WR)

    def serve() -> None:
        try:
            outer, _ = listener.accept()
            if tls:
                outer = tls.wrap_socket(outer, server_side=True)
        except OSError:
            return
        with outer, socket.create_connection(to) as inner:
            back = threading.Thread(target=copy, args=(inner, outer))
            back.start()
            copy(outer, inner)
            back.join()

    thread = threading.Thread(target=serve)
    thread.start()
    yield
    thread.join()


CERTIFICATE = Path(__file__).with_name("localhost.pem")
"""A certificate of localhost with its key, both for tests alone."""


def test_tls_is_spoken_and_the_name_is_checked(daemon: Running) -> None:
    ours, theirs = ssl.create_default_context(cafile=CERTIFICATE), server_context()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        with (
            passing_on(listener, daemon.address, theirs),
            connect("localhost", port, tls=ours, timeout_s=10) as client,
        ):
            client.login(*SYSTEM)
            assert [each.name for each in client.list_users("example.com", 1, 2)] == [
                "al",
                "alice",
            ]


def test_a_certificate_of_nobody_we_know_is_refused(daemon: Running) -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as listener,
        passing_on(listener, daemon.address, server_context()),
        pytest.raises(Disconnected, match="self-signed certificate"),
    ):
        connect(*listener.getsockname(), tls=ssl.create_default_context(), timeout_s=10)


def server_context() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(CERTIFICATE)
    return context


def test_a_unix_socket_serves_as_well(daemon: Running, tmp_path: Path) -> None:
    path = str(tmp_path / "socket")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)
        listener.listen()
        with passing_on(listener, daemon.address), connect(path=path) as client:
            client.login(*SYSTEM)
            assert client.domain_count() == 6


def test_importing_the_client_imports_no_database_and_no_daemon() -> None:
    asked = (
        "import sys, vpopsql.client;"
        "print(*[name for name in sys.modules if name.partition('.')[0] in"
        " {'sqlalchemy', 'psycopg', 'structlog', 'alembic', 'click', 'passlib', 'ctypes', 'ssl'}"
        " or name.startswith(('vpopsql.daemon', 'vpopsql.model', 'vpopsql.config'))])"
    )

    done = subprocess.run(
        [sys.executable, "-c", asked], check=True, capture_output=True, text=True
    )

    assert done.stdout.strip() == ""
