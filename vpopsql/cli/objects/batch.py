"""Many things from a file: CSV with a header, or JSON objects, one a line.

Every line is looked at before anything is changed, and each mistake is told with its place. Then
the lines are carried out in batches, of each all or none.
"""

import contextlib
import csv
import io
import json
import sys
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

import click

from vpopsql.cli.objects.nouns import guessed
from vpopsql.cli.objects.refusals import Refused, described, reading
from vpopsql.cli.objects.site import Effects, Site
from vpopsql.errors import DirectoryExists, SeveralRefused, VpopsqlError
from vpopsql.shown import printable

T = TypeVar("T")

_MISTAKES_MAX = 20
"""Mistakes that are told of one by one."""


@dataclass(frozen=True, slots=True)
class Line(Generic[T]):
    """What a line of the file asks for."""

    place: str
    """File and number of the line, for messages."""
    wanted: T


@dataclass(frozen=True, slots=True)
class Asked:
    """What the options of a bulk form say."""

    source: str
    batch: int | None
    """Lines at once; None: all."""
    keep_going: bool
    dry_run: bool
    output: str

    @classmethod
    def of(cls, source: str, options: Mapping[str, Any]) -> "Asked":
        """Return what the options of a command say."""
        names = ("batch", "keep_going", "dry_run", "output")
        return cls(source, *(options[name] for name in names))


class LineRefused(Exception):
    """A line asks for something that cannot be."""


def read(
    source: str,
    columns: Collection[str],
    required: Collection[str],
    understand: Callable[[dict[str, Any]], T],
) -> list[Line[T]]:
    """Return what the lines of a file ask for.

    :param columns: names of the fields that there may be.
    :param required: those that each line must have.
    :param understand: makes it of the fields of a line; raises `LineRefused` or a `VpopsqlError`.
    :raises Refused: the file, or a line of it, is not as it should be; all mistakes are named.
    """
    name = "standard input" if source == "-" else source
    lines: list[Line[T]] = []
    mistakes: list[str] = []
    with _open(source) as file:
        for number, fields in _records(file, name, columns, mistakes):
            place = f"{name}:{number}"
            try:
                _check_fields(fields, columns, required)
                lines.append(Line(place, understand(fields)))
            except LineRefused as error:
                mistakes.append(f"{place}: {error}")
            except VpopsqlError as error:
                mistakes.append(f"{place}: {described(error)}")
    _refuse(mistakes)
    return lines


def carry_out(
    site: Site,
    asked: Asked,
    lines: Sequence[Line[T]],
    job: Callable[[Sequence[T]], Callable[[Any, Effects], object]],
    what: str,
    extra: Callable[[Sequence[T]], dict[str, object]] = lambda _: {},
) -> None:
    """Carry out all lines in batches, print what was done, and end with 1 if some were refused.

    :param job: makes the job of a batch; what takes long and needs no database comes first.
    :param what: is done, for people: ``users added``.
    :param extra: what is to be told of batches that are done, such as passwords.
    """
    from vpopsql.cli.progress import Progress

    size = asked.batch or max(len(lines), 1)
    done: list[T] = []
    refused: list[str] = []
    with closing(Progress()) as progress:
        show = progress.of(what, "lines")
        for start in range(0, len(lines), size):
            show(start, len(lines), start)
            batch = lines[start : start + size]
            wanted = [each.wanted for each in batch]
            try:
                site.change(job(wanted), dry_run=asked.dry_run, tells_hooks=False)
            except (SeveralRefused, DirectoryExists) as error:
                refused += _told(batch, error)
                if not asked.keep_going:
                    break
            else:
                done += wanted
    if done and not asked.dry_run:
        site.tell_hooks()
    _print(asked, what, done, len(lines), extra)
    _refuse(refused)


def one_by_one(
    job: Callable[[Any, Effects, T], object],
) -> Callable[[Sequence[T]], Callable[[Any, Effects], object]]:
    """Return the job of a batch that does ``job`` with one after the other."""

    def make(wanted: Sequence[T]) -> Callable[[Any, Effects], object]:
        def all_of_them(session: Any, effects: Effects) -> None:  # noqa: ANN401
            for place, each in enumerate(wanted):
                try:
                    job(session, effects, each)
                except VpopsqlError as error:
                    raise SeveralRefused({place: error}) from error

        return all_of_them

    return make


def _told(batch: Sequence[Line[Any]], error: SeveralRefused | DirectoryExists) -> list[str]:
    """Return why a batch is refused, with the places."""
    if isinstance(error, DirectoryExists):
        # Which line it is of, only the path tells.
        return [f"{batch[0].place} and what goes with it: {described(error)}"]
    return [f"{batch[at].place}: {described(why)}" for at, why in sorted(error.refused.items())]


def _print(
    asked: Asked,
    what: str,
    done: Sequence[T],
    total: int,
    extra: Callable[[Sequence[T]], dict[str, object]],
) -> None:
    told = {} if asked.dry_run else extra(done)
    if asked.output == "json":
        thing = {"dry_run": asked.dry_run, "lines": total, "done": len(done), **told}
        click.echo(json.dumps(thing, indent=2))
        return
    would = "would be " if asked.dry_run else ""
    click.echo(f"{len(done)} of {total} {what.partition(' ')[0]} {would}{what.partition(' ')[2]}")
    for name, value in told.items():
        for line in value if isinstance(value, list) else [value]:
            click.echo(printable(f"{name}: {line}"))


def _refuse(mistakes: Sequence[str]) -> None:
    if not mistakes:
        return
    shown = list(mistakes[:_MISTAKES_MAX])
    if len(mistakes) > len(shown):
        shown.append(f"and {len(mistakes) - len(shown)} more")
    raise Refused("\n".join(shown))


def _check_fields(
    fields: dict[str, Any], columns: Collection[str], required: Collection[str]
) -> None:
    if unknown := _unknown(fields, columns):
        raise LineRefused(unknown)
    for name in required:
        if not fields.get(name):
            raise LineRefused(f"{name} is missing")


def _unknown(names: Iterable[str], columns: Collection[str]) -> str | None:
    for name in names:
        if name not in columns:
            return f"there is no column {name!r}.{guessed(name, columns)}"
    return None


def _records(
    file: io.TextIOBase, name: str, columns: Collection[str], mistakes: list[str]
) -> Iterator[tuple[int, dict[str, Any]]]:
    """Give the number and the fields of each line."""
    first = file.readline()
    while first and not first.strip():
        first = file.readline()
    if first.lstrip("\ufeff \t").startswith("{"):
        file.seek(0)
        yield from _json_lines(file, name, mistakes)
        return
    file.seek(0)
    reader = csv.reader(file, strict=True)
    header: list[str] | None = None
    try:
        for row in reader:
            if not any(row):
                continue
            if header is None:
                header = [each.strip().lower().lstrip("\ufeff") for each in row]
                if unknown := _unknown(header, columns):
                    mistakes.append(f"{name}:{reader.line_num}: {unknown}")
                    return
            elif len(row) != len(header):
                mistakes.append(
                    f"{name}:{reader.line_num}: it has {len(row)} fields, the header {len(header)}"
                )
            else:
                given = zip(header, row, strict=True)
                yield reader.line_num, {column: value for column, value in given if value}
    except csv.Error as error:
        mistakes.append(f"{name}:{reader.line_num}: {error}")


def _json_lines(
    file: io.TextIOBase, name: str, mistakes: list[str]
) -> Iterator[tuple[int, dict[str, Any]]]:
    for number, text in enumerate(file, 1):
        if not text.strip():
            continue
        try:
            found = json.loads(text)
        except ValueError as error:
            mistakes.append(f"{name}:{number}: {error}")
            continue
        if isinstance(found, dict):
            yield number, {key: value for key, value in found.items() if value is not None}
        else:
            mistakes.append(f"{name}:{number}: it is no JSON object")


@contextlib.contextmanager
def _open(source: str) -> Iterator[io.TextIOBase]:
    """Give a text that can be read twice."""
    with reading(source):
        data = sys.stdin.buffer.read() if source == "-" else Path(source).read_bytes()
    yield io.StringIO(data.decode("utf-8", "surrogateescape"), newline="")
