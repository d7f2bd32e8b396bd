"""Taking changes back: rows and files are as before, and what has changed since stays."""

from collections.abc import Sequence

import pytest

from tests.cli.conftest import DOMAIN, Prepared, Site, on_sqlite, small
from tests.stored import contents

CHANGES = [
    "user modify alice@example.com --comment Alicia",
    "user modify alice@example.com --quota 7M --set no_pop",
    "quota delete alice@example.com",
    "flag add bob@example.com no_imap",
    "limits modify example.com max_aliases=3 disable_pop=1",
    "limits modify example.com max_aliases=4",
    "limits modify --default max_forwards=9",
    "limits delete example.com",
    "alias add sales@example.com bob@example.com",
    "alias add sales@example.com x@else.org",
    "alias modify info@example.com --remove x@y.org",
    "alias rename info@example.com infos@example.com",
    "alias delete help@test.com",
    "forward add bob@example.com friend@else.org --copy",
    "forward delete alice@example.com",
    "catchall modify example.com bounce",
    "catchall modify example.com x@else.org",
    "ipmap add 192.0.2.7 test.com",
    "ipmap modify 192.0.2.7 alias.org",
    "ipmap delete 192.0.2.7",
    "alias-domain add other.org example.com",
    "alias-domain rename other.org another.org",
    "alias-domain delete alias.org",
    "user rename bob@example.com rob --leave-forward --rewrite-forwards",
    "user delete rob@example.com",
    "domain rename example.com example.net --leave-alias --rewrite-forwards",
    "domain rename example.net another.org --rewrite-forwards",
    "domain delete test.com --yes",
]


def build(site: Site) -> None:
    small(site)
    site.ok("domain", "add", "test.com", "--generate")
    site.ok("alias", "add", "info@example.com", "alice@example.com", "x@y.org")
    site.ok("alias", "add", "help@test.com", "bob@example.com", "alice@example.com")
    site.ok("forward", "add", "alice@example.com", "friend@else.org", "--copy")
    site.ok("catchall", "modify", "example.com", "alice@example.com")
    site.ok("limits", "modify", "--default", "max_aliases=50")
    (site.root / DOMAIN / "bob/Maildir/new/1.host").write_text("mail")


@pytest.fixture
def used(prepared: Prepared) -> Site:
    """A site that has some of everything."""
    return prepared("undo", build)


def newest(site: Site) -> str:
    """Return the number of the last change."""
    return str(site.rows("audit", "list", "--limit", "1")[-1]["id"])


def change(site: Site, command: str) -> str:
    """Change something; return the number of the change."""
    site.ok(*command.split(), "--format", "json")
    return newest(site)


def undo_all(site: Site, changes: Sequence[str]) -> None:
    for number in reversed(changes):
        site.ok("undo", number)


SOME_OF_EACH_KIND = [
    "user modify alice@example.com --quota 7M --set no_pop",
    "limits modify example.com max_aliases=3",
    "alias rename info@example.com infos@example.com",
    "catchall modify example.com bounce",
    "user rename bob@example.com rob --leave-forward --rewrite-forwards",
    "domain delete test.com --yes",
]


@pytest.mark.parametrize(
    "_backend, commands",
    [("sqlite", CHANGES), ("postgresql", SOME_OF_EACH_KIND)],
    indirect=["_backend"],
    ids=["all", "some"],
)
def test_undoing_all_of_them_backwards_leads_to_the_same_rows_and_files(
    used: Site, commands: list[str]
) -> None:
    used.ok("export", "apply")
    rows, files = contents(used.database), used.files()

    changes = [change(used, command) for command in commands]
    assert contents(used.database) != rows
    undo_all(used, changes)

    assert contents(used.database) == rows
    assert used.files() == files
    used.verified()
    assert used.ok("audit", "verify").out.startswith(f"{newest(used)} entries, 0 not")


@on_sqlite
def test_the_entry_of_an_undoing_names_the_one_undone(used: Site) -> None:
    number = change(used, "user modify alice@example.com --comment Alicia")

    used.ok("undo", number)

    entry = used.show("audit", "show", newest(used))
    assert (entry["action"], entry["object"]) == ("mod_user", "alice@example.com")
    assert entry["changes"] == {"comment": ["Alicia", "alice"], "undoes": [None, int(number)]}


@on_sqlite
def test_what_was_undone_can_be_done_again_by_undoing_that(used: Site) -> None:
    number = change(used, "alias delete info@example.com")
    files = used.files()
    used.ok("undo", number)

    used.ok("undo", newest(used))

    assert used.files() == files
    used.verified()


@on_sqlite
@pytest.mark.parametrize(
    "command", ["user delete bob@example.com", "alias rename info@example.com infos@example.com"]
)
def test_a_dry_run_undoes_nothing(used: Site, command: str) -> None:
    number = change(used, command)
    rows, files = contents(used.database), used.files()

    done = used.ok("undo", number, "--dry-run", "--format", "json").document

    assert (done["dry_run"], len(done["changes"]) > 0) == (True, True)
    assert (contents(used.database), used.files(), newest(used)) == (rows, files, number)
    used.ok("undo", number)


@on_sqlite
@pytest.mark.parametrize("half", [0, 1])
def test_either_half_of_a_renamed_alias_undoes_both(used: Site, half: int) -> None:
    files = used.files()
    number = change(used, "alias rename info@example.com infos@example.com")

    used.ok("undo", str(int(number) - half))

    assert used.files() == files


@on_sqlite
@pytest.mark.parametrize(
    "command, later, why",
    [
        (
            "user modify alice@example.com --comment A",
            "user modify alice@example.com --comment B",
            "comment is 'B' now, and was 'A' after it",
        ),
        (
            "alias add sales@example.com bob@example.com",
            "alias add sales@example.com x@else.org",
            "its text is '&bob@example.com\\n&x@else.org' now",
        ),
        (
            "limits modify example.com max_aliases=4",
            "limits modify example.com max_forwards=4",
            "max_forwards is 4 now, and was -1 after it",
        ),
        (
            "limits modify example.com max_aliases=4",
            "limits delete example.com",
            "own_limits is False now",
        ),
        (
            "ipmap add 192.0.2.7 test.com",
            "ipmap modify 192.0.2.7 example.com",
            "its domain is 'example.com' now, and was 'test.com' after it",
        ),
        ("catchall modify test.com delete", "catchall modify test.com bounce", "its text is"),
        (
            "alias-domain add other.org example.com",
            "alias-domain delete other.org",
            "the domain of other.org is not there now",
        ),
        (
            "alias-domain delete alias.org",
            "alias-domain add alias.org test.com",
            "there is a domain or alias domain alias.org again",
        ),
        ("user delete bob@example.com", "trash restore 1", "is not in the trash any more"),
        ("user delete bob@example.com", "trash purge --id 1 --yes", "was purged"),
        (
            "user modify bob@example.com --comment A",
            "user delete bob@example.com",
            "no user bob@example.com any more",
        ),
        (
            "user rename bob@example.com rob",
            "user rename rob@example.com bobby",
            "no such user: rob@example.com",
        ),
        (
            "alias delete help@test.com",
            "alias add help@test.com x@else.org",
            "help@test.com is an alias again",
        ),
        (
            "alias add help@test.com x@else.org",
            "domain delete test.com --yes",
            "nobody has the directory",
        ),
    ],
)
def test_what_has_changed_since_stays(used: Site, command: str, later: str, why: str) -> None:
    number = change(used, command)
    used.ok(*later.split())
    rows, files = contents(used.database), used.files()

    assert why in used.refused("undo", number)
    assert (contents(used.database), used.files()) == (rows, files)


@on_sqlite
@pytest.mark.parametrize(
    "command, why",
    [
        ("user modify alice@example.com --generate", "neither passwords nor hashes"),
        ("user add new@example.com --generate", "`vpopsql user delete`"),
        ("domain add new.org --generate", "`vpopsql domain delete`"),
    ],
)
def test_what_cannot_be_undone_is_refused_with_the_reason(
    used: Site, command: str, why: str
) -> None:
    number = change(used, command)

    assert why in used.refused("undo", number)


@on_sqlite
def test_a_number_that_no_change_has_is_refused(used: Site) -> None:
    assert "there is no entry 9999" in used.refused("undo", "9999")
    used.misused("undo", "0")
