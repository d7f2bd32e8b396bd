"""What the overview adds up."""

from datetime import UTC, date, datetime, timedelta

from vpopsql.reports.site.figures import LARGEST, Figures, Measurement, Timeline

DAY = date(2026, 1, 31)


def days(*values: tuple[int, int, int | None]) -> list[Measurement]:
    return [Measurement(DAY + timedelta(days=on), 1, boxes, size) for on, boxes, size in values]


def overview(name: str, used: int | None) -> tuple[object, ...]:
    return name, 0, 1, 2, 3, 4, 5, "bounce", used


def test_a_site_is_the_sum_of_what_its_domains_were_last() -> None:
    timeline = Timeline()

    timeline.add(days((0, 2, 100), (2, 3, 150)), is_gone=False)
    timeline.add(days((1, 10, 1000), (2, 9, 900)), is_gone=False)

    assert timeline.points(99) == [
        Measurement(DAY, 1, 2, 100),
        Measurement(DAY + timedelta(days=1), 2, 12, 1100),
        Measurement(DAY + timedelta(days=2), 2, 12, 1050),
    ]


def test_a_domain_that_is_gone_counts_until_it_was_measured_last() -> None:
    timeline = Timeline()

    timeline.add(days((0, 2, 100), (1, 2, 100)), is_gone=True)
    timeline.add(days((0, 1, 10), (9, 1, 10)), is_gone=False)

    assert [(each.on.day, each.mailboxes, each.bytes) for each in timeline.points(99)] == [
        (31, 3, 110),
        (1, 3, 110),
        (2, 1, 10),
        (9, 1, 10),
    ]


def test_bytes_that_nobody_measured_are_unknown_and_change_nothing() -> None:
    timeline = Timeline()

    timeline.add(days((0, 2, None), (1, 2, 70), (2, 3, None)), is_gone=False)

    assert [(each.mailboxes, each.bytes) for each in timeline.points(99)] == [
        (2, None),
        (2, 70),
        (3, 70),
    ]


def test_many_days_are_thinned_out_and_the_last_one_stays() -> None:
    timeline = Timeline()

    timeline.add(days(*((number, number, number) for number in range(100))), is_gone=False)

    assert [each.mailboxes for each in timeline.points(34)] == list(range(0, 100, 3))
    assert len(timeline.points(100)) == 100


def test_mailboxes_are_put_into_buckets() -> None:
    figures = Figures()
    for pct in (0.0, 9.9, 10.0, 89.9, 99.9, 100.0, 250.0):
        figures.add_mailbox(1, pct, None, "des", has_quota=True)
    figures.add_mailbox(None, None, None, "bcrypt", has_quota=True)
    figures.add_mailbox(5, None, None, "md5-crypt", has_quota=False)

    assert figures.fill == [2, 1, 0, 0, 0, 0, 0, 0, 1, 1, 2]
    assert (figures.fill_unknown, figures.without_quota, figures.full) == (1, 1, 2)
    assert (figures.mailboxes, figures.measured, figures.used_bytes) == (9, 8, 12)
    assert figures.weak == 8


def test_logins_are_counted_by_day() -> None:
    figures = Figures()
    for back in (0, 0, 29, 30):
        login = datetime(2026, 1, 31, 12, tzinfo=UTC) - timedelta(days=back)
        figures.add_mailbox(None, None, login, "des", has_quota=False)
    figures.add_mailbox(None, None, None, "des", has_quota=False)

    found = list(figures.logins_by_day(DAY))

    assert (found[0], found[-1]) == ((DAY - timedelta(days=29), 1), (DAY, 2))
    assert (len(found), figures.never) == (30, 1)


def test_the_largest_domains_are_named_and_of_equals_the_first() -> None:
    figures = Figures()
    for number in range(LARGEST + 3):
        figures.add_domain(overview(f"{number:02}.example", 7))
    figures.add_domain(overview("large.example", 70))
    figures.add_domain(overview("unknown.example", None))
    figures.sort()

    assert figures.largest[:3] == [(70, "large.example"), (7, "00.example"), (7, "01.example")]
    assert len(figures.largest) == LARGEST
    assert (figures.sizes_known, figures.domain_bytes) == (LARGEST + 4, 70 + 7 * (LARGEST + 3))
