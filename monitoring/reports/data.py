"""The page "what the data looks like": of every column its statistics, its distribution, and the target's rate by value.

Written by hand instead of by Evidently's summary, which has no target rate by column, takes 4 MB and cannot be read on a
phone. All training rows are behind it; a bin of fewer than 30 rows gives no rate.
"""

from __future__ import annotations

import html
from collections.abc import Iterable
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from monitoring.reports import sanitized, site
from monitoring.reports.columns import MISSING, OTHER, Columns

BINS = 12
FEWEST = 30  # rows behind a rate
LONGEST_LABEL = 12
WIDTH, HEIGHT, FLOOR = 360, 190, 150  # of a chart, in its own units; FLOOR is where bars stand
STYLE = """<style>
.cards { display: grid; grid-template-columns: repeat(auto-fill, minmax(19rem, 1fr)); gap: 1.2rem; }
.card h3 { margin: 0; font-size: 1rem; overflow-wrap: anywhere; } .card p { margin: 0; font-size: .85em; opacity: .8; }
svg { width: 100%; height: auto; } svg text { font: 10px system-ui, sans-serif; fill: currentColor; }
.bar { fill: #6aa6d8; } .rate { stroke: #c8553d; fill: #c8553d; stroke-width: 1.6; }
.axis { stroke: currentColor; opacity: .3; }
td.number, th.number { text-align: right; white-space: nowrap; }
td { overflow-wrap: anywhere; } td:first-child { min-width: 8rem; }
.key i { display: inline-block; width: .8em; height: .8em; margin: 0 .3em 0 0; }
</style>"""


@dataclass(frozen=True)
class Bin:
    """Rows with these values: their share of all rows, and the target's rate with its interval (None for few rows)."""

    label: str
    share: float
    rate: tuple[float, float, float] | None


def page(model: str, rows: pd.DataFrame, columns: Columns, labels: NDArray, entities: NDArray, confidence: float) -> str:
    """HTML page.

    Args:
        rows: the training rows, as `Columns.frame` makes them.
        labels: 0 or 1, shape (rows,).
        entities: customer of each row, shape (rows,).
    """
    everybody = rate_interval(labels, entities, confidence)
    point, low, high = everybody
    title = f"{sanitized.text(model)}: what the data looks like"
    body = [
        STYLE,
        '<nav><a href="index.html">all reports</a></nav>',
        f"<h1>{title}</h1>",
        f"<p>{len(rows):,} training rows of {len(np.unique(entities)):,} customers; the target is 1 in "
        f"{point:.2%} [{low:.2%}, {high:.2%}] of them. Intervals: {confidence:.0%}, over customers. Of a text, those values "
        f"are shown that the model knows; the others are {OTHER}. Ends of a number are its 1% and 99% points.</p>",
        "<h2>Numbers</h2>",
        _table(
            ["column", "missing", "unique", "mean", "deviation", "1%", "median", "99%"],
            [number_line(name, rows[name]) for name in columns.numbers.values()],
        ),
        "<h2>Texts</h2>",
        _table(
            ["column", "missing", "unique", "most frequent", "its share", OTHER],
            [text_line(name, rows[name]) for name in columns.texts.values()],
        ),
        "<h2>Distributions, and the target's rate</h2>",
        '<p class="key"><i style="background:#6aa6d8"></i>share of rows &nbsp; <i style="background:#c8553d"></i>rate of the '
        "target, with its interval; the dashed line is everybody's</p>",
        '<div class="cards">',
        *(
            _card(name, binned(rows[name], labels, entities, confidence), point)
            for name in [*columns.numbers.values(), *columns.texts.values()]
        ),
        "</div>",
    ]
    return site.page(title, body)


def number_line(name: str, column: pd.Series) -> list[str]:
    known = column.dropna()
    if known.empty:
        return [name, "100.0%", "0", *[""] * 5]
    points = [known.mean(), known.std(ddof=0), *known.quantile([0.01, 0.5, 0.99])]
    return [name, f"{column.isna().mean():.1%}", f"{known.nunique():,}", *(f"{value:,.4g}" for value in points)]


def text_line(name: str, column: pd.Series) -> list[str]:
    counts = column[column != MISSING].value_counts()
    missing, other = (column == MISSING).mean(), (column == OTHER).mean()
    top = counts.drop(OTHER, errors="ignore")
    most = [str(top.index[0]), f"{top.iloc[0] / len(column):.1%}"] if len(top) else ["", ""]
    return [name, f"{missing:.1%}", f"{len(top):,}", *most, f"{other:.1%}"]


def binned(column: pd.Series, labels: NDArray, entities: NDArray, confidence: float) -> list[Bin]:
    """The column's values in at most 12 bins, and those that are missing."""
    member = _text_bins(column) if column.dtype == object else _number_bins(column)
    bins = []
    for label, mask in member:
        rate = rate_interval(labels[mask], entities[mask], confidence) if mask.sum() >= FEWEST else None
        bins.append(Bin(label, float(mask.mean()), rate))
    return bins


def rate_interval(labels: NDArray, entities: NDArray, confidence: float) -> tuple[float, float, float]:
    """Share of ones, and Wilson's interval on the effective number of rows (Korn & Graubard 1998): as many as would give the
    variance that the rate has when customers are drawn, and not rows."""
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
    known = values[~np.isnan(values)]
    unique = np.unique(known)
    if len(unique) <= BINS:
        yield from ((short_number(value), values == value) for value in unique)
    else:
        edges = bin_edges(known)
        place = np.clip(np.searchsorted(edges, values, side="right") - 1, 0, len(edges) - 2)
        for index, edge in enumerate(edges[:-1]):
            yield short_number(edge), (place == index) & ~np.isnan(values)
    if len(known) < len(values):
        yield MISSING, np.isnan(values)


def bin_edges(known: NDArray[np.float64]) -> NDArray[np.float64]:
    """Of at most 12 bins of equal width; the outer ones take the lowest and the highest 1%. Whole numbers stay whole, or
    some bins would hold more of them than others."""
    low, high = np.quantile(known, [0.01, 0.99])
    if high <= low:
        low, high = float(known.min()), float(known.max())
    if (known == np.round(known)).all():
        width = max(1.0, np.ceil((high - low + 1) / BINS))
        return np.arange(np.floor(low), high + width + 1e-9, width)
    return np.linspace(low, high, BINS + 1)


def short_number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"


def _text_bins(column: pd.Series) -> Iterable[tuple[str, NDArray[np.bool_]]]:
    counts = column.value_counts()
    special = [value for value in (OTHER, MISSING) if value in counts.index]
    frequent = [value for value in counts.index if value not in special][:BINS]
    left = ~column.isin([*frequent, *special])
    yield from ((str(value), (column == value).to_numpy()) for value in [*frequent, *special])
    if left.any():
        yield f"({column[left].nunique()} more)", left.to_numpy()


def _card(name: str, bins: list[Bin], everybody: float) -> str:
    highest = max((one.share for one in bins), default=1.0) or 1.0
    ends = [one.rate[2] for one in bins if one.rate] + [everybody]
    top, step = min(1.0, max(ends) * 1.1) or 1.0, (WIDTH - 40) / max(len(bins), 1)
    parts = [f'<line class="axis" x1="34" x2="{WIDTH}" y1="{FLOOR}" y2="{FLOOR}"/>']
    digits = 2 if top < 0.04 else 0
    for tick in (0.0, top / 2, top):
        parts += [f'<text x="30" y="{_height(tick, top) + 3:.1f}" text-anchor="end">{tick:.{digits}%}</text>']
    level = _height(everybody, top)
    parts.append(f'<line class="axis" stroke-dasharray="4" x1="34" x2="{WIDTH}" y1="{level:.1f}" y2="{level:.1f}"/>')
    for index, one in enumerate(bins):
        left, middle = 36 + index * step, 36 + (index + 0.43) * step
        tall = one.share / highest * (FLOOR - 12)
        hint = f"<title>{html.escape(one.label)}: {one.share:.1%} of rows{_said(one.rate)}</title>"
        place = f'x="{left:.1f}" y="{FLOOR - tall:.1f}" width="{step * 0.86:.1f}" height="{tall:.1f}"'
        parts.append(f'<rect class="bar" {place}>{hint}</rect>')
        if one.rate:
            rate, low, high = (_height(value, top) for value in one.rate)
            parts.append(f'<line class="rate" x1="{middle:.1f}" x2="{middle:.1f}" y1="{low:.1f}" y2="{high:.1f}"/>')
            parts.append(f'<circle class="rate" cx="{middle:.1f}" cy="{rate:.1f}" r="2.6"/>')
        parts.append(_label(one.label, middle, step))
    drawn = f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{html.escape(name)}">{"".join(parts)}</svg>'
    return f'<div class="card"><h3>{html.escape(name)}</h3>{drawn}</div>'


def _label(text: str, middle: float, step: float) -> str:
    """Below a bar: level where there is room, else turned."""
    short = text if len(text) <= LONGEST_LABEL else f"{text[: LONGEST_LABEL - 1]}…"
    level = len(short) * 5.5 < step
    turned = 'text-anchor="middle"' if level else f'text-anchor="end" transform="rotate(-32 {middle:.1f} {FLOOR + 11})"'
    return f'<text x="{middle:.1f}" y="{FLOOR + 11}" {turned}>{html.escape(short)}</text>'


def _height(value: float, top: float) -> float:
    return FLOOR - value / top * (FLOOR - 12)


def _said(rate: tuple[float, float, float] | None) -> str:
    return f", rate {rate[0]:.2%} [{rate[1]:.2%}, {rate[2]:.2%}]" if rate else ", too few for a rate"


def _table(header: list[str], lines: list[list[str]]) -> str:
    if not lines:
        return "<p>None.</p>"
    kinds = ["", *([' class="number"'] * (len(header) - 1))]
    head = "".join(f"<th{kind}>{html.escape(cell)}</th>" for kind, cell in zip(kinds, header, strict=True))
    body = "".join(
        "<tr>" + "".join(f"<td{kind}>{_breakable(cell)}</td>" for kind, cell in zip(kinds, line, strict=True)) + "</tr>"
        for line in lines
    )
    return f'<div class="scroll"><table><tr>{head}</tr>{body}</table></div>'


def _breakable(text: str) -> str:
    """A column's name may go on in the next line after an underscore, and nowhere within a word."""
    return html.escape(text).replace("_", "_<wbr>")
