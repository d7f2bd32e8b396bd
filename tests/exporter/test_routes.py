"""Which addresses of a domain other lines lead elsewhere."""

from hypothesis import given
from hypothesis import strategies as st

from vpopsql.exporter.routes import NOBODY, Routes
from vpopsql.exporter.rows import Foreign

names = st.text("a-.", min_size=1, max_size=6)


@given(st.sets(names, max_size=8), st.sets(names, max_size=3))
def test_addresses_go_where_the_longest_beginning_leads(own: set[str], others: set[str]) -> None:
    foreign = [Foreign(f"+{each}:joe:1:1:/home/joe:-::", each) for each in sorted(others)]
    begins = {f"{name}-" for name in own} | others

    routes = Routes(own, {"users/assign": foreign})

    assert {name: [*routes.diverted(name)[0]] for name in own} == {
        name: sorted(each for each in begins if each.startswith(f"{name}-") and each != f"{name}-")
        for name in own
    }


def test_a_site_whose_names_have_nothing_in_common_has_no_odd_ones() -> None:
    routes = Routes(["a-b.org", "c.org"], {})

    assert routes.diverted("c.org") == NOBODY
    assert routes.odd(["a-b.org", "c.org"]) == set()


def test_names_that_others_go_on_from_are_odd() -> None:
    routes = Routes(["a.org", "a.org-b.net", "c"], {})

    assert routes.odd(["a.org", "a.org-b.net", "c"]) == {"a.org"}


def test_so_are_those_of_which_others_have_an_address() -> None:
    line = Foreign("=a.org-joe:joe:1:1:/home/joe:::", "a.org")

    assert Routes(["a.org", "b.org"], {"users/assign": [line]}).odd(["a.org", "b.org"]) == {
        "a.org"
    }
