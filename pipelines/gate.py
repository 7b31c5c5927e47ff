"""Two bundles on the same rows: what the gate needs before it can judge, and the judgement."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipelines import scoring
from pipelines.group_checks import AGAINST_CHAMPION, APART
from pipelines.promotion import challenger_verdict, first_verdict, identical_verdict, incomparable_verdict

if TYPE_CHECKING:
    import pyarrow as pa
    from numpy.typing import NDArray

    from pipelines.params import Params
    from pipelines.resampling import Weights
    from pipelines.verdict import Verdict


@dataclass(frozen=True)
class Bundle:
    """A folder with a version's files. Digests are the ledger's; None for files that DVC still holds."""

    folder: Path
    digests: Mapping[str, str] | None = None

    @property
    def split(self) -> tuple[str, float]:
        """Salt and share by which its customers were held out."""
        split = json.loads((self.folder / "manifest.json").read_text(encoding="utf-8"))["split"]
        return split["salt"], split["test_share"]

    @property
    def threshold(self) -> float:
        """The score from which it decides for positive."""
        return float(json.loads((self.folder / "decision.json").read_text(encoding="utf-8"))["threshold"])

    @property
    def harm(self) -> dict[str, Any]:
        """What its audit came to, as `harm.summarise` returns it."""
        return json.loads((self.folder / "audit.json").read_text(encoding="utf-8"))["verdict"]

    @property
    def scored_by(self) -> tuple[str, str]:
        """Digests of all that a score depends on: the graph, and the order of its inputs."""
        return scoring.sha256(self.folder / "model.onnx"), scoring.sha256(self.folder / "schema.json")


def judge(
    challenger: Bundle, champion: Bundle | None, held_out: pa.Table, evaluation: Mapping[str, Any], params: Params
) -> Verdict:
    """Judge a challenger against the champion, or against the absolute floors where there is none.

    Args:
        held_out: the challenger's held-out rows, with entity, target and every column of the query.
        evaluation: the content of evaluation.json.

    Raises:
        EvergreenError: a bundle is not what was published.
    """
    challenging = scoring.load(challenger.folder, challenger.digests)
    if champion is None:
        return first_verdict(evaluation, challenger.harm, challenging.score(held_out), params.promotion)
    reigning = scoring.load(champion.folder, champion.digests)
    if challenger.scored_by == champion.scored_by:
        return identical_verdict(challenger.scored_by[0])
    if changed := changed_columns(reigning.schema, held_out):
        return incomparable_verdict(changed)
    rows = unseen(held_out, params.data.entity, challenger.split, champion.split)
    scores = challenging.score(rows), reigning.score(rows)
    selected = scores[0] >= challenger.threshold, scores[1] >= champion.threshold
    return challenger_verdict(
        rows[params.data.target].cast("int64").to_numpy(),
        *scores,
        rows[params.data.entity].to_numpy(),
        evaluate=params.evaluate,
        promotion=params.promotion,
        groups={APART: challenger.harm, AGAINST_CHAMPION: harm_against_champion(rows, *selected, params)},
    )


def harm_against_champion(rows: pa.Table, challenger: NDArray, champion: NDArray, params: Params) -> dict[str, Any]:
    """Which groups fare worse under the challenger, as `harm.summarise` returns it.

    Args:
        challenger, champion: whether each selects a row, each at its own threshold, shape (rows,).
    """
    import numpy as np

    from pipelines import fairness, harm

    labels = rows[params.data.target].cast("int64").to_numpy()
    entities = rows[params.data.entity].combine_chunks().dictionary_encode().indices.to_numpy()
    columns = {name: fairness.group_values(name, rows[name]) for name in params.data.protected}
    whole, *groups = fairness.groups_of(columns, rows.num_rows)
    judged = [
        group
        for group in groups
        if all(fairness.enough(labels, entities, mask, params.audit) for mask in (group.mask, ~group.mask))
    ]
    if not judged:
        return harm.summarise([], groups, [])
    cells = np.hstack([fairness.cells(labels, np.zeros(len(labels)), selected) for selected in (challenger, champion)])

    def measured(mask: NDArray, weights: Weights) -> NDArray:
        return fairness.sums(weights, cells[mask])

    drawn = fairness.resample([whole, *judged], measured, entities, params.evaluate)
    limits = params.promotion.max_tpr_loss, params.promotion.max_fpr_gain
    measures = harm.apart_from_champion(drawn[..., : fairness.CELLS], drawn[..., fairness.CELLS :], *limits)
    return harm.summarise(harm.harms(measures, judged, params.evaluate.confidence), groups, judged)


def unseen(held_out: pa.Table, entity: str, challenger: tuple[str, float], champion: tuple[str, float]) -> pa.Table:
    """Rows of the challenger's held-out side that the champion was not trained on either."""
    import pyarrow as pa

    from pipelines.split import is_test

    return held_out if challenger == champion else held_out.filter(pa.array(is_test(held_out[entity], *champion)))


def changed_columns(schema: Mapping[str, Any], rows: pa.Table) -> list[str]:
    """What a model reads and these rows no longer hold as it knew it, each with what happened."""
    import pyarrow.types as types

    changed = []
    for name in [*schema["numbers"], *schema["categories"]]:
        was_text = name in schema["categories"]
        if name not in rows.column_names:
            changed.append(f"{name} is missing")
        elif was_text != (types.is_string(rows[name].type) or types.is_large_string(rows[name].type)):
            changed.append(f"{name} was {'text' if was_text else 'a number'} and is {rows[name].type}")
    return changed
