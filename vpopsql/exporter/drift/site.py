"""Looking at the files of the whole site, and at what is beside the domains' directories."""

import stat
from collections.abc import Collection, Iterable

from vpopsql.config import Paths
from vpopsql.directory import Directory, name_of
from vpopsql.exporter import render
from vpopsql.exporter.accepted import with_locals_of_the_host
from vpopsql.exporter.drift import kinds
from vpopsql.exporter.drift.codes import Code
from vpopsql.exporter.drift.content import concerns
from vpopsql.exporter.drift.domain import BUCKET_LEVELS, BUCKETS, TRASH, is_young
from vpopsql.exporter.drift.finding import Finding
from vpopsql.exporter.drift.look import Look
from vpopsql.exporter.snapshot import Snapshot
from vpopsql.qmail import assign
from vpopsql.tree import TEMP_PREFIX, Owner, Tree, UnsafePath

_MARKS_OF_A_DOMAIN = {"vpasswd", "vpasswd.cdb", ".qmail-default"}


_OF_A_RELAY = {render.RCPTHOSTS, render.MORERCPTHOSTS, f"{render.MORERCPTHOSTS}.cdb"}


def look_at_relay(tree: Tree, snapshot: Snapshot) -> list[Finding]:
    """Return what is not as it should be on a host that only takes mail for others."""
    look = Look(tree)
    qmail = snapshot.paths.qmail
    try:
        files = render.site_files(snapshot)
    except render.Unrenderable as error:
        look.find(Code.UNRENDERABLE, f"{qmail}/{render.RCPTHOSTS}", str(error))
    else:
        wanted = {path: files[path] for path in (f"{qmail}/{file}" for file in _OF_A_RELAY)}
        _Site(look, look, snapshot.paths, wanted, [snapshot.paths.control]).look()
    return look.findings


def look_at_site(
    tree: Tree, snapshot: Snapshot, owner: Owner, only: Collection[str] | None = None
) -> list[Finding]:
    """Return what is not as it should be on a host with mailboxes.

    :param owner: whose vpopmail's own files are.
    :param only: names of one domain: of what the files say, what concerns these only, and
        nothing of directories that belong to nobody.
    """
    look = Look(tree)
    try:
        files = render.site_files(with_locals_of_the_host(snapshot, tree))
    except render.Unrenderable as error:
        look.find(Code.UNRENDERABLE, f"{snapshot.paths.qmail}/{render.ASSIGN}", str(error))
    except (OSError, UnsafePath) as error:
        # Only locals was read.
        path = f"{snapshot.paths.qmail}/{render.LOCALS}"
        code = Code.NO_FILE if isinstance(error, UnsafePath | IsADirectoryError) else None
        look.find(code or Code.UNREADABLE, path, "cannot be read")
    else:
        of_vpopmail = Look(tree, owner=owner)
        # If qmail-newu makes it, it is none of the exporter's files.
        cdb_path = f"{snapshot.paths.qmail}/{render.assign_cdb(snapshot.export)}"
        text = files[f"{snapshot.paths.qmail}/{render.ASSIGN}"] or b""
        files.setdefault(cdb_path, assign.compile_text(text))
        # An export leaves these alone when they have no row, but vpopmail reads them.
        etc, domains = f"{snapshot.paths.vpopmail}/etc", f"{snapshot.paths.vpopmail}/domains"
        files.setdefault(f"{etc}/{kinds.DEFAULT_LIMITS}", None)
        files.setdefault(f"{domains}/{render.DIR_CONTROL}", None)
        files.setdefault(f"{domains}/{render.FREE_BUCKETS}", None)
        places = [snapshot.paths.control, snapshot.paths.users, etc, domains]
        _Site(look, of_vpopmail, snapshot.paths, files, places).look()
        look.findings += of_vpopmail.findings
    if only is None:
        _Orphans(look, snapshot).look()
        return look.findings
    return [found for each in look.findings if (found := _about(each, only))]


def _about(finding: Finding, domain_names: Collection[str]) -> Finding | None:
    if not finding.details:
        return finding
    details = [each for each in finding.details if concerns(each, domain_names)]
    return Finding.of(finding.code, finding.path, details) if details else None


class _Site:
    """The files of qmail, and those of vpopmail that belong to no domain."""

    def __init__(
        self,
        of_qmail: Look,
        of_vpopmail: Look,
        paths: Paths,
        files: render.SiteFiles,
        places: Iterable[str],
    ) -> None:
        self._of_qmail = of_qmail
        self._of_vpopmail = of_vpopmail
        self._paths = paths
        self._wanted: dict[str, dict[str, bytes | None]] = {place: {} for place in places}
        for path, data in files.items():
            place, _, name = path.rpartition("/")
            self._wanted[place][name] = data

    def look(self) -> None:
        for place, wanted in self._wanted.items():
            of_qmail = place in {self._paths.control, self._paths.users}
            look = self._of_qmail if of_qmail else self._of_vpopmail
            before = len(look.findings)
            with look.entered(place, None) as directory:
                if directory is not None:
                    look.check_directory(directory, place, forbidden=stat.S_IWOTH)
                    self._check(look, directory, place, wanted)
                elif len(look.findings) == before:
                    self._all_missing(look, place, wanted)

    def _all_missing(self, look: Look, place: str, wanted: dict[str, bytes | None]) -> None:
        for name, data in wanted.items():
            if data is not None:
                path = f"{place}/{name}"
                look.find(kinds.of_site_file(path, self._paths.qmail).missing, path)

    def _check(
        self, look: Look, directory: Directory, place: str, wanted: dict[str, bytes | None]
    ) -> None:
        for name, data in wanted.items():
            kind = kinds.of_site_file(f"{place}/{name}", self._paths.qmail)
            if data is None:
                look.check_absence(directory, place, name, kind)
            else:
                look.check_file(directory, place, name, data, kind)
        for entry in directory.entries():
            if entry.name.startswith(TEMP_PREFIX):
                look.check_leftover(directory, place, name_of(entry))
            elif f"{place}/{entry.name}" == f"{self._paths.qmail}/{render.RELOAD_MARKER}":
                look.find(Code.RELOAD_PENDING, f"{place}/{entry.name}")


class _Orphans:
    """The directories below vpopmail's ``domains`` that no domain has."""

    def __init__(self, look: Look, snapshot: Snapshot) -> None:
        self._look = look
        self._top = f"{snapshot.paths.vpopmail}/domains"
        self._known = {name.directory.rstrip("/") for name in snapshot.names}
        self._above: set[str] = set()
        for path in self._known:
            above = path.rpartition("/")[0]
            while above and above not in self._above:
                self._above.add(above)
                above = above.rpartition("/")[0]

    def look(self) -> None:
        try:
            directory = self._look.tree.enter(self._top)
        except (OSError, UnsafePath):
            return  # every domain says so
        with directory:
            self._look_into(directory, self._top, 0)

    def _look_into(self, directory: Directory, path: str, depth: int) -> None:
        for entry in directory.entries():
            inner = f"{path}/{name_of(entry)}"
            if inner in self._known or entry.name == TRASH:
                continue
            if not entry.is_dir(follow_symlinks=False):
                continue
            try:
                opened = directory.enter(name_of(entry))
            except FileNotFoundError:
                continue  # moved since
            except OSError as error:
                self._look.find(Code.UNREADABLE, inner, str(error.strerror))
                continue
            with opened:
                if inner in self._above:
                    self._look_into(opened, inner, depth + 1)
                else:
                    self._judge(opened, inner, entry.name, depth)

    def _judge(self, opened: Directory, path: str, name: str, depth: int) -> None:
        if is_young(opened.status()):
            return
        marks = sorted(_MARKS_OF_A_DOMAIN.intersection(each.name for each in opened.entries()))
        if marks:
            self._look.find(Code.ORPHAN_DOMAIN, path, f"has a {' and a '.join(marks)}")
        elif name in BUCKETS and depth < BUCKET_LEVELS:
            self._look_into(opened, path, depth + 1)
        else:
            self._look.find(Code.UNKNOWN_DIR, path)
