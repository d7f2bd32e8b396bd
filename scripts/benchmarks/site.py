"""The sites that the workloads are about: their names and passwords are known to the driver."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from scripts.libcrypt import crypt
from scripts.sites import shape
from scripts.sites.tree import Tree, write_tree
from vpopsql.model import Flag

PASSWORD = "correct horse"  # noqa: S105 - of every mailbox of the site

_SCHEMES = {"md5": "$1$", "sha512": "$6$"}
_CATCH_ALL = f"| {shape.HOME}/bin/vdelivermail '' bounce-no-mailbox"
_LOGIN_AT = 1_790_000_000


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


def changes_site(directory: Path, users: int) -> Site:
    """Make a site of domains to be changed, with nobody but a postmaster, 1,000 and ``users``."""
    sizes = {"empty.example": 1, "middle.example": 1_000, "large.example": users}
    return _make(Site(directory, tuple(Domain(name, size) for name, size in sizes.items())))


def _make(site: Site) -> Site:
    heads = tuple(
        shape.Head(domain.name, f"{shape.HOME}/domains/{shape.bucket(number)}{domain.name}")
        for number, domain in enumerate(site.domains, 1)
    )
    frame = shape.Frame(heads, shape.counter(len(heads), len(heads)))
    details = map(_details, site.domains, heads)
    write_tree(Tree(site.directory), frame, details)
    return site


def _details(domain: Domain, head: shape.Head) -> shape.Domain:
    count = len(domain.names)
    return shape.Domain(
        name=domain.name,
        directory=head.directory,
        mailboxes=tuple(_mailboxes(domain, head.directory)),
        catchall=(_CATCH_ALL,),
        counter=shape.counter(count, count),
    )


def _mailboxes(domain: Domain, directory: str) -> Iterator[shape.Mailbox]:
    for number, name in enumerate(domain.names):
        setting = f"{_SCHEMES[domain.scheme]}{number:08}$"
        yield shape.Mailbox(
            name=name,
            password_hash=crypt(PASSWORD.encode(), setting.encode()).decode("ascii"),
            directory=f"{directory}/{shape.bucket(number + 1)}{name}",
            flags=Flag.SA_ADMIN.value if name == "postmaster" else 0,
            comment=f"Mailbox {number}",
            quota_text="52428800S,1000C" if number % 2 else "NOQUOTA",
            login=shape.Login("127.0.0.1", _LOGIN_AT),
        )
