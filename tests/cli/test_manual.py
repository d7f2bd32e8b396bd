"""What is said of the commands: help, completion, man pages, docs/commands.md."""

import shlex
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from tests.cli.conftest import Command, Site, on_sqlite
from tests.examples import FENCE
from vpopsql.cli import cli, manual, object_commands

DOCUMENT = Path(__file__).parents[2] / "docs/commands.md"


def test_the_document_has_every_command_as_it_is() -> None:
    assert DOCUMENT.read_text(encoding="utf-8").endswith("-->\n\n" + manual.reference())


def test_every_command_and_every_option_says_what_it_is_for() -> None:
    pages = list(manual.pages())

    assert len(pages) > 80
    assert [page.name for page in pages if not page.summary] == []
    assert [(p.name, o.names) for p in pages for o in p.options if len(o.help) < 8] == []


def test_all_nouns_have_the_same_verbs() -> None:
    verbs = {"add", "list", "show", "modify", "rename", "delete"}

    nouns = [
        page
        for page in manual.pages()
        if page.path[1:] and page.path[-1] in object_commands() and page.commands
    ]

    assert {name for page in nouns for name, _ in page.commands} == verbs | {"verify"}
    assert [
        page.name for page in nouns if not {"list", "show"} <= dict(page.commands).keys()
    ] == []


def test_whatever_changes_can_be_tried_and_all_can_be_read_by_programs() -> None:
    verbs = [p for p in manual.pages() if p.path[1:2] and p.path[1] in object_commands()]
    leaves = [page for page in verbs if not page.commands]

    changing = [p for p in leaves if p.path[-1] in {"add", "modify", "rename", "delete"}]

    assert len(changing) > 25
    assert [p.name for p in leaves if not any("--format" in o.names for o in p.options)] == []
    assert [p.name for p in changing if not any("--dry-run" in o.names for o in p.options)] == []


def test_man_pages_have_no_mistake(vpopsql: Command, tmp_path: Path) -> None:
    done = vpopsql("man", str(tmp_path / "man8"))

    pages = sorted((tmp_path / "man8").iterdir())
    assert f"{len(pages)} pages written" in done.out
    assert {"vpopsql.8", "vpopsql-user.8", "vpopsql-alias-domain.8"} <= {p.name for p in pages}
    assert r"vpopsql user add" in (tmp_path / "man8/vpopsql-user.8").read_text().replace("\\", "")
    if not shutil.which("groff"):
        pytest.skip("no groff to check them with")
    checked = subprocess.run(
        ["groff", "-man", "-ww", "-z", "-K", "utf8", *pages],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (checked.returncode, checked.stderr) == (0, "")


def test_examples_are_what_the_commands_take(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    examples = [(page, example) for page in manual.pages() for example in page.examples]

    parsed = [_parsed(page, example) for page, example in examples]

    assert len(parsed) > 15


def _parsed(page: manual.Page, example: str) -> click.Context:
    words = shlex.split(example.partition(" < ")[0])
    assert tuple(words[: len(page.path)]) == page.path
    context = click.Context(cli, info_name="vpopsql")
    for name in page.path[1:]:
        assert isinstance(context.command, click.Group)
        command = context.command.get_command(context, name)
        assert command is not None
        context = click.Context(command, info_name=name, parent=context)
    return context.command.make_context(page.name, words[len(page.path) :])


def test_what_the_manual_gives_to_type_is_what_the_commands_take(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("VPOPSQL_CONFIG", raising=False)
    pages = [DOCUMENT.parents[1] / "README.md", *DOCUMENT.parent.rglob("*.md")]
    typed = {
        (page.name, " ".join(words)): _mistake(words)
        for page in pages
        for kind, text in FENCE.findall(page.read_text(encoding="utf-8"))
        if kind in {"sh", "console", ""}
        for words in _typed(text)
    }

    assert len(typed) > 120
    assert {where: mistake for where, mistake in typed.items() if mistake} == {}


def _typed(text: str) -> Iterator[list[str]]:
    """Give the words of each ``vpopsql`` that a block has."""
    for line in text.replace("\\\n", " ").splitlines():
        lexer = shlex.shlex(line.removeprefix("$ "), posix=True, punctuation_chars=True)
        lexer.whitespace_split = True
        words = list(lexer) if line.count("'") % 2 == 0 else []
        ends = [at for at, word in enumerate(words) if set(word) <= set("|&;<>()")]
        for start, end in zip([0, *(at + 1 for at in ends)], [*ends, len(words)], strict=True):
            if words[start:end][:1] == ["vpopsql"]:
                yield words[start + 1 : end]


def _mistake(words: list[str]) -> str:
    """Return what a command finds wrong with its words; files that are not here are none."""
    try:
        context = cli.make_context("vpopsql", list(words))
        while isinstance(context.command, click.Group) and context._protected_args:
            rest = [*context._protected_args, *context.args]
            name, command, rest = context.command.resolve_command(context, rest)
            assert command
            context = command.make_context(name, rest, parent=context)
    except click.exceptions.Exit:
        return ""
    except click.UsageError as error:
        said = error.format_message()
        return "" if "does not exist" in said or "No such file" in said else said
    except SystemExit as ended:
        return "" if ended.code == 0 else f"exit code {ended.code}"
    return ""


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_a_shell_can_be_taught_our_commands(vpopsql: Command, shell: str, tmp_path: Path) -> None:
    script = vpopsql("completion", shell).out

    assert "_VPOPSQL_COMPLETE" in script
    program = shutil.which(shell)
    if program:
        (tmp_path / "script").write_text(script)
        subprocess.run([program, "-n", tmp_path / "script"], check=True)


@on_sqlite
@pytest.mark.parametrize(
    "words, completed",
    [
        ("vpopsql user sh", ["plain,show"]),
        ("vpopsql user show --for", ["plain,--format"]),
        ("vpopsql user show al", ["plain,alice@example.com"]),
        ("vpopsql user show bob@a", ["plain,bob@alias.org"]),
        ("vpopsql domain show ex", ["plain,example.com"]),
        ("vpopsql flag add bob@example.com no_p", ["plain,no_password_change", "plain,no_pop"]),
    ],
)
def test_names_are_completed(
    site: Site, monkeypatch: pytest.MonkeyPatch, words: str, completed: list[str]
) -> None:
    monkeypatch.setenv("_VPOPSQL_COMPLETE", "bash_complete")
    monkeypatch.setenv("COMP_WORDS", words)
    monkeypatch.setenv("COMP_CWORD", str(len(words.split()) - 1))

    # The shell's words come by the environment, and nobody is named on the command line.
    assert site.run().out.splitlines() == completed


@on_sqlite
def test_completion_says_nothing_when_there_is_no_database(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VPOPSQL_DATABASE_URL", "sqlite:////nowhere/at.all")
    monkeypatch.setenv("_VPOPSQL_COMPLETE", "bash_complete")
    monkeypatch.setenv("COMP_WORDS", "vpopsql user show al")
    monkeypatch.setenv("COMP_CWORD", "3")

    done = site.run()

    assert (done.out.strip(), done.err) == ("", "")
