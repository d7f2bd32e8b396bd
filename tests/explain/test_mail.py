"""What happens to mail: every kind of address, on a site that has one of each."""

import pytest

from tests import factories
from tests.explain.conftest import Sample
from vpopsql.db import Database
from vpopsql.errors import InvalidAddress
from vpopsql.explain.explanation import explain
from vpopsql.explain.result import Explanation
from vpopsql.explain.rows import Build, read_site

HOME = "/home/vpopmail/domains"
QMAIL_EXT = Build(qmail_ext=True)
ALICE = ("maildir", f"{HOME}/example.com/alice/Maildir/")


def ends(found: Explanation) -> list[tuple[str, str]]:
    return [(delivery.kind.value, delivery.target) for delivery in found.deliveries]


def wrong(found: Explanation) -> list[str]:
    return [defect.code.value for defect in found.defects]


@pytest.mark.parametrize(
    "address, verdict, expected",
    [
        ("alice@example.com", "delivered", [ALICE]),
        ("Alice@EXAMPLE.com.", "delivered", [ALICE]),
        ("alice@example.org", "delivered", [ALICE]),
        ("alice@www.example.com", "delivered", [ALICE]),
        ("alice", "delivered", [ALICE]),
        ("alice%example.com", "delivered", [ALICE]),
        ("alice@[192.0.2.1]", "delivered", [ALICE]),
        ("info@example.com", "delivered", [ALICE]),
        ("INFO@example.org", "delivered", [ALICE]),
        ("shouting@example.com", "delivered", [ALICE]),
        ("other-name@example.com", "delivered", [ALICE]),
        ("twice@example.com", "delivered", [ALICE]),
        (
            "team@example.com",
            "delivered",
            [ALICE, ("bounce", "bob@example.com"), ("remote", "far@elsewhere.example")],
        ),
        ("bob@example.com", "bounced", [("bounce", "bob@example.com")]),
        ("nobody@example.com", "bounced", [("bounce", "nobody@example.com")]),
        ("alice-ext@example.com", "bounced", [("bounce", "alice-ext@example.com")]),
        (
            "first-last@example.com",
            "delivered",
            [("maildir", f"{HOME}/example.com/first-last/Maildir/")],
        ),
        ("sales-europe@example.com", "delivered", [ALICE]),
        ("sales-@example.com", "delivered", [ALICE]),
        ("sales@example.com", "bounced", [("bounce", "sales@example.com")]),
        ("again-alice@example.com", "bounced", [("bounce", "again-alice@example.com")]),
        ("first.last@example.com", "delivered", [ALICE]),
        ("shadowed@example.com", "delivered", [ALICE]),
        ("hole@example.com", "discarded", [("discard", f"{HOME}/example.com/.qmail-hole")]),
        ("empty@example.com", "delivered", [("mbox", f"{HOME}/example.com/")]),
        (
            "ticket@example.com",
            "delivered",
            [("program", "/usr/local/bin/ticket --queue new")],
        ),
        (
            "list@example.com",
            "delivered",
            [("program", f"/usr/bin/ezmlm/ezmlm-send '{HOME}/example.com/list'")],
        ),
        (
            "robot@example.com",
            "delivered",
            [("program", "/usr/bin/autorespond 10000 5 /home/x/message /home/x")],
        ),
        ("box@example.com", "delivered", [("maildir", f"{HOME}/example.com/bob/Maildir/")]),
        ("mbox@example.com", "delivered", [("mbox", "/var/mail/shared")]),
        ("bare@example.com", "delivered", [("system", "postmaster")]),
        ("carol@example.com", "delivered", [("remote", "carol@elsewhere.example")]),
        ("dave@example.com", "discarded", [("discard", f"{HOME}/example.com/dave/.qmail")]),
        ("frank@example.com", "delivered", [("maildir", f"{HOME}/example.com/frank/Maildir/")]),
        (
            "grace@example.com",
            "delivered",
            [("maildir", f"{HOME}/example.com/grace/Maildir/"), ALICE],
        ),
        (
            "ivan@example.com",
            "delivered",
            [
                ("program", "/usr/bin/autorespond 1 1 m d"),
                ("maildir", f"{HOME}/example.com/ivan/Maildir/"),
            ],
        ),
        ("judy@example.com", "delivered", [ALICE]),
        ("nobody@delete.example", "discarded", [("discard", "nobody@delete.example")]),
        ("a%b@delete.example", "bounced", [("bounce", "a%b@delete.example")]),
        ("nobody@both.example", "discarded", [("discard", "nobody@both.example")]),
        ("a/b@example.com", "bounced", [("bounce", "a/b@example.com")]),
        ("delete.example", "discarded", [("discard", "delete.example")]),
        ("example.org", "bounced", [("bounce", "example.org")]),
        ("nobody@address.example", "delivered", [ALICE]),
        ("caught@example.com", "delivered", [ALICE]),
        (
            "nobody@directory.example",
            "delivered",
            [("maildir", f"{HOME}/directory.example/all/Maildir/")],
        ),
        ("all@directory.example", "bounced", [("bounce", "all@directory.example")]),
        ("nobody@spool.example", "delivered", [("maildir", "/srv/spool/Maildir/")]),
        ("nobody@none.example", "bounced", [("bounce", "nobody@none.example")]),
        ("alice@odd1.example", "delivered", [("program", "/usr/bin/maildrop")]),
        (
            "alice@odd2.example",
            "delivered",
            [("maildir", f"{HOME}/odd2.example/alice/Maildir/")],
        ),
        ("nobody@odd2.example", "discarded", [("discard", "nobody@odd2.example")]),
    ],
)
def test_mail_ends_where_qmail_and_vdelivermail_put_it(
    crossed: Sample, address: str, verdict: str, expected: list[tuple[str, str]]
) -> None:
    found = crossed.explain(address)

    assert (found.verdict.value, ends(found), wrong(found)) == (verdict, expected, [])


@pytest.mark.parametrize(
    "address, expected",
    [
        ("joe@gmail.example", [("refused", "joe@gmail.example")]),
        ("gmail.example", [("refused", "gmail.example")]),
        ("joe@MÜNCHEN.example", [("refused", "joe@xn--mnchen-3ya.example")]),
        (f"joe@{'ü' * 70}.example", [("refused", f"joe@{'ü' * 70}.example")]),
        ("alice@[192.0.2.9]", [("refused", "alice@[192.0.2.9]")]),
        ("joe@relay.example", [("remote", "joe@relay.example")]),
        ("joe@deep.suffix.example", [("remote", "joe@deep.suffix.example")]),
        ("joe@suffix.example", [("refused", "joe@suffix.example")]),
        ("joe@here.example", [("system", "joe")]),
        ("dev@lists.example", [("system", "lists-dev")]),
        ("away@example.com", [("system", "ezmlm-away")]),
        ("exempt@example.com", [("remote", "exempt@example.com")]),
    ],
)
def test_what_is_not_ours_is_said_to_be_so(
    crossed: Sample, address: str, expected: list[tuple[str, str]]
) -> None:
    found = crossed.explain(address)

    assert (found.verdict.value, ends(found), wrong(found)) == ("foreign", expected, [])
    assert found.exit_code == 1


@pytest.mark.parametrize(
    "address, end",
    [
        ("special@example.com", ("system", "example.com-special")),
        ("tickets-new@example.com", ("system", "example.com-tickets-new")),
    ],
)
def test_a_line_of_users_assign_that_is_not_ours_goes_before_the_domains(
    crossed: Sample, address: str, end: tuple[str, str]
) -> None:
    found = crossed.explain(address)

    assert ends(found) == [end]
    assert [step.kind.value for step in found.steps] == ["accept", "route", "assign"]


@pytest.mark.parametrize(
    "address, verdict, code, what",
    [
        (
            "ping@example.com",
            "bounced",
            "loop",
            "pong@example.com -> ping@example.org -> pong@example.com",
        ),
        (
            "self@example.com",
            "delivered",
            "loop",
            "self@example.com -> self@example.com",
        ),
        (
            "nobody@circle.example",
            "bounced",
            "loop",
            "nobody@circle.example -> nobody@circle.example",
        ),
        (
            "somebody@circle.example",
            "bounced",
            "loop",
            "nobody@circle.example -> nobody@circle.example",
        ),
        (
            "lost@example.com",
            "bounced",
            "dangling",
            ".qmail-lost, line 1 leads to nobody@example.com, which there is not",
        ),
        (
            "swallowed@example.com",
            "discarded",
            "dangling",
            ".qmail-swallowed, line 1 leads to nobody@delete.example, which there is not",
        ),
        (
            "blank@example.com",
            "deferred",
            "bad-line",
            f"the first line of {HOME}/example.com/.qmail-blank is blank",
        ),
        (
            "erin@example.com",
            "deferred",
            "bad-line",
            f"{HOME}/example.com/erin/.qmail, line 1: /var/mail/erin is no Maildir",
        ),
        (
            "heidi@example.com",
            "deferred",
            "bad-line",
            f"{HOME}/example.com/heidi/.qmail, line 1: ./Maildir/  is no Maildir",
        ),
        (
            "alice@odd3.example",
            "deferred",
            "bad-line",
            f"{HOME}/odd3.example/.qmail-default calls vdelivermail without two arguments",
        ),
        (
            "alice@none.example",
            "bounced",
            "no-vdelivermail",
            "there is a mailbox, but no .qmail-default of none.example runs vdelivermail for it",
        ),
        (
            "link@example.com",
            "bounced",
            "dangling-link",
            (
                f"{HOME}/example.com/.qmail-link is a link to /nowhere, which is no file:"
                " it is passed over"
            ),
        ),
    ],
)
def test_what_nobody_can_have_meant_is_a_defect(
    crossed: Sample, address: str, verdict: str, code: str, what: str
) -> None:
    found = crossed.explain(address)

    assert found.verdict.value == verdict
    assert [(defect.code.value, defect.what) for defect in found.defects] == [(code, what)]
    assert found.exit_code == 2


def test_an_address_that_begins_like_another_domain_is_that_domains(crossed: Sample) -> None:
    found = crossed.explain("er.example-joe@short")

    assert [(delivery.target, delivery.reason) for delivery in found.deliveries] == [
        (
            "short-er.example-joe",
            "the files of short-er.example decide: its name begins like the address",
        )
    ]


def test_an_extension_is_the_mailboxes_if_vpopmail_was_built_so(crossed: Sample) -> None:
    found = crossed.explain("alice-ext@example.com", build=QMAIL_EXT)

    assert ends(found) == [ALICE]


def test_it_is_said_what_an_extension_would_be_good_for(crossed: Sample) -> None:
    found = crossed.explain("alice-ext@example.com")

    assert [step.result for step in found.steps if step.kind == "mailbox"] == [
        "example.com has none; built with --enable-qmail-ext, vpopmail would give it to alice"
    ]


def test_an_extension_has_a_file_of_its_own_in_the_mailbox(crossed: Sample) -> None:
    found = crossed.explain("ext-x@example.com", build=QMAIL_EXT)
    other = crossed.explain("ext-y@example.com", build=QMAIL_EXT)

    assert ends(found) == [("remote", "e@elsewhere.example")]
    assert ends(other) == [("maildir", f"{HOME}/example.com/ext/Maildir/")]


def test_the_way_of_a_copy_is_told(crossed: Sample) -> None:
    found = crossed.explain("team@example.com")

    assert [tuple(map(str, delivery.via)) for delivery in found.deliveries] == [
        ("team@example.com", "info@example.com", "alice@example.com"),
        ("team@example.com", "bob@example.com"),
        ("team@example.com", "far@elsewhere.example"),
    ]


def test_a_second_copy_is_not_explained_twice(crossed: Sample) -> None:
    found = crossed.explain("twice@example.com")

    assert [(str(step.address), step.kind.value) for step in found.steps] == [
        ("twice@example.com", "accept"),
        ("twice@example.com", "route"),
        ("twice@example.com", "assign"),
        ("twice@example.com", "dotqmail"),
        ("twice@example.com", "line"),
        ("twice@example.com", "line"),
        ("alice@example.com", "dotqmail"),
        ("alice@example.com", "line"),
        ("alice@example.com", "mailbox"),
        ("alice@example.com", "dotqmail"),
        ("alice@example.com", "quota"),
        ("alice@example.com", "filter"),
        ("info@example.com", "dotqmail"),
        ("info@example.com", "line"),
        ("info@example.com", "again"),
    ]


def test_which_of_two_files_accepts_a_domain_made_here_depends_on_the_others(
    database: Database,
) -> None:
    with database.writer() as session:
        factories.domain(session, "new.example", created_at=factories.at(2026, 1, 2))

    with database.snapshot() as session:
        site = read_site(session, "/home/vpopmail", "/var/qmail")
        found = explain(session, "new.example", site)

    assert found.steps[0].result == (
        "accepted: rcpthosts or, beyond its 50th line, morercpthosts has it"
    )


def test_a_file_that_hides_a_mailbox_is_said_to(crossed: Sample) -> None:
    found = crossed.explain("shadowed@example.com")

    assert next(step.result for step in found.steps if step.kind == "dotqmail") == (
        ".qmail-shadowed is found: it goes before the mailbox of the same name"
    )


def test_the_files_are_looked_for_in_qmails_order(crossed: Sample) -> None:
    found = crossed.explain("sales-europe-x.y@example.com")

    assert next(step.what for step in found.steps if step.kind == "dotqmail") == (
        "qmail-local looks for .qmail-sales-europe-x:y, .qmail-sales-europe-default,"
        f" .qmail-sales-default, .qmail-default in {HOME}/example.com"
    )


def test_limits_of_the_domain_filter_whoever_is_above_them(crossed: Sample) -> None:
    found = crossed.explain("boss@limited.example")

    assert [step.result for step in found.steps if step.kind == "filter"] == [
        (
            "SpamAssassin is not asked (disable_spamassassin of domain_limits), spam is deleted"
            " (delete_spam of domain_limits); maildrop is not run (disable_maildrop of"
            " domain_limits)"
        )
    ]


def test_the_quota_is_told_in_bytes_and_messages(crossed: Sample) -> None:
    found = crossed.explain("full@example.com")

    assert [step.result for step in found.steps if step.kind == "quota"] == [
        "at most 1000 bytes and 10 messages"
    ]


@pytest.mark.parametrize("text", ["", "  ", "@", "a@", "a\n@example.com", "x" * 901])
def test_what_is_no_address_is_refused(crossed: Sample, text: str) -> None:
    with pytest.raises(InvalidAddress):
        crossed.explain(text)
