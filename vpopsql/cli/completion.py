"""``vpopsql completion``: what makes a shell complete commands, options and names."""

import click

_PROGRAM = "vpopsql"


@click.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_context
def completion(ctx: click.Context, shell: str) -> None:
    """Print the script that lets SHELL complete commands, options and names.

    For bash, put `eval "$(vpopsql completion bash)"` into ~/.bashrc; for zsh likewise into
    ~/.zshrc; for fish, write it to ~/.config/fish/completions/vpopsql.fish. Names of domains and
    users are asked of the database, 50 at most.
    """
    from click.shell_completion import get_completion_class

    kind = get_completion_class(shell)
    assert kind is not None  # noqa: S101 - for the type checker
    source = kind(ctx.find_root().command, {}, _PROGRAM, f"_{_PROGRAM}_COMPLETE".upper())
    # Without `source()`, which runs a bash to ask for its age.
    click.echo(source.source_template % source.source_vars())
