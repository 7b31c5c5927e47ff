"""The classification report of a version on rows whose labels are known, at its own threshold."""

from __future__ import annotations

from typing import Any

import pandas as pd

from monitoring.reports import rendering


def page(
    title: str,
    scored: pd.DataFrame,
    threshold: float,
    rows: int,
    *,
    what: str,
    see_also: str,
    total: int | None = None,
    seed: int,
    **frame: Any,
) -> str:
    """HTML page.

    Args:
        scored: one row a row that is judged: `label` (0, 1) and `score`.
        rows: how many of them are sampled at most.
        what: the rows in words, after their number: "rows, out of fold".
        elsewhere: where the figures of all rows are.
        total: how many rows there are, where `scored` is a sample already.
        frame: `trail` and `verdict` of rendering.render.
    """
    from evidently import BinaryClassification, DataDefinition
    from evidently.presets import ClassificationQuality

    sample = scored.sample(min(len(scored), rows), random_state=seed).round({"score": 4})
    task = BinaryClassification(target="label", prediction_probas="score", pos_label=1)
    # with labels and probabilities both, Evidently ignores the labels and cuts at 0.5: so the threshold is given
    quality = ClassificationQuality(
        probas_threshold=threshold, conf_matrix=True, pr_curve=True, pr_table=True, include_tests=False
    )
    text = (
        f"{len(sample):,} of {total or len(scored):,} {what}, {int(sample['label'].sum()):,} of them positive; selected from a "
        f"score of {threshold:.4f} on. Figures of all rows, with intervals, are {see_also}; these are of the sample."
    )
    definition = DataDefinition(numerical_columns=["score"], classification=[task])
    return rendering.render(title, [text], [quality], sample, definition, **frame)
