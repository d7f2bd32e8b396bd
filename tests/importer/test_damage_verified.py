"""A site with all that can be imported with a warning: imported, and verified line by line."""

from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from tests.importer.damage import DOMAIN, DOMAINS, HOME, VPASSWD, Unpack, user_line
from vpopsql.cli import cli
from vpopsql.qmail import vpasswd
from vpopsql.qmail.lines import decode


def run(database_url: str, *arguments: str) -> Result:
    environment = {
        "VPOPSQL_DATABASE_URL": database_url,
        "VPOPSQL_PASSWORDS_STORE_CLEAR_TEXT": "true",
    }
    return CliRunner().invoke(cli, ["import", *arguments], env=environment)


def wreck(root: Path) -> None:
    """Damage what is in the domains' directories in every way that is no reject."""
    path = root / VPASSWD
    first, *others = path.read_bytes().splitlines(keepends=True)
    odd = [
        user_line(b"Upper", HOME + b"//upper/"),
        user_line(b"long").replace(b"comment", b"\xff" * 300),
        user_line(b"quota").replace(b"NOQUOTA", b"10G,5M"),
        user_line(b"hash").replace(b":*:", b":?:"),
        user_line(b"outside", b"/home/vpopmail/outside", b"2:16777216"),
    ]
    path.write_bytes(b"".join([*others, b"\n", *odd, first])[:-3])
    lines = [first.replace(b":1:0:", b":1:2:"), *others[1:], user_line(b"only")]
    (root / f"{VPASSWD}.cdb").write_bytes(
        vpasswd.compile_cdb(decode(line).rstrip("\n") for line in lines)
    )
    (root / DOMAINS / "empty.org/vpasswd").unlink()
    (root / DOMAINS / "test.com/vpasswd").write_bytes(b"")
    (root / DOMAINS / "limited.net/vpasswd.cdb").write_bytes(b"")
    (root / DOMAINS / "example.company/vpasswd.cdb").unlink()
    (root / DOMAINS / "limited.net/.dir-control").write_bytes(b"no counter")
    (root / DOMAINS / "example.company/.dir-control").write_bytes(
        (root / DOMAIN / ".dir-control").read_bytes()
    )
    (root / DOMAINS / "limited.net/.qmailadmin-limits").write_bytes(
        b"maxaliases\nquota 5x\nperm_quota 273\nunknown 1\nquota 6\n\0maxforwards 1\n"
    )
    (root / DOMAIN / "alice").rename(root / DOMAIN / "orphan")
    (root / DOMAIN / "bob").chmod(0o1777)
    (root / DOMAIN / ".qmail-lost").symlink_to("nowhere")
    (root / DOMAIN / ".qmail-mylist").unlink()
    (root / DOMAIN / ".qmail-robot").write_bytes(
        b"|/usr/bin/autorespond 1 1 %b/ROBOT/message %b/ROBOT\n./Maildir/\n" % (HOME, HOME)
    )


@pytest.mark.parametrize("prefer", ["vpasswd", "cdb"])
def test_a_wrecked_site_is_imported_and_verified(
    database_url: str, unpack: Unpack, prefer: str
) -> None:
    root = unpack("base")
    wreck(root)
    places = ("--vpopmail", f"{root}/home/vpopmail", "--qmail", f"{root}/var/qmail")

    applied = run(database_url, "tree", *places, "--prefer", prefer, "--apply")
    verified = run(database_url, "verify")

    assert applied.exit_code == 1, applied.output
    assert "Every line is accounted for" in applied.output
    assert verified.exit_code == 0, verified.output
    assert "Nothing differs that is not explained" in verified.output
