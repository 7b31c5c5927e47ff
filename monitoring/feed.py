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
from monitoring.findings import Finding
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


def check(window: Histograms, quiet: Sequence[Histograms], layout: Layout, params: MonitorParams) -> list[Finding]:
    """Faults in the columns, each a finding of kind `feed`; and what is worth knowing and no fault.

    Args:
        quiet: at least one earlier window, or the reference where there is none yet.
    """
    if window.rows < params.min_rows:
        return []
    found = list(_swapped(window, quiet))
    swapped = {name for one in found for name in one.evidence["columns"]}
    for name in layout.columns:
        if name in (PREDICTION, TARGET):
            continue
        found += _nulls(name, window, quiet, params)
        if name in swapped:
            continue
        if name in layout.edges:
            found += _number(name, window.numbers[name], [block.numbers[name] for block in quiet], layout, params)
        else:
            found += _category(name, window.categories[name], [block.categories[name] for block in quiet], params)
    return found


def check_volume(window: Histograms, quiet: Sequence[Histograms], params: MonitorParams) -> list[Finding]:
    """Whether far more or far fewer rows came than in the newest of the quiet windows, of which there is one at least."""
    usual = median(block.rows for block in quiet[-3:])
    if usual / params.volume_factor <= window.rows <= usual * params.volume_factor:
        return []
    says = f"{window.rows:,} rows came where the windows before had about {usual:,.0f}: the world, or a load that is missing?"
    return [Finding("info", "volume", says, window.rows, window.rows / max(usual, 1), params.volume_factor)]


def check_age(as_of: date, complete_through: date | None, params: MonitorParams, rows: int) -> list[Finding]:
    """Whether a feed ends too long before a day. A source without a clock has no age."""
    if complete_through is None or (as_of - complete_through).days <= params.max_age_days:
        return []
    days = (as_of - complete_through).days
    says = f"The data ends on {complete_through}, {days} days before {as_of}: a feed is late."
    return [Finding("feed", "freshness", says, rows, days, params.max_age_days)]


def _fault(form: str, about: str, says: str, rows: int, sure: float, **evidence: object) -> Finding:
    """A fault, or information where it is not sure enough."""
    sure = round(float(min(max(sure, 0.0), 0.99)), 2)
    kind = "feed" if sure >= SURE else "info"
    return Finding(kind, about, f"{says} ({sure:.0%} sure)", rows, sure, SURE, {"form": form, "sure": sure, **evidence})


def _never(windows: int) -> float:
    """How surely something is unusual that none of so many windows had: by Laplace's rule of succession."""
    return 1 - 1 / (windows + 1)


def _nulls(name: str, window: Histograms, quiet: Sequence[Histograms], params: MonitorParams) -> Iterator[Finding]:
    def share(block: Histograms) -> float:
        column = block.column(name)
        return (column.missing + getattr(column, "infinite", 0)) / max(block.rows, 1)

    now, usual = share(window), [share(block) for block in quiet]
    if now > max(usual) + params.missing_rise:
        says = f"{name} is missing in {now:.0%} of the rows; in baseline windows in at most {max(usual):.0%}."
        yield _fault("nulls", name, says, window.rows, 1 - (max(usual) - min(usual)) / (now - min(usual)), share=now)


# numbers


def _number(name: str, now: Number, quiet: list[Number], layout: Layout, params: MonitorParams) -> Iterator[Finding]:
    quiet = [block for block in quiet if block.finite >= LEAST_VALUES]
    if now.finite < LEAST_VALUES or not quiet:
        return
    faults = [*_constant(name, now, quiet, layout), *_unit(name, now, quiet, params)]
    yield from faults
    if not faults and name not in params.trending and name not in params.rates:
        yield from _range(name, now, quiet, params)


def _constant(name: str, now: Number, quiet: list[Number], layout: Layout) -> Iterator[Finding]:
    if now.low is None or now.low != now.high or any(block.low == block.high for block in quiet):
        return
    place = int(np.searchsorted(layout.edges[name], now.low, side="right"))
    if max(block.counts[place] / block.finite for block in quiet) ** now.finite > CHANCE:
        return
    says = f"{name} is {now.low:g} in every row; it never was constant before."
    yield _fault("constant", name, says, now.finite, _never(len(quiet)), constant=now.low)


def _unit(name: str, now: Number, quiet: list[Number], params: MonitorParams) -> Iterator[Finding]:
    """Whether a column is a factor away from every quiet window, and as it was but for that."""
    shape = shapes.of(now)
    known = [(block, one) for block in quiet if (one := shapes.of(block)) is not None]
    if shape is None or not known:
        return
    factors = [shapes.rescaled(one, shape) for _, one in known]
    steps = [factor for factor, _ in factors]
    if min(map(abs, steps)) < np.log2(params.unit_factor) or min(steps) < 0 < max(steps):
        return
    (factor, rest), (block, before) = min(zip(factors, known, strict=True), key=lambda pair: pair[0][1])
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
    says = f"{name} is about {size} times what it was in baseline windows, and {kept}: has its unit changed?"
    yield _fault("unit", name, says, now.finite, sure, factor=round(times, 6), before=abs(factor), after=rest)


def _range(name: str, now: Number, quiet: list[Number], params: MonitorParams) -> Iterator[Finding]:
    def outside(number: Number) -> float:
        return float(number.counts[0] + number.counts[-1]) / max(number.finite, 1)

    value, most = outside(now), max(outside(block) for block in quiet)
    if value > most + params.outside_rise:
        says = f"{name} lies outside what training saw in {value:.0%} of the rows; in baseline windows in at most {most:.0%}."
        yield Finding("suspicion", name, says, now.finite, value, most + params.outside_rise)


def _swapped(window: Histograms, quiet: Sequence[Histograms]) -> Iterator[Finding]:
    """Pairs of numbers of which each has moved far from what it was, to where the other one was."""
    names = [name for name in window.numbers if name not in (PREDICTION, TARGET)]
    now = {name: shape for name in names if (shape := shapes.of(window.numbers[name])) is not None}
    before = {name: [one for block in quiet if (one := shapes.of(block.numbers[name])) is not None] for name in now}
    own = {name: _nearest(now[name], before[name]) for name in now if before[name]}
    moved = [name for name, far in own.items() if far > max(MOVED, TIMES * _usual(before[name]))]
    for one, other in combinations(moved, 2):
        crossed = _nearest(now[one], before[other]) + _nearest(now[other], before[one])
        sure = 1 - crossed / (own[one] + own[other])
        if sure >= SURE:
            says = f"{one} looks as {other} did, and {other} as {one}: have the two columns been swapped?"
            yield _fault("swapped", f"{one}, {other}", says, window.rows, sure, columns=[one, other])


def _nearest(shape: Shape, others: Sequence[Shape]) -> float:
    return min(shapes.apart(shape, other) for other in others)


def _usual(quiet: Sequence[Shape]) -> float:
    """The farthest that a quiet window is from the nearest other one; 0 where there is one window only."""
    return max((_nearest(one, [*quiet[:at], *quiet[at + 1 :]]) for at, one in enumerate(quiet) if len(quiet) > 1), default=0.0)


# categories


def _category(name: str, now: Category, quiet: list[Category], params: MonitorParams) -> Iterator[Finding]:
    quiet = [block for block in quiet if block.counts.sum() >= LEAST_VALUES]
    if now.counts.sum() < LEAST_VALUES or not quiet:
        return
    shares, before = _shares(now), [_shares(block) for block in quiet]
    far = [_apart(shares, one) for one in before]
    usual = max(
        (min(_apart(one, other) for other in [*before[:at], *before[at + 1 :]]) for at, one in enumerate(before) if before[1:]),
        default=0.0,
    )
    if min(far) <= usual + params.unknown_rise:  # windows differ as much from each other
        return
    nearest, rows, never = before[int(np.argmin(far))], int(now.counts.sum()), _never(len(quiet))
    spellings = np.sort(now.unknown / rows)[::-1]
    if max(*shares[:-1], spellings[0]) == 1 and max(one.max() for one in before) < 1:
        yield _fault("constant", name, f"{name} has one value in every row; it never was constant before.", rows, never)
    elif shares[-1] > max(one[-1] for one in before) + params.unknown_rise:
        sure = max(_replaced(nearest, shares, spellings), float(shares[-1] > 0.99))
        says = f"{name} is unknown to the model in {shares[-1]:.0%} of the rows: "
        says += "has its spelling changed?" if sure >= SURE else "are these new values?"
        yield _fault("encoding", name, says, rows, min(sure, never), share=float(shares[-1]))
    elif (np.abs(shares - nearest) > BY).sum() >= EXCHANGED:
        rest = _apart(np.sort(nearest), np.sort(shares))
        says = f"{name} has the shares that it had, under other values: have its codes been swapped?"
        if (sure := 1 - rest / min(far)) >= SURE:
            yield _fault("encoding", name, says, rows, min(sure, never))


def _shares(block: Category) -> np.ndarray:
    """Of the known values, then of all unknown ones, in the rows that have a value."""
    return block.counts / block.counts.sum()


def _apart(one: np.ndarray, other: np.ndarray) -> float:
    """Total variation: the share of rows that have another value."""
    return float(np.abs(one - other).sum() / 2)


def _replaced(before: np.ndarray, now: np.ndarray, spellings: np.ndarray) -> float:
    """How well the shares of the known values that have gone are those of the unknown ones that came, from 0 to 1."""
    gone = np.sort(before[:-1][now[:-1] < GONE * before[:-1]])[::-1]
    size = max(len(gone), len(spellings))
    lost, came = (np.pad(one, (0, size - len(one))) for one in (gone, spellings))
    return 1 - float(np.abs(lost - came).sum() / max(lost.sum() + came.sum(), 1e-9))
