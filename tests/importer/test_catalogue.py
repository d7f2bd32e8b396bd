"""Every kind of finding is made by a test: one that nothing can cause is a promise not kept."""

from pathlib import Path

import pytest

from vpopsql.importer.codes import Code

ALL = Path(__file__).parents[1]
# These name all codes, and cause none.
OTHERS = {"test_catalogue.py", "test_codes.py"}

TESTS = "\n".join(
    path.read_text(encoding="utf-8")
    for path in sorted(ALL.rglob("*.py"))
    if path.name not in OTHERS
)


@pytest.mark.parametrize("code", list(Code), ids=str)
def test_every_code_is_found_by_a_test(code: Code) -> None:
    is_named = f'"{code}"' in TESTS or f"Code.{code.name}" in TESTS

    assert is_named, f"no test has a finding of {code}"
