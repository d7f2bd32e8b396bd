"""``vpopmaild``: the daemon on standard input and output, as the C program of that name.

Run it under ``tcpserver``, or by hand for testing.
"""

from pathlib import Path

import click

from vpopsql.cli import refusals_as_messages
from vpopsql.cli.serve import run
from vpopsql.config import load


@click.command("vpopmaild", context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--config",
    "config_file",
    type=click.Path(path_type=Path, dir_okay=False),
    help="TOML file with the settings (else VPOPSQL_CONFIG, else built-in defaults).",
)
def vpopmaild(config_file: Path | None) -> None:
    """Answer one client of the vpopmaild protocol on standard input and output."""
    run(load(config_file), stdio=True)


def main() -> None:
    """Serve one client."""
    with refusals_as_messages("vpopmaild"):
        vpopmaild()
