"""One candidate, tuned, fitted once for each fold, calibrated out of fold, and exported as one ONNX graph.

What is served is the mean of the folds' models, or one refit on all rows (`train.serve`). Class imbalance is met by
calibration and a threshold from costs. Rows are neither resampled nor reweighted by class: that would distort the
probabilities that the threshold needs.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from types import ModuleType
from typing import TYPE_CHECKING, Any

from pipelines.config import params
from pipelines.data import row_weights, split
from pipelines.training.candidates import Rows

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa
    from numpy.typing import NDArray

    from pipelines.training.fitting.calibration import Margins
    from pipelines.training.fitting.folds import Validation
    from pipelines.training.fitting.tune import Tuned

BACKGROUND_ROWS = 100  # what an absent feature is drawn from, where SHAP values are sampled
PERMUTATIONS = 8  # orders of the features in which each sampled SHAP value is averaged
SAMPLED_ROWS = 400  # rows that are explained where SHAP values are sampled, at most: each costs hundreds of predictions


@dataclass(frozen=True)
class Fitted:
    """A candidate's models.

    models: one a fold, and after them the refit, where that is served. margins: of each row by its own fold's model, (rows,).
    """

    models: list[Any]
    margins: NDArray[np.float64]
    is_refit: bool

    def served(self, candidate: ModuleType, rows: Rows) -> NDArray[np.float64]:
        """Margins that are served, before calibration, (rows,)."""
        if self.is_refit:
            return candidate.margin(self.models[-1], rows)
        return sum(candidate.margin(model, rows) for model in self.models) / len(self.models)


def validations(
    candidate: ModuleType, table: pa.Table, features: dict[str, Any], past: dict[str, Any], config: params.Params
) -> tuple[Validation, Validation]:
    """By folds of entities, and by origins in time; the second has no parts where there is no clock or too little history.

    Args:
        past: the content of recency.json.
    """
    from pipelines.training import backtest
    from pipelines.training.fitting import folds

    fold, days = table[split.FOLD].to_numpy(), row_weights.days_of(table, config.data)
    weighed = [row_weights.weights(days, since) for since in past["by_fold"]]
    parts = [replace(part, weights=fold_weights) for part, fold_weights in zip(folds.fold_parts(fold), weighed, strict=True)]
    rows, train = folds.as_rows(table, features, config.data), config.train
    by_fold = folds.Validation(candidate, rows, parts, fold, config.evaluate.metric, train.seed, train.threads)
    origins = backtest.origins(table, config.data, config.evaluate, past["overall"])
    return by_fold, replace(by_fold, parts=origins, fits={})


def fit(by_fold: Validation, tuned: Tuned, weights: NDArray[np.float32], serve: str) -> Fitted:
    """The folds' models, and one on all rows where that is to be served.

    Args:
        weights: what each row counts in the refit, (rows,).
    """
    from pipelines.training.fitting import folds

    models, margins = folds.cross_fit(by_fold, tuned.sections)
    if serve == "mean":
        return Fitted(models, margins, is_refit=False)
    rows, section = replace(by_fold.rows, weights=weights), fixed(by_fold, tuned)
    return Fitted([*models, by_fold.candidate.fit(rows, section, seed=by_fold.seed, threads=by_fold.threads)], margins, True)


def fixed(by_fold: Validation, tuned: Tuned) -> Any:
    """The section that all rows choose, with the number of rounds that the folds' models have in the mean."""
    if not hasattr(by_fold.candidate, "first_rounds"):
        return tuned.overall
    rounds = [by_fold.rounds(tuned.overall, number) for number in range(by_fold.folds)]
    return tuned.overall.with_values({"max_rounds": max(1, round(sum(rounds) / len(rounds)))})


def refit_loss(by_fold: Validation, section: Any) -> dict[str, float]:
    """What one refit is worth against the mean of models, on the rows of the first fold, which none of them has seen.

    Returns:
        `refit` and `mean`: the metric of one model of all other folds, and of the mean of those that leave one more out;
        nothing where there are two folds, since no row would be left to fit.
    """
    import numpy as np

    if by_fold.folds == 2:
        return {}
    held_out = by_fold.fold == 0
    rows, judged = by_fold.rows, by_fold.rows.take(held_out)

    def margins(fitted: NDArray[np.bool_], seed: int) -> NDArray[np.float64]:
        model = by_fold.candidate.fit(rows.take(fitted), section, seed=seed, threads=by_fold.threads)
        return by_fold.candidate.margin(model, judged)

    members = [margins(~held_out & (by_fold.fold != other), by_fold.seed + other) for other in range(1, by_fold.folds)]
    margins_of = {"refit": margins(~held_out, by_fold.seed), "mean": sum(members) / len(members)}
    return {name: round(by_fold.value(0, np.asarray(each)), 9) for name, each in margins_of.items()}


def backtest_scores(origins: Validation, section: Any, margins: Margins, kind: str) -> dict[str, NDArray[Any]]:
    """Place, origin and score of each row that the origins judge; calibrated on rows that each origin has fitted."""
    import numpy as np

    places, numbers, scores = [], [], []
    for number, part in enumerate(origins.parts):
        places.append(np.flatnonzero(part.judged))
        numbers.append(np.full(len(places[-1]), number, dtype=np.int8))
        scores.append(margins.fit(kind, part.fitted)(origins.margins(section, number)))
    return {"place": np.concatenate(places), "origin": np.concatenate(numbers), "score": np.concatenate(scores)}


def shap_summary(
    candidate: ModuleType, model: Any, rows: Rows, names: list[str], train: params.TrainParams
) -> dict[str, float]:
    """Mean absolute SHAP value of each feature, in log odds, over a sample of rows, by one model."""
    import numpy as np

    random = np.random.default_rng(train.seed)
    count = min(train.explain_rows, len(rows), train.explain_rows if hasattr(candidate, "explain") else SAMPLED_ROWS)
    sample = rows.take(np.sort(random.choice(len(rows), size=count, replace=False)))
    if hasattr(candidate, "explain"):
        values = candidate.explain(model, sample)
    else:
        from pipelines.training import shapley

        drawn = random.choice(len(rows), size=min(BACKGROUND_ROWS, len(rows)), replace=False)
        background = rows.take(np.sort(drawn))
        values = shapley.sampled(
            lambda some: candidate.margin(model, some), sample, background, permutations=PERMUTATIONS, seed=train.seed
        )
    strength = np.abs(values).mean(axis=0)
    return {name: round(float(value), 9) for name, value in zip(names, strength, strict=True)}
