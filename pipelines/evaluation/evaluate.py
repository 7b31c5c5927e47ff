"""Every candidate on all rows, each by a model that has not seen the row's entity; and the challenger.

Three figures of each candidate, with intervals over entities: on all rows, on the newest snapshots, and on months that it
had not seen (pipelines/training/backtest.py). The scores are those of the graphs themselves, as stage train has read them back.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipelines.config import params, stage
from pipelines.data import split

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa
    from numpy.typing import NDArray

    from pipelines.evaluation.capacity import Dates
    from pipelines.statistics import metrics
    from pipelines.statistics.metrics import Interval, Weights

    Measures = dict[str, dict[str, metrics.Measure]]  # of each candidate, by score

BASELINE = "linear"
ENSEMBLE = "ensemble"  # of the candidates: judged like one of them
THRESHOLDS = 500
CHOICE_RESAMPLES = 200
LOG_LOSS = "log_loss"
SHOWN = 2.0  # standard errors by which a candidate must beat the mean of all
ONE_STANDARD_ERROR = 0.6827  # the two-sided confidence of one


@dataclass(frozen=True)
class Judged:
    """The rows that judge, and one candidate's scores of them.

    labels, fold, entities, scores: of all rows, (rows,). late: whether a row is of the newest snapshots, (rows,).
    backtest: of each origin the places of its rows and their scores; empty where there is none. dates: where a capacity is set.
    """

    labels: NDArray[np.int64]
    fold: NDArray[np.int8]
    entities: NDArray[np.int64]
    late: NDArray[np.bool_]
    scores: NDArray[np.float64]
    backtest: list[tuple[NDArray[np.int64], NDArray[np.float64]]]
    dates: Dates | None = None

    def decided(self, evaluate: params.EvaluateParams) -> NDArray[np.bool_]:
        """Whether each row is selected, by the threshold that the rows of the other folds choose, (rows,)."""
        import numpy as np

        chosen = np.empty(len(self.labels), dtype=bool)
        for number in np.unique(self.fold):
            in_fold = self.fold == number
            chosen[in_fold] = self.scores[in_fold] >= self.threshold(evaluate, ~in_fold)
        return chosen

    def threshold(self, evaluate: params.EvaluateParams, kept: NDArray[np.bool_] | slice = slice(None)) -> float:
        """The score from which some of the rows, or all, decide for positive: by cost or by capacity (`evaluate.threshold`)."""
        from pipelines.evaluation import capacity

        if evaluate.threshold == "cost" or self.dates is None or evaluate.capacity is None:
            return threshold_by_cost(self.labels[kept], self.scores[kept], evaluate)
        return capacity.threshold(self.scores[kept], capacity.share_within(self.dates, evaluate.capacity))

    def at_capacity(self, evaluate: params.EvaluateParams, kept: NDArray[np.int64]) -> dict[str, metrics.Measure]:
        """Precision, recall and gain of the highest scores of each date, on some of the rows; nothing where none is set."""
        from pipelines.evaluation import capacity

        if self.dates is None or evaluate.capacity is None:
            return {}
        measures = capacity.measures(self.labels[kept], self.scores[kept], self.dates.take(kept), evaluate.capacity)
        return {name: _taken(measure, kept) for name, measure in measures.items()}

    def ranking(self, name: str) -> metrics.Measure:
        """Of all rows."""
        return lambda weights: _ranking(name, self.labels, self.scores, weights)

    def ranking_late(self, name: str) -> metrics.Measure:
        """Of the newest snapshots; all resamples are of the same entities."""
        return lambda weights: _ranking(name, self.labels[self.late], self.scores[self.late], weights.take(self.late))

    def ranking_ahead(self, name: str) -> metrics.Measure:
        """The mean over origins."""

        import numpy as np

        def measured(weights: Weights) -> NDArray[np.float64]:
            by_origin = [_ranking(name, self.labels[place], scores, weights.take(place)) for place, scores in self.backtest]
            return np.mean(by_origin, axis=0)

        return measured

    def choice(self, name: str) -> metrics.Measure:
        """What the challenger is chosen by: the newest snapshots, and as much the months that it had not seen."""
        if not self.backtest:
            return self.ranking_late(name)
        now, ahead = self.ranking_late(name), self.ranking_ahead(name)
        return lambda weights: (now(weights) + ahead(weights)) / 2


def _ranking(name: str, labels: NDArray[Any], scores: NDArray[np.float64], weights: Weights) -> NDArray[np.float64]:
    from pipelines.statistics import metrics

    return metrics.RANKING[name](labels, scores, weights)


def threshold_by_cost(labels: NDArray[Any], scores: NDArray[np.float64], evaluate: params.EvaluateParams) -> float:
    """The threshold with the lowest total cost of wrong decisions: a row is positive when its score is at least it.

    Args:
        labels, scores: out-of-fold, shape (rows,): no row may choose the threshold that judges it.
    """
    import numpy as np

    candidates = np.unique(np.quantile(scores, np.linspace(0, 1, THRESHOLDS)))
    positives = np.sort(scores[labels == 1])
    negatives = np.sort(scores[labels == 0])
    missed = np.searchsorted(positives, candidates, side="left")
    false_alarms = len(negatives) - np.searchsorted(negatives, candidates, side="left")
    cost = evaluate.cost_false_negative * missed + evaluate.cost_false_positive * false_alarms
    return float(candidates[np.argmin(cost)])


def judge(judged: Judged, evaluate: params.EvaluateParams) -> dict[str, Any]:
    """All figures of one candidate, with entity-level intervals, and the confusion matrix of its decisions."""
    import numpy as np

    from pipelines.statistics import metrics

    chosen = judged.decided(evaluate)

    def decision(name: str, kept: NDArray[Any]) -> metrics.Measure:
        labels, decided = judged.labels[kept], chosen[kept]
        return lambda weights: metrics.decision_metrics(metrics.confusion(labels, decided, weights.take(kept)))[name]

    everything, late = np.arange(len(chosen)), np.flatnonzero(judged.late)
    over_all = {name: judged.ranking(name) for name in metrics.RANKING}
    over_all |= {name: decision(name, everything) for name in metrics.DECISIONS} | judged.at_capacity(evaluate, everything)
    newest = {name: judged.ranking_late(name) for name in metrics.RANKING}
    newest |= {name: decision(name, late) for name in metrics.DECISIONS} | judged.at_capacity(evaluate, late)
    ahead = {name: judged.ranking_ahead(name) for name in metrics.RANKING} if judged.backtest else {}
    cells = metrics.confusion(judged.labels, chosen, np.ones((1, len(chosen))))
    figures = {
        "threshold": judged.threshold(evaluate),
        "metrics": _intervals(over_all, judged.entities, evaluate),
        "confusion": {name: int(count[0]) for name, count in cells.items()},
    }
    if not judged.late.all():
        figures["newest"] = _intervals(newest, judged.entities, evaluate)
    if ahead:
        figures["backtest"] = _intervals(ahead, judged.entities, evaluate)
    return figures


def _intervals(
    measures: dict[str, metrics.Measure], entities: NDArray[Any], evaluate: params.EvaluateParams
) -> dict[str, dict[str, float | None]]:
    from pipelines.statistics import metrics

    intervals = metrics.intervals(measures, entities, **metrics.bootstrap(evaluate))
    return {name: rounded(interval) for name, interval in intervals.items()}


def rounded(interval: Interval) -> dict[str, float | None]:
    """For canonical JSON: nine digits, and no NaN (a precision over nothing is null)."""
    import math

    return {name: round(value, 9) if math.isfinite(value) else None for name, value in interval.to_dict().items()}


def choose(judged: dict[str, Judged], sizes: dict[str, int], evaluate: params.EvaluateParams) -> dict[str, Any]:
    """The challenger: the simplest candidate within `simplest_within` standard errors of the best, in the metric and in log
    loss (1: the rule of Breiman et al. 1984, section 3.4.3).

    The best is the ensemble, unless a candidate is shown to have a lower log loss, by more than two standard errors: the best
    single one of many is partly the luckiest, and whom their mean favours was not chosen by its figures. Else it is who has
    the lowest log loss, which tells candidates apart by fewer rows than the metric, of those within one standard error of the
    highest metric. The baseline takes part like any other.

    Args:
        sizes: bytes of each candidate's graph: the smaller is the simpler.

    Returns:
        `challenger`, `best`; and of each candidate its `value`, and of either score how far it is `behind` the best and the
        standard `error` of that, paired over entities.
    """
    import numpy as np

    from pipelines.statistics import metrics

    entities = next(iter(judged.values())).entities
    once = metrics.Weights(np.ones((len(entities), 1)), np.arange(len(entities)))
    measures = {name: {kind: each.choice(kind) for kind in (evaluate.metric, LOG_LOSS)} for name, each in judged.items()}
    points = {name: {kind: float(measure(once)[0]) for kind, measure in scores.items()} for name, scores in measures.items()}

    best = _best(measures, points, entities, evaluate)
    gaps, within = _behind(measures, best, entities, evaluate.seed), evaluate.simplest_within
    simple = [name for name in judged if name == best or (within and _is_close(gaps[name].values(), within))]
    candidates = {name: {"value": round(points[name][evaluate.metric], 9)} | gaps[name] for name in judged}
    return {"challenger": min(simple, key=sizes.__getitem__), "best": best, "candidates": candidates}


def _best(
    measures: Measures, points: dict[str, dict[str, float]], entities: NDArray[Any], evaluate: params.EvaluateParams
) -> str:
    if ENSEMBLE in measures:
        losses = [gaps[LOG_LOSS] for gaps in _behind(measures, ENSEMBLE, entities, evaluate.seed).values()]
        if not any(-loss["behind"] > SHOWN * loss["error"] for loss in losses):
            return ENSEMBLE
    highest = max(points, key=lambda name: points[name][evaluate.metric])
    gaps = _behind(measures, highest, entities, evaluate.seed)
    as_high = [name for name in measures if _is_close([gaps[name][evaluate.metric]], 1.0)]
    return min(as_high, key=lambda name: points[name][LOG_LOSS])


def _behind(measures: Measures, other: str, entities: NDArray[Any], seed: int) -> dict[str, dict[str, dict[str, float]]]:
    """How far each candidate is behind another one, by score, and the standard error of that."""
    from pipelines.statistics import metrics

    pairs = {
        (name, kind): _gap(scores[kind], measures[other][kind], kind) for name, scores in measures.items() for kind in scores
    }
    gaps: dict[str, dict[str, dict[str, float]]] = {name: {} for name in measures}
    options: metrics.Bootstrap = {"resamples": CHOICE_RESAMPLES, "confidence": ONE_STANDARD_ERROR, "seed": seed}
    for (name, kind), gap in metrics.intervals(pairs, entities, **options).items():
        gaps[name][kind] = {"behind": round(gap.point, 9), "error": round((gap.high - gap.low) / 2, 9)}
    return gaps


def _is_close(gaps: Iterable[dict[str, float]], within: float) -> bool:
    return all(gap["behind"] <= within * gap["error"] for gap in gaps)


def _taken(measure: metrics.Measure, kept: NDArray[np.int64]) -> metrics.Measure:
    return lambda weights: measure(weights.take(kept))


def _gap(candidate: metrics.Measure, best: metrics.Measure, kind: str) -> metrics.Measure:
    sign = -1 if kind == LOG_LOSS else 1
    return lambda weights: sign * (best(weights) - candidate(weights))


def evaluate(
    table: pa.Table, judged: dict[str, Judged], sizes: dict[str, int], origins: list[dict[str, Any]], config: params.Params
) -> dict[str, Any]:
    """What evaluation.json holds: counts, each candidate's figures, its gain over the baseline, the challenger.

    Args:
        judged: by candidate, the enabled ones and after them the ensemble where there is one.
        origins: what each origin of the backtest judges.
    """

    from pipelines.statistics import metrics

    judging, first = config.evaluate, next(iter(judged.values()))
    baseline = BASELINE if BASELINE in judged else config.enabled[0]
    candidates: dict[str, Any] = {}
    for name, each in judged.items():
        scores = each.scores, judged[baseline].scores
        gain = metrics.paired_interval(judging.metric, first.labels, *scores, first.entities, **metrics.bootstrap(judging))
        candidates[name] = judge(each, judging) | {"against_baseline": rounded(gain), "graph_bytes": sizes[name]}
        figures = candidates[name]
        stage.say(f"{name}: {judging.metric} {figures.get('newest', figures['metrics'])[judging.metric]['point']:.4f}")
    chosen = choose(judged, sizes, judging)
    return {
        "baseline": baseline,
        "challenger": chosen["challenger"],
        "choice": chosen,
        "metric": judging.metric,
        **counts(first.labels, first.entities),
        "base_rate": round(float(first.labels.mean()), 9),
        "newest": newest_rows(table, first, config.data),
        "origins": origins,
        "candidates": candidates,
    }


def counts(labels: NDArray[Any], entities: NDArray[Any]) -> dict[str, int]:
    import numpy as np

    return {"rows": len(labels), "entities": len(np.unique(entities)), "positives": int(labels.sum())}


def newest_rows(table: pa.Table, judged: Judged, data: params.DataParams) -> dict[str, Any] | None:
    """How many rows, and of which snapshots; None where there is no clock."""
    import pyarrow as pa
    import pyarrow.compute as pc

    if data.time is None:
        return None
    ends = pc.min_max(table[data.time].filter(pa.array(judged.late))).as_py()
    return {
        "from": str(ends["min"]),
        "to": str(ends["max"]),
        **counts(judged.labels[judged.late], judged.entities[judged.late]),
    }


def summary(evaluation: dict[str, Any]) -> dict[str, Any]:
    """For `dvc metrics show`, which gives a row a file: of each candidate the figures that people compare first."""
    metric = evaluation["metric"]

    def points(figures: dict[str, Any]) -> dict[str, float]:
        headline = {f"newest_{metric}": figures.get("newest", figures["metrics"])[metric]["point"]}
        headline |= {f"unseen_months_{metric}": figures["backtest"][metric]["point"]} if "backtest" in figures else {}
        return headline | {name: figures["metrics"][name]["point"] for name in HEADLINES}

    return {name: points(figures) for name, figures in evaluation["candidates"].items()}


HEADLINES = ("roc_auc", "pr_auc", "log_loss", "brier", "calibration_error", "precision", "recall")


def read_judged(
    table: pa.Table, folders: dict[str, Path], config: params.Params
) -> tuple[dict[str, Judged], list[NDArray[np.int64]]]:
    """Each candidate on the rows of `table`, and the places that each origin of the backtest judges."""
    import numpy as np

    from pipelines.evaluation.capacity import Dates
    from pipelines.training import out_of_fold

    with stage.phase("read"):
        scored, ahead = out_of_fold.read(folders, "oof.parquet"), out_of_fold.read(folders, "backtest.parquet")
    assert scored is not None
    origin = ahead.keys["origin"].to_numpy() if ahead else np.empty(0)
    places = [ahead.keys["place"].to_numpy()[origin == number] for number in np.unique(origin)] if ahead else []
    shared = {
        "labels": table[config.data.target].to_numpy().astype(np.int64),
        "fold": table[split.FOLD].to_numpy(),
        "entities": out_of_fold.entity_codes(table, config.data),
        "late": split.newest(table, config.data, config.evaluate),
        "dates": Dates.of(table, config.data) if config.evaluate.capacity else None,
    }
    judged = {}
    for name, scores in scored.scores.items():
        late = [ahead.scores[name][origin == number] for number in np.unique(origin)] if ahead else []
        judged[name] = Judged(scores=scores, backtest=list(zip(places, late, strict=True)), **shared)
    return judged, places


def describe(table: pa.Table, places: NDArray[np.int64], data: params.DataParams) -> dict[str, Any]:
    """Which snapshots an origin judges, and on how many rows."""
    import pyarrow as pa
    import pyarrow.compute as pc

    rows = table.take(pa.array(places))
    ends = pc.min_max(rows[data.time]).as_py()
    return {
        "from": str(ends["min"]),
        "to": str(ends["max"]),
        "rows": rows.num_rows,
        "positives": pc.sum(rows[data.target]).as_py(),
    }


def trained(models: Path, ensemble: Path, enabled: list[str]) -> dict[str, Path]:
    """Folder of each enabled candidate, and after them of the ensemble where one was composed."""
    composed = {ENSEMBLE: ensemble} if (ensemble / "model.onnx").exists() else {}
    return {name: models / name for name in enabled} | composed
