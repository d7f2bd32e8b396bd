"""The conversation on the README's first screen."""

from collections.abc import Callable
from pathlib import Path

from tests.daemon.conftest import Running
from tests.examples import FENCE, converse, steps

README = Path(__file__).parents[2] / "README.md"


def test_it_takes_place_on_the_site_of_the_demonstration(serve: Callable[[str], Running]) -> None:
    blocks = [text for _, text in FENCE.findall(README.read_text(encoding="utf-8"))]
    shown = [step for text in blocks for step in steps(text) if step.command.startswith("nc ")]

    demo = README.with_name("scripts") / "demo.py"
    assert f"PORT = {shown[0].command.split()[2]}\n" in demo.read_text(encoding="utf-8")
    assert [converse(serve("small").address, step.printed) for step in shown] == [[]]
