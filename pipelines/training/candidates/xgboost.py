"""XGBoost by histograms. An optional extra.

Category codes go in as numbers: with few categories a handful of splits finds every grouping.
"""

from __future__ import annotations

import json
from types import ModuleType
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field

from pipelines.config.errors import EvergreenError
from pipelines.config.sections import CandidateParams
from pipelines.training.candidates import Rows

if TYPE_CHECKING:
    import numpy as np
    import xgboost
    from numpy.typing import NDArray

    from pipelines.training.fitting.graph import Graph, Trees


class Params(CandidateParams):
    learning_rate: Annotated[float, Field(gt=0)]
    max_rounds: Annotated[int, Field(ge=1)]
    early_stopping_rounds: Annotated[int, Field(ge=1)]
    max_depth: Annotated[int, Field(ge=1)]
    min_child_weight: Annotated[float, Field(ge=0)]
    colsample_bytree: Annotated[float, Field(gt=0, le=1)]
    reg_lambda: Annotated[float, Field(ge=0)]


def fit(rows: Rows, params: Params, *, seed: int, threads: int) -> xgboost.Booster:
    """All of `max_rounds`.

    Raises:
        EvergreenError: XGBoost is not installed.
    """
    return _library().train(_options(rows, params, seed, threads), _data(rows, threads), params.max_rounds)


def fit_stopped(
    rows: Rows, watched: Rows, params: Params, *, seed: int, threads: int
) -> tuple[xgboost.Booster, NDArray[np.float64]]:
    import numpy as np

    learned = _data(rows, threads)
    losses: dict[str, dict[str, list[float]]] = {}
    model = _library().train(
        _options(rows, params, seed, threads),
        learned,
        params.max_rounds,
        evals=[(_data(watched, threads, ref=learned), "watched")],
        evals_result=losses,
        early_stopping_rounds=params.early_stopping_rounds,
        verbose_eval=False,
    )
    return model, np.array(losses["watched"]["logloss"])


def first_rounds(model: xgboost.Booster, rounds: int) -> xgboost.Booster:
    return model[:rounds]


def _options(rows: Rows, params: Params, seed: int, threads: int) -> dict[str, Any]:
    return params.model_dump(exclude={"max_rounds", "early_stopping_rounds"}) | {
        "objective": "binary:logistic",
        "tree_method": "hist",
        "device": "cpu",  # the gpu pool is for candidates that gain from it
        "base_score": float((rows.labels * rows.weights).sum() / rows.weights.sum()),
        "seed": seed,
        "nthread": threads,
    }


def _data(rows: Rows, threads: int, **like: Any) -> xgboost.QuantileDMatrix:
    return _library().QuantileDMatrix(rows.matrix(), rows.labels, weight=rows.weights, nthread=threads, **like)


def margin(model: xgboost.Booster, rows: Rows) -> NDArray[np.float64]:
    return model.inplace_predict(rows.matrix(), predict_type="margin").astype("float64")


def explain(model: xgboost.Booster, rows: Rows) -> NDArray[np.float64]:
    """TreeSHAP (Lundberg et al. 2020), as XGBoost computes it."""
    return model.predict(_library().DMatrix(rows.matrix()), pred_contribs=True)[:, :-1].astype("float64")


def write(graph: Graph, models: list[xgboost.Booster], schema: dict[str, Any]) -> str:
    return graph.sum_of_trees(graph.features(schema), [_trees(model) for model in models])


def metadata(model: xgboost.Booster) -> dict[str, Any]:
    return {"rounds": model.num_boosted_rounds()}


def _library() -> ModuleType:
    try:
        import xgboost
    except ImportError:
        raise EvergreenError(
            "candidates.enabled names xgboost, which is not installed: run `pip install 'evergreen[xgboost]'`, "
            "or take it out of params.yaml."
        ) from None
    return xgboost


def _trees(model: xgboost.Booster) -> Trees:
    import numpy as np

    from pipelines.training.fitting.graph import Trees

    learner = json.loads(bytes(model.save_raw("json")))["learner"]
    trees = learner["gradient_booster"]["model"]["trees"]

    def column(name: str, dtype: Any) -> NDArray[Any]:
        return np.concatenate([np.asarray(tree[name], dtype=dtype) for tree in trees])

    left, condition = column("left_children", np.int64), column("split_conditions", np.float32)
    leaf, sizes = left < 0, [len(tree["left_children"]) for tree in trees]
    # a row goes left when its value is below the condition: at most the float32 before it
    threshold = np.nextafter(condition, np.float32(-np.inf)).astype(np.float64)
    share = np.float32(json.loads(learner["learner_model_param"]["base_score"])[0])
    return Trees(
        node=np.concatenate([np.arange(size) for size in sizes]),
        feature=np.where(leaf, -1, column("split_indices", np.int64)),
        threshold=np.where(leaf, 0.0, threshold),
        left=left,
        right=column("right_children", np.int64),
        missing_left=column("default_left", bool) & ~leaf,
        value=np.where(leaf, condition, 0.0).astype(np.float64),
        base=float(-np.log(1 / share - 1)),
    )
