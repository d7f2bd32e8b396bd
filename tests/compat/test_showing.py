"""vuserinfo and vdominfo beyond what was recorded: single fields, and what is not there."""

import shutil

import pytest
from sqlalchemy import delete

from tests.compat.conftest import Site
from vpopsql.model import LastAuth

pytestmark = pytest.mark.parametrize("_backend", ["sqlite"], indirect=True)

HOME = "/home/vpopmail/domains/example.com"


def test_single_fields_are_values_alone(site: Site) -> None:
    carol = site.got("carol@example.com")
    site.path(f"{HOME}/carol/Maildir/new/1.2.host,S=500000").touch()

    fields = site.run("vuserinfo", "-npCugcdqQl", "carol@example-alias.org").lines

    assert fields == [
        *("carol", carol.password_hash, "carolpw", "1", "0", "carol", f"{HOME}/carol"),
        *("10000000S,100C", "5%", "Never logged in"),
    ]
    assert site.run("vuserinfo", "-a", "-n", "carol@example.com").lines[0] == "name:   carol"


def test_every_name_has_single_fields(site: Site) -> None:
    fields = site.run("vdominfo", "-nrtd").lines
    alias = fields.index("example-alias.org")

    assert fields[alias : alias + 4] == ["example-alias.org", "example.com", HOME, "8"]
    assert site.run("vdominfo", "-r", "example-alias.org").lines == ["example.com"]
    assert site.run("vdominfo", "-a", "-n", "test.com").lines[0] == "domain: test.com"


def test_what_is_not_there_is_said_on_standard_output(site: Site) -> None:
    said = {
        ("vuserinfo", "ghost@example.com"): "no such user ghost@example.com",
        ("vuserinfo", "-d", "ghost@nowhere.example"): "no such user ghost@nowhere.example",
        ("vdominfo", "nowhere.example"): "Invalid domain name",
    }

    shown = {command: site.run(*command) for command in said}

    assert {command: each.lines for command, each in shown.items()} == {
        command: [text] for command, text in said.items()
    }
    assert {(each.status, each.err) for each in shown.values()} == {(1, "")}


def test_an_account_without_maildir_and_logins_is_shown(site: Site) -> None:
    shutil.rmtree(site.path(f"{HOME}/carol"))
    with site.database.writer() as session:
        session.execute(delete(LastAuth))

    assert site.run("vuserinfo", "carol@example.com").lines[-2:] == [
        "usage:     0%",
        "last auth: Never logged in",
    ]
