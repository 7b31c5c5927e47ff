"""The pages of one window, made of what was read already: no database, no folder."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pandas as pd

from monitoring.histograms import PREDICTION
from monitoring.reports import bias, classification, drift
from monitoring.reports.columns import Columns
from monitoring.reports.marks import mark
from monitoring.reports.window import Details, trail_of, verdict_of
from pipelines import sanitize

if TYPE_CHECKING:
    import pyarrow as pa


@dataclass(frozen=True)
class Rows:
    """What is shown of a window's rows, all of it already free of personal columns.

    window, training: features, protected attributes and, as PREDICTION, scores; samples of `window_rows` and `training_rows`.
        None where the drift page is not wanted.
    mature: label (0, 1), score, and group_<attribute> of each protected attribute, of the window's rows with a mature label, a
        sample of `mature_rows`; None while there are none.
    """

    window: pa.Table | None = None
    window_rows: int = 0
    training: pa.Table | None = None
    training_rows: int = 0
    mature: pd.DataFrame | None = None
    mature_rows: int = 0


def render_window(
    details: Details,
    rows: Rows,
    columns: Columns,
    *,
    audit: dict[str, Any] | None,
    threshold: float,
    report_rows: int,
    seed: int,
) -> dict[str, str]:
    """File name -> HTML of the reports: drift.html, and bias.html and classification.html as far as labels are mature.

    Args:
        columns: of the version's schema and the protected groups; the scores are added here.
        audit: monitoring.stages.audit.measure of the mature labels, or None.
        threshold: of the version. report_rows: rows behind a page at most.
    """
    os.environ["DO_NOT_TRACK"] = "1"  # Evidently sends nothing about its use
    made = {}
    if rows.window is not None and rows.training is not None:
        made["drift.html"] = drift_page(details, rows, columns, report_rows, seed)
    if rows.mature is not None and len(rows.mature):
        sample = rows.mature.sample(min(len(rows.mature), report_rows), random_state=seed)
        what = f"rows of window {sanitize.text(details.window.key)} with a mature label"
        if audit is not None:
            made["bias.html"] = bias.page(f"{_who(details)}: bias", audit, sample, what=what, **_frame(details, audit))
        if sample["label"].nunique() == 2:  # nothing can be told apart otherwise
            made["classification.html"] = classification.page(
                f"{_who(details)}: classification",
                sample[["label", "score"]],
                threshold,
                report_rows,
                what=what,
                see_also="on the page of the window",
                total=rows.mature_rows,
                seed=seed,
                **_frame(details),
            )
    return made


def drift_page(details: Details, rows: Rows, columns: Columns, report_rows: int, seed: int) -> str:
    """The window's rows and scores against what the version was trained on."""
    sides: tuple[Any, ...] = (rows.window, rows.training)
    if all(PREDICTION in side.column_names for side in sides):
        columns = columns.with_score(PREDICTION)
    version, key = details.window.version, sanitize.text(details.window.key)
    return drift.page(
        f"{_who(details)}: drift against training",
        drift.Side(columns.frame(rows.window), rows.window_rows, f"rows of window {key}, scored by version {version}"),
        drift.Side(columns.frame(rows.training), rows.training_rows, f"rows that version {version} was trained on"),
        columns,
        report_rows,
        decided_by="the verdict, and what it rests on, is on the page of the window.",
        seed=seed,
        **_frame(details),
    )


def _frame(details: Details, audit: dict[str, Any] | None = None) -> dict[str, Any]:
    """What each of them begins with: the way back, and the window's verdict, after harm that only later labels show."""
    first, (window, _) = trail_of(details)
    verdict, harmed = verdict_of(details), audit["verdict"]["harmed"] if audit else []
    known_before = any(finding.kind == "bias" and finding.window == details.window.key for finding in details.findings)
    if harmed and not known_before:
        who = ", ".join(sanitize.text(f"{harm['attribute']} {harm['group']} ({harm['measure']})") for harm in harmed)
        decided = f"Decided on {details.window.judged_on}, before these labels: {verdict['why']}"
        why = f"The labels known by now show a significant disparity: {who}."
        verdict |= {"marks": [mark("review")], "why": why, "because": [decided, *verdict["because"]]}
    return {"trail": [first, (window, "index.html")], "verdict": verdict}


def _who(details: Details) -> str:
    return f"{sanitize.text(details.model)} v{details.window.version}, window {sanitize.text(details.window.key)}"
