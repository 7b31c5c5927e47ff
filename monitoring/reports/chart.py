"""A model's timeline as a picture: its performance by window, who scored, what was decided, and when a champion changed.

SVG in the page itself. Across, everything is placed in percent, so that the picture is as wide as the screen and its letters
keep their size; each window is a little picture of its own, whose 0 is its place.
"""

from __future__ import annotations

import html
import math
from bisect import bisect_right
from collections.abc import Sequence
from datetime import date
from itertools import pairwise
from typing import TYPE_CHECKING

from monitoring.reports.markup import ADDRESS, WORDS, figure, text
from monitoring.timeline import Model, Window

if TYPE_CHECKING:
    from pipelines.statistics.resampling import Interval

TOP, FLOOR, LEVEL, UPRIGHT = 24, 190, 264, 306  # of the part that shows figures; height of the whole, by how words stand
KEYS, PERIODS, SIGNS, ACTIONS = FLOOR + 15, FLOOR + 29, FLOOR + 50, FLOOR + 66  # lines below it
NARROWEST, AXIS = 26, 46  # pixels a window at least, and of the scale beside them
MANY = 14  # windows from which on words stand upright on every screen
COLOURS = 3
STYLE = """<style>
:root { --v0: #14695e; --v1: #b04a12; --v2: #4a4fb3; }
@media (prefers-color-scheme: dark) { :root { --v0: #5fd0bd; --v1: #ff9d66; --v2: #a7abff; } }
.chart { display: flex; margin: .6rem 0; } .chart > svg { flex: none; } .chart > svg, .chart .scroll > svg { height: LEVELpx; }
.chart .scroll { flex: 1; min-width: 0; direction: rtl; } .chart .scroll > svg { direction: ltr; display: block; }
.chart text { font: 11px system-ui, sans-serif; fill: currentColor; }
.chart .v0 { --own: var(--v0); } .chart .v1 { --own: var(--v1); } .chart .v2 { --own: var(--v2); }
.chart .band { fill: var(--own); opacity: .12; } .chart .level { stroke: var(--own); opacity: .7; }
.chart .path { stroke: var(--own); stroke-width: 1.5; } .chart .reach { stroke: var(--own); stroke-width: 2; opacity: .75; }
.chart .point { fill: var(--own); stroke: var(--own); stroke-width: 2; } .chart .estimated .point { fill: Canvas; }
.chart .estimated { stroke-dasharray: 3 2; } .chart .point { stroke-dasharray: none; }
.chart text.who { fill: var(--own); font-weight: 600; }
.chart .grid { stroke: currentColor; opacity: .15; } .chart .promotion { stroke: currentColor; stroke-dasharray: 5 3; }
.chart .place { fill: transparent; } .chart a:hover .place, .chart a:focus .place { fill: var(--soft); }
.chart .sign { font-size: 15px; } .chart g.action text { fill: currentColor; }
.chart .many .turning { transform: rotate(-90deg); text-anchor: end; dominant-baseline: central; }
.chart .scroll > svg.many { height: UPRIGHTpx; }
@media (max-width: 700px) {
  .chart .turning { transform: rotate(-90deg); text-anchor: end; dominant-baseline: central; }
  .chart .scroll > svg { height: UPRIGHTpx; }
}
</style>""".replace("LEVEL", str(LEVEL)).replace("UPRIGHT", str(UPRIGHT))
LEGEND = (
    "● measured on mature labels, ○ estimated before labels are there; the line through it is its interval. A colour and an "
    "unbroken line are one version; the band is the champion's figure on its newest snapshots, out of fold."
)


def chart(model: Model) -> str:
    """HTML of the picture, oldest window at the left; "" for a model without windows."""
    if not model.windows:
        return ""
    windows = sorted(model.windows, key=lambda window: (window.key, window.version))
    keys = sorted({window.key for window in windows})
    colours = {version: f"v{at % COLOURS}" for at, version in enumerate(sorted({one.version for one in windows}))}
    ticks, scale = _scale([shown(one) for one in windows], model.reference)
    parts = [f'<line class="grid" x1="0" x2="100%" y1="{_y(tick, scale)}" y2="{_y(tick, scale)}"/>' for tick in ticks]
    parts += [*_reference(model, windows, keys, colours, scale), *_paths(windows, keys, colours, scale)]
    parts += _promotions(model, keys)
    for window in windows:
        versions = {key: [one.version for one in windows if one.key == key] for key in _neighbours(window.key, keys)}
        aside = 9 * (versions[window.key].index(window.version) - (len(versions[window.key]) - 1) / 2)
        new = all(window.version not in found for key, found in versions.items() if key < window.key)
        parts.append(_at(_across(window.key, keys), _window(model, window, colours[window.version], scale, aside, new)))
    parts += [_at(_across(key, keys), label) for key, label in _keys(keys)]
    many = ' class="many"' if len(keys) >= MANY else ""
    narrowest = NARROWEST + 6 * (max(len(key.rpartition("-")[2]) for key in keys) > 2)
    title = text(f"{model.metric} of {model.name} by window")
    size = f'width="100%" style="min-width:{len(keys) * narrowest}px"'
    return (
        f'<div class="chart">{_axis(ticks, scale)}<div class="scroll">'
        f'<svg{many} {size} role="figure" aria-label="{title}">{"".join(parts)}</svg></div></div>'
    )


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


def _scale(intervals: Sequence[Interval | None], reference: Interval | None) -> tuple[list[float], tuple[float, float]]:
    finite = [one for one in [*intervals, reference] if one is not None and math.isfinite(one.point)]
    ends = [end for one in finite for end in (one.low, one.point, one.high) if math.isfinite(end)] or [0.0, 1.0]
    ticks = ticks_of(min(ends), max(ends))
    return ticks, (ticks[0], ticks[-1])


def _y(value: float, scale: tuple[float, float]) -> float:
    low, high = scale
    return round(FLOOR - (min(max(value, low), high) - low) / (high - low) * (FLOOR - TOP), 1)


def _axis(ticks: Sequence[float], scale: tuple[float, float]) -> str:
    digits = max(len(f"{tick:.10g}".partition(".")[2]) for tick in ticks)
    places = [(f"{tick:.{digits}f}", _y(tick, scale) + 4) for tick in ticks]
    labels = "".join(f'<text x="{AXIS - 6}" y="{y}" text-anchor="end">{label}</text>' for label, y in places)
    return f'<svg width="{AXIS}" aria-hidden="true">{labels}</svg>'


def _across(key: str, keys: Sequence[str]) -> float:
    """Where a window stands, in percent."""
    return 100 * (keys.index(key) + 0.5) / len(keys)


def _at(across: float, drawn: str) -> str:
    """A little picture of its own, whose 0 is at `across` percent."""
    return f'<svg x="{across:.2f}%" overflow="visible">{drawn}</svg>'


def _neighbours(key: str, keys: Sequence[str]) -> Sequence[str]:
    """The window before, and the window itself."""
    at = keys.index(key)
    return keys[max(at - 1, 0) : at + 1]


def _reference(
    model: Model, windows: Sequence[Window], keys: Sequence[str], colours: dict[int, str], scale: tuple[float, float]
) -> list[str]:
    """The champion's figure on its newest snapshots, behind each window that it has scored."""
    own = [window.key for window in windows if window.version == model.champion]
    level = model.reference
    if not own or level is None or not math.isfinite(level.point):
        return []
    wide = 100 / len(keys)
    top, middle, floor = (_y(end, scale) for end in (level.high, level.point, level.low))
    band = f'class="band" width="{wide:.3f}%" y="{top}" height="{max(floor - top, 1):.1f}" shape-rendering="crispEdges"'
    found = []
    for key in own:
        left = _across(key, keys) - wide / 2
        ends = f'x1="{left:.3f}%" x2="{left + wide:.3f}%" y1="{middle}" y2="{middle}"'
        found.append(f'<rect {band} x="{left:.3f}%"/><line class="level" {ends}/>')
    return [f'<g class="{colours[model.champion or 0]}">{"".join(found)}</g>']


def _paths(windows: Sequence[Window], keys: Sequence[str], colours: dict[int, str], scale: tuple[float, float]) -> list[str]:
    """Lines between windows of one version that follow each other; dashed where one of the two is an estimate."""
    found = []
    for one, other in pairwise(sorted(windows, key=lambda window: (window.version, window.key))):
        left, right = shown(one), shown(other)
        if one.version != other.version or one.key not in _neighbours(other.key, keys) or left is None or right is None:
            continue
        estimated = "" if one.is_mature and other.is_mature else " estimated"
        ends = f'x1="{_across(one.key, keys):.2f}%" y1="{_y(left.point, scale)}" x2="{_across(other.key, keys):.2f}%"'
        found.append(f'<line class="path {colours[one.version]}{estimated}" {ends} y2="{_y(right.point, scale)}"/>')
    return found


def _promotions(model: Model, keys: Sequence[str]) -> list[str]:
    """A line up and down where a version was promoted, at the day that it was pinned to."""
    by_place: dict[int, list[int]] = {}
    for move in reversed(model.moves):
        place = border(move.as_of, keys)
        if move.decision == "promoted" and place is not None:
            by_place.setdefault(place, []).append(move.version)
    found = []
    for place, versions in by_place.items():
        across = min(max(100 * place / len(keys), 0.3), 99.7)
        words = f"{', '.join(f'v{version}' for version in versions)} promoted"
        anchor = "end" if across > 60 else "start"
        aside = -4 if across > 60 else 4
        line = f'<line class="promotion" x1="0" x2="0" y1="4" y2="{FLOOR}"/>'
        found.append(_at(across, f'{line}<text x="{aside}" y="13" text-anchor="{anchor}">{words}</text>'))
    return found


def _window(model: Model, window: Window, colour: str, scale: tuple[float, float], aside: float, new: bool) -> str:
    """One window around x = 0: its figure, its version where that is new, and its action in sign and word."""
    interval = shown(window)
    parts = [f"<title>{text(said(model, window))}</title>"]
    parts.append(f'<rect class="place" x="-12" width="24" y="{TOP - 6}" height="{LEVEL - TOP}"/>')
    if interval is not None:
        kind = "" if window.is_mature else " estimated"
        low, point, high = (_y(end, scale) for end in (interval.low, interval.point, interval.high))
        reach = f'<line class="reach" x1="{aside}" x2="{aside}" y1="{low}" y2="{high}"/>'
        parts.append(f'<g class="{colour}{kind}">{reach}<circle class="point" cx="{aside}" cy="{point}" r="4"/></g>')
    if new:
        who = f'<text class="who" x="{aside}" y="{FLOOR - 5}" text-anchor="middle">v{window.version}</text>'
        parts.append(f'<g class="{colour}">{who}</g>')
    action = "held" if window.held else window.action if window.action in WORDS else "note"
    sign = WORDS[action].partition(" ")[0]
    word = "" if action == "nothing" else action
    parts.append(
        f'<g class="action is-{action}"><text class="sign" x="{aside}" y="{SIGNS}" text-anchor="middle">{sign}</text>'
        f'<g transform="translate({aside} {ACTIONS})"><text class="turning" text-anchor="middle">{word}</text></g></g>'
    )
    address = next(iter(window.links.values()), "")
    inside = "".join(parts)
    return f'<a href="{html.escape(address)}">{inside}</a>' if address and ADDRESS.fullmatch(address) else f"<g>{inside}</g>"


def said(model: Model, window: Window) -> str:
    """A window in words, for who points at it."""
    figures = [f"{model.metric} {figure(window.performance)} on mature labels"] if window.is_mature else []
    figures += [f"estimated {figure(window.estimate)}"] if window.estimate else []
    action = f"{window.action}, retraining held" if window.held else window.action
    return ", ".join([f"{window.key}: {action}; v{window.version}, {window.rows:,} rows", *figures])


def _keys(keys: Sequence[str]) -> list[tuple[str, str]]:
    """Below each window the last part of its key, and below that the rest, where it is new."""
    found, before = [], ""
    for key in keys:
        period, _, part = key.rpartition("-")
        label = f'<text x="-10" y="{PERIODS}">{text(period)}</text>' if period != before else ""
        found.append((key, f'<text x="0" y="{KEYS}" text-anchor="middle">{text(part)}</text>{label}'))
        before = period
    return found
