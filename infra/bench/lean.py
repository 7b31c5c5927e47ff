"""The limit of `evergreen bench`: the work of a retraining in one plain script, that shares no line with the pipeline.

    echo postgresql://... | python infra/lean.py params.yaml OUT

Same rows, split, folds, candidates, threads and resamples; no stages, no cache, no pages, nothing to reproduce or serve.
"""

import hashlib
import json
import re
import sys
from pathlib import Path

import adbc_driver_postgresql.dbapi as postgres
import joblib
import lightgbm
import numpy as np
import pandas as pd
from ruamel.yaml import YAML
from sklearn.compose import make_column_transformer
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import StratifiedGroupKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, OrdinalEncoder, StandardScaler

params, out, yaml = Path(sys.argv[1]), Path(sys.argv[2]), YAML(typ="safe")
config = yaml.load(params)
data, train, judging, seed = config["data"], config["train"], config["evaluate"], config["train"]["seed"]
entity, time, target, queries = data["entity"], data["time"], data["target"], params.parent / "sql" / data["dataset"]

# read
sql = re.sub(r"--[^\n]*", "", (queries / "training_set.sql").read_text())
for name in ("as_of", "history_days", "horizon_days", "embargo_days"):
    sql = re.sub(rf":{name}\b", f"'{data[name]}'", sql)
with postgres.connect(sys.stdin.read().strip()) as connection, connection.cursor() as cursor:
    cursor.execute(f"select * from ({sql.strip().rstrip(';')}) as rows order by {entity}, {time}")
    rows = cursor.fetch_arrow_table().to_pandas()

# check
assert len(rows) and not rows.duplicated([entity, time]).any() and rows[target].isin([0, 1]).all()
for check in yaml.load(queries / "expectations.yaml")["expectations"]:
    kind, given, column = check["type"], check["kwargs"], rows[check["kwargs"]["column"]]
    if kind.endswith("_in_set"):
        passing = column.isna() | column.isin(given["value_set"])
    elif kind.endswith("_not_be_null"):
        passing = column.notna()
    else:
        value = pd.Series([column.mean()]) if "_mean_" in kind else column.dropna()
        passing = value.between(given["min_value"], given["max_value"])
    assert passing.mean() >= given.get("mostly", 1) or check["severity"] == "warning", check

# split
salt, limit = config["split"]["salt"], config["split"]["test_share"] * 2**64
sides = {e: hashlib.blake2b(f"{salt}\0{e}".encode(), digest_size=8).digest() for e in rows[entity].unique()}
held_out = rows[entity].map({e: int.from_bytes(side, "big") < limit for e, side in sides.items()})
late = rows[time].isin(np.sort(rows[time].unique())[-config["split"]["newest_snapshots"] :])
learnt, judged = rows[~held_out & ~late], rows[held_out]
features = rows.columns.difference([entity, time, target, *config["features"]["exclude"]])
numbers = list(rows[features].select_dtypes("number"))
texts = [name for name in features if name not in numbers]


def fit_linear(x, y, _groups):
    scaled = make_pipeline(SimpleImputer(strategy="median", add_indicator=True), StandardScaler())
    design = make_column_transformer((scaled, numbers), (OneHotEncoder(handle_unknown="ignore"), texts), sparse_threshold=0)
    section = config["candidates"]["linear"]
    model = make_pipeline(design, LogisticRegression(C=section["C"], max_iter=section["max_iter"])).fit(x, y)
    return model, model.decision_function


def fit_lightgbm(x, y, groups):
    options = {"objective": "binary", "seed": seed, "num_threads": train["threads"], "deterministic": True, "verbosity": -1}
    section = config["candidates"]["lightgbm"] | options | {"force_row_wise": True}
    section.pop("search", None)
    most, patience = section.pop("max_rounds"), section.pop("early_stopping_rounds")
    codes = OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1).fit(x[texts])
    matrix = lambda z: np.hstack([z[numbers].to_numpy(np.float32), codes.transform(z[texts]).astype(np.float32)])  # noqa: E731
    all_rows, customers = matrix(x), groups.unique()
    aside = groups.isin(np.random.default_rng(seed).choice(customers, int(0.15 * len(customers)), replace=False)).to_numpy()
    stopping = lightgbm.Dataset(all_rows[aside], y[aside])
    rounds = lightgbm.early_stopping(patience, verbose=False)
    first = lightgbm.train(section, lightgbm.Dataset(all_rows[~aside], y[~aside]), most, [stopping], callbacks=[rounds])
    model = lightgbm.train(section, lightgbm.Dataset(all_rows, y), first.best_iteration)
    return (codes, model), lambda z: model.predict(matrix(z), raw_score=True)


def figures(y, score, chosen, customer):
    order = np.argsort(score)
    y, score, chosen, customer = y[order], score[order], chosen[order], customer[order]
    loss = -np.log(np.where(y == 1, score, 1 - score))
    bins = np.eye(10)[np.arange(len(y)) * 10 // len(y)] * (score - y)[:, None]
    for draw in draws:
        w = draw[customer].astype(float)
        found, lost = np.cumsum((w * y)[::-1]), np.cumsum((w * (1 - y))[::-1])
        hit = w[chosen] @ y[chosen]
        yield {
            "roc_auc": np.sum((w * (1 - y))[::-1] * found) / found[-1] / lost[-1],
            "pr_auc": np.sum((w * y)[::-1] * found / np.maximum(found + lost, 1)) / found[-1],
            "log_loss": w @ loss / w.sum(), "brier": w @ (score - y) ** 2 / w.sum(),
            "calibration_error": np.abs(w @ bins).sum() / w.sum(), "accuracy": w @ (chosen == y) / w.sum(),
            "precision": hit / w[chosen].sum(), "recall": hit / found[-1], "f1": 2 * hit / (w[chosen].sum() + found[-1]),
        }  # fmt: skip


out.mkdir(parents=True, exist_ok=True)
y, groups, truth = learnt[target].to_numpy(), learnt[entity], judged[target].to_numpy()
customers, customer = np.unique(judged[entity], return_inverse=True)
resamples, scores = np.random.default_rng(judging["seed"]), {}
draws = resamples.multinomial(len(customers), np.full(len(customers), 1 / len(customers)), judging["bootstrap"])
for name, fit in {"linear": fit_linear, "lightgbm": fit_lightgbm}.items():
    margins = np.empty(len(y))
    for some, rest in StratifiedGroupKFold(train["folds"], shuffle=True, random_state=seed).split(learnt, y, groups):
        margins[rest] = fit(learnt.iloc[some], y[some], groups.iloc[some])[1](learnt.iloc[rest])
    calibration = LogisticRegression(C=np.inf).fit(margins[:, None], y)
    model, margin = fit(learnt, y, groups)
    scores[name] = calibration.predict_proba(margin(judged)[:, None])[:, 1]
    threshold = judging["cost_false_positive"] / (judging["cost_false_positive"] + judging["cost_false_negative"])
    drawn = pd.DataFrame(figures(truth, scores[name], scores[name] >= threshold, customer))
    found = drawn.quantile([0.025, 0.975]).to_dict() | {"out of fold": roc_auc_score(y, margins)}
    (out / f"{name}.json").write_text(json.dumps(found))
    joblib.dump((model, calibration), out / f"{name}.joblib")
judged.assign(**scores).to_parquet(out / "scores.parquet")
print({name: round(roc_auc_score(truth, score), 4) for name, score in scores.items()})
