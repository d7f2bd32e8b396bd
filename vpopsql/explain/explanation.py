"""An address explained: its way, the ways of what it is forwarded to, the logins, the verdict.

The addresses of one hop are read and followed together, so that an alias with a hundred
destinations costs as many queries as one with a single one.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy.orm import Session

from vpopsql.explain import addresses, login, mail, rows
from vpopsql.explain.node import Forward, Node
from vpopsql.explain.result import (
    Address,
    Defect,
    DefectCode,
    Delivery,
    DeliveryKind,
    Explanation,
    Step,
    StepKind,
    Verdict,
)
from vpopsql.explain.rows import Site

MAX_HOPS = 25
"""Forwards after which mail is not followed any further; qmail itself bounces after 100 hops."""

MAX_ADDRESSES = 1000
"""Addresses that are followed in all."""

_AT_ONCE = 100
"""Addresses read by one set of queries: each takes up to some dozen keys."""

_GOOD = {
    DeliveryKind.MAILDIR,
    DeliveryKind.MBOX,
    DeliveryKind.PROGRAM,
    DeliveryKind.REMOTE,
    DeliveryKind.SYSTEM,
}


def explain(session: Session, text: str, site: Site) -> Explanation:
    """Return all there is to say about an address, as the rows have it; no file is opened.

    :param session: in one transaction that sees one moment.
    :param text: ``user@domain``, ``user@[IP]``, a domain, or a name of the default domain.
    """
    address, steps = addresses.understand(session, text, site)
    ways = _Ways(session, site)
    ways.follow(address)
    root = ways.nodes[address]
    told = _Telling(ways)
    told.tell(root, (address,))
    real = root.facts.domains.get(address.domain)
    notes: list[str] = []
    account = limits = None
    if real is not None:
        account = login.account_of(session, root, real)
        limits = login.limits_of(root, real)
        notes = login.notes_of(session, root, real)
    if site.unfinished:
        what = "an import was interrupted: the database holds a part of the site only"
        told.defects.append(
            Defect(DefectCode.UNFINISHED_IMPORT, address, what, "run the same import again")
        )
    return Explanation(
        asked=text,
        address=address,
        real=None if real is None else real.real,
        verdict=_verdict(root, told.deliveries),
        steps=(*steps, *told.steps),
        deliveries=tuple(told.deliveries),
        defects=tuple(dict.fromkeys(told.defects)),
        account=account,
        limits=limits,
        notes=tuple(notes),
    )


class _Ways:
    """The addresses that mail for one passes, each followed once."""

    def __init__(self, session: Session, site: Site) -> None:
        self._session = session
        self._site = site
        self.nodes: dict[Address, Node] = {}
        self.left: list[Address] = []
        """Addresses that are not followed, for there are too many."""

    def follow(self, root: Address) -> None:
        """Follow an address and everything that it leads to."""
        hop = [root]
        for _ in range(MAX_HOPS):
            free = MAX_ADDRESSES - len(self.nodes)
            self.left += hop[free:]
            for start in range(0, len(hop[:free]), _AT_ONCE):
                self._read(hop[:free][start : start + _AT_ONCE], root)
            found = (forward.target for address in hop[:free] for forward in self._from(address))
            hop = list(dict.fromkeys(target for target in found if target not in self.nodes))
            if not hop:
                return
        self.left += hop

    def _from(self, address: Address) -> Sequence[Forward]:
        return self.nodes[address].forwards

    def _read(self, some: Sequence[Address], root: Address) -> None:
        facts = rows.read(self._session, some, self._site)
        for address in some:
            outside = address == root
            self.nodes[address] = mail.follow(self._site, facts, address, from_outside=outside)


@dataclass(frozen=True, slots=True)
class _Visit:
    """An address about to be told of."""

    node: Node
    via: tuple[Address, ...]
    where: str = ""
    """The line that led there."""


class _Telling:
    """Puts what was found into the order in which a reader follows it: depth first."""

    def __init__(self, ways: _Ways) -> None:
        self._ways = ways
        self._told: set[Address] = set()
        self._routed: set[str] = set()
        self.steps: list[Step] = []
        self.deliveries: list[Delivery] = []
        self.defects: list[Defect] = []

    def tell(self, root: Node, via: tuple[Address, ...]) -> None:
        """Tell of an address and of what it leads to."""
        waiting = [_Visit(root, via)]
        while waiting:
            visit = waiting.pop()
            if visit.node.address in self._told:
                self._tell_again(visit)
            else:
                waiting += reversed(self._tell_one(visit))

    def _tell_one(self, visit: _Visit) -> list[_Visit]:
        node, via = visit.node, visit.via
        self._told.add(node.address)
        if not node.is_foreign or len(via) == 1:
            self._add_steps(node)
        self.deliveries += [Delivery(end.kind, end.target, end.reason, via) for end in node.ends]
        self.defects += node.defects
        further = []
        for forward in node.forwards:
            target = self._ways.nodes.get(forward.target)
            if target is None:
                self._leave(node, forward)
            elif forward.target in via:
                self._loop(node, forward, via)
            else:
                if target.is_unknown and not target.is_foreign:
                    self._dangling(node, forward)
                further.append(_Visit(target, (*via, forward.target), forward.where))
        return further

    def _add_steps(self, node: Node) -> None:
        """Add a node's steps; how its domain is reached is told once a domain."""
        shared = {StepKind.ROUTE, StepKind.DOMAIN, StepKind.ASSIGN}
        known = node.address.domain in self._routed
        if node.name is not None:
            self._routed.add(node.address.domain)
        self.steps += [step for step in node.steps if not (known and step.kind in shared)]

    def _tell_again(self, visit: _Visit) -> None:
        what = f"{visit.where} leads to {visit.node.address}"
        result = "one more copy, with which the same happens as with the one above"
        self.steps.append(Step(StepKind.AGAIN, visit.via[-2], what, result))

    def _loop(self, node: Node, forward: Forward, via: tuple[Address, ...]) -> None:
        circle = via[via.index(forward.target) :]
        shown = " -> ".join(map(str, (*circle, forward.target)))
        reason = f"it loops: {shown}"
        self.deliveries.append(Delivery(DeliveryKind.BOUNCE, str(forward.target), reason, via))
        self.defects.append(
            Defect(
                DefectCode.LOOP, node.address, shown, f"change {forward.where} of {node.address}"
            )
        )

    def _dangling(self, node: Node, forward: Forward) -> None:
        what = f"{forward.where} leads to {forward.target}, which there is not"
        advice = f"make {forward.target}, or change the line"
        self.defects.append(Defect(DefectCode.DANGLING, node.address, what, advice))

    def _leave(self, node: Node, forward: Forward) -> None:
        what = f"{forward.target} and what comes after it is not followed"
        advice = f"explain {forward.target} by itself"
        self.defects.append(Defect(DefectCode.TOO_MANY, node.address, what, advice))


def _verdict(root: Node, deliveries: Sequence[Delivery]) -> Verdict:
    if root.is_foreign:
        return Verdict.FOREIGN
    kinds = {delivery.kind for delivery in deliveries}
    if kinds & _GOOD:
        return Verdict.DELIVERED
    for kind, verdict in (
        (DeliveryKind.DEFER, Verdict.DEFERRED),
        (DeliveryKind.BOUNCE, Verdict.BOUNCED),
        (DeliveryKind.REFUSED, Verdict.BOUNCED),
    ):
        if kind in kinds:
            return verdict
    return Verdict.DISCARDED
