"""``vpopsql fail2ban``: the filter that finds failed logins in the log."""

from pathlib import Path

import click

from vpopsql.cli.systemd import write_texts


@click.command()
@click.argument("directory", type=click.Path(path_type=Path, exists=True, file_okay=False))
@click.option("--force", is_flag=True, help="Replace files that are there and differ.")
def fail2ban(directory: Path, *, force: bool) -> None:
    """Write a filter and a jail for fail2ban to DIRECTORY, such as /etc/fail2ban.

    The filter finds failed logins in the journal of vpopsql.service, or in a file that has the
    daemon's log, with log.format = "json".

    Exit codes: 0 done, 2 wrong usage, 3 could not run.
    """
    from vpopsql.fail2ban import files

    write_texts(directory, files(), force=force)
    click.echo("next: fail2ban-client reload")
