"""A model's timeline as a picture: its performance by window, who scored, what was decided, and when a champion changed.

SVG in the page itself (templates/chart.html). Across, everything is placed in percent, so that the picture is as wide as the
screen and its letters keep their size; each window is a little picture of its own, whose 0 is its place.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Sequence
from datetime import date
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from monitoring.reports.marks import mark
from monitoring.timeline import Model, Window
from pipelines.page import figure

if TYPE_CHECKING:
    from pipelines.statistics.resampling import Interval

TOP, FLOOR = 30, 196  # of the part that shows figures
NARROWEST = 26  # pixels a window at least
MANY = 10  # windows from which on words stand upright on every screen
COLOURS = 3
SHORT = {"suppressed": "suppressed", "none": ""}  # other actions are called as everywhere


def view(model: Model) -> dict[str, Any] | None:
    """What is drawn, oldest window at the left, x in percent and y in pixels; None for a model without windows."""
    if not model.windows:
        return None
    windows = sorted(model.windows, key=lambda window: (window.key, window.version))
    keys = sorted({window.key for window in windows})
    series = {version: at % COLOURS for at, version in enumerate(sorted({window.version for window in windows}))}
    ticks, scale = _scale([shown(window) for window in windows], model.reference)
    wide = NARROWEST + 6 * (max(len(key.rpartition("-")[2]) for key in keys) > 2)
    digits = max(len(f"{tick:.10g}".partition(".")[2]) for tick in ticks)
    return {
        "metric": model.metric,
        "unit": "week" if "W" in keys[0] else "month" if len(keys[0]) == 7 else "day",
        "label": f"{model.metric} of {model.name} by window",
        "is_many": len(keys) >= MANY,
        "width": len(keys) * wide,
        "floor": FLOOR,
        "ticks": [(f"{tick:.{digits}f}", _y(tick, scale)) for tick in ticks],
        "bands": _bands(model, windows, keys, series, scale),
        "paths": _paths(windows, keys, series, scale),
        "promotions": _promotions(model, keys),
        "windows": [_window(model, window, windows, keys, series, scale) for window in windows],
        "places": _places(keys),
    }


def shown(window: Window) -> Interval | None:
    """What a window is drawn at: its performance, or its estimate where that is not known; None where neither is."""
    if window.is_mature:
        return window.performance
    return window.estimate if window.estimate is not None and math.isfinite(window.estimate.point) else None


def border(as_of: str | None, keys: Sequence[str]) -> int | None:
    """After how many of the windows a version was pinned; None where its pin is no date.

    Args:
        keys: rising, all of one form.
    """
    try:
        day = date.fromisoformat((as_of or "")[:10])
    except ValueError:
        return None
    year, week, _ = day.isocalendar()
    key = f"{year}-W{week:02d}" if "W" in keys[0] else f"{day:%Y-%m}" if len(keys[0]) == 7 else day.isoformat()
    return bisect_right(keys, key)


def ticks_of(low: float, high: float) -> list[float]:
    """Round numbers from below `low` to above `high`, 3 to 7 of them."""
    span = max(high - low, 0.01)
    power = 10 ** math.floor(math.log10(span / 3))
    step = next(power * factor for factor in (1, 2, 5, 10) if span / (power * factor) <= 5)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [round(at * step, 10) for at in range(first, max(last, first + 1) + 1)]


def in_words(model: Model, window: Window) -> str:
    """A window in words, for anyone who points at it."""
    figures = [f"{model.metric} {figure(window.performance)} on mature labels"] if window.is_mature else []
    figures += [f"estimated {figure(window.estimate)}"] if window.estimate else []
    action = f"{mark(window.action).word}{', retraining suppressed' if window.suppressed else ''}"
    return ", ".join([f"{window.key}: {action}; v{window.version}, {window.rows:,} rows", *figures])


def _scale(intervals: Sequence[Interval | None], reference: Interval | None) -> tuple[list[float], tuple[float, float]]:
    finite = [interval for interval in [*intervals, reference] if interval is not None and math.isfinite(interval.point)]
    ends = [end for interval in finite for end in (interval.low, interval.point, interval.high) if math.isfinite(end)] or [
        0.0,
        1.0,
    ]
    ticks = ticks_of(min(ends), max(ends))
    return ticks, (ticks[0], ticks[-1])


def _y(value: float, scale: tuple[float, float]) -> float:
    low, high = scale
    return round(FLOOR - (min(max(value, low), high) - low) / (high - low) * (FLOOR - TOP), 1)


def _x(key: str, keys: Sequence[str], aside: float = 0.5) -> float:
    """Where a window stands; its left end for `aside` of 0."""
    return round(100 * (keys.index(key) + aside) / len(keys), 3)


def _bands(
    model: Model, windows: Sequence[Window], keys: Sequence[str], series: dict[int, int], scale: tuple[float, float]
) -> list[dict[str, Any]]:
    """The champion's figure on its newest snapshots, behind each window that it has scored."""
    level = model.reference
    if level is None or not math.isfinite(level.point):
        return []
    top, middle, floor = (_y(end, scale) for end in (level.high, level.point, level.low))
    band = {"top": top, "middle": middle, "height": round(max(floor - top, 1), 1), "width": round(100 / len(keys), 3)}
    of_champion = [window for window in windows if window.version == model.champion]
    return [band | {"x": _x(window.key, keys, 0), "series": series[window.version]} for window in of_champion]


def _paths(
    windows: Sequence[Window], keys: Sequence[str], series: dict[int, int], scale: tuple[float, float]
) -> list[dict[str, Any]]:
    """Lines between windows of one version that follow each other; dashed where one of the two is an estimate."""
    paths = []
    for first, second in pairwise(sorted(windows, key=lambda window: (window.version, window.key))):
        left, right = shown(first), shown(second)
        follows = first.version == second.version and keys.index(second.key) - keys.index(first.key) <= 1
        if follows and left is not None and right is not None:
            ends = {
                "x1": _x(first.key, keys),
                "y1": _y(left.point, scale),
                "x2": _x(second.key, keys),
                "y2": _y(right.point, scale),
            }
            paths.append(ends | {"series": series[first.version], "estimated": not (first.is_mature and second.is_mature)})
    return paths


def _promotions(model: Model, keys: Sequence[str]) -> list[dict[str, Any]]:
    """A line up and down where a version was promoted, at the day that it was pinned to."""
    by_place: dict[int, list[int]] = {}
    for move in reversed(model.moves):
        place = border(move.as_of, keys)
        if move.decision == "promoted" and place is not None:
            by_place.setdefault(place, []).append(move.version)
    return [
        {"x": round(min(max(100 * place / len(keys), 0.3), 99.7), 2), "is_right": 100 * place / len(keys) > 60}
        | {"text": f"{', '.join(f'v{version}' for version in versions)} promoted"}
        for place, versions in by_place.items()
    ]


def _window(
    model: Model, window: Window, windows: Sequence[Window], keys: Sequence[str], series: dict[int, int], scale: Any
) -> dict[str, Any]:
    """One window around its place: its figure, its version where that is new, and its action in sign and word."""
    versions = [other.version for other in windows if other.key == window.key]
    at, interval = keys.index(window.key), shown(window)
    is_new = not at or window.version not in [other.version for other in windows if other.key == keys[at - 1]]
    action = "suppressed" if window.suppressed else window.action
    sign = mark(action)
    return {
        "x": _x(window.key, keys),
        "aside": 9 * (versions.index(window.version) - (len(versions) - 1) / 2),
        "series": series[window.version],
        "estimated": not window.is_mature,
        "ends": [_y(end, scale) for end in (interval.low, interval.point, interval.high)] if interval else None,
        "version": window.version if is_new else None,
        "sign": sign.sign,
        "tone": sign.tone,
        "word": SHORT.get(action, sign.word),
        "address": next(iter(window.links.values()), ""),
        "words": in_words(model, window),
    }


def _places(keys: Sequence[str]) -> list[dict[str, Any]]:
    """Below each window the last part of its key, and below that the rest, where it is new."""
    places, before = [], ""
    for key in keys:
        period, _, part = key.rpartition("-")
        places.append({"x": _x(key, keys), "part": part, "period": period if period != before else ""})
        before = period
    return places
