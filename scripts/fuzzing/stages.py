"""The targets that need a site around them: a conversation, and the path walker."""

import contextlib
import os
import secrets
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import structlog
from sqlalchemy import update

from scripts.fuzzing import require
from vpopsql import config, db, homes
from vpopsql.daemon.commands import INTERNAL_ERROR
from vpopsql.daemon.conversation import Conversation, Peer, Service
from vpopsql.db import Database
from vpopsql.exporter.apply import apply
from vpopsql.exporter.projector import Projector
from vpopsql.model import CatchAll, Flag, Mailbox
from vpopsql.passwords import hash_password
from vpopsql.services import account_changes, domain_changes, ipmaps, rights
from vpopsql.services.account_changes import Secret
from vpopsql.services.domain_changes import NewDomains
from vpopsql.tree import Tree, UnsafePath

Target = Callable[[bytes], None]

PASSWORD = "a word between us"  # noqa: S105 - of a site that lives for minutes
ROLES = ("postmaster@root.example", "postmaster@example.com", "alice@example.com")
"""A system administrator, one of a domain, and a user."""

SENTINELS = tuple(f"10.88.0.{number}" for number in range(256))
"""Addresses that are mapped to a domain: whoever asks for one is told it."""

_SECRET = b"nobody may read this"
_LINES_MAX = 40


def make_site(directory: Path, url: str) -> config.Config:
    """Make a site with `ROLES` and a file outside of it; return its configuration."""
    root = directory / "root"
    root.mkdir()
    (directory / "outside").mkdir()
    (directory / "outside/secret").write_bytes(_SECRET)
    settings = {
        "VPOPSQL_DATABASE_URL": url,
        "VPOPSQL_PATHS_ROOT": str(root),
        "VPOPSQL_EXPORT_UID": str(os.geteuid()),
        "VPOPSQL_EXPORT_GID": str(os.getegid()),
        "VPOPSQL_DAEMON_LISTEN": "127.0.0.1:0",
        "VPOPSQL_PASSWORDS_SCHEME": "sha512-crypt",
        "VPOPSQL_PASSWORDS_ROUNDS": "1000",
    }
    site = config.load(None, settings)
    db.upgrade(url)
    database = Database(url)
    tree = Tree(root)
    actor = rights.operator("fuzz", site.paths.vpopmail)
    secret = Secret(hash_password(PASSWORD, "sha512-crypt", 1000))
    new = NewDomains((os.geteuid(), os.getegid()), CatchAll.BOUNCE)
    with database.writer() as session:
        for name in ("root.example", "example.com", "sentinel.example"):
            domain, home = domain_changes.add_domain(session, actor, name, secret, new)
            homes.make_domain_directory(tree, domain.directory, domain.uid, domain.gid)
            homes.make_home(tree, home)
            if name == "root.example":
                session.execute(update(Mailbox).values(flags=int(Flag.SA_ADMIN)))
        for address in SENTINELS:
            ipmaps.add_mapping(session, actor, address=address, domain="sentinel.example")
        alice = account_changes.add_account(session, actor, "alice", "example.com", secret)
        homes.make_home(tree, alice)
    apply(database, site)
    database.close()
    with contextlib.suppress(FileExistsError):
        (root / "home/vpopmail/domains/example.com/out").symlink_to(directory / "outside")
    return site


def require_outside(directory: Path) -> None:
    """Look whether what is outside the site is as it was."""
    found = {path.name: path.read_bytes() for path in (directory / "outside").iterdir()}
    require(found == {"secret": _SECRET}, f"nothing outside the site changes: {found}")


@contextlib.contextmanager
def conversation() -> Iterator[Target]:
    """Lines of a client that has logged in: each is answered, none breaks anything."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(50))
    with tempfile.TemporaryDirectory(prefix="vpopsql-fuzz-") as name:
        directory = Path(name)
        url = f"sqlite:///{directory}/vpopsql.db"
        site = make_site(directory, url)
        with contextlib.closing(Database(url)) as database:
            service = Service(database, site, Projector(database, site))

            def talk(data: bytes) -> None:
                role = ROLES[data[0] % len(ROLES)] if data else ROLES[0]
                _converse(Conversation(service, Peer("192.0.2.1", "192.0.2.2")), role, data[1:])
                require_outside(directory)

            yield talk


def _converse(conversation: Conversation, role: str, data: bytes) -> None:
    asked = [f"slogin {role} {PASSWORD}".encode(), *data.split(b"\n")[:_LINES_MAX]]
    for line in asked:
        replies = conversation.receive(line)
        said = b"".join(piece for reply in replies for piece in reply.render())
        require(_SECRET not in said, "nothing outside the site is read")
        require(INTERNAL_ERROR.status.encode() not in said, f"no internal error: {line!r}")
        if any(reply.close for reply in replies):
            return
    # Whatever was under way is over behind a dot; the second is no command, and answered.
    conversation.receive(b".")
    last = conversation.receive(b"no_such_command")
    said = b"".join(piece for reply in last for piece in reply.render())
    require(said.startswith(b"-ERR "), f"it goes on: {said!r}")


@contextlib.contextmanager
def path_walker() -> Iterator[Target]:
    """Operations on paths of any text: nothing outside the root is read or changed."""
    with tempfile.TemporaryDirectory(prefix="vpopsql-fuzz-") as name:
        directory = Path(name)
        root = directory / "root"
        (root / "dir/sub").mkdir(parents=True)
        (directory / "outside").mkdir()
        (directory / "outside/secret").write_bytes(_SECRET)
        (root / "out").symlink_to("../outside")
        (root / "dir/out").symlink_to(directory / "outside")
        (root / "file").symlink_to("../outside/secret")
        tree = Tree(root)

        def walk(data: bytes) -> None:
            for line in data.split(b"\n")[:_LINES_MAX]:
                _step(tree, line)
            require_outside(directory)
            _clear(root)

        yield walk


def _step(tree: Tree, line: bytes) -> None:
    text = line[1:].decode("utf-8", "surrogateescape")
    first, _, second = text.partition("\0")
    operations: tuple[Callable[[], object], ...] = (
        lambda: tree.read(first),
        lambda: tree.load(first),
        lambda: tree.list(first),
        lambda: tree.stat(first),
        lambda: tree.exists(first),
        lambda: tree.write(first, line, durable=False),
        lambda: tree.append(first, line),
        lambda: tree.make_dir(first, parents=bool(second), durable=False),
        lambda: tree.rename(first, second),
        lambda: tree.remove(first),
        lambda: tree.remove_dir(first),
        lambda: tree.remove_tree(first),
        lambda: tree.symlink(first, second),
        lambda: tree.sweep(first, 0),
        lambda: tree.set_rights(first, 0o700, (os.geteuid(), os.getegid())),
    )
    try:
        found = operations[line[0] % len(operations) if line else 0]()
    except (OSError, UnsafePath):
        return
    require(found != _SECRET and getattr(found, "data", b"") != _SECRET, "nothing outside is read")


def _clear(root: Path) -> None:
    """Put back what operations have removed, so that inputs do not depend on each other."""
    for path in list(root.iterdir()):
        if path.name not in {"dir", "out", "file"}:
            target = root.parent / f"gone-{secrets.token_hex(4)}"
            path.rename(target)
            if target.is_dir() and not target.is_symlink():
                Tree(root.parent).remove_tree(f"/{target.name}")
            else:
                target.unlink()
    (root / "dir/sub").mkdir(parents=True, exist_ok=True)
    for link, leads in (("out", "../outside"), ("dir/out", str(root.parent / "outside"))):
        with contextlib.suppress(FileExistsError):
            (root / link).symlink_to(leads)


STAGES: dict[str, Callable[[], contextlib.AbstractContextManager[Target]]] = {
    "conversation": conversation,
    "paths": path_walker,
}
