"""Damage of limits files and directory counters."""

from tests.importer import support
from tests.importer.damage import DOMAIN, Unpack
from vpopsql.importer.codes import Severity


def test_a_damaged_counter_is_named_with_its_line(unpack: Unpack) -> None:
    root = unpack("base")
    counter = root / DOMAIN / ".dir-control"
    counter.write_bytes(b"5\n0\nthree\n0 0 0\n61 61 61\n0 2 2\n0 0 0\n\n")

    _, evidence = support.read(root)

    assert [finding.place for finding in evidence.of(Severity.REJECT)] == [f"{counter}:3"]


def test_a_setting_said_twice_is_named(unpack: Unpack) -> None:
    root = unpack("base")
    limits = root / "home/vpopmail/domains/limited.net/.qmailadmin-limits"
    limits.write_bytes(b"maxaliases: 1\nmaxaliases: 2\n")

    assert [found.place for found in support.findings(root, "duplicate")] == [f"{limits}:1"]
