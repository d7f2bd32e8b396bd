"""The site's files after a change of some names, or of what exact lines are made of.

Pure: the old contents and the rows concerned in, the new contents out, as `render` would give them
of all rows. See `patch` for what is taken on trust.
"""

import contextlib
from collections.abc import Callable, Collection, Mapping
from dataclasses import replace

from vpopsql import names
from vpopsql.exporter import render
from vpopsql.exporter.patch import Changes, Grammar, Patched, patch
from vpopsql.exporter.reassigned import Placed, Reassigned
from vpopsql.exporter.render import LOCALS, MORE_CDB, MORERCPTHOSTS, RCPTHOSTS, VIRTUALDOMAINS
from vpopsql.exporter.rows import Name
from vpopsql.exporter.snapshot import Snapshot
from vpopsql.qmail import assign, control
from vpopsql.qmail.lines import decode, join_lines, split_lines

FILES = (RCPTHOSTS, MORERCPTHOSTS, VIRTUALDOMAINS, LOCALS, render.ASSIGN)
"""What is changed, below qmail's directory."""


def assigned(old: bytes | None, changed: Reassigned) -> Patched | None:
    """Return users/assign with the lines of some names as they are now.

    :returns: None if ``old`` is not as it should be.
    """

    def lines_of(name: Name) -> str:
        return decode(changed.exact.get(name.name) or render.domain_line(name))

    return _patched(old, changed, render.ASSIGN, Grammar.ASSIGN, lines_of, changed.number)


def compiled(patched: Patched, old: bytes | None) -> bytes:
    """Return the cdb of users/assign.

    :param old: what it is, if it is known to be of the file as it was.
    :raises ValueError: as `assign.compile_text` does.
    """
    if old is not None:
        with contextlib.suppress(ValueError):
            return assign.edit_cdb(old, patched.old, patched.splices)
    return assign.compile_text(patched.new)


def site_files(
    old: Mapping[str, bytes | None], snapshot: Snapshot, cdbs: Mapping[str, bytes | None]
) -> render.SiteFiles | None:
    """Return all files of the site after some names have come or gone.

    :param old: contents, by file of `FILES`.
    :param cdbs: those of the cdbs that are known to be of these files.
    :returns: None if one is not as it should be.
    :raises Unrenderable: as `render.site_files` does.
    """
    changed = snapshot.reassigned
    if changed is None or changed.placed is None:
        return None
    texts = _patched_texts(old, changed, changed.placed)
    patched = {file: each for file, each in texts.items() if each is not None}
    if len(patched) < len(texts):
        return None
    new: dict[str, bytes | None] = {file: each.new for file, each in patched.items()}
    new[LOCALS] = _locals(old[LOCALS], changed, changed.placed)
    new[MORERCPTHOSTS] = new[MORERCPTHOSTS] or None
    new[MORE_CDB] = _more_cdb(patched[MORERCPTHOSTS], cdbs.get(MORE_CDB))
    if not snapshot.export.newu_command:
        file = render.assign_cdb(snapshot.export)
        has_names = changed.number > 0
        new[file] = compiled(patched[render.ASSIGN], cdbs.get(file) if has_names else None)
    qmail = snapshot.paths.qmail
    files: render.SiteFiles = {f"{qmail}/{file}": data for file, data in new.items()}
    return files | render.settings_files(snapshot)


def _more_cdb(patched: Patched, old: bytes | None) -> bytes | None:
    if not patched.new:
        return None
    # Without comments, which have no record. What begins a line with a blank may be one.
    if old is not None and not any(mark in patched.old for mark in (b"#", b"\n\n", b" ", b"\t")):
        with contextlib.suppress(ValueError):
            return control.edit_morercpthosts(old, patched.old, patched.splices)
    lines = [line for _, line in split_lines(patched.new)]
    return control.compile_morercpthosts(
        line.rstrip() for line in lines if not render.is_comment(line)
    )


def moving(changed: Reassigned, placed: Placed, rcpthosts: Collection[str]) -> frozenset[str]:
    """Return the names that may come, go, or move from one file to another.

    :param rcpthosts: the names that this file has.
    """
    names = {name.name for name in changed.names} | changed.gone
    moved = placed.in_rcpthosts.symmetric_difference(rcpthosts)
    return frozenset((names - changed.others) | (names & moved))


def _patched_texts(
    old: Mapping[str, bytes | None], changed: Reassigned, placed: Placed
) -> dict[str, Patched | None]:
    def virtual(name: Name) -> str:
        return f"{name.name}:{name.name}"

    def few(name: Name) -> str | None:
        return name.name if name.name in placed.in_rcpthosts else None

    def more(name: Name) -> str | None:
        return None if name.name in placed.in_rcpthosts else name.name

    number, rest = placed.rcpthosts, changed.number - placed.rcpthosts
    in_rcpthosts = [line for _, line in split_lines(old[RCPTHOSTS] or b"")]
    accepted = _only(changed, moving(changed, placed, in_rcpthosts))
    texts = {
        file: _patched(old[file], accepted, file, Grammar.HOSTS, line_of, expected)
        for file, line_of, expected in (
            (RCPTHOSTS, few, number),
            (MORERCPTHOSTS, more, rest),
        )
    }
    all_names = {name.name for name in changed.names} | changed.gone
    routed = _only(changed, all_names - changed.others)
    texts[VIRTUALDOMAINS] = _patched(
        old[VIRTUALDOMAINS], routed, VIRTUALDOMAINS, Grammar.VIRTUALDOMAINS, virtual, number + rest
    )
    return texts | {render.ASSIGN: assigned(old[render.ASSIGN], routed)}


def _only(changed: Reassigned, wanted: Collection[str]) -> Reassigned:
    names = [name for name in changed.names if name.name in wanted]
    return replace(changed, names=names, gone=changed.gone.intersection(wanted))


def _patched(
    old: bytes | None,
    changed: Reassigned,
    file: str,
    grammar: Grammar,
    line_of: Callable[[Name], str | None],
    number: int,
) -> Patched | None:
    changes: Changes = dict.fromkeys(changed.gone) | {n.name: line_of(n) for n in changed.names}
    return patch(old or b"", changes, changed.foreign.get(file, ()), grammar, number)


def _locals(old: bytes | None, changed: Reassigned, placed: Placed) -> bytes | None:
    foreign = changed.foreign.get(LOCALS)
    own = placed.in_locals
    if foreign is None and old is None:
        return None
    if foreign is None:
        # The host's own lines, which the database does not know.
        lines = [line for _, line in split_lines(old or b"")]
        own = frozenset(name.name for name in changed.names)
    else:
        lines = [line.line for line in foreign]
    return join_lines([line for line in lines if names.lower(line.strip()) not in own])
