"""Months of the invented company as a scoring run would have seen them: what the claims about drift are measured on.

Every month end is scored by the training query with history, horizon and embargo at zero, as of that day, so a row
is known or late exactly as it would have been. Labels are added afterwards, where they are mature.
"""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa

from examples.telecom.company import LAST_MONTH, month_end
from examples.telecom.load import load_demo
from pipelines.config.params import DataParams
from pipelines.data import postgres

QUERY = Path(__file__).parents[2] / "sql" / "churn" / "training_set.sql"
NOTHING = frozenset()


def months(url: str, data: DataParams, *, customers: int, seed: int, shifts: frozenset[str] = NOTHING) -> pa.Table:
    """One row a customer and month end at which it was scored, in that order.

    Columns are those of the training query with `month` (1 to 24) in front; the target is NULL where it was not mature
    at the end of month 24, or where the customer had left and nobody knew.

    Args:
        url: of a database whose demo data is replaced.
    """
    load_demo(url, customers=customers, seed=seed, shifts=shifts, say=lambda _: None)
    with postgres.snapshot(url) as source:
        scored = pa.concat_tables([_scored(source, data, month) for month in range(1, LAST_MONTH + 1)])
        known = _read(source, data, LAST_MONTH, 366 * 2, data.horizon_days, data.embargo_days)
    keys = [data.entity, data.time]
    outcomes = known.select([*keys, data.target])
    joined = scored.drop_columns([data.target]).join(outcomes, keys=keys, join_type="left outer")
    return joined.sort_by([("month", "ascending"), (data.entity, "ascending")])


def _scored(source: postgres.Snapshot, data: DataParams, month: int) -> pa.Table:
    rows = _read(source, data, month, 0, 0, 0)
    return rows.add_column(0, "month", pa.array([month] * rows.num_rows, pa.int32()))


def _read(source: postgres.Snapshot, data: DataParams, month: int, history: int, horizon: int, embargo: int) -> pa.Table:
    binds = {"as_of": month_end(month).item(), "history_days": history, "horizon_days": horizon, "embargo_days": embargo}
    with source.batches(postgres.bind(QUERY, binds), order_by=data.key_columns) as batches:
        return batches.read_all()
