"""qmail's programs that compile, by stand-ins for them; by the real ones where there are some.

``VPOPSQL_TEST_QMAIL`` names the home of a qmail whose bin/qmail-newu and bin/qmail-newmrh were
built for it, and whose files may be overwritten.
"""

import os
import shutil
import stat
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from sqlalchemy import delete

from tests import factories
from tests.exporter.conftest import files_below
from vpopsql.config import Config, Export, Paths
from vpopsql.db import Database
from vpopsql.errors import ExportFailed
from vpopsql.exporter import programs
from vpopsql.exporter.apply import Applied, apply, plan
from vpopsql.exporter.render import COMPILE_MARKER
from vpopsql.model import DomainName, Revision
from vpopsql.qmail import cdb

Exporter = Callable[..., Applied]
Programs = Callable[..., tuple[str, ...]]

QMAIL = "var/qmail"
pytestmark = pytest.mark.parametrize("_backend", ["sqlite"], indirect=True)
REAL_QMAIL = os.environ.get("VPOPSQL_TEST_QMAIL", "")


@pytest.fixture
def program(tmp_path: Path) -> Programs:
    """A function that makes a program of shell lines, which have the run's number in $run."""

    def make(*lines: str) -> tuple[str, ...]:
        path = tmp_path / "bin" / f"program{len(list(tmp_path.glob('bin/*')))}"
        path.parent.mkdir(exist_ok=True)
        runs = f"echo run >> {path}.runs; run=$(wc -l < {path}.runs)"
        path.write_text("\n".join(["#!/bin/sh", runs, *lines]) + "\n")
        path.chmod(stat.S_IRWXU)
        return (str(path),)

    return make


@pytest.fixture
def site(database: Database) -> Database:
    """A domain of rcpthosts and one of morercpthosts."""
    with database.writer() as session:
        factories.domain(session, "few.example")
        session.flush()
        factories.domain(session, "more.example")
        session.get_one(DomainName, "more.example").in_morercpthosts = True
    return database


def runs_of(program: tuple[str, ...]) -> int:
    path = Path(f"{program[0]}.runs")
    return len(path.read_text().splitlines()) if path.exists() else 0


def change(database: Database, name: str) -> None:
    with database.writer() as session:
        factories.domain(session, name)
        session.add(Revision(topic="test"))


# --- qmail-newu -------------------------------------------------------------------------------


def test_qmail_newu_makes_the_cdb_after_the_text(
    site: Database, export: Exporter, root: Path, program: Programs
) -> None:
    newu = program(f"cp {root}/{QMAIL}/users/assign {root}/{QMAIL}/users/cdb")

    applied = export(newu_command=newu)

    files = files_below(root)
    assert files["/var/qmail/users/cdb"] == files["/var/qmail/users/assign"]
    of_users = [path for path in applied.changed if path.startswith("/var/qmail/users/")]
    assert of_users == ["/var/qmail/users/assign", "/var/qmail/users/cdb"]


def test_qmail_newu_is_run_for_changes_only(
    site: Database, export: Exporter, root: Path, program: Programs
) -> None:
    newu = program(f"cp {root}/{QMAIL}/users/assign {root}/{QMAIL}/users/cdb")

    export(newu_command=newu)
    again = export(newu_command=newu)
    change(site, "new.example")
    export(newu_command=newu)

    assert again.changed == ()
    assert runs_of(newu) == 2


def test_a_plan_shows_what_qmail_newu_will_compile(
    site: Database, export: Exporter, root: Path, program: Programs
) -> None:
    failing = program("exit 111")
    config = Config(paths=Paths(root=str(root)), export=Export(newu_command=failing))
    with pytest.raises(ExportFailed):
        export(newu_command=failing)

    changes = list(plan(site, config).changes())

    assert "/var/qmail/users/cdb" in [change.path for change in changes]


@pytest.mark.parametrize(
    "lines, message",
    [
        (["echo bad format >&2", "exit 111"], "ended with status 111: bad format"),
        (["kill -9 $$"], "ended with status -9"),
        (["exec sleep 60"], "did not end within 2 s"),
    ],
)
def test_a_qmail_newu_that_fails_is_believed_and_run_again(
    site: Database,
    export: Exporter,
    root: Path,
    program: Programs,
    monkeypatch: pytest.MonkeyPatch,
    lines: list[str],
    message: str,
) -> None:
    monkeypatch.setattr(programs, "COMPILE_TIMEOUT_S", 2.0)
    export()
    old = files_below(root)["/var/qmail/users/cdb"]
    change(site, "new.example")
    newu = program(*lines)

    with pytest.raises(ExportFailed, match=message) as caught:
        export(newu_command=newu)
    after_failure = files_below(root)
    export(newu_command=program(f"echo made > {root}/{QMAIL}/users/cdb"))

    assert "the old /var/qmail/users/cdb is still in place" in str(caught.value)
    assert after_failure["/var/qmail/users/cdb"] == old
    assert b"new.example" not in after_failure["/var/qmail/control/rcpthosts"]
    assert files_below(root)["/var/qmail/users/cdb"] == b"made\n"
    assert not (root / QMAIL / COMPILE_MARKER).exists()


def test_a_program_that_is_not_there_is_said(site: Database, export: Exporter) -> None:
    with pytest.raises(ExportFailed, match="/no/qmail-newu cannot be run: No such file"):
        export(newu_command=("/no/qmail-newu",))


def test_the_cdb_may_have_the_name_that_s_qmail_gives_it(
    site: Database, export: Exporter, root: Path
) -> None:
    export()
    usual = files_below(root)

    export(assign_cdb="assign.cdb")

    files = files_below(root)
    assert files["/var/qmail/users/assign.cdb"] == usual["/var/qmail/users/cdb"]


# --- qmail-newmrh -----------------------------------------------------------------------------


def newmrh(program: Programs, root: Path) -> tuple[str, ...]:
    """Return a program that makes a cdb as qmail-newmrh does, and keeps each text it was given."""
    control = f"{root}/{QMAIL}/control"
    return program(
        f"cp {control}/morercpthosts {control}/text.$run",
        f"tr A-Z a-z < {control}/morercpthosts"
        ' | awk \'{ printf "+%d,0:%s->\\n", length($0), $0 } END { print "" }\''
        f" | cdb -c {control}/morercpthosts.cdb",
    )


@pytest.mark.skipif(shutil.which("cdb") is None, reason="tinycdb is not installed")
def test_qmail_newmrh_makes_the_cdb_of_morercpthosts(
    site: Database, export: Exporter, root: Path, program: Programs
) -> None:
    command = newmrh(program, root)

    export(newmrh_command=command)
    again = export(newmrh_command=command)

    data = files_below(root)["/var/qmail/control/morercpthosts.cdb"]
    assert cdb.read(data) == [(b"more.example", b"")]
    assert (again.changed, runs_of(command)) == ((), 1)


@pytest.mark.skipif(shutil.which("cdb") is None, reason="tinycdb is not installed")
def test_a_name_that_goes_is_not_accepted_before_its_domain_is_gone(
    site: Database, export: Exporter, root: Path, program: Programs
) -> None:
    command = newmrh(program, root)
    export(newmrh_command=command)
    with site.writer() as session:
        factories.domain(session, "most.example")
        session.get_one(DomainName, "most.example").in_morercpthosts = True
        session.execute(delete(DomainName).where(DomainName.name == "more.example"))

    failing = program("exit 1")
    with pytest.raises(ExportFailed):
        export(newmrh_command=command, newu_command=failing)

    data = files_below(root)["/var/qmail/control/morercpthosts.cdb"]
    assert cdb.read(data) == []


@pytest.mark.skipif(shutil.which("cdb") is None, reason="tinycdb is not installed")
def test_a_name_that_moves_to_rcpthosts_is_in_both_for_a_moment(
    site: Database, export: Exporter, root: Path, program: Programs
) -> None:
    command = newmrh(program, root)
    with site.writer() as session:
        factories.domain(session, "also.example")
        session.get_one(DomainName, "also.example").in_morercpthosts = True
    export(newmrh_command=command)
    with site.writer() as session:
        session.get_one(DomainName, "more.example").in_morercpthosts = False

    export(newmrh_command=command)

    files = files_below(root)
    assert b"more.example" in files["/var/qmail/control/rcpthosts"]
    assert files["/var/qmail/control/morercpthosts"] == b"also.example\n"
    assert cdb.read(files["/var/qmail/control/morercpthosts.cdb"]) == [(b"also.example", b"")]


# --- the real ones ----------------------------------------------------------------------------


@pytest.mark.skipif(not REAL_QMAIL, reason="VPOPSQL_TEST_QMAIL names no qmail")
def test_the_real_programs_make_what_we_make(site: Database, tmp_path: Path) -> None:
    with site.writer() as session:
        domain = factories.domain(session, "third.example", "alias.example")
        factories.mailbox(session, domain, "alice")
    by_us = Export(delivery="exact")
    by_programs = replace(
        by_us,
        newu_command=(f"{REAL_QMAIL}/bin/qmail-newu",),
        newmrh_command=(f"{REAL_QMAIL}/bin/qmail-newmrh",),
    )
    paths = Paths(vpopmail=str(tmp_path / "vpopmail"), qmail=REAL_QMAIL)

    shutil.rmtree(f"{REAL_QMAIL}/users", ignore_errors=True)
    shutil.rmtree(f"{REAL_QMAIL}/control", ignore_errors=True)

    apply(site, Config(paths=paths, export=by_us))
    made_by_us = files_below(Path(REAL_QMAIL))
    for_programs = [made_by_us[f"/{name}"] for name in ("users/cdb", "control/morercpthosts.cdb")]
    shutil.rmtree(f"{REAL_QMAIL}/users")
    shutil.rmtree(f"{REAL_QMAIL}/control")
    apply(site, Config(paths=paths, export=by_programs))

    made_by_them = files_below(Path(REAL_QMAIL))
    assert for_programs == [
        made_by_them[f"/{name}"] for name in ("users/cdb", "control/morercpthosts.cdb")
    ]
