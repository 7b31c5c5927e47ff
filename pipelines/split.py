"""Stage split: which rows are learnt from, and which judge.

A customer's side is a salted hash of its id: the same at every retraining, so that no later model is judged on
customers that an earlier one has seen. Training also leaves out the newest snapshots, for everybody.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import TYPE_CHECKING

from pipelines import features, params, stage
from pipelines.errors import EvergreenError

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa
    from numpy.typing import NDArray


def is_test(entities: pa.ChunkedArray | pa.Array, salt: str, test_share: float) -> NDArray[np.bool_]:
    """Whether each entity is held out, shape (rows,): a hash of salt and id falls in the lowest `test_share`.

    The id's text is hashed, so 7 and '7' are one customer.
    """
    import numpy as np
    import pyarrow as pa

    encoded = entities.cast("string").dictionary_encode()
    encoded = encoded.combine_chunks() if isinstance(encoded, pa.ChunkedArray) else encoded
    limit = int(test_share * 2**64)
    sides = np.array([_position(salt, entity) < limit for entity in encoded.dictionary.to_pylist()], dtype=bool)
    return sides[encoded.indices.to_numpy()]


def _position(salt: str, entity: str) -> int:
    """Place of an entity on a circle of 2**64 points."""
    return int.from_bytes(hashlib.blake2b(f"{salt}\0{entity}".encode(), digest_size=8).digest(), "big")


def newest(rows: pa.Table, time: str | None, snapshots: int) -> NDArray[np.bool_]:
    """Whether each row belongs to the newest snapshots, shape (rows,); no row does without a clock."""
    import numpy as np
    import pyarrow.compute as pc

    if time is None or snapshots == 0:
        return np.zeros(rows.num_rows, dtype=bool)
    dates = pc.unique(rows[time]).sort(order="descending")
    if len(dates) <= snapshots:
        raise EvergreenError(
            f"split.newest_snapshots is {snapshots}, and the rows hold {len(dates)} snapshots: none would be left to learn "
            "from. Lower it, or lengthen data.history_days."
        )
    return pc.greater_equal(rows[time], dates[snapshots - 1]).to_numpy(zero_copy_only=False)


def split(rows: pa.Table, data: params.DataParams, sides: params.SplitParams) -> tuple[pa.Table, pa.Table]:
    """Training rows and held-out rows.

    Held-out rows carry `held_out_in_time`: whether training has seen no row of that snapshot, from anybody.

    Raises:
        EvergreenError: one side has labels of one class only.
    """
    import pyarrow as pa

    test = is_test(rows[data.entity], sides.salt, sides.test_share)
    late = newest(rows, data.time, sides.newest_snapshots)
    train_rows = rows.filter(pa.array(~test & ~late))
    test_rows = rows.filter(pa.array(test)).append_column("held_out_in_time", pa.array(late[test]))
    for name, side in (("training", train_rows), ("held-out", test_rows)):
        if len(side[data.target].unique()) < 2:
            raise EvergreenError(
                f"The {name} side has {side.num_rows} rows and labels of one class only: nothing can be learnt or judged. "
                "Pin more history (data.history_days), or change split.test_share."
            )
    return train_rows, test_rows


def main(*, rows: Path, verdict: Path, train: Path, test: Path, schema: Path) -> None:
    """Split validated rows; `verdict` is here because rows without a green one are not to be split."""
    import pyarrow.parquet as pq

    config = params.read()
    if not verdict.exists() or not json.loads(verdict.read_text(encoding="utf-8"))["success"]:
        raise EvergreenError(f"{verdict} says no, or nothing: only rows that passed validation are split. Run `dvc repro`.")
    with stage.phase("read"):
        table = pq.read_table(rows)
    train_rows, test_rows = split(table, config.data, config.split)
    learnt = features.learn_schema(train_rows, config.data, config.features)
    train.parent.mkdir(parents=True, exist_ok=True)
    with stage.phase("write"):
        pq.write_table(train_rows, train, compression="zstd")
        pq.write_table(test_rows, test, compression="zstd")
        stage.write_json(schema, learnt)
    stage.say(f"{train_rows.num_rows:,} rows to learn from, {test_rows.num_rows:,} held out.")


if __name__ == "__main__":
    stage.run(main)
