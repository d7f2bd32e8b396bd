"""Damage of domains' and accounts' directories, and of the small files in them."""

import os
from typing import Any

import pytest

from tests.importer import support
from tests.importer.damage import DOMAIN, Unpack
from vpopsql.importer.codes import Severity


def test_what_may_not_be_read_is_named(unpack: Unpack, monkeypatch: pytest.MonkeyPatch) -> None:
    root = unpack("base")
    real_open = os.open

    def denied(path: Any, *arguments: Any, **options: Any) -> int:
        if path == b"vpasswd":
            raise PermissionError(13, "Permission denied", path)
        return real_open(path, *arguments, **options)

    monkeypatch.setattr(os, "open", denied)

    assert len(support.findings(root, "unreadable")) == 5


@pytest.mark.parametrize("place", [DOMAIN, f"{DOMAIN}/alice"])
@pytest.mark.parametrize("name", ["q\nr", "q\rr", "q\x1br", "q\x7fr"])
def test_a_dot_qmail_file_with_a_control_character_in_its_name_is_a_reject(
    unpack: Unpack, place: str, name: str
) -> None:
    root = unpack("base")
    (root / place / f".qmail-{name}").write_bytes(b"&a@b.example\n")

    _, evidence = support.read(root)

    escaped = name.encode("unicode_escape").decode()
    assert [finding.place for finding in evidence.of(Severity.REJECT)] == [
        f"{root}/{place}/.qmail-{escaped}"
    ]


@pytest.mark.parametrize("place", [DOMAIN, f"{DOMAIN}/alice"])
def test_a_dot_qmail_file_in_upper_case_is_left_since_qmail_does_not_read_it(
    unpack: Unpack, place: str
) -> None:
    root = unpack("base")
    before, _ = support.read(root)
    (root / place / ".qmail-UPPER").write_bytes(b"&a@b.example\n")

    found, evidence = support.read(root)

    assert found == before
    assert [(str(odd.code), odd.file) for odd in evidence.of(Severity.WARNING)] == [
        ("no-file", f"{root}/{place}/.qmail-UPPER")
    ]
    assert evidence.left["dot-qmail files that nothing reads"] == [f"{root}/{place}/.qmail-UPPER"]


@pytest.mark.parametrize(
    "text, findings",
    [("192.0.2.1", 0), ("2001:db8::1", 0), ("2001_db8__1", 0), ("gateway", 1), ("300.0.2.1", 1)],
)
def test_of_a_last_login_only_an_address_is_beyond_doubt(
    unpack: Unpack, text: str, findings: int
) -> None:
    root = unpack("base")
    (root / DOMAIN / "alice/lastauth").write_text(text)

    assert len(support.findings(root, "odd-lastauth")) == findings


def test_a_lastauth_that_is_no_address_is_kept_with_a_warning(unpack: Unpack) -> None:
    root = unpack("base")
    lastauth = root / DOMAIN / "alice/lastauth"
    lastauth.write_bytes(b"not an address, but something\n that goes on\n")

    found, _ = support.read(root)

    assert [odd.file for odd in support.findings(root, "odd-lastauth")] == [str(lastauth)]
    (domain,) = [domain for domain in found.domains if domain.name.name == "example.com"]
    logins = {mailbox.name: mailbox.last_auth for mailbox in domain.mailboxes}
    assert logins["alice"] is not None
    assert logins["alice"].remote_ip == "not an address, but something\n that goes on"
