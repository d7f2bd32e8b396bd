"""``vpopsql user``, end to end: rows, files, directories, the audit log."""

from pathlib import Path

import pytest
from sqlalchemy import select

from tests.cli.conftest import DOMAIN, HASH, PASSWORD, Site, on_sqlite
from vpopsql import passwords
from vpopsql.model import AuditEntry, Mailbox

ALICE = f"{DOMAIN}/alice"


def hash_of(site: Site, name: str) -> str:
    with site.database.reader() as session:
        found = session.scalars(select(Mailbox.password_hash).where(Mailbox.name == name))
        return found.one()


def test_a_user_comes_changes_and_goes_with_all_files(site: Site) -> None:
    site.ok(
        *("user", "add", "Carol@Example.com", "--password-stdin", "--comment", "Carol C"),
        *("--quota", "10M,100C", "--flag", "no_pop", "--flag", "no-imap"),
        stdin=f"{PASSWORD}\n",
    )

    added = site.show("user", "show", "carol@example.com")
    vpasswd = (site.root / DOMAIN / "vpasswd").read_text()
    assert added["quota"] == "10485760S,100C"
    assert added["flags"] == ["no_pop", "no_imap"]
    assert added["comment"] == "Carol C"
    assert f"carol:{hash_of(site, 'carol')}:1:10:Carol C:/{DOMAIN}/carol:10485760S,100C" in vpasswd
    assert passwords.verify(PASSWORD, hash_of(site, "carol"))
    assert (site.root / DOMAIN / "carol/Maildir/new").is_dir()
    assert (site.root / DOMAIN / "carol/Maildir/maildirsize").exists()
    site.verified()

    site.ok("user", "modify", "carol@example.com", "--quota", "none", "--clear", "no_pop")

    changed = site.show("user", "show", "carol@alias.org")
    assert (changed["quota"], changed["flags"]) == ("NOQUOTA", ["no_imap"])
    assert "NOQUOTA" in (site.root / DOMAIN / "vpasswd").read_text()
    assert not (site.root / DOMAIN / "carol/Maildir/maildirsize").exists()

    site.ok("user", "delete", "carol@alias.org")

    assert [row["address"] for row in site.rows("user", "list", "example.com")] == [
        "alice@example.com",
        "bob@example.com",
        "postmaster@example.com",
    ]
    assert "carol" not in (site.root / DOMAIN / "vpasswd").read_text()
    assert not (site.root / DOMAIN / "carol").exists()
    assert [row["state"] for row in site.ok("trash", "list", "--format=json").document] == ["kept"]
    site.verified()


@on_sqlite
def test_the_audit_log_has_who_ran_the_command(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("os.getuid", lambda: 0)
    monkeypatch.setenv("SUDO_USER", "joe")

    site.ok("user", "modify", "alice@example.com", "--comment", "A")

    with site.database.reader() as session:
        entry = session.scalars(select(AuditEntry).order_by(AuditEntry.id.desc())).first()
        assert entry is not None
        assert (entry.actor, entry.channel) == ("vpopsql (joe)", "cli")
        assert (entry.action, entry.object) == ("mod_user", "alice@example.com")
        assert entry.changes == {"comment": ["alice", "A"]}


@on_sqlite
def test_passwords_come_from_a_file_from_input_or_from_nowhere(site: Site, tmp_path: Path) -> None:
    secret, hashed = tmp_path / "secret", tmp_path / "hashed"
    secret.write_bytes("pässword\r\nsecond line\n".encode())
    hashed.write_text(HASH)

    site.ok("user", "add", "file@example.com", "--password-file", str(secret))
    site.ok("user", "add", "input@example.com", "--password-file", "-", stdin="from input")
    site.ok("user", "add", "hash@example.com", "--encrypted-file", str(hashed))
    made = site.ok("user", "add", "made@example.com", "--generate", "--format=json").document

    assert passwords.verify("pässword", hash_of(site, "file"))
    assert passwords.verify("from input", hash_of(site, "input"))
    assert hash_of(site, "hash") == HASH
    assert len(made["password"]) == 16
    assert passwords.verify(made["password"], hash_of(site, "made"))


@on_sqlite
def test_a_password_that_is_too_weak_is_refused(site: Site, tmp_path: Path) -> None:
    rules = site.root / "home/vpopmail/etc/password_strength.conf"
    rules.parent.mkdir(parents=True, exist_ok=True)
    rules.write_text("Length >= 8\n")
    lines = tmp_path / "new.csv"
    lines.write_text("address,password\na@example.com,longer than that\nb@example.com,short\n")
    before = hash_of(site, "alice")

    added = site.run("user", "add", "new@example.com", "--password-stdin", stdin="short")
    modified = site.run("user", "modify", "alice@example.com", "--password-stdin", stdin="short")
    several = site.run("user", "add", "--from", str(lines))
    changed = tmp_path / "changed.csv"
    changed.write_text(
        "address,comment,password\nalice@example.com,A,\nalice@example.com,,short\n"
    )
    again = site.run("user", "modify", "--from", str(changed))

    assert [each.code for each in (added, modified, several, again)] == [1, 1, 1, 1]
    assert "password too weak" in added.err
    assert "password too weak" in modified.err
    assert f"{lines}:3: password too weak" in several.err
    assert f"{changed}:3: password too weak" in again.err
    assert hash_of(site, "alice") == before
    listed = site.ok("user", "list", "example.com").out
    users = {line.partition("@")[0] for line in listed.splitlines()}
    assert ("alice" in users, users & {"a", "b", "new"}) == (True, set())


@on_sqlite
def test_a_password_is_changed_and_never_shown(site: Site) -> None:
    done = site.ok(
        "user", "modify", "alice@example.com", "--password-stdin", "--format=json", stdin="new one"
    )

    assert passwords.verify("new one", hash_of(site, "alice"))
    assert "new one" not in done.out
    assert hash_of(site, "alice") not in done.out
    assert done.document["changes"][0]["fields"]["password_hash"] == ["(masked)", "(masked)"]
    assert hash_of(site, "alice") not in site.ok("user", "show", "alice@example.com").out


@on_sqlite
@pytest.mark.parametrize(
    "options, says",
    [
        ((), "a password is needed"),
        (("--generate", "--password-stdin"), "give one of"),
        (("--quota", "plenty", "--generate"), "quota is not understood"),
        (("--flag", "no_pup", "--generate"), "Did you mean no_pop"),
        (("--from", "x.csv"), "or give many with --from"),
        (("--quotta", "1"), "--quota"),
    ],
)
def test_wrong_usage_ends_with_2(site: Site, options: tuple[str, ...], says: str) -> None:
    assert says in site.misused("user", "add", "x@example.com", *options)


@on_sqlite
@pytest.mark.parametrize(
    "arguments, says",
    [
        (
            ("user", "show", "alcie@example.com"),
            "no such user: alcie@example.com; did you mean alice@",
        ),
        (("user", "show", "alice@exmaple.com"), "did you mean"),
        (
            ("user", "list", "example.con"),
            "no such domain: example.con; did you mean example.com?",
        ),
        (("user", "add", "alice@example.com", "--generate"), "there is a user already"),
        (("user", "add", "-x@example.com", "--generate"), "No such option"),
        (("user", "add", "vpasswd@example.com", "--generate"), "no user may be called so"),
        (("user", "delete", "postmaster@example.com"), "postmaster stays"),
        (("user", "rename", "postmaster@example.com", "x"), "postmaster stays"),
        (("user", "rename", "alice@example.com", "bob"), "there is a user already"),
    ],
)
def test_what_is_refused_ends_with_1_and_a_guess(
    site: Site, arguments: tuple[str, ...], says: str
) -> None:
    done = site.run(*arguments)

    assert says in done.err
    assert done.code == (2 if "option" in says else 1)


@on_sqlite
def test_a_command_that_could_not_run_ends_with_3(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VPOPSQL_DATABASE_URL", "sqlite:////nowhere/at.all")

    assert site.run("user", "list").code == 3
    assert "Did you mean user?" in site.misused("usr")
    assert "Did you mean" in site.misused("user", "lsit")


def test_a_dry_run_says_all_and_does_nothing(site: Site) -> None:
    before, history = site.files(), site.ok("audit", "list", "--format=jsonl").out
    commands = [
        ("user", "add", "carol@example.com", "--generate"),
        ("user", "modify", "alice@example.com", "--quota", "1M", "--set", "no_pop"),
        ("user", "rename", "alice@example.com", "alicia", "--leave-forward"),
        ("user", "delete", "alice@example.com"),
    ]

    said = [site.ok(*each, "--dry-run", "--format=json").document for each in commands]

    assert site.files() == before
    assert site.ok("audit", "list", "--format=jsonl").out == history
    assert [each["dry_run"] for each in said] == [True] * 4
    assert [each["changes"][-1]["action"] for each in said] == [
        "add_user",
        "mod_user",
        "rename_user",
        "del_user",
    ]
    assert [[each["change"] for each in one["directories"]] for one in said] == [
        ["made"],
        [],
        ["renamed"],
        ["moved to the trash"],
    ]
    assert "password" not in said[0]
    assert said[1]["changes"] == site.ok(*commands[1], "--format=json").document["changes"]


@on_sqlite
def test_a_dry_run_sees_what_stands_in_the_way_on_disk(site: Site) -> None:
    message = site.root / DOMAIN / "carol/Maildir/new/1.host"
    message.parent.mkdir(parents=True)
    message.write_text("mail")

    for dry in ("--dry-run", "--format=table"):
        assert "in the place" in site.refused(
            "user", "add", "carol@example.com", "--generate", dry
        )
        assert "in the place" in site.refused("user", "rename", "alice@example.com", "carol", dry)

    assert message.read_text() == "mail"
    assert site.show("user", "show", "alice@example.com")["directory"] == f"/{ALICE}"
    assert (site.root / ALICE / "Maildir").is_dir()
    assert not (site.root / ALICE).is_symlink()


@on_sqlite
def test_lists_come_in_every_format(site: Site) -> None:
    table = site.ok("user", "list").out
    comma = site.ok("user", "list", "--format=csv", "--match", "ali").out
    lines = site.ok("user", "list", "alias.org", "--format=jsonl").out

    assert table.splitlines()[2].split()[0] == "alice@example.com"
    assert comma.splitlines()[1].startswith("alice@example.com,alice,")
    assert len(lines.splitlines()) == 3


@on_sqlite
def test_a_change_that_the_files_cannot_follow_is_said_to_be_saved(site: Site) -> None:
    (site.root / DOMAIN / "vpasswd").unlink()
    (site.root / DOMAIN / "vpasswd").mkdir()

    done = site.run("user", "modify", "alice@example.com", "--comment", "A")

    assert done.code == 3
    assert "saved in the database, but not in all files" in done.err
    assert site.show("user", "show", "alice@example.com")["comment"] == "A"


@on_sqlite
@pytest.mark.parametrize(
    "said, address",
    [
        ("192.0.2.7 50022 192.0.2.1 22", "192.0.2.7"),
        ("fe80::1%eth0 50022 fe80::2%eth0 22", "fe80::1"),
        ("nonsense", None),
    ],
)
def test_the_audit_log_has_where_a_command_was_given_from(
    site: Site, monkeypatch: pytest.MonkeyPatch, said: str, address: str | None
) -> None:
    monkeypatch.setenv("SSH_CONNECTION", said)

    site.ok("user", "modify", "alice@example.com", "--comment", "A")

    with site.database.reader() as session:
        entry = session.scalars(select(AuditEntry).order_by(AuditEntry.id.desc())).first()
    assert entry
    assert entry.actor_ip == address
