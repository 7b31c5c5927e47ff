"""Stage evaluate: every candidate's graph on the same held-out rows, and which of them is the challenger."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipelines import params, stage
from pipelines.errors import EvergreenError

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa
    from numpy.typing import NDArray

    from pipelines import metrics
    from pipelines.capacity import Dates
    from pipelines.metrics import Interval

BASELINE = "linear"
ENSEMBLE = "ensemble"  # of the candidates: judged like one of them
THRESHOLDS = 500


def threshold_by_cost(labels: NDArray, scores: NDArray[np.float64], evaluate: params.EvaluateParams) -> float:
    """The threshold with the lowest total cost of wrong decisions: a row is positive when its score is at least it.

    Args:
        labels, scores: out-of-fold, shape (rows,): nothing held out may choose a threshold.
    """
    import numpy as np

    candidates = np.unique(np.quantile(scores, np.linspace(0, 1, THRESHOLDS)))
    positives = np.sort(scores[labels == 1])
    negatives = np.sort(scores[labels == 0])
    missed = np.searchsorted(positives, candidates, side="left")
    false_alarms = len(negatives) - np.searchsorted(negatives, candidates, side="left")
    cost = evaluate.cost_false_negative * missed + evaluate.cost_false_positive * false_alarms
    return float(candidates[np.argmin(cost)])


def decide_from(labels: NDArray, scores: NDArray[np.float64], judged: pa.Table, config: params.Params) -> float:
    """The threshold, by cost or by capacity (evaluate.threshold).

    Args:
        labels, scores: out-of-fold, shape (rows,).
        judged: rows of which only the dates are looked at: how large a share of them the capacity is.
    """
    from pipelines import capacity

    limit = config.evaluate.capacity
    if config.evaluate.threshold == "cost" or limit is None:
        return threshold_by_cost(labels, scores, config.evaluate)
    dates = capacity.Dates.of(judged, config.data, config.split.test_share)
    return capacity.threshold(scores, capacity.share_within(dates, limit))


def judge(
    labels: NDArray,
    scores: NDArray[np.float64],
    threshold: float,
    entities: NDArray,
    evaluate: params.EvaluateParams,
    dates: Dates | None = None,
) -> dict[str, Any]:
    """All metrics of one candidate with customer-level intervals, and the confusion matrix at its threshold.

    Args:
        dates: of the rows, where a capacity is set.
    """
    import numpy as np

    from pipelines import capacity, metrics

    chosen = scores >= threshold

    def decided(name: str) -> metrics.Measure:
        return lambda weights: metrics.decision_metrics(metrics.confusion(labels, chosen, weights))[name]

    measures = {name: _measure(name, labels, scores) for name in metrics.RANKING}
    measures |= {name: decided(name) for name in metrics.DECISIONS}
    if dates and evaluate.capacity:
        measures |= capacity.measures(labels, scores, dates, evaluate.capacity)
    cells = metrics.confusion(labels, chosen, np.ones((1, len(labels))))
    return {
        "threshold": threshold,
        "metrics": _intervals(measures, entities, evaluate),
        "confusion": {name: int(count[0]) for name, count in cells.items()},
    }


def _measure(name: str, labels: NDArray, scores: NDArray[np.float64]) -> metrics.Measure:
    from pipelines import metrics

    return lambda weights: metrics.RANKING[name](labels, scores, weights)


def _intervals(
    measures: dict[str, metrics.Measure], entities: NDArray, evaluate: params.EvaluateParams
) -> dict[str, dict[str, float | None]]:
    from pipelines import metrics

    options = {"resamples": evaluate.bootstrap, "confidence": evaluate.confidence, "seed": evaluate.seed}
    return {name: rounded(found) for name, found in metrics.intervals(measures, entities, **options).items()}


def rounded(interval: Interval) -> dict[str, float | None]:
    """For canonical JSON: nine digits, and no NaN (a precision over nothing is null)."""
    import math

    return {name: round(value, 9) if math.isfinite(value) else None for name, value in interval.to_dict().items()}


def choose(candidates: dict[str, Any], baseline: str) -> str:
    """The challenger: of those that are shown to beat the baseline the best out of fold; the baseline where none is.

    "Shown" is a paired interval above 0: a model that is not better than a simple one is not worth its upkeep. The
    ensemble, which costs the upkeep of all its members, has to be shown to beat the best single one as well.

    The best is not the best on the held-out rows: they judge the challenger against the champion afterwards, and the
    luckiest of five equal candidates would be promoted five times as often as one that was chosen elsewhere.
    """
    shown = [name for name, found in candidates.items() if _is_shown(found["against_baseline"])]
    if ENSEMBLE in shown and _is_shown(candidates[ENSEMBLE]["against_best"]):
        return ENSEMBLE
    single = [name for name in shown if name != ENSEMBLE]
    return max(single, key=lambda name: candidates[name]["out_of_fold"], default=baseline)


def _is_shown(gain: dict[str, float | None]) -> bool:
    return (gain["low"] or 0) > 0


def evaluate(
    test: pa.Table,
    scores: dict[str, NDArray[np.float64]],
    thresholds: dict[str, float],
    out_of_fold: dict[str, float],
    config: params.Params,
) -> dict[str, Any]:
    """What evaluation.json holds: counts, each candidate's figures, its gain over the baseline, the challenger.

    Args:
        scores: by candidate, the enabled ones and after them the ensemble where there is one; each (rows,).
        out_of_fold: the metric of each candidate's out-of-fold scores.
    """
    import numpy as np

    from pipelines import metrics
    from pipelines.capacity import Dates

    data, judging = config.data, config.evaluate
    dates = Dates.of(test, data, config.split.test_share) if judging.capacity else None
    labels = test[data.target].to_numpy()
    entities = test[data.entity].combine_chunks().dictionary_encode().indices.to_numpy()
    late = test["held_out_in_time"].to_numpy(zero_copy_only=False)
    baseline = BASELINE if BASELINE in scores else config.enabled[0]
    options = {"resamples": judging.bootstrap, "confidence": judging.confidence, "seed": judging.seed}
    candidates: dict[str, Any] = {}
    for name in scores:
        found = judge(labels, scores[name], thresholds[name], entities, judging, dates)
        gain = metrics.paired_interval(judging.metric, labels, scores[name], scores[baseline], entities, **options)
        found |= {"against_baseline": rounded(gain), "out_of_fold": round(out_of_fold[name], 9)}
        if name == ENSEMBLE:
            # the best on these very rows: whatever luck is in that choice speaks against the ensemble
            best = max(candidates, key=lambda single: candidates[single]["metrics"][judging.metric]["point"])
            gain = metrics.paired_interval(judging.metric, labels, scores[name], scores[best], entities, **options)
            found |= {"best": best, "against_best": rounded(gain)}
        if 0 < labels[late].sum() < late.sum():
            newest = {judging.metric: _measure(judging.metric, labels[late], scores[name][late])}
            found["newest"] = _intervals(newest, entities[late], judging)
        candidates[name] = found
        stage.say(f"{name}: {judging.metric} {found['metrics'][judging.metric]['point']:.4f}")
    return {
        "baseline": baseline,
        "challenger": choose(candidates, baseline),
        "metric": judging.metric,
        "rows": test.num_rows,
        "newest_rows": int(late.sum()),
        "entities": len(np.unique(entities)),
        "positives": int(labels.sum()),
        "base_rate": round(float(labels.mean()), 9),
        "candidates": candidates,
        **({"judged_share": dates.share} if dates else {}),
    }


def summary(evaluation: dict[str, Any]) -> dict[str, Any]:
    """For `dvc metrics`: the challenger, and every candidate's point estimates."""
    points = {
        name: {metric: value["point"] for metric, value in found["metrics"].items()}
        for name, found in evaluation["candidates"].items()
    }
    return {"challenger": evaluation["challenger"], "candidates": points}


def main(
    *, test: Path, schema: Path, models: Path, ensemble: Path, scores: Path, evaluation: Path, metrics: Path, plots: Path
) -> None:
    """Evaluate the enabled candidates, and their ensemble where there is one, on the held-out rows."""
    import numpy as np
    import pyarrow as pa
    import pyarrow.parquet as pq

    from pipelines import plot, scoring

    config = params.read()
    with stage.phase("read"):
        table, features = pq.read_table(test), json.loads(schema.read_text())
    folders = trained(models, ensemble, config.enabled)
    scored, thresholds, out_of_fold = {}, {}, {}
    for name, folder in folders.items():
        model = scoring.load_graph(folder / "model.onnx", features, threads=config.train.threads)
        scored[name] = model.score(table)
        with stage.phase("read"):
            oof = pq.read_table(folder / "oof.parquet")
        labels, own = oof[config.data.target].to_numpy(), oof["score"].to_numpy()
        thresholds[name] = decide_from(labels, own, table, config)
        out_of_fold[name] = float(_measure(config.evaluate.metric, labels, own)(np.ones((1, len(own))))[0])
    found = evaluate(table, scored, thresholds, out_of_fold, config)
    kept = [*config.data.key_columns, config.data.target, "held_out_in_time", *config.data.protected]
    judged = table.select(list(dict.fromkeys(kept)))
    for name, values in scored.items():
        judged = judged.append_column(f"score_{name}", pa.array(values))
    scores.parent.mkdir(parents=True, exist_ok=True)
    with stage.phase("write"):
        pq.write_table(judged, scores, compression="zstd")
    stage.write_json(evaluation, found)
    stage.write_json(metrics, summary(found))
    shap = {name: json.loads((folder / "shap.json").read_text()) for name, folder in folders.items()}
    plot.write(plots, table[config.data.target].to_numpy(), scored, found, shap)
    stage.say(f"Challenger: {found['challenger']}, on {found['rows']:,} held-out rows of {found['entities']:,} customers.")


def trained(models: Path, ensemble: Path, enabled: list[str]) -> dict[str, Path]:
    """Folder of each enabled candidate, and after them of the ensemble where one was composed.

    Raises:
        EvergreenError: an enabled candidate has no graph.
    """
    for name in enabled:
        if not (models / name / "model.onnx").exists():
            raise EvergreenError(f"{models / name / 'model.onnx'} is missing: run `dvc repro`, which trains {name} first.")
    composed = {ENSEMBLE: ensemble} if (ensemble / "model.onnx").exists() else {}
    return {name: models / name for name in enabled} | composed


if __name__ == "__main__":
    stage.run(main)
