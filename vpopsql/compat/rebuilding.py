"""``vmkpasswd`` and ``vconvert``: password files made anew of the database."""

from typing import TYPE_CHECKING

from vpopsql.compat.options import Given, Option, WrongUsage
from vpopsql.compat.program import Program

if TYPE_CHECKING:
    from vpopsql.compat.site import Site

_ONE_BY_ONE = "add such accounts with `vadduser -e HASH`, which takes crypt(3) hashes as they are"


def _rebuild(site: "Site", names: tuple[str, ...]) -> None:
    """Write vpasswd and its cdb of some domains, or of all. :raises NoSuchDomain: for one."""
    from vpopsql.compat.site import domain_name
    from vpopsql.errors import ExportFailed
    from vpopsql.services import domains
    from vpopsql.touched import Touched

    if not site.config.export.has_accounts:
        raise ExportFailed('no vpasswd is written where export.accounts is "database"')
    with site.reader() as session:
        if names:
            found = {domains.get_domain(session, domain_name(name)).name for name in names}
        else:
            found = {real for real, _ in domains.list_domains(session)}
    site.follow(Touched(accounts=found))


def _make_cdb(site: "Site", given: Given) -> None:
    _rebuild(site, given.words)


vmkpasswd = Program(
    "vmkpasswd",
    "domain",
    "Write vpasswd and vpasswd.cdb of a domain anew, as the database says.",
    _make_cdb,
)


def _check(given: Given) -> None:
    if "c" not in given:
        raise WrongUsage("what to convert to is missing")


def _convert(site: "Site", given: Given) -> None:
    _rebuild(site, given.words)


vconvert = Program(
    "vconvert",
    "-c [domain...]",
    "Write the accounts of the database, which are the truth, into the vpasswd and vpasswd.cdb of"
    " the domains that are named, or of all.",
    _convert,
    (
        Option("c", "From the database to vpasswd and vpasswd.cdb."),
        Option(
            "m",
            "",
            refused="accounts are in the database already; `vpopsql import tree` brings in those"
            " of a site that has them in files",
        ),
        Option("e", "", refused=f"/etc/passwd is not read; {_ONE_BY_ONE}"),
        Option("p", "", "file", refused=f"passwd files are not read; {_ONE_BY_ONE}"),
        Option(
            "S",
            "",
            refused="password files of sqwebmail are not written; let it ask the database or the"
            " daemon",
        ),
    ),
    (0, 10_000),
    _check,
)
