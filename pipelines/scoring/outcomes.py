"""Outcomes: labels pulled from the source when they are known, and the predictions that can be judged by them.

A prediction is judged once its horizon and embargo have passed. Before that it is immature: who has not left yet may still
do so. A label that comes later, or is corrected, is a new row, so that any window can be judged as it was known on any day.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date, datetime
from typing import TYPE_CHECKING, Any

from pipelines.config import stage
from pipelines.config.errors import EvergreenError
from pipelines.data import copy_binary, postgres
from pipelines.registry.schema import FOLDER, query

if TYPE_CHECKING:
    import pyarrow as pa

    from pipelines.scoring.score import Source

COPY = "copy arrived_outcomes (entity, label, available_at) from stdin (format binary)"
TOGETHER = 200_000  # scores of days whose labels are asked for by one query: they are held in memory
DAY = "score_day"  # what outcomes.sql calls the day where the table has no time column


@dataclass(frozen=True)
class Pulled:
    """What a pull brought: days looked at, labels that the source gave for them, and those of them that were news."""

    days: int
    labels: int
    recorded: int


@dataclass(frozen=True, kw_only=True)
class Counts:
    """Predictions of a window on the day of judging."""

    immature: int  # their horizon and embargo have not passed
    matured: int
    labelled: int  # of the matured: the others had left before they were scored, or the source does not know them
    positives: int  # of the labelled
    late: int  # of the labelled: known, or corrected, only after it should have been final


def pull(
    source: Source,
    url: str,
    model: str,
    *,
    available_by: date,
    as_of_from: date = date.min,
    as_of_to: date = date.max,
    say: Callable[[str], None] = lambda _: None,
) -> Pulled:
    """Record in `url` what the source knew on `available_by` of the outcomes of predictions that were mature by then.

    A day is a transaction of its own. Doing it again records nothing.

    Raises:
        EvergreenError: the dataset has no outcomes.sql, or that gives no label, two labels of one entity, or another day's.
    """
    if not source.queries.outcomes.exists():
        raise EvergreenError(
            f"{source.queries.outcomes} is missing, so nobody knows what came true of the scores of {model!r}. "
            "Where the table tells it, write one row an entity and day of :score_days with the label and available_at, as "
            "sql/churn/outcomes.sql does; until then drift can be watched and performance cannot."
        )
    with postgres.connect(url) as ledger:
        days = query(ledger, "score_days", model=model, available_by=available_by, as_of_from=as_of_from, as_of_to=as_of_to)
    labels = recorded = 0
    with postgres.snapshot(source.url, source.data.timezone) as source_snapshot:
        for days_together in _together(days):
            with _arriving(source, source_snapshot, days_together, available_by) as batches:
                for day, of_day in _by_day(batches, days_together, source):
                    with postgres.connect(url) as ledger:
                        arrived = _stage(ledger, of_day, source, model, day["as_of"])
                        new = query(ledger, "record_outcomes", model=model, available_by=available_by, **_key(day))[0][
                            "recorded"
                        ]
                        stage.fault("outcomes:recorded")
                    labels, recorded = labels + arrived, recorded + new
                    say(f"{day['as_of']}: {arrived:,} labels, {new:,} of them news.")
    return Pulled(len(days), labels, recorded)


@contextmanager
def matured(
    url: str,
    model: str,
    *,
    as_of_from: date,
    as_of_to: date,
    judged_on: date,
    source: str = "batch",
    recorded_by: datetime | None = None,
) -> Iterator[pa.RecordBatchReader]:
    """Predictions of some days with their labels, as both were known on a day; streamed, in no order.

    Columns: version, entity, as_of, score, decision, label (0 or 1), available_at.

    Args:
        judged_on: predictions whose horizon and embargo end later are not among them, nor labels known later.
        source: `batch` or `api`.
        recorded_by: leave out labels that we heard of later, whenever they were known: what a judgement then had to go by.
    """
    values = {"model": model, "as_of_from": as_of_from, "as_of_to": as_of_to, "judged_on": judged_on, "source": source}
    statement = postgres.bind(FOLDER / "streams" / "matured.sql", values | {"recorded_by": recorded_by})
    with postgres.snapshot(url) as ledger, ledger.batches(statement) as batches:
        yield batches


def counts(
    url: str,
    model: str,
    *,
    as_of_from: date,
    as_of_to: date,
    judged_on: date,
    source: str = "batch",
    recorded_by: datetime | None = None,
) -> Counts:
    """How many predictions `matured` would give, and why not the others. Arguments as there."""
    values = {"as_of_from": as_of_from, "as_of_to": as_of_to, "judged_on": judged_on, "source": source}
    with postgres.connect(url) as ledger:
        return Counts(**query(ledger, "count_outcomes", model=model, recorded_by=recorded_by, **values)[0])


def _together(days: Sequence[dict[str, Any]]) -> Iterator[list[dict[str, Any]]]:
    """Days that are asked for by one query: of one horizon, and with few scores in all; a day with many is alone."""
    group: list[dict[str, Any]] = []
    for day in days:
        fits = sum(earlier["row_count"] for earlier in [*group, day]) <= TOGETHER
        if group and not (fits and _windows(day) == _windows(group[0])):
            yield group
            group = []
        group.append(day)
    if group:
        yield group


@contextmanager
def _arriving(
    source: Source, source_snapshot: postgres.Snapshot, days: Sequence[dict[str, Any]], available_by: date
) -> Iterator[Any]:
    """Batches of entity (text), label, available_at and day, of some days of scores."""
    binds = {"score_days": [day["as_of"] for day in days], "as_of": available_by, "history_days": 0, **_windows(days[0])}
    entity, target = postgres.identifier(source.data.scored_key), postgres.identifier(source.data.target)
    of_day = postgres.identifier(source.data.time or DAY)
    rows = postgres.bind(source.queries.outcomes, binds)
    columns = f"{entity}::text as entity, {target}::int2 as label, available_at::date as available_at, {of_day}::date as of_day"
    with source_snapshot.batches(f"select {columns} from ({rows}) as outcomes") as batches:
        yield batches


def _by_day(batches: Any, days: Sequence[dict[str, Any]], source: Source) -> Iterator[tuple[dict[str, Any], Any]]:
    """The batches of each day. Those of a day that is alone pass through; of several they are few, and are held."""
    if len(days) == 1:
        yield days[0], batches
        return
    import pyarrow as pa
    import pyarrow.compute as pc

    rows = batches.read_all()
    score_days = pa.array([day["as_of"] for day in days], pa.date32())
    if rows["of_day"].null_count or not pc.all(pc.is_in(rows["of_day"], score_days)).as_py():
        raise EvergreenError(f"{source.queries.outcomes}: rows of a day that is not in :score_days.")
    for day in days:
        yield day, rows.filter(pc.equal(rows["of_day"], pa.scalar(day["as_of"], pa.date32()))).combine_chunks().to_batches()


def _stage(ledger: Any, batches: Any, source: Source, model: str, as_of: date) -> int:
    """Bring the labels of one day to our side, until the transaction ends; returns how many."""
    location = f"{source.queries.outcomes} on {as_of}"
    ledger.execute("select pg_advisory_xact_lock(hashtextextended(%s, 0))", [f"evergreen/outcomes/{model}"])
    ledger.execute((FOLDER / "queries" / "stage_outcomes.sql").read_text(encoding="utf-8"))
    arrived = 0
    with ledger.cursor().copy(COPY) as copy:
        copy.write(copy_binary.HEADER)
        for batch in batches:
            _check(batch, as_of, location)
            if batch.num_rows:
                copy.write(copy_binary.rows([batch["entity"], batch["label"], batch["available_at"]]))
            arrived += batch.num_rows
        copy.write(copy_binary.TRAILER)
    (wrong,) = query(ledger, "wrong_outcomes")
    if wrong["bad_labels"] or wrong["doubled"]:
        raise EvergreenError(
            f"{location}: {wrong['bad_labels']:,} labels are neither 0 nor 1, and {wrong['doubled']:,} rows repeat the "
            f"{source.data.scored_key} of another. One label an entity and day is needed. Nothing of this day was recorded."
        )
    return arrived


def _check(batch: pa.RecordBatch, as_of: date, location: str) -> None:
    import pyarrow as pa
    import pyarrow.compute as pc

    for name in ("entity", "label", "available_at"):
        if batch[name].null_count:
            raise EvergreenError(f"{location}: {name} is NULL in {batch[name].null_count:,} rows: leave out what is not known.")
    other = pc.sum(pc.not_equal(batch["of_day"], pa.scalar(as_of)).fill_null(True)).as_py()
    if other:
        raise EvergreenError(f"{location}: {other:,} rows are of a day that is not in :score_days.")


def _windows(day: dict[str, Any]) -> dict[str, int]:
    return {"horizon_days": day["horizon_days"], "embargo_days": day["embargo_days"]}


def _key(day: dict[str, Any]) -> dict[str, Any]:
    return {"as_of": day["as_of"], "horizon_days": day["horizon_days"]}
