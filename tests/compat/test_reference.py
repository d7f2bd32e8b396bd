"""docs/compat-commands.md describes every command and option."""

from pathlib import Path

from vpopsql.compat import program
from vpopsql.compat.reference import reference

DOCUMENT = Path(__file__).parents[2] / "docs/compat-commands.md"
HINT = 'python -c "from vpopsql.compat.reference import reference; print(reference())"'


def test_the_manual_describes_every_command_and_option() -> None:
    written = DOCUMENT.read_text().partition("## The commands\n\n")[2]

    assert written.strip() == reference().strip(), f"its last part is the output of {HINT}"


def test_the_manual_describes_every_exit_status() -> None:
    statuses = (program.DONE, program.REFUSED, program.WRONG_USAGE, program.COULD_NOT_RUN)

    assert all(f"\n| {status} | " in DOCUMENT.read_text() for status in statuses)
