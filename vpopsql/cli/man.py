"""``vpopsql man``: the man pages."""

from pathlib import Path

import click


@click.command()
@click.argument("directory", type=click.Path(file_okay=False, path_type=Path))
def man(directory: Path) -> None:
    """Write the man pages of all commands into DIRECTORY, such as /usr/local/share/man/man8."""
    from vpopsql.cli.manual import man_pages

    directory.mkdir(parents=True, exist_ok=True)
    written = man_pages()
    for name, text in written.items():
        (directory / name).write_text(text, encoding="utf-8")
    click.echo(f"{len(written)} pages written to {directory}")
