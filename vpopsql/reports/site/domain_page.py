"""The page of a domain: facts, growth, mailboxes, and its part of each report that has rows."""

from functools import cache

from vpopsql.reports.registry import REPORTS
from vpopsql.reports.report import Kind
from vpopsql.reports.site.frame import Frame, escape
from vpopsql.reports.site.gather import MAILBOX_COLUMNS, SECTIONS, DomainRows
from vpopsql.reports.site.paths import domain_path, report_path
from vpopsql.reports.site.pieces import growth_figures, shown_of
from vpopsql.reports.site.streams import Found
from vpopsql.reports.site.tables import Table, label, value

_FACTS = REPORTS["domain-overview"].columns
_CATCHALLS = {
    "none": "refused",
    "bounce": "refused",
    "delete": "thrown away",
    "address": "goes to",
    "directory": "goes into",
    "dotqmail": "is what .qmail-default says",
}
"""What happens to mail for unknown names."""
_TREND = 3
"""Measurements that make a chart."""


def domain_page(frame: Frame, of: DomainRows) -> str:
    """Return it."""
    name = escape(of.name)
    parts = [f"<h1>{name}</h1>", _facts(of)]
    if len(of.growth) >= _TREND:
        charts = growth_figures(of.growth, of_site=False)
        parts.append(f'<h2>Growth</h2><div class="charts">{charts}</div>')
    parts.append("<h2>Mailboxes</h2>")
    if of.mailboxes.total:
        every = REPORTS["inactive-mailboxes"]
        more = shown_of(of.mailboxes, every, "--days", "0", "--postmaster", "--domain", of.name)
        parts.append(_part("mailboxes", of.mailboxes, more))
    else:
        parts.append("<p>There is none.</p>")
    for section, found in of.sections:
        more = shown_of(found, REPORTS[section], "--domain", of.name)
        whole = f'<a href="../../{report_path(section)}">Of all domains</a>'
        parts.append(f"<h2>{SECTIONS[section]}</h2>{_part(section, found, f'{more}. {whole}')}")
    parts.append(
        f"<h2>More</h2><p><code>vpopsql history {name}</code> tells what happened to it,"
        f" <code>vpopsql explain USER@{name}</code> who gets mail for an address.</p>"
    )
    return frame.page(of.name, "".join(parts), path=domain_path(of.name))


def _facts(of: DomainRows) -> str:
    lines = []
    for column, each in zip(_FACTS[1:], of.overview[1:], strict=True):
        if column.name == "catchall":
            lines.append(f"<div><dt>mail for unknown names</dt><dd>{_caught(of)}</dd></div>")
            continue
        said = " class=u" if each is None else ""
        if column.kind is Kind.BYTES and isinstance(each, int):
            said = f' title="{each:,} bytes"'
        lines.append(
            f"<div><dt>{escape(label(column))}</dt>"
            f"<dd{said}>{escape(value(column, each))}</dd></div>"
        )
    return f'<dl class="facts">{"".join(lines)}</dl>'


def _caught(of: DomainRows) -> str:
    """Say what happens to mail for unknown names, and whether that is well."""
    _, mode, target, exists, is_full = of.catchall or (None, of.overview[7], None, None, None)
    said = escape(_CATCHALLS.get(str(mode), str(mode)))
    if target is not None:
        said += f" {escape(str(target))}"
    if exists is False:
        said += ", <strong>which does not exist</strong>"
    if is_full is True:
        said += ", <strong>which is full</strong>"
    return said


def _part(section: str, found: Found, caption: str) -> str:
    return _table(section).render(found.rows, name=section, caption=caption)


@cache
def _table(section: str) -> Table:
    if section == "mailboxes":
        return Table(MAILBOX_COLUMNS)
    return Table(REPORTS[section].columns, without=frozenset({"domain"}))
