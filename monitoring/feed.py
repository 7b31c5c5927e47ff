"""Is the feed broken? Volume, freshness, nulls, unknown values, constants and units of a window.

These are coarse on purpose: what they find is too large to be the world, and one window is enough. They compare with
the window's quiet blocks, so that what a quiet world does is no fault.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import date
from statistics import median

from monitoring.drift import quantile
from monitoring.findings import Finding
from monitoring.histograms import PREDICTION, TARGET, Histograms, Layout, Number
from pipelines.params import MonitorParams

LEAST_VALUES = 50  # finite values below which a column's median says little


def check(window: Histograms, quiet: Sequence[Histograms], layout: Layout, params: MonitorParams) -> list[Finding]:
    """Faults in the columns, each a finding of kind `feed`.

    Args:
        quiet: at least one earlier window, or the reference where there is none yet.
    """
    found: list[Finding] = []
    if window.rows < params.min_rows:
        return found
    for name in layout.columns:
        if name in (PREDICTION, TARGET):
            continue
        found += _filled(name, window, quiet, params)
        if name in layout.edges:
            found += _number(name, window.numbers[name], [block.numbers[name] for block in quiet], layout, params)
        else:
            found += _category(name, window, quiet, params)
    return found


def check_volume(window: Histograms, quiet: Sequence[Histograms], params: MonitorParams) -> list[Finding]:
    """Whether far more or far fewer rows came than in the newest of the quiet windows, of which there is one at least."""
    usual = median(block.rows for block in quiet[-3:])
    if usual / params.volume_factor <= window.rows <= usual * params.volume_factor:
        return []
    says = f"{window.rows:,} rows came where the quiet windows before had about {usual:,.0f}."
    return [Finding("feed", "volume", says, window.rows, window.rows / max(usual, 1), params.volume_factor)]


def check_age(as_of: date, complete_through: date | None, params: MonitorParams, rows: int) -> list[Finding]:
    """Whether a feed ends too long before a day. A source without a clock has no age."""
    if complete_through is None or (as_of - complete_through).days <= params.max_age_days:
        return []
    days = (as_of - complete_through).days
    says = f"The data ends on {complete_through}, {days} days before {as_of}: a feed is late."
    return [Finding("feed", "freshness", says, rows, days, params.max_age_days)]


def _filled(name: str, window: Histograms, quiet: Sequence[Histograms], params: MonitorParams) -> Iterator[Finding]:
    def share(block: Histograms) -> float:
        column = block.column(name)
        return (column.missing + getattr(column, "infinite", 0)) / max(block.rows, 1)

    now, most = share(window), max(share(block) for block in quiet)
    if now > most + params.missing_rise:
        says = f"{name} is missing in {now:.0%} of the rows; in quiet windows in at most {most:.0%}."
        yield Finding("feed", name, says, window.rows, now, most + params.missing_rise)


def _category(name: str, window: Histograms, quiet: Sequence[Histograms], params: MonitorParams) -> Iterator[Finding]:
    def share(block: Histograms) -> float:
        return block.categories[name].counts[-1] / max(block.rows, 1)

    now, most = share(window), max(share(block) for block in quiet)
    if now > most + params.unknown_rise:
        says = f"{name} is unknown to the model in {now:.0%} of the rows; in quiet windows in at most {most:.0%}."
        yield Finding("feed", name, says, window.rows, now, most + params.unknown_rise)


def _number(name: str, now: Number, quiet: list[Number], layout: Layout, params: MonitorParams) -> Iterator[Finding]:
    if now.finite < LEAST_VALUES:
        return
    if now.low == now.high and all(block.low != block.high for block in quiet if block.finite >= LEAST_VALUES):
        yield Finding("feed", name, f"{name} is {now.low:g} in every row; it never was constant before.", now.finite)
        return
    yield from _unit(name, now, quiet, layout, params)
    if name not in params.trending and name not in params.rates:
        yield from _range(name, now, quiet, params)


def _unit(name: str, now: Number, quiet: list[Number], layout: Layout, params: MonitorParams) -> Iterator[Finding]:
    """Whether the middle of a column has moved by a factor, as a change of unit moves it.

    Its middle is the median; where that is 0 or negative, the mean. A column around 0 has no unit to judge by.
    """
    edges = layout.edges[name]
    for middle in (lambda number: quantile(number, edges, 0.5), lambda number: number.mean):
        usual = [middle(block) for block in quiet if block.finite >= LEAST_VALUES]
        if not usual or min(usual) <= 0:
            continue
        low, high = min(usual) / params.unit_factor, max(usual) * params.unit_factor
        value = middle(now)
        if not low <= value <= high:
            factor = min(value, edges[-1]) / median(usual)  # above the bins the middle is only known to be there
            size = f"at least {factor:.3g}" if value > edges[-1] else f"about {factor:.3g}"
            says = f"{name} is {size} times what it was in quiet windows: has its unit changed?"
            yield Finding("feed", name, says, now.finite, value, high if value > high else low)
        return


def _range(name: str, now: Number, quiet: list[Number], params: MonitorParams) -> Iterator[Finding]:
    def outside(number: Number) -> float:
        return float(number.counts[0] + number.counts[-1]) / max(number.finite, 1)

    value, most = outside(now), max(outside(block) for block in quiet)
    if value > most + params.outside_rise:
        says = f"{name} lies outside what training saw in {value:.0%} of the rows; in quiet windows in at most {most:.0%}."
        yield Finding("feed", name, says, now.finite, value, most + params.outside_rise)
