"""A vpopmail site of any size, as the cdb build leaves it on disk.

Modelled on the samples below tests/trees, which real tools made: the same files, directories
spread over buckets of a hundred, locks left lying about. Nobody has mail.
"""

import string
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from scripts.benchmarks.yardstick import crypt
from vpopsql.qmail import assign, control, dircontrol, dotqmail, vpasswd

HOME = "/home/vpopmail"
PASSWORD = "correct horse"  # noqa: S105 - of every mailbox of the site
PER_BUCKET = 100
"""Directories in one directory before vpopmail starts the next."""

RCPTHOSTS_MAX = 50
"""Domains in rcpthosts; vpopmail writes the others to morercpthosts."""

_DIGITS = string.digits + string.ascii_uppercase + string.ascii_lowercase
_SYSTEM_ADMINISTRATOR = 0x10000
_SCHEMES = {"md5": "$1$", "sha512": "$6$"}
_CATCH_ALL = f"| {HOME}/bin/vdelivermail '' bounce-no-mailbox"


@dataclass(frozen=True, slots=True)
class Domain:
    """A domain whose mailboxes are ``postmaster``, a system administrator, and users."""

    name: str
    users: int = 0
    scheme: str = "md5"

    @property
    def names(self) -> list[str]:
        """Return its mailboxes in the order of its vpasswd."""
        return ["postmaster", *(f"user{number:07}" for number in range(1, self.users))]

    @property
    def addresses(self) -> list[str]:
        """Return the addresses of its mailboxes."""
        return [f"{name}@{self.name}" for name in self.names]


@dataclass(frozen=True, slots=True)
class Site:
    """A site on disk."""

    directory: Path
    domains: tuple[Domain, ...]

    @property
    def vpopmail(self) -> Path:
        """Return what would be vpopmail's home."""
        return self.directory / "vpopmail"

    @property
    def qmail(self) -> Path:
        """Return what would be /var/qmail."""
        return self.directory / "qmail"

    @property
    def main(self) -> Domain:
        """Return the domain that the workloads are about."""
        return self.domains[0]

    @property
    def mailboxes(self) -> int:
        """Return how many mailboxes there are."""
        return sum(len(domain.names) for domain in self.domains)


def users_site(directory: Path, users: int) -> Site:
    """Make a site with one domain of ``users`` mailboxes, and a small one of SHA512 hashes."""
    return _make(
        Site(
            directory,
            (Domain("bench.example", users), Domain("sha512.example", 100, "sha512")),
        )
    )


def domains_site(directory: Path, domains: int) -> Site:
    """Make a site of ``domains`` domains with nobody but a postmaster in them."""
    return _make(Site(directory, tuple(Domain(f"d{n:07}.example") for n in range(domains))))


def _make(site: Site) -> Site:
    domains = site.vpopmail / "domains"
    domains.mkdir(parents=True)
    homes = dict(zip(site.domains, _spread(len(site.domains)), strict=True))
    for domain, home in homes.items():
        _make_domain(domains / home / domain.name, domain, f"{HOME}/domains/{home}{domain.name}")
    (domains / ".dir-control").write_bytes(_counter(len(site.domains)))
    (site.vpopmail / "etc").mkdir()
    _make_qmail(
        site.qmail,
        [domain.name for domain in site.domains],
        [
            assign.domain_line(
                domain.name, domain.name, 89, 89, f"{HOME}/domains/{home}{domain.name}"
            )
            for domain, home in homes.items()
        ],
    )
    return site


def _make_qmail(directory: Path, names: list[str], lines: list[str]) -> None:
    users, settings = directory / "users", directory / "control"
    users.mkdir(parents=True)
    settings.mkdir()
    (users / "assign").write_bytes(assign.render(lines))
    (users / "cdb").write_bytes(assign.compile_cdb(lines))
    (settings / "me").write_text("mail.bench.example\n")
    (settings / "locals").write_text("localhost\n")
    (settings / "virtualdomains").write_text("".join(f"{name}:{name}\n" for name in names))
    (settings / "rcpthosts").write_bytes(control.render_hosts(names[:RCPTHOSTS_MAX]))
    if more := names[RCPTHOSTS_MAX:]:
        (settings / "morercpthosts").write_bytes(control.render_hosts(more))
        (settings / "morercpthosts.cdb").write_bytes(control.compile_morercpthosts(more))


def _make_domain(directory: Path, domain: Domain, recorded: str) -> None:
    """:param recorded: the directory as vpopmail writes it."""
    directory.mkdir(parents=True)
    lines = []
    for number, (name, bucket) in enumerate(
        zip(domain.names, _spread(len(domain.names)), strict=True)
    ):
        _make_mailbox(directory / bucket / name)
        lines.append(
            vpasswd.render_line(
                vpasswd.VpasswdLine(
                    number=number + 1,
                    name=name,
                    password_hash=crypt(PASSWORD, f"{_SCHEMES[domain.scheme]}{number:08}$"),
                    apop_uid=1,
                    flags=_SYSTEM_ADMINISTRATOR if name == "postmaster" else 0,
                    comment=f"Mailbox {number}",
                    directory=f"{recorded}/{bucket}{name}",
                    quota_text="52428800S,1000C" if number % 2 else "NOQUOTA",
                )
            )
        )
    (directory / "vpasswd").write_bytes(vpasswd.render(lines))
    (directory / "vpasswd.cdb").write_bytes(vpasswd.compile_cdb(lines))
    (directory / ".vpasswd.lock").touch()
    (directory / ".dir-control").write_bytes(_counter(len(lines)))
    (directory / dotqmail.filename_for("default")).write_text(_CATCH_ALL + "\n")


def _make_mailbox(directory: Path) -> None:
    for name in ("cur", "new", "tmp"):
        (directory / "Maildir" / name).mkdir(parents=True)
    (directory / "lastauth").write_text("127.0.0.1")


def _spread(count: int) -> Iterator[str]:
    """Give ``count`` buckets: none for the first hundred, then ``0/`` to ``z/``, ``0/0/`` ..."""
    for number in range(count):
        yield _bucket(number // PER_BUCKET)


def _bucket(number: int) -> str:
    path = ""
    while number:
        number, digit = divmod(number - 1, len(_DIGITS))
        path = f"{_DIGITS[digit]}/{path}"
    return path


def _counter(count: int) -> bytes:
    return dircontrol.render(dircontrol.DirControl(cur_users=count))
