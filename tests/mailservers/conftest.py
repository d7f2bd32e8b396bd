"""A site for mail servers, and real Dovecots that serve it with the shipped configuration."""

import contextlib
import os
import pwd
import shutil
import tempfile
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psycopg
import pytest
from click.testing import CliRunner
from sqlalchemy import URL, make_url
from sqlalchemy.orm import Session

from tests import databases, factories
from tests.conftest import SHARED
from tests.mailservers.dovecot import MAPPED, Dovecot, Relay, root_of
from vpopsql.cli import cli
from vpopsql.db import Database
from vpopsql.model import Flag

MAIL = next((user for user in pwd.getpwall() if user.pw_name == "mail"), pwd.getpwuid(os.getuid()))
"""Who owns mailboxes in tests: where there is no such user, no Dovecot is started either."""

WEBMAIL = "127.0.0.9"
REQUIRED = os.environ.get("VPOPSQL_TEST_REQUIRE_DOVECOT", "").split()
"""Versions of Dovecot that must not be missing."""

HASHES = {
    "des": "sa6wTygWOYWrg",
    "md5": factories.PASSWORD_HASH,
    "sha256": "$5$rounds=1000$LaCRw4mKJlezuloA$cCFGtX/0JW9venqUEOQVcMtpaoP1pXwbOeN/ICDv709",
    "sha512": (
        "$6$rounds=1000$JgqDdpzBBgwAQ/BO$WfQEBwwXgI8TRi9YR4HlqN.sWsB5gwDLuT0cEmUTAE9VlmZwkfxwsts3"
        "yrv4QT9PeGhzP6xAHdeKOwysDiVEf/"
    ),
    "bcrypt": "$2b$04$t1iEa0dKYCICObDo2BJLd.ybbQhh/J6YrYd6kLjaNNI6bQtJaDRqm",
    "yescrypt": "$y$j75$6FYaLw5byF8EmL6rMjTHW.$y76JDw80J.dhtfgHJbL2CEeEW3hfjdWPexlDTdQfas0",
    "argon2id": (
        "$argon2id$v=19$m=64,t=1,p=1$h7AW4nzvnbPW+r83pvS+1w$YNwZ/DenvtUd3bhx/XmsWOFRa3hCwYayDksTpq"
        "+F/z0"
    ),
    "prefixed": "{CRYPT}" + factories.PASSWORD_HASH,
}
"""Hashes of `factories.PASSWORD`, by the mailbox of schemes.org that has each."""


def fill(session: Session) -> None:
    """Make the site's rows."""
    ours = {"uid": MAIL.pw_uid, "gid": MAIL.pw_gid}
    one = factories.domain(session, "example.com", "alias.org", directory="/d/example.com", **ours)
    factories.limits(session, one, disable_pop=True)
    factories.mailbox(session, one, "alice", quota_bytes=10_485_760, quota_messages=1000)
    factories.mailbox(session, one, "bob", Flag.NO_IMAP)
    factories.mailbox(session, one, "boss", Flag.V_OVERRIDE)
    factories.mailbox(session, one, "stubborn", Flag.V_OVERRIDE | Flag.NO_POP)
    factories.mailbox(session, one, "weber", Flag.NO_WEBMAIL)
    factories.mailbox(session, one, "mute", Flag.NO_SMTP)
    factories.mailbox(session, one, "tiny", quota_bytes=100)
    factories.mailbox(session, one, "few", quota_messages=1)
    factories.mailbox(session, one, "o'neil")
    factories.mailbox(session, one, "bouncer", Flag.BOUNCE_MAIL)
    factories.mailbox(session, one, "locked", password_hash="!" + factories.PASSWORD_HASH)
    factories.mailbox(session, one, "empty", password_hash="", clear_text="")
    factories.ip_mapping(session, MAPPED, one)
    plain = factories.domain(session, "plain.net", directory="/d/plain.net", **ours)
    factories.limits(session, None, disable_imap=True)
    factories.mailbox(session, plain, "pat")
    factories.mailbox(session, plain, "vip", Flag.V_OVERRIDE)
    schemes = factories.domain(session, "schemes.org", directory="/d/schemes.org", **ours)
    factories.limits(session, schemes)
    for name, hashed in HASHES.items():
        factories.mailbox(session, schemes, name, password_hash=hashed)
    stored = factories.PASSWORD
    shut = Flag.NO_IMAP | Flag.NO_POP
    factories.mailbox(session, schemes, "clear", clear_text=stored)
    factories.mailbox(session, schemes, "shut", shut, clear_text=stored)
    locked = "!" + factories.PASSWORD_HASH
    factories.mailbox(session, schemes, "lock", password_hash=locked, clear_text=stored)


USERS = {
    "example.com": [
        *("alice", "bob", "boss", "stubborn", "weber", "mute"),
        *("tiny", "few", "o'neil", "bouncer", "locked", "empty"),
    ],
    "plain.net": ["pat", "vip"],
    "schemes.org": [*HASHES, "clear", "shut", "lock"],
}


@dataclass(frozen=True, slots=True)
class Served:
    """A site, and the Dovecot that serves it."""

    server: Dovecot
    database: Database

    @property
    def maildirs(self) -> Path:
        """Where the domains' directories are."""
        return self.server.directory / "mail/d"


@pytest.fixture(
    scope="module",
    params=["2.3-sqlite", "2.3-postgresql", "2.4-sqlite", "2.4-postgresql"],
)
def served(request: pytest.FixtureRequest) -> Iterator[Served]:
    """The site on each database, served by each Dovecot that is here."""
    version, _, kind = request.param.partition("-")
    root = root_of(version)
    if root is None or MAIL.pw_name != "mail":
        say = pytest.fail if version in REQUIRED else pytest.skip
        say(f"no Dovecot {version} that can be run: its configuration is not tested")
    # The mailboxes' owner has to get in, which he cannot below pytest's own directories.
    directory = Path(tempfile.mkdtemp(prefix="vpopsql-dovecot-", dir=root / "tmp"))
    directory.chmod(0o755)
    place = f"/{directory.relative_to(root)}"
    shared = request.config.stash[SHARED]
    with contextlib.ExitStack() as stack:
        stack.callback(shutil.rmtree, directory)
        if kind == "sqlite":
            url = databases.SQLite(shared, directory).create(migrated=True)
            seen, login = make_url(f"sqlite:///{place}/{Path(url).name}"), None
        else:
            server = databases.PostgreSQL(shared, request.getfixturevalue("_postgresql_url"))
            stack.callback(server.drop_all)
            url = server.create(migrated=True)
            seen = reachable(make_url(url), directory, place, stack)
            login = f"dovecot_{uuid.uuid4().hex}"
        database = Database(url)
        stack.callback(database.close)
        with database.writer() as session:
            fill(session)
        make_maildirs(directory / "mail/d")
        configure(directory, version, seen, login, mail=f"{place}/mail")
        if login is None:
            give_to_mail(*directory.glob("vpopsql-*.db*"))
        else:
            stack.enter_context(role(url, (directory / "role.sql").read_text(), login))
        dovecot = Dovecot(version, root, place)
        stack.callback(dovecot.stop)
        dovecot.start()
        yield Served(dovecot, database)


def reachable(url: URL, directory: Path, place: str, stack: contextlib.ExitStack) -> URL:
    """Return the URL by which users other than the database's own reach it."""
    host = str(url.query.get("host") or url.host or "")
    if not host.startswith("/"):
        return url
    relay = Relay(directory / ".s.PGSQL.5432", f"{host}/.s.PGSQL.{url.port or 5432}")
    stack.callback(relay.close)
    return url.set(host=None, port=None, query={"host": place})


@contextlib.contextmanager
def role(url: str, statements: str, name: str) -> Iterator[None]:
    """Make the role that the shipped statements make, for as long as it is needed."""
    with psycopg.connect(url, autocommit=True) as owner:
        owner.execute(statements)
        owner.execute(f"ALTER ROLE {name} PASSWORD 'secret'")
        yield
        owner.execute(f"DROP OWNED BY {name}")
        owner.execute(f"DROP ROLE {name}")


def configure(directory: Path, version: str, url: URL, login: str | None, *, mail: str) -> None:
    """Write Dovecot's configuration as an administrator does."""
    toml = directory / "vpopsql.toml"
    toml.write_text(
        f'[database]\nurl = "{url.render_as_string(hide_password=False)}"\n'
        f'[paths]\nroot = "{mail}"\n'
        f"[export]\nuid = {MAIL.pw_uid}\ngid = {MAIL.pw_gid}\n"
    )
    options = ["--role", login, "--password-file", "-"] if login else []
    done = CliRunner().invoke(
        cli,
        [
            *("--config", str(toml), "mailserver", "dovecot", "--version", version),
            *(*options, "--webmail", WEBMAIL, "--cram-md5", str(directory)),
        ],
        input="secret\n",
        catch_exceptions=False,
    )
    assert done.exit_code == 0, done.output


def make_maildirs(where: Path) -> None:
    """Make the home of every mailbox, as they are on a mail host."""
    for domain, names in USERS.items():
        for name in names:
            (where / domain / name / "Maildir").mkdir(parents=True)
    give_to_mail(where, *where.rglob("*"))


def give_to_mail(*paths: Path) -> None:
    """Let `MAIL` own files."""
    for path in paths:
        os.chown(path, MAIL.pw_uid, MAIL.pw_gid)
