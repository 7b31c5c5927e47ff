"""Does a column know the answer, do a few together, and are the folds apart? The first is judged by the others.

Between split and training, so that a red one trains nothing. What it blocks goes on only by a line of params.yaml with a reason
(`leakage.allowed`), and is then a warning.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from pipelines.config.params import DataParams, EvaluateParams, LeakageParams, Params
from pipelines.data import split
from pipelines.statistics import metrics
from pipelines.validation import carriers, copies, quick_model
from pipelines.validation.carriers import area
from pipelines.validation.checks import LATER_SHARE, Check

BINS, CATEGORIES = 50, 200  # of a number by rank, and of a text by frequency; all others are one
RESAMPLES = 200  # for the interval of a column alone, which is either far above the limit or no leak
PRIOR = 20.0  # rows of the base rate that each bin begins with: a bin of few rows tells little
SHOWN = 0.02  # below the limit: whose interval is worth its seconds
PURE = 0.99  # of the rows without a value have one label ...
SURPRISE = 10.0  # ... where as many of the other would be expected
RISE = 3.0  # times as many pairs are ranked wrongly without a few columns: a warning ...
CARRIED = 10.0  # ... and this often, where it is too good to be true and ...
ORDINARY = 0.95  # ... ROC-AUC without them is below this: they are blocked
DROP = "Leave it out of training_set.sql, or name it in features.exclude"
ALLOW = 'or let it go by a line of params.yaml: leakage.allowed: {%s: "why it is known in time"}'


@dataclass(frozen=True)
class Sides:
    """Rows that are learnt from and rows that judge, and what a model sees of them: `schema` as split has learnt it."""

    train: pa.Table
    test: pa.Table
    schema: dict[str, Any]
    data: DataParams

    @property
    def learnt(self) -> list[str]:
        return [*self.schema["numbers"], *self.schema["categories"]]

    @cached_property
    def fitted(self) -> carriers.Side:
        """Training rows, or a sample of them, as a quick model takes them."""
        return self._side(self.train)

    @cached_property
    def judged(self) -> carriers.Side:
        return self._side(self.test)

    def _side(self, rows: pa.Table) -> carriers.Side:
        drawn = quick_model.sample(rows, self.data.entity)
        entities = drawn[self.data.entity].combine_chunks().dictionary_encode().indices.to_numpy()
        return carriers.Side(quick_model.matrix(drawn, self.schema), self.labels(drawn), entities)

    def labels(self, side: pa.Table) -> NDArray[np.int8]:
        return side[self.data.target].cast(pa.int8()).to_numpy()


def divide(rows: pa.Table, schema: dict[str, Any], params: Params) -> Sides:
    """The first fold, with `newest` as `split.newest` gives it, and the other folds."""
    test = pa.array(rows[split.FOLD].to_numpy() == 0)
    marked = rows.append_column("newest", pa.array(split.newest(rows, params.data, params.evaluate)))
    return Sides(rows.filter(pc.invert(test)), marked.filter(test), schema, params.data)


def judge(sides: Sides, params: Params) -> list[Check]:
    """All checks; those of columns that are allowed by name are warnings, with the reason that was given."""
    limits = params.leakage
    single = [
        *_declared(sides, limits),
        *_alone(sides, limits, params.evaluate),
        *_missing(sides, limits),
        *_later(sides, limits),
    ]
    found = {check.column for check in single if not check.success}
    checks = [
        *single,
        *_together(sides, {*found, *limits.allowed}, limits, params.evaluate),
        _entities(sides),
        _copies(sides, limits),
        *_separation(sides, limits),
    ]
    strange = sorted(set(limits.allowed) - set(sides.learnt))
    if strange:
        message = f"{', '.join(strange)} among them, which no model sees"
        advice = "Take the line out of params.yaml, or correct the name."
        checks.append(
            Check("allowed", ", ".join(strange), "columns that a model sees", message, False, "warning", advice, "leak")
        )
    return [_let_go(check, limits) for check in checks]


def _let_go(check: Check, limits: LeakageParams) -> Check:
    reason = limits.allowed.get(check.column or "")
    if check.success or not reason or check.kind not in ("leak", "future"):
        return check
    return replace(check, severity="warning", advice=f"Allowed by params.yaml (leakage.allowed): {reason}")


def _declared(sides: Sides, limits: LeakageParams) -> Iterator[Check]:
    """Columns that the owner says are known only after the outcome."""
    found = [name for name in limits.available_after if name in sides.learnt]
    for name in found:
        advice = f"{DROP}; if it is known in time after all, take it out of leakage.available_after."
        yield Check("available_after", name, "not to be learnt from", "a feature", False, advice=advice, kind="leak")
    if not found:
        yield Check("available_after", None, "no feature that is known only later", "none", True, kind="leak")


def _alone(sides: Sides, limits: LeakageParams, evaluate: EvaluateParams) -> Iterator[Check]:
    """Columns by which alone the held-out rows are ranked too well; the whole interval must lie above the limit."""
    expected = f"ROC-AUC of a column alone below {limits.max_auc:g}"
    labels, best = sides.labels(sides.test), ("", 0.0)
    entities = sides.test[sides.data.entity].combine_chunks().dictionary_encode().indices.to_numpy()
    for name in sides.learnt:
        scores = alone(sides.train[name], sides.labels(sides.train), sides.test[name])
        point = area(labels, scores)
        best = max(best, (name, point), key=lambda one: one[1])
        if point < limits.max_auc - SHOWN:
            continue
        ranking = {"auc": lambda weights, scores=scores: metrics.roc_auc(labels, scores, weights)}
        interval = metrics.intervals(
            ranking, entities, resamples=RESAMPLES, confidence=evaluate.confidence, seed=evaluate.seed
        )["auc"]
        found = f"{interval} on {len(labels)} held-out rows"
        advice = f"It tells the label by itself. {DROP}; {ALLOW % name}"
        yield Check("alone", name, expected, found, interval.low < limits.max_auc, advice=advice, kind="leak")
    yield Check("alone", None, expected, f"at most {best[1]:.4f}, of {best[0]}", True, kind="leak")


def alone(train: pa.ChunkedArray, labels: NDArray[Any], test: pa.ChunkedArray) -> NDArray[np.float64]:
    """A score of the held-out rows that knows one column: the share of positives in its bin on the training side.

    Args:
        labels: of the training rows. The score is drawn towards the base rate by PRIOR rows of it.
    """
    bins, codes = _bins(train, test)
    count = int(max(bins.max(initial=0), codes.max(initial=0))) + 1
    rows = np.bincount(bins, minlength=count)
    positives = np.bincount(bins, weights=labels, minlength=count)
    return ((positives + PRIOR * labels.mean()) / (rows + PRIOR))[codes]


def _together(sides: Sides, known: set[str | None], limits: LeakageParams, evaluate: EvaluateParams) -> Iterator[Check]:
    """Columns that make a model too good to be true, though none need tell the label by itself.

    Blocked is what a few carry: without them a model is ordinary. Honest tables are as good by many columns, or nearly.

    Args:
        known: columns of which another check speaks, or that are allowed: a model of all others is judged.
    """
    expected = f"ROC-AUC of all columns together below {limits.suspicious_auc:g}, and not by a few of them"
    left = [at for at, name in enumerate(sides.learnt) if name not in known]
    if not left:
        return
    train, test = (replace(side, inputs=side.inputs[:, left]) for side in (sides.fitted, sides.judged))
    names = [sides.learnt[at] for at in left]
    found = carriers.find(train, test, names, confidence=evaluate.confidence, seed=evaluate.seed)
    high = found.whole.low >= limits.suspicious_auc
    carried, much = found.few(CARRIED, ORDINARY) if high else 0, found.few(RISE)
    if not (high or much):
        yield Check("together", None, expected, str(found.whole), True, kind="leak")
        return
    groups = found.taken_out[: carried or much or None]
    told = found.describe(len(groups))
    for name in (name for group in groups for name in group):
        advice = "When is it known? "
        advice += f"{DROP}; {ALLOW % name}" if carried else "If after the outcome, leave it out of training_set.sql."
        yield Check("together", name, expected, told, False, "critical" if carried else "warning", advice, "leak")


def _missing(sides: Sides, limits: LeakageParams) -> Iterator[Check]:
    """Columns that are missing, or there, for one label only: they are filled in when the outcome is known."""
    expected = "both labels among the rows with a value, and among those without"
    labels = np.concatenate([sides.labels(sides.train), sides.labels(sides.test)])
    rate, failed = labels.mean(), False
    for name in sides.learnt:
        absent = np.concatenate([np.asarray(side[name].is_null()) for side in (sides.train, sides.test)])
        for of, words in ((absent, "without"), (~absent, "with")):
            count = int(of.sum())
            if count < limits.min_missing or count > len(labels) - limits.min_missing:
                continue
            share = labels[of].mean()
            purer, usual = (share, rate) if share > 0.5 else (1 - share, 1 - rate)
            if purer >= PURE and count * (1 - usual) >= SURPRISE and count * (1 - purer) < 0.1 * count * (1 - usual):
                failed = True
                found = f"{share:.2%} positive of {count} rows {words} a value, {rate:.2%} of all"
                advice = f"Is it filled in when the outcome is known? {DROP}; {ALLOW % name}"
                yield Check("missing_by_label", name, expected, found, False, advice=advice, kind="leak")
                break
    if not failed:
        yield Check("missing_by_label", None, expected, "in every column", True, kind="leak")


def _later(sides: Sides, limits: LeakageParams) -> Iterator[Check]:
    """Columns that count days before the row's own (`leakage.ages`), and are negative: the day had not come."""
    for name in limits.ages:
        if name not in sides.learnt:
            continue
        values = pa.chunked_array([*sides.train[name].chunks, *sides.test[name].chunks]).drop_null()
        later = pc.sum(pc.less(values, 0)).as_py() or 0
        found = f"{later} of {len(values)} lie after it"
        advice = f"It is not known yet when the row is looked at. {DROP}; {ALLOW % name}"
        holds = later <= LATER_SHARE * len(values)
        yield Check("not_after_snapshot", name, "days before the row's own", found, holds, advice=advice, kind="future")


def _entities(sides: Sides) -> Check:
    name = sides.data.entity
    both = len(np.intersect1d(*(pc.unique(side[name].cast(pa.string())).to_numpy(False) for side in (sides.train, sides.test))))
    advice = "Is data.entity who the label is about? split.py keeps an entity on one side; do not split by hand."
    return Check("entities_apart", name, "each on one side", f"{both} on both sides", not both, advice=advice, kind="sides")


def _copies(sides: Sides, limits: LeakageParams) -> Check:
    """Held-out rows that stand on the training side as well, where their labels show that they are not alike by chance."""
    train, test = (side.select(sides.learnt) for side in (sides.train, sides.test))

    def score(places: NDArray[np.intp]) -> NDArray[np.float64]:
        model = quick_model.fit(sides.fitted.inputs, sides.fitted.labels)
        return quick_model.scores(model, quick_model.matrix(test.take(pa.array(places)), sides.schema))

    twins = copies.find(train, sides.labels(sides.train), test, sides.labels(sides.test), score)
    expected = f"at most {limits.max_copies:.0%} of the held-out rows copied from the training side"
    advice = "Are rows loaded twice under other keys? Make one row of them, or name as data.entity what they share."
    return Check("copies", None, expected, str(twins), not twins.exceeds(limits.max_copies), advice=advice, kind="sides")


def _separation(sides: Sides, limits: LeakageParams) -> Iterator[Check]:
    """Columns by which the newest snapshots differ from what is learnt from. A warning: clocks do that, and so does drift."""
    expected = f"ROC-AUC between training rows and the newest snapshots below {limits.max_separation:g}"
    late = sides.test.filter(sides.test["newest"])
    if sides.data.time is None or late.num_rows < limits.min_missing:
        return
    labels = np.concatenate([np.zeros(sides.train.num_rows, np.int8), np.ones(late.num_rows, np.int8)])
    found = False
    for name in sides.learnt:
        both = pa.chunked_array([*sides.train[name].chunks, *late[name].chunks])
        even = np.arange(len(both)) % 2 == 0  # learnt from every other row, told of the rest
        scores = alone(both.filter(pa.array(even)), labels[even], both.filter(pa.array(~even)))
        apart = area(labels[~even], scores)
        if apart > limits.max_separation:
            found = True
            advice = "Does it count on with the calendar? Then a model learns when, not who: take a rate or an age instead."
            yield Check("separation", name, expected, f"{apart:.3f}", False, "warning", advice, "clock")
    if not found:
        yield Check("separation", None, expected, "all columns", True, "warning", kind="clock")


def _bins(train: pa.ChunkedArray, test: pa.ChunkedArray) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """The bin of each row: 0 where missing; of a number by rank on the training side, of anything else by its value."""
    if pa.types.is_integer(train.type) or pa.types.is_floating(train.type):
        sides = [one.cast(pa.float64(), safe=False).to_numpy() for one in (train, test)]
        present = sides[0][~np.isnan(sides[0])]
        if not len(present):
            return np.zeros(len(train), np.intp), np.zeros(len(test), np.intp)
        edges = np.unique(np.quantile(present, np.linspace(0, 1, BINS + 1)[1:-1], method="inverted_cdf"))
        return tuple(np.where(np.isnan(side), 0, 1 + np.searchsorted(edges, side)) for side in sides)  # type: ignore[return-value]
    counts = pc.value_counts(train.drop_null())
    order = pc.array_sort_indices(counts.field("counts"), order="descending")[:CATEGORIES]
    known = counts.field("values").take(order)
    places: Any = [pc.index_in(one, known) for one in (train, test)]
    return tuple(
        np.where(np.asarray(one.is_null()), 0, pc.fill_null(place, len(known)).to_numpy().astype(np.intp) + 1)
        for one, place in zip((train, test), places, strict=True)
    )  # type: ignore[return-value]
