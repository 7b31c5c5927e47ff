"""Does the challenger treat some groups worse? Its error rates by protected attribute, on the held-out rows.

Thin on purpose: it measures and says where there is too little evidence, and gives no verdict.
Rates by group as in Hardt, Price & Srebro 2016 (equality of opportunity); intervals resample customers, not rows.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from monitoring import report as reports
from pipelines import params as parameters
from pipelines import stage
from pipelines.errors import EvergreenError
from pipelines.metrics import resample_counts
from pipelines.params import AuditParams, DataParams, EvaluateParams

Floats = NDArray[np.float64]
RATES = ["base_rate", "selection_rate", "tpr", "fpr", "precision"]
MOST_GROUPS = 50  # of one attribute: more is a measurement, to be put into bands, and no group
INSUFFICIENT, SUFFICIENT = "insufficient evidence", "sufficient"


def main(*, scores: Path, evaluation: Path, audit: Path, report: Path) -> None:
    """Measure the challenger at its threshold; write the figures, and the page that people read."""
    params = parameters.read()
    verdict = json.loads(evaluation.read_text("utf-8"))
    challenger = verdict["challenger"]
    threshold = float(verdict["candidates"][challenger]["threshold"])
    rows = read_rows(scores, challenger, params.data)
    findings = measure(rows, threshold, params.data.protected, params.audit, params.evaluate)
    findings |= {"model": params.model, "challenger": challenger}
    stage.write_json(audit, findings)
    shown = rows.drop(columns="entity").sample(min(len(rows), params.audit.report_rows), random_state=params.evaluate.seed)
    stage.write_text(report, reports.audit_page(findings, shown))
    for attribute, groups in findings["attributes"].items():
        few = sum(group["evidence"] == INSUFFICIENT for group in groups)
        stage.say(f"{attribute}: {len(groups)} groups, {few} of them with insufficient evidence.")


def read_rows(scores: Path, challenger: str, data: DataParams) -> pd.DataFrame:
    """One row a held-out row: entity (code), label (0, 1), score, and each protected attribute as text without NULLs.

    Raises:
        EvergreenError: no rows, or an attribute of more than 50 values.
    """
    score = f"score_{challenger}"
    table = pq.read_table(scores, columns=[data.entity, data.target, *data.protected, score])
    if not table.num_rows:
        raise EvergreenError(f"{scores} has no rows: nothing was held out. See split.test_share and split.newest_snapshots.")
    frame = pd.DataFrame(
        {
            "entity": pd.factorize(table[data.entity].to_pandas())[0],
            "label": table[data.target].to_numpy().astype(np.int64),
            "score": table[score].to_numpy(),
        }
    )
    return frame.assign(**{f"group_{name}": _groups(name, table[name]) for name in data.protected})


def measure(
    rows: pd.DataFrame, threshold: float, protected: list[str], params: AuditParams, bootstrap: EvaluateParams
) -> dict[str, Any]:
    """Counts and rates of all rows and of each group, each rate with its difference and ratio to all rows.

    Args:
        rows: as `read_rows` returns them.
        threshold: a row is selected when its score is at least this.
    """
    members = [("", "", np.ones(len(rows), dtype=bool))]
    for name in protected:
        column = rows[f"group_{name}"].to_numpy()
        members += [(name, group, column == group) for group in sorted(set(column))]
    totals = customer_totals(rows, threshold, [mask for _, _, mask in members])
    drawn = np.concatenate(
        [
            np.tensordot(counts, totals, axes=1)
            for counts in resample_counts(np.arange(len(totals)), bootstrap.bootstrap, bootstrap.seed)
        ]
    )
    point, spread = group_rates(totals.sum(axis=0)[None]), group_rates(drawn)
    found = []
    for index, (_, _, mask) in enumerate(members):
        counts = {"rows": int(mask.sum()), "positives": int(rows["label"][mask].sum())}
        rates = _figures(point, spread, index, bootstrap.confidence)
        found.append(counts | {"entities": int(rows["entity"][mask].nunique()), "rates": rates})
    attributes: dict[str, list[dict[str, Any]]] = {name: [] for name in protected}
    for (name, group, _), figures in zip(members[1:], found[1:], strict=True):
        attributes[name].append({"group": group, "evidence": _evidence(figures, params), **figures})
    settings = {"threshold": threshold, "confidence": bootstrap.confidence, "resamples": bootstrap.bootstrap}
    return settings | params.model_dump(exclude={"report_rows"}) | {"whole": found[0], "attributes": attributes}


def customer_totals(rows: pd.DataFrame, threshold: float, masks: list[NDArray[np.bool_]]) -> Floats:
    """Counts of rows, positives, selected and selected positives: shape (customers, groups, 4)."""
    customer, positive = rows["entity"].to_numpy(), rows["label"].to_numpy() == 1
    selected = rows["score"].to_numpy() >= threshold
    cells = [np.ones(len(rows), dtype=bool), positive, selected, positive & selected]
    size = int(customer.max()) + 1
    sums = [[np.bincount(customer, weights=mask & cell, minlength=size) for cell in cells] for mask in masks]
    return np.moveaxis(np.array(sums), 2, 0)


def group_rates(counts: Floats) -> Floats:
    """Rates in the order of RATES from counts (n, groups, 4): shape (n, groups, 5); a rate of nothing is NaN."""
    rows, positives, selected, hits = np.moveaxis(counts, -1, 0)
    with np.errstate(invalid="ignore", divide="ignore"):
        rates = [positives / rows, selected / rows, hits / positives, (selected - hits) / (rows - positives), hits / selected]
    return np.stack(rates, axis=-1)


def _evidence(figures: dict[str, Any], params: AuditParams) -> str:
    enough = figures["rows"] >= params.min_rows and figures["positives"] >= params.min_positives
    return SUFFICIENT if enough else INSUFFICIENT


def _figures(point: Floats, spread: Floats, index: int, confidence: float) -> dict[str, dict[str, Any]]:
    """Each rate of group `index`, and its difference and ratio to group 0, which is all rows."""
    with np.errstate(invalid="ignore", divide="ignore"):
        versions = {
            "value": (point[:, index], spread[:, index]),
            "difference": (point[:, index] - point[:, 0], spread[:, index] - spread[:, 0]),
            "ratio": (point[:, index] / point[:, 0], spread[:, index] / spread[:, 0]),
        }
    return {
        rate: {
            version: _interval(float(at[0, column]), around[:, column], confidence)
            for version, (at, around) in versions.items()
        }
        for column, rate in enumerate(RATES)
    }


def _interval(point: float, drawn: Floats, confidence: float) -> dict[str, float] | None:
    """Percentile bootstrap interval; None where the rate is of nothing."""
    usable = drawn[np.isfinite(drawn)]
    if not np.isfinite(point) or not len(usable):
        return None
    low, high = np.quantile(usable, [(1 - confidence) / 2, (1 + confidence) / 2])
    return {"point": round(point, 9), "low": round(float(low), 9), "high": round(float(high), 9)}


def _groups(name: str, column: pa.ChunkedArray) -> NDArray[np.object_]:
    text = column.cast(pa.string())
    values = text.unique().drop_null().to_pylist()
    if len(values) > MOST_GROUPS:
        raise EvergreenError(
            f"{name} has {len(values)} values, at most {MOST_GROUPS} can be audited: band it in training_set.sql."
        )
    missing = "missing" if "missing" not in values else "missing (NULL)"
    return np.array(pc.fill_null(text, missing).to_pylist(), dtype=object)


if __name__ == "__main__":
    stage.run(main)
