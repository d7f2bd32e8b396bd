"""The way of a message from qmail-smtpd to a dot-qmail file of its domain.

What comes after, the lines of the file, is in `delivery`.
"""

import posixpath

from vpopsql.explain import assignment, delivery, routing, rows
from vpopsql.explain.claims import (
    Accepts,
    Claim,
    NamesHost,
    Routes,
)
from vpopsql.explain.node import Node
from vpopsql.explain.result import Address, DefectCode, DeliveryKind, Source, StepKind
from vpopsql.explain.routing import Route, Way
from vpopsql.explain.rows import CALLS, Facts, File, Name, Site
from vpopsql.qmail import dotqmail


def follow(site: Site, facts: Facts, address: Address, *, from_outside: bool) -> Node:
    """Return what happens to mail for an address.

    :param from_outside: whether qmail-smtpd is asked first; what is forwarded was let in before.
    """
    node = Node(address, site, facts)
    if not address.domain:
        reason = "it has no domain: qmail adds a name of its own (control/me)"
        node.is_foreign = True
        node.end(DeliveryKind.SYSTEM, str(address), reason)
        return node
    found = facts.route(address)
    is_taken = not from_outside or _accept(node)
    node.is_foreign = found.way is not Way.OURS
    if not is_taken:
        node.is_foreign = address.domain not in facts.domains
        return node
    match found.way:
        case Way.OURS:
            node.name = facts.domains[address.domain]
            node.mailbox = facts.mailboxes.get((node.name.id, address.user))
            _deliver_by_domain(node, node.name, found)
        case Way.REMOTE:
            _send_on(node, found)
        case _:
            _deliver_by_system(node, found)
    return node


def _accept(node: Node) -> bool:
    host, site = node.address.domain, node.site
    what = f"qmail-smtpd looks for {host} in rcpthosts and morercpthosts.cdb"
    files = (
        f"{site.qmail_dir}/{routing.RCPTHOSTS}",
        f"{site.qmail_dir}/{routing.MORERCPTHOSTS}.cdb",
    )
    if name := node.facts.domains.get(host):
        place = "morercpthosts" if name.in_morercpthosts else "rcpthosts"
        if not name.is_imported:
            # Which of the two depends on how many names there are: see exporter.render.
            place = "rcpthosts or, beyond its 50th line, morercpthosts"
        source = Source("domain_names", host)
        node.step(
            StepKind.ACCEPT, what, f"accepted: {place} has it", source, [Accepts(*files, host)]
        )
        return True
    if found := routing.accepting_line(node.facts.foreign, host):
        file, line = found
        source = Source("foreign_lines", f"{file}: {line}")
        result = f"accepted: {file.rpartition('/')[2]} has {line}"
        node.step(StepKind.ACCEPT, what, result, source, [Accepts(*files, host)])
        return True
    result = "refused: neither has it, so this host takes no mail for it from outside"
    node.step(StepKind.ACCEPT, what, result, None, [Accepts(*files, host, wanted=False)])
    node.end(DeliveryKind.REFUSED, str(node.address), f"{host} is not a domain of this host")
    return False


def _send_on(node: Node, found: Route) -> None:
    address = node.address
    what = f"qmail-send looks for {address.domain} in locals and virtualdomains"
    result = "remote: sent to the domain's mail exchangers"
    source = None
    claims = _not_named(node.site, address)
    if found.line:
        source = Source("foreign_lines", f"{routing.VIRTUALDOMAINS}: {found.line}")
        result = f"remote, by the exception {found.line}: sent to the domain's mail exchangers"
        claims.append(Routes(f"{node.site.qmail_dir}/{routing.VIRTUALDOMAINS}", found.name, ""))
    node.step(StepKind.ROUTE, what, result, source, claims)
    node.end(DeliveryKind.REMOTE, str(address), "another host delivers it")


def _not_named(site: Site, address: Address) -> list[Claim]:
    return [NamesHost(f"{site.qmail_dir}/{routing.LOCALS}", address.domain, wanted=False)]


def _deliver_by_system(node: Node, found: Route) -> None:
    """Explain mail that qmail gives to somebody of whom vpopmail knows nothing."""
    address, site = node.address, node.site
    what = f"qmail-send looks for {address.domain} in locals and virtualdomains"
    if found.way is Way.LOCAL:
        file, result = routing.LOCALS, f"local: locals has {found.line}"
        claims: list[Claim] = [NamesHost(f"{site.qmail_dir}/{file}", found.name, wanted=True)]
    else:
        file, result = routing.VIRTUALDOMAINS, f"virtual, as {found.local}: {found.line}"
        claims = [Routes(f"{site.qmail_dir}/{file}", found.name, found.prepend)]
    node.step(
        StepKind.ROUTE, what, result, Source("foreign_lines", f"{file}: {found.line}"), claims
    )
    assignment.find_system_user(node, found.local)


def _deliver_by_domain(node: Node, name: Name, found: Route) -> None:
    site, host = node.site, node.address.domain
    virtualdomains = f"{site.qmail_dir}/{routing.VIRTUALDOMAINS}"
    # Of the names that a domain does not have none is asked about; as an address it is the domain.
    before = [Routes(virtualdomains, str(node.address), None)] if node.address.user else []
    node.step(
        StepKind.ROUTE,
        f"qmail-send looks for {host} in locals and virtualdomains",
        f"virtual, as {found.local}{'' if node.address.user else '…'}",
        Source("domain_names", host),
        [
            *_not_named(site, node.address),
            *before,
            Routes(virtualdomains, host, host),
        ],
    )
    if name.is_alias:
        source = Source("domain_names", host)
        what = f"{host} is an alias domain"
        node.step(StepKind.DOMAIN, what, f"its mail is that of {name.real}", source)
    if assignment.find_domain(node, name, found.local if node.address.user else ""):
        search(node, name)


def search(node: Node, name: Name) -> None:
    """Explain which dot-qmail file of the domain qmail-local finds, and what it does."""
    directory = name.directory.rstrip("/")
    candidates = rows.dotqmail_names(node.address.user)
    claims: list[Claim] = []
    chosen: File | None = None
    for candidate in candidates:
        file = file_of(node, name, candidate)
        path = delivery.path_in(directory, candidate)
        if path is not None:
            claims += delivery.claim_file(node, path, file)
        if file is None:
            continue
        if file.link_target is None:
            chosen = file
            break
        what = f"{path} is a link to {file.link_target}, which is no file: it is passed over"
        node.defect(DefectCode.DANGLING_LINK, what, f"remove {path}, or make what it leads to")
    shown = ", ".join(delivery.file_name(candidate) for candidate in candidates)
    what = f"qmail-local looks for {shown} in {name.directory}"
    if chosen is None:
        node.step(StepKind.DOTQMAIL, what, "none is there", Source("domains", name.real), claims)
        delivery.find_nothing(node, name)
        return
    source = Source("dotqmail_files", f"{delivery.file_name(chosen.name)} of {name.real}")
    if chosen.name == "default" and name.catchall in CALLS:
        source = Source("domains", name.real)
    result = f"{delivery.file_name(chosen.name)} is found"
    if chosen.name == node.address.user and node.mailbox is not None:
        result += ": it goes before the mailbox of the same name"
    node.step(StepKind.DOTQMAIL, what, result, source, claims)
    delivery.follow_file(node, name, chosen, posixpath.join(directory, ""))


def file_of(node: Node, name: Name, candidate: str) -> File | None:
    """Return a dot-qmail file of a domain, as an export writes it.

    ``.qmail-default`` is what the catch-all says, unless it is made of lines; see `CatchAll`.
    """
    if candidate != "default" or name.catchall not in CALLS:
        return node.facts.files.get((name.id, candidate))
    kind = dotqmail.CatchAllKind(name.catchall.value)
    what = dotqmail.CatchAll(kind, name.catchall_target or "")
    try:
        line = dotqmail.render_catchall(what, node.site.vpopmail_dir)
    except ValueError:
        why = f"the catch-all is no {kind.value}"
        node.cannot_write(f"{name.directory.rstrip('/')}/{dotqmail.DEFAULT_FILE}", why)
        return None
    return File("default", (line,), final_newline=True, link_target=None)
