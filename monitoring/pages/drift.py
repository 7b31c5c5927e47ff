"""The data-drift report: the newest snapshots, which training has not seen of anybody, against the training rows."""

from __future__ import annotations

import pandas as pd

from monitoring import inert
from monitoring.pages import rendering
from monitoring.pages.columns import Columns

LEFT_OUT = "Left out, since one side has no value at all: {names}. "


def page(model: str, newest: pd.DataFrame, training: pd.DataFrame, columns: Columns, rows: int, *, seed: int) -> str:
    """HTML page.

    Args:
        newest, training: inert frames, as `Columns.frame` makes them.
        rows: how many of each side are sampled at most.
    """
    from evidently import DataDefinition
    from evidently.presets import DataDriftPreset

    sizes = len(newest), len(training)
    newest, training = (trimmed(side.sample(min(len(side), rows), random_state=seed)) for side in (newest, training))
    empty = [name for name in newest.columns if newest[name].isna().all() or training[name].isna().all()]
    kept = [name for name in newest.columns if name not in empty]
    definition = DataDefinition(
        numerical_columns=[name for name in columns.numbers.values() if name in kept],
        categorical_columns=[name for name in columns.texts.values() if name in kept],
    )
    text = (
        f"Current: {len(newest):,} of {sizes[0]:,} held-out rows of the newest snapshots. Reference: {len(training):,} of "
        f"{sizes[1]:,} training rows, of other customers and earlier. "
        f"{LEFT_OUT.format(names=', '.join(empty)) if empty else ''}"
        "The outermost 0.1% of a number at either end count as the next one inwards: no single row is on this page. "
        "The thresholds are Evidently's own, and nothing is decided by them: whether a drift hurts is seen on the "
        "performance of the newest snapshots, which the model card gives."
    )
    title = f"{inert.text(model)}: the newest snapshots against training"
    metrics = [DataDriftPreset(columns=kept, include_tests=False)]
    return rendering.render(title, text, metrics, newest[kept], definition, reference=training[kept])


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
