"""What a version is compared with while it is watched, as its bundle keeps it (monitoring/stages/reference.py writes it)."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

from monitoring import estimate
from monitoring.histograms import Histograms, Layout
from pipelines.config.errors import EvergreenError
from pipelines.statistics.resampling import Interval

FILE, SAMPLE = "reference.json", "reference.parquet"  # in the bundle


@dataclass(frozen=True)
class Reference:
    """What a version is compared with.

    schema: of its features. rates: sums that are watched per unit. training: histograms of its training rows.
    expected: metric -> its estimate on the newest snapshots; held_out: metric -> what it is on them, out of fold. threshold: a
    score from here on decides for positive.
    positives: snapshot -> (rows with label 1, rows); under the key None for a table without time.
    """

    schema: Mapping[str, Any]
    rates: Mapping[str, str]
    layout: Layout
    training: Histograms
    calibration: estimate.Calibration
    expected: Mapping[str, Interval]
    held_out: Mapping[str, Interval]
    threshold: float
    positives: Mapping[date | None, tuple[int, int]]

    @classmethod
    def read(cls, bundle: Path) -> Reference:
        """That of a version, from its bundle, which the caller has verified.

        Raises:
            EvergreenError: the bundle is of a time when versions had none.
        """
        if not (bundle / FILE).exists():
            raise EvergreenError(f"The bundle in {bundle} has no {FILE}: it cannot be watched. Retrain, and it can.")
        names = (FILE, "schema.json", "evaluation.json", "decision.json")
        saved, schema, evaluated, decision = (json.loads((bundle / name).read_text(encoding="utf-8")) for name in names)
        candidate = evaluated["candidates"][decision["candidate"]]
        measured = newest_metrics(candidate)
        return cls(
            schema=schema,
            rates=saved["rates"],
            layout=Layout.from_json(json.dumps(saved["layout"])),
            training=Histograms.from_json(json.dumps(saved["training"])),
            calibration=estimate.Calibration.from_dict(saved["calibration"]),
            expected={name: Interval(**figure) for name, figure in saved["expected"].items()},
            held_out={name: Interval(**figure) for name, figure in measured.items() if figure["point"] is not None},
            threshold=float(decision["threshold"]),
            positives={_day(day): (ones, rows) for day, ones, rows in saved["positives"]},
        )


def newest_metrics(candidate: Mapping[str, Any]) -> Mapping[str, Any]:
    """Of a candidate in evaluation.json: all figures on the newest snapshots, or on all rows where there is no clock.

    Versions from before cross-fitting measured one metric on snapshots that nobody had seen; theirs are of all rows.
    """
    newest = candidate.get("newest", {})
    return newest if len(newest) > 1 else candidate["metrics"]


def _day(text: str | None) -> date | None:
    return None if text is None else date.fromisoformat(text)
