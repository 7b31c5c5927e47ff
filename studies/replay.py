"""A table's months watched one by one, as the monitor flow watches windows, without flow and storage."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from monitoring import decide, estimate, histograms, judge, performance, profiles, quarantine
from monitoring.drift import Drift
from monitoring.findings import Finding, of_window
from monitoring.histograms import Histograms
from monitoring.judge import Block
from monitoring.reference import Reference
from pipelines import features
from pipelines.config.params import Params
from pipelines.data import split
from pipelines.statistics.metrics import Interval

TRAINED_TO, KNOWN_TO, FIRST, LAST = 8, 10, 13, 24  # months: learnt from, of the reference, watched first and last
MATURE = 2  # months after which a window's labels are known: 30 days of horizon and 14 of embargo
RESAMPLES = 200
OPTIONS = {"objective": "binary", "num_leaves": 15, "learning_rate": 0.06, "verbose": -1, "num_threads": 1, "seed": 1}


@dataclass(frozen=True)
class Version:
    """A trained version: what scores, and what its monitoring compares with. trained_in: month at whose end it was trained."""

    params: Params
    booster: Any
    reference: Reference
    trained_in: int = 0

    def score(self, rows: pa.Table) -> NDArray[np.float64]:
        return _score(self.booster, rows, self.reference.schema)

    def count(self, rows: pa.Table) -> Histograms:
        return profiles.count(rows, self.score(rows), self.reference)


@dataclass(frozen=True)
class Window:
    """What was said of one month."""

    month: int
    version: Version
    rows: int
    drift: Drift
    alarm: bool
    found: list[Finding]
    decision: decide.Decision

    @property
    def key(self) -> str:
        return key_of(self.month)


@dataclass(frozen=True)
class Calendar:
    """first: month that is watched first. mature: months after which labels are known. retrain: who is champion after a
    retraining at the end of a month; by default nobody new is."""

    first: int = FIRST
    mature: int = MATURE
    retrain: Callable[[int], Version] | None = None


@dataclass
class _Watched:
    """What has been said so far."""

    months: Sequence[pa.Table]
    calendar: Calendar
    said: dict[int, Window] = field(default_factory=dict)
    accepted: set[str] = field(default_factory=set)
    started: list[datetime] = field(default_factory=list)

    @property
    def with_rows(self) -> list[Window]:
        return [window for window in self.said.values() if window.rows]

    def is_broken(self, window: Window) -> bool:
        return window.decision.action == "quarantine" and window.key not in self.accepted


def key_of(month: int) -> str:
    return f"month {month:02}"


def train(world: pa.Table, params: Params) -> Version:
    """A small LightGBM on the first months of the customers that are not held out, and all that its monitoring needs.

    Args:
        world: with the column `month`, from 1 on.
    """
    months = [world.filter(pc.equal(world["month"], month)) for month in range(1, KNOWN_TO + 1)]
    return fit(months, params, learnt_to=TRAINED_TO)


def fit(months: Sequence[pa.Table], params: Params, *, learnt_to: int | None = None, trained_in: int = 0) -> Version:
    """A version of some months, with the column `month`, whose labels are known where they are not NULL.

    Args:
        learnt_to: month up to which those are learnt from that are not held out; by default all.
    """
    import lightgbm

    params = params.model_copy(update={"evaluate": params.evaluate.model_copy(update={"bootstrap": RESAMPLES})})
    data = params.data
    known = pa.concat_tables([rows.filter(pc.is_valid(rows[data.target])) for rows in months])
    held_out = split.fold_of(known[data.entity], params.split.salt, params.split.folds) == 0
    early = np.ones(known.num_rows, bool) if learnt_to is None else pc.less_equal(known["month"], learnt_to).to_numpy()
    rows = known.filter(pa.array(~held_out & early)).drop_columns(["month"])
    schema = features.learn_schema(rows, data, params.features)
    options = OPTIONS | {"min_data_in_leaf": 60, "feature_fraction": 0.7, "lambda_l2": 5.0}
    booster = lightgbm.train(options, lightgbm.Dataset(_matrix(rows, schema), rows[data.target].to_numpy()), 120)
    shown = profiles.watched(rows, _score(booster, rows, schema), schema, params.monitor.per_unit_columns)
    layout = histograms.learn_layout(shown, schema["categories"], bins=params.monitor.bins)
    judged = known.filter(pa.array(held_out))
    scores, threshold = _score(booster, judged, schema), _threshold(params)
    labels, entities = judged[data.target].to_numpy(), judged[data.entity].to_numpy()
    trained_on = estimate.learn(labels, scores, entities, judged["month"].to_numpy(), threshold, params.evaluate)
    reference = Reference(
        schema=schema,
        rates=params.monitor.per_unit_columns,
        layout=layout,
        training=histograms.count(shown.to_batches(), layout),
        calibration=trained_on,
        expected=estimate.expect(trained_on, trained_on.count(scores), params.evaluate),
        held_out=performance.measure(labels, scores, entities, threshold, params.evaluate),
        threshold=threshold,
        positives={number: positives(one, data.target) for number, one in enumerate(months, start=1) if one.num_rows},
    )
    return Version(params, booster, reference, trained_in)


def watch(
    version: Version,
    months: Sequence[pa.Table],
    blocks: Sequence[Histograms],
    *,
    effects: bool = True,
    calendar: Calendar | None = None,
) -> list[Window]:
    """What is said of the months from the calendar's first on. A retraining that is asked for is noted as started, and changes
    nothing unless the calendar has a retraining.

    Args:
        months, blocks: the rows and the histograms of month 1 and on; the last of `blocks` is the last one watched.
        effects: whether performance and its estimate are measured as well.
    """
    watched = _Watched(months, calendar or Calendar())
    for month in range(watched.calendar.first, len(blocks) + 1):
        window = _window(watched, version, blocks, month, effects)
        watched.said[month] = window
        if window.decision.action == "retrain" and watched.calendar.retrain:
            version = watched.calendar.retrain(month)
            blocks = [version.count(rows) for rows in months[: len(blocks)]]
    return list(watched.said.values())


def _window(watched: _Watched, version: Version, blocks: Sequence[Histograms], month: int, effects: bool) -> Window:
    """What is said of one month, and what it leads to."""
    now, monitor = datetime(2024, 1, 1, tzinfo=UTC) + timedelta(days=30 * month), version.params.monitor
    rows, before = watched.months[month - 1], _before(watched, version, blocks, month)
    seen = judge.assess(before, blocks[month - 1], version.reference, monitor) if rows.num_rows else judge.empty()
    own = [*seen.findings, *(expected_loss(version, rows) if effects and rows.num_rows else [])]
    said = [quarantine.Judged(with_row.key, watched.is_broken(with_row), with_row.found) for with_row in watched.with_rows]
    lasting = quarantine.lasting(said, own)
    of_labels = _of_labels(watched, version, month - watched.calendar.mature, lasting) if effects else []
    drifted = judge.moved_before([(with_row.key, with_row.drift.above_limit) for with_row in watched.with_rows])
    lost = _lost(watched, version.params.evaluate.metric, of_labels)
    own = judge.refute(own, [key for key in drifted if key not in lost and _is_known(watched, key, month)])
    found = [*of_window(own, key_of(month)), *of_labels]
    decision = decide.decide(found, decide.Past(watched.started, running=False), now, monitor, lasting)
    watched.started += [now] * (decision.action == "retrain")
    watched.accepted |= {*lasting, key_of(month)} if decision.escalated else set()
    return Window(month, version, rows.num_rows, seen.drift, seen.alarm, found, decision)


def _before(watched: _Watched, version: Version, blocks: Sequence[Histograms], month: int) -> list[Block]:
    found = []
    for number, block in enumerate(blocks[: month - 1], start=1):
        said = watched.said.get(number)
        flags = (said.drift.above_limit, said.alarm, watched.is_broken(said)) if said else (False, False, False)
        trained_on = number <= version.trained_in or key_of(number) in watched.accepted
        if block.rows:
            found.append(Block(block, *flags, trained_on=trained_on))
    return found


def _of_labels(watched: _Watched, version: Version, month: int, lasting: Sequence[str]) -> list[Finding]:
    """What the labels say that have just become mature. Those of a feed that was broken and is fixed say nothing."""
    window = watched.said.get(month)
    if window is None or not window.rows or (watched.is_broken(window) and window.key not in lasting):
        return []
    shares, over = list(version.reference.positives.values()), []
    monitor, target = version.params.monitor, version.params.data.target
    for earlier in [with_row for with_row in watched.with_rows if with_row.month < month and not watched.is_broken(with_row)]:
        said = [
            one for other in watched.said.values() for one in other.found if (one.window, one.about) == (earlier.key, "target")
        ]
        over.append(any(one.kind in judge.OVER for one in said))
        shares += [] if over[-1] else [positives(watched.months[earlier.month - 1], target)]
    moved_target = judge.shares(shares, positives(watched.months[month - 1], target), over, monitor)
    metric = version.params.evaluate.metric
    run, lost, shown = [window], _lost(watched, metric, [], "labels"), _lost(watched, metric, [])
    for earlier in reversed([with_row for with_row in watched.with_rows if with_row.month < month]):
        if earlier.key not in lost:
            break
        run.append(earlier)
    if window.version is not version and version.trained_in - watched.calendar.mature >= run[-1].month:
        message = "It was scored by an earlier version, and this one has learnt what its labels show."
        return of_window([*moved_target, Finding("insufficient", "labels", message, window.rows)], window.key)
    pooled = [
        window.month,
        *(
            with_row.month
            for with_row in reversed(watched.with_rows)
            if with_row.month < month and with_row.version is window.version
        ),
    ]
    return of_window(
        [*_pooled_loss(watched, window.version, pooled, before=bool(run[1:]) and run[1].key in shown), *moved_target],
        window.key,
    )


def _pooled_loss(watched: _Watched, version: Version, newest_first: Sequence[int], *, before: bool) -> list[Finding]:
    """Of the newest month; of as many as it takes where its labels are too few, or do not confirm a slim loss alone."""
    found: list[Finding] = []
    for size in range(1, min(len(newest_first), 1 + version.params.monitor.revisit) + 1):
        rows = pa.concat_tables([watched.months[number - 1] for number in newest_first[:size]])
        found = mature_loss(version, rows, before=before)
        kinds = {one.kind for one in found}
        if "insufficient" not in kinds and ("loss" in kinds or not before or size > 1):
            break
    return found


def _lost(watched: _Watched, metric: str, more: Sequence[Finding], also: str = "") -> set[str]:
    """Windows whose mature labels have shown a loss, or a suspicion of one; and those of findings about `also`."""
    found = [*(one for window in watched.said.values() for one in window.found), *more]
    return {one.window for one in found if (one.kind in ("loss", "warning") and one.about == metric) or one.about == also}


def _is_known(watched: _Watched, key: str, month: int) -> bool:
    """Whether a window's labels are mature at the end of a month."""
    return any(with_row.key == key and with_row.month <= month - watched.calendar.mature for with_row in watched.with_rows)


def positives(rows: pa.Table, target: str = "churned") -> tuple[int, int]:
    """Positives among the mature labels of a month, and these."""
    return int(pc.sum(rows[target]).as_py() or 0), rows.num_rows - rows[target].null_count


def expected_loss(version: Version, rows: pa.Table) -> list[Finding]:
    """Whether the estimate of a month says that performance is lost."""
    trained_on, evaluation = version.reference.calibration, version.params.evaluate
    counts = trained_on.count(version.score(rows))
    expected = estimate.expect(trained_on, counts, evaluation)
    ones = float(counts @ trained_on.point)
    return judge.estimated(
        expected, version.reference, int(counts.sum()), ones, evaluation.metric, version.params.monitor
    )  # fmt: skip


def mature_loss(version: Version, rows: pa.Table, *, before: bool = False) -> list[Finding]:
    """Whether the mature labels of a month say so.

    Args:
        before: whether those of the month before said so, or gave a suspicion of it.
    """
    now, labels = measured(version, rows), rows[version.params.data.target].drop_null().to_numpy()
    return performance.judge(
        version.params.evaluate.metric, version.reference.held_out, now,
        rows=len(labels), positives=int(labels.sum()), params=version.params.monitor, before=before,
    )  # fmt: skip


def measured(version: Version, rows: pa.Table) -> dict[str, Interval]:
    """The metric on the mature labels of some rows; NaN where they are all of one kind."""
    params = version.params
    metric, mature = params.evaluate.metric, rows.filter(pc.is_valid(rows[params.data.target]))
    labels, entities = mature[params.data.target].to_numpy(), mature[params.data.entity].to_numpy()
    if len(np.unique(labels)) < 2:
        return {metric: Interval(float("nan"), float("nan"), float("nan"))}
    threshold = version.reference.threshold
    return performance.measure(labels, version.score(mature), entities, threshold, params.evaluate, only=metric)


def _threshold(params: Params) -> float:
    """Where the expected cost of contacting and of not contacting are equal."""
    return params.evaluate.cost_false_positive / (params.evaluate.cost_false_positive + params.evaluate.cost_false_negative)


def _score(booster: Any, rows: pa.Table, schema: Any) -> NDArray[np.float64]:
    return booster.predict(_matrix(rows, schema), num_threads=1) if rows.num_rows else np.zeros(0)


def _matrix(rows: pa.Table, schema: Any) -> NDArray[np.float32]:
    return np.hstack([features.numbers(rows, schema), features.codes(rows, schema)])
