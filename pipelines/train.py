"""Stage train: one candidate, cross-validated, calibrated out of fold, and exported as one ONNX graph.

Class imbalance is met by stratified folds, calibration and a threshold from costs. Rows are neither resampled
nor reweighted: that would distort the probabilities that the threshold needs.
"""

from __future__ import annotations

import importlib
import json
import os
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from pipelines import params, stage
from pipelines.candidates import Rows
from pipelines.errors import EvergreenError

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa
    from numpy.typing import NDArray

    from pipelines.graph import Calibration

PARITY = 1e-5  # largest difference between the graph and the fitted model, in probability, on any row


def as_rows(table: pa.Table, schema: dict[str, Any], data: params.DataParams) -> Rows:
    """A table as the arrays that candidates learn from."""
    import numpy as np

    from pipelines import features

    customers = table[data.entity].combine_chunks().dictionary_encode().indices.to_numpy()
    return Rows(
        numbers=features.numbers(table, schema),
        codes=features.codes(table, schema),
        labels=table[data.target].to_numpy().astype(np.int8),
        customers=customers.astype(np.int64),
        known=tuple(len(known) for known in schema["categories"].values()),
    )


def sample_customers(rows: Rows, most: int, seed: int) -> NDArray[np.bool_]:
    """Whether each row is used, (rows,): all rows of randomly chosen customers, about `most` rows in all."""
    import numpy as np

    if len(rows.labels) <= most:
        return np.ones(len(rows.labels), dtype=bool)
    customers = np.unique(rows.customers)
    count = int(len(customers) * most / len(rows.labels))
    return np.isin(rows.customers, np.random.default_rng(seed).choice(customers, size=count, replace=False))


def fold_of(rows: Rows, folds: int, seed: int) -> NDArray[np.int64]:
    """Fold of each row, (rows,): customers are dealt out whole, those who ever were positive evenly.

    Raises:
        EvergreenError: there are fewer such customers than folds.
    """
    import numpy as np
    from sklearn.model_selection import StratifiedKFold

    customers, row_of = np.unique(rows.customers, return_inverse=True)
    positive = np.bincount(row_of, weights=rows.labels) > 0
    if min(positive.sum(), (~positive).sum()) < folds:
        raise EvergreenError(
            f"{positive.sum()} customers are positive and {(~positive).sum()} are not: {folds} folds need {folds} of each. "
            "Pin more history, or lower train.folds."
        )
    fold = np.empty(len(customers), dtype=np.int64)
    for number, (_, chosen) in enumerate(StratifiedKFold(folds, shuffle=True, random_state=seed).split(positive, positive)):
        fold[chosen] = number
    return fold[row_of]


def out_of_fold(candidate: ModuleType, rows: Rows, section: params.Section, train: params.TrainParams) -> NDArray[np.float64]:
    """Margin of each row, (rows,), by a model that has seen nothing of the row's customer."""
    import numpy as np

    fold = fold_of(rows, train.folds, train.seed)
    margins = np.empty(len(rows.labels))
    for number in range(train.folds):
        held_out = fold == number
        model = candidate.fit(rows.take(~held_out), section, seed=train.seed, threads=train.threads)
        margins[held_out] = candidate.margin(model, rows.take(held_out))
        stage.say(f"fold {number + 1} of {train.folds}: ROC-AUC {_auc(rows.labels[held_out], margins[held_out]):.4f}")
    return margins


def platt(margins: NDArray[np.float64], labels: NDArray) -> Calibration:
    """Slope and offset by maximum likelihood on out-of-fold margins."""
    import numpy as np
    from sklearn.linear_model import LogisticRegression

    from pipelines.graph import Calibration

    fitted = LogisticRegression(C=np.inf).fit(margins[:, None], labels)
    return Calibration(float(fitted.coef_[0, 0]), float(fitted.intercept_[0]))


def check_parity(graph: Path, schema: dict[str, Any], table: pa.Table, expected: NDArray[np.float64]) -> float:
    """Largest difference between the graph's scores and the fitted model's, over every row.

    Raises:
        EvergreenError: it is above `PARITY`, or a score is not finite.
    """
    import numpy as np

    from pipelines import scoring

    difference = float(np.abs(scoring.load_graph(graph, schema).score(table) - expected).max())
    if not difference <= PARITY:
        raise EvergreenError(
            f"{graph} differs from the fitted model by {difference:.2g} on some row; at most {PARITY} is allowed."
        )
    return difference


def shap_summary(
    candidate: ModuleType, model: Any, rows: Rows, names: list[str], train: params.TrainParams
) -> dict[str, float]:
    """Mean absolute SHAP value of each feature, in log odds, over a sample of rows."""
    import numpy as np

    count = min(train.explain_rows, len(rows.labels))
    sample = np.random.default_rng(train.seed).choice(len(rows.labels), size=count, replace=False)
    strength = np.abs(candidate.explain(model, rows.take(np.sort(sample)))).mean(axis=0)
    return {name: round(float(value), 9) for name, value in zip(names, strength, strict=True)}


def _auc(labels: NDArray, scores: NDArray) -> float:
    import numpy as np

    from pipelines import metrics

    return float(metrics.roc_auc(labels, scores, np.ones((1, len(labels))))[0])


def main(*, candidate: str, train: Path, schema: Path, model: Path) -> None:
    """Train one candidate into the folder `model`: model.onnx, oof.parquet, cv.json, shap.json."""
    config = params.read()
    os.environ["OMP_NUM_THREADS"] = str(config.train.threads)
    import onnx
    import pyarrow as pa
    import pyarrow.parquet as pq

    module = importlib.import_module(f"pipelines.candidates.{candidate}")
    section, features = config.candidate(candidate), json.loads(schema.read_text())
    table = pq.read_table(train)
    rows = as_rows(table, features, config.data)
    used = sample_customers(rows, config.train.cv_rows, config.train.seed)
    margins = out_of_fold(module, rows.take(used), section, config.train)
    calibration = platt(margins, rows.labels[used])
    fitted = module.fit(rows, section, seed=config.train.seed, threads=config.train.threads)
    stage.fault("train:fitted")

    model.mkdir(parents=True, exist_ok=True)
    onnx.save(module.export(fitted, features, calibration), model / "model.onnx")
    difference = check_parity(model / "model.onnx", features, table, calibration(module.margin(fitted, rows)))
    keys = table.select([*config.data.keys, config.data.target]).filter(pa.array(used))
    pq.write_table(keys.append_column("score", pa.array(calibration(margins))), model / "oof.parquet", compression="zstd")
    names = [*features["numbers"], *features["categories"]]
    stage.write_json(model / "shap.json", shap_summary(module, fitted, rows, names, config.train))
    auc = _auc(rows.labels[used], margins)
    stage.write_json(model / "cv.json", {"roc_auc": round(auc, 9), "rows": int(used.sum())})
    stage.say(f"{candidate}: out-of-fold ROC-AUC {auc:.4f}; the graph is within {difference:.1e} of the model on every row.")


if __name__ == "__main__":
    stage.run(main)
