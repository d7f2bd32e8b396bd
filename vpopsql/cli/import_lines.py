"""What ``vpopsql import`` says to people: a plan, and a proof, as lines of text."""

from collections.abc import Iterator

from vpopsql.importer.codes import Code, Severity
from vpopsql.importer.evidence import Finding, Tally
from vpopsql.importer.plan import Plan
from vpopsql.importer.report import SHOWN, Report
from vpopsql.importer.states import State
from vpopsql.proof import Kind, Proof
from vpopsql.shown import printable

_COUNTS = ("files", "lines", "imported", "merged", "foreign", "rejected")
_KINDS = {
    Kind.IDENTICAL: "identical, byte for byte",
    Kind.ORDER: "with the same lines in another order",
    Kind.NEW: "new: made from others, or from tables",
    Kind.EXPLAINED: "that differ, for a reason that is known",
    Kind.UNEXPLAINED: "that differ for no known reason",
}
_IN_JSON = "see --format json"


def plan_lines(plan: Plan, *, wanted: bool) -> Iterator[str]:
    """Return a summary of a plan.

    :param wanted: whether it was to be carried out, and was, unless something is rejected.
    """
    yield f"vpopmail's home in the data: {printable(plan.found.vpopmail_dir)}"
    yield ""
    yield from _sources(plan.report)
    yield ""
    yield from _parts(plan)
    yield from _changes(plan)
    yield ""
    yield from _left(plan.report)
    yield from _clear_texts(plan.report)
    for severity in Severity:
        yield from _findings(plan.report, severity)
    yield ""
    yield _result(plan, wanted=wanted)


def proof_lines(proof: Proof, name: str) -> Iterator[str]:
    """Return a summary of a proof; ``name`` is that of the source."""
    yield f"compared with {printable(name)}: {_some(proof.domains, 'domain')}"
    for kind in Kind:
        files = "file" if proof.files[kind] == 1 else "files"
        yield f"{proof.files[kind]:10,} {files} {_KINDS[kind]}"
    for reason, number in proof.reasons.most_common():
        yield ""
        yield f"{number:,} {reason}:"
        shown = [each for each in proof.explained if each.reason == reason]
        for each in shown:
            yield f"  {each.place}"
        if number > len(shown):
            yield f"  and {number - len(shown):,} more"
    yield ""
    if not proof.accused:
        yield "Nothing differs that is not explained: the export writes what the source has."
        return
    yield f"{_some(proof.accused, 'DIFFERENCE')} THAT NOTHING EXPLAINS:"
    for each in proof.unexplained:
        yield f"  {each.place}: {each.reason}"
    if proof.accused > len(proof.unexplained):
        yield f"  and {proof.accused - len(proof.unexplained):,} more"


# --- where the lines went ---------------------------------------------------------------------


def _sources(report: Report) -> Iterator[str]:
    total = Tally("all", "")
    for tally in report.sources:
        total.add(tally)
    rows = [*report.sources, total]
    width = max(len(tally.kind) for tally in rows)
    columns = [max(len(name), len(f"{getattr(total, name):,}")) for name in _COUNTS]
    header = (name.rjust(size) for name, size in zip(_COUNTS, columns, strict=True))
    yield "  ".join(["source".ljust(width), *header])
    for tally in rows:
        numbers = (
            f"{getattr(tally, name):,}".rjust(size)
            for name, size in zip(_COUNTS, columns, strict=True)
        )
        yield "  ".join([tally.kind.ljust(width), *numbers])
    if report.adds_up:
        yield (
            "Every line is accounted for, file by file:"
            " lines = imported + merged + foreign + rejected."
        )
    else:
        yield "THE LINES DO NOT ADD UP: this is a defect of the importer, please report it."


# --- what becomes of the database -------------------------------------------------------------


def _parts(plan: Plan) -> Iterator[str]:
    width = max(len(kind) for kind in ["database", *plan.parts])
    largest = max((n for part in plan.parts.values() for n in part.values()), default=0)
    column = max(len(f"{largest:,}"), *(len(state) for state in State))
    yield "  ".join(["database".ljust(width), *(state.rjust(column) for state in State)])
    for kind, part in plan.parts.items():
        numbers = (f"{part[state]:,}".rjust(column) for state in State)
        yield "  ".join([kind.ljust(width), *numbers])


def _changes(plan: Plan) -> Iterator[str]:
    if not plan.changes:
        return
    yield ""
    yield f"{_some(len(plan.changes), 'difference')} between the source and the database:"
    for change in plan.changes[:SHOWN]:
        yield f"  {change.domain}: {printable(str(change))}"
    if len(plan.changes) > SHOWN:
        yield f"  and {len(plan.changes) - SHOWN:,} more: {_IN_JSON}"


def _left(report: Report) -> Iterator[str]:
    yield "Left in place, not imported:"
    yield f"  {_some(report.maildirs, 'Maildir')}"
    for what, number in sorted(report.left.items()):
        shown = report.left_shown[what]
        yield f"  {number:,} {what}:"
        for path in shown:
            yield f"    {path}"
        if number > len(shown):
            yield f"    and {number - len(shown):,} more: {_IN_JSON}"


# --- what was found ---------------------------------------------------------------------------


def _clear_texts(report: Report) -> Iterator[str]:
    if not report.clear_texts:
        return
    passwords = _some(report.clear_texts, "readable password")
    yield ""
    yield f"{passwords} in {_some(report.clear_text_places, 'domain')} left out."
    yield "  Clients that log in with CRAM-MD5 or APOP need them: to keep these working, set"
    yield "  passwords.store_clear_text and import again."


def _findings(report: Report, severity: Severity) -> Iterator[str]:
    """Return the findings of one severity, under a line for each code."""
    shown: dict[Code, list[Finding]] = {}
    for finding in report.shown(severity):
        shown.setdefault(finding.code, []).append(finding)
    if not shown:
        return
    yield ""
    total = sum(report.codes[code] for code in shown)
    yield f"{_some(total, severity.name.lower())}:"
    for code, findings in shown.items():
        number = report.codes[code]
        counted = f" ({number:,})" if number > 1 else ""
        yield f"  {code}{counted}: {code.meaning}"
        if report.is_accepted(code):
            yield f"    ACCEPTED: {code.if_accepted or 'it does not count'}"
        else:
            yield f"    -> {code.advice}"
        for finding in findings:
            text = f"{finding.text} -- " if finding.text else ""
            yield f"    {finding.place}: {text}{finding.reason}"
        if number > len(findings):
            yield f"    and {number - len(findings):,} more: {_IN_JSON}"


def _result(plan: Plan, *, wanted: bool) -> str:
    if not plan.report.adds_up:
        return "Nothing was written: what does not add up cannot be trusted, or accepted."
    if plan.rejected:
        return "Nothing was written: repair what is rejected first, or accept it: --accept CODE."
    if not plan.does_anything:
        return "Nothing to do: the database has all of it already."
    if not wanted:
        return "Nothing was written, this is the plan: run it again with --apply."
    domains, mailboxes = (plan.parts[kind][State.NEW] for kind in ("domains", "mailboxes"))
    new = f"Imported: {_some(domains, 'domain')} with {_some(mailboxes, 'mailbox')}."
    changed, gone = (len(plan.domains(state)) for state in (State.CHANGED, State.GONE))
    updated = f" Updated: {_some(changed, 'domain')}; removed: {gone:,}." if plan.update else ""
    return f"{new}{updated} `vpopsql import verify` compares the database with the source."


def _some(number: int, what: str) -> str:
    ending = "" if number == 1 else "es" if what.endswith("x") else "s"
    if what.isupper():
        ending = ending.upper()
    return f"{number:,} {what}{ending}"
