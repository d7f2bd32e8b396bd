"""vpopmail's directory counter: which bucket the next directory goes into.

The first 99 go to the top, every hundredth addition moves on: ``0`` to ``z``, then ``0/0`` to
``z/z``, then three levels. Buckets that a deletion freed are used first. The counter only has to
spread directories; where each one is, is stored with it.

Source: vpopmail's .dir-control. differs: callers lock the counter, so that it is exact.
"""

import string
from dataclasses import asdict, dataclass, fields
from typing import Any

from sqlalchemy import bindparam, insert, select, update
from sqlalchemy.orm import Session

from vpopsql.model import DirCounter, table_of
from vpopsql.prepared import Change, Prepared
from vpopsql.services import sight

_ALPHABET = string.digits + string.ascii_uppercase + string.ascii_lowercase
_LAST = len(_ALPHABET) - 1
_PER_BUCKET = 100
_LEVELS = 3
_SITE = 0
"""`DirCounter.id` of the domains' own directories."""


@dataclass(slots=True)
class _Counter:
    """A counter's row."""

    id: int
    cur_users: int
    level_cur: int
    level_max: int
    level_start0: int
    level_start1: int
    level_start2: int
    level_end0: int
    level_end1: int
    level_end2: int
    level_mod0: int
    level_mod1: int
    level_mod2: int
    level_index0: int
    level_index1: int
    level_index2: int
    the_dir: str
    free_buckets: str | None


_COUNTED = (
    *("cur_users", "level_cur", "level_index0", "level_index1", "level_index2"),
    *("the_dir", "free_buckets"),
)
"""What counting changes."""

_ROW = select(*(getattr(DirCounter, field.name) for field in fields(_Counter))).with_for_update()
_OF_SITE: Prepared[*tuple[Any, ...]] = Prepared(_ROW.where(DirCounter.id == _SITE))
_OF_DOMAIN: Prepared[*tuple[Any, ...]] = Prepared(
    _ROW.where(DirCounter.domain_id == bindparam("domain_id"))
)
_INSERT = Change(insert(table_of(DirCounter)))
_SAVE = Change(update(table_of(DirCounter)).where(DirCounter.id == bindparam("counter_id")))


def expect(session: Session, domain_id: int | None) -> None:
    """Say that a counter will be counted on, see `Prepared.expect`."""
    if domain_id is None:
        _OF_SITE.expect(session)
    else:
        _OF_DOMAIN.expect(session, domain_id=domain_id)


def lock(session: Session, domain_id: int | None) -> None:
    """Let no other session count until this transaction ends."""
    _find(session, domain_id)


def begin(session: Session, domain_id: int) -> str:
    """Begin to count the mailboxes of a new domain with the first; return its bucket."""
    _INSERT.run(session, **new_counter(domain_id) | {"cur_users": 1})
    return ""


def take_bucket(session: Session, domain_id: int | None) -> str:
    """Count one directory more; return the bucket it goes into, empty for the top.

    :param domain_id: whose mailboxes; None: the domains' own directories.
    """
    return take_buckets(session, domain_id, 1)[0]


def take_buckets(session: Session, domain_id: int | None, number: int) -> list[str]:
    """Count several directories more; return the bucket of each, as `take_bucket` does."""
    counter = _locked(session, domain_id)
    lines = (counter.free_buckets or "").splitlines()
    usable = [at for at, line in enumerate(lines) if line.strip() and not line.startswith("#")]
    taken = usable[:number]
    buckets = [lines[at].strip() for at in taken]
    counter.cur_users += len(taken)
    if taken:
        rest = (line for at, line in enumerate(lines) if at not in set(taken))
        counter.free_buckets = "".join(f"{each}\n" for each in rest)
    while len(buckets) < number:
        counter.cur_users += 1
        if counter.cur_users % _PER_BUCKET == 0:
            _advance(counter)
        buckets.append(counter.the_dir)
    _save(session, counter)
    return buckets


def free_bucket(session: Session, domain_id: int | None, bucket: str) -> None:
    """Count one directory less; its bucket, unless that is the top, is used for the next one."""
    counter = _locked(session, domain_id)
    counter.cur_users = max(0, counter.cur_users - 1)
    if bucket:
        counter.free_buckets = f"{counter.free_buckets or ''}{bucket}\n"
    _save(session, counter)


def retake_bucket(session: Session, domain_id: int | None, bucket: str) -> None:
    """Undo `free_bucket`: a directory is back in the bucket that it was in."""
    counter = _locked(session, domain_id)
    counter.cur_users += 1
    lines = (counter.free_buckets or "").splitlines(keepends=True)
    places = [at for at, line in enumerate(lines) if bucket and line.strip() == bucket]
    if places:
        del lines[places[-1]]
        counter.free_buckets = "".join(lines) or None
    _save(session, counter)


def bucket_of(directory: str, parent: str) -> str:
    """Return the bucket that a directory below ``parent`` is in; empty for the top."""
    return directory.removeprefix(parent).strip("/").rpartition("/")[0]


def _locked(session: Session, domain_id: int | None) -> _Counter:
    found = _find(session, domain_id)
    if found is None:
        _INSERT.run(session, **new_counter(domain_id))
        found = _find(session, domain_id)
    if found is None:
        raise LookupError("a counter that was just made is not there")
    return found


def _find(session: Session, domain_id: int | None) -> _Counter | None:
    if domain_id is None:
        row = _OF_SITE.first(session)
    else:
        row = _OF_DOMAIN.first(session, domain_id=domain_id)
    return None if row is None else _Counter(*row)


def _save(session: Session, counter: _Counter) -> None:
    if (watching := sight.of(session)) and counter.id != _SITE:
        watching.counter = asdict(counter)
    values = {name: getattr(counter, name) for name in _COUNTED}
    _SAVE.run(session, counter_id=counter.id, **values)


def new_counter(domain_id: int | None) -> dict[str, int | str | None]:
    """Return the columns of a counter that has counted nothing."""
    levels = range(_LEVELS)
    return {
        **({"id": _SITE} if domain_id is None else {}),
        "domain_id": domain_id,
        "cur_users": 0,
        "level_cur": 0,
        "level_max": _LEVELS,
        **{f"level_start{level}": 0 for level in levels},
        **{f"level_end{level}": _LAST for level in levels},
        # vpopmail starts with 0 2 4 and rewrites the last one; nothing reads them.
        **{f"level_mod{level}": (0, 2, 2)[level] for level in levels},
        **{f"level_index{level}": 0 for level in levels},
        "the_dir": "",
    }


def _advance(counter: _Counter) -> None:
    if counter.the_dir:
        _count_up(counter)
    letters = (
        _ALPHABET[getattr(counter, f"level_index{level}") % len(_ALPHABET)]
        for level in range(counter.level_cur + 1)
    )
    counter.the_dir = "/".join(letters)


def _count_up(counter: _Counter) -> None:
    for level in range(counter.level_cur, -1, -1):
        index = getattr(counter, f"level_index{level}")
        if index < getattr(counter, f"level_end{level}"):
            setattr(counter, f"level_index{level}", index + 1)
            return
        setattr(counter, f"level_index{level}", getattr(counter, f"level_start{level}"))
    if counter.level_cur < min(counter.level_max, _LEVELS) - 1:
        counter.level_cur += 1
