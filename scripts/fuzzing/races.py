"""The path walker, and a user's file commands, while components of paths become links.

A process of its own exchanges a directory, and a file, with links that lead outside, in one step
each (renameat2), so that there is always one or the other, and never nothing.
"""

import ctypes
import multiprocessing
import os
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import structlog

from scripts.fuzzing import require
from scripts.fuzzing.stages import PASSWORD, ROLES, make_site
from vpopsql.daemon.conversation import Conversation, Peer, Service
from vpopsql.db import Database
from vpopsql.exporter.projector import Projector
from vpopsql.tree import LinkInPath, Tree, UnsafePath

_EXCHANGE = 2
_HERE = -100  # AT_FDCWD
_SECRET = b"nobody may read this"
_OURS = b"ours"


def run(tries: int) -> dict[str, Any]:
    """Try so many times; return how often paths led somewhere, and how often to a link.

    :raises Broken: something outside was read or changed.
    """
    outcomes: Counter[str] = Counter()
    with tempfile.TemporaryDirectory(prefix="vpopsql-fuzz-") as name:
        place = Path(name)
        root, outside = place / "root", place / "outside"
        (root / "dir/sub").mkdir(parents=True)
        (outside / "sub").mkdir(parents=True)
        for directory, data in ((root / "dir", _OURS), (outside, _SECRET)):
            for file in ("file", "sub/file"):
                (directory / file).write_bytes(data)
        (root / "dir-link").symlink_to(outside)
        (root / "dir/file-link").symlink_to(outside / "file")
        tree = Tree(root)
        before = _contents(outside)
        with _exchanging(root / "dir", root / "dir-link"):
            for number in range(tries):
                outcomes[_try(tree, number)] += 1
                if number % 1000 == 0:
                    require(_contents(outside) == before, "nothing outside is changed")
        require(_contents(outside) == before, "nothing outside is changed")
    require(outcomes["done"] and outcomes["LinkInPath"], f"both were met: {outcomes}")
    return {"tries": tries, **outcomes}


def run_commands(tries: int) -> dict[str, Any]:
    """Try a user's file commands so many times; return how often each was done, or refused how.

    :raises Broken: something outside was read or changed.
    """
    outcomes: Counter[str] = Counter()
    with tempfile.TemporaryDirectory(prefix="vpopsql-fuzz-") as name, _site(Path(name)) as talk:
        outside = Path(name) / "outside"
        ours = Path(name) / f"root/home/vpopmail/domains/{_USER.replace('alice@', '')}/alice/dir"
        (ours / "sub").mkdir(parents=True)
        for place in (ours / "file", ours / "sub/file"):
            place.write_bytes(_OURS)
        (outside / "file").write_bytes(_SECRET)
        (ours.parent / "dir-link").symlink_to(outside)
        (ours / "file-link").symlink_to(outside / "file")
        before = _contents(outside)
        with _exchanging(ours, ours.parent / "dir-link"):
            for number in range(tries):
                said = talk(_COMMANDS[number % len(_COMMANDS)])
                require(_SECRET not in said, "nothing outside is read")
                words = said.decode().split()
                outcomes[words[1] if words[0] == "-ERR" else "done"] += 1
                if number % 1000 == 0:
                    require(_contents(outside) == before, "nothing outside is changed")
        require(_contents(outside) == before, "nothing outside is changed")
    return {"tries": tries, **outcomes}


@contextmanager
def _site(directory: Path) -> Iterator[Callable[[tuple[str, ...]], bytes]]:
    """Give what carries out lines of a user who has logged in, and returns the answers."""
    url = f"sqlite:///{directory}/vpopsql.db"
    site = make_site(directory, url)
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(50))
    with closing(Database(url)) as database:
        service = Service(database, site, Projector(database, site))
        conversation = Conversation(service, Peer("192.0.2.1", "192.0.2.2"))

        def talk(lines: tuple[str, ...]) -> bytes:
            replies = [reply for line in lines for reply in conversation.receive(line.encode())]
            return b"".join(piece for reply in replies for piece in reply.render())

        require(talk((f"slogin {_USER} {PASSWORD}",)).startswith(b"+OK"), "the user is let in")
        yield talk


def _try(tree: Tree, number: int) -> str:
    step = _STEPS[number % len(_STEPS)]
    try:
        found = step(tree)
    except LinkInPath:
        return "LinkInPath"
    except (OSError, UnsafePath) as error:
        return type(error).__name__
    require(_SECRET not in (found, getattr(found, "data", None)), "nothing outside is read")
    return "done"


def _walk(tree: Tree) -> bytes:
    with tree.enter("/dir") as directory:
        return directory.read("file")


_STEPS: tuple[Callable[[Tree], object], ...] = (
    lambda tree: tree.read("/dir/file"),
    lambda tree: tree.load("/dir/sub/file"),
    lambda tree: tree.write("/dir/file", _OURS + os.urandom(2), durable=False),
    lambda tree: tree.write("/dir/sub/file", os.urandom(4), durable=False),
    lambda tree: tree.append("/dir/file", b"x"),
    lambda tree: tree.make_dir("/dir/new", durable=False),
    lambda tree: tree.remove_dir("/dir/new"),
    lambda tree: tree.write("/dir/a", b"a", durable=False),
    lambda tree: tree.rename("/dir/a", "/dir/sub/b"),
    lambda tree: tree.remove("/dir/sub/b"),
    lambda tree: tree.set_rights("/dir/file", 0o600, (os.geteuid(), os.getegid())),
    lambda tree: tree.symlink("/dir/l", "sub"),
    lambda tree: tree.remove("/dir/l"),
    lambda tree: tree.sweep("/dir", 0),
    lambda tree: tree.list("/dir/sub"),
    _walk,
)


_USER = ROLES[2]
_DIR = f"{_USER}/dir"

_COMMANDS: tuple[tuple[str, ...], ...] = (
    (f"list_dir {_DIR}",),
    (f"read_file {_DIR}/file",),
    (f"write_file {_DIR}/file", "ours", "."),
    (f"stat_file {_DIR}/file",),
    (f"read_file {_DIR}/sub/file",),
    (f"write_file {_DIR}/sub/file", "ours", "."),
    (f"write_file {_DIR}/new", "ours", "."),
    (f"rename_file {_DIR}/new {_DIR}/sub/new",),
    (f"list_dir {_DIR}/sub",),
    (f"rm_file {_DIR}/sub/new",),
    (f"mk_dir {_DIR}/made",),
    (f"rm_dir {_DIR}/made",),
)
"""Each with the lines that follow it."""


@contextmanager
def _exchanging(one: Path, other: Path) -> Iterator[None]:
    process = multiprocessing.get_context("fork").Process(
        target=_exchange, args=(one, other), daemon=True
    )
    process.start()
    try:
        yield
    finally:
        process.kill()
        process.join()


def _exchange(one: Path, other: Path) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    pairs = [(one, other), (one / "file", one / "file-link")]
    while True:
        for first, second in pairs:
            libc.renameat2(_HERE, os.fsencode(first), _HERE, os.fsencode(second), _EXCHANGE)


def _contents(directory: Path) -> dict[str, tuple[bytes, int]]:
    return {
        str(path.relative_to(directory)): (
            path.read_bytes() if path.is_file() else b"",
            path.lstat().st_mode,
        )
        for path in sorted(directory.rglob("*"))
    }
