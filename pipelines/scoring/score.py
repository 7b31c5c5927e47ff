"""Batch scoring: a version's scores of everyone there is on one day, from Postgres to Postgres in bounded memory.

The rows come from the version's own training_set.sql with all windows at 0, so that the day is the only snapshot; a table
without time gives all its rows.
"""

from __future__ import annotations

import hashlib
import json
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from datetime import date
from typing import TYPE_CHECKING, Any, NamedTuple

from pipelines import onnx_model
from pipelines.config.errors import EvergreenError
from pipelines.data import extract, postgres
from pipelines.registry import schema
from pipelines.scoring.predictions import Plan, Run, Writer, begin

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa
    from numpy.typing import NDArray

    from pipelines.config.params import DataParams
    from pipelines.promotion.gate import Bundle
    from pipelines.registry.ledger import Version

CHUNK_ROWS = 50_000  # of a transaction: a kill loses a second's work, and a commit's cost is lost among so many
SCORERS = 2  # chunks that are scored at once
ENTITY = "evergreen entity"  # the entity as text, beside whatever the query calls its columns


@dataclass(frozen=True, kw_only=True)
class Source:
    """Where the rows come from, in the version's own words."""

    url: str
    queries: extract.Queries
    data: DataParams

    def statement(self, as_of: date, last_entity: str | None) -> str:
        """The rows of one day, from `last_entity` on: it comes along, so that a second row of it is noticed."""
        binds = {"as_of": as_of if self.data.time else None, "history_days": 0, "horizon_days": 0, "embargo_days": 0}
        rows, entity = postgres.bind(self.queries.training_set, binds), postgres.identifier(self.data.scored_key)
        behind = f" where {entity} >= {postgres.literal(last_entity)} or {entity} is null" if last_entity is not None else ""
        return f'select scored.*, {entity}::text as "{ENTITY}" from ({rows}) as scored{behind}'


class Chunk(NamedTuple):
    """Rows in the source's order of entities, and what was counted of them."""

    entities: pa.Array
    scores: NDArray[np.float64]
    decisions: NDArray[np.bool_]
    histograms: str | None


Count = Callable[["pa.Table", "NDArray[np.float64]"], str]  # rows and their scores -> what is kept of them, as JSON


def day(source: Source, as_of: str | None, today: date) -> date:
    """The day that scores are of: the one asked for, or the newest that the source has complete.

    Args:
        as_of: YYYY-MM-DD.
        today: what it is for a table without a clock, unless one is asked for.

    Raises:
        EvergreenError: that is no date, or the source is not complete up to it.
    """
    try:
        chosen = date.fromisoformat(as_of) if as_of else None
    except ValueError:
        raise EvergreenError(f"as_of {as_of!r} is not a date: write YYYY-MM-DD.") from None
    with postgres.snapshot(source.url, source.data.timezone) as opened:
        complete = extract.watermark(opened, source.queries)
    if complete is None:
        return chosen or today
    if chosen and chosen > complete:
        raise EvergreenError(f"The source is complete up to {complete} only: as_of {chosen} would score rows still to come.")
    return chosen or complete


def score(
    source: Source,
    url: str,
    version: Version,
    bundle: Bundle,
    *,
    as_of: date,
    force: bool = False,
    may_be_empty: bool = False,
    chunk_rows: int = CHUNK_ROWS,
    count: Count | None = None,
    say: Callable[[str], None] = lambda _: None,
) -> Run:
    """Write the scores of a version and day into the prediction ledger at `url`, each entity once.

    Called again, it goes on where a killed one was, and does nothing when all are there.

    Args:
        force: score once more, under a new key.
        may_be_empty: a day without a row is no fault, as where a row comes once: nobody may have come.
        count: what those who watch the version want to know of each chunk; kept with it.

    Raises:
        EvergreenError: such a run is going on, the bundle is not what was published, there is nothing to score, an
            entity is NULL or comes twice, or a row is of another day; what is written by then is not shown to anybody.
    """
    model = onnx_model.load(bundle.folder, bundle.digests)
    threshold = float(json.loads((bundle.folder / "decision.json").read_text(encoding="utf-8"))["threshold"])
    name = f"{version.model}/v{version.version}/{as_of}"
    refusal = f"Scoring of {version.model!r} by {version} as of {as_of} is already running"
    with schema.locked(url, f"evergreen/score/{name}", refusal):
        run = begin(url, _plan(source, version, as_of, _tiers(bundle)), force=force)
        if run.state == "complete":
            return run
        if run.row_count:
            say(f"{run.run_key}: going on behind {run.row_count:,} rows.")
        statement = source.statement(as_of, run.last_entity)
        with (
            postgres.snapshot(source.url, source.data.timezone) as opened,
            opened.batches(statement, order_by=[source.data.scored_key]) as batches,
            postgres.connect(url) as connection,
        ):
            writer = Writer(connection, run)
            tables = _checked(batches, source.data, as_of, run, chunk_rows)
            for chunk in _scored(tables, model, threshold, count):
                writer.write(*chunk)
                say(f"{run.run_key}: {writer.run.row_count:,} rows.")
            if not writer.run.row_count and not may_be_empty:
                raise EvergreenError(f"0 rows to score as of {as_of}: check {source.queries.training_set} with all windows 0.")
            return writer.finish()


def _tiers(bundle: Bundle) -> dict[str, float] | None:
    """Tier -> the probability from which on it begins, the lowest first; None for a version that has none."""
    if "serving.json" not in (bundle.digests or ()):
        return None
    tiers = json.loads((bundle.folder / "serving.json").read_text(encoding="utf-8")).get("tiers")
    return dict(tiers) if tiers else None


def _plan(source: Source, version: Version, as_of: date, tiers: dict[str, float] | None) -> Plan:
    return Plan(
        model=version.model,
        version=version.version,
        as_of=as_of,
        horizon_days=source.data.horizon_days,
        embargo_days=source.data.embargo_days,
        query_sha256=hashlib.sha256(source.queries.training_set.read_bytes()).hexdigest(),
        entity_column=source.data.entity,
        tiers=tiers,
    )


def _checked(batches: Iterable[pa.RecordBatch], data: DataParams, as_of: date, run: Run, size: int) -> Iterator[pa.Table]:
    """Rows in tables of `size`, without the one of the entity up to which the run has come."""
    last = run.last_entity
    skip = last is not None
    for rows in of_size(batches, size):
        kept = rows.slice(1) if skip and rows[ENTITY][0].as_py() == last else rows
        skip = False
        if kept.num_rows:
            _check(kept, last, data, as_of)
            last = kept[ENTITY][-1].as_py()
            yield kept


def _scored(tables: Iterable[pa.Table], model: onnx_model.Model, threshold: float, count: Count | None) -> Iterator[Chunk]:
    """The same rows in the same order; the next ones are scored while Postgres takes those before.

    A chunk is scored by one thread, as everywhere: more of them in one chunk would add up in another order.
    """

    def scored(rows: pa.Table) -> Chunk:
        scores = model.score(rows)
        counted = count(rows, scores) if count else None
        return Chunk(rows[ENTITY].combine_chunks(), scores, scores >= threshold, counted)

    coming: deque[Future[Chunk]] = deque()
    with ThreadPoolExecutor(SCORERS, "score") as scorers:
        for rows in tables:
            coming.append(scorers.submit(scored, rows))
            if len(coming) > SCORERS:
                yield coming.popleft().result()
        while coming:
            yield coming.popleft().result()


def of_size(batches: Iterable[pa.RecordBatch], size: int) -> Iterator[pa.Table]:
    """The same rows in tables of `size`; the last one is what is left."""
    import pyarrow as pa

    waiting: list[pa.RecordBatch] = []
    for batch in batches:
        waiting.append(batch)
        while sum(batch.num_rows for batch in waiting) >= size:
            table = pa.Table.from_batches(waiting)
            yield table.slice(0, size)
            waiting = table.slice(size).to_batches()
    if sum(batch.num_rows for batch in waiting):
        yield pa.Table.from_batches(waiting)


def _check(rows: pa.Table, before: str | None, data: DataParams, as_of: date) -> None:
    """Refuse what would make a score somebody else's, or nobody's."""
    import pyarrow as pa
    import pyarrow.compute as pc

    entities = rows[ENTITY].combine_chunks()
    location = f"The scoring set (training_set.sql with all windows 0) as of {as_of}"
    if entities.null_count:
        raise EvergreenError(
            f"{location}: {data.scored_key} is NULL in {entities.null_count:,} rows. Leave them out, or name them."
        )
    neighbours = pa.concat_arrays([pa.array([before], entities.type), entities[:-1]])
    doubled = _count(pc.equal(entities, neighbours))
    if doubled:
        raise EvergreenError(f"{location}: {doubled:,} rows repeat the {data.scored_key} of another. Each is needed once.")
    if data.time and (other := _count(pc.not_equal(rows[data.time].cast("date32"), pa.scalar(as_of)).fill_null(True))):
        raise EvergreenError(f"{location}: {data.time} is another day in {other:,} rows. The only snapshot must be :as_of.")


def _count(flags: Any) -> int:
    import pyarrow.compute as pc

    return pc.sum(flags).as_py() or 0
