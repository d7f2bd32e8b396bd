"""The rows of a report from its view: what is asked for, in which order, a few at a time."""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from datetime import date as day
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session, aliased

from vpopsql.columns import ByBytes, ExactText, UtcDateTime, utc_now
from vpopsql.errors import NoSuchDomain, VpopsqlError
from vpopsql.model import DomainName
from vpopsql.reports.parts import Part, divide
from vpopsql.reports.report import Kind, Option, Parts, Report

Row = tuple[object, ...]

_AT_ONCE = 1000
"""Rows that are fetched together."""

_TYPES: dict[Kind, type[sa.types.TypeEngine[Any]]] = {
    Kind.TEXT: ExactText,
    Kind.NUMBER: sa.BigInteger,
    Kind.BYTES: sa.BigInteger,
    Kind.PERCENT: sa.Float,
    Kind.RATIO: sa.Float,
    Kind.TIME: UtcDateTime,
    Kind.DATE: ExactText,
    Kind.BOOLEAN: sa.Boolean,
}
_DIGITS = {Kind.PERCENT: 1, Kind.RATIO: 2}
"""Decimal places that mean something."""


class CannotAsk(VpopsqlError):
    """A report does not take what was asked of it."""


@dataclass(frozen=True, slots=True)
class Question:
    """What is asked of a report."""

    domain: str | None = None
    """Only rows of this one; it may be an alias domain."""
    sort: tuple[str, bool] | None = None
    """The column to sort by first, and whether downwards."""
    limit: int | None = None
    threshold: int | None = None
    """Instead of the report's own."""
    with_postmaster: bool = False
    as_of: day | None = None
    """As it was at the end of this day, in UTC."""


def require_sense(report: Report, question: Question) -> None:
    """Refuse what ``report`` cannot be asked.

    :raises CannotAsk: the text says what it can be asked.
    """
    if question.domain is not None and not report.has("domain"):
        raise CannotAsk(f"{report.name} is not divided by domains")
    if question.sort is not None and not report.has(question.sort[0]):
        names = ", ".join(column.name for column in report.columns)
        raise CannotAsk(f"{report.name} has no column {question.sort[0]}: it has {names}")
    if question.as_of is not None and not report.as_of:
        raise CannotAsk(
            f"{report.name} cannot be asked for the past: the database keeps the present only;"
            " changes and growth can"
        )
    if question.with_postmaster and not report.without_postmaster:
        raise CannotAsk(f"{report.name} does not leave postmasters out")


def threshold_option(report: Report) -> Option | None:
    """Return the name of the threshold that a report takes."""
    return report.threshold.option if report.threshold else None


def selects(
    session: Session, report: Report, question: Question
) -> Iterator[sa.Select[*tuple[Any, ...]]]:
    """Give the queries whose rows, one after the other, are those of a report; without its limit.

    :raises NoSuchDomain: there is none.
    """
    columns = _columns(report)
    query = _narrowed(session, columns, report, question)
    for part in _parts(session, columns, report, question):
        yield query.where(*part.where).order_by(*_order(columns, report, question, part.known))


def count(session: Session, report: Report, question: Question) -> int:
    """Return how many rows a report has, whatever the limit; errors as `rows`."""
    require_sense(report, question)
    columns = _columns(report)
    query = _narrowed(session, columns, report, question)
    if passes := _passes(columns, report, question):
        query = query.where(sa.or_(*passes))
    query = query.with_only_columns(sa.func.count(), maintain_column_froms=True)
    return int(session.execute(query).scalar_one())


def rows(session: Session, report: Report, question: Question) -> Iterator[Row]:
    """Give the rows of a report, as they come from the database.

    Whole numbers are int, percentages and ratios float, times aware UTC, days text.

    :raises CannotAsk: it does not take what is asked.
    :raises NoSuchDomain: there is none, and the report tells nothing of the past.
    """
    require_sense(report, question)
    digits = [(place, _DIGITS.get(each.kind)) for place, each in enumerate(report.columns)]
    rounded = [(place, count) for place, count in digits if count is not None]
    counted = [place for place, each in enumerate(report.columns) if each.name == report.counter]
    left, number = question.limit, 0
    for of_part in selects(session, report, question):
        found = session.execute(of_part.limit(left), execution_options={"yield_per": _AT_ONCE})
        for row in found:
            values: list[object] = list(row)
            for place, count in rounded:
                value = values[place]
                if isinstance(value, float):
                    values[place] = round(value, count)
            number += 1
            for place in counted:
                values[place] = number
            if left is not None:
                left -= 1
            yield tuple(values)
        if left == 0:
            return


def _columns(report: Report) -> dict[str, sa.ColumnClause[Any]]:
    return {each.name: sa.column(each.name, _TYPES[each.kind]()) for each in report.columns}


def _narrowed(
    session: Session,
    columns: dict[str, sa.ColumnClause[Any]],
    report: Report,
    question: Question,
) -> sa.Select[*tuple[Any, ...]]:
    query = sa.select(*columns.values()).select_from(sa.table(report.view, *columns.values()))
    if question.domain is not None:
        name = question.domain.lower()
        real = _real_name(session, name)
        # Of a domain that is gone there may still be a history.
        if real is None and not report.as_of:
            raise NoSuchDomain(f"{name}: no such domain")
        query = query.where(columns["domain"] == (real or name))
    if report.without_postmaster and not question.with_postmaster:
        query = query.where(columns["address"].not_like("postmaster@%"))
    if question.as_of is not None:
        query = query.where(columns[report.as_of] < _end(report, question.as_of))
    return query


def _real_name(session: Session, name: str) -> str | None:
    """Return the name of the real domain; reads no more than the role for reports may."""
    asked, real = aliased(DomainName), aliased(DomainName)
    return session.scalar(
        sa.select(real.name)
        .join(asked, asked.domain_id == real.domain_id)
        .where(asked.name == name, ~real.is_alias)
    )


def _least(report: Report, question: Question) -> int:
    """Return the threshold; 0: all rows pass."""
    if report.threshold is None:
        return 0
    return report.threshold.default if question.threshold is None else question.threshold


def _passes(
    columns: dict[str, sa.ColumnClause[Any]], report: Report, question: Question
) -> list[sa.ColumnElement[bool]]:
    """Return the conditions of which a row must meet one: of the value, and of the unknown."""
    threshold, least = report.threshold, _least(report, question)
    if threshold is None or least == 0:
        return []
    column = columns[threshold.column]
    passes: sa.ColumnElement[bool] = column >= least
    if report.column(threshold.column).kind is Kind.TIME:
        passes = column <= utc_now() - timedelta(days=least)
    if threshold.or_if:
        passes |= columns[threshold.or_if]
    return [passes, column.is_(None)] if threshold.with_unknown else [passes]


def _parts(
    session: Session,
    columns: dict[str, sa.ColumnClause[Any]],
    report: Report,
    question: Question,
) -> Iterator[Part]:
    """Give the parts to ask for, one after the other."""
    passes = _passes(columns, report, question)
    if question.sort is not None:
        yield Part((sa.or_(*passes),) if passes else (), report.known)
    elif report.threshold is not None and report.threshold.with_unknown:
        column = columns[report.threshold.column]
        known, unknown = passes or [column.is_not(None), column.is_(None)]
        whole = report if question.domain is None else replace(report, parts=Parts.WHOLE)
        least = _least(report, question)
        until = utc_now() - timedelta(days=least) if least else None
        # What is unknown comes last: neither part makes an index useless for the other.
        for part in divide(session, whole, columns, until):
            yield Part((*part.where, known), (*part.known, column.name))
        yield Part((unknown,), report.known)
    else:
        whole = report if question.domain is None else replace(report, parts=Parts.WHOLE)
        for part in divide(session, whole, columns):
            yield Part((*part.where, *passes), part.known)


def _end(report: Report, as_of: day) -> object:
    """Return what comes after a day in the column that tells when."""
    after = min(as_of, day.max - timedelta(days=1)) + timedelta(days=1)
    if report.column(report.as_of).kind is Kind.DATE:
        return after.isoformat()
    return datetime(after.year, after.month, after.day, tzinfo=UTC)


def _order(
    columns: dict[str, sa.ColumnClause[Any]],
    report: Report,
    question: Question,
    known: Collection[str] = (),
) -> Iterator[sa.ColumnElement[object]]:
    """Give what to sort by; unknown values come last either way.

    :param known: columns without any: where nothing is said of them, an index may sort.
    """
    wanted: Sequence[tuple[str, bool]] = [
        *([question.sort] if question.sort else []),
        *((name.removeprefix("-"), name.startswith("-")) for name in report.sort),
    ]
    seen = set()
    for name, is_down in wanted:
        if name in seen:
            continue
        seen.add(name)
        column: sa.ColumnElement[Any] = columns[name]
        if report.column(name).kind is Kind.TEXT:
            column = ByBytes(column)
        ordered = column.desc() if is_down else column.asc()
        yield ordered if name in known else ordered.nulls_last()


def arrange(report: Report, question: Question, found: Iterator[Row]) -> list[Row]:
    """Return rows that come from no view as they are asked for; their domain has been seen to."""
    places = {column.name: place for place, column in enumerate(report.columns)}
    arranged = list(found)
    if question.sort is not None:
        name, is_down = question.sort
        known = [row for row in arranged if row[places[name]] is not None]
        known.sort(key=lambda row: str(row[places[name]]), reverse=is_down)
        arranged = known + [row for row in arranged if row[places[name]] is None]
    return arranged[: question.limit]
