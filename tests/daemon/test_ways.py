"""How often a change goes to the server and back: a server far away makes each of them felt."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.daemon.conftest import Running
from tests.daemon.test_faults import HOME, SYSTEM, make_site
from tests.prepared import counting_ways, require_server
from vpopsql.client import Client, connect
from vpopsql.db import Database
from vpopsql.flags import Flag
from vpopsql.libpq import LibpqDriver

Do = Callable[[Client, int], object]

COMMANDS: dict[str, tuple[Do, int]] = {
    "add_user": (lambda client, n: client.add_user(f"new{n}@{HOME}", "correct horse"), 4),
    "mod_user": (lambda client, n: client.mod_user(f"new{n}@{HOME}", comment="Another"), 3),
    "add_alias": (lambda client, n: client.add_alias(f"info{n}@{HOME}", f"&new{n}@{HOME}"), 7),
    "del_user": (lambda client, n: client.del_user(f"new{n}@{HOME}"), 3),
    "add_domain": (lambda client, n: client.add_domain(f"new{n}.org", "correct horse"), 7),
    "del_domain": (lambda client, n: client.del_domain(f"new{n}.org"), 10),
}
"""In this order, and how many ways each takes at most, its files included."""


@pytest.fixture
def daemon(database: Database, start: Callable[..., Running], tmp_path: Path) -> Running:
    make_site(require_server(database), tmp_path / "root")
    return start(tmp_path / "root")


def test_a_change_goes_to_the_server_no_more_often_than_it_has_to(daemon: Running) -> None:
    ways: dict[str, int] = {}
    with connect(*daemon.address) as client:
        client.login(*SYSTEM)
        # At first statements are prepared, and files are made anew.
        for number in range(2):
            for verb, (do, _) in COMMANDS.items():
                with counting_ways() as counted:
                    do(client, number)
                ways[verb] = len(counted)

    assert ways.keys() == COMMANDS.keys()
    assert {verb: found for verb, found in ways.items() if found > COMMANDS[verb][1]} == {}


def test_nothing_is_asked_after_the_commit(
    daemon: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever deletes himself hears of it, and so do the files, whatever becomes of the server."""
    himself = f"himself@{HOME}"
    with connect(*daemon.address) as client:
        client.login(*SYSTEM)
        client.add_user(himself, "correct horse")
        client.mod_user(himself, set_flags=Flag.SA_ADMIN)
    asked: list[str] = []
    send, ask = LibpqDriver._send, LibpqDriver._ask

    def noted(driver: LibpqDriver, questions: Any) -> Any:
        asked.extend(each.statement.sql for each in questions)
        return send(driver, questions)

    def noted_one(driver: LibpqDriver, question: Any) -> Any:
        asked.append(question.statement.sql)
        return ask(driver, question)

    with connect(*daemon.address) as client:
        client.login(himself, "correct horse")
        monkeypatch.setattr(LibpqDriver, "_send", noted)
        monkeypatch.setattr(LibpqDriver, "_ask", noted_one)
        client.del_user(himself)

    # Nor for the files: what they show now was seen.
    assert asked.index("COMMIT") == len(asked) - 1
