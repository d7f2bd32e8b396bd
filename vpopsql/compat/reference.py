"""docs/compat-commands.md's tables, made of what the commands declare."""

from collections.abc import Iterator

from vpopsql.compat.main import PROGRAMS, find_program
from vpopsql.compat.program import Program


def reference() -> str:
    """Return every command with its options, and those that are not supported, with the reason."""
    return "\n".join(line for name in PROGRAMS for line in _section(find_program(name)))


def _section(program: Program) -> Iterator[str]:
    yield f"### {program.name}"
    yield ""
    yield f"`{program.name} {program.synopsis}`"
    yield ""
    yield program.purpose
    yield ""
    if not program.options:
        return
    yield "| option | what it does |"
    yield "| --- | --- |"
    for option in program.options:
        text = f"*Not supported:* {option.refused}." if option.refused else option.purpose
        yield f"| `{option.shown}` | {text} |"
    yield ""
