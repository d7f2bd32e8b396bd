"""Rows for tests: each function makes one thing, with every column defaulted."""

import ipaddress
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Update, update
from sqlalchemy.orm import Session

from vpopsql.model import (
    CatchAll,
    DefaultLimits,
    Domain,
    DomainLimits,
    DomainName,
    DotQmailFile,
    DotQmailLine,
    Flag,
    IpMapping,
    LastAuth,
    LineKind,
    Mailbox,
    SiteSetting,
)
from vpopsql.names import sort_key

NO_FLAGS = Flag(0)
PASSWORD = "right horse"
PASSWORD_HASH = "$1$Sa1tSa1t$jIAWQh25ZR2Tn11uDIhCr0"
HOME = "/home/vpopmail"


def domain(session: Session, name: str = "example.com", *aliases: str, **columns: Any) -> Domain:
    """Make a domain, with alias domains."""
    defaults = {
        "directory": f"{HOME}/domains/{name}",
        "uid": 89,
        "gid": 89,
        "catchall": CatchAll.BOUNCE,
    }
    made = Domain(**(defaults | columns))
    session.add(made)
    session.flush()
    session.add_all(
        DomainName(name=each, domain_id=made.id, is_alias=each != name, sort_key=sort_key(each))
        for each in (name, *aliases)
    )
    session.flush()
    return made


def mailbox(
    session: Session, of: Domain, name: str = "alice", flags: Flag = NO_FLAGS, **columns: Any
) -> Mailbox:
    """Make a mailbox whose password is `PASSWORD`."""
    defaults = {
        "password_hash": PASSWORD_HASH,
        "comment": name.title(),
        "directory": f"{of.directory}/{name}",
        "quota_text": "NOQUOTA",
        "flags": int(flags),
    }
    made = Mailbox(domain_id=of.id, name=name, **(defaults | columns))
    session.add(made)
    session.flush()
    return made


def last_auth(session: Session, of: Mailbox, at: datetime, ip: str, service: str = "any") -> None:
    """Make a record of a login."""
    session.add(LastAuth(mailbox_id=of.id, service=service, at=at, remote_ip=ip))


def alias(
    session: Session, of: Domain, name: str, *lines: str, mailbox_id: int | None = None
) -> None:
    """Make a dot-qmail file of a domain, or of one of its mailboxes."""
    kinds = {"|": LineKind.PROGRAM, "#": LineKind.COMMENT, "": LineKind.BLANK}
    file = DotQmailFile(domain_id=of.id, mailbox_id=mailbox_id, name=name)
    session.add(file)
    session.flush()
    session.add_all(
        DotQmailLine(
            file_id=file.id,
            position=position,
            line=line,
            kind=kinds.get(line[:1], LineKind.FORWARD),
        )
        for position, line in enumerate(lines, 1)
    )


def limits(session: Session, of: Domain | None, **settings: Any) -> None:
    """Set limits of a domain, or the site's defaults."""
    session.add(
        DefaultLimits(**settings) if of is None else DomainLimits(domain_id=of.id, **settings)
    )


def ip_mapping(session: Session, address: str, to: Domain) -> None:
    """Map an IP address to a domain."""
    ip = ipaddress.ip_address(address)
    session.add(IpMapping(address=str(ip), family=ip.version, packed=ip.packed, domain_id=to.id))


def setting(session: Session, key: str, value: str) -> None:
    """Set a fact about the site."""
    session.add(SiteSetting(key=key, value=value))


def at(*parts: int) -> datetime:
    """Return an aware UTC time."""
    return datetime(*parts, tzinfo=UTC)  # type: ignore[arg-type, misc]


def update_kinds(pattern: str, kind: LineKind) -> Update:
    """Return the statement that makes lines like ``pattern`` be of a kind."""
    return update(DotQmailLine).where(DotQmailLine.line.like(pattern)).values(kind=kind)
