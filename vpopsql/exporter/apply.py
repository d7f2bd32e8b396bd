"""Bring the files of a site to what the database says.

One apply holds the lock of users/assign, which vpopmail's own tools take too; the snapshot is
taken under it, so an older one never overwrites a newer one. Everything is rendered before the
first file of the whole site is touched. Each file is replaced whole, and files that are equal are
left alone. The order keeps mail flowing at every moment, and an apply that was killed anywhere is
completed by the next one:

1. Names that go leave rcpthosts and morercpthosts.cdb: from here on nothing is accepted that the
   later steps could no longer deliver. (When no name at all would be left, they stay until step
   6: a rcpthosts without a name, be it for a moment, is not to be told from a mistake.)
2. The domains' directories and the files in them: nothing leads there yet for new domains.
3. users/assign, then its cdb: addresses are found before qmail-send asks for them. If qmail-newu
   makes the cdb, a marker beside it sees to it that a killed apply does not lose the run.
4. virtualdomains, then locals: the other way round, a restart in between would find a name in
   neither and send its mail off to its MX, which is this host.
5. The reload command, if virtualdomains or locals changed: qmail-send reads them at HUP only.
   Before step 6, since mail accepted for a name that qmail-send does not know would bounce. A
   marker in the control directory sees to it that a killed apply does not lose the reload.
6. New names enter morercpthosts.cdb and rcpthosts, whichever is theirs. A name that moves between
   the two is in both for a moment, never in neither.
7. Files of accounts go, if these are in the database alone: exact lines that do without them are
   in force by now.

What writers that were killed left behind goes from each directory that is written to: it may be
half a vpasswd.

Step 2 is taken by `domains`, the others by `site`. Before them a comparison finds what differs,
and `generations` keeps it as it was; only the domains in which something differs are written to.

Files are removed only where their absence means something: morercpthosts and its cdb, the IP map,
and those of accounts, by an apply alone, which keeps what they were. A dot-qmail file without
rows, or limits without a row, are left and reported as extra.

`follow` does the same for what a change touched and no more: the files of the domains named, and
the site's only if they are touched; with exact delivery, the domains' lines of users/assign as
well. A name that the site's files did not have gets its domain's files first, by step 2, whoever
made it. A large file of which little changes is made from what it is, see `increment`. Only here
dot-qmail and limits files are removed, those that the change names; each is looked up under the
lock, for somebody may have made it anew. The lock is the one of the whole site, although only
domains' files may be touched: what is held for milliseconds is not worth a second order of locks,
and with one lock no file is ever overwritten by an older snapshot.

What is in a shared file but not in the database goes, with two exceptions. If the database has no
foreign line of control/locals, the file's own lines stay (less our names): the database was not
filled from this host. And a database that was neither filled from a site nor ever exported to one
is refused where rcpthosts has names that it does not know: they are somebody's.
"""

from collections.abc import Callable, Iterable
from contextlib import nullcontext
from dataclasses import dataclass, replace

from vpopsql.columns import utc_now
from vpopsql.config import Config
from vpopsql.crew import collecting_seldom
from vpopsql.db import Database
from vpopsql.errors import ExportFailed
from vpopsql.exporter import render
from vpopsql.exporter.accepted import Accepted, with_locals_of_the_host
from vpopsql.exporter.domains import DomainWriter
from vpopsql.exporter.generations import Generations
from vpopsql.exporter.increment import Increment, find_increment
from vpopsql.exporter.locking import explained, locked
from vpopsql.exporter.plan import Comparison
from vpopsql.exporter.reading import newest_export, reading
from vpopsql.exporter.site import SiteWriter
from vpopsql.exporter.snapshot import EVERY_NAME, FILES_ARE_OURS, DomainState, Snapshot
from vpopsql.exporter.stamps import Stamps, are_worth_it
from vpopsql.exporter.writing import Sweeping, Writer
from vpopsql.model import Export, SiteSetting
from vpopsql.touched import Touched
from vpopsql.tree import Tree

LOCK_TIMEOUT_S = 600.0
"""How long an apply waits for another one."""


@dataclass(frozen=True, slots=True)
class Applied:
    """What an apply did."""

    revision: int
    """The newest revision that the files show; 0: it is not known."""
    changed: tuple[str, ...]
    """Site paths written, linked or removed, in that order."""
    extra: tuple[str, ...]
    """Site paths that look like files of ours and have no rows; they were left."""
    swept: tuple[str, ...]
    """Site paths of half-written files that somebody left behind; they were removed."""
    reloaded: bool
    """Whether the reload command ran."""

    @classmethod
    def by(
        cls, writer: Writer, revision: int, *, extra: Iterable[str] = (), reloaded: bool = False
    ) -> "Applied":
        """Return what a writer did."""
        return cls(revision, writer.changed, tuple(extra), writer.swept, reloaded)


@collecting_seldom()
def plan(database: Database, config: Config) -> Comparison:
    """Return what an apply would find now; nothing is written, and no lock is held.

    :raises ExportFailed: a row cannot be rendered.
    """
    with explained(config.paths):
        tree = Tree(config.paths.root, config.paths.places)
        with reading(database, config) as snapshot:
            return _compare(tree, config, with_locals_of_the_host(snapshot, tree))


@collecting_seldom()
def apply(
    database: Database,
    config: Config,
    *,
    lock_timeout_s: float = LOCK_TIMEOUT_S,
    planned: str | None = None,
    is_known: bool = True,
    is_recorded: bool = True,
) -> Applied:
    """Write what the database says, and record that it was written.

    :param planned: the digest of a plan; write nothing if another one is due by now.
    :param is_known: whether this host's files are this database's already, as far as the database
        can tell; on others, names that it does not know are not dropped.
    :param is_recorded: whether this host is the one whose exports are counted.
    :raises ExportFailed: a file could not be written, or a row not be rendered; the text names
        the file. Files before it in the order above may be written already.
    """
    tree = Tree(config.paths.root, config.paths.places)
    with locked(tree, config, lock_timeout_s):
        last = newest_export(database)
        with reading(database, config) as taken:
            snapshot = with_locals_of_the_host(taken, tree)
            comparison = _compare(tree, config, snapshot)
        if planned is not None:
            _require(planned, comparison)
            comparison = comparison.anew()
        all_of_it = _Apply(tree, config, snapshot, comparison.files, comparison=comparison)
        applied = _run(database, all_of_it, is_known=is_known)
        if is_recorded and (last is None or applied.changed or last < applied.revision):
            with database.writer() as session:
                files_changed = len(applied.changed)
                session.add(Export(revision=applied.revision, files_changed=files_changed))
    return applied


def shown(touched: Touched, config: Config) -> Touched:
    """Return what of a change is seen in files: of accounts, nothing if they are in none.

    With exact delivery, users/assign has the mailboxes.
    """
    if config.export.has_accounts or config.export.delivery == "exact":
        return touched
    return replace(touched, accounts=set(), mailboxes=set())


@collecting_seldom()
def follow(
    database: Database,
    config: Config,
    touched: Touched,
    *,
    lock_timeout_s: float = LOCK_TIMEOUT_S,
    begin: Callable[[], object] = lambda: None,
    sweeping: Sweeping | None = None,
) -> Applied:
    """Write the files that ``touched`` names, from what is committed by now, and no others.

    Not recorded as an export: nothing is known of the other files.

    :param begin: called once the site's lock is held; till then, ``touched`` may still grow.
    :param sweeping: of whoever follows again and again.
    :raises ExportFailed: as `apply` does.
    """
    tree = Tree(config.paths.root, config.paths.places)
    with locked(tree, config, lock_timeout_s), tree.staying():
        begin()
        if not touched.site:
            increment = find_increment(database, config, tree, touched)
            if increment is not None:
                snapshot, files = increment.snapshot, increment.files
                apply_ = _Apply(
                    tree, config, snapshot, files, touched, increment=increment, sweeping=sweeping
                )
                return _run(database, apply_) if touched.names else apply_.run_domains()
            touched = replace(touched, site=True)

        def known() -> frozenset[str]:
            return Accepted.on_disk(tree, config.paths).all

        with reading(database, config, touched, known) as taken:
            apply_ = _rendered(tree, config, with_locals_of_the_host(taken, tree), touched)
        del taken  # so that it can be given back early
        return _run(database, apply_)


@collecting_seldom()
def relay(
    database: Database,
    config: Config,
    *,
    lock_timeout_s: float = LOCK_TIMEOUT_S,
    is_known: bool = True,
) -> Applied:
    """Write rcpthosts, morercpthosts and its cdb, with all names; touch nothing else.

    :param is_known: as for `apply`.
    :raises ExportFailed: as `apply` does.
    """
    tree = Tree(config.paths.root, config.paths.places)
    with locked(tree, config, lock_timeout_s):
        # What users/assign is made of is not asked for: a relay has none.
        plain = replace(config, export=replace(config.export, delivery="vdelivermail"))
        with reading(database, plain, Touched(site=True), lambda: EVERY_NAME) as snapshot:
            files = render.site_contents(snapshot)
        writer = Writer(tree)
        site = SiteWriter(writer, snapshot.paths, config.export, files)
        if not is_known:
            site.refuse_to_drop()
        site.withdraw()
        writer.sweep(config.paths.control)
        site.publish()
        return Applied.by(writer, snapshot.revision)


def _compare(tree: Tree, config: Config, snapshot: Snapshot) -> Comparison:
    owner = (config.export.uid, config.export.gid)
    return Comparison(tree, snapshot, render.site_files(snapshot), owner)


def _require(planned: str, comparison: Comparison) -> None:
    for _ in comparison.changes():
        pass
    if comparison.digest != planned:
        raise ExportFailed(
            f"the plan {planned} is not what is to be done any more, that is"
            f" {comparison.digest}: look at `vpopsql export plan` again; nothing was written"
        )


def _rendered(tree: Tree, config: Config, snapshot: Snapshot, touched: Touched) -> "_Apply":
    """Make ready an apply of the whole site, or of what a change touched in it."""
    return _Apply(tree, config, snapshot, render.site_contents(snapshot), touched)


def _run(database: Database, apply_: "_Apply", *, is_known: bool = True) -> Applied:
    """Write the whole site's files, and remember that they are this database's from now on."""
    applied = apply_.run(is_known=is_known)
    if apply_.is_stranger:
        with database.writer() as session:
            # Another host may have come first.
            if session.get(SiteSetting, FILES_ARE_OURS) is None:
                session.add(SiteSetting(key=FILES_ARE_OURS, value=utc_now().isoformat()))
    return applied


class _Apply:
    """One apply; the steps of `run` are those of the module's docstring.

    :param files: those of the whole site that are to be written.
    :param touched: what to follow; None: everything.
    :param increment: where the snapshot and the files are from, if they are of a few rows.
    :param comparison: of everything with what is on disk; its changes are kept as a generation.
    """

    def __init__(
        self,
        tree: Tree,
        config: Config,
        snapshot: Snapshot,
        files: render.SiteContents,
        touched: Touched | None = None,
        *,
        increment: Increment | None = None,
        comparison: Comparison | None = None,
        sweeping: Sweeping | None = None,
    ) -> None:
        self._config = config
        self._snapshot = snapshot
        self._increment = increment
        self._comparison = comparison
        self._gone: set[str] = set()
        if touched:
            there = {name.real for name in snapshot.names}
            there.update(domain.name for domain in snapshot.domains)
            if snapshot.reassigned:
                there.update(name.real for name in snapshot.reassigned.names)
            self._gone = (touched.names | touched.accounts) - there
        reassigned = snapshot.reassigned
        self._number_of_names = reassigned.number if reassigned else len(snapshot.names)
        self._generations = Generations(tree, config.paths, config.export.generations)
        self._stamps = Stamps(tree, config)
        self._writer = Writer(tree, sweeping)
        self._site = SiteWriter(
            self._writer,
            snapshot.paths,
            config.export,
            files,
            increment.among if increment else None,
        )
        self._domains = DomainWriter(
            self._writer,
            snapshot.paths.vpopmail,
            self._stamps,
            increment.accounts if increment else {},
            render.removable(touched.removed, snapshot) if touched else (),
        )

    @property
    def is_stranger(self) -> bool:
        """Whether the database was neither filled from a site nor ever exported to one."""
        return self._snapshot.is_stranger

    def run(self, *, is_known: bool) -> Applied:
        """Write the site's files, and those of the snapshot's domains.

        :param is_known: as for `apply`.
        """
        paths = self._snapshot.paths
        if self.is_stranger or not is_known:
            self._site.refuse_to_drop()
        if self._comparison:
            changes = self._comparison.changes()
            if self._generations.keep(changes, self._snapshot.revision, "apply"):
                self._writer.sweep(self._generations.directory)
        self._site.withdraw()
        self._site.make_home()
        self._writer.sweep(f"{paths.vpopmail}/etc", paths.users, paths.control)
        # Of a few rows all files change for certain, and are small enough to be there twice.
        with self._site.ahead() if self._increment else nullcontext():
            self._write_domains()
            self._site.write_settings()
            self._site.assign(self._forget_lines)
            reloaded = self._site.reroute()
            self._site.publish()
        if self._comparison:
            # Only now does nothing of ours lead to who reads them.
            self._writer.remove_many(self._comparison.unwanted)
        if are_worth_it(self._number_of_names) and not self._has_compilers():
            self._stamps.set_site()
        if self._comparison:
            self._generations.prune()
        self._stamps.forget(self._gone)
        return self._applied(reloaded=reloaded)

    def run_domains(self) -> Applied:
        """Write the files of the snapshot's domains, and those of the site that follow."""
        files = self._increment.files if self._increment else {}
        if files:
            self._site.make_home()
        self._write_domains()
        self._site.write_settings()
        if f"{self._snapshot.paths.qmail}/{render.ASSIGN}" in files:
            self._site.reassign()
            if self._increment and self._increment.is_stamped:
                self._stamps.set_site()
        return self._applied(reloaded=False)

    def _write_domains(self) -> None:
        domains: Iterable[DomainState] = self._snapshot.domains
        if self._comparison:
            dirty = self._comparison.dirty
            domains = (domain for domain in domains if domain.directory in dirty)
        self._domains.write(domains)

    def _has_compilers(self) -> bool:
        return bool(self._config.export.newu_command or self._config.export.newmrh_command)

    def _forget_lines(self) -> None:
        """Give back what users/assign is made of: with a million lines it takes 0.1 s."""
        self._snapshot = replace(self._snapshot, names=(), exact=dict)

    def _applied(self, *, reloaded: bool) -> Applied:
        extra = self._comparison.extra if self._comparison else ()
        return Applied.by(self._writer, self._snapshot.revision, extra=extra, reloaded=reloaded)
