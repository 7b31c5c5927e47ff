"""scikit-learn's histogram gradient boosting.

Category codes go in as numbers: with few categories a handful of splits finds every grouping.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field

from pipelines.config.sections import CandidateParams
from pipelines.training.candidates import Rows

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from sklearn.ensemble import HistGradientBoostingClassifier

    from pipelines.training.fitting.graph import Graph, Trees


class Params(CandidateParams):
    learning_rate: Annotated[float, Field(gt=0)]
    max_rounds: Annotated[int, Field(ge=1)]
    early_stopping_rounds: Annotated[int, Field(ge=1)]
    max_leaves: Annotated[int, Field(ge=2)]
    min_leaf_rows: Annotated[int, Field(ge=1)]
    features_per_split: Annotated[float, Field(gt=0, le=1)]
    l2: Annotated[float, Field(ge=0)]


def fit(rows: Rows, params: Params, *, seed: int, threads: int) -> HistGradientBoostingClassifier:
    """All of `max_rounds`."""
    with _on(threads):
        return _unfitted(params, seed, early_stopping=False).fit(rows.matrix(), rows.labels, rows.weights)


def fit_stopped(
    rows: Rows, watched: Rows, params: Params, *, seed: int, threads: int
) -> tuple[HistGradientBoostingClassifier, NDArray[np.float64]]:
    stops = {"early_stopping": True, "n_iter_no_change": params.early_stopping_rounds, "tol": 0}
    judged = {"X_val": watched.matrix(), "y_val": watched.labels, "sample_weight_val": watched.weights}
    with _on(threads):
        model = _unfitted(params, seed, **stops).fit(rows.matrix(), rows.labels, rows.weights, **judged)
    return model, -model.validation_score_[1:]  # the first score is that of no round at all


def first_rounds(model: HistGradientBoostingClassifier, rounds: int) -> HistGradientBoostingClassifier:
    import copy

    fewer = copy.copy(model)
    fewer._predictors = model._predictors[:rounds]
    return fewer


def _unfitted(params: Params, seed: int, **stops: Any) -> HistGradientBoostingClassifier:
    from sklearn.ensemble import HistGradientBoostingClassifier

    return HistGradientBoostingClassifier(
        learning_rate=params.learning_rate,
        max_iter=params.max_rounds,
        max_leaf_nodes=params.max_leaves,
        min_samples_leaf=params.min_leaf_rows,
        max_features=params.features_per_split,
        l2_regularization=params.l2,
        random_state=seed,
        **stops,
    )


def _on(threads: int) -> Any:
    from threadpoolctl import threadpool_limits

    return threadpool_limits(threads, user_api="openmp")


def margin(model: HistGradientBoostingClassifier, rows: Rows) -> NDArray[np.float64]:
    return model.decision_function(rows.matrix())


def write(graph: Graph, models: list[HistGradientBoostingClassifier], schema: dict[str, Any]) -> str:
    return graph.sum_of_trees(graph.features(schema), [_trees(model) for model in models])


def metadata(model: HistGradientBoostingClassifier) -> dict[str, Any]:
    return {"rounds": int(model.n_iter_)}


def _trees(model: HistGradientBoostingClassifier) -> Trees:
    import numpy as np

    from pipelines.training.fitting.graph import Trees

    trees = [predictor.nodes for (predictor,) in model._predictors]
    nodes = np.concatenate(trees)
    leaf = nodes["is_leaf"].astype(bool)
    return Trees(
        node=np.concatenate([np.arange(len(tree)) for tree in trees]),
        feature=np.where(leaf, -1, nodes["feature_idx"]),
        threshold=np.where(leaf, 0.0, nodes["num_threshold"]),
        left=nodes["left"].astype(np.int64),
        right=nodes["right"].astype(np.int64),
        missing_left=nodes["missing_go_to_left"].astype(bool) & ~leaf,
        value=np.where(leaf, nodes["value"], 0.0),
        base=float(model._baseline_prediction.item()),
    )
