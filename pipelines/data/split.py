"""Which fold each entity belongs to, and what a model sees.

A fold is a salted hash of the entity's id, the same at every retraining. Every candidate is fitted once for each fold,
without its entities; so each row of each version has a score by a model that has never seen the entity, and all rows
judge (cross-fitting, Chernozhukov et al. 2018).
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from pipelines.config import params
from pipelines.config.errors import EvergreenError

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa
    from numpy.typing import NDArray

FOLD = "fold"  # the column that split adds
ALL_SEEN = -1  # the fold of an entity that a version was trained on in each of its models


def fold_of(entities: pa.ChunkedArray | pa.Array, salt: str, folds: int) -> NDArray[np.int8]:
    """Fold of each entity, 0 to folds - 1, shape (rows,).

    The id's text is hashed, so 7 and '7' are one entity.
    """
    import numpy as np

    return ((_positions(entities, salt) >> np.uint64(32)) * np.uint64(folds) >> np.uint64(32)).astype(np.int8)


def unseen_fold(entities: pa.ChunkedArray | pa.Array, split: Mapping[str, Any]) -> NDArray[np.int8]:
    """Which of a version's models has not seen each entity, shape (rows,); ALL_SEEN where there is none.

    Args:
        split: of the bundle's manifest. Versions from before cross-fitting held out a share of the entities from their
            one model, and say `test_share`.
    """
    import numpy as np

    if "folds" in split:
        return fold_of(entities, split["salt"], split["folds"])
    held_out = _positions(entities, split["salt"]) < np.uint64(int(split["test_share"] * 2**64))
    return np.where(held_out, 0, ALL_SEEN).astype(np.int8)


def _positions(entities: pa.ChunkedArray | pa.Array, salt: str) -> NDArray[np.uint64]:
    """Place of each entity on a circle of 2**64 points, shape (rows,)."""
    import numpy as np
    import pyarrow as pa

    encoded = entities.cast("string").dictionary_encode()
    encoded = encoded.combine_chunks() if isinstance(encoded, pa.ChunkedArray) else encoded
    known = encoded.dictionary.to_pylist()
    return np.array([_position(salt, entity) for entity in known], dtype=np.uint64)[encoded.indices.to_numpy()]


def _position(salt: str, entity: str) -> int:
    return int.from_bytes(hashlib.blake2b(f"{salt}\0{entity}".encode(), digest_size=8).digest(), "big")


def newest(rows: pa.Table, data: params.DataParams, evaluate: params.EvaluateParams) -> NDArray[np.bool_]:
    """Whether each row is of the newest snapshots, shape (rows,): all rows are where there is no clock.

    As many snapshots as give evidence: `evaluate.newest_snapshots`, and older ones with them until there are
    `evaluate.newest_positives` rows of either label.
    """
    import numpy as np

    if data.time is None:
        return np.ones(rows.num_rows, dtype=bool)
    encoded = rows[data.time].combine_chunks().dictionary_encode()
    age = np.argsort(np.argsort(-encoded.dictionary.cast("timestamp[us]").cast("int64").to_numpy()))[encoded.indices.to_numpy()]
    labels = rows[data.target].to_numpy().astype(np.int64)
    counts = np.stack([np.bincount(age, weights=labels == side) for side in (0, 1)]).cumsum(axis=1)
    enough = int((counts.min(axis=0) < evaluate.newest_positives).sum())  # places before the count is reached
    return age <= max(evaluate.newest_snapshots - 1, enough)


def split(rows: pa.Table, data: params.DataParams, sides: params.SplitParams) -> pa.Table:
    """The rows with their FOLD.

    Raises:
        EvergreenError: a fold has labels of one class only.
    """
    import numpy as np
    import pyarrow as pa

    fold = fold_of(rows[data.entity], sides.salt, sides.folds)
    labels = rows[data.target].to_numpy().astype(np.int64)
    counts = np.stack([np.bincount(fold, weights=labels == side, minlength=sides.folds) for side in (0, 1)])
    if not counts.all():
        number = int(np.flatnonzero(~counts.all(axis=0))[0])
        raise EvergreenError(
            f"Fold {number + 1} of {sides.folds} has {counts[1, number]:.0f} positives among "
            f"{counts[:, number].sum():.0f} rows: nothing can be judged on labels of one class. Pin more history "
            "(data.history_days), or lower split.folds."
        )
    return rows.append_column(FOLD, pa.array(fold))
