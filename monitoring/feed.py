"""Is the feed broken? A fault has a form, and a value that moves has none.

| form | what is seen, against the quiet windows before |
|---|---|
| unit | the values are a positive factor away, zeros and signs as they were, and the shape on a scale of factors is kept |
| constant | one value in every row, where every window had several and chance would not do it |
| nulls | far more rows are missing than any window had |
| encoding | unknown values in the place of known ones, one for one or altogether; or three with their shares exchanged |
| swapped | each of two columns looks as the other one did |

Each says how sure it is, from 0 to 1: by how much of the change its form explains, and by how many windows were never like
that. Below `SURE` it is information and no fault. A column that leaves its range, values that are new, and another volume are
the world's as often as the feed's: they are told, and quarantine nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import date
from itertools import combinations
from statistics import median

import numpy as np

from monitoring import shapes
from monitoring.findings import Finding, Kind
from monitoring.histograms import PREDICTION, TARGET, Category, Histograms, Layout, Number
from monitoring.shapes import LEAST_VALUES, Shape
from pipelines.config.params import MonitorParams

SURE, LIKELY = 0.75, 0.5  # a fault, and worth to be asked about
CHANCE = 1e-3  # that so many rows are alike by chance
BLUR = 0.05  # octaves that bins of magnitudes blur a quantile by
FLAT = 0.15  # octaves: a column of a smaller spread has no shape that a factor could keep
ROUND = 0.01  # from a power of ten: of a flat column that is all there is to know a unit by
KEPT = 0.1  # most that the shares of zeros and of negative values may differ by
GONE = 0.1  # of what it was: a value with less of its share has gone
EXCHANGED, BY = 3, 0.05  # values that have moved, and by which share: two exchange their shares by themselves often enough
MOVED, TIMES = 0.5, 4.0  # octaves, and times the quiet windows' own: a column that has moved so far may be another one


def check(window: Histograms, baseline: Sequence[Histograms], layout: Layout, params: MonitorParams) -> list[Finding]:
    """Faults in the columns, each a finding of kind `feed`; and what is worth knowing and no fault.

    Args:
        quiet: at least one earlier window, or the reference where there is none yet.
    """
    if window.rows < params.min_rows:
        return []
    faults = list(_swapped(window, baseline))
    swapped = {name for fault in faults for name in fault.evidence["columns"]}
    for name in layout.columns:
        if name in (PREDICTION, TARGET):
            continue
        faults += _nulls(name, window, baseline, params)
        if name in swapped:
            continue
        if name in layout.edges:
            faults += _number(name, window.numbers[name], [block.numbers[name] for block in baseline], layout, params)
        else:
            faults += _category(name, window.categories[name], [block.categories[name] for block in baseline], params)
    return faults


def check_volume(window: Histograms, baseline: Sequence[Histograms], params: MonitorParams) -> list[Finding]:
    """Whether far more or far fewer rows came than in the newest of the quiet windows, of which there is one at least."""
    usual = median(block.rows for block in baseline[-3:])
    if usual / params.volume_factor <= window.rows <= usual * params.volume_factor:
        return []
    message = (
        f"{window.rows:,} rows came where the windows before had about {usual:,.0f}: the world, or a load that is missing?"
    )
    return [Finding("info", "volume", message, window.rows, window.rows / max(usual, 1), params.volume_factor)]


def check_age(as_of: date, complete_through: date | None, params: MonitorParams, rows: int) -> list[Finding]:
    """Whether a feed ends too long before a day. A source without a clock has no age."""
    if complete_through is None or (as_of - complete_through).days <= params.max_age_days:
        return []
    days = (as_of - complete_through).days
    message = f"The data ends on {complete_through}, {days} days before {as_of}: a feed is late."
    return [Finding("data_incident", "freshness", message, rows, days, params.max_age_days)]


def _fault(form: str, about: str, message: str, rows: int, sure: float, **evidence: object) -> Finding:
    """A fault, or information where it is not sure enough."""
    sure = round(float(min(max(sure, 0.0), 0.99)), 2)
    kind: Kind = "data_incident" if sure >= SURE else "info"
    sentence = f"{message} That is {sure:.0%} sure."
    return Finding(kind, about, sentence, rows, sure, SURE, {"form": form, "sure": sure, **evidence})


def _never(windows: int) -> float:
    """How surely something is unusual that none of so many windows had: by Laplace's rule of succession."""
    return 1 - 1 / (windows + 1)


def _nulls(name: str, window: Histograms, baseline: Sequence[Histograms], params: MonitorParams) -> Iterator[Finding]:
    def share(block: Histograms) -> float:
        column = block.column(name)
        return (column.missing + getattr(column, "infinite", 0)) / max(block.rows, 1)

    now, usual = share(window), [share(block) for block in baseline]
    if now > max(usual) + params.missing_rise:
        message = f"{name} is missing in {now:.0%} of the rows; in baseline windows in at most {max(usual):.0%}."
        yield _fault("nulls", name, message, window.rows, 1 - (max(usual) - min(usual)) / (now - min(usual)), share=now)


# numbers


def _number(name: str, now: Number, baseline: list[Number], layout: Layout, params: MonitorParams) -> Iterator[Finding]:
    baseline = [block for block in baseline if block.finite >= LEAST_VALUES]
    if now.finite < LEAST_VALUES or not baseline:
        return
    faults = [*_constant(name, now, baseline, layout), *_unit(name, now, baseline, params)]
    yield from faults
    if not faults and name not in params.non_stationary_columns and name not in params.per_unit_columns:
        yield from _range(name, now, baseline, params)


def _constant(name: str, now: Number, baseline: list[Number], layout: Layout) -> Iterator[Finding]:
    if now.low is None or now.low != now.high or any(block.low == block.high for block in baseline):
        return
    place = int(np.searchsorted(layout.edges[name], now.low, side="right"))
    if max(block.counts[place] / block.finite for block in baseline) ** now.finite > CHANCE:
        return
    message = f"{name} is {now.low:g} in every row; it never was constant before."
    yield _fault("constant", name, message, now.finite, _never(len(baseline)), constant=now.low)


def _unit(name: str, now: Number, baseline: list[Number], params: MonitorParams) -> Iterator[Finding]:
    """Whether a column is a factor away from every quiet window, and as it was but for that."""
    shape = shapes.of(now)
    earlier = [(block, earlier_shape) for block in baseline if (earlier_shape := shapes.of(block)) is not None]
    if shape is None or not earlier:
        return
    factors = [shapes.rescaled(earlier_shape, shape) for _, earlier_shape in earlier]
    steps = [factor for factor, _ in factors]
    if min(map(abs, steps)) < np.log2(params.unit_factor) or min(steps) < 0 < max(steps):
        return
    (factor, rest), (block, before) = min(zip(factors, earlier, strict=True), key=lambda pair: pair[0][1])
    if shapes.shares_apart(before, shape) > KEPT:
        return
    times = 2.0**factor
    if before.spread >= FLAT:
        kept, sure = "its shape is kept", 1 - max(rest - BLUR, 0) / before.spread
    else:
        times = float(np.sqrt(now.squares / now.finite / (block.squares / block.finite)))
        tens = float(np.log10(times))
        kept, sure = "a power of ten", 0.9 * (abs(tens - round(tens)) <= np.log10(1 + ROUND))
    if sure < LIKELY:
        return
    size = f"{times:,.0f}" if times >= 10 else f"{times:.3g}"
    message = f"{name} is about {size} times what it was in baseline windows, and {kept}: has its unit changed?"
    yield _fault("unit", name, message, now.finite, sure, factor=round(times, 6), before=abs(factor), after=rest)


def _range(name: str, now: Number, baseline: list[Number], params: MonitorParams) -> Iterator[Finding]:
    def outside(number: Number) -> float:
        return float(number.counts[0] + number.counts[-1]) / max(number.finite, 1)

    value, most = outside(now), max(outside(block) for block in baseline)
    if value > most + params.outside_rise:
        message = (
            f"{name} lies outside what training saw in {value:.0%} of the rows; in baseline windows in at most {most:.0%}."
        )
        yield Finding("warning", name, message, now.finite, value, most + params.outside_rise)


def _swapped(window: Histograms, baseline: Sequence[Histograms]) -> Iterator[Finding]:
    """Pairs of numbers of which each has moved far from what it was, to where the other one was."""
    names = [name for name in window.numbers if name not in (PREDICTION, TARGET)]
    now = {name: shape for name in names if (shape := shapes.of(window.numbers[name])) is not None}
    before = {name: [shape for block in baseline if (shape := shapes.of(block.numbers[name])) is not None] for name in now}
    distance = {name: _nearest(now[name], before[name]) for name in now if before[name]}
    moved = [name for name, far in distance.items() if far > max(MOVED, TIMES * _usual(before[name]))]
    for first, second in combinations(moved, 2):
        crossed = _nearest(now[first], before[second]) + _nearest(now[second], before[first])
        sure = 1 - crossed / (distance[first] + distance[second])
        if sure >= SURE:
            message = f"{first} looks as {second} did, and {second} as {first}: have the two columns been swapped?"
            yield _fault("swapped", f"{first}, {second}", message, window.rows, sure, columns=[first, second])


def _nearest(shape: Shape, shapes_before: Sequence[Shape]) -> float:
    return min(shapes.apart(shape, other) for other in shapes_before)


def _usual(baseline: Sequence[Shape]) -> float:
    """The farthest that a baseline window is from its nearest other one; 0 where there is one window only."""
    if len(baseline) < 2:
        return 0.0
    return max(_nearest(shape, [*baseline[:at], *baseline[at + 1 :]]) for at, shape in enumerate(baseline))


# categories


def _category(name: str, now: Category, baseline: list[Category], params: MonitorParams) -> Iterator[Finding]:
    baseline = [block for block in baseline if block.counts.sum() >= LEAST_VALUES]
    if now.counts.sum() < LEAST_VALUES or not baseline:
        return
    shares, before = _shares(now), [_shares(block) for block in baseline]
    far = [_apart(shares, earlier) for earlier in before]
    usual = max(
        (
            min(_apart(earlier, other) for other in [*before[:at], *before[at + 1 :]])
            for at, earlier in enumerate(before)
            if before[1:]
        ),
        default=0.0,
    )
    if min(far) <= usual + params.unknown_rise:  # windows differ as much from each other
        return
    nearest, rows, never = before[int(np.argmin(far))], int(now.counts.sum()), _never(len(baseline))
    spellings = np.sort(now.unknown / rows)[::-1]
    if max(*shares[:-1], spellings[0]) == 1 and max(earlier.max() for earlier in before) < 1:
        yield _fault("constant", name, f"{name} has one value in every row; it never was constant before.", rows, never)
    elif shares[-1] > max(earlier[-1] for earlier in before) + params.unknown_rise:
        sure = max(_replaced(nearest, shares, spellings), float(shares[-1] > 0.99))
        message = f"{name} is unknown to the model in {shares[-1]:.0%} of the rows: "
        message += "has its spelling changed?" if sure >= SURE else "are these new values?"
        yield _fault("encoding", name, message, rows, min(sure, never), share=float(shares[-1]))
    elif (np.abs(shares - nearest) > BY).sum() >= EXCHANGED:
        rest = _apart(np.sort(nearest), np.sort(shares))
        message = f"{name} has the shares that it had, under other values: have its codes been swapped?"
        if (sure := 1 - rest / min(far)) >= SURE:
            yield _fault("encoding", name, message, rows, min(sure, never))


def _shares(block: Category) -> np.ndarray:
    """Of the known values, then of all unknown ones, in the rows that have a value."""
    return block.counts / block.counts.sum()


def _apart(first: np.ndarray, second: np.ndarray) -> float:
    """Total variation: the share of rows that have another value."""
    return float(np.abs(first - second).sum() / 2)


def _replaced(before: np.ndarray, now: np.ndarray, spellings: np.ndarray) -> float:
    """How well the shares of the known values that have gone are those of the unknown ones that came, from 0 to 1."""
    gone = np.sort(before[:-1][now[:-1] < GONE * before[:-1]])[::-1]
    size = max(len(gone), len(spellings))
    lost, came = (np.pad(shares, (0, size - len(shares))) for shares in (gone, spellings))
    return 1 - float(np.abs(lost - came).sum() / max(lost.sum() + came.sum(), 1e-9))
