"""The first page: figures, what needs attention, charts, and the way to everything else."""

import enum
from dataclasses import dataclass

from vpopsql.reports.registry import REPORTS
from vpopsql.reports.site import charts
from vpopsql.reports.site.charts import About, Bar
from vpopsql.reports.site.figures import LOGIN_DAYS, WEAK, Figures
from vpopsql.reports.site.frame import Frame, escape, time
from vpopsql.reports.site.gather import Gathering
from vpopsql.reports.site.paths import report_path
from vpopsql.reports.site.pieces import bar_figure, growth_figures
from vpopsql.shown import human_size

_POINTS = 120
"""Days that a chart shows at most."""
_WEEK = 7


class Urgency(enum.Enum):
    """Why something needs attention: the most urgent first."""

    MAIL = "Mail is lost or refused"
    SECURITY = "Security"
    SOON = "Soon"
    UPKEEP = "Upkeep"


@dataclass(frozen=True, slots=True)
class Concern:
    """Something that needs attention."""

    urgency: Urgency
    count: int
    what: str
    report: str
    """That lists it."""


def overview_page(frame: Frame, gathering: Gathering) -> str:
    """Return it."""
    of = f" of {escape(gathering.domain)}" if gathering.domain else ""
    body = (
        f"<h1>{escape(frame.title)}{of}</h1>"
        f'<p class="as-of">As of {time(frame.as_of)}</p>'
        f"{_key_figures(gathering)}"
        f'<section aria-labelledby="attention"><h2 id="attention">What needs attention</h2>'
        f"{_attention(gathering)}</section>"
        '<section aria-labelledby="charts"><h2 id="charts">How the site is</h2>'
        f'<div class="charts">{_charts(frame, gathering)}</div></section>'
        '<section aria-labelledby="reports"><h2 id="reports">Reports</h2>'
        f"{_reports(gathering)}</section>"
    )
    return frame.page("", body, path="index.html", here="index")


def concerns(gathering: Gathering) -> list[Concern]:
    """Return what needs attention, the most urgent first; what there is none of is left out."""
    figures, noted = gathering.figures, gathering.noted
    totals = {name: found.total for name, found in gathering.found.items()}
    nearly = totals["domain-limits"] - noted["domain-limits"]
    found = (
        (Urgency.MAIL, figures.full, "full mailboxes", "over-quota"),
        (Urgency.MAIL, totals["dangling-aliases"], "forwards to nobody", "dangling-aliases"),
        (Urgency.MAIL, totals["alias-loops"], "forwards in circles", "alias-loops"),
        (Urgency.MAIL, totals["shadowed"], "mailboxes hidden by an alias", "shadowed"),
        (Urgency.MAIL, noted["catchall"], "catch-alls that lead nowhere", "catchall"),
        (Urgency.SECURITY, totals["clear-text"], "passwords stored in clear", "clear-text"),
        (Urgency.SECURITY, figures.weak, "passwords with a weak hash", "password-schemes"),
        (
            Urgency.SECURITY,
            noted["external-forwards"],
            "forwards of administrators' mail to other sites",
            "external-forwards",
        ),
        (Urgency.SOON, figures.fill[-2], "mailboxes 90 % full or more", "over-quota"),
        (Urgency.SOON, noted["domain-limits"], "limits of domains exceeded", "domain-limits"),
        (Urgency.SOON, nearly, "limits of domains nearly reached", "domain-limits"),
        (
            Urgency.UPKEEP,
            totals["inactive-mailboxes"],
            "mailboxes without a login for 90 days, or ever",
            "inactive-mailboxes",
        ),
        (
            Urgency.UPKEEP,
            figures.mailboxes - figures.measured,
            "mailboxes never measured",
            "domain-overview",
        ),
        (
            Urgency.UPKEEP,
            totals["duplicate-forwards"],
            "messages that come twice",
            "duplicate-forwards",
        ),
        (
            Urgency.UPKEEP,
            totals["name-clashes"],
            "names that cannot be told apart",
            "name-clashes",
        ),
        (Urgency.UPKEEP, totals["long-lines"], "accounts that vpopmail cannot list", "long-lines"),
    )
    return [Concern(*each) for each in found if each[1]]


def _key_figures(gathering: Gathering) -> str:
    figures = gathering.figures
    boxes = figures.mailboxes
    recent = sum(count for _, count in figures.logins_by_day(gathering.as_of.date()))
    measured = f"in {figures.measured:,} measured mailboxes"
    if figures.measured == boxes:
        measured = "in all mailboxes"
    cells = (
        ("domains", f"{figures.domains:,}", f"and {figures.alias_domains:,} alias domains"),
        ("mailboxes", f"{boxes:,}", f"{figures.without_quota:,} without a quota"),
        (
            "aliases, forwards",
            f"{figures.aliases:,}",
            f"{figures.robots:,} robots, {figures.lists:,} lists",
        ),
        (
            "in use",
            human_size(figures.used_bytes) if figures.measured or not boxes else "unknown",
            measured if figures.measured or not boxes else "no mailbox was measured",
        ),
        (
            f"used in {LOGIN_DAYS} days",
            f"{recent:,}",
            f"{_share(recent, boxes)} of the mailboxes",
        ),
        ("without any login", f"{figures.never:,}", "as far as is known"),
    )
    return '<dl class="figures">{}</dl>'.format(
        "".join(
            f"<div><dt>{escape(what)}</dt><dd>{escape(n)}</dd><dd>{escape(more)}</dd></div>"
            for what, n, more in cells
        )
    )


def _share(part: int, whole: int) -> str:
    if not whole:
        return "none"
    percent = part * 100 / whole
    return f"{percent:.0f} %" if percent >= 1 or not part else "less than 1 %"


def _attention(gathering: Gathering) -> str:
    found = concerns(gathering)
    groups = []
    for urgency in Urgency:
        lines = "".join(
            f'<li><b>{each.count:,}</b> <a href="{report_path(each.report)}">'
            f"{escape(each.what)}</a></li>"
            for each in found
            if each.urgency is urgency
        )
        if lines:
            groups.append(
                f'<li class="{urgency.name.lower()}"><h3>{urgency.value}</h3><ul>{lines}</ul></li>'
            )
    if not groups:
        return "<p>Nothing that the reports know of.</p>"
    return f'<ul class="concerns">{"".join(groups)}</ul>'


def _charts(frame: Frame, gathering: Gathering) -> str:
    figures = gathering.figures
    points = gathering.timeline.points(_POINTS)
    growth = growth_figures(points, of_site=gathering.domain is None)
    stacks = (
        growth or _nothing("Growth", "Nothing was measured: vpopsql usage scan does it."),
        _fill(figures) + _logins(frame, figures),
        _largest(figures) + _schemes(figures),
    )
    return "".join(f'<div class="stack">{stack}</div>' for stack in stacks)


def _largest(figures: Figures) -> str:
    others = figures.sizes_known - len(figures.largest)
    unknown = figures.domains - figures.sizes_known
    rest = figures.domain_bytes - sum(size for size, _ in figures.largest)
    says = [f"The largest {len(figures.largest)} of {figures.domains:,} domains, in use."]
    if others:
        says.append(f"The other {others:,} have {human_size(rest)} together.")
    if unknown:
        says.append(f"Of {unknown:,} it is unknown.")
    about = About("largest", "Domains by size", " ".join(says), are_bytes=True)
    if not figures.largest:
        return _nothing(about.title, "Of no domain it is known how large it is.")
    drawn = [Bar(name, size) for size, name in figures.largest]
    return bar_figure(about, drawn, charts.bars(about, drawn), ("domain", "in use"))


def _fill(figures: Figures) -> str:
    says = "Mailboxes by how much of their quota is in use, in percent; those that are full are"
    says += f" hatched. {figures.without_quota:,} have no quota."
    if figures.fill_unknown:
        says += f" Of {figures.fill_unknown:,} with a quota it is unknown."
    about = About("fill", "How full mailboxes are", says)
    if not any(figures.fill):
        return _nothing(about.title, "Of no mailbox it is known how full it is.")
    last = len(figures.fill) - 1
    drawn = [
        Bar("full" if step == last else str(step * 10), count, step == last)
        for step, count in enumerate(figures.fill)
    ]
    named = [
        Bar(
            each.label if each.is_special else f"{each.label} to {int(each.label) + 10} %",
            each.value,
        )
        for each in drawn
    ]
    return bar_figure(about, named, charts.columns(about, drawn), ("in use", "mailboxes"))


def _schemes(figures: Figures) -> str:
    about = About(
        "schemes",
        "Password schemes",
        "Mailboxes by how their password is hashed; what is easily broken is hatched.",
    )
    if not figures.schemes:
        return _nothing(about.title, "There is no mailbox.")
    drawn = [
        Bar(scheme, count, scheme in WEAK, "weak" * (scheme in WEAK))
        for scheme, count in sorted(figures.schemes.items(), key=lambda each: (-each[1], each[0]))
    ]
    return bar_figure(about, drawn, charts.bars(about, drawn), ("scheme", "mailboxes"))


def _logins(frame: Frame, figures: Figures) -> str:
    days = list(figures.logins_by_day(frame.as_of.date()))
    recent = sum(count for _, count in days)
    earlier = figures.mailboxes - figures.never - recent
    about = About(
        "logins",
        "Last logins by day",
        f"Mailboxes by the day of their last login, in the last {LOGIN_DAYS} days (UTC). The last"
        f" login of {earlier:,} was earlier; of {figures.never:,} none is known.",
    )
    if not recent:
        return _nothing(about.title, about.says)
    drawn = [Bar(day.isoformat()[5:], count) for day, count in days]
    return bar_figure(about, drawn, charts.columns(about, drawn, _WEEK), ("day", "mailboxes"))


def _nothing(title: str, says: str) -> str:
    return (
        f'<section class="chart"><h3>{escape(title)}</h3><p class="none">{escape(says)}</p>'
        "</section>"
    )


def _reports(gathering: Gathering) -> str:
    lines = []
    for report in REPORTS.values():
        found = gathering.found.get(report.name)
        question = escape(report.question)
        if found is None:
            rows = "not asked: --files does"
        else:
            question = f'<a href="{report_path(report.name)}">{question}</a>'
            rows = f"{found.total:,} row{'s' * (found.total != 1)}"
        lines.append(f"<li>{question}<span>{report.name}, {rows}</span></li>")
    return f'<ul class="all">{"".join(lines)}</ul>'
