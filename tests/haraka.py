"""A real Haraka, npm's, for tests: installed once a session, where there is npm."""

import contextlib
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

from tests.databases import locked

VERSION = "3.1.6"
CERTIFICATE = Path(__file__).parent / "client/localhost.pem"
DH_PARAMETERS = CERTIFICATE.with_name("ffdhe2048.pem")
"""A group of RFC 7919."""

_INSTALL_S = 180
_START_S = 60


class NotToBeHad(Exception):
    """There is no npm here, or it cannot get what is needed."""


def install(shared: Path) -> Path:
    """Return the session's installation; the first worker to ask makes it.

    :raises NotToBeHad: it cannot be made; nobody tries again.
    """
    if not shutil.which("npm") or not shutil.which("node"):
        raise NotToBeHad("no npm")
    place = shared / "haraka"
    with locked(shared / "haraka.lock"):
        if not place.exists():
            place.mkdir()
            (place / "package.json").write_text('{"private": true}')
            done = _npm_install(place)
            (place / "said").write_text(done)
    said = (place / "said").read_text()
    if said:
        raise NotToBeHad(said)
    return place / "node_modules/Haraka/bin/haraka"


def _npm_install(place: Path) -> str:
    """Install what authenticating needs; return what went wrong."""
    command = [
        *("npm", "install", "--no-audit", "--no-fund", "--ignore-scripts", "--omit=optional"),
        *("--no-package-lock", "--loglevel=error", "--prefer-offline", f"Haraka@{VERSION}"),
    ]
    try:
        done = subprocess.run(
            command, cwd=place, capture_output=True, text=True, check=False, timeout=_INSTALL_S
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"npm install: {error}"
    return f"npm install: {done.stderr[-1000:]}" if done.returncode else ""


@contextlib.contextmanager
def serving(program: Path, directory: Path, daemon: tuple[str, int]) -> Iterator[int]:
    """Give the port of a Haraka that asks ``daemon`` who may send; it speaks STARTTLS."""
    config = directory / "config"
    shutil.copytree(program.parents[1] / "config", config)
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = int(free.getsockname()[1])
    asked = f"host={daemon[0]}\nport={daemon[1]}\nsysadmin=postmaster@test.com:password"
    files = {
        "me": "mail.example.com",
        "plugins": "tls\nauth/auth_vpopmaild\n",
        "smtp.ini": f"listen=127.0.0.1:{port}\nnodes=0\n",
        "tls.ini": "key=key.pem\ncert=key.pem\n",
        "key.pem": CERTIFICATE.read_text(),
        # Else it looks for some of its own, which takes a processor for minutes.
        "dhparams.pem": DH_PARAMETERS.read_text(),
        # Haraka's own file, under this one, has a section for the domain of the example.
        "auth_vpopmaild.ini": f"[main]\n{asked}\n[example.com]\n{asked}\n",
    }
    for name, text in files.items():
        (config / name).write_text(text)
    with (directory / "log").open("w") as log:
        process = subprocess.Popen(
            ["node", program, "-c", directory],
            cwd=directory,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
        )
    try:
        _wait_for(process, port, directory / "log")
        yield port
        assert process.poll() is None, (directory / "log").read_text()[-2000:]
    finally:
        process.terminate()
        process.wait()


def _wait_for(process: "subprocess.Popen[bytes]", port: int, log: Path) -> None:
    deadline = time.monotonic() + _START_S
    while time.monotonic() < deadline and process.poll() is None:
        with socket.socket() as probe:
            if not probe.connect_ex(("127.0.0.1", port)):
                return
        time.sleep(0.05)
    raise AssertionError(f"Haraka does not serve:\n{log.read_text()[-2000:]}")
