"""Since when the world is as it is now.

A quick LightGBM says it: it is fitted on the other folds with all rows alike, and then with more trees for the rows since some
date alone, and judged on the newest snapshots. A date is chosen only where the present is shown to begin
there (pipelines/training/fitting/tune.py), and for each fold without its rows. As long as nothing changes all rows count alike.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import date, timedelta
from typing import TYPE_CHECKING, Any

from pipelines.config import params
from pipelines.data import split
from pipelines.data.row_weights import days_of, weights
from pipelines.training import out_of_fold

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa
    from numpy.typing import NDArray

    from pipelines.training.fitting.folds import Validation

ERRORS = 1.5  # standard errors that a new present has to gain: a world that stays is the rule
PROBE = {"learning_rate": 0.1, "max_rounds": 300, "early_stopping_rounds": 30, "num_leaves": 8, "min_data_in_leaf": 40}
PROBE |= {"feature_fraction": 0.7, "lambda_l2": 5.0}


def candidates(days: NDArray[Any], snapshots: list[int]) -> list[str]:
    """The days on which the newest 1, 2 ... blocks of snapshots begin, with something before them."""
    from pipelines.training.backtest import blocks

    all_blocks = blocks(days)
    begins = [float(all_blocks[-count][0]) for count in snapshots if count < len(all_blocks)]
    return [str(date(1970, 1, 1) + timedelta(days=begin)) for begin in begins]


def choose(table: pa.Table, features: dict[str, Any], dates: list[str], config: params.Params) -> dict[str, Any]:
    """The content of recency.json: the days that were chosen, and the metric of each that was tried."""
    import numpy as np
    import pyarrow as pa

    from pipelines.training.fitting import folds, tune

    used = folds.sample_entities(out_of_fold.entity_codes(table, config.data), config.recency.rows, config.train.seed)
    sample = table.filter(pa.array(used))
    probe, options = _probe(sample, features, config), [None, *dates]
    margins = dict(enumerate(_margins(probe, [weights(days_of(sample, config.data), since) for since in dates])))
    values = [float(np.nanmean([probe.value(part, each) for part, each in enumerate(by_part)])) for by_part in margins.values()]
    tried = [{"since": since, probe.metric: round(value, 9)} for since, value in zip(options, values, strict=True)]
    by_fold = [options[tune.choose(probe, margins, number, errors=ERRORS)] for number in range(config.split.folds)]
    return {"by_fold": by_fold, "overall": options[tune.choose(probe, margins, errors=ERRORS)], "tried": tried}


def _margins(probe: Validation, weighed: list[NDArray[np.float32]]) -> Iterator[list[NDArray[np.float64]]]:
    """Margins of each part's judged rows: with all rows alike, and then by each of the weights, on top of the same trees."""
    from pipelines.training.candidates import lightgbm
    from pipelines.training.fitting.folds import Fit

    section = lightgbm.Params.model_validate(PROBE)
    judged = [probe.rows.take(part.judged) for part in probe.parts]
    bases = [
        lightgbm.fit_base(probe.rows.take(part.fitted), section, seed=probe.seed + number, threads=probe.threads)
        for number, part in enumerate(probe.parts)
    ]
    yield [lightgbm.margin(lightgbm.Model(base), rows) for base, rows in zip(bases, judged, strict=True)]
    for row_weights in weighed:
        rows, fits = replace(probe.rows, weights=row_weights), {}
        for number, (base, part) in enumerate(zip(bases, probe.parts, strict=True)):
            fitted, judged_rows = rows.take(part.fitted), rows.take(part.judged)
            updated = lightgbm.update(base, fitted, judged_rows, section, seed=probe.seed + number, threads=probe.threads)
            fits[section.model_dump_json(), number] = Fit(*updated)
        tried = replace(probe, fits=fits)
        yield [tried.margins(section, number) for number in range(len(bases))]


def _probe(table: pa.Table, features: dict[str, Any], config: params.Params) -> Validation:
    """A part for each fold, which is judged on its rows of the newest snapshots."""
    from pipelines.training.candidates import lightgbm
    from pipelines.training.fitting.folds import Part, Validation, as_rows

    fold, late = table[split.FOLD].to_numpy(), split.newest(table, config.data, config.evaluate)
    parts = [Part(fold != number, (fold == number) & late) for number in range(config.split.folds)]
    rows, train = as_rows(table, features, config.data), config.train
    return Validation(lightgbm, rows, parts, fold, config.evaluate.metric, train.seed, train.threads)
