"""``scripts/bench_export``: the files of a whole site beside what compiles users/assign alone.

Measured are whole processes that write users/assign, its cdb and virtualdomains of a site whose
database is filled and whose names are accepted already. The yardstick is qmail-newu, if the home
of a qmail is named whose programs were built for it; otherwise our own writer, in a process that
does nothing else.
"""

import argparse
import json
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from sqlalchemy import select

from scripts.benchmarks import BenchFailed
from scripts.benchmarks.databases import BACKENDS
from scripts.sites import people
from scripts.sites.chance import numbers
from scripts.sites.synthesis import Size, Synthesis
from vpopsql.bulk import insert_rows, take_ids
from vpopsql.config import Paths
from vpopsql.db import Database
from vpopsql.exporter import render
from vpopsql.exporter.snapshot import RCPTHOSTS_LINES, take
from vpopsql.model import Base, CatchAll, DomainName, SiteSetting
from vpopsql.names import sort_key
from vpopsql.touched import Touched

_SITE = Touched(site=True)
_CHANGED = "vpopsql-bench"


@dataclass(frozen=True, slots=True)
class Result:
    """What was done, and how long each run of it took, its start included."""

    what: str
    database: str
    runs_s: list[float]
    cpu_runs_s: list[float]

    @property
    def seconds(self) -> float:
        """The median."""
        return statistics.median(self.runs_s)

    @property
    def cpu_s(self) -> float:
        """The median of what the processors did for it, which others at work change little."""
        return statistics.median(self.cpu_runs_s)


def main() -> int:
    """Measure, and print a table."""
    arguments = _parser().parse_args()
    databases = list(BACKENDS) if arguments.database == "both" else [arguments.database]
    results: list[Result] = []
    try:
        with tempfile.TemporaryDirectory(prefix="vpopsql-bench-") as name:
            for database in databases:
                with BACKENDS[database](Path(name) / database) as backend:
                    url = backend.create()
                    _fill(url, arguments.domains, arguments.lines)
                    backend.settle(url)
                    results += _measure(database, url, Path(name), arguments)
                    backend.drop(url)
    except BenchFailed as error:
        print(f"bench_export: FAILED: {error}", file=sys.stderr)
        return 1
    print("\n".join(_table(results)))
    if arguments.json:
        rows = [asdict(result) for result in results]
        arguments.json.write_text(json.dumps(rows, indent=2) + "\n")
    print(f"bench_export: ok: {len(results)} rows, each the median of {arguments.repeat}")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="scripts/bench_export",
        description="Time the files of a whole site beside what compiles users/assign alone.",
    )
    parser.add_argument("--domains", type=int, default=100_000, help="default: 100000")
    parser.add_argument("--lines", type=int, default=1_000_000, help="exact lines (1000000)")
    parser.add_argument("--database", choices=[*BACKENDS, "both"], default="sqlite")
    parser.add_argument("--repeat", type=int, default=3, help="runs; the median counts")
    parser.add_argument(
        "--qmail",
        type=Path,
        metavar="DIRECTORY",
        help="the home that bin/qmail-newu was built for; its files are overwritten",
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write everything there too")
    return parser


# --- the site ---------------------------------------------------------------------------------


def _fill(url: str, domains: int, lines: int) -> None:
    """Put domains with as many mailboxes each into a database; every one gets an exact line."""
    _say(f"making {domains:,} domains with {lines:,} mailboxes")
    heads = Synthesis(Size(domains, domains)).frame.heads
    database = Database(url)
    try:
        with database.writer() as session:
            tables = Base.metadata.tables
            with_ids = [*zip(take_ids(session, tables["domains"], domains), heads, strict=True)]
            insert_rows(
                session,
                tables["domains"],
                ("id", "directory", "uid", "gid", "catchall"),
                ((at, h.directory, 89, 89, CatchAll.BOUNCE) for at, h in with_ids),
            )
            insert_rows(
                session,
                tables["domain_names"],
                ("name", "domain_id", "is_alias", "sort_key", "in_morercpthosts"),
                (
                    (h.name, at, False, sort_key(h.name), at > RCPTHOSTS_LINES)
                    for at, h in with_ids
                ),
            )
            insert_rows(
                session,
                tables["mailboxes"],
                ("domain_id", "name", "password_hash", "comment", "directory", "quota_text"),
                (
                    (at, user, "*", "", f"{head.directory}/{user}", "NOQUOTA")
                    for at, head in with_ids
                    for user in people.user_names(
                        numbers(at, "users"), lines * at // domains - lines * (at - 1) // domains
                    )
                ),
            )
            session.add(SiteSetting(key="files_are_ours", value="now"))
    finally:
        database.close()


# --- what is measured -------------------------------------------------------------------------


def _measure(
    database: str, url: str, scratch: Path, arguments: argparse.Namespace
) -> Iterator[Result]:
    qmail = arguments.qmail or scratch / f"qmail-{database}"
    _prepare(url, qmail)
    wanted = ["export"]
    wanted += ["export with qmail-newu", "qmail-newu"] if arguments.qmail else ["our writer"]
    wanted += ["one mailbox", "one domain"]
    runs: dict[str, list[tuple[float, float]]] = {what: [] for what in wanted}
    for _ in range(arguments.repeat):
        for what, taken in runs.items():
            taken.append(_run(what, url, qmail))
            _say("{}: {}: {:.2f} s, {:.2f} s of CPU".format(database, what, *taken[-1]))
    for what, taken in runs.items():
        seconds, cpu = zip(*taken, strict=True)
        yield Result(what, database, list(seconds), list(cpu))


def _prepare(url: str, qmail: Path) -> None:
    """Write what accepts the names: a name that is not accepted yet is a new domain to make."""
    database = Database(url)
    try:
        with database.snapshot() as session:
            known = set(session.scalars(select(DomainName.name)))
            snapshot = take(session, Paths(qmail=str(qmail)), _SITE, known)
    finally:
        database.close()
    for directory in ("users", "control"):
        (qmail / directory).mkdir(parents=True, exist_ok=True)
    for path, data in render.site_files(snapshot).items():
        if "rcpthosts" in path and data is not None:
            Path(path).write_bytes(data)


_STEP = """
import gc, sys
gc.set_threshold(20_000, 20, 50)  # as the command line does before it imports the rest
from scripts.benchmarks.export_steps import main
main(*sys.argv[1:])
"""


def _run(what: str, url: str, qmail: Path) -> tuple[float, float]:
    """Return how long it took, and how much the processors did meanwhile."""
    if what.startswith("export"):
        for file in ("users/assign", "users/cdb", "control/virtualdomains"):
            (qmail / file).unlink(missing_ok=True)
    if what == "qmail-newu":
        command = [str(qmail / "bin/qmail-newu")]
    else:
        command = [sys.executable, "-c", _STEP, what, url, str(qmail)]
    begin, used = time.perf_counter(), _cpu_s()
    done = subprocess.run(command, check=False, stderr=subprocess.PIPE, text=True)
    seconds, cpu = time.perf_counter() - begin, _cpu_s() - used
    if done.returncode:
        raise BenchFailed(f"{what} ended with {done.returncode}:\n{done.stderr[-2000:]}")
    return seconds, cpu


def _cpu_s() -> float:
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def _table(results: Sequence[Result]) -> Iterator[str]:
    yield "| what                   | database   | seconds | CPU s | times the yardstick's CPU |"
    yield "| ---------------------- | ---------- | ------: | ----: | ------------------------: |"
    for result in results:
        yardstick = next(
            each.cpu_s
            for each in results
            if each.database == result.database and each.what in {"qmail-newu", "our writer"}
        )
        yield (
            f"| {result.what:22} | {result.database:10} | {result.seconds:7.2f} |"
            f" {result.cpu_s:5.2f} | {result.cpu_s / yardstick:25.2f} |"
        )


def _say(text: str) -> None:
    print(f"bench_export: {text}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
