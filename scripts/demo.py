"""The demonstration behind scripts/demo; run by the environment's Python."""

import argparse
import contextlib
import os
import shlex
import signal
import socket
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType
from typing import NoReturn

SAMPLE = Path(__file__).parent.parent / "tests" / "trees" / "small.tar.gz"
VPOPSQL = Path(sys.executable).with_name("vpopsql")
PORT = 8989
CHANGED = "home/vpopmail/domains/bounce.example/vpasswd"
ADDED = "dora:"
"""What the conversation adds to the file `CHANGED` begins so."""
CONVERSATION = (
    "login postmaster@north.example North!Pass 1",
    "user_info anna@north.example",
    "list_domains",
    "add_user dora@bounce.example Corr3ct-horse",
    "quit",
)
START_TIMEOUT_S = 20
WIDTH = 100
LINES_SHOWN = 6
"""Of a list of files."""

# Exit codes of vpopsql's commands.
DONE, DONE_WITH_WARNINGS = 0, 1


class DemoFailed(Exception):
    """A step did not do what it should."""


def main() -> int:
    """Run the demonstration and say in one last line how it went."""
    parser = argparse.ArgumentParser(prog="scripts/demo", description=__doc__)
    parser.add_argument("--smoke", action="store_true", help="use a free port and end by itself")
    smoke = parser.parse_args().smoke
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        with tempfile.TemporaryDirectory(prefix="vpopsql-demo-") as scratch:
            summary = demonstrate(Path(scratch), smoke=smoke)
    except (DemoFailed, OSError) as error:
        print(f"demo: FAILED: {error}")
        return 1
    except KeyboardInterrupt:
        print("\ndemo: stopped")
        return 130
    print(f"demo: ok: {summary}")
    return 0


def demonstrate(scratch: Path, *, smoke: bool) -> str:
    """Show every step in ``scratch``; return what was achieved, in a few words."""
    sample, site = scratch / "sample", scratch / "site"
    port = free_port(0 if smoke else PORT)
    settings = {
        "VPOPSQL_DATABASE_URL": f"sqlite:///{scratch}/vpopsql.db",
        "VPOPSQL_PATHS_ROOT": str(site),
        "VPOPSQL_DAEMON_LISTEN": f"127.0.0.1:{port}",
        "VPOPSQL_LOG_LEVEL": "warning",
        # The sample holds readable passwords; without this they would be left out.
        "VPOPSQL_PASSWORDS_STORE_CLEAR_TEXT": "true",
        # Only root may give files away.
        "VPOPSQL_EXPORT_UID": str(os.geteuid()),
        "VPOPSQL_EXPORT_GID": str(os.getegid()),
    }
    inherited = {k: v for k, v in os.environ.items() if not k.startswith("VPOPSQL_")}
    environment = inherited | settings

    say("A site as vpopmail left it, from real tools: users/assign, vpasswd, dot-qmail files")
    unpack(SAMPLE, sample)
    print(f"    {count_files(sample)} files in {sample}")

    say("The settings; a TOML file could hold them as well")
    for name, value in settings.items():
        print(f"    {name}={value}")

    say("A new database")
    run(environment, "db", "upgrade")

    say("The site becomes a database")
    vpopmail, qmail = str(sample / "vpopmail"), str(sample / "qmail")
    run(environment, "import", "tree", "--vpopmail", vpopmail, "--qmail", qmail, "--apply")

    say("What an export would write is what the site has, byte for byte")
    run(environment, "import", "verify")

    say("The database becomes the files of qmail and vpopmail, in an empty place")
    site.mkdir()
    run(environment, "export", "apply", shown=LINES_SHOWN)
    exported = count_files(site)
    print(f"    {exported} files in {site}")
    if not (site / "var/qmail/users/assign").is_file():
        raise DemoFailed("the export wrote no users/assign")

    say("What administrators ask: one question, and pages with all of them")
    run(environment, "report", "external-forwards")
    reports = scratch / "reports"
    run(environment, "report", "html", str(reports), "--title", "The sample site")

    say("The daemon serves it")
    with daemon(environment, port) as process:
        lines = converse(port)
        say("What a client has changed is in vpopmail's files before it hears +OK")
        show_added(site / CHANGED)
        if not smoke:
            print(f"\nThe daemon goes on: {VPOPSQL.name} serve on 127.0.0.1 port {port}.")
            print(f"Talk to it from another terminal:  nc 127.0.0.1 {port}")
            print(f"and begin with:                    {CONVERSATION[0]}")
            print(f"The pages, for a browser:          {(reports / 'index.html').as_uri()}")
            print(f"qmail's files:                     {site}")
            print("Ctrl-C ends it and removes everything.", flush=True)
            with contextlib.suppress(KeyboardInterrupt):
                process.wait()
                raise DemoFailed("the daemon ended by itself")
            print()
    return (
        f"imported a vpopmail site, exported {exported} files of qmail's, and the daemon"
        f" answered {lines} lines on port {port}"
    )


def say(heading: str) -> None:
    """Begin a step."""
    print(f"\n==> {heading}", flush=True)


def run(environment: dict[str, str], *arguments: str, shown: int | None = None) -> None:
    """Run a vpopsql command with its output indented below it.

    :param shown: how many of its lines, besides the last one; None: all.
    """
    print(f"    $ vpopsql {shlex.join(arguments)}", flush=True)
    done = subprocess.run(
        [VPOPSQL, *arguments],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        check=False,
    )
    lines = done.stdout.splitlines()
    if shown is not None and len(lines) > shown + 2:
        lines[shown:-1] = [f"... and {len(lines) - shown - 1} more"]
    for line in lines:
        print(f"    {line}")
    if done.returncode not in (DONE, DONE_WITH_WARNINGS):
        raise DemoFailed(f"vpopsql {arguments[0]} ended with exit code {done.returncode}")


@contextlib.contextmanager
def daemon(environment: dict[str, str], port: int) -> Iterator["subprocess.Popen[bytes]"]:
    """Give a daemon that accepts connections; end it afterwards."""
    print("    $ vpopsql serve", flush=True)
    process = subprocess.Popen([VPOPSQL, "serve"], env=environment)
    try:
        wait_for(process, port)
        yield process
    finally:
        process.terminate()
        try:
            process.wait(timeout=15)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def wait_for(process: "subprocess.Popen[bytes]", port: int) -> None:
    """Return when the daemon accepts connections."""
    end = time.monotonic() + START_TIMEOUT_S
    while time.monotonic() < end:
        if process.poll() is not None:
            raise DemoFailed(f"the daemon ended with exit code {process.returncode}")
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return
        time.sleep(0.1)
    raise DemoFailed(f"the daemon did not listen within {START_TIMEOUT_S} s")


def converse(port: int) -> int:
    """Have the conversation, show it as it happens, return how many lines were answered."""
    answered = 0
    with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
        stream = connection.makefile("rwb")
        answered += show_reply(stream.readline, "greeting")
        for command in CONVERSATION:
            print(f"    C: {command}", flush=True)
            stream.write(command.encode() + b"\r\n")
            stream.flush()
            answered += show_reply(stream.readline, command)
    return answered


def show_reply(read_line: Callable[[], bytes], command: str) -> int:
    """Show one reply, of one line or up to the point that ends a list; return its lines."""
    lines = 0
    is_list = False
    while True:
        line = read_line()
        text = line.decode("utf-8", "replace").rstrip("\r\n")
        lines += 1
        print(f"    S: {text if len(text) <= WIDTH else text[: WIDTH - 3] + '...'}", flush=True)
        if lines == 1:
            if not text.startswith("+OK"):
                verb = command.partition(" ")[0]
                raise DemoFailed(f"{verb} was answered with {text or 'nothing'!r}")
            is_list = text.startswith("+OK+")
        if not is_list or text == "." or not line:
            return lines


def show_added(file: Path) -> None:
    """Show the line that the conversation has added to a file."""
    print(f"    $ grep {ADDED} {file}")
    found = [line for line in file.read_text().splitlines() if line.startswith(ADDED)]
    if not found:
        raise DemoFailed(f"{file} does not have what was added")
    print(f"    {found[0]}")


def unpack(archive: Path, directory: Path) -> None:
    """Unpack our own sample."""
    with tarfile.open(archive) as tar:
        # Not every Python 3.11 knows extraction filters yet.
        if hasattr(tarfile, "tar_filter"):
            tar.extraction_filter = tarfile.tar_filter
        tar.extractall(directory)  # noqa: S202 - the archive is our own


def count_files(directory: Path) -> int:
    """Return how many files there are at any depth."""
    return sum(len(files) for _, _, files in os.walk(directory))


def free_port(wanted: int) -> int:
    """Return the port wanted, or a free one when it is taken."""
    for port in (wanted, 0):
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(("127.0.0.1", port))
            if wanted and port != wanted:
                print(f"Port {wanted} is taken; the demonstration uses another one.")
            return int(probe.getsockname()[1])
    raise DemoFailed("there is no free port on 127.0.0.1")


def _interrupt(_signal: int, _frame: FrameType | None) -> NoReturn:
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main())
