"""Two bundles on the same rows: what the gate needs before it can judge, and the judgement."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipelines import latency, scoring
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
        split = self._manifest["split"]
        return split["salt"], split["test_share"]

    @property
    def snapshot(self) -> str:
        """Which rows of the source it knows: all that judge it are of these."""
        return snapshot_of(**{key: self._manifest["data"][key] for key in ("as_of", "fingerprint")})

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

    @property
    def _manifest(self) -> dict[str, Any]:
        return json.loads((self.folder / "manifest.json").read_text(encoding="utf-8"))


def snapshot_of(as_of: str, fingerprint: str) -> str:
    """The name by which uses of a pin's held-out rows are counted.

    By the source's rows and not by the split: another salt would draw other customers, and luck with salts is luck as well.
    """
    return f"{as_of} {fingerprint}"


def judge(
    challenger: Bundle,
    champion: Bundle | None,
    held_out: pa.Table,
    evaluation: Mapping[str, Any],
    params: Params,
    *,
    use: int = 1,
) -> Verdict:
    """Judge a challenger against the champion, or against the absolute floors where there is none.

    Args:
        held_out: the challenger's held-out rows, with entity, target and every column of the query.
        evaluation: the content of evaluation.json.
        use: how many decisions the snapshot's held-out rows have served, this one included.

    Raises:
        EvergreenError: a bundle is not what was published.
    """
    verdict = _judge(challenger, champion, held_out, evaluation, params, use)
    if "rows" not in verdict.evidence:
        return verdict
    judged_by = params.evaluate.model_dump(exclude={"metric"}) | params.promotion.model_dump(exclude={"mode", "review_hours"})
    return replace(verdict, snapshot=challenger.snapshot, rules=judged_by)


def _judge(
    challenger: Bundle, champion: Bundle | None, held_out: pa.Table, evaluation: Mapping[str, Any], params: Params, use: int
) -> Verdict:
    challenging = scoring.load(challenger.folder, challenger.digests)
    if champion is None:
        verdict = first_verdict(evaluation, challenger.harm, challenging.score(held_out), params.promotion)
        return replace(verdict, evidence={**verdict.evidence, "use": use})
    reigning = scoring.load(champion.folder, champion.digests)
    if challenger.scored_by == champion.scored_by:
        return identical_verdict(challenger.scored_by[0])
    if changed := changed_columns(reigning.schema, held_out):
        return incomparable_verdict(changed)
    from pipelines.capacity import Dates
    from pipelines.gains import Scored

    rows = unseen(held_out, params.data.entity, challenger.split, champion.split)
    judged_share = evaluation.get("judged_share", 1.0) * rows.num_rows / max(held_out.num_rows, 1)
    dates = Dates.of(rows, params.data, judged_share) if params.evaluate.capacity else None
    new, old = (
        Scored(model.score(rows), bundle.threshold, dates)
        for model, bundle in ((challenging, challenger), (reigning, champion))
    )
    return challenger_verdict(
        rows[params.data.target].cast("int64").to_numpy(),
        new,
        old,
        rows[params.data.entity].to_numpy(),
        evaluate=params.evaluate,
        promotion=params.promotion,
        groups={APART: challenger.harm, AGAINST_CHAMPION: harm_against_champion(rows, new.selected, old.selected, params)},
        latencies=latency.measure(challenging, reigning, rows) if rows.num_rows else (),
        use=use,
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
