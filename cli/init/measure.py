"""What the training query gives, before anybody is asked to run it: keys, labels, days, and what each column tells."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import date, timedelta
from typing import Any

from cli.init import queries
from cli.init.columns import Feature
from cli.init.names import quoted
from cli.init.plan import SNAPSHOT, Plan
from cli.init.profile import SAMPLE, TOGETHER
from cli.init.source import Reader
from cli.init.target import LEAST
from pipelines.config.errors import EvergreenError
from pipelines.data.postgres import bind_text, identifier

MOST_VALUES = 60  # of a category
WHOLE, DAYS = -1, -2  # places of what is no column
BUCKETS = 50  # of a number, each with as many rows ...
LEAST_ROWS = 20  # ... and with these at least
Bucket = tuple[int, int]  # rows, positives


@dataclass(frozen=True)
class Measured:
    """A column of the training query. buckets: rows and positives of each value or stretch of a number, and of NULL."""

    name: str
    buckets: tuple[Bucket, ...]

    @property
    def auc(self) -> float:
        """ROC-AUC of a score that knows this column alone, by the share of positives in each bucket; on these very rows."""
        return auc(self.buckets)


@dataclass(frozen=True)
class TrainingSet:
    """The rows that the first run learns from and judges by. snapshots: day, rows and positives, oldest first."""

    rows: int
    positives: int
    columns: tuple[Measured, ...]
    snapshots: tuple[tuple[date, int, int], ...] = ()

    @property
    def rate(self) -> float:
        return self.positives / self.rows


def binds(plan: Plan) -> dict[str, Any]:
    """What the first pin binds."""
    if not plan.time:
        return {"as_of": None, "history_days": 1, "horizon_days": 0, "embargo_days": 0}
    windows = {"history_days": plan.time.history_days, "horizon_days": plan.horizon_days, "embargo_days": 0}
    return {"as_of": plan.time.watermark, **windows}


def measure(reader: Reader, plan: Plan, most: int = SAMPLE, progress: Callable[[str], None] = lambda _: None) -> TrainingSet:
    """Run the training query of a plan, and look at what it gives.

    Raises:
        EvergreenError: it gives too few rows of a class, or a key twice.
    """
    statement = bind_text(queries.training_set(plan), binds(plan), "training_set.sql")
    named = [feature for feature in plan.features if feature.name not in plan.personal]
    columns: list[Measured] = []
    whole: dict[str, int] = {}
    days: list[tuple[str, int, int]] = []
    for start in range(0, max(1, len(named)), TOGETHER):
        some = named[start : start + TOGETHER]
        reader.row("select setseed(0.5)")  # the same rows for all columns
        found = dict(reader.rows(_question(plan, statement, some, most, whole=not whole)))
        if not whole:
            whole, days = found[WHOLE], found[DAYS] or []
            _check(plan, **whole)
            _check_scoring(reader, plan)
        for number, one in enumerate(some):
            columns.append(Measured(one.name, tuple((rows, positives) for rows, positives in found[number] or ())))
        if len(named) > TOGETHER and (len(columns) % 100 == 0 or len(columns) == len(named)):
            progress(f"{len(columns):,} of {len(named):,} columns of the training set are measured.")
    snapshots = tuple((date.fromisoformat(day), rows, positives) for day, rows, positives in days)
    return TrainingSet(whole["rows"], whole["positives"], tuple(columns), snapshots)


def again(reader: Reader, plan: Plan, before: TrainingSet) -> TrainingSet:
    """What `measure` gives for a plan that leaves out more columns; counted anew only where rows that are alike are one."""
    if plan.entity.source is None or plan.distinct:
        return measure(reader, plan)
    names = {feature.name for feature in plan.features}
    return replace(before, columns=tuple(column for column in before.columns if column.name in names))


def auc(buckets: Sequence[Bucket]) -> float:
    """Probability that a positive is in a bucket of a higher share of positives than a negative is; a tie counts half.

    Buckets of fewer than LEAST_ROWS are one: each of them would seem to know the few rows in it.
    """
    large = [bucket for bucket in buckets if bucket[0] >= LEAST_ROWS]
    small = [bucket for bucket in buckets if bucket[0] < LEAST_ROWS]
    pooled = [*large, (sum(rows for rows, _ in small), sum(positives for _, positives in small))] if small else large
    below, concordant = 0, 0.0
    for rows, positives in sorted(pooled, key=lambda bucket: bucket[1] / bucket[0]):
        negatives = rows - positives
        concordant += positives * (below + negatives / 2)
        below += negatives
    positives = sum(bucket[1] for bucket in buckets)
    return concordant / (positives * below) if positives and below else 0.5


def _check(plan: Plan, rows: int, positives: int, keys: int) -> None:
    if keys < rows:
        advice = "give each row a key of its own"
        if not plan.time and not plan.row:
            advice = "name the column of a row's own day by --time, or name the entity by --group"
        day = f" and {quoted(plan.time.source)}" if plan.time else ""
        raise EvergreenError(
            f"{quoted(plan.key.source or plan.key.name)}{day} name no single row: there are {rows:,} rows of {keys:,} "
            f"keys, and those of one key differ. If one entity has several rows, {advice}, or make one row of them by --sql. "
            "Otherwise name another --id."
        )
    if min(positives, rows - positives) < LEAST:
        until = ""
        if plan.time:
            due = plan.time.watermark - timedelta(days=plan.horizon_days)
            until = f" The source is complete up to {plan.time.watermark}, so with this --horizon labels count up to {due}."
        raise EvergreenError(
            f"The training set would hold {positives:,} positive and {rows - positives:,} negative rows; at least {LEAST} of "
            f"each are needed.{until}"
        )


def _check_scoring(reader: Reader, plan: Plan) -> None:
    """Whoever has a row with a label and one without is no trouble to learn from, and could not be scored."""
    windows = {"history_days": 0, "horizon_days": 0, "embargo_days": 0}
    statement = bind_text(queries.training_set(plan), binds(plan) | windows, "training_set.sql")
    rows, keys = reader.row(f"select count(*), count(distinct {identifier(plan.key.name)}) from ({statement}) as scoring")
    if keys < rows:
        raise EvergreenError(
            f"{quoted(plan.key.source or plan.key.name)} names no single row to score: {rows:,} rows of {keys:,} keys, "
            "where those without a label count as well. Make one row of them by --sql, or name another --id."
        )


def _question(plan: Plan, statement: str, named: Sequence[Feature], most: int, *, whole: bool) -> str:
    """One statement that runs the training query once: a line a column as JSON, and with `whole` a line WHOLE and one DAYS."""
    label = identifier(plan.target_name)
    keys = [plan.key.name, *([SNAPSHOT] if plan.time else [])]
    key = ", ".join(map(identifier, keys))
    listed = ", ".join([f"{label} as y", *(f"{identifier(one.name)} as c{number}" for number, one in enumerate(named))])
    counts = f"'rows', count(*), 'positives', coalesce(sum({label}), 0), 'keys', count(distinct row({key}))"
    of_day = f"select {SNAPSHOT} as day, count(*) as n, sum({label}) as p from training group by 1 order by 1"
    parts = []
    if whole:
        parts = [f"select {WHOLE} as place, (select json_build_object({counts}) from training) as found"]
        days = f"(select json_agg(json_build_array(day, n, p)) from ({of_day}) as d)" if plan.time else "null"
        parts += [f"select {DAYS}, {days}"]
    parts += [f"select {number}, ({_facts(f'c{number}', one.kind)})" for number, one in enumerate(named)]
    columns = ", ".join(map(identifier, [*keys, plan.target_name, *(one.name for one in named)]))
    training = f"select {columns} from ({statement}) as whole"
    sample = f"select {listed} from training where random() < {most}::float8 / (select count(*) from training)"
    return f"with training as materialized ({training}), sample as materialized ({sample}) {' union all '.join(parts)}"


def _facts(column: str, kind: str) -> str:
    """A column's buckets as JSON. Numbers are cut into BUCKETS by rank, NULL apart; other values are buckets themselves."""
    if kind == "number":
        parts = f"least({BUCKETS}, greatest(2, sum(n) over () / {LEAST_ROWS}))"
        place = "(sum(n) over (order by v) - n / 2.0) / sum(n) over () as place"
        ranked = f"select n, p, {parts} as parts, {place} from g where v is not null"
        buckets = f"select sum(n), sum(p) from ({ranked}) as ranked group by floor(place * parts)"
    else:
        frequent = f"select v, n, p from g where v is not null order by n desc, v limit {MOST_VALUES}"
        rest = f"select n, p from g where v is not null order by n desc, v offset {MOST_VALUES}"
        buckets = f"select n, p from ({frequent}) as f union all select sum(n), sum(p) from ({rest}) as r having sum(n) > 0"
    buckets += " union all select n, p from g where v is null"
    grouped = f"with g as (select {column} as v, count(*) as n, coalesce(sum(y), 0) as p from sample group by 1)"
    return f"{grouped} select json_agg(json_build_array(n, p)) from ({buckets}) as b (n, p)"
