"""Command lines as getopt(3) reads them, and what is said of those that make no sense."""

import pytest

from vpopsql.compat.main import PROGRAMS, find_program, main
from vpopsql.compat.options import Given, Option, WrongUsage, parse, usage

OPTIONS = (
    Option("a", "all"),
    Option("n", "number", "count"),
    Option("r", "random", "length", is_value_optional=True),
    Option("z", "", refused="it is gone"),
)


@pytest.mark.parametrize(
    "args, words, values",
    [
        ([], (), {}),
        (["x", "-a", "y"], ("x", "y"), {"a": ""}),
        (["-an5", "x"], ("x",), {"a": "", "n": "5"}),
        (["-n", "-5"], (), {"n": "-5"}),
        (["-n", ""], (), {"n": ""}),
        (["-n", "1", "-n", "2"], (), {"n": "2"}),
        (["-r", "x"], ("x",), {"r": ""}),
        (["-ar8"], (), {"a": "", "r": "8"}),
        (["-a", "--", "-n", "--"], ("-n", "--"), {"a": ""}),
        (["-", ""], ("-", ""), {}),
    ],
)
def test_letters_values_and_words_are_told_apart(
    args: list[str], words: tuple[str, ...], values: dict[str, str]
) -> None:
    assert parse(OPTIONS, args) == Given(words, values)


@pytest.mark.parametrize(
    "args, said",
    [
        (["-q"], "there is no option -q"),
        (["-aq"], "there is no option -q in -aq"),
        (["--all"], "there is no option -- in --all"),
        (["-n"], "-n needs a value: count"),
        (["-z"], "-z is not supported: it is gone"),
    ],
)
def test_what_is_not_declared_is_refused(args: list[str], said: str) -> None:
    with pytest.raises(WrongUsage) as refused:
        parse(OPTIONS, args)
    assert str(refused.value) == said


@pytest.mark.parametrize("text", ["", "x", "1.5", "-2", "11", "+3", "٣", "9" * 5000])
def test_a_number_is_digits_within_its_range(text: str) -> None:
    with pytest.raises(WrongUsage, match="-n needs a number from -1 to 10"):
        parse(OPTIONS, ["-n", text]).number("n", -1, 10)


def test_the_usage_text_says_everything() -> None:
    assert usage("try", "[options] word", "Do it.", OPTIONS).splitlines() == [
        "usage: try [options] word",
        "Do it.",
        "options:",
        "  -a            all",
        "  -n count      number",
        "  -r[length]    random",
        "  -z            Not supported: it is gone",
        "  -v            Print the version and end.",
        "  -h            Print this and end.",
    ]


WRONG = [
    ("vadddomain", []),
    ("vadddomain", ["-d", "/home/other", "new.example", "pw"]),
    ("vadddomain", ["-b", "-e", "a@b.example", "new.example", "pw"]),
    ("vadddomain", ["-i", "root", "new.example", "pw"]),
    ("vadddomain", ["new.example", "pw", "more"]),
    ("vaddaliasdomain", ["one.example"]),
    ("vdeldomain", ["-x", "new.example"]),
    ("vadduser", ["-r", "a@b.example", "pw"]),
    ("vadduser", ["-n", "-e", "x", "a@b.example"]),
    ("vadduser", ["-r999", "a@b.example"]),
    ("vdeluser", []),
    ("vpasswd", ["-r", "a@b.example", "pw"]),
    ("vmoduser", ["a@b.example"]),
    ("vmoduser", ["-n", "a@b.example"]),
    ("vmoduser", ["-D", "/x", "a@b.example"]),
    ("vmoduser", ["-e", "x", "-C", "y", "a@b.example"]),
    ("vsetuserquota", ["a@b.example"]),
    ("vmoddomlimits", ["new.example"]),
    ("vmoddomlimits", ["-d", "-S", "new.example"]),
    ("vmoddomlimits", ["-D", "-P", "3", "new.example"]),
    ("vmoddomlimits", ["-P", "-2", "new.example"]),
    ("vmoddomlimits", ["-g", "q", "new.example"]),
    ("vmoddomlimits", ["-p", "q", "new.example"]),
    ("vuserinfo", []),
    ("vuserinfo", ["-D", "a.example", "b@a.example"]),
    ("vdominfo", ["a.example", "b.example"]),
    ("valias", ["-n", "-s", "a.example"]),
    ("valias", ["-d", "a.example"]),
    ("vipmap", []),
    ("vipmap", ["-a", "192.0.2.1"]),
    ("vipmap", ["-p", "192.0.2.1"]),
    ("vdeloldusers", ["-D"]),
    ("vdeloldusers", ["-d", "a.example", "-e"]),
    ("vdeloldusers", ["-e", "-a", "0"]),
    ("vmkpasswd", []),
    ("vconvert", []),
    ("vconvert", ["-m"]),
    ("vconvert", ["-p", "passwd"]),
]


@pytest.mark.parametrize("name, args", WRONG)
def test_wrong_usage_is_explained_before_any_database_is_opened(
    name: str, args: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VPOPSQL_DATABASE_URL", "sqlite:////nowhere/at/all.db")

    status = main(name, args)
    said = capsys.readouterr()

    assert status == 2
    assert said.out == ""
    assert said.err.startswith(f"{name}: ")
    assert said.err.endswith(find_program(name).usage())


@pytest.mark.parametrize("name", PROGRAMS)
def test_every_command_says_what_it_does_and_its_version(
    name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    program = find_program(name)
    letters = [option.letter for option in program.options]

    assert program.name == name
    assert len(set(letters)) == len(letters)
    assert not {"v", "h"} & set(letters)
    assert main(name, ["-h"]) == main(name, ["--help"]) == 0
    assert capsys.readouterr().out == 2 * program.usage()
    assert main(name, ["-v"]) == 0
    assert capsys.readouterr().out.startswith("version: ")
