"""How often a change goes to the server and back: a server far away makes each of them felt."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.daemon.conftest import Running
from tests.daemon.test_faults import HOME, SYSTEM, make_site
from tests.prepared import counting_ways, require_server
from vpopsql.client import Client, connect
from vpopsql.db import Database

Do = Callable[[Client, int], object]

COMMANDS: dict[str, tuple[Do, int]] = {
    "add_user": (lambda client, n: client.add_user(f"new{n}@{HOME}", "correct horse"), 7),
    "mod_user": (lambda client, n: client.mod_user(f"new{n}@{HOME}", comment="Another"), 7),
    "add_alias": (lambda client, n: client.add_alias(f"info{n}@{HOME}", f"&new{n}@{HOME}"), 7),
    "del_user": (lambda client, n: client.del_user(f"new{n}@{HOME}"), 11),
    "add_domain": (lambda client, n: client.add_domain(f"new{n}.org", "correct horse"), 8),
    "del_domain": (lambda client, n: client.del_domain(f"new{n}.org"), 11),
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
