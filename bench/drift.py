"""Drift statistics of all features against Evidently's drift preset on the same rows: the figure for `make bench`."""

from __future__ import annotations

import time
from collections.abc import Callable
from statistics import median

import numpy as np
import pyarrow as pa

from bench.figure import Figure
from monitoring import changes, histograms
from monitoring.reports import drift as page

NUMBERS, CATEGORIES = 14, 4
PAIRS = 3
BATCH = 65_536  # rows, as they come from Postgres


def tables(rows: int, seed: int = 1) -> tuple[pa.Table, pa.Table]:
    """Reference and current, 18 columns wide: smooth, skewed and counted numbers, and text."""
    random = np.random.default_rng(seed)

    def table(shift: float) -> pa.Table:
        draws = [
            lambda: random.normal(shift, 1, rows),
            lambda: random.lognormal(shift, 1, rows),
            lambda: random.poisson(3, rows),
        ]
        numbers = {f"number_{index}": draws[index % 3]() for index in range(NUMBERS)}
        texts = {f"text_{index}": random.choice(["a", "b", "c", "d", "e"], rows) for index in range(CATEGORIES)}
        return pa.table(numbers | texts)

    return table(0.0), table(0.1)


def seconds_of_ours(reference: pa.Table, current: pa.Table) -> float:
    """Both sides counted and all of their changes; learning the bins is the training's and not counted."""
    texts = {name: ["a", "b", "c", "d", "e"] for name in reference.column_names if name.startswith("text")}
    layout = histograms.learn_layout(reference, texts, bins=30)
    began = time.perf_counter()
    sides = [histograms.count(side.to_batches(max_chunksize=BATCH), layout) for side in (reference, current)]
    changes.compare(sides)
    return time.perf_counter() - began


def seconds_of_evidently(reference: pa.Table, current: pa.Table) -> float:
    """Its drift preset with its defaults, without importing it and without rendering."""
    page.run_preset(reference.slice(0, 200).to_pandas(), current.slice(0, 200).to_pandas())  # imports it
    one, other = reference.to_pandas(), current.to_pandas()
    began = time.perf_counter()
    page.run_preset(one, other)
    return time.perf_counter() - began


def measure(rows: int, say: Callable[[str], None]) -> list[Figure]:
    """Ours and Evidently's in turn, on the same rows."""
    reference, current = tables(rows)
    pairs = [(seconds_of_ours(reference, current), seconds_of_evidently(reference, current)) for _ in range(PAIRS)]
    for ours, theirs in pairs:
        say(f"drift of {NUMBERS + CATEGORIES} columns, {rows:,} rows a side: ours {ours:.2f} s, Evidently's {theirs:.1f} s")
    return [Figure(f"drift of all columns, {rows:,} rows a side / Evidently", median(a / b for a, b in pairs), 1 / 30)]
