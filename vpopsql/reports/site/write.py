"""Writing the whole site: one snapshot is read here, while other processes make its pages."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from pathlib import Path

from vpopsql import crew
from vpopsql.config import Config
from vpopsql.db import Database
from vpopsql.reports import files
from vpopsql.reports.registry import REPORTS
from vpopsql.reports.report import Source
from vpopsql.reports.site.domain_page import domain_page
from vpopsql.reports.site.frame import Frame, assets
from vpopsql.reports.site.gather import DomainRows, Gathering
from vpopsql.reports.site.overview import overview_page
from vpopsql.reports.site.paths import domain_path, report_path
from vpopsql.reports.site.publish import Pages, publishing
from vpopsql.reports.site.report_page import DomainList, report_page
from vpopsql.reports.site.streams import Found

Progress = Callable[[str, int, int, int, str], None]
"""Takes what is done, steps done and in all, what people count, and in which unit."""

_SESSIONS_MAX = 8
"""So many connections at most: more would only wait for each other."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which site to write."""

    directory: Path
    """New, empty, or the place of an earlier site."""
    title: str = "Mail site"
    domain: str | None = None
    """Only what is of this one; None: everything."""
    rows: int = 1000
    """At most so many of each report on a page, from 1."""
    with_files: bool = False
    """Whether the reports on the files of this host are asked, too."""
    jobs: int = 1
    """Processes, from 1, that make the pages of domains, and reports that are asked at once."""


@dataclass(frozen=True, slots=True)
class Written:
    """What was written."""

    domains: int
    pages: int


class _PageMaker:
    """Makes pages of domains and writes them, in a process of its own or not."""

    def __init__(self, pages: Pages, frame: Frame) -> None:
        self._pages = pages
        self._frame = frame

    def __call__(self, of: DomainRows, /) -> None:
        self._pages.write(domain_path(of.name), domain_page(self._frame, of))

    def close(self) -> None:
        """Let nothing go."""


def write_site(
    database: Database, config: Config, wanted: Wanted, now: datetime, progress: Progress
) -> Written:
    """Write a site, in the place of an earlier one once it is complete.

    :param now: which time the pages bear, in UTC.
    :raises NoSuchDomain: there is none of the name that is wanted.
    :raises ExportFailed: the directory is not ours, or cannot be written to.
    :raises ProcessKilled: one of the processes was.
    :raises DatabaseUnavailable: it went away.
    """
    frame = Frame(wanted.title, now, wanted.rows)
    with publishing(wanted.directory) as (root, umask):
        pages = Pages(root, umask)
        make = partial(_PageMaker, Pages(root, umask), frame)
        domains = DomainList(frame)
        names: set[str] = set()
        with (
            database.snapshots(min(wanted.jobs, _SESSIONS_MAX)) as sessions,
            crew.collecting_seldom(),
        ):
            gathering = Gathering(sessions, now, wanted.rows, wanted.domain)
            gathering.ask(lambda done, total: progress("asking", done, total, done, "reports"))
            total = gathering.count_domains()
            found = _listed(gathering, domains, names)
            jobs = crew.processes(total, wanted.jobs)
            for done, _ in enumerate(crew.work_on_stream(make, found, jobs), 1):
                progress("writing", done, total, done, "domains")
        if wanted.with_files:
            _ask_files(database, config, wanted, gathering, progress)
        for report, rows in gathering.found.items():
            page = report_page(frame, REPORTS[report], rows, names, wanted.domain)
            pages.write(report_path(report), page)
        count = 0
        for path, page in domains.pages():
            pages.write(path, page)
            count += 1
        for path, text in assets():
            pages.write(path, text)
        pages.write("index.html", overview_page(frame, gathering))
    return Written(len(names), len(names) + count + len(gathering.found) + 1)


def _listed(gathering: Gathering, domains: DomainList, names: set[str]) -> Iterator[DomainRows]:
    """Give the domains, and list them."""
    for each in gathering.domains():
        domains.add(each.overview)
        names.add(each.name)
        yield each


def _ask_files(
    database: Database,
    config: Config,
    wanted: Wanted,
    gathering: Gathering,
    progress: Progress,
) -> None:
    """Ask the reports on the files of this host; each looks at all of them."""
    for report in REPORTS.values():
        if report.source is Source.FILES:
            rows = list(
                files.find(
                    report,
                    database,
                    config,
                    wanted.domain,
                    lambda done, total: progress("looking", done, total, done, "domains"),
                )
            )
            gathering.found[report.name] = Found(rows[: wanted.rows], len(rows))
