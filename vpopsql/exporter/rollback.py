"""Going back to the files of an earlier generation, with or without the database.

The database keeps what it says: the next apply, or the next change of the daemon that touches one
of the files, writes it again. Going back is itself a generation and can be taken back.
"""

from collections.abc import Iterator, Mapping

from vpopsql.config import Config
from vpopsql.errors import ExportFailed
from vpopsql.exporter import render
from vpopsql.exporter.apply import LOCK_TIMEOUT_S, Applied, restore
from vpopsql.exporter.generations import Generation, Generations, Kept
from vpopsql.exporter.locking import explained, locked
from vpopsql.exporter.plan import Change, Content
from vpopsql.exporter.render import Link
from vpopsql.tree import LinkInPath, Tree

_QMAIL_FILES = (
    render.RCPTHOSTS,
    render.MORERCPTHOSTS,
    f"{render.MORERCPTHOSTS}.cdb",
    render.VIRTUALDOMAINS,
    render.LOCALS,
    render.ASSIGN,
)


def generations(config: Config) -> list[Generation]:
    """Return the generations of this host, the newest last.

    :raises ExportFailed: a description cannot be read.
    """
    with explained(config.paths):
        return _generations(config, Tree(config.paths.root, config.paths.places)).all()


def plan_back(config: Config, number: int | None = None) -> list[Change]:
    """Return what `roll_back` would change."""
    tree = Tree(config.paths.root, config.paths.places)
    with explained(config.paths):
        return list(_changes(tree, _target(config, tree, number)[1]))


def roll_back(
    config: Config, number: int | None = None, *, lock_timeout_s: float = LOCK_TIMEOUT_S
) -> tuple[int, Applied]:
    """Give every file the content it had at the end of a generation.

    ``rcpthosts`` stays if there was none: without it qmail-smtpd takes mail for everybody. A file
    whose directory is gone stays away.

    :param number: None goes back by one.
    :returns: the number, and what changed.
    :raises ExportFailed: there is no such generation, or a file could not be written.
    """
    tree = Tree(config.paths.root, config.paths.places)
    with locked(tree, config, lock_timeout_s):
        number, wanted = _target(config, tree, number)
        kept = _generations(config, tree)
        revision = kept.all()[-1].revision
        kept.keep(_changes(tree, wanted), revision, f"rollback to {number}")
        prefix = f"{config.paths.qmail}/"
        files: render.SiteFiles = {}
        for name in (*_QMAIL_FILES, render.assign_cdb(config.export)):
            files[prefix + name] = _file(wanted, tree, prefix + name)
        others = {path: each for path, each in wanted.items() if path not in files}
        applied = restore(tree, config, files, others)
        kept.prune()
        return number, applied


def _generations(config: Config, tree: Tree) -> Generations:
    return Generations(tree, config.paths, config.export.generations)


def _target(config: Config, tree: Tree, number: int | None) -> tuple[int, dict[str, Kept | None]]:
    known = _generations(config, tree)
    if number is None:
        newest = known.all()
        if not newest:
            raise ExportFailed("there is no generation to go back to: nothing was applied yet")
        number = newest[-1].number - 1
    wanted = known.before(number)
    rcpthosts = f"{config.paths.qmail}/{render.RCPTHOSTS}"
    if wanted.get(rcpthosts, rcpthosts) is None:
        del wanted[rcpthosts]
    return number, wanted


def _file(wanted: Mapping[str, Kept | None], tree: Tree, path: str) -> bytes | None:
    if path in wanted:
        kept = wanted[path]
        return kept.content if kept and isinstance(kept.content, bytes) else None
    try:
        return tree.read(path)
    except FileNotFoundError:
        return None


def _changes(tree: Tree, wanted: Mapping[str, Kept | None]) -> Iterator[Change]:
    for path, kept in wanted.items():
        before: Content | None = None
        was = None
        try:
            was = tree.load(path)
            before = was.data
        except LinkInPath:
            before = Link(tree.read_link(path))
        except (FileNotFoundError, NotADirectoryError):
            if not tree.exists(path.rpartition("/")[0]):
                continue
        after = None if kept is None else kept.content
        if before != after:
            yield Change(path, before, after, was=was)
