"""Aliases and dot-qmail files as rows: contents, limits, rights, the trace they leave."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from sqlalchemy import select

from tests import factories
from tests.services.test_rights import actor
from vpopsql import errors
from vpopsql.daemon.delivery import make_rules
from vpopsql.db import Database
from vpopsql.model import AuditEntry, CatchAll, Domain, DotQmailLine, Flag, LineKind, Revision
from vpopsql.services import dotqmail_changes, forwards
from vpopsql.services.domains import lock_domain
from vpopsql.services.dotqmail_changes import Content, Place
from vpopsql.services.rights import Actor

EXAMPLE = "example.com"
HOME = "/home/vpopmail/domains/example.com"
RULES = make_rules("/home/vpopmail", ["/usr/bin/autorespond", "/usr/bin/ezmlm/ezmlm-*"])
POSTMASTER = actor("postmaster")
ADMIN = actor("dadmin", Flag.QA_ADMIN)
OVERRIDE = actor("oadmin", Flag.QA_ADMIN | Flag.V_OVERRIDE)
ROOT = actor("root", Flag.SA_ADMIN, "root.example")
ROBOT = f"|/usr/bin/autorespond 1000 3 {HOME}/INFO/message {HOME}/INFO"
LIST = f"|/usr/bin/ezmlm/ezmlm-send {HOME}/crew"
BOUNCE = "| /home/vpopmail/bin/vdelivermail '' bounce-no-mailbox"


@pytest.fixture
def site(database: Database) -> Database:
    with database.writer() as session:
        example = factories.domain(session, EXAMPLE, "example.org")
        factories.mailbox(session, example, "alice")
        factories.alias(session, example, "info", "alice@example.com")
        factories.domain(session, "other.example")
    return database


def add(site: Database, who: Actor, name: str, line: str, domain: str = EXAMPLE) -> None:
    with site.writer() as session:
        dotqmail_changes.add_alias(session, who, RULES, name, domain, line)


def remove(site: Database, name: str, line: str) -> bool:
    with site.writer() as session:
        return dotqmail_changes.remove_alias(session, POSTMASTER, RULES, name, EXAMPLE, line)[1]


def write(site: Database, who: Actor, name: str, *lines: str, newline: bool = True) -> None:
    with site.writer() as session:
        place = Place(lock_domain(session, EXAMPLE), None, HOME, name)
        dotqmail_changes.set_file(session, who, RULES, place, Content(lines, newline))


def delete(site: Database, who: Actor, name: str) -> None:
    with site.writer() as session:
        dotqmail_changes.delete_alias(session, who, RULES, name, EXAMPLE)


def rename(site: Database, who: Actor, old: str, new: str) -> bool:
    with site.writer() as session:
        domain = lock_domain(session, EXAMPLE)
        source, target = Place(domain, None, HOME, old), Place(domain, None, HOME, new)
        return dotqmail_changes.rename_file(session, who, RULES, source, target)


def content(site: Database, name: str) -> Content | None:
    with site.writer() as session:
        place = Place(lock_domain(session, EXAMPLE), None, HOME, name)
        return dotqmail_changes.read_file(session, RULES, place)


def limit(site: Database, **settings: Any) -> None:
    with site.writer() as session:
        domain = session.get_one(Domain, lock_domain(session, EXAMPLE).id)
        factories.limits(session, domain, **settings)


def aliases(site: Database) -> list[tuple[str, str]]:
    with site.reader() as session:
        domain = session.scalars(select(Domain).where(Domain.directory == HOME)).one()
        return list(forwards.list_aliases(session, domain.id))


# --- aliases ------------------------------------------------------------------------------------


def test_an_alias_grows_line_by_line_and_repeats_none(site: Database) -> None:
    add(site, POSTMASTER, "new", "alice@example.com")
    add(site, POSTMASTER, "new", "&Bob@Elsewhere.example")
    add(site, POSTMASTER, "new", "alice@example.com")

    assert content(site, "new") == Content(("alice@example.com", "&Bob@Elsewhere.example"))


def test_a_line_is_stored_with_what_it_does(site: Database) -> None:
    add(site, ROOT, "new", "|/bin/true with args")
    add(site, ROOT, "new", "./Maildir/")

    with site.reader() as session:
        kinds = set(session.scalars(select(DotQmailLine.kind)))
    assert kinds == {LineKind.PROGRAM, LineKind.MAILDIR, LineKind.FORWARD}


def test_an_alias_domain_means_its_domain_to_system_administrators(site: Database) -> None:
    add(site, ROOT, "new", "alice@example.com", "example.org")

    assert ("new", "alice@example.com") in aliases(site)


@pytest.mark.parametrize("line", ["not-an-address", "a@b extra", "", "a@", "@b", "x(y@b.c", "#\0"])
def test_a_word_that_is_no_destination_is_refused(site: Database, line: str) -> None:
    with pytest.raises(errors.InvalidAlias):
        add(site, ROOT, "new", line)

    assert content(site, "new") is None


@pytest.mark.parametrize("name", ["", "a/b", "../x", ".hidden", "-option", "a:b"])
def test_a_name_that_no_file_should_have_is_refused(site: Database, name: str) -> None:
    with pytest.raises(errors.InvalidAlias):
        add(site, ROOT, name, "alice@example.com")


def test_another_domain_and_none_at_all_are_refused(site: Database) -> None:
    with pytest.raises(errors.NotAuthorizedForDomain):
        add(site, ADMIN, "new", "alice@example.com", "other.example")
    with pytest.raises(errors.NoSuchDomain):
        add(site, ROOT, "new", "alice@example.com", "nosuch.example")


def test_a_program_needs_the_right_to_run_any(site: Database) -> None:
    with pytest.raises(errors.LineNotPermitted):
        add(site, OVERRIDE, "new", "|/bin/true")
    add(site, OVERRIDE, "new", ROBOT)

    assert content(site, "new") == Content((ROBOT,))


def test_the_last_line_takes_the_alias_with_it(site: Database) -> None:
    add(site, POSTMASTER, "info", "bob@example.com")

    assert remove(site, "info", "alice@example.com")
    assert remove(site, "info", "nobody@example.com")
    assert not remove(site, "info", "bob@example.com")
    assert not remove(site, "info", "bob@example.com")
    assert content(site, "info") is None


def test_deleting_an_alias_is_no_error_when_there_is_none(site: Database) -> None:
    delete(site, POSTMASTER, "info")
    delete(site, POSTMASTER, "info")

    assert aliases(site) == []


def test_sessions_at_the_same_time_lose_no_line(site: Database) -> None:
    wanted = [f"user{number}@example.com" for number in range(8)]

    with ThreadPoolExecutor(len(wanted)) as pool:
        list(pool.map(lambda line: add(site, POSTMASTER, "new", line), wanted))

    found = content(site, "new")
    assert found is not None
    assert sorted(found.lines) == wanted


def test_a_change_is_recorded_and_no_change_is_not(site: Database) -> None:
    add(site, POSTMASTER, "info", "bob@example.com")
    add(site, POSTMASTER, "info", "bob@example.com")

    with site.reader() as session:
        (entry,) = session.scalars(select(AuditEntry))
        (revision,) = session.scalars(select(Revision))
        assert (entry.actor, entry.action) == ("postmaster@example.com", "add_alias")
        assert entry.object == f"{HOME}/.qmail-info"
        lines = ["alice@example.com", "alice@example.com\nbob@example.com"]
        assert entry.changes == {"lines": lines}
        assert revision.domain == EXAMPLE


# --- files --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "lines, newline",
    [
        ((), True),
        (("alice@example.com\r", "", "#\r"), True),
        (("bob@example.com", "bob@example.com"), False),
        (("caf\udce9@example.com",), True),
    ],
)
def test_a_file_keeps_its_bytes(site: Database, lines: tuple[str, ...], newline: bool) -> None:
    write(site, POSTMASTER, "info", *lines, newline=newline)

    assert content(site, "info") == Content(lines, newline)


def test_a_line_is_judged_without_the_carriage_return_of_its_client(site: Database) -> None:
    write(site, POSTMASTER, "info", f"{ROBOT}\r")

    with pytest.raises(errors.LineNotPermitted):
        write(site, POSTMASTER, "info", "|/bin/sh\r")
    assert content(site, "info") == Content((f"{ROBOT}\r",))


def test_a_file_is_renamed_over_another(site: Database) -> None:
    add(site, POSTMASTER, "old", "bob@example.com")

    assert rename(site, POSTMASTER, "old", "info")
    assert aliases(site) == [("info", "bob@example.com")]
    assert not rename(site, POSTMASTER, "old", "info")
    assert rename(site, POSTMASTER, "info", "info")


def test_renaming_does_not_bring_a_forbidden_line_to_other_names(site: Database) -> None:
    add(site, ROOT, "tool", "|/bin/true")

    with pytest.raises(errors.LineNotPermitted):
        rename(site, POSTMASTER, "tool", "info")


# --- the catch-all ------------------------------------------------------------------------------


def catchall(site: Database) -> tuple[CatchAll, str | None]:
    with site.reader() as session:
        domain = session.scalars(select(Domain).where(Domain.directory == HOME)).one()
        return domain.catchall, domain.catchall_target


@pytest.mark.parametrize(
    "word, setting",
    [
        ("delete", (CatchAll.DELETE, None)),
        ("bob@elsewhere.example", (CatchAll.ADDRESS, "bob@elsewhere.example")),
        (f"{HOME}/alice", (CatchAll.DIRECTORY, f"{HOME}/alice")),
    ],
)
def test_a_catchall_of_vpopmails_form_is_a_setting_of_the_domain(
    site: Database, word: str, setting: tuple[CatchAll, str | None]
) -> None:
    write(site, POSTMASTER, "default", BOUNCE.replace("bounce-no-mailbox", word))

    assert catchall(site) == setting
    assert content(site, "default") == Content((BOUNCE.replace("bounce-no-mailbox", word),))


def test_any_other_catchall_is_a_file_like_others(site: Database) -> None:
    write(site, POSTMASTER, "default", "bob@example.com")

    assert catchall(site) == (CatchAll.DOTQMAIL, None)
    assert content(site, "default") == Content(("bob@example.com",))


def test_a_line_is_added_to_the_catchall_after_what_it_did(site: Database) -> None:
    add(site, POSTMASTER, "default", "bob@example.com")

    assert catchall(site) == (CatchAll.DOTQMAIL, None)
    assert content(site, "default") == Content((BOUNCE, "bob@example.com"))


def test_a_catchall_goes_back_to_vpopmails_form(site: Database) -> None:
    add(site, POSTMASTER, "default", "bob@example.com")

    remove(site, "default", "bob@example.com")

    assert catchall(site) == (CatchAll.BOUNCE, None)


def test_a_deleted_catchall_is_none(site: Database) -> None:
    delete(site, POSTMASTER, "default")

    assert catchall(site) == (CatchAll.NONE, None)
    assert content(site, "default") is None


def test_a_catchall_in_another_domain_needs_the_right_to_deliver_anywhere(site: Database) -> None:
    line = BOUNCE.replace("bounce-no-mailbox", "/home/vpopmail/domains/other.example/eve")

    with pytest.raises(errors.LineNotPermitted):
        write(site, POSTMASTER, "default", line)
    write(site, ROOT, "default", line)


# --- limits -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "maximum, line, other",
    [
        ("max_aliases", "alice@example.org", "bob@elsewhere.example"),
        ("max_forwards", "bob@elsewhere.example", "alice@example.com"),
        ("max_autoresponders", ROBOT, "alice@example.com"),
        ("max_mailinglists", LIST, "alice@example.com"),
    ],
)
def test_a_limit_holds_for_its_own_kind_and_not_above(
    site: Database, maximum: str, line: str, other: str
) -> None:
    limit(site, **{maximum: 2})
    write(site, ROOT, "one", line)
    write(site, ROOT, "two", line.replace("crew", "band"))
    delete(site, ROOT, "info")

    with pytest.raises(errors.LimitReached):
        add(site, POSTMASTER, "new", line.replace("crew", "gang"))
    add(site, POSTMASTER, "one", "alice@example.com")
    add(site, POSTMASTER, "else", other)
    add(site, OVERRIDE, "new", line)
    add(site, ROOT, "newer", line)


def test_a_change_of_kind_counts_as_a_new_one(site: Database) -> None:
    limit(site, max_forwards=0)

    with pytest.raises(errors.LimitReached):
        add(site, POSTMASTER, "info", "bob@elsewhere.example")


def test_the_files_of_one_list_count_once(site: Database) -> None:
    limit(site, max_mailinglists=1)

    write(site, POSTMASTER, "crew", LIST)
    write(site, ROOT, "crew-owner", LIST)

    with pytest.raises(errors.LimitReached):
        write(site, POSTMASTER, "band", LIST.replace("crew", "band"))


ATTEMPTS: dict[str, Callable[[Database, Actor], object]] = {
    "create": lambda site, who: add(site, who, "new", "alice@example.com"),
    "modify": lambda site, who: add(site, who, "info", "bob@example.com"),
    "delete": lambda site, who: delete(site, who, "info"),
}


@pytest.mark.parametrize("denied, attempt", [(1, "create"), (2, "modify"), (4, "delete")])
def test_each_bit_denies_one_thing_to_domain_administrators(
    site: Database, denied: int, attempt: str
) -> None:
    limit(site, perm_alias=denied)

    with pytest.raises(errors.NotAuthorized):
        ATTEMPTS[attempt](site, ADMIN)
    ATTEMPTS[attempt](site, POSTMASTER)


@pytest.mark.parametrize("denied, allowed", [(6, "create"), (5, "modify"), (3, "delete")])
def test_each_bit_denies_nothing_else(site: Database, denied: int, allowed: str) -> None:
    limit(site, perm_alias=denied)

    ATTEMPTS[allowed](site, ADMIN)
