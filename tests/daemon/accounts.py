"""The accounts of the tree base, and what a test can see of them."""

from pathlib import Path
from typing import TYPE_CHECKING

from sqlalchemy import func, select

from vpopsql.model import Domain, Mailbox
from vpopsql.qmail.vpasswd import VpasswdLine, parse

if TYPE_CHECKING:
    from tests.daemon.conftest import Running, Talk

SYSTEM = ("postmaster@test.com", "password")
POSTMASTER = ("postmaster@example.com", "expass")
ADMIN = ("dadmin@example.com", "dadminpw")
OVERRIDE = ("oadmin@example.com", "oadminpw")
ALICE = ("alice@example.com", "alicepw")
AL = ("al@example.com", "alpw")
ROOT = ("root@example.com", "rootpw")
NOT_WRITTEN = "-ERR 0.2002 Operation not permitted"

DOMAINS = "home/vpopmail/domains"
EXAMPLE = f"/{DOMAINS}/example.com"
HASH = "$1$abcdefgh$G//4keteveJp0qb8z2DxG/"


def fields(talk: "Talk", address: str) -> dict[str, str]:
    """Return what user_info shows."""
    lines = talk.ask(f"user_info {address}")[1:-1]
    return {line.partition(" ")[0]: line.partition(" ")[2] for line in lines}


def contents(directory: Path) -> dict[str, bytes | str | None]:
    """Return all that is below a directory: content of files, target of links."""
    return {
        str(path.relative_to(directory)): (
            str(path.readlink())
            if path.is_symlink()
            else path.read_bytes()
            if path.is_file()
            else None
        )
        for path in directory.rglob("*")
    }


def entries(root: Path) -> dict[str, VpasswdLine]:
    """Return the lines of example.com's vpasswd by name."""
    lines = parse((root / DOMAINS / "example.com/vpasswd").read_bytes())
    return {line.name: line for line in lines if isinstance(line, VpasswdLine)}


def blocks(lines: list[str]) -> list[dict[str, str]]:
    """Return the users of a list."""
    texts = "\n".join(lines[1:-1]).strip("\n").split("\n\n")
    pairs = [[line.partition(" ") for line in text.split("\n")] for text in texts]
    return [{name: value for name, _, value in each} for each in pairs]


def dotqmails(root: Path) -> dict[str, bytes]:
    """Return the dot-qmail files of the site."""
    found = [*(root / DOMAINS).rglob(".qmail"), *(root / DOMAINS).rglob(".qmail-*")]
    return {str(path): path.read_bytes() for path in found}


UNKNOWN = "-ERR 4.107 Invalid Command"


def rows(daemon: "Running") -> list[int | None]:
    """Return how many mailboxes and domains there are."""
    with daemon.database.reader() as session:
        return [
            session.scalar(select(func.count()).select_from(each)) for each in (Mailbox, Domain)
        ]
