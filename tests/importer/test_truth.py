"""The imported small tree says what the real tools said about it, field by field.

tests/trees/small.truth holds what vuserinfo, vdominfo, valias, vlimits and vipmap printed on the
machine that the tree is from.
"""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from tests import sites
from vpopsql.db import Database
from vpopsql.model import (
    LIMIT_SETTINGS,
    DefaultLimits,
    Domain,
    DomainLimits,
    DomainName,
    DotQmailFile,
    DotQmailLine,
    Flag,
    IpMapping,
    LastAuth,
    Mailbox,
)

TRUTH = Path(__file__).parent.parent / "trees/small.truth"

FLAGS_OF_LIMITS = {
    "disable_password_changing": Flag.NO_PASSWD_CHNG,
    "disable_pop": Flag.NO_POP,
    "disable_webmail": Flag.NO_WEBMAIL,
    "disable_imap": Flag.NO_IMAP,
    "disable_external_relay": Flag.NO_RELAY,
    "disable_dialup": Flag.NO_DIALUP,
    "disable_smtp": Flag.NO_SMTP,
    "disable_spamassassin": Flag.NO_SPAMASSASSIN,
    "delete_spam": Flag.DELETE_SPAM,
    "disable_maildrop": Flag.NO_MAILDROP,
}

LIMIT_LABELS = {
    "Max Pop Accounts": "max_popaccounts",
    "Max Aliases": "max_aliases",
    "Max Forwards": "max_forwards",
    "Max Autoresponders": "max_autoresponders",
    "Max Mailinglists": "max_mailinglists",
    "Domain Quota": "disk_quota",
    "Default User Quota": "default_quota",
    "Max Domain Messages": "max_msgcount",
    "Default Max Messages per User": "default_maxmsgcount",
}

PERMISSION_LABELS = {
    "pop account": "perm_account",
    "alias": "perm_alias",
    "forward": "perm_forward",
    "autoresponder": "perm_autoresponder",
    "mailinglist": "perm_maillist",
    "mailinglist users": "perm_maillist_users",
    "mailinglist moderators": "perm_maillist_moderators",
    "quota": "perm_quota",
    "default quota": "perm_defaultquota",
}


@pytest.fixture
def small(database: Database, unpack: Callable[[str], Path]) -> Database:
    sites.import_tree(database, unpack("small"))
    return database


def test_every_name_of_a_domain_is_there(small: Database) -> None:
    with small.reader() as session:
        names = session.scalars(select(DomainName.name).order_by(DomainName.name)).all()

    assert names == (TRUTH / "domain-names.txt").read_text().split()


def test_every_domain_is_as_vdominfo_says(small: Database) -> None:
    blocks = (TRUTH / "vdominfo.txt").read_text().strip().split("\n\n")

    assert [vdominfo(small, block) for block in blocks] == blocks


def test_every_account_is_as_vuserinfo_says(small: Database) -> None:
    truth = {
        file.stem: [comparable(block) for block in user_blocks(file)]
        for file in (TRUTH / "users").iterdir()
    }

    assert {
        domain: [vuserinfo(account) for account in accounts(small, domain)] for domain in truth
    } == truth


def test_every_alias_that_valias_names_is_there(small: Database) -> None:
    truth = {
        file.name.removesuffix(".names.txt"): file.read_text().split()
        for file in (TRUTH / "valias").glob("*.names.txt")
    }

    assert {domain: list(alias_lines(small, domain)) for domain in truth} == truth


def test_every_alias_line_is_as_valias_says(small: Database) -> None:
    truth = {
        file.stem: file.read_text().splitlines()
        for file in (TRUTH / "valias").iterdir()
        if not file.name.endswith(".names.txt") and file.stem != "catch.example"
    }

    assert {
        domain: rendered(alias_lines(small, domain), real_name(small, domain)) for domain in truth
    } == truth


def test_the_aliases_of_catch_example_go_on_where_valias_stopped_at_a_dangling_link(
    small: Database,
) -> None:
    lines = alias_lines(small, "catch.example")
    before = {name: lines[name] for name in list(lines)[: list(lines).index("crew-link")]}

    assert rendered(before, "catch.example") == (
        (TRUTH / "valias/catch.example.txt").read_text().splitlines()
    )
    assert lines["crew-link"] == []
    assert lines["dotted.name"] == ["/home/vpopmail/domains/catch.example/everything/Maildir/"]
    assert lines["ticket"] == ["|/usr/local/bin/ticket --queue new"]


def test_the_limits_of_every_domain_are_as_vlimits_says(small: Database) -> None:
    truth = {file.stem: vlimits(file.read_text()) for file in (TRUTH / "vlimits").iterdir()}

    assert {
        domain: {key: value for key, value in limits.items() if key in truth[domain]}
        for domain, limits in ((name, effective_limits(small, name)) for name in truth)
    } == truth


def test_every_mapped_address_is_as_vipmap_says(small: Database) -> None:
    query = select(IpMapping.address, DomainName.name).join(
        DomainName, DomainName.domain_id == IpMapping.domain_id
    )
    with small.reader() as session:
        rows = session.execute(
            query.where(~DomainName.is_alias).order_by(IpMapping.family, IpMapping.packed)
        ).all()

    assert [f"{address} {name}" for address, name in rows] == (
        (TRUTH / "vipmap.txt").read_text().splitlines()
    )


def test_dot_qmail_files_are_rows_or_the_catch_all(small: Database) -> None:
    query = select(DomainName.name, Domain.catchall, Domain.catchall_target).join(
        Domain, Domain.id == DomainName.domain_id
    )
    with small.reader() as session:
        rows = session.execute(query.where(~DomainName.is_alias)).all()
    catchalls = {name: (kind.value, target) for name, kind, target in rows}

    assert catchalls["bounce.example"] == ("bounce", None)
    assert catchalls["north.example"] == ("delete", None)
    assert catchalls["fwdall.example"] == ("address", "everything@catch.example")
    assert catchalls["catch.example"] == (
        "directory",
        "/home/vpopmail/domains/catch.example/everything",
    )
    assert all("default" not in alias_lines(small, name) for name in catchalls)


# --- the truth --------------------------------------------------------------------------------


def user_blocks(file: Path) -> list[str]:
    return [block for block in file.read_text().split("== ") if block]


def comparable(block: str) -> dict[str, str]:
    """Return the lines of a vuserinfo block that a database can know: not usage, not prose."""
    found = dict(re.findall(r"^([a-z][a-z /]*?):[ ]*(.*)$", block, re.MULTILINE))
    return {key: value for key, value in found.items() if key not in {"usage", "limits"}}


def vlimits(text: str) -> dict[str, int | bool]:
    """Return every setting that vlimits printed."""
    numbers = dict(re.findall(r"^([A-Z][\w ]+): (-?\d+)", text, re.MULTILINE))
    permissions = dict(re.findall(r"^  ([a-z ]+): (.*)$", text, re.MULTILINE))
    flags = text.partition("GID Flags:\n")[2].partition("Flags (")[0].split()
    return (
        {key: int(numbers[label]) for label, key in LIMIT_LABELS.items()}
        | {key: denied(permissions[label]) for label, key in PERMISSION_LABELS.items()}
        | {key: flag.name in flags for key, flag in FLAGS_OF_LIMITS.items()}
    )


def denied(words: str) -> int:
    return sum(
        bit
        for bit, word in ((1, "CREATE"), (2, "MODIFY"), (4, "DELETE"))
        if f"DENY_{word}" in words
    )


# --- the database -----------------------------------------------------------------------------


def real_name(database: Database, name: str) -> str:
    with database.reader() as session:
        domain_id = session.get_one(DomainName, name).domain_id
        return session.scalars(
            select(DomainName.name).filter_by(domain_id=domain_id, is_alias=False)
        ).one()


def vdominfo(database: Database, block: str) -> str:
    """Return what vdominfo would print of the domain that its own ``block`` is about."""
    name = block.split()[1]
    with database.reader() as session:
        row = session.get_one(DomainName, name)
        domain = session.get_one(Domain, row.domain_id)
        users = len(session.scalars(select(Mailbox.id).filter_by(domain_id=domain.id)).all())
    alias = f" (alias of {real_name(database, name)})" if row.is_alias else ""
    return (
        f"domain: {name}{alias}\nuid:    {domain.uid}\ngid:    {domain.gid}\n"
        f"dir:    {domain.directory}\nusers:  {users}"
    )


def accounts(database: Database, domain: str) -> list[tuple[Mailbox, LastAuth, Flag]]:
    flags = mask(effective_limits(database, domain))
    query = (
        select(Mailbox, LastAuth)
        .join(LastAuth, LastAuth.mailbox_id == Mailbox.id)
        .join(DomainName, DomainName.domain_id == Mailbox.domain_id)
        .where(DomainName.name == domain, LastAuth.service == "any")
        .order_by(Mailbox.name)
    )
    with database.reader() as session:
        return [(mailbox, login, flags) for mailbox, login in session.execute(query)]


def vuserinfo(account: tuple[Mailbox, LastAuth, Flag]) -> dict[str, str]:
    """Return what vuserinfo would say, `comparable`."""
    mailbox, login, domain_flags = account
    own = mailbox.flags & Flag.V_OVERRIDE
    at = f"{login.at:%a %b %d %H:%M:%S %Y}"
    never = login.remote_ip == "0.0.0.0"  # noqa: S104 - what vpopmail notes
    logins = (
        {"account created": f"{mailbox.created_at:%a %b %d %H:%M:%S %Y}"}
        | {"last auth": "Never logged in"}
        if never
        else {"last auth": at, "last auth ip": login.remote_ip}
    )
    return {
        "name": mailbox.name,
        "passwd": mailbox.password_hash,
        "clear passwd": mailbox.clear_text or "",
        "comment/gecos": mailbox.comment,
        "uid": str(mailbox.apop_uid),
        "gid": str(mailbox.flags),
        "flags": str(mailbox.flags if own else mailbox.flags | domain_flags),
        "gecos": mailbox.comment,
        "dir": mailbox.directory,
        "quota": mailbox.quota_text,
    } | logins


def alias_lines(database: Database, domain: str) -> dict[str, list[str]]:
    files = (
        select(DotQmailFile.id, DotQmailFile.name)
        .join(DomainName, DomainName.domain_id == DotQmailFile.domain_id)
        .where(DomainName.name == domain, DotQmailFile.mailbox_id.is_(None))
        .order_by(DotQmailFile.name)
    )
    lines = select(DotQmailLine.line).order_by(DotQmailLine.position)
    with database.reader() as session:
        return {
            name: list(session.scalars(lines.where(DotQmailLine.file_id == pk)))
            for pk, name in session.execute(files)
        }


def rendered(lines: dict[str, list[str]], domain: str) -> list[str]:
    """Return what valias prints of a domain."""
    printed = [f"{name}@{domain} -> {line}" for name, file in lines.items() for line in file]
    return printed or [f"No aliases found for domain {domain}"]


def effective_limits(database: Database, domain: str) -> dict[str, Any]:
    with database.reader() as session:
        domain_id = session.get_one(DomainName, domain).domain_id
        row = session.get(DomainLimits, domain_id) or session.get_one(DefaultLimits, 1)
        return {name: getattr(row, name) for name in LIMIT_SETTINGS}


def mask(limits: dict[str, Any]) -> Flag:
    return Flag(sum(flag for name, flag in FLAGS_OF_LIMITS.items() if limits[name]))
