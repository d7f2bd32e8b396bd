"""What the reports on domains answer, every column of it."""

import pytest

from tests.reports.conftest import Ask, ago

pytestmark = pytest.mark.usefixtures("domains")

MEBIBYTE = 1024 * 1024


def test_domain_limits_lists_who_is_near_or_over(ask: Ask) -> None:
    assert ask("domain-limits") == [
        ("a-b.com", "max_popaccounts", 2, 3, 150.0, "domain", True),
        ("a-b.com", "max_mailinglists", 1, 1, 100.0, "domain", False),
        ("a-b.com", "disk_quota", MEBIBYTE, 943_718, 90.0, "domain", False),
        ("a.b.com", "max_popaccounts", 0, 1, None, "default", True),
    ]


def test_domain_limits_shows_all_that_are_limited_at_no_percent(ask: Ask) -> None:
    assert ask("domain-limits", threshold=0, domain="c.com") == [
        ("c.com", "max_msgcount", 50, None, None, "default", None),
        ("c.com", "max_popaccounts", 0, 0, None, "default", False),
    ]


def test_domain_overview_is_one_line_for_a_domain(ask: Ask) -> None:
    assert ask("domain-overview", limit=2) == [
        ("a-b.com", 2, 3, 2, 1, 1, 1, "directory", 943_718, 1, MEBIBYTE, 1_800_000, 1, ago(10),
         ago(3)),
        ("a.b.com", 0, 1, 0, 0, 0, 0, "address", None, None, None, 0, 1, None, None),
    ]  # fmt: skip


def test_quota_overcommit_compares_what_is_promised_with_what_is_there(ask: Ask) -> None:
    assert ask("quota-overcommit", limit=2) == [
        ("a-b.com", MEBIBYTE, 1_800_000, 1, 943_718, 1.72),
        ("a.b.com", None, 0, 1, None, None),
    ]


def test_catchall_looks_whether_its_target_is_there(ask: Ask) -> None:
    assert ask("catchall") == [
        ("a-b.com", "directory", "/home/vpopmail/domains/a-b.com/info/", True, True),
        ("a.b.com", "address", "info@X.org", True, True),
        ("c.com", "address", "who@elsewhere.net", None, None),
        ("d.com", "address", "nobody@x.org", False, None),
    ]


def test_the_ip_map_is_listed(ask: Ask) -> None:
    assert ask("ip-map") == [("192.0.2.80", "a.b.com", 4)]


def test_alias_domains_are_listed(ask: Ask) -> None:
    assert ask("alias-domains") == [("x.org", "a-b.com"), ("y.org", "a-b.com")]


def test_names_that_clash_are_listed_once(ask: Ask) -> None:
    assert ask("name-clashes") == [
        ("dotqmail", "a-b.com", "sales.eu@a-b.com", "sales:eu@a-b.com"),
        ("table", "a-b.com", "a-b.com", "a.b.com"),
    ]
