"""valias and vipmap."""

import pytest

from tests.compat.conftest import Site

DOMAINS = "/home/vpopmail/domains"
SQLITE = pytest.mark.parametrize("_backend", ["sqlite"], indirect=True)


def test_an_alias_gets_lines_and_is_deleted(site: Site) -> None:
    file = site.path(f"{DOMAINS}/example.com/.qmail-hello:world")
    first = site.run("valias", "-i", "&alice@example.com", "hello.world@example-alias.org")
    second = site.run("valias", "hello.world@example.com", "-i", "|/bin/true")
    again = site.run("valias", "-i", "|/bin/true", "hello.world@example.com")
    shown = site.run("valias", "-s", "hello.world@example.com").lines
    written = file.read_text()
    deleted = site.run("valias", "-d", "hello.world@example.com")

    assert [each.status for each in (first, second, again, deleted)] == [0, 0, 0, 0]
    assert shown == [
        "hello.world@example.com -> &alice@example.com",
        "hello.world@example.com -> |/bin/true",
    ]
    assert written == "&alice@example.com\n|/bin/true\n"
    assert not file.exists()
    assert site.run("valias", "hello.world@example.com").lines == [
        "No aliases found for hello.world@example.com"
    ]
    assert site.last_audit()[1:3] == ("cli", "delete_alias")


@SQLITE
def test_an_alias_that_says_nothing_is_refused(site: Site) -> None:
    refused = site.run("valias", "-i", "no address", "hello@example.com")

    assert (refused.status, refused.lines) == (1, ["Error: Invalid alias"])


def test_addresses_are_mapped_to_domains(site: Site) -> None:
    file = site.path("/home/vpopmail/etc/ip_alias_map")
    mapped = site.run("vipmap", "-a", "192.0.2.4", "example-alias.org")
    again = site.run("vipmap", "-a", "127.0.0.9", "test.com")
    shown = site.run("vipmap", "-p").lines
    written = file.read_text()
    forgotten = site.run("vipmap", "-d", "127.0.0.9", "test.com")

    assert [each.status for each in (mapped, again, forgotten)] == [0, 0, 0]
    assert shown == ["127.0.0.9 test.com", "192.0.2.4 example.com"]
    assert written.split() == ["127.0.0.9", "test.com", "192.0.2.4", "example.com"]
    assert site.run("vipmap", "-p").lines == ["192.0.2.4 example.com"]


@SQLITE
def test_no_address_is_mapped_to_no_domain(site: Site) -> None:
    assert site.run("vipmap", "-a", "300.1.1.1", "test.com").lines == [
        "Error: Invalid IP address: 300.1.1.1"
    ]
    assert site.run("vipmap", "-a", "192.0.2.4", "nowhere.example").lines == [
        "Error: Domain does not exist"
    ]
