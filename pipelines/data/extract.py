"""The pinned rows, streamed from Postgres to Parquet in bounded memory.

`pin` chooses what is read, `extract` reads exactly that: both in one snapshot, in which the fingerprint of the
source rows is compared with the pin before the first row is taken.
"""

from __future__ import annotations

import hashlib
import os
import queue
import threading
from dataclasses import dataclass
from datetime import date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipelines.config import params, stage
from pipelines.config.errors import EvergreenError
from pipelines.data import postgres

if TYPE_CHECKING:
    import pyarrow as pa


@dataclass(frozen=True)
class Queries:
    """The SQL files of a dataset."""

    folder: Path

    @property
    def training_set(self) -> Path:
        return self.folder / "training_set.sql"

    @property
    def fingerprint(self) -> Path:
        return self.folder / "fingerprint.sql"

    @property
    def left_out(self) -> Path:
        return self.folder / "left_out.sql"

    @property
    def watermark(self) -> Path:
        return self.folder / "watermark.sql"

    @property
    def outcomes(self) -> Path:
        return self.folder / "outcomes.sql"


@dataclass(frozen=True)
class Pin:
    """Which rows a training run reads, and how many they are where that was asked."""

    as_of: str
    fingerprint: str
    rows: int = 0
    positives: int = 0
    entities: int = 0
    newest: tuple[int, int] = (0, 0)  # rows and entities of the newest snapshots, which decide


def pin(
    url: str,
    queries: Queries,
    data: params.DataParams,
    as_of: str | None = None,
    *,
    count: bool = True,
    evaluate: params.EvaluateParams | None = None,
) -> Pin:
    """The pin at `as_of` (a date, YYYY-MM-DD), by default at the newest date that the source has complete.

    Args:
        evaluate: count the newest snapshots as well.
        count: tell how many rows that gives, and refuse none. Who extracts at once does without: it takes the training
            query as well, and validation counts the rows.

    Raises:
        EvergreenError: the date is later than that, not a date, or pins no rows.
    """
    if as_of and as_of != params.TIMELESS:
        day(as_of)  # a slip is told before the source is asked
    with postgres.snapshot(url, data.timezone) as source:
        complete = watermark(source, queries)
        chosen = _chosen(as_of, complete)
        pinned = data.model_copy(update={"as_of": date.fromisoformat(chosen) if complete else params.TIMELESS})
        fingerprint = _fingerprint(source, queries, pinned)
        if not count:
            return Pin(chosen, fingerprint)
        statement = postgres.bind(queries.training_set, pinned.binds)
        target, entity = postgres.identifier(data.target), postgres.identifier(data.entity)
        counted = f"count(*), count(*) filter (where {target}::int = 1), count(distinct {entity})"
        rows, positives, entities = source.row(f"select {counted} from ({statement}) as pinned")
        if not rows:
            raise EvergreenError(f"0 rows are known as of {chosen}: pin a later date, or check {queries.training_set}.")
        newest = _newest(source, statement, data, evaluate) if evaluate and data.time else (rows, entities)
        return Pin(chosen, fingerprint, rows, positives, entities, newest)


def _newest(
    source: postgres.Snapshot, statement: str, data: params.DataParams, evaluate: params.EvaluateParams
) -> tuple[int, int]:
    """Rows and entities of as many of the newest snapshots as `split.newest` takes."""
    assert data.time is not None
    time, target, entity = (postgres.identifier(name) for name in (data.time, data.target, data.entity))
    days = f"select {time} as day, sum({target}::int) as ones, count(*) as seen from ({statement}) as pinned group by 1"
    newer = "over (order by day desc rows between unbounded preceding and 1 preceding)"
    counted = f"row_number() over (order by day desc) as place, least(sum(ones) {newer}, sum(seen - ones) {newer}) as before"
    limits = f"place <= {evaluate.newest_snapshots:d} or coalesce(before, 0) < {evaluate.newest_positives:d}"
    kept = f"select day from (select day, {counted} from ({days}) as days) as counted where {limits}"
    rows, entities = source.row(
        f"select count(*), count(distinct {entity}) from ({statement}) as pinned where {time} in ({kept})"
    )
    return rows, entities


def extract(url: str, queries: Queries, data: params.DataParams, rows: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """Write the pinned rows to `rows`, whole or not at all; returns the manifest, and what was left out, by reason.

    What was left out is no part of the manifest: it moves on with the source, and equal pins must give equal manifests.

    Raises:
        EvergreenError: nothing is pinned, or the source's rows under the pin are no longer those that were pinned.
    """
    if data.as_of is None or data.fingerprint is None:
        raise EvergreenError(
            "Nothing is pinned (data.as_of in params.yaml is null): run `evergreen data pin`, then `dvc repro`."
        )
    statement = postgres.bind(queries.training_set, data.binds)
    with postgres.snapshot(url, data.timezone) as source:
        found = _fingerprint(source, queries, data)
        if found != data.fingerprint:
            raise EvergreenError(
                f"The source's rows up to {data.as_of} are not those that were pinned: fingerprint {found}, pinned "
                f"{data.fingerprint}. History was changed. Find out why; `evergreen data pin --as-of {data.as_of}` accepts it."
            )
        with source.batches(statement, order_by=data.key_columns) as batches:  # one pin, one order, whatever the plan
            count, schema = _write(batches, rows)
        account = left_out(source, queries, data)
    manifest = {
        "rows": count,
        "rows_sha256": stage.sha256(rows),
        "columns": {field.name: str(field.type) for field in schema},
        "as_of": str(data.as_of),
        "binds": {name: None if value is None else str(value) for name, value in data.binds.items()},
        "fingerprint": found,
        "sql_sha256": hashlib.sha256(queries.training_set.read_bytes()).hexdigest(),
    }
    return manifest, account


def left_out(source: postgres.Snapshot, queries: Queries, data: params.DataParams) -> dict[str, Any]:
    """Rows of the source that are not in the training set, by reason, as left_out.sql counts them; {} without that file.

    Returns:
        `source`: all rows; `left_out`: reason -> rows; `read`: rows without a reason.
    """
    if not queries.left_out.exists():
        return {}
    statement = f"select reason::text, rows::bigint from ({postgres.bind(queries.left_out, data.binds)}) as counted"
    counted = dict(source.rows(statement))
    read = counted.pop(None, 0)
    return {"source": read + sum(counted.values()), "left_out": counted, "read": read}


def watermark(source: postgres.Snapshot, queries: Queries) -> date | None:
    """The newest date up to which every feed is complete; None for a table without a clock."""
    if not queries.watermark.exists():
        return None
    found = source.value(postgres.bind(queries.watermark, {}))
    if isinstance(found, datetime):
        found = found.date()
    if not isinstance(found, date):
        raise EvergreenError(f"{queries.watermark} gave {found!r}: one date is needed. Is the source empty?")
    return found


def day(as_of: str) -> date:
    """A date as a person writes it.

    Raises:
        EvergreenError: it is none.
    """
    try:
        return date.fromisoformat(as_of)
    except ValueError:
        raise EvergreenError(f"--as-of {as_of!r} is not a date: write YYYY-MM-DD.") from None


def _chosen(as_of: str | None, complete: date | None) -> str:
    if complete is None:
        if as_of not in {None, params.TIMELESS}:
            raise EvergreenError(
                "This dataset has no watermark.sql, so it has no clock: run `evergreen data pin` without --as-of."
            )
        return params.TIMELESS
    chosen = day(as_of) if as_of else complete
    if chosen > complete:
        raise EvergreenError(f"The source is complete up to {complete} only: --as-of {chosen} would pin rows still to come.")
    return chosen.isoformat()


def _fingerprint(source: postgres.Snapshot, queries: Queries, data: params.DataParams) -> str:
    return str(source.value(postgres.bind(queries.fingerprint, data.binds)))


def _write(batches: pa.RecordBatchReader, path: Path) -> tuple[int, pa.Schema]:
    """Rows to Parquet in a second thread, so that Postgres, decoding and compression overlap."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    path.parent.mkdir(parents=True, exist_ok=True)
    staging = path.with_name(f".{path.name}.partial")
    schema = batches.schema.remove_metadata()
    schema = pa.schema([field.remove_metadata() for field in schema])
    text = [field.name for field in schema if pa.types.is_string(field.type)]
    try:
        with pq.ParquetWriter(staging, schema, compression="zstd", use_dictionary=text) as writer:
            count = _write_behind(batches, writer, schema)
        with stage.phase("write"), staging.open("rb") as written:
            os.fsync(written.fileno())
        staging.rename(path)
    finally:
        staging.unlink(missing_ok=True)
    return count, schema


def _write_behind(batches: pa.RecordBatchReader, writer: Any, schema: pa.Schema) -> int:
    import pyarrow as pa

    waiting: queue.Queue[pa.RecordBatch | None] = queue.Queue(maxsize=2)
    failures: list[Exception] = []

    def write() -> None:
        while (batch := waiting.get()) is not None:
            try:
                if not failures:
                    writer.write_batch(batch)
            except Exception as error:  # handed to the reading thread, which must not wait for a full queue for ever
                failures.append(error)

    thread = threading.Thread(target=write, name="parquet")
    thread.start()
    count = 0
    try:
        for batch in batches:
            if failures:
                break
            count += batch.num_rows
            waiting.put(pa.RecordBatch.from_arrays(batch.columns, schema=schema))
            stage.fault("extract:batch")
    finally:
        with stage.phase("write"):  # what of it did not overlap with reading
            waiting.put(None)
            thread.join()
    if failures:
        raise EvergreenError(f"Writing {writer.where} failed: {failures[0]}. Free some disk space and run again.")
    return count
