"""TLS as a layer between a socket and a client's stream; bytes only, no sockets.

TLS 1.2 and 1.3, with forward secrecy and authenticated encryption only. Compression and
renegotiation are off.
"""

import contextlib
import ssl
import time
from collections.abc import Callable, Iterable, Iterator

import structlog

from vpopsql.config import Daemon
from vpopsql.daemon.dialogue import Dialogue, Stream
from vpopsql.errors import CannotListen

HANDSHAKE_S = 10.0
"""How long a client may take for the handshake."""

_CIPHERS = "ECDHE+AESGCM:ECDHE+CHACHA20"
"""Of TLS 1.2; those of 1.3 are all good."""

_READ = 1 << 16


class Certificate:
    """The configured certificate, which may be read again.

    :raises CannotListen: it or its key cannot be read, or they do not belong together.
    """

    def __init__(self, settings: Daemon) -> None:
        self._settings = settings
        self.context = _make_context(settings)
        """For connections from now on."""

    def reload(self) -> None:
        """Read it again; keep the present one, and say so, when that fails."""
        log = structlog.get_logger("vpopsql.daemon")
        try:
            self.context = _make_context(self._settings)
        except CannotListen as error:
            log.error("certificate kept", error=str(error))  # noqa: TRY400 - no defect
        else:
            log.info("certificate read", path=self._settings.tls_certificate)


def _make_context(settings: Daemon) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.options |= ssl.OP_NO_RENEGOTIATION | ssl.OP_CIPHER_SERVER_PREFERENCE
    context.set_ciphers(_CIPHERS)
    certificate, key = settings.tls_certificate, settings.tls_key
    try:
        # Nobody is asked for the password of an encrypted key.
        context.load_cert_chain(certificate, key or None, password="")
    except (OSError, ValueError) as error:
        where = f"{certificate} and {key}" if key else certificate
        said = getattr(error, "reason", None) or getattr(error, "strerror", None) or error
        raise CannotListen(f"daemon.tls_certificate: cannot use {where}: {said}") from error
    return context


class Encrypted:
    """The stream of a client that speaks TLS, around what is said in it.

    :param is_greeted: whether the client has had the greeting, in the clear.
    """

    def __init__(
        self, context: ssl.SSLContext, inner: Stream, *, is_greeted: bool = False
    ) -> None:
        self.is_over = False
        self._inner = inner
        self._is_greeted = is_greeted
        self._incoming = ssl.MemoryBIO()
        self._outgoing = ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._incoming, self._outgoing, server_side=True)
        self._is_shaken = False
        self._shake_by = time.monotonic() + HANDSHAKE_S

    def start(self) -> Iterator[bytes]:
        """Return nothing: the client begins."""
        return iter(())

    def take(self, data: bytes) -> Iterator[bytes]:
        """Take what has arrived, and return what is to be sent, both encrypted."""
        self._incoming.write(data)
        if not self._is_shaken:
            self._is_shaken = self._shake()
            yield self._outgoing.read()
            if not self._is_shaken:
                self.is_over = self.is_over or not data
                return
            if not self._is_greeted:
                yield from self._encrypt(self._inner.start())
        while not self.is_over:
            try:
                said = self._tls.read(_READ)
            except ssl.SSLWantReadError:
                if data:
                    return
                said = b""
            except ssl.SSLError:
                # Damaged on the way, or no TLS any more: nothing that comes can be trusted.
                self.is_over = True
                return
            yield from self._encrypt(self._inner.take(said))
            self.is_over = self._inner.is_over
        with contextlib.suppress(ssl.SSLError):
            # Nobody waits for the client to say the same.
            self._tls.unwrap()
        yield self._outgoing.read()

    def waits_until(self) -> float:
        """Return by when the handshake, or else the client, has to go on."""
        return self._inner.waits_until() if self._is_shaken else self._shake_by

    def _shake(self) -> bool:
        """Go on with the handshake; tell whether it is done."""
        try:
            self._tls.do_handshake()
        except ssl.SSLWantReadError:
            return False
        except ssl.SSLError:
            self.is_over = True
            return False
        return True

    def _encrypt(self, pieces: Iterable[bytes]) -> Iterator[bytes]:
        for piece in pieces:
            self._tls.write(piece)
            yield self._outgoing.read()


class Upgradable:
    """The stream of a client that speaks TLS from the moment on when it asks for that.

    :param get_context: returns what TLS is spoken with at that moment.
    """

    def __init__(self, dialogue: Dialogue, get_context: Callable[[], ssl.SSLContext]) -> None:
        self._dialogue = dialogue
        self._get_context = get_context
        self._stream: Stream = dialogue

    @property
    def is_over(self) -> bool:
        """Tell whether the connection ends once all has been sent."""
        return self._stream.is_over

    def start(self) -> Iterator[bytes]:
        """Return what is sent first, in the clear."""
        return self._stream.start()

    def take(self, data: bytes) -> Iterator[bytes]:
        """Take what has arrived, and return what is to be sent."""
        yield from self._stream.take(data)
        if self._dialogue.wants_tls:
            self._dialogue.encrypted()
            self._stream = Encrypted(self._get_context(), self._dialogue, is_greeted=True)

    def waits_until(self) -> float:
        """Return by when more has to arrive."""
        return self._stream.waits_until()
