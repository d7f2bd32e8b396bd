"""What goes to standard error, and what must not."""

import json
import logging
import subprocess
import sys
from collections.abc import Iterator

import pytest
import structlog

from vpopsql import logs
from vpopsql.config import Log


@pytest.fixture
def _configured() -> Iterator[None]:
    libraries = [logging.getLogger(name) for name in ("sqlalchemy", "psycopg")]
    before = [(library.handlers, library.propagate) for library in libraries]
    yield
    for library, (handlers, propagates) in zip(libraries, before, strict=True):
        library.handlers, library.propagate = handlers, propagates
    structlog.reset_defaults()


@pytest.mark.usefixtures("_configured")
def test_what_a_library_complains_of_is_an_event_without_what_its_exception_quotes(
    capsys: pytest.CaptureFixture[str],
) -> None:
    logs.configure(Log())

    error = ValueError("DETAIL: Key (hash)=($1$secret) already exists")
    logging.getLogger("sqlalchemy.pool").error("Error closing cursor", exc_info=error)

    (line,) = capsys.readouterr().err.splitlines()
    told = json.loads(line)
    assert (told["event"], told["level"], told["error"]) == (
        *("Error closing cursor", "error", "ValueError"),
    )
    assert "secret" not in line


def test_a_command_says_nothing_of_what_a_library_complains_of() -> None:
    program = """
import logging, vpopsql.db
error = ValueError("DETAIL: Key (hash)=($1$secret) already exists")
logging.getLogger("sqlalchemy.pool").error("Error closing cursor", exc_info=error)
logging.getLogger("psycopg").warning("error ignored: %s", error)
print("done")
"""

    done = subprocess.run([sys.executable, "-c", program], capture_output=True, check=False)

    assert (done.returncode, done.stdout, done.stderr) == (0, b"done\n", b"")
