"""The tables of docs/verify-codes.md, written from the codes themselves."""

from vpopsql.exporter.drift.codes import Code, Mend, Severity


def reference() -> str:
    """Return the page's tables: every code, what it means, what mends it."""
    lines: list[str] = []
    for severity in sorted(Severity, reverse=True):
        lines += [f"## {_TITLES[severity]}", "", _DOCUMENTED[severity], ""]
        lines += [_row(["code", "what is the case", "what mends it"]), _row(["---"] * 3)]
        lines += [
            _row([f"`{code}`", code.meaning, _what_to_do(code)])
            for code in Code
            if code.severity is severity
        ]
        lines.append("")
    return "\n".join(lines)


_TITLES = {
    Severity.HARM: "Harm to mail",
    Severity.WARNING: "Warnings",
    Severity.NOTE: "Notes",
}

_DOCUMENTED = {
    Severity.HARM: (
        "Mail is refused, deferred, bounced or handled otherwise than the database says, or\n"
        "logins fail; or it cannot be told whether they do. The exit code is 2."
    ),
    Severity.WARNING: (
        "Not as the database says, but mail and logins do not depend on it. While there is\n"
        "nothing worse, the exit code is 1."
    ),
    Severity.NOTE: "Good to know. Notes do not change the exit code.",
}


def _what_to_do(code: Code) -> str:
    if code.mend is Mend.NOT:
        return code.advice
    mended = f"`--fix {code}`: {code.mend.value}"
    return f"{mended}; {code.advice}" if code.advice else mended


def _row(cells: list[str]) -> str:
    return f"| {' | '.join(cells)} |"
