"""What systemd gives a service and likes to hear from it, and the units that run vpopsql.

Source: sd_listen_fds(3), sd_notify(3), systemd.exec(5).
"""

import os
import re
import socket
from collections.abc import Iterator
from pathlib import Path
from string import Template

from vpopsql.config import Config
from vpopsql.errors import CannotListen, ConfigError

_FIRST_DESCRIPTOR = 3
_PLAIN = re.compile(r"[\w@+=:,./-]+", re.ASCII)
_UNITS = Path(__file__).parent / "units"


def take_listener() -> socket.socket | None:
    """Return the socket that systemd listens on for this process; None: it does not.

    It can be taken once: programs that this process runs are not to find it.

    :raises CannotListen: it has handed over something else than one TCP socket that listens.
    """
    listen_pid = os.environ.pop("LISTEN_PID", "")
    number = os.environ.pop("LISTEN_FDS", "")
    os.environ.pop("LISTEN_FDNAMES", None)
    if listen_pid != str(os.getpid()):
        return None
    if number != "1":
        raise CannotListen(f"systemd has handed over {number} sockets: one is needed")
    os.set_inheritable(_FIRST_DESCRIPTOR, False)  # noqa: FBT003 - takes no keyword
    try:
        listener = socket.socket(fileno=_FIRST_DESCRIPTOR)
        listens = listener.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)
    except OSError as error:
        raise CannotListen(f"systemd has handed over no socket: {error}") from None
    is_tcp = listener.family in {socket.AF_INET, socket.AF_INET6}
    if not (is_tcp and listener.type == socket.SOCK_STREAM and listens):
        listener.close()
        raise CannotListen(
            "systemd has handed over a socket that is no TCP socket or accepts no connections:"
            " the unit needs ListenStream=HOST:PORT and Accept=no"
        )
    return listener


def notify(state: str) -> None:
    """Tell systemd, if it wants to know.

    :param state: ``READY=1`` or ``STOPPING=1``, for instance.
    """
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address.startswith(("/", "@")):
        return
    if address.startswith("@"):
        address = f"\0{address[1:]}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as there:
        there.sendto(state.encode(), address)


def units(config: Config, program: Path, config_file: Path | None, user: str) -> dict[str, str]:
    """Return the units that run vpopsql as this host has it, by file name.

    :param program: the installed ``vpopsql``, by its absolute path.
    :param config_file: by its absolute path; None: there is none.
    :param user: who it runs as; ``root`` keeps only the rights over other people's files.
    :raises ConfigError: a path or the user's name cannot stand in a unit as it is.
    """
    command = [str(program)] + (["--config", str(config_file)] if config_file else [])
    values = {
        "command": " ".join(map(_word, command)),
        "listen": str(config.daemon.listen),
        "user": _word(user),
        "writable": " ".join(f"-{_word(path)}" for path in _writable(config)),
        "capabilities": _capabilities(config) if user == "root" else "",
    }
    return {
        path.name: Template(path.read_text()).substitute(values)
        for path in sorted(_UNITS.iterdir())
        if path.suffix in {".service", ".socket", ".timer"}
    }


def _capabilities(config: Config) -> str:
    becomes_another = config.lists.ezmlm_make or config.daemon.user
    return f"{_CAPABILITIES} {_TO_BECOME_ANOTHER}" if becomes_another else _CAPABILITIES


_TO_BECOME_ANOTHER = "CAP_SETGID CAP_SETUID"

_CAPABILITIES = "CAP_CHOWN CAP_DAC_OVERRIDE CAP_FOWNER CAP_KILL"
"""What root needs: files belong to vpopmail, and qmail-send is told to read its own again."""


def _writable(config: Config) -> Iterator[str]:
    paths = config.paths
    for path in (paths.vpopmail, paths.control, paths.users):
        yield str(paths.real(path))
    if config.database.url.startswith("sqlite:///"):
        yield str(Path(config.database.url.removeprefix("sqlite:///")).parent)
    if config.daemon.auth_socket:
        yield str(Path(config.daemon.auth_socket).parent)


def _word(text: str) -> str:
    if not _PLAIN.fullmatch(text):
        raise ConfigError(f"{text!r} has characters that a unit of systemd takes for its own")
    return text
