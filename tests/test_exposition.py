"""Prometheus's text format, read back by Prometheus's own parser."""

import math

from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

from vpopsql.exposition import Family, Histogram, Sample, gauge, render

# Prometheus's parser takes other line ends than LF for one.
TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\r\x85\u2028\u2029"))
NUMBERS = st.one_of(st.integers(-(2**53), 2**53), st.floats(allow_nan=False))


def test_a_family_is_text() -> None:
    family = Family(
        "site_things",
        "counter",
        "Things\nof \\ sorts.",
        [Sample(3, {"kind": 'a "b"\n\\', "n": "1"}), Sample(0.25), Sample(math.inf)],
    )

    assert render([family]) == (
        "# HELP site_things Things\\nof \\\\ sorts.\n"
        "# TYPE site_things counter\n"
        'site_things{kind="a \\"b\\"\\n\\\\",n="1"} 3\n'
        "site_things 0.25\n"
        "site_things +Inf\n"
    )


def test_what_is_unknown_is_left_out() -> None:
    assert render([gauge("a", "A.", None), gauge("b", "B.", 0)]) == (
        "# HELP b B.\n# TYPE b gauge\nb 0\n"
    )


def test_a_histogram_counts_what_is_at_most_so_large() -> None:
    histogram = Histogram((1, 2.5))

    for value in (0.5, 1, 2, 2.5, 99):
        histogram.observe(value)

    assert [(each.suffix, dict(each.labels), each.value) for each in histogram.samples({})] == [
        ("_bucket", {"le": "1"}, 2),
        ("_bucket", {"le": "2.5"}, 4),
        ("_bucket", {"le": "+Inf"}, 5),
        ("_sum", {}, 105),
        ("_count", {}, 5),
    ]


@given(st.dictionaries(TEXT, NUMBERS), TEXT)
def test_any_text_and_number_comes_back(values: dict[str, float], help_: str) -> None:
    samples = [Sample(number, {"label": text}) for text, number in values.items()]

    text = render([Family("name", "gauge", help_, samples)])

    found = [
        (sample.labels["label"], sample.value)
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    ]
    assert found == list(values.items())
