"""``vpopsql mailserver``: what it writes, where, for whom to read; and what it will not write."""

import os
import re
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from vpopsql import config
from vpopsql.cli import cli
from vpopsql.errors import ConfigError, ExportFailed
from vpopsql.mailservers import files

SQLITE = "sqlite:////var/lib/vpopsql/vpopsql.db"
POSTGRESQL = "postgresql://vpopsql:daemons@db.example:5433/mail?sslmode=require"
DOVECOT = ["dovecot", "--version", "2.3", "--user", "vpopmail"]
LOGIN = files.Login("dovecot", "secret")
USERS = files.Users("vpopmail", "vpopmail")


def run(directory: Path, *words: str, url: str = SQLITE, said: str = "", root: str = "") -> Result:
    return CliRunner().invoke(
        cli,
        ["mailserver", *words, str(directory)],
        input=said,
        env={"VPOPSQL_DATABASE_URL": url, "VPOPSQL_PATHS_ROOT": root or None},
        catch_exceptions=False,
    )


def loaded(url: str, **settings: str) -> config.Config:
    return config.load(None, {"VPOPSQL_DATABASE_URL": url, **settings})


def test_dovecots_files_are_written_for_everybody_where_they_hold_no_password(
    tmp_path: Path,
) -> None:
    done = run(tmp_path / "new", *DOVECOT)

    assert done.exit_code == 0
    modes = {path.name: path.stat().st_mode & 0o777 for path in (tmp_path / "new").iterdir()}
    assert modes == {
        "vpopsql.conf": 0o644,
        "vpopsql-sql.conf.ext": 0o644,
        "vpopsql-dict.conf.ext": 0o644,
    }
    assert "no --webmail" in done.stderr


def test_files_with_a_password_are_not_for_everybody(tmp_path: Path) -> None:
    done = run(
        tmp_path,
        *["dovecot", "--version", "2.4", "--user", "vpopmail", "--webmail", "192.0.2.1"],
        *["--password-file", "-"],
        url=POSTGRESQL,
        said="s3cret\n",
    )

    assert done.exit_code == 0
    assert {path.stat().st_mode & 0o777 for path in tmp_path.iterdir()} == {0o640}
    assert {path.stat().st_uid for path in tmp_path.iterdir()} == {os.geteuid()}
    written = (tmp_path / "vpopsql.conf").read_text()
    assert "password = s3cret" in written
    assert "daemons" not in written
    assert "s3cret" not in (tmp_path / "role.sql").read_text() + done.output


@pytest.mark.parametrize("version", files.DOVECOT_VERSIONS)
def test_passwords_in_clear_text_are_read_only_where_challenges_are_offered(version: str) -> None:
    plain = files.dovecot(loaded(POSTGRESQL), version, "/etc/dovecot", LOGIN, USERS)
    challenging = files.dovecot(
        loaded(POSTGRESQL), version, "/etc/dovecot", LOGIN, USERS, challenges=True
    )

    assert "auth_mechanisms = plain login\n" in plain["vpopsql.conf"]
    assert "pw_clear_passwd" not in "".join(plain.values())
    assert "auth_mechanisms = plain login cram-md5 apop\n" in challenging["vpopsql.conf"]
    assert "pw_clear_passwd) ON vpopmail TO dovecot;" in challenging["role.sql"]


def test_who_offers_challenges_hears_that_no_password_is_stored_for_them(tmp_path: Path) -> None:
    done = run(tmp_path, *DOVECOT, "--cram-md5")

    assert "passwords.store_clear_text is off" in done.stderr


def test_what_is_as_it_should_be_is_left_alone(tmp_path: Path) -> None:
    run(tmp_path, "postfix")

    done = run(tmp_path, "postfix")

    assert {line.rpartition(": ")[2] for line in done.stdout.splitlines()} == {"as it was"}


def test_a_file_that_says_something_else_is_not_written_over_unasked(tmp_path: Path) -> None:
    (tmp_path / "aliases.cf").write_text("mine")

    with pytest.raises(ExportFailed, match=r"aliases\.cf would be written over"):
        run(tmp_path, "postfix")
    assert [path.name for path in tmp_path.iterdir()] == ["aliases.cf"]

    run(tmp_path, "postfix", "--replace")
    assert "postfix_aliases" in (tmp_path / "aliases.cf").read_text()


def test_a_dry_run_shows_the_files_without_the_password(tmp_path: Path) -> None:
    done = run(
        tmp_path,
        *["postfix", "--dry-run", "--password-file", "-"],
        url=POSTGRESQL,
        said="s3cret\n",
    )

    assert f"==> {tmp_path}/domains.cf <==" in done.stdout
    assert "s3cret" not in done.output
    assert "daemons" not in done.output
    assert list(tmp_path.iterdir()) == []


def test_a_sqlite_database_takes_no_password(tmp_path: Path) -> None:
    done = run(tmp_path, "postfix", "--password-file", "-", said="x\n")

    assert done.exit_code == 2
    assert "a SQLite database has no password" in done.stderr


def test_an_empty_password_is_none(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="its first line is empty"):
        run(tmp_path, "postfix", "--password-file", "-", url=POSTGRESQL, said="\n")


def test_the_owner_of_mailboxes_must_have_a_name(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no user 4294967294: name the mail host's with --user"):
        CliRunner().invoke(
            cli,
            ["mailserver", "dovecot", "--version", "2.4", str(tmp_path)],
            env={"VPOPSQL_EXPORT_UID": "4294967294"},
            catch_exceptions=False,
        )


@pytest.mark.parametrize("url", [SQLITE, POSTGRESQL])
@pytest.mark.parametrize("root", ["", "/srv/site"])
def test_every_place_of_a_template_is_filled_in(url: str, root: str) -> None:
    settings = loaded(url, VPOPSQL_PATHS_ROOT=root)
    made = [
        *files.dovecot(settings, "2.3", "/etc/dovecot", LOGIN, USERS).values(),
        *files.dovecot(settings, "2.4", "/etc/dovecot", LOGIN, USERS, challenges=True).values(),
        *files.postfix(settings, "/etc/postfix", LOGIN).values(),
    ]

    assert [re.findall("@[A-Z_]+@", text) for text in made] == [[]] * len(made)
    assert any("'/srv/site' || home" in text for text in made) is bool(root)


@pytest.mark.parametrize(
    "login",
    [
        files.Login("dovecot", "two words"),
        files.Login("dovecot", "quo'te"),
        files.Login("dovecot", 'quo"te'),
        files.Login("dovecot", "back\\slash"),
        files.Login("dovecot", "$ENV"),
        files.Login("dovecot", "%{user}"),
        files.Login("dovecot", "a#b"),
        files.Login("dovecot", "line\nother = x"),
        files.Login("dovecot; DROP TABLE mailboxes", "secret"),
        files.Login('dove"cot', "secret"),
    ],
)
def test_what_could_be_read_in_another_way_is_refused_and_no_password_shown(
    login: files.Login,
) -> None:
    settings = loaded(POSTGRESQL)

    with pytest.raises(ConfigError, match="cannot be written to a mail server's files") as refusal:
        files.postfix(settings, "/etc/postfix", login)

    assert str(login.password) not in str(refusal.value)


@pytest.mark.parametrize(
    "url, directory, root",
    [
        ("sqlite:////var/lib/my site/vpopsql.db", "/etc/dovecot", ""),
        (SQLITE, "/etc/dove cot", ""),
        (SQLITE, "/etc/dovecot", "/srv/o'neil"),
        ("postgresql://x@/mail?host=/run/post gres", "/etc/dovecot", ""),
        ("postgresql://x@db/mail?sslmode=require%20host%3Devil", "/etc/dovecot", ""),
    ],
)
def test_paths_and_parameters_must_be_plain_too(url: str, directory: str, root: str) -> None:
    settings = loaded(url, VPOPSQL_PATHS_ROOT=root)

    with pytest.raises(ConfigError, match="cannot be written to a mail server's files"):
        files.dovecot(settings, "2.4", directory, LOGIN, USERS)
