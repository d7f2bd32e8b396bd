"""The tables of docs/import-codes.md, written from the codes themselves."""

from vpopsql.importer.codes import Code, Severity


def reference() -> str:
    """Return docs/import-codes.md's tables: every code, what it means, what to do."""
    lines: list[str] = []
    for severity in sorted(Severity, reverse=True):
        is_reject = severity is Severity.REJECT
        columns = ["code", "what is the case", "what to do", *["if accepted"] * is_reject]
        lines += [f"## {severity.name.capitalize()}s", "", _DOCUMENTED[severity], ""]
        lines += [_row(columns), _row(["---"] * len(columns))]
        for code in Code:
            if code.severity is severity:
                cells = [f"`{code}`", code.meaning, code.advice, code.if_accepted]
                lines.append(_row(cells[: len(columns)]))
        lines.append("")
    return "\n".join(lines)


_DOCUMENTED = {
    Severity.REJECT: (
        "Not importable. While there is one that is not accepted, nothing of the site is\n"
        "imported and the exit code is 2."
    ),
    Severity.WARNING: (
        "Imported, but not quite as it stands there, or with something left out. While there is\n"
        "one that is not accepted, and no reject, the exit code is 1."
    ),
    Severity.NOTE: "Good to know; nothing to do. Notes do not change the exit code.",
}


def _row(cells: list[str]) -> str:
    return f"| {' | '.join(cells)} |"
