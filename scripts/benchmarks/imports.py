"""``scripts/bench_import``: imports beside the bare bulk load of the same rows."""

import argparse
import contextlib
import json
import os
import shutil
import statistics
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from scripts.benchmarks import BenchFailed
from scripts.benchmarks.bare import ROWS
from scripts.benchmarks.databases import BACKENDS, Databases
from scripts.benchmarks.mariadb import mariadb
from scripts.benchmarks.programs import Usage, run_watched
from scripts.sites.dump import MySQLDump
from scripts.sites.synthesis import Size, Synthesis
from scripts.sites.tree import Homes, Tree

_MB = 1_000_000
_SOURCES = ("tree", "mysql")


@dataclass(frozen=True, slots=True)
class Result:
    """An import on one database: medians; memory is the most of all runs."""

    source: str
    database: str
    rows: int
    bare_s: float
    import_s: float
    peak_mb: float
    """Of all processes together, shared pages once."""
    parent_mb: float
    bare_runs_s: list[float]
    import_runs_s: list[float]

    @property
    def ratio(self) -> float:
        """How many times as long as the bare load the import takes."""
        return self.import_s / self.bare_s


@dataclass(frozen=True, slots=True)
class Source:
    """What to import: the arguments that name it."""

    name: str
    arguments: tuple[str | Path, ...]


def main() -> int:
    """Measure, and print a table."""
    arguments = _parser().parse_args()
    databases = list(BACKENDS) if arguments.database == "both" else [arguments.database]
    results: list[Result] = []
    try:
        with (
            tempfile.TemporaryDirectory(prefix="vpopsql-bench-") as name,
            _site(arguments, Path(name)) as sources,
        ):
            for database in databases:
                with BACKENDS[database](Path(name) / database) as backend:
                    for source in sources:
                        place = Path(name) / f"rows-{database}-{source.name}"
                        result = _measure(source, database, backend, place, arguments)
                        results.append(result)
                        shutil.rmtree(place)
                        _say(_row(result))
    except BenchFailed as error:
        print(f"bench_import: FAILED: {error}", file=sys.stderr)
        return 1
    print("\n".join(_table(results)))
    if arguments.json:
        document = [asdict(result) | {"ratio": result.ratio} for result in results]
        arguments.json.write_text(json.dumps(document, indent=2) + "\n")
    print(f"bench_import: ok: {len(results)} rows, each the median of {arguments.repeat}")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="scripts/bench_import",
        description="Time imports beside the bare bulk load of the same rows.",
    )
    parser.add_argument("--domains", type=int, default=500, help="default: 500")
    parser.add_argument("--mailboxes", type=int, default=100_000, help="default: 100000")
    parser.add_argument("--source", choices=[*_SOURCES, "both"], default="both")
    parser.add_argument("--database", choices=[*BACKENDS, "both"], default="both")
    parser.add_argument("--repeat", type=int, default=3, help="runs; the median counts")
    parser.add_argument("--jobs", type=int, help="as of vpopsql import (default: its own)")
    parser.add_argument("--no-homes", action="store_true", help="as of vpopsql import")
    parser.add_argument(
        "--keep",
        type=Path,
        metavar="DIRECTORY",
        help="make the site there and leave it, or take the one that an earlier run left",
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write everything there too")
    return parser


@contextlib.contextmanager
def _site(arguments: argparse.Namespace, scratch: Path) -> Iterator[list[Source]]:
    place: Path = arguments.keep or scratch / "site"
    tree, dump = place / "tree", place / "tables.sql"
    if not dump.exists():
        _say("making the site")
        place.mkdir(parents=True, exist_ok=True)
        _make(Size(arguments.domains, arguments.mailboxes), tree, dump)
    wanted = _SOURCES if arguments.source == "both" else (arguments.source,)
    qmail = ("--qmail", tree / "qmail")
    sources = []
    with contextlib.ExitStack() as stack:
        if "tree" in wanted:
            sources.append(Source("tree", ("tree", "--vpopmail", tree / "vpopmail", *qmail)))
        if "mysql" in wanted:
            _say("filling MariaDB")
            url = stack.enter_context(mariadb(scratch / "mariadb", dump))
            sources.append(Source("mysql", ("mysql", url, *qmail)))
        yield sources


def _make(size: Size, tree: Path, dump: Path) -> None:
    site = Synthesis(size)
    draft = dump.with_suffix(".draft")
    with draft.open("wb") as file:
        writers = (Tree(tree, Homes.LIGHT), MySQLDump(file))
        for writer in writers:
            writer.frame(site.frame)
        for domain in site.domains():
            for writer in writers:
                writer.domain(domain)
        writers[1].finish()
    draft.rename(dump)


def _measure(
    source: Source,
    database: str,
    databases: Databases,
    place: Path,
    arguments: argparse.Namespace,
) -> Result:
    """Take turns, so that a machine that is busy for a while is so for both."""
    options: list[str | Path] = ["--apply"]
    options += ["--no-homes"] if arguments.no_homes else []
    options += ["--jobs", str(arguments.jobs)] if arguments.jobs else []
    rows = ROWS[database](place)
    imports: list[Usage] = []
    bare: list[float] = []
    for _ in range(arguments.repeat):
        url = databases.create()
        settings = {"DATABASE_URL": url}
        imports.append(run_watched(settings, "import", *source.arguments, *options))
        if not rows.number:
            rows.read(url)
        databases.drop(url)
        url = databases.create()
        os.sync()  # what the one has left for later is not for the other to wait for
        bare.append(rows.load(url))
        databases.drop(url)
        os.sync()
        _say(f"{source.name} -> {database}: {imports[-1].seconds:.1f} s, bare {bare[-1]:.1f} s")
    return Result(
        source=source.name,
        database=database,
        rows=rows.number,
        bare_s=statistics.median(bare),
        import_s=statistics.median(usage.seconds for usage in imports),
        peak_mb=max(usage.peak for usage in imports) / _MB,
        parent_mb=max(usage.peak_alone for usage in imports) / _MB,
        bare_runs_s=bare,
        import_runs_s=[usage.seconds for usage in imports],
    )


_HEADER = (
    "| source | database   |      rows |  bare s | import s | ratio | MB in all | MB parent |"
)
_RULE = "| ------ | ---------- | --------: | ------: | -------: | ----: | --------: | --------: |"


def _table(results: Sequence[Result]) -> Iterator[str]:
    yield _HEADER
    yield _RULE
    yield from map(_row, results)


def _row(result: Result) -> str:
    return (
        f"| {result.source:6} | {result.database:10} | {result.rows:9,} |"
        f" {result.bare_s:7.1f} | {result.import_s:8.1f} | {result.ratio:5.2f} |"
        f" {result.peak_mb:9.0f} | {result.parent_mb:9.0f} |"
    )


def _say(text: str) -> None:
    print(f"bench_import: {text}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
