"""Logistic regression: numbers standardised with an indicator for missing, one coefficient a category.

The baseline that every report shows. Its weights are kept in plain arrays, so that the graph and the Shapley
values are the same sum written twice.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field

from pipelines.config.sections import CandidateParams
from pipelines.training.candidates import Rows

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from pipelines.training.fitting.graph import Graph


class Params(CandidateParams):
    C: Annotated[float, Field(gt=0)]
    max_iter: Annotated[int, Field(ge=1)]


@dataclass(frozen=True)
class Model:
    """margin = intercept + sum of slope * number + missing * [number is missing] + weight of each category's code."""

    median: NDArray[np.float64]  # (numbers,); what a missing number counts as
    slope: NDArray[np.float64]  # (numbers,); log odds a unit
    missing: NDArray[np.float64]  # (numbers,)
    weight: NDArray[np.float64]  # all codes of all categories, one after the other
    starts: NDArray[np.int64]  # (categories,); where each category begins in `weight`
    intercept: float


def fit(rows: Rows, params: Params, *, seed: int, threads: int) -> Model:
    import numpy as np
    from sklearn.linear_model import LogisticRegression
    from threadpoolctl import threadpool_limits

    median = np.nan_to_num(_nanmedian(rows.numbers))
    numbers, absent = _fill(rows.numbers, median)
    mean, deviation = numbers.mean(axis=0), numbers.std(axis=0)
    deviation[deviation == 0] = 1.0
    starts, width = _layout(rows.category_counts)
    design = np.hstack([(numbers - mean) / deviation, absent, _one_hot(rows.codes, starts, width)])
    with threadpool_limits(threads):
        regression = LogisticRegression(C=params.C, max_iter=params.max_iter, random_state=seed)
        regression.fit(design, rows.labels, rows.weights)
    count = numbers.shape[1]
    slope, missing, weight = np.split(regression.coef_[0], [count, 2 * count])
    slope = slope / deviation
    return Model(median, slope, missing, weight, starts, float(regression.intercept_[0] - slope @ mean))


def margin(model: Model, rows: Rows) -> NDArray[np.float64]:
    return model.intercept + _terms(model, rows).sum(axis=1)


def explain(model: Model, rows: Rows) -> NDArray[np.float64]:
    """Shapley values of a sum are its terms less their means (Lundberg & Lee 2017, corollary 1)."""
    terms = _terms(model, rows)
    return terms - terms.mean(axis=0)


def write(graph: Graph, models: list[Model], schema: dict[str, Any]) -> str:
    import numpy as np
    from onnx import TensorProto

    parts = [graph.constant("intercepts", [[model.intercept for model in models]], np.float64)]
    if schema["numbers"]:
        # in double: a large mean against a small deviation would cost float32 its digits
        numbers = graph.add("Cast", ["numbers"], "numbers_double", to=TensorProto.DOUBLE)
        absent = graph.add("IsNaN", [numbers], "absent")
        filled = graph.add("Where", [absent, graph.constant("zero", 0.0, np.float64), numbers], "filled")
        slopes = np.column_stack([model.slope for model in models])
        instead = np.column_stack([model.missing + model.slope * model.median for model in models])
        parts.append(graph.add("MatMul", [filled, graph.constant("slopes", slopes, np.float64)], "sloped"))
        flags = graph.add("Cast", [absent], "absent_double", to=TensorProto.DOUBLE)
        parts.append(graph.add("MatMul", [flags, graph.constant("missing", instead, np.float64)], "missed"))
    if schema["categories"]:
        codes = graph.add("Cast", [graph.codes(schema["categories"])], "codes_integer", to=TensorProto.INT64)
        places = graph.add("Add", [codes, graph.constant("starts", models[0].starts, np.int64)], "places")
        table = graph.constant("weights", np.column_stack([model.weight for model in models]), np.float64)
        weights = graph.add("Gather", [table, places], "weighted")  # (rows, categories, models)
        parts.append(graph.add("ReduceSum", [weights, graph.constant("axis", [1], np.int64)], "categorical", keepdims=0))
    total = parts[0]
    for part in parts[1:]:
        total = graph.add("Add", [total, part], "total")
    return total


def _terms(model: Model, rows: Rows) -> NDArray[np.float64]:
    """Each feature's part of the margin, (rows, features)."""
    import numpy as np

    numbers, absent = _fill(rows.numbers, model.median)
    return np.hstack([numbers * model.slope + absent * model.missing, model.weight[rows.codes.astype(int) + model.starts]])


def _fill(numbers: NDArray[Any], median: NDArray[Any]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    import numpy as np

    absent = np.isnan(numbers)
    return np.where(absent, median, numbers.astype(np.float64)), absent.astype(np.float64)


def _nanmedian(numbers: NDArray[Any]) -> NDArray[np.float64]:
    """Of each column; NaN where a column has no value at all."""
    import numpy as np

    kept = [column[~np.isnan(column)] for column in numbers.T]
    return np.array([np.median(column) if len(column) else np.nan for column in kept], dtype=np.float64)


def _layout(category_counts: tuple[int, ...]) -> tuple[NDArray[np.int64], int]:
    """Where each category's codes (unknown, missing, known ...) begin, and how many codes there are."""
    import numpy as np

    sizes = np.array(category_counts, dtype=np.int64) + 2
    return np.cumsum(sizes) - sizes, int(sizes.sum())


def _one_hot(codes: NDArray[Any], starts: NDArray[Any], width: int) -> NDArray[np.float64]:
    import numpy as np

    design = np.zeros((len(codes), width))
    for index, start in enumerate(starts):
        design[np.arange(len(codes)), codes[:, index].astype(int) + start] = 1.0
    return design
