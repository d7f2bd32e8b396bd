"""Real sites, imported and exported to an empty place: byte for byte what they were."""

import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import cdblib
import pytest

from tests.exporter.conftest import files_below
from vpopsql.exporter.apply import Applied

Importer = Callable[..., dict[str, bytes]]
Exporter = Callable[..., Applied]

# What is in a site and not ours to write.
NOT_PROJECTED = re.compile(
    r"""
    .*\.lock                                    # made when they are needed
    | /var/qmail/control/(me|default.*)         # the host's own; vpopmail never writes them
    | /home/vpopmail/etc/(lib_deps|inc_deps|tcp\.smtp|password_strength\.conf|vusagec\.conf)
    | /home/vpopmail/domains/.*/lastauth        # logins are rows, no file is read for them
    | /home/vpopmail/domains/.*/Maildir/.*
    | /home/vpopmail/domains/.*/(crew|mylist)/.*            # a mailing list's own files
    | /home/vpopmail/domains/.*/message                     # an autoresponder's text
    | /home/vpopmail/domains/example\.com/alice/[a-z-]+(\.txt)?      # alice's own files
    """,
    re.VERBOSE,
)

# Files that do not come back as they were, with the reason. May it stay empty.
DIFFERENT: dict[str, str] = {}


@pytest.mark.parametrize("name", ["base", "small"])
def test_a_site_comes_back_byte_for_byte(
    name: str, import_tree: Importer, export: Exporter, root: Path
) -> None:
    original = import_tree(name)

    applied = export()

    exported = files_below(root)
    expected = {path: data for path, data in original.items() if not NOT_PROJECTED.fullmatch(path)}
    assert exported.keys() - {"/var/qmail/users/assign.lock"} == expected.keys()
    assert [path for path in expected if exported[path] != expected[path]] == list(DIFFERENT)
    assert set(applied.changed) == expected.keys()
    assert applied.extra == ()


@pytest.mark.parametrize("name", ["base", "small"])
def test_a_second_export_changes_nothing(
    name: str, import_tree: Importer, export: Exporter
) -> None:
    import_tree(name)

    first, second = export(), export()

    assert len(first.changed) > 30
    assert second.changed == ()
    assert second.revision == first.revision > 0


def test_readable_passwords_that_were_left_out_are_the_only_difference(
    import_tree: Importer, export: Exporter, root: Path
) -> None:
    original = import_tree("small", readable_passwords=False)

    export()

    exported = files_below(root)
    different = {path for path in original.keys() & exported if exported[path] != original[path]}
    assert {path.rpartition("/")[2] for path in different} == {"vpasswd", "vpasswd.cdb"}
    vpasswd = "/home/vpopmail/domains/small.example/vpasswd"
    assert exported[vpasswd] == re.sub(rb"(?m):[^:\n]*$", b":", original[vpasswd])


def test_an_independent_reader_finds_every_domain_and_account(
    import_tree: Importer, export: Exporter, root: Path
) -> None:
    import_tree("small")
    export()

    assigned = cdblib.Reader((root / "var/qmail/users/cdb").read_bytes())
    accounts = cdblib.Reader(
        (root / "home/vpopmail/domains/crowd.example/vpasswd.cdb").read_bytes()
    )

    assert assigned.get(b"!www.multi.example-") == (
        b"multi.example\x0089\x0089\x00/home/vpopmail/domains/multi.example\x00-\x00"
    )
    assert assigned.get(b"!root\0") == b"alias\x001001\x001001\x00/var/qmail/alias\x00-\x00root"
    assert assigned.get(b"") == b"-"
    assert len(accounts) == 214
    assert (accounts.get(b"u153") or b"").split(b":")[4] == (
        b"/home/vpopmail/domains/crowd.example/0/u153"
    )


@pytest.mark.skipif(shutil.which("cdb") is None, reason="Debian's tinycdb is not installed")
@pytest.mark.parametrize(
    "file", ["var/qmail/users/cdb", "home/vpopmail/domains/north.example/vpasswd.cdb"]
)
def test_tinycdb_dumps_what_it_would_have_made(
    file: str, import_tree: Importer, export: Exporter, root: Path, tmp_path: Path
) -> None:
    import_tree("small")
    export()

    dump = subprocess.run(["cdb", "-d", root / file], check=True, capture_output=True).stdout
    subprocess.run(["cdb", "-c", tmp_path / "made"], input=dump, check=True)

    assert (tmp_path / "made").read_bytes() == (root / file).read_bytes()
