"""Windows are calendar stretches that follow each other without a gap."""

import itertools
from datetime import date, timedelta

import pytest

from monitoring import windows
from pipelines.config.errors import EvergreenError


@pytest.mark.parametrize(
    ("unit", "key", "first", "last"),
    [
        ("month", "2024-02", date(2024, 2, 1), date(2024, 2, 29)),
        ("week", "2020-W53", date(2020, 12, 28), date(2021, 1, 3)),
        ("day", "2025-03-31", date(2025, 3, 31), date(2025, 3, 31)),
    ],
)
def test_a_window_has_a_name_and_the_name_a_window(unit, key, first, last):
    window = windows.named(key, unit)
    assert (window.key, window.first, window.last) == (key, first, last)
    assert {windows.of_day(day, unit) for day in window.days} == {window}


@pytest.mark.parametrize("unit", ["day", "week", "month"])
def test_windows_of_a_stretch_follow_each_other(unit):
    found = list(windows.between(date(2024, 11, 20), date(2025, 2, 3), unit))
    assert found[0].first <= date(2024, 11, 20) and found[-1].last >= date(2025, 2, 3)
    for one, following in itertools.pairwise(found):
        assert following.first - one.last == timedelta(days=1)
        assert windows.before(following, unit) == one


@pytest.mark.parametrize(("day", "key"), [(date(2025, 3, 30), "2025-02"), (date(2025, 3, 31), "2025-03")])
def test_a_window_is_complete_when_its_last_day_is(day, key):
    assert windows.newest_complete(day, "month").key == key


@pytest.mark.parametrize(("key", "unit"), [("2025-3", "month"), ("2025-13", "month"), ("2025-W60", "week"), ("March", "day")])
def test_a_name_that_is_none_is_refused_with_an_example(key, unit):
    with pytest.raises(EvergreenError, match=r"is no window.*such as 2025-"):
        windows.named(key, unit)
