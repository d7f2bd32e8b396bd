"""Rules for new passwords, as the protocol's clients meet them."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.daemon.conversations import ALICE, POSTMASTER, SYSTEM, Site, Talk, make_site
from vpopsql.db import Database

RULES = "Policy = eight and a digit\nLength >= 8\nNumeric > 0\n"
TOO_WEAK = "password too weak: eight and a digit"


@pytest.fixture
def site(database: Database, database_url: str, unpack: Callable[[str], Path]) -> Site:
    made = make_site(database, database_url, unpack)
    write(made, RULES)
    return made


def write(site: Site, rules: str) -> None:
    file = site.path("/home/vpopmail/etc/password_strength.conf")
    file.parent.mkdir(exist_ok=True)
    file.write_text(rules)


def change(talk: Talk, *options: str) -> str:
    return talk.ask("mod_user alice@example.com", *options, ".")[-1]


def test_weak_passwords_are_refused_wherever_they_are_set(site: Site) -> None:
    system = site.talk(SYSTEM)

    assert system.ask("add_user new@example.com short1") == [f"-ERR 0.305 {TOO_WEAK}"]
    assert system.ask("add_domain new.example no digit here") == [f"-ERR 0.804 {TOO_WEAK}"]
    assert change(site.talk(POSTMASTER), "clear_text_password short") == f"-ERR 0.507 {TOO_WEAK}"
    assert change(site.talk(ALICE), "clear_text_password short") == f"-ERR 0.507 {TOO_WEAK}"
    assert system.ask("add_user new@example.com long enough 1") == ["+OK "]
    assert change(site.talk(ALICE), "clear_text_password long enough 1") == "+OK "


def test_a_weak_password_that_is_there_may_be_written_back(site: Site) -> None:
    talk = site.talk(ALICE)

    assert change(talk, "clear_text_password alicepw", "comment A.") == "+OK "
    assert change(talk, "clear_text_password alicepx", "comment B.") == f"-ERR 0.507 {TOO_WEAK}"

    assert "comment A." in site.talk(SYSTEM).ask("user_info alice@example.com")


def test_rules_hold_as_they_are_now_and_no_password_is_set_by_bad_ones(site: Site) -> None:
    talk = site.talk(ALICE)
    write(site, "Length >= 3\n")
    assert change(talk, "clear_text_password abc") == "+OK "

    write(site, "Length >= 3\nNumbers > 0\n")

    said = change(talk, "clear_text_password abcd")
    assert said.startswith("-ERR 0.507 no password can be set: ")
    assert said.endswith("password_strength.conf: line 2 is no rule: Numbers > 0")
