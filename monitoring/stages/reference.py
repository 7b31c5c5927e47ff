"""Stage reference: what a version hands to those who watch it, in its bundle.

- the layout of its histograms, and those of its training rows with their out-of-fold scores;
- how likely a positive is at each score, learnt out of fold (monitoring/estimate.py), and what that makes of the newest rows;
- the share of positives in each snapshot;
- a bounded sample of training rows for pages: features and protected attributes only, no key and nothing personal.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from monitoring import estimate, histograms, profiles
from monitoring.histograms import PREDICTION, Histograms, Layout
from pipelines.config import params as parameters
from pipelines.config import stage
from pipelines.data import row_weights
from pipelines.statistics.resampling import Interval

if TYPE_CHECKING:
    from pipelines.config.params import DataParams, Params


def main(*, training: Path, schema: Path, past: Path, scores: Path, evaluation: Path, reference: Path, sample: Path) -> None:
    """Write the reference of the challenger, and the sample."""
    params = parameters.read()
    evaluated, features, recency = (json.loads(path.read_text(encoding="utf-8")) for path in (evaluation, schema, past))
    name = evaluated["challenger"]
    with stage.phase("read"):
        judged = pq.read_table(scores)
        rows = pq.read_table(training).append_column(PREDICTION, judged[f"score_{name}"])
    layout, counted = count_training(rows, features, params)
    threshold = float(evaluated["candidates"][name]["threshold"])
    weights = row_weights.weights(row_weights.days_of(rows, params.data), recency["overall"])
    kept = judged.filter(pa.array(row_weights.thinned(weights, params.evaluate.seed)))
    calibration = calibrate(kept, kept[f"score_{name}"].to_numpy(), threshold, params)
    newest = judged.filter(judged["newest"])[f"score_{name}"].to_numpy()
    expected = estimate.expect(calibration, calibration.count(newest), params.evaluate)
    content = {
        "rates": params.monitor.per_unit_columns,
        "layout": json.loads(layout.to_json()),
        "training": json.loads(counted.to_json()),
        "calibration": calibration.to_dict(),
        "expected": {metric: _rounded(figure) for metric, figure in expected.items() if np.isfinite(figure.point)},
        "positives": count_positives(_labels(rows, params.data)),
    }
    stage.write_json(reference, content)
    with stage.phase("write"):
        pq.write_table(draw_sample(rows, features, params), sample, compression="zstd")
    stage.say(f"Reference of {name}: {counted.rows:,} training rows, {len(newest):,} of the newest snapshots.")


def count_training(rows: pa.Table, features: Mapping[str, Any], params: Params) -> tuple[Layout, Histograms]:
    """The layout of the watched columns, and their histograms."""
    shown = profiles.watched(rows, rows[PREDICTION].to_numpy(), features, params.monitor.per_unit_columns)
    layout = histograms.learn_layout(shown, features["categories"], bins=params.monitor.bins)
    return layout, histograms.count(shown.to_batches(), layout)


def calibrate(judged: pa.Table, scores: Any, threshold: float, params: Params) -> estimate.Calibration:
    """How likely a positive is at each score; the snapshots are the calendar blocks."""
    data = params.data
    entities = judged[data.entity].combine_chunks().dictionary_encode().indices.to_numpy()
    blocks = judged[data.time].cast(pa.string()).to_numpy(zero_copy_only=False) if data.time else np.zeros(len(scores))
    return estimate.learn(judged[data.target].to_numpy(), scores, entities, blocks, threshold, params.evaluate)


def count_positives(labels: pa.Table) -> list[tuple[str | None, int, int]]:
    """Snapshot, its positives and its rows, in order. `labels` has the columns `day` and `label`."""
    by_day = labels.group_by("day").aggregate([("label", "sum"), ("label", "count")]).sort_by("day")
    days = [None if day is None else str(day) for day in by_day["day"].to_pylist()]
    return list(zip(days, by_day["label_sum"].to_pylist(), by_day["label_count"].to_pylist(), strict=True))


def draw_sample(rows: pa.Table, features: Mapping[str, Any], params: Params) -> pa.Table:
    """At most `audit.report_rows` of the rows, of the columns that a page may show and the score."""
    shown = dict.fromkeys([*features["numbers"], *features["categories"], *params.data.protected, PREDICTION])
    kept = rows.select([name for name in shown if name not in params.data.hidden])
    size = min(rows.num_rows, params.audit.report_rows)
    chosen = np.random.default_rng(params.evaluate.seed).choice(rows.num_rows, size, replace=False)
    return kept.take(pa.array(np.sort(chosen)))


def _labels(rows: pa.Table, data: DataParams) -> pa.Table:
    days = rows[data.time].cast(pa.date32()) if data.time else pa.nulls(rows.num_rows, pa.date32())
    return pa.table({"day": days, "label": rows[data.target].cast(pa.int64())})


def _rounded(figure: Interval) -> dict[str, float]:
    return {end: round(value, 9) for end, value in figure.to_dict().items()}


if __name__ == "__main__":
    stage.run(main)
