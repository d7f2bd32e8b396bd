"""``vpopsql usage`` as administrators and cron run it."""

import json
import os
import re
from collections.abc import Callable

import pytest
from click.testing import Result

from tests import commands, factories
from vpopsql.db import Database
from vpopsql.model import MailboxUsage, UsageSource

Run = Callable[..., Result]

on_sqlite = pytest.mark.parametrize("_backend", ["sqlite"], indirect=True)
TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ")


def timeless(text: str) -> str:
    return TIME.sub("TIME", text)


@on_sqlite
def test_a_scan_says_what_it_came_to_and_names_what_it_could_not_measure(
    site: Database, run: Run
) -> None:
    scanned = run("usage", "scan")

    assert scanned.exit_code == 1
    assert scanned.stdout == (
        "not measured: dave@half.example: /home/vpopmail/domains/half.example/dave/Maildir:"
        " No such file or directory\n"
        "3 of 4 mailboxes measured (0 by maildirsize, 3 by counting), 0 left out, 1 could not be"
        " measured; 1.3 KiB in 3 messages\n"
    )


@on_sqlite
def test_a_scan_in_which_all_was_measured_ends_with_0(site: Database, run: Run) -> None:
    assert run("usage", "scan", "--domain", "full.example").exit_code == 0


@on_sqlite
def test_a_scan_is_told_as_json(site: Database, run: Run) -> None:
    scanned = run("usage", "scan", "--format", "json", "--max-age", "12h", "--jobs", "2")

    assert json.loads(timeless(scanned.stdout)) == {
        "began_at": "TIME",
        "ended_at": "TIME",
        "mailboxes": 4,
        "skipped": 0,
        "measured": 3,
        "by_maildirsize": 0,
        "by_count": 3,
        "bytes": 1300,
        "messages": 3,
        "domains": 3,
        "failures": [
            {
                "address": "dave@half.example",
                "reason": "/home/vpopmail/domains/half.example/dave/Maildir:"
                " No such file or directory",
            }
        ],
    }


@on_sqlite
@pytest.mark.parametrize("span", ["12 hours", "1w", "", "-", "99999999999999d"])
def test_what_is_no_time_is_refused(site: Database, run: Run, span: str) -> None:
    scanned = run("usage", "scan", "--max-age", span)

    assert scanned.exit_code == 2
    assert "no time such as 90m, 12h or 7d" in scanned.stderr


@on_sqlite
@pytest.mark.parametrize("rate", ["0", "-1", "nan", "inf", "quick"])
def test_what_is_no_rate_is_refused(site: Database, run: Run, rate: str) -> None:
    scanned = run("usage", "scan", "--rate", rate)

    assert scanned.exit_code == 2
    assert "--rate" in scanned.stderr


@on_sqlite
def test_an_unknown_domain_ends_with_3(
    site: Database, run: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    scanned = commands.run(capsys, "usage", "scan", "--domain", "no.example")

    assert (scanned.returncode, scanned.stderr) == (3, "vpopsql: no.example: no such domain\n")


@on_sqlite
def test_a_nice_scan_lets_others_go_first(
    site: Database, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[int] = []
    monkeypatch.setattr(os, "nice", asked.append)

    run("usage", "scan", "--nice", "7", "--rate", "1000")

    assert asked == [7]


def test_domains_are_shown_as_they_were_measured_last(site: Database, run: Run) -> None:
    before = run("usage", "show")
    run("usage", "scan")
    after = run("usage", "show")

    assert before.stdout == "full.example  unknown\nhalf.example  unknown\nnone.example  unknown\n"
    assert timeless(after.stdout) == (
        "full.example  300 B in 2 messages  2 of 2 mailboxes  at TIME\n"
        "half.example  at least 1000 B in 1 messages  1 of 2 mailboxes  at TIME\n"
        "none.example  0 B in 0 messages  0 of 0 mailboxes  at TIME\n"
    )


def test_the_mailboxes_of_a_domain_are_shown_with_how_full_they_are(
    site: Database, run: Run
) -> None:
    run("usage", "scan")

    full, half = run("usage", "show", "also.example"), run("usage", "show", "half.example")

    assert timeless(full.stdout) == (
        "alice@full.example  300 B in 2 messages  75.0 % of bytes  at TIME, by count\n"
        "bob@full.example  0 B in 0 messages  at TIME, by count\n"
    )
    assert timeless(half.stdout) == (
        "carol@half.example  1000 B in 1 messages  at TIME, by count\ndave@half.example  unknown\n"
    )


def test_the_newest_snapshot_of_a_mailbox_is_shown(site: Database, run: Run) -> None:
    with site.writer() as session:
        domain = factories.domain(session, "one.example")
        mailbox = factories.mailbox(session, domain, "eve")
        session.add_all(
            MailboxUsage(
                mailbox_id=mailbox.id,
                measured_at=factories.at(2026, 1, day),
                bytes=day,
                messages=1,
                source=UsageSource.MAILDIRSIZE,
            )
            for day in (2, 9, 4)
        )

    shown = run("usage", "show", "Eve@one.example", "--format", "json")

    assert json.loads(shown.stdout) == [
        {
            "address": "eve@one.example",
            "measured_at": "2026-01-09T00:00:00Z",
            "bytes": 9,
            "messages": 1,
            "source": "maildirsize",
            "quota_bytes": None,
            "quota_messages": None,
        }
    ]


@on_sqlite
def test_what_is_unknown_is_null_in_json(site: Database, run: Run) -> None:
    first = json.loads(run("usage", "show", "--format", "json").stdout)[0]

    assert first == {
        "domain": "full.example",
        "measured_at": None,
        "mailboxes": None,
        "measured": None,
        "bytes": None,
        "messages": None,
        "aliases": None,
    }


@on_sqlite
def test_a_domain_without_mailboxes_is_an_empty_list(site: Database, run: Run) -> None:
    assert json.loads(run("usage", "show", "none.example", "--format", "json").stdout) == []


@on_sqlite
def test_pruning_says_what_was_deleted(site: Database, run: Run) -> None:
    run("usage", "scan")

    assert run("usage", "prune").stdout == "0 of mailboxes, 0 of domains deleted\n"
