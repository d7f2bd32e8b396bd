"""How commands print: lists as reports are printed, one thing as lines, a change as its trace."""

import json
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

import click

from vpopsql.cli.objects.site import Change, Outcome
from vpopsql.flags import OPTIONS
from vpopsql.reports.report import Column, Report
from vpopsql.shown import iso, printable, storable


def print_rows(
    output: str, name: str, columns: Sequence[Column], rows: Iterable[Sequence[object]]
) -> None:
    """Print a list, while rows still come.

    :param output: ``table``, ``csv``, ``json`` or ``jsonl``.
    :param name: what it is a list of.
    """
    from vpopsql.reports.text import FORMATS

    for line in FORMATS[output](Report(name, name, columns, ()), rows):
        click.echo(line)


def print_thing(output: str, thing: Mapping[str, object]) -> None:
    """Print one thing: a field a line for people, or a JSON object."""
    if output == "json":
        click.echo(json.dumps({name: _plain(value) for name, value in thing.items()}, indent=2))
        return
    width = max(map(len, thing))
    for name, value in thing.items():
        for line in _lines(value):
            click.echo(f"{name.replace('_', ' ').ljust(width)}  {line}".rstrip())
            name = ""  # noqa: PLW2901 - only before the first line


def print_outcome(
    output: str, outcome: Outcome[Any], extra: Mapping[str, object] | None = None
) -> None:
    """Print what a change did, or would do.

    :param extra: what else is to be known of it, such as a password that was made up.
    """
    directories = outcome.effects.directories()
    if output == "json":
        thing = {
            "dry_run": outcome.is_dry_run,
            "changes": [
                {
                    "action": each.action,
                    "type": each.type,
                    "object": each.object,
                    "fields": each.fields,
                }
                for each in outcome.changes
            ],
            "directories": [
                {"change": each.what, "path": each.path, "to": each.to} for each in directories
            ],
            **(extra or {}),
        }
        click.echo(json.dumps(_plain(thing), indent=2))
        return
    if outcome.is_dry_run:
        click.echo("would change, and has not:" if outcome.changes else "nothing would change")
    elif not outcome.changes:
        click.echo("nothing to change")
    for change in outcome.changes:
        _print_change(change)
    for each in directories:
        to = f" to {each.to}" if each.to else ""
        click.echo(printable(f"{each.what}: {each.path}{to}"))
    for name, value in (extra or {}).items():
        for line in _lines(value):
            click.echo(f"{name.replace('_', ' ')}: {line}")


def flag_names(flags: int) -> list[str]:
    """Return the names of the flags that are set."""
    return [name for name, flag in OPTIONS.items() if flags & flag]


def _print_change(change: Change) -> None:
    click.echo(printable(f"{change.action}: {change.type} {change.object}"))
    for field, (old, new) in sorted(change.fields.items()):
        click.echo(printable(f"    {field}: {_short(field, old)} -> {_short(field, new)}"))


def _short(field: str, value: object) -> str:
    if value is None:
        return "nothing"
    if field == "flags" and isinstance(value, int):
        return ",".join(flag_names(value)) or "none"
    return repr(value) if isinstance(value, str) else str(value).lower()


def _lines(value: object) -> list[str]:
    if value is None:
        return ["-"]
    if isinstance(value, bool):
        return ["yes" if value else "no"]
    if isinstance(value, datetime):
        return [iso(value)]
    if isinstance(value, Mapping):
        return [f"{name}: {printable(str(_plain(each)))}" for name, each in value.items()] or ["-"]
    if isinstance(value, list | tuple):
        return [line for each in value for line in _lines(each)] or ["-"]
    return [printable(str(value))]


def _plain(value: object) -> Any:  # noqa: ANN401 - what JSON has
    if isinstance(value, datetime):
        return iso(value)
    if isinstance(value, str):
        return storable(value)
    if isinstance(value, Mapping):
        return {name: _plain(each) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(each) for each in value]
    return value
