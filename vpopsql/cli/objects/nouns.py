"""The shape of all nouns: groups with verbs, the options that verbs share, and guesses at names.

Imported for each command, so it imports nothing slow.
"""

import difflib
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

import click

from vpopsql.names import is_address, split_address, to_a_label

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

F = TypeVar("F", bound=Callable[..., Any])

_COMPLETIONS = 50
"""Names that a shell is offered at most."""


def guessed(name: str, known: Iterable[str]) -> str:
    """Return a question to put behind "no such command"; empty if nothing is alike."""
    close = difflib.get_close_matches(name, known, n=3)
    return f" Did you mean {' or '.join(close)}?" if close else ""


class Verb(click.Command):
    """What can be done with a noun.

    :param examples: commands, as a person would type them.
    """

    def __init__(self, *args: Any, examples: Sequence[str] = (), **options: Any) -> None:  # noqa: ANN401
        super().__init__(*args, **options)
        self.examples = tuple(examples)

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the examples as they are."""
        super().format_epilog(ctx, formatter)
        if self.examples:
            with formatter.section("Examples"):
                formatter.write("".join(f"  {each}\n" for each in self.examples))


class Noun(click.Group):
    """A group of verbs."""

    command_class = Verb

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the verb, or guess which one was meant."""
        require_command(self, ctx, args)
        return super().resolve_command(ctx, args)


def require_command(group: click.Group, ctx: click.Context, args: list[str]) -> None:
    """Refuse a command that a group does not have, with a guess at what was meant.

    :raises UsageError: there is none.
    """
    name = args[0]
    if ctx.resilient_parsing or name.startswith("-") or group.get_command(ctx, name):
        return
    guess = guessed(name, group.list_commands(ctx))
    raise click.UsageError(f"No such command {name!r}.{guess}", ctx)


# --- names --------------------------------------------------------------------------------------


class _Name(click.ParamType[Any]):
    """A name of the site, which a shell can complete."""

    def shell_complete(
        self, ctx: click.Context, param: click.Parameter, incomplete: str
    ) -> "list[CompletionItem]":
        """Offer the names that begin so."""
        del param
        from click.shell_completion import CompletionItem

        from vpopsql.cli.objects import completing

        begin = incomplete.lower()
        try:
            found = completing.names(ctx, begin, type(self) is Address, _COMPLETIONS)
        except Exception:  # noqa: BLE001 - a shell in the middle of a line has no use for errors
            return []
        return [CompletionItem(each) for each in found]


class DomainName(_Name):
    """A domain, as it is stored: lower case, international labels as ``xn--…``."""

    name = "domain"

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> str:
        """Return it."""
        try:
            name = to_a_label(str(value))
        except ValueError:
            name = ""
        if not name or not is_address("", name):
            self.fail(f"{value!r} is no name of a domain", param, ctx)
        return name


class Address(_Name):
    """A name and a domain, both as they are stored."""

    name = "address"

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[str, str]:
        """Return them."""
        if isinstance(value, tuple):
            return value[0], value[1]
        return self.parsed(str(value), lambda why: self.fail(why, param, ctx))

    @staticmethod
    def parsed(text: str, refuse: Callable[[str], Any]) -> tuple[str, str]:
        """Return name and domain of a text.

        :param refuse: is called with the reason if it is none; must raise.
        """
        user, at, host = text.rpartition("@")
        try:
            name, domain = split_address(f"{user}@{to_a_label(host)}")
        except ValueError:
            name = domain = ""
        if not (at and name and domain and is_address(name, domain)):
            refuse(f"{text!r} is no address: write NAME@DOMAIN")
        return name, domain


DOMAIN = DomainName()
ADDRESS = Address()


class QuotaText(click.ParamType[Any]):
    """A quota in the words of vpopmail."""

    name = "quota"

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> object:
        """Return a `Quota`."""
        from vpopsql.daemon.options import parse_quota
        from vpopsql.errors import InvalidValue

        if not isinstance(value, str):
            return value
        try:
            return parse_quota(value.replace("none", "NOQUOTA"))
        except InvalidValue as error:
            self.fail(str(error), param, ctx)


QUOTA = QuotaText()


class FlagName(click.ParamType[Any]):
    """A flag of a mailbox, by its name in the protocol."""

    name = "flag"

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> object:
        """Return a `Flag`."""
        from vpopsql.flags import OPTIONS

        if not isinstance(value, str):
            return value
        found = OPTIONS.get(value.lower().replace("-", "_"))
        if found is None:
            self.fail(f"there is no flag {value!r}.{guessed(value, OPTIONS)}", param, ctx)
        return found

    def shell_complete(
        self, ctx: click.Context, param: click.Parameter, incomplete: str
    ) -> "list[CompletionItem]":
        """Offer the flags that begin so."""
        del ctx, param
        from click.shell_completion import CompletionItem

        from vpopsql.flags import OPTIONS

        return [CompletionItem(each) for each in OPTIONS if each.startswith(incomplete)]


FLAG = FlagName()


# --- options ------------------------------------------------------------------------------------


def listing(command: F) -> F:
    """Give a command that lists the option ``--format``, as ``output``."""
    return click.option(
        "--format",
        "output",
        type=click.Choice(["table", "csv", "json", "jsonl"]),
        default="table",
        help="How the rows are printed.",
    )(command)


def showing(command: F) -> F:
    """Give a command that shows one thing the option ``--format``, as ``output``."""
    return click.option(
        "--format",
        "output",
        type=click.Choice(["table", "json"]),
        default="table",
        help="How it is printed.",
    )(command)


def changing(command: F) -> F:
    """Give a command that changes something ``--format``, as ``output``, and ``--dry-run``."""
    dry = click.option(
        "--dry-run", is_flag=True, help="Only say what would change; nothing is changed."
    )
    return showing(dry(command))


def in_bulk(*columns: str) -> Callable[[F], F]:
    """Give a command the options that take many things from a file.

    :param columns: the names of the columns.
    """
    shown = ", ".join(columns)

    def decorate(command: F) -> F:
        for option in (
            click.option(
                "--keep-going", is_flag=True, help="With --from: after a refused batch, go on."
            ),
            click.option(
                "--batch",
                type=click.IntRange(min=1),
                metavar="N",
                help="With --from: so many lines at once, all or none. [default: all lines]",
            ),
            click.option(
                "--from",
                "source",
                type=click.Path(allow_dash=True),
                metavar="FILE",
                help="Many, from a file of CSV with a header or of JSON objects, one a line;"
                f" - is standard input. Columns: {shown}.",
            ),
        ):
            command = option(command)
        return command

    return decorate


def rewriting(command: F) -> F:
    """Give a command that renames the option ``--rewrite-forwards``, as ``rewrite``."""
    return click.option(
        "--rewrite-forwards/--keep-forwards",
        "rewrite",
        default=None,
        help="Whether forwards of this site that lead to the old name lead to the new one."
        "  [default: ask on a terminal, else keep]",
    )(command)


_OF_MANY = frozenset({"source", "batch", "keep_going"})
_OF_BOTH = frozenset({"dry_run", "output", "generate"})


def one_or_many(ctx: click.Context, argument: object, what: str) -> None:
    """Refuse a command that is given neither an argument nor ``--from``, or what is for the other.

    :param what: has to be named.
    :raises UsageError: it is.
    """
    if bool(argument) == bool(ctx.params["source"]):
        raise click.UsageError(f"name {what}, or give many with --from FILE", ctx)
    said = click.core.ParameterSource.COMMANDLINE
    given = {name for name in ctx.params if ctx.get_parameter_source(name) is said}
    wrong = given & _OF_MANY if argument else given - _OF_MANY - _OF_BOTH
    for param in ctx.command.params:
        if param.name in wrong and isinstance(param, click.Option):
            why = "is for --from" if argument else "does not go with --from: see the columns"
            raise click.UsageError(f"{param.opts[-1]} {why}", ctx)


def passwords(command: F) -> F:
    """Give a command the options that say where a new password comes from."""
    for option in (
        click.option(
            "--encrypted-file",
            type=click.Path(allow_dash=True),
            metavar="FILE",
            help="Its first line is a hash that was made elsewhere.",
        ),
        click.option("--generate", is_flag=True, help="Make one up, and print it."),
        click.option(
            "--password-stdin", is_flag=True, help="The first line of standard input is it."
        ),
        click.option(
            "--password-file",
            type=click.Path(allow_dash=True),
            metavar="FILE",
            help="The first line of a file is it; - is standard input.",
        ),
    ):
        command = option(command)
    return command
