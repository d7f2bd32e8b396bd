"""Postfix's tables as shipped, asked by the real ``postmap -q``."""

import os
import shutil
import subprocess
import uuid
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from click.testing import CliRunner
from sqlalchemy.orm import Session

from tests import databases, factories
from tests.conftest import SHARED
from tests.mailservers.conftest import role
from vpopsql.cli import cli
from vpopsql.db import Database
from vpopsql.model import CatchAll, Flag, LineKind

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("postfix")]

REQUIRED = os.environ.get("VPOPSQL_TEST_REQUIRE_POSTFIX") == "1"
POSTMAP = shutil.which("postmap", path="/usr/sbin:/usr/local/sbin")
KINDS = {"sqlite": "sqlite", "postgresql": "pgsql"}


def fill(session: Session) -> None:
    """Make the site's rows."""
    one = factories.domain(session, "example.com", "alias.org")
    for name in ("alice", "bob", "o'neil"):
        factories.mailbox(session, one, name)
    factories.mailbox(session, one, "homely", Flag.NO_RELAY)
    keeper, leaver, robot = (
        factories.mailbox(session, one, name) for name in ("copies", "moved", "robot")
    )
    bouncer = factories.mailbox(session, one, "bouncer", Flag.BOUNCE_MAIL)
    factories.mailbox(session, one, "both")
    factories.alias(session, one, "", "&x@y.org", "./Maildir/", mailbox_id=keeper.id)
    factories.alias(session, one, "", "&new@y.org", mailbox_id=leaver.id)
    factories.alias(session, one, "", "|/usr/bin/vacation", "./Maildir/", mailbox_id=robot.id)
    factories.alias(session, one, "", "&away@y.org", mailbox_id=bouncer.id)
    factories.alias(session, one, "info", "&alice@example.com", " bob@example.com", "# note")
    factories.alias(session, one, "self", "&self@example.com", "&x@y.org")
    factories.alias(session, one, "both", "&x@y.org", f"{one.directory}/both/Maildir/")
    factories.alias(session, one, "path", "./bob/Maildir/", "/elsewhere/Maildir/")
    factories.alias(session, one, "list", "|/usr/bin/ezmlm-send /x")
    factories.alias(session, one, "list-default", "|/usr/bin/ezmlm-manage /x")
    factories.alias(session, one, "default", "|/home/vpopmail/bin/vdelivermail '' bounce")
    session.execute(factories.update_kinds("%/Maildir/", LineKind.MAILDIR))
    caught = factories.domain(
        session, "caught.net", "caught.org", catchall=CatchAll.ADDRESS, catchall_target="c@y.org"
    )
    factories.mailbox(session, caught, "carol")
    factories.mailbox(session, caught, "closed", Flag.BOUNCE_MAIL)
    home = factories.domain(
        session,
        "home.net",
        catchall=CatchAll.DIRECTORY,
        catchall_target=f"{factories.HOME}/domains/home.net/dora",
    )
    factories.mailbox(session, home, "dora")
    lines = factories.domain(session, "lines.net", catchall=CatchAll.DOTQMAIL)
    factories.alias(session, lines, "default", "&one@y.org", "|/bin/log", "&two@y.org")
    dropped = factories.domain(session, "dropped.net", catchall=CatchAll.DELETE)
    factories.mailbox(session, dropped, "erin")
    factories.domain(session, "empty.net")


@dataclass(frozen=True, slots=True)
class Tables:
    """The tables of one database, in a directory."""

    kind: str
    directory: Path

    def ask(self, table: str, keys: Iterable[str]) -> dict[str, list[str]]:
        """Look keys up, as Postfix does; what is found for each, without commas."""
        found: dict[str, list[str]] = {key: [] for key in keys}
        done = subprocess.run(
            # It wants a main.cf, and the system's is not the tests'.
            [
                *(str(POSTMAP), "-c", str(self.directory), "-q", "-"),
                f"{KINDS[self.kind]}:{self.directory}/{table}.cf",
            ],
            input="".join(f"{key}\n" for key in found),
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.stderr == ""
        for line in done.stdout.splitlines():
            key, _, value = line.partition("\t")
            found[key] = value.split(",")
        return found


@pytest.fixture(scope="module", params=KINDS)
def tables(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Tables]:
    """The shipped tables for a site, on each database."""
    if POSTMAP is None:
        say = pytest.fail if REQUIRED else pytest.skip
        say("no Postfix: its tables are not tested")
    directory = tmp_path_factory.mktemp("postfix")
    shared = request.config.stash[SHARED]
    made: databases.Backend = databases.SQLite(shared, directory)
    login = f"postfix_{uuid.uuid4().hex}"
    if request.param == "postgresql":
        made = databases.PostgreSQL(shared, request.getfixturevalue("_postgresql_url"))
    url = made.create(migrated=True)
    database = Database(url)
    with database.writer() as session:
        fill(session)
    database.close()
    (directory / "main.cf").write_text(f"queue_directory = {directory}\n")
    (directory / "vpopsql.toml").write_text(f'[database]\nurl = "{url}"\n')
    options = ["--role", login, "--password-file", "-"] if request.param == "postgresql" else []
    done = CliRunner().invoke(
        cli,
        [
            *("--config", str(directory / "vpopsql.toml")),
            *("mailserver", "postfix", *options, str(directory)),
        ],
        input="secret\n",
        catch_exceptions=False,
    )
    assert done.exit_code == 0, done.output
    if request.param == "postgresql":
        with role(url, (directory / "role.sql").read_text(), login):
            yield Tables(request.param, directory)
    else:
        yield Tables(request.param, directory)
    made.drop_all()


DOMAINS = {
    "example.com": ["example.com"],
    "Example.COM": ["example.com"],
    "alias.org": ["alias.org"],
    "empty.net": ["empty.net"],
    "nowhere.org": [],
    "%": [],
    "example_com": [],
    "x' OR '1'='1": [],
    "\\": [],
}
MAILBOXES = {
    "alice@example.com": ["example.com/alice/Maildir/"],
    "ALICE@alias.org": ["example.com/alice/Maildir/"],
    "o'neil@example.com": ["example.com/o'neil/Maildir/"],
    "bouncer@example.com": [],
    "info@example.com": [],
    "nobody@example.com": [],
    "alice@nowhere.org": [],
    "alice": [],
    "@example.com": [],
    "%@example.com": [],
    "alic_@example.com": [],
    "x' OR '1'='1@example.com": [],
    "alice@example.com'--": [],
    "al\\ice@example.com": [],
    '"alice"@example.com': [],
}
ALIASES = {
    "info@example.com": ["alice@example.com", "bob@example.com"],
    "Info@Alias.org": ["alice@example.com", "bob@example.com"],
    "self@example.com": ["self@example.com", "x@y.org"],
    # A mailbox has no alias, unless it is asked for by another domain's name.
    "alice@example.com": [],
    "alice@alias.org": ["alice@example.com"],
    "o'neil@alias.org": ["o'neil@example.com"],
    # Forwards of mailboxes, with a copy and without.
    "copies@example.com": ["copies@example.com", "x@y.org"],
    "moved@example.com": ["new@y.org"],
    "moved@alias.org": ["new@y.org"],
    "robot@example.com": [],
    "bouncer@example.com": [],
    # An alias goes before the mailbox of its name.
    "both@example.com": ["x@y.org", "both@example.com"],
    "path@example.com": ["bob@example.com"],
    "list@example.com": [],
    "list-owner@example.com": [],
    "default@example.com": [],
    "nobody@example.com": [],
    "@example.com": [],
    # Catch-alls, which must not take the mail of mailboxes.
    "@caught.net": ["c@y.org"],
    "@caught.org": ["c@y.org"],
    "carol@caught.net": ["carol@caught.net"],
    "carol@caught.org": ["carol@caught.net"],
    "closed@caught.net": ["closed@caught.net"],
    "nobody@caught.net": [],
    "@home.net": ["dora@home.net"],
    "dora@home.net": ["dora@home.net"],
    "@lines.net": ["one@y.org", "two@y.org"],
    "@dropped.net": [],
    "erin@dropped.net": [],
    "@nowhere.org": [],
    "info": [],
    "%@example.com": [],
    "inf_@example.com": [],
    "x' OR '1'='1@example.com": [],
    "in\\fo@example.com": [],
    "'@caught.net": [],
}
RECIPIENTS = {
    "alice@example.com": ["example.com"],
    "alice@alias.org": ["alias.org"],
    "info@alias.org": ["alias.org"],
    "list@example.com": ["example.com"],
    "list-owner@example.com": ["example.com"],
    "list-@example.com": ["example.com"],
    "listowner@example.com": [],
    "bouncer@example.com": [],
    "default@example.com": [],
    "nobody@example.com": [],
    "anybody@caught.org": ["caught.org"],
    "carol@caught.net": ["caught.net"],
    "anybody@home.net": ["home.net"],
    "anybody@lines.net": ["lines.net"],
    "anybody@dropped.net": ["dropped.net"],
    "anybody@empty.net": [],
    "anybody@nowhere.org": [],
    "%@example.com": [],
    "x' OR '1'='1@example.com": [],
}
SENDERS = {
    "homely@example.com": ["reject_unauth_destination"],
    "homely@alias.org": ["reject_unauth_destination"],
    "alice@example.com": [],
    "nobody@example.com": [],
}


def test_every_name_of_every_domain_is_one_of_the_sites(tables: Tables) -> None:
    assert tables.ask("domains", DOMAINS) == DOMAINS


def test_mailboxes_are_found_under_every_name_of_their_domain(tables: Tables) -> None:
    homes = {
        key: [f"{factories.HOME}/domains/{each}" for each in found]
        for key, found in MAILBOXES.items()
    }

    assert tables.ask("mailboxes", MAILBOXES) == homes


def test_aliases_forwards_and_catch_alls_lead_where_they_do_in_qmail(tables: Tables) -> None:
    assert tables.ask("aliases", ALIASES) == ALIASES


def test_a_relay_takes_what_qmail_takes(tables: Tables) -> None:
    assert tables.ask("recipients", RECIPIENTS) == RECIPIENTS


def test_who_may_not_relay_is_kept_to_the_site(tables: Tables) -> None:
    assert tables.ask("senders", SENDERS) == SENDERS
