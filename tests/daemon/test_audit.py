"""Every command that changes something says who did it, from where, and what was before."""

from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from tests.daemon.accounts import EXAMPLE, SYSTEM
from tests.daemon.conftest import Running, Talk
from vpopsql.model import AuditEntry

MASKED = [None, "(masked)"]
INFO = f"{EXAMPLE}/.qmail-new"

COMMANDS: list[tuple[list[str], str, tuple[str, str], dict[str, Any]]] = [
    (
        ["add_user new@example.com pw"],
        "add_user",
        ("user", "new@example.com"),
        {"quota": [None, "NOQUOTA"], "password": MASKED},
    ),
    (
        ["del_user bob@example.com"],
        "del_user",
        ("user", "bob@example.com"),
        {
            "directory": [f"{EXAMPLE}/bob", None],
            "quota": ["NOQUOTA", None],
            "password": ["(masked)", None],
        },
    ),
    (
        ["mod_user alice@example.com", "comment Alicia"],
        "mod_user",
        ("user", "alice@example.com"),
        {"comment": ["Alice Example", "Alicia"]},
    ),
    (
        ["mod_user alice@example.com", "clear_text_password another"],
        "mod_user",
        ("user", "alice@example.com"),
        {"password_hash": ["(masked)"] * 2, "clear_text": ["(masked)"] * 2},
    ),
    (
        ["add_domain new.org pw"],
        "add_domain",
        ("domain", "new.org"),
        {
            "directory": [None, "/home/vpopmail/domains/new.org"],
            "catchall": [None, "bounce"],
            "password": MASKED,
        },
    ),
    (
        ["del_domain example.com"],
        "del_domain",
        ("domain", "example.com"),
        {"directory": [EXAMPLE, None], "aliases": ["example-alias.org", None]},
    ),
    (
        ["add_alias_domain example.com other.org"],
        "add_alias_domain",
        ("domain", "example.com"),
        {"alias": [None, "other.org"]},
    ),
    (
        ["set_limits example.com", "max_aliases 7"],
        "set_limits",
        ("domain", "example.com"),
        {"max_aliases": [-1, 7]},
    ),
    (
        ["add_ip_map 192.0.2.7 example.com"],
        "add_ip_map",
        ("ip", "192.0.2.7"),
        {"domain": [None, "example.com"]},
    ),
    (
        ["add_alias new@example.com &a@b.org"],
        "add_alias",
        ("dotqmail", INFO),
        {"lines": [None, "&a@b.org"]},
    ),
    (
        [f"write_file {INFO}", "&a@b.org"],
        "write_file",
        ("dotqmail", INFO),
        {"lines": [None, "&a@b.org\r"]},
    ),
    (
        [f"write_file {EXAMPLE}/alice/a.txt", "text"],
        "write_file",
        ("file", f"{EXAMPLE}/alice/a.txt"),
        {"bytes": [None, 6]},
    ),
    ([f"mk_dir {EXAMPLE}/alice/new"], "mk_dir", ("file", f"{EXAMPLE}/alice/new"), {}),
    (
        [f"rm_file {EXAMPLE}/alice/there"],
        "rm_file",
        ("file", f"{EXAMPLE}/alice/there"),
        {"bytes": [3, None]},
    ),
    (
        [f"rename_file {EXAMPLE}/alice/there {EXAMPLE}/alice/here"],
        "rename_file",
        ("file", f"{EXAMPLE}/alice/there"),
        {"path": [f"{EXAMPLE}/alice/there", f"{EXAMPLE}/alice/here"]},
    ),
    (
        [f"rm_dir {EXAMPLE}/alice/Maildir/new"],
        "rm_dir",
        ("directory", f"{EXAMPLE}/alice/Maildir/new"),
        {},
    ),
]


def answered(talk: Talk, lines: list[str]) -> str:
    """Give a command, with its lines and the end of them if it has some."""
    command, *rest = lines
    if command.startswith("write_file"):
        return talk.ask(command, *rest, ".")[-1]
    return talk.change(command, *rest) if rest else talk.ask(command)[0]


@pytest.mark.parametrize("_backend", ["sqlite"], indirect=True)
@pytest.mark.parametrize(
    "lines, action, object_, changes", COMMANDS, ids=["; ".join(each[0]) for each in COMMANDS]
)
def test_a_change_leaves_who_where_what_before_and_after(
    daemon: Running,
    system: Talk,
    root: Path,
    lines: list[str],
    action: str,
    object_: tuple[str, str],
    changes: dict[str, Any],
) -> None:
    (root / EXAMPLE.lstrip("/") / "alice/there").write_text("abc")

    assert answered(system, lines) == "+OK "

    with daemon.database.reader() as session:
        entries = session.scalars(select(AuditEntry).where(AuditEntry.channel == "daemon"))
        entry = {each.action: each for each in entries}[action]
    assert (entry.actor, entry.actor_ip) == (SYSTEM[0], "127.0.0.1")
    assert (entry.object_type, entry.object) == object_
    assert entry.changes | changes == entry.changes
    assert (bool(entry.request_id), bool(entry.hash)) == (True, True)
