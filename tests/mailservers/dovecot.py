"""A real Dovecot for tests: started in a directory of its own, on this machine's own addresses.

2.3 is the system's. 2.4 lies in the directory that ``scripts/dovecot-2.4`` fills, and runs there
by chroot. Both need root: Dovecot becomes one user to log in and another one to read mail.
"""

import contextlib
import imaplib
import os
import poplib
import select
import shutil
import socket
import subprocess
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

PASSWORD_REFUSED = ("Authentication failed", "AUTHENTICATIONFAILED", "[AUTH]")
MAPPED = "127.0.0.12"
"""The second address that it listens on."""
_START_S = 30
_TRIES = 3
_STOP_S = 20

# What is the same for every site: no TLS, all in one directory, and no waiting after a failure.
_FRAME = """
base_dir = {place}/base
state_dir = {place}/state
log_path = {place}/log
protocols = imap pop3
listen = 127.0.0.1, {mapped}
ssl = no
auth_verbose = yes
auth_failure_delay = 0
service anvil {{
  unix_listener anvil-auth-penalty {{
    mode = 0
  }}
}}
service imap-login {{
  inet_listener imap {{
    port = {imap}
  }}
  inet_listener imaps {{
    port = 0
  }}
}}
service pop3-login {{
  inet_listener pop3 {{
    port = {pop3}
  }}
  inet_listener pop3s {{
    port = 0
  }}
}}
!include {place}/vpopsql.conf
"""
_CLEAR = {
    "2.3": "disable_plaintext_auth = no\n",
    "2.4": (
        "dovecot_config_version = 2.4.0\ndovecot_storage_version = 2.4.0\n"
        "auth_allow_cleartext = yes\n"
    ),
}


@dataclass
class Dovecot:
    """One server, and its clients.

    :param root: what it runs in by chroot; "/" for the system's.
    :param place: its directory, with the configuration to be tested, as it sees it.
    """

    version: str
    root: Path
    place: str
    imap_port: int = 0
    pop3_port: int = 0
    _process: subprocess.Popen[bytes] | None = field(default=None, repr=False)

    @property
    def directory(self) -> Path:
        """Its directory, as the tests see it."""
        return self.root / self.place.lstrip("/")

    @property
    def service(self) -> str:
        """What it calls the service that a lookup is for."""
        return {"2.3": "service", "2.4": "protocol"}[self.version]

    @property
    def log(self) -> str:
        """What it has logged."""
        file = self.directory / "log"
        return file.read_text() if file.exists() else ""

    def start(self) -> None:
        """Start it, and wait until it answers."""
        # It takes no port that is said to be any, and another program may be quicker to take one.
        if not any(self._has_started() for _ in range(_TRIES)):
            raise RuntimeError(f"Dovecot does not start:\n{self.log}")

    def _has_started(self) -> bool:
        self.imap_port, self.pop3_port = _free_ports()
        frame = _FRAME.format(
            place=self.place, imap=self.imap_port, pop3=self.pop3_port, mapped=MAPPED
        )
        (self.directory / "dovecot.conf").write_text(_CLEAR[self.version] + frame)
        self._process = subprocess.Popen(
            self._command("/usr/sbin/dovecot", "-F"),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        deadline = time.monotonic() + _START_S
        while self._process.poll() is None and time.monotonic() < deadline:
            with contextlib.suppress(OSError, imaplib.IMAP4.error), self.imap():
                return True
            time.sleep(0.05)
        self.stop()
        return False

    def stop(self) -> None:
        """End it with all its processes."""
        if self._process:
            self._process.terminate()
            try:
                self._process.wait(_STOP_S)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()

    def doveadm(self, *words: str) -> subprocess.CompletedProcess[str]:
        """Run doveadm against it."""
        return subprocess.run(
            self._command("/usr/bin/doveadm", after=words),
            capture_output=True,
            text=True,
            check=False,
            timeout=_START_S,
        )

    def imap(self, source: str = "127.0.0.1", to: str = "127.0.0.1") -> "IMAP":
        """Connect from an address of this machine's."""
        return IMAP(self.imap_port, source, to)

    def may_log_in(
        self,
        protocol: str,
        user: str,
        password: str,
        source: str = "127.0.0.1",
        to: str = "127.0.0.1",
    ) -> bool:
        """Log in and out again; say whether it was let in.

        :param protocol: ``imap`` or ``pop3``, or what proves a password without sending it:
            ``cram-md5``, which IMAP has, or ``apop``, which POP3 has.
        """
        login = self._imap_login if protocol in {"imap", "cram-md5"} else self._pop3_login
        return login(protocol, user, password, source, to)

    def would_authenticate(self, service: str, user: str, password: str) -> bool:
        """Ask it what it would say to a password that a service of this name gave it."""
        done = self.doveadm("auth", "test", "-x", f"{self.service}={service}", user, password)
        assert ("auth succeeded" in done.stdout) != ("auth failed" in done.stdout), done
        return "auth succeeded" in done.stdout

    def _imap_login(self, protocol: str, user: str, password: str, source: str, to: str) -> bool:
        with self.imap(source, to) as client:
            try:
                if protocol == "cram-md5":
                    client.login_cram_md5(user, password)
                else:
                    client.login(user, password)
            except imaplib.IMAP4.error as error:
                self._expect_refusal(str(error))
                return False
            return True

    def _pop3_login(self, protocol: str, user: str, password: str, source: str, to: str) -> bool:
        client = _POP3(self.pop3_port, source, to)
        try:
            if protocol == "apop":
                client.apop(user, password)
            else:
                client.user(user)
                client.pass_(password)
        except poplib.error_proto as error:
            self._expect_refusal(str(error))
            return False
        finally:
            client.close()
        return True

    def _expect_refusal(self, said: str) -> None:
        """Fail unless it is the login that was refused: nothing else went wrong."""
        assert any(each in said for each in PASSWORD_REFUSED), f"{said}\n{self.log}"

    def _command(self, program: str, *options: str, after: tuple[str, ...] = ()) -> list[str]:
        config = ["-c", f"{self.place}/dovecot.conf"]
        chroot = [] if self.root == Path("/") else ["chroot", str(self.root)]
        return [*chroot, program, *config, *options, *after]


class IMAP(imaplib.IMAP4):
    """A client that connects from an address of its choice."""

    def __init__(self, port: int, source: str, to: str) -> None:
        self._source = source
        super().__init__(to, port, timeout=_START_S)

    def _create_socket(self, timeout: float | None) -> socket.socket:
        return socket.create_connection((self.host, self.port), timeout, (self._source, 0))

    def quota(self) -> list[bytes]:
        """Return what it says of the inbox's quota."""
        _, answers = self.getquotaroot("INBOX")
        return [each for each in answers[1] if isinstance(each, bytes)]


class _POP3(poplib.POP3):
    def __init__(self, port: int, source: str, to: str) -> None:
        self._source = source
        super().__init__(to, port, timeout=_START_S)

    def _create_socket(self, timeout: float) -> socket.socket:
        return socket.create_connection((self.host, self.port), timeout, (self._source, 0))


class Relay:
    """A Unix socket that passes everything on to another one, which not everybody can reach."""

    def __init__(self, path: Path, target: str) -> None:
        self._target = target
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(path))
        path.chmod(0o777)
        self._listener.listen()
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        """Take no more clients."""
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._pass_on, args=(client,), daemon=True).start()

    def _pass_on(self, client: socket.socket) -> None:
        with client, socket.socket(socket.AF_UNIX) as server, contextlib.suppress(OSError):
            server.connect(self._target)
            other = {client: server, server: client}
            while True:
                for source in select.select(other, [], [])[0]:
                    if not (data := source.recv(65536)):
                        return
                    other[source].sendall(data)


def root_of(version: str) -> Path | None:
    """Return where a Dovecot of this version is; None: there is none to be run here."""
    if os.geteuid() != 0:
        return None
    if version == "2.4":
        given = os.environ.get("VPOPSQL_TEST_DOVECOT_2_4")
        return Path(given) if given else None
    found = shutil.which("dovecot", path="/usr/sbin")
    if found is None or not _is_of(found, version):
        return None
    return Path("/")


def _is_of(program: str, version: str) -> bool:
    said = subprocess.run([program, "--version"], capture_output=True, text=True, check=False)
    return said.stdout.startswith(f"{version}.")


def _free_ports() -> tuple[int, int]:
    with socket.socket() as one, socket.socket() as other:
        one.bind(("127.0.0.1", 0))
        other.bind(("127.0.0.1", 0))
        return one.getsockname()[1], other.getsockname()[1]


def wait_for(look: Any, wanted: Any, patience_s: float = 20) -> Any:
    """Return what ``look()`` returns, once it is what is wanted or too much time has passed."""
    deadline = time.monotonic() + patience_s
    while (found := look()) != wanted and time.monotonic() < deadline:
        time.sleep(0.02)
    return found
