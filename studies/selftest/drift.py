"""The watching, shown quiet months, months that moved, a feed that broke and outcomes that changed.

The months are of the world of world.py, judged by the very functions that the flow monitor calls (studies/replay.py).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from monitoring.histograms import Histograms
from pipelines.config.params import Params
from studies import replay
from studies.selftest import Asked, Claim, world

CUSTOMERS, SHIFTED = 3_000, 20  # a month; the first month that moved
MOST_ALARMS = 1  # of a dozen quiet months
COLUMN = "usage"


def claims(asked: Asked) -> Iterator[Claim]:
    """Quiet months pass; drift is an alarm, a broken feed a block, and changed outcomes a retraining."""
    watched = Watched.of(asked.params)
    baseline = watched.months_said(lambda rows: rows)
    alarms = [one.month for one in baseline if one.alarm or one.decision.action in ("quarantine", "retrain")]
    message = f"of {len(baseline)} quiet months at most {MOST_ALARMS} is an alarm"
    yield Claim(message, len(alarms) <= MOST_ALARMS, f"{len(alarms)} were")
    moved = watched.months_said(lambda rows: _times(rows, 1.0, plus=1.0))
    found = next((one for one in moved if one.alarm and one.month >= SHIFTED), None)
    seen = f"month {found.month}: {', '.join(one.kind for one in found.found)}" if found else "no alarm"
    yield Claim(f"{COLUMN} a deviation higher from month {SHIFTED} on is an alarm", found is not None, seen)
    broken = [one for one in watched.months_said(lambda rows: _times(rows, 1000.0)) if one.month >= SHIFTED]
    yield Claim(f"{COLUMN} in another unit blocks", broken[0].decision.action == "quarantine", broken[0].decision.action)
    lost = replay.mature_loss(watched.version, _dealt_out(watched.months[SHIFTED]))
    kept = replay.mature_loss(watched.version, watched.months[SHIFTED])
    message = "outcomes that have nothing to do with the scores any more are a loss"
    holds = "loss" in {one.kind for one in lost} and "loss" not in {one.kind for one in kept}
    yield Claim(message, holds, "; ".join(one.message for one in lost) or "none seen")


@dataclass(frozen=True)
class Watched:
    """A version, trained on the first months of a quiet world, and the months."""

    version: replay.Version
    months: list[pa.Table]
    blocks: list[Histograms]

    @classmethod
    def of(cls, params: Params) -> Watched:
        settings = world.settings(params)
        monitor = settings.monitor.model_copy(
            update={
                "per_unit_columns": {},
                "non_stationary_columns": [],
                "min_baseline_windows": min(settings.monitor.min_baseline_windows, 10),
            }
        )
        data = settings.data.model_copy(update={"target": "churned"})
        features = settings.features.model_copy(update={"exclude": ["gender"]})
        settings = settings.model_copy(update={"monitor": monitor, "data": data, "features": features})
        months = [_month(number) for number in range(1, replay.LAST + 1)]
        version = replay.train(pa.concat_tables(months), settings)
        return cls(version, months, [version.count(rows) for rows in months])

    def months_said(self, change: Callable[[pa.Table], pa.Table]) -> list[replay.Window]:
        """What is said of the months, those from SHIFTED on changed."""
        before = self.blocks[: SHIFTED - 1]
        after = [self.version.count(change(rows)) for rows in self.months[SHIFTED - 1 :]]
        return replay.watch(self.version, self.months, [*before, *after], effects=False)


def _month(number: int) -> pa.Table:
    """Other customers every month: nobody is in two."""
    rows = world.rows(10_000 + number, CUSTOMERS).rename_columns({"left": "churned"})
    entity = pc.add(rows["customer"], number * CUSTOMERS)
    rows = rows.set_column(rows.column_names.index("customer"), "customer", entity)
    return rows.append_column("month", pa.array(np.full(rows.num_rows, number)))


def _times(rows: pa.Table, factor: float, plus: float = 0.0) -> pa.Table:
    values = pc.add(pc.multiply(rows[COLUMN], factor), plus)
    return rows.set_column(rows.column_names.index(COLUMN), COLUMN, values)


def _dealt_out(rows: pa.Table) -> pa.Table:
    """Outcomes dealt out anew among the customers."""
    labels = np.random.default_rng(1).permutation(rows["churned"].to_numpy())
    return rows.set_column(rows.column_names.index("churned"), "churned", pa.array(labels))
