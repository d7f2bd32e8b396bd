"""Who may connect, from where, and as what: through a proxy's header, on real sockets."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests import factories
from tests.daemon.conftest import Running, settings
from tests.transcripts import Client
from vpopsql.daemon.admission import Admission, Ends
from vpopsql.daemon.conversation import Service
from vpopsql.daemon.roster import Roster
from vpopsql.db import Database
from vpopsql.exporter.projector import Projector
from vpopsql.model import Flag

pytestmark = pytest.mark.parametrize("_backend", ["sqlite"], indirect=True)
PROXIES = ("127.0.0.0/8",)
LOGIN = f"slogin postmaster@root.example {factories.PASSWORD}\r\n".encode()
Start = Callable[..., Running]


def header(source: str) -> bytes:
    return f"PROXY TCP4 {source} 198.51.100.1 50000 89\r\n".encode()


@pytest.fixture
def site(database: Database) -> Database:
    with database.writer() as session:
        root = factories.domain(session, "root.example")
        factories.mailbox(session, root, "postmaster", Flag.SA_ADMIN)
        factories.mailbox(session, root, "joe")
    return database


@pytest.fixture
def from_there(
    site: Database, start: Start, tmp_path: Path
) -> Iterator[Callable[..., Callable[[bytes], Client]]]:
    """A function that starts a daemon behind a proxy, and gives one that says its first bytes."""
    clients: list[Client] = []

    def run(**daemon: object) -> Callable[[bytes], Client]:
        address = start(tmp_path, proxy_from=PROXIES, **daemon).address

        def connect(first: bytes) -> Client:
            client = Client(address)
            clients.append(client)
            client.send(first)
            return client

        return connect

    yield run
    for client in clients:
        client.close()


Connecting = Callable[..., Callable[[bytes], Client]]


def test_a_proxy_says_first_for_whom_it_speaks(from_there: Connecting) -> None:
    connect = from_there()

    whole = connect(header("192.0.2.1") + LOGIN)
    cut = connect(b"PRO")
    cut.send(header("192.0.2.1")[3:])

    assert [whole.line(), whole.line()] == [b"+OK \r\n"] * 2
    assert cut.line() == b"+OK \r\n"


@pytest.mark.parametrize("first", [b"PROXY UNKNOWN\r\n", b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0"])
def test_a_proxy_may_speak_for_itself(from_there: Connecting, first: bytes) -> None:
    assert from_there(allow_from=("127.0.0.1/32",))(first).line() == b"+OK \r\n"


@pytest.mark.parametrize("first", [LOGIN, b"PROXY TCP4 x y 1 2\r\n", b"PROXY TCP4 " + b"x" * 200])
def test_a_proxy_that_says_no_header_is_hung_up_on(from_there: Connecting, first: bytes) -> None:
    assert from_there()(first).line() == b""


def test_others_than_proxies_have_no_header(site: Database, start: Start, tmp_path: Path) -> None:
    client = Client(start(tmp_path, proxy_from=("192.0.2.0/24",)).address)

    client.send(header("192.0.2.1"))

    assert client.line() == b"+OK \r\n"
    assert client.line() == b"-ERR 4.104 Invalid Command\r\n"
    client.close()


@pytest.mark.parametrize(
    "rules, source, is_served",
    [
        ({"allow_from": ("192.0.2.0/24",)}, "192.0.2.1", True),
        ({"allow_from": ("192.0.2.0/24",)}, "198.51.100.1", False),
        ({"deny_from": ("192.0.2.0/24",)}, "192.0.2.1", False),
        ({"deny_from": ("192.0.2.0/24",)}, "198.51.100.1", True),
        ({"allow_from": ("192.0.2.0/24",), "deny_from": ("192.0.2.1/32",)}, "192.0.2.1", False),
        ({"allow_from": ("192.0.2.0/24",), "deny_from": ("192.0.2.1/32",)}, "192.0.2.2", True),
    ],
)
def test_addresses_are_served_by_rule(
    from_there: Connecting, rules: dict[str, object], source: str, is_served: bool
) -> None:
    client = from_there(**rules)(header(source))

    said = b"+OK \r\n" if is_served else b"-ERR 3.114 Not allowed from this address\r\n"
    assert client.line() == said


def test_one_address_has_only_so_many_connections(from_there: Connecting) -> None:
    connect = from_there(max_connections_per_address=2)
    first, second = connect(header("192.0.2.1")), connect(header("192.0.2.1"))
    assert first.line() == second.line() == b"+OK \r\n"

    refused = connect(header("192.0.2.1"))

    assert refused.line() == b"-ERR 3.112 Too many connections from this address\r\n"
    assert refused.line() == b""
    assert connect(header("192.0.2.2")).line() == b"+OK \r\n"
    first.send(b"quit\r\n")
    assert [first.line(), first.line()] == [b"+OK \r\n", b""]
    assert connect(header("192.0.2.1")).line() == b"+OK \r\n"


def test_one_account_has_only_so_many_connections(from_there: Connecting) -> None:
    connect = from_there(max_connections_per_user=1)
    first, second, third = (connect(header("192.0.2.1") + LOGIN) for _ in range(3))
    joe = connect(header("192.0.2.1") + LOGIN.replace(b"postmaster", b"joe"))

    answers = sorted([client.line(), client.line()][1] for client in (first, second, third))

    assert answers == [
        b"+OK \r\n",
        *[b"-ERR 3.113 Too many connections of this account\r\n"] * 2,
    ]
    assert [joe.line(), joe.line()] == [b"+OK \r\n"] * 2


# --- logins in the clear ------------------------------------------------------------------------


@pytest.fixture
def say(site: Database, tmp_path: Path) -> Callable[..., bytes]:
    """A function that says something to the daemon from one address to another."""

    def talk(ends: Ends, said: bytes, **daemon: object) -> bytes:
        config = settings(str(site.url), tmp_path, **daemon)
        roster = Roster(1)
        service = Service(site, config, Projector(site, config))
        stream = Admission(service, roster, None).stream(ends, roster.enter(0).row)
        return b"".join([*stream.start(), *stream.take(said)])

    return talk


FAR = Ends("192.0.2.1", "192.0.2.2", is_tls=False)
NO_CLEAR_TEXT = b"+OK \r\n" + b"-ERR 3.115 Logins are not taken here without TLS\r\n"


@pytest.mark.parametrize("verb", [b"login", b"clogin", b"SLOGIN"])
def test_no_login_is_taken_in_the_clear_from_other_hosts(
    say: Callable[..., bytes], verb: bytes
) -> None:
    assert say(FAR, LOGIN.replace(b"slogin", verb)) == NO_CLEAR_TEXT


def test_refused_logins_are_limited_as_others(say: Callable[..., bytes]) -> None:
    said = say(FAR, LOGIN * 9)

    assert said.count(b"3.115") == 4
    assert said.endswith(b"-ERR 5.102 Too many invalid login attempts\r\n")


def test_logins_in_the_clear_are_taken_where_that_is_configured(
    say: Callable[..., bytes],
) -> None:
    assert say(FAR, LOGIN, allow_clear_text=True) == b"+OK \r\n" * 2


@pytest.mark.parametrize("local", ["127.0.0.1", "::1", "::ffff:127.0.0.1"])
def test_logins_in_the_clear_are_taken_from_this_host(
    say: Callable[..., bytes], local: str
) -> None:
    assert say(Ends(local, local, is_tls=False), LOGIN) == b"+OK \r\n" * 2
