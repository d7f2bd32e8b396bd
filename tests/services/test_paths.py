"""What the paths of file commands mean, and who may use them."""

import pytest

from tests import factories
from tests.services.test_rights import actor
from vpopsql import errors
from vpopsql.db import Database
from vpopsql.model import Flag
from vpopsql.services import paths
from vpopsql.services.paths import OwnedPath
from vpopsql.services.rights import Actor

DOMAINS = "/home/vpopmail/domains"
EXAMPLE = f"{DOMAINS}/example.com"
ALICE = actor("alice")
ADMIN = actor("dadmin", Flag.QA_ADMIN)
ROOT = actor("root", Flag.SA_ADMIN)


@pytest.fixture
def site(database: Database) -> Database:
    with database.writer() as session:
        example = factories.domain(session, "example.com", "example.org")
        factories.mailbox(session, example, "alice")
        factories.mailbox(session, example, "al")
        other = factories.domain(session, "example.company")
        factories.mailbox(session, other, "eve")
    return database


def resolve(site: Database, who: Actor, text: str) -> OwnedPath:
    # The actors of these tests belong to the only domain with this directory.
    with site.reader() as session:
        return paths.resolve(session, who, text)


@pytest.mark.parametrize(
    "text, below",
    [
        ("alice@example.com/", "/"),
        ("alice@example.com/a/b", "/a/b"),
        ("ALICE@Example.com/a//b/", "/a/b"),
        ("example.com/alice/note.txt", "/note.txt"),
        ("example.org/alice/note.txt", "/note.txt"),
        (f"{EXAMPLE}/alice/./note.txt", "/note.txt"),
    ],
)
def test_each_form_of_a_path_leads_to_the_same_place(
    site: Database, text: str, below: str
) -> None:
    assert resolve(site, ALICE, text) == OwnedPath(f"{EXAMPLE}/alice", below)


@pytest.mark.parametrize(
    "who, text, refusal",
    [
        (ROOT, "../etc", errors.DotsInPath),
        (ROOT, "a..b/c", errors.DotsInPath),
        (ROOT, f"{EXAMPLE}/%41", errors.PercentInPath),
        (ROOT, "noslash", errors.NoSlashInPath),
        (ROOT, "alice@example.com", errors.NoSlashInPath),
        (ROOT, "foo/alice@example.com", errors.SlashBeforeAt),
        (ROOT, "a(b@example.com/", errors.UnparsableAddressInPath),
        (ROOT, "nobody@example.com/", errors.UnknownAddressInPath),
        (ROOT, "nosuch.invalid/", errors.UnknownDomainInPath),
        (ROOT, "/etc", errors.UnauthorizedPath),
        (ROOT, "/", errors.UnauthorizedPath),
        (ROOT, f"{DOMAINS}X", errors.UnauthorizedPath),
        (ROOT, f"{DOMAINS}-backup/s", errors.UnauthorizedPath),
        (ROOT, "/home/vpopmail/etc/vlimits.default", errors.UnauthorizedPath),
        (ADMIN, f"{DOMAINS}/example.company", errors.UnauthorizedPath),
        (ADMIN, "example.company/", errors.UnauthorizedPath),
        (ADMIN, "eve@example.company/", errors.UnauthorizedPath),
        (ADMIN, DOMAINS, errors.UnauthorizedPath),
        (ALICE, "al@example.com/", errors.ForeignAddressInPath),
        (ALICE, "nobody@example.com/", errors.ForeignAddressInPath),
        (ALICE, f"{EXAMPLE}/al", errors.UnauthorizedPath),
        (ALICE, f"{EXAMPLE}/alice2", errors.UnauthorizedPath),
        (ALICE, "example.com/", errors.UnauthorizedPath),
        (actor("al"), f"{EXAMPLE}/alice/note.txt", errors.UnauthorizedPath),
    ],
)
def test_a_path_that_makes_no_sense_or_leads_elsewhere_is_refused(
    site: Database, who: Actor, text: str, refusal: type[Exception]
) -> None:
    with pytest.raises(refusal):
        resolve(site, who, text)


@pytest.mark.parametrize("who", [ADMIN, ROOT])
@pytest.mark.parametrize(
    "name",
    ["vpasswd", "vpasswd.cdb", ".vpasswd.lock", ".qmailadmin-limits", ".dir-control",
     ".dir_control_free", "vpasswd/x"],
)  # fmt: skip
def test_nobody_touches_what_the_database_owns(site: Database, who: Actor, name: str) -> None:
    with pytest.raises(errors.UnauthorizedPath):
        resolve(site, who, f"example.com/{name}")


def test_an_administrators_root_is_all_that_he_administers(site: Database) -> None:
    assert resolve(site, ADMIN, "alice@example.com/x") == OwnedPath(EXAMPLE, "/alice/x")
    assert resolve(site, ROOT, "alice@example.com/x") == OwnedPath(DOMAINS, "/example.com/alice/x")
    assert resolve(site, ROOT, DOMAINS) == OwnedPath(DOMAINS, "/")


# --- whose a path is ----------------------------------------------------------------------------


def owner(site: Database, who: Actor, root: str, below: str) -> tuple[str, str, str] | None:
    with site.writer() as session:
        found = paths.owner_of(session, who, OwnedPath(root, below))
        return (found.domain.name, found.directory, found.below) if found else None


@pytest.mark.parametrize(
    "who, root, below, expected",
    [
        (ALICE, f"{EXAMPLE}/alice", "/a/b", ("example.com", f"{EXAMPLE}/alice", "a/b")),
        (ADMIN, EXAMPLE, "/alice/a/b", ("example.com", f"{EXAMPLE}/alice", "a/b")),
        (ADMIN, EXAMPLE, "/alice", ("example.com", f"{EXAMPLE}/alice", "")),
        (ADMIN, EXAMPLE, "/ali/ce", ("example.com", EXAMPLE, "ali/ce")),
        (ADMIN, EXAMPLE, "/alicex", ("example.com", EXAMPLE, "alicex")),
        (ADMIN, EXAMPLE, "/", ("example.com", EXAMPLE, "")),
        (ROOT, DOMAINS, "/example.com/al", ("example.com", f"{EXAMPLE}/al", "")),
        (
            ROOT,
            DOMAINS,
            "/example.company/x",
            ("example.company", f"{DOMAINS}/example.company", "x"),
        ),
        (ROOT, DOMAINS, "/example.co/x", None),
        (ROOT, DOMAINS, "/", None),
    ],
)
def test_a_path_belongs_to_the_innermost_directory_it_is_in(
    site: Database, who: Actor, root: str, below: str, expected: tuple[str, str, str] | None
) -> None:
    assert owner(site, who, root, below) == expected


def test_a_directory_with_a_slash_at_its_end_is_the_same(database: Database) -> None:
    with database.writer() as session:
        example = factories.domain(session, "example.com", directory=f"{EXAMPLE}/")
        factories.mailbox(session, example, "alice", directory=f"{EXAMPLE}/0/alice/")

    expected = ("example.com", f"{EXAMPLE}/0/alice", ".qmail")
    assert owner(database, ADMIN, EXAMPLE, "/0/alice/.qmail") == expected


def require_nobodys_home(site: Database, below: str) -> None:
    owned = OwnedPath(DOMAINS, below)
    with site.writer() as session:
        who = paths.owner_of(session, ROOT, owned)
        paths.require_nobodys_home(session, ROOT, owned, who)


@pytest.mark.parametrize("below", ["/", "/example.com", "/example.com/alice"])
def test_where_somebody_lives_nothing_is_moved(site: Database, below: str) -> None:
    with pytest.raises(errors.UnauthorizedPath):
        require_nobodys_home(site, below)


@pytest.mark.parametrize("below", ["/example.com/x", "/example.com/alice/x", "/example.co"])
def test_where_nobody_lives_everything_is_moved(site: Database, below: str) -> None:
    require_nobodys_home(site, below)
