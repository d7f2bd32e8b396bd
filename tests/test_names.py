import pytest
from hypothesis import given
from hypothesis import strategies as st

from vpopsql.names import (
    DOMAIN_MAX,
    USER_MAX,
    is_domain_name,
    is_user_name,
    lower,
    new_domain_name_problem,
    new_user_name_problem,
    sort_key,
    split_address,
    to_a_label,
)

LONGEST_LABEL = "a" * 63


@pytest.mark.parametrize(
    "name, key",
    [
        ("b.a.example.com", "example.com.b.a"),
        ("www.example.com", "example.com.www"),
        ("example.com", "example.com"),
        ("localhost", "localhost"),
        ("", ""),
    ],
)
def test_names_are_ordered_by_their_last_two_labels_first(name: str, key: str) -> None:
    assert sort_key(name) == key


@pytest.mark.parametrize("name", ["a", "o'brien", "a/b", "x|y", "a.b+c_d-e", "~{}^`", "A" * 64])
def test_names_that_vpopmail_stored_are_user_names(name: str) -> None:
    assert is_user_name(name)


@pytest.mark.parametrize(
    "name", ["", "a b", "a:b", "a@b", "50%", 'a"b', "a\n", "ü", "\x7f", "A" * 65]
)
def test_names_that_vpopmail_refuses_are_no_user_names(name: str) -> None:
    assert not is_user_name(name)


@pytest.mark.parametrize("name", ["example.com", "127.0.0.1", "dash-.org", ".lead.org", "nodot"])
def test_names_that_vpopmail_stored_are_domain_names(name: str) -> None:
    assert is_domain_name(name)


@pytest.mark.parametrize("name", ["", "a_b.org", "ü.de", "a b.de", "a.org\n", "a" * 97])
def test_names_with_other_characters_are_no_domain_names(name: str) -> None:
    assert not is_domain_name(name)


@pytest.mark.parametrize("name", ["a", "o'brien", "first.last", "a-b", "vpasswd2", "u" * USER_MAX])
def test_a_new_user_may_have_an_ordinary_name(name: str) -> None:
    assert new_user_name_problem(name) is None


@pytest.mark.parametrize(
    "name, words",
    [
        ("", "empty"),
        ("u" * (USER_MAX + 1), "longer"),
        (".hidden", "starts with '.'"),
        ("-option", "starts with '-'"),
        ("..", "starts with '.'"),
        ("a/b", "character"),
        ("a\0b", "character"),
        ("a\x1bb", "character"),
        ("a@b", "character"),
        ("vpasswd", "password file"),
        ("VPASSWD.cdb", "password file"),
    ],
)
def test_a_new_user_may_not_have_an_unsafe_name(name: str, words: str) -> None:
    problem = new_user_name_problem(name)

    assert problem is not None
    assert words in problem


@pytest.mark.parametrize(
    "name",
    ["a.bc", "example.com", "1and1.de", "bücher.example", f"{LONGEST_LABEL}.com", "xn--a.example"],
)
def test_a_new_domain_may_have_a_name_of_plain_labels(name: str) -> None:
    assert new_domain_name_problem(name) is None


@pytest.mark.parametrize(
    "name, words",
    [
        ("", "empty label"),
        ("nodot", "top-level"),
        ("x.y", "top-level"),
        ("127.0.0.1", "top-level"),
        (".org", "empty label"),
        ("a..org", "empty label"),
        ("a.org.", "empty label"),
        ("-a.org", "hyphen"),
        ("a.bc-", "hyphen"),
        ("a_b.org", "character"),
        ("a.org\n", "character"),
        (f"{LONGEST_LABEL}a.org", "label is longer"),
        ("a." * (DOMAIN_MAX // 2) + "a", "name is longer"),
        ("\udcfc.org", "no valid"),
        ("ü..org", "no valid"),
    ],
)
def test_a_new_domain_may_not_have_another_name(name: str, words: str) -> None:
    problem = new_domain_name_problem(name)

    assert problem is not None
    assert words in problem


@pytest.mark.parametrize(
    "name, stored",
    [
        ("Bücher.Example", "xn--bcher-kva.example"),
        ("MIXED.org", "mixed.org"),
        ("münchen.example", "xn--mnchen-3ya.example"),
    ],
)
def test_a_domain_is_stored_by_its_a_labels(name: str, stored: str) -> None:
    assert to_a_label(name) == stored


@pytest.mark.parametrize(
    "text, user, domain",
    [
        ("Joe@Example.COM", "joe", "example.com"),
        ("joe%example.com", "joe", "example.com"),
        ("joe/example.com", "joe", "example.com"),
        ("a%b/c@d", "a%b/c", "d"),
        ("a/b%c", "a/b", "c"),
        ("a@b@c", "a", "b@c"),
        ("joe", "joe", ""),
        ("@d", "", "d"),
        ("", "", ""),
    ],
)
def test_an_address_is_cut_where_vpopmail_cuts_it(text: str, user: str, domain: str) -> None:
    assert split_address(text) == (user, domain)


@given(st.text())
def test_lower_casing_touches_ascii_only(text: str) -> None:
    assert lower(text).encode("utf-8", "surrogatepass") == (
        text.encode("utf-8", "surrogatepass").lower()
    )


@given(st.text())
def test_every_name_is_judged(name: str) -> None:
    assert new_user_name_problem(name) is None or new_user_name_problem(name)
    assert new_domain_name_problem(name) is None or new_domain_name_problem(name)
