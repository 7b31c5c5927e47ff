"""scikit-learn's histogram gradient boosting, early-stopped on customers of their own.

Category codes go in as numbers: with few categories a handful of splits finds every grouping.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field

from pipelines.candidates import CandidateParams, Rows
from pipelines.fitting import stopping

if TYPE_CHECKING:
    import numpy as np
    import onnx
    from numpy.typing import NDArray
    from sklearn.ensemble import HistGradientBoostingClassifier

    from pipelines.fitting.calibration import Calibration
    from pipelines.fitting.graph import Trees


class Params(CandidateParams):
    learning_rate: Annotated[float, Field(gt=0)]
    max_rounds: Annotated[int, Field(ge=1)]
    early_stopping_rounds: Annotated[int, Field(ge=1)]
    max_leaves: Annotated[int, Field(ge=2)]
    min_leaf_rows: Annotated[int, Field(ge=1)]
    features_per_split: Annotated[float, Field(gt=0, le=1)]
    l2: Annotated[float, Field(ge=0)]


def fit(rows: Rows, params: Params, *, seed: int, threads: int) -> HistGradientBoostingClassifier:
    """Chooses the number of rounds on set-aside customers, then fits all rows with that many."""
    import numpy as np
    from sklearn.ensemble import HistGradientBoostingClassifier
    from threadpoolctl import threadpool_limits

    options = {
        "learning_rate": params.learning_rate,
        "max_leaf_nodes": params.max_leaves,
        "min_samples_leaf": params.min_leaf_rows,
        "max_features": params.features_per_split,
        "l2_regularization": params.l2,
        "random_state": seed,
    }
    aside, matrix = stopping.set_aside(rows.customers, seed), rows.matrix()
    with threadpool_limits(threads, user_api="openmp"):
        chosen = HistGradientBoostingClassifier(
            max_iter=params.max_rounds, early_stopping=True, n_iter_no_change=params.early_stopping_rounds, tol=0, **options
        ).fit(matrix[~aside], rows.labels[~aside], X_val=matrix[aside], y_val=rows.labels[aside])
        rounds = max(1, int(np.argmax(chosen.validation_score_)))  # the first score is that of no round at all
        whole = HistGradientBoostingClassifier(max_iter=rounds, early_stopping=False, **options)
        return whole.fit(matrix, rows.labels)


def margin(model: HistGradientBoostingClassifier, rows: Rows) -> NDArray[np.float64]:
    return model.decision_function(rows.matrix())


def export(model: HistGradientBoostingClassifier, schema: dict[str, Any], calibration: Calibration) -> onnx.ModelProto:
    from pipelines.fitting.graph import Graph

    graph = Graph()
    return graph.model(graph.sum_of_trees(graph.features(schema), _trees(model)), calibration, schema)


def facts(model: HistGradientBoostingClassifier) -> dict[str, Any]:
    return {"rounds": int(model.n_iter_)}


def _trees(model: HistGradientBoostingClassifier) -> Trees:
    import numpy as np

    from pipelines.fitting.graph import Trees

    trees = [predictor.nodes for (predictor,) in model._predictors]
    nodes = np.concatenate(trees)
    leaf = nodes["is_leaf"].astype(bool)
    return Trees(
        tree=np.repeat(np.arange(len(trees)), [len(tree) for tree in trees]),
        node=np.concatenate([np.arange(len(tree)) for tree in trees]),
        feature=np.where(leaf, -1, nodes["feature_idx"]),
        threshold=np.where(leaf, 0.0, nodes["num_threshold"]),
        left=nodes["left"].astype(np.int64),
        right=nodes["right"].astype(np.int64),
        missing_left=nodes["missing_go_to_left"].astype(bool) & ~leaf,
        value=np.where(leaf, nodes["value"], 0.0),
        base=float(model._baseline_prediction.item()),
    )
