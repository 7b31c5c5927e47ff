"""Shapley values of any model, sampled: for the candidates that have no formula of their own.

One order of the features leads from a background row to the row that is explained, feature by feature; what the
margin gains at each step is that feature's part. Its mean over orders and background rows is the Shapley value
(Strumbelj & Kononenko 2014, algorithm 2). Each order is also walked backwards, which makes pairwise interactions
exact (Mitchell et al. 2022, section 4.1).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from pipelines.training.candidates import Rows

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


def sampled(
    margin: Callable[[Rows], NDArray[np.float64]], rows: Rows, background: Rows, *, permutations: int, seed: int
) -> NDArray[np.float64]:
    """Shapley values in the unit of `margin`, (rows, features), numbers first, then categories.

    Args:
        margin: log odds of a `Rows`, (rows,).
        background: what an absent feature is drawn from: each order starts at one of these rows.
        permutations: orders a row, the backward ones included; an odd number is rounded up.
    """
    import numpy as np

    random = np.random.default_rng(seed)
    target, absent = rows.matrix(), background.matrix()
    values = np.zeros(target.shape)
    pairs = (permutations + 1) // 2
    for _ in range(pairs):
        start = absent[random.integers(len(absent), size=len(target))]
        order = random.permuted(np.tile(np.arange(target.shape[1]), (len(target), 1)), axis=1)
        for walked in (order, order[:, ::-1]):
            path = _path(start, target, walked)
            margins = margin(_as_rows(path.reshape(-1, target.shape[1]), rows)).reshape(path.shape[:2])
            values[np.arange(len(target)), walked.T] += np.diff(margins, axis=0)
    return values / (2 * pairs)


def _path(start: NDArray[Any], target: NDArray[Any], order: NDArray[Any]) -> NDArray[Any]:
    """(features + 1, rows, features): from `start` to `target`, one feature more at each step, in each row's `order`."""
    import numpy as np

    turn = np.argsort(order, axis=1)  # the step at which each feature changes
    steps = np.arange(order.shape[1] + 1)
    return np.where(turn < steps[:, None, None], target, start)


def _as_rows(matrix: NDArray[Any], like: Rows) -> Rows:
    """A matrix as the rows of a candidate; labels and entities, which no margin reads, are zeros."""
    import numpy as np

    numbers, codes = np.split(matrix, [like.numbers.shape[1]], axis=1)
    nothing = np.zeros(len(matrix), np.int64)  # neither labels nor entities nor weights matter to a margin
    return Rows(numbers, codes, nothing.astype(np.int8), nothing, nothing.astype(np.float32), like.category_counts)
