"""vadduser, vdeluser, vpasswd, vmoduser, vsetuserquota: rows, files, audit log, exit status."""

import pytest

from tests.compat.conftest import Site
from vpopsql import passwords
from vpopsql.model import Flag

HOME = "/home/vpopmail/domains/example.com"
HASH = "$1$Sa1tSa1t$jIAWQh25ZR2Tn11uDIhCr0"
SQLITE = pytest.mark.parametrize("_backend", ["sqlite"], indirect=True)


def test_an_account_is_added_with_its_home_its_line_and_its_trace(site: Site) -> None:
    made = site.run("vadduser", "-q", "5M", "-c", "New One", "new@example.com", "secret word")
    account = site.got("new@example.com")
    line = site.vpasswd("new@example.com")

    assert (made.status, made.out, made.err) == (0, b"", "")
    assert passwords.verify("secret word", account.password_hash)
    assert (account.comment, account.quota_bytes) == ("New One", 5 * 1024 * 1024)
    assert line is not None
    assert line[1:] == [
        *(account.password_hash, "1", "0", "New One", f"{HOME}/new", "5242880S", "secret word")
    ]
    assert site.path(f"{HOME}/new/Maildir/maildirsize").read_text() == "5242880S\n0 0\n"
    actor, *rest = site.last_audit()
    assert actor.startswith("vadduser (")
    assert rest == ["cli", "mod_user", "new@example.com"]


@SQLITE
def test_a_password_comes_from_where_it_is_given(site: Site) -> None:
    given = {
        "typed@example.com": site.run("vadduser", "typed@example.com", stdin=b"one\n"),
        "twice@example.com": site.run("vadduser", "twice@example.com", stdin=b"two\r\ntwo\r\n"),
        "odd@example.com": site.run("vadduser", "odd@example.com", "--", "-three"),
        "bytes@example.com": site.run("vadduser", "bytes@example.com", "caf\udce9"),
        "hash@example.com": site.run("vadduser", "-e", HASH, "hash@example.com"),
    }
    expected = ["one", "two", "-three", "caf\udce9", "right horse"]
    hashes = [site.got(address).password_hash for address in given]

    assert [each.status for each in given.values()] == [0] * 5
    assert list(map(passwords.verify, expected, hashes)) == [True] * 5


@SQLITE
def test_a_password_can_be_made_up_or_missing(site: Site) -> None:
    made_up = site.run("vadduser", "-r12", "random@example.com")
    usual = site.run("vadduser", "usual@example.com", "-r")
    missing = site.run("vadduser", "-ns", "nobody@example.com")
    changed = site.run("vpasswd", "-r", "alice@example.com")

    shown = [each.out.decode() for each in (made_up, usual, changed)]
    words = [text.removeprefix("Random password: ").rstrip("\n") for text in shown]
    assert [len(word) for word in words] == [12, 16, 16]
    assert passwords.verify(words[0], site.got("random@example.com").password_hash)
    assert passwords.verify(words[2], site.got("alice@example.com").password_hash)
    assert (missing.status, missing.out) == (0, b"")
    assert site.got("nobody@example.com").password_hash == ""


REFUSALS = {
    ("vadduser", "alice@example.com", "pw"): "Username exists",
    ("vadduser", ".dot@example.com", "pw"): "Illegal username",
    ("vadduser", "new@nowhere.example", "pw"): "Domain does not exist",
    ("vadduser", "new", "pw"): "Invalid domain name",
    ("vadduser", "a b@example.com", "pw"): "Invalid Email Address: a b@example.com",
    ("vadduser", "-q", "1G", "new@example.com", "pw"): (
        "quota '1G': what follows the number is not read; use 10M, 10485760S,1000C or NOQUOTA"
    ),
    ("vadduser", "-c", "a:b", "new@example.com", "pw"): (
        "comment has a character that is not allowed"
    ),
    ("vadduser", "-e", "plain", "new@example.com"): (
        "encrypted_password is no hash that can be verified"
    ),
    ("vadduser", "new@example.com"): "no password was entered",
    ("vadduser", "new@example.com", ""): "the password is empty",
    ("vmoduser", "-C", "", "alice@example.com"): "the password is empty",
    ("vadduser", "new@example.com", "p\nw"): (
        "clear_text_password has a character that is not allowed"
    ),
    ("vdeluser", "postmaster@example.com"): "can't delete postmaster",
    ("vdeluser", "ghost@example.com"): "User does not exist",
    ("vpasswd", "ghost@example.com"): "User does not exist",
    ("vpasswd", "locked@example.com", "pw"): (
        "the password of locked@example.com is not to be changed"
    ),
    ("vmoduser", "-d", "ghost@example.com"): "User does not exist",
    ("vsetuserquota", "nowhere.example", "5M"): "Domain does not exist",
    ("vsetuserquota", "alice@example.com", "much"): (
        "quota 'much': it does not begin with a number; use 10M, 10485760S,1000C or NOQUOTA"
    ),
}


@SQLITE
def test_what_cannot_be_is_refused_on_standard_output(site: Site) -> None:
    site.run("vpasswd", "bob@example.com", "other")
    before = site.last_audit()

    refused = {command: site.run(*command) for command in REFUSALS}

    assert {command: each.out.decode() for command, each in refused.items()} == {
        command: f"Error: {text}\n" for command, text in REFUSALS.items()
    }
    assert {(each.status, each.err) for each in refused.values()} == {(1, "")}
    assert site.last_audit() == before
    assert not site.path(f"{HOME}/new").exists()


def test_a_deleted_account_is_in_the_trash(site: Site) -> None:
    gone = site.run("vdeluser", "bob@example.com")

    assert (gone.status, gone.out) == (0, b"")
    assert site.mailbox("bob@example.com") is None
    assert site.vpasswd("bob@example.com") is None
    assert not site.path(f"{HOME}/bob").exists()
    assert len(list(site.path("/home/vpopmail/trash").glob("*/bob/Maildir"))) == 1
    assert site.last_audit()[1:] == ("cli", "del_user", "bob@example.com")


@SQLITE
def test_vpasswd_obeys_what_vmoduser_does_not(site: Site) -> None:
    assert site.run("vpasswd", "alice@example.com", "fresh").status == 0
    assert passwords.verify("fresh", site.got("alice@example.com").password_hash)

    assert site.run("vmoddomlimits", "-g", "d", "example.com").status == 0
    refused = site.run("vpasswd", "alice@example.com", "fresher")
    by_force = site.run("vmoduser", "-C", "freshest", "alice@example.com")

    assert refused.lines == ["Error: the password of alice@example.com is not to be changed"]
    assert by_force.status == 0
    assert passwords.verify("freshest", site.got("alice@example.com").password_hash)


def test_flags_are_added_and_cleared(site: Site) -> None:
    site.run("vmoduser", "-pi", "-c", "Alice A.", "alice@example.com")
    added = site.got("alice@example.com")
    site.run("vmoduser", "alice@example.com", "-x", "-b3")
    cleared = site.got("alice@example.com")
    line = site.vpasswd("alice@example.com")

    assert (added.flags, added.comment) == (Flag.NO_POP | Flag.NO_IMAP, "Alice A.")
    assert cleared.flags == Flag.BOUNCE_MAIL | Flag.V_USER3
    assert line is not None
    assert line[3] == str(0x10 | 0x400)


def test_every_account_of_a_domain_is_changed_at_once(site: Site) -> None:
    flagged = site.run("vmoduser", "-m", "-C", "same", "example.com")
    limited = site.run("vsetuserquota", "example-alias.org", "1000S,10C")
    shown = site.run("vuserinfo", "-D", "example.com", "-n", "-q").lines
    hashes = site.run("vuserinfo", "-D", "example.com", "-p").lines

    assert (flagged.status, limited.status) == (0, 0)
    assert shown[1::2] == ["1000S,10C"] * 8
    assert len(set(hashes)) == 8
    assert all(passwords.verify("same", each) for each in hashes)
    assert all(site.got(f"{name}@example.com").flags & Flag.NO_MAILDROP for name in shown[::2])


@SQLITE
def test_a_quota_has_its_use_measured_anew(site: Site) -> None:
    size = site.path(f"{HOME}/carol/Maildir/maildirsize")
    size.write_text("10000000S,100C\n999 9\n")

    assert site.run("vsetuserquota", "carol@example.com", "NOQUOTA").status == 0
    assert not size.exists()
    assert site.got("carol@example.com").quota_bytes is None


@SQLITE
def test_an_address_without_a_domain_gets_the_one_of_the_environment(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TCPLOCALIP", "127.0.0.9")
    mapped = site.run("vuserinfo", "-n", "alice")
    monkeypatch.setenv("VPOPMAIL_DOMAIN", "example.company")
    named = site.run("vuserinfo", "-d", "eve")

    assert mapped.lines == ["alice"]
    assert named.lines == ["/home/vpopmail/domains/example.company/eve"]
