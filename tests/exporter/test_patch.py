"""Files that are changed in one place, beside the same files rendered anew."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.exporter.test_render import EMPTY, name
from vpopsql import names
from vpopsql.config import Export
from vpopsql.exporter import render
from vpopsql.exporter.partial import compiled
from vpopsql.exporter.patch import Changes, Grammar, patch
from vpopsql.exporter.snapshot import Foreign, by_key
from vpopsql.qmail import assign, control

FILES = {
    Grammar.HOSTS: "control/rcpthosts",
    Grammar.VIRTUALDOMAINS: "control/virtualdomains",
    Grammar.ASSIGN: "users/assign",
}
labels = st.sampled_from(["a", "b", "b-c", "c", "z"])
hosts = st.builds(".".join, st.lists(labels, min_size=2, max_size=4))
States = dict[str, frozenset[str]]
"""The mailboxes of every domain of a site."""
states: st.SearchStrategy[States] = st.dictionaries(
    hosts, st.frozensets(st.sampled_from(["x", "y", "y-z", "z"])), max_size=6
)


SHAPES = {
    Grammar.HOSTS: (".{}", "# {}"),
    Grammar.VIRTUALDOMAINS: (".{}:alias-x", "# {}"),
    Grammar.ASSIGN: ("={}-other:alias:1:2:/var:::", "+{}-list:lists:1:2:/var:-::"),
}


@st.composite
def foreign_lines(draw: st.DrawFn, grammar: Grammar) -> list[Foreign]:
    """Return lines of others, each with the place that it was given once."""
    lines = st.builds(
        lambda shape, host, place: Foreign(shape.format(host), names.sort_key(place)),
        st.sampled_from(SHAPES[grammar]),
        hosts,
        hosts,
    )
    return by_key(draw(st.lists(lines, max_size=5)))


def rendered(state: States, foreign: list[Foreign], grammar: Grammar) -> bytes:
    """Return a file as it is rendered anew."""
    file = FILES[grammar]
    snapshot = replace(
        EMPTY,
        names=[name(each) for each in sorted(state, key=names.sort_key)],
        foreign={file: foreign},
        export=Export(delivery="exact"),
        exact=lambda: {
            each: b"%b\n%b" % (render.domain_line(name(each)), exact_lines(each, boxes))
            for each, boxes in state.items()
            if boxes
        },
    )
    content = render.site_files(snapshot)[f"/var/qmail/{file}"]
    assert content is not None
    return content


def exact_lines(each: str, boxes: frozenset[str]) -> bytes:
    lines = [f"={each}-{box}:{each}:89:89:/home/{each}/{box}:::" for box in sorted(boxes)]
    return "\n".join(lines).encode()


def changes_between(before: States, after: States, grammar: Grammar) -> Changes:
    """Return the lines of every name that the two do not have alike."""
    changed = [each for each in {*before, *after} if before.get(each) != after.get(each)]
    return {
        each: lines_alone(each, after[each], grammar) if each in after else None
        for each in changed
    }


def lines_alone(each: str, boxes: frozenset[str], grammar: Grammar) -> str:
    content = rendered({each: boxes}, [], grammar).decode()
    return content.removesuffix(".\n").removesuffix("\n")


@given(st.data(), st.sampled_from(Grammar), states, states)
def test_a_changed_file_is_as_if_rendered_anew(
    data: st.DataObject, grammar: Grammar, before: States, after: States
) -> None:
    foreign = data.draw(foreign_lines(grammar))
    old = rendered(before, foreign, grammar)
    strangers = dict.fromkeys(set(data.draw(st.lists(hosts, max_size=3))) - {*before, *after})
    changes = changes_between(before, after, grammar)

    patched = patch(old, {**strangers, **changes}, foreign, grammar, len(after))

    assert patched is not None
    assert patched.new == rendered(after, foreign, grammar)


@given(states, states)
def test_the_cdb_of_a_changed_file_is_changed_alike(before: States, after: States) -> None:
    before, after = ({**state, "stays.example": frozenset("ab")} for state in (before, after))
    old = rendered(before, [], Grammar.ASSIGN)
    changes = changes_between(before, after, Grammar.ASSIGN)
    patched = patch(old, changes, [], Grammar.ASSIGN, len(after))
    assert patched is not None

    edited = assign.edit_cdb(assign.compile_text(old), old, patched.splices)

    assert edited == assign.compile_text(patched.new)


@given(st.data(), states, states)
def test_the_cdb_with_lines_of_others_is_changed_alike_or_not_at_all(
    data: st.DataObject, before: States, after: States
) -> None:
    foreign = data.draw(foreign_lines(Grammar.ASSIGN))
    before, after = ({**state, "stays.example": frozenset("ab")} for state in (before, after))
    old = rendered(before, foreign, Grammar.ASSIGN)
    changes = changes_between(before, after, Grammar.ASSIGN)
    patched = patch(old, changes, foreign, Grammar.ASSIGN, len(after))
    assert patched is not None

    cdb = compiled(patched, assign.compile_text(old))

    assert cdb == assign.compile_text(patched.new)


@given(states, states)
def test_the_cdb_of_changed_hosts_is_changed_alike(before: States, after: States) -> None:
    old = rendered(before, [], Grammar.HOSTS)
    changes = changes_between(before, after, Grammar.HOSTS)
    patched = patch(old, changes, [], Grammar.HOSTS, len(after))
    assert patched is not None
    hosts_before, hosts_after = old.decode().split(), patched.new.decode().split()

    compiled_before = control.compile_morercpthosts(hosts_before)
    edited = control.edit_morercpthosts(compiled_before, old, patched.splices)

    assert edited == control.compile_morercpthosts(hosts_after)


@pytest.mark.parametrize(
    "old",
    [
        pytest.param(b"+a.example-:a.example:89:89:/a:-::\n", id="without its end"),
        pytest.param(b"+a.example-:a.example:89:89:/a:-::.\n", id="with a line without newline"),
        pytest.param(b".\n", id="without a name that it should have"),
        pytest.param(
            b"=else:x:1:1:/:::\n+a.example-:a.example:89:89:/a:-::\n.\n",
            id="with a line of others in another place",
        ),
    ],
)
def test_a_file_that_is_not_as_it_should_be_is_not_changed(old: bytes) -> None:
    foreign = [Foreign("=else:x:1:1:/:::", "c.example")]
    line = "+b.example-:b.example:89:89:/b:-::"

    assert patch(old, {"b.example": line}, foreign, Grammar.ASSIGN, 2) is None
