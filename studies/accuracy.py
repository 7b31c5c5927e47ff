"""How good the served model is on real tables, against plain LightGBM: `python -m studies.accuracy --data FOLDER`.

Three public tables, each with one fixed test side: the md5 of the row number, 30%, as others were measured on it
(docs/studies/accuracy.md). What is trained sees the other rows only. The figures are of the ONNX files, on the test side.
"""

from __future__ import annotations

import argparse
import gzip
import hashlib
import json
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from pipelines import onnx_model
from studies import offline

TEST_SHARE = 30  # percent
ENTITY, TARGET = "row_number", "positive"


def telco(folder: Path) -> pd.DataFrame:
    rows = pd.read_csv(folder / "telco_churn" / "Telco-Customer-Churn.csv").drop(columns="customerID")
    charges = pd.to_numeric(rows["TotalCharges"], errors="coerce")
    return rows.assign(TotalCharges=charges, **{TARGET: rows["Churn"] == "Yes"}).drop(columns="Churn")


def adult(folder: Path) -> pd.DataFrame:
    with gzip.open(folder / "adult" / "adult.csv.gz", "rt", encoding="utf-8") as file:
        rows = pd.read_csv(file)
    rows = rows.rename(columns=lambda name: name.replace("-", "_"))
    return rows.assign(**{TARGET: rows["income"].str.contains(">50K")}).drop(columns="income")


def coil2000(folder: Path) -> pd.DataFrame:
    with gzip.open(folder / "coil2000" / "coil2000.csv.gz", "rt", encoding="utf-8") as file:
        rows = pd.read_csv(file)
    return rows.assign(**{TARGET: rows["CARAVAN"] == 1}).drop(columns=["CARAVAN", *(set(rows) & {"split"})])


TABLES: dict[str, Callable[[Path], pd.DataFrame]] = {"telco": telco, "adult": adult, "coil2000": coil2000}


def is_test(rows: int) -> np.ndarray:
    """Whether each row is of the test side, (rows,)."""
    return np.array([int(hashlib.md5(str(row).encode()).hexdigest()[:8], 16) % 100 < TEST_SHARE for row in range(rows)])


def settings(path: Path, folds: int) -> dict[str, Any]:
    """A params.yaml for a table without dates, with the candidates and values of `path`."""
    from ruamel.yaml import YAML

    values = YAML(typ="safe").load(path)
    values["data"] |= {"entity": ENTITY, "time": None, "target": TARGET, "protected": [], "personal": [], "as_of": "timeless"}
    values["features"]["exclude"] = []
    values["monitor"] |= {"per_unit_columns": {}, "non_stationary_columns": []}
    values["split"]["folds"] = folds
    values["train"] |= {"explain_rows": 10}
    return values


def measure(table: pd.DataFrame, values: dict[str, Any], folder: Path) -> dict[str, Any]:
    """ROC-AUC and log loss of every candidate and of plain LightGBM on the test side, and processor's seconds."""
    from sklearn.metrics import log_loss, roc_auc_score

    test = is_test(len(table))
    rows = table.assign(**{ENTITY: np.arange(len(table)), TARGET: table[TARGET].astype("int32")})
    learned, judged = (pa.Table.from_pandas(rows[side], preserve_index=False) for side in (~test, test))
    before = time.process_time()
    made = offline.retrain(learned, values, folder)
    seconds, truth = time.process_time() - before, judged[TARGET].to_numpy()
    schema = json.loads((folder / "data/schema.json").read_text())
    scores = {name: onnx_model.load_graph(path / "model.onnx", schema).score(judged) for name, path in made.folders.items()}
    scores["plain LightGBM"] = plain(table.drop(columns=TARGET), table[TARGET].to_numpy(), test)
    figures = {
        name: {"roc_auc": float(roc_auc_score(truth, each)), "log_loss": float(log_loss(truth, each))}
        for name, each in scores.items()
    }
    return {"figures": figures, "challenger": made.challenger, "seconds": round(seconds)}


def plain(features: pd.DataFrame, labels: np.ndarray, test: np.ndarray) -> np.ndarray:
    """Probabilities of the test side by LightGBM with 200 rounds and no tuning, (rows,)."""
    from lightgbm import LGBMClassifier

    texts = features.select_dtypes(["object", "string"]).columns
    features = features.astype(dict.fromkeys(texts, "category"))
    model = LGBMClassifier(n_estimators=200, learning_rate=0.05, n_jobs=2, verbosity=-1).fit(features[~test], labels[~test])
    return model.predict_proba(features[test])[:, 1]


def page(results: dict[str, dict[str, Any]]) -> str:
    """A table a data set, as Markdown."""
    lines = []
    for name, found in results.items():
        lines += [f"{name}: {found['seconds']} s of processor time", "", "| model | ROC-AUC | log loss |", "|---|---|---|"]
        for model, figures in sorted(found["figures"].items(), key=lambda item: -item[1]["roc_auc"]):
            shown = f"**{model}**, the challenger" if model == found["challenger"] else model
            lines.append(f"| {shown} | {figures['roc_auc']:.4f} | {figures['log_loss']:.4f} |")
        lines.append("")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder with telco_churn, adult and coil2000")
    parser.add_argument("--params", type=Path, default=Path("params.yaml"), help="whose candidates and budget are used")
    parser.add_argument("--folds", type=int, default=8)
    parser.add_argument("--tables", nargs="*", default=list(TABLES), choices=list(TABLES))
    options = parser.parse_args()
    values, results = settings(options.params, options.folds), {}
    with tempfile.TemporaryDirectory() as scratch:
        for name in options.tables:
            results[name] = measure(TABLES[name](options.data), values, Path(scratch) / name)
            print(page({name: results[name]}), flush=True)


if __name__ == "__main__":
    main()
