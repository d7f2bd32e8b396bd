"""``vpopsql import`` and ``import verify`` as administrators run them: output, exit codes."""

import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from sqlalchemy import select, update

from tests.importer.changing import ASSIGN, DOMAIN, LOCALS, RCPTHOSTS, VPASSWD, Changing
from vpopsql.cli import cli, main
from vpopsql.db import Database
from vpopsql.importer.shared_files import Lines
from vpopsql.model import DomainName, DotQmailFile, Mailbox

Unpack = Callable[[str], Path]
Program = Callable[..., int | str | None]

VERIFY = "`vpopsql import verify` compares the database with the source."
ON_SQLITE = pytest.mark.parametrize("_backend", ["sqlite"], indirect=True)


class Site(Changing):
    """The sample site `base`, for the command."""

    def run(self, *arguments: str, url: str | None = None, **environ: str) -> Result:
        environment = {
            "VPOPSQL_DATABASE_URL": url or self.database.url.render_as_string(hide_password=False),
            "VPOPSQL_PATHS_ROOT": str(self.root),
            "VPOPSQL_PASSWORDS_STORE_CLEAR_TEXT": "true",
        }
        return CliRunner().invoke(cli, ["import", *arguments], env=environment | environ)

    def import_(self, *options: str, **environ: str) -> Result:
        places = [f"--vpopmail={self.root}/home/vpopmail", f"--qmail={self.root}/var/qmail"]
        return self.run("tree", *places, "--jobs=1", *options, **environ)

    def verify(self, *options: str, **environ: str) -> Result:
        return self.run("verify", "--jobs=1", *options, **environ)


@pytest.fixture
def base(database: Database, unpack: Unpack) -> Site:
    return Site(database, unpack("base"))


def names(database: Database) -> list[str]:
    with database.reader() as session:
        return sorted(session.scalars(select(DomainName.name)))


# --- exit codes -------------------------------------------------------------------------------


def test_a_clean_site_goes_all_the_way(base: Site) -> None:
    results = [
        base.import_(),
        base.import_("--apply"),
        base.import_("--apply"),
        base.verify(),
        base.import_("--update", "--apply"),
    ]

    assert [result.exit_code for result in results] == [0, 0, 0, 0, 0]
    assert [result.output.splitlines()[-1] for result in results] == [
        "Nothing was written, this is the plan: run it again with --apply.",
        f"Imported: 5 domains with 13 mailboxes. {VERIFY}",
        "Nothing to do: the database has all of it already.",
        "Nothing differs that is not explained: the export writes what the source has.",
        "Nothing to do: the database has all of it already.",
    ]


@ON_SQLITE
def test_a_warning_makes_it_one_unless_it_is_accepted(base: Site) -> None:
    base.append(LOCALS, b"test.com")

    noticed, accepted = base.import_(), base.import_("--accept=in-locals")

    assert (noticed.exit_code, accepted.exit_code) == (1, 0)
    assert "ACCEPTED: it does not count" in accepted.output


@ON_SQLITE
def test_a_difference_is_a_reject_until_it_is_carried_over(base: Site) -> None:
    base.import_("--apply")
    base.replace(VPASSWD, b"Alice Example", b"Alice")

    refused, shown, done = (
        base.import_("--apply"),
        base.import_("--update"),
        base.import_("--update", "--apply"),
    )

    assert (refused.exit_code, shown.exit_code, done.exit_code) == (2, 0, 0)
    assert "to be as in the source: change mailbox alice (comment)" in refused.output
    assert "1 difference between the source and the database:" in shown.output
    assert "  example.com: change mailbox alice (comment)" in shown.output
    assert "Updated: 1 domain; removed: 0." in done.output


@ON_SQLITE
def test_a_plan_whose_lines_do_not_add_up_is_refused_whatever_is_accepted(
    base: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As if the importer had a fault."""
    monkeypatch.setattr(Lines, "keep", lambda *_: None)

    result = base.import_("--apply", "--accept=malformed")

    assert result.exit_code == 3
    assert "THE LINES DO NOT ADD UP" in result.output
    assert names(base.database) == []


@ON_SQLITE
@pytest.mark.parametrize(
    "arguments",
    [
        ["tree"],
        ["tree", "--vpopmail=/x"],
        ["tree", "--vpopmail=/x", "--qmail=/x", "--accept=nonsense"],
        ["tree", "--vpopmail=/x", "--qmail=/x", "--jobs=0"],
        ["tree", "--vpopmail=/x", "--qmail=/x", "--format=xml"],
        ["tree", "--vpopmail=/nowhere", "--qmail=/nowhere"],
        ["mysql", "--qmail=/x"],
        ["pgsql", "/nowhere/dump.sql", "--qmail=/x"],
        ["nonsense"],
        ["verify"],
        ["verify", "--format=xml"],
        ["verify", "nonsense"],
    ],
    ids=" ".join,
)
def test_what_cannot_be_run_is_three(program: Program, arguments: list[str]) -> None:
    assert program(*arguments) == 3


@ON_SQLITE
@pytest.mark.parametrize("command", ["tree --vpopmail=/x --qmail=/x", "verify"])
@pytest.mark.parametrize(
    "environ",
    [
        {"VPOPSQL_DATABASE_URL": "sqlite:////nowhere/x.db"},
        {"VPOPSQL_DATABASE_URL": "nonsense"},
        {"VPOPSQL_DAEMON_LISTEN": "nonsense"},
        {"VPOPSQL_CONFIG": "/nowhere"},
    ],
    ids=str,
)
def test_a_configuration_or_a_database_that_is_of_no_use_is_three(
    program: Program, command: str, environ: dict[str, str]
) -> None:
    assert program(*command.split(), **environ) == 3


@pytest.fixture
def program(monkeypatch: pytest.MonkeyPatch, base: Site) -> Program:
    """A function that runs the whole program and returns its exit code."""

    def run(*arguments: str, **environ: str) -> int | str | None:
        url = base.database.url.render_as_string(hide_password=False)
        for name, value in ({"VPOPSQL_DATABASE_URL": url} | environ).items():
            monkeypatch.setenv(name, value)
        monkeypatch.setattr(sys, "argv", ["vpopsql", "import", *arguments])
        with pytest.raises(SystemExit) as ended:
            main()
        return ended.value.code

    return run


@ON_SQLITE
def test_a_schema_that_is_missing_is_three(base: Site, empty_database_url: str) -> None:
    results = [
        base.run("verify", url=empty_database_url),
        base.run("tree", "--vpopmail=/x", "--qmail=/x", url=empty_database_url),
    ]

    assert ["vpopsql db upgrade" in str(result.exception) for result in results] == [True, True]


@ON_SQLITE
def test_the_plan_that_is_kept_says_whether_it_was_carried_out(base: Site, tmp_path: Path) -> None:
    kept = tmp_path / "plan"

    base.import_("--plan", str(kept))
    planned = json.loads(kept.read_text().splitlines()[-1])
    base.import_("--apply", "--plan", str(kept))
    done = json.loads(kept.read_text().splitlines()[-1])

    assert (planned["applied"], done["applied"]) == (False, True)


# --- accepting --------------------------------------------------------------------------------

ACCEPTED: dict[str, tuple[Callable[[Site], object], str, str]] = {
    "malformed": (
        lambda site: site.damage(VPASSWD, b"bob:$6$", b"bob$6$"),
        "vpasswd:3: (",
        "the line or row is left out, and the account or domain with it if it is one's",
    ),
    "missing": (
        lambda site: shutil.rmtree(site.root / "home/vpopmail/domains/empty.org"),
        "domains/empty.org: the directory of empty.org is missing",
        "what would be in it is left out: with a domain's directory or vpasswd, the domain",
    ),
    "no-real-domain": (
        lambda site: site.insert(ASSIGN, b"+stray.org-:gone.org:89:89:/home/x:-::"),
        "users/assign:1: +stray.org-:gone.org:89:89:/home/x:-::",
        "the alias domain is left out",
    ),
    "linked-domain": (
        lambda site: link_away(site.root / "home/vpopmail/domains/empty.org"),
        "domains/empty.org: -> elsewhere --",
        "the domain is left out",
    ),
    "bad-file-name": (
        lambda site: site.write(f"{DOMAIN[1:]}/.qmail-\x01", b"&x@example.org\n"),
        ".qmail-\\x01: .qmail-\\x01 --",
        "the file stays where it is and is not imported",
    ),
    "unknown-domain": (
        lambda site: site.append("home/vpopmail/etc/ip_alias_map", b"192.0.2.9 gone.org"),
        "ip_alias_map:2: 192.0.2.9 gone.org",
        "the line or the rows are left out",
    ),
}


def link_away(path: Path) -> None:
    path.rename(path.with_name("elsewhere"))
    path.symlink_to("elsewhere")


@ON_SQLITE
@pytest.mark.parametrize("code", ACCEPTED)
def test_what_is_accepted_is_left_out_and_said_and_the_rest_is_imported(
    base: Site, code: str
) -> None:
    damage, place, effect = ACCEPTED[code]
    damage(base)

    refused, done = base.import_("--apply"), base.import_("--apply", f"--accept={code}")
    proved, again = base.verify(), base.import_(f"--accept={code}")

    assert refused.exit_code == 2
    assert "Nothing was written" in refused.output
    assert done.exit_code in {0, 1}
    assert place in done.output
    assert f"ACCEPTED: {effect}" in done.output
    assert proved.exit_code == 0, proved.output
    assert again.output.splitlines()[-1] == "Nothing to do: the database has all of it already."
    assert set(names(base.database)) >= {"example.com", "example-alias.org", "test.com"}


@ON_SQLITE
def test_a_domain_that_differs_can_be_accepted_and_the_rest_is_imported(base: Site) -> None:
    base.import_("--apply")
    base.replace(VPASSWD, b"Alice Example", b"Alice")
    directory = "/home/vpopmail/domains/late.org"
    base.add_domain(b"late.org", b"late.org", directory)
    base.write(f"{directory[1:]}/vpasswd", b"")

    result = base.import_("--apply", "--accept=differs")

    with base.database.reader() as session:
        comment = session.scalar(select(Mailbox.comment).where(Mailbox.name == "alice"))
    assert "ACCEPTED: the database stays as it is there" in result.output
    assert "Imported: 1 domain with 0 mailboxes." in result.output
    assert comment == "Alice Example"


# --- updating ---------------------------------------------------------------------------------


@ON_SQLITE
def test_an_update_says_what_stays_as_the_database_has_it(base: Site) -> None:
    base.import_("--apply")
    base.write_file("info", "&carol@example.com")
    base.append(f"{DOMAIN[1:]}/.qmail-info", b"&bob@example.com")

    result = base.import_("--update", "--apply")

    assert result.exit_code == 1
    assert "example.com: keep dot-qmail file .qmail-info" in result.output
    assert "changed in the database since the last import: dot-qmail file" in result.output


# --- verifying --------------------------------------------------------------------------------


def test_a_tampered_database_is_two_and_the_file_is_named(base: Site) -> None:
    base.import_("--apply")
    base.sql(update(DotQmailFile).where(DotQmailFile.name == "info").values(final_newline=False))

    result, as_data = base.verify(), base.verify("--format=json")

    found = json.loads(as_data.output)
    assert (result.exit_code, as_data.exit_code) == (2, 2)
    assert "2 DIFFERENCES THAT NOTHING EXPLAINS:" in result.output
    assert f"{DOMAIN}/.qmail-info: the export would write something else" in result.output
    assert found["differences_unexplained"] == 2
    assert found["files"] == {
        "identical": 34,
        "order": 0,
        "new": 0,
        "explained": 0,
        "unexplained": 1,
    }


@ON_SQLITE
def test_a_site_that_was_moved_is_verified_where_it_is(base: Site, tmp_path: Path) -> None:
    base.import_("--apply")
    moved = tmp_path / "moved"
    base.root.rename(moved)

    lost = base.verify()
    found = base.verify(
        f"--vpopmail={moved}/home/vpopmail",
        f"--qmail={moved}/var/qmail",
        VPOPSQL_PATHS_ROOT=str(moved),
    )

    assert "cannot open" in str(lost.exception)
    assert found.exit_code == 0, found.output


@ON_SQLITE
def test_verifying_writes_nothing(base: Site) -> None:
    base.import_("--apply")
    before = {path: path.stat().st_mtime_ns for path in base.root.rglob("*")}
    path = Path(base.database.url.database or "")
    content = path.read_bytes()

    base.verify()

    assert {path: path.stat().st_mtime_ns for path in base.root.rglob("*")} == before
    assert path.read_bytes() == content


@ON_SQLITE
def test_no_explanation_shows_a_password_or_a_hash(base: Site) -> None:
    base.import_("--apply", VPOPSQL_PASSWORDS_STORE_CLEAR_TEXT="false")
    base.sql(update(Mailbox).values(password_hash="$1$tampered$x", clear_text="secret"))
    base.drop(RCPTHOSTS, b"test.com")

    results = [
        base.verify(VPOPSQL_PASSWORDS_STORE_CLEAR_TEXT="false"),
        base.import_("--format=json"),
    ]

    secrets = ["$6$", "$1$", "alicepw", "secret"]
    assert [word for word in secrets for each in results if word in each.output] == []
