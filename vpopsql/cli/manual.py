"""The manual of the commands, made of their own help: a page of Markdown, and man pages."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import click

from vpopsql import __version__
from vpopsql.cli import cli, object_commands
from vpopsql.cli.objects import __doc__ as _of_objects

_PROGRAM = "vpopsql"
_SECTION = 8
"""Of the manual: commands of the administrator."""


@dataclass(frozen=True, slots=True)
class Option:
    """An option, or an argument."""

    names: str
    help: str


@dataclass(frozen=True, slots=True)
class Page:
    """What there is to know of a command."""

    path: tuple[str, ...]
    """``("vpopsql", "user", "add")``"""
    usage: str
    paragraphs: Sequence[str]
    options: Sequence[Option]
    examples: Sequence[str]
    commands: Sequence[tuple[str, str]]
    """Of a group: name and summary of each."""

    @property
    def name(self) -> str:
        """Return the command as it is typed."""
        return " ".join(self.path)

    @property
    def summary(self) -> str:
        """Return what it does, in one sentence."""
        return _sentence(self.paragraphs)


def pages() -> Iterator[Page]:
    """Give a page for each command, a group before its commands, by name."""
    context = click.Context(cli, info_name=_PROGRAM)
    yield from _pages(context, (_PROGRAM,))


def _pages(context: click.Context, path: tuple[str, ...]) -> Iterator[Page]:
    command = context.command
    inner: list[tuple[str, click.Command]] = []
    if isinstance(command, click.Group):
        for name in command.list_commands(context):
            found = command.get_command(context, name)
            if found is not None and not found.hidden:
                inner.append((name, found))
    yield Page(
        path,
        " ".join([*path, *command.collect_usage_pieces(context)]),
        _paragraphs(command),
        [option for each in command.get_params(context) if (option := _option(each, context))],
        tuple(getattr(command, "examples", ())),
        [(name, _sentence(_paragraphs(each))) for name, each in inner],
    )
    for name, each in inner:
        below = click.Context(each, info_name=name, parent=context)
        yield from _pages(below, (*path, name))


def _paragraphs(command: click.Command) -> list[str]:
    text = (command.help or "").partition("\f")[0]
    return [" ".join(part.split()) for part in re.split(r"\n\s*\n", text) if part.strip()]


def _sentence(paragraphs: Sequence[str]) -> str:
    first = paragraphs[0] if paragraphs else ""
    return re.split(r"(?<=[.:;]) ", first, maxsplit=1)[0].rstrip(".:;")


def _option(param: click.Parameter, context: click.Context) -> Option | None:
    record = param.get_help_record(context)
    if record is None or not record[1] or "--help" in param.opts:
        return None
    return Option(" ".join(record[0].split()), record[1])


# --- Markdown -----------------------------------------------------------------------------------


def reference() -> str:
    """Return docs/commands.md after its introduction."""
    parts: list[str] = []
    for page in pages():
        parts += _markdown(page)
    return "\n".join(parts)


def _markdown(page: Page) -> Iterator[str]:
    level = "##" if len(page.path) <= 2 else "###"  # noqa: PLR2004 - program and noun
    yield from (f"{level} {page.name}", "", "```text", page.usage, "```", "")
    for paragraph in page.paragraphs:
        yield from (_escaped(paragraph), "")
    if page.options:
        yield from ("| option | meaning |", "| --- | --- |")
        for option in page.options:
            yield f"| `{option.names.replace('|', chr(92) + '|')}` | {_cell(option.help)} |"
        yield ""
    if page.examples:
        yield from ("```sh", *page.examples, "```", "")
    if page.commands:
        for name, summary in page.commands:
            anchor = f"{page.name} {name}".replace(" ", "-")
            yield f"- [`{name}`](#{anchor}): {_escaped(summary)}"
        yield ""


def _escaped(text: str) -> str:
    # Between backticks everything stands as it is.
    parts = re.split(r"(`[^`]*`)", text)
    return "".join(
        part if part.startswith("`") else re.sub(r"([<>*_\[\]])", r"\\\1", part) for part in parts
    )


def _cell(text: str) -> str:
    return _escaped(" ".join(text.split())).replace("|", "\\|")


# --- man pages ----------------------------------------------------------------------------------


def man_pages() -> Mapping[str, str]:
    """Return the text of a man page for the program and each of its commands, by file name.

    The commands of a group are on the group's page.
    """
    by_file: dict[str, list[Page]] = {}
    for page in pages():
        by_file.setdefault("-".join(page.path[:2]), []).append(page)
    names = sorted(by_file)
    return {
        f"{name}.{_SECTION}": "\n".join(_man(name, of_it, names)) + "\n"
        for name, of_it in by_file.items()
    }


def _man(name: str, of_it: Sequence[Page], others: Sequence[str]) -> Iterator[str]:
    first, *rest = of_it
    yield f'.TH "{_roff(name.upper())}" "{_SECTION}" "" "vpopsql {__version__}"'
    yield from (".SH NAME", rf"{_roff(name)} \- {_roff(first.summary)}")
    yield ".SH SYNOPSIS"
    for page in of_it if len(first.path) > 1 else [first]:
        yield from (".PP", f".B {_roff(page.name)}", _roff(page.usage.removeprefix(page.name)))
    yield ".SH DESCRIPTION"
    yield from _man_body(first)
    if len(first.path) == 1:
        yield ".SH COMMANDS"
        for command, summary in first.commands:
            yield from (
                ".TP",
                rf"\fB{_roff(f'{_PROGRAM}-{command}')}\fR({_SECTION})",
                _roff(summary),
            )
        rest = []
    elif rest:
        yield ".SH COMMANDS"
    for page in rest:
        yield f'.SS "{_roff(page.name)}"'
        yield from _man_body(page)
    if len(first.path) > 1 and first.path[1] in object_commands():
        yield from (".SH EXIT STATUS", _roff(_exit_codes()))
    yield ".SH SEE ALSO"
    yield ",\n".join(rf"\fB{_roff(each)}\fR({_SECTION})" for each in others if each != name)


def _man_body(page: Page) -> Iterator[str]:
    for paragraph in page.paragraphs:
        yield from (".PP", _roff(paragraph))
    for option in page.options:
        yield from (".TP", rf"\fB{_roff(option.names)}\fR", _roff(option.help) or r"\&")
    if page.examples:
        yield from (".PP", "Examples:", ".PP", ".nf")
        yield from (_roff(each) for each in page.examples)
        yield ".fi"


def _roff(text: str) -> str:
    """Return text as troff takes it for itself."""
    plain = text.strip().replace("\\", r"\e").replace("-", r"\-").replace("…", "...")
    return rf"\&{plain}" if plain[:1] in {".", "'"} else plain


def _exit_codes() -> str:
    return " ".join(str(_of_objects).partition("Exit codes: ")[2].split())
