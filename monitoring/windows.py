"""Windows: the calendar stretches that end in one verdict each."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Literal

from pipelines.config.errors import EvergreenError

Unit = Literal["day", "week", "month"]
DAY = timedelta(days=1)


@dataclass(frozen=True)
class Window:
    """A stretch of days and its name: 2025-03, 2025-W14 (ISO 8601) or 2025-03-31."""

    key: str
    first: date
    last: date

    @property
    def days(self) -> list[date]:
        return [self.first + DAY * number for number in range((self.last - self.first).days + 1)]


def of_day(day: date, unit: Unit) -> Window:
    """The window that a day lies in."""
    if unit == "day":
        return Window(day.isoformat(), day, day)
    if unit == "week":
        year, week, weekday = day.isocalendar()
        first = day - DAY * (weekday - 1)
        return Window(f"{year}-W{week:02}", first, first + DAY * 6)
    first = day.replace(day=1)
    return Window(f"{day:%Y-%m}", first, (first + DAY * 31).replace(day=1) - DAY)


def named(key: str, unit: Unit) -> Window:
    """The window of a name.

    Raises:
        EvergreenError: no window of this unit is called so.
    """
    try:
        year, _, rest = key.partition("-")
        if unit == "day":
            window = of_day(date.fromisoformat(key), unit)
        elif unit == "week":
            window = of_day(date.fromisocalendar(int(year), int(rest.removeprefix("W")), 1), unit)
        else:
            window = of_day(date(int(year), int(rest), 1), unit)
    except ValueError:
        window = None
    if window is None or window.key != key:
        example = of_day(date(2025, 3, 31), unit).key
        raise EvergreenError(f"{key!r} is no window: params.yaml's monitor.window is {unit}, so write one such as {example}.")
    return window


def before(window: Window, unit: Unit) -> Window:
    """The window that ends where this one begins."""
    return of_day(window.first - DAY, unit)


def newest_complete(day: date, unit: Unit) -> Window:
    """The newest window that has ended by the end of a day."""
    window = of_day(day, unit)
    return window if window.last <= day else before(window, unit)


def between(start: date, end: date, unit: Unit) -> Iterator[Window]:
    """The windows that have a day between two days, oldest first."""
    day = start
    while day <= end:
        window = of_day(day, unit)
        yield window
        day = window.last + DAY
