"""A site whose files are what its database says, and ways to spoil it."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path

from sqlalchemy import select
from sqlalchemy.orm import Session

from tests import factories
from vpopsql.config import Config, Export, Paths
from vpopsql.db import Database
from vpopsql.exporter.apply import apply
from vpopsql.exporter.drift.codes import Code
from vpopsql.exporter.drift.survey import Report, verify
from vpopsql.homes import make_home
from vpopsql.model import (
    DirCounter,
    DomainName,
    DotQmailFile,
    DotQmailLine,
    ForeignLine,
    LineKind,
    Mailbox,
)
from vpopsql.quota import Quota
from vpopsql.services.account_changes import Home
from vpopsql.tree import Tree

DOMAINS = "home/vpopmail/domains"
EXAMPLE = f"{DOMAINS}/example.com"
ALICE = f"{EXAMPLE}/0/alice"
BOB = f"{EXAMPLE}/bob"
CONTROL = "var/qmail/control"
USERS = "var/qmail/users"
ETC = "home/vpopmail/etc"

CODES = {str(code): code for code in Code}
LONG_AGO = (0, 0)
PASSWORD_HASH = factories.PASSWORD_HASH

Spoil = Callable[[Path], object]


def config_of(root: Path) -> Config:
    return Config(paths=Paths(root=str(root)), export=Export(reload_command=("/bin/true",)))


def is_root() -> bool:
    return os.geteuid() == 0


def make_site(database: Database, root: Path) -> None:
    """Make two domains, and all that an export and the daemon make of them."""
    with database.writer() as session:
        one = factories.domain(session, "example.com", "alias.org")
        alice = factories.mailbox(session, one, "alice", directory=f"/{ALICE}")
        factories.mailbox(session, one, "bob", directory=f"/{BOB}")
        factories.alias(session, one, "info", "&alice@example.com", "&bob@example.com")
        factories.alias(session, one, "robot", f"|/usr/bin/autorespond /{EXAMPLE}/ROBOT/message")
        factories.limits(session, one, max_popaccounts=10)
        factories.ip_mapping(session, "10.0.0.1", one)
        factories.limits(session, None, max_aliases=7)
        factories.domain(session, "test.com")
        many = factories.domain(session, "many.net")
        session.execute(
            DomainName.__table__.update()  # type: ignore[attr-defined]
            .where(DomainName.domain_id == many.id)
            .values(in_morercpthosts=True)
        )
        session.add(ForeignLine(file="control/locals", position=1, line="localhost", sort_key=""))
        add_counter(session, 1, one.id)
        forward = DotQmailFile(domain_id=one.id, mailbox_id=alice.id, name="")
        link = DotQmailFile(domain_id=one.id, name="link", link_target="/nowhere")
        session.add_all([forward, link])
        session.flush()
        line = DotQmailLine(file_id=forward.id, position=1, line="&x@y.z", kind=LineKind.FORWARD)
        session.add(line)
    make_homes(database, root)
    apply(database, config_of(root))
    (root / EXAMPLE / "ROBOT").mkdir()
    age(root / EXAMPLE / "ROBOT")


def make_homes(database: Database, root: Path) -> None:
    tree = Tree(root)
    with database.reader() as session:
        for mailbox in session.scalars(select(Mailbox)):
            make_home(tree, Home("", mailbox.directory, 89, 89, Quota()))


def add_counter(session: Session, number: int, domain_id: int | None) -> None:
    levels = {
        f"level_{field}{level}": 0
        for field in ("start", "end", "mod", "index")
        for level in range(3)
    }
    session.add(
        DirCounter(
            id=number,
            domain_id=domain_id,
            level_cur=0,
            level_max=3,
            the_dir="",
            free_buckets="0\n",
            **levels,
        )
    )


def age(path: Path) -> None:
    """Let nobody take a directory for one that is being made."""
    os.utime(path, LONG_AGO)


def found(report: Report) -> list[tuple[str, str]]:
    return [(str(each.code), each.path) for each in report.findings]


def look(database: Database, root: Path) -> Report:
    return verify(database, config_of(root))


# --- ways to spoil it -------------------------------------------------------------------------


def unlink(path: str) -> Spoil:
    return lambda root: (root / path).unlink()


def write(path: str, text: str) -> Spoil:
    """Write a file, which has the owner of its directory if it is new."""

    def spoil(root: Path) -> None:
        file = root / path
        is_new = not file.exists()
        file.write_text(text)
        if is_new:
            owner = file.parent.stat()
            os.chown(file, owner.st_uid, owner.st_gid)
            file.chmod(0o600)

    return spoil


def append(path: str, text: str) -> Spoil:
    return lambda root: write(path, (root / path).read_text() + text)(root)


def cut(path: str, size: int) -> Spoil:
    return lambda root: os.truncate(root / path, size)


def copy(source: str, target: str) -> Spoil:
    return lambda root: (root / target).write_bytes((root / source).read_bytes())


def chmod(path: str, mode: int) -> Spoil:
    return lambda root: (root / path).chmod(mode)


def chown(path: str, uid: int, gid: int) -> Spoil:
    return lambda root: os.chown(root / path, uid, gid)


def remove(path: str) -> Spoil:
    return lambda root: shutil.rmtree(root / path)


def make_dir(path: str, *inside: str) -> Spoil:
    def spoil(root: Path) -> None:
        for name in ("", *inside):
            (root / path / name).mkdir(mode=0o700)
        age(root / path)

    return spoil


def link(path: str, target: str) -> Spoil:
    def spoil(root: Path) -> None:
        place = root / path
        if place.is_dir():
            shutil.rmtree(place)
        else:
            place.unlink(missing_ok=True)
        place.symlink_to(target)

    return spoil


def dir_for_file(path: str) -> Spoil:
    def spoil(root: Path) -> None:
        (root / path).unlink()
        (root / path).mkdir()

    return spoil


def leave_half_written(path: str) -> Spoil:
    def spoil(root: Path) -> None:
        (root / path).touch()
        os.utime(root / path, LONG_AGO)

    return spoil


def all_of(*spoils: Spoil) -> Spoil:
    return lambda root: [spoil(root) for spoil in spoils]
