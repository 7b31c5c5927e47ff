"""`make bench`: the speed claims, each as a ratio against a limit measured in the same run (or a fixed budget)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

from bench import commands, drift, extraction, place, retraining, scoring, serving
from pipelines.config import stage
from pipelines.config.settings import Settings

DRIFT_ROWS = 200_000


def run(settings: Settings, out: Path, *, rows: int, say: Callable[[str], None]) -> bool:
    """Measure the project as it lies in the clone, print a table and write `out`; returns whether every goal was met.

    The clone's own stack, data and ledger are not touched.
    """
    figures = drift.measure(DRIFT_ROWS, say)
    with place.own_stack(settings, say) as own:
        figures += [*extraction.measure(own, rows, say), *scoring.measure(own, rows // 10, say)]
        figures += serving.measure(own, say)
        figures += [*retraining.measure(own, say), *commands.measure(own, say)]
    stage.write_json(out, [asdict(figure) for figure in figures])
    say(f"\n{'claim':<64} {'ratio':>7} {'goal':>6}")
    for figure in figures:
        say(str(figure))
    return all(figure.met for figure in figures)
