"""Places of the tree `base`, and lines to damage it with."""

from collections.abc import Callable
from pathlib import Path

from vpopsql.importer import site
from vpopsql.importer.codes import Code
from vpopsql.importer.evidence import Evidence, Finding

Unpack = Callable[[str], Path]

DOMAINS = "home/vpopmail/domains"
DOMAIN = f"{DOMAINS}/example.com"
VPASSWD = f"{DOMAIN}/vpasswd"
HOME = b"/home/vpopmail/domains/example.com"
TEST = b"/home/vpopmail/domains/test.com"


def domain_line(name: bytes, real: bytes, directory: bytes, ids: bytes = b"89:89") -> bytes:
    return b"+" + name + b"-:" + real + b":" + ids + b":" + directory + b":-::\n"


def user_line(name: bytes, directory: bytes = HOME + b"/x", ids: bytes = b"1:0") -> bytes:
    return name + b":*:" + ids + b":comment:" + directory + b":NOQUOTA:secret\n"


def insert_second(path: Path, line: bytes) -> int:
    """Put ``line`` behind the first line of a file, or into a new one; return its number."""
    first, newline, rest = (path.read_bytes() if path.exists() else b"").partition(b"\n")
    path.write_bytes(first + newline + line + rest)
    return 2 if newline else 1


def mailboxes(found: site.Site) -> dict[str, site.Mailbox]:
    """Return the accounts of example.com by name."""
    (domain,) = [domain for domain in found.domains if domain.name.name == "example.com"]
    return {mailbox.name: mailbox for mailbox in domain.mailboxes}


def of(evidence: Evidence, *codes: Code) -> list[Finding]:
    return [finding for finding in evidence.findings if finding.code in codes]
