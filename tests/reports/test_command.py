"""``vpopsql report`` and ``vpopsql history`` as an administrator, or cron, runs them."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.exporter import verifying
from vpopsql.cli import main
from vpopsql.db import Database
from vpopsql.reports.registry import REPORTS

pytestmark = pytest.mark.parametrize("_backend", ["sqlite"], indirect=True)

Done = tuple[int, str, str]
Command = Callable[..., Done]


@pytest.fixture
def vpopsql(
    accounts: Database,
    database_url: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> Command:
    """A function that runs the command; it returns exit code, output and errors."""
    accounts.close()
    monkeypatch.setenv("VPOPSQL_DATABASE_URL", database_url)

    def run(*arguments: str) -> Done:
        monkeypatch.setattr("sys.argv", ["vpopsql", *arguments])
        with pytest.raises(SystemExit) as ended:
            main()
        assert isinstance(ended.value.code, int)
        return (ended.value.code, *capsys.readouterr())

    return run


def test_a_report_is_a_table(vpopsql: Command) -> None:
    code, out, _ = vpopsql("report", "over-quota")

    assert code == 0
    assert [line.split()[:6] for line in out.splitlines()[2:]] == [
        ["alice@example.com", "example.com", "1000", "B", "950", "B"]
    ]


def test_rows_can_be_a_failure_for_cron(vpopsql: Command) -> None:
    assert vpopsql("report", "over-quota", "--fail-if-rows")[0] == 1
    assert vpopsql("report", "over-quota", "--fail-if-rows", "--percent", "96")[0] == 0


def test_a_report_is_narrowed_down_and_sorted(vpopsql: Command) -> None:
    code, out, _ = vpopsql(
        *("report", "inactive-mailboxes", "--days", "0", "--domain", "alias.org"),
        *("--sort", "address:desc", "--limit", "2", "--format", "json", "--postmaster"),
    )

    assert code == 0
    assert [row["address"] for row in json.loads(out)["rows"]] == [
        "postmaster@example.com",
        "dave@example.com",
    ]


def test_the_list_has_every_report(vpopsql: Command) -> None:
    _, table, _ = vpopsql("report", "--list")
    _, document, _ = vpopsql("report", "--list", "--format", "json")

    assert [line.split()[0] for line in table.splitlines()] == list(REPORTS)
    assert [each["name"] for each in json.loads(document)["reports"]] == list(REPORTS)


@pytest.mark.parametrize(
    "arguments, says",
    [
        ((), "name a report"),
        (("nothing",), "no such report"),
        (("admins", "--days", "3"), "admins takes none"),
        (("admins", "--sort", "size"), "admins has no column size"),
        (("admins", "--sort", "role:up"), "COLUMN:desc"),
        (("admins", "--as-of", "2026-01-01"), "cannot be asked for the past"),
        (("admins", "--postmaster"), "does not leave postmasters out"),
        (("--list", "--format", "csv"), "a list is a table or json"),
        (("admins", "--limit", "0"), "not in the range"),
        (("admins", "--limit", str(2**63)), "not in the range"),
        (("inactive-mailboxes", "--days", "1000000"), "not in the range"),
        (("over-quota", "--percent", str(2**63)), "not in the range"),
        (("changes", "--as-of", "yesterday"), "does not match the format"),
    ],
)
def test_what_makes_no_sense_is_wrong_usage(
    vpopsql: Command, arguments: tuple[str, ...], says: str
) -> None:
    code, out, errors = vpopsql("report", *arguments)

    assert (code, out) == (2, "")
    assert says in errors


def test_an_unknown_domain_is_refused(vpopsql: Command) -> None:
    code, out, errors = vpopsql("report", "admins", "--domain", "nowhere.net")

    assert (code, out) == (3, "")
    assert "nowhere.net: no such domain" in errors


@pytest.mark.parametrize("day", ["0001-01-01", "9999-12-31"])
def test_any_day_can_be_asked_for(vpopsql: Command, day: str) -> None:
    assert vpopsql("report", "changes", "--as-of", day)[0] == 0


@pytest.mark.parametrize(
    "option, most", [("--days", "366000"), ("--percent", str(2**63 - 1)), ("--length", "2000000")]
)
def test_no_row_has_more_than_the_most(vpopsql: Command, option: str, most: str) -> None:
    name = {"--days": "never-logged-in", "--percent": "over-quota", "--length": "long-lines"}

    code, out, _ = vpopsql("report", name[option], option, most, "--format", "jsonl")

    assert code == 0
    assert all(json.loads(line).get("created_at") is None for line in out.splitlines())


def test_a_domain_that_is_gone_may_have_a_past(vpopsql: Command) -> None:
    code, out, _ = vpopsql("report", "changes", "--domain", "nowhere.net")

    assert (code, out) == (0, "nothing\n")


def test_files_can_be_asked_too(
    vpopsql: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VPOPSQL_PATHS_ROOT", str(tmp_path))
    (tmp_path / verifying.DOMAINS).mkdir(parents=True)

    code, out, _ = vpopsql("report", "missing-dirs", "--format", "jsonl", "--fail-if-rows")

    assert code == 1
    assert {json.loads(line)["code"] for line in out.splitlines()} == {"dir-missing"}


def test_a_history_is_told(vpopsql: Command) -> None:
    code, out, _ = vpopsql("history", "alice@alias.org", "--format", "json", "--limit", "1")

    assert code == 0
    ((row),) = json.loads(out)["rows"]
    assert (row["object"], row["action"], row["old"], row["new"]) == (
        "alice@example.com",
        "mod_user",
        "4098",
        "4098",
    )


def test_nothing_is_a_history_too(vpopsql: Command) -> None:
    assert vpopsql("history", "nobody@example.com")[:2] == (0, "nothing\n")
