"""Which files there are, how each is compared, and what it means when one is not right."""

from dataclasses import dataclass, replace

from vpopsql.exporter import render
from vpopsql.exporter.drift import content
from vpopsql.exporter.drift.codes import Code
from vpopsql.exporter.snapshot import Part

IP_MAP = "ip_alias_map"
DEFAULT_LIMITS = "vlimits.default"


@dataclass(frozen=True, slots=True)
class Kind:
    """What there is to know about one kind of file."""

    compare: content.Compare
    missing: Code
    differs: Code
    extra: Code
    """There should be none."""
    part: Part = Part(0)  # noqa: RUF009 - a flag without a bit
    """What it is written together with, in a domain."""

    @property
    def is_dotqmail(self) -> bool:
        """Whether qmail is strict about who may write it."""
        return self.compare is content.dot_qmail


def _control(compare: content.Compare, missing: Code = Code.CONTROL_MISSING) -> Kind:
    return Kind(compare, missing, Code.CONTROL_DIFFERS, Code.CONTROL_DIFFERS)


def _text(compare: content.Compare, part: Part = Part(0)) -> Kind:  # noqa: B008 - no bit
    return Kind(compare, Code.TEXT_MISSING, Code.TEXT_DIFFERS, Code.TEXT_DIFFERS, part)


def _cdb(compare: content.Compare, part: Part = Part(0)) -> Kind:  # noqa: B008 - no bit
    return Kind(compare, Code.CDB_MISSING, Code.CDB_DIFFERS, Code.CDB_DIFFERS, part)


def _of_accounts(kind: Kind) -> Kind:
    return replace(kind, extra=Code.ACCOUNTS_EXTRA)


def _settings(compare: content.Compare, part: Part = Part(0)) -> Kind:  # noqa: B008 - no bit
    return Kind(compare, Code.SETTINGS_MISSING, Code.SETTINGS_DIFFER, Code.SETTINGS_EXTRA, part)


_QMAIL = {
    render.RCPTHOSTS: _control(content.hosts, Code.NO_RCPTHOSTS),
    render.VIRTUALDOMAINS: _control(content.virtualdomains),
    render.LOCALS: _control(content.hosts),
    render.MORERCPTHOSTS: _text(content.hosts),
    f"{render.MORERCPTHOSTS}.cdb": _cdb(content.hosts_cdb),
    render.ASSIGN: _text(content.assignments),
}
_USERS_CDB = _cdb(content.users_cdb)

VPOPMAIL = {
    IP_MAP: _settings(content.ip_map),
    DEFAULT_LIMITS: _settings(content.limit_settings),
    render.DIR_CONTROL: _settings(content.counter),
    render.FREE_BUCKETS: _settings(content.free_buckets),
}
"""The files below vpopmail's home that belong to no domain, by name."""

_DOMAIN = {
    "vpasswd": _of_accounts(_text(content.accounts, Part.ACCOUNTS)),
    "vpasswd.cdb": _of_accounts(_cdb(content.accounts_cdb, Part.ACCOUNTS)),
    render.DIR_CONTROL: _settings(content.counter, Part.ACCOUNTS),
    render.FREE_BUCKETS: _settings(content.free_buckets, Part.ACCOUNTS),
    render.LIMITS: _settings(content.limit_settings, Part.LIMITS),
}
_DOT_QMAIL = Kind(
    content.dot_qmail,
    Code.DOTQMAIL_MISSING,
    Code.DOTQMAIL_DIFFERS,
    Code.DOTQMAIL_EXTRA,
    Part.DOTQMAIL,
)


def of_site_file(path: str, qmail: str) -> Kind:
    """Return the kind of a file that an export of the whole site writes.

    :param qmail: qmail's home.
    """
    below = path.removeprefix(f"{qmail}/")
    if below != path:
        return _QMAIL.get(below, _USERS_CDB)
    return VPOPMAIL[path.rpartition("/")[2]]


def of_domain_file(name: str) -> Kind | None:
    """Return the kind of a file in the directory of a domain; None if it is none of ours."""
    return _DOT_QMAIL if render.is_dotqmail(name) else _DOMAIN.get(name)
