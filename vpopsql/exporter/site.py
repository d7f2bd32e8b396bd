"""Writing the files of the whole site, one step of an apply after the other; see `apply`."""

from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager

from vpopsql.config import Export, Paths
from vpopsql.errors import ExportFailed
from vpopsql.exporter import programs, render
from vpopsql.exporter.accepted import (
    Accepted,
    compile_hosts,
    content_of,
    few_on_disk,
    host_of,
)
from vpopsql.exporter.domains import DOMAIN_DIR_MODE
from vpopsql.exporter.locking import SITE_DIR_MODE
from vpopsql.exporter.writing import Writer
from vpopsql.pieces import Content, whole
from vpopsql.qmail.lines import encode, join_lines, split_lines


class SiteWriter:
    """Writes the files of the whole site.

    :param paths: with vpopmail's home as the database has it.
    :param files: contents by site path, of whatever the steps that are taken write.
    :param among: the names that may come or go; None: any.
    """

    def __init__(
        self,
        writer: Writer,
        paths: Paths,
        export: Export,
        files: render.SiteContents,
        among: Collection[str] | None = None,
    ) -> None:
        self._writer = writer
        self._tree = writer.tree
        self._paths = paths
        self._export = export
        self._files = dict(files)
        self._among = among
        self._owner = (export.uid, export.gid)

    def refuse_to_drop(self) -> None:
        """Refuse to take a name from rcpthosts or morercpthosts that is not to be there.

        :raises ExportFailed: there is one.
        """
        accepted = Accepted.on_disk(self._tree, self._paths)
        unknown = sorted(accepted.all - Accepted.of(self._files, self._paths).all)
        if unknown:
            raise ExportFailed(
                f"{self._path(render.RCPTHOSTS)} has {len(unknown)} names that the"
                f" database does not know, such as {unknown[0]}: import the site first, or check"
                " the database's URL"
            )

    @contextmanager
    def ahead(self) -> Iterator[None]:
        """Let the disk begin with all files that the steps of the block write."""
        own = self._settings()
        others = {path: data for path, data in self._files.items() if path not in own}
        with self._writer.ahead(own, self._owner), self._writer.ahead(others):
            yield

    def withdraw(self) -> None:
        """Take step 1: the names that go leave rcpthosts and morercpthosts.cdb."""
        accepted = self._accepted()
        going = accepted.all - self._to_be_accepted().all
        if going & accepted.more:
            self._accept_more(Accepted.on_disk(self._tree, self._paths).more - going)
        path = self._path(render.RCPTHOSTS)
        if going & accepted.few and few_on_disk(self._tree, self._paths) - going:
            lines = [line for _, line in split_lines(self._tree.read(path))]
            kept = [line for line in lines if host_of(line) not in going]
            self._writer.replace({path: join_lines(kept)})

    def make_home(self) -> None:
        """Make vpopmail's directories where they are missing."""
        vpopmail = self._paths.vpopmail
        self._tree.make_dir(vpopmail, SITE_DIR_MODE, parents=True)
        for directory, mode in (("etc", SITE_DIR_MODE), ("domains", DOMAIN_DIR_MODE)):
            self._writer.make_dir(f"{vpopmail}/{directory}", mode, self._owner)

    def write_settings(self) -> None:
        """Write vpopmail's own files."""
        self._writer.replace(self._settings(), self._owner)

    def _settings(self) -> dict[str, Content | None]:
        home = f"{self._paths.vpopmail}/"
        return {path: data for path, data in self._files.items() if path.startswith(home)}

    def assign(self, meanwhile: Callable[[], None] = lambda: None) -> None:
        """Take step 3: write users/assign, then its cdb.

        :param meanwhile: what is done while qmail-newu makes the cdb; nothing here needs the text
            of users/assign any more by then.
        """
        cdb_file = render.assign_cdb(self._export)
        path, marker = self._path(cdb_file), self._path(render.COMPILE_MARKER)
        if not self._export.newu_command:
            self._put(render.ASSIGN, cdb_file)
            if self._tree.exists(marker):
                self._tree.remove(marker)
            return
        if not self._tree.exists(path) or self._differ(render.ASSIGN):
            self._tree.write(marker, b"")
        self._put(render.ASSIGN)
        if self._tree.exists(marker):

            def forget() -> None:
                del self._files[self._path(render.ASSIGN)]
                meanwhile()

            programs.compile_cdb(self._export.newu_command, path, forget)
            self._tree.remove(marker)
            self._writer.note([path])

    def reassign(self) -> None:
        """Write users/assign and its cdb alone, when no name has come or gone."""
        # Nobody looks at the cdb again if this ends in between.
        self._tree.write(self._path(render.COMPILE_MARKER), b"")
        self.assign()

    def reroute(self) -> bool:
        """Take steps 4 and 5: write virtualdomains, then locals; reload if they changed.

        :returns: whether it was reloaded.
        """
        marker = self._path(render.RELOAD_MARKER)
        if not self._export.reload_command:
            self._put(render.VIRTUALDOMAINS, render.LOCALS)
            return False
        pending = self._tree.exists(marker)
        if not pending and self._differ(render.VIRTUALDOMAINS, render.LOCALS):
            self._tree.write(marker, b"")
            pending = True
        self._put(render.VIRTUALDOMAINS, render.LOCALS)
        if pending:
            programs.reload(self._export.reload_command)
            self._tree.remove(marker)
        return pending

    def publish(self) -> None:
        """Take step 6: new names enter morercpthosts.cdb and rcpthosts, whichever is theirs."""
        accepted, wanted = self._accepted(), self._to_be_accepted()
        moving = accepted.more & (wanted.few - wanted.more)
        if moving:
            self._accept_more(Accepted.of(self._files, self._paths).more | moving)
            self._put(render.RCPTHOSTS)
            self._put_more(wanted)
        elif self._export.newmrh_command or self._files[self._path(render.MORE_CDB)] is None:
            self._put_more(wanted)
            self._put(render.RCPTHOSTS)
        else:
            self._put(render.MORERCPTHOSTS, render.MORE_CDB, render.RCPTHOSTS)

    def _accepted(self) -> Accepted:
        """Return which of the names that may come or go are accepted now."""
        return Accepted.on_disk(self._tree, self._paths, self._among)

    def _to_be_accepted(self) -> Accepted:
        return Accepted.of(self._files, self._paths, self._among)

    def _accept_more(self, hosts: frozenset[str]) -> None:
        """Let morercpthosts.cdb have these names, whatever the final text is."""
        path = self._path(render.MORE_CDB)
        if not self._export.newmrh_command:
            self._writer.replace({path: compile_hosts(hosts)})
            return
        text = join_lines(sorted(hosts, key=encode))
        self._writer.replace({self._path(render.MORERCPTHOSTS): text})
        programs.compile_cdb(self._export.newmrh_command, path)
        self._writer.note([path])

    def _put_more(self, wanted: Accepted) -> None:
        path = self._path(render.MORE_CDB)
        if not self._export.newmrh_command or self._files[path] is None:
            self._put(render.MORERCPTHOSTS, render.MORE_CDB)
            return
        self._put(render.MORERCPTHOSTS)
        if self._accepted().more != wanted.more:
            programs.compile_cdb(self._export.newmrh_command, path)
            self._writer.note([path])

    def _path(self, file: str) -> str:
        return f"{self._paths.qmail}/{file}"

    def _put(self, *files: str) -> None:
        """Write files of qmail's, in that order, with one wait for the disk."""
        paths = map(self._path, files)
        self._writer.replace({path: self._files[path] for path in paths})

    def _differ(self, *files: str) -> bool:
        for path in map(self._path, files):
            wanted = self._files[path]
            if content_of(self._tree, path) != (None if wanted is None else whole(wanted)):
                return True
        return False
