"""Stage report: everything that people read about the challenger and its data, in one folder with an index.

One stage renders all pages, since importing Evidently takes 8 s. Nothing depends on them: they hold times and random ids.
"""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd
import pyarrow.compute as pc
import pyarrow.parquet as pq

from monitoring.reports import bias, classification, data, drift, render, site
from monitoring.reports.columns import Columns
from pipelines import sanitize
from pipelines.config import params as parameters
from pipelines.config import stage
from pipelines.statistics import fairness

if TYPE_CHECKING:
    import pyarrow as pa

    from pipelines.config.params import Params

NO_TIME = "Drift: the table has no dates (data.time), so nothing can be said about time."
NO_NEWEST = "Drift: there is one snapshot only (evaluate.newest_snapshots), so there is nothing to compare it with."


def main(*, training: Path, schema: Path, scores: Path, evaluation: Path, audit: Path, pages: Path) -> None:
    """Render the bias, classification, drift and data pages, and the index of them."""
    os.environ["DO_NOT_TRACK"] = "1"  # Evidently sends nothing about its use
    params = parameters.read()
    evaluated, findings = (json.loads(path.read_text("utf-8")) for path in (evaluation, audit))
    with stage.phase("read"):
        trained_on, judged = pq.read_table(training), pq.read_table(scores)
    groups = {name: [group["group"] for group in listed] for name, listed in findings["attributes"].items()}
    columns = Columns.of(json.loads(schema.read_text("utf-8")), groups)
    made = {"bias.html": bias_page(findings, judged, params)}
    made["classification.html"] = classification_page(evaluated, judged, params)
    newest, before = trained_on.filter(judged["newest"]), trained_on.filter(pc.invert(judged["newest"]))
    if before.num_rows:
        made["drift.html"] = drift_page(newest, before, columns, params)
    made["data.html"] = data_page(trained_on, columns, params)
    missing = "" if before.num_rows else NO_NEWEST if params.data.time else NO_TIME
    made["index.html"] = index(made, missing, params.model, evaluated["challenger"], findings["verdict"])
    write(pages, made)
    stage.say(", ".join(f"{name} {len(text) / 1e6:.1f} MB" for name, text in made.items()))


def bias_page(findings: dict[str, Any], scores: pa.Table, params: Params) -> str:
    """The bias report, with a sample of scores by group."""
    shown = pd.DataFrame({"score": scores[f"score_{findings['challenger']}"].to_numpy()})
    shown = shown.assign(**{f"group_{name}": fairness.group_values(name, scores[name]) for name in params.data.protected})
    size = min(len(shown), params.audit.report_rows)
    sample = shown.sample(size, random_state=params.evaluate.seed)
    title = f"{sanitize.text(params.model)}: bias audit of the challenger {sanitize.text(findings['challenger'])}"
    return bias.page(title, findings, sample, what="rows, out of fold")


def classification_page(evaluation: dict[str, Any], scores: pa.Table, params: Params) -> str:
    """The classification report of the challenger."""
    name = evaluation["challenger"]
    labels = scores[params.data.target].cast("int64").to_numpy()
    scored = pd.DataFrame({"label": labels, "score": scores[f"score_{name}"].to_numpy()})
    threshold = float(evaluation["candidates"][name]["threshold"])
    title = f"{sanitize.text(params.model)}: the challenger {sanitize.text(name)}, out of fold"
    return classification.page(
        title,
        scored,
        threshold,
        params.audit.report_rows,
        what="rows, out of fold",
        see_also="in the model card",
        seed=params.evaluate.seed,
    )


def drift_page(newest: pa.Table, before: pa.Table, columns: Columns, params: Params) -> str:
    """The drift report of the newest snapshots against those before."""
    return drift.page(
        f"{sanitize.text(params.model)}: the newest snapshots against those before",
        drift.Side(columns.frame(newest), newest.num_rows, "rows of the newest snapshots"),
        drift.Side(columns.frame(before), before.num_rows, "training rows of earlier snapshots"),
        columns,
        params.audit.report_rows,
        decided_by="whether a drift hurts is seen on the performance of the newest snapshots, which the model card gives.",
        seed=params.evaluate.seed,
    )


def data_page(trained_on: pa.Table, columns: Columns, params: Params) -> str:
    """What the training rows look like."""
    labels = trained_on[params.data.target].cast("int64").to_numpy()
    entities = trained_on[params.data.entity].combine_chunks().dictionary_encode().indices.to_numpy()
    return data.page(params.model, columns.frame(trained_on), columns, labels, entities, params.evaluate.confidence)


def index(made: dict[str, str], missing: str, model: str, challenger: str, verdict: dict[str, Any]) -> str:
    """The page that links the others, with a sentence each."""
    title = f"{sanitize.text(model)}: reports on the challenger {sanitize.text(challenger)}"
    disparities = "; ".join(
        f"{sanitize.text(name)}: {bias.WORDS.get(word, word)}" for name, word in verdict["attributes"].items()
    )
    trail = [("Evergreen", ""), ("reports", "")]
    return render("reports.html", title=title, trail=trail, pages=site.list_pages(made), disparity=disparities, missing=missing)


def write(folder: Path, made: dict[str, str]) -> None:
    """The pages of this run and no others."""
    shutil.rmtree(folder, ignore_errors=True)
    for name, text in made.items():
        stage.write_text(folder / name, text)


if __name__ == "__main__":
    stage.run(main)
