import pytest
from hypothesis import given
from hypothesis import strategies as st

from vpopsql.qmail import limits
from vpopsql.qmail.limits import DEFAULTS, SETTINGS, Doubt, Doubtful

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
    read, doubts = limits.parse(limits.render(values))

    packed = values["perm_maillist_users"] or values["perm_maillist_moderators"]
    assert read == values
    assert [each.doubt for each in doubts] == ([Doubt.PACKED] if packed else [])


@given(st.binary() | st.from_regex(rb"((max|quota|perm_quota|delete_spam|[a: \t#0-9-])*\n)*"))
def test_any_bytes_give_limits_that_can_be_written(data: bytes) -> None:
    values, doubts = limits.parse(data)

    assert limits.parse(limits.render(values))[0] == values
    assert {each.number for each in doubts} <= set(range(data.count(b"\n") + 2))


@pytest.mark.parametrize(
    "line, key, value",
    [
        (b"maxpopaccounts: many", "max_popaccounts", 0),
        (b"maxpopaccounts: 5x", "max_popaccounts", 5),
        (b"maxpopaccounts: 5 6", "max_popaccounts", 5),
        (b"maxpopaccounts: -2", "max_popaccounts", -1),
        (b"maxpopaccounts: 99999999999999999999", "max_popaccounts", 2**63 - 1),
        (b"quota -1", "disk_quota", 0),
        (b"quota 1 2", "disk_quota", 1),
        (b"default_quota " + b"9" * 1000, "default_quota", 2**63 - 1),
        (b"perm_account 8", "perm_account", 0),
        (b"perm_account 13", "perm_account", 5),
        (b"perm_quota 513", "perm_quota", 1),
        (b"perm_quota -", "perm_quota", 0),
    ],
)
def test_a_value_is_what_vpopmail_makes_of_it(line: bytes, key: str, value: int) -> None:
    values, (doubtful,) = limits.parse(b"# comment\n" + line + b"\n")

    assert values == {**DEFAULTS, key: value}
    assert (doubtful.number, doubtful.doubt) == (2, Doubt.ODD_VALUE)
    assert doubtful.reason.startswith("it is taken for ")


@pytest.mark.parametrize("line", [b"maxaliases\t+5", b"maxaliases: 005", b": maxaliases :5 \t"])
def test_spellings_of_a_number_are_no_doubt(line: bytes) -> None:
    assert limits.parse(line) == ({**DEFAULTS, "max_aliases": 5}, [])


@pytest.mark.parametrize(
    "line, doubt",
    [
        (b"maxpopaccounts", Doubt.NO_VALUE),
        (b"quota: \t", Doubt.NO_VALUE),
        (b"max_popaccounts 5", Doubt.UNKNOWN_KEY),
        (b"perm_maillist_users 5", Doubt.UNKNOWN_KEY),
        (b"rubbish", Doubt.UNKNOWN_KEY),
        (b":", Doubt.UNKNOWN_KEY),
    ],
)
def test_a_line_of_no_use_is_reported_and_changes_nothing(line: bytes, doubt: Doubt) -> None:
    values, (doubtful,) = limits.parse(b"# comment\n" + line + b"\n")

    assert values == DEFAULTS
    assert (doubtful.number, doubtful.doubt) == (2, doubt)


def test_packed_permissions_are_taken_apart_and_reported() -> None:
    values, (doubtful,) = limits.parse(b"perm_quota: 273\n")

    assert [values[key] for key in SETTINGS if key.startswith("perm_")][4:8] == [0, 2, 4, 1]
    assert doubtful == Doubtful(
        1,
        "perm_quota: 273",
        Doubt.PACKED,
        "it is taken apart: 1 for quotas, 2 for list users, 4 for list moderators",
    )


def test_what_stands_behind_2048_bytes_is_not_read() -> None:
    fits = b"#".ljust(2048 - len("maxaliases 1\n") - 1) + b"\nmaxaliases 1\n"

    values, doubts = limits.parse(fits)
    more_values, (doubtful,) = limits.parse(fits + b"maxforwards 1\n")

    assert (values["max_aliases"], doubts) == (1, [])
    assert more_values == values
    reason = "the file has 2062 bytes; vpopmail reads nothing behind 2048 bytes"
    assert doubtful == Doubtful(2, "", Doubt.UNREAD, reason)


def test_a_line_that_passes_2048_bytes_is_read_as_far_as_it_goes() -> None:
    data = b"#".ljust(2048 - len("\nmaxaliases 1")) + b"\nmaxaliases 10\nmaxforwards 1\n"

    values, (doubtful,) = limits.parse(data)

    assert (values["max_aliases"], values["max_forwards"]) == (1, -1)
    assert (doubtful.number, doubtful.doubt) == (2, Doubt.UNREAD)


@pytest.mark.parametrize(
    "before, number", [(b"", 0), (b"maxaliases 1\n", 1), (b"maxaliases 1", 1)]
)
def test_a_nul_ends_the_file(before: bytes, number: int) -> None:
    values, (doubtful,) = limits.parse(before + b"\0maxforwards 1\n")

    assert values["max_forwards"] == -1
    reason = f"there is a NUL; vpopmail reads nothing behind {len(before)} bytes"
    assert doubtful == Doubtful(number, "", Doubt.UNREAD, reason)


def test_of_a_repeated_key_the_last_one_holds_and_the_others_are_reported() -> None:
    values, doubts = limits.parse(b"maxaliases x\nmaxaliases\t2\nmaxaliases:3\nmaxaliases\n")

    assert values["max_aliases"] == 3
    assert doubts == [
        Doubtful(1, "maxaliases x", Doubt.REPEATED, "line 2 says it again and wins"),
        Doubtful(2, "maxaliases\t2", Doubt.REPEATED, "line 3 says it again and wins"),
        Doubtful(4, "maxaliases", Doubt.NO_VALUE, "its key has no value"),
    ]


def test_a_flag_is_on_whatever_follows_it() -> None:
    values, malformed = limits.parse(b"disable_pop 0\n")

    assert (values["disable_pop"], malformed) == (True, [])


@pytest.mark.parametrize("values", [{"perm_quota": 8}, {"perm_alias": -1}, {"maxaliases": 3}])
def test_limits_that_would_not_come_back_are_not_written(values: dict[str, int | bool]) -> None:
    with pytest.raises(ValueError, match=r"unknown limits|a permission"):
        limits.render(values)
