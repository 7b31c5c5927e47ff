"""Candidates: one module each, chosen by `candidates.enabled` in params.yaml.

A module owns `Params`, its section of params.yaml, and gives four functions:

- `fit(rows, params, *, seed, threads)` -> the fitted model, from a `Rows`;
- `margin(model, rows)` -> log odds before calibration, float64 (rows,);
- `export(model, schema, calibration)` -> the whole as one ONNX graph;
- `explain(model, rows)` -> SHAP values in log odds, float64 (rows, features), numbers first, then categories.

Heavy libraries are imported inside the functions, since every stage reads every section of params.yaml.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


@dataclass(frozen=True)
class Rows:
    """Training rows as arrays, all of the same length."""

    numbers: NDArray[np.float32]  # (rows, numbers); NaN is missing
    codes: NDArray[np.float32]  # (rows, categories); 0 unknown, 1 missing, 2.. known
    labels: NDArray[np.int8]  # (rows,)
    customers: NDArray[np.int64]  # (rows,); number of the row's customer
    known: tuple[int, ...]  # how many known values each category has

    def take(self, chosen: NDArray) -> Rows:
        """Some of the rows, by index or mask."""
        return Rows(self.numbers[chosen], self.codes[chosen], self.labels[chosen], self.customers[chosen], self.known)

    def matrix(self) -> NDArray[np.float32]:
        """Numbers and codes side by side, (rows, features)."""
        import numpy as np

        return np.hstack([self.numbers, self.codes])
