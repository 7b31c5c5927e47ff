"""LightGBM: gradient-boosted trees.

Category codes go in as numbers: with few categories a handful of splits finds every grouping.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field

from pipelines.candidates import CandidateParams, Rows

if TYPE_CHECKING:
    import lightgbm
    import numpy as np
    from numpy.typing import NDArray

    from pipelines.fitting.graph import Graph, Trees


class Params(CandidateParams):
    learning_rate: Annotated[float, Field(gt=0)]
    max_rounds: Annotated[int, Field(ge=1)]
    early_stopping_rounds: Annotated[int, Field(ge=1)]
    num_leaves: Annotated[int, Field(ge=2)]
    min_data_in_leaf: Annotated[int, Field(ge=1)]
    feature_fraction: Annotated[float, Field(gt=0, le=1)]
    lambda_l2: Annotated[float, Field(ge=0)]


def fit(rows: Rows, params: Params, *, seed: int, threads: int) -> lightgbm.Booster:
    """All of `max_rounds`."""
    import lightgbm

    return lightgbm.train(_options(params, seed, threads), _data(rows), params.max_rounds)


def fit_stopped(
    rows: Rows, watched: Rows, params: Params, *, seed: int, threads: int
) -> tuple[lightgbm.Booster, NDArray[np.float64]]:
    import lightgbm
    import numpy as np

    losses: dict[str, dict[str, list[float]]] = {}
    learned = _data(rows)
    stops = lightgbm.early_stopping(params.early_stopping_rounds, verbose=False), lightgbm.record_evaluation(losses)
    model = lightgbm.train(
        _options(params, seed, threads),
        learned,
        params.max_rounds,
        valid_sets=[_data(watched, reference=learned)],
        valid_names=["watched"],
        callbacks=list(stops),
    )
    return model, np.array(losses["watched"]["binary_logloss"])


def first_rounds(model: lightgbm.Booster, rounds: int) -> lightgbm.Booster:
    import lightgbm

    return lightgbm.Booster(model_str=model.model_to_string(num_iteration=rounds))


def _options(params: Params, seed: int, threads: int) -> dict[str, Any]:
    return params.model_dump(exclude={"max_rounds", "early_stopping_rounds"}) | {
        "objective": "binary",
        "metric": "binary_logloss",
        "seed": seed,
        "num_threads": threads,
        "deterministic": True,
        "force_row_wise": True,  # the alternative is chosen by timing, which is not reproducible
        "verbosity": -1,
    }


def _data(rows: Rows, **options: Any) -> lightgbm.Dataset:
    import lightgbm

    return lightgbm.Dataset(rows.matrix(), rows.labels, weight=rows.weights, **options)


def margin(model: lightgbm.Booster, rows: Rows) -> NDArray[np.float64]:
    return model.predict(rows.matrix(), raw_score=True)


def explain(model: lightgbm.Booster, rows: Rows) -> NDArray[np.float64]:
    """TreeSHAP (Lundberg et al. 2020), as LightGBM computes it."""
    return model.predict(rows.matrix(), pred_contrib=True)[:, :-1]


def write(graph: Graph, models: list[lightgbm.Booster], schema: dict[str, Any]) -> str:
    return graph.sum_of_trees(graph.features(schema), [_trees(model) for model in models])


def _trees(model: lightgbm.Booster) -> Trees:
    import numpy as np

    from pipelines.fitting.graph import Trees

    found = [node for tree in model.dump_model()["tree_info"] for node in _nodes(tree["tree_index"], tree["tree_structure"])]
    columns = list(zip(*found, strict=True))
    kinds = [np.int64, np.int64, np.int64, np.float64, np.int64, np.int64, np.bool_, np.float64]
    return Trees(*(np.array(column, dtype=kind) for column, kind in zip(columns, kinds, strict=True)))


def _nodes(tree: int, root: dict[str, Any]) -> list[tuple[Any, ...]]:
    """One tuple a node, in the order of the fields of `Trees`."""
    rows: list[tuple[Any, ...]] = []

    def visit(node: dict[str, Any]) -> int:
        number = len(rows)
        rows.append(())
        if "leaf_value" in node:
            rows[number] = (tree, number, -1, 0.0, 0, 0, False, node["leaf_value"])
            return number
        left, right = visit(node["left_child"]), visit(node["right_child"])
        # without missing values in training LightGBM reads NaN as 0
        missing_left = node["default_left"] if node["missing_type"] == "NaN" else node["threshold"] >= 0
        rows[number] = (tree, number, node["split_feature"], node["threshold"], left, right, missing_left, 0.0)
        return number

    visit(root)
    return rows
