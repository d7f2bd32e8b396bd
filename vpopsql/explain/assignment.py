"""qmail-lspawn's lookup: which line of users/assign an address is found by.

The whole address first, then ever shorter beginnings; of two lines for one the first. With exact
delivery a mailbox may have a line of its own, by which qmail delivers without vdelivermail; which
one has is the exporter's rule, see `vpopsql.exporter.direct`.
"""

from vpopsql.explain import routing, rows
from vpopsql.explain.claims import Assigns, Claim, Contains, IsDirectory, IsMaildir
from vpopsql.explain.node import Node
from vpopsql.explain.result import DeliveryKind, Source, StepKind
from vpopsql.explain.rows import CALLS, Mailbox, Name, Site
from vpopsql.model import Flag
from vpopsql.qmail import assign
from vpopsql.qmail.assign import Assignment


def find_domain(node: Node, name: Name, local: str) -> bool:
    """Explain which line the address of a domain is found by.

    :param local: what is looked up; empty for the names that the domain does not have.
    :returns: whether it is the domain's line, so that its dot-qmail files decide.
    """
    what = f"qmail-lspawn looks for {local or f'{name.name}-…'} in users/cdb"
    foreign = local and routing.find_assignment(node.facts.foreign, local, len(name.name) + 1)
    other = next(
        (each for each in routing.domain_prefixes(local) if each in node.facts.domains), name.name
    )
    if foreign and (not foreign.wildcard or len(foreign.local) > len(other)):
        _find_elsewhere(node, local, what, foreign)
        return False
    if len(other) > len(name.name):
        _find_other_domain(node, local, what, node.facts.domains[other])
        return False
    mailbox = node.mailbox
    if mailbox is not None and is_direct(node, name, mailbox):
        _find_mailbox(node, name, what, mailbox)
        return False
    node.step(
        StepKind.ASSIGN,
        what,
        f"found by the domain's line: uid {name.uid}, gid {name.gid}, directory {name.directory}",
        Source("domains", name.real),
        [
            *_claim_domain(node, name, local),
            IsDirectory(name.directory.rstrip("/") or "/", name.uid, name.gid, by_qmail=True),
        ],
    )
    return True


def find_system_user(node: Node, local: str) -> None:
    """Explain which line an address is found by that is none of our domains'."""
    what = f"qmail-lspawn looks for {local} in users/cdb"
    line = routing.find_assignment(node.facts.foreign, local)
    if line is not None:
        _find_elsewhere(node, local, what, line)
        return
    result = "no line is for it: qmail-getpw asks the system's users, then ~alias"
    node.step(StepKind.ASSIGN, what, result)
    node.end(DeliveryKind.SYSTEM, local, "a user of the system or of ~alias gets it")


def is_direct(node: Node, name: Name, mailbox: Mailbox) -> bool:
    """Say whether an export with exact delivery writes a line for a mailbox of this address.

    That is so if vdelivermail would do nothing but put the message into its Maildir.
    """
    build, facts = node.site.build, node.facts
    wildcards = rows.dotqmail_names(mailbox.name)[:-1]
    has_file = any((name.id, each) in facts.files for each in wildcards)
    has_quota = mailbox.quota_bytes is not None or mailbox.quota_messages is not None
    return (
        build.exact
        and name.catchall in CALLS
        and not mailbox.flags & Flag.BOUNCE_MAIL
        and not _deletes_spam(node, name, mailbox)
        and (build.exact_despite_quota or not has_quota)
        and not has_file
        and (mailbox.id, "") not in facts.own_files
        and mailbox.home.startswith("/")
        and not routing.is_shared(name.name, facts.prepends)
        and not set(mailbox.home) & {":", "\n", "\0"}
    )


def _deletes_spam(node: Node, name: Name, mailbox: Mailbox) -> bool:
    of_domain = bool(node.facts.limits[name.id].settings["delete_spam"])
    above = mailbox.flags & Flag.V_OVERRIDE
    return bool(mailbox.flags & Flag.DELETE_SPAM) or (of_domain and not above)


def _find_mailbox(node: Node, name: Name, what: str, mailbox: Mailbox) -> None:
    home, box = mailbox.home, f"{mailbox.home}/Maildir"
    local = f"{name.name}-{mailbox.name}"
    line = f"={local}:{name.real}:{name.uid}:{name.gid}:{home}:::"
    source = Source("mailboxes", f"{mailbox.name}@{name.real}")
    claims: list[Claim] = [
        _assigns(node.site, line, local),
        IsDirectory(home, name.uid, name.gid, by_qmail=True),
        Contains(f"{home}/.qmail", None),
    ]
    result = f"found by a line of its own: qmail delivers in {home}, without vdelivermail"
    node.step(StepKind.ASSIGN, what, result, source, claims)
    what = "qmail-local delivers as qmail-start was told: ./Maildir/"
    node.step(StepKind.DOTQMAIL, what, f"delivered into {box}/", source, [IsMaildir(box)])
    node.end(DeliveryKind.MAILDIR, f"{box}/", f"the mailbox {mailbox.name}@{name.real}")


def _find_elsewhere(node: Node, local: str, what: str, line: Assignment) -> None:
    text = assign.render_line(line)
    source = Source("foreign_lines", f"{routing.ASSIGN}: {text}")
    result = f"found: {line.user} gets it, by the dot-qmail files in {line.directory}"
    node.step(StepKind.ASSIGN, what, result, source, [_assigns(node.site, text, local)])
    node.end(DeliveryKind.SYSTEM, local, f"{line.user} gets it, in {line.directory}")


def _find_other_domain(node: Node, local: str, what: str, other: Name) -> None:
    result = f"found by the line of the domain {other.name}, which is longer"
    claims = _claim_domain(node, other, local)
    node.step(StepKind.ASSIGN, what, result, Source("domains", other.real), claims)
    reason = f"the files of {other.real} decide: its name begins like the address"
    node.end(DeliveryKind.SYSTEM, local, reason)


def _claim_domain(node: Node, name: Name, local: str) -> list[Claim]:
    try:
        line = assign.domain_line(name.name, name.real, name.uid, name.gid, name.directory)
    except ValueError:
        node.cannot_write(f"{node.site.qmail_dir}/{routing.ASSIGN}", f"{name.name} has a colon")
        return []
    return [_assigns(node.site, line, local)]


def _assigns(site: Site, line: str, local: str) -> Assigns:
    users = f"{site.qmail_dir}/users"
    return Assigns(f"{users}/assign", f"{users}/{site.build.assign_cdb}", line, local)
