"""The page "what the data looks like": of every column its statistics, its distribution, and the target's rate by value.

Written by hand instead of by Evidently's summary, which has no target rate by column, takes 4 MB and cannot be read on a
phone. All training rows are behind it; a bin of fewer than 30 rows gives no rate.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from monitoring.reports import render
from monitoring.reports.columns import MISSING, OTHER, Columns
from pipelines import sanitize
from pipelines.page import Table, name, number

BINS = 12
FEWEST = 30  # rows behind a rate
LONGEST_LABEL = 12
LEFT, RIGHT, HEAD, FLOOR = 40, 322, 24, 164  # of a chart's inside, in its own units (360 x 214)
NUMBERS = ("column", "missing", "unique", "mean", "deviation", "1%", "median", "99%")
TEXTS = ("column", "missing", "unique", "most frequent", "its share", OTHER)


@dataclass(frozen=True)
class Bin:
    """Rows with these values: their share of all rows, and the target's rate with its interval (None for few rows)."""

    label: str
    share: float
    rate: tuple[float, float, float] | None


def page(
    model: str, rows: pd.DataFrame, columns: Columns, labels: NDArray[Any], entities: NDArray[Any], confidence: float
) -> str:
    """HTML page; its arguments are those of `view`."""
    return render("data.html", **view(model, rows, columns, labels, entities, confidence))


def view(
    model: str, rows: pd.DataFrame, columns: Columns, labels: NDArray[Any], entities: NDArray[Any], confidence: float
) -> dict[str, Any]:
    """What the page shows.

    Args:
        rows: the training rows, as `Columns.frame` makes them.
        labels: 0 or 1, shape (rows,).
        entities: entity of each row, shape (rows,).
    """
    everybody = rate_interval(labels, entities, confidence)
    shown = [*columns.numbers.values(), *columns.texts.values()]
    return {
        "title": f"{sanitize.text(model)}: what the data looks like",
        "trail": [("Evergreen", ""), ("reports", "index.html"), ("data", "")],
        "rows": len(rows),
        "entities": len(np.unique(entities)),
        "rate": in_words(everybody),
        "confidence": confidence,
        "other": OTHER,
        "numbers": _table(NUMBERS, [number_line(column, rows[column]) for column in columns.numbers.values()]),
        "texts": _table(TEXTS, [text_line(column, rows[column]) for column in columns.texts.values()]),
        "charts": [chart(column, binned(rows[column], labels, entities, confidence), everybody[0]) for column in shown],
    }


def _table(header: tuple[str, ...], lines: list[list[str]]) -> Table:
    return Table(header, [[name(first), *rest] for first, *rest in lines], header[1:])


def number_line(title: str, column: pd.Series) -> list[str]:
    present = column.dropna()
    if present.empty:
        return [title, "100.0%", "0", *[""] * 5]
    points = [present.mean(), present.std(ddof=0), *present.quantile([0.01, 0.5, 0.99])]
    return [title, f"{column.isna().mean():.1%}", f"{present.nunique():,}", *(number(value, ",.4g") for value in points)]


def text_line(title: str, column: pd.Series) -> list[str]:
    counts = column[column != MISSING].value_counts()
    missing, other = (column == MISSING).mean(), (column == OTHER).mean()
    top = counts.drop(OTHER, errors="ignore")
    most = [str(top.index[0]), f"{top.iloc[0] / len(column):.1%}"] if len(top) else ["", ""]
    return [title, f"{missing:.1%}", f"{len(top):,}", *most, f"{other:.1%}"]


def binned(column: pd.Series, labels: NDArray[Any], entities: NDArray[Any], confidence: float) -> list[Bin]:
    """The column's values in at most 12 bins, and those that are missing."""
    member = _text_bins(column) if column.dtype == object else _number_bins(column)
    bins = []
    for label, mask in member:
        rate = rate_interval(labels[mask], entities[mask], confidence) if mask.sum() >= FEWEST else None
        bins.append(Bin(label, float(mask.mean()), rate))
    return bins


def rate_interval(labels: NDArray[Any], entities: NDArray[Any], confidence: float) -> tuple[float, float, float]:
    """Share of ones, and Wilson's interval on the effective number of rows (Korn & Graubard 1998): as many as would give the
    variance that the rate has when entities are drawn, and not rows."""
    count, rate = len(labels), float(labels.mean())
    customer = np.unique(entities, return_inverse=True)[1]
    deviations = np.bincount(customer, weights=labels - rate)
    variance = float((deviations**2).sum()) / count**2
    effective = rate * (1 - rate) / variance if variance > 0 else float(customer.max() + 1)
    effective = min(effective, float(count))
    z = NormalDist().inv_cdf((1 + confidence) / 2)
    centre = (rate + z**2 / (2 * effective)) / (1 + z**2 / effective)
    reach = z / (1 + z**2 / effective) * np.sqrt(rate * (1 - rate) / effective + z**2 / (4 * effective**2))
    return rate, float(max(centre - reach, 0)), float(min(centre + reach, 1))


def _number_bins(column: pd.Series) -> Iterable[tuple[str, NDArray[np.bool_]]]:
    values = column.to_numpy()
    present = values[~np.isnan(values)]
    unique = np.unique(present)
    if len(unique) <= BINS:
        yield from ((number(value), values == value) for value in unique)
    else:
        edges = bin_edges(present)
        place = np.clip(np.searchsorted(edges, values, side="right") - 1, 0, len(edges) - 2)
        for index, edge in enumerate(edges[:-1]):
            yield number(edge), (place == index) & ~np.isnan(values)
    if len(present) < len(values):
        yield MISSING, np.isnan(values)


def bin_edges(present: NDArray[np.float64]) -> NDArray[np.float64]:
    """Of at most 12 bins of equal width; the outer ones take the lowest and the highest 1%. Whole numbers stay whole, or
    some bins would hold more of them than others."""
    low, high = np.quantile(present, [0.01, 0.99])
    if high <= low:
        low, high = float(present.min()), float(present.max())
    if (present == np.round(present)).all():
        width = max(1.0, np.ceil((high - low + 1) / BINS))
        return np.arange(np.floor(low), high + width + 1e-9, width)
    return np.linspace(low, high, BINS + 1)


def _text_bins(column: pd.Series) -> Iterable[tuple[str, NDArray[np.bool_]]]:
    counts = column.value_counts()
    special = [value for value in (OTHER, MISSING) if value in counts.index]
    frequent = [value for value in counts.index if value not in special][:BINS]
    left = ~column.isin([*frequent, *special])
    yield from ((str(value), (column == value).to_numpy()) for value in [*frequent, *special])
    if left.any():
        yield f"({column[left].nunique()} more)", left.to_numpy()


def chart(title: str, bins: list[Bin], everybody: float) -> dict[str, Any]:
    """A column's bars, whose axis is at the right, and the target's rates, whose axis is at the left."""
    highest = max((part.share for part in bins), default=1.0) or 1.0
    ends = [part.rate[2] for part in bins if part.rate] + [everybody]
    top, step = min(1.0, max(ends) * 1.1) or 1.0, (RIGHT - LEFT) / max(len(bins), 1)
    return {
        "title": title,
        "rates": [(_percent(tick, top), _height(tick, top)) for tick in (0.0, top / 2, top)],
        "shares": [(_percent(tick, highest), _height(tick, highest)) for tick in (0.0, highest / 2, highest)],
        "everybody": _height(everybody, top),
        "is_level": all(len(_short(part.label)) * 6.5 < step for part in bins),  # labels, where there is room; else turned
        "bars": [
            {
                "x": round(LEFT + index * step + 1, 1),
                "width": round(step * 0.86, 1),
                "middle": round(LEFT + (index + 0.43) * step + 1, 1),
                "top": _height(part.share, highest),
                "rate": [_height(value, top) for value in part.rate] if part.rate else None,
                "words": f"{part.label}: {part.share:.1%} of rows, "
                + (in_words(part.rate) if part.rate else "too few for a rate"),
                "label": _short(part.label),
            }
            for index, part in enumerate(bins)
        ],
    }


def _short(label: str) -> str:
    return label if len(label) <= LONGEST_LABEL else f"{label[: LONGEST_LABEL - 1]}…"


def _height(value: float, top: float) -> float:
    return round(FLOOR - value / top * (FLOOR - HEAD), 1)


def _percent(value: float, top: float) -> str:
    return f"{value:.{2 if top < 0.04 else 1 if top < 0.1 else 0}%}"


def in_words(rate: tuple[float, float, float]) -> str:
    return f"rate {rate[0]:.2%} [{rate[1]:.2%}, {rate[2]:.2%}]"
