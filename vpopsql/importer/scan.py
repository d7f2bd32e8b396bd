"""Reading a whole site of vpopmail's cdb build: a vpopmail directory and a qmail directory.

The domains are those of ``users/assign``. Paths inside the data stay as they are; to read a file,
the site's own name for vpopmail's home is replaced by the directory that the user named.
"""

import ipaddress
from dataclasses import dataclass
from pathlib import Path

from vpopsql import names
from vpopsql.errors import ImportFailed
from vpopsql.importer import site
from vpopsql.importer.codes import Code
from vpopsql.importer.directory import Directory, Places, components, relative_to
from vpopsql.importer.domain import DomainReader, Head
from vpopsql.importer.evidence import Evidence
from vpopsql.importer.files import (
    COUNTER,
    FREE_BUCKETS,
    LOCK,
    enter_if_there,
    read_counter,
    read_limits,
)
from vpopsql.importer.homes import Homes
from vpopsql.importer.shared_files import Assigned, SharedFiles, open_lines
from vpopsql.qmail import control, ipmap
from vpopsql.qmail.lines import Comment, Malformed

_OURS_IN_QMAIL = {
    "users": {"assign", "cdb", "assign.cdb"},
    "control": {"rcpthosts", "morercpthosts", "morercpthosts.cdb", "virtualdomains", "locals"},
}
_OURS_IN_ETC = {"ip_alias_map", "vlimits.default", "defaultdomain"}


@dataclass(frozen=True, slots=True)
class Source:
    """What to import, and how to understand it.

    ``vpopmail`` and ``qmail`` are the real directories; ``vpopmail_dir`` (unless the data tell
    otherwise) and ``qmail_dir`` are what they are called in the data. ``root`` stands before
    directories of domains that are elsewhere.
    """

    vpopmail: Path
    qmail: Path
    vpopmail_dir: str = "/home/vpopmail"
    qmail_dir: str = "/var/qmail"
    root: str = ""
    store_clear_text: bool = False


def scan(source: Source, evidence: Evidence) -> site.Site:
    """Return what the site holds; everything else about it is in ``evidence``.

    :raises ImportFailed: one of the two directories cannot be opened.
    """
    with _named(source.vpopmail) as vpopmail, _named(source.qmail) as qmail:
        shared = SharedFiles(qmail, evidence)
        assigned = shared.read_assign()
        in_more = shared.read_control(set(assigned.resolved()))
        vpopmail_dir = assigned.vpopmail_dir() or source.vpopmail_dir
        if vpopmail_dir != source.vpopmail_dir:
            reason = f"most domains are in {vpopmail_dir}/domains, not in {source.vpopmail_dir}"
            evidence.find(Code.OTHER_HOME, assigned.place, 0, vpopmail_dir, reason)
        reader = DomainReader(
            Places(vpopmail, vpopmail_dir, source.root),
            Homes({line.directory: name for name, line in assigned.real.items()}, vpopmail_dir),
            evidence,
            store_clear_text=source.store_clear_text,
        )
        domains = map(reader.read, _heads(assigned, in_more))
        found = site.Site(
            vpopmail_dir=vpopmail_dir,
            qmail_dir=source.qmail_dir,
            domains=tuple(domain for domain in domains if domain is not None),
            foreign_lines=shared.foreign,
            ip_mappings=_ip_mappings(vpopmail, assigned, evidence),
            default_limits=_default_limits(vpopmail, evidence),
            counter=_counter(vpopmail, evidence),
            default_domain=_default_domain(vpopmail, evidence),
        )
        _leave_rest(vpopmail, qmail, _below_domains(assigned, vpopmail_dir), evidence)
        return found


def _named(path: Path) -> Directory:
    try:
        # Packages and administrators put these elsewhere, such as control in /etc/qmail.
        return Directory.open(str(path), links=("control", "users", "domains", "etc"))
    except OSError as error:
        raise ImportFailed(f"cannot open {path}: {error.strerror}") from error


def _heads(assigned: Assigned, in_more: set[str]) -> list[Head]:
    """Return what is known of each domain before its directory is read, in name order."""
    aliases: dict[str, list[site.Name]] = {name: [] for name in assigned.real}
    for alias, name in assigned.aliases.items():
        aliases[name].append(site.Name(alias, alias in in_more))
    return [
        Head(
            name=site.Name(name, name in in_more),
            aliases=tuple(sorted(aliases[name])),
            directory=line.directory,
            uid=line.uid,
            gid=line.gid,
        )
        for name, line in sorted(assigned.real.items())
    ]


def _ip_mappings(vpopmail: Directory, assigned: Assigned, evidence: Evidence) -> dict[str, str]:
    """Return the real domain that each address is mapped to."""
    lines = open_lines(evidence, vpopmail, "etc/ip_alias_map")
    if lines is None:
        return {}
    known = assigned.resolved()
    mappings: dict[str, str] = {}
    for record in ipmap.parse(lines.data):
        if isinstance(record, Malformed):
            lines.malformed(record)
            continue
        if isinstance(record, Comment):
            lines.tally.blank += 1
            continue
        domain = known.get(names.lower(record.domain))
        address = str(ipaddress.ip_address(record.address))
        if domain is None:
            reason = f"{record.domain} is no domain of the site"
            lines.reject(Code.UNKNOWN_DOMAIN, record.number, reason)
        elif address in mappings:
            reason = f"{address} is mapped to {mappings[address]} before"
            lines.merge(Code.DUPLICATE, record.number, reason)
        else:
            mappings[address] = domain
            lines.own(record.number, domain, f"{address} {domain}")
    return mappings


def _default_limits(vpopmail: Directory, evidence: Evidence) -> site.Limits | None:
    etc = enter_if_there(evidence, vpopmail, "etc")
    if etc is None:
        return None
    with etc:
        name = "vlimits.default"
        return read_limits(evidence, etc, name) if name in etc.names() else None


def _counter(vpopmail: Directory, evidence: Evidence) -> site.Counter | None:
    domains = enter_if_there(evidence, vpopmail, "domains")
    if domains is None:
        return None
    with domains:
        return read_counter(evidence, domains, domains.names())


def _default_domain(vpopmail: Directory, evidence: Evidence) -> str | None:
    lines = open_lines(evidence, vpopmail, "etc/defaultdomain")
    if lines is None:
        return None
    name = control.parse_single(lines.data)
    is_name = names.is_domain_name(name) and "" not in name.split(".")
    for number, text in enumerate(lines.raw, 1):
        if number == 1 and name and not is_name:
            lines.merge(Code.ODD_DEFAULT_DOMAIN, number, "it is no name of a domain")
        elif number == 1:
            lines.tally.imported += 1
        elif text.strip():
            lines.merge(Code.TRAILING_TEXT, number, "only the first line counts")
        else:
            lines.tally.blank += 1
    return name if is_name else None


# --- what stays where it is -------------------------------------------------------------------


def _below_domains(assigned: Assigned, vpopmail_dir: str) -> set[str]:
    """Return the domains' directories as seen from the directory that holds them all."""
    paths = (
        relative_to(line.directory, f"{vpopmail_dir}/domains") for line in assigned.real.values()
    )
    return {"/".join(components(path)) for path in paths if path}


def _leave_rest(
    vpopmail: Directory, qmail: Directory, domains: set[str], evidence: Evidence
) -> None:
    """List everything outside the domains' own directories that is not imported."""
    for folder, ours in _OURS_IN_QMAIL.items():
        _leave(evidence, qmail, folder, ours, "qmail's own")
    _leave(evidence, vpopmail, "etc", _OURS_IN_ETC, "in vpopmail's etc")
    buckets = {path[:cut] for path in domains for cut in range(len(path)) if path[cut] == "/"}
    for bucket in ("", *sorted(buckets)):
        above = f"{bucket}/" if bucket else ""
        ours = {path.removeprefix(above) for path in domains | buckets if path.startswith(above)}
        ours = ours if bucket else ours | {COUNTER, FREE_BUCKETS}
        _leave(evidence, vpopmail, f"domains/{bucket}", ours, "in the domains directory")
    for name in vpopmail.names() - {"etc", "domains"}:
        evidence.leave("vpopmail's own", f"{vpopmail.shown}/{name}")
    users = enter_if_there(evidence, vpopmail, "users")
    if users is not None:
        with users:
            if users.has_file("vpasswd"):
                reason = "there are accounts that belong to no domain"
                evidence.find(Code.NO_DOMAIN_USERS, f"{users.shown}/vpasswd", 0, "", reason)


def _leave(evidence: Evidence, base: Directory, folder: str, ours: set[str], what: str) -> None:
    directory = enter_if_there(evidence, base, folder)
    if directory is None:
        return
    with directory:
        for name in directory.names() - ours:
            derived = name.endswith(LOCK)
            evidence.leave(
                "made anew by the export" if derived else what, f"{directory.shown}/{name}"
            )
