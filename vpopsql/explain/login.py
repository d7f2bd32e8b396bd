"""Who may log in to a mailbox, by which service, and what says so."""

from sqlalchemy.orm import Session

from vpopsql import passwords
from vpopsql.config import Paths
from vpopsql.explain import rows
from vpopsql.explain.claims import Claim, Contains, HasAccount
from vpopsql.explain.node import Node
from vpopsql.explain.result import Account, Limits, Login
from vpopsql.explain.rows import Mailbox, Name
from vpopsql.exporter import render, snapshot
from vpopsql.model import CatchAll, Flag
from vpopsql.services.rights import Level, level_of

_SERVICES = (
    ("pop3", Flag.NO_POP, "disable_pop"),
    ("imap", Flag.NO_IMAP, "disable_imap"),
    ("smtp", Flag.NO_SMTP, "disable_smtp"),
    ("relay", Flag.NO_RELAY, "disable_external_relay"),
    ("webmail", Flag.NO_WEBMAIL, "disable_webmail"),
    ("dialup", Flag.NO_DIALUP, "disable_dialup"),
    ("password-change", Flag.NO_PASSWD_CHNG, "disable_password_changing"),
)
"""The services, the bit that forbids each, and the limit by which the domain sets the bit."""

_KINDS = {1: "normal", 2: "apop"}
_NO_PASSWORD = {
    "empty": "the password is empty: only a vpopmail built to learn passwords takes one",
    "locked": "the password is locked",
    "unknown": "the password's hash is of a kind that nobody can verify",
}


def account_of(session: Session, node: Node, name: Name) -> Account | None:
    """Return what the mailbox of an address is to somebody who logs in; None without one."""
    mailbox = node.facts.mailboxes.get((name.id, node.address.user))
    if mailbox is None:
        return None
    scheme = passwords.scheme_of(mailbox.password_hash)
    level = level_of(mailbox.name, mailbox.flags)
    return Account(
        address=f"{mailbox.name}@{name.real}",
        directory=mailbox.directory,
        flags=_flag_names(mailbox.flags),
        level=level.name.lower(),
        level_reason=_why(level, mailbox),
        kind=_KINDS.get(mailbox.apop_uid, str(mailbox.apop_uid)),
        password=scheme,
        clear_text=bool(mailbox.clear_text),
        can_log_in=scheme not in _NO_PASSWORD,
        logins=_logins(mailbox, node.facts.limits[name.id], scheme),
        last_logins=tuple(rows.list_last_logins(session, mailbox.id)),
        quota_bytes=mailbox.quota_bytes,
        quota_messages=mailbox.quota_messages,
        claims=_account_claims(mailbox, name, has_accounts=node.site.build.has_accounts),
    )


def limits_of(node: Node, name: Name) -> Limits:
    """Return the limits that hold for a domain."""
    found = node.facts.limits[name.id]
    claims: tuple[Claim, ...] = ()
    directory = name.directory.rstrip("/")
    state = _state(name, limits=snapshot.Limits(dict(found.settings), found.source_text))
    match found.table:
        case "domain_limits":
            files = render.domain_files(state, node.site.vpopmail_dir)
            path = f"{directory}/{render.LIMITS}"
            claims = (Contains(path, _bytes(files[path])),)
        case _:
            claims = (Contains(f"{directory}/{render.LIMITS}", None),)
    return Limits(found.table, found.settings, claims)


def notes_of(session: Session, node: Node, name: Name) -> list[str]:
    """Return what else there is to know of a domain."""
    notes = []
    aliases = rows.list_alias_domains(session, name.id)
    if aliases:
        shown = ", ".join(aliases[: rows.SOME])
        more = ", …" if len(aliases) > rows.SOME else ""
        notes.append(f"alias domains of {name.real}: {shown}{more}")
    if not node.address.user and (name.id, "postmaster") not in node.facts.mailboxes:
        notes.append(f"{name.real} has no mailbox postmaster")
    return notes


def _flag_names(flags: int) -> tuple[str, ...]:
    known = tuple(flag.name for flag in Flag if flag.name and flags & flag)
    rest = flags & ~sum(Flag)
    return (*known, hex(rest)) if rest else known


def _why(level: Level, mailbox: Mailbox) -> str:
    if level is Level.SYSTEM:
        return "it has SA_ADMIN"
    if level is Level.USER:
        return "it has neither QA_ADMIN nor SA_ADMIN"
    return "it has QA_ADMIN" if mailbox.flags & Flag.QA_ADMIN else "it is called postmaster"


def _logins(mailbox: Mailbox, limits: rows.Limits, scheme: str) -> tuple[Login, ...]:
    without = _NO_PASSWORD.get(scheme)
    overrides = bool(mailbox.flags & Flag.V_OVERRIDE)
    found = []
    for service, flag, limit in _SERVICES:
        own, domain = bool(mailbox.flags & flag), bool(limits.settings[limit])
        forbidden = own or (domain and not overrides)
        reasons = []
        if without:
            reasons.append(without)
        if own:
            reasons.append(f"the account has {flag.name}")
        if domain:
            says = f"{limit} of {limits.table}"
            reasons.append(f"V_OVERRIDE keeps {says} off" if overrides else says)
        allowed = not (forbidden or without)
        found.append(
            Login(
                service,
                allowed,
                flag.name or "",
                own,
                domain,
                domain and overrides,
                "; ".join(reasons),
            )
        )
    found.append(
        Login(
            "vpopmaild",
            not without,
            "",
            own=False,
            domain=False,
            overridden=False,
            reason=without or "",
        )
    )
    challenge = not without and bool(mailbox.clear_text)
    reason = without or ("" if challenge else "the password is not stored as it is")
    found.append(
        Login("cram-md5", challenge, "", own=False, domain=False, overridden=False, reason=reason)
    )
    found.append(
        Login("apop", challenge, "", own=False, domain=False, overridden=False, reason=reason)
    )
    return tuple(found)


def _account_claims(mailbox: Mailbox, name: Name, *, has_accounts: bool) -> tuple[Claim, ...]:
    path = f"{name.directory.rstrip('/')}/{render.VPASSWD}"
    if not has_accounts:
        return (Contains(path, None), Contains(f"{path}.cdb", None))
    account = snapshot.Account(
        name=mailbox.name,
        password_hash=mailbox.password_hash,
        apop_uid=mailbox.apop_uid,
        flags=mailbox.flags,
        comment=mailbox.comment,
        directory=mailbox.directory,
        quota_bytes=mailbox.quota_bytes,
        quota_messages=mailbox.quota_messages,
        quota_text=mailbox.quota_text,
        clear_text=mailbox.clear_text,
    )
    try:
        files = render.domain_files(_state(name, account), Paths().vpopmail)
    except render.Unrenderable:
        # No export can write it either, and says so.
        return ()
    line = _bytes(files[path]).removesuffix(b"\n")
    return (HasAccount(path, mailbox.name, line),)


def _state(
    name: Name, account: snapshot.Account | None = None, limits: snapshot.Limits | None = None
) -> snapshot.DomainState:
    """Return as much of a domain as the wanted file is rendered from."""
    return snapshot.DomainState(
        name=name.real,
        directory=name.directory.rstrip("/"),
        uid=name.uid,
        gid=name.gid,
        catchall=CatchAll.NONE,
        catchall_target=None,
        accounts=[account] if account else [],
        dotqmails=[],
        limits=limits,
        counter=None,
    )


def _bytes(content: bytes | render.Link | None) -> bytes:
    return content if isinstance(content, bytes) else b""
