"""What goes to standard error, and what must not."""

import json
import logging
from collections.abc import Iterator

import pytest
import structlog

from vpopsql import logs
from vpopsql.config import Log


@pytest.fixture
def _configured() -> Iterator[None]:
    library = logging.getLogger("sqlalchemy")
    before = (library.handlers, library.propagate)
    yield
    library.handlers, library.propagate = before
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
