"""The commands that change aliases and mailing lists, with rows and files looked at."""

import os
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from sqlalchemy import update

from tests.daemon.conversations import (
    ADMIN,
    ALICE,
    EXAMPLE,
    POSTMASTER,
    SYSTEM,
    Site,
    Talk,
    make_site,
)
from vpopsql import config
from vpopsql.daemon.ezmlm import switches
from vpopsql.db import Database
from vpopsql.model import Domain
from vpopsql.tree import TEMP_PREFIX

Lists = Callable[..., Site]

# What ezmlm-make is documented to do: a directory, a file of settings, and links from where qmail
# looks to files in the directory. "b" is made to fail; "d" is for digests.
STAND_IN = """#!{python}
import os, sys
words = sys.argv[1:]
switch = words.pop(0) if words[0].startswith("-") else "-"
directory, dot, local, host = words
if not (directory.startswith("/") and dot.startswith("/")):
    sys.exit(100)
if "e" not in switch:
    os.mkdir(directory)
if "b" in switch:
    sys.exit("ezmlm-make: fatal: unable to create")
with open(directory + "/config", "w") as file:
    file.write("F:%s\\nD:%s\\nT:%s\\nL:%s\\nH:%s\\n" % (switch, directory, dot, local, host))
with open(directory + "/inlocal", "w") as file:
    file.write(local + "\\n")
parts = {{"": "editor", "-default": "manager", "-owner": "owner", "-return-default": "bouncer"}}
if "d" in switch:
    parts["-digest-owner"] = "owner"
for suffix, name in parts.items():
    with open(directory + "/" + name, "w") as file:
        file.write("|/usr/bin/ezmlm/ezmlm-%s '%s' || exit 0\\n" % (name, directory))
    os.symlink(directory + "/" + name, dot + suffix)
"""


@pytest.fixture
def site(database: Database, database_url: str, unpack: Callable[[str], Path]) -> Site:
    return make_site(database, database_url, unpack)


@pytest.fixture
def with_ezmlm(
    database: Database, database_url: str, unpack: Callable[[str], Path], tmp_path: Path
) -> Site:
    program = tmp_path / "ezmlm-make"
    program.write_text(STAND_IN.format(python=sys.executable))
    program.chmod(0o755)
    lists = config.Lists(ezmlm_make=str(program))
    made = make_site(database, database_url, unpack, lists=lists)
    with database.writer() as session:
        # The test's own directories are nobody else's to enter.
        session.execute(update(Domain).values(uid=os.getuid(), gid=os.getgid()))
    return made


# --- aliases ------------------------------------------------------------------------------------


def test_an_alias_is_rows_and_file_at_once(site: Site) -> None:
    talk = site.talk(SYSTEM)

    assert talk.ask("add_alias NEW@Example.com Alice@Example.Com") == ["+OK "]
    assert talk.ask("add_alias new@example.com | /bin/true with args") == ["+OK "]
    assert talk.ask("add_alias new@example-alias.org | /bin/true with args") == ["+OK "]

    assert site.rows("new") == ["Alice@Example.Com", "| /bin/true with args"]
    file = site.path(f"{EXAMPLE}/.qmail-new")
    assert file.read_text() == "Alice@Example.Com\n| /bin/true with args\n"
    assert talk.ask("remove_alias new@example.com | /bin/true with args") == ["+OK "]
    assert file.read_text() == "Alice@Example.Com\n"
    assert talk.ask("remove_alias new@example.com Alice@Example.Com") == ["+OK "]
    assert not file.exists()


def test_a_deleted_alias_leaves_neither_rows_nor_file(site: Site) -> None:
    talk = site.talk(POSTMASTER)

    assert talk.ask("delete_alias multi@example.com") == ["+OK "]
    assert talk.ask("delete_alias multi@example.com") == ["+OK "]

    assert site.rows("multi") is None
    assert not site.path(f"{EXAMPLE}/.qmail-multi").exists()
    assert talk.ask("list_alias multi@example.com") == ["+OK+", "."]


def test_a_dot_in_an_alias_is_a_colon_in_its_file(site: Site) -> None:
    site.talk(POSTMASTER).ask("add_alias l.dot@example.com alice@example.com")

    assert site.rows("l.dot") == ["alice@example.com"]
    assert site.path(f"{EXAMPLE}/.qmail-l:dot").exists()


def test_the_alias_default_is_the_catchall(site: Site) -> None:
    file = site.path(f"{EXAMPLE}/.qmail-default")
    before = file.read_text()

    site.talk(POSTMASTER).ask("add_alias default@example.com alice@example.com")

    assert file.read_text() == f"{before}alice@example.com\n"


@pytest.mark.parametrize(
    "who, command, answer",
    [
        (SYSTEM, "add_alias", "-ERR 14.902 Alias Name Required"),
        (SYSTEM, "add_alias x@example.com", "-ERR 16.906 Alias Line Required"),
        (SYSTEM, "add_alias x@example.com  ", "-ERR 16.906 Alias Line Required"),
        (SYSTEM, "add_alias (x@example.com a@b.c", "-ERR 15.903 Invalid Alias Name Supplied"),
        (SYSTEM, "add_alias x@nosuch.invalid a@b.c", "-ERR 17.907 Alias Insertion Failed"),
        (SYSTEM, "add_alias bare a@b.c", "-ERR 17.907 Alias Insertion Failed"),
        (SYSTEM, "add_alias a/b@example.com a@b.c", "-ERR 17.907 Alias Insertion Failed"),
        (SYSTEM, "add_alias ../x@example.com a@b.c", "-ERR 17.907 Alias Insertion Failed"),
        (SYSTEM, "add_alias x@example.com not-an-address", "-ERR 17.907 Alias Insertion Failed"),
        (SYSTEM, "add_alias x@example.com a@b.c words", "-ERR 17.907 Alias Insertion Failed"),
        (POSTMASTER, "add_alias x@test.com a@b.c", "-ERR 11.904 Not Authorized for domain"),
        (
            POSTMASTER,
            "add_alias x@example-alias.org a@b.c",
            "-ERR 11.904 Not Authorized for domain",
        ),
        (POSTMASTER, "remove_alias x@test.com y", "-ERR 11.1004 Not Authorized for domain"),
        (POSTMASTER, "delete_alias x@test.com", "-ERR 11.1104 Not Authorized for domain"),
        (ALICE, "add_alias x@example.com a@b.c", "-ERR 4.107 Invalid Command"),
        (ADMIN, "add_alias x@example.com |/tmp/anything", "-ERR 17.907 Alias Insertion Failed"),
    ],
)
def test_what_is_wrong_with_an_alias_is_answered(
    site: Site, who: tuple[str, str], command: str, answer: str
) -> None:
    assert site.talk(who).ask(command) == [answer]

    assert site.rows("x") is None


@pytest.mark.parametrize("verb", ["delete_alias", "remove_alias"])
@pytest.mark.parametrize("name", ["@example.com", "a/b@example.com"])
def test_a_name_that_no_file_has_cannot_be_deleted(site: Site, verb: str, name: str) -> None:
    (answer,) = site.talk(SYSTEM).ask(f"{verb} {name} x")

    assert answer.endswith("Invalid alias")


def test_limits_bind_domain_administrators_only(site: Site) -> None:
    site.limit(max_aliases=2)

    answer = site.talk(POSTMASTER).ask("add_alias third@example.com alice@example.com")

    assert answer == ["-ERR 0.907 Limit reached"]
    assert site.talk(SYSTEM).ask("add_alias third@example.com alice@example.com") == ["+OK "]


# --- mailing lists ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "verb, code", [("add_list", "36.4001"), ("del_list", "36.4101"), ("mod_list", "36.4201")]
)
@pytest.mark.parametrize("words", ["", " x", " example.com foo"])
def test_without_ezmlm_there_are_no_list_commands(
    site: Site, verb: str, code: str, words: str
) -> None:
    answer = [f"-ERR {code} Not Implemented yet"]

    assert site.talk(POSTMASTER).ask(f"{verb}{words}") == answer
    assert site.talk(ALICE).ask(f"{verb}{words}") == ["-ERR 4.107 Invalid Command"]


def lists(talk: Talk) -> list[str]:
    return [line for line in talk.ask("list_lists example.com") if "crew" in line]


def test_a_list_is_made_with_its_files(with_ezmlm: Site) -> None:
    site, talk = with_ezmlm, with_ezmlm.talk(POSTMASTER)

    assert talk.ask("add_list example.com crew -aB -c -5 owner@x.y -'; id") == ["+OK "]

    home = site.path(EXAMPLE)
    assert site.rows("crew") == [f"|/usr/bin/ezmlm/ezmlm-editor '{EXAMPLE}/crew' || exit 0"]
    made = sorted(path.name for path in home.iterdir() if path.name.startswith(".qmail-crew"))
    parts = ["", "-default", "-owner", "-return-default"]
    assert made == [f".qmail-crew{part}" for part in parts]
    assert not any((home / name).is_symlink() for name in made)
    settings = (home / "crew/config").read_text().splitlines()
    assert settings == [
        "F:-aB",
        f"D:{home}/crew",
        f"T:{EXAMPLE}/.qmail-crew",
        "L:crew",
        "H:example.com",
    ]
    assert (home / "crew/inlocal").read_text() == "example.com-crew\n"
    assert not any(path.name.startswith(TEMP_PREFIX) for path in home.iterdir())
    assert lists(talk) == [f".qmail-crew{part}" for part in parts]


def test_a_list_is_changed_and_its_files_come_and_go(with_ezmlm: Site) -> None:
    talk = with_ezmlm.talk(POSTMASTER)
    digest = with_ezmlm.path(f"{EXAMPLE}/.qmail-crew-digest-owner")
    talk.ask("add_list example.com crew")

    assert talk.ask("mod_list example.com crew -d") == ["+OK "]
    assert digest.exists()
    assert talk.ask("mod_list example.com crew -D") == ["+OK "]

    assert not digest.exists()
    assert with_ezmlm.rows("crew-digest-owner") is None
    assert (with_ezmlm.path(f"{EXAMPLE}/crew/config")).read_text().startswith("F:-eD\n")


def test_a_deleted_list_leaves_its_archive_in_the_trash(with_ezmlm: Site) -> None:
    talk = with_ezmlm.talk(POSTMASTER)
    talk.ask("add_list example.com crew")
    talk.ask("add_alias crew-cabin@example.com alice@example.com")
    with_ezmlm.path(f"{EXAMPLE}/crew/precious").touch()

    assert talk.ask("del_list example.com crew") == ["+OK "]

    assert lists(talk) == []
    home = with_ezmlm.path(EXAMPLE)
    assert [path.name for path in home.glob(".qmail-crew*")] == [".qmail-crew-cabin"]
    assert not (home / "crew").exists()
    assert len(list(with_ezmlm.root.rglob("precious"))) == 1


def test_an_imported_list_can_be_deleted(with_ezmlm: Site) -> None:
    talk = with_ezmlm.talk(POSTMASTER)

    assert talk.ask("del_list example.com mylist") == ["+OK "]

    assert list(with_ezmlm.path(EXAMPLE).glob("*mylist*")) == []
    assert list(with_ezmlm.path(EXAMPLE).glob(".qmail-mylist*")) == []


def test_a_list_that_could_not_be_made_leaves_nothing(with_ezmlm: Site) -> None:
    before = sorted(with_ezmlm.path(EXAMPLE).iterdir())

    answer = with_ezmlm.talk(POSTMASTER).ask("add_list example.com crew -b")

    assert answer == ["-ERR 0.4005 Invalid argument"]
    assert sorted(with_ezmlm.path(EXAMPLE).iterdir()) == before
    assert with_ezmlm.rows("crew") is None


@pytest.mark.parametrize(
    "who, command, answer",
    [
        (SYSTEM, "add_list", "-ERR 13.4002 Domain Required"),
        (SYSTEM, "add_list example.com", "-ERR 14.4003 Alias Name Required"),
        (POSTMASTER, "add_list test.com x", "-ERR 11.4004 Not Authorized for domain"),
        (SYSTEM, "add_list nosuch.invalid x", "-ERR 0.4005 Domain does not exist"),
        (SYSTEM, "add_list example.com ../x", "-ERR 0.4005 Invalid alias"),
        (SYSTEM, "add_list example.com -x", "-ERR 0.4005 Invalid alias"),
        (SYSTEM, "add_list example.com info", "-ERR 0.4005 Invalid alias"),
        (SYSTEM, "add_list example.com alice", "-ERR 0.4005 File exists"),
        (SYSTEM, "mod_list example.com nosuch", "-ERR 0.4205 Invalid alias"),
        (SYSTEM, "del_list example.com info", "-ERR 0.4105 Invalid alias"),
    ],
)
def test_what_is_wrong_with_a_list_is_answered(
    with_ezmlm: Site, who: tuple[str, str], command: str, answer: str
) -> None:
    assert with_ezmlm.talk(who).ask(command) == [answer]


def test_a_home_that_poses_as_a_list_stays(with_ezmlm: Site) -> None:
    talk = with_ezmlm.talk(POSTMASTER)
    talk.ask(f"add_alias alice@example.com |/usr/bin/ezmlm/ezmlm-send {EXAMPLE}/alice")

    assert talk.ask("del_list example.com alice") == ["-ERR 26.1511 Unauthorized Directory."]
    assert talk.ask("mod_list example.com alice") == ["-ERR 26.1511 Unauthorized Directory."]

    assert with_ezmlm.path(f"{EXAMPLE}/alice/Maildir").is_dir()


def test_limits_hold_for_lists(with_ezmlm: Site) -> None:
    with_ezmlm.limit(max_mailinglists=1, perm_maillist=2)

    add = "add_list example.com crew"
    assert with_ezmlm.talk(POSTMASTER).ask(add) == ["-ERR 0.4005 Limit reached"]
    answer = with_ezmlm.talk(ADMIN).ask("mod_list example.com mylist")
    assert answer == ["-ERR 9.4204 Not Authorized"]
    assert with_ezmlm.talk(SYSTEM).ask(add) == ["+OK "]


@pytest.mark.parametrize(
    "words, letters",
    [
        ([], ""),
        (["-abC", "-d"], "abd"),
        (["-eEvVcC", "-+5", "someone@x.y", "word"], ""),
        (["-a;id", "-\0b"], "aidb"),
    ],
)
def test_only_switches_that_anybody_may_set_are_passed_on(words: list[str], letters: str) -> None:
    assert switches(words) == letters
