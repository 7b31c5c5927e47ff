"""The classification report of the challenger, on held-out rows, at its own threshold."""

from __future__ import annotations

import pandas as pd

from monitoring import inert
from monitoring.pages import rendering


def page(model: str, challenger: str, scored: pd.DataFrame, threshold: float, rows: int, *, seed: int) -> str:
    """HTML page.

    Args:
        scored: one row a held-out row: `label` (0, 1) and `score`.
        rows: how many of them are sampled at most.
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
        f"{len(sample):,} of {len(scored):,} held-out rows, {int(sample['label'].sum()):,} of them positive; selected from "
        f"a score of {threshold:.4f} on. Figures of all rows, with intervals, are in the model card; these are of the sample."
    )
    title = f"{inert.text(model)}: the challenger {inert.text(challenger)} on held-out rows"
    definition = DataDefinition(numerical_columns=["score"], classification=[task])
    return rendering.render(title, text, [quality], sample, definition)
