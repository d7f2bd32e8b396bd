"""Who may connect, from where, and which layers their streams have."""

import ipaddress
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import structlog

from vpopsql.config import Daemon
from vpopsql.daemon import proxy_protocol
from vpopsql.daemon.conversation import Conversation, Peer, Service
from vpopsql.daemon.dialogue import Dialogue, Stream
from vpopsql.daemon.encryption import Certificate, Encrypted, Upgradable
from vpopsql.daemon.proxy_protocol import BadHeader, Header
from vpopsql.daemon.roster import Roster, host_of, usual_form
from vpopsql.errors import TooManyConnections
from vpopsql.protocol import Reply, failure

TOO_MANY_FROM_ADDRESS = failure("3.112", "Too many connections from this address", close=True)
TOO_MANY_OF_ACCOUNT = failure("3.113", "Too many connections of this account", close=True)
ADDRESS_NOT_ALLOWED = failure("3.114", "Not allowed from this address", close=True)

HEADER_S = 10.0
"""How long a proxy may take for its header."""


class _Networks:
    def __init__(self, texts: Sequence[str]) -> None:
        self._networks = [ipaddress.ip_network(text) for text in texts]

    def __bool__(self) -> bool:
        return bool(self._networks)

    def __contains__(self, address: str) -> bool:
        host = host_of(address)
        return any(host in network for network in self._networks)


@dataclass(frozen=True, slots=True)
class Ends:
    """The two ends of an accepted socket."""

    remote_ip: str
    local_ip: str
    is_tls: bool
    """Whether TLS is spoken on it from the beginning, or from behind a proxy's header on."""


class Admission:
    """Makes the streams of connections.

    :param certificate: None: there is no TLS.
    """

    def __init__(self, service: Service, roster: Roster, certificate: Certificate | None) -> None:
        self._service = service
        self._roster = roster
        self._certificate = certificate
        self._settings: Daemon = service.config.daemon
        self._allowed = _Networks(self._settings.allow_from)
        self._denied = _Networks(self._settings.deny_from)
        self._proxies = _Networks(self._settings.proxy_from)
        self._log = structlog.get_logger("vpopsql.daemon")

    def stream(self, ends: Ends, row: int) -> Stream:
        """Return the stream of a connection that has a row of the roster."""
        if self._proxies and ends.remote_ip in self._proxies:
            return _Proxied(lambda header: self._behind(header, ends, row), self._break_off)
        return self._of_client(Peer(ends.remote_ip, ends.local_ip), ends, row)

    def _behind(self, header: Header, ends: Ends, row: int) -> Stream:
        # A proxy that speaks for itself is a client like others.
        if not header.source:
            return self._of_client(Peer(ends.remote_ip, ends.local_ip), ends, row)
        peer = Peer(usual_form(header.source), usual_form(header.destination))
        return self._of_client(peer, ends, row)

    def _break_off(self, why: str) -> None:
        self._service.metrics.came(is_taken=False)
        self._log.warning("proxy refused", error=why)

    def _of_client(self, peer: Peer, ends: Ends, row: int) -> Stream:
        refusal = self._refusal(peer.remote_ip, row)
        self._service.metrics.came(is_taken=refusal is None)
        if refusal:
            # Who has not begun to speak TLS would not understand it.
            return _Refused(None if ends.is_tls else refusal)
        can_encrypt = self._certificate is not None
        dialogue = Dialogue(
            Conversation(self._service, peer),
            self._settings.idle_timeout_s,
            lambda account: self._admit(account, row),
            offers_tls=can_encrypt and not ends.is_tls,
            takes_logins=ends.is_tls
            or self._settings.allow_clear_text
            or host_of(ends.local_ip).is_loopback,
        )
        if self._certificate is None:
            return dialogue
        if ends.is_tls:
            return Encrypted(self._certificate.context, dialogue)
        certificate = self._certificate
        return Upgradable(dialogue, lambda: certificate.context)

    def _refusal(self, address: str, row: int) -> Reply | None:
        """Return why a client is not served; None: it is."""
        if address in self._denied or (self._allowed and address not in self._allowed):
            self._log.warning("address not allowed", peer=address)
            return ADDRESS_NOT_ALLOWED
        try:
            self._roster.place(row, address, self._settings.max_connections_per_address)
        except TooManyConnections as error:
            self._log.warning("too many connections", peer=address, error=str(error))
            return TOO_MANY_FROM_ADDRESS
        return None

    def _admit(self, account: str, row: int) -> Reply | None:
        try:
            self._roster.name(row, account, self._settings.max_connections_per_user)
        except TooManyConnections as error:
            self._log.warning("too many connections", error=str(error))
            return TOO_MANY_OF_ACCOUNT
        return None


class _Refused:
    """The stream of a client that is told why it is not served, and no more."""

    is_over = True

    def __init__(self, reply: Reply | None) -> None:
        self._reply = reply

    def start(self) -> Iterator[bytes]:
        return self._reply.render() if self._reply else iter(())

    def take(self, _data: bytes) -> Iterator[bytes]:
        return iter(())

    def waits_until(self) -> float:
        return time.monotonic()


class _Proxied:
    """The stream of a connection from a proxy: its header, and then the client's stream.

    :param make: makes this of the header.
    :param break_off: told why there is none.
    """

    def __init__(self, make: Callable[[Header], Stream], break_off: Callable[[str], None]) -> None:
        self._make = make
        self._break_off = break_off
        self._data = b""
        self._stream: Stream | None = None
        self._is_bad = False
        self._header_by = time.monotonic() + HEADER_S

    @property
    def is_over(self) -> bool:
        return self._stream.is_over if self._stream else self._is_bad

    def start(self) -> Iterator[bytes]:
        return iter(())

    def take(self, data: bytes) -> Iterator[bytes]:
        if self._stream:
            yield from self._stream.take(data)
            return
        self._data += data
        try:
            header = proxy_protocol.parse(self._data)
        except BadHeader as error:
            header = None
            self._is_bad = True
            self._break_off(str(error))
        if header is None:
            if not data:
                self._is_bad = True
                self._break_off("no whole header came")
            return
        stream = self._stream = self._make(header)
        yield from stream.start()
        if (rest := self._data[header.size :]) and not stream.is_over:
            yield from stream.take(rest)
        self._data = b""

    def waits_until(self) -> float:
        return self._stream.waits_until() if self._stream else self._header_by
