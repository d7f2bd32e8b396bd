"""One address on a message's way, while what happens there is written down."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from vpopsql.explain.claims import Claim
from vpopsql.explain.result import (
    Address,
    Defect,
    DefectCode,
    DeliveryKind,
    Source,
    Step,
    StepKind,
)
from vpopsql.explain.rows import Facts, Mailbox, Name, Site
from vpopsql.names import lower


@dataclass(frozen=True, slots=True)
class End:
    """A way that ends here."""

    kind: DeliveryKind
    target: str
    reason: str


@dataclass(frozen=True, slots=True)
class Forward:
    """A way that goes on."""

    target: Address
    where: str
    """The line that says so."""


@dataclass(slots=True)
class Node:
    """What happens at an address, in the order in which it does."""

    address: Address
    site: Site
    facts: Facts
    name: Name | None = None
    """Its domain, if mail for the address is delivered by it."""
    mailbox: Mailbox | None = None
    """The mailbox of this very name, whether or not it gets the mail."""
    steps: list[Step] = field(default_factory=list)
    ends: list[End] = field(default_factory=list)
    forwards: list[Forward] = field(default_factory=list)
    defects: list[Defect] = field(default_factory=list)
    is_unknown: bool = False
    """Whether the domain has nothing of this name."""
    is_foreign: bool = False
    """Whether the address is none of this database's."""

    def step(
        self,
        kind: StepKind,
        what: str,
        result: str,
        source: Source | None = None,
        claims: Sequence[Claim] = (),
    ) -> None:
        """Say what happens next."""
        self.steps.append(Step(kind, self.address, what, result, source, tuple(claims)))

    def end(self, kind: DeliveryKind, target: str = "", reason: str = "") -> None:
        """Say that the message ends here, or one of its copies."""
        self.ends.append(End(kind, target, reason))

    def forward(self, text: str, where: str) -> Address:
        """Say that a copy goes to another address."""
        user, _, domain = text.rpartition("@") if "@" in text else (text, "", "")
        target = Address(lower(user), lower(domain.rstrip(".")))
        self.forwards.append(Forward(target, where))
        return target

    def defect(self, code: DefectCode, what: str, advice: str) -> None:
        """Say what is wrong."""
        self.defects.append(Defect(code, self.address, what, advice))

    def cannot_write(self, path: str, why: str) -> None:
        """Say that no export can write a file for what the database has."""
        what = f"{path} cannot be written: {why}"
        self.defect(DefectCode.UNWRITABLE, what, "change it with vpopmaild")
