"""Putting the commands where scripts look for them: a launcher each in a directory.

A launcher is a small Python script that the Python of this installation runs, with the site's
configuration, and with nothing of the caller's Python environment. It is known by its second or
third line as one of ours. A file that is none is never overwritten without leave; with leave it is
moved aside, and comes back when the launcher is removed.
"""

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from vpopsql.compat.main import PROGRAMS
from vpopsql.errors import VpopsqlError
from vpopsql.qmail.lines import encode
from vpopsql.tree import EntryType, Tree, Write

MARK = "# Made by `vpopsql compat install`, which also removes it."
ASIDE = ".before-vpopsql"
"""What is appended to the name of a file that stood in a launcher's place."""

_MODE = 0o755
_LINE_MAX = 127
"""Bytes of a first line that every Linux reads whole."""
_HEAD_BYTES = 2048


class InTheWay(VpopsqlError):
    """Files that are no launchers stand where launchers should be; the text names them."""


class What(StrEnum):
    """What happens to a launcher."""

    MADE = "made"
    RENEWED = "renewed"
    SAME = "as it was"
    REMOVED = "removed"
    ABSENT = "not there"
    FOREIGN = "not ours, left as it is"


@dataclass(frozen=True, slots=True)
class Step:
    """What is done about one launcher."""

    name: str
    what: What
    moved_aside: bool = False
    """Whether a foreign file makes room for it, or comes back."""


def launcher(name: str, python: str, config: Path | None) -> bytes:
    """Return the launcher of a command.

    :param python: the interpreter that has vpopsql.
    :param config: the configuration that is used unless ``VPOPSQL_CONFIG`` names another.
    """
    lines = list(_first_lines(python))
    lines += [MARK, "import sys"]
    if config is not None:
        lines += ["import os", f'os.environ.setdefault("VPOPSQL_CONFIG", {str(config)!r})']
    lines += ["from vpopsql.compat.main import main", f"sys.exit(main({name!r}))", ""]
    return encode("\n".join(lines))


def _first_lines(python: str) -> Iterator[str]:
    direct = f"#!{python} -I"
    if len(encode(direct)) <= _LINE_MAX and not any(map(str.isspace, python)):
        yield direct
        return
    # To the shell the first line below starts Python; to Python both are one text.
    quoted = python.replace("'", "'\\''")
    yield "#!/bin/sh"
    yield f"'''exec' '{quoted}' -I \"$0\" \"$@\""
    yield "' '''"


def plan_install(directory: Path, config: Path | None, *, force: bool) -> list[Step]:
    """Return what `install` would do.

    :raises InTheWay: foreign files are there, and ``force`` does not say to move them aside; or
        there is no room aside.
    """
    tree, found, steps = Tree(directory), _files(directory), []
    foreign = [name for name in PROGRAMS if name in found and not _is_ours(tree, found, name)]
    full = [name for name in foreign if f"{name}{ASIDE}" in found]
    if foreign and not force:
        raise InTheWay(
            f"in {directory} these are no launchers: {', '.join(foreign)};"
            f" with --force they are moved aside, to NAME{ASIDE}"
        )
    if full:
        raise InTheWay(f"in {directory} these have been moved aside before: {', '.join(full)}")
    for name in PROGRAMS:
        if name in foreign or name not in found:
            steps.append(Step(name, What.MADE, moved_aside=name in foreign))
        else:
            wanted = launcher(name, sys.executable, config)
            same = tree.read(f"/{name}") == wanted
            steps.append(Step(name, What.SAME if same else What.RENEWED))
    return steps


def install(directory: Path, config: Path | None, *, force: bool) -> list[Step]:
    """Put a launcher for each command into ``directory``; return what was done.

    :param config: see `launcher`.
    :raises InTheWay: see `plan_install`; nothing was changed.
    :raises OSError: the directory is not there or cannot be written.
    """
    tree, steps = Tree(directory), plan_install(directory, config, force=force)
    for step in steps:
        if step.moved_aside:
            tree.rename(f"/{step.name}", f"/{step.name}{ASIDE}")
    tree.write_many(
        Write(f"/{step.name}", launcher(step.name, sys.executable, config), _MODE)
        for step in steps
    )
    return steps


def plan_removal(directory: Path) -> list[Step]:
    """Return what `remove` would do."""
    tree, found = Tree(directory), _files(directory)
    return [
        Step(name, What.ABSENT)
        if name not in found
        else Step(name, What.REMOVED, moved_aside=f"{name}{ASIDE}" in found)
        if _is_ours(tree, found, name)
        else Step(name, What.FOREIGN)
        for name in PROGRAMS
    ]


def remove(directory: Path) -> list[Step]:
    """Remove the launchers from ``directory``; what they replaced comes back."""
    tree, steps = Tree(directory), plan_removal(directory)
    for step in steps:
        if step.what is not What.REMOVED:
            continue
        if step.moved_aside:
            tree.rename(f"/{step.name}{ASIDE}", f"/{step.name}")
        else:
            tree.remove(f"/{step.name}")
    return steps


def _files(directory: Path) -> dict[str, EntryType]:
    return {entry.name: entry.type for entry in Tree(directory).list("/")}


def _is_ours(tree: Tree, found: dict[str, EntryType], name: str) -> bool:
    if found[name] is not EntryType.FILE:
        return False
    with tree.opened(f"/{name}") as file:
        head = file.read(_HEAD_BYTES)
    return head.startswith(b"#!") and encode(MARK) in head.split(b"\n")
