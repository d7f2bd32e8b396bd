"""``vpopsql verify`` as an administrator, or cron, runs it."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests import factories
from tests.commands import Command, run
from tests.exporter import verifying as v
from vpopsql.db import Database

RUN = "from vpopsql.cli import main; main()"

pytestmark = pytest.mark.parametrize("_backend", ["sqlite"], indirect=True)


@pytest.fixture
def vpopsql(
    database: Database,
    database_url: str,
    root: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> Command:
    """A function that runs the command over a site that is clean."""
    v.make_site(database, root)
    monkeypatch.setenv("VPOPSQL_DATABASE_URL", database_url)
    monkeypatch.setenv("VPOPSQL_PATHS_ROOT", str(root))
    return lambda *arguments: run(capsys, *arguments)


def test_a_clean_site_is_said_to_be_and_quiet_says_nothing(vpopsql: Command, root: Path) -> None:
    v.make_dir(f"{v.EXAMPLE}/stats")(root)

    said, quiet = vpopsql("verify"), vpopsql("verify", "--quiet")

    assert (said.returncode, quiet.returncode) == (0, 0)
    assert said.stdout.splitlines() == [
        f"note  unknown-directory, 1: {v.CODES['unknown-directory'].meaning}",
        f"  /{v.EXAMPLE}/stats",
        "  mended by: vpopsql verify --fix unknown-directory",
        "  but: look into it first; nothing depends on it as far as the database knows",
        "",
        "3 domains: 1 note; at revision 0",
    ]
    assert (quiet.stdout, quiet.stderr) == ("", "")


def test_exit_codes_tell_harm_from_what_does_none(vpopsql: Command, root: Path) -> None:
    v.unlink(f"{v.EXAMPLE}/.qmailadmin-limits")(root)
    harmless = vpopsql("verify", "--quiet")
    v.unlink(f"{v.CONTROL}/rcpthosts")(root)
    harmful = vpopsql("verify", "--quiet")

    assert (harmless.returncode, harmful.returncode) == (1, 2)
    assert harmful.stdout.splitlines() == [
        "harm  rcpthosts-missing, 1: there is no `control/rcpthosts`: qmail relays for everybody",
        f"  /{v.CONTROL}/rcpthosts",
        "  mended by: vpopsql verify --fix rcpthosts-missing",
        "",
        f"warning  settings-missing, 1: {v.CODES['settings-missing'].meaning}",
        f"  /{v.EXAMPLE}/.qmailadmin-limits",
        "  mended by: vpopsql verify --fix settings-missing",
        "",
        "3 domains: 1 harmful, 1 warning; at revision 0",
    ]


@pytest.mark.parametrize(
    "arguments, said",
    [
        (["--fix", "rust"], "rust: no such code: docs/verify-codes.md lists them"),
        (["--jobs", "0"], "0 is not in the range 1<=x<=64"),
        (["--domain", "nowhere.net"], "the database has no domain nowhere.net"),
    ],
    ids=["code", "jobs", "domain"],
)
def test_what_cannot_be_done_is_no_result(
    vpopsql: Command, arguments: list[str], said: str
) -> None:
    done = vpopsql("verify", *arguments)

    assert done.returncode == 3
    assert said in done.stderr
    assert done.stdout == ""


def test_all_of_it_as_json_with_the_command_for_each(vpopsql: Command, root: Path) -> None:
    v.write(f"{v.EXAMPLE}/.qmail-\udce9\n", "x")(root)

    done = vpopsql("verify", "--format", "json")

    assert done.returncode == 2
    assert json.loads(done.stdout) == {
        "revision": 0,
        "domains": 3,
        "findings": [
            {
                "severity": "harm",
                "code": "dotqmail-extra",
                "path": f"/{v.EXAMPLE}/.qmail-\\udce9\\n",
                "domain": "example.com",
                "details": ["should not be there"],
                "more": 0,
                "meaning": v.CODES["dotqmail-extra"].meaning,
                "command": "vpopsql verify --domain example.com --fix dotqmail-extra",
                "advice": "to keep it, `vpopsql import … --update`, or set it by the daemon",
            }
        ],
        "mended": [],
        "not_mended": [],
    }


def test_a_fix_says_what_was_done_what_was_not_and_what_is_left(
    vpopsql: Command, root: Path
) -> None:
    v.chmod(v.BOB, 0o1700)(root)
    v.unlink(f"{v.EXAMPLE}/.qmail-robot")(root)
    v.write(f"{v.EXAMPLE}/.qmail-info", "mine\n")(root)

    done = vpopsql("verify", "--fix", "dir-sticky", "--fix", "dotqmail-missing", "--jobs", "1")

    assert done.returncode == 2
    assert done.stdout.splitlines()[:2] == [
        f"mended      dir-sticky  /{v.BOB}",
        (
            f"not mended  dotqmail-missing  /{v.EXAMPLE}/.qmail-robot: /{v.EXAMPLE}/.qmail-info"
            " would be written along with it: name dotqmail-differs, too"
        ),
    ]
    assert done.stdout.splitlines()[-1] == "3 domains: 2 harmful; at revision 0"


def test_of_many_findings_people_see_some(
    vpopsql: Command, database: Database, root: Path
) -> None:
    with database.writer() as session:
        for number in range(30):
            factories.domain(session, f"d{number:02}.net")

    lines = vpopsql("verify").stdout.splitlines()

    start = next(n for n, line in enumerate(lines) if line.startswith("harm  dir-missing, 30"))
    assert lines[start + 20] == f"  /{v.DOMAINS}/d19.net"
    assert lines[start + 21] == "  and 10 more: see --format json"


def test_several_processes_find_what_one_finds(
    vpopsql: Command, database: Database, root: Path
) -> None:
    with database.writer() as session:
        for number in range(70):
            factories.domain(session, f"d{number:02}.net")

    one = vpopsql("verify", "--jobs", "1", "--format", "json")
    two = subprocess.run(
        [sys.executable, "-c", RUN, "verify", "--jobs", "2", "--format", "json"],
        env={**os.environ, "PYTHONPATH": "."},
        capture_output=True,
        text=True,
        check=False,
    )

    assert len(json.loads(one.stdout)["findings"]) > 70
    assert (two.returncode, two.stdout) == (one.returncode, one.stdout)


def test_a_command_to_copy_names_the_configuration(
    vpopsql: Command, root: Path, tmp_path: Path
) -> None:
    file = tmp_path / "my site.toml"
    file.write_text('[log]\nlevel = "error"\n')
    v.unlink(f"{v.CONTROL}/rcpthosts")(root)

    done = vpopsql("--config", str(file), "verify")

    assert f"  mended by: vpopsql --config '{file}' verify --fix rcpthosts-missing" in (
        done.stdout.splitlines()
    )


def test_on_a_relay_only_the_names_that_mail_is_taken_for_are_looked_at(
    vpopsql: Command, root: Path
) -> None:
    v.remove("home")(root)
    v.remove(v.USERS)(root)
    v.unlink(f"{v.CONTROL}/locals")(root)
    clean = vpopsql("verify", "--role", "relay")
    v.append(f"{v.CONTROL}/rcpthosts", "evil.example\n")(root)
    spoilt = vpopsql("verify", "--role", "relay")
    fixed = vpopsql("verify", "--role", "relay", "--fix", "control-differs")

    writes = "vpopsql export follow --role relay --once"
    assert (clean.returncode, clean.stdout) == (
        0,
        "3 domains: all is as the database says; at revision 0\n",
    )
    assert spoilt.returncode == 2
    assert spoilt.stdout.splitlines()[1:3] == [
        f"  /{v.CONTROL}/rcpthosts: has evil.example besides",
        f"  mended by: {writes}",
    ]
    assert fixed.stdout.splitlines()[0] == (
        f"not mended  control-differs  /{v.CONTROL}/rcpthosts: `{writes}` writes the files of a"
        " relay"
    )
