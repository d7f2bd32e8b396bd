"""The page of a report, and the pages of the list of domains."""

from collections.abc import Iterator
from collections.abc import Set as AbstractSet

from vpopsql.reports.registry import REPORTS
from vpopsql.reports.report import Kind, Report, Source
from vpopsql.reports.site.frame import Frame, escape
from vpopsql.reports.site.paths import domain_path, list_path, report_path
from vpopsql.reports.site.pieces import shown_of
from vpopsql.reports.site.streams import Found
from vpopsql.reports.site.tables import Link, Row, Table, code, meanings

_OVERVIEW = REPORTS["domain-overview"]
_LISTED = frozenset(
    {"domain", "mailboxes", "aliases", "forwards", "lists", "robots"}
    | {"used_bytes", "allocated_bytes", "last_auth_at"}
)
"""What the list of domains shows."""


def report_page(
    frame: Frame, report: Report, found: Found, names: AbstractSet[str], domain: str | None
) -> str:
    """Return the page of a report.

    :param names: of the domains that have a page.
    :param domain: the one that the whole site is of, if any.
    """
    options = ("--domain", domain) if domain is not None else ()
    table = Table(report.columns, {"domain": linked(names)})
    caption = shown_of(found, report, *options)
    body = (
        f"<h1>{escape(report.question)}</h1>{_about(report)}"
        + (
            table.render(found.rows, name=report.name, caption=caption)
            if found.total
            else '<p class="none">There is nothing to report.</p>'
        )
        + meanings(report.columns)
    )
    return frame.page(report.name, body, path=report_path(report.name), here="reports")


def linked(names: AbstractSet[str]) -> Link:
    """Return what leads from the name of a domain to its page, one directory down."""

    def link(name: object) -> str | None:
        return f"../{domain_path(name)}" if isinstance(name, str) and name in names else None

    return link


class DomainList:
    """The list of domains, on as many pages as it takes."""

    def __init__(self, frame: Frame) -> None:
        self._frame = frame
        without = frozenset(each.name for each in _OVERVIEW.columns) - _LISTED
        self._table = Table(_OVERVIEW.columns, {"domain": _link}, without)
        self._pages: list[list[str]] = []
        self._starts: list[str] = []
        self._total = 0

    def add(self, row: Row) -> None:
        """Add a row of ``domain-overview``; they come in the order of their names."""
        if self._total % self._frame.rows == 0:
            self._pages.append([])
            self._starts.append(str(row[0]))
        self._total += 1
        self._pages[-1].append(self._table.line(row))

    def pages(self) -> Iterator[tuple[str, str]]:
        """Give the paths of the pages, and the pages."""
        for number, lines in enumerate(self._pages or [[]], 1):
            first = (number - 1) * self._frame.rows + 1
            caption = f"{self._total:,} domain{'s' * (self._total != 1)}"
            if len(self._pages) > 1:
                caption = f"{first:,} to {first + len(lines) - 1:,} of {caption}"
            table = self._table.around("".join(lines), name="domains", caption=caption)
            nothing = '<p class="none">There is no domain yet.</p>'
            body = f"<h1>Domains</h1>{self._pager(number)}{table if lines else nothing}"
            yield (
                list_path(number),
                self._frame.page("Domains", body, path=list_path(number), here="domains"),
            )

    def _pager(self, here: int) -> str:
        if len(self._pages) < 2:  # noqa: PLR2004 - nowhere else to go
            return ""
        links = "".join(
            f'<li><a href="../{list_path(number)}"{" aria-current=page" * (number == here)}>'
            f"{number} <span>{escape(start)}</span></a></li>"
            for number, start in enumerate(self._starts, 1)
        )
        return f'<nav class="pager" aria-label="Pages of the list"><ol>{links}</ol></nav>'


def _link(name: object) -> str | None:
    return f"../{domain_path(str(name))}"


def _about(report: Report) -> str:
    lines = [f"<code>vpopsql report {report.name}</code>."]
    if report.threshold:
        least = report.threshold
        unknown = ", and those of which it is not known" if least.with_unknown else ""
        unless = f", and where `{least.or_if}` is yes" if least.or_if else ""
        is_time = report.column(least.column).kind is Kind.TIME
        value = f"{least.default}{' days ago' if is_time else ''}"
        lines.append(
            code(f"Rows with `{least.column}` of at least {value}{unknown}{unless}.")
            if least.default
            else ""
        )
    if report.without_postmaster:
        lines.append(code("`postmaster` is left out."))
    if report.source is Source.FILES:
        lines.append("From the files of this host, after the database was read.")
    if report.notes:
        lines.append(code(report.notes))
    return f"<p>{' '.join(filter(None, lines))}</p>"
