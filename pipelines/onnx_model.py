"""The one door to onnxruntime: a bundle is loaded when its digests are right, and scores Arrow tables.

A graph has up to two inputs, `numbers` (float32, NaN is missing) and `categories` (strings, "" is missing), in
the order of the bundle's `schema.json`, and two outputs: `probability`, which is served, and `fold_probabilities`, of the
model of each fold, for rows whose entity only it has not seen. Versions from before cross-fitting have the first alone.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipelines.config.errors import EvergreenError
from pipelines.config.stage import sha256

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa
    from numpy.typing import NDArray

CHUNK_ROWS = 50_000
FOLDS = "fold_probabilities"


@dataclass(frozen=True)
class Model:
    """A graph ready to score, and the columns it reads."""

    session: Any
    schema: dict[str, Any]  # the content of schema.json: {"numbers": [...], "categories": {...}, ...}

    def score(self, rows: pa.Table) -> NDArray[np.float64]:
        """Probability of the positive class, shape (rows,); finite, whatever the rows hold."""
        import numpy as np

        return np.concatenate([self.run(feeds) for feeds in self._chunks(rows)], dtype=np.float64)

    def score_unseen(self, rows: pa.Table, fold: NDArray[np.integer]) -> NDArray[np.float64]:
        """Probability of each row by the model that has not seen its entity, shape (rows,).

        Args:
            fold: number of that model, as `pipelines.data.split.unseen_fold` gives it, (rows,).
        """
        import numpy as np

        if FOLDS not in {output.name for output in self.session.get_outputs()}:
            return self.score(rows)  # one model, which has seen none of the entities that it held out
        scores = np.concatenate([self.session.run([FOLDS], feeds)[0] for feeds in self._chunks(rows)], dtype=np.float64)
        return scores[np.arange(len(scores)), fold]

    def _chunks(self, rows: pa.Table) -> Iterator[dict[str, NDArray[Any]]]:
        """What the graph is fed, some rows at a time; once where there is none."""
        from pipelines.features import inputs

        for start in range(0, max(1, rows.num_rows), CHUNK_ROWS):
            yield inputs(rows.slice(start, CHUNK_ROWS), self.schema)

    def run(self, feeds: Mapping[str, NDArray[Any]]) -> NDArray[np.float32]:
        """Of what `pipelines.features.inputs` gives, shape (rows,); an input without a column is left out."""
        return self.session.run(["probability"], feeds)[0].reshape(-1)

    def ready(self, rows: pa.Table) -> Callable[[], Any]:
        """One run of the graph on these rows, to be called as often as one likes; what it is fed is made now."""
        from pipelines.features import inputs

        feeds = inputs(rows, self.schema)
        return lambda: self.run(feeds)


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
    graph, schema = (read(folder, name, digests) for name in ("model.onnx", "schema.json"))
    return _model(graph, json.loads(schema), threads)


def load_graph(graph: Path, schema: dict[str, Any], *, threads: int = 1) -> Model:
    """A graph and its schema, where they are not in one folder."""
    return _model(graph.read_bytes(), schema, threads)


def read(folder: Path, name: str, digests: Mapping[str, str] | None) -> bytes:
    """A file of a bundle. The bytes that were checked are those that are used, whatever happens to the file meanwhile.

    Raises:
        EvergreenError: it is missing, or not what was published.
    """
    try:
        content = (folder / name).read_bytes()
    except OSError as error:
        raise _refused(folder, [f"{name}: {error.strerror}"]) from None
    if digests is not None and hashlib.sha256(content).hexdigest() != digests.get(name):
        raise _refused(folder, [f"{name}: changed"])
    return content


def _model(graph: bytes, schema: dict[str, Any], threads: int) -> Model:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    return Model(onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"]), schema)


def verify(folder: Path, digests: Mapping[str, str]) -> None:
    """Refuse a folder that is not exactly the files of `digests`."""
    if folder.is_symlink():
        raise _refused(folder, ["the folder: is a link"])
    files = {path.relative_to(folder).as_posix(): path for path in folder.rglob("*") if path.is_symlink() or not path.is_dir()}
    wrong = [f"{name}: missing" for name in sorted(digests.keys() - files.keys())]
    wrong += [f"{name}: not in the manifest" for name in sorted(files.keys() - digests.keys())]
    for name in sorted(digests.keys() & files.keys()):
        if files[name].is_symlink():
            wrong.append(f"{name}: is a link")
        elif not files[name].is_file():
            wrong.append(f"{name}: is no file")
        elif sha256(files[name]) != digests[name]:
            wrong.append(f"{name}: changed")
    if wrong:
        raise _refused(folder, wrong)


def _refused(folder: Path, wrong: list[str]) -> EvergreenError:
    return EvergreenError(f"The bundle in {folder} is not what was published: {'; '.join(wrong)}. Nothing was loaded.")
