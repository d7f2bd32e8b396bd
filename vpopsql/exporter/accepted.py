"""The names that a host takes mail for, and what else an apply asks of files on disk."""

from collections.abc import Collection
from dataclasses import dataclass, replace
from functools import lru_cache

from vpopsql import names
from vpopsql.config import Paths
from vpopsql.exporter import render
from vpopsql.exporter.snapshot import Foreign, Snapshot
from vpopsql.pieces import whole
from vpopsql.qmail import cdb, control
from vpopsql.qmail.lines import decode, encode, split_lines
from vpopsql.tree import Tree


@dataclass(frozen=True, slots=True)
class Accepted:
    """The names that qmail-smtpd takes mail for, in lower case."""

    few: frozenset[str]
    """Those of rcpthosts."""
    more: frozenset[str]
    """Those of morercpthosts.cdb."""

    @property
    def all(self) -> frozenset[str]:
        """Those of either."""
        return self.few | self.more

    @classmethod
    def on_disk(cls, tree: Tree, paths: Paths, among: Collection[str] | None = None) -> "Accepted":
        """Return those that are accepted now; see `of`."""
        files = (f"{paths.qmail}/{file}" for file in (render.RCPTHOSTS, render.MORE_CDB))
        return cls.of({path: content_of(tree, path) for path in files}, paths, among)

    @classmethod
    def of(
        cls, files: render.SiteContents, paths: Paths, among: Collection[str] | None = None
    ) -> "Accepted":
        """Return those that are accepted with files of these contents.

        :param among: only these names are asked for; None: all. A site may have many.
        """
        few = _hosts_of_text(whole(files[f"{paths.qmail}/{render.RCPTHOSTS}"] or b""))
        more = whole(files[f"{paths.qmail}/{render.MORE_CDB}"] or b"")
        if among is None:
            return cls(few, _hosts_of_cdb(more))
        return cls(few.intersection(among), frozenset(n for n in among if _has(more, n)))


def few_on_disk(tree: Tree, paths: Paths) -> frozenset[str]:
    """Return the names that rcpthosts has."""
    return _hosts_of_text(content_of(tree, f"{paths.qmail}/{render.RCPTHOSTS}") or b"")


# The same content is asked for again and again in the course of an apply.
@lru_cache(maxsize=4)
def _hosts_of_text(data: bytes) -> frozenset[str]:
    lines = [line for _, line in split_lines(data)]
    return frozenset(host_of(line) for line in lines if not render.is_comment(line))


@lru_cache(maxsize=4)
def _hosts_of_cdb(data: bytes) -> frozenset[str]:
    try:
        records = cdb.read(data) if data else []
    except ValueError:
        # qmail-smtpd cannot read it either.
        records = []
    return frozenset(decode(key) for key, _ in records)


def _has(data: bytes, host: str) -> bool:
    try:
        return bool(data) and cdb.get(data, encode(host)) is not None
    except ValueError:
        return False


def host_of(line: str) -> str:
    """Return the name that a line of rcpthosts is to qmail-smtpd."""
    return names.lower(line.rstrip(" \t"))


def compile_hosts(hosts: frozenset[str]) -> bytes:
    """Return a morercpthosts.cdb of names."""
    return control.compile_morercpthosts(sorted(hosts, key=encode))


def content_of(tree: Tree, path: str) -> bytes | None:
    """Return what a file has; None: there is none."""
    try:
        return tree.read(path)
    except FileNotFoundError:
        return None


def with_locals_of_the_host(snapshot: Snapshot, tree: Tree) -> Snapshot:
    """Return a snapshot with the lines that locals has, unless the database has some."""
    if render.LOCALS in snapshot.foreign:
        return snapshot
    data = content_of(tree, f"{snapshot.paths.qmail}/{render.LOCALS}")
    if data is None:
        return snapshot
    lines = [Foreign(line, "") for _, line in split_lines(data)]
    return replace(snapshot, foreign={**snapshot.foreign, render.LOCALS: lines})
