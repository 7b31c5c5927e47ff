"""Records of the prediction log."""

from __future__ import annotations

import datetime as dt
import json
import uuid

import msgspec

from serving.records import Record
from serving.spool import Spool

DAY = int(dt.datetime(2025, 3, 31, 12, tzinfo=dt.UTC).timestamp() * 1e6)


def record(entity: str | None = None, *, at: int = DAY, score: float = 0.25, features: dict | None = None) -> Record:
    identity = str(uuid.uuid4())
    raw = msgspec.Raw(json.dumps(features or {"plan": "fiber"}).encode())
    return Record(identity, at, 1, 30, 14, score, score >= 0.5, entity or identity, raw)


def written(folder, *records_: Record) -> Spool:
    """A spool whose segment is still open."""
    made = Spool(folder)
    made.write(b"".join(msgspec.json.encode(tuple(one)) + b"\n" for one in records_))
    return made
