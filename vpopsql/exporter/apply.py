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

What writers that were killed left behind goes from each directory that is written to: it may be
half a vpasswd.

Before step 1 a comparison finds what differs, and `generations` keeps it as it was; only the
domains in which something differs are written to.

Files are removed only where their absence means something: morercpthosts and its cdb, and the IP
map. A dot-qmail file without rows, or limits without a row, are left and reported as extra.

`follow` does the same for what a change touched and no more: the files of the domains named, and
the site's only if they are touched; with exact delivery, the domains' lines of users/assign as
well. The site's files are written whole then, and a name that they did not have gets its domain's
files first, by step 2, whoever made it. Only here dot-qmail and limits files are removed, those
that the change names; each is looked up under the lock, for somebody may have made it anew. The
lock is the one of the whole site, although only domains' files may be touched: what is held for
milliseconds is not worth a second order of locks, and with one lock no file is ever overwritten by
an older snapshot.

What is in a shared file but not in the database goes, with two exceptions. If the database has no
foreign line of control/locals, the file's own lines stay (less our names): the database was not
filled from this host. And a database that was neither filled from a site nor ever exported to one
is refused where rcpthosts has names that it does not know: they are somebody's.
"""

import contextlib
import os
import secrets
import stat
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace

from vpopsql.columns import utc_now
from vpopsql.config import Config
from vpopsql.crew import collecting_seldom
from vpopsql.db import Database
from vpopsql.errors import ExportFailed
from vpopsql.exporter import accounts, partial, programs, render
from vpopsql.exporter.accepted import (
    MORE_CDB,
    Accepted,
    compile_hosts,
    content_of,
    few_on_disk,
    host_of,
    with_locals_of_the_host,
)
from vpopsql.exporter.generations import Generations, Kept
from vpopsql.exporter.locking import SITE_DIR_MODE, explained, locked
from vpopsql.exporter.plan import Comparison
from vpopsql.exporter.reading import (
    FILES_ARE_OURS,
    is_stranger,
    newest_export,
    read_some,
    reading,
)
from vpopsql.exporter.render import Link
from vpopsql.exporter.snapshot import EVERY_NAME, DomainState, Part, Snapshot
from vpopsql.exporter.stamps import LARGE, Stamp, Stamps
from vpopsql.model import Export, SiteSetting
from vpopsql.pieces import Content, whole
from vpopsql.qmail.lines import encode, join_lines, split_lines
from vpopsql.touched import Touched
from vpopsql.tree import TEMP_PREFIX, Owner, Tree, Write

LOCK_TIMEOUT_S = 600.0
"""How long an apply waits for another one."""

LEFTOVER_AGE_S = 3600.0
"""How old a half-written file must be to be nobody's.

Commands of the daemon that write files of their own do so without the site's lock. None of them
takes nearly as long as an hour, and an hour's leftover does no harm.
"""

_DOMAINS_AT_ONCE = 100
_SITE_FILE_MODE = 0o644
_DOMAIN_DIR_MODE = 0o700


@dataclass(frozen=True, slots=True)
class Applied:
    """What an apply did."""

    revision: int
    """The newest revision that the files show."""
    changed: tuple[str, ...]
    """Site paths written, linked or removed, in that order."""
    extra: tuple[str, ...]
    """Site paths that look like files of ours and have no rows; they were left."""
    swept: tuple[str, ...]
    """Site paths of half-written files that somebody left behind; they were removed."""
    reloaded: bool
    """Whether the reload command ran."""


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
        all_of_it = _Apply(tree, config, snapshot, comparison=comparison)
        applied = _run(database, all_of_it, is_known=is_known)
        if is_recorded and (last is None or applied.changed or last < applied.revision):
            with database.writer() as session:
                files_changed = len(applied.changed)
                session.add(Export(revision=applied.revision, files_changed=files_changed))
    return applied


@collecting_seldom()
def follow(
    database: Database,
    config: Config,
    touched: Touched,
    *,
    lock_timeout_s: float = LOCK_TIMEOUT_S,
    begin: Callable[[], object] = lambda: None,
) -> Applied:
    """Write the files that ``touched`` names, from what is committed by now, and no others.

    Not recorded as an export: nothing is known of the other files.

    :param begin: called once the site's lock is held; till then, ``touched`` may still grow.
    :raises ExportFailed: as `apply` does.
    """
    tree = Tree(config.paths.root, config.paths.places)
    with locked(tree, config, lock_timeout_s), tree.staying():
        begin()
        if not touched.site:
            few = few_on_disk(tree, config.paths) if touched.names else frozenset()
            apply_ = _following(database, config, tree, touched, few)
            if apply_.patch():
                return _run(database, apply_) if touched.names else apply_.run_domains()
            touched = replace(touched, site=True)

        def known() -> frozenset[str]:
            return Accepted.on_disk(tree, config.paths).all

        with reading(database, config, touched, known) as snapshot:
            apply_ = _Apply(tree, config, with_locals_of_the_host(snapshot, tree), touched)
        del snapshot  # so that it can be given back early
        return _run(database, apply_)


def _following(
    database: Database, config: Config, tree: Tree, touched: Touched, few: Collection[str]
) -> "_Apply":
    """Make ready the files of the domains that ``touched`` names.

    :param few: the names that rcpthosts has.
    """
    stamps = Stamps(tree, config.paths).valid({domain for domain, _ in touched.mailboxes})
    written = {domain: stamp.mark for domain, stamp in stamps.items()}
    while True:
        snapshot = read_some(database, config, touched, few, written)
        apply_ = _Apply(tree, config, snapshot, touched)
        unusable = apply_.patch_accounts(stamps)
        if not unusable:
            return apply_
        for name in unusable:
            del written[name]


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
            apply_ = _Apply(tree, config, snapshot, Touched(site=True))
        return apply_.run_relay(is_known=is_known)


def restore(
    tree: Tree, config: Config, files: render.SiteFiles, others: Mapping[str, Kept | None]
) -> Applied:
    """Write files as they once were, in the order of an apply; the caller has the lock.

    :param files: all of qmail's.
    :param others: vpopmail's and the domains' that differ; None: there was no such file.
    """
    nothing = Snapshot(0, config.paths, (), {}, (), (), None, None)
    return _Apply(tree, config, nothing, files=files).run_back(others)


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


def _run(database: Database, apply_: "_Apply", *, is_known: bool = True) -> Applied:
    """Write the whole site's files, and remember that they are this database's from now on."""
    is_new = is_stranger(database)
    applied = apply_.run(is_stranger=is_new or not is_known)
    if is_new:
        with database.writer() as session:
            session.add(SiteSetting(key=FILES_ARE_OURS, value=utc_now().isoformat()))
    return applied


class _Apply:
    """One apply; the steps of `run` are those of the module's docstring.

    :param touched: what to follow; None: everything.
    :param comparison: of everything with what is on disk; its changes are kept as a generation.
    :param files: the files of the whole site; None: those that the snapshot makes.
    """

    def __init__(
        self,
        tree: Tree,
        config: Config,
        snapshot: Snapshot,
        touched: Touched | None = None,
        *,
        comparison: Comparison | None = None,
        files: render.SiteContents | None = None,
    ) -> None:
        self._tree = tree
        self._snapshot = snapshot
        self._paths = snapshot.paths
        reassigned = snapshot.reassigned
        self._names = reassigned.number if reassigned else len(snapshot.names)
        self._comparison = comparison
        if comparison is not None:
            files = comparison.files
        elif files is None and (touched is None or touched.site):
            files = render.site_contents(snapshot)
        elif files is None:
            files = render.settings_files(snapshot) if touched and touched.settings else {}
        self._files = dict(files)
        self._gone = render.removable(touched.removed, snapshot) if touched else set()
        self._export = config.export
        self._generations = Generations(tree, config.paths, config.export.generations)
        self._reload_command = config.export.reload_command
        self._vpopmail_owner = (config.export.uid, config.export.gid)
        self._stamps = Stamps(tree, config.paths)
        self._accounts: dict[str, Content] = {}
        self._among: frozenset[str] | None = None
        self._is_compiled = False
        self._changed: dict[str, None] = {}
        self._swept: list[str] = []

    def run(self, *, is_stranger: bool) -> Applied:
        """Write the site's files, and those of the snapshot's domains.

        :param is_stranger: the database was neither filled from this site nor ever exported to it.
        """
        if is_stranger:
            self._refuse_to_drop(Accepted.on_disk(self._tree, self._paths))
        accepted = self._on_disk()
        if self._comparison:
            changes = self._comparison.changes()
            if self._generations.keep(changes, self._snapshot.revision, "apply"):
                self._sweep(self._generations.directory)
        self._withdraw(accepted)
        self._make_home()
        self._sweep(f"{self._paths.vpopmail}/etc", self._paths.users, self._paths.control)
        self._write_domains()
        self._write_vpopmail()
        self._assign()
        reloaded = self._reroute()
        self._publish(self._on_disk())
        if self._names >= LARGE and not (self._export.newu_command or self._export.newmrh_command):
            self._stamps.set_site(self._compiled_files())
        if self._comparison:
            self._generations.prune()
        return self._applied(reloaded=reloaded)

    def run_back(self, others: Mapping[str, Kept | None]) -> Applied:
        """Write the site's files, and others as they were."""
        self._withdraw(Accepted.on_disk(self._tree, self._paths))
        for path, kept in others.items():
            if kept is not None:
                self._write_kept(path, kept)
        self._assign()
        reloaded = self._reroute()
        self._publish(Accepted.on_disk(self._tree, self._paths))
        for path, kept in others.items():
            if kept is None:
                self._replace(path, None, None)
        return self._applied(reloaded=reloaded)

    def run_relay(self, *, is_known: bool) -> Applied:
        """Write which names mail is taken for."""
        accepted = Accepted.on_disk(self._tree, self._paths)
        if not is_known:
            self._refuse_to_drop(accepted)
        self._withdraw(accepted)
        self._sweep(self._paths.control)
        self._publish(Accepted.on_disk(self._tree, self._paths))
        return self._applied(reloaded=False)

    def patch_accounts(self, stamps: Mapping[str, Stamp]) -> set[str]:
        """Make ready the files of accounts in which only some lines are to change.

        :returns: the domains that have one that is not as it should be.
        """
        unusable = set()
        for domain in self._snapshot.domains:
            if Part.MAILBOXES not in domain.parts:
                continue
            path = f"{domain.directory}/{render.VPASSWD}"
            lines = {each.name: render.vpasswd_line(path, each) for each in domain.accounts}
            new = None
            if domain.directory == stamps[domain.name].directory:
                old, compiled = self._tree.read(path), self._tree.read(f"{path}.cdb")
                new = accounts.changed(old, compiled, dict.fromkeys(domain.changed) | lines)
            if new is None:
                unusable.add(domain.name)
            else:
                self._accounts |= {path: new[0], f"{path}.cdb": new[1]}
        return unusable

    def patch(self) -> bool:
        """Make ready the site's files in which only some lines are to change.

        :returns: False if one is not as it should be, and the whole site has to be written.
        """
        changed = self._snapshot.reassigned
        if changed is None:
            return True
        qmail = self._paths.qmail
        path, assign_cdb = f"{qmail}/{render.ASSIGN}", render.assign_cdb(self._export)
        old, cdbs = self._site_contents()
        with render.naming(path):
            if changed.placed is not None:
                files = partial.site_files(old, self._snapshot, cdbs)
                self._files = dict(files or {})
                few = few_on_disk(self._tree, self._paths)
                self._among = partial.moving(changed, changed.placed, few)
                return files is not None
            assigned = partial.assigned(old[render.ASSIGN], changed)
            if assigned is None:
                return False
            if assigned.splices or self._tree.exists(f"{qmail}/{render.COMPILE_MARKER}"):
                self._files[path] = assigned.new
                if not self._export.newu_command:
                    compiled = partial.compiled(assigned, cdbs.get(assign_cdb))
                    self._files[f"{qmail}/{assign_cdb}"] = compiled
        return True

    def _site_contents(self) -> tuple[dict[str, bytes | None], dict[str, bytes]]:
        """Return the texts of the site's files, and the cdbs if they are known to be of these."""
        qmail = self._paths.qmail
        old = {file: content_of(self._tree, f"{qmail}/{file}") for file in partial.FILES}
        self._is_compiled = self._stamps.has_site(self._compiled_files())
        cdbs: dict[str, bytes] = {}
        if self._is_compiled:
            for file in (render.assign_cdb(self._export), MORE_CDB):
                data = content_of(self._tree, f"{qmail}/{file}")
                if data is not None:
                    cdbs[file] = data
        return old, cdbs

    def _compiled_files(self) -> list[str]:
        cdb = render.assign_cdb(self._export)
        files = (render.ASSIGN, cdb, render.MORERCPTHOSTS, MORE_CDB)
        return [f"{self._paths.qmail}/{file}" for file in files]

    def run_domains(self) -> Applied:
        """Write the files of the snapshot's domains, and those of the site that are ready."""
        if self._files:
            self._make_home()
        self._write_domains()
        self._write_vpopmail()
        if f"{self._paths.qmail}/{render.ASSIGN}" in self._files:
            # Nobody looks at the cdb again if this ends in between.
            self._tree.write(f"{self._paths.qmail}/{render.COMPILE_MARKER}", b"")
            self._assign()
            if self._is_compiled:
                self._stamps.set_site(self._compiled_files())
        return self._applied(reloaded=False)

    def _applied(self, *, reloaded: bool) -> Applied:
        return Applied(
            revision=self._snapshot.revision,
            changed=tuple(self._changed),
            extra=tuple(self._comparison.extra) if self._comparison else (),
            swept=tuple(self._swept),
            reloaded=reloaded,
        )

    def _refuse_to_drop(self, accepted: Accepted) -> None:
        wanted = Accepted.of(self._files, self._paths)
        unknown = sorted((accepted.few | accepted.more) - (wanted.few | wanted.more))
        if unknown:
            raise ExportFailed(
                f"{self._paths.qmail}/{render.RCPTHOSTS} has {len(unknown)} names that the"
                f" database does not know, such as {unknown[0]}: import the site first, or check"
                " the database's URL"
            )

    # The steps

    def _on_disk(self) -> Accepted:
        """Return which of the names that may come or go are accepted now."""
        return Accepted.on_disk(self._tree, self._paths, self._among)

    def _withdraw(self, accepted: Accepted) -> None:
        wanted = Accepted.of(self._files, self._paths, self._among)
        going = (accepted.few | accepted.more) - (wanted.few | wanted.more)
        if going & accepted.more:
            self._accept_more(Accepted.on_disk(self._tree, self._paths).more - going)
        path = f"{self._paths.qmail}/{render.RCPTHOSTS}"
        if going & accepted.few and few_on_disk(self._tree, self._paths) - going:
            lines = [line for _, line in split_lines(self._tree.read(path))]
            self._write(path, join_lines([line for line in lines if host_of(line) not in going]))

    def _make_home(self) -> None:
        vpopmail = self._paths.vpopmail
        self._tree.make_dir(vpopmail, SITE_DIR_MODE, parents=True)
        for directory, mode in (("etc", SITE_DIR_MODE), ("domains", _DOMAIN_DIR_MODE)):
            self._make_dir(f"{vpopmail}/{directory}", mode, self._vpopmail_owner)

    def _write_domains(self) -> None:
        new: list[DomainState] = []
        known: list[DomainState] = []
        for domain in self._snapshot.domains:
            if self._comparison and domain.directory not in self._comparison.dirty:
                continue
            (known if self._tree.exists(domain.directory) else new).append(domain)
        # Nothing leads to a new directory yet: one wait for the disk does for many of them.
        durable = len(new) <= _DOMAINS_AT_ONCE
        self._write_batches(new, durable=durable)
        if not durable:
            os.sync()
        self._write_batches(known, durable=True)
        for path in sorted(self._gone):
            with contextlib.suppress(FileNotFoundError):
                self._tree.remove(path)
                self._note([path])

    def _write_vpopmail(self) -> None:
        home = f"{self._paths.vpopmail}/"
        files = [path for path in self._files if path.startswith(home)]
        self._replace_many(files, self._vpopmail_owner)

    def _write_batches(self, domains: Sequence[DomainState], *, durable: bool) -> None:
        for start in range(0, len(domains), _DOMAINS_AT_ONCE):
            self._write_batch(domains[start : start + _DOMAINS_AT_ONCE], durable=durable)

    def _write_batch(self, domains: Sequence[DomainState], *, durable: bool) -> None:
        writes: list[Write] = []
        for domain in domains:
            owner = (domain.uid, domain.gid)
            files: dict[str, Content | Link] = {
                **render.domain_files(domain, self._paths.vpopmail)
            }
            if Part.MAILBOXES in domain.parts:
                vpasswd = f"{domain.directory}/{render.VPASSWD}"
                files |= {path: self._accounts[path] for path in (vpasswd, f"{vpasswd}.cdb")}
            self._gone.difference_update(files)
            links = self._links_among(domain, files, owner, durable=durable)
            self._sweep(*sorted({domain.directory, *(p.rpartition("/")[0] for p in files)}))
            for path, content in files.items():
                if isinstance(content, Link):
                    self._link(path, content.target)
                elif path in links:
                    self._write_over_link(path, content, owner)
                else:
                    writes.append(Write(path, content, owner=owner))
        self._note(self._tree.write_many(writes, durable=durable))
        for domain in domains:
            self._stamp(domain)

    def _stamp(self, domain: DomainState) -> None:
        is_large = len(domain.accounts) >= LARGE and Part.ACCOUNTS in domain.parts
        if domain.mark and (is_large or Part.MAILBOXES in domain.parts):
            self._stamps.set(domain.name, Stamp(domain.mark, domain.directory))

    def _assign(self) -> None:
        cdb_file = render.assign_cdb(self._export)
        path, marker = (
            f"{self._paths.qmail}/{file}" for file in (cdb_file, render.COMPILE_MARKER)
        )
        if not self._export.newu_command:
            self._put(render.ASSIGN, cdb_file)
            if self._tree.exists(marker):
                self._tree.remove(marker)
            return
        if not self._tree.exists(path) or self._differ(render.ASSIGN):
            self._tree.write(marker, b"")
        self._put(render.ASSIGN)
        if self._tree.exists(marker):
            programs.compile_cdb(self._export.newu_command, path, self._forget_lines)
            self._tree.remove(marker)
            self._note([path])

    def _forget_lines(self) -> None:
        """Give back what users/assign was made of: with a million lines it takes 0.1 s."""
        self._snapshot = replace(self._snapshot, names=(), exact=dict)
        del self._files[f"{self._paths.qmail}/{render.ASSIGN}"]

    def _reroute(self) -> bool:
        marker = f"{self._paths.qmail}/{render.RELOAD_MARKER}"
        if not self._reload_command:
            self._put(render.VIRTUALDOMAINS, render.LOCALS)
            return False
        pending = self._tree.exists(marker)
        if not pending and self._differ(render.VIRTUALDOMAINS, render.LOCALS):
            self._tree.write(marker, b"")
            pending = True
        self._put(render.VIRTUALDOMAINS, render.LOCALS)
        if pending:
            programs.reload(self._reload_command)
            self._tree.remove(marker)
        return pending

    def _publish(self, accepted: Accepted) -> None:
        wanted = Accepted.of(self._files, self._paths, self._among)
        moving = accepted.more & (wanted.few - wanted.more)
        if moving:
            self._accept_more(Accepted.of(self._files, self._paths).more | moving)
            self._put(render.RCPTHOSTS)
            self._put_more(wanted)
        elif self._export.newmrh_command or self._files[f"{self._paths.qmail}/{MORE_CDB}"] is None:
            self._put_more(wanted)
            self._put(render.RCPTHOSTS)
        else:
            self._put(render.MORERCPTHOSTS, MORE_CDB, render.RCPTHOSTS)

    def _accept_more(self, hosts: frozenset[str]) -> None:
        """Let morercpthosts.cdb have these names, whatever the final text is."""
        path = f"{self._paths.qmail}/{MORE_CDB}"
        if not self._export.newmrh_command:
            self._write(path, compile_hosts(hosts))
            return
        self._write(
            f"{self._paths.qmail}/{render.MORERCPTHOSTS}", join_lines(sorted(hosts, key=encode))
        )
        programs.compile_cdb(self._export.newmrh_command, path)
        self._note([path])

    def _put_more(self, wanted: Accepted) -> None:
        path = f"{self._paths.qmail}/{MORE_CDB}"
        if not self._export.newmrh_command or self._files[path] is None:
            self._put(render.MORERCPTHOSTS, MORE_CDB)
            return
        self._put(render.MORERCPTHOSTS)
        if self._on_disk().more != wanted.more:
            programs.compile_cdb(self._export.newmrh_command, path)
            self._note([path])

    # Files

    def _sweep(self, *directories: str) -> None:
        for directory in directories:
            self._swept += self._tree.sweep(directory, LEFTOVER_AGE_S)

    def _put(self, *files: str) -> None:
        """Write files of qmail's, in that order, with one wait for the disk."""
        self._replace_many([f"{self._paths.qmail}/{file}" for file in files], None)

    def _differ(self, *files: str) -> bool:
        paths = [f"{self._paths.qmail}/{file}" for file in files]
        for path in paths:
            wanted = self._files[path]
            if content_of(self._tree, path) != (None if wanted is None else whole(wanted)):
                return True
        return False

    def _replace_many(self, paths: Sequence[str], owner: Owner | None) -> None:
        """Give files the contents that are ready for them; those that have none are removed."""
        contents = [(path, self._files[path]) for path in paths]
        writes = [self._wanted(path, data, owner) for path, data in contents if data is not None]
        self._note(self._tree.write_many(writes))
        for path, data in contents:
            if data is None:
                self._replace(path, None, None)

    def _replace(self, path: str, data: Content | None, owner: Owner | None) -> None:
        if data is not None:
            self._write(path, data, owner)
        elif self._tree.exists(path):
            self._tree.remove(path)
            self._note([path])

    def _write(self, path: str, data: Content, owner: Owner | None = None) -> None:
        self._note(self._tree.write_many([self._wanted(path, data, owner)]))

    def _wanted(self, path: str, data: Content, owner: Owner | None) -> Write:
        mode = None if self._tree.exists(path) else _SITE_FILE_MODE
        return Write(path, data, mode, owner)

    def _links_among(
        self, domain: DomainState, files: Collection[str], owner: Owner, *, durable: bool
    ) -> set[str]:
        """Return which files are symbolic links on disk; make missing directories."""
        for directory in {domain.directory, *(path.rpartition("/")[0] for path in files)}:
            self._make_dir(directory, _DOMAIN_DIR_MODE, owner, durable=durable)
        return {path for path in files if self._is_link(path)}

    def _is_link(self, path: str) -> bool:
        try:
            return stat.S_ISLNK(self._tree.stat(path).st_mode)
        except FileNotFoundError:
            return False

    def _make_dir(self, path: str, mode: int, owner: Owner, *, durable: bool = True) -> None:
        if not self._tree.exists(path):
            self._tree.make_dir(path, mode, owner, parents=True, durable=durable)

    def _link(self, path: str, target: str) -> None:
        with contextlib.suppress(OSError):
            if self._tree.read_link(path) == target:
                return
        temp = _temp_beside(path)
        self._tree.symlink(temp, target)
        self._tree.rename(temp, path)
        self._note([path])

    def _write_kept(self, path: str, kept: Kept) -> None:
        if not self._tree.exists(path.rpartition("/")[0]):
            return  # deleted with all that is in it; what is left of it is in the trash
        if isinstance(kept.content, Link):
            self._link(path, kept.content.target)
        elif self._is_link(path):
            self._write_over_link(path, kept.content, kept.owner)
        elif self._tree.write(path, kept.content, mode=kept.mode, owner=kept.owner):
            self._note([path])

    def _write_over_link(self, path: str, data: Content, owner: Owner) -> None:
        """Put a file in the place of a link, which is not followed."""
        temp = _temp_beside(path)
        self._tree.write(temp, data, owner=owner)
        self._tree.rename(temp, path)
        self._note([path])

    def _note(self, paths: Sequence[str]) -> None:
        self._changed.update(dict.fromkeys(paths))


def _temp_beside(path: str) -> str:
    return f"{path.rpartition('/')[0]}/{TEMP_PREFIX}{secrets.token_hex(8)}"
