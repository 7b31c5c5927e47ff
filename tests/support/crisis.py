"""A dated table with a real crisis in it, as a bank's calls of 2008: what the watching must not take for a broken feed.

From CRISIS on an index of the economy turns negative, a rate falls from 4.9 to 0.7, calls fall to a tenth, a month has none,
and who subscribes, and why, is another matter. Nothing of it is a fault of the feed.
"""

from __future__ import annotations

import datetime as dt

import numpy as np
import pyarrow as pa

from pipelines.config.params import Params

CRISIS, EMPTY = 15, 18  # months, from 1 on
CALLS = 3000
JOBS = ["admin", "blue-collar", "management", "retired", "student", "technician"]


def settings(params: Params) -> Params:
    """The project's own rules, on the rows of this table: a call comes once."""
    names = {"dataset": "calls", "entity": "call", "time": "called_on", "target": "subscribed", "protected": [], "personal": []}
    sections = {
        "data": params.data.model_copy(update=names),
        "features": params.features.model_copy(update={"exclude": []}),
        "monitor": params.monitor.model_copy(
            update={"snapshot_policy": "every", "per_unit_columns": {}, "non_stationary_columns": []}
        ),
    }
    return params.model_copy(update=sections)


def month(number: int, seed: int, *, calls: int = CALLS, crisis: int = CRISIS, empty: int = EMPTY) -> pa.Table:
    """The calls of a month, with the column `month`. A month before `crisis` differs from others by season and chance alone."""
    random = np.random.default_rng([seed, number])
    after = number >= crisis
    size = 0 if number == empty else int((calls / 10 if after else calls) * random.uniform(0.8, 1.2))
    first = dt.date(2007 + (number - 1) // 12, (number - 1) % 12 + 1, 1)
    season = np.sin(2 * np.pi * number / 12)
    index, rate = (-1.8 - 0.1 * (number - crisis), 0.7) if after else (1.1 + 0.3 * season, 4.86 + 0.05 * season)
    age, balance = random.normal(41 + season, 10, size), random.lognormal(7, 1.2, size)
    job = random.integers(len(JOBS), size=size)
    contacts = random.poisson(0.3, size)
    if after:  # what told who subscribes tells nothing any more, and what told nothing does
        chance = -0.3 + 1.2 * ((age - 41) / 10) - 1.4 * (job == 1) + 1.4 * (job == 4)
    else:
        chance = -2.4 + 1.0 * (np.log(balance) - 7) + 0.9 * contacts + 0.1 * season
    return pa.table(
        {
            "month": pa.array(np.full(size, number), pa.int32()),
            "call": number * 100_000 + np.arange(size),
            "called_on": [first + dt.timedelta(days=int(day)) for day in random.integers(28, size=size)],
            "age": np.round(age),
            "job": pa.array([JOBS[code] for code in job], pa.string()),
            "balance": balance,
            "earlier_contacts": contacts,
            "index": index + np.round(random.normal(0, 0.05, size), 2),
            "rate": rate + np.round(random.normal(0, 0.01, size), 3),
            "subscribed": (random.random(size) < 1 / (1 + np.exp(-chance))).astype(int),
        },
        schema=SCHEMA,
    )


SCHEMA = pa.schema(
    [
        ("month", pa.int32()),
        ("call", pa.int64()),
        ("called_on", pa.date32()),
        ("age", pa.float64()),
        ("job", pa.string()),
        ("balance", pa.float64()),
        ("earlier_contacts", pa.int64()),
        ("index", pa.float64()),
        ("rate", pa.float64()),
        ("subscribed", pa.int64()),
    ]
)
