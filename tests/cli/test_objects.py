"""The other nouns, end to end."""

import pytest

from tests.cli.conftest import DOMAIN, Site, on_sqlite

pytestmark = on_sqlite


def test_a_domain_comes_and_goes_with_all_in_it(site: Site) -> None:
    site.ok("domain", "add", "Test.com", "--password-stdin", "--alias=test.org", stdin="secret")

    rcpthosts = site.root / "var/qmail/control/rcpthosts"
    assert rcpthosts.read_text().split() == ["alias.org", "example.com", "test.com", "test.org"]
    assert [row["domain"] for row in site.rows("domain", "list")] == ["example.com", "test.com"]
    assert site.show("domain", "show", "test.org")["users"] == 1
    site.verified()
    assert "alias-domain delete" in site.refused("domain", "delete", "test.org")
    assert "Aborted" in site.refused("domain", "delete", "test.com", stdin="n\n")

    site.ok("domain", "delete", "test.com", "--yes")

    assert rcpthosts.read_text().split() == ["alias.org", "example.com"]
    site.verified()


def test_domain_names_that_cannot_be_are_refused(site: Site) -> None:
    assert "already" in site.refused("domain", "add", "alias.org", "--generate")
    assert "no domain may be called so" in site.refused("domain", "add", "example", "--generate")
    assert "is no name of a domain" in site.misused("domain", "add", "ex ample.org", "--generate")
    assert "no such domain: exemple.com; did you mean example.com?" in site.refused(
        "domain", "show", "exemple.com"
    )


def test_international_names_are_stored_as_they_are_on_the_wire(site: Site) -> None:
    site.ok("domain", "add", "bücher.example", "--generate")

    assert site.show("domain", "show", "BÜCHER.example")["domain"] == "xn--bcher-kva.example"


def test_an_alias_domain_comes_changes_and_goes(site: Site) -> None:
    site.ok("domain", "add", "test.com", "--generate")
    site.ok("alias-domain", "add", "second.org", "example.com")
    site.ok("alias-domain", "modify", "second.org", "--domain", "test.com")
    site.ok("alias-domain", "rename", "second.org", "third.org")

    assert site.rows("alias-domain", "list") == [
        {"alias": "alias.org", "domain": "example.com"},
        {"alias": "third.org", "domain": "test.com"},
    ]
    assert "+third.org-:test.com:" in (site.root / "var/qmail/users/assign").read_text()
    site.verified()
    assert "domain of its own" in site.refused("alias-domain", "delete", "example.com")
    assert "already" in site.refused("alias-domain", "add", "example.com", "test.com")

    site.ok("alias-domain", "delete", "third.org", "alias.org")

    assert site.rows("alias-domain", "list") == []
    site.verified()


def test_an_alias_comes_changes_and_goes(site: Site) -> None:
    site.ok("alias", "add", "info@alias.org", "alice@example.com", "x@y.org")
    site.ok("alias", "modify", "info@example.com", "--add", "z@y.org", "--remove", "x@y.org")
    site.ok("alias", "rename", "info@example.com", "sales.team@example.com")

    assert (site.root / DOMAIN / ".qmail-sales:team").read_text() == (
        "&alice@example.com\n&z@y.org\n"
    )
    assert not (site.root / DOMAIN / ".qmail-info").exists()
    site.verified()

    site.ok("alias", "modify", "sales.team@example.com", "--to", "bob@example.com")
    assert site.show("alias", "show", "sales.team@example.com")["destinations"] == [
        "&bob@example.com"
    ]
    site.ok("alias", "delete", "sales.team@alias.org")

    assert not (site.root / DOMAIN / ".qmail-sales:team").exists()
    site.verified()


def test_aliases_that_cannot_be_are_refused(site: Site) -> None:
    site.ok("alias", "add", "info@example.com", "alice@example.com")

    assert "neither an address" in site.refused("alias", "add", "x@example.com", "nobody")
    assert "see `vpopsql catchall`" in site.refused("alias", "delete", "default@example.com")
    assert "did you mean info@" in site.refused("alias", "delete", "infi@example.com")
    assert "is a user" in site.refused("alias", "rename", "info@example.com", "alice@example.com")
    assert "does not lead to" in site.refused(
        "alias", "modify", "info@example.com", "--remove", "x@y.org"
    )
    assert "say where" in site.misused("alias", "add", "x@example.com")
    warned = site.ok("alias", "add", "bob@example.com", "alice@example.com")
    assert "mail for the user bob@example.com goes to the alias" in warned.err


def test_a_forward_comes_changes_and_goes(site: Site) -> None:
    dotqmail = site.root / DOMAIN / "alice/.qmail"
    box = f"/{DOMAIN}/alice/Maildir/"

    site.ok("forward", "add", "alice@example.com", "x@y.org")
    assert dotqmail.read_text() == "&x@y.org\n"
    assert site.show("forward", "show", "alice@example.com")["copy"] is False
    site.ok("forward", "modify", "alice@example.com", "--copy")
    site.ok("forward", "add", "alice@alias.org", "z@y.org")
    assert dotqmail.read_text() == f"{box}\n&x@y.org\n&z@y.org\n"
    assert [row["destination"] for row in site.rows("forward", "list")] == [
        box,
        "&x@y.org",
        "&z@y.org",
    ]
    site.verified()
    assert "no forward to q@y.org" in site.refused(
        "forward", "delete", "alice@example.com", "q@y.org"
    )

    site.ok("forward", "delete", "alice@example.com", "x@y.org")
    assert site.show("forward", "show", "alice@example.com") == {
        "address": "alice@example.com",
        "forwards": ["z@y.org"],
        "others": [],
        "copy": True,
    }
    site.ok("forward", "delete", "alice@example.com")

    assert not dotqmail.exists()
    site.verified()
    assert "has no forward" in site.refused("forward", "delete", "alice@example.com")


def test_a_robot_stays_when_forwards_go(site: Site) -> None:
    robot = "|/usr/bin/vacation alice"
    site.ok("forward", "add", "alice@example.com", "x@y.org", robot, "--copy")

    site.ok("forward", "delete", "alice@example.com")

    assert site.show("forward", "show", "alice@example.com")["others"] == [robot]
    site.verified()


@pytest.mark.parametrize(
    "what, line",
    [
        ("delete", "| /home/vpopmail/bin/vdelivermail '' delete\n"),
        ("bob@example.com", "| /home/vpopmail/bin/vdelivermail '' bob@example.com\n"),
        (f"/{DOMAIN}/bob", f"| /home/vpopmail/bin/vdelivermail '' /{DOMAIN}/bob\n"),
    ],
)
def test_a_catch_all_is_a_line_of_qmail_default(site: Site, what: str, line: str) -> None:
    site.ok("catchall", "modify", "example.com", what)

    assert (site.root / DOMAIN / ".qmail-default").read_text() == line
    assert site.show("catchall", "show", "alias.org")["lines"] == [line.rstrip()]
    site.verified()


def test_a_catch_all_can_be_none_and_not_nobody(site: Site) -> None:
    assert "no such user" in site.refused("catchall", "modify", "example.com", "x@example.com")
    assert "or bounce, delete, none" in site.misused("catchall", "modify", "example.com", "no")

    site.ok("domain", "modify", "example.com", "--catchall", "none")

    assert not (site.root / DOMAIN / ".qmail-default").exists()
    assert site.rows("catchall", "list")[0]["catchall"] == "none"
    site.verified()
    site.ok("catchall", "modify", "example.com", "bob@example.com")
    assert "see `vpopsql catchall`" in site.refused("user", "delete", "bob@example.com")


def test_limits_are_set_shown_and_dropped(site: Site) -> None:
    limits = site.root / DOMAIN / ".qmailadmin-limits"

    site.ok("limits", "modify", "example.com", "max_popaccounts=9", "disable_pop=1")
    site.ok("limits", "modify", "--default", "max_aliases=4")

    assert "maxpopaccounts: 9" in limits.read_text()
    assert site.show("limits", "show", "alias.org")["disable_pop"] is True
    assert site.show("limits", "show", "--default")["max_aliases"] == 4
    assert site.rows("limits", "list")[0]["max_popaccounts"] == 9
    assert "max_popaccounts=9 disable_pop=1" in site.ok("limits", "list").out
    assert "maxaliases: 4" in (site.root / "home/vpopmail/etc/vlimits.default").read_text()
    site.verified()

    site.ok("limits", "delete", "example.com")

    assert not limits.exists()
    assert site.show("limits", "show", "example.com")["max_aliases"] == 4
    site.verified()
    assert "Did you mean max_aliases" in site.misused(
        "limits", "modify", "--default", "max_alias=1"
    )
    assert "cannot be 'many'" in site.misused("limits", "modify", "x.org", "max_aliases=many")
    assert "or give --default" in site.misused("limits", "show")


def test_the_ip_map_is_a_file(site: Site) -> None:
    site.ok("domain", "add", "test.com", "--generate")
    site.ok("ipmap", "add", "2001:DB8::1", "alias.org")
    site.ok("ipmap", "add", "192.0.2.1", "example.com")
    site.ok("ipmap", "modify", "192.0.2.1", "test.com")

    assert site.rows("ipmap", "list") == [
        {"ip": "192.0.2.1", "domain": "test.com"},
        {"ip": "2001:db8::1", "domain": "example.com"},
    ]
    assert "192.0.2.1 test.com" in (site.root / "home/vpopmail/etc/ip_alias_map").read_text()
    site.verified()
    assert "see `vpopsql ipmap modify`" in site.refused("ipmap", "add", "192.0.2.1", "test.com")
    assert "no domain is mapped" in site.refused("ipmap", "modify", "192.0.2.7", "test.com")
    assert "no IP address" in site.refused("ipmap", "add", "192.0.2", "test.com")

    site.ok("ipmap", "delete", "192.0.2.1", "2001:db8::1")

    assert site.rows("ipmap", "list") == []
    site.verified()


def test_flags_and_quotas_are_set_and_taken_away(site: Site) -> None:
    site.ok("flag", "add", "alice@example.com", "no_pop", "domain-admin-privileges")
    site.ok("flag", "delete", "alice@example.com", "no_pop")
    site.ok("quota", "modify", "bob@alias.org", "10M,100C")

    assert site.rows("flag", "list") == [
        {"address": "alice@example.com", "flags": "domain_admin_privileges"}
    ]
    assert site.rows("flag", "list", "--flag", "no_pop") == []
    assert site.show("flag", "show", "alice@example.com")["domain_admin_privileges"] is True
    assert site.show("quota", "show", "bob@example.com") == {
        "address": "bob@example.com",
        "quota": "10485760S,100C",
        "bytes": 10485760,
        "messages": 100,
    }
    site.ok("quota", "delete", "bob@example.com")
    assert [row["quota_bytes"] for row in site.rows("quota", "list")] == [None] * 3
    site.verified()


def test_nobody_has_logged_in_until_somebody_has(site: Site) -> None:
    assert site.show("lastauth", "show", "alice@example.com")["last_auth_at"] is None
    assert [row["at"] for row in site.rows("lastauth", "list", "example.com")] == [None] * 3


def test_the_audit_log_is_listed_and_shown(site: Site) -> None:
    site.ok("flag", "add", "alice@example.com", "no_pop")
    newest = site.rows("audit", "list", "--limit", "1")[0]

    assert newest["action"] == "mod_user"
    assert site.show("audit", "show", str(newest["id"]))["changes"] == {"flags": [0, 2]}
    assert site.rows("audit", "list", "--action", "mod_user", "--actor", "nobody") == []
    assert [row["object"] for row in site.rows("audit", "list", "--action=add_alias_domain")] == [
        "example.com"
    ]
    assert site.rows("audit", "list", "--since", "2099-01-01") == []
    assert "no entry 9999" in site.refused("audit", "show", "9999")


def test_hooks_are_told_of_a_change(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    told = site.root.with_name("told")
    hook = site.root.with_name("hook")
    hook.write_text(f"#!/bin/sh\ncat >> {told}\n")
    hook.chmod(0o755)
    monkeypatch.setenv("VPOPSQL_HOOKS_COMMANDS", str(hook))

    site.ok("user", "modify", "alice@example.com", "--comment", "A")
    site.ok("user", "modify", "--from", "-", stdin="address,comment\nbob@example.com,B\n")

    assert told.read_text().count("vpasswd.cdb") >= 2
    assert '"name": "bob@example.com"' in told.read_text()
