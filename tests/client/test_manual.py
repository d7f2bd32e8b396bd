"""The examples of docs/client.md."""

import doctest
import functools
from pathlib import Path

import pytest
import structlog.testing

from tests.daemon.conftest import Running
from vpopsql import client

PAGE = Path(__file__).parents[2] / "docs/client.md"


def test_the_examples_of_the_manual_are_true(
    daemon: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    def connect_here(_host: str, _port: int) -> client.Client:
        return client.connection.connect(*daemon.address, timeout_s=10)

    monkeypatch.setattr(client, "connect", functools.wraps(client.connect)(connect_here))
    examples = doctest.DocTestParser().get_doctest(PAGE.read_text(), {}, PAGE.name, str(PAGE), 0)
    said: list[str] = []

    with structlog.testing.capture_logs():
        result = doctest.DocTestRunner().run(examples, out=said.append)

    assert result.attempted > 15
    assert not result.failed, "".join(said)
