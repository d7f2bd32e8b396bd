import pytest
from hypothesis import given
from hypothesis import strategies as st

from vpopsql.qmail import limits
from vpopsql.qmail.limits import DEFAULTS, SETTINGS
from vpopsql.qmail.lines import Malformed

big = st.integers(0, 2**63 - 1)
maxima = st.integers(-1, 2**63 - 1)
ranges: dict[str, st.SearchStrategy[int | bool]] = {
    **{key: maxima for key in SETTINGS if key.startswith("max_") and key != "max_msgcount"},
    **dict.fromkeys(("disk_quota", "max_msgcount", "default_quota", "default_maxmsgcount"), big),
    **{key: st.booleans() for key in SETTINGS if key.startswith(("disable_", "delete_"))},
    **{key: st.integers(0, 7) for key in SETTINGS if key.startswith("perm_")},
}


def domains(site: dict[str, bytes]) -> dict[str, bytes]:
    return {path: data for path, data in site.items() if path.endswith(".qmailadmin-limits")}


def test_every_setting_has_a_default() -> None:
    assert list(DEFAULTS) == list(SETTINGS)
    assert len(SETTINGS) == 28
    assert set(ranges) == set(SETTINGS)


def test_a_site_s_limits_are_written_back_byte_for_byte(site: dict[str, bytes]) -> None:
    written = {path: limits.render(limits.parse(d)[0]) for path, d in domains(site).items()}

    assert len(written) == 1
    assert written == domains(site)


def test_a_site_s_limits_are_what_its_tools_said(small: dict[str, bytes]) -> None:
    values, malformed = limits.parse(small["vpopmail/domains/small.example/.qmailadmin-limits"])

    assert malformed == []
    assert {key: value for key, value in values.items() if value != DEFAULTS[key]} == {
        "max_popaccounts": 5,
        "max_aliases": 3,
        "max_forwards": 4,
        "max_autoresponders": 1,
        "max_mailinglists": 2,
        "disk_quota": 100,
        "max_msgcount": 5000,
        "default_quota": 20971520,
        "default_maxmsgcount": 2000,
        "disable_password_changing": True,
        "disable_webmail": True,
        "perm_account": 1,
        "perm_alias": 2,
        "perm_forward": 4,
        "perm_autoresponder": 7,
        "perm_maillist": 5,
        "perm_quota": 7,
    }


def test_the_default_limits_of_a_site_are_the_defaults(site: dict[str, bytes]) -> None:
    assert limits.parse(site["vpopmail/etc/vlimits.default"]) == (DEFAULTS, [])


def test_list_permissions_are_packed_as_vpopmail_packs_them() -> None:
    values = {
        "perm_maillist": 1,
        "perm_maillist_users": 2,
        "perm_maillist_moderators": 4,
        "perm_quota": 1,
    }

    data = limits.render(values)

    assert b"\nperm_maillist: 1\nperm_quota: 273\n" in data
    assert limits.parse(data)[0] == {**DEFAULTS, **values}


def test_list_permissions_are_found_where_older_versions_packed_them() -> None:
    values, _ = limits.parse(b"perm_maillist: 273\nperm_quota: 3\n")

    assert [values[key] for key in SETTINGS if values[key] != DEFAULTS[key]] == [1, 2, 4, 3]


@given(st.fixed_dictionaries(ranges))
def test_any_limits_read_as_themselves(values: dict[str, int | bool]) -> None:
    assert limits.parse(limits.render(values)) == (values, [])


@given(st.binary() | st.from_regex(rb"((max|quota|perm_quota|delete_spam|[a: \t#0-9-])*\n)*"))
def test_any_bytes_give_limits_that_can_be_written(data: bytes) -> None:
    values, malformed = limits.parse(data)

    assert limits.parse(limits.render(values)) == (values, [])
    assert len(malformed) <= data.count(b"\n") + 1


@pytest.mark.parametrize(
    "line, reason",
    [
        (b"maxpopaccounts: many", "no number"),
        (b"maxpopaccounts", "no number"),
        (b"maxpopaccounts: 5x", "no number"),
        (b"maxpopaccounts: -2", "no number"),
        (b"quota -1", "no number"),
        (b"quota 1 2", "no number"),
        (b"perm_account 8", "no number"),
        (b"perm_quota 512", "no number"),
        (b"max_popaccounts 5", "unknown"),
        (b"perm_maillist_users 5", "unknown"),
        (b"rubbish", "unknown"),
        (b":", "unknown"),
        (b"\0", "unknown"),
    ],
)
def test_a_line_of_no_use_is_reported_and_changes_nothing(line: bytes, reason: str) -> None:
    values, (malformed,) = limits.parse(b"# comment\n" + line + b"\n")

    assert values == DEFAULTS
    assert malformed.number == 2
    assert reason in malformed.reason


def test_of_a_repeated_key_the_last_one_holds_and_the_others_are_reported() -> None:
    values, malformed = limits.parse(b"maxaliases 1\nmaxaliases\t2\nmaxaliases:3\n")

    assert values["max_aliases"] == 3
    assert malformed == [
        Malformed(1, "maxaliases 1", "line 2 says it again and wins"),
        Malformed(2, "maxaliases\t2", "line 3 says it again and wins"),
    ]


def test_a_flag_is_on_whatever_follows_it() -> None:
    values, malformed = limits.parse(b"disable_pop 0\n")

    assert (values["disable_pop"], malformed) == (True, [])


@pytest.mark.parametrize("values", [{"perm_quota": 8}, {"perm_alias": -1}, {"maxaliases": 3}])
def test_limits_that_would_not_come_back_are_not_written(values: dict[str, int | bool]) -> None:
    with pytest.raises(ValueError, match=r"unknown limits|a permission"):
        limits.render(values)
