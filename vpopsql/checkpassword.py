"""A checkpassword program: who logs in is asked of the daemon, and then another program is run.

qmail-popup and qmail-smtpd with an AUTH patch start such a program with login, password and
perhaps a challenge on descriptor 3, each ended by a NUL; 512 bytes in all. If the login is good,
the program named by the arguments runs as the mailbox's owner in its home; otherwise it exits with

- 1: refused: unknown, a wrong password, or not allowed to use the service;
- 2: misused: descriptor 3 or the arguments are not what they should be;
- 111: a temporary problem: try again later.

One process starts for every login, so this module is a script of its own that imports nothing but
what Python has built in, and asks the daemon on a UNIX socket; `vpopsql.daemon.authentication` is
the other side. Where no daemon listens, it gives way to ``vpopsql checkpassword --direct``, which
asks the database itself and takes twenty times as long to start.

No message shows what came on descriptor 3. The bytes of it are overwritten before anything else is
run.
"""

import os
import sys
import time
from _signal import (  # type: ignore[import-not-found] # as _socket
    SIG_DFL,
    SIGPIPE,
    SIGXFSZ,
    signal,
)

# What `socket` adds for people takes longer to import than all the rest takes to run.
from _socket import AF_UNIX, SHUT_WR, SOCK_STREAM
from _socket import socket as Socket  # noqa: N812 - it is a class

# `typing` would take as long to import as all of this.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

REFUSED, MISUSED, TEMPORARY = 1, 2, 111

SOCKET = "/run/vpopsql/auth"
"""Where the daemon is asked, unless ``--socket`` or `SOCKET_VARIABLE` says otherwise."""

SOCKET_VARIABLE = "VPOPSQL_DAEMON_AUTH_SOCKET"

CREDENTIALS_MAX = 512
"""Bytes on descriptor 3, as the interface has it."""

PROTOCOL = b"vpopsql-auth-1"
"""The first field of a question; those that follow are of `FIELDS`, each ended by a NUL."""

FIELDS = ("service", "remote_ip", "local_ip", "default_domain", "login", "password", "challenge")

QUESTION_MAX = 4096
ANSWER_MAX = 4096

GRANTED, DENIED, LATER = b"+", b"-", b"!"
"""The first field of an answer. Uid, gid, name, address and home follow `GRANTED`, a reason
follows `LATER`; each is ended by a NUL."""

SERVICES = ("pop3", "imap", "smtp", "webmail", "dialup")

_PORTS = {
    "25": "smtp",
    "465": "smtp",
    "587": "smtp",
    "110": "pop3",
    "995": "pop3",
    "143": "imap",
    "993": "imap",
}
_PROGRAMS = {"true": "smtp", "imap": "imap"}
_TIMEOUT_S = 15.0
_DESCRIPTOR = 3
_NOT_THERE = (2, 20)
"""ENOENT and ENOTDIR: look further."""

_ABSENT = (FileNotFoundError, ConnectionRefusedError)

_USAGE = """\
usage: vpopsql-checkpassword [--service SERVICE] [--socket PATH] PROGRAM [ARGUMENT...]

Reads login, password and challenge from descriptor 3, each ended by a NUL, and runs PROGRAM if
they are good. SERVICE is one of pop3, imap, smtp, webmail, dialup; without it, $TCPLOCALPORT and
PROGRAM tell.
"""


class Stop(Exception):
    """The end of it.

    :ivar code: the exit code.
    """

    def __init__(self, code: int, said: str) -> None:
        super().__init__(said)
        self.code = code


class Options:
    """What the arguments say."""

    def __init__(self) -> None:
        self.service = ""
        self.socket = os.environ.get(SOCKET_VARIABLE) or SOCKET
        self.program: list[str] = []


def main() -> None:
    """Check one login, with what the process was started with; never return."""
    run(sys.argv[1:], ask)


def run(arguments: list[str], ask: "Callable[[Options, str, bytearray], bytes]") -> None:
    """Check one login and become the program; never return.

    :param ask: finds out who it is.
    """
    try:
        options = parse(arguments)
        credentials = read_credentials()
        service = options.service or guess_service(options.program[0])
        try:
            answer = ask(options, service, credentials)
        finally:
            wipe(credentials)
        become(granted(answer), service, options.program)
    except Stop as stop:
        if str(stop):
            say(str(stop))
        sys.exit(stop.code)
    except Exception as error:  # noqa: BLE001 - Python's exit code would say "refused"
        # Its text may quote what came on descriptor 3.
        trace = error.__traceback__
        while trace and trace.tb_next:
            trace = trace.tb_next
        where = f"{trace.tb_frame.f_code.co_filename}:{trace.tb_lineno}" if trace else ""
        say(f"this is a defect: {type(error).__name__} in {where}")
        sys.exit(TEMPORARY)


def say(text: str) -> None:
    """Tell whoever looks after the machine."""
    sys.stderr.write(f"checkpassword: {text}\n")


# --- what is asked ------------------------------------------------------------------------------


def parse(arguments: list[str]) -> Options:
    """Return what the arguments say. :raises Stop: they are not what they should be."""
    options = Options()
    rest = list(arguments)
    while rest and rest[0].startswith("-"):
        name, is_joined, value = rest.pop(0).partition("=")
        if name == "--" and not is_joined:
            break
        if name not in {"--service", "--socket"} or not (is_joined or rest):
            raise Stop(MISUSED, f"{name} is no option, or lacks a value\n{_USAGE}")
        setattr(options, name[2:], value if is_joined else rest.pop(0))
    if not rest:
        raise Stop(MISUSED, f"no program to run\n{_USAGE}")
    if options.service and options.service not in SERVICES:
        raise Stop(MISUSED, f"--service must be one of {', '.join(SERVICES)}")
    options.program = rest
    return options


def read_credentials() -> bytearray:
    """Return what is on descriptor 3, and close it.

    :raises Stop: it is not open, too much or not three words, of which the last may be missing.
    """
    data = bytearray(CREDENTIALS_MAX + 1)
    size = 0
    try:
        while size < len(data):
            got = os.readv(_DESCRIPTOR, [memoryview(data)[size:]])
            if not got:
                break
            size += got
        os.close(_DESCRIPTOR)
    except OSError as error:
        raise Stop(MISUSED, f"descriptor 3 cannot be read: {error.strerror}") from None
    if size > CREDENTIALS_MAX:
        wipe(data)
        raise Stop(REFUSED, f"there are more than {CREDENTIALS_MAX} bytes on descriptor 3")
    del data[size:]
    if data.count(0) < 2:  # noqa: PLR2004 - login and password
        wipe(data)
        raise Stop(MISUSED, "descriptor 3 has no login and password, each ended by a NUL")
    return data


def wipe(data: bytearray) -> None:
    """Overwrite what is in ``data``."""
    data[:] = bytes(len(data))


def guess_service(program: str) -> str:
    """Return the service that somebody logs in to, by the port that he has connected to.

    Source: vchkpw, which also takes mailbox logins from this machine itself for webmail, and looks
    at the program's name if it does not know the port.
    """
    service = _PORTS.get(os.environ.get("TCPLOCALPORT", ""))
    if service is None:
        known = (service for sign, service in _PROGRAMS.items() if sign in program)
        service = next(known, "pop3")
    is_here = os.environ.get("TCPREMOTEIP") in {"127.0.0.1", "::1"}
    return "webmail" if is_here and service != "smtp" else service


def question(service: str, credentials: bytearray) -> bytearray:
    """Return the bytes that ask the daemon. :raises Stop: the environment makes them too many."""
    asked = bytearray(PROTOCOL + b"\0" + service.encode() + b"\0")
    for name in ("TCPREMOTEIP", "TCPLOCALIP", "VPOPMAIL_DOMAIN"):
        asked += os.environb.get(name.encode(), b"") + b"\0"
    asked += credentials
    # The challenge may be missing, and what follows it is of no use.
    missing = len(FIELDS) + 1 - asked.count(0)
    asked += bytes(max(missing, 0))
    if len(asked) > QUESTION_MAX:
        wipe(asked)
        raise Stop(MISUSED, "TCPREMOTEIP, TCPLOCALIP or VPOPMAIL_DOMAIN is too long")
    return asked


def ask(options: Options, service: str, credentials: bytearray) -> bytes:
    """Return what the daemon answers; where there is none, become what asks the database.

    :raises Stop: the daemon does not answer.
    """
    asked = question(service, credentials)
    connection = Socket(AF_UNIX, SOCK_STREAM)
    try:
        connection.settimeout(_TIMEOUT_S)
        try:
            connect(connection, options.socket)
        except _ABSENT:
            ask_directly(options, service, credentials)
        connection.sendall(asked)
        connection.shutdown(SHUT_WR)
        answer = b""
        while data := connection.recv(ANSWER_MAX):
            answer += data
    except OSError as error:
        why = error.strerror or "no answer in time"
        raise Stop(TEMPORARY, f"{options.socket}: {why}") from None
    finally:
        wipe(asked)
        connection.close()
    return answer


def connect(connection: Socket, path: str) -> None:
    """Connect; wait a while if more are waiting than the kernel takes. :raises OSError: no."""
    deadline = time.monotonic() + _TIMEOUT_S
    while True:
        try:
            connection.connect(path)
        except BlockingIOError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.05)
        else:
            return


def ask_directly(options: Options, service: str, credentials: bytearray) -> None:
    """Become the program that asks the database itself; never return."""
    reading, writing = os.pipe()
    # They are fewer bytes than any pipe holds.
    os.write(writing, credentials)
    wipe(credentials)
    os.close(writing)
    if reading != _DESCRIPTOR:
        os.dup2(reading, _DESCRIPTOR)
        os.close(reading)
    os.set_inheritable(_DESCRIPTOR, True)  # noqa: FBT003 - that is its only parameter
    start = "from vpopsql.cli import main; main()"
    words = ["checkpassword", "--direct", "--service", service, "--", *options.program]
    # What lies in the working directory is none of our modules.
    os.execv(sys.executable, [sys.executable, "-P", "-c", start, *words])  # noqa: S606 - no shell


# --- what comes of it ---------------------------------------------------------------------------


class Granted:
    """Somebody who may log in."""

    def __init__(self, uid: int, gid: int, name: str, address: str, home: str) -> None:
        self.uid = uid
        self.gid = gid
        self.name = name
        self.address = address
        self.home = home


def granted(answer: bytes) -> Granted:
    """Return who it is. :raises Stop: he may not log in, or not now."""
    kind, *words = answer.split(b"\0")
    if kind == DENIED:
        raise Stop(REFUSED, "")
    if kind == GRANTED and len(words) == 6 and not words[5]:  # noqa: PLR2004 - see GRANTED
        uid, gid, name, address, home = map(os.fsdecode, words[:5])
        return Granted(int(uid), int(gid), name, address, home)
    why = os.fsdecode(words[0]) if kind == LATER and words else "the daemon's answer is cut short"
    raise Stop(TEMPORARY, why)


def become(who: Granted, service: str, program: list[str]) -> None:
    """Run the program as the mailbox's owner; never return.

    Source: vchkpw, which changes neither owner nor directory for SMTP.

    :raises Stop: that cannot be done.
    """
    if service != "smtp":
        take_identity(who)
        try:
            os.chdir(who.home)
        except OSError as error:
            raise Stop(TEMPORARY, f"{who.address}: {who.home}: {error.strerror}") from None
    for number in (SIGPIPE, SIGXFSZ):
        # Python ignores them, and what is ignored stays so in the program.
        signal(number, SIG_DFL)
    names = {"USER": who.name, "HOME": who.home, "SHELL": "NOLOGIN", "VPOPUSER": who.address}
    execute(program, {**os.environ, **names})


def execute(program: list[str], environment: dict[str, str]) -> None:
    """Become a program, which is looked for in PATH; never return.

    Nothing is imported for it: the mailbox's owner may not be let to where Python is.

    :raises Stop: there is no such program, or it does not run.
    """
    name = program[0]
    path = environment.get("PATH", os.defpath).split(":") if "/" not in name else [""]
    why: str | None = ""
    for directory in path:
        try:
            os.execve(f"{directory}/{name}" if directory else name, program, environment)  # noqa: S606
        except OSError as error:
            why = error.strerror if not why or error.errno not in _NOT_THERE else why
    raise Stop(TEMPORARY, f"{name}: {why}")


def take_identity(who: Granted) -> None:
    """Become the mailbox's owner. :raises Stop: that is nobody to become, or not allowed."""
    if not who.uid or not who.gid:
        raise Stop(TEMPORARY, f"{who.address}: the domain's uid or gid is 0, which is root's")
    if os.geteuid() == 0:
        os.setgroups([who.gid])
        os.setgid(who.gid)
        os.setuid(who.uid)
    elif (os.geteuid(), os.getegid()) != (who.uid, who.gid):
        raise Stop(
            TEMPORARY,
            f"{who.address}: must be started as root to become uid {who.uid}, gid {who.gid}",
        )


if __name__ == "__main__":
    main()
