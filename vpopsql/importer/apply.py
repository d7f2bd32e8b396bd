"""Writing what a plan adds, and proving that it arrived.

Everything of one import is in one transaction, which `make_plan` and the comparison at the end
share: either the database holds the whole site as it was read, or nothing changed. A transaction
per domain would only let an import that was killed go on where it was; at the speed of bulk
inserts there is little to save, and half a site would be half a truth. (Should sites ever be too
large for that: `_insert_domains` takes any batch, and a domain that is there already is equal and
not inserted again.)

Rows go in table by table, many domains at a time; the ids that the database chose are read back.
"""

import ipaddress
from collections.abc import Iterable, Iterator
from typing import Any, cast

from sqlalchemy import Table, delete
from sqlalchemy.orm import Session

from vpopsql import names
from vpopsql.errors import ImportFailed
from vpopsql.importer import bulk, site, stored
from vpopsql.importer.plan import Plan
from vpopsql.model import (
    AuditEntry,
    Base,
    DefaultLimits,
    DirCounter,
    Domain,
    DomainLimits,
    DomainName,
    DotQmailFile,
    DotQmailLine,
    ForeignLine,
    IpMapping,
    LastAuth,
    Mailbox,
    Revision,
    SiteSetting,
    utc_now,
)

CHANNEL = "import"

_MAILBOXES_AT_ONCE = 20_000


def apply_plan(session: Session, plan: Plan, origin: dict[str, str]) -> None:
    """Insert what the plan adds, then read it back and compare.

    :param origin: settings that say where the site came from; they replace older ones.
    :raises ImportFailed: the plan has rejects, or what arrived is not what was read. The caller's
        transaction must be rolled back then.
    """
    if plan.rejected:
        raise ImportFailed("the source has lines that cannot be imported")
    if not plan.adds:
        return
    for batch in _batches(plan.new.domains):
        _insert_domains(session, batch)
    _insert_site(session, plan, origin)
    _verify(session, plan)


def _batches(domains: Iterable[site.Domain]) -> Iterator[list[site.Domain]]:
    """Cut ``domains`` into batches of some twenty thousand mailboxes."""
    batch: list[site.Domain] = []
    size = 0
    for domain in domains:
        batch.append(domain)
        size += len(domain.mailboxes) + 1
        if size >= _MAILBOXES_AT_ONCE:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


def _insert_domains(session: Session, domains: list[site.Domain]) -> None:
    _insert(session, Domain, [_domain_row(domain) for domain in domains])
    ids = stored.directory_ids(session, [domain.directory for domain in domains])
    placed = [(ids[domain.directory], domain) for domain in domains]
    _insert(
        session,
        Mailbox,
        [_mailbox_row(pk, mailbox) for pk, domain in placed for mailbox in domain.mailboxes],
    )
    mailbox_ids = stored.mailbox_ids(session, ids.values())
    _insert_dotqmails(session, placed, mailbox_ids)
    _insert(session, DomainName, [row for pk, domain in placed for row in _names(pk, domain)])
    _insert(
        session,
        LastAuth,
        [
            {
                "mailbox_id": mailbox_ids[pk, mailbox.name],
                "service": stored.ANY_SERVICE,
                "at": mailbox.last_auth.at,
                "remote_ip": mailbox.last_auth.remote_ip,
            }
            for pk, domain in placed
            for mailbox in domain.mailboxes
            if mailbox.last_auth is not None
        ],
    )
    _insert(
        session,
        DomainLimits,
        [
            {"domain_id": pk} | _limit_values(domain.limits)
            for pk, domain in placed
            if domain.limits is not None
        ],
    )
    _insert(
        session,
        DirCounter,
        [
            {"domain_id": pk} | _counter_values(domain.counter)
            for pk, domain in placed
            if domain.counter is not None
        ],
    )
    _insert(session, AuditEntry, [_audit(domain) for domain in domains])
    _insert(
        session,
        Revision,
        [_revision(domain.name.name) for domain in domains],
    )


def _insert_dotqmails(
    session: Session,
    placed: list[tuple[int, site.Domain]],
    mailbox_ids: dict[tuple[int, str], int],
) -> None:
    owned: dict[stored.FileKey, site.DotQmailFile] = {}
    for pk, domain in placed:
        owned.update(((pk, None, file.name), file) for file in domain.files)
        for mailbox in domain.mailboxes:
            mailbox_pk = mailbox_ids[pk, mailbox.name]
            owned.update(((pk, mailbox_pk, file.name), file) for file in mailbox.files)
    _insert(
        session,
        DotQmailFile,
        [
            {
                "domain_id": domain_pk,
                "mailbox_id": mailbox_pk,
                "name": name,
                "final_newline": file.final_newline,
                "link_target": file.link_target,
            }
            for (domain_pk, mailbox_pk, name), file in owned.items()
        ],
    )
    ids = stored.dotqmail_ids(session, [pk for pk, _ in placed])
    _insert(
        session,
        DotQmailLine,
        [
            {"file_id": ids[owner], "position": position, "line": line.text, "kind": line.kind}
            for owner, file in owned.items()
            for position, line in enumerate(file.lines, 1)
        ],
    )


def _insert_site(session: Session, plan: Plan, origin: dict[str, str]) -> None:
    """Insert what belongs to no domain, and note where it came from."""
    new = plan.new
    _insert(
        session,
        ForeignLine,
        [
            {
                "file": file,
                "position": line.number,
                "line": line.line,
                "sort_key": line.sort_key,
            }
            for file, lines in new.foreign_lines.items()
            for line in lines
        ],
    )
    ids = stored.domain_ids(session, set(new.ip_mappings.values()))
    _insert(
        session,
        IpMapping,
        [_ip_row(address, ids[domain]) for address, domain in new.ip_mappings.items()],
    )
    if new.default_limits is not None:
        _insert(session, DefaultLimits, [{"id": 1} | _limit_values(new.default_limits)])
    if new.counter is not None:
        counter = {"id": stored.SITE_COUNTER, "domain_id": None}
        _insert(session, DirCounter, [counter | _counter_values(new.counter)])
    origin = {"imported_at": utc_now().isoformat(timespec="seconds")} | origin
    session.execute(delete(SiteSetting).where(SiteSetting.key.in_(origin)))
    settings = plan.settings | origin
    _insert(session, SiteSetting, [{"key": key, "value": settings[key]} for key in settings])
    _insert(session, Revision, [_revision(None)])


def _verify(session: Session, plan: Plan) -> None:
    """Compare everything that was added with what the database now gives back.

    What is equal to it can be exported: the plan would be rejected otherwise.

    :raises ImportFailed: something differs.
    """
    new = plan.new
    differing = []
    expected = {domain.name.name: domain for domain in new.domains}
    missing = set(expected)
    for domain in stored.read_domains(session, expected):
        name = domain.name.name
        missing.discard(name)
        if domain != expected[name]:
            parts = "; ".join(site.differences(expected[name], domain))
            differing.append(f"{name}: {parts}")
    differing += [f"{name}: is missing" for name in sorted(missing)]
    lines = stored.read_foreign_lines(session)
    checks = {
        "foreign lines": all(
            set(kept) <= set(lines.get(file, ())) for file, kept in new.foreign_lines.items()
        ),
        "IP mappings": new.ip_mappings.items() <= stored.read_ip_mappings(session).items(),
        "default limits": new.default_limits in (None, stored.read_default_limits(session)),
        "site counter": new.counter in (None, stored.read_site_counter(session)),
        "settings": plan.settings.items() <= stored.read_settings(session).items(),
    }
    differing += [what for what, same in checks.items() if not same]
    if differing:
        raise ImportFailed(
            "the database gives back other values than it was given, so nothing was kept: "
            + "; ".join(differing[:10])
        )


# --- rows -------------------------------------------------------------------------------------


def _insert(session: Session, table: type[Base], rows: bulk.Rows) -> None:
    bulk.insert_rows(session, cast("Table", table.__table__), rows)


def _domain_row(domain: site.Domain) -> dict[str, Any]:
    return {
        "directory": domain.directory,
        "uid": domain.uid,
        "gid": domain.gid,
        "created_at": None,
        "catchall": domain.catchall,
        "catchall_target": domain.catchall_target,
    }


def _names(domain_id: int, domain: site.Domain) -> list[dict[str, Any]]:
    return [
        {
            "name": name.name,
            "domain_id": domain_id,
            "is_alias": name is not domain.name,
            "sort_key": names.sort_key(name.name),
            "in_morercpthosts": name.in_morercpthosts,
        }
        for name in domain.names
    ]


def _mailbox_row(domain_id: int, mailbox: site.Mailbox) -> dict[str, Any]:
    return {
        "domain_id": domain_id,
        "name": mailbox.name,
        "password_hash": mailbox.password_hash,
        "clear_text": mailbox.clear_text,
        "apop_uid": mailbox.apop_uid,
        "flags": mailbox.flags,
        "comment": mailbox.comment,
        "directory": mailbox.directory,
        "quota_bytes": mailbox.quota_bytes,
        "quota_messages": mailbox.quota_messages,
        "quota_text": mailbox.quota_text,
        "created_at": mailbox.created_at,
        "password_changed_at": None,
    }


def _limit_values(limits: site.Limits) -> dict[str, Any]:
    return {**limits.values, "source_text": limits.source_text}


def _counter_values(counter: site.Counter) -> dict[str, Any]:
    control = counter.control
    levels = {
        f"level_{part}{level}": numbers[level]
        for part, numbers in (
            ("start", control.starts),
            ("end", control.ends),
            ("mod", control.mods),
            ("index", control.indexes),
        )
        for level in range(3)
    }
    return levels | {
        "cur_users": control.cur_users,
        "level_cur": control.level_cur,
        "level_max": control.level_max,
        "the_dir": control.the_dir,
        "free_buckets": counter.free_buckets,
    }


def _ip_row(address: str, domain_id: int) -> dict[str, Any]:
    parsed = ipaddress.ip_address(address)
    return {
        "address": address,
        "family": parsed.version,
        "packed": parsed.packed,
        "domain_id": domain_id,
    }


def _audit(domain: site.Domain) -> dict[str, Any]:
    return {
        "at": utc_now(),
        "actor": CHANNEL,
        "channel": CHANNEL,
        "action": "import_domain",
        "object_type": "domain",
        "object": domain.name.name,
        "changes": {what: [0, number] for what, number in domain.counts().items()},
    }


def _revision(domain: str | None) -> dict[str, Any]:
    return {"at": utc_now(), "domain": domain, "topic": CHANNEL}
