"""An explanation as data, described by docs/explain.schema.json."""

from collections.abc import Iterable
from typing import Any

from vpopsql.explain.result import Account, Evidence, Explanation, Limits, Step

VERSION = 1
"""Of the object: grows when it changes in a way that a reader could notice."""


def as_object(explanation: Explanation, *, files_read: bool) -> dict[str, Any]:
    """Return an explanation for JSON; there is no password and no hash in it.

    :param files_read: whether the files were compared.
    """
    address, account = explanation.address, explanation.account
    return {
        "version": VERSION,
        "asked": explanation.asked,
        "address": {
            "user": address.user,
            "domain": address.domain,
            "real_domain": explanation.real,
        },
        "verdict": explanation.verdict.value,
        "exit_code": int(explanation.exit_code),
        "files_read": files_read,
        "steps": [_step(number, step) for number, step in enumerate(explanation.steps, 1)],
        "deliveries": [
            {
                "kind": each.kind.value,
                "target": each.target,
                "reason": each.reason,
                "via": [str(address) for address in each.via],
            }
            for each in explanation.deliveries
        ],
        "defects": [
            {
                "code": each.code.value,
                "address": str(each.address),
                "what": each.what,
                "advice": each.advice,
            }
            for each in explanation.defects
        ],
        "account": None if account is None else _account(account),
        "logins": [] if account is None else _logins(account),
        "limits": None if explanation.limits is None else _limits(explanation.limits),
        "notes": list(explanation.notes),
    }


def _step(number: int, step: Step) -> dict[str, Any]:
    source = step.source
    return {
        "number": number,
        "step": step.kind.value,
        "address": str(step.address),
        "what": step.what,
        "result": step.result,
        "source": None if source is None else {"table": source.table, "row": source.row},
        "files": _files(step.evidence),
    }


def _files(evidence: Iterable[Evidence]) -> list[dict[str, Any]]:
    return [
        {
            "path": each.path,
            "line": each.line,
            "text": each.text,
            "state": each.state.value,
            "reason": each.reason,
        }
        for each in evidence
    ]


def _account(account: Account) -> dict[str, Any]:
    return {
        "address": account.address,
        "directory": account.directory,
        "flags": list(account.flags),
        "level": account.level,
        "level_reason": account.level_reason,
        "kind": account.kind,
        "password": account.password,
        "clear_text": account.clear_text,
        "can_log_in": account.can_log_in,
        "quota": {"bytes": account.quota_bytes, "messages": account.quota_messages},
        "last_logins": [
            {"service": service, "at": at.isoformat(), "ip": ip}
            for service, at, ip in account.last_logins
        ],
        "files": _files(account.evidence),
    }


def _logins(account: Account) -> list[dict[str, Any]]:
    return [
        {
            "service": each.service,
            "allowed": each.allowed,
            "flag": each.flag or None,
            "own": each.own,
            "domain": each.domain,
            "overridden": each.overridden,
            "reason": each.reason,
        }
        for each in account.logins
    ]


def _limits(limits: Limits) -> dict[str, Any]:
    return {
        "source": limits.source,
        "settings": dict(limits.settings),
        "files": _files(limits.evidence),
    }
