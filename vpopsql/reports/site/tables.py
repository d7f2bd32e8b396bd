"""Tables of rows, as markup: readable without a script, sortable with it.

A cell that shows a size has the bytes in its title, by which it is sorted. What is not known has
the class ``u``, and comes last however a table is sorted.
"""

from collections.abc import Callable, Iterable, Sequence
from datetime import datetime

from vpopsql.reports.report import Column, Kind
from vpopsql.reports.site.frame import escape
from vpopsql.shown import human_size

Row = Sequence[object]
Link = Callable[[object], str | None]
"""Return the target of what a cell shows, None if it has no page."""

_NUMERIC = frozenset({Kind.NUMBER, Kind.BYTES, Kind.PERCENT, Kind.RATIO})
_LABELS = {"pct": "% full", "last_auth": "last login"}
_LONG = 40
"""Characters from which a text is broken into lines."""
_LONGEST = 1000
"""Characters of a text that are shown: there are whole files in the audit log."""
_UNITS = ("_bytes", "_at")


def label(column: Column) -> str:
    """Return the heading of a column: its name, as people write."""
    name = column.name
    for unit in _UNITS:
        name = name.removesuffix(unit)
    return _LABELS.get(name, name.replace("_", " "))


def value(column: Column, of: object) -> str:
    """Return a value as text: unknown is what the column says that it means."""
    if of is None:
        return column.null
    if isinstance(of, bool):
        return "yes" if of else "no"
    if isinstance(of, datetime):
        return _time(of)
    if column.kind is Kind.BYTES and isinstance(of, int):
        return human_size(of)
    if column.kind is Kind.NUMBER and isinstance(of, int) and column.name != "id":
        return f"{of:,}"
    if column.kind is Kind.PERCENT:
        return f"{of} %"
    return str(of)


class Table:
    """A table of one kind of rows.

    :param columns: of the rows.
    :param links: for the columns, by name, whose cells lead to a page.
    :param without: columns that are left out.
    """

    def __init__(
        self,
        columns: Sequence[Column],
        links: dict[str, Link] | None = None,
        without: frozenset[str] = frozenset(),
    ) -> None:
        shown = [(place, each) for place, each in enumerate(columns) if each.name not in without]
        self._cells = [
            (place, _cell(each, (links or {}).get(each.name), is_first=number == 0))
            for number, (place, each) in enumerate(shown)
        ]
        self._head = "".join(
            f'<th scope="col" title="{escape(each.meaning)}"'
            f"{' class=n' if each.kind in _NUMERIC else ''}>{escape(label(each))}</th>"
            for _, each in shown
        )

    def render(self, rows: Iterable[Row], *, name: str, caption: str) -> str:
        """Return the table.

        :param name: tells it from the other tables of the page.
        :param caption: as markup.
        """
        return self.around("".join(map(self.line, rows)), name=name, caption=caption)

    def line(self, row: Row) -> str:
        """Return one row."""
        return f"<tr>{''.join([cell(row[place]) for place, cell in self._cells])}</tr>"

    def around(self, lines: str, *, name: str, caption: str) -> str:
        """Return the table of what `line` has made."""
        return (
            f'<div class="wide" role="region" tabindex="0" aria-labelledby="{name}-caption">'
            f'<table class="sortable"><caption id="{name}-caption">{caption}</caption>'
            f"<thead><tr>{self._head}</tr></thead><tbody>{lines}</tbody></table></div>"
        )


def meanings(columns: Sequence[Column]) -> str:
    """Return what the columns mean, with the names that they have elsewhere."""
    lines = "".join(
        f"<dt>{escape(label(each))}</dt><dd><code>{escape(each.name)}</code>, {each.kind}:"
        f" {code(each.meaning)}</dd>"
        for each in columns
    )
    return f"<details><summary>What the columns mean</summary><dl>{lines}</dl></details>"


def code(text: str) -> str:
    """Return a text of ours in which something stands between backquotes."""
    parts = escape(text).split("`")
    return "".join(
        f"<code>{part}</code>" if number % 2 else part for number, part in enumerate(parts)
    )


def _cell(column: Column, link: Link | None, *, is_first: bool) -> Callable[[object], str]:
    """Return what makes a cell: there are millions, so what is the same is decided once."""
    begin, end = ('<th scope="row"', "</th>") if is_first else ("<td", "</td>")
    if column.kind in _NUMERIC:
        begin += " class=n"
    unknown = f"{begin} class=u>".replace(" class=n class=u", ' class="n u"')
    unknown += f"{escape(column.null)}{end}"
    plain, broken = f"{begin}>", f"{begin} class=w>"
    yes, no = f"{plain}yes{end}", f"{plain}no{end}"

    def of_text(of: object) -> str:
        if of is None:
            return unknown
        whole = str(of)
        text = escape(whole if len(whole) <= _LONGEST else f"{whole[:_LONGEST]}…")
        target = link(of) if link else None
        if target:
            text = f'<a href="{target}">{text}</a>'
        return f"{plain if len(text) < _LONG or target else broken}{text}{end}"

    def of_size(of: object) -> str:
        if not isinstance(of, int):
            return unknown
        return f'{begin} title="{of:,} bytes">{human_size(of)}{end}'

    def of_time(of: object) -> str:
        return f"{plain}{_time(of)}{end}" if isinstance(of, datetime) else unknown

    def of_truth(of: object) -> str:
        return unknown if of is None else yes if of else no

    def of_any(of: object) -> str:
        return unknown if of is None else f"{plain}{escape(value(column, of))}{end}"

    kinds = {
        Kind.TEXT: of_text,
        Kind.BYTES: of_size,
        Kind.TIME: of_time,
        Kind.BOOLEAN: of_truth,
    }
    return kinds.get(column.kind, of_any)


def _time(of: datetime) -> str:
    # Times of the database are UTC; this is three times as quick as strftime.
    return f"{of.isoformat()[:19]}Z"
