"""LightGBM: gradient-boosted trees; where the present differs from the past, more of them for the present alone.

Categories are LightGBM's own: a split asks whether the code is in a set (docs/studies/accuracy.md).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field

from pipelines.config.sections import CandidateParams
from pipelines.training.candidates import Rows
from pipelines.training.fitting import stopping

if TYPE_CHECKING:
    import lightgbm
    import numpy as np
    from numpy.typing import NDArray

    from pipelines.training.fitting.graph import Graph, Trees


UPDATE = {"num_leaves": 4, "learning_rate": 0.04, "feature_fraction": 0.3}  # of few rows, and only what differs from the base


class Params(CandidateParams):
    learning_rate: Annotated[float, Field(gt=0)]
    max_rounds: Annotated[int, Field(ge=1)]
    early_stopping_rounds: Annotated[int, Field(ge=1)]
    num_leaves: Annotated[int, Field(ge=2)]
    min_data_in_leaf: Annotated[int, Field(ge=1)]
    feature_fraction: Annotated[float, Field(gt=0, le=1)]
    lambda_l2: Annotated[float, Field(ge=0)]


@dataclass(frozen=True)
class Model:
    """Trees of all rows, and after them those that were fitted on rows of weight 1 alone, where others weigh less."""

    base: lightgbm.Booster
    update: lightgbm.Booster | None = None

    @property
    def boosters(self) -> list[lightgbm.Booster]:
        return [self.base] if self.update is None else [self.base, self.update]


def fit(rows: Rows, params: Params, *, seed: int, threads: int) -> Model:
    """All of `max_rounds`."""
    import lightgbm

    if rows.all_alike:
        return Model(lightgbm.train(_options(params, seed, threads), _data(rows), params.max_rounds))
    base = fit_base(rows, params, seed=seed, threads=threads)
    now = rows.take(rows.weights == 1)
    options = _options(params, seed, threads) | UPDATE
    return Model(base, lightgbm.train(options, _data(now, init_score=_raw(base, now)), params.max_rounds))


def fit_stopped(rows: Rows, watched: Rows, params: Params, *, seed: int, threads: int) -> tuple[Model, NDArray[np.float64]]:
    if rows.all_alike:
        booster, losses = _stopped(_data(rows), watched, None, params, _options(params, seed, threads))
        return Model(booster), losses
    return update(fit_base(rows, params, seed=seed, threads=threads), rows, watched, params, seed=seed, threads=threads)


def update(
    base: lightgbm.Booster, rows: Rows, watched: Rows, params: Params, *, seed: int, threads: int
) -> tuple[Model, NDArray[np.float64]]:
    """More trees for the rows of weight 1, until the loss of the watched ones among them stops to fall; and that loss."""
    now, judged = rows.take(rows.weights == 1), watched.take(watched.weights == 1)
    learned = _data(now, init_score=_raw(base, now))
    booster, losses = _stopped(learned, judged, _raw(base, judged), params, _options(params, seed, threads) | UPDATE)
    return Model(base, booster), losses


def first_rounds(model: Model, rounds: int) -> Model:
    import lightgbm

    last = lightgbm.Booster(model_str=model.boosters[-1].model_to_string(num_iteration=rounds))
    return Model(last) if model.update is None else Model(model.base, last)


def fit_base(rows: Rows, params: Params, *, seed: int, threads: int) -> lightgbm.Booster:
    """Of all rows alike, with as many rounds as entities set aside among them find best."""
    import lightgbm
    import numpy as np

    alike = replace(rows, weights=np.ones_like(rows.weights))
    aside, options = stopping.validation_rows(rows.entities, seed), _options(params, seed, threads)
    _, losses = _stopped(_data(alike.take(~aside)), alike.take(aside), None, params, options)
    return lightgbm.train(options, _data(alike), int(losses.argmin()) + 1)


def _stopped(
    learned: lightgbm.Dataset, watched: Rows, before: NDArray[np.float64] | None, params: Params, options: dict[str, Any]
) -> tuple[lightgbm.Booster, NDArray[np.float64]]:
    """Fitted until the loss of the watched rows, whose margins were `before`, stops to fall; and that loss by round."""
    import lightgbm
    import numpy as np

    losses: dict[str, dict[str, list[float]]] = {}
    stops = lightgbm.early_stopping(params.early_stopping_rounds, verbose=False), lightgbm.record_evaluation(losses)
    model = lightgbm.train(
        options,
        learned,
        params.max_rounds,
        valid_sets=[_data(watched, reference=learned, init_score=before)],
        valid_names=["watched"],
        callbacks=list(stops),
    )
    return model, np.array(losses["watched"]["binary_logloss"])


def _raw(model: lightgbm.Booster, rows: Rows) -> NDArray[np.float64]:
    return model.predict(rows.matrix(), raw_score=True)


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

    categories = list(range(rows.numbers.shape[1], rows.numbers.shape[1] + rows.codes.shape[1]))
    return lightgbm.Dataset(rows.matrix(), rows.labels, weight=rows.weights, categorical_feature=categories, **options)


def margin(model: Model, rows: Rows) -> NDArray[np.float64]:
    import numpy as np

    return np.sum([_raw(booster, rows) for booster in model.boosters], axis=0)


def explain(model: Model, rows: Rows) -> NDArray[np.float64]:
    """TreeSHAP (Lundberg et al. 2020), as LightGBM computes it."""
    import numpy as np

    return np.sum([booster.predict(rows.matrix(), pred_contrib=True)[:, :-1] for booster in model.boosters], axis=0)


def metadata(model: Model) -> dict[str, Any]:
    return {"rounds": [booster.current_iteration() for booster in model.boosters]}


def write(graph: Graph, models: list[Model], schema: dict[str, Any]) -> str:
    return graph.sum_of_trees(graph.features(schema), [_trees(model) for model in models])


def _trees(model: Model) -> Trees:
    import numpy as np

    from pipelines.training.fitting.graph import ARRAYS, Trees

    trees = [tree["tree_structure"] for booster in model.boosters for tree in booster.dump_model()["tree_info"]]
    nodes = [node for tree in trees for node in _nodes(tree)]
    *columns, members = zip(*nodes, strict=True)
    kinds = [np.int64, np.int64, np.float64, np.int64, np.int64, np.bool_, np.float64]
    arrays: dict[str, Any] = {
        name: np.array(column, dtype=kind) for name, column, kind in zip(ARRAYS, columns, kinds, strict=True)
    }
    return Trees(**arrays, members={at: codes for at, codes in enumerate(members) if codes})


def _nodes(root: dict[str, Any]) -> list[tuple[Any, ...]]:
    """One tuple a node, in the order of the fields of `Trees`, with its members last."""
    rows: list[tuple[Any, ...]] = []

    def visit(node: dict[str, Any]) -> int:
        number = len(rows)
        rows.append(())
        if "leaf_value" in node:
            rows[number] = (number, -1, 0.0, 0, 0, False, node["leaf_value"], ())
            return number
        left, right = visit(node["left_child"]), visit(node["right_child"])
        threshold, missing_left = node["threshold"], node["default_left"]
        members: tuple[float, ...] = ()
        if node["decision_type"] == "==":
            members, threshold = tuple(map(float, threshold.split("||"))), 0.0
        elif node["missing_type"] != "NaN":  # without missing values in training LightGBM reads NaN as 0
            missing_left = threshold >= 0
        rows[number] = (number, node["split_feature"], threshold, left, right, missing_left, 0.0, members)
        return number

    visit(root)
    return rows
