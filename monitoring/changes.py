"""How far every column moved between windows, in channels that can be compared between columns and sizes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from monitoring.histograms import Histograms

Floats = NDArray[np.float64]
ALL = ":all"  # stands for all columns together
FLOORS = {"missing": 1.0}  # a change of a few missing rows is none, and its logarithm would swing widely
FLOOR = 0.2


@dataclass(frozen=True)
class Changes:
    """Changes between all pairs of windows.

    channels: (column, channel) of each.
    apart: shape (channels, windows, windows), symmetric and positive; 1 is what two independent samples would show.
    """

    channels: list[tuple[str, str]]
    apart: Floats

    def of(self, windows: Sequence[int]) -> Changes:
        """Those between some of the windows, in the order given."""
        return Changes(self.channels, self.apart[:, windows][:, :, windows])


def compare(windows: Sequence[Histograms], trending: Sequence[str] = ()) -> Changes:
    """Changes between all pairs of `windows`; of a trending column only those in missing rows.

    Channels: `distribution` is Jensen-Shannon over all cells, `order` Kolmogorov-Smirnov over a number's bins, `missing` the
    share of missing rows, `correlation` a column's with all others. `:all` are the roots of the mean squares of the
    columns' distributions and correlations: many small changes at once.
    """
    names = windows[0].columns
    rows = np.array([max(window.rows, 1) for window in windows], dtype=float)
    spread = 1 / rows[:, None] + 1 / rows[None, :]
    kept = [index for index, name in enumerate(names) if name not in trending]
    correlations = np.array([window.correlations()[:, kept] for window in windows])
    channels: dict[tuple[str, str], Floats] = {}
    for index, name in enumerate(names):
        cells = np.array([window.column(name).cells for window in windows], dtype=float)
        channels[name, "missing"] = _missing(cells, spread)
        if index not in kept:
            continue
        channels[name, "distribution"] = _distribution(cells, spread)
        channels[name, "correlation"] = _correlation(correlations[:, index], spread)
        if name in windows[0].numbers:
            channels[name, "order"] = _order(cells[:, :-2], spread)
    floored = {channel: np.hypot(apart, FLOORS.get(channel[1], FLOOR)) for channel, apart in channels.items()}
    for kind in ("distribution", "correlation"):
        one_kind = [apart for channel, apart in floored.items() if channel[1] == kind]
        if one_kind:
            floored[ALL, kind] = np.sqrt(np.mean(np.square(one_kind), axis=0))
    return Changes(list(floored), np.array(list(floored.values())))


def _distribution(cells: Floats, spread: Floats) -> Floats:
    """Jensen-Shannon distance; of independent samples its square is about (cells - 1) / 8 (1/n + 1/m)."""
    shares = cells / np.maximum(cells.sum(axis=1, keepdims=True), 1)
    shares = shares[:, shares.any(axis=0)]
    first, second = shares[:, None], shares[None]
    middle = (first + second) / 2
    divergence = (_entropy(first, middle) + _entropy(second, middle)) / 2
    return np.sqrt(np.clip(divergence, 0, None) / (max(shares.shape[1] - 1, 1) / 8 * spread))


def _order(cells: Floats, spread: Floats) -> Floats:
    """Kolmogorov-Smirnov distance of the finite values; of independent samples about 0.87 sqrt(1/n + 1/m)."""
    upto = np.cumsum(cells, axis=1) / np.maximum(cells.sum(axis=1, keepdims=True), 1)
    return np.abs(upto[:, None] - upto[None]).max(axis=2) / (0.87 * np.sqrt(spread))


def _missing(cells: Floats, spread: Floats) -> Floats:
    """Difference of the shares of missing rows, over its standard deviation in independent samples."""
    share = cells[:, -1] / np.maximum(cells.sum(axis=1), 1)
    least = np.minimum(spread, 0.5)
    pooled = np.clip((share[:, None] + share[None]) / 2, least, 1 - least)
    return np.abs(share[:, None] - share[None]) / np.sqrt(pooled * (1 - pooled) * spread)


def _correlation(rows: Floats, spread: Floats) -> Floats:
    """Root mean square of a column's changes in correlation with the others, over its size in independent samples."""
    apart = ((rows[:, None] - rows[None]) ** 2).sum(axis=2)
    return np.sqrt(apart / max(rows.shape[1] - 1, 1) / spread)


def _entropy(first: Floats, second: Floats) -> Floats:
    """Relative entropy over the last axis, 0 ln 0 being 0."""
    ratio = np.divide(first, second, out=np.ones(np.broadcast(first, second).shape), where=(first > 0) & (second > 0))
    return (first * np.log(ratio)).sum(axis=-1)
