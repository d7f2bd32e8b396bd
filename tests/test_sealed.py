"""Readable passwords that are encrypted in the database."""

import hashlib
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from sqlalchemy import select, text

from tests import factories
from tests.daemon.conftest import settings
from tests.sites import import_tree
from vpopsql import backup, trash
from vpopsql.cli import cli
from vpopsql.config import Config
from vpopsql.daemon.authentication import Authenticator, Question
from vpopsql.db import Database
from vpopsql.errors import ConfigError, PasswordSealed
from vpopsql.exporter.projector import Projector
from vpopsql.importer.backend import Choices
from vpopsql.model import AuditEntry, Mailbox, TrashEntry, TrashKind
from vpopsql.sealed import Keyring, is_sealed, new_key
from vpopsql.services import account_changes
from vpopsql.services.account_changes import Secret, Wishes
from vpopsql.services.kept_rows import rows_below, write_down
from vpopsql.services.rights import operator
from vpopsql.touched import Touched
from vpopsql.tree import Tree

PASSWORD = "right h\u00f6rse \udcff $sealed$"
ACTOR = operator("tests", "/home/vpopmail")
CHALLENGE = "<1896.697170952@mail.example.com>"
on_sqlite = pytest.mark.parametrize("_backend", ["sqlite"], indirect=True)


def write_keys(path: Path, *keys: str, mode: int = 0o600) -> str:
    path.write_text("".join(f"{key}\n" for key in keys))
    path.chmod(mode)
    return str(path)


@pytest.fixture
def key_file(tmp_path: Path) -> str:
    return write_keys(tmp_path / "keys", "# the present one", new_key())


@pytest.fixture
def sealing(database_url: str, key_file: str) -> Iterator[Database]:
    """A database that passwords are sealed in, with a user who has one."""
    opened = Database(database_url, key_file=key_file)
    with opened.writer() as session:
        domain = factories.domain(session)
        box = factories.mailbox(session, domain, "alice", clear_text=PASSWORD)
        factories.mailbox(session, domain, "bob", clear_text="")
        factories.mailbox(session, domain, "carol", clear_text=None)
        factories.mailbox(session, domain, "postmaster")
        box.password_hash = "$6$x$" + "y" * 86
    yield opened
    opened.close()


def stored(database: Database) -> dict[str, str | None]:
    with database.reader() as session:
        rows = session.execute(text("SELECT name, clear_text FROM mailboxes"))
        return {name: clear for name, clear in rows if name != "postmaster"}


def opened(database: Database) -> dict[str, str | None]:
    with database.reader() as session:
        rows = session.execute(select(Mailbox.name, Mailbox.clear_text))
        return {name: clear for name, clear in rows if name != "postmaster"}


# --- keys ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "word", ["\u00e4", PASSWORD, "\u2603" * 128, "$sealed$1$00000000$" + "A" * 40]
)
def test_what_is_sealed_can_be_opened_and_sealed_once(key_file: str, word: str) -> None:
    keys = Keyring.load(key_file)

    sealed = keys.seal(word)

    assert (is_sealed(sealed), word in sealed) == (True, False)
    assert keys.open(sealed) == word
    assert keys.seal(sealed) == sealed
    assert keys.seal(word) != sealed


def test_what_says_that_there_is_none_stays_so(key_file: str) -> None:
    assert Keyring.load(key_file).seal("") == ""


def test_what_was_altered_is_not_opened(key_file: str) -> None:
    keys = Keyring.load(key_file)
    sealed = keys.seal("a password of a few letters")
    altered = sealed[:40] + ("A" if sealed[40] != "A" else "B") + sealed[41:]

    with pytest.raises(PasswordSealed, match="was altered"):
        keys.open(altered)


@pytest.mark.parametrize(
    "lines, mode, why",
    [
        ((new_key(),), 0o644, "others can get at it"),
        ((new_key(),), 0o660, "others can get at it"),
        ((), 0o600, "not one key of 32 bytes"),
        (("abc",), 0o600, "not one key of 32 bytes"),
        ((new_key(), "AAAA"), 0o600, "not one key of 32 bytes"),
        (("\u00e9",), 0o600, "it is no text"),
    ],
)
def test_a_file_of_keys_that_is_none_is_refused_without_quoting_it(
    tmp_path: Path, lines: tuple[str, ...], mode: int, why: str
) -> None:
    path = write_keys(tmp_path / "keys", *lines, mode=mode)

    with pytest.raises(ConfigError, match=why) as refused:
        Keyring.load(path)

    assert not any(line in str(refused.value) for line in lines)


def test_a_file_of_keys_that_is_missing_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"no: No such file"):
        Keyring.load(str(tmp_path / "no"))


# --- in the database ----------------------------------------------------------------------------


def test_the_database_has_no_readable_password(sealing: Database) -> None:
    found = stored(sealing)

    assert is_sealed(found["alice"] or "")
    assert (found["bob"], found["carol"]) == ("", None)
    assert opened(sealing) == {"alice": PASSWORD, "bob": "", "carol": None}


def test_a_new_password_is_sealed_and_the_same_one_no_change(sealing: Database) -> None:
    wishes = Wishes(password="new", hashed=Secret("$6$a$" + "b" * 86, "new"))
    with sealing.writer() as session:
        account_changes.modify_account(session, ACTOR, "alice", "example.com", wishes)
        account_changes.add_account(session, ACTOR, "dave", "example.com", wishes.hashed)  # type: ignore[arg-type]

    found = stored(sealing)
    assert [is_sealed(found[name] or "") for name in ("alice", "dave")] == [True, True]
    assert opened(sealing)["alice"] == opened(sealing)["dave"] == "new"


def test_without_the_key_nothing_is_given_away_or_written(
    sealing: Database, database_url: str
) -> None:
    keyless = Database(database_url)

    with pytest.raises(PasswordSealed, match="which is not in"):
        opened(keyless)

    assert "$sealed$" in (stored(keyless)["alice"] or "")
    keyless.close()


def test_apop_and_the_files_have_the_password(
    sealing: Database, database_url: str, tmp_path: Path
) -> None:
    config = settings(database_url, tmp_path)
    said = f"{CHALLENGE}{PASSWORD}".encode("utf-8", "surrogateescape")
    digest = hashlib.new("md5", said, usedforsecurity=False).hexdigest()
    asked = Question("pop3", "192.0.2.9", "", "", "alice@example.com", digest, CHALLENGE)

    granted = Authenticator(sealing, config).check(asked)
    Projector(sealing, config).follow(Touched(accounts={"example.com"}))

    assert granted.login.actor.address == "alice@example.com"
    vpasswd = (tmp_path / "home/vpopmail/domains/example.com/vpasswd").read_bytes()
    assert f":{PASSWORD}\n".encode("utf-8", "surrogateescape") in vpasswd
    assert b"$sealed$1" not in vpasswd


def test_the_trash_has_it_sealed_too(sealing: Database, tmp_path: Path) -> None:
    tree = Tree(tmp_path)
    with sealing.writer() as session:
        trash.delete_user(session, tree, ACTOR, "alice", "example.com")

    with sealing.reader() as session:
        entry = session.scalars(select(TrashEntry)).one()
    payload = entry.payload or {}
    assert is_sealed(payload["mailboxes"][0]["clear_text"])
    with sealing.writer() as session:
        trash.restore(session, tree, entry.id, ACTOR)
    assert opened(sealing)["alice"] == PASSWORD
    assert is_sealed(stored(sealing)["alice"] or "")


def test_an_import_seals_and_finds_nothing_changed_after_it(
    database_url: str, key_file: str, unpack: Callable[[str], Path]
) -> None:
    choices, root = Choices(store_clear_text=True), unpack("base")
    database = Database(database_url, key_file=key_file)

    import_tree(database, root, choices)

    with database.reader() as session:
        counts = session.execute(
            text(
                "SELECT count(*), sum(CASE WHEN clear_text LIKE '$sealed$1$%' THEN 1 ELSE 0 END)"
                " FROM mailboxes WHERE clear_text <> ''"
            )
        ).one()
    assert counts[0] == counts[1] > 3
    again = import_tree(database, root, choices, update=True)
    assert not again.does_anything
    database.close()


def test_a_backup_has_it_sealed_and_a_restore_needs_no_key(
    sealing: Database, key_file: str, empty_database_url: str, tmp_path: Path
) -> None:
    before = stored(sealing)
    backup.save(sealing, tmp_path / "a.backup", lambda *_: None)

    backup.restore(empty_database_url, tmp_path / "a.backup", lambda *_: None)

    other = Database(empty_database_url, key_file=key_file)
    assert stored(other) == before
    assert opened(other)["alice"] == PASSWORD
    other.close()


# --- the commands -------------------------------------------------------------------------------


def run(config: Config, *arguments: str, **environ: str) -> Result:
    environment = {
        "VPOPSQL_DATABASE_URL": config.database.url,
        "VPOPSQL_PATHS_ROOT": config.paths.root,
    }
    return CliRunner().invoke(cli, arguments, env=environment | environ)


def test_a_new_key_takes_over_everything(
    sealing: Database, database_url: str, key_file: str, tmp_path: Path
) -> None:
    with sealing.writer() as session:
        alice = session.scalar(select(Mailbox.id).where(Mailbox.name == "alice")) or 0
        rows = rows_below(session, Mailbox, alice)
        write_down(session, ACTOR, TrashKind.USER, "alice@example.com", "/home/alice", rows)
        session.execute(text("UPDATE mailboxes SET clear_text = 'plain' WHERE name = 'carol'"))
    old, new = Path(key_file).read_text().split("\n")[1], new_key()
    keys = write_keys(tmp_path / "keys", new, old)
    config = settings(database_url, tmp_path)

    rotated = [
        run(config, "passwords", "rotate-key", VPOPSQL_PASSWORDS_KEY_FILE=keys) for _ in "ab"
    ]

    assert [each.output for each in rotated] == ["3 encrypted anew\n", "0 encrypted anew\n"]
    only = Database(database_url, key_file=write_keys(tmp_path / "keys", new))
    assert opened(only) == {"alice": PASSWORD, "bob": "", "carol": "plain"}
    ring = Keyring.load(key_file)
    with only.reader() as session:
        payload = session.scalars(select(TrashEntry.payload)).one() or {}
        entries = session.scalars(select(AuditEntry).order_by(AuditEntry.id)).all()
    assert ring.open(payload["mailboxes"][0]["clear_text"]) == PASSWORD
    assert [(each.action, each.changes) for each in entries] == [
        ("rotate_key", {"resealed": [None, 2]}),
        ("rotate_key", {"resealed": [None, 1]}),
    ]
    only.close()


@on_sqlite
def test_a_key_is_made_and_missing_ones_are_told(
    sealing: Database, database_url: str, tmp_path: Path
) -> None:
    config = settings(database_url, tmp_path)
    made = run(config, "passwords", "new-key").output
    keys = write_keys(tmp_path / "other", made.strip())

    unset = run(config, "passwords", "rotate-key")
    wrong = run(config, "passwords", "rotate-key", VPOPSQL_PASSWORDS_KEY_FILE=keys)

    assert isinstance(unset.exception, ConfigError)
    assert isinstance(wrong.exception, PasswordSealed)
    assert is_sealed(stored(sealing)["alice"] or "")


@on_sqlite
def test_the_configurations_check_warns_of_readable_passwords(
    database: Database, database_url: str, key_file: str, tmp_path: Path
) -> None:
    del database
    for place in ("home/vpopmail", "var/qmail"):
        (tmp_path / place).mkdir(parents=True)
    config, stores = (
        settings(database_url, tmp_path),
        {"VPOPSQL_PASSWORDS_STORE_CLEAR_TEXT": "true"},
    )
    warning = "warning: passwords.store_clear_text: readable passwords are stored as they are"

    plain = run(config, "config", "check", **stores)
    keyed = run(config, "config", "check", VPOPSQL_PASSWORDS_KEY_FILE=key_file, **stores)
    absent = run(config, "config", "check", VPOPSQL_PASSWORDS_KEY_FILE="/no", **stores)

    assert (warning in plain.output, warning in keyed.output) == (True, False)
    assert "passwords.key_file: /no: No such file or directory" in absent.output
    assert absent.exit_code == 1
