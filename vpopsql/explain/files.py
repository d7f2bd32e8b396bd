"""Compare what an explanation claims with the files, without changing any.

Text files are read line by line, of a cdb only what a look-up touches. Passwords and hashes are
compared and never shown.
"""

import mmap
import os
import stat
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, TypeVar

from vpopsql import names
from vpopsql.explain import routing
from vpopsql.explain.claims import (
    Accepts,
    Assigns,
    Claim,
    Contains,
    DefaultDelivery,
    HasAccount,
    HasLine,
    IsDirectory,
    IsMaildir,
    Measures,
    NamesHost,
    Routes,
)
from vpopsql.explain.result import Address, Defect, DefectCode, Evidence, Explanation, State
from vpopsql.qmail import assign, cdb, control, maildirsize, vpasswd
from vpopsql.qmail.lines import decode, encode, split_lines
from vpopsql.qmail.vpasswd import VpasswdLine
from vpopsql.quota import Quota
from vpopsql.tree import Tree, UnsafePath

T = TypeVar("T")

_SMALL = 1024 * 1024
"""Bytes up to which a dot-qmail or limits file is compared."""

_DRIFT = "`vpopsql verify` shows what differs, `vpopsql export apply` writes the files anew"
_ADVICE = {
    DefectCode.OPEN_RELAY: "`vpopsql export apply` writes it",
    DefectCode.MISSING_DIRECTORY: "make it, or restore it: `vpopsql verify`",
    DefectCode.UNSAFE_DIRECTORY: "chmod -t,o-w",
    DefectCode.OVER_QUOTA: "give the mailbox room, or a larger quota",
}

_LABELS = {
    "password_hash": "hash",
    "apop_uid": "kind",
    "flags": "flags",
    "comment": "comment",
    "directory": "directory",
    "quota_text": "quota",
    "clear_text": "readable password, or none",
}
"""What the fields of vpasswd are called when they differ; what is in them is not said."""

_FIELDS = 7
_HASH, _CLEAR_TEXT = 1, 7


def examine(explanation: Explanation, tree: Tree) -> Explanation:
    """Return the explanation with what the files say to each step, and what is wrong with them."""
    examiner = _Examiner(tree)
    steps = tuple(
        replace(step, evidence=examiner.examine(step.address, step.claims))
        for step in explanation.steps
    )
    account, limits = explanation.account, explanation.limits
    if account is not None:
        account = replace(account, evidence=examiner.examine(explanation.address, account.claims))
    if limits is not None:
        limits = replace(limits, evidence=examiner.examine(explanation.address, limits.claims))
    defects = (*explanation.defects, *examiner.defects.values())
    return replace(explanation, steps=steps, account=account, limits=limits, defects=defects)


class _Examiner:
    """Answers each claim once."""

    def __init__(self, tree: Tree) -> None:
        self._tree = tree
        self._known: dict[Claim, tuple[Evidence, ...]] = {}
        self.defects: dict[tuple[str, DefectCode], Defect] = {}

    def examine(self, address: Address, claims: Collection[Claim]) -> tuple[Evidence, ...]:
        """Return what the files say to some claims; note what is wrong, a file once."""
        found: list[Evidence] = []
        for claim in claims:
            if claim not in self._known:
                self._known[claim] = tuple(self._answer(claim))
            found += self._known[claim]
        for each in found:
            if each.defect is not None:
                what = f"{each.path}: {each.reason}"
                advice = _ADVICE.get(each.defect, _DRIFT)
                self.defects.setdefault(
                    (each.path, each.defect), Defect(each.defect, address, what, advice)
                )
        return tuple(found)

    def _answer(self, claim: Claim) -> Iterator[Evidence]:
        answers: dict[type[Claim], Callable[[Any], Iterator[Evidence]]] = {
            Accepts: self._accepts,
            NamesHost: self._names_host,
            Routes: self._routes,
            Assigns: self._assigns,
            Contains: self._contains,
            HasLine: self._has_line,
            HasAccount: self._has_account,
            IsDirectory: self._is_directory,
            IsMaildir: self._is_maildir,
            Measures: self._measures,
            DefaultDelivery: self._default_delivery,
        }
        return answers[type(claim)](claim)

    # --- qmail's control files ----------------------------------------------------------------

    def _accepts(self, claim: Accepts) -> Iterator[Evidence]:
        patterns = tuple(routing.host_patterns(claim.host))
        try:
            found = self._find_host(claim.rcpthosts, patterns)
        except FileNotFoundError:
            reason = "it is missing: qmail-smtpd takes mail for every domain"
            yield Evidence(
                claim.rcpthosts, State.MISSING, reason=reason, defect=DefectCode.OPEN_RELAY
            )
            return
        except (OSError, UnsafePath) as error:
            yield _unreadable(claim.rcpthosts, error)
            return
        if found is not None:
            yield self._accepted(claim, claim.rcpthosts, *found)
            return
        try:
            pattern = next(
                (each for each in patterns if self._in_cdb(claim.morercpthosts, each)), None
            )
        except FileNotFoundError:
            pattern = None
        except (OSError, UnsafePath, ValueError) as error:
            yield _unreadable(claim.morercpthosts, error)
            return
        if pattern is not None:
            yield self._accepted(claim, claim.morercpthosts, None, pattern)
        elif claim.wanted:
            reason = f"neither it nor {claim.morercpthosts} names {claim.host}"
            yield _drift(claim.rcpthosts, State.MISSING, reason)

    def _accepted(self, claim: Accepts, path: str, line: int | None, text: str) -> Evidence:
        if claim.wanted:
            return Evidence(path, State.AGREES, line, text)
        return _drift(path, State.UNEXPECTED, f"it names {claim.host}", line, text)

    def _in_cdb(self, path: str, host: str) -> bool:
        with self._mapped(path) as data:
            return cdb.get(data, control.morercpthosts_record(host)[0]) is not None

    def _find_host(self, path: str, hosts: Collection[str]) -> tuple[int, str] | None:
        wanted = {encode(host) for host in hosts}
        with self._tree.opened(path) as file:
            for number, line in enumerate(file, 1):
                if line.rstrip(b"\n \t").lower() in wanted:
                    return number, decode(line.rstrip(b"\n"))
        return None

    def _names_host(self, claim: NamesHost) -> Iterator[Evidence]:
        found = self._try(claim.path, lambda: self._find_host(claim.path, [claim.host]))
        if isinstance(found, Evidence):
            # Without the file only the host's own name is local.
            if claim.wanted or found.state is not State.MISSING:
                yield found
        elif found is not None and claim.wanted:
            yield Evidence(claim.path, State.AGREES, *found)
        elif found is not None:
            yield _drift(claim.path, State.UNEXPECTED, f"it names {claim.host}", *found)
        elif claim.wanted:
            yield _drift(claim.path, State.MISSING, f"it does not name {claim.host}")

    def _routes(self, claim: Routes) -> Iterator[Evidence]:
        def look() -> tuple[int, str] | None:
            last = None
            start = encode(f"{claim.name}:")
            with self._tree.opened(claim.path) as file:
                for number, line in enumerate(file, 1):
                    if line[: len(start)].lower() == start:
                        last = number, decode(line.rstrip(b"\n \t"))
            return last

        found = self._try(claim.path, look)
        if isinstance(found, Evidence):
            yield found
        elif found is None:
            if claim.prepend is not None:
                yield _drift(claim.path, State.MISSING, f"it does not name {claim.name}")
        elif claim.prepend is None:
            yield _drift(claim.path, State.UNEXPECTED, "the line goes before the domain's", *found)
        elif names.lower(found[1].partition(":")[2]) != claim.prepend:
            reason = f"{claim.name} should be given to {claim.prepend}"
            yield _drift(claim.path, State.DIFFERS, reason, *found)
        else:
            yield Evidence(claim.path, State.AGREES, *found)

    def _assigns(self, claim: Assigns) -> Iterator[Evidence]:
        start = encode(claim.line.partition(":")[0] + ":").lower()

        def look() -> tuple[int, str] | None:
            with self._tree.opened(claim.assign) as file:
                for number, line in enumerate(file, 1):
                    if line[: len(start)].lower() == start:
                        return number, decode(line.rstrip(b"\n"))
            return None

        found = self._try(claim.assign, look)
        if isinstance(found, Evidence):
            yield found
        elif found is None:
            yield _drift(claim.assign, State.MISSING, f"there is no line {claim.line}")
        elif found[1] != claim.line:
            yield _drift(claim.assign, State.DIFFERS, f"it should be {claim.line}", *found)
        else:
            yield Evidence(claim.assign, State.AGREES, *found)
        compiled = self._try(claim.cdb, lambda: list(self._compiled(claim)))
        yield from [compiled] if isinstance(compiled, Evidence) else compiled

    def _compiled(self, claim: Assigns) -> Iterator[Evidence]:
        key, data = assign.cdb_record(claim.line)
        with self._mapped(claim.cdb) as records:
            for other in _winners(key, claim.local):
                if (found := cdb.get(records, other)) is not None:
                    text = _assignment(other, found)
                    reason = "the record goes before the domain's"
                    yield _drift(claim.cdb, State.UNEXPECTED, reason, None, text)
            found = cdb.get(records, key)
        if found is None:
            yield _drift(claim.cdb, State.MISSING, f"it has no record for {claim.line}")
        elif found != data:
            reason = f"it should be {claim.line}"
            yield _drift(claim.cdb, State.DIFFERS, reason, None, _assignment(key, found))
        else:
            yield Evidence(claim.cdb, State.AGREES, None, _assignment(key, found))

    # --- files of domains and mailboxes -------------------------------------------------------

    def _contains(self, claim: Contains) -> Iterator[Evidence]:
        path, content = claim.path, claim.content
        try:
            if content is None:
                if self._tree.exists(path):
                    yield _drift(path, State.UNEXPECTED, "it is not in the database")
                return
            if isinstance(content, str):
                same = self._tree.read_link(path) == content
            else:
                same = self._tree.read(path, _SMALL) == content
        except (FileNotFoundError, NotADirectoryError):
            yield _drift(path, State.MISSING, "it is missing")
        except (OSError, UnsafePath) as error:
            yield _unreadable(path, error)
        else:
            if same:
                yield Evidence(path, State.AGREES)
            else:
                yield _drift(path, State.DIFFERS, "it says otherwise than the database")

    def _has_line(self, claim: HasLine) -> Iterator[Evidence]:
        try:
            lines = dict(split_lines(self._tree.read(claim.path, _SMALL)))
        except (OSError, UnsafePath):
            return  # said where the file was looked for
        text = lines.get(claim.number)
        state = State.AGREES if text == claim.text else State.DIFFERS
        reason = "" if text is not None else "there is no such line"
        yield Evidence(claim.path, state, claim.number, text, reason)

    def _has_account(self, claim: HasAccount) -> Iterator[Evidence]:
        start = encode(f"{claim.name}:")

        def look() -> tuple[int, bytes] | None:
            with self._tree.opened(claim.path) as file:
                for number, line in enumerate(file, 1):
                    if line.startswith(start):
                        return number, line.rstrip(b"\n")
            return None

        def look_up() -> bytes | None:
            with self._mapped(f"{claim.path}.cdb") as records:
                return cdb.get(records, encode(claim.name))

        found = self._try(claim.path, look)
        if isinstance(found, Evidence):
            yield found
        else:
            number, line = found or (None, None)
            yield _account(claim, claim.path, number, line)
        record = self._try(f"{claim.path}.cdb", look_up)
        if isinstance(record, Evidence):
            yield record
        else:
            line = None if record is None else start + record
            yield _account(claim, f"{claim.path}.cdb", None, line)

    def _is_directory(self, claim: IsDirectory) -> Iterator[Evidence]:
        found = self._stat_directory(claim.path)
        if isinstance(found, Evidence):
            yield found
            return
        mode = stat.S_IMODE(found.st_mode)
        owner = f"uid {found.st_uid}, gid {found.st_gid}, mode {mode:04o}"
        if mode & (stat.S_ISVTX | stat.S_IWOTH) and claim.by_qmail:
            reason = "it is sticky or writable by everybody: qmail-local defers"
            unsafe = DefectCode.UNSAFE_DIRECTORY
            yield Evidence(claim.path, State.DIFFERS, None, owner, reason, unsafe)
        elif (found.st_uid, found.st_gid) != (claim.uid, claim.gid):
            reason = f"it should belong to uid {claim.uid}, gid {claim.gid}"
            yield _drift(claim.path, State.DIFFERS, reason, None, owner)
        else:
            yield Evidence(claim.path, State.AGREES, None, owner)

    def _is_maildir(self, claim: IsMaildir) -> Iterator[Evidence]:
        for path in (claim.path, *(f"{claim.path}/{box}" for box in ("cur", "new", "tmp"))):
            found = self._stat_directory(path)
            if isinstance(found, Evidence):
                yield found
                return
        yield Evidence(claim.path, State.AGREES)

    def _stat_directory(self, path: str) -> os.stat_result | Evidence:
        missing = DefectCode.MISSING_DIRECTORY
        found = self._try(path, lambda: self._tree.stat(path), missing)
        if isinstance(found, Evidence) or stat.S_ISDIR(found.st_mode):
            return found
        if stat.S_ISLNK(found.st_mode):
            reason = "it is a symbolic link, which is not followed"
            return Evidence(path, State.UNREADABLE, reason=reason)
        return Evidence(path, State.DIFFERS, reason="it is no directory", defect=missing)

    def _measures(self, claim: Measures) -> Iterator[Evidence]:
        try:
            measured = maildirsize.parse(self._tree.read(claim.path, _SMALL))
        except (FileNotFoundError, NotADirectoryError):
            return
        except (OSError, UnsafePath) as error:
            yield _unreadable(claim.path, error)
            return
        used = Quota(measured.total_bytes, measured.total_count)
        text = (
            f"{used.bytes} bytes, {used.messages} messages of {measured.quota_text or 'no quota'}"
        )
        limit = Quota.parse(measured.quota_text)
        if _is_over(used.bytes, limit.bytes) or _is_over(used.messages, limit.messages):
            reason = "over quota: mail bounces until there is room"
            yield Evidence(claim.path, State.AGREES, None, text, reason, DefectCode.OVER_QUOTA)
        elif limit != claim.quota:
            reason = f"the mailbox has {claim.quota.render()}: vdelivermail believes the file"
            yield _drift(claim.path, State.DIFFERS, reason, 1, text)
        else:
            yield Evidence(claim.path, State.AGREES, None, text)

    def _default_delivery(self, claim: DefaultDelivery) -> Iterator[Evidence]:
        try:
            lines = split_lines(self._tree.read(claim.path, _SMALL))
        except (OSError, UnsafePath):
            return
        for number, text in lines:
            if "vdelivermail" in text:
                return
            if text and not text.startswith("#") and text != "./Maildir/":
                reason = "built with --enable-defaultdelivery, vpopmail does this instead"
                yield Evidence(claim.path, State.UNEXPECTED, number, text, reason)
                return

    # --- reading ------------------------------------------------------------------------------

    def _try(
        self, path: str, look: Callable[[], T], missing: DefectCode = DefectCode.DRIFT
    ) -> T | Evidence:
        """Return what was found, or what is to be said of a file that cannot be read."""
        try:
            return look()
        except (FileNotFoundError, NotADirectoryError):
            return Evidence(path, State.MISSING, reason="it is missing", defect=missing)
        except (OSError, UnsafePath, ValueError) as error:
            return _unreadable(path, error)

    @contextmanager
    def _mapped(self, path: str) -> Iterator[bytes]:
        """Give a cdb without reading all of it; everybody replaces cdbs, nobody writes in them."""
        with self._tree.opened(path) as file:
            try:
                data = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
            except ValueError:  # an empty file
                yield b""
                return
            with data:
                yield data  # type: ignore[misc]


def _winners(key: bytes, local: str) -> Iterator[bytes]:
    """Give the keys that win over ``key`` for an address: its own, then longer wildcards."""
    if not local:
        return
    address = encode(names.lower(local))
    exact = b"!" + address + b"\0"
    if key == exact:
        return
    yield exact
    for length in range(len(address), len(key) - 1, -1):
        yield b"!" + address[:length]


def _assignment(key: bytes, data: bytes) -> str:
    record = assign.parse_cdb_record(key, data)
    return "a record that is no line" if record is None else assign.render_line(record)


def _account(claim: HasAccount, path: str, number: int | None, line: bytes | None) -> Evidence:
    if line is None:
        return _drift(path, State.MISSING, f"it does not have {claim.name}", number)
    if line != claim.line:
        reason = f"the database has another {_differences(line, claim.line)}"
        return _drift(path, State.DIFFERS, reason, number, _masked(line))
    return Evidence(path, State.AGREES, number, _masked(line))


def _differences(line: bytes, other: bytes) -> str:
    """Return the names of the fields that two lines of vpasswd have different values in."""
    ours, theirs = (vpasswd.parse(each)[0] for each in (other, line))
    if isinstance(ours, VpasswdLine) and isinstance(theirs, VpasswdLine):
        found = [
            label
            for attribute, label in _LABELS.items()
            if getattr(ours, attribute) != getattr(theirs, attribute)
        ]
        if found:
            return ", ".join(found)
    return "line"


def _masked(line: bytes) -> str:
    """Return a line of vpasswd without its hash and its password."""
    fields = decode(line).split(":", _FIELDS)
    if len(fields) < _FIELDS:
        return f"{fields[0]}:…"
    for position in (_HASH, _CLEAR_TEXT):
        if position < len(fields) and fields[position]:
            fields[position] = "***"
    return ":".join(fields)


def _is_over(used: int | None, limit: int | None) -> bool:
    return bool(used and limit and used >= limit)


def _drift(
    path: str, state: State, reason: str, line: int | None = None, text: str | None = None
) -> Evidence:
    return Evidence(path, state, line, text, reason, DefectCode.DRIFT)


def _unreadable(path: str, error: Exception) -> Evidence:
    reason = getattr(error, "strerror", None) or str(error)
    return Evidence(path, State.UNREADABLE, reason=reason)
