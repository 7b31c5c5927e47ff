"""A world's months watched one by one, as the monitor flow watches windows, without flow and storage."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from monitoring import decide, estimate, histograms, judge, performance, profiles
from monitoring.findings import Finding
from monitoring.judge import Block
from monitoring.quiet import Novelty
from monitoring.reference import Reference
from pipelines import features, split
from pipelines.params import Params

TRAINED_TO, KNOWN_TO, FIRST, LAST = 8, 10, 13, 24  # months: learnt from, of the reference, watched first and last
MATURE = 2  # months after which a window's labels are known: 30 days of horizon and 14 of embargo
RESAMPLES = 200


@dataclass(frozen=True)
class Version:
    """A trained version: what scores, and what its monitoring compares with."""

    params: Params
    booster: Any
    reference: Reference

    def score(self, rows: pa.Table) -> NDArray[np.float64]:
        return _score(self.booster, rows, self.reference.schema)

    def count(self, rows: pa.Table) -> histograms.Histograms:
        return profiles.count(rows, self.score(rows), self.reference)


@dataclass(frozen=True)
class Window:
    """What was said of one month."""

    month: int
    novelty: Novelty
    alarm: bool
    found: list[Finding]
    decision: decide.Decision


def train(world: pa.Table, params: Params) -> Version:
    """A small LightGBM on the first months of the customers that are not held out, and all that its monitoring needs."""
    import lightgbm

    params = params.model_copy(update={"evaluate": params.evaluate.model_copy(update={"bootstrap": RESAMPLES})})
    known = pc.is_valid(world["churned"])
    held_out = split.fold_of(world[params.data.entity], params.split.salt, params.split.folds) == 0
    early = pc.less_equal(world["month"], TRAINED_TO)
    rows = world.filter(pc.and_(pc.and_(known, early), pa.array(~held_out))).drop_columns(["month"])
    schema = features.learn_schema(rows, params.data, params.features)
    options = {"objective": "binary", "num_leaves": 15, "learning_rate": 0.06, "min_data_in_leaf": 60, "verbose": -1}
    labelled = lightgbm.Dataset(_matrix(rows, schema), rows["churned"].to_numpy())
    booster = lightgbm.train(options | {"feature_fraction": 0.7, "lambda_l2": 5.0, "num_threads": 1, "seed": 1}, labelled, 120)
    shown = profiles.watched(rows, _score(booster, rows, schema), schema, params.monitor.rates)
    layout = histograms.learn_layout(shown, schema["categories"], bins=params.monitor.bins)
    judged = world.filter(pc.and_(pc.and_(known, pc.less_equal(world["month"], KNOWN_TO)), pa.array(held_out)))
    scores, threshold = _score(booster, judged, schema), _threshold(params)
    labels, entities = judged[params.data.target].to_numpy(), judged[params.data.entity].to_numpy()
    learnt = estimate.learn(labels, scores, entities, judged["month"].to_numpy(), threshold, params.evaluate)
    months = [world.filter(pc.equal(world["month"], month)) for month in range(1, KNOWN_TO + 1)]
    reference = Reference(
        schema=schema,
        rates=params.monitor.rates,
        layout=layout,
        training=histograms.count(shown.to_batches(), layout),
        calibration=learnt,
        expected=estimate.expect(learnt, learnt.count(scores), params.evaluate),
        held_out=performance.measure(labels, scores, entities, threshold, params.evaluate),
        threshold=threshold,
        positives={month: positives(rows) for month, rows in enumerate(months, start=1)},
    )
    return Version(params, booster, reference)


def watch(
    version: Version, months: Sequence[pa.Table], blocks: Sequence[histograms.Histograms], *, effects: bool = True
) -> list[Window]:
    """What is said of the months from FIRST on. A retraining that is asked for is noted as started and changes nothing.

    Args:
        months, blocks: the rows and the histograms of month 1 and on; the last of `blocks` is the last one watched.
        effects: whether performance and its estimate are measured as well.
    """
    monitor = version.params.monitor
    before = [Block(block) for block in blocks[: FIRST - 1]]
    shares, over = list(version.reference.positives.values()), []
    started: list[datetime] = []
    said: list[Window] = []
    for at in range(FIRST - 1, len(blocks)):
        now = datetime(2024, 1, 1, tzinfo=UTC) + timedelta(days=30 * (at + 1))
        seen = judge.look(before, blocks[at], version.reference, monitor)
        found = seen.found
        if effects:
            found = [*found, *expected_loss(version, months[at])]
            mature = at - MATURE
            if mature >= FIRST - 1 and not before[mature].broken:  # a broken feed's labels say nothing about the model
                moved_target = judge.shares(shares, positives(months[mature]), over, monitor)
                over.append(any(one.kind in judge.OVER for one in moved_target))
                shares += [] if over[-1] else [positives(months[mature])]
                found = [*found, *mature_loss(version, months[mature]), *moved_target]
        decision = decide.decide(found, decide.Past(started, running=False), now, monitor)
        started += [now] * (decision.action == "retrain")
        before.append(Block(blocks[at], seen.novelty.exceeds, seen.alarm, broken=decision.action == "block"))
        said.append(Window(at + 1, seen.novelty, seen.alarm, found, decision))
    return said


def positives(rows: pa.Table) -> tuple[int, int]:
    """Positives among the mature labels of a month, and these."""
    return int(pc.sum(rows["churned"]).as_py() or 0), rows.num_rows - rows["churned"].null_count


def expected_loss(version: Version, rows: pa.Table) -> list[Finding]:
    """Whether the estimate of a month says that performance is lost."""
    learnt, evaluation = version.reference.calibration, version.params.evaluate
    counts = learnt.count(version.score(rows))
    expected = estimate.expect(learnt, counts, evaluation)
    ones = float(counts @ learnt.point)
    return judge.estimated(
        expected, version.reference, int(counts.sum()), ones, evaluation.metric, version.params.monitor
    )  # fmt: skip


def mature_loss(version: Version, rows: pa.Table) -> list[Finding]:
    """Whether the mature labels of a month say so."""
    params = version.params
    mature = rows.filter(pc.is_valid(rows[params.data.target]))
    labels, entities = mature[params.data.target].to_numpy(), mature[params.data.entity].to_numpy()
    metric = params.evaluate.metric
    threshold = version.reference.threshold
    now = performance.measure(labels, version.score(mature), entities, threshold, params.evaluate, only=metric)
    return performance.judge(
        metric, version.reference.held_out, now, rows=len(labels), positives=int(labels.sum()), params=params.monitor
    )  # fmt: skip


def _threshold(params: Params) -> float:
    """Where the expected cost of contacting and of not contacting are equal."""
    return params.evaluate.cost_false_positive / (params.evaluate.cost_false_positive + params.evaluate.cost_false_negative)


def _score(booster: Any, rows: pa.Table, schema: Any) -> NDArray[np.float64]:
    return booster.predict(_matrix(rows, schema), num_threads=1)


def _matrix(rows: pa.Table, schema: Any) -> NDArray[np.float32]:
    return np.hstack([features.numbers(rows, schema), features.codes(rows, schema)])
