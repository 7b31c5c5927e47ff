"""The limit of `python -m bench`: the work of a retraining in one plain script, that shares no line with the pipeline.

    echo postgresql://... | python infra/lean.py params.yaml OUT

Same rows, folds, candidates, early stopping, months that are judged, threads and resamples; one half-life (none), no stages,
no cache, no pages, nothing to reproduce or serve.
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

# divide: a fold for each customer, the newest snapshots, and months that are judged by what was mature before them
salt, folds = config["split"]["salt"], config["split"]["folds"]
digests = {e: hashlib.blake2b(f"{salt}\0{e}".encode(), digest_size=8).digest() for e in rows[entity].unique()}
fold = rows[entity].map({e: (int.from_bytes(d, "big") >> 32) * folds >> 32 for e, d in digests.items()}).to_numpy()
days = pd.to_datetime(rows[time]).to_numpy().astype("datetime64[D]").astype(int)
truth = rows[target].to_numpy()
seen = rows.groupby(days)[target].agg(["sum", "count"])[::-1].cumsum()
enough = (np.minimum(seen["sum"], seen["count"] - seen["sum"]) < judging["newest_positives"]).sum()
late = days >= seen.index[min(max(judging["newest_snapshots"] - 1, enough), len(seen) - 1)]
known = np.unique(days)
length = -(-len(known) // 12)
blocks = [known[max(0, end - length) : end] for end in range(len(known), 0, -length)][::-1][-judging["origins"] :]
wait = data["horizon_days"] + data["embargo_days"]
by_fold = [(fold != number, fold == number) for number in range(folds)]
ahead = [(days + wait <= block[0], np.isin(days, block)) for block in blocks]
features = rows.columns.difference([entity, time, target, *config["features"]["exclude"]])
numbers = list(rows[features].select_dtypes("number"))
texts = [name for name in features if name not in numbers]


def fit_linear(x, y, _watched, _labels):
    scaled = make_pipeline(SimpleImputer(strategy="median", add_indicator=True), StandardScaler())
    design = make_column_transformer((scaled, numbers), (OneHotEncoder(handle_unknown="ignore"), texts), sparse_threshold=0)
    section = config["candidates"]["linear"]
    model = make_pipeline(design, LogisticRegression(C=section["C"], max_iter=section["max_iter"])).fit(x, y)
    return model, 0, lambda z, _: model.decision_function(z)


def fit_lightgbm(x, y, watched, labels):
    options = {"objective": "binary", "seed": seed, "num_threads": train["threads"], "deterministic": True, "verbosity": -1}
    section = config["candidates"]["lightgbm"] | options | {"force_row_wise": True}
    section.pop("search", None)
    most, patience = section.pop("max_rounds"), section.pop("early_stopping_rounds")
    codes = OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1).fit(x[texts])
    matrix = lambda z: np.hstack([z[numbers].to_numpy(np.float32), codes.transform(z[texts]).astype(np.float32)])  # noqa: E731
    stopping, held = lightgbm.early_stopping(patience, verbose=False), lightgbm.Dataset(matrix(watched), labels)
    model = lightgbm.train(section, lightgbm.Dataset(matrix(x), y), most, [held], callbacks=[stopping])
    return (codes, model), model.best_iteration, lambda z, most: model.predict(matrix(z), raw_score=True, num_iteration=most)


def unseen_margins(fit, parts):
    """Models, and the margins of each part's judged rows by as many rounds as were best in the other parts."""
    fitted = [fit(rows[some], truth[some], rows[rest], truth[rest]) for some, rest in parts]
    best = [own for _, own, _ in fitted]
    rounds = [round((sum(best) - own) / (len(best) - 1)) if len(best) > 1 else own for own in best]
    found = [margin(rows[rest], most) for (_, _, margin), (_, rest), most in zip(fitted, parts, rounds, strict=True)]
    return [(model, most) for (model, *_), most in zip(fitted, rounds, strict=True)], found


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
customers, customer = np.unique(rows[entity], return_inverse=True)
resamples, scores = np.random.default_rng(judging["seed"]), {}
draws = resamples.multinomial(len(customers), np.full(len(customers), 1 / len(customers)), judging["bootstrap"])
threshold = judging["cost_false_positive"] / (judging["cost_false_positive"] + judging["cost_false_negative"])
for name, fit in {"linear": fit_linear, "lightgbm": fit_lightgbm}.items():
    models, found = unseen_margins(fit, by_fold)
    margins, score = np.empty(len(rows)), np.empty(len(rows))
    for (_, rest), own in zip(by_fold, found, strict=True):
        margins[rest] = own
    calibrate = lambda some, m: LogisticRegression(C=np.inf).fit(m[some, None], truth[some])  # noqa: E731
    for some, rest in by_fold:
        score[rest] = calibrate(some, margins).predict_proba(margins[rest, None])[:, 1]
    judged = {"metrics": [(np.ones(len(rows), bool), score)], "newest": [(late, score[late])], "backtest": []}
    for (some, rest), own in zip(ahead, unseen_margins(fit, ahead)[1], strict=True):
        judged["backtest"].append((rest, calibrate(some, margins).predict_proba(own[:, None])[:, 1]))
    measured = {"rows": {part: sum(len(s) for _, s in sides) for part, sides in judged.items()}}
    for part, sides in judged.items():
        drawn = [pd.DataFrame(figures(truth[kept], s, s >= threshold, customer[kept])) for kept, s in sides]
        measured[part] = (sum(drawn) / len(drawn)).quantile([0.025, 0.975]).to_dict()
    (out / f"{name}.json").write_text(json.dumps(measured))
    joblib.dump((models, calibrate(slice(None), margins)), out / f"{name}.joblib")  # the mean of these is what is served
    scores[name] = score
rows.assign(fold=fold, **scores).to_parquet(out / "scores.parquet")
print({name: round(roc_auc_score(truth[late], score[late]), 4) for name, score in scores.items()})
