"""The data-drift report: some rows against the rows that a version was trained on."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any

import pandas as pd

from monitoring.reports import rendering
from monitoring.reports.columns import Columns

LEFT_OUT = "Left out, since one side has no value at all: {names}. "
NOTHING_LEFT = "No column has values on both sides, so there is nothing to compare. "
COLUMNS = "Columns, by tests of Evidently's own"
TRIMMED = (
    "The outermost 0.1% of a number at either end count as the next one inwards: no single row is on this page. "
    "The thresholds are Evidently's own, and nothing is decided by them: "
)


@dataclass(frozen=True)
class Side:
    """One of the two that are compared.

    frame: inert, as `Columns.frame` makes it. total: how many rows there are, of which `frame` may be a sample already.
    what: the rows in words, after their number: "training rows, of other customers and earlier".
    """

    frame: pd.DataFrame
    total: int
    what: str


def page(
    title: str, current: Side, reference: Side, columns: Columns, rows: int, *, decided_by: str, seed: int, **frame: Any
) -> str:
    """HTML page.

    Args:
        rows: how many of each side are sampled at most.
        decided_by: end of the sentence that says what decides, since the thresholds on the page do not.
        frame: `trail` and `verdict` of rendering.render.
    """
    from evidently import DataDefinition

    current_rows, reference_rows = (
        trimmed(side.frame.sample(min(len(side.frame), rows), random_state=seed)) for side in (current, reference)
    )
    empty = [name for name in columns.shown if current_rows[name].isna().all() or reference_rows[name].isna().all()]
    kept = [name for name in columns.shown if name not in empty]
    definition = DataDefinition(
        numerical_columns=[name for name in columns.numbers.values() if name in kept],
        categorical_columns=[name for name in columns.texts.values() if name in kept],
    )
    statement = [
        f"Current: {len(current_rows):,} of {current.total:,} {current.what}. "
        f"Reference: {len(reference_rows):,} of {reference.total:,} {reference.what}.",
        f"{LEFT_OUT.format(names=', '.join(empty)) if empty else ''}{'' if kept else NOTHING_LEFT}{TRIMMED}{decided_by}",
    ]
    metrics = [_columns()(columns=kept, include_tests=False)] if kept else []
    return rendering.render(title, statement, metrics, current_rows[kept], definition, reference=reference_rows[kept], **frame)


@cache
def _columns() -> type:
    """Evidently's drift preset without its verdict on the whole, which could stand against ours; made once."""
    from evidently.presets import DataDriftPreset

    class ColumnDrift(DataDriftPreset):
        def render(self, context: Any, child_widgets: Any = None) -> list[Any]:
            (table,) = (widget for widget in super().render(context, child_widgets) if widget.type == "big_table")
            table.title = COLUMNS
            return [table]

    return ColumnDrift


def run_preset(reference: pd.DataFrame, current: pd.DataFrame) -> None:
    """Evidently's drift preset with its defaults and nothing rendered: what ours is timed against."""
    from evidently import DataDefinition, Dataset, Report
    from evidently.presets import DataDriftPreset

    numbers = list(reference.select_dtypes("number"))
    texts = [name for name in reference if name not in numbers]
    definition = DataDefinition(numerical_columns=numbers, categorical_columns=texts)
    Report([DataDriftPreset()]).run(*(Dataset.from_pandas(rows, data_definition=definition) for rows in (current, reference)))


def trimmed(rows: pd.DataFrame) -> pd.DataFrame:
    """Numbers within their own 0.1% and 99.9% points: the ends of a histogram are values of single rows otherwise."""
    ends = {name: rows[name].quantile([0.001, 0.999]) for name in rows.select_dtypes("number")}
    return rows.assign(**{name: rows[name].clip(*points) for name, points in ends.items()})
