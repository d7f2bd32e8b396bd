"""``vpopsql explain`` as an administrator runs it."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from jsonschema import Draft202012Validator
from sqlalchemy import select

from tests import factories
from tests.explain import crossing
from tests.explain.conftest import Sample
from vpopsql.cli import cli
from vpopsql.explain.listing import VERSION, as_object
from vpopsql.explain.result import DefectCode, DeliveryKind, State, StepKind, Verdict
from vpopsql.model import Mailbox

ON_SQLITE = pytest.mark.parametrize("backend", ["sqlite"], indirect=True)

DOCS = Path(__file__).parents[2] / "docs"
SCHEMA = DOCS / "explain.schema.json"

ADDRESSES = [
    *(f"{name}@example.com" for name in (*crossing.ALIASES, *crossing.MAILBOX_FILES)),
    *("alice", "bob@example.org", "full@example.com", "nobody@example.com", "alice@[192.0.2.1]"),
    *(f"x@{name}.example" for name in ("delete", "address", "circle", "directory", "spool")),
    *(f"x@{name}.example" for name in ("none", "odd1", "odd2", "odd3", "else", "relay", "here")),
    *(f"{name}@limited.example" for name in ("alice", "boss", "root", "clear", "odd", "locked")),
    *("example.org", "limited.example", "else.example", "special@example.com", "link@example.com"),
    *("away@example.com", "exempt@example.com", "dev@lists.example", "caf\udce9@example.com"),
]


@pytest.fixture(scope="module")
def schema() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(SCHEMA.read_text(encoding="utf-8"))
    return found


def run(site: Sample, *arguments: str, **settings: str) -> Result:
    environment = {"VPOPSQL_DATABASE_URL": site.url, "VPOPSQL_PATHS_ROOT": str(site.root)}
    environment |= {f"VPOPSQL_{key.upper()}": value for key, value in settings.items()}
    return CliRunner().invoke(cli, ["explain", *arguments], env=environment)


def test_the_way_comes_first_and_the_result_last(base: Sample) -> None:
    done = run(base, "info@example-alias.org", "--no-files")

    assert done.exit_code == 0
    assert done.stdout == (Path(__file__).parent / "info.txt").read_text(encoding="utf-8")


def test_what_an_account_is_stands_before_the_result(crossed: Sample) -> None:
    done = run(crossed, "boss@limited.example", "--no-files")

    assert done.exit_code == 0
    lines = done.stdout.splitlines()
    assert lines[lines.index("Logins of boss@limited.example") :] == [
        "Logins of boss@limited.example",
        "  password        md5-crypt, not stored as it is",
        "  administers     domain: it has QA_ADMIN",
        "  flags           QA_ADMIN V_OVERRIDE",
        "  kind            normal",
        "  quota           no limit",
        "  pop3            yes: V_OVERRIDE keeps disable_pop of domain_limits off",
        "  imap            yes",
        "  smtp            yes",
        "  relay           yes",
        "  webmail         yes: V_OVERRIDE keeps disable_webmail of domain_limits off",
        "  dialup          yes",
        "  password-change yes",
        "  vpopmaild       yes",
        "  cram-md5        no: the password is not stored as it is",
        "  apop            no: the password is not stored as it is",
        "  last login      not known",
        "",
        "Limits of limited.example (domain_limits)",
        "  max_popaccounts             5",
        "  disable_pop                 yes",
        "  disable_webmail             yes",
        "  disable_spamassassin        yes",
        "  delete_spam                 yes",
        "  disable_maildrop            yes",
        "",
        "boss@limited.example: delivered",
        (
            "  maildir  /home/vpopmail/domains/limited.example/boss/Maildir/: the mailbox"
            " boss@limited.example"
        ),
    ]


@pytest.mark.parametrize(
    "arguments, code",
    [
        (["alice@example.com", "--no-files"], 0),
        (["nobody@delete.example", "--no-files"], 1),
        (["nobody@example.com", "--no-files"], 1),
        (["joe@else.example", "--no-files"], 1),
        (["self@example.com", "--no-files"], 2),
        (["alice@example.com"], 2),
        (["alice@@", "--no-files"], 3),
        (["alice@example.com", "--format", "xml"], 3),
        ([], 3),
    ],
)
def test_the_exit_code_tells_scripts_what_became_of_it(
    crossed: Sample, arguments: list[str], code: int
) -> None:
    done = run(crossed, *arguments)

    # `main` makes 3 of every refusal; the runner of the test only sees it raised.
    assert (done.exit_code if isinstance(done.exception, SystemExit | None) else 3) == code


def test_a_domain_alone_is_about_the_names_that_it_has_not(crossed: Sample) -> None:
    done = run(crossed, "DELETE.example", "--no-files")

    lines = done.stdout.splitlines()
    assert lines[0] == "Mail for names that delete.example does not have"
    assert lines[-4:] == [
        "delete.example has no mailbox postmaster",
        "",
        "delete.example: discarded: it is accepted, and nobody gets it",
        "  discard  delete.example: the domain deletes mail for names it has not",
    ]


def test_delivery_is_explained_as_it_is_configured(crossed: Sample) -> None:
    usual = run(crossed, "alice@example.com", "--no-files")
    exact = run(crossed, "alice@example.com", "--no-files", export_delivery="exact")
    quota = run(
        crossed,
        "full@example.com",
        export_delivery="exact",
        export_exact_despite_quota="true",
        export_assign_cdb="assign.cdb",
    )

    own = "found by a line of its own: qmail delivers in"
    assert own not in usual.stdout
    assert f"{own} /home/vpopmail/domains/example.com/alice" in exact.stdout
    assert f"{own} /home/vpopmail/domains/example.com/full" in quota.stdout
    assert "/var/qmail/users/assign.cdb [MISSING" in quota.stdout


def test_a_defect_is_told_with_what_to_do(crossed: Sample) -> None:
    done = run(crossed, "lost@example.com", "--no-files")

    assert done.stdout.splitlines()[-6:] == [
        "Wrong",
        "  dangling: .qmail-lost, line 1 leads to nobody@example.com, which there is not",
        "    make nobody@example.com, or change the line",
        "",
        "lost@example.com: bounced",
        "  bounce   nobody@example.com: no mailbox here by that name",
    ]


def test_control_characters_do_not_reach_the_terminal(crossed: Sample) -> None:
    done = run(crossed, "x\x1b[2J@example.com", "--no-files")

    assert "\x1b" not in done.stdout
    assert "x\\x1b[2j@example.com: bounced" in done.stdout


def test_the_schema_is_of_the_version_that_is_written(schema: dict[str, Any]) -> None:
    assert schema["$defs"]["explanation"]["properties"]["version"]["const"] == VERSION
    assert schema["$id"].endswith(f":{VERSION}")


@ON_SQLITE
@pytest.mark.parametrize("address", ADDRESSES)
def test_what_is_written_as_json_is_valid(
    crossed: Sample, schema: dict[str, Any], address: str
) -> None:
    found = as_object(crossed.explain(address, read_files=True), files_read=True)

    told = json.loads(json.dumps(found))
    assert [error.message for error in Draft202012Validator(schema).iter_errors(told)] == []


def test_the_json_of_a_whole_address(base: Sample, schema: dict[str, Any]) -> None:
    done = run(base, "carol@example.com", "--format", "json", "--no-files")

    found = json.loads(done.stdout)
    assert [error.message for error in Draft202012Validator(schema).iter_errors(found)] == []
    assert found == json.loads((Path(__file__).parent / "carol.json").read_text(encoding="utf-8"))


@pytest.mark.parametrize(
    "kind, words",
    [
        ("steps", StepKind),
        ("deliveries", DeliveryKind),
        ("defects", DefectCode),
    ],
)
def test_the_schema_has_every_word(schema: dict[str, Any], kind: str, words: Any) -> None:
    places = {"steps": ("step", "step"), "deliveries": ("delivery", "kind")}
    part, name = places.get(kind, ("defect", "code"))

    assert schema["$defs"][part]["properties"][name]["enum"] == [word.value for word in words]


def test_the_schema_has_every_state_and_verdict(schema: dict[str, Any]) -> None:
    parts = schema["$defs"]

    assert parts["files"]["items"]["properties"]["state"]["enum"] == [s.value for s in State]
    assert parts["explanation"]["properties"]["verdict"]["enum"] == [v.value for v in Verdict]


def test_every_defect_is_explained_in_the_manual() -> None:
    page = (DOCS / "explain.md").read_text(encoding="utf-8")

    assert re.findall(r"^\| `([a-z-]+)` \|", page, re.MULTILINE)[-len(DefectCode) :] == [
        code.value for code in DefectCode
    ]


@ON_SQLITE
@pytest.mark.parametrize("output", ["text", "json"])
def test_no_password_and_no_hash_is_ever_shown(small: Sample, output: str) -> None:
    with small.database.snapshot() as session:
        accounts = session.execute(
            select(Mailbox.name, Mailbox.password_hash, Mailbox.clear_text).where(
                Mailbox.directory.like("%/north.example/%"), Mailbox.clear_text != ""
            )
        ).all()

    shown = "".join(
        run(small, f"{name}@north.example", "--format", output).stdout for name, *_ in accounts
    )

    assert len(accounts) > 20
    assert len(shown) > 20_000
    assert [name for name, hash_, _ in accounts if hash_ in shown] == []
    assert [name for name, _, clear in accounts if clear and clear in shown] == []


def test_no_secret_is_in_what_an_error_or_a_debugger_shows(crossed: Sample) -> None:
    found = crossed.explain("clear@limited.example")

    assert found.account is not None
    assert found.account.claims
    assert factories.PASSWORD_HASH not in repr(found)
    assert "right horse" not in repr(found)
