"""What several pages have: charts with their numbers, and how much of a report is shown."""

import shlex
from collections.abc import Iterable, Sequence

from vpopsql.reports.report import Report
from vpopsql.reports.site import charts
from vpopsql.reports.site.charts import About, Bar, Point
from vpopsql.reports.site.figures import Measurement
from vpopsql.reports.site.frame import escape
from vpopsql.reports.site.streams import Found


def figure(
    about: About, chart: str, rows: Iterable[tuple[str, str]], head: tuple[str, str]
) -> str:
    """Return a chart with its title, what it says, and its numbers for whoever wants them.

    :param rows: as markup: what, and how many.
    """
    lines = "".join(
        f'<tr><th scope="row">{what}</th><td class=n>{number}</td></tr>' for what, number in rows
    )
    first, second = map(escape, head)
    title = escape(about.title)
    return (
        f'<figure class="chart" id="{about.name}"><figcaption><h3>{title}</h3>'
        f"<p>{escape(about.says)}</p></figcaption>{chart}"
        f"<details><summary>The numbers</summary><table><caption>{title}</caption><thead><tr>"
        f'<th scope="col">{first}</th><th scope="col" class=n>{second}</th></tr></thead>'
        f"<tbody>{lines}</tbody></table></details></figure>"
    )


def bar_figure(about: About, drawn: Sequence[Bar], chart: str, head: tuple[str, str]) -> str:
    """Return the figure of a chart of columns or bars."""
    rows = (
        (
            escape(each.label) + (f" ({escape(each.note)})" if each.note else ""),
            escape(about.text(each.value)),
        )
        for each in drawn
    )
    return figure(about, chart, rows, head)


def growth_figures(measured: Sequence[Measurement], *, of_site: bool) -> str:
    """Return the charts of mailboxes and bytes over days; nothing if nothing was measured."""
    if not measured:
        return ""
    until = f", of the {measured[-1].domains:,} domains measured until then" if of_site else ""
    days = (
        f"On {measured[0].on}"
        if len(measured) == 1
        else f"From {measured[0].on} to {measured[-1].on}"
    )
    mailboxes = About("accounts", "Mailboxes over time", f"{days}{until}.")
    size = About("bytes", "Bytes over time", f"{days}, in what was measured.", are_bytes=True)
    shown = [_over_time(mailboxes, [Point(each.on, each.mailboxes) for each in measured])]
    if any(each.bytes is not None for each in measured):
        shown.append(_over_time(size, [Point(each.on, each.bytes) for each in measured]))
    return "".join(shown)


def _over_time(about: About, points: Sequence[Point]) -> str:
    rows = (
        (
            str(each.on),
            "unknown" if each.value is None else escape(about.text(each.value)),
        )
        for each in reversed(points)
    )
    return figure(about, charts.line(about, points), rows, ("day", about.title.split()[0].lower()))


def shown_of(found: Found, report: Report, *options: str) -> str:
    """Return how many rows there are, and if not all are shown, where all are."""
    if found.total == len(found.rows):
        return f"{found.total:,} row{'s' * (found.total != 1)}"
    command = shlex.join(["vpopsql", "report", report.name, *options, "--format", "csv"])
    return (
        f"The first {len(found.rows):,} of {found.total:,} rows:"
        f" <code>{escape(command)}</code> has all"
    )
