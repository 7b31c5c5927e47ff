"""Records of the prediction log: how an answer is written into the spool, and how it gets into evergreen.predictions.

A line is `[id, microseconds since 1970, version, horizon, embargo, score, decision, entity, features]`. The run key of an
answer is that of its version and day, `api/v1/2025-03-31`. A run holds everyone once, so of an entity that is asked about
several times on a day the first answer is in the run, and is what is judged and watched; the later ones are kept under keys of
their own, `again/v1/2025-03-31/ID`.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from datetime import UTC, date, datetime
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from pipelines.data import copy_binary
from pipelines.registry.schema import query

if TYPE_CHECKING:
    import pyarrow as pa

COPY = """copy evergreen.predictions
(prediction_id, model, version, run_key, as_of, source, score, decision, entity, scored_at, features)
from stdin (format binary)"""
POSTGRES_EPOCH = 946_684_800_000_000  # 2000-01-01 in microseconds since 1970
JSONB_VERSION = b"\x01"  # what the wire form of jsonb begins with


class Record(NamedTuple):
    """One answer."""

    prediction_id: str
    scored_at: int  # microseconds since 1970
    version: int
    horizon_days: int
    embargo_days: int
    score: float
    decision: bool
    entity: str  # the prediction's own id where the request did not say who it is about
    features: msgspec.Raw

    @property
    def day(self) -> date:
        """In UTC."""
        return datetime.fromtimestamp(self.scored_at / 1e6, UTC).date()


_decode = msgspec.json.Decoder(
    tuple[str, int, int, int, int, float, bool, str, msgspec.Raw],
).decode


def read(line: bytes) -> Record | None:
    """The record of a line; None where it is none, as after a loss of power."""
    try:
        return Record(*_decode(line))
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None


def insert(connection: Any, model: str, records: Sequence[Record]) -> None:
    """Add answers to the ledger, within the caller's transaction, in their order.

    Raises:
        EvergreenError: the database refuses.
    """
    for (version, day), some in _by_run(records).items():
        run_key = f"api/v{version}/{day}"
        key = {"model": model, "run_key": run_key, "as_of": day}
        query(connection, "make_partition", as_of=day)
        first = some[0]
        windows = {"horizon_days": first.horizon_days, "embargo_days": first.embargo_days}
        query(connection, "api_run", **key, version=version, **windows)
        named = [record.entity for record in some if record.entity != record.prediction_id]
        seen = {row["entity"] for row in query(connection, "entities_in_run", **key, entities=named)} if named else set()
        keys = list(_run_keys(some, run_key, seen))
        _copy(connection, model, version, day, some, keys)
        query(connection, "grow_api_run", model=model, run_key=run_key, new_rows=keys.count(run_key))


def _by_run(records: Sequence[Record]) -> dict[tuple[int, date], list[Record]]:
    """In an order in which two servers cannot wait for one another."""
    runs: dict[tuple[int, date], list[Record]] = {}
    for record in records:
        runs.setdefault((record.version, record.day), []).append(record)
    return dict(sorted(runs.items()))


def _run_keys(records: Sequence[Record], run_key: str, seen: set[str]) -> Iterator[str]:
    again = run_key.replace("api/", "again/", 1)
    for record in records:
        yield f"{again}/{record.prediction_id}" if record.entity in seen else run_key
        seen.add(record.entity)


def _copy(connection: Any, model: str, version: int, day: date, records: Sequence[Record], run_keys: list[str]) -> None:
    import pyarrow as pa

    columns: list[pa.Array | bytes] = [
        pa.array([bytes.fromhex(record.prediction_id.replace("-", "")) for record in records], pa.binary(16)),
        model.encode(),
        struct.pack("!i", version),
        pa.array(run_keys),
        struct.pack("!i", (day - date(2000, 1, 1)).days),
        b"api",
        pa.array([record.score for record in records], pa.float64()),
        pa.array([record.decision for record in records]),
        pa.array([record.entity for record in records]),
        pa.array([record.scored_at - POSTGRES_EPOCH for record in records], pa.int64()),
        pa.array([(JSONB_VERSION + bytes(record.features)).decode() for record in records]),
    ]
    with connection.cursor().copy(COPY) as copy:
        for part in (copy_binary.HEADER, copy_binary.rows(columns), copy_binary.TRAILER):
            copy.write(part)
