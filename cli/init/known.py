"""available_at.yaml of a dataset: what `evergreen data check-sql` takes for the day on which a row became known."""

from __future__ import annotations

import json
from collections.abc import Iterator

from cli.init.plan import Plan

NOTE = """\
# What says when a row became known, for `evergreen data check-sql`. Written by `evergreen init`, yours to change: a column,
# or an SQL expression over the columns of a row; under `columns`, what is filled in later than its row, and on which day.
"""
QUERY = """\
# The query in training_set.sql reads tables of yours: name each of them, and each that you add.
#   schema.table: COLUMN                          a row of it was known on that day
#   schema.table: {timeless: WHY}                 all of it was always known
"""


def written(plan: Plan) -> str:
    """The file's text, for a table with time."""
    if not plan.relation.title:
        return NOTE + QUERY
    return NOTE + "\n".join([f"{_text(plan.relation.title)}:", *_lines(plan)]) + "\n"


def _lines(plan: Plan) -> Iterator[str]:
    day = plan.time.source if plan.time.moment else plan.time.day
    yield f"  available_at: {_text(day)}"
    if plan.horizon_days:
        yield "  columns:"
        yield f"    {_text(plan.target.source)}: {_text(f'({plan.time.day}) + {plan.horizon_days}')} # --horizon"


def _text(value: str) -> str:
    """In quotes as JSON has them, which YAML reads: names and SQL hold anything."""
    return json.dumps(value)
