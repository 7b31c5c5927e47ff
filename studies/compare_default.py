"""`python -m studies.compare_default`, after `dvc repro`: what this clone's candidates gain over LightGBM as it comes, on
the same rows.

The comparison is by the paired interval of the promotion gate: the same rows, out of fold, entities resampled. They are all
rows, or the newest snapshots where the candidates let older rows count less (stage recency).
"""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flows import results
from pipelines.config import params
from pipelines.config.errors import EvergreenError
from pipelines.statistics import metrics
from pipelines.statistics.metrics import Interval

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    import pyarrow as pa
    from numpy.typing import NDArray

DEFAULT = "default LightGBM"


@dataclass(frozen=True)
class Comparison:
    """Each candidate's figure out of fold, and its paired gain over default LightGBM."""

    model: str
    salt: str
    metric: str
    challenger: str
    counts: str  # rows, entities and positives in words
    figures: dict[str, Interval]  # with DEFAULT among them
    gains: dict[str, Interval]

    def markdown(self) -> str:
        """One line a model."""
        lines = [f"| model | {self.metric} | gain over {DEFAULT} |", "|---|---|---|"]
        for name, figure in self.figures.items():
            shown = f"**{name}**, the challenger" if name == self.challenger else name
            lines.append(f"| {shown} | {figure} | {self.gains.get(name, '')} |")
        return "\n".join(lines)


def compare(folder: Path) -> Comparison:
    """Compare what `dvc repro` left in `folder`.

    Raises:
        EvergreenError: a result is missing.
    """
    import numpy as np
    import pyarrow as pa
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    needed = (results.TRAINING, results.RECENCY, results.SCHEMA, results.SCORES, results.EVALUATION)
    if missing := [name for name in needed if not (folder / name).exists()]:
        raise EvergreenError(f"{', '.join(missing)} missing: run `dvc repro`, or `evergreen model checkout VERSION`, first.")
    training, scored = (pq.read_table(folder / name) for name in (results.TRAINING, results.SCORES))
    schema, evaluation = (json.loads((folder / name).read_text()) for name in (results.SCHEMA, results.EVALUATION))
    config = params.read(folder / "params.yaml")
    scores = {name: scored[f"score_{name}"].to_numpy() for name in evaluation["candidates"]}
    scores[DEFAULT] = default_scores(training, schema, config)
    since = json.loads((folder / results.RECENCY).read_text())["overall"]
    kept = scored["newest"].to_numpy() if since else np.ones(scored.num_rows, dtype=bool)
    scored, scores = scored.filter(pa.array(kept)), {name: values[kept] for name, values in scores.items()}
    labels = scored[config.data.target].to_numpy()
    entities = scored[config.data.entity].combine_chunks().dictionary_encode().indices.to_numpy()
    options = metrics.bootstrap(config.evaluate)
    figure, metric = metrics.RANKING[config.evaluate.metric], config.evaluate.metric
    measures = {name: lambda weights, own=own: figure(labels, own, weights) for name, own in scores.items()}
    positives, people = pc.sum(scored[config.data.target]).as_py(), len(set(entities.tolist()))
    rows = f"{len(labels):,} rows{' of the newest snapshots' if since else ''}"
    return Comparison(
        model=config.model,
        salt=config.split.salt,
        metric=metric,
        challenger=evaluation["challenger"],
        counts=f"{rows}, {people:,} entities, {positives:,} positive",
        figures=metrics.intervals(measures, entities, **options),
        gains={
            name: metrics.paired_interval(metric, labels, own, scores[DEFAULT], entities, **options)
            for name, own in scores.items()
            if name != DEFAULT
        },
    )


def default_scores(rows: pa.Table, schema: dict[str, Any], config: params.Params) -> NDArray[np.float64]:
    """Margins of `LGBMClassifier()`, (rows,), each fitted on the other folds: every default, texts as pandas categories, the
    columns that a model sees."""
    import numpy as np
    import pyarrow as pa
    from lightgbm import LGBMClassifier

    # the two switches change no result, they only make it the same each time
    model = LGBMClassifier(verbosity=-1, n_jobs=config.train.threads, deterministic=True, force_row_wise=True)
    fold, margins = rows["fold"].to_numpy(), np.empty(rows.num_rows)
    for number in np.unique(fold):
        train, judged = (rows.filter(pa.array(mask)) for mask in (fold != number, fold == number))
        known = {name: sorted(filter(None, train[name].unique().to_pylist())) for name in schema["categories"]}
        model.fit(_frame(train, schema, known), train[config.data.target].to_numpy())
        margins[fold == number] = model.predict(_frame(judged, schema, known), raw_score=True)
    return margins


def _frame(rows: pa.Table, schema: dict[str, Any], known: dict[str, list[str]]) -> pd.DataFrame:
    """What a model sees, as a person would hand it to LightGBM: a text that training did not meet is missing."""
    import pandas as pd

    columns = {name: rows[name].cast("float64", safe=False).to_numpy() for name in schema["numbers"]}
    for name, values in known.items():
        codes = pd.Index(values).get_indexer(rows[name].to_pandas())
        columns[name] = pd.Categorical.from_codes(codes, categories=values)
    return pd.DataFrame(columns)


def main() -> None:
    print(
        "LightGBM is trained with its defaults, on the rows that the candidates were trained on: a minute or more.", flush=True
    )
    try:
        comparison = compare(Path())
    except EvergreenError as error:
        sys.exit(f"ERROR: {error}")
    print(f"{comparison.model}, salt {comparison.salt}, {comparison.counts}:\n\n{comparison.markdown()}")


if __name__ == "__main__":
    main()
