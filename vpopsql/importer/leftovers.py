"""What a site has outside its domains' own directories, and stays where it is.

Nothing of it is imported, so all of it is listed; what may be a domain that ``users/assign`` has
lost is a finding.
"""

import string
from collections import defaultdict
from collections.abc import Iterable

from vpopsql import names
from vpopsql.directory import Directory, SymbolicLink, components
from vpopsql.importer.account_files import VPASSWD, VPASSWD_CDB
from vpopsql.importer.codes import Code
from vpopsql.importer.evidence import Evidence
from vpopsql.importer.files import COUNTER, FREE_BUCKETS, LOCK, enter_if_there
from vpopsql.qmail import dotqmail
from vpopsql.qmail.lines import split_lines

_OURS_IN_QMAIL = {
    "users": {"assign", "cdb", "assign.cdb"},
    "control": {"rcpthosts", "morercpthosts", "morercpthosts.cdb", "virtualdomains", "locals"},
}
_OURS_IN_ETC = {"ip_alias_map", "vlimits.default", "defaultdomain"}
_OURS_IN_DOMAINS = {COUNTER, FREE_BUCKETS}
_MARKS_OF_A_DOMAIN = (VPASSWD, VPASSWD_CDB, dotqmail.DEFAULT_FILE)
_BUCKETS = set(string.digits + string.ascii_letters)
_BUCKET_LEVELS = 3


def leave_in_qmail(qmail: Directory, evidence: Evidence) -> None:
    """List what is in qmail's directories and not of vpopmail's making."""
    for folder, ours in _OURS_IN_QMAIL.items():
        _leave(evidence, qmail, folder, ours, "qmail's own")


def leave_in_vpopmail(vpopmail: Directory, domains: Iterable[str], evidence: Evidence) -> None:
    """List what is in vpopmail's home and outside the directories of its domains.

    :param domains: the paths of those as seen from ``domains``.
    """
    _leave(evidence, vpopmail, "etc", _OURS_IN_ETC, "in vpopmail's etc")
    _Domains(vpopmail, domains, evidence).leave()
    for name in vpopmail.names() - {"etc", "domains"}:
        evidence.leave("vpopmail's own", f"{vpopmail.shown}/{name}")
    users = enter_if_there(evidence, vpopmail, "users")
    if users is not None:
        with users:
            if users.has_file(VPASSWD):
                reason = "there are accounts that belong to no domain"
                evidence.find(Code.NO_DOMAIN_USERS, f"{users.shown}/{VPASSWD}", 0, "", reason)


class _Domains:
    """The directory that holds those of the domains, with its buckets."""

    def __init__(self, vpopmail: Directory, domains: Iterable[str], evidence: Evidence) -> None:
        self._vpopmail = vpopmail
        self._evidence = evidence
        self._known: defaultdict[str, set[str]] = defaultdict(set, {"": set(_OURS_IN_DOMAINS)})
        """What is known to be in each directory."""
        for path in domains:
            *buckets, name = components(path)
            for depth, bucket in enumerate(buckets):
                self._known["/".join(buckets[:depth])].add(bucket)
            self._known["/".join(buckets)].add(name)

    def leave(self) -> None:
        """List what is there and not known, and report what may be a domain."""
        for path, known in sorted(self._known.items()):
            directory = enter_if_there(self._evidence, self._vpopmail, f"domains/{path}")
            if directory is None:
                continue
            with directory:
                depth = len(components(path))
                for name in sorted(directory.names() - known):
                    derived = name.endswith(LOCK)
                    what = "made anew by the export" if derived else "in the domains directory"
                    self._evidence.leave(what, f"{directory.shown}/{name}")
                    self._find_lost(directory, name, depth)

    def _find_lost(self, parent: Directory, name: str, depth: int) -> None:
        """Report what may be a domain: ``name`` itself, or what is in it if it is a bucket.

        :param depth: of the parent, in buckets.
        """
        try:
            directory = parent.enter(name)
        except SymbolicLink:
            if names.is_domain_name(name):
                reason = "a link, meant as an alias domain perhaps, and users/assign has no line"
                text = f"-> {parent.link_target(name)}"
                self._evidence.find(Code.ORPHAN_DOMAIN, f"{parent.shown}/{name}", 0, text, reason)
            return
        except OSError:
            return  # a file, or what may not be read: it is listed
        with directory:
            inside = directory.names()
            if not inside.isdisjoint(_MARKS_OF_A_DOMAIN):
                reason = f"users/assign has no line for {name}: {_accounts(directory, inside)}"
                self._evidence.find(Code.ORPHAN_DOMAIN, directory.shown, 0, "", reason)
            elif name in _BUCKETS and depth < _BUCKET_LEVELS:
                for each in sorted(inside):
                    self._find_lost(directory, each, depth + 1)


def _accounts(directory: Directory, inside: set[str]) -> str:
    """Say how many accounts a lost domain has, as far as that can be told quickly."""
    try:
        if VPASSWD in inside:
            return f"its vpasswd has {len(split_lines(directory.read(VPASSWD)))} lines"
    except OSError:
        pass
    return "how many accounts it has is not known"


def _leave(evidence: Evidence, base: Directory, folder: str, ours: set[str], what: str) -> None:
    directory = enter_if_there(evidence, base, folder)
    if directory is None:
        return
    with directory:
        for name in sorted(directory.names() - ours):
            derived = name.endswith(LOCK)
            evidence.leave(
                "made anew by the export" if derived else what, f"{directory.shown}/{name}"
            )
