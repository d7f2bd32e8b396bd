"""What the real tools printed of a site is printed of its database, byte for byte.

tests/trees/small.truth was recorded on the machine that the tree is from; each whole domain of
vuserinfo is followed by its exit status.
"""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.compat.conftest import Site

TRUTH = Path(__file__).parent.parent / "trees/small.truth"
DOMAINS = (TRUTH / "domain-names.txt").read_text().split()


@pytest.fixture
def small(site_of: Callable[[str], Site]) -> Site:
    return site_of("small")


def recorded(kind: str, *, suffix: str = ".txt") -> dict[str, bytes]:
    return {name: (TRUTH / kind / f"{name}{suffix}").read_bytes() for name in DOMAINS}


def printed(site: Site, program: str, *options: str) -> dict[str, bytes]:
    return {name: site.run(program, *options, name).out for name in DOMAINS}


def test_accounts_are_shown_as_vuserinfo_shows_them(small: Site) -> None:
    whole = {name: small.run("vuserinfo", "-D", name) for name in DOMAINS}
    alone = (TRUTH / "users/small.example.txt").read_text().split("== ")[1:]
    addresses = [block.partition("\n")[0] for block in alone]

    assert {
        name: shown.out + b"exit %d\n" % shown.status for name, shown in whole.items()
    } == recorded("vuserinfo")
    assert [
        f"{address}\n{small.run('vuserinfo', address).out.decode()}" for address in addresses
    ] == alone


def test_domains_are_shown_as_vdominfo_vlimits_and_vipmap_show_them(small: Site) -> None:
    assert small.run("vdominfo").out == (TRUTH / "vdominfo.txt").read_bytes()
    assert printed(small, "vdominfo") == recorded("vdominfo")
    assert sorted(small.run("vdominfo", "-n").lines) == DOMAINS
    assert printed(small, "vmoddomlimits", "-S") == recorded("vlimits")
    assert small.run("vipmap", "-p").out == (TRUTH / "vipmap.txt").read_bytes()


def test_aliases_are_shown_as_valias_shows_them(small: Site) -> None:
    lines = printed(small, "valias", "-s")
    # There valias stopped at a dangling link, and says nothing of what comes after it.
    before, _, after = lines["catch.example"].partition(b"crew-owner@catch.example")
    lines["catch.example"] = before

    assert lines == recorded("valias")
    assert after.splitlines()[-1].endswith(b" -> |/usr/local/bin/ticket --queue new")
    assert printed(small, "valias", "-n") == recorded("valias", suffix=".names.txt")
    assert printed(small, "valias") == printed(small, "valias", "-s")
