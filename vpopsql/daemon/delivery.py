"""Between the grammar of dot-qmail files and the services, which do not know it."""

from collections.abc import Sequence

from vpopsql.daemon.call import Call
from vpopsql.model import CatchAll, LineKind
from vpopsql.qmail import dotqmail
from vpopsql.services.dotqmail_changes import CatchAllSetting, Content, Place, Rules
from vpopsql.services.paths import Owner

_CATCHALLS = {
    CatchAll.BOUNCE: dotqmail.CatchAllKind.BOUNCE,
    CatchAll.DELETE: dotqmail.CatchAllKind.DELETE,
    CatchAll.ADDRESS: dotqmail.CatchAllKind.ADDRESS,
    CatchAll.DIRECTORY: dotqmail.CatchAllKind.DIRECTORY,
}


def rules_of(call: Call) -> Rules:
    """Return how the lines of the caller's site are read."""
    return make_rules(call.actor.site_directory, call.config.dotqmail.programs)


def make_rules(home: str, programs: Sequence[str]) -> Rules:
    """Return how the lines of a site are read whose vpopmail is at ``home``."""

    def parse_catchall(content: Content) -> CatchAllSetting | None:
        if len(content.lines) != 1 or not content.final_newline:
            return None
        found = dotqmail.parse_catchall(content.lines[0], home)
        return (CatchAll(found.kind.value), found.target or None) if found else None

    def render_catchall(setting: CatchAllSetting) -> Content:
        kind, target = setting
        what = dotqmail.CatchAll(_CATCHALLS[kind], target or "")
        return Content((dotqmail.render_catchall(what, home),))

    return Rules(_kind, parse_catchall, render_catchall, programs)


def _kind(line: str) -> LineKind:
    return LineKind(dotqmail.classify(line).value)


def parse_content(data: bytes) -> Content:
    """Return what a file has."""
    file = dotqmail.parse(data)
    return Content(file.lines, file.final_newline)


def render_content(content: Content) -> bytes:
    """Return the bytes of a file."""
    return dotqmail.render(dotqmail.DotQmail(content.lines, content.final_newline))


def place_of(owner: Owner | None) -> Place | None:
    """Return the dot-qmail file that a path is; None: it is none that qmail reads."""
    if owner is None:
        return None
    name = "" if owner.below == ".qmail" else dotqmail.alias_of(owner.below)
    if name is None:
        return None
    return Place(owner.domain, owner.mailbox_id, owner.directory, name)


def path_of(place: Place) -> str:
    """Return the site path of a dot-qmail file."""
    return f"{place.home}/{dotqmail.filename_for(place.name) if place.name else '.qmail'}"
