"""A plan as data: JSON objects, one a line, described by docs/import-plan.schema.json.

The first says what this is, then come all sources, findings, domains, changes and what is left in
place, and the last is the summary.
"""

from collections.abc import Iterator
from typing import Any

from vpopsql.importer.evidence import Evidence
from vpopsql.importer.plan import Plan
from vpopsql.importer.states import State

VERSION = 1
"""Of the objects: grows when one of them changes in a way that a reader could notice."""

_WHERE = {"kind", "place"}


def as_objects(plan: Plan, *, applied: bool) -> Iterator[dict[str, Any]]:
    """Return the plan, from disk as far as it is there.

    :param applied: whether it was carried out.
    """
    found = plan.found
    yield {
        "type": "plan",
        "version": VERSION,
        "origin": plan.origin,
        "update": plan.update,
        "paths": {"vpopmail": found.vpopmail_dir, "qmail": found.qmail_dir},
    }
    for evidence in plan.scanned.evidence():
        yield from _evidence(plan, evidence)
    yield from _evidence(plan, plan.evidence)
    entries = plan.scanned.spool.entries
    for name, state in plan.states.items():
        counts = entries[name].counts if name in entries else {}
        yield {"type": "domain", "name": name, "state": state.value, "counts": counts}
    for change in plan.changes:
        yield {"type": "change"} | change.as_dict()
    yield {"type": "summary", "applied": applied} | _summary(plan)


def _evidence(plan: Plan, evidence: Evidence) -> Iterator[dict[str, Any]]:
    for tally in evidence.tallies:
        yield {"type": "source"} | tally.as_dict()
    for finding in evidence.findings:
        accepted = plan.report.is_accepted(finding.code)
        yield {"type": "finding"} | finding.as_dict() | {"accepted": accepted}
    for what, paths in evidence.left.items():
        for path in sorted(paths):
            yield {"type": "left", "what": what, "path": path}


def _summary(plan: Plan) -> dict[str, Any]:
    report = plan.report
    return {
        "parts": {
            kind: {state.value: part[state] for state in State}
            for kind, part in plan.parts.items()
        },
        "sources": {
            tally.kind: {key: value for key, value in tally.as_dict().items() if key not in _WHERE}
            for tally in report.sources
        },
        "lines_add_up": report.adds_up,
        "findings": {str(code): number for code, number in sorted(report.codes.items(), key=str)},
        "clear_texts_left_out": report.clear_texts,
        "left": dict(report.left),
        "maildirs": report.maildirs,
        "worst": report.worst.name.lower(),
        "rejected": report.rejected,
    }
