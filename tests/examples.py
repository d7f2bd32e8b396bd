"""The examples of the manual, followed page by page as a reader follows them.

Of a page, in its order: a block of ``toml`` whose first line is a comment with a path is written
to that file. A block of ``console`` is what a terminal shows. Lines after ``$ `` are commands
(``> `` goes on with one), which end with exit code 0 unless a comment ``# exit code N`` says
otherwise. The lines after a command are what it prints; without any it may print what it likes.
``…`` stands for any text in a line, and alone for any lines. After ``$ nc HOST PORT`` comes a
conversation with the daemon. Other blocks are not looked at.

Paths of the root (``/etc``, ``/home``, …) are below the reader's own directory, and port 89 is one
that was free.
"""

import contextlib
import io
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

FENCE = re.compile(r"^```([^\n]*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_EXIT_CODE = re.compile(r"\s+# exit code (\d)$")
_OF_THE_ROOT = re.compile(r"(?:(?<![\w/.*])|(?<=sqlite:///))/(?=(?:etc|home|opt|run|srv|var)\b)")
_END = "\x01"
_START_S = 30
_BODIES = {"mod_user", "set_limits", "write_file"}
"""Commands that lines follow."""


class Step(NamedTuple):
    """A command, and what is printed then."""

    command: str
    printed: list[str]


class Reader:
    """Somebody who does what the manual says, on a host of his own.

    :param root: his host's root directory.
    :param programs: where `preloaded` has put its program.
    """

    def __init__(self, root: Path, programs: Path) -> None:
        self.root = root
        self.complaints: list[str] = []
        self._port = _free_port()
        ours = str(Path(sys.executable).parent)
        # The daemon is a real one; it is the other commands that have to start quickly.
        for name in ("bin", "etc", "srv"):
            (root / name).mkdir()
        _make_program(
            root / "bin/vpopsql",
            f'case " $* " in *" serve "*) exec {ours}/vpopsql "$@" ;; esac\n'
            f'exec {programs}/vpopsql "$@"',
        )
        environ = {
            "PATH": f"{root}/bin:{ours}:{os.environ['PATH']}",
            "HOME": str(root),
            "LANG": "C.UTF-8",
            "TMPDIR": str(root),
            "VPOPSQL_PATHS_ROOT": str(root),
            "VPOPSQL_DAEMON_LISTEN": f"127.0.0.1:{self._port}",
            "VPOPSQL_LOG_LEVEL": "warning",
            "VPOPSQL_PASSWORDS_ROUNDS": "1000",
            "VPOPSQL_EXPORT_UID": str(os.geteuid()),
            "VPOPSQL_EXPORT_GID": str(os.getegid()),
        }
        self._shell = subprocess.Popen(
            ["/bin/bash", "--norc"],
            cwd=root,
            env=environ,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    def close(self) -> None:
        """End the shell, and what it has left running."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._shell.pid, signal.SIGTERM)
        self._shell.wait()
        for pipe in (self._shell.stdin, self._shell.stdout):
            if pipe:
                pipe.close()

    def follow(self, page: Path) -> int:
        """Do what a page says; return how many commands there were."""
        count = 0
        for kind, text in FENCE.findall(page.read_text(encoding="utf-8")):
            if kind == "toml" and text.startswith("# /"):
                self._write(text)
            elif kind == "console":
                for step in steps(text):
                    count += 1
                    self._take(page.name, step)
        return count

    def _write(self, text: str) -> None:
        path = Path(self._here(text.splitlines()[0].removeprefix("# ")))
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(self._here(text))

    def _here(self, text: str) -> str:
        return _OF_THE_ROOT.sub(f"{self.root}/", text)

    def _take(self, page: str, step: Step) -> None:
        if step.command.startswith("nc "):
            said = converse(self._daemon(), step.printed)
            self.complaints += [f"{page}: {each}" for each in said]
            return
        expected = _EXIT_CODE.search(step.command)
        printed, code = self._run(_EXIT_CODE.sub("", step.command))
        if code != int(expected[1] if expected else 0):
            self.complaints.append(f"{page}: $ {step.command}: exit code {code}: {printed}")
        elif step.printed and not matches(step.printed, printed):
            wanted = "\n".join(step.printed)
            self.complaints.append(f"{page}: $ {step.command}\n{printed}--- but not\n{wanted}\n")

    def _run(self, command: str) -> tuple[str, int]:
        assert self._shell.stdin
        assert self._shell.stdout
        self._shell.stdin.write(f"{{ {self._here(command)}\n}} </dev/null; echo '{_END}'$?\n")
        self._shell.stdin.flush()
        printed = ""
        for line in self._shell.stdout:
            before, end, code = line.partition(_END)
            printed += before
            if end:
                return printed.replace(str(self.root), ""), int(code)
        raise AssertionError(f"the shell ended at: {command}\n{printed}")

    def _daemon(self) -> tuple[str, int]:
        """Return where it is, once it is there."""
        address = ("127.0.0.1", self._port)
        deadline = time.monotonic() + _START_S
        while time.monotonic() < deadline:
            with contextlib.suppress(ConnectionRefusedError), socket.create_connection(address):
                return address
            time.sleep(0.05)
        raise AssertionError(f"no daemon answers: {self._run('true')[0]}")


def steps(text: str) -> Iterator[Step]:
    """Give the commands of a block."""
    command, printed = "", list[str]()
    for line in text.splitlines():
        if line.startswith("$ "):
            if command:
                yield Step(command, printed)
            command, printed = line[2:], []
        elif line.startswith("> ") and not printed:
            command += "\n" + line[2:]
        else:
            printed.append(line)
    if command:
        yield Step(command, printed)


def matches(wanted: Sequence[str], printed: str) -> bool:
    """Tell whether something was printed that fits."""
    parts = ["(?:.*\n)*" if line == "…" else _line_pattern(line) for line in wanted]
    plain = "".join(f"{line.rstrip()}\n" for line in printed.splitlines())
    return re.fullmatch("".join(parts), plain) is not None


def _line_pattern(line: str) -> str:
    return ".*".join(re.escape(part) for part in line.rstrip().split("…")) + "\n"


def converse(address: tuple[str, int], lines: Sequence[str]) -> list[str]:
    """Say to a daemon what a block says, and compare what it answers; return complaints.

    Which lines are whose follows from the protocol: a greeting, then a command and its answer in
    turn; a list is one up to a single dot, and so are the lines that some commands have.
    """
    with socket.create_connection(address, _START_S) as client, client.makefile("rwb") as stream:
        return _converse(stream, list(lines))


def _converse(stream: io.BufferedRWPair, left: list[str]) -> list[str]:
    complaints: list[str] = []

    def say(line: str) -> None:
        stream.write(line.encode() + b"\r\n")
        stream.flush()

    def hear() -> str:
        answer = _take_answer(lambda: stream.readline().decode())
        shown = _take_answer(lambda: left.pop(0) + "\n" if left else "")
        if not matches(shown, "\n".join(answer)):
            complaints.append(f"the daemon says {answer}, not {shown}")
        return answer[-1]

    hear()
    while left:
        command = left.pop(0)
        say(command)
        verb = command.split(" ")[0]
        if verb in _BODIES and (verb == "write_file" or hear() == "+OK"):
            while (line := left.pop(0)) != ".":
                say(line)
            say(".")
            hear()
        elif verb not in _BODIES:
            hear()
    return complaints


def _take_answer(take: Callable[[], str]) -> list[str]:
    """Take the lines of one answer: warnings, a status, and of a list all of it.

    :param take: returns a line, and what has no end when there is none.
    """
    lines = [take()]
    while lines[-1].startswith("  Warning"):
        lines.append(take())
    if lines[-1].rstrip() == "+OK+":
        while lines[-1].rstrip() != "." and lines[-1].endswith("\n"):
            lines.append(take())
    return [line.rstrip() for line in lines]


def _make_program(path: Path, script: str) -> None:
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)


def _free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])
