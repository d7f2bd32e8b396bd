"""Domains, limits and the IP map, over the wire, with qmail's files looked at."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.daemon.conftest import Running, Talk

TalkTo = Callable[..., Talk]


def lines(path: Path) -> list[str]:
    return path.read_text().splitlines()


def test_a_new_domain_receives_mail_and_has_a_postmaster(
    daemon: Running, system: Talk, root: Path, talk_to: TalkTo
) -> None:
    assert system.ask("add_domain New-Dom.org two words") == ["+OK "]

    directory = root / "home/vpopmail/domains/new-dom.org"
    assert (directory / "postmaster/Maildir/new").is_dir()
    assert (directory / ".qmail-default").read_text() == (
        "| /home/vpopmail/bin/vdelivermail '' bounce-no-mailbox\n"
    )
    assert "new-dom.org" in lines(root / "var/qmail/control/rcpthosts")
    assert "new-dom.org:new-dom.org" in lines(root / "var/qmail/control/virtualdomains")
    assert "+new-dom.org-:new-dom.org:89:89:/home/vpopmail/domains/new-dom.org:-::" in lines(
        root / "var/qmail/users/assign"
    )
    assert b"new-dom.org" in (root / "var/qmail/users/cdb").read_bytes()
    assert lines(directory / "vpasswd")[0].startswith("postmaster:$6$")
    talk_to(daemon, "postmaster@new-dom.org", "two words")


@pytest.mark.parametrize("order", ["example.com new.net", "new.net example.com"])
def test_an_alias_domain_may_be_named_in_either_order(
    daemon: Running, system: Talk, root: Path, order: str
) -> None:
    assert system.ask(f"add_alias_domain {order}") == ["+OK "]

    assert "alias new.net" in system.ask("dom_info example.com")
    assert "+new.net-:example.com:89:89:/home/vpopmail/domains/example.com:-::" in lines(
        root / "var/qmail/users/assign"
    )


def test_an_alias_domain_goes_alone(system: Talk, root: Path) -> None:
    assert system.ask("del_domain example-alias.org") == ["+OK "]

    assert "alias example-alias.org" not in system.ask("dom_info example.com")
    assert "example-alias.org" not in lines(root / "var/qmail/control/rcpthosts")
    assert (root / "home/vpopmail/domains/example.com/alice").is_dir()


def test_a_domain_goes_with_its_aliases_and_its_mail_is_in_the_trash(
    system: Talk, root: Path
) -> None:
    mail = root / "home/vpopmail/domains/example.com/alice/Maildir/new/1.mail"
    mail.write_text("keep me")

    assert system.ask("del_domain EXAMPLE.com") == ["+OK "]

    for name in ("example.com", "example-alias.org"):
        assert system.ask(f"dom_info {name}") == ["-ERR 0.1404 Domain does not exist"]
        assert name not in lines(root / "var/qmail/control/rcpthosts")
        assert f"{name}:{name}" not in lines(root / "var/qmail/control/virtualdomains")
    assert not mail.exists()
    assert [path.read_text() for path in (root / "home").rglob("1.mail")] == ["keep me"]
    assert system.ask("show_ip_map") == ["+OK+", "."]


@pytest.mark.parametrize(
    "line, answer",
    [
        ("add_domain example.com pw", "-ERR 0.804 Domain already exists"),
        ("add_domain example-alias.org pw", "-ERR 0.804 Domain already exists"),
        ("add_domain nodot pw", "-ERR 0.804 Invalid domain name"),
        ("add_domain dash-.org pw", "-ERR 0.804 Invalid domain name"),
        ("add_domain .lead.org pw", "-ERR 0.804 Invalid domain name"),
        ("add_domain a..b.org pw", "-ERR 0.804 Invalid domain name"),
        ("add_domain bad_name.org pw", "-ERR 0.804 Invalid domain name"),
        (f"add_domain {'d' * 64}.org pw", "-ERR 0.804 Invalid domain name"),
        (f"add_domain {'d' * 97}.org pw", "-ERR 0.804 domain name too long (max=96)"),
        ("add_domain x.org", "-ERR 7.803 Password Required"),
        ("add_alias_domain example.com test.com", "-ERR 0.1204 Domain already exists"),
        ("add_alias_domain no.invalid x.invalid", "-ERR 0.1204 Domain does not exist"),
        ("add_alias_domain example.com", "-ERR 14.1203 Alias Name Required"),
        ("del_domain nosuch.invalid", "-ERR 0.1303 Domain does not exist"),
    ],
)
def test_what_cannot_be_is_refused(system: Talk, line: str, answer: str) -> None:
    assert system.ask(line) == [answer]


def test_an_international_name_is_stored_as_a_labels(system: Talk) -> None:
    assert system.ask("add_domain bücher.example pw") == ["+OK "]

    assert "xn--bcher-kva.example xn--bcher-kva.example" in system.ask("list_domains")


def test_an_alias_of_an_alias_is_an_alias_of_the_real_domain(system: Talk) -> None:
    assert system.ask("add_alias_domain example-alias.org third.org") == ["+OK "]

    assert "example.com third.org" in system.ask("list_domains")


def test_the_51st_name_goes_to_morercpthosts(system: Talk, root: Path) -> None:
    for number in range(46):
        assert system.ask(f"add_alias_domain example.com a{number}.example") == ["+OK "]

    control = root / "var/qmail/control"
    assert len(lines(control / "rcpthosts")) == 50
    assert lines(control / "morercpthosts") == ["a44.example", "a45.example"]
    assert b"a45.example" in (control / "morercpthosts.cdb").read_bytes()


def test_limits_are_set_shown_and_deleted(system: Talk, root: Path) -> None:
    said = system.change(
        "set_limits empty.org",
        "max_aliases 12",
        f"default_quota {2**40}",
        "disable_pop 1",
        "perm_maillist_users 6",
        "nonsense 5",
    )

    assert said == "+OK "
    shown = system.ask("get_limits empty.org")
    assert {"max_aliases 12", f"default_quota {2**40}", "disable_pop 1"} <= set(shown)
    file = root / "home/vpopmail/domains/empty.org/.qmailadmin-limits"
    assert "maxaliases: 12" in lines(file)
    assert system.ask("del_limits empty.org") == ["+OK "]
    assert "max_aliases -1" in system.ask("get_limits empty.org")
    assert not file.exists()
    assert system.ask("del_limits empty.org") == ["+OK "]


@pytest.mark.parametrize(
    "sent, kept", [("5 ", 5), ("  7", 7), ("+8", 8), (str(2**63 - 1), 2**63 - 1), ("-1", -1)]
)
def test_a_limit_is_a_number_of_64_bits(system: Talk, sent: str, kept: int) -> None:
    assert system.change("set_limits empty.org", f"max_aliases {sent}") == "+OK "

    assert f"max_aliases {kept}" in system.ask("get_limits empty.org")


@pytest.mark.parametrize("sent", [str(2**63), "-2", "1e3", "", "\u0665"])
def test_a_limit_that_is_none_changes_nothing(system: Talk, sent: str) -> None:
    before = system.ask("get_limits empty.org")

    said = system.change("set_limits empty.org", f"max_aliases {sent}")

    assert said == "  Warning: invalid value"
    assert system.answer() == ["+OK "]
    assert system.ask("get_limits empty.org") == before


def test_a_limit_that_is_no_number_is_warned_of_and_kept(system: Talk) -> None:
    assert system.ask("set_limits limited.net") == ["+OK "]

    assert system.ask("max_aliases many", "max_forwards 9", ".") == ["  Warning: invalid value"]
    assert system.answer() == ["+OK "]
    assert {"max_aliases 1", "max_forwards 9"} <= set(system.ask("get_limits limited.net"))


def test_an_ip_address_is_mapped_to_one_domain(system: Talk, root: Path) -> None:
    assert system.ask("add_ip_map 192.0.2.7 empty.org") == ["+OK "]
    assert system.ask("add_ip_map 192.0.2.7 example-alias.org") == ["+OK "]

    assert system.ask("show_ip_map") == [
        "+OK+",
        "127.0.0.9 example.com",
        "192.0.2.7 example.com",
        ".",
    ]
    assert lines(root / "home/vpopmail/etc/ip_alias_map") == [
        "127.0.0.9 example.com",
        "192.0.2.7 example.com",
    ]
    assert system.ask("del_ip_map 192.0.2.7 wrong.org") == ["+OK "]
    assert system.ask("get_ip_map 192.0.2.7") == ["+OK+", "192.0.2.7 example.com", "."]
    assert system.ask("del_ip_map 192.0.2.7 example.com") == ["+OK "]
    assert system.ask("get_ip_map 192.0.2.7") == ["-ERR 0.3003 error"]


@pytest.mark.parametrize(
    "line, answer",
    [
        ("add_ip_map not-an-ip empty.org", "-ERR 0.3105 Invalid IP address"),
        ("add_ip_map 192.0.2.7 nosuch.invalid", "-ERR 38.3104 Invalid Domain"),
        ("add_ip_map 192.0.2.7", "-ERR 13.3103 Domain Required"),
        ("del_ip_map", "-ERR 37.3202 IP Required"),
    ],
)
def test_a_mapping_that_cannot_be_is_refused(system: Talk, line: str, answer: str) -> None:
    assert system.ask(line) == [answer]
