"""Two bundles on the same rows: what the gate needs before it can judge, and the judgement."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipelines import onnx_model
from pipelines.config import stage
from pipelines.data import row_weights
from pipelines.evaluation import latency
from pipelines.promotion.comparison import challenger_verdict, first_verdict, identical_verdict, incomparable_verdict
from pipelines.promotion.group_checks import AGAINST_CHAMPION, APART

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa
    from numpy.typing import NDArray

    from pipelines.config.params import Params
    from pipelines.promotion.verdict import Verdict
    from pipelines.statistics.resampling import Weights


@dataclass(frozen=True)
class Bundle:
    """A folder with a version's files. Digests are the ledger's; None for files that DVC still holds."""

    folder: Path
    digests: Mapping[str, str] | None = None

    @property
    def split(self) -> dict[str, Any]:
        """What `split.unseen_fold` asks: by which of its models an entity is to be judged."""
        return self._manifest["split"]

    @property
    def present_since(self) -> str | None:
        """The day before which rows counted little in its training; None where all counted alike."""
        return self._manifest.get("present_since")

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
        return stage.sha256(self.folder / "model.onnx"), stage.sha256(self.folder / "schema.json")

    @property
    def _manifest(self) -> dict[str, Any]:
        return json.loads((self.folder / "manifest.json").read_text(encoding="utf-8"))


def snapshot_of(as_of: str, fingerprint: str) -> str:
    """The name by which uses of a pin's rows are counted.

    By the source's rows and not by the split: another salt would make other folds, and luck with salts is luck as well.
    """
    return f"{as_of} {fingerprint}"


def judge(
    challenger: Bundle,
    champion: Bundle | None,
    rows: pa.Table,
    evaluation: Mapping[str, Any],
    params: Params,
    *,
    reuse: int = 1,
) -> Verdict:
    """Judge a challenger against the champion, or against the absolute floors where there is none.

    Args:
        rows: those that the challenger was made from, with entity, target and every column of the query. Each version judges
            each row by a model that has not seen its entity.
        evaluation: the content of evaluation.json.
        reuse: how many decisions these rows have served, this one included.

    Raises:
        EvergreenError: a bundle is not what was published.
    """
    verdict = _judge(challenger, champion, rows, evaluation, params, reuse)
    if "rows" not in verdict.evidence:
        return verdict
    judged_by = params.evaluate.model_dump(exclude={"metric"}) | params.promotion.model_dump(exclude={"mode", "review_hours"})
    return replace(verdict, snapshot=challenger.snapshot, rules=judged_by)


def _judge(
    challenger: Bundle, champion: Bundle | None, rows: pa.Table, evaluation: Mapping[str, Any], params: Params, reuse: int
) -> Verdict:
    challenging = onnx_model.load(challenger.folder, challenger.digests)
    if champion is None:
        verdict = first_verdict(evaluation, challenger.harm, challenging.score(rows), params.promotion)
        return replace(verdict, evidence={**verdict.evidence, "reuse": reuse})
    current = onnx_model.load(champion.folder, champion.digests)
    if challenger.scored_by == champion.scored_by:
        return identical_verdict(challenger.scored_by[0])
    if changed := changed_columns(current.schema, rows):
        return incomparable_verdict(changed)
    import pyarrow as pa

    from pipelines.evaluation.capacity import Dates
    from pipelines.promotion import gains

    judged, now, over_all = sides(rows, challenger, champion, params)
    part = judged.num_rows / max(rows.num_rows, 1)
    dates = Dates.of(judged, params.data, part) if params.evaluate.capacity else None
    pair = gains.Pair(
        judged[params.data.target].cast("int64").to_numpy(),
        gains.Scored(_unseen_scores(challenging, challenger, judged, params), challenger.threshold, dates),
        gains.Scored(_unseen_scores(current, champion, judged, params), champion.threshold, dates),
        judged[params.data.entity].to_numpy(),
    )
    everywhere, compared = pair.take(over_all), judged.filter(pa.array(over_all))
    harm = harm_against_champion(compared, everywhere.challenger.selected, everywhere.champion.selected, params)
    return challenger_verdict(
        pair.take(now),
        None if now.all() else everywhere,
        evaluate=params.evaluate,
        promotion=params.promotion,
        groups={APART: challenger.harm, AGAINST_CHAMPION: harm},
        latencies=latency.measure(challenging, current, judged) if judged.num_rows else (),
        reuse=reuse,
        judgeable=0 if over_all.all() else judged.num_rows,
    )


def sides(
    rows: pa.Table, challenger: Bundle, champion: Bundle, params: Params
) -> tuple[pa.Table, NDArray[np.bool_], NDArray[np.bool_]]:
    """The rows that both versions can judge; which of them are of the newest snapshots; and which are drawn from all.

    Older rows are drawn by what they counted in the challenger's training: where the world has changed, and stage recency has
    shown it, how well the old one is known decides nothing.
    """
    import pyarrow as pa

    from pipelines.data import split

    late = split.newest(rows, params.data, params.evaluate)
    weights = row_weights.weights(row_weights.days_of(rows, params.data), challenger.present_since)
    drawn = row_weights.thinned(weights, params.evaluate.seed)
    judgeable = split.unseen_fold(rows[params.data.entity], champion.split) != split.ALL_SEEN
    judgeable &= split.unseen_fold(rows[params.data.entity], challenger.split) != split.ALL_SEEN
    return rows.filter(pa.array(judgeable)), late[judgeable], drawn[judgeable]


def _unseen_scores(model: onnx_model.Model, bundle: Bundle, rows: pa.Table, params: Params) -> NDArray[np.float64]:
    from pipelines.data import split

    return model.score_unseen(rows, split.unseen_fold(rows[params.data.entity], bundle.split))


def harm_against_champion(rows: pa.Table, challenger: NDArray[Any], champion: NDArray[Any], params: Params) -> dict[str, Any]:
    """Which groups fare worse under the challenger, as `harm.summarise` returns it.

    Args:
        challenger, champion: whether each selects a row, each at its own threshold, shape (rows,).
    """
    import numpy as np

    from pipelines.promotion import harm
    from pipelines.statistics import fairness

    labels = rows[params.data.target].cast("int64").to_numpy()
    entities = rows[params.data.entity].combine_chunks().dictionary_encode().indices.to_numpy()
    columns = {name: fairness.group_values(name, rows[name]) for name in params.data.protected}
    everybody, *groups = fairness.groups_of(columns, rows.num_rows)
    judged = [
        group
        for group in groups
        if all(fairness.enough(labels, entities, mask, params.audit) for mask in (group.mask, ~group.mask))
    ]
    if not judged:
        return harm.summarise([], groups, [])
    cells = np.hstack([fairness.cells(labels, np.zeros(len(labels)), selected) for selected in (challenger, champion)])

    def measured(mask: NDArray[Any], weights: Weights) -> NDArray[Any]:
        return fairness.sums(weights, cells[mask])

    drawn = fairness.resample([everybody, *judged], measured, entities, params.evaluate)
    limits = params.promotion.max_tpr_loss, params.promotion.max_fpr_gain
    measures = harm.apart_from_champion(drawn[..., : fairness.CELLS], drawn[..., fairness.CELLS :], *limits)
    return harm.summarise(harm.harms(measures, judged, params.evaluate.confidence), groups, judged)


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
