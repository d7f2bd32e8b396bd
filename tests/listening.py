"""Listens to vpopsql during each test, and fails the test that made it tell a secret.

A plugin of pytest that `conftest` loads; ``-p no:tests.listening`` leaves it out. It hears

- what is written to standard output and error, and so the log, of this process and of those that
  tests start;
- events that a test takes from the log, and what libraries log;
- the text of every refusal (`VpopsqlError`), and every ``-ERR`` of a daemon, wherever it runs;
- the arguments and the environment of programs that vpopsql starts;
- the files that the test leaves below its ``tmp_path``, and the tables of its databases.
"""

import functools
import io
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType
from typing import Any

import click.testing
import pytest
import structlog.testing
from _pytest.capture import CaptureFixture
from sqlalchemy import URL

from tests import databases, transcripts
from tests.told import Watch
from vpopsql import columns, passwords, sealed
from vpopsql.daemon import scraping
from vpopsql.errors import VpopsqlError

WATCH = Watch()
_patch = pytest.MonkeyPatch()


def pytest_configure() -> None:
    """Begin to listen, before any test is imported."""
    _know()
    _hear()


def pytest_unconfigure() -> None:
    """Leave everything as it was."""
    _patch.undo()


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> Iterator[None]:
    """Forget the test before."""
    WATCH.begin(item.nodeid)
    return (yield)


@pytest.fixture(autouse=True)
def _files_are_looked_at(request: pytest.FixtureRequest) -> Iterator[None]:
    """Look at files when all that writes has ended, and before pytest removes them."""
    has_files = "tmp_path" in request.fixturenames
    directory = request.getfixturevalue("tmp_path") if has_files else None
    yield
    if directory:
        WATCH.look_below(directory)


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_teardown(item: pytest.Item) -> Iterator[None]:
    """Search what was told, once nothing more can be."""
    ended = yield
    for when, what, text in item._report_sections:
        WATCH.hear(f"{what} of the test's {when}", text)
    if found := WATCH.findings():
        lines = "\n".join(map(str, dict.fromkeys(found)))
        pytest.fail(f"a secret was told, see tests/told.py:\n{lines}", pytrace=False)
    return ended


# --- What comes by ------------------------------------------------------------------------------


def _know() -> None:
    """Take note of secrets where the product handles them."""
    _before(passwords, "_secret", WATCH.know)
    _before(passwords, "_verifies", _know_hash)
    _before(passwords, "verify_challenge", lambda stored, *_: WATCH.know(stored))
    _before(sealed.Keyring, "seal", lambda _, text: WATCH.know(text))
    _before(sealed, "_parsed", WATCH.know)
    _before(columns.SealedText, "process_bind_param", lambda _, value, *__: WATCH.know(value))
    _before(transcripts.Client, "send", _know_sent)
    _after(URL, "create", lambda url, *_, **__: WATCH.know(url.password))


_SENT = re.compile(
    rb"^(?:[a-z]*login \S+|add_user \S+|add_domain \S+|clear_text_password) (\S.*?)\r?$",
    re.MULTILINE,
)


def _know_sent(_: object, data: bytes) -> None:
    """Take note of passwords on their way to a daemon, which may run in another process."""
    for word in _SENT.findall(data):
        WATCH.know(word)


def _know_hash(scheme: str, _: bytes, stored: str) -> None:
    """Take note of what has no form of its own: 13 letters and digits."""
    if scheme == "des":
        WATCH.know(stored)


# --- What is told -------------------------------------------------------------------------------


def _hear() -> None:
    _after(CaptureFixture, "readouterr", _hear_captured)
    _after(click.testing.CliRunner, "invoke", _hear_result)
    _before(structlog.testing.LogCapture, "__call__", _hear_event)
    _before(VpopsqlError, "__init__", _hear_refusal)
    _after(transcripts.Client, "line", _hear_answer)
    _after(subprocess.Popen, "__init__", _hear_program)
    _after(subprocess.Popen, "communicate", _hear_output)
    _after(scraping, "_respond", _hear_metrics)
    _before(databases.PostgreSQL, "drop_all", _hear_databases)


def _hear_captured(said: Any, *_: object) -> None:
    place = f"output of {_line(sys.argv)}"
    WATCH.hear(place, said.out)
    WATCH.hear(place, said.err)


def _hear_result(
    result: click.testing.Result, _: object, __: object, words: Any = (), **___: object
) -> None:
    WATCH.hear(f"output of {_line(['vpopsql', *(words or ())])}", result.output)


def _hear_event(_: object, __: object, method: str, event: dict[str, Any]) -> None:
    WATCH.hear(f"event at level {method}", repr(event))


def _hear_refusal(error: VpopsqlError, *said: object) -> None:
    WATCH.hear(f"refusal {type(error).__name__}", " ".join(map(str, said)))


def _hear_answer(line: bytes, *_: object) -> None:
    if line.startswith(b"-ERR"):
        WATCH.hear("answer of the daemon", line)


def _hear_output(
    said: tuple[Any, Any], program: "subprocess.Popen[Any]", *_: object, **__: object
) -> None:
    for each in said:
        WATCH.hear(f"output of {_line(program.args)}", each or "")


def _hear_metrics(response: bytes, *_: object) -> None:
    WATCH.hear("metrics of the daemon", response)


def _hear_databases(server: databases.PostgreSQL) -> None:
    for url in server.urls:
        WATCH.look_into(url)


class _Heard(io.BufferedReader):
    """A pipe that a test reads by itself."""

    def __init__(self, pipe: io.BufferedReader, place: str) -> None:
        super().__init__(pipe.detach())
        self.place = place

    def read(self, size: int | None = -1, /) -> bytes:
        return self._hear(super().read(size))

    def read1(self, size: int = -1, /) -> bytes:
        return self._hear(super().read1(size))

    def readline(self, size: int | None = -1, /) -> bytes:
        return self._hear(super().readline(size))

    def __next__(self) -> bytes:
        return self._hear(super().__next__())

    def _hear(self, data: bytes) -> bytes:
        WATCH.hear(self.place, data)
        return data


def _heard(pipe: Any, place: str) -> Any:
    if isinstance(pipe, io.TextIOWrapper):
        encoding, errors = pipe.encoding, pipe.errors
        return io.TextIOWrapper(_Heard(pipe.detach(), place), encoding, errors)
    return _Heard(pipe, place) if isinstance(pipe, io.BufferedReader) else pipe


def _hear_program(_: None, program: "subprocess.Popen[Any]", *__: object, **options: Any) -> None:
    """Hear what a test reads of a program; and how vpopsql starts one."""
    words = _line(program.args)
    if _is_ours():
        WATCH.hear("arguments of a program", words)
        WATCH.hear("environment of a program", repr(options.get("env")))
    else:
        program.stdout = _heard(program.stdout, f"output of {words}")
        program.stderr = _heard(program.stderr, f"output of {words}")


def _is_ours() -> bool:
    """Tell whether vpopsql starts the program that is being started."""
    frame: FrameType | None = sys._getframe()
    while frame and frame.f_globals["__name__"] in {__name__, "subprocess"}:
        frame = frame.f_back
    return frame is not None and frame.f_globals["__name__"].startswith("vpopsql.")


def _line(words: Any) -> str:
    """Return a command as one line; the interpreter and directories left out."""
    if isinstance(words, str | bytes | os.PathLike):
        words = [words]
    names = [os.fsdecode(word) for word in words or ()]
    return shlex.join([Path(name).name for name in names[:1]] + names[1:])


def _before(owner: Any, name: str, note: Callable[..., object]) -> None:
    """Have a function's arguments noted before it works."""
    original = getattr(owner, name)

    @functools.wraps(original)
    def noting(*args: Any, **options: Any) -> Any:
        note(*args, **options)
        return original(*args, **options)

    _patch.setattr(owner, name, noting)


def _after(owner: Any, name: str, note: Callable[..., object]) -> None:
    """Have what a function returned noted, with its arguments."""
    original = getattr(owner, name)

    @functools.wraps(original)
    def noting(*args: Any, **options: Any) -> Any:
        done = original(*args, **options)
        note(done, *args, **options)
        return done

    _patch.setattr(owner, name, noting)
