"""Entities set aside from a fit to say when it should stop: never the ones that it learns from."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

SHARE = 0.15  # of entities: enough for a steady loss, and few enough to miss


def validation_rows(entities: NDArray[np.int64], seed: int) -> NDArray[np.bool_]:
    """Whether each row is set aside, (rows,): all rows of `SHARE` of the entities, of one at least."""
    import numpy as np

    distinct = np.unique(entities)
    chosen = np.random.default_rng(seed).choice(distinct, size=max(1, int(SHARE * len(distinct))), replace=False)
    return np.isin(entities, chosen)
