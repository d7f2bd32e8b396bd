"""What ``vpopsql explain`` says to people, the result on the last lines."""

from collections.abc import Iterable, Iterator

from vpopsql.explain.delivery import show_quota
from vpopsql.explain.result import (
    Account,
    Address,
    Delivery,
    Evidence,
    Explanation,
    Limits,
    State,
    Verdict,
)
from vpopsql.quota import Quota
from vpopsql.services.limits import BUILT_IN

_VERDICTS = {
    Verdict.DELIVERED: "delivered",
    Verdict.DEFERRED: "deferred: qmail tries again, and bounces it after a week",
    Verdict.BOUNCED: "bounced",
    Verdict.DISCARDED: "discarded: it is accepted, and nobody gets it",
    Verdict.FOREIGN: "not ours: the domain is none of this database's",
}
_STATES = {
    State.AGREES: "as in the database",
    State.DIFFERS: "SAYS OTHERWISE",
    State.MISSING: "MISSING",
    State.UNEXPECTED: "NOT IN THE DATABASE",
    State.UNREADABLE: "could not be read",
}


def lines_of(explanation: Explanation) -> Iterator[str]:
    """Return an explanation, line by line."""
    yield from _way(explanation)
    yield ""
    if explanation.account is not None:
        yield from _account(explanation.account)
        yield ""
    elif explanation.real is not None and explanation.address.user:
        name = f"{explanation.address.user}@{explanation.real}"
        yield f"Logins: none, there is no mailbox {name}"
        yield ""
    if explanation.limits is not None:
        yield from _limits(explanation.limits, explanation.real or "")
        yield ""
    if explanation.notes:
        yield from explanation.notes
        yield ""
    if explanation.defects:
        yield "Wrong"
        for defect in explanation.defects:
            yield f"  {defect.code}: {defect.what}"
            yield f"    {defect.advice}"
        yield ""
    yield from _result(explanation)


def _way(explanation: Explanation) -> Iterator[str]:
    shown: Address | None = None
    for number, step in enumerate(explanation.steps, 1):
        if step.address != shown:
            if shown is not None:
                yield ""
            yield _title(step.address)
            shown = step.address
        yield f"{number:3} {step.kind.value:<9} {step.what}"
        yield f"              -> {step.result}"
        yield from _files(step.evidence, " " * 17)


def _title(address: Address) -> str:
    if not address.user:
        return f"Mail for names that {address.domain} does not have"
    return f"Mail for {address}"


def _files(evidence: Iterable[Evidence], indent: str) -> Iterator[str]:
    for each in evidence:
        place = each.path if each.line is None else f"{each.path}:{each.line}"
        text = "" if each.text is None else f" {each.text}"
        reason = f": {each.reason}" if each.reason else ""
        yield f"{indent}{place}{text} [{_STATES[each.state]}{reason}]"


def _account(account: Account) -> Iterator[str]:
    yield f"Logins of {account.address}"
    stored = "stored as it is too" if account.clear_text else "not stored as it is"
    yield f"  password        {account.password}, {stored}"
    yield f"  administers     {account.level}: {account.level_reason}"
    yield f"  flags           {' '.join(account.flags) or 'none'}"
    yield f"  kind            {account.kind}"
    yield f"  quota           {show_quota(Quota(account.quota_bytes, account.quota_messages))}"
    for login in account.logins:
        allowed = "yes" if login.allowed else "no"
        yield f"  {login.service:<15} {allowed}{': ' if login.reason else ''}{login.reason}"
    if not account.last_logins:
        yield "  last login      not known"
    for service, at, ip in account.last_logins:
        when = f"{at:%Y-%m-%d %H:%M:%S} UTC"
        if ip == "0.0.0.0":  # noqa: S104 - vpopmail's word for never
            yield f"  last login      never; the account was made {when}"
        else:
            yield f"  last login      {when} from {ip} ({service})"
    yield from _files(account.evidence, "  ")


def _limits(limits: Limits, domain: str) -> Iterator[str]:
    yield f"Limits of {domain} ({limits.source})"
    held = {name: value for name, value in limits.settings.items() if value != BUILT_IN[name]}
    for name, value in held.items():
        yield f"  {name:<27} {'yes' if value is True else value}"
    if not held:
        yield "  none"
    yield from _files(limits.evidence, "  ")


def _result(explanation: Explanation) -> Iterator[str]:
    yield f"{explanation.address}: {_VERDICTS[explanation.verdict]}"
    for delivery in explanation.deliveries:
        yield f"  {_delivery(delivery)}"


def _delivery(delivery: Delivery) -> str:
    last = delivery.via[-1]
    said = str(last) in f"{delivery.target} {delivery.reason}"
    via = "" if said or len(delivery.via) == 1 else f", by way of {last}"
    return f"{delivery.kind.value:<8} {delivery.target}: {delivery.reason}{via}"
