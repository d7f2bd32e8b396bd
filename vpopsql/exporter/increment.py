"""What a change makes of files as they are, where that takes less than to render them anew.

Here is what reads the files and the rows concerned; `accounts` and `partial` say what becomes of
them. They take it on trust that a file is as it was last written, for which there are `stamps`.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from vpopsql.config import Config
from vpopsql.db import Database
from vpopsql.exporter import accounts, partial, render
from vpopsql.exporter.accepted import content_of, few_on_disk
from vpopsql.exporter.reading import read_some
from vpopsql.exporter.reassigned import Reassigned
from vpopsql.exporter.snapshot import DomainState, Part, Snapshot, state_of
from vpopsql.exporter.stamps import Stamp, Stamps
from vpopsql.pieces import Content
from vpopsql.touched import Seen, Touched
from vpopsql.tree import Tree


@dataclass(frozen=True, slots=True)
class Increment:
    """The rows of a change, and the contents that are made of files as they are."""

    snapshot: Snapshot
    accounts: Mapping[str, Content]
    """By site path: vpasswd and its cdb, of each domain that has `Part.MAILBOXES`."""
    files: render.SiteContents
    """Those of the whole site if names have come or gone; otherwise users/assign and its cdb, and
    vpopmail's own, as far as they are to be written."""
    among: frozenset[str] | None
    """The names that may come, go, or move between rcpthosts and morercpthosts, if these are in
    ``files``."""
    is_stamped: bool
    """Whether the site had a stamp when it was read."""


def find_increment(
    database: Database, config: Config, tree: Tree, touched: Touched
) -> Increment | None:
    """Return what a change makes of the files; None if the whole site has to be written.

    :param touched: what changed, other than the whole site.
    """
    stamps = Stamps(tree, config).valid({domain for domain, _ in touched.mailboxes})
    if seen := touched.seen_alone:
        if found := _of_what_was_seen(config, tree, seen, stamps):
            return found
        stamp = stamps.get(seen.domain)
        if stamp and stamp.mark.revision < seen.before.revision:
            # There is something that the files do not show yet: they are made anew.
            del stamps[seen.domain]
    few = few_on_disk(tree, config.paths) if touched.names else frozenset()
    snapshot, contents = _with_accounts(database, config, tree, touched, few, stamps)
    changed = snapshot.reassigned
    settings = render.settings_files(snapshot) if touched.settings else {}
    if changed is None:
        return Increment(snapshot, contents, settings, None, is_stamped=False)
    assign_cdb = render.assign_cdb(config.export)
    texts: Collection[str] = (render.ASSIGN,)
    compiled: Collection[str] = (assign_cdb,)
    if changed.placed is not None:
        texts, compiled = partial.FILES, (assign_cdb, render.MORE_CDB)
    old = _contents(tree, config, texts)
    is_stamped = Stamps(tree, config).has_site()
    cdbs = _contents(tree, config, compiled if is_stamped else ())
    files: render.SiteContents | None
    with render.naming(f"{config.paths.qmail}/{render.ASSIGN}"):
        if changed.placed is None:
            among = None
            files = _assigned(tree, config, changed, old[render.ASSIGN], cdbs.get(assign_cdb))
            files = None if files is None else {**files, **settings}
        else:
            among = partial.moving(changed, changed.placed, few)
            files = partial.site_files(old, snapshot, cdbs)
    return None if files is None else Increment(snapshot, contents, files, among, is_stamped)


def _of_what_was_seen(
    config: Config, tree: Tree, seen: Seen, stamps: Mapping[str, Stamp]
) -> Increment | None:
    """Return what the change of one mailbox makes of files that show what was before it.

    :returns: None if it is not known that they do.
    """
    stamp = stamps.get(seen.domain)
    if stamp is None or stamp.mark != seen.before:
        return None
    domain = state_of(seen)
    contents = _changed_accounts(tree, domain, stamp)
    if contents is None:
        return None
    snapshot = Snapshot(
        revision=seen.mark.revision, paths=config.paths, domains=[domain], export=config.export
    )
    return Increment(snapshot, contents, {}, None, is_stamped=False)


def _with_accounts(
    database: Database,
    config: Config,
    tree: Tree,
    touched: Touched,
    few: Collection[str],
    stamps: Mapping[str, Stamp],
) -> tuple[Snapshot, dict[str, Content]]:
    """Return the rows of a change, and the accounts of which some lines change.

    A domain whose files are not as they should be is read whole.

    :param few: the names that rcpthosts has, if any came or went.
    :param stamps: those that are about the files there are.
    """
    written = {domain: stamp.mark for domain, stamp in stamps.items()}
    while True:
        snapshot = read_some(database, config, touched, few, written)
        contents: dict[str, Content] = {}
        unusable = set()
        for domain in snapshot.domains:
            if Part.MAILBOXES in domain.parts:
                found = _changed_accounts(tree, domain, stamps[domain.name])
                if found is None:
                    unusable.add(domain.name)
                else:
                    contents |= found
        if not unusable:
            return snapshot, contents
        for name in unusable:
            del written[name]


def _changed_accounts(tree: Tree, domain: DomainState, stamp: Stamp) -> dict[str, Content] | None:
    """Return a domain's vpasswd and its cdb; None if one is not as it should be."""
    if domain.directory != stamp.directory:
        return None
    path = f"{domain.directory}/{render.VPASSWD}"
    lines = {each.name: render.vpasswd_line(path, each) for each in domain.accounts}
    old = tree.read(path)
    compiled = tree.read(f"{path}.cdb") if len(old) > accounts.SHORT else None
    new = accounts.changed(old, compiled, dict.fromkeys(domain.changed) | lines)
    return None if new is None else {path: new[0], f"{path}.cdb": new[1]}


def _contents(tree: Tree, config: Config, files: Collection[str]) -> dict[str, bytes | None]:
    """Return what files of qmail's have, by name; None: there is none."""
    return {file: content_of(tree, f"{config.paths.qmail}/{file}") for file in files}


def _assigned(
    tree: Tree,
    config: Config,
    changed: Reassigned,
    text: bytes | None,
    compiled: bytes | None,
) -> dict[str, Content | None] | None:
    """Return users/assign and its cdb with other lines for the names that there are.

    :param text: users/assign as it is.
    :param compiled: its cdb, if it is known to be of this text.
    :returns: nothing if they need not be written; None if the text is not as it should be.
    """
    patched = partial.assigned(text, changed)
    if patched is None:
        return None
    qmail = config.paths.qmail
    if not patched.splices and not tree.exists(f"{qmail}/{render.COMPILE_MARKER}"):
        return {}
    files: dict[str, Content | None] = {f"{qmail}/{render.ASSIGN}": patched.new}
    if not config.export.newu_command:
        cdb = render.assign_cdb(config.export)
        files[f"{qmail}/{cdb}"] = partial.compiled(patched, compiled)
    return files
