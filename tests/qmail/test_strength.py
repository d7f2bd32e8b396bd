import pytest

from vpopsql.qmail.strength import BadRule, parse


@pytest.mark.parametrize(
    "rules, good, bad",
    [
        ("Length >= 4", ["abcd", "éé"], ["abc", ""]),
        ("Length > 4", ["abcde"], ["abcd"]),
        ("length = 4", ["abcd"], ["abc", "abcde"]),
        ("LENGTH <= 4", ["abcd"], ["abcde"]),
        ("Length < 4", ["abc"], ["abcd"]),
        ("Alphabet < 0.9", ["abc1", "1234"], ["abcd", "abcdefghi1j"]),
        ("Alphabet > .5", ["abc1"], ["ab12"]),
        ("Numeric >= 0.25", ["abc1"], ["abcd1"]),
        ("Other > 0", ["abc!", "ab c", "abcü"], ["abc1"]),
        ("UpperLower < 1", ["abC", "Ab1"], ["abc", "ABC1", "123"]),
        ("UpperLower = 0", ["aB", "aB1"], ["aBc"]),
        ("Length >= 4\nOther > 0", ["abc!"], ["a!", "abcd"]),
        ("Length >= 9\nLength >= 2", ["ab"], ["a"]),
        ("# nothing\n\n", ["", "a"], []),
    ],
)
def test_rules_are_about_length_and_parts(rules: str, good: list[str], bad: list[str]) -> None:
    policy = parse(rules)

    assert [each for each in good if policy.problem(each.encode())] == []
    assert [each for each in bad if not policy.problem(each.encode())] == []


def test_people_are_told_the_policy_else_the_rule() -> None:
    rules = "Length >= 8 # bytes\r\n"

    assert parse(rules).problem(b"short") == "length must be >= 8"
    policy = parse(f"Policy = at least 8 of them\n{rules}")
    assert policy.problem(b"short") == "at least 8 of them"
    assert policy.problem(b"long enough") is None


@pytest.mark.parametrize(
    "line",
    ["Length", "Length >=", "Length >= many", "Length => 8", "Width >= 8", "Length>=8", "= 8 8"],
)
def test_what_is_no_rule_is_a_mistake(line: str) -> None:
    with pytest.raises(BadRule, match="line 2 is no rule"):
        parse(f"Length >= 8\n{line}\n")
