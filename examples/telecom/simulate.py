"""The company's history as tables, a chunk of customers at a time.

A customer is the same whatever the number of customers and of months asked for: chunks have a fixed size, each chunk
and month has a generator of its own, and rows that the company does not know yet are cut off at the end.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from examples.telecom import dirt, records
from examples.telecom.company import Options, month_end
from examples.telecom.hazard import churn_probability
from examples.telecom.life import Diary, ask_support, change_subscriptions, forget_inactive, pay, use
from examples.telecom.people import join, where

CHUNK = 5_000  # customers; part of what a seed means, so changing it changes the data
LIFE, RECORDS, DIRT = range(3)  # one stream of random numbers for each, so that they do not disturb each other

Tables = dict[str, pa.Table]


def simulate(options: Options) -> Iterator[Tables]:
    """Chunks of the tables of sql/demo/, by name; `churn_probability` is the oracle's."""
    for chunk in range(-(-options.customers // CHUNK)):
        yield _known(simulate_chunk(chunk, options), options)


def simulate_chunk(chunk: int, options: Options) -> Tables:
    """All rows of one chunk of customers, those of the months after the last one included."""
    people, now = join(_generator(options, chunk, 0, LIFE), chunk * CHUNK + 1 + np.arange(CHUNK), options)
    diary, gone = Diary.empty(CHUNK), np.zeros(CHUNK, dtype=bool)
    months = []
    for month in range(1, options.months + 1):
        rng = _generator(options, chunk, month, LIFE)
        active = (people.joined <= month) & ~gone
        arrives = active & (np.maximum(people.joined, 1) == month)
        after, changed = change_subscriptions(rng, month, now, options.shifted("covariate_shift", month))
        changed &= active & ~arrives
        now = where(changed, after, now)
        neglect = options.shifted("unfair_group", month) & people.ill_treated
        use(rng, month, people, diary)
        ask_support(rng, month, now, diary, neglect)
        pay(rng, month, now, diary)
        forget_inactive(diary, month, active)

        probability = churn_probability(
            month, people, now, diary.lately(month), options.shifted("concept_shift", month), neglect
        )
        leaves = active & (rng.random(CHUNK) < probability)
        moment = records.Moment(month, people, now, diary, active, arrives, changed, leaves, neglect, probability)
        rows = records.write(_generator(options, chunk, month, RECORDS), moment, options)
        months.append(dirt.add(_generator(options, chunk, month, DIRT), rows))
        gone |= leaves
    return {name: pa.concat_tables([rows[name] for rows in months]) for name in months[0]}


def _generator(options: Options, chunk: int, month: int, stream: int) -> np.random.Generator:
    return np.random.default_rng(np.random.SeedSequence(options.seed, spawn_key=(chunk, month, stream)))


def _known(tables: Tables, options: Options) -> Tables:
    """The rows of the customers asked for that the company knows when the last month ends."""
    end = pa.scalar(month_end(options.months).item(), pa.date32())

    def known(table: pa.Table) -> pa.Table:
        date = table["recorded_at" if "recorded_at" in table.column_names else "snapshot_date"]
        asked = pc.less_equal(table["customer_id"], options.customers)
        return table.filter(pc.and_(asked, pc.less_equal(date, end)))

    return {name: known(table) for name, table in tables.items()}
