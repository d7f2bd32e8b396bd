"""Lines of a vpasswd that are changed where they are, beside the same files rendered anew."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vpopsql.columns import to_database_text
from vpopsql.exporter.accounts import changed
from vpopsql.pieces import Pieces, whole
from vpopsql.qmail import vpasswd

# Some that bytes sort otherwise than the database does.
NAMES = ["a", "a-b", "a.b", "ab", "b", "zoë", "\udcff", "\U0010f8ff", "\ufffd"]
names = st.sampled_from(NAMES) | st.text("abc\udc80é", min_size=1, max_size=6)
rests = st.text("x:/é\r", max_size=12)
states = st.dictionaries(names, rests, max_size=12)


def rendered(state: dict[str, str]) -> tuple[bytes, bytes]:
    """Return both files of mailboxes, sorted as the database does."""
    lines = [f"{name}:{state[name]}" for name in sorted(state, key=to_database_text)]
    return vpasswd.render(lines), vpasswd.compile_cdb(lines)


def wholes(new: tuple[Pieces, Pieces] | None) -> tuple[bytes, bytes]:
    assert new is not None
    text, compiled = new
    return whole(text), whole(compiled)


@given(states, states, st.lists(names, max_size=3))
def test_changed_accounts_are_as_if_rendered_anew(
    before: dict[str, str], after: dict[str, str], strangers: list[str]
) -> None:
    concerned = {*before, *after, *strangers}
    changes = {n: f"{n}:{after[n]}" if n in after else None for n in concerned}

    assert wholes(changed(*rendered(before), changes)) == rendered(after)
    assert wholes(changed(rendered(before)[0], None, changes)) == rendered(after)


@given(states, names, rests)
def test_a_change_of_one_leaves_the_others(before: dict[str, str], name: str, rest: str) -> None:
    new = changed(*rendered(before), {name: f"{name}:{rest}"})

    assert wholes(new) == rendered(before | {name: rest})


TEXT, CDB = rendered({"alice": "x", "bob": "y"})


@pytest.mark.parametrize(
    "text, compiled",
    [
        pytest.param(TEXT[:-1], CDB, id="without its last newline"),
        pytest.param(TEXT, CDB[:-1], id="with a cdb that is cut"),
        pytest.param(TEXT, b"", id="with an empty cdb"),
        pytest.param(TEXT, rendered({"bob": "y"})[1], id="with a cdb that lacks one"),
    ],
)
def test_files_that_are_not_as_they_should_be_are_not_changed(
    text: bytes, compiled: bytes
) -> None:
    assert changed(text, compiled, {"bob": None}) is None
