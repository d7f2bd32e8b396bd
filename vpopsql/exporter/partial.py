"""The site's files after a change of some names, or of what exact lines are made of.

Pure: the old contents and the rows concerned in, the new contents out, as `render` would give them
of all rows. See `patch` for what is taken on trust.
"""

from collections.abc import Callable, Mapping

from vpopsql import names
from vpopsql.exporter import render
from vpopsql.exporter.patch import Changes, Grammar, patch
from vpopsql.exporter.render import LOCALS, MORERCPTHOSTS, RCPTHOSTS, VIRTUALDOMAINS
from vpopsql.exporter.snapshot import Name, Placed, Reassigned, Snapshot
from vpopsql.qmail import assign, control
from vpopsql.qmail.lines import decode, join_lines, split_lines

FILES = (RCPTHOSTS, MORERCPTHOSTS, VIRTUALDOMAINS, LOCALS, render.ASSIGN)
"""What is changed, below qmail's directory."""


def assigned(old: bytes | None, changed: Reassigned) -> bytes | None:
    """Return users/assign with the lines of some names as they are now.

    :returns: None if ``old`` is not as it should be.
    """

    def lines_of(name: Name) -> str:
        return decode(changed.exact.get(name.name) or render.domain_line(name))

    return _patched(old, changed, render.ASSIGN, Grammar.ASSIGN, lines_of, changed.number)


def site_files(old: Mapping[str, bytes | None], snapshot: Snapshot) -> render.SiteFiles | None:
    """Return all files of the site after some names have come or gone.

    :param old: contents, by file of `FILES`.
    :returns: None if one is not as it should be.
    :raises Unrenderable: as `render.site_files` does.
    """
    changed = snapshot.reassigned
    if changed is None or changed.placed is None:
        return None
    new = _new_texts(old, changed, changed.placed)
    if any(new[file] is None for file in (RCPTHOSTS, MORERCPTHOSTS, VIRTUALDOMAINS)):
        return None
    if (text := new[render.ASSIGN]) is None:
        return None
    more = [line for _, line in split_lines(new[MORERCPTHOSTS] or b"")]
    if not more:
        new[MORERCPTHOSTS] = None
    qmail = snapshot.paths.qmail
    files: render.SiteFiles = {f"{qmail}/{file}": data for file, data in new.items()}
    hosts = [line.rstrip() for line in more if not render.is_comment(line)]
    more_cdb = control.compile_morercpthosts(hosts) if more else None
    files[f"{qmail}/{MORERCPTHOSTS}.cdb"] = more_cdb
    if not snapshot.export.newu_command:
        files[f"{qmail}/{render.assign_cdb(snapshot.export)}"] = assign.compile_text(text)
    return files | render.settings_files(snapshot)


def _new_texts(
    old: Mapping[str, bytes | None], changed: Reassigned, placed: Placed
) -> dict[str, bytes | None]:
    def virtual(name: Name) -> str:
        return f"{name.name}:{name.name}"

    def few(name: Name) -> str | None:
        return name.name if name.name in placed.in_rcpthosts else None

    def more(name: Name) -> str | None:
        return None if name.name in placed.in_rcpthosts else name.name

    number, rest = placed.rcpthosts, changed.number - placed.rcpthosts
    texts = {
        file: _patched(old[file], changed, file, grammar, line_of, expected)
        for file, grammar, line_of, expected in (
            (RCPTHOSTS, Grammar.HOSTS, few, number),
            (MORERCPTHOSTS, Grammar.HOSTS, more, rest),
            (
                VIRTUALDOMAINS,
                Grammar.VIRTUALDOMAINS,
                virtual,
                changed.number,
            ),
        )
    }
    return texts | {
        LOCALS: _locals(old[LOCALS], changed, placed),
        render.ASSIGN: assigned(old[render.ASSIGN], changed),
    }


def _patched(
    old: bytes | None,
    changed: Reassigned,
    file: str,
    grammar: Grammar,
    line_of: Callable[[Name], str | None],
    number: int,
) -> bytes | None:
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
