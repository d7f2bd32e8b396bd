"""``vpopmaild``: the daemon on standard input and output, as the C program of that name.

Run it under ``tcpserver``, or by hand for testing. Settings come from VPOPSQL_CONFIG and the
environment.
"""

import sys

import click

from vpopsql import config
from vpopsql.cli import COULD_NOT_RUN
from vpopsql.cli.serve import run
from vpopsql.errors import VpopsqlError


def main() -> None:
    """Serve one client."""
    try:
        run(config.load(), stdio=True)
    except VpopsqlError as error:
        click.echo(f"vpopmaild: {error}", err=True)
        sys.exit(COULD_NOT_RUN)
