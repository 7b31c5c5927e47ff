"""The prediction ledger: what a version said of whom, once for each run and entity.

A scoring run writes its rows a chunk at a time, and moves its row of `scoring_runs` in the same transaction: so after a
kill that row says what is there, and the next one goes on behind it. Nobody reads the scores of a run before it is complete.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipelines.config import stage
from pipelines.config.errors import EvergreenError, TransientError
from pipelines.data import copy_binary, postgres
from pipelines.registry.schema import FOLDER, query

if TYPE_CHECKING:
    import pyarrow as pa
    from numpy.typing import NDArray

ENTITY = "entity"
COPY = """copy evergreen.predictions (prediction_id, model, version, run_key, as_of, source, score, decision, entity)
from stdin (format binary)"""


@dataclass(frozen=True, kw_only=True)
class Run:
    """A row of scoring_runs: how far the scores of one version and day have got."""

    model: str
    run_key: str
    sequence: int
    version: int
    as_of: date
    source: str
    as_champion: bool
    horizon_days: int
    embargo_days: int
    query_sha256: str | None
    state: str  # running, complete or superseded
    row_count: int
    last_entity: str | None
    started_at: datetime
    updated_at: datetime
    entity_column: str | None = None  # what the source calls the entity
    tiers: list[str] | None = None  # names, the lowest first
    tier_starts: list[float] | None = None  # the probabilities from which on they begin


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What a run is to score, and by what."""

    model: str
    version: int
    as_of: date
    horizon_days: int
    embargo_days: int
    query_sha256: str
    entity_column: str | None = None
    tiers: dict[str, float] | None = None  # name -> the probability from which on it begins, the lowest first


def begin(url: str, plan: Plan, *, force: bool = False) -> Run:
    """The run of a version and day, where it stands: begun now, or to be continued, or complete.

    Args:
        force: begin another one, whatever there is; one that was not finished is given up.

    Raises:
        EvergreenError: one was begun by another query and not finished.
    """
    key = {"model": plan.model, "version": plan.version, "as_of": plan.as_of}
    with postgres.connect(url) as connection:
        runs = [Run(**row) for row in query(connection, "runs_of_day", **key)]
        if runs and not force:
            return _same_query(runs[0], plan)
        query(connection, "supersede_runs", **key)
        query(connection, "make_partition", as_of=plan.as_of)
        attempt = f"/{len(runs) + 1}" if runs else ""
        run_key = f"batch/v{plan.version}/{plan.as_of}{attempt}"
        values = {"horizon_days": plan.horizon_days, "embargo_days": plan.embargo_days, "query_sha256": plan.query_sha256}
        tiers = {"tiers": plan.tiers and list(plan.tiers), "tier_starts": plan.tiers and list(plan.tiers.values())}
        values |= {"entity_column": plan.entity_column, **tiers}
        return Run(**query(connection, "begin_run", **key, run_key=run_key, **values)[0])


class Writer:
    """Writes the chunks of one run, each in a transaction of its own."""

    def __init__(self, connection: Any, run: Run) -> None:
        self._connection, self.run = connection, run

    def write(self, entities: pa.Array, scores: NDArray[Any], decisions: NDArray[Any], histograms: str | None = None) -> None:
        """A chunk, in the order of the entities in the source; there for good when this returns.

        Args:
            histograms: what was counted of the chunk's rows, as JSON; it is kept in the same transaction.

        Raises:
            EvergreenError: somebody else has moved the run, or an entity is in it already; nothing was written.
        """
        import pyarrow as pa

        run = self.run
        columns: Sequence[pa.Array | bytes] = [
            copy_binary.uuids(len(entities)),
            run.model.encode(),
            struct.pack("!i", run.version),
            run.run_key.encode(),
            struct.pack("!i", (run.as_of - date(2000, 1, 1)).days),
            run.source.encode(),
            pa.array(scores),
            pa.array(decisions),
            entities,
        ]
        self._move(len(entities), entities[-1].as_py(), "running")
        stage.fault("score:moved")
        if histograms is not None:
            counted = {"part": run.row_count, "row_count": len(entities), "histograms": histograms}
            key = {"model": run.model, "run_key": run.run_key, "version": run.version, "as_of": run.as_of}
            query(self._connection, "record_profile", **key, **counted)
        with self._connection.cursor().copy(COPY) as copy:
            for part in (copy_binary.HEADER, copy_binary.rows(columns), copy_binary.TRAILER):
                copy.write(part)
        stage.fault("score:copied")
        self._connection.commit()
        stage.fault("score:chunk")

    def finish(self) -> Run:
        """Make the run's scores visible."""
        self._move(0, None, "complete")
        self._connection.commit()
        return self.run

    def _move(self, new_rows: int, last_entity: str | None, state: str) -> None:
        run = self.run
        position = {"model": run.model, "run_key": run.run_key, "row_count": run.row_count}
        moved = query(self._connection, "move_run", **position, new_rows=new_rows, last_entity=last_entity, state=state)
        if not moved:
            raise TransientError(f"Somebody else moved the scoring run {run.run_key} of {run.model!r}: start it again.")
        self.run = Run(**moved[0])


def latest_run(url: str, model: str) -> Run | None:
    """The run whose scores `evergreen.latest_scores` shows."""
    with postgres.connect(url) as connection:
        rows = query(connection, "latest_run", model=model)
    return Run(**rows[0]) if rows else None


def export(url: str, model: str, out: Path, *, force: bool = False) -> int:
    """The latest scores as a CSV or Parquet file, highest first, whole or not at all; returns how many.

    Columns: the entity by its name in the source, as_of, score, decision, tier, version, scored_at, flagged (its window's feed
    was found to be broken).

    Args:
        force: a file that is there may be overwritten.

    Raises:
        EvergreenError: the file's name ends otherwise, it is there already, or there is no score yet.
    """
    import os

    if out.suffix not in {".csv", ".parquet"}:
        raise EvergreenError(f"--out {out}: the name says the format, so it ends with .csv or .parquet.")
    if out.exists() and not force:
        raise EvergreenError(f"{out} is there already: name another file, or pass --force to overwrite it.")
    run = latest_run(url, model)
    if run is None:
        raise EvergreenError(f"{model!r} has no scores yet: `evergreen run score` makes them.")
    statement = postgres.bind(FOLDER / "streams" / "latest_scores.sql", {"model": model})
    out.parent.mkdir(parents=True, exist_ok=True)
    staging = out.with_name(f".{out.name}.{os.getpid()}.partial")
    try:
        with postgres.snapshot(url) as ledger, ledger.batches(statement) as batches:
            count = _write(batches, staging, out.suffix, run.entity_column or ENTITY)
        staging.rename(out)
    finally:
        staging.unlink(missing_ok=True)
    return count


def _write(batches: pa.RecordBatchReader, path: Path, suffix: str, entity: str) -> int:
    """Write the batches, the entity under this name unless another column has it already; returns how many rows."""
    import pyarrow as pa
    import pyarrow.csv as csv
    import pyarrow.parquet as pq

    named = {ENTITY: entity} if entity not in batches.schema.names else {}
    schema = pa.schema([field.remove_metadata().with_name(named.get(field.name, field.name)) for field in batches.schema])
    count = 0
    with (csv.CSVWriter if suffix == ".csv" else pq.ParquetWriter)(path, schema) as writer:
        for batch in batches:
            writer.write_batch(pa.RecordBatch.from_arrays(batch.columns, schema=schema))
            count += batch.num_rows
    return count


def _same_query(run: Run, plan: Plan) -> Run:
    if run.state == "running" and run.query_sha256 != plan.query_sha256:
        raise EvergreenError(
            f"The scoring run {run.run_key} of {plan.model!r} was begun with another training_set.sql and not finished: "
            "its rows would come from two queries. Pass -p force=true to begin anew."
        )
    return run
