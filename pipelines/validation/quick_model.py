"""A small LightGBM that is fitted in a fraction of a second: what a model makes of these columns, before one is trained."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from pipelines import features

if TYPE_CHECKING:
    import lightgbm

ROWS = 20_000  # that it is fitted on, or judged by, at most: a column that gives the answer away shows on far fewer
ROUNDS = 60
OPTIONS = {
    "objective": "binary",
    "learning_rate": 0.15,
    "num_leaves": 15,
    "min_data_in_leaf": 20,
    "lambda_l2": 5.0,
    "seed": 1,
    "num_threads": 1,  # so few rows gain nothing by more
    "deterministic": True,
    "force_row_wise": True,  # the alternative is chosen by timing, which is not reproducible
    "verbosity": -1,
}


def matrix(rows: pa.Table, schema: dict[str, Any]) -> NDArray[np.float32]:
    """What it sees, shape (rows, columns): numbers, then the codes of categories, in the order of the schema."""
    return np.hstack([features.numbers(rows, schema), features.codes(rows, schema)])


def sample(rows: pa.Table, entity: str, most: int = ROWS) -> pa.Table:
    """About `most` of the rows, by whole entities; all of them where they are no more."""
    if rows.num_rows <= most:
        return rows
    codes = rows[entity].combine_chunks().dictionary_encode().indices.to_numpy()
    entities = int(codes.max()) + 1
    drawn = np.random.default_rng(0).random(entities) < most / rows.num_rows
    return rows.filter(pa.array(drawn[codes]))


def fit(inputs: NDArray[np.float32], labels: NDArray[Any]) -> lightgbm.Booster:
    """Fitted on `inputs` (rows, columns), with labels of 0 and 1."""
    import lightgbm

    return lightgbm.train(OPTIONS, lightgbm.Dataset(inputs, labels), ROUNDS)


def scores(model: lightgbm.Booster, inputs: NDArray[np.float32]) -> NDArray[np.float64]:
    """Probability of a label of 1, shape (rows,)."""
    return model.predict(inputs, num_threads=1)
