"""vadddomain, vaddaliasdomain, vdeldomain, vmoddomlimits, vmkpasswd, vconvert."""

from pathlib import Path

import pytest
from sqlalchemy import delete, select

from tests.compat.conftest import Site
from vpopsql import passwords
from vpopsql.model import CatchAll, DefaultLimits, Domain, DomainName

DOMAINS = "/home/vpopmail/domains"
SQLITE = pytest.mark.parametrize("_backend", ["sqlite"], indirect=True)


def domain_of(site: Site, name: str) -> Domain:
    query = (
        select(Domain)
        .join(DomainName, DomainName.domain_id == Domain.id)
        .where(DomainName.name == name)
    )
    with site.database.reader() as session:
        return session.scalars(query).one()


def lines(path: Path) -> list[str]:
    return path.read_text().splitlines()


def test_a_domain_is_added_with_its_postmaster_and_files(site: Site) -> None:
    made = site.run("vadddomain", "-O", "-q", "10M", "New.Example", "pm secret")
    postmaster = site.got("postmaster@new.example")
    assign = lines(site.path("/var/qmail/users/assign"))

    assert (made.status, made.out, made.err) == (0, b"", "")
    assert passwords.verify("pm secret", postmaster.password_hash)
    assert postmaster.quota_bytes == 10 * 1024 * 1024
    assert f"+new.example-:new.example:89:89:{DOMAINS}/new.example:-::" in assign
    assert site.path(f"{DOMAINS}/new.example/postmaster/Maildir/new").is_dir()
    assert "new.example:new.example" in lines(site.path("/var/qmail/control/virtualdomains"))
    assert site.last_audit()[1:] == ("cli", "mod_user", "postmaster@new.example")


@SQLITE
def test_mail_for_unknown_names_goes_where_an_option_says(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VPOPSQL_DOMAINS_CATCHALL", "delete")
    site.run("vadddomain", "usual.example", "pw")
    site.run("vadddomain", "-b", "bounce.example", "pw")
    site.run("vadddomain", "-e", "Else@Where.example", "address.example", "pw")
    site.run("vadddomain", "-e", "postmaster", "mailbox.example", "pw")
    site.run("vadddomain", "-e", "later", "later.example", "pw")
    names = ["usual", "bounce", "address", "mailbox", "later"]
    found = [domain_of(site, f"{name}.example") for name in names]
    default = site.path(f"{DOMAINS}/mailbox.example/.qmail-default")

    assert [(each.catchall, each.catchall_target) for each in found] == [
        (CatchAll.DELETE, None),
        (CatchAll.BOUNCE, None),
        (CatchAll.ADDRESS, "else@where.example"),
        (CatchAll.DIRECTORY, f"{DOMAINS}/mailbox.example/postmaster"),
        (CatchAll.ADDRESS, "later@later.example"),
    ]
    assert default.read_text() == (
        f"| /home/vpopmail/bin/vdelivermail '' {DOMAINS}/mailbox.example/postmaster\n"
    )


@SQLITE
def test_the_owner_of_a_domain_is_an_option(site: Site) -> None:
    site.run("vadddomain", "-i", "1001", "-g", "1002", "-r", "owned.example")

    assert site.run("vdominfo", "-u", "-g", "owned.example").lines == ["1001", "1002"]


def test_an_alias_domain_comes_and_goes_in_either_order(site: Site) -> None:
    made = site.run("vaddaliasdomain", "alias.example", "example.com")
    shown = site.run("vdominfo", "example.com").lines
    gone = site.run("vdeldomain", "alias.example")

    assert (made.status, made.out) == (0, b"")
    assert "alias: alias.example" in shown
    assert (gone.status, gone.out) == (0, b"")
    assert "alias: alias.example" not in site.run("vdominfo", "example.com").lines
    assert "alias.example:alias.example" not in lines(
        site.path("/var/qmail/control/virtualdomains")
    )


def test_a_domain_with_aliases_is_deleted_by_force_only(site: Site) -> None:
    refused = site.run("vdeldomain", "example.com")
    kept = site.run("vdominfo", "-n").lines
    gone = site.run("vdeldomain", "-f", "example.com")

    assert (refused.status, refused.lines) == (
        1,
        ["Error: example.com has alias domains, which -f deletes with it: example-alias.org"],
    )
    assert "example.com" in kept
    assert (gone.status, gone.out) == (0, b"")
    assert not {"example.com", "example-alias.org"} & set(site.run("vdominfo", "-n").lines)
    assert not site.path(f"{DOMAINS}/example.com").exists()
    assert len(list(site.path("/home/vpopmail/trash").glob("*/example.com/alice"))) == 1


@SQLITE
def test_what_cannot_be_is_refused(site: Site) -> None:
    expected = {
        ("vadddomain", "example.com", "pw"): "Domain already exists",
        ("vadddomain", "example-alias.org", "pw"): "Domain already exists",
        ("vadddomain", "nodots", "pw"): "Invalid domain name",
        ("vadddomain", "-e", "a b", "new.example", "pw"): (
            "Invalid Email Address: 'a b' is neither an address nor a mailbox"
        ),
        ("vaddaliasdomain", "a.example", "b.example"): "Domain does not exist",
        ("vaddaliasdomain", "example.com", "test.com"): "Domain already exists",
        ("vdeldomain", "nowhere.example"): "Domain does not exist",
        ("vmoddomlimits", "-P", "3", "nowhere.example"): "Domain does not exist",
        ("vmkpasswd", "nowhere.example"): "Domain does not exist",
        ("vuserinfo", "-D", "nowhere.example"): "Domain does not exist",
        ("valias", "nowhere.example"): "Domain does not exist",
    }

    refused = {command: site.run(*command) for command in expected}

    assert {command: each.out.decode() for command, each in refused.items()} == {
        command: f"Error: {text}\n" for command, text in expected.items()
    }
    assert {(each.status, each.err) for each in refused.values()} == {(1, "")}
    assert not site.path(f"{DOMAINS}/new.example").exists()


# --- limits -------------------------------------------------------------------------------------


def test_limits_are_changed_shown_and_deleted(site: Site) -> None:
    options = ["-P", "5", "-A", "-1", "-Q", "100", "-q", "2048", "-M", "7", "-m", "8", "-g", "wFd"]
    changed = site.run("vmoddomlimits", *options, "-p", "cd", "-z", "a", "-l", "mr", "example.com")
    shown = site.run("vmoddomlimits", "-S", "example-alias.org").lines
    file = lines(site.path(f"{DOMAINS}/example.com/.qmailadmin-limits"))
    more = site.run("vmoddomlimits", "-g", "xi", "-S", "example.com").lines
    deleted = site.run("vmoddomlimits", "-D", "example.com")

    assert (changed.status, changed.out) == (0, b"")
    assert shown == [
        "Domain: example.com",
        "--",
        "Max Pop Accounts: 5",
        "Max Aliases: -1",
        "Max Forwards: -1",
        "Max Autoresponders: -1",
        "Max Mailinglists: -1",
        "GID Flags:",
        "  NO_WEBMAIL",
        "  NO_PASSWD_CHNG",
        "  DELETE_SPAM",
        "Flags (for commandline): wdF",
        "Flags for non postmaster accounts:",
        "  pop account:            DENY_CREATE  ALLOW_MODIFY DENY_DELETE  ",
        "  alias:                  ALLOW_CREATE ALLOW_MODIFY ALLOW_DELETE ",
        "  forward:                ALLOW_CREATE ALLOW_MODIFY ALLOW_DELETE ",
        "  autoresponder:          ALLOW_CREATE ALLOW_MODIFY ALLOW_DELETE ",
        "  mailinglist:            ALLOW_CREATE ALLOW_MODIFY ALLOW_DELETE ",
        "  mailinglist users:      ALLOW_CREATE ALLOW_MODIFY ALLOW_DELETE ",
        "  mailinglist moderators: ALLOW_CREATE ALLOW_MODIFY ALLOW_DELETE ",
        "  quota:                  ALLOW_CREATE ALLOW_MODIFY ALLOW_DELETE ",
        "  default quota:          DENY_CREATE  DENY_MODIFY  DENY_DELETE  ",
        "Domain Quota: 100 MB",
        "Default User Quota: 2048 bytes",
        "Max Domain Messages: 7",
        "Default Max Messages per User: 8",
    ]
    assert "disable_webmail" in [line.split()[0] for line in file if line]
    assert [more[8], more[9]] == ["  NO_IMAP", "Flags (for commandline): i"]
    assert (deleted.status, deleted.out) == (0, b"")
    assert not site.path(f"{DOMAINS}/example.com/.qmailadmin-limits").exists()
    assert site.last_audit()[1:] == ("cli", "del_limits", "example.com")


def test_the_sites_defaults_are_changed_and_shown(site: Site) -> None:
    changed = site.run("vmoddomlimits", "-d", "-P", "9", "-g", "p")
    shown = site.run("vmoddomlimits", "-d", "-S").lines
    file = site.path("/home/vpopmail/etc/vlimits.default").read_text()

    assert (changed.status, changed.out) == (0, b"")
    assert [shown[0], shown[2], shown[8]] == [
        "Domain: defaults",
        "Max Pop Accounts: 9",
        "  NO_POP",
    ]
    assert site.run("vmoddomlimits", "-S", "example.com").lines[2] == "Max Pop Accounts: 9"
    assert "maxpopaccounts" in file
    assert "disable_pop" in file
    assert site.last_audit()[1:] == ("cli", "set_default_limits", "limits")


@SQLITE
def test_a_site_without_defaults_gets_some(site: Site) -> None:
    with site.database.writer() as session:
        session.execute(delete(DefaultLimits))

    assert site.run("vmoddomlimits", "-d", "-F", "4").status == 0
    assert site.run("vmoddomlimits", "-d", "-S").lines[2:5] == [
        "Max Pop Accounts: -1",
        "Max Aliases: -1",
        "Max Forwards: 4",
    ]


# --- password files -----------------------------------------------------------------------------


@SQLITE
def test_password_files_are_written_anew(site: Site) -> None:
    first = site.path(f"{DOMAINS}/example.com/vpasswd")
    second = site.path(f"{DOMAINS}/example.company/vpasswd")
    was = [first.read_bytes(), second.read_bytes()]
    first.write_text("spoilt\n")
    second.write_text("spoilt\n")

    one = site.run("vmkpasswd", "example.com")
    after_one = [first.read_bytes(), second.read_bytes()]
    every = site.run("vconvert", "-c")

    assert (one.status, every.status) == (0, 0)
    assert after_one == [was[0], b"spoilt\n"]
    assert second.read_bytes() == was[1]


def test_none_are_written_where_there_are_to_be_none(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = site.path(f"{DOMAINS}/example.com/vpasswd")
    path.write_text("left as it is\n")
    monkeypatch.setenv("VPOPSQL_EXPORT_ACCOUNTS", "database")

    done = site.run("vmkpasswd", "example.com")

    assert done.status != 0
    assert 'no vpasswd is written where export.accounts is "database"' in done.err
    assert path.read_text() == "left as it is\n"
