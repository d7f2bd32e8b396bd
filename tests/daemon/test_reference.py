"""docs/protocol.md: it has every command and every code, and the daemon does what it says."""

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.daemon.conversations import SYSTEM, Talk, make_site
from vpopsql.daemon import reference
from vpopsql.daemon.commands import COMMANDS
from vpopsql.db import Database
from vpopsql.flags import OPTIONS
from vpopsql.model import LIMIT_SETTINGS

PACKAGE = Path(reference.__file__).parent
PAGE = (PACKAGE.parents[1] / "docs/protocol.md").read_text(encoding="utf-8")
CODE = re.compile(r"[0-9]{1,2}\.[0-9]{3,4}|(?<=-ERR )[0-9]{4}")
WORDS = {
    "user@domain": "alice@example.com",
    "domain": "example.com",
    "alias": "other.example",
    "password": "secret",
    "line": "bob@example.com",
    "path": "example.com/x",
    "ip": "192.0.2.9",
    "list": "news",
}
"""What a reader writes for a parameter."""


def section(verb: str) -> str:
    """Return what the page has of a command."""
    (found,) = re.findall(rf"^### {verb}\n(.*?)(?=^##)", PAGE, re.MULTILINE | re.DOTALL)
    return str(found)


def parameters(verb: str) -> list[str]:
    """Return what a command needs."""
    (line,) = re.findall(rf"^```text\n{verb} ?(.*)\n```$", section(verb), re.MULTILINE)
    return str(line).partition("[")[0].partition("|")[0].split()


def test_the_page_ends_with_what_the_table_says() -> None:
    assert PAGE.endswith("-->\n\n" + reference.reference())


def test_every_command_flag_and_limit_is_explained() -> None:
    assert reference._ENTRIES.keys() == COMMANDS.keys()
    assert reference._FLAGS.keys() == set(OPTIONS.values())
    assert reference._LIMITS.keys() == set(LIMIT_SETTINGS)


def test_every_code_that_the_daemon_knows_is_on_the_page_and_no_other() -> None:
    said = {
        code
        for source in PACKAGE.glob("*.py")
        for text in re.findall(r'"[^"\n]*"', source.read_text(encoding="utf-8"))
        for code in re.findall(
            r"(?<![0-9.])(?:[0-9]{1,2}\.[0-9]{3,4}|3[89]0[0-9])(?![0-9.])", text
        )
    }

    assert said == set(CODE.findall(PAGE))


@pytest.fixture
def talk(database: Database, database_url: str, unpack: Callable[[str], Path]) -> Talk:
    """A system administrator."""
    return make_site(database, database_url, unpack).talk(SYSTEM)


def test_what_lacks_a_parameter_is_refused_as_the_page_says(talk: Talk) -> None:
    lacking = [
        (verb, " ".join([verb, *(WORDS[each] for each in needed[:count])]))
        for verb in COMMANDS
        if (needed := parameters(verb)) and not verb.endswith("_list")
        for count in range(len(needed))
    ]

    answers = {line: (verb, talk.ask(line, ".")[0]) for verb, line in lacking}

    assert len(answers) > 40
    assert {
        line: answer
        for line, (verb, answer) in answers.items()
        if not (answer.startswith("-ERR ") and f"`{answer}`" in section(verb))
    } == {}
