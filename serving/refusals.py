"""Why a request is refused: where and what kind, and never what it held. A client's own words are not sent back to it."""

from __future__ import annotations

import sys
import traceback
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec

MOST_FAULTS = 20  # of a request that are told


class Fault(msgspec.Struct, frozen=True):
    """One thing that is wrong: where (a field's name is the version's own), and of what kind."""

    loc: tuple[str | int, ...]
    type: str


@dataclass
class RefusedError(Exception):
    """The answer to a request that is not served: an HTTP status and what is wrong, as `{"detail": [{"loc", "type"}]}`."""

    status: int
    faults: Sequence[Fault]
    headers: tuple[tuple[bytes, bytes], ...] = ()

    def body(self) -> bytes:
        return msgspec.json.encode({"detail": list(self.faults[:MOST_FAULTS])})


def of_fault(error: Exception) -> RefusedError:
    """The answer where something of ours went wrong. The log names the place; the error's own text may quote a row."""
    last = traceback.extract_tb(error.__traceback__)[-1:]
    place = "".join(f" in {Path(one.filename).name}, line {one.lineno}" for one in last)
    print(f"A fault of ours: {type(error).__name__}{place}", file=sys.stderr, flush=True)
    return of(500, "internal_error")


def of(status: int, kind: str, *loc: str | int, headers: tuple[tuple[bytes, bytes], ...] = ()) -> RefusedError:
    """A refusal with one fault."""
    return RefusedError(status, (Fault(loc, kind),), headers)
