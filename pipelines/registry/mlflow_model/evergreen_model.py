"""Scores frames of the training query's columns by the ONNX graph beside `schema.json`, as batch scoring and the API do.

MLflow loads this file out of the model's own folder, wherever it is: it needs onnxruntime, numpy and pandas, and nothing of
Evergreen.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pandas as pd

CHUNK_ROWS = 50_000


def _load_pyfunc(path: str) -> "Scorer":
    return Scorer(Path(path))


class Scorer:
    """`predict` gives one column, `probability`, of the positive class, under the frame's own index."""

    def __init__(self, folder: Path) -> None:
        schema = json.loads((folder / "schema.json").read_text(encoding="utf-8"))
        self.numbers, self.texts, self.rules = list(schema["numbers"]), list(schema["categories"]), schema.get("texts")
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1  # more would add up in another order
        self.session = onnxruntime.InferenceSession(folder / "model.onnx", options, providers=["CPUExecutionProvider"])

    def predict(self, data: Any) -> pd.DataFrame:
        frame = pd.DataFrame(data)
        if missing := [name for name in [*self.numbers, *self.texts] if name not in frame.columns]:
            raise ValueError(f"The rows lack what the model reads: {', '.join(missing)}.")
        parts = [self._scores(frame.iloc[start : start + CHUNK_ROWS]) for start in range(0, len(frame), CHUNK_ROWS)]
        scores = np.concatenate(parts) if parts else np.empty(0)
        return pd.DataFrame({"probability": scores.astype(np.float64)}, index=frame.index)

    def _scores(self, rows: pd.DataFrame) -> np.ndarray:
        feeds: dict[str, np.ndarray] = {}
        if self.numbers:
            columns = [rows[name].to_numpy(dtype=np.float64, na_value=np.nan) for name in self.numbers]
            with np.errstate(over="ignore"):
                feeds["numbers"] = np.column_stack(columns).astype(np.float32)
            feeds["numbers"][~np.isfinite(feeds["numbers"])] = np.nan
        if self.texts:
            texts = [["" if missing else self._read(str(value), name)
                      for value, missing in zip(rows[name], rows[name].isna(), strict=True)]
                     for name in self.texts]  # fmt: skip
            feeds["categories"] = np.array(texts, dtype=object).T.reshape(len(rows), len(self.texts))
        return self.session.run(["probability"], feeds)[0].reshape(-1)

    def _read(self, text: str, name: str) -> str:
        """As the dataset's SQL reads it: `pipelines.features.read_text`, of which this file may know nothing."""
        if not self.rules or not text:
            return text
        text = text.strip(" ") if self.rules["trim"] else text
        text = "".join(map(_small, text)) if self.rules["lower"] else text
        return "" if text in self.rules["missing"].get(name, ()) else text


def _small(letter: str) -> str:
    """As Postgres' lower() has it: a letter stays one letter, wherever it stands."""
    small = letter.lower()
    return small if len(small) == 1 else letter
