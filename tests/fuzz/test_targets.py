"""What is read from outside, given what nobody would send; scripts/fuzz gives it more."""

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
import structlog
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from scripts.fuzzing import Broken, races
from scripts.fuzzing.grammars import GRAMMARS
from scripts.fuzzing.mutation import Mutator
from scripts.fuzzing.targets import INPUT_MAX, KEPT_MAX, NAMES, Target, corpus_of, opened
from scripts.fuzzing.words import WORDS

CHECKOUT = Path(__file__).parents[2]
MUTANTS = {"conversation": 4, "paths": 100}


@pytest.fixture
def targets() -> Iterator[ExitStack]:
    """What the targets of a test need."""
    before = structlog.get_config()
    with ExitStack() as stack:
        yield stack
    structlog.configure(**before)


@pytest.mark.parametrize("name", NAMES)
def test_every_input_that_is_kept_and_what_is_made_of_them_keeps_each_promise(
    name: str, targets: ExitStack
) -> None:
    target = targets.enter_context(opened(name))
    kept = list(corpus_of(name).values())
    mutator = Mutator(name, WORDS)

    broken = [data for data in kept if _breaks(target, data)]
    broken += [
        data
        for data in (mutator.make(kept) for _ in range(MUTANTS.get(name, 300)))
        if _breaks(target, data)
    ]

    assert kept
    assert broken == []


def _breaks(target: Target, data: bytes) -> bool:
    try:
        target(data)
    except Exception:  # noqa: BLE001 - the input is shown by the assertion
        return True
    return False


INPUTS = st.lists(st.one_of(st.sampled_from(WORDS), st.binary(max_size=8))).map(b"".join)


@pytest.mark.parametrize("name", GRAMMARS)
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(data=INPUTS)
def test_words_and_bytes_in_any_order_keep_each_promise(name: str, data: bytes) -> None:
    GRAMMARS[name](data)


@pytest.mark.parametrize("name, examples", [("conversation", 15), ("paths", 60)])
def test_words_and_bytes_in_any_order_do_no_harm_to_a_site(
    name: str, examples: int, targets: ExitStack
) -> None:
    target = targets.enter_context(opened(name))

    @settings(max_examples=examples, suppress_health_check=[HealthCheck.too_slow])
    @given(role=st.binary(min_size=1, max_size=1), data=INPUTS)
    def each(role: bytes, data: bytes) -> None:
        target(role + data)

    each()


@pytest.mark.parametrize("name", NAMES)
def test_the_corpus_stays_small(name: str) -> None:
    kept = corpus_of(name)

    assert 0 < len(kept) <= KEPT_MAX
    assert max(map(len, kept.values())) <= INPUT_MAX


def test_a_promise_that_is_not_kept_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vpopsql.qmail.dotqmail.render", lambda _file: b"something else")

    with pytest.raises(Broken, match="a file comes back"):
        GRAMMARS["dotqmail"](b"&a@b.c\n")


def test_no_path_leads_outside_while_its_components_are_exchanged_for_links() -> None:
    result = races.run(8_000)

    assert result["done"] + result["LinkInPath"] > 2_000


def test_no_command_leads_outside_while_components_are_exchanged_for_links(
    targets: ExitStack,
) -> None:
    result = races.run_commands(600)

    # The links were met, and so was what they took the place of.
    assert result["26.1512"] > 10
    assert result["done"] > 10


@pytest.mark.slow
def test_a_daemon_answers_every_line_in_its_turn(tmp_path: Path) -> None:
    file = tmp_path / "live.json"
    size = ("--lines", "1500", "--connections", "3", "--seconds", "60", "--json", str(file))

    done = subprocess.run(
        [sys.executable, "-m", "scripts.fuzzing", "live", *size],
        cwd=CHECKOUT,
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 0, done.stdout + done.stderr
    told = json.loads(file.read_text())
    assert told["lines"] >= 1200
    assert told["answers_counted"] > 500
