"""Going back to the files of an earlier generation, with or without the database.

The database keeps what it says: the next apply, or the next change of the daemon that touches one
of the files, writes it again. Going back is itself a generation and can be taken back.

What the daemon and followers write is no generation, so a generation may be older than a name that
mail is accepted for by now. Whatever would leave such a name without its line in virtualdomains or
users/assign is refused: its mail would bounce.
"""

from collections.abc import Iterator, Mapping

from vpopsql import names
from vpopsql.config import Config
from vpopsql.errors import ExportFailed
from vpopsql.exporter import render
from vpopsql.exporter.accepted import Accepted, host_of
from vpopsql.exporter.apply import LOCK_TIMEOUT_S, Applied
from vpopsql.exporter.generations import Generation, Generations, Kept
from vpopsql.exporter.locking import explained, locked
from vpopsql.exporter.plan import Change, Content
from vpopsql.exporter.render import Link
from vpopsql.exporter.site import SiteWriter
from vpopsql.exporter.writing import Writer
from vpopsql.qmail import cdb
from vpopsql.qmail.lines import encode, split_lines
from vpopsql.tree import LinkInPath, Tree, Write

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
    config: Config,
    number: int | None = None,
    *,
    lock_timeout_s: float = LOCK_TIMEOUT_S,
    may_strand: bool = False,
) -> tuple[int, Applied]:
    """Give every file the content it had at the end of a generation.

    ``rcpthosts`` stays if there was none: without it qmail-smtpd takes mail for everybody. A file
    whose directory is gone stays away.

    :param number: None goes back by one.
    :param may_strand: whether names may be left without the lines that their mail needs.
    :returns: the number, and what changed.
    :raises ExportFailed: there is no such generation, it would leave names without lines, or a
        file could not be written.
    """
    tree = Tree(config.paths.root, config.paths.places)
    with locked(tree, config, lock_timeout_s):
        number, wanted = _target(config, tree, number)
        files = _qmail_files(config, tree, wanted)
        if not may_strand:
            _refuse_to_strand(config, number, _qmail_files(config, tree, {}), files)
        kept = _generations(config, tree)
        revision = kept.all()[-1].revision
        kept.keep(_changes(tree, wanted), revision, f"rollback to {number}")
        others = {path: each for path, each in wanted.items() if path not in files}
        applied = _write(tree, config, files, others)
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


def _qmail_files(
    config: Config, tree: Tree, wanted: Mapping[str, Kept | None]
) -> render.SiteFiles:
    """Return qmail's files as they are wanted; those that are not named, as they are."""
    files = (*_QMAIL_FILES, render.assign_cdb(config.export))
    paths = (f"{config.paths.qmail}/{file}" for file in files)
    return {path: _file(wanted, tree, path) for path in paths}


def _refuse_to_strand(
    config: Config, number: int, now: render.SiteFiles, then: render.SiteFiles
) -> None:
    if now == then:
        return
    accepted = Accepted.of(then, config.paths)
    stranded = sorted(
        (accepted.few | accepted.more) & _delivered(config, now) - _delivered(config, then)
    )
    if stranded:
        raise ExportFailed(
            f"at generation {number} there was no delivery for {len(stranded)} names that mail is"
            f" accepted for by now, such as {stranded[0]}, and their mail would bounce: see"
            " `vpopsql export plan`, or go back with --force; nothing was written"
        )


def _delivered(config: Config, files: render.SiteFiles) -> set[str]:
    """Return the names that are local, or virtual with a line of users/assign to go by."""

    def content(name: str) -> bytes:
        return files[f"{config.paths.qmail}/{name}"] or b""

    if config.export.newu_command:
        lines = content(render.ASSIGN).split(b"\n")
        begins = {line[1:].partition(b":")[0] for line in lines if line.startswith(b"+")}
    else:
        begins = {key[1:] for key in _keys(content(render.assign_cdb(config.export)))}
    found = {host_of(line) for line in _texts(content(render.LOCALS))}
    for line in _texts(content(render.VIRTUALDOMAINS)):
        name, _, prepend = line.rstrip(" \t").partition(":")
        if encode(f"{names.lower(prepend)}-") in begins:
            found.add(names.lower(name))
    return found


def _keys(data: bytes) -> list[bytes]:
    try:
        return [key for key, _ in cdb.read(data)]
    except ValueError:
        return []  # qmail-lspawn cannot read it either


def _texts(data: bytes) -> list[str]:
    return [text for _, text in split_lines(data)]


def _file(wanted: Mapping[str, Kept | None], tree: Tree, path: str) -> bytes | None:
    if path in wanted:
        kept = wanted[path]
        return kept.content if kept and isinstance(kept.content, bytes) else None
    try:
        return tree.read(path)
    except FileNotFoundError:
        return None


def _write(
    tree: Tree, config: Config, files: render.SiteFiles, others: Mapping[str, Kept | None]
) -> Applied:
    """Write files as they once were, in the order of an apply.

    :param files: all of qmail's.
    :param others: vpopmail's and the domains' that differ; None: there was no such file.
    """
    writer = Writer(tree)
    site = SiteWriter(writer, config.paths, config.export, files)
    site.withdraw()
    for path, kept in others.items():
        if kept is not None:
            _write_kept(writer, path, kept)
    site.assign()
    reloaded = site.reroute()
    site.publish()
    writer.replace({path: None for path, kept in others.items() if kept is None})
    return Applied.by(writer, 0, reloaded=reloaded)


def _write_kept(writer: Writer, path: str, kept: Kept) -> None:
    if not writer.tree.exists(path.rpartition("/")[0]):
        return  # deleted with all that is in it; what is left of it is in the trash
    if isinstance(kept.content, Link):
        writer.link(path, kept.content.target)
    elif writer.is_link(path):
        writer.write_over_link(path, kept.content, kept.owner)
    else:
        writer.write_many([Write(path, kept.content, kept.mode, kept.owner)])


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
