"""The one door to onnxruntime: a bundle is loaded when its digests are right, and scores Arrow tables.

A graph has up to two inputs, `numbers` (float32, NaN is missing) and `categories` (strings, "" is missing), in
the order of the bundle's `schema.json`, and one output, `probability`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipelines.errors import EvergreenError
from pipelines.stage import sha256

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa
    from numpy.typing import NDArray

CHUNK_ROWS = 50_000


@dataclass(frozen=True)
class Model:
    """A graph ready to score, and the columns it reads."""

    session: Any
    schema: dict[str, Any]  # the content of schema.json: {"numbers": [...], "categories": {...}, ...}

    def score(self, rows: pa.Table) -> NDArray[np.float64]:
        """Probability of the positive class, shape (rows,); finite, whatever the rows hold."""
        import numpy as np

        from pipelines.features import inputs

        scores = np.empty(rows.num_rows)
        for start in range(0, rows.num_rows, CHUNK_ROWS):
            chunk = rows.slice(start, CHUNK_ROWS)
            feeds = inputs(chunk, self.schema)
            scores[start : start + chunk.num_rows] = self.session.run(["probability"], feeds)[0].reshape(-1)
        return scores


def load(folder: Path, digests: Mapping[str, str] | None = None, *, threads: int = 1) -> Model:
    """The model in a bundle's folder.

    Args:
        digests: SHA-256 of every file of the bundle, as the ledger holds them; None inside the DAG, where
            DVC's hashes hold the files.

    Raises:
        EvergreenError: a file is changed, missing, added or a link; it is named, and nothing is loaded.
    """
    if digests is not None:
        verify(folder, digests)
    return load_graph(folder / "model.onnx", json.loads((folder / "schema.json").read_text()), threads=threads)


def load_graph(graph: Path, schema: dict[str, Any], *, threads: int = 1) -> Model:
    """A graph and its schema, where they are not in one folder."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    return Model(onnxruntime.InferenceSession(graph.read_bytes(), options, providers=["CPUExecutionProvider"]), schema)


def verify(folder: Path, digests: Mapping[str, str]) -> None:
    """Refuse a folder that is not exactly the files of `digests`."""
    found = {path.relative_to(folder).as_posix(): path for path in folder.rglob("*") if path.is_symlink() or path.is_file()}
    wrong = [f"{name}: missing" for name in sorted(digests.keys() - found.keys())]
    wrong += [f"{name}: not in the manifest" for name in sorted(found.keys() - digests.keys())]
    for name in sorted(digests.keys() & found.keys()):
        if found[name].is_symlink():
            wrong.append(f"{name}: is a link")
        elif sha256(found[name]) != digests[name]:
            wrong.append(f"{name}: changed")
    if wrong:
        raise EvergreenError(f"The bundle in {folder} is not what was published: {'; '.join(wrong)}. Nothing was loaded.")
