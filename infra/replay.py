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

from monitoring import changes, decide, estimate, feed, findings, histograms, performance, quiet, target
from monitoring.findings import Finding
from pipelines import features, split
from pipelines.metrics import Interval
from pipelines.params import Params

TRAINED_TO, KNOWN_TO, FIRST, LAST = 8, 10, 13, 22  # months: learnt from, of the reference, watched first and last
MATURE = 2  # months after which a window's labels are known: 30 days of horizon and 14 of embargo
RESAMPLES = 200
MOVED = ("suspicion", "drift")


@dataclass(frozen=True)
class Version:
    """What a trained version hands to its monitoring."""

    params: Params
    schema: dict[str, Any]
    booster: Any
    layout: histograms.Layout
    calibration: estimate.Calibration
    reference: dict[str, Interval]
    expected: dict[str, Interval]

    def score(self, rows: pa.Table) -> NDArray[np.float64]:
        return self.booster.predict(_matrix(rows, self.schema), num_threads=1)

    def count(self, rows: pa.Table) -> histograms.Histograms:
        return histograms.count(watched(rows, self.score(rows), self).to_batches(), self.layout)


@dataclass(frozen=True)
class Window:
    """What was said of one month."""

    month: int
    novelty: quiet.Novelty
    alarm: bool
    found: list[Finding]
    decision: decide.Decision


def train(world: pa.Table, params: Params) -> Version:
    """A small LightGBM on the first months of the customers that are not held out, and all that its monitoring needs."""
    import lightgbm

    params = params.model_copy(update={"evaluate": params.evaluate.model_copy(update={"bootstrap": RESAMPLES})})
    known = pc.is_valid(world["churned"])
    held_out = split.is_test(world[params.data.entity], params.split.salt, params.split.test_share)
    early = pc.less_equal(world["month"], TRAINED_TO)
    rows = world.filter(pc.and_(pc.and_(known, early), pa.array(~held_out))).drop_columns(["month"])
    schema = features.learn_schema(rows, params.data, params.features)
    options = {"objective": "binary", "num_leaves": 15, "learning_rate": 0.06, "min_data_in_leaf": 60, "verbose": -1}
    labelled = lightgbm.Dataset(_matrix(rows, schema), rows["churned"].to_numpy())
    booster = lightgbm.train(options | {"feature_fraction": 0.7, "lambda_l2": 5.0, "num_threads": 1, "seed": 1}, labelled, 120)
    blank = Version(params, schema, booster, histograms.Layout({}, {}), None, {}, {})  # type: ignore[arg-type]
    layout = histograms.learn_layout(
        watched(rows, blank.score(rows), blank), schema["categories"], bins=params.monitor.bins
    )  # fmt: skip
    judged = world.filter(pc.and_(pc.and_(known, pc.less_equal(world["month"], KNOWN_TO)), pa.array(held_out)))
    calibration, reference, expected = _reference(judged, blank)
    return Version(params, schema, booster, layout, calibration, reference, expected)


def _reference(judged: pa.Table, version: Version) -> tuple[estimate.Calibration, dict[str, Interval], dict[str, Interval]]:
    """The calibration, the performance and its estimate, on the held-out customers."""
    data, evaluation = version.params.data, version.params.evaluate
    scores, threshold = version.score(judged), _threshold(version.params)
    labels, entities = judged[data.target].to_numpy(), judged[data.entity].to_numpy()
    learnt = estimate.learn(labels, scores, entities, judged["month"].to_numpy(), threshold, evaluation)
    measured = performance.measure(labels, scores, entities, threshold, evaluation)
    return learnt, measured, estimate.expect(learnt, learnt.count(scores), evaluation)


def watched(rows: pa.Table, scores: NDArray[np.float64], version: Version) -> pa.Table:
    """The columns whose drift is watched: features, sums as rates, and the prediction."""
    names = [*version.schema["numbers"], *version.schema["categories"]]
    columns = {name: rows[name] for name in names}
    for name, unit in version.params.monitor.rates.items():
        units = pc.max_element_wise(rows[unit].cast(pa.float64()), 1.0)
        columns[name] = pc.divide(rows[name].cast(pa.float64()), units)
    return pa.table(columns | {histograms.PREDICTION: scores})


def watch(
    version: Version, months: Sequence[pa.Table], blocks: Sequence[histograms.Histograms], *, effects: bool = True
) -> list[Window]:
    """What is said of the months from FIRST on. A retraining that is asked for is noted as started and changes nothing.

    Args:
        months, blocks: the rows and the histograms of month 1 and on; the last of `blocks` is the last one watched.
        effects: whether performance and its estimate are measured as well.
    """
    monitor = version.params.monitor
    moved = changes.compare(blocks, monitor.trending)
    kept, exceeded, alarmed = list(range(FIRST - 1)), [False] * (FIRST - 1), [False] * (FIRST - 1)
    shares, over = [positives(rows) for rows in months[:KNOWN_TO]], []
    started: list[datetime] = []
    said = []
    for at in range(FIRST - 1, len(blocks)):
        now = datetime(2024, 1, 1, tzinfo=UTC) + timedelta(days=30 * (at + 1))
        faults = feed.check(blocks[at], blocks[: FIRST - 1], version.layout, monitor)
        past = quiet.quiet_past(exceeded, alarmed, monitor)
        novelty = quiet.judge(moved.of([*kept, at]), blocks[at].rows, monitor, past)
        alarm = quiet.confirmed([*exceeded, novelty.exceeds], monitor)
        if not faults:
            kept, exceeded, alarmed = [*kept, at], [*exceeded, novelty.exceeds], [*alarmed, alarm]
        found = [*faults, *findings.of_novelty(novelty, alarm, blocks[at].rows)]
        if effects:
            found += expected_loss(version, months[at])
            mature = at - MATURE
            if mature in kept[FIRST - 1 :]:  # a broken feed's labels say nothing about the model
                found += mature_loss(version, months[mature])
                moved_target = target.judge(shares, positives(months[mature]), over[-1:] == [True], monitor)
                over.append(any(one.kind in MOVED for one in moved_target))
                shares += [] if over[-1] else [positives(months[mature])]
                found += moved_target
        decision = decide.decide(found, decide.Past(started, running=False), now, monitor)
        started += [now] * (decision.action == "retrain")
        said.append(Window(at + 1, novelty, alarm, found, decision))
    return said


def positives(rows: pa.Table) -> tuple[int, int]:
    """Positives among the mature labels of a month, and these."""
    return int(pc.sum(rows["churned"]).as_py() or 0), rows.num_rows - rows["churned"].null_count


def expected_loss(version: Version, rows: pa.Table) -> list[Finding]:
    """Whether the estimate of a month says that performance is lost."""
    counts = version.calibration.count(version.score(rows))
    expected = estimate.expect(version.calibration, counts, version.params.evaluate)
    return performance.judge(
        version.params.evaluate.metric,
        version.expected,
        expected,
        rows=int(counts.sum()),
        positives=float(counts @ version.calibration.point),
        params=version.params.monitor,
        estimated=True,
    )


def mature_loss(version: Version, rows: pa.Table) -> list[Finding]:
    """Whether the mature labels of a month say so."""
    params = version.params
    mature = rows.filter(pc.is_valid(rows[params.data.target]))
    labels, entities = mature[params.data.target].to_numpy(), mature[params.data.entity].to_numpy()
    metric = params.evaluate.metric
    now = performance.measure(labels, version.score(mature), entities, _threshold(params), params.evaluate, only=metric)
    return performance.judge(
        metric, version.reference, now, rows=len(labels), positives=int(labels.sum()), params=params.monitor
    )  # fmt: skip


def _threshold(params: Params) -> float:
    """Where the expected cost of contacting and of not contacting are equal."""
    return params.evaluate.cost_false_positive / (params.evaluate.cost_false_positive + params.evaluate.cost_false_negative)


def _matrix(rows: pa.Table, schema: dict[str, Any]) -> NDArray[np.float32]:
    return np.hstack([features.numbers(rows, schema), features.codes(rows, schema)])
