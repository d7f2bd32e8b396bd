"""The codes of findings: documented, explained, and known to --accept."""

from pathlib import Path

import pytest

from vpopsql.importer.codes import Code, Severity
from vpopsql.importer.codes_page import reference

DOCUMENT = Path(__file__).parents[2] / "docs/import-codes.md"


def test_the_page_of_the_codes_is_what_the_codes_say() -> None:
    assert DOCUMENT.read_text(encoding="utf-8").endswith("-->\n\n" + reference())


@pytest.mark.parametrize("code", list(Code), ids=str)
def test_every_code_says_what_is_the_case_and_what_to_do(code: Code) -> None:
    assert code.meaning
    assert code.advice
    assert bool(code.if_accepted) == (code.severity is Severity.REJECT)
