"""``vpopsql`` in this process: a start of Python takes half a second and is rarely the matter."""

import io
from collections.abc import Callable
from typing import NamedTuple

import pytest

from vpopsql.cli import main


class Done(NamedTuple):
    """What a command left behind."""

    returncode: int
    stdout: str
    stderr: str


Command = Callable[..., Done]


def run(
    capsys: pytest.CaptureFixture[str], *arguments: str, stdin: str = "", **environment: str
) -> Done:
    """Run ``vpopsql`` to its end, as a process of its own would do it."""
    capsys.readouterr()
    with pytest.MonkeyPatch.context() as patch:
        for name, value in environment.items():
            patch.setenv(name, value)
        patch.setattr("sys.argv", ["vpopsql", *arguments])
        patch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(stdin.encode())))
        with pytest.raises(SystemExit) as ended:
            main()
        said = capsys.readouterr()
    assert isinstance(ended.value.code, int)
    return Done(ended.value.code, *said)
