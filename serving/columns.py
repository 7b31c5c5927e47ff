"""What a version reads of a request, and the limits of what may stand there."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

LARGEST = 3.4028234663852886e38  # of float32, which is what a graph compares
LONGEST_TEXT, LONGEST_ENTITY = 1000, 200  # characters
INTEGER = 2**63 - 1


@dataclass(frozen=True)
class Columns:
    """What a version reads. kinds: feature -> number, boolean or text; numbers come first, then texts."""

    kinds: Mapping[str, str]
    entity: str
    max_rows: int

    @classmethod
    def of(cls, schema: Mapping[str, Any], types: Mapping[str, str], entity: str, max_rows: int) -> Columns:
        """Of a bundle's schema.json, and the Arrow types of its columns as manifest.json has them."""
        numbers = {name: "boolean" if types.get(name) == "bool" else "number" for name in schema["numbers"]}
        return cls(numbers | dict.fromkeys(schema["categories"], "text"), entity, max_rows)


def example(columns: Columns, schema: Mapping[str, Any]) -> dict[str, Any]:
    """A row that nobody is: the middle of each range, and the first known value of each text."""
    row: dict[str, Any] = {}
    for name, kind in columns.kinds.items():
        if kind == "text":
            row[name] = next(iter(schema["categories"][name]), None)
        elif kind == "boolean":
            row[name] = True
        else:
            low, high = schema.get("ranges", {}).get(name) or (None, None)
            row[name] = None if low is None else _rounded((low + high) / 2, integer=float(low).is_integer())
    return row


def _rounded(value: float, *, integer: bool) -> float:
    return int(value) if integer else round(value, 2)
